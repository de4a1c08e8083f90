import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import { RecordedDigests } from '../../src/sqlite/recorded-digests.ts';

const imageAt = (at: number) => ({ hex: createHash('sha256').update(String(at)).digest('hex') });
const turnOfLoop = () => new Promise((resolve) => setImmediate(resolve));

/** With rows of the first `rows` images; at most `most` are kept. */
function open(rows: number, most: number) {
  const all = Array.from({ length: rows }, (_, at) => Buffer.from(imageAt(at).hex, 'hex').subarray(0, 6));
  all.sort(Buffer.compare);
  const digests = new RecordedDigests({
    count: () => rows,
    page: (after, limit) => all.filter((one) => Buffer.compare(one, after) > 0).slice(0, limit),
    most,
  });
  return { digests };
}

async function ask(digests: RecordedDigests): Promise<boolean> {
  for (let turn = 0; turn < 500; turn += 1) {
    if (digests.lacks(imageAt(-1))) return true;
    await turnOfLoop();
  }
  return false;
}

test('what has rows is never told to lack them', async () => {
  const { digests } = open(1000, 2000);
  assert.ok(await ask(digests));
  for (let at = 0; at < 1000; at += 1) assert.equal(digests.lacks(imageAt(at)), false);
});

test('of more images than may be kept nothing is told, were they there or came later', async () => {
  assert.equal(await ask(open(1000, 999).digests), false);
  const { digests } = open(1000, 1001);
  assert.ok(await ask(digests));
  digests.recording([imageAt(1000)])();
  assert.ok(await ask(digests));
  digests.recording([imageAt(1001)])();
  assert.equal(await ask(digests), false);
});

test('a page that fails ends the reading, and it begins anew after as many questions', async () => {
  let fails = true;
  const digests = new RecordedDigests({
    count: () => 0,
    page() {
      if (fails) throw new Error('no such table');
      return [];
    },
  });
  assert.equal(await ask(digests), false);
  fails = false;
  assert.ok(await ask(digests));
});
