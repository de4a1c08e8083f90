// How much of batches is examined, and stored, at once.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { type ImageId, imageFolder } from '../../src/domain/image.ts';
import type { BatchPart } from '../../src/domain/receipt.ts';
import type { Claim } from '../../src/domain/verdict.ts';
import { createBatchBounds } from '../../src/service/batch-bounds.ts';
import { type BatchSteps, createUploadEach } from '../../src/service/upload-batch.ts';
import { folderOf } from '../store/lay.ts';
import { SITE } from '../store/open-store.ts';

const CLAIM: Claim = {
  algorithm: 'sha256',
  hex: 'c'.repeat(64),
  dockerReference: 'registry.example/team/last:1',
  creator: null,
};

const partsOf = (count: number): readonly BatchPart[] =>
  Array.from({ length: count }, (_, number) => ({
    bytes: Buffer.from([number]),
    fileName: `${folderOf(`team/app-${number}`)}/signature-1`,
  }));

/** Steps that store nothing until they are let go, and the folders of what was begun. */
function held() {
  const begun: string[] = [];
  let letGo: () => void = () => undefined;
  const isOver = new Promise<void>((resolve) => {
    letGo = resolve;
  });
  const steps: BatchSteps = {
    site: SITE,
    endsAll: () => false,
    // the cast: nothing here looks into what was verified
    verify: async () => ({}) as Awaited<ReturnType<BatchSteps['verify']>>,
    async store(_, image: ImageId) {
      begun.push(imageFolder(image));
      await isOver;
      return { created: true } as Awaited<ReturnType<BatchSteps['store']>>;
    },
  };
  return { begun, steps, letGo };
}

async function begunOf(uploadEach: ReturnType<typeof createUploadEach>, counts: readonly number[]) {
  const { begun, steps, letGo } = held();
  const batches = counts.map((count) => uploadEach(partsOf(count), steps));
  for (let turn = 0; turn < 500; turn += 1) await setImmediate();
  const before = begun.length;
  letGo();
  const results = await Promise.all(batches);
  assert.deepEqual(
    results.map((ofBatch) => ofBatch.map(({ result }) => result)),
    counts.map((count) => Array.from({ length: count }, () => 'created')),
  );
  return before;
}

test('a batch has sixteen parts examined at once, and all batches together sixty-four', async () => {
  for (const [batches, wanted] of [
    [1, 16],
    [10, 64],
  ] as const) {
    const { steps, letGo } = held();
    letGo();
    let [running, most] = [0, 0];
    const verify: BatchSteps['verify'] = async (part) => {
      running += 1;
      most = Math.max(most, running);
      await setImmediate();
      running -= 1;
      return steps.verify(part);
    };
    const uploadEach = createUploadEach(createBatchBounds(undefined));
    const all = Array.from({ length: batches }, () => uploadEach(partsOf(100), { ...steps, verify }));
    for (const results of await Promise.all(all)) assert.equal(results.length, 100);
    assert.equal(most, wanted);
  }
});

test('the images of all batches share one bound', async () => {
  assert.equal(await begunOf(createUploadEach(createBatchBounds(undefined)), [100, 100]), 128);
});

test('images are stored while the parts behind them are examined, but none ahead of a part whose image is not known yet', async () => {
  const named = partsOf(100);
  for (const [parts, wanted] of [
    [named, 50],
    [[...named.slice(0, 99), { bytes: Buffer.from([99]), fileName: null }], 0],
  ] as const) {
    const { begun, steps, letGo } = held();
    letGo();
    let goOn: () => void = () => undefined;
    const isAllowed = new Promise<void>((resolve) => {
      goOn = resolve;
    });
    const verify: BatchSteps['verify'] = async (part) => {
      if ((part.bytes[0] ?? 0) >= 80) await isAllowed;
      return { ...(await steps.verify(part)), claim: CLAIM };
    };
    const uploading = createUploadEach(createBatchBounds(undefined))(parts, { ...steps, verify });
    for (let turn = 0; turn < 200; turn += 1) await setImmediate();
    assert.equal(begun.length, wanted);
    goOn();
    const results = await uploading;
    assert.ok(results.every(({ result }) => result === 'created'));
    assert.equal(begun.length, 100);
  }
});

test('a failure of the server begins no further image, and is thrown once those under way have ended', async () => {
  const { begun, steps, letGo } = held();
  const store: BatchSteps['store'] = async (verified, image, bytes) => {
    if (bytes[0] === 3) throw new Error('a bug of ours');
    return steps.store(verified, image, bytes);
  };
  const uploading = createUploadEach(createBatchBounds(2))(partsOf(60), { ...steps, store });
  let isOver = false;
  const over = uploading.catch((error: unknown) => {
    isOver = true;
    return error;
  });
  for (let turn = 0; turn < 200; turn += 1) await setImmediate();
  assert.deepEqual([begun.length, isOver], [2, false]);
  letGo();
  assert.match(String(await over), /a bug of ours/);
  assert.ok(begun.length < 5, `${begun.length} were begun`);
});

test('over a shared database a batch stores few images at once, and so do many batches together', async () => {
  assert.equal(await begunOf(createUploadEach(createBatchBounds(8)), [100]), 8);
  assert.equal(await begunOf(createUploadEach(createBatchBounds(8)), [100, 100]), 16);
  assert.equal(await begunOf(createUploadEach(createBatchBounds(8)), [100, 100, 100, 100]), 16);
});

test('once the server stops, a batch ends with what is under way, and tells each of the others', async () => {
  const bounds = createBatchBounds(undefined);
  const { begun, steps, letGo } = held();
  const batches = [1, 2].map(() => createUploadEach(bounds)(partsOf(100), steps));
  for (let turn = 0; turn < 500; turn += 1) await setImmediate();
  assert.equal(begun.length, 128);
  bounds.stop();
  letGo();
  const results = (await Promise.all(batches)).flat();
  assert.equal(begun.length, 128);
  assert.equal(results.filter(({ result }) => result === 'created').length, 128);
  const others = results.filter(({ result }) => result !== 'created');
  assert.equal(others.length, 72);
  for (const other of others) assert.match(JSON.stringify(other), /"BUSY".*stopping.*send it again/);
});

test('what comes once the server stops is not examined', async () => {
  const bounds = createBatchBounds(undefined);
  bounds.stop();
  const verify = () => assert.fail('it was examined');
  const results = await createUploadEach(bounds)(partsOf(2), { ...held().steps, verify });
  assert.deepEqual(
    results.map((one) => one.result === 'refused' && one.code),
    ['BUSY', 'BUSY'],
  );
});
