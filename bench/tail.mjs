// The slowest of a hundred reads at half of the server's peak, quiet and beside other work, by turns: while uploads are verified and a
// mirror is filled, and while a tree is taken in. Besides, how long the server's main thread was busy at a time, and the same reads from
// nginx on the same processors, beside the same work of ours.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { checkBytes, loadReads } from './load.mjs';
import { layNames, laySigned, layTree, signedPath } from './material.mjs';
import { median } from './median.mjs';
import { requirePrograms } from './programs.mjs';
import {
  MAIN,
  outputOfLoad,
  runCommand,
  settle,
  startDelay,
  startLookaside,
  startNginx,
  stopAll,
} from './servers.mjs';

const PORTS = { lookaside: 18_141, upstream: 18_142, line: 18_143, peer: 18_144 };
const STEADY = new URL('./steady.mjs', import.meta.url).pathname;
const LOOP_DELAY = new URL('./loop-delay.mjs', import.meta.url).pathname;
const SECONDS = 6;
/** With the second in which the clients that read are still new. */
const BUSY_SECONDS = SECONDS + 1;
const UPLOADS_A_SECOND = 50;
/** Enough for those seconds at the speed of the line. */
const SYNCED = 1200;
const LINE_MS = 50;
/** As many as are taken in in some seconds. */
const ADOPTED = 50_000;
/** One process with one thread puts no more load on a server. */
const MOST_A_SECOND = 8000;
const TURNS = 3;

/** Reads of an owned tree beside 50 uploads a second and the sync of a mirror 50 ms away. */
export async function runTailUploads(bench, { images }) {
  requirePrograms(['wrk', 'nginx', 'taskset']);
  const turns = Math.min(bench.pairs, TURNS);
  const uploads = UPLOADS_A_SECOND * BUSY_SECONDS;
  const { staging, publicKey } = await laySigned(
    join(bench.folder, 'signed'),
    Math.max(SYNCED, (2 * turns + 1) * uploads),
  );
  const read = await startRead(bench, images);
  const { server, data } = read;
  runCommand(['key', 'add', publicKey, '--data', data]);
  const { token } = JSON.parse(runCommand(['token', 'create', '--name', 'bench', '--data', data, '--json']));
  await startNginx({ folder: bench.folder, root: staging, port: PORTS.upstream });
  await startDelay({ folder: bench.folder, port: PORTS.line, targetPort: PORTS.upstream, delay: LINE_MS });
  const list = join(bench.folder, 'synced.txt');
  const synced = Array.from({ length: SYNCED }, (_, at) => signedPath(at).replace('@sha256=', '@sha256:'));
  writeFileSync(list, `${synced.join('\n')}\n`);
  for (let turn = 0; turn <= 2 * turns; turn += 1) {
    const upstream = `http://127.0.0.1:${PORTS.line}`;
    const mirror = ['mirror', 'add', `m${turn}`, '--upstream', upstream, '--prefix', `/m${turn}`];
    runCommand([...mirror, '--data', data]);
  }
  await settle(server);
  const env = { ...process.env, BENCH_TOKEN: token };
  const onOne = { turns, open: async () => read, close: () => settle(server) };
  const begin = async (_, turn) => {
    const sync = [MAIN, 'mirror', 'sync', `m${turn}`, list, '--data', data, '--json'];
    const syncing = outputOfLoad([process.execPath, ...sync]);
    await wait(1000); // the command starts
    const args = [
      process.execPath,
      STEADY,
      'upload',
      server.url,
      staging,
      turn * uploads,
      uploads,
      UPLOADS_A_SECOND,
    ];
    const uploading = outputOfLoad(args.map(String), env);
    return async () => {
      const { p99Ms } = JSON.parse(await uploading);
      const { counts, startedAt, finishedAt } = JSON.parse(await syncing);
      if (counts.new !== SYNCED) throw new Error(`not all came: ${JSON.stringify(counts)}`);
      return { uploadP99Ms: p99Ms, syncMs: Date.parse(finishedAt) - Date.parse(startedAt) };
    };
  };
  // the first uploads and the first sync run code that nothing has compiled yet, in each of their threads: they do not count
  const end = await begin(read, 2 * turns);
  await readSteadily(server, read);
  await end();
  await settle(server);
  return inTurns(bench, onOne, begin);
}

/**
 * Reads of an owned tree after images were copied into it, which the scans of each second take in. Each time on a new server: the
 * verdicts on what came take minutes, and with them its scans would not be quiet any more.
 */
export async function runTailAdoption(bench, { images }) {
  requirePrograms(['wrk', 'nginx', 'taskset', 'cp']);
  const other = layTree(join(bench.folder, `adopted-${ADOPTED}`), ADOPTED);
  const onNew = {
    turns: Math.min(bench.pairs, TURNS),
    open: () => startRead(bench, images, { LOOKASIDE_SCAN_INTERVAL: '1s' }),
    close: () => stopAll(),
  };
  return inTurns(bench, onNew, async ({ server, data }) => {
    const args = ['-al', join(other, 'team'), join(data, 'sigstore', 'adopted')];
    await once(spawn('cp', args, { stdio: 'inherit' }), 'close');
    const before = server.cpuMs();
    return async () => ({ cpuMs: server.cpuMs() - before });
  });
}

