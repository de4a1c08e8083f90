import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { SignatureSet } from '../../src/domain/ports.ts';
import { createSetMemory } from '../../src/service/set-memory.ts';

const BYTES = Buffer.alloc(100);
const SET: SignatureSet = {
  generation: 1,
  entries: [{ sha256: 'ab'.repeat(32), sizeBytes: BYTES.length, storedAt: new Date(0), bytes: BYTES }],
};
const keyOf = (number: number) => `default/team/app-${String(number).padStart(6, '0')}`;
const ROOM = 400;

/** With room for about so many sets. */
function open() {
  const one = createSetMemory(1024 * 1024);
  one.set(keyOf(0), { set: SET });
  const maxBytes = ROOM * one.bytes;
  const memory = createSetMemory(maxBytes);
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

describe('the memory of sets', () => {
  test('most of it stays as it is while more sets than it holds are read in turn', () => {
    const { memory, maxBytes, pull } = open();
    for (let round = 0; round < 5; round += 1) numbers(3 * ROOM).map(pull);
    const met = numbers(3 * ROOM).filter(pull).length;
    assert.ok(met > 0.7 * ROOM, `${met} of ${3 * ROOM} were met`);
    assert.ok(memory.bytes <= maxBytes);
    assert.ok(memory.size > 0.9 * ROOM * (15 / 16), `${memory.size} are kept`);
  });

  test('a set that several pull comes in, and stays while others are read once', () => {
    const { pull } = open();
    numbers(3 * ROOM).map(pull);
    pull(-1);
    pull(-1);
    for (const number of numbers(ROOM / 2, 3 * ROOM)) pull(number);
    assert.equal(pull(-1), true);
  });

  test('a set that is put again and again while it is new is kept as one that is read', () => {
    const { memory, pull } = open();
    numbers(3 * ROOM).map(pull);
    for (let time = 0; time < 4; time += 1) memory.set(keyOf(-1), { set: { ...SET, generation: time } });
    for (const number of numbers(ROOM / 2, 3 * ROOM)) pull(number);
    assert.equal(memory.get(keyOf(-1))?.set.generation, 3);
  });

  test('sets that are read again and again come in, whatever was there before', () => {
    const { pull } = open();
    numbers(3 * ROOM).map(pull);
    const later = numbers(ROOM / 2, 10_000);
    for (let round = 0; round < 60; round += 1) later.map(pull);
    const met = later.filter(pull).length;
    assert.ok(met > 0.9 * later.length, `${met} of ${later.length} were met`);
  });

  test('a set that is forgotten is in no part of it', () => {
    const { memory, pull } = open();
    numbers(2 * ROOM).map(pull);
    for (const number of numbers(2 * ROOM)) memory.delete(keyOf(number));
    assert.deepEqual([memory.size, memory.bytes], [0, 0]);
    numbers(2 * ROOM).map(pull);
    memory.clear();
    assert.deepEqual([memory.size, memory.bytes], [0, 0]);
  });
});
