import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { SignatureSet } from '../../src/domain/ports.ts';
import type { Packing } from '../../src/service/packed-sets.ts';
import { createSetMemory } from '../../src/service/set-memory.ts';

const BYTES = Buffer.alloc(100);
const SET: SignatureSet = {
  generation: 1,
  entries: [{ sha256: 'ab'.repeat(32), sizeBytes: BYTES.length, storedAt: new Date(0), bytes: BYTES }],
};
const keyOf = (number: number) => `default/team/app-${String(number).padStart(6, '0')}`;
const ROOM = 400;

interface Cached {
  readonly set: SignatureSet;
}

const PACKING: Packing<Cached> = { numbersOf: () => [0, 0], unpack: (set) => ({ set }) };

/** With room for about so many sets as objects. */
function open(packing?: Packing<Cached>) {
  const one = createSetMemory(1024 * 1024);
  one.set(keyOf(0), { set: SET });
  const maxBytes = ROOM * one.bytes;
  const memory = createSetMemory(maxBytes, packing);
  /** Two reads of one set, as a pull makes them. Whether the first one met it in memory. */
  function pull(number: number): boolean {
    const isThere = memory.get(keyOf(number)) !== undefined;
    if (!isThere) memory.set(keyOf(number), { set: SET });
    memory.get(keyOf(number));
    return isThere;
  }
  return { memory, maxBytes, pull };
}

const numbers = (count: number, from = 0) => Array.from({ length: count }, (_, at) => from + at);

for (const [name, packing] of [
  ['the memory of sets', undefined],
  ['the memory of sets that are packed', PACKING],
] as const) {
  describe(name, () => {
    test('most of it stays as it is while more sets than it holds are read in turn', () => {
      const { memory, maxBytes, pull } = open(packing);
      for (let round = 0; round < 5; round += 1) numbers(3 * ROOM).map(pull);
      const met = numbers(3 * ROOM).filter(pull).length;
      assert.ok(met > 0.7 * ROOM, `${met} of ${3 * ROOM} were met`);
      assert.ok(memory.bytes <= maxBytes);
      assert.ok(memory.size > 0.9 * ROOM * (15 / 16), `${memory.size} are kept`);
    });

    test('a set that several pull comes in, and stays while others are read once', () => {
      const { pull } = open(packing);
      numbers(3 * ROOM).map(pull);
      pull(-1);
      pull(-1);
      for (const number of numbers(ROOM / 2, 3 * ROOM)) pull(number);
      assert.equal(pull(-1), true);
    });

    test('a set that is put again and again while it is new is kept as one that is read', () => {
      const { memory, pull } = open(packing);
      numbers(3 * ROOM).map(pull);
      for (let time = 0; time < 4; time += 1) memory.set(keyOf(-1), { set: { ...SET, generation: time } });
      for (const number of numbers(ROOM / 2, 3 * ROOM)) pull(number);
      assert.equal(memory.get(keyOf(-1))?.set.generation, 3);
    });

    test('sets that are read again and again come in, whatever was there before', () => {
      const { pull } = open(packing);
      numbers(3 * ROOM).map(pull);
      const later = numbers(ROOM / 2, 10_000);
      for (let round = 0; round < 60; round += 1) later.map(pull);
      const met = later.filter(pull).length;
      assert.ok(met > 0.9 * later.length, `${met} of ${later.length} were met`);
    });

    test('a set that is forgotten is in no part of it', () => {
      const { memory, pull } = open(packing);
      numbers(2 * ROOM).map(pull);
      for (const number of numbers(2 * ROOM)) memory.delete(keyOf(number));
      assert.deepEqual([memory.size, memory.bytes], [0, 0]);
      numbers(2 * ROOM).map(pull);
      memory.clear();
      assert.deepEqual([memory.size, memory.bytes], [0, 0]);
    });
  });
}

describe('packed sets beside others', () => {
  test('far more of them have room', () => {
    const { memory, maxBytes, pull } = open(PACKING);
    numbers(3 * ROOM).map(pull);
    assert.ok(memory.size > 1.7 * ROOM, `${memory.size} where ${ROOM} objects have room`);
    assert.ok(memory.bytes <= maxBytes);
    const met = numbers(3 * ROOM).filter(pull).length;
    assert.ok(met > 1.5 * ROOM, `${met} were met`);
  });

  test('what was read last is what was put last, whichever part it is in', () => {
    const { memory } = open(PACKING);
    for (let generation = 1; generation <= 3; generation += 1) {
      for (const number of numbers(ROOM)) memory.set(keyOf(number), { set: { ...SET, generation } });
      for (const number of numbers(ROOM)) {
        const set = memory.get(keyOf(number))?.set;
        if (set !== undefined) assert.deepEqual(set, { ...SET, generation });
      }
    }
  });

  test('those that must stay objects and those that are packed leave room for each other', () => {
    const packing: Packing<Cached> = {
      ...PACKING,
      numbersOf: ({ set }) => (set.generation === 1 ? [0, 0] : null),
    };
    const { memory, maxBytes } = open(packing);
    const met = (generation: number) => {
      const there = numbers(3 * ROOM, generation * 10_000).filter((number) => memory.get(keyOf(number)));
      return there.length;
    };
    const fill = (generation: number) => {
      for (const number of numbers(3 * ROOM, generation * 10_000)) {
        memory.set(keyOf(number), { set: { ...SET, generation } });
        for (let read = 0; read < 4; read += 1) memory.get(keyOf(number));
        assert.ok(memory.bytes <= maxBytes, `${memory.bytes} of ${maxBytes}`);
      }
    };
    for (const generation of [2, 1, 2, 1]) {
      fill(generation);
      assert.ok(met(generation) > ROOM / 4, `${met(generation)} of generation ${generation} are there`);
    }
    assert.ok(met(2) > ROOM / 5, `${met(2)} objects are left`);
  });

  test('a set that is too large for a record stays an object', () => {
    const { memory } = open(PACKING);
    memory.set('large', { set: ofBytes(6000) });
    for (let read = 0; read < 4; read += 1) memory.get('large');
    for (const number of numbers(ROOM / 2)) {
      memory.set(keyOf(number), { set: SET });
      for (let read = 0; read < 4; read += 1) memory.get(keyOf(number));
    }
    assert.equal(memory.get('large')?.set.entries[0]?.sizeBytes, 6000);
  });

  test('a set that is larger than the memory pushes no other out', () => {
    const { memory, maxBytes } = open({ ...PACKING, numbersOf: () => null });
    for (const number of numbers(ROOM / 2)) memory.set(keyOf(number), { set: SET });
    const before = memory.size;
    memory.set('enormous', { set: ofBytes(maxBytes) });
    assert.equal(memory.size, before);
  });

  test('whoever has just read a set sees that it is the same still', () => {
    const { memory, pull } = open(PACKING);
    numbers(ROOM).map(pull);
    for (const number of numbers(ROOM)) {
      for (let read = 0; read < 4; read += 1) {
        const set = memory.get(keyOf(number));
        assert.equal(memory.get(keyOf(number)), set, `number ${number}, read ${read}`);
      }
    }
  });
});

function ofBytes(sizeBytes: number): SignatureSet {
  const entries = SET.entries.map((entry) => ({ ...entry, sizeBytes, bytes: Buffer.alloc(sizeBytes) }));
  return { ...SET, entries };
}
