// Who is forgotten stands nowhere in the files of state.db: neither in rows, nor in what pages keep of older rows.
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { createEventMaker } from '../../src/service/audit.ts';
import { later, NOON } from '../contract/access-log.ts';
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
  const files = readdirSync(dataDir).filter((name) => name.startsWith('state.db'));
  for (const name of files) {
    const bytes = readFileSync(join(dataDir, name), 'latin1');
    assert.deepEqual(
      forgotten.filter((text) => bytes.includes(text)),
      [],
      name,
    );
    if (!name.endsWith('.db')) continue;
    assert.ok(bytes.includes(addressOf(1)), `${name} has what is not forgotten`);
  }
});
