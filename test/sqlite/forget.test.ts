// Who is forgotten stands nowhere in the files of state.db and of the record of reads: neither in rows, nor in what pages keep of older rows.
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { createEventMaker } from '../../src/service/audit.ts';
import { later, NOON, read } from '../contract/access-log.ts';
import { createClock } from '../service/hand-driven.ts';
import { open, temporaryFolder } from './scratch.ts';

const ADDRESSES = 1500;
const TARGETS = 30;
const PIECE = 50;

/** In no order, so that the pages of an index are split in their middle. No address is the beginning of another. */
function addressOf(k: number): string {
  const one = (factor: number) => 100 + ((k * factor) % 127);
  return `${one(71)}.${one(53)}.${100 + (k % 100)}.${100 + Math.floor(k / 100)}`;
}

test('an address that is forgotten stands in no file, also where the pages of an index were split', async (t) => {
  const dataDir = temporaryFolder(t);
  const { databases } = await open(dataDir);
  t.after(() => databases.close());
  const makeEvent = createEventMaker({
    clock: createClock(NOON.toISOString()),
    randomBytes: (length) => new Uint8Array(length),
  });
  for (let from = 0; from < ADDRESSES; from += PIECE) {
    const some = Array.from({ length: PIECE }, (_, k) => from + k);
    await Promise.all(
      some.map((k) =>
        databases.audit.append(
          makeEvent(
            { action: 'upload', result: 'created' },
            { name: 'ci', address: addressOf(k), requestId: null },
          ),
        ),
      ),
    );
  }
  const before = later(1000);
  const forgotten = Array.from({ length: TARGETS }, (_, k) => addressOf(k * (ADDRESSES / TARGETS)));
  for (const text of forgotten) {
    const person = { kind: 'address', text } as const;
    const event = makeEvent(
      { action: 'forget', result: 'forgotten' },
      { name: 'admin', address: null, requestId: null },
    );
    assert.equal(await databases.eraser.forgetEvents(person, before, event), 1);
  }
  assertForgotten(dataDir, 'state.db', forgotten);
});

test('an address that is forgotten stands in no file of the record of reads either', async (t) => {
  const dataDir = temporaryFolder(t);
  const { databases } = await open(dataDir);
  t.after(() => databases.close());
  for (let from = 0; from < ADDRESSES; from += PIECE) {
    const reads = Array.from({ length: PIECE }, (_, k) => read({ address: addressOf(from + k) }));
    await databases.access.write({ reads, missing: [] });
  }
  const forgotten = Array.from({ length: TARGETS }, (_, k) => addressOf(k * (ADDRESSES / TARGETS)));
  for (const text of forgotten) {
    assert.equal(await databases.eraser.forgetReads({ kind: 'address', text }, later(120_000)), 1);
  }
  assertForgotten(join(dataDir, 'access'), '2026-11-22.db', forgotten);
  await databases.access.write({ reads: [read({ address: addressOf(1) })], missing: [] });
});

/** In the file and its journals. */
function assertForgotten(folder: string, file: string, forgotten: readonly string[]): void {
  for (const name of readdirSync(folder).filter((one) => one.startsWith(file))) {
    const bytes = readFileSync(join(folder, name), 'latin1');
    assert.deepEqual(
      forgotten.filter((text) => bytes.includes(text)),
      [],
      name,
    );
    if (name === file) assert.ok(bytes.includes(addressOf(1)), `${name} has what is not forgotten`);
  }
}