async function startRead(bench, images, settings = {}) {
  const data = mkdtempSync(join(bench.folder, 'tail-'));
  bench.passing.push(data, `${data}.log`);
  layTree(join(data, 'sigstore'), images);
  const names = layNames(join(bench.folder, `names-tree-${images}`), { images, areMissing: false });
  const server = await startLookaside({
    data,
    port: PORTS.lookaside,
    isPinned: false,
    args: ['--import', LOOP_DELAY],
    settings: { ...settings, BENCH_LOOP_DELAY: delayFile(data) },
  });
  await checkBytes(server, images);
  await settle(server);
  const load = { folder: bench.folder, names, seconds: 2, share404: 0.5 };
  await loadReads(server, load);
  const peak = (await loadReads(server, load)).perSecond;
  // nginx looks at each file, so it needs a tree that nothing is written to
  const root = layTree(join(bench.folder, `tree-${images}`), images);
  const peer = await startNginx({ folder: bench.folder, root, port: PORTS.peer, isPinned: false });
  return { server, peer, data, names, rate: Math.min(MOST_A_SECOND, Math.floor(peak / 2)) };
}

/** `begin` sets the other work going; what it returns waits for its end. Called twice in each turn, with numbers in turn. */
async function inTurns(bench, { turns, open, close }, begin) {
  const pairs = [];
  let rate = 0;
  for (let turn = 0; turn < turns; turn += 1) {
    const read = await open();
    rate = read.rate;
    const ours = await pairOf(
      () => steadily(read),
      () => begin(read, 2 * turn),
    );
    await close();
    const beside = await open();
    const peers = await pairOf(
      () => readSteadily(beside.peer, { ...beside, rate }),
      () => begin(beside, 2 * turn + 1),
    );
    await close();
    pairs.push({ ...ours, peerQuiet: peers.quiet, peerBusy: peers.busy });
    bench.progress();
  }
  await stopAll();
  const ratios = pairs.map(({ quiet, busy }) => busy.p99Ms / quiet.p99Ms);
  const of = (side, field) => median(pairs.map((pair) => pair[side][field]));
  const inAll = (field) =>
    pairs[0][field] === undefined ? {} : { [field]: median(pairs.map((pair) => pair[field])) };
  return {
    ratio: median(ratios),
    least: Math.min(...ratios),
    most: Math.max(...ratios),
    // of each pair, in their order: a trend tells that something was not yet at rest
    inOrder: ratios.map((ratio) => ratio.toFixed(2)).join(' '),
    rate,
    p99Ms: of('busy', 'p99Ms'),
    quietP99Ms: of('quiet', 'p99Ms'),
    p50Ms: of('busy', 'p50Ms'),
    quietP50Ms: of('quiet', 'p50Ms'),
    mostMs: of('busy', 'mostMs'),
    // how many took longer than 5 ms
    slow: of('busy', 'slow'),
    quietSlow: of('quiet', 'slow'),
    loopMostMs: of('busy', 'loopMostMs'),
    quietLoopMostMs: of('quiet', 'loopMostMs'),
    loopP99Ms: of('busy', 'loopP99Ms'),
    quietLoopP99Ms: of('quiet', 'loopP99Ms'),
    // how late the clients were by themselves, and how often none of their connections was free
    lateP99Ms: of('busy', 'lateP99Ms'),
    quietLateP99Ms: of('quiet', 'lateP99Ms'),
    waited: of('busy', 'waited'),
    hasPriority: pairs[0].busy.hasPriority,
    peerRatio: median(pairs.map(({ peerQuiet, peerBusy }) => peerBusy.p99Ms / peerQuiet.p99Ms)),
    peerP99Ms: of('peerBusy', 'p99Ms'),
    peerQuietP99Ms: of('peerQuiet', 'p99Ms'),
    peerSlow: of('peerBusy', 'slow'),
    ...inAll('uploadP99Ms'),
    ...inAll('syncMs'),
    ...inAll('tookInMs'),
  };
}

async function pairOf(read, begin) {
  const quiet = await read();
  const end = await begin();
  const busy = await read();
  return { quiet, busy, ...(await end()) };
}

async function steadily({ server, names, rate, data }) {
  await loopDelays(server, data);
  const read = await readSteadily(server, { names, rate });
  const { p99Ms: loopP99Ms, mostMs: loopMostMs } = await loopDelays(server, data);
  return { ...read, loopP99Ms, loopMostMs };
}

async function readSteadily({ url }, { names, rate }) {
  return JSON.parse(
    await outputOfLoad([process.execPath, STEADY, 'read', url, names, String(rate), String(SECONDS)]),
  );
}

const delayFile = (data) => join(data, 'loop-delay.json');

/** Since they were asked for last. */
async function loopDelays(server, data) {
  rmSync(delayFile(data), { force: true });
  server.signal('SIGUSR2');
  while (!existsSync(delayFile(data)) || readFileSync(delayFile(data)).length === 0) await wait(10);
  return JSON.parse(readFileSync(delayFile(data), 'utf8'));
}
