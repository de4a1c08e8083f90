// Forms of many uploads to the server as it runs: an answer for each part, and bounds for memory and time.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { MAX_BATCH_BYTES, MAX_BATCH_PARTS } from '../../src/domain/limits.ts';
import { memoryOf } from '../faults/memory.ts';
import { count, isFull, promise } from '../faults/promise.ts';
import { folderOf } from '../store/lay.ts';
import { needs } from './available.ts';
import { BOMB_BYTES, bzip2Bomb, deflateBomb } from './bombs.ts';
import { eventually } from './eventually.ts';
import { isByNodes } from './served-by.ts';
import { makeSigner } from './signer.ts';
import { type BatchAnswer, type Form, formOf, type Part, summaryOf, takenAs } from './uploads.ts';
import { openUploadsScene, type UploadsScene } from './uploads-scene.ts';

let scene: UploadsScene;

before(async () => {
  scene = await openUploadsScene();
});

after(() => scene?.[Symbol.asyncDispose]());

const times = <T>(count: number, make: (index: number) => T): T[] =>
  Array.from({ length: count }, (_, index) => make(index));

/** How many signatures of one image come in each of several batches. */
const PARTS_TOGETHER = count(15, 5);

/** Statements of different names about one image. */
const differentSignatures = (repository: string, count: number): Buffer[] =>
  times(count, (index) => scene.signer.sign({ repository, tag: `v${index}` }));

describe('a batch', () => {
  test('tells of each part in its order, and a refused one stops no other', async () => {
    const stranger = makeSigner('stranger');
    const repository = 'batch/mixed';
    const sign = (tag: string, timestamp?: number) =>
      scene.signer.sign(timestamp === undefined ? { repository, tag } : { repository, tag, timestamp });
    const one = sign('one');
    const elsewhere = scene.signer.sign({ repository: 'batch/elsewhere', tag: 'v1' });
    const parts: readonly (readonly [part: Part, expected: string])[] = [
      [{ bytes: one }, 'created'],
      [{ bytes: one }, 'exists'],
      [{ bytes: sign('one', 1) }, 'exists'],
      [{ bytes: Buffer.alloc(0) }, 'EMPTY'],
      [{ bytes: Buffer.from('<html>') }, 'FIRST_BYTE'],
      [{ bytes: Buffer.from('-----BEGIN PGP MESSAGE-----\n') }, 'ARMORED'],
      [{ bytes: Buffer.concat([one, one]) }, 'STRUCTURE_INVALID'],
      [{ bytes: stranger.sign({ repository, tag: 'v1' }) }, 'KEY_UNKNOWN'],
      [{ bytes: elsewhere, fileName: `${folderOf(repository)}/signature-1` }, 'DIGEST_MISMATCH'],
      [
        {
          bytes: scene.signer.sign({ repository: 'batch/other', manifest: repository, tag: 'v1' }),
          fileName: `${folderOf(repository)}/signature-1`,
        },
        'REPOSITORY_MISMATCH',
      ],
      [{ bytes: elsewhere, fileName: `${folderOf('batch/elsewhere')}/signature-5` }, 'created'],
      [{ bytes: Buffer.alloc(128 * 1024 + 1, 0x89) }, 'TOO_LARGE'],
      [{ bytes: sign('two'), fileName: 'C:\\signatures\\two.signature' }, 'created'],
    ];
    const { status, results } = await scene.uploads.batch(parts.map(([part]) => part));
    assert.equal(status, 200);
    assert.deepEqual(
      results.map(({ part }) => part),
      parts.map((_, index) => index),
    );
    assert.deepEqual(
      results.map(summaryOf),
      parts.map(([, expected]) => expected),
    );
    await scene.assertHolds(folderOf(repository), [one, sign('two')]);
    await scene.assertHolds(folderOf('batch/elsewhere'), [elsewhere]);
  });

  test('has room for 100 parts and refuses the form with one more, of which nothing is stored', async () => {
    // of ten images: each upload is held against all that its image has
    const repositories = times(10, (image) => `batch/parts-${image}`);
    const byImage = repositories.map((repository) => differentSignatures(repository, MAX_BATCH_PARTS / 10));
    const most = byImage.flat().map((bytes) => ({ bytes }));
    const one = scene.signer.sign({ repository: 'batch/parts-more', tag: 'v1' });
    const tooMany = await scene.uploads.batch([...most, { bytes: one }]);
    assert.deepEqual([tooMany.status, tooMany.code], [413, 'TOO_LARGE']);
    for (const repository of repositories) await scene.assertHolds(folderOf(repository), []);
    assert.equal((await scene.uploads.batch(most)).status, 200);
    for (const [image, repository] of repositories.entries()) {
      await scene.assertHolds(folderOf(repository), byImage[image] ?? []);
    }
  });

  test('has room for 16 MiB in all and refuses one byte more, of which nothing is stored', async () => {
    const repository = 'batch/bytes';
    const bytes = scene.signer.sign({ repository, tag: 'v1' });
    const sized = async (sizeBytes: number): Promise<Form> => {
      const bare = await formOf([{ bytes }, { bytes: Buffer.alloc(0) }]);
      const filling = Buffer.alloc(sizeBytes - bare.body.length, 'x');
      return formOf([{ bytes }, { bytes: filling }]);
    };
    const over = await sized(MAX_BATCH_BYTES + 1);
    assert.equal(over.body.length, MAX_BATCH_BYTES + 1);
    const refused = await scene.uploads.form(over);
    assert.deepEqual([refused.status, refused.code], [413, 'TOO_LARGE']);
    await scene.assertHolds(folderOf(repository), []);
    const { status, results } = await scene.uploads.form(await sized(MAX_BATCH_BYTES));
    assert.equal(status, 200);
    assert.deepEqual(results.map(summaryOf), ['created', 'TOO_LARGE']);
    await scene.assertHolds(folderOf(repository), [bytes]);
  });

  test('beside others to the same image leaves its numbers without a gap', async () => {
    const repository = 'batch/together';
    const batches = times(6, (batch) =>
      times(PARTS_TOGETHER, (index) => scene.signer.sign({ repository, tag: `b${batch}-${index}` })),
    );
    const answers = await Promise.all(
      batches.map((signatures) => scene.uploads.batch(signatures.map((bytes) => ({ bytes })))),
    );
    const byNumber = new Map<number, Buffer>();
    for (const [batch, { results }] of answers.entries()) {
      const numbers = results.map((result) => (result.result === 'created' ? result.number : 0));
      assert.deepEqual(
        numbers,
        [...numbers].sort((a, b) => a - b),
        'parts of one image are stored in their order',
      );
      for (const [part, number] of numbers.entries()) {
        byNumber.set(number, batches[batch]?.[part] ?? Buffer.alloc(0));
      }
    }
    await scene.assertHolds(
      folderOf(repository),
      times(6 * PARTS_TOGETHER, (index) => byNumber.get(index + 1) ?? Buffer.alloc(0)),
    );
  });

  test('leaves nothing behind', () => scene.assertNoDebris());
});

