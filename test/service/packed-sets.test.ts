import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { describe, test } from 'node:test';
import type { SetEntry, SignatureSet } from '../../src/domain/ports.ts';
import { PackedSets, type Packing } from '../../src/service/packed-sets.ts';
import { longTest } from '../faults/promise.ts';

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

  test('large ones that are read in turn are not all remembered as objects too', () => {
    const sets = open();
    const keys = Array.from({ length: 100 }, (_, number) => `image ${number}`);
    for (const key of keys) sets.put(key, cached(key, 1, [1700]));
    for (const key of keys) assert.deepEqual(sets.get(key)?.cached, cached(key, 1, [1700]));
    assert.ok(sets.latelyBytes > 0 && sets.latelyBytes <= BLOCK_BYTES, `${sets.latelyBytes} bytes`);
    for (const key of keys) sets.delete(key);
    assert.equal(sets.latelyBytes, 0);
  });

  test('what could not be put leaves nothing older under its key', () => {
    const sets = open();
    sets.put('grows', cached('grows', 1));
    assert.equal(sets.put('grows', cached('grows', 2, [BLOCK_BYTES])), false);
    assert.equal(sets.get('grows'), undefined);
    const [one] = cached('one', 1).set.entries as [SetEntry];
    const enormous: SetEntry = { ...one, sizeBytes: 2 ** 32, bytes: null };
    assert.equal(sets.put('enormous', { set: { generation: 1, entries: [enormous] }, at: 1 }), false);
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
    const { met, most } = actAtRandom(1, 40_000);
    assert.ok(met > 3000 && most > 1100, `${met} were met, of ${most} at most`);
  });
});

longTest('after some millions of acts too', () => {
  for (let seed = 2; seed < 7; seed += 1) actAtRandom(seed, 1_000_000);
});

/** Small and large ones, of few and many keys, with blocks that come, go and are used again. */
function actAtRandom(seed: number, acts: number): { readonly met: number; readonly most: number } {
  const random = numbersFrom(seed);
  let blocks = 64;
  const sets: PackedSets<Cached> = new PackedSets(
    64 * BLOCK_BYTES,
    PACKING,
    (bytes) => sets.bytes + bytes <= blocks * BLOCK_BYTES,
  );
  const keys = [...Array.from({ length: 300 }, (_, number) => `team/app-${number}@sha256=abc`), ...CROWDED];
  for (let number = 0; number < 3000; number += 1) keys.push(`mirror/${number}`);
  const last = new Map<string, Cached>();
  const given: [Cached, Cached][] = [];
  let [met, most, range, begin, puts] = [0, 0, keys.length, 0, 90];
  for (let act = 1; act <= acts; act += 1) {
    if (act % 5000 === 0) {
      blocks = [1, 2, 10, 64][random(4)] ?? 1;
      range = [10, 300, keys.length][random(3)] ?? 1;
      begin = random(keys.length - range + 1);
      puts = 20 + random(60);
    }
    const key = keys[begin + random(range)] ?? '';
    const kind = random(100);
    if (kind < puts) {
      const sizes = random(10) === 0 ? [random(1200), random(300)] : [random(40)];
      const next = small(act, random, sizes);
      assert.equal(sets.put(key, next), true);
      last.set(key, next);
    } else if (kind < puts + 5) {
      sets.delete(key);
      last.delete(key);
      assert.equal(sets.get(key), undefined);
    } else if (kind === 99 && random(300) === 0) sets.forgetOldest();
    else if (kind === 98 && random(1000) === 0) sets.clear();
    else {
      const there = sets.get(key)?.cached;
      if (there === undefined) continue;
      met += 1;
      const put = last.get(key) as Cached; // what is there was put
      assert.ok(isSame(there, put), `${key} at act ${act} of seed ${seed}`);
      if (random(50) === 0) given.push([there, put]);
    }
    most = Math.max(most, sets.size);
  }
  for (const [there, put] of given)
    assert.ok(isSame(there, put), `what was given out has changed, seed ${seed}`);
  for (const [key, put] of last) {
    const there = sets.has(key) ? sets.get(key)?.cached : undefined;
    if (there === undefined) last.delete(key);
    else assert.ok(isSame(there, put), `${key} at the end of seed ${seed}`);
  }
  assert.equal(sets.size, last.size);
  return { met, most };
}

/** Each two have the same hash: found by trying. */
const CROWDED = [
  [93_989, 133_676],
  [93_988, 133_677],
  [93_987, 133_678],
  [93_986, 133_679],
  [93_959, 133_684],
  [93_958, 133_685],
].flatMap((pair) => pair.map((number) => `equal/${number}`));

function numbersFrom(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

function small(act: number, random: (below: number) => number, sizes: readonly number[]): Cached {
  const entries = sizes.map((sizeBytes, position): SetEntry => {
    const bytes = random(6) === 0 ? null : Buffer.alloc(sizeBytes, act + position);
    const plain = {
      sha256: SUMS[random(SUMS.length)] ?? '',
      sizeBytes: bytes === null ? random(2 ** 32) : sizeBytes,
      storedAt: new Date(act),
      bytes,
    };
    return random(5) === 0 ? { ...plain, isFiller: true } : plain;
  });
  return {
    set: { generation: 2 ** 53 - act, entries },
    at: random(3) === 0 ? Number.POSITIVE_INFINITY : act,
  };
}

const SUMS = Array.from({ length: 50 }, (_, number) =>
  createHash('sha256').update(String(number)).digest('hex'),
);

/** As deepEqual(), which takes most of a minute for a million. */
function isSame(one: Cached, other: Cached): boolean {
  return (
    one.at === other.at &&
    one.set.generation === other.set.generation &&
    one.set.entries.length === other.set.entries.length &&
    one.set.entries.every((entry, position) => isSameEntry(entry, other.set.entries[position] as SetEntry))
  );
}

function isSameEntry(one: SetEntry, other: SetEntry): boolean {
  const isSameBytes =
    one.bytes === null || other.bytes === null
      ? one.bytes === other.bytes
      : Buffer.compare(one.bytes, other.bytes) === 0;
  return (
    isSameBytes &&
    one.sha256 === other.sha256 &&
    one.sizeBytes === other.sizeBytes &&
    one.storedAt.getTime() === other.storedAt.getTime() &&
    one.isFiller === other.isFiller
  );
}
