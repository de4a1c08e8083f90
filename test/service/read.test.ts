import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { describe, test } from 'node:test';
import { isLookasideError, LookasideError } from '../../src/domain/errors.ts';
import { type ImageId, imageKey } from '../../src/domain/image.ts';
import type { SetEntry, SignatureSet, SignatureStore } from '../../src/domain/ports.ts';
import { createReader } from '../../src/service/read.ts';
import { createGate } from '../gate.ts';
import { createClock, imageOf } from './hand-driven.ts';

const APP = imageOf('team/app');
const MIB = 1024 * 1024;

/** A store in memory that keeps account of what it was asked, and fails or waits when told to. */
function createStore() {
  const contents = new Map<string, SignatureSet>();
  const blobs = new Map<string, Uint8Array>();
  const asked: { readonly image: ImageId; readonly known: SignatureSet | undefined }[] = [];
  let generation = 0;
  let before: () => Promise<void> = async () => undefined;

  const store: SignatureStore = {
    async readSet(image, known) {
      asked.push({ image, known });
      // as of now, whatever happens while it is on its way
      const set = contents.get(imageKey(image)) ?? { generation: 0, entries: [] };
      await before();
      return set;
    },
    readBlob: async (_, sha256) => blobs.get(sha256) ?? null,
    listFolder: async () => ({ names: [], next: null }),
  };

  return {
    store,
    asked,
    blobs,
    put(image: ImageId, ...signatures: readonly (string | SetEntry)[]): SignatureSet {
      generation += 1;
      const entries = signatures.map((one) => (typeof one === 'string' ? entryOf(one) : one));
      const set = { generation, entries };
      contents.set(imageKey(image), set);
      return set;
    },
    /** Another set of one signature, which nothing but its store changes. */
    settle(image: ImageId, rest: Pick<SignatureSet, 'askAgainMs'>): SignatureSet {
      generation += 1;
      const set = { generation, entries: [entryOf('one')], isSettled: true, ...rest };
      contents.set(imageKey(image), set);
      return set;
    },
    beforeAnswer(act: () => Promise<void>): void {
      before = act;
    },
  };
}

function entryOf(content: string): SetEntry {
  const bytes = Buffer.from(content);
  const sha256 = createHash('sha256').update(bytes).digest('hex');
  return { sha256, sizeBytes: bytes.length, storedAt: new Date(0), bytes };
}

/** One that is too large to be in a set. */
function largeEntry(sha256: string): SetEntry {
  return { sha256, sizeBytes: 9000, storedAt: new Date(0), bytes: null };
}

function open(cacheBytes = MIB) {
  const clock = createClock();
  const backing = createStore();
  const forgotten: (ImageId | null)[] = [];
  const onForgotten = (image: ImageId | null) => forgotten.push(image);
  const reader = createReader({ store: backing.store, clock, cacheBytes, onForgotten });
  return { clock, ...backing, reader, forgotten };
}

const unavailable = (error: unknown) => isLookasideError(error, 'STORE_UNAVAILABLE');

