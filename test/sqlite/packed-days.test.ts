// Batches of the record of reads on their way to the writer: nothing is lost, and requests are answered while a large one is packed.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ImageId } from '../../src/domain/image.ts';
import type { MissingCount, ReadCount } from '../../src/domain/ports.ts';
import {
  imageIn,
  missingIn,
  type PackedBatch,
  readsIn,
  signatureIn,
} from '../../src/sqlite/access-columns.ts';
import { packDays } from '../../src/sqlite/packed-days.ts';

const MIDNIGHT = Date.UTC(2026, 10, 30);
const HEX_DIGITS = { sha256: 64, sha384: 96, sha512: 128 } as const;
const ALGORITHMS = ['sha256', 'sha512', 'sha384'] as const;

function imageOf(number: number): ImageId {
  const algorithm = ALGORITHMS[number % ALGORITHMS.length] ?? 'sha256';
  const hex = number.toString(16).padStart(HEX_DIGITS[algorithm], '0');
  return { site: `site${number % 3}`, layout: 'repository', path: `team/app${number % 7}`, algorithm, hex };
}

function readOf(number: number): ReadCount {
  return {
    image: imageOf(number),
    number: number % 2 === 0 ? 1 : null,
    status: number % 2 === 0 ? 200 : 404,
    signatureSha256: number % 2 === 0 ? number.toString(16).padStart(64, 'a') : null,
    // some follow one of the same client, or of one that differs in one text alone
    address: `192.0.2.${Math.floor(number / 7) % 50}`,
    agent: number % 5 === 0 ? null : 'podman',
    token: number % 11 < 5 ? null : 'ci',
    firstAt: new Date(MIDNIGHT + number - 1000),
    lastAt: new Date(MIDNIGHT + number),
    count: number,
    bytes: 10 * number,
  };
}

function missingOf(number: number): MissingCount {
  const [firstAt, lastAt] = [new Date(MIDNIGHT + number - 100), new Date(MIDNIGHT + number)];
  return { image: imageOf(10_000 + number), firstAt, lastAt, lastAddress: '192.0.2.1', count: 1 };
}

const namesOf = (batch: PackedBatch, position: number) => {
  const [site, path, layout, algorithm, digest] = imageIn(batch, position);
  return { site, layout, path, algorithm, hex: Buffer.from(digest).toString('hex') };
};

test('a large batch is packed whole, and others have their turn meanwhile', async () => {
  const reads = Array.from({ length: 2600 }, (_, number) => readOf(number));
  const missing = Array.from({ length: 1400 }, (_, number) => missingOf(number));
  let turns = 0;
  let isOver = false;
  const count = () => {
    turns += 1;
    if (!isOver) setImmediate(count);
  };
  setImmediate(count);
  const days = await packDays({ reads, missing });
  isOver = true;
  assert.ok(turns >= 8, `${turns} turns`);

  assert.deepEqual([...days.keys()], ['2026-11-29', '2026-11-30']);
  const batches = [...days.values()];
  const unpackedReads = batches.flatMap((batch) =>
    [...readsIn(batch)].map(({ firstAtMs, lastAtMs, signature, ...read }) => ({
      ...read,
      image: namesOf(batch, read.image),
      signatureSha256: signature === null ? null : Buffer.from(signatureIn(batch, signature)).toString('hex'),
      firstAt: new Date(firstAtMs),
      lastAt: new Date(lastAtMs),
    })),
  );
  assert.deepEqual(unpackedReads, reads);
  const unpackedMissing = batches.flatMap((batch) =>
    [...missingIn(batch)].map(({ firstAtMs, lastAtMs, ...one }) => ({
      ...one,
      image: namesOf(batch, one.image),
      firstAt: new Date(firstAtMs),
      lastAt: new Date(lastAtMs),
    })),
  );
  assert.deepEqual(unpackedMissing, missing);
});

test('what is packed of a few images takes the memory of those alone', async () => {
  const [batch] = (await packDays({ reads: [readOf(2)], missing: [] })).values();
  assert.equal(batch?.images.digests.buffer.byteLength, 64);
  assert.equal(batch.signatures.buffer.byteLength, 32);
});
