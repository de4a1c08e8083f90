// The trees that rows share: a row of the same size takes the tree that the row before it has left, with what a server has recorded of
// it. A row that runs alone makes both.

import { existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setImmediate as turn } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';
import { bytesOf, imagePath, layTree } from './material.mjs';
import { progressOf } from './progress.mjs';
import { startLookaside, unlessEnding, waitForScan } from './servers.mjs';

const { openDatabases } = await import('../dist/src/sqlite/databases.js');
const { openVerifierInProcess } = await import('../dist/src/openpgp/in-process.js');
const { judgedInPlace } = await import('../dist/src/service/judge.js');

const PORT = 18_151;
const LAID_AT_ONCE = 2000;
const JUDGED_AT_ONCE = 1000;
const COMPARED = 50;
const SITE = 'default';

/** The data directory, and the tree: `sigstore` in it, or one that is shared, which `root` names. `kind`: one of its own. */
export async function layData(
  { folder },
  { images, isShared = false, kind = isShared ? 'shared' : 'owned' },
) {
  const data = join(folder, `${kind}-${images}`);
  mkdirSync(data, { recursive: true });
  const tree = isShared ? join(folder, `tree-${images}`) : join(data, 'sigstore');
  await layLargeTree(tree, images);
  return { data, tree, root: isShared ? tree : null };
}

/** As layTree(), and a signal ends it. */
async function layLargeTree(tree, images) {
  const say = progressOf('laying images', images);
  const isLaid = existsSync(`${tree}.laid`);
  for (let from = 0; from < images && !isLaid; from += LAID_AT_ONCE) {
    await unlessEnding();
    layTree(tree, Math.min(images, from + LAID_AT_ONCE), from, images);
    say(from);
    await turn();
  }
}

/**
 * Records the tree as servers do, with a verdict on each image: one server takes it in, unless one has (`isTakenIn`). Its verdicts would take as long as those of
 * real signatures, one after the other. But the signatures of these trees are alike, as far as a verdict goes. So the first one is
 * examined, some others are held against it, and its verdict is written for all.
 */
export async function layRecorded({ data, root }, images, { isTakenIn = false } = {}) {
  const done = judgedMark(data);
  if (existsSync(done) && existsSync(join(data, 'index.db'))) return;
  if (!isTakenIn) {
    const server = await startLookaside({ data, root, port: PORT, isPinned: false });
    await waitForScan(server);
    await server.stop();
  }
  await giveVerdicts(data, images);
  writeFileSync(done, '');
}

/** All but the tree, so that nothing is recorded. */
export function forgetRecorded(data) {
  for (const name of ['index.db', 'index.db-wal', 'index.db-shm']) rmSync(join(data, name), { force: true });
  rmSync(judgedMark(data), { force: true });
}

const judgedMark = (data) => `${data}.judged`;

async function giveVerdicts(data, images) {
  const now = new Date();
  const verifier = openVerifierInProcess();
  const verdictOn = async (number) => {
    const [path, hex] = imagePath(number).split('@sha256=');
    const image = { site: SITE, layout: 'repository', path, algorithm: 'sha256', hex };
    return judgedInPlace(image, await verifier.examine(bytesOf(number), now, 'idle'));
  };
  const judgement = await verdictOn(0);
  for (let number = 1; number <= COMPARED; number += 1) {
    if (!isDeepStrictEqual(await verdictOn(number * 97), judgement))
      throw new Error('the signatures of the tree get different verdicts');
  }
  await verifier.close();
  const databases = await openDatabases({ dataDir: data, onUnusable: () => undefined });
  const say = progressOf('writing verdicts', images);
  try {
    for (let after = 0, count = 0; ; ) {
      await unlessEnding();
      const rows = await databases.index.unjudged(SITE, now, after, JUDGED_AT_ONCE);
      if (rows.length === 0) break;
      await databases.index.judge(rows.map(({ image, sha256 }) => ({ image, sha256, judgement })));
      after = rows.at(-1).id;
      count += rows.length;
      say(count);
    }
  } finally {
    await databases.close();
  }
}