describe('reading sets', () => {
  test('within a second there is no second look, and after it the store is asked with the known set', async () => {
    const { reader, clock, asked, put } = open();
    const set = put(APP, 'one');
    assert.equal(reader.peekSet(APP), null);
    assert.equal(await reader.readSet(APP), set);
    const newer = put(APP, 'one', 'two');
    clock.pass(1000);
    assert.equal(reader.peekSet(APP), set);
    assert.equal(await reader.readSet(APP), set);
    assert.deepEqual(
      asked.map(({ known }) => known),
      [undefined],
    );
    clock.pass(1);
    assert.equal(reader.peekSet(APP), null);
    assert.equal(await reader.readSet(APP), newer);
    assert.deepEqual(
      asked.map(({ known }) => known),
      [undefined, set],
    );
    assert.equal(reader.peekSet(APP), newer);
  });

  test('an image that the store says is empty at once is answered so and not kept', async () => {
    const { store, clock, asked, put } = open();
    let isEmpty = true;
    const reader = createReader({ store: { ...store, peekEmpty: () => isEmpty }, clock, cacheBytes: MIB });
    assert.deepEqual(reader.peekSet(APP)?.entries, []);
    assert.deepEqual((await reader.readSet(APP)).entries, []);
    assert.deepEqual(reader.cache, { bytes: 0, sets: 0, hits: 2, misses: 0 });
    const set = put(APP, 'one');
    isEmpty = false;
    assert.equal(reader.peekSet(APP), null);
    assert.equal(await reader.readSet(APP), set);
    assert.equal(reader.peekSet(APP), set);
    assert.equal(asked.length, 1);
  });

  test('what is in memory is served without the question whether the store says that it is empty', async () => {
    const { store, clock, put } = open();
    let questions = 0;
    const peekEmpty = () => {
      questions += 1;
      return false;
    };
    const reader = createReader({ store: { ...store, peekEmpty }, clock, cacheBytes: MIB });
    const set = put(APP, 'one');
    await reader.readSet(APP);
    assert.equal(questions, 1);
    assert.equal(reader.peekSet(APP), set);
    assert.equal(questions, 1);
    clock.pass(1001);
    assert.equal(reader.peekSet(APP), null);
    assert.equal(questions, 2);
  });

  test('a settled set holds without another look until its image, or all, are forgotten', async () => {
    const { reader, clock, asked, put } = open();
    const set = put(APP, 'one');
    Object.assign(set, { isSettled: true });
    await reader.readSet(APP);
    clock.pass(3_600_000);
    assert.equal(reader.peekSet(APP), set);
    reader.forget(imageOf('team/other'));
    assert.equal(reader.peekSet(APP), set);
    reader.forgetAll();
    assert.equal(reader.peekSet(APP), null);
    await reader.readSet(APP);
    clock.pass(3_600_000);
    assert.equal(reader.peekSet(APP), set);
    reader.forget(APP);
    assert.equal(reader.peekSet(APP), null);
    assert.equal(asked.length, 2);
  });

  test('a settled set that a mirror is to ask for again is looked at from that time on, once a second', async () => {
    const { reader, clock, asked, put } = open();
    Object.assign(put(APP, 'one'), { isSettled: true, askAgainMs: clock.monotonicMs() + 60_000 });
    await reader.readSet(APP);
    clock.pass(59_999);
    assert.notEqual(reader.peekSet(APP), null);
    clock.pass(1);
    assert.equal(reader.peekSet(APP), null);
    await reader.readSet(APP);
    clock.pass(1000);
    assert.notEqual(reader.peekSet(APP), null);
    assert.equal(asked.length, 2);
  });

  test('a settled set whose look began before all were forgotten holds for a second at most', async () => {
    const { reader, clock, put, beforeAnswer } = open();
    Object.assign(put(APP, 'one'), { isSettled: true });
    beforeAnswer(async () => reader.forgetAll());
    await reader.readSet(APP);
    clock.pass(1001);
    assert.equal(reader.peekSet(APP), null);
  });

  test('a set that the store checks at once is fresh for a second more, without a look', async () => {
    const { clock, store, asked, put } = open();
    let doesHold = true;
    let peeks = 0;
    const peekHolds = () => {
      peeks += 1;
      return doesHold;
    };
    const reader = createReader({ store: { ...store, peekHolds }, clock, cacheBytes: MIB });
    const set = put(APP, 'one');
    await reader.readSet(APP);
    clock.pass(1001);
    assert.equal(reader.peekSet(APP), set);
    clock.pass(1000);
    assert.equal(reader.peekSet(APP), set);
    assert.deepEqual([peeks, asked.length], [1, 1]);
    clock.pass(1);
    doesHold = false;
    assert.equal(reader.peekSet(APP), null);
    const newer = put(APP, 'two');
    assert.equal(await reader.readSet(APP), newer);
  });

  test('a set that its store knows to hold is served for a second from when that was so, without a look', async () => {
    const { clock, store, asked, put } = open();
    let heldAtMs: number | null = null;
    const peekHeldAtMs = () => heldAtMs;
    const reader = createReader({ store: { ...store, peekHeldAtMs }, clock, cacheBytes: MIB });
    const set = put(APP, 'one');
    await reader.readSet(APP);
    heldAtMs = clock.monotonicMs() + 600;
    clock.pass(1600);
    assert.equal(reader.peekSet(APP), set);
    heldAtMs = null;
    assert.equal(reader.peekSet(APP), set);
    clock.pass(1);
    assert.equal(reader.peekSet(APP), null);
    heldAtMs = clock.monotonicMs() - 1001;
    assert.equal(reader.peekSet(APP), null);
    heldAtMs = clock.monotonicMs();
    assert.equal(reader.peekSet(APP), set);
    reader.forgetAll();
    clock.pass(1001);
    heldAtMs = clock.monotonicMs();
    assert.equal(reader.peekSet(APP), null);
    assert.equal(asked.length, 1);
  });

  test('a change that a set in memory has already does not take it out, and a later one does', async () => {
    const { reader, asked, put, forgotten } = open();
    const set = put(APP, 'one');
    await reader.readSet(APP);
    reader.forget(APP, set.generation);
    assert.equal(reader.peekSet(APP), set);
    assert.deepEqual(forgotten, []);
    reader.forget(APP, set.generation + 1);
    assert.equal(reader.peekSet(APP), null);
    assert.deepEqual(forgotten, [APP]);
    await reader.readSet(APP);
    assert.equal(asked.length, 2);
  });

  test('that an image holds nothing is known for a second as well', async () => {
    const { reader, asked, put, clock } = open();
    assert.deepEqual((await reader.readSet(APP)).entries, []);
    put(APP, 'one');
    assert.deepEqual((await reader.readSet(APP)).entries, []);
    assert.equal(asked.length, 1);
    clock.pass(1001);
    assert.equal((await reader.readSet(APP)).entries.length, 1);
  });

  test('the age of a set counts from before the look, however long that took', async () => {
    const { reader, clock, put, beforeAnswer } = open();
    put(APP, 'one');
    beforeAnswer(async () => clock.pass(1001));
    await reader.readSet(APP);
    assert.equal(reader.peekSet(APP), null);
  });

  test('a look that fails is thrown and not kept, and the set from before it neither', async () => {
    const { reader, clock, asked, put, beforeAnswer } = open();
    const set = put(APP, 'one');
    await reader.readSet(APP);
    clock.pass(1001);
    beforeAnswer(() => Promise.reject(new LookasideError('STORE_UNAVAILABLE', 'the disk failed')));
    await assert.rejects(reader.readSet(APP), unavailable);
    await assert.rejects(reader.readSignature(APP, 1), unavailable);
    assert.equal(reader.peekSet(APP), null);
    beforeAnswer(async () => undefined);
    assert.equal(await reader.readSet(APP), set);
    assert.equal(asked.length, 4);
    assert.equal(asked.at(-1)?.known, set);
  });

  test('sets of different images, layouts and sites are kept apart', async () => {
    const { reader, put } = open();
    const images: ImageId[] = [
      APP,
      imageOf('team/app', 'b'),
      imageOf('team'),
      { ...APP, site: 'mirror' },
      { ...APP, layout: 'release' },
    ];
    const sets = images.map((image, position) => put(image, `${position}`));
    for (const image of images) await reader.readSet(image);
    assert.deepEqual(
      images.map((image) => reader.peekSet(image)),
      sets,
    );
  });

  test('after forget the next read sees the change', async () => {
    const { reader, put } = open();
    put(APP, 'one');
    await reader.readSet(APP);
    const newer = put(APP, 'two');
    reader.forget(APP);
    assert.equal(reader.peekSet(APP), null);
    assert.equal(await reader.readSet(APP), newer);
  });

  test('a look that began before forget is not what the next read sees', async () => {
    const { reader, put, beforeAnswer } = open();
    const older = put(APP, 'one');
    const gate = createGate();
    beforeAnswer(() => gate.promise);
    const looking = reader.readSet(APP);
    const newer = put(APP, 'two');
    reader.forget(APP);
    gate.open();
    assert.equal(await looking, older);
    assert.equal(reader.peekSet(APP), null);
    assert.equal(await reader.readSet(APP), newer);
  });

  test('a look that ends late does not put an older set in the place of a newer one', async () => {
    const { reader, clock, put, beforeAnswer } = open();
    const gate = createGate();
    beforeAnswer(() => gate.promise);
    put(APP, 'one');
    const slow = reader.readSet(APP);
    clock.pass(500);
    const newer = put(APP, 'two');
    beforeAnswer(async () => undefined);
    assert.equal(await reader.readSet(APP), newer);
    gate.open();
    await slow;
    assert.equal(await reader.readSet(APP), newer);
  });
});

