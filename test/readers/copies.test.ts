import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { SetEntry } from '../../src/domain/ports.ts';
import { createCopies } from '../../src/readers/copies.ts';
import type { Ask } from '../../src/readers/messages.ts';
import { createClock, imageOf } from '../service/hand-driven.ts';

const APP = imageOf('team/app');
const OTHER = imageOf('team/other');

function entryOf(text: string): SetEntry {
  return { sha256: text, sizeBytes: text.length, storedAt: new Date(0), bytes: Buffer.from(text) };
}

/** Copies, and the asks that they have sent, turn by turn. */
function open() {
  const clock = createClock();
  const turns: (readonly Ask[])[] = [];
  let due: (() => void)[] = [];
  const copies = createCopies({
    clock,
    cacheBytes: 1024 * 1024,
    ask: (asks) => turns.push(asks),
    later: (act) => due.push(act),
  });
  return {
    clock,
    copies,
    /** Ends a turn of the event loop; what was asked in it. */
    asked(): readonly Ask[] {
      for (const act of due) act();
      due = [];
      return turns.splice(0).flat();
    },
  };
}

const UNTIL_FORGOTTEN = Number.POSITIVE_INFINITY;

/** A copy of a set with one signature, which the owner calls 7. */
async function withCopy(holdsMs: number) {
  const scene = open();
  const reading = scene.copies.readSet(APP);
  const [ask] = scene.asked();
  assert.ok(ask !== undefined);
  scene.copies.answer([{ id: ask.id, number: 7, entries: [entryOf('one')], holdsMs }]);
  await reading;
  return scene;
}

describe('copies of sets', () => {
  test('are served for as long as the owner says, and then asked for by their numbers', async () => {
    const { copies, clock, asked } = await withCopy(400);
    clock.pass(399);
    assert.equal(copies.peekSet(APP)?.entries[0]?.sha256, 'one');
    clock.pass(1);
    assert.equal(copies.peekSet(APP), null);
    const reading = copies.readSet(APP);
    const [ask] = asked();
    assert.equal(ask?.known, 7);
    copies.answer([{ id: ask?.id ?? 0, number: 7, entries: null, holdsMs: 1000 }]);
    assert.equal((await reading).entries[0]?.sha256, 'one');
    assert.equal(copies.peekSet(APP)?.entries[0]?.sha256, 'one');
  });

  test('that hold until they are forgotten keep their numbers when far more are in memory than as objects', async () => {
    const { copies, clock, asked } = open();
    const images = Array.from({ length: 1500 }, (_, number) => imageOf(`image-${number}`));
    const entries = [{ ...entryOf('one'), sha256: 'ab'.repeat(32) }];
    const reading = images.map((image) => copies.readSet(image));
    copies.answer(asked().map(({ id }) => ({ id, number: 100 + id, entries, holdsMs: UNTIL_FORGOTTEN })));
    const sets = await Promise.all(reading);
    clock.pass(3_600_000);
    assert.equal(copies.counts.sets, 1500);
    assert.deepEqual(
      images.map((image) => copies.peekSet(image)),
      sets,
    );
    copies.forget(images.slice(0, 1000));
    assert.ok(images.slice(0, 1000).every((image) => copies.peekSet(image) === null));
    assert.ok(images.slice(1000).every((image) => copies.peekSet(image) !== null));
  });

  test('count their age from the question, not from the answer', async () => {
    const { copies, clock, asked } = open();
    const reading = copies.readSet(APP);
    const [ask] = asked();
    clock.pass(1000);
    copies.answer([{ id: ask?.id ?? 0, number: 7, entries: [entryOf('one')], holdsMs: 1000 }]);
    assert.equal((await reading).entries.length, 1);
    assert.equal(copies.peekSet(APP), null);
  });

  test('that are settled hold until they are forgotten, alone or with all others', async () => {
    for (const forgotten of [[APP], [OTHER, APP], null]) {
      const { copies, clock } = await withCopy(UNTIL_FORGOTTEN);
      clock.pass(86_400_000);
      copies.forget([OTHER]);
      assert.notEqual(copies.peekSet(APP), null);
      copies.forget(forgotten);
      assert.equal(copies.peekSet(APP), null);
    }
  });

  test('are asked for once by all who read in the meantime, and together with what else is read in that turn', async () => {
    const { copies, asked } = open();
    const readings = [copies.readSet(APP), copies.readSet(APP), copies.readSet(OTHER)];
    const asks = asked();
    assert.deepEqual(
      asks.map(({ image }) => image),
      [APP, OTHER],
    );
    copies.answer(asks.map(({ id }) => ({ id, number: id, entries: [], holdsMs: 0 })));
    assert.equal((await Promise.all(readings)).length, 3);
  });

  test('that were asked for before they were forgotten go to who asked before, and to nobody later', async () => {
    for (const forgotten of [[APP], null]) {
      const { copies, asked } = open();
      const before = copies.readSet(APP);
      const [old] = asked();
      copies.forget(forgotten);
      const after = copies.readSet(APP);
      const [anew] = asked();
      assert.ok(old !== undefined && anew !== undefined);
      copies.answer([{ id: old.id, number: 1, entries: [], holdsMs: UNTIL_FORGOTTEN }]);
      assert.equal((await before).entries.length, 0);
      assert.equal(copies.peekSet(APP), null);
      copies.answer([{ id: anew.id, number: 2, entries: [entryOf('one')], holdsMs: UNTIL_FORGOTTEN }]);
      assert.equal((await after).entries.length, 1);
      assert.equal(copies.peekSet(APP)?.entries.length, 1);
    }
  });

  test('that the owner could not read are no empty sets', async () => {
    const { copies, asked } = open();
    const reading = copies.readSet(APP);
    const [ask] = asked();
    copies.answer([{ id: ask?.id ?? 0, failed: true }]);
    await assert.rejects(reading);
    assert.equal(copies.peekSet(APP), null);
  });

  test('hold bytes of their own, and not the message that brought them', async () => {
    const { copies, asked } = open();
    const reading = copies.readSet(APP);
    const [ask] = asked();
    const message = Buffer.alloc(65_536, 'x');
    const entry = { ...entryOf('one'), bytes: message.subarray(10, 13) };
    copies.answer([{ id: ask?.id ?? 0, number: 1, entries: [entry], holdsMs: 0 }]);
    const [{ bytes } = assert.fail()] = (await reading).entries;
    assert.equal(Buffer.from(bytes ?? []).toString(), 'xxx');
    assert.notEqual(bytes?.buffer, message.buffer);
  });
});
