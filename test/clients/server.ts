// The lookaside server as an administrator runs it: the built command line, in a process of its own.
import assert from 'node:assert/strict';
import { fileURLToPath } from 'node:url';
import type { Role } from '../../src/domain/ports.ts';
import { administered } from './administered.ts';
import { type Argv, type Outcome, run, startBackground } from './command.ts';
import { canReside, runInResident } from './resident.ts';
import { isByNodes } from './served-by.ts';

const MAIN = fileURLToPath(new URL('../../src/main.js', import.meta.url));

export interface LookasideServer extends AsyncDisposable {
  /** Where it listens, without a slash at the end: `http://127.0.0.1:41234`. */
  readonly url: string;
  /** Host and port of it, to listen there again. */
  readonly host: string;
  /** The lines that it prints for people to put into registries.d. */
  readonly registriesD: string;
  readonly port: number;
  readonly pid: number;
  /** All it has written so far, to standard output and standard error. */
  output(): string;
  /** Its exit status once it has ended; null when a signal ended it. */
  readonly ended: Promise<number | null>;
  /** Ends it by SIGTERM and demands exit status 0. */
  stop(): Promise<void>;
}

export interface ServerOptions {
  /** The shared tree that clients write into; left out, the tree is owned, DATA/sigstore. */
  readonly root?: string;
  /** Null: a node over the PostgreSQL that the settings name. */
  readonly data: string | null;
  /** A free port of 127.0.0.1 unless told. */
  readonly listen?: string;
  /** Beside those for the above. */
  readonly flags?: readonly string[];
  /** LOOKASIDE_… settings; nothing else is in its environment but PATH. */
  readonly settings?: Readonly<Record<string, string>>;
  /** Where it runs: see PrivateHost. */
  readonly on?: (argv: Argv) => Argv;
  /** Told the process id ahead of its first line. */
  readonly onSpawn?: (pid: number) => void;
}

/** The server, once it says that it listens. */
export async function startServer(options: ServerOptions): Promise<LookasideServer> {
  if (!isByNodes || options.data === null) return startOne(options);
  return (await import('./by-nodes.ts')).startNodes(options, startOne);
}

async function startOne(options: ServerOptions): Promise<LookasideServer> {
  const { root, data, listen = '127.0.0.1:0', settings = {}, on = (argv: Argv) => argv } = options;
  const { onSpawn = () => undefined, flags = [] } = options;
  const shared = root === undefined ? [] : ['--root', root];
  const own = data === null ? [] : ['--data', data];
  const process_ = await startBackground(
    on([process.execPath, MAIN, 'serve', '--listen', listen, ...own, ...shared, ...flags]),
    { env: { PATH: process.env.PATH ?? '', ...settings }, onSpawn },
    /listening on (https?:\/\/(127\.0\.0\.1:[0-9]+))/,
  );
  const [, url, host] = process_.ready;
  assert.ok(url !== undefined && host !== undefined);
  let stopped = false;
  return {
    url,
    host,
    get registriesD() {
      const lines = /^ *docker:\n(?: +\S+: *\S*\n)+/m.exec(process_.output());
      assert.ok(lines !== null, `no lines for registries.d:\n${process_.output()}`);
      return lines[0];
    },
    port: Number(host.split(':')[1]),
    pid: process_.pid,
    output: process_.output,
    ended: process_.ended,
    async stop() {
      stopped = true;
      assert.equal(await process_.stop(), 0, process_.output());
    },
    async [Symbol.asyncDispose]() {
      if (!stopped) await process_.stop();
    },
  };
}

/** A command line of lookaside, to be run in the background. */
export function lookaside(...args: readonly string[]): Argv {
  return [process.execPath, MAIN, ...args];
}

/**
 * What came of a command line of lookaside; `settings` and PATH are its whole environment. It runs in a process that stays, unless
 * another one runs there.
 */
export async function runLookaside(
  given: readonly string[],
  givenSettings: Readonly<Record<string, string>> = {},
  cwd?: string,
): Promise<Outcome> {
  const { args, settings } = isByNodes
    ? await (await import('./by-nodes.ts')).overDatabase(given, givenSettings)
    : { args: given, settings: givenSettings };
  const env = { PATH: process.env.PATH ?? '', ...settings };
  if (!canReside(args, env)) return runLookasideAlone(args, settings, cwd);
  return runInResident({ args, env, cwd: cwd ?? process.cwd() }, lookaside(...args).join(' '));
}

/** The same in a process of its own, for what only that shows: what it loads, and that it ends. */
export function runLookasideAlone(
  args: readonly string[],
  settings: Readonly<Record<string, string>> = {},
  cwd?: string,
): Promise<Outcome> {
  const env = { PATH: process.env.PATH ?? '', ...settings };
  return run([process.execPath, MAIN, ...args], cwd === undefined ? { env } : { env, cwd });
}

/** The text of a new token for readers. */
export function createReaderToken(data: string, name: string): Promise<string> {
  return createToken(data, name, 'reader');
}

/** The text of a new token. */
export async function createToken(data: string, name: string, role: Role): Promise<string> {
  const { text } = await administered(data, ({ tokens }) => tokens.create({ name, role, lifeMs: null }));
  return text;
}
