import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { LookasideError } from '../../src/domain/errors.ts';
import { type ImageId, imageFolder } from '../../src/domain/image.ts';
import type { IndexedSignature, SetEntry, SignatureSet, SignatureStore } from '../../src/domain/ports.ts';
import type { Tombstone } from '../../src/domain/tombstone.ts';
import { createReleaseView, type ReleaseViewSettings } from '../../src/service/release-view.ts';
import { FINGERPRINT, hashOf, SUBKEY } from './signature-memory.ts';

const HEX = 'a'.repeat(64);
const RELEASE: ImageId = { site: 'default', layout: 'release', path: '', algorithm: 'sha256', hex: HEX };
const REPOSITORY: ImageId = { ...RELEASE, layout: 'repository', path: 'openshift/release' };
const OTHER: ImageId = { ...REPOSITORY, path: 'okd/release' };
const BOTH = [REPOSITORY.path, OTHER.path];

const NOTHING_KNOWN = {
  ...{ reason: null, form: null, issuer: null, signedAt: null, expiresAt: null, manifestDigest: null },
  ...{ dockerReference: null, creator: null, traits: null },
};

/** Sets that behave as those of PostgreSQL: an image that never had any gives back what is known, whatever it is. */
function openView(changes: Partial<ReleaseViewSettings> = {}) {
  const settings = { repositories: BOTH, preferredKey: SUBKEY.slice(-16), ...changes };
  const sets = new Map<string, SignatureSet>();
  const preferred = new Set<number>();
  const tombstones = new Map<string, Tombstone[]>();
  const asked: string[] = [];
  const state = { isRebuilt: false };
  let generation = 0;
  const store: SignatureStore = {
    async readSet(image, known) {
      const set = sets.get(imageFolder(image));
      if (set === undefined) return known ?? { generation: 0, entries: [] };
      return set.generation === known?.generation ? known : set;
    },
    readBlob: async () => null,
    peekHolds: () => true,
    peekEmpty: (image) => !sets.has(imageFolder(image)),
    listFolder: async () => ({ names: [], next: null }),
  };
  const index = {
    async ofImage(image: ImageId): Promise<readonly IndexedSignature[]> {
      if (state.isRebuilt) throw new LookasideError('INDEX_UNUSABLE', 'it is rebuilt');
      return (sets.get(imageFolder(image))?.entries ?? []).map((entry, at) => {
        const verdict = preferred.has(entry.bytes?.[0] ?? 0) ? 'good' : 'no-key';
        const [fingerprint, signingFingerprint] = [FINGERPRINT, SUBKEY];
        const place = { id: at, image, number: at + 1, servedNumber: at + 1 };
        return { ...NOTHING_KNOWN, ...entry, ...place, verdict, fingerprint, signingFingerprint };
      });
    },
  };
  return {
    ...createReleaseView({
      store,
      index,
      tombstones: {
        async ofImage(image) {
          asked.push(image.path);
          return tombstones.get(imageFolder(image)) ?? [];
        },
      },
      settings: () => settings,
    }),
    preferred,
    state,
    /** The paths whose tombstones were asked for. */
    asked,
    /** Before its set changes. */
    tombstone(image: ImageId, number: number): void {
      const before = tombstones.get(imageFolder(image)) ?? [];
      tombstones.set(imageFolder(image), [...before, tombstoneOf(image, number)]);
    },
    put(image: ImageId, numbers: readonly number[]): void {
      generation += 1;
      sets.set(imageFolder(image), { generation, entries: numbers.map(entryOf) });
    },
  };
}

function tombstoneOf(image: ImageId, number: number): Tombstone {
  const about = { withdrawnAt: new Date(0), withdrawnBy: 'x', reason: 'x', until: null, isInForce: true };
  return { image, number, sha256: hashOf(1000 + number), fillers: [], auditSeq: 1, ...about };
}

function entryOf(n: number): SetEntry {
  return { sha256: hashOf(n), sizeBytes: 1, storedAt: new Date(0), bytes: Uint8Array.of(n) };
}

