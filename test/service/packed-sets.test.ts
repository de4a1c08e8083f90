import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { describe, test } from 'node:test';
import type { SetEntry, SignatureSet } from '../../src/domain/ports.ts';
import { PackedSets, type Packing } from '../../src/service/packed-sets.ts';

interface Cached {
  readonly set: SignatureSet;
  readonly at: number;
}

const PACKING: Packing<Cached> = {
  numbersOf: ({ at }) => (at < 0 ? null : [at, 0]),
  unpack: (set, [at]) => ({ set, at }),
};
const BLOCK_BYTES = 8192;

function open({ blocks = 64, takeRoom = () => true }: { blocks?: number; takeRoom?: () => boolean } = {}) {
  let taken = 0;
  return new PackedSets<Cached>(64 * BLOCK_BYTES, PACKING, () => {
    taken += 1;
    return taken <= blocks && takeRoom();
  });
}

function entry(text: string, sizeBytes: number): SetEntry {
  const sha256 = createHash('sha256').update(text).digest('hex');
  const bytes = Buffer.alloc(sizeBytes, `${text} `);
  return { sha256, sizeBytes, storedAt: new Date(1_700_000_000_123 + sizeBytes), bytes };
}

function cached(name: string, generation: number, sizes: readonly number[] = [850]): Cached {
  const entries = sizes.map((size, position) => entry(`${name} ${generation} ${position}`, size));
  return { set: { generation, entries }, at: generation };
}

describe('packed sets', () => {
  test('come out as they went in', () => {
    const sets = open();
    const whole = cached('whole', 3, [1, 7, 8, 850]);
    const [first, second] = whole.set.entries as [SetEntry, SetEntry];
    const large: SetEntry = { ...first, sizeBytes: 4_000_000, bytes: null };
    const filler: SetEntry = { ...second, isFiller: true };
    const mixed: Cached = { set: { generation: 9, entries: [large, filler, first] }, at: 2.5 };
    assert.equal(sets.put('default/a@sha256=1', whole), true);
    assert.equal(sets.put('default/b@sha256=1', mixed), true);
    assert.deepEqual(sets.get('default/a@sha256=1')?.cached, whole);
    assert.deepEqual(sets.get('default/b@sha256=1')?.cached, mixed);
    assert.equal(sets.get('default/a@sha256=2'), undefined);
  });

  test('what a record has no place for stays an object', () => {
    const sets = open();
    const image = { site: 's', layout: 'release', path: '', algorithm: 'sha256', hex: '0' } as const;
    const [one] = cached('one', 1).set.entries as [SetEntry];
    const withEntry = (changes: Partial<SetEntry>): Cached => ({
      set: { generation: 1, entries: [{ ...one, ...changes }] },
      at: 1,
    });
    assert.equal(sets.put('repeated', withEntry({ isRepeated: true })), false);
    assert.equal(sets.put('stored', withEntry({ stored: { image, number: 1 } })), false);
    assert.equal(sets.put('sha512', withEntry({ sha256: 'ab'.repeat(64) })), false);
    assert.equal(sets.put('ünits', cached('not ASCII', 1)), false);
    assert.equal(sets.put('large', cached('large', 1, [BLOCK_BYTES / 4])), false);
    assert.equal(sets.put('unnumbered', { ...cached('unnumbered', 1), at: -1 }), false);
    assert.equal(sets.put('many', cached('many', 1, Array(256).fill(0))), false);
    assert.deepEqual([sets.size, sets.bytes], [0, 0]);
  });

  test('bytes that were given out stay as they are when their block is used again', () => {
    const sets = open({ blocks: 1 });
    sets.put('first', cached('first', 1));
    const given = sets.get('first')?.cached;
    for (let number = 0; number < 50; number += 1) sets.put(`other ${number}`, cached('other', number));
    assert.deepEqual(given, cached('first', 1));
  });

  test('what is read stays longest', () => {
    const sets = open({ blocks: 4 });
    const read = Array.from({ length: 3 }, (_, number) => `read ${number}`);
    for (const key of read) sets.put(key, cached(key, 1));
    for (let number = 0; number < 500; number += 1) {
      sets.put(`other ${number}`, cached('other', number));
      for (const key of read)
        assert.deepEqual(sets.get(key)?.cached, cached(key, 1), `${key} after ${number}`);
    }
    assert.equal(sets.bytes, 4 * BLOCK_BYTES);
    assert.equal(sets.has('other 0'), false);
    assert.equal(sets.has('other 499'), true);
  });

  test('takes no room that is not given', () => {
    const sets = open({ takeRoom: () => false });
    assert.equal(sets.hasRoom, false);
    assert.equal(sets.put('one', cached('one', 1)), false);
    assert.deepEqual([sets.size, sets.bytes], [0, 0]);
  });

  test('gives its memory back', () => {
    const sets = open();
    const keys = Array.from({ length: 300 }, (_, number) => `image ${number}`);
    for (const key of keys) sets.put(key, cached(key, 1));
    const full = sets.bytes;
    sets.forgetOldest();
    assert.equal(sets.bytes, full - BLOCK_BYTES);
    assert.equal(sets.has('image 0'), false);
    assert.equal(sets.has('image 299'), true);
    for (const key of keys) sets.delete(key);
    assert.deepEqual([sets.size, sets.bytes], [0, 0]);
    sets.put('again', cached('again', 1));
    sets.clear();
    assert.deepEqual([sets.size, sets.bytes, sets.has('again')], [0, 0, false]);
  });

  test('after any acts, each key has what was put last under it or nothing', () => {
    const sets = open({ blocks: 10 });
    const last = new Map<string, Cached>();
    let seed = 1;
    const random = (below: number) => {
      seed = (Math.imul(seed, 1_103_515_245) + 12_345) >>> 0;
      return Math.floor((seed / 2 ** 32) * below);
    };
    let met = 0;
    for (let act = 0; act < 20_000; act += 1) {
      const key = `team/app-${random(150)}@sha256=abc`;
      const kind = random(10);
      if (kind < 4) {
        const next = cached(key, act, [random(1200), random(300)]);
        assert.equal(sets.put(key, next), true);
        last.set(key, next);
      } else if (kind === 4) {
        sets.delete(key);
        last.delete(key);
      } else {
        const there = sets.get(key)?.cached;
        if (there === undefined) continue;
        met += 1;
        assert.deepEqual(there, last.get(key));
      }
    }
    assert.ok(met > 3000, `${met} were met`);
    const there = [...last.keys()].filter((key) => sets.has(key));
    assert.equal(sets.size, there.length);
  });
});
