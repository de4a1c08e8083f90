// Rows of nodes over PostgreSQL, each beside one server with a data directory in the same run. All nodes share one core, so that what
// they cost is seen, and not how many processors this machine has; PostgreSQL's own processor time stands beside it.
import { spawnSync } from 'node:child_process';
import { copyFileSync, rmSync } from 'node:fs';
import { Agent, request } from 'node:http';
import { join } from 'node:path';
import { checkBytes, loadReads, loadUploads } from './load.mjs';
import { bytesOf, imagePath, layNames, laySigned } from './material.mjs';
import { median } from './median.mjs';
import { startPostgres } from './postgres.mjs';
import { requirePrograms } from './programs.mjs';
import { MAIN, runCommand, settle, startLookaside, stopAll } from './servers.mjs';
import { layData, layRecorded } from './trees.mjs';

const FIRST_PORT = 18_131;
const READ_SECONDS = 2;
/** Of reads; each warms up all servers. */
const MOST_WARM_UPS = 3;
const COLD_READS = 2000;

export const NODE_ROWS = [
  ...[1, 2, 3].map((nodes) =>
    nodeRow({
      name: `nodes: reads of 200 images in turn through ${nodes}`,
      nodes,
      images: 200,
      run: runReads,
    }),
  ),
  // more than are read within a second: no set may cost a question of its own
  nodeRow({ name: 'nodes: reads of 5000 images in turn through 1', nodes: 1, images: 5000, run: runReads }),
  nodeRow({ name: 'nodes: a set that is read for the first time', nodes: 1, images: 5000, run: runCold }),
  ...[1, 3].map((nodes) =>
    nodeRow({ name: `nodes: uploads through ${nodes}`, nodes, count: 1500, run: runUploads }),
  ),
  nodeRow({
    name: 'nodes: migrate of 100000 signatures',
    images: 100_000,
    unit: '× backup',
    mostPairs: 1, // a turn takes minutes
    run: runMigrate,
  }),
];

function nodeRow(row) {
  return { group: 'nodes', unit: '× SQLite', target: null, ...row };
}

/** A data directory of so many images, as a server leaves it that nobody has read from: the record would be moved too. */
async function layServed(bench, images) {
  const { data } = await layData(bench, { images, kind: 'served' });
  await layRecorded({ data, root: null }, images);
  return data;
}

/** The settings of nodes over a new database, with the key of the log. */
function settingsOf(postgres, folder, data) {
  const key = join(folder, 'log.key');
  if (data === null) {
    const made = spawnSync('openssl', ['genpkey', '-algorithm', 'ed25519', '-out', key]);
    if (made.status !== 0) throw new Error(`openssl genpkey ended with ${made.status}`);
  } else copyFileSync(join(data, 'log.key'), key);
  const name = `bench${Math.random().toString(36).slice(2, 10)}`;
  return { LOOKASIDE_DATABASE: postgres.newDatabase(name), LOOKASIDE_LOG_KEY_FILE: key };
}

async function startNodes(count, { folder, settings, isPinned }) {
  const nodes = [];
  for (let n = 0; n < count; n += 1) {
    const log = join(folder, `node-${n}.log`);
    nodes.push(await startLookaside({ data: null, log, port: FIRST_PORT + 1 + n, settings, isPinned }));
  }
  for (const node of nodes) await settle(node);
  return nodes;
}

async function openBoth(bench, { images, nodes }) {
  const { folder } = bench;
  const data = await layServed(bench, images);
  const postgres = await startPostgres();
  const settings = settingsOf(postgres, folder, data);
  runCommand(['migrate', '--data', data, '--to', settings.LOOKASIDE_DATABASE]);
  const alone = await startLookaside({ data, port: FIRST_PORT });
  await settle(alone);
  return { alone, postgres, nodes: await startNodes(nodes, { folder, settings, isPinned: true }) };
}

/** The sum over nodes that are asked at the same time, and what the database spent meanwhile. */
async function together(postgres, nodes, load) {
  const beforeMs = postgres.cpuMs();
  const each = await Promise.all(nodes.map(load));
  const perSecond = each.reduce((sum, one) => sum + one.perSecond, 0);
  const share = (field) => each.reduce((sum, one) => sum + one[field] * one.perSecond, 0) / perSecond;
  return {
    perSecond,
    cpuUs: share('cpuUs'),
    p99Ms: Math.max(...each.map(({ p99Ms }) => p99Ms)),
    databaseMs: postgres.cpuMs() - beforeMs,
  };
}

