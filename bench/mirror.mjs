// `npm run bench -- mirror`: how fast a mirror is filled, beside `curl --parallel --parallel-max 16`, which neither verifies nor
// stores for good; and whether readers of what is stored notice that the upstream answers no more.
//   --images N      images with two signatures each; 2,000 unless told
//   --pairs N       how often each is measured, by turns; 3 unless told
//   --delays 50,1   times there and back in ms
//   --rows fill,hole   and `killed`: the server is killed twice on the way, and the sync is run again
//   --folder DIR    keeps the signatures for the next run
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { checkBytes, loadReads } from './load.mjs';
import { imagePath, layNames, laySigned, layTree, signedPath } from './material.mjs';
import { median } from './median.mjs';
import { requirePrograms } from './programs.mjs';
import { writeResults } from './report.mjs';
import { openFolder } from './run-folder.mjs';
import { MAIN, runCommand, settle, startDelay, startLookaside, startNginx, stopAll } from './servers.mjs';

const PORTS = { lookaside: 18_111, upstream: 18_112, line: 18_113 };
const SIGNATURES = 2;
const READ_IMAGES = 2000;

const { values: flags } = parseArgs({
  args: process.argv.slice(3),
  options: {
    images: { type: 'string', default: '2000' },
    pairs: { type: 'string', default: '3' },
    delays: { type: 'string', default: '50,1' },
    folder: { type: 'string' },
    rows: { type: 'string', default: 'fill,hole' },
  },
});
requirePrograms(['curl', 'nginx', 'taskset']);
const { path: folder, close } = openFolder(flags.folder, 'lookaside-bench-mirror-');
const images = Number(flags.images);
const pairs = Number(flags.pairs);
const results = [];
try {
  const rows = flags.rows.split(',');
  if (rows.includes('fill')) for (const delay of flags.delays.split(',').map(Number)) await fill(delay);
  if (rows.includes('hole')) await hole();
  if (rows.includes('killed')) for (const delay of flags.delays.split(',').map(Number)) await killed(delay);
  process.stdout.write(`written: ${writeResults(results, { isQuick: false, scale: 1 })}\n`);
} finally {
  await stopAll();
  close();
}

async function fill(delayMs) {
  const { staging, publicKey } = await laySigned(join(folder, 'signed-twice'), images, SIGNATURES);
  const turns = [];
  for (let turn = 0; turn < pairs; turn += 1) {
    await startNginx({ folder, root: staging, port: PORTS.upstream });
    await startDelay({ folder, port: PORTS.line, targetPort: PORTS.upstream, delay: delayMs });
    const curlSeconds = runCurl();
    const { seconds, cpuUs } = await runSync(staging, publicKey);
    turns.push({ seconds, curlSeconds, cpuUs, ratio: curlSeconds / seconds });
    process.stdout.write(`${delayMs} ms: ${seconds.toFixed(2)} s, curl ${curlSeconds.toFixed(2)} s\n`);
    await stopAll();
  }
  const of = (field) => median(turns.map((turn) => turn[field]));
  const ratios = turns.map(({ ratio }) => ratio);
  results.push({
    group: 'mirror',
    name: `mirror sync of ${images} images at ${delayMs} ms`,
    unit: '× curl',
    target: delayMs >= 10 ? 1 : 0.6,
    figures: {
      ratio: of('ratio'),
      least: Math.min(...ratios),
      most: Math.max(...ratios),
      seconds: of('seconds'),
      curlSeconds: of('curlSeconds'),
      perSecond: images / of('seconds'),
      cpuUs: of('cpuUs'),
    },
  });
  process.stdout.write(`${delayMs} ms: ${of('ratio').toFixed(2)} × curl, median of ${pairs}\n`);
}

