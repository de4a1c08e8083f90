// What is measured, row by row. Reads are measured in pairs, we and nginx by turns, so that a machine that slows down slows
// down both; what is compared is the processor time of the serving process with all its threads and children.
import { spawnSync } from 'node:child_process';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { GROWTH_ROWS } from './growth.mjs';
import { checkBytes, loadPulls, loadReads, loadUploads } from './load.mjs';
import { imagePath, layNames, laySigned, layTree, signedPath } from './material.mjs';
import { median } from './median.mjs';
import { NODE_ROWS } from './nodes.mjs';
import { requirePrograms } from './programs.mjs';
import { runAdoption, runRescan } from './scans.mjs';
import { runCommand, settle, startFloor, startLookaside, startNginx, stopAll } from './servers.mjs';
import { runTailAdoption, runTailUploads } from './tail.mjs';
import { layData, layRecorded } from './trees.mjs';

const PORTS = { lookaside: 18_101, bare: 18_102, nginx: 18_103, floor: 18_104 };
const WITHOUT_RECORD = new URL('./without-record.mjs', import.meta.url).pathname;
/** Short, so that a machine's slow minutes fall on both sides of a pair. */
const READ_SECONDS = 2;
const CORES_SECONDS = 8;
/** Of the row of the record, for each pair of another row. */
const RECORD_PAIRS = 3;
/** What was read half a second ago is written, and so is what was read just now soon after. */
const WRITTEN_MS = 700;
const QUICK_READ_SECONDS = 1; // wrk takes whole ones
const QUICK_PULL_SECONDS = 0.5;
/** Of a flood; each asks for some tens of thousands a second. */
const MISSING = 200_000;
const QUICK_MISSING = 50_000;
/** Uploads ahead of those that count: a server that has just started compiles its code in their time. */
const WARM_UPLOADS = 1200;
const QUICK_WARM_UPLOADS = 400;

const UPLOADS_NAME = 'uploads of one image by 32 clients';

/**
 * Each row: `group` for --rows, `images` that it is scaled by, `run` gives its figures. `target` in times nginx, or in
 * what `unit` says, or `targets` with a `figure` each, its `unit`, and the `least` or `most` that is wanted; `isQuick`: part of --quick.
 * They run in this order. Rows of the same size share a tree: what takes it in comes first, and what adds to it late.
 */
