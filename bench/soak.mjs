// `npm run bench -- soak`: whether the memory stays flat. For half an hour, by turns: reads of images, names that are not there,
// and whole pulls, of a tree of which a part is in memory (256 MiB hold 120,000 images). The resident memory of the last third is
// held against that of the third before. Run it on a machine with nothing else to do.
//   --minutes N     how long, 30 unless told
//   --images N      in the tree, 150,000 unless told
//   --folder DIR    keeps the tree for the next run
// Fails when the last third's median is more than 5 % above that of the middle third.
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { Refusal } from '../scripts/run.mjs';
import { checkBytes, loadPulls, loadReads } from './load.mjs';
import { layNames, layTree } from './material.mjs';
import { median } from './median.mjs';
import { requirePrograms } from './programs.mjs';
import { machine, writeResults } from './report.mjs';
import { openFolder } from './run-folder.mjs';
import { settle, startLookaside, stopAll } from './servers.mjs';

const PORT = 18_110;
const TURN_SECONDS = 5;
const MOST_GROWTH = 0.05;

const { values: flags } = parseArgs({
  args: process.argv.slice(3),
  options: {
    minutes: { type: 'string', default: '30' },
    images: { type: 'string', default: '150000' },
    folder: { type: 'string' },
  },
});
const minutes = Number(flags.minutes);
const images = Number(flags.images);
if (!(minutes > 0) || !Number.isInteger(images) || images < 1)
  throw new Refusal('--minutes and --images want numbers above 0');

requirePrograms(['wrk', 'taskset']);
const { path: folder, close } = openFolder(flags.folder, 'lookaside-soak-');
process.stderr.write(`${JSON.stringify(machine())}\n`);
try {
  await soak();
} finally {
  await stopAll();
  close();
}

async function soak() {
  const data = join(folder, `owned-${images}`);
  mkdirSync(data, { recursive: true });
  layTree(join(data, 'sigstore'), images);
  const names = layNames(join(folder, `names-tree-${images}`), { images, areMissing: false });
  const missing = layNames(join(folder, 'names-missing-200000'), { images: 200_000, areMissing: true });
  const server = await startLookaside({ data, port: PORT });
  await settle(server);
  await checkBytes(server, images);

  const turns = [
    () => loadReads(server, { folder, names, seconds: TURN_SECONDS, share404: 0.5 }),
    () => loadReads(server, { folder, names: missing, seconds: TURN_SECONDS, share404: 1 }),
    () => loadPulls(server, { images, seconds: TURN_SECONDS }),
  ];
  /** MiB at the end of each round of turns: each round does the same, so that one is like another. */
  const rssMiB = [];
  const cpuUs = [];
  const endMs = performance.now() + minutes * 60_000;
  while (performance.now() < endMs) {
    for (const turn of turns) cpuUs.push((await turn()).cpuUs);
    rssMiB.push(server.rssBytes() / 1024 / 1024);
    process.stderr.write(`${rssMiB.at(-1).toFixed(0)} `);
  }
  await checkBytes(server, images);
  report(rssMiB, cpuUs);
}

function report(rssMiB, cpuUs) {
  if (rssMiB.length < 9)
    throw new Error(`only ${rssMiB.length} rounds were measured, wanted 9: give more --minutes`);
  const third = Math.floor(rssMiB.length / 3);
  const [first, middle, last] = [0, 1, 2].map((part) =>
    median(part === 2 ? rssMiB.slice(2 * third) : rssMiB.slice(part * third, (part + 1) * third)),
  );
  const growth = last / middle - 1;
  const figures = {
    minutes,
    images,
    rounds: rssMiB.length,
    first,
    middle,
    last,
    growth,
    cpuUs: median(cpuUs),
  };
  const targets = [{ figure: 'growth', unit: 'of the middle third more', most: MOST_GROWTH }];
  const file = writeResults([{ group: 'soak', name: `soak of ${minutes} minutes`, targets, figures }], {
    isQuick: false,
    scale: 1,
  });
  process.stdout.write(
    `\nRSS in MiB, the median of each third: ${first.toFixed(1)}, ${middle.toFixed(1)}, ${last.toFixed(1)}: ${(100 * growth).toFixed(1)} % from the middle third to the last, at most ${100 * MOST_GROWTH} % wanted\nwritten: ${file}\n`,
  );
  if (growth > MOST_GROWTH) {
    process.stderr.write('the memory GREW: see above\n');
    process.exitCode = 1;
  }
}
