// Damage is found among however many files, and a damaged state.db is not taken for a good one.
import assert from 'node:assert/strict';
import { open, readFile, rename, stat, unlink, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { forEachConcurrently } from '../../src/domain/concurrency.ts';
import { describeOutcome, run } from '../clients/command.ts';
import { lookaside, runLookaside } from '../clients/server.ts';
import { openTempFolder } from '../clients/temp-folder.ts';
import { folderOf, layImage, signatureBytes } from '../store/lay.ts';
import { openTemplate } from './crash-scene.ts';
import { count, promise } from './promise.ts';

const FILES = count(100_000, 200);
const DEADLINE_MS = 20 * 60_000;
const LAID_AT_ONCE = 16;

promise(
  {
    id: 'P5',
    what: 'fsck names a flipped bit, a missing, an extra and two swapped files, and nothing else',
    wanted: `5 of 5 findings among ${FILES} files, exit status 1`,
  },
  async (see) => {
    await using temp = await openTempFolder();
    const data = temp.path;
    const root = path.join(data, 'sigstore');
    const numbers = Array.from({ length: FILES }, (_, number) => number);
    const repositoryOf = (number: number) => `team-${number % 100}/app-${number}`;
    await forEachConcurrently(numbers, LAID_AT_ONCE, async (number) => {
      await layImage(root, repositoryOf(number), signatureBytes(`image ${number}`));
    });
    const surroundings = { env: { PATH: process.env.PATH ?? '' }, deadlineMs: DEADLINE_MS };
    const command = (...args: readonly string[]) =>
      run(lookaside(...args, '--data', data, '--json'), surroundings);
    const reindexed = await command('reindex');
    assert.equal(reindexed.status, 0, describeOutcome(reindexed));
    const sound = await command('fsck');
    assert.equal(sound.status, 0, describeOutcome(sound));

    const placeOf = (position: number, signature = 1) =>
      `${folderOf(repositoryOf(Math.floor((FILES * position) / 10)))}/signature-${signature}`;
    const [flipped, missing, extra, one, other] = [
      placeOf(1),
      placeOf(3),
      placeOf(5, 2),
      placeOf(7),
      placeOf(9),
    ];
    const fileOf = (place: string) => path.join(root, place);
    const bytes = await readFile(fileOf(flipped));
    bytes[100] = (bytes[100] ?? 0) ^ 1;
    await writeFile(fileOf(flipped), bytes);
    await unlink(fileOf(missing));
    await writeFile(fileOf(extra), signatureBytes('extra'));
    await rename(fileOf(one), path.join(temp.path, 'swapped'));
    await rename(fileOf(other), fileOf(one));
    await rename(path.join(temp.path, 'swapped'), fileOf(other));

    const damaged = await command('fsck');
    const found: readonly { readonly kind: string; readonly path: string }[] = JSON.parse(
      damaged.stdout,
    ).findings;
    const named = found.map((finding) => `${finding.kind} ${finding.path}`).sort();
    const expected = [
      `changed ${flipped}`,
      `changed ${one}`,
      `changed ${other}`,
      `extra ${extra}`,
      `missing ${missing}`,
    ].sort();
    const right = named.filter((name) => expected.includes(name)).length;
    see(`${right} of ${named.length} findings among ${FILES} files, exit status ${damaged.status}`);
    assert.deepEqual(named, expected);
    assert.equal(damaged.status, 1);
  },
);

promise(
  {
    id: 'P5',
    what: 'a corrupt state.db is refused with the way to restore, and left as it is',
    wanted: 'refused, 0 bytes changed',
  },
  async (see) => {
    await using template = await openTemplate();
    const data = template.folder.path;
    const file = path.join(data, 'state.db');
    const { size } = await stat(file);
    const handle = await open(file, 'r+');
    await handle.write(Buffer.alloc(size - 200, 'x'), 0, size - 200, 200);
    await handle.close();
    const before = await readFile(file);
    const outcome = await runLookaside(['serve', '--data', data, '--listen', '127.0.0.1:0']);
    assert.notEqual(outcome.status, 0, describeOutcome(outcome));
    assert.match(outcome.stderr, /state\.db/);
    assert.match(outcome.stderr, /lookaside restore/);
    const after = await readFile(file);
    assert.deepEqual(after, before);
    see('refused, 0 bytes changed');
  },
);