export const ROWS = [
  readRow({ name: 'reads: owned tree of 200 images', images: 200, target: 1.7 }),
  readRow({
    name: 'reads: shared tree of 5000 images in turn',
    images: 5000,
    target: 3.5,
    isQuick: true,
    isShared: true,
  }),
  // those of --quick over the same tree one after the other, as one pair of servers answers them then
  readRow({ name: 'reads: owned tree of 5000 images in turn', images: 5000, target: 2, isQuick: true }),
  readRow({ name: 'names that are not there', images: 5000, target: 3, isQuick: true, areMissing: true }),
  readRow({ name: 'node:http alone: 5000 images in turn', images: 5000, target: null, isFloor: true }),
  {
    group: 'record',
    unit: '× without',
    name: 'reads with their record, beside reads without',
    images: 5000,
    target: 1.15,
    run: runRecord,
  },
  {
    group: 'cores',
    name: 'reads on 2 cores over 1: owned tree of 5000 images in turn',
    images: 5000,
    target: 1.7,
    unit: '× one process',
    run: runCores,
  },
  pullRow({ name: 'whole pulls', target: 4, isQuick: true }),
  pullRow({ name: 'node:http alone: whole pulls', target: null, isFloor: true }),
  pullRow({ name: 'whole pulls over TLS', target: 2.2, isTls: true }),
  uploadRow({
    name: UPLOADS_NAME,
    count: 2000,
    batch: 1,
    targets: [
      { figure: 'perSecond', unit: 'a second', least: 500 },
      { figure: 'cpuUs', unit: 'µs each', most: 3000 },
    ],
    isQuick: true,
  }),
  uploadRow({
    name: 'uploads in batches of 50 by 4 clients',
    count: 2000,
    batch: 50,
    clients: 4,
    target: 1000,
  }),
  {
    group: 'uploads',
    name: 'gpgv and curl -T into nginx one by one, beside our uploads',
    count: 300,
    targets: [{ figure: 'timesLoop', unit: 'uploads of ours for each', least: 5 }],
    run: runLoop,
  },
  {
    group: 'commands',
    name: 'push of 10000',
    count: 10_000,
    target: 400,
    run: (bench, row) => runStored(bench, row, 'push'),
  },
  {
    group: 'commands',
    name: 'import of 10000',
    count: 10_000,
    target: 800,
    run: (bench, row) => runStored(bench, row, 'import'),
  },
  adoptionRow({ name: 'taking in a tree of 100000 images', images: 100_000 }),
  scanRow({ name: 'scan of 100000 images that are as they were', images: 100_000 }),
  scanRow({
    name: 'scan of 100000 images that are as they were, shared tree',
    images: 100_000,
    isShared: true,
    targets: [],
  }),
  startRow({ name: 'start with 100000 recorded images', images: 100_000, targets: [] }),
  readRow({ name: 'reads: owned tree of 100000 images in turn', images: 100_000, target: 2.5 }),
  {
    group: 'tail',
    unit: '× quiet p99',
    name: 'p99 of reads at half of peak, beside uploads and a sync',
    images: 5000,
    target: 5,
    run: runTailUploads,
  },
  {
    group: 'tail',
    unit: '× quiet p99',
    name: 'p99 of reads at half of peak, while a tree is taken in',
    images: 5000,
    target: 2,
    run: runTailAdoption,
  },
  // fewer pairs, where a turn takes minutes
  adoptionRow({ name: 'taking in a tree of 1000000 images', images: 1_000_000, mostPairs: 1 }),
  scanRow({ name: 'scan of 1000000 images that are as they were', images: 1_000_000, mostPairs: 3 }),
  startRow({
    name: 'start with 1000000 recorded images',
    images: 1_000_000,
    targets: [
      { figure: 'startMs', unit: 'ms', most: 1000 },
      { figure: 'rssMiB', unit: 'MiB', most: 250 },
    ],
  }),
  ...GROWTH_ROWS,
  // behind those of growth, as it leaves a row in the record for each of many images
  readRow({
    name: 'reads: owned tree of 1000000 images, spread over it',
    images: 1_000_000,
    target: 4,
    isSpread: true,
  }),
  ...NODE_ROWS,
];

function scanRow(row) {
  const targets = [{ figure: 'perSecond', unit: 'images a second', least: 40_000 }];
  return { group: 'scan', unit: '× find', targets, run: runRescan, ...row };
}

function adoptionRow(row) {
  const targets = [
    { figure: 'perSecond', unit: 'images a second', least: 10_000 },
    { figure: 'p99Ratio', unit: '× quiet p99 of reads', most: 2 },
  ];
  return { group: 'scan', unit: '× sha256sum', targets, run: runAdoption, ...row };
}

function startRow(row) {
  return { group: 'start', run: runStart, ...row };
}

function readRow(row) {
  return { group: 'reads', unit: '× nginx', ...row, run: runReads };
}

function pullRow(row) {
  return { group: 'pulls', unit: '× nginx', images: 5000, ...row, run: runPulls };
}

function uploadRow(row) {
  return { group: 'uploads', unit: 'a second', clients: 32, ...row, run: runUploads };
}

/** More of a tree than a run reads, and few enough for the memory of wrk. */
const SPREAD_NAMES = 400_000;

