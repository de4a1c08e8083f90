// Scans of whole trees: one that nothing has changed in, and one that nothing is recorded of. Beside them, in the same run, programs that
// look at the same files.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { checkBytes, loadReads } from './load.mjs';
import { layNames, layTree } from './material.mjs';
import { median } from './median.mjs';
import { requirePrograms } from './programs.mjs';
import { SCANNED, settle, startLookaside, stopAll } from './servers.mjs';

const PORT = 18_121;
const READ_SECONDS = 2;
/** Of the tree, read meanwhile. */
const NAMES_READ = 1000;

/** Processor time of a scan that finds all as it was, for an image; in times `find` that prints size and times of each file. */
export async function runRescan(bench, { images, isShared = false }) {
  requirePrograms(['find', 'sh']);
  const { data, root } = layScanned(bench.folder, images, isShared);
  const first = await startLookaside({ data, root, port: PORT, isPinned: false });
  await checkBytes(first, images);
  await scans(data, 1);
  await settle(first); // verdicts on what is new take longer
  await stopAll();
  const settings = { LOOKASIDE_SCAN_INTERVAL: '1s' };
  const server = await startLookaside({ data, root, port: PORT, isPinned: false, settings });
  const pairs = [];
  for (let turn = 0; turn < bench.pairs; turn += 1) {
    const before = scansTold(data).length;
    await scans(data, before + 1);
    const beforeMs = server.cpuMs();
    const measured = await scans(data, before + 2);
    const cpuUs = (1000 * (server.cpuMs() - beforeMs)) / images;
    if (measured.images !== images)
      throw new Error(`a scan has found ${measured.images} of ${images} images`);
    pairs.push({
      cpuUs,
      tookMs: measured.tookMs,
      peerUs: peerUs(`find '${rootOf(data, root)}' -type f -printf '%p %s %T@ %C@\\n'`, images),
    });
    bench.progress();
  }
  const rssMiB = mibOf(server);
  await stopAll();
  return figuresOf(pairs, images, { rssMiB });
}

/** The same of a tree that is taken in, until all is recorded without verdicts; in times `sha256sum`. */
export async function runAdoption(bench, { images }) {
  requirePrograms(['find', 'sh', 'wrk', 'taskset']);
  const { data } = layScanned(bench.folder, images, false);
  const names = layNames(join(bench.folder, `names-scanned-${images}`), {
    images: Math.min(NAMES_READ, images),
    areMissing: false,
  });
  const load = { folder: bench.folder, names, seconds: READ_SECONDS, share404: 0.5 };
  const pairs = [];
  for (let turn = 0; turn < Math.min(bench.pairs, 3); turn += 1) {
    forget(data);
    const server = await startLookaside({ data, port: PORT, isPinned: false });
    const startMs = performance.now() - server.startedMs;
    const startMiB = mibOf(server);
    await checkBytes(server, images);
    let mostMiB = startMiB;
    const measured = await scans(data, 1, () => {
      mostMiB = Math.max(mostMiB, mibOf(server));
    });
    const cpuUs = (1000 * server.cpuMs()) / images;
    if (measured.images !== images)
      throw new Error(`a scan has found ${measured.images} of ${images} images`);
    const rssMiB = mibOf(server);
    await stopAll();
    pairs.push({
      cpuUs,
      rssMiB,
      startMiB,
      mostMiB,
      startMs,
      tookMs: measured.tookMs,
      peerUs: peerUs(`find '${rootOf(data, null)}' -type f -exec sha256sum {} +`, images),
    });
    bench.progress();
  }
  forget(data);
  const server = await startLookaside({ data, port: PORT, isPinned: false });
  const meanwhile = await loadReads(server, load);
  const isScanning = scansTold(data).length === 0;
  await scans(data, 1);
  await stopAll();
  const again = await startLookaside({ data, port: PORT, isPinned: false });
  await settle(again);
  const quiet = await loadReads(again, load);
  await stopAll();
  if (!isScanning)
    process.stderr.write('the tree was taken in before its reads had ended: take more images\n');
  return figuresOf(pairs, images, {
    rssMiB: Math.max(...pairs.map((pair) => pair.rssMiB)),
    startMiB: median(pairs.map((pair) => pair.startMiB)),
    mostMiB: Math.max(...pairs.map((pair) => pair.mostMiB)),
    startMs: median(pairs.map((pair) => pair.startMs)),
    p99Ms: isScanning ? meanwhile.p99Ms : undefined,
    quietP99Ms: quiet.p99Ms,
  });
}

function figuresOf(pairs, images, more) {
  const ratios = pairs.map(({ cpuUs, peerUs: peer }) => cpuUs / peer);
  return {
    ratio: median(ratios),
    least: Math.min(...ratios),
    most: Math.max(...ratios),
    cpuUs: median(pairs.map(({ cpuUs }) => cpuUs)),
    peerUs: median(pairs.map((pair) => pair.peerUs)),
    perSecond: (1000 * images) / median(pairs.map(({ tookMs }) => tookMs)),
    ...more,
  };
}

function layScanned(folder, images, isShared) {
  const data = join(folder, `${isShared ? 'scanned-shared' : 'scanned'}-${images}`);
  mkdirSync(data, { recursive: true });
  const root = layTree(join(data, isShared ? '../scanned-tree' : 'sigstore'), images);
  rmSync(logOf(data), { force: true });
  return { data, root: isShared ? root : null };
}

/** All but the tree, so that nothing is recorded. */
function forget(data) {
  for (const name of ['index.db', 'index.db-wal', 'index.db-shm']) rmSync(join(data, name), { force: true });
  rmSync(logOf(data), { force: true });
}

const mibOf = (server) => server.rssBytes() / 1024 / 1024;
const logOf = (data) => `${data}.log`;
const rootOf = (data, root) => root ?? join(data, 'sigstore');

function scansTold(data) {
  if (!existsSync(logOf(data))) return [];
  const lines = readFileSync(logOf(data), 'utf8')
    .split('\n')
    .filter((line) => line.includes(SCANNED));
  return lines.map((line) => JSON.parse(line));
}

/** The last of so many scans, once it has ended. `look` is called now and then meanwhile. */
async function scans(data, count, look = () => undefined) {
  for (;;) {
    look();
    const told = scansTold(data);
    if (told.length >= count) return told[count - 1];
    await wait(10);
  }
}

/** Processor microseconds of a command and of what it starts, for an image. */
function peerUs(command, images) {
  const { status, stdout, stderr } = spawnSync('sh', ['-c', `${command} > /dev/null; times`], {
    encoding: 'utf8',
  });
  if (status !== 0) throw new Error(`${command} ended with ${status}: ${stderr}`);
  const [, children = ''] = stdout.trim().split('\n');
  const seconds = children.split(' ').map((time) => {
    const [minutes, rest] = time.split('m');
    return 60 * Number(minutes) + Number.parseFloat(rest);
  });
  return (1_000_000 * (seconds[0] + seconds[1])) / images;
}
