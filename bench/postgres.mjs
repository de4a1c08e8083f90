// A PostgreSQL of its own for the rows of nodes: Debian's, in a private folder, asked through a socket there.
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import {
  chownSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  realpathSync,
  rmSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { cpuMsOfAll, cpuMsOfEnded, keep, unlessEnding } from './servers.mjs';

/** nobody, by number: PostgreSQL refuses to run as root. */
const NOBODY = 65_534;
const DEBIANS = '/usr/lib/postgresql';

/** Synchronous commits and fsync, as nodes demand; 128 MiB of buffers, as it comes. On no core of its own. */
export async function startPostgres() {
  await unlessEnding();
  const bin = programs();
  // the path of a socket has room for 107 bytes, and nobody must reach it
  const folder = mkdtempSync(join(tmpdir(), 'lap-'));
  const data = join(folder, 'data');
  mkdirSync(data, { mode: 0o700 });
  if (isRoot()) for (const one of [folder, data]) chownSync(one, NOBODY, NOBODY);
  const env = { PATH: process.env.PATH, LC_ALL: 'C.UTF-8' };
  const account = ['-U', 'lookaside', '--auth=trust', '--no-sync', '--encoding=UTF8'];
  succeed(asNobody([join(bin, 'initdb'), '-D', data, ...account]), env, folder);
  const settings = ['listen_addresses=', `unix_socket_directories=${folder}`, 'max_connections=200'];
  const [program, ...args] = asNobody([
    ...[join(bin, 'postgres'), '-D', data],
    ...settings.flatMap((setting) => ['-c', setting]),
  ]);
  const output = openSync(join(folder, 'log'), 'a');
  const child = spawn(program, args, { env, cwd: folder, stdio: ['ignore', output, output] });
  const ended = once(child, 'exit');
  const psql = (database, sql) =>
    spawnSync('psql', ['-h', folder, '-U', 'lookaside', '-d', database, '-qAtc', sql], { encoding: 'utf8' });
  const postgres = {
    /** A session is a process, and some have ended. */
    cpuMs: () => cpuMsOfAll(child.pid) + cpuMsOfEnded(child.pid),
    /** The URL of a new empty database. */
    newDatabase(name) {
      const { status, stderr } = psql('postgres', `CREATE DATABASE ${name} TEMPLATE template0`);
      if (status !== 0) throw new Error(`CREATE DATABASE ended with ${status}: ${stderr}`);
      return `postgres://lookaside@/${name}?host=${encodeURIComponent(folder)}`;
    },
    async stop() {
      if (child.exitCode === null && child.signalCode === null) child.kill('SIGQUIT');
      await ended;
      rmSync(folder, { recursive: true, force: true });
    },
  };
  keep(postgres);
  for (let attempt = 0; psql('postgres', 'SELECT 1').status !== 0; attempt += 1) {
    if (child.exitCode !== null || attempt === 500) throw new Error('PostgreSQL does not start');
    await wait(20);
  }
  return postgres;
}

function programs() {
  const majors = existsSync(DEBIANS) ? readdirSync(DEBIANS).map((major) => join(DEBIANS, major, 'bin')) : [];
  const folder = [...(process.env.PATH ?? '').split(delimiter), ...majors].find((one) =>
    existsSync(join(one, 'postgres')),
  );
  if (folder === undefined) throw new Error('postgres is not on this machine: apt-get install postgresql');
  return dirname(realpathSync(join(folder, 'postgres')));
}

function succeed([program, ...args], env, cwd) {
  const { status, stderr } = spawnSync(program, args, { env, cwd, encoding: 'utf8' });
  if (status !== 0) throw new Error(`${program} ended with ${status}: ${stderr}`);
}

function asNobody(argv) {
  return isRoot() ? ['setpriv', `--reuid=${NOBODY}`, `--regid=${NOBODY}`, '--clear-groups', ...argv] : argv;
}

const isRoot = () => process.getuid() === 0;
