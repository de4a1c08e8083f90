// What a read, a page of a list and an upload cost with many images in the index, beside the same with 10,000: two servers of ours by
// turns, which the next of these rows takes over.
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { checkBytes, loadReads, loadUploads } from './load.mjs';
import { layNames, laySigned } from './material.mjs';
import { median } from './median.mjs';
import { requirePrograms } from './programs.mjs';
import { runCommand, settle, startLookaside, stopAll } from './servers.mjs';
import { layData, layRecorded } from './trees.mjs';

const FEW = 10_000;
const PORTS = { few: 18_131, many: 18_132 };
/** Until there is a verdict on each image: the trees bring them along. */
const VERDICTS_MS = 900_000;
const EMPTY_PAGES = 3;
/** The same images on both sides: with more, the memory for sets would be measured, which has rows of its own. */
const READS = { images: 5000, warm: 3, seconds: 2 };
const UPLOADS = { warm: 1000, each: 200, clients: 16 };
const PAGES = { each: 300, clients: 4 };

/** Rows for rows.mjs. */
export const GROWTH_ROWS = [
  { name: 'reads of 5000 images in turn with 1000000 images, beside 10000', measure: measureReads },
  { name: 'pages of lists with 1000000 images, beside 10000', measure: measurePages },
  // last, as they add images
  { name: 'uploads with 1000000 images, beside 10000', measure: measureUploads },
].map(({ name, measure }) => ({
  group: 'growth',
  name,
  images: 1_000_000,
  leastImages: 2 * FEW,
  unit: `× ${FEW} images`,
  target: 1.3,
  run: (bench, row) => runGrowth(bench, row, measure),
}));

/** Those of the row before, when that was one of these too. */
let kept = null;

async function runGrowth(bench, { images }, measure) {
  if (images <= FEW) throw new Error(`${images} images are to be held against ${FEW}; give a larger --scale`);
  const servers = kept ?? [];
  kept = null;
  const load = await measure(bench);
  for (const [count, port] of [
    [FEW, PORTS.few],
    [images, PORTS.many],
  ]) {
    if (servers.length < 2) servers.push(await startGrown(bench, { count, port }));
  }
  for (const server of servers) await load(server, 0);
  const pairs = [];
  for (let turn = 0; turn < bench.pairs; turn += 1) {
    // each goes first as often as the other
    const order = turn % 2 === 0 ? [0, 1] : [1, 0];
    const costs = [];
    for (const at of order) costs[at] = await load(servers[at], turn + 1);
    pairs.push({ few: costs[0], many: costs[1] });
    bench.progress();
  }
  for (const { server, count } of servers) await checkBytes(server, count);
  const rssMiB = servers[1].server.rssBytes() / 1024 / 1024;
  if (bench.next?.group === 'growth') kept = servers;
  else await stopAll();
  const ratios = pairs.map(({ few, many }) => many / few);
  return {
    ratio: median(ratios),
    least: Math.min(...ratios),
    most: Math.max(...ratios),
    cpuUs: median(pairs.map(({ many }) => many)),
    fewCpuUs: median(pairs.map(({ few }) => few)),
    rssMiB,
  };
}

async function startGrown(bench, { count, port }) {
  const { folder } = bench;
  const { data } = await layData(bench, { images: count });
  await layRecorded({ data, root: null }, count);
  const server = await startLookaside({ data, port, isPinned: false });
  await checkBytes(server, count);
  const { publicKey } = await laySigned(join(folder, 'signed'), 0);
  runCommand(['key', 'add', publicKey, '--data', data]);
  const name = `growth-${Date.now()}`; // the folder may be kept
  const made = runCommand(['token', 'create', '--name', name, '--role', 'admin', '--data', data, '--json']);
  const { token } = JSON.parse(made);
  await settle(server); // also so that connections are let go that it has closed while the commands ran
  await judged({ server, token });
  await settle(server);
  return { server, count, token };
}

/** Waits until all that was taken in has its verdict: on a busy machine a server looks at rest while it gets none of the processor. */
async function judged({ server, token }) {
  const untilMs = performance.now() + VERDICTS_MS;
  for (let empty = 0; empty < EMPTY_PAGES; empty += 1) {
    const { signatures } = JSON.parse(
      await pageOf(server, token, '/api/v1/signatures?limit=1&state=unverified'),
    );
    if (signatures.length > 0) empty = -1;
    if (performance.now() > untilMs) throw new Error('there are still images without a verdict');
    await wait(500);
  }
}

/** @throws when it is not answered with 200 */
async function pageOf(server, token, path) {
  const answer = await fetch(`${server.url}${path}`, { headers: { authorization: `Bearer ${token}` } });
  const text = await answer.text();
  if (answer.status !== 200)
    throw new Error(`${path} was answered with ${answer.status}: ${text.slice(0, 200)}`);
  return text;
}

/** Microseconds of a read, half of them answered with 404; turn 0 warms up. */
async function measureReads({ folder }) {
  requirePrograms(['wrk', 'taskset']);
  const { images, warm, seconds } = READS;
  const names = layNames(join(folder, `names-tree-${images}`), { images, areMissing: false });
  const load = { folder, names, seconds, share404: 0.5 };
  return async ({ server }, turn) => {
    for (let more = turn === 0 ? warm : 1; more > 1; more -= 1) await loadReads(server, load);
    return (await loadReads(server, load)).cpuUs;
  };
}

/** Microseconds of an upload of one image; turn 0 warms up. Each image is new, also in a folder that is kept. */
async function measureUploads({ folder, pairs }) {
  const counter = join(folder, 'growth-uploaded');
  const begin = existsSync(counter) ? Number(readFileSync(counter, 'utf8')) : 0;
  const end = begin + UPLOADS.warm + pairs * UPLOADS.each;
  writeFileSync(counter, String(end));
  const { staging } = await laySigned(join(folder, 'signed'), end);
  return async ({ server, token }, turn) => {
    const from = turn === 0 ? begin : begin + UPLOADS.warm + (turn - 1) * UPLOADS.each;
    const count = turn === 0 ? UPLOADS.warm : UPLOADS.each;
    return (await loadUploads(server, { staging, token, from, count, clients: UPLOADS.clients })).cpuUs;
  };
}

/** Microseconds of a page: of all signatures, of those of a repository, and of the folder of one. */
async function measurePages() {
  return async ({ server, token }) => {
    const paths = [
      '/api/v1/signatures?limit=50',
      '/api/v1/signatures?limit=50&repository=team/app-3',
      '/team/',
    ];
    const beforeMs = server.cpuMs();
    let asked = 0;
    await Promise.all(
      Array.from({ length: PAGES.clients }, async () => {
        while (asked < PAGES.each) {
          const path = paths[asked++ % paths.length];
          const text = await pageOf(server, token, path);
          if (!text.includes('sha256=') && !text.includes('sha256:'))
            throw new Error(`${path} lists no image`);
        }
      }),
    );
    return (1000 * (server.cpuMs() - beforeMs)) / PAGES.each;
  };
}