describe('reading signatures', () => {
  test('each number has its bytes, and past the end there is nothing', async () => {
    const { reader, put } = open();
    const { entries } = put(APP, 'one', 'two');
    for (const [position, content] of ['one', 'two'].entries()) {
      const signature = await reader.readSignature(APP, position + 1);
      assert.equal(signature?.entry, entries[position]);
      assert.equal(Buffer.from(signature?.bytes ?? []).toString(), content);
    }
    for (const number of [0, 3, 127, 999_999_999])
      assert.equal(await reader.readSignature(APP, number), null);
    assert.equal(await reader.readSignature(imageOf('other'), 1), null);
  });

  test('a large one is fetched when it is asked for, and is not kept in memory', async () => {
    const { reader, put, blobs } = open();
    put(APP, largeEntry('aa'));
    blobs.set('aa', Buffer.alloc(9000));
    assert.equal((await reader.readSignature(APP, 1))?.bytes.length, 9000);
    assert.ok(reader.cache.bytes < 9000);
  });

  test('a large one that was replaced after the look at its set is looked for again', async () => {
    const { reader, put, blobs, asked } = open();
    put(APP, largeEntry('aa'));
    await reader.readSet(APP);
    const { entries } = put(APP, largeEntry('bb'));
    blobs.set('bb', Buffer.from('new'));
    const signature = await reader.readSignature(APP, 1);
    assert.equal(signature?.entry, entries[0]);
    assert.equal(Buffer.from(signature?.bytes ?? []).toString(), 'new');
    assert.equal(asked.length, 2);
  });

  test('a large one that was taken away after the look is not there', async () => {
    const { reader, put } = open();
    put(APP, largeEntry('aa'));
    await reader.readSet(APP);
    put(APP);
    assert.equal(await reader.readSignature(APP, 1), null);
  });

  test('a large one that changes on and on is a failure, never an absence', async () => {
    const { reader, put, asked } = open();
    put(APP, largeEntry('aa'));
    await assert.rejects(reader.readSignature(APP, 1), unavailable);
    assert.equal(asked.length, 2);
    assert.equal(reader.peekSet(APP), null, 'and the next one looks again');
  });
});