/** The server dies when a third is stored, and when two thirds are; each time the same sync goes on. Starts are not counted. */
async function killed(delayMs) {
  const { staging, publicKey } = await laySigned(join(folder, 'signed-twice'), images, SIGNATURES);
  await startNginx({ folder, root: staging, port: PORTS.upstream });
  await startDelay({ folder, port: PORTS.line, targetPort: PORTS.upstream, delay: delayMs });
  const curlBefore = runCurl();
  const data = join(folder, 'killed');
  rmSync(data, { recursive: true, force: true });
  const tree = join(data, 'mirrors', 'm', 'team');
  const parts = [];
  for (const until of [images / 3, (2 * images) / 3, null]) {
    const server = await startLookaside({ data, port: PORTS.lookaside, isPinned: false });
    if (parts.length === 0) addMirror(data, publicKey);
    await settle(server);
    const [beforeMs, startedMs] = [server.cpuMs(), performance.now()];
    const syncing = startSync(data);
    while (until !== null && (existsSync(tree) ? readdirSync(tree).length : 0) < until) await wait(100);
    const report = until === null ? JSON.parse(await syncing) : null;
    parts.push({ seconds: (performance.now() - startedMs) / 1000, cpuMs: server.cpuMs() - beforeMs });
    if (report === null) {
      await server.kill();
      await syncing;
      const half = readdirSync(tree).filter((name) => readdirSync(join(tree, name)).length !== SIGNATURES);
      if (half.length > 0) throw new Error(`${half.length} sets are not whole, like ${half[0]}`);
    } else {
      if (report.counts.new + report.counts.unchanged !== images)
        throw new Error(`not all came: ${JSON.stringify(report.counts)}`);
      await checkMirrored(server, staging);
      await server.stop();
    }
  }
  const curlSeconds = (curlBefore + runCurl()) / 2;
  await stopAll();
  const seconds = parts.reduce((sum, part) => sum + part.seconds, 0);
  const cpuUs = (1000 * parts.reduce((sum, part) => sum + part.cpuMs, 0)) / images;
  const figures = { ratio: curlSeconds / seconds, seconds, curlSeconds, perSecond: images / seconds, cpuUs };
  const name = `mirror sync of ${images} images at ${delayMs} ms, killed twice`;
  results.push({ group: 'mirror', name, unit: '× curl', target: 1, figures });
  process.stdout.write(
    `${name}: ${seconds.toFixed(1)} s, curl ${curlSeconds.toFixed(1)} s: ${figures.ratio.toFixed(2)} × curl\n`,
  );
}

/** Its output once it has ended, however. */
function startSync(data) {
  const args = ['mirror', 'sync', 'm', listFile(), '--max-age', '1d', '--data', data, '--json'];
  const child = spawn(process.execPath, [MAIN, ...args], { stdio: ['ignore', 'pipe', 'ignore'] });
  let output = '';
  child.stdout.setEncoding('utf8').on('data', (text) => {
    output += text;
  });
  return new Promise((resolve) => {
    child.on('close', () => resolve(output));
  });
}

function listFile() {
  const list = join(folder, 'images.txt');
  writeFileSync(list, Array.from({ length: images }, (_, number) => `${named(number)}\n`).join(''));
  return list;
}

function addMirror(data, publicKey) {
  runCommand(['key', 'add', publicKey, '--data', data]);
  const url = `http://127.0.0.1:${PORTS.line}`;
  runCommand(['mirror', 'add', 'm', '--upstream', url, '--prefix', '/m', '--data', data]);
}

/** It knows every name ahead, also of those that are not there: a mirror learns the end of a set by asking. */
function runCurl() {
  const out = join(folder, 'curl');
  rmSync(out, { recursive: true, force: true });
  const config = join(folder, 'curl.conf');
  const lines = [];
  for (let number = 0; number < images; number += 1) {
    for (let signature = 1; signature <= SIGNATURES + 1; signature += 1) {
      const path = `${signedPath(number)}/signature-${signature}`;
      lines.push(`url = "http://127.0.0.1:${PORTS.line}/${path}"`, `output = "${join(out, path)}"`);
    }
  }
  writeFileSync(config, `${lines.join('\n')}\n`);
  const startedMs = performance.now();
  const args = [
    '--parallel',
    '--parallel-max',
    '16',
    '--silent',
    '--fail',
    '--create-dirs',
    '--config',
    config,
  ];
  spawnSync('curl', args, { env: { PATH: process.env.PATH }, stdio: 'ignore' });
  const seconds = (performance.now() - startedMs) / 1000;
  const got = readdirSync(join(out, 'team')).length;
  if (got !== images) throw new Error(`curl fetched ${got} of ${images} images`);
  return seconds;
}

