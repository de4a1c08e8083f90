// With SERVED_BY=postgres://…/postgres?… in the environment, the tests here start three nodes over PostgreSQL behind HAProxy instead of one server
// with a data directory, and give their commands to the database: test/faults/nodes-clients.test.ts says which of them must pass.
import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import pg from 'pg';
import type { ImageId } from '../../src/domain/image.ts';
import { connect } from '../../src/postgres/connect.ts';
import { addSignature, countImage, imageIdOf, type NewSignature } from '../../src/postgres/image-rows.ts';
import { migrate } from '../../src/postgres/migrate.ts';
import { type Argv, describeOutcome, startBackground } from './command.ts';
import { freePort } from './free-port.ts';
import { POSTGRES } from './served-by.ts';
import { type LookasideServer, runLookaside, type ServerOptions } from './server.ts';
import { openTempFolder, type TempFolder } from './temp-folder.ts';

const NODES = 3;

const makePem = () =>
  generateKeyPairSync('ed25519').privateKey.export({ format: 'pem', type: 'pkcs8' }).toString();

/** The log's key of all nodes, and the one with which they are a witness. */
const [PEM, WITNESS_PEM] = [makePem(), makePem()];

interface Place {
  readonly temp: TempFolder;
  /** By the data directory that a server of its own would have. */
  readonly databases: Map<string, Promise<string>>;
  /** Trees that a server of its own would serve, with its data directory. */
  readonly trees: { readonly root: string; readonly data: string }[];
  /** How many configurations of HAProxy there are. */
  configurations: number;
}

let place: Promise<Place> | null = null;

/** Its folder goes with the process, and the databases with their PostgreSQL. */
async function openPlace(): Promise<Place> {
  return { temp: await openTempFolder(), databases: new Map(), trees: [], configurations: 0 };
}

async function newDatabase(): Promise<string> {
  const name = `n${randomBytes(8).toString('hex')}`;
  await ask(POSTGRES, `CREATE DATABASE ${name} TEMPLATE template0`);
  const url = POSTGRES.replace('/postgres?', `/${name}?`);
  const connections = connect({ url, poolSize: 1 });
  await migrate(connections);
  await connections.close();
  return url;
}

async function ask(url: string, sql: string): Promise<readonly Record<string, unknown>[]> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    return (await client.query(sql)).rows;
  } finally {
    await client.end();
  }
}

/** The settings of nodes and commands over the database that stands for `data`. */
export async function settingsInsteadOf(data: string): Promise<Readonly<Record<string, string>>> {
  place ??= openPlace();
  const { databases } = await place;
  await mkdir(data, { recursive: true }); // tests lay other files there too
  const known = databases.get(data) ?? newDatabase();
  databases.set(data, known);
  return { LOOKASIDE_DATABASE: await known, LOOKASIDE_LOG_KEY: PEM };
}

/** What one statement gives, of the database that stands for `data`. */
export async function askInsteadOf(data: string, sql: string): Promise<readonly Record<string, unknown>[]> {
  const { LOOKASIDE_DATABASE = '' } = await settingsInsteadOf(data);
  return ask(LOOKASIDE_DATABASE, sql);
}

export interface AdoptedImage {
  readonly image: ImageId;
  readonly signatures: readonly NewSignature[];
}

/** Writes these rows into the database that stands for `data`, as an index has them. */
export async function adoptInsteadOf(data: string, images: Iterable<AdoptedImage>): Promise<void> {
  const { LOOKASIDE_DATABASE = '' } = await settingsInsteadOf(data);
  const connections = connect({ url: LOOKASIDE_DATABASE, poolSize: 1 });
  const { query, release } = await connections.take();
  await query('BEGIN');
  for (const { image, signatures } of images) {
    const id = await imageIdOf(query, image);
    for (const one of signatures) await addSignature(query, id, one);
    await countImage(query, image, 1);
  }
  await query('COMMIT');
  release();
  await connections.close();
}

/** Where it serves signatures, as names of files: `team/app@sha256=…/signature-1`. */
export async function servedInsteadOf(data: string): Promise<readonly string[]> {
  const rows = await askInsteadOf(
    data,
    `SELECT i.folder || '/signature-' || s.number AS name
     FROM signature AS s
     JOIN image AS i ON i.id = s.image_id
     ORDER BY 1`,
  );
  return rows.map(({ name }) => String(name)).sort();
}

/** The same command line, given to the database; what names no data directory stays as it is. */
export async function overDatabase(
  args: readonly string[],
  settings: Readonly<Record<string, string>>,
): Promise<{ readonly args: readonly string[]; readonly settings: Readonly<Record<string, string>> }> {
  const at = args.indexOf('--data');
  const data = args[at + 1];
  if (at === -1 || data === undefined) return { args, settings };
  const rest = [...args.slice(0, at), ...args.slice(at + 2)];
  return { args: rest, settings: { ...settings, ...(await settingsInsteadOf(data)) } };
}

