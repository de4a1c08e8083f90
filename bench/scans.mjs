// Scans of whole trees: one that nothing has changed in, and one that nothing is recorded of. Beside them, in the same run, programs that
// look at the same files.
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { checkBytes } from './load.mjs';
import { layNames } from './material.mjs';
import { median } from './median.mjs';
import { requirePrograms } from './programs.mjs';
import { progressOf } from './progress.mjs';
import { outputOfLoad, SCANNED, settle, startLookaside, stopAll, waitForScan } from './servers.mjs';
import { forgetRecorded, layData, layRecorded } from './trees.mjs';

const PORT = 18_121;
const STEADY = new URL('./steady.mjs', import.meta.url).pathname;
const READ_SECONDS = 6;
const READS_A_SECOND = 4000;
/** Of the tree, read meanwhile. */
const NAMES_READ = 1000;
const MOST_ADOPTIONS = 3;

/** Processor time of a scan that finds all as it was, for an image; in times `find` that prints size and times of each file. */
export async function runRescan(bench, { images, isShared = false, mostPairs = bench.pairs }) {
  requirePrograms(['find', 'sh']);
  const { data, tree, root } = await layData(bench, { images, isShared });
  await layRecorded({ data, root }, images);
  rmSync(logOf(data), { force: true });
  const settings = { LOOKASIDE_SCAN_INTERVAL: '1s' };
  const server = await startLookaside({ data, root, port: PORT, isPinned: false, settings });
  await checkBytes(server, images);
  await waitForScan(server);
  const pairs = [];
  for (let turn = 0; turn < Math.min(bench.pairs, mostPairs); turn += 1) {
    const before = scansTold(data).length;
    const beforeMs = server.cpuMs();
    const measured = await scans(data, before + 1, () => requireRunning(server));
    const cpuUs = (1000 * (server.cpuMs() - beforeMs)) / measured.images;
    requireAll(measured, images);
    server.signal('SIGSTOP'); // the next scan is to begin after the other program
    try {
      const peer = peerUs(`find '${tree}' -type f -printf '%p %s %T@ %C@\\n'`, measured.images);
      pairs.push({ cpuUs, tookMs: measured.tookMs, peerUs: peer });
    } finally {
      server.signal('SIGCONT');
    }
    bench.progress();
  }
  const rssMiB = mibOf(server);
  await stopAll();
  return figuresOf(pairs, images, { rssMiB });
}

/** @throws when it has ended, as no scan comes then */
function requireRunning(server) {
  if (server.hasEnded()) throw new Error(`${server.name} has ended`);
}

/** @throws when the scan has missed some; what rows of growth have uploaded is there besides */
function requireAll(scan, images) {
  if (scan.images < images) throw new Error(`a scan has found ${scan.images} of ${images} images`);
}

/**
 * The same of a tree that is taken in, until all is recorded without verdicts; in times `sha256sum`. Reads beside it, by a clock: of a
 * tree of a million in the same turn, as each takes minutes. The same reads of a server that has just started over what is recorded tell
 * what of their time is the start's.
 */
export async function runAdoption(bench, { images, mostPairs = MOST_ADOPTIONS }) {
  requirePrograms(['find', 'sh', 'wrk', 'taskset']);
  const { data, tree } = await layData(bench, { images });
  const names = layNames(join(bench.folder, `names-scanned-${images}`), {
    images: Math.min(NAMES_READ, images),
    areMissing: false,
  });
  const turns = Math.min(bench.pairs, mostPairs);
  const pairs = [];
  for (let turn = 0; turn < turns; turn += 1) {
    pairs.push(await adoptOnce({ data, tree, images }, turns === 1 ? names : null));
    bench.progress();
  }
  const beside = turns === 1 ? pairs[0] : await adoptOnce({ data, tree, images }, names);
  await layRecorded({ data, root: null }, images, { isTakenIn: true });
  const started = await readSteadily(await startLookaside({ data, port: PORT, isPinned: false }), names);
  await stopAll();
  const again = await startLookaside({ data, port: PORT, isPinned: false });
  await settle(again);
  const quiet = await readSteadily(again, names);
  await stopAll();
  if (!beside.isMeanwhile)
    process.stderr.write('the tree was taken in before its reads had ended: take more images\n');
  return figuresOf(pairs, images, {
    rssMiB: Math.max(...pairs.map((pair) => pair.rssMiB)),
    startMiB: median(pairs.map((pair) => pair.startMiB)),
    mostMiB: Math.max(...pairs.map((pair) => pair.mostMiB)),
    startMs: median(pairs.map((pair) => pair.startMs)),
    quietP99Ms: quiet.p99Ms,
    startedP99Ms: started.p99Ms,
    ...(beside.isMeanwhile ? { p99Ms: beside.reads.p99Ms, p99Ratio: beside.reads.p99Ms / quiet.p99Ms } : {}),
  });
}

/** `names`: what is read meanwhile; null: nothing, and the other program is measured too. */
async function adoptOnce({ data, tree, images }, names) {
  forgetRecorded(data);
  rmSync(logOf(data), { force: true });
  const server = await startLookaside({ data, port: PORT, isPinned: false });
  const startMs = performance.now() - server.startedMs;
  const startMiB = mibOf(server);
  await checkBytes(server, images);
  let reads = null;
  let isMeanwhile = false;
  const reading = names === null ? null : readSteadily(server, names);
  reading?.then(
    (told) => {
      reads = told;
      isMeanwhile = !server.hasScanned();
    },
    () => undefined,
  );
  let mostMiB = startMiB;
  const say = progressOf('taking in the tree');
  const measured = await scans(data, 1, () => {
    requireRunning(server);
    say();
    mostMiB = Math.max(mostMiB, mibOf(server));
  });
  const cpuUs = (1000 * server.cpuMs()) / measured.images;
  requireAll(measured, images);
  const rssMiB = mibOf(server);
  await reading;
  await stopAll();
  const peer = peerUs(`find '${tree}' -type f -exec sha256sum {} +`, measured.images);
  const told = { cpuUs, rssMiB, startMiB, mostMiB, startMs, tookMs: measured.tookMs, reads, isMeanwhile };
  return { ...told, peerUs: peer };
}

/** By a clock, and few: what the other work makes of them is asked, not how many there can be. */
async function readSteadily({ url }, names) {
  const args = [process.execPath, STEADY, 'read', url, names, String(READS_A_SECOND), String(READ_SECONDS)];
  return JSON.parse(await outputOfLoad(args));
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

const mibOf = (server) => server.rssBytes() / 1024 / 1024;
const logOf = (data) => `${data}.log`;

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
    await wait(50);
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