async function runSync(staging, publicKey) {
  const data = join(folder, 'mirrored');
  rmSync(data, { recursive: true, force: true });
  const server = await startLookaside({ data, port: PORTS.lookaside, isPinned: false });
  addMirror(data, publicKey);
  const list = listFile();
  await settle(server);
  const beforeMs = server.cpuMs();
  const report = JSON.parse(runCommand(['mirror', 'sync', 'm', list, '--data', data, '--json']));
  if (report.counts.new !== images) throw new Error(`not all came: ${JSON.stringify(report.counts)}`);
  const cpuUs = (1000 * (server.cpuMs() - beforeMs)) / images;
  await checkMirrored(server, staging);
  // of the run: the start of a command is a row of its own
  return { seconds: (Date.parse(report.finishedAt) - Date.parse(report.startedAt)) / 1000, cpuUs };
}

function named(number) {
  return signedPath(number).replace('@sha256=', '@sha256:');
}

async function checkMirrored(server, staging) {
  for (let number = 0; number < images; number += Math.max(1, Math.floor(images / 50))) {
    for (let signature = 1; signature <= SIGNATURES; signature += 1) {
      const path = `${signedPath(number)}/signature-${signature}`;
      const bytes = Buffer.from(await (await fetch(`${server.url}/m/${path}`)).arrayBuffer());
      if (!bytes.equals(readFileSync(join(staging, path))))
        throw new Error(`${path} has other bytes than upstream`);
    }
  }
}

/** Reads of a mirror whose sets are all due for a refresh, with an upstream that never answers, beside a hosted site. */
async function hole() {
  requirePrograms(['wrk']);
  const data = join(folder, 'hole');
  if (!existsSync(data)) {
    layTree(join(data, 'sigstore'), READ_IMAGES);
    layTree(join(data, 'mirrors', 'm'), READ_IMAGES);
  }
  await startDelay({ folder, port: PORTS.line, targetPort: PORTS.upstream, delay: 'hole' });
  const server = await startLookaside({ data, port: PORTS.lookaside });
  const url = `http://127.0.0.1:${PORTS.line}`;
  spawnSync(process.execPath, ['dist/src/main.js', 'mirror', 'remove', 'm', '--data', data], {
    stdio: 'ignore',
  });
  runCommand(['mirror', 'add', 'm', '--upstream', url, '--prefix', '/m', '--max-age', '1s', '--data', data]);
  await settle(server);
  await checkBytes(server, READ_IMAGES);
  const hosted = layNames(join(folder, 'hosted.names'), { images: READ_IMAGES });
  const mirrored = join(folder, 'mirrored.names');
  const text = readFileSync(hosted, 'utf8');
  writeFileSync(mirrored, text.replace(/^\/team/gm, '/m/team'));
  const load = (names) => loadReads(server, { folder, names, seconds: 2, share404: 0.5 });
  await load(hosted);
  await load(mirrored);
  const turns = [];
  for (let turn = 0; turn < pairs; turn += 1) turns.push([await load(mirrored), await load(hosted)]);
  const cold = performance.now();
  const { status } = await fetch(`${server.url}/m/${imagePath(READ_IMAGES + 1)}/signature-1`);
  const coldSeconds = (performance.now() - cold) / 1000;
  const of = (side, field) => median(turns.map((turn) => turn[side][field]));
  const ratios = turns.map(([one, other]) => one.p99Ms / other.p99Ms);
  const figures = {
    ratio: median(ratios),
    least: Math.min(...ratios),
    most: Math.max(...ratios),
    p99Ms: of(0, 'p99Ms'),
    hostedP99Ms: of(1, 'p99Ms'),
    perSecond: of(0, 'perSecond'),
    hostedPerSecond: of(1, 'perSecond'),
    coldSeconds,
  };
  results.push({
    group: 'mirror',
    name: 'hits of a mirror whose upstream answers no more',
    unit: '× hosted p99',
    target: 1.2,
    figures,
  });
  process.stdout.write(
    `p99 ${figures.p99Ms.toFixed(2)} ms, of a hosted site ${figures.hostedP99Ms.toFixed(2)} ms: ${figures.ratio.toFixed(2)} ×; a cold ask got ${status} in ${coldSeconds.toFixed(2)} s\n`,
  );
}