async function runReads(bench, { images, nodes: count }) {
  requirePrograms(['wrk', 'taskset', 'psql']);
  const names = layNames(join(bench.folder, `names-tree-${images}`), { images, areMissing: false });
  const seconds = bench.isQuick ? 1 : READ_SECONDS;
  const load = { folder: bench.folder, names, seconds, share404: 0.5 };
  const { alone, postgres, nodes } = await openBoth(bench, { images, nodes: count });
  const all = [alone, ...nodes];
  for (const server of all) await checkBytes(server, images);
  for (let turn = 0; turn < Math.min(bench.warmUps, MOST_WARM_UPS); turn += 1)
    for (const server of all) await loadReads(server, load);
  const pairs = [];
  for (let turn = 0; turn < bench.pairs; turn += 1) {
    const one = await loadReads(alone, load);
    pairs.push({ one, more: await together(postgres, nodes, (node) => loadReads(node, load)) });
    bench.progress();
  }
  for (const server of all) await checkBytes(server, images);
  const rssMiB = Math.max(...nodes.map((node) => node.rssBytes())) / 1024 / 1024;
  await stopAll();
  const requests = ({ perSecond }) => perSecond * seconds;
  return { ...figuresOf(pairs, ({ more }) => more.databaseMs / requests(more)), rssMiB };
}

/** `databaseMs`: of one request. */
function figuresOf(pairs, databaseMs) {
  const ratios = pairs.map(({ one, more }) => more.cpuUs / one.cpuUs);
  const of = (side, field) => median(pairs.map((pair) => pair[side][field]));
  return {
    ratio: median(ratios),
    least: Math.min(...ratios),
    most: Math.max(...ratios),
    cpuUs: of('more', 'cpuUs'),
    databaseCpuUs: 1000 * median(pairs.map(databaseMs)),
    perSecond: of('more', 'perSecond'),
    p99Ms: of('more', 'p99Ms'),
    aloneCpuUs: of('one', 'cpuUs'),
    alonePerSecond: of('one', 'perSecond'),
    aloneP99Ms: of('one', 'p99Ms'),
  };
}

/** One after the other over one connection: what a client waits for. Compared is the median, in milliseconds. */
async function runCold(bench, { images, nodes: count }) {
  requirePrograms(['psql']);
  const wanted = Math.min(images, bench.isQuick ? COLD_READS / 4 : COLD_READS);
  const rounds = [];
  for (let turn = 0; turn < (bench.isQuick ? 1 : 3); turn += 1) {
    const { alone, nodes } = await openBoth(bench, { images, nodes: count });
    const one = await readEach(alone, wanted);
    rounds.push({ one, more: await readEach(nodes[0], wanted) });
    bench.progress();
    await stopAll();
  }
  const ratios = rounds.map(({ one, more }) => more.p50Ms / one.p50Ms);
  const of = (side, field) => median(rounds.map((round) => round[side][field]));
  return {
    ...{ ratio: median(ratios), least: Math.min(...ratios), most: Math.max(...ratios) },
    ...{ p50Ms: of('more', 'p50Ms'), p99Ms: of('more', 'p99Ms') },
    ...{ aloneP50Ms: of('one', 'p50Ms'), aloneP99Ms: of('one', 'p99Ms') },
  };
}

async function readEach(server, count) {
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  const tookMs = [];
  for (let number = 0; number < count; number += 1) {
    const startedMs = performance.now();
    const { status, body } = await ask(server, agent, `/${imagePath(number)}/signature-1`);
    tookMs.push(performance.now() - startedMs);
    if (status !== 200 || !body.equals(bytesOf(number))) throw new Error(`${server.name} answered ${status}`);
  }
  agent.destroy();
  tookMs.sort((a, b) => a - b);
  return { p50Ms: tookMs[count >> 1], p99Ms: tookMs[Math.floor(count * 0.99)] };
}

function ask({ port }, agent, path) {
  return new Promise((resolve, reject) => {
    request({ host: '127.0.0.1', port, path, agent }, (answer) => {
      const pieces = [];
      answer.on('data', (piece) => pieces.push(piece));
      answer.on('end', () => resolve({ status: answer.statusCode, body: Buffer.concat(pieces) }));
      answer.on('error', reject);
    })
      .on('error', reject)
      .end();
  });
}