function numbersOf({ entries }: SignatureSet): readonly number[] {
  return entries.map(({ bytes }) => bytes?.[0] ?? 0);
}

describe('a view of a release over repositories', () => {
  test('follows what its repositories have, though nothing stands at the release itself', async () => {
    const { store, put } = openView();
    let set = await store.readSet(RELEASE);
    assert.deepEqual(numbersOf(set), []);
    for (const numbers of [[1], [1, 2], [2, 2], []]) {
      put(REPOSITORY, numbers);
      set = await store.readSet(RELEASE, set);
      assert.deepEqual(numbersOf(set), [...numbers.slice(0, 1), ...numbers]);
      assert.equal(await store.readSet(RELEASE, set), set, 'nothing has changed since');
      assert.equal(store.peekHolds?.(RELEASE, set), false);
    }
  });

  test('has a verified signature by the key as number 1, and each in its place; the key may be a subkey', async () => {
    const { store, put, preferred } = openView();
    put(REPOSITORY, [1, 2]);
    put(OTHER, [2, 3]);
    put(RELEASE, [4]);
    const before = await store.readSet(RELEASE);
    assert.deepEqual(numbersOf(before), [4, 4, 1, 2, 2, 3]);
    preferred.add(3);
    const set = await store.readSet(RELEASE, before);
    assert.deepEqual(numbersOf(set), [3, 4, 1, 2, 2, 3]);
    assert.deepEqual(
      set.entries.map(({ stored, isRepeated = false }) => [stored?.image.path, stored?.number, isRepeated]),
      [
        [OTHER.path, 2, true],
        ['', 1, false],
        [REPOSITORY.path, 1, false],
        [REPOSITORY.path, 2, false],
        [OTHER.path, 1, true],
        [OTHER.path, 2, false],
      ],
    );
  });

  test('keeps the numbers of later places when the last signatures of one before are withdrawn', async () => {
    const { store, put, tombstone } = openView({ preferredKey: null });
    put(REPOSITORY, [1, 2]);
    put(OTHER, [3, 4]);
    const before = await store.readSet(RELEASE);
    assert.deepEqual(numbersOf(before), [1, 2, 3, 4]);
    tombstone(REPOSITORY, 2);
    put(REPOSITORY, [1]);
    const shorter = await store.readSet(RELEASE, before);
    assert.deepEqual(numbersOf(shorter), [1, 1, 3, 4]);
    assert.deepEqual(
      shorter.entries.map(({ isFiller = false }) => isFiller),
      [false, true, false, false],
    );
    tombstone(REPOSITORY, 1);
    put(REPOSITORY, []);
    assert.deepEqual(numbersOf(await store.readSet(RELEASE, shorter)), [3, 3, 3, 4]);
    // behind the last one nothing is missed
    tombstone(OTHER, 2);
    put(OTHER, [3]);
    assert.deepEqual(numbersOf(await store.readSet(RELEASE)), [3, 3, 3]);
    tombstone(OTHER, 1);
    put(OTHER, []);
    assert.deepEqual(numbersOf(await store.readSet(RELEASE)), []);
  });

  test('has its repositories in a new order after a reload', async () => {
    const repositories = [...BOTH];
    const { store, put, preferred } = openView({ repositories });
    put(REPOSITORY, [1]);
    put(OTHER, [2]);
    preferred.add(2);
    const before = await store.readSet(RELEASE);
    assert.deepEqual(numbersOf(before), [2, 1, 2]);
    repositories.reverse();
    assert.deepEqual(numbersOf(await store.readSet(RELEASE, before)), [2, 2, 1]);
  });

  test('is served while the index is rebuilt, under the same numbers', async () => {
    const { store, put, preferred, state } = openView();
    put(REPOSITORY, [1, 2]);
    preferred.add(2);
    const before = await store.readSet(RELEASE);
    assert.deepEqual(numbersOf(before), [2, 1, 2]);
    state.isRebuilt = true;
    const meanwhile = await store.readSet(RELEASE, before);
    assert.deepEqual(numbersOf(meanwhile), [1, 1, 2]);
    state.isRebuilt = false;
    assert.deepEqual(numbersOf(await store.readSet(RELEASE, meanwhile)), [2, 1, 2]);
  });

  test('asks for what was withdrawn only ahead of signatures', async () => {
    const { store, put, asked } = openView();
    await store.readSet(RELEASE);
    assert.deepEqual(asked, []);
    put(REPOSITORY, [1]);
    await store.readSet(RELEASE);
    assert.deepEqual(asked, ['']);
  });

  test('is told to be empty at once only where every place is, and is no view without repositories', async () => {
    const { store, put } = openView();
    assert.equal(store.peekEmpty?.(RELEASE), true);
    put(OTHER, [1]);
    assert.equal(store.peekEmpty?.(RELEASE), false);
    const without = openView({ repositories: [] });
    without.put(RELEASE, [1]);
    const set = await without.store.readSet(RELEASE);
    assert.deepEqual(numbersOf(set), [1]);
    assert.equal(without.store.peekHolds?.(RELEASE, set), true);
    assert.equal(without.store.peekEmpty?.(REPOSITORY), true);
  });

  test('hides nothing from who walks it while signatures come, are verified, or are replaced', async () => {
    const change = fc.record({
      kind: fc.constantFrom('append', 'verify', 'withdraw'),
      place: fc.constantFrom(RELEASE, REPOSITORY, OTHER),
      chance: fc.nat(20),
    });
    const sizes = fc.tuple(fc.nat(3), fc.nat(3), fc.nat(3));
    const steps = fc.array(fc.array(change, { maxLength: 2 }), { maxLength: 8 });
    await fc.assert(
      fc.asyncProperty(sizes, steps, async (begin, changes) => {
        const view = openView();
        const made = createMaker();
        const places = [RELEASE, REPOSITORY, OTHER].map((place, at) => {
          const numbers = Array.from({ length: begin[at] ?? 0 }, made.next);
          if (numbers.length > 0) view.put(place, numbers);
          // a copy that fills another number is no signature that could be withdrawn
          return { place, numbers, own: new Map(numbers.map((one, position) => [one, position + 1])) };
        });
        const demanded = new Set(places.flatMap(({ numbers }) => numbers));
        const read = new Set<number>();
        for (let step = 0; ; step += 1) {
          const entry = (await view.store.readSet(RELEASE)).entries[step];
          if (entry === undefined) break;
          read.add(entry.bytes?.[0] ?? 0);
          for (const { kind, place, chance } of changes[step] ?? []) {
            const { numbers, own } = places.find((one) => one.place === place) ?? assert.fail();
            const chosen = numbers[chance % Math.max(1, numbers.length)];
            if (kind === 'append') {
              const appended = made.next();
              own.set(appended, numbers.push(appended));
            } else if (kind === 'verify' && chosen !== undefined) view.preferred.add(chosen);
            else if (chosen !== undefined) {
              view.tombstone(place, own.get(chosen) ?? assert.fail());
              withdraw(numbers, chosen);
              demanded.delete(chosen);
            }
            view.put(place, numbers);
          }
        }
        assert.deepEqual(
          [...demanded].filter((one) => !read.has(one)),
          [],
        );
      }),
      { numRuns: 300 },
    );
  });
});

function createMaker() {
  let last = 0;
  return {
    next(): number {
      last += 1;
      return last;
    },
  };
}

/** As the store does. */
function withdraw(numbers: number[], withdrawn: number): void {
  const survivor = numbers.find((one) => one !== withdrawn);
  if (survivor === undefined) numbers.length = 0;
  else {
    while (numbers.at(-1) === withdrawn) numbers.pop();
    for (const [position, one] of numbers.entries()) if (one === withdrawn) numbers[position] = survivor;
  }
}