describe('the memory of sets', () => {
  test('it stays within its bytes, and what was used last stays longest', async () => {
    const { reader, put, asked } = open(10_000);
    const first = imageOf('first');
    put(first, 'x'.repeat(500));
    await reader.readSet(first);
    for (let number = 0; number < 100; number += 1) {
      const image = imageOf(`image-${number}`);
      put(image, 'y'.repeat(500), 'z'.repeat(number));
      await reader.readSet(image);
      assert.notEqual(reader.peekSet(first), null);
      assert.ok(reader.cache.bytes <= 10_000, `${reader.cache.bytes}`);
    }
    assert.equal(reader.peekSet(imageOf('image-0')), null);
    assert.ok(reader.cache.sets > 1 && reader.cache.sets < 20);
    assert.equal(asked.length, 101);
  });

  test('a settled set holds, and is forgotten with its image or all, when far more are in memory than as objects', async () => {
    const { reader, settle, put, asked, clock } = open();
    const images = Array.from({ length: 1500 }, (_, number) => imageOf(`image-${number}`));
    const readAll = () => Promise.all(images.map((image) => reader.readSet(image)));
    for (const image of images) settle(image, {});
    const before = await readAll();
    clock.pass(3_600_000);
    assert.deepEqual(await readAll(), before);
    assert.ok(reader.cache.bytes <= MIB, `${reader.cache.bytes} bytes`);
    assert.deepEqual([reader.cache.sets, asked.length], [1500, 1500]);

    for (const image of images) {
      put(image, 'one', 'two');
      reader.forget(image);
    }
    assert.ok((await readAll()).every(({ entries }) => entries.length === 2));
    for (const image of images) settle(image, {});
    clock.pass(3_600_000);
    await readAll();
    assert.equal(asked.length, 4500);
    reader.forgetAll();
    clock.pass(3_600_000);
    await readAll();
    assert.equal(asked.length, 6000);
  });

  test('names without signatures push out no set that has some', async () => {
    const { reader, put } = open(100_000);
    put(APP, 'one');
    await reader.readSet(APP);
    for (let number = 0; number < 1000; number += 1) await reader.readSet(imageOf(`unsigned-${number}`));
    assert.notEqual(reader.peekSet(APP), null);
    assert.notEqual(reader.peekSet(imageOf('unsigned-999')), null, 'the last of them are kept as well');
    assert.equal(reader.peekSet(imageOf('unsigned-0')), null);
  });

  test('a set that gets its first signature, or loses its last, is kept as it is now', async () => {
    const { reader, clock, put } = open();
    for (const contents of [[], ['one'], []]) {
      const set = put(APP, ...contents);
      clock.pass(1001);
      assert.equal(await reader.readSet(APP), set);
      assert.equal(reader.peekSet(APP), set);
      assert.equal(reader.cache.sets, 1);
    }
  });

  test('names without signatures do not fill it beyond its bytes', async () => {
    const { reader } = open(10_000);
    for (let number = 0; number < 100; number += 1)
      await reader.readSet(imageOf(`${'x'.repeat(900)}-${number}`));
    assert.ok(reader.cache.bytes <= 10_000);
    assert.ok(reader.cache.sets <= 10);
  });

  test('a set larger than all of it is served and not kept', async () => {
    const { reader, put, asked } = open(1000);
    put(APP, 'x'.repeat(2000));
    assert.equal((await reader.readSignature(APP, 1))?.bytes.length, 2000);
    assert.equal((await reader.readSignature(APP, 1))?.bytes.length, 2000);
    assert.deepEqual(
      { bytes: reader.cache.bytes, sets: reader.cache.sets, asked: asked.length },
      { bytes: 0, sets: 0, asked: 2 },
    );
  });

  test('it counts how often it had the answer', async () => {
    const { reader, clock } = open();
    await reader.readSet(APP);
    reader.peekSet(APP);
    await reader.readSet(APP);
    clock.pass(1001);
    await reader.readSet(APP);
    assert.deepEqual({ hits: reader.cache.hits, misses: reader.cache.misses }, { hits: 2, misses: 2 });
  });
});