/** Verified and durable; on all cores, as the clients and PostgreSQL are. */
async function runUploads(bench, { count, nodes: nodeCount }) {
  requirePrograms(['openssl', 'psql']);
  const each = bench.isQuick ? count / 3 : count;
  const { staging, publicKey } = await laySigned(join(bench.folder, 'signed'), each);
  const pairs = [];
  for (let round = 0; round < (bench.isQuick ? 1 : 3); round += 1) {
    const data = join(bench.folder, 'uploads');
    rmSync(data, { recursive: true, force: true });
    const alone = await startLookaside({ data, port: FIRST_PORT, isPinned: false });
    const one = await loadUploads(alone, {
      ...enrol(['--data', data], {}, publicKey),
      ...loadOf(staging, 0, each, 1),
    });
    await alone.stop();
    const postgres = await startPostgres();
    const settings = settingsOf(postgres, bench.folder, null);
    const nodes = await startNodes(nodeCount, { folder: bench.folder, settings, isPinned: false });
    const token = enrol([], settings, publicKey);
    const part = Math.floor(each / nodeCount);
    const more = await together(postgres, nodes, (node) =>
      loadUploads(node, { ...token, ...loadOf(staging, nodes.indexOf(node) * part, part, nodeCount) }),
    );
    pairs.push({ one, more: { ...more, databaseMs: more.databaseMs / (part * nodeCount) } });
    bench.progress();
    await stopAll();
  }
  return { count: each, ...figuresOf(pairs, ({ more }) => more.databaseMs) };
}

/** 32 clients in all. */
function loadOf(staging, from, count, nodes) {
  return { staging, from, count, clients: Math.floor(32 / nodes) };
}

function enrol(where, settings, publicKey) {
  const env = { PATH: process.env.PATH, HOME: '/nonexistent', ...settings };
  runCommand(['key', 'add', publicKey, ...where], { env });
  const made = runCommand(['token', 'create', '--name', 'bench', '--json', ...where], { env });
  return { token: JSON.parse(made).token };
}

/** The command's processor time, beside that of a backup of the same directory. */
async function runMigrate(bench, { images, mostPairs }) {
  requirePrograms(['psql']);
  const data = await layServed(bench, images);
  const pairs = [];
  for (let turn = 0; turn < Math.min(mostPairs, bench.pairs); turn += 1) {
    const postgres = await startPostgres();
    const { LOOKASIDE_DATABASE: url } = settingsOf(postgres, bench.folder, data);
    const beforeMs = postgres.cpuMs();
    const moved = costOfCommand(['migrate', '--data', data, '--to', url]);
    const databaseMs = postgres.cpuMs() - beforeMs;
    const backup = join(bench.folder, 'backup');
    rmSync(backup, { recursive: true, force: true });
    pairs.push({ moved, databaseMs, saved: costOfCommand(['backup', backup, '--data', data]) });
    bench.progress();
    await stopAll();
  }
  const ratios = pairs.map(({ moved, saved }) => moved.cpuMs / saved.cpuMs);
  return {
    ...{ ratio: median(ratios), least: Math.min(...ratios), most: Math.max(...ratios) },
    cpuUs: (1000 * median(pairs.map(({ moved }) => moved.cpuMs))) / images,
    databaseCpuUs: (1000 * median(pairs.map(({ databaseMs }) => databaseMs))) / images,
    perSecond: (1000 * images) / median(pairs.map(({ moved }) => moved.tookMs)),
    seconds: median(pairs.map(({ moved }) => moved.tookMs)) / 1000,
    backupSeconds: median(pairs.map(({ saved }) => saved.tookMs)) / 1000,
  };
}

function costOfCommand(args) {
  const startedMs = performance.now();
  const script = `"$0" "$@" > /dev/null; status=$?; times; exit $status`;
  const { status, stdout, stderr } = spawnSync('sh', ['-c', script, process.execPath, MAIN, ...args], {
    encoding: 'utf8',
    env: { PATH: process.env.PATH, HOME: '/nonexistent' },
  });
  const tookMs = performance.now() - startedMs;
  if (status !== 0) throw new Error(`lookaside ${args[0]} ended with ${status}: ${stderr}`);
  // times(1p): the second line is of the children, user and system as 1m2.345s
  const [user, system] = stdout.trim().split('\n')[1].split(' ').map(msOf);
  return { tookMs, cpuMs: user + system };
}

function msOf(text) {
  const [, minutes, seconds] = /^([0-9]+)m([0-9.]+)s$/.exec(text);
  return 60_000 * Number(minutes) + 1000 * Number(seconds);
}