/**
 * Nodes have no tree that others write into: what a client has written there is imported, as `lookaside push --watch` would bring it
 * to them a moment later.
 */
export async function importTrees(): Promise<void> {
  for (const { root, data } of (await place)?.trees ?? []) {
    const { args, settings } = await overDatabase(['import', root, '--data', data], {});
    const outcome = await runLookaside([...args, '--json'], settings);
    // 1: some were refused, which no client could use
    if (outcome.status !== 0 && !outcome.stdout.startsWith('{')) throw new Error(describeOutcome(outcome));
  }
}

export type StartOne = (options: ServerOptions) => Promise<LookasideServer>;

/** Three nodes behind HAProxy, which gives each request to the next one, or each connection where the nodes speak TLS. */
export async function startNodes(options: ServerOptions, startOne: StartOne): Promise<LookasideServer> {
  const { root, data, listen = '127.0.0.1:0', settings = {}, on = (argv: Argv) => argv } = options;
  if (data === null) throw new Error('there is no data directory that a database could stand for');
  const asked = Number(listen.split(':')[1]);
  const port = asked === 0 ? await freePort() : asked;
  const isTls = settings.LOOKASIDE_TLS_CERT !== undefined;
  const host = `127.0.0.1:${port}`;
  const url = `${isTls ? 'https' : 'http'}://${host}`;
  const nodeSettings = {
    LOOKASIDE_PUBLIC_URL: url,
    ...settings,
    ...(await settingsInsteadOf(data)),
    ...(settings.LOOKASIDE_WITNESS_LOGS === undefined ? {} : { LOOKASIDE_WITNESS_KEY: WITNESS_PEM }),
  };
  if (root !== undefined) {
    (await place)?.trees.push({ root, data });
    await importTrees();
  }
  const nodes = await Promise.all(
    Array.from({ length: NODES }, () => startOne({ data: null, settings: nodeSettings, on })),
  );
  const balancer = await startBalancer({ host, isTls, nodes, on });
  let stopped = false;
  return {
    ...{ url, host, port, registriesD: nodes[0]?.registriesD ?? '', pid: nodes[0]?.pid ?? 0 },
    output: () => inOrder(nodes.map((node) => node.output()).join('')),
    ended: Promise.all(nodes.map((node) => node.ended)).then(
      (statuses) => statuses.find((status) => status !== 0) ?? 0,
    ),
    async stop() {
      stopped = true;
      await balancer.stop();
      for (const node of nodes) await node.stop();
    },
    async [Symbol.asyncDispose]() {
      if (stopped) return;
      await balancer.stop();
      for (const node of nodes) await node[Symbol.asyncDispose]();
    },
  };
}

/** Lines of a log by their time, behind all others. */
function inOrder(output: string): string {
  const timeOf = (line: string) => /^\{.*"time":"?(?<time>[^",}]+)/.exec(line)?.groups?.time ?? '';
  return output
    .split('\n')
    .toSorted((one, other) => timeOf(one).localeCompare(timeOf(other)))
    .join('\n');
}

interface Balanced {
  readonly host: string;
  readonly isTls: boolean;
  readonly nodes: readonly LookasideServer[];
  readonly on: (argv: Argv) => Argv;
}

/** It adds no header: it and all clients have the same address, which the nodes see. */
async function startBalancer({ host, isTls, nodes, on }: Balanced) {
  place ??= openPlace();
  const here = await place;
  here.configurations += 1;
  const file = path.join(here.temp.path, `haproxy-${here.configurations}.cfg`);
  const lines = [
    'defaults',
    `  mode ${isTls ? 'tcp' : 'http'}`,
    '  timeout connect 2s',
    '  timeout client 65s',
    '  timeout server 65s',
    'frontend signatures',
    `  bind ${host}`,
    '  default_backend nodes',
    'backend nodes',
    '  balance roundrobin',
    ...nodes.map((node, n) => `  server n${n} ${node.host}`),
  ];
  await writeFile(file, `${lines.join('\n')}\n`);
  // the master says when its worker has what it listens on
  const env = { PATH: process.env.PATH ?? '' };
  return startBackground(on([haproxyFile(), '-W', '-db', '-f', file]), { env }, /Loading success/);
}

function haproxyFile(): string {
  const folders = [...(process.env.PATH ?? '').split(path.delimiter), '/usr/sbin'];
  return folders.map((folder) => path.join(folder, 'haproxy')).find(existsSync) ?? 'haproxy';
}