async function runReads(bench, row) {
  const { images, isShared = false, areMissing = false, isSpread = false, isFloor = false } = row;
  requirePrograms(['wrk', 'nginx', 'taskset']);
  const kind = areMissing ? 'missing' : isSpread ? 'spread' : 'tree';
  const missing = bench.isQuick ? QUICK_MISSING : MISSING;
  const names = layNames(join(bench.folder, `names-${kind}-${images}`), {
    images: areMissing ? missing : isSpread ? Math.min(SPREAD_NAMES, images) : images,
    areMissing,
    of: isSpread ? images : null,
  });
  const pair = await startPair(bench, row);
  // warm: nginx is not to wait for a disk that we, with an index, need not ask
  if (!isSpread) readTree((await layData(bench, { images, isShared })).tree);
  const seconds = bench.isQuick ? QUICK_READ_SECONDS : READ_SECONDS;
  const load = { folder: bench.folder, names, seconds, share404: areMissing ? 1 : 0.5 };
  // what is read in turn has been read before: as many loads as it takes
  if (!isSpread && !areMissing && !isFloor) await readAll(pair[0], load, 2 * images);
  return inPairs(bench, pair, row, (server) => loadReads(server, load));
}

/** Asks for so many names of the file, from the first on. */
async function readAll(server, load, count) {
  for (let from = 0; from < count; ) from += (await loadReads(server, { ...load, from })).requests;
}