/** An uploader who has no room sends the whole form again, as often as he is refused: with eight of them that took most of the time. */
const BATCHES = count(8, 3);
const MEMORY_LIMIT_BYTES = 512 * 2 ** 20;
const BOMB_LIMIT_MS = 2000;
const BOMBS = count(MAX_BATCH_PARTS, 20);
/** How many of a hundred may be late: those for which a machine with other work to do takes longer than a verdict may. */
const MOST_BUSY = count(0, 10);
const PART_BYTES = 128 * 1024;
const PATIENCE_MS = 300_000;

describe(`${BATCHES} batches at once`, needs('bzip2'), () => {
  const READ = 'read/app';
  let busy: UploadsScene;
  let bombs: ReadonlyMap<string, Buffer>;

  before(async () => {
    busy = await openUploadsScene();
    bombs = new Map([
      ['deflate', deflateBomb(busy.signer, 'zip')],
      ['zlib', deflateBomb(busy.signer, 'zlib')],
      ['bzip2', bzip2Bomb(busy.signer)],
    ]);
    const read = busy.signer.sign({ repository: READ, tag: 'v1' });
    takenAs(await busy.uploads.put(`${folderOf(READ)}/signature-1`, read), 201);
  });

  after(() => busy?.[Symbol.asyncDispose]());

  /** One uploader has room for some of them at a time: the others come again, as they are told. */
  function sendPatiently(form: Form): Promise<BatchAnswer> {
    return eventually(async () => {
      const answer = await busy.uploads.form(form);
      assert.notEqual(answer.code, 'BUSY');
      return answer;
    }, PATIENCE_MS);
  }

  async function sendAll(forms: readonly Form[]): Promise<readonly BatchAnswer[]> {
    let isOver = false;
    const sent = Promise.all(forms.map(sendPatiently)).finally(() => {
      isOver = true;
    });
    let reads = 0;
    const read = async () => {
      while (!isOver) {
        const [there, beyond] = await Promise.all([
          busy.uploads.get(`${folderOf(READ)}/signature-1`),
          busy.uploads.get(`${folderOf(READ)}/signature-2`),
        ]);
        assert.deepEqual([there.status, beyond.status], [200, 404]);
        reads += 1;
      }
    };
    const [answers] = await Promise.all([sent, read()]);
    assert.ok(reads > 0);
    return answers;
  }

  test(`of ${BOMBS} bombs are refused within 512 MiB of memory, and reads go on`, async (t) => {
    const files = [...bombs.values()];
    const form = await formOf(
      times(BOMBS, (part) => ({ bytes: files[part % files.length] ?? Buffer.alloc(0) })),
    );
    const answers = await sendAll(times(BATCHES, () => form));
    const refusals = answers.flatMap(({ status, results }) => {
      assert.equal(status, 200);
      return results.map(summaryOf);
    });
    const others = refusals.filter((refusal) => refusal !== 'DECOMPRESSION_LIMIT');
    assert.equal(refusals.length, BATCHES * BOMBS);
    assert.deepEqual(new Set([...others, 'BUSY']), new Set(['BUSY']));
    assert.ok(others.length <= (refusals.length * MOST_BUSY) / 100, `${others.length} are BUSY`);
    const { peakBytes } = await memoryOf(busy.server.pid);
    t.diagnostic(`peak memory ${Math.round(peakBytes / 2 ** 20)} MiB`);
    assert.ok(peakBytes <= MEMORY_LIMIT_BYTES, `${peakBytes} bytes`);
  });

  const LARGEST = {
    id: 'P7',
    what: `${BATCHES} forms of the 100 largest signatures at once are stored, and reads go on`,
    wanted: 'at most 512 MiB of memory',
  } as const;
  for (const promised of isFull ? [LARGEST] : [])
    promise(promised, async (see) => {
      const largest = (batch: number, part: number) => {
        const what = { repository: `large/app-${batch}-${part}`, tag: 'v1' };
        const bare = busy.signer.sign({ ...what, filling: '' }).length;
        // packets longer than the bare one's have longer lengths: a few bytes less are the largest
        return busy.signer.sign({ ...what, filling: 'x'.repeat(PART_BYTES - bare - 8) });
      };
      const forms = await Promise.all(
        times(BATCHES, (batch) =>
          formOf(times(MAX_BATCH_PARTS, (part) => ({ bytes: largest(batch, part) }))),
        ),
      );
      for (const { status, results } of await sendAll(forms)) {
        assert.equal(status, 200);
        assert.deepEqual(
          // one that a node has stored too late to say so is there when it comes again
          results.map(summaryOf).map((summary) => (isByNodes && summary === 'exists' ? 'created' : summary)),
          times(MAX_BATCH_PARTS, () => 'created'),
        );
      }
      const { peakBytes } = await memoryOf(busy.server.pid);
      see(`${Math.round(peakBytes / 2 ** 20)} MiB of memory`);
      assert.ok(peakBytes <= MEMORY_LIMIT_BYTES, `${peakBytes} bytes`);
    });

  test('of one part that is as large as the form may be are refused within 512 MiB of memory', async (t) => {
    const form = await formOf([{ bytes: Buffer.alloc(MAX_BATCH_BYTES - 1024, 0x89) }]);
    for (const { status, results } of await sendAll(times(BATCHES, () => form))) {
      assert.deepEqual([status, results.map(summaryOf)], [200, ['TOO_LARGE']]);
    }
    const { peakBytes } = await memoryOf(busy.server.pid);
    t.diagnostic(`peak memory ${Math.round(peakBytes / 2 ** 20)} MiB`);
    assert.ok(peakBytes <= MEMORY_LIMIT_BYTES, `${peakBytes} bytes`);
  });

  for (const what of ['deflate', 'zlib', 'bzip2']) {
    test(`a bomb of 128 KiB by ${what} is refused in under 2 s`, async (t) => {
      const bomb = bombs.get(what) ?? Buffer.alloc(0);
      assert.ok(bomb.length > 0.95 * BOMB_BYTES && bomb.length <= BOMB_BYTES, `${bomb.length} bytes`);
      const startedMs = performance.now();
      const { status, code } = await busy.uploads.post(folderOf(READ), bomb);
      const tookMs = performance.now() - startedMs;
      t.diagnostic(`answered in ${Math.round(tookMs)} ms`);
      assert.deepEqual([status, code], [422, 'DECOMPRESSION_LIMIT']);
      assert.ok(tookMs < BOMB_LIMIT_MS, `${tookMs} ms`);
    });
  }
});