test('a change of one image does not keep a look at another out of memory', async () => {
  const { store, put, beforeAnswer } = createStore();
  const reader = createReader({ store, clock: createClock(), cacheBytes: MIB });
  const other = imageOf('team/other');
  put(APP, 'one');
  const gate = createGate();
  beforeAnswer(() => gate.promise);
  const looking = reader.readSet(APP);
  reader.forget(other);
  gate.open();
  await looking;
  assert.notEqual(reader.peekSet(APP), null);
});

test('a view that shows an image is forgotten with it, here and in copies elsewhere', async () => {
  const { store, put } = createStore();
  const forgotten: (ImageId | null)[] = [];
  const [view, other] = [imageOf('view'), imageOf('team/other')];
  const reader = createReader({
    ...{ store, clock: createClock(), cacheBytes: MIB },
    onForgotten: (image) => forgotten.push(image),
    viewOf: (image) => (image === APP ? view : null),
  });
  const before = put(view, 'one');
  await reader.readSet(view);
  const after = put(view, 'two');
  reader.forget(other);
  assert.equal(reader.peekSet(view), before);
  reader.forget(APP);
  assert.equal(await reader.readSet(view), after);
  assert.deepEqual(forgotten, [other, APP, view]);
});

describe('copies of sets elsewhere', () => {
  test('of a set that the disk may change hold for the rest of its second', async () => {
    const { reader, clock, put } = open();
    const set = put(APP, 'one');
    assert.deepEqual(await reader.readHeld(APP), { set, holdsMs: 1000 });
    clock.pass(400);
    assert.deepEqual(await reader.readHeld(APP), { set, holdsMs: 600 });
    clock.pass(601);
    assert.deepEqual(await reader.readHeld(APP), { set, holdsMs: 1000 });
  });

  test('of settled sets hold until they are forgotten, when many are asked for at once again and again', async () => {
    const { reader, settle } = open();
    const images = Array.from({ length: 1000 }, (_, number) => imageOf(`image-${number}`));
    for (const image of images) settle(image, {});
    for (const image of images) await reader.readSet(image);
    for (let round = 0; round < 6; round += 1) {
      const held = await Promise.all(images.map((image) => reader.readHeld(image)));
      const short = held.filter(({ holdsMs }) => holdsMs !== Number.POSITIVE_INFINITY);
      assert.equal(short.length, 0, `round ${round}`);
    }
  });

  test('of a settled set hold until it is to be asked for again, or is forgotten', async () => {
    const { reader, clock, settle, forgotten } = open();
    const set = settle(APP, {});
    assert.deepEqual(await reader.readHeld(APP), { set, holdsMs: Number.POSITIVE_INFINITY });
    const later = settle(APP, { askAgainMs: 5000 });
    reader.forget(APP);
    assert.deepEqual(forgotten, [APP]);
    clock.pass(2000);
    assert.deepEqual(await reader.readHeld(APP), { set: later, holdsMs: 3000 });
    reader.forgetAll();
    assert.deepEqual(forgotten, [APP, null]);
    assert.deepEqual(await reader.readHeld(APP), { set: later, holdsMs: 1000 });
  });

  test('of an image that the store says is empty at once hold for a second, though none is kept here', async () => {
    const { store, clock } = open();
    const reader = createReader({ store: { ...store, peekEmpty: () => true }, clock, cacheBytes: MIB });
    const { set, holdsMs } = await reader.readHeld(APP);
    assert.deepEqual([set.entries, holdsMs, reader.cache.sets], [[], 1000, 0]);
  });

  test('are not made of a set that was forgotten while it was read', async () => {
    const { reader, beforeAnswer, put } = open();
    const set = put(APP, 'one');
    beforeAnswer(async () => reader.forget(APP));
    assert.deepEqual(await reader.readHeld(APP), { set, holdsMs: 0 });
  });
});