/** So that the kernel has its files in memory. */
function readTree(root) {
  const { status } = spawnSync('find', [root, '-type', 'f', '-exec', 'cat', '{}', '+'], {
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  if (status !== 0) throw new Error(`the files of ${root} cannot be read`);
}

/** Two servers of ours by turns, one of which records nothing. Either has a tree of its own. */
async function runRecord(bench, { images }) {
  requirePrograms(['wrk', 'taskset']);
  const names = layNames(join(bench.folder, `names-tree-${images}`), { images, areMissing: false });
  const servers = [];
  for (const [name, port, args] of [
    ['recorded', PORTS.lookaside, []],
    ['unrecorded', PORTS.bare, ['--import', WITHOUT_RECORD]],
  ]) {
    const data = join(bench.folder, name);
    layTree(join(data, 'sigstore'), images);
    servers.push(await startLookaside({ data, port, args }));
  }
  for (const server of servers) await settle(server);
  // a tenth is to be seen: by more pairs than the other rows have, and with the rows that the last reads of a load have left in memory
  const load = { folder: bench.folder, names, seconds: READ_SECONDS, share404: 0.5, restMs: WRITTEN_MS };
  const {
    nginxCpuUs,
    nginxPerSecond: _,
    ...figures
  } = await inPairs({ ...bench, pairs: RECORD_PAIRS * bench.pairs }, servers, { images }, (server) =>
    loadReads(server, load),
  );
  const days = existsSync(join(bench.folder, 'unrecorded', 'access'))
    ? readdirSync(join(bench.folder, 'unrecorded', 'access')).filter((file) => /^[0-9-]+\.db$/.test(file))
    : [];
  if (days.length > 0) throw new Error('the server without a record has recorded reads');
  return { ...figures, withoutCpuUs: nginxCpuUs };
}

async function runPulls(bench, row) {
  const { images, isTls = false } = row;
  requirePrograms(['nginx', 'taskset', ...(isTls ? ['openssl'] : [])]);
  const pair = await startPair(bench, row);
  const seconds = bench.isQuick ? QUICK_PULL_SECONDS : READ_SECONDS;
  return inPairs(bench, pair, row, (server) => loadPulls(server, { images, seconds }));
}

/**
 * How many times as many reads two processes answer on two cores as one process on one, by processor time: a machine of two cores
 * has none left for the load. Two cores are full when all threads of both have taken all of their time, or when one thread has taken
 * all of a core's: a thread runs on one core at a time, and those of one process run on any. So with connections that are dealt
 * unevenly, the event loop that has more of them may be the bound. Both servers have the same core in turn, so that a busy machine
 * slows down both.
 */
async function runCores(bench, { images }) {
  requirePrograms(['wrk', 'taskset']);
  const names = layNames(join(bench.folder, `names-tree-${images}`), { images, areMissing: false });
  // each load opens its connections anew, and for its first two seconds one process may have nearly all of them: balance.ts
  const load = { folder: bench.folder, names, seconds: CORES_SECONDS, share404: 0.5 };
  const servers = [];
  for (const readers of [1, 2]) {
    const data = join(bench.folder, `readers-${readers}-${images}`);
    mkdirSync(data, { recursive: true });
    layTree(join(data, 'sigstore'), images);
    const settings = { LOOKASIDE_READERS: String(readers) };
    const server = await startLookaside({ data, port: PORTS.lookaside + 10 * readers, settings });
    servers.push(server);
    await settle(server);
    await checkBytes(server, images);
    // each process has its share of the reads to become warm by
    for (let turn = 0; turn < readers; turn += 1)
      await warmUp(server, bench, (warmed) => loadReads(warmed, { ...load, seconds: READ_SECONDS }));
  }
  const [alone, together] = servers;
  const pairs = [];
  for (let turn = 0; turn < bench.pairs; turn += 1) {
    pairs.push({ one: await loadReads(alone, load), two: await loadByThread(together, load) });
    bench.progress();
  }
  await checkBytes(together, images);
  const rssMiB = together.rssBytes() / 1024 / 1024;
  await stopAll();
  const ratios = pairs.map(({ one, two }) => one.cpuUs / Math.max(two.cpuUs / 2, two.busiest * two.cpuUs));
  return {
    ratio: median(ratios),
    least: Math.min(...ratios),
    most: Math.max(...ratios),
    cpuUs: median(pairs.map(({ two }) => two.cpuUs)),
    oneCpuUs: median(pairs.map(({ one }) => one.cpuUs)),
    busiest: median(pairs.map(({ two }) => two.busiest)),
    rssMiB,
  };
}

/** As loadReads(), with the share of the busiest thread. */
async function loadByThread(server, load) {
  const before = server.cpuMsOfThreads();
  const cost = await loadReads(server, load);
  const spent = [...server.cpuMsOfThreads()].map(([thread, ms]) => ms - (before.get(thread) ?? 0));
  return { ...cost, busiest: Math.max(...spent) / spent.reduce((sum, ms) => sum + ms, 0) };
}

/** The pair of the row before, with --quick: one server answers all of its rows of the same tree. */
let kept = null;

/** Pairs whose code is compiled, as far as rows of reads have it in common. */
const warmed = new WeakSet();

/** What two rows have in common when one pair of servers can answer both. */
function sharingOf({ images, isShared = false, isFloor = false, isTls = false }) {
  return JSON.stringify({ images, isShared, isFloor, isTls });
}

/** We, or Node.js alone, and nginx over the same tree; ours at rest after its start. */
async function startPair(bench, row) {
  const { images, isShared = false, isFloor = false, isTls = false } = row;
  const before = kept;
  kept = null;
  const isThere = before !== null && !before.pair.some((server) => server.hasEnded());
  if (isThere && before.sharing === sharingOf(row)) return before.pair;
  const { folder } = bench;
  const { data, tree, root } = await layData(bench, { images, isShared });
  if (!isFloor) await layRecorded({ data, root }, images);
  const tls = isTls ? makeCertificate(folder) : null;
  const nginx = await startNginx({ folder, root: tree, port: PORTS.nginx, tls });
  const measured = isFloor
    ? await startFloor({ folder, root: tree, images, port: PORTS.floor })
    : await startLookaside({ data, root, port: PORTS.lookaside, tls });
  await settle(measured);
  return [measured, nginx];
}

/** Stopped, unless the next row takes the pair over. */
async function endPair({ next, isQuick }, pair, row) {
  const isTaken = isQuick && [runReads, runPulls].includes(next?.run) && sharingOf(next) === sharingOf(row);
  if (isTaken) kept = { sharing: sharingOf(row), pair };
  else await stopAll();
}

/** A B A B …: the figures of both, and of each pair the ratio. The bytes are compared ahead of the first and behind the last. */
async function inPairs(bench, pair, row, load, warmingLoad = load) {
  const [measured, nginx] = pair;
  const pairs = [];
  const check = async () => {
    for (const server of [measured, nginx]) if (!server.isTls) await checkBytes(server, row.images);
  };
  await check();
  const warmUps = warmed.has(pair) ? 1 : bench.warmUps;
  await warmUp(measured, { warmUps }, warmingLoad);
  await warmUp(nginx, { warmUps: nginx.name === 'nginx' ? 1 : warmUps }, warmingLoad);
  warmed.add(pair);
  for (let turn = 0; turn < bench.pairs; turn += 1) {
    pairs.push({ measured: await load(measured), nginx: await load(nginx) });
    bench.progress();
  }
  await check();
  const rssMiB = measured.rssBytes() / 1024 / 1024;
  await endPair(bench, pair, row);
  const ratios = pairs.map((one) => one.measured.cpuUs / one.nginx.cpuUs);
  const of = (side, field) => median(pairs.map((one) => one[side][field]));
  return {
    ratio: median(ratios),
    least: Math.min(...ratios),
    most: Math.max(...ratios),
    cpuUs: of('measured', 'cpuUs'),
    perSecond: of('measured', 'perSecond'),
    p99Ms: of('measured', 'p99Ms'),
    nginxCpuUs: of('nginx', 'cpuUs'),
    nginxPerSecond: of('nginx', 'perSecond'),
    rssMiB,
  };
}

/** Until its code is compiled: the compiler's threads take as much of the core as the server's. */
async function warmUp(server, { warmUps }, load) {
  for (let turn = 0; turn < warmUps; turn += 1) await load(server);
}

function makeCertificate(folder) {
  const tls = { cert: join(folder, 'tls.crt'), key: join(folder, 'tls.key') };
  if (existsSync(tls.cert)) return tls;
  const { status, stderr } = spawnSync('openssl', [
    'req',
    '-x509',
    '-newkey',
    'ec',
    '-pkeyopt',
    'ec_paramgen_curve:prime256v1',
    '-nodes',
    '-days',
    '30',
    '-subj',
    '/CN=127.0.0.1',
    '-keyout',
    tls.key,
    '-out',
    tls.cert,
  ]);
  if (status !== 0) throw new Error(`openssl req ended with ${status}: ${stderr}`);
  return tls;
}

/**
 * Verified and durable: the server says 201 when both are done. It and the clients share all cores. The server is warm, as that of a
 * release pipeline is; `coldCpuUs` is what the first ones cost it.
 */
async function runUploads(bench, { count, clients, batch }) {
  const each = bench.isQuick ? count / 4 : count;
  const warm = bench.isQuick ? QUICK_WARM_UPLOADS : WARM_UPLOADS;
  const { staging, publicKey } = await laySigned(join(bench.folder, 'signed'), each + warm);
  const rounds = [];
  for (let round = 0; round < (bench.isQuick ? 1 : 3); round += 1) {
    const { server, token } = await startEmpty(bench, publicKey);
    const load = { staging, token, clients, batch };
    const cold = await loadUploads(server, { ...load, from: each, count: warm });
    rounds.push({
      ...(await loadUploads(server, { ...load, from: 0, count: each })),
      coldCpuUs: cold.cpuUs,
    });
    await checkStored(server, staging, each);
    bench.progress();
    await stopAll();
  }
  const rates = rounds.map(({ perSecond }) => perSecond);
  return {
    count: each,
    perSecond: median(rates),
    least: Math.min(...rates),
    most: Math.max(...rates),
    cpuUs: median(rounds.map(({ cpuUs }) => cpuUs)),
    coldCpuUs: median(rounds.map(({ coldCpuUs }) => coldCpuUs)),
    p99Ms: median(rounds.map(({ p99Ms }) => p99Ms)),
  };
}

/** On a new data directory, which knows the key and has a token. */
async function startEmpty(bench, publicKey) {
  const data = newFolder(bench, 'uploads');
  const server = await startLookaside({ data, port: PORTS.lookaside, isPinned: false });
  runCommand(['key', 'add', publicKey, '--data', data]);
  const made = runCommand(['token', 'create', '--name', 'bench', '--data', data, '--json']);
  await settle(server);
  return { server, data, token: JSON.parse(made).token };
}

/** Deleted at the end of the run: within the minute after many files were deleted, ext4 without a journal makes new ones slowly. */
function newFolder({ folder, passing }, name) {
  const made = mkdtempSync(join(folder, `${name}-`));
  passing.push(made, `${made}.log`);
  return made;
}

async function checkStored(server, staging, count) {
  for (let number = 0; number < count; number += Math.max(1, Math.floor(count / 50))) {
    const path = `${signedPath(number)}/signature-1`;
    const bytes = Buffer.from(await (await fetch(`${server.url}/${path}`)).arrayBuffer());
    if (!bytes.equals(readFileSync(join(staging, path))))
      throw new Error(`${path} has other bytes than were uploaded`);
  }
}

/** What people do without us: gpgv, then curl -T into WebDAV of nginx. Nothing is durable there. Ours are those of the same run. */
async function runLoop(bench, { count }) {
  requirePrograms(['gpgv', 'curl', 'nginx', 'taskset']);
  const { staging, publicKey } = await laySigned(join(bench.folder, 'signed'), count);
  const root = join(bench.folder, 'dav');
  rmSync(root, { recursive: true, force: true });
  mkdirSync(root);
  const nginx = await startNginx({ folder: bench.folder, root, port: PORTS.nginx, isWritable: true });
  const script = `while read -r path; do
  gpgv -q --keyring "$KEY" --output /dev/null "$STAGING/$path" 2> /dev/null && curl -fsS -T "$STAGING/$path" "$URL/$path" || exit 1
done`;
  const paths = Array.from({ length: count }, (_, number) => `${signedPath(number)}/signature-1\n`).join('');
  const env = { ...process.env, KEY: publicKey, STAGING: staging, URL: nginx.url };
  const startedMs = performance.now();
  const { status, stderr } = spawnSync('sh', ['-c', script], { env, input: paths });
  const durationMs = performance.now() - startedMs;
  await stopAll();
  if (status !== 0) throw new Error(`gpgv and curl ended with ${status}: ${stderr}`);
  const perSecond = (1000 * count) / durationMs;
  const ours = bench.results.find(({ name }) => name === UPLOADS_NAME)?.figures.perSecond;
  return { perSecond, ...(ours === undefined ? {} : { timesLoop: ours / perSecond }) };
}

/** A command that stores all, with its start, on a server that is warm by uploads in batches. */
async function runStored(bench, { count }, command) {
  const { staging, publicKey } = await laySigned(join(bench.folder, 'signed'), count + WARM_UPLOADS);
  const source = newFolder(bench, 'pushed'); // push may write beside what it has sent
  for (let number = 0; number < count; number += 1) {
    cpSync(join(staging, signedPath(number)), join(source, signedPath(number)), { recursive: true });
  }
  const { server, data, token } = await startEmpty(bench, publicKey);
  await loadUploads(server, { staging, token, from: count, count: WARM_UPLOADS, clients: 4, batch: 50 });
  const tokenFile = join(bench.folder, 'token');
  writeFileSync(tokenFile, token, { mode: 0o600 });
  const beforeMs = server.cpuMs();
  const startedMs = performance.now();
  const args = command === 'push' ? ['--server', server.url, '--token-file', tokenFile] : ['--data', data];
  runCommand([command, source, ...args]);
  const durationMs = performance.now() - startedMs;
  const cpuUs = (1000 * (server.cpuMs() - beforeMs)) / count;
  await checkStored(server, staging, count);
  await stopAll();
  return { perSecond: (1000 * count) / durationMs, cpuUs };
}

/**
 * From the start of the program until the first read is answered, and what it holds: the most of then, and of when the
 * scan of the last start has ended.
 */
async function runStart(bench, { images }) {
  const { data } = await layData(bench, { images });
  await layRecorded({ data, root: null }, images);
  const tookMs = [];
  let rssMiB = 0;
  for (let turn = 1; turn <= bench.pairs; turn += 1) {
    const server = await startLookaside({ data, port: PORTS.lookaside, isPinned: false });
    const first = await fetch(`${server.url}/${imagePath(0)}/signature-1`);
    await first.arrayBuffer();
    tookMs.push(performance.now() - server.startedMs);
    await checkBytes(server, images);
    const look = () => {
      rssMiB = Math.max(rssMiB, server.rssBytes() / 1024 / 1024);
    };
    look();
    if (turn === bench.pairs) await settle(server);
    look();
    bench.progress();
    await stopAll();
  }
  return { startMs: median(tookMs), rssMiB };
}
