import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { isLookasideError, LookasideError } from '../../src/domain/errors.ts';
import { imageFolder } from '../../src/domain/image.ts';
import type { CheckedSet, MirrorSetRow, SetEntry, SignatureSet } from '../../src/domain/ports.ts';
import { type WalkFault, walkFault } from '../../src/domain/walk.ts';
import { type BringerOptions, createBringer } from '../../src/service/mirror-bring.ts';
import { createGate } from '../gate.ts';
import { folderOf, sha256Hex, signatureBytes } from '../store/lay.ts';
import { GOOD } from '../store/open-store.ts';
import { createClock, createLog, imageOf } from './hand-driven.ts';

const IMAGE = imageOf('team/app');
const CHECKED: MirrorSetRow = {
  site: IMAGE.site,
  image: imageFolder(IMAGE),
  checkedAt: new Date(0),
  upstream: 'https://upstream.example/',
  gone: [],
  leftOut: [],
  syncedAt: null,
  sizeBytes: 8192,
  failingSince: null,
};
const NO_SET: SignatureSet = { generation: 0, entries: [] };

function collectGarbage(): void {
  setFlagsFromString('--expose-gc');
  const gc: () => void = runInNewContext('gc');
  gc();
}

const clock = createClock();
const unused: BringerOptions = {
  upstreams: ['https://upstream.example/'],
  walker: { walk: async () => assert.fail('nobody walks') },
  store: { readSet: async () => NO_SET },
  publisher: {
    publish: async () => assert.fail('nothing is stored'),
    gather: async () => assert.fail('nothing is stored'),
  },
  mirrors: { setOf: async () => null, checked: async () => undefined, failed: async () => undefined },
  tombstones: { ofImage: async () => [] },
  verifier: { examine: async () => GOOD },
  keyringChanges: () => 0,
  sha256: sha256Hex,
  clock,
  // not until what is held would be stored again
  wait: (ms) => (ms < 30_000 ? Promise.resolve() : new Promise(() => undefined)),
  onGrown: () => undefined,
  onHeld: () => undefined,
  log: createLog(),
};

test('an image of a sync that waits for its note holds no bytes of its signatures', async () => {
  const noting = createGate();
  const noted = createGate<readonly CheckedSet[]>();
  let brought: WeakRef<Uint8Array> | null = null;
  const bringer = createBringer({
    ...unused,
    walker: {
      async walk() {
        const bytes = signatureBytes(folderOf('team/app'), 4096);
        brought = new WeakRef(bytes);
        return { kind: 'set', upstream: 0, blobs: [bytes] };
      },
    },
    publisher: {
      publish: async () => Promise.reject(new Error('a sync gathers')),
      async gather(_, blobs) {
        const entries = blobs.map(({ bytes }): SetEntry => {
          return { sha256: sha256Hex(bytes), sizeBytes: bytes.length, storedAt: clock.now(), bytes };
        });
        return { done: Promise.resolve({ before: 0, added: 1, entries }) };
      },
    },
    mirrors: {
      setOf: async () => null,
      failed: async () => undefined,
      async checked(rows) {
        noted.open(rows);
        await noting.promise;
      },
    },
  });
  const bringing = bringer.bring(IMAGE, 'sync', (walk) => walk());
  assert.equal((await noted.promise).length, 1);
  await setImmediate();
  collectGarbage();
  assert.equal((brought as WeakRef<Uint8Array> | null)?.deref(), undefined);
  noting.open();
  const result = await bringing;
  assert.ok(result?.kind === 'set');
  assert.deepEqual(
    result.set.entries.map(({ bytes }) => bytes),
    [null],
  );
});

test('a set that cannot be stored is held in memory by a process that is alone, and is a fault for one of several; neither counts as checked', async () => {
  const bytes = signatureBytes(folderOf('team/app'), 700);
  const fail = () => Promise.reject(new LookasideError('READ_ONLY', 'the store is read-only'));
  const bring = async (
    isShared: boolean,
    purpose: 'read' | 'sync' = 'read',
    row: MirrorSetRow | null = null,
  ) => {
    const noted: unknown[] = [];
    const bringer = createBringer({
      ...unused,
      isShared,
      walker: { walk: async () => ({ kind: 'set', upstream: 0, blobs: [bytes] }) },
      publisher: {
        publish: purpose === 'read' ? fail : async () => assert.fail('a sync gathers'),
        gather:
          purpose === 'sync' ? async () => ({ done: fail() }) : async () => assert.fail('a read publishes'),
      },
      mirrors: {
        setOf: async () => row,
        checked: async (rows) => void noted.push(rows),
        failed: async (walks) => void noted.push(walks),
      },
    });
    const brought = await bringer.bring(IMAGE, purpose, (walk) => walk());
    return { brought, held: await bringer.held(IMAGE), noted };
  };
  for (const purpose of ['read', 'sync'] as const) {
    const alone = await bring(false, purpose);
    assert.equal(alone.brought?.kind, 'set');
    assert.equal(alone.held?.entries.length, 1);
    // else, after a restart, a sync would leave alone what was never stored
    assert.deepEqual(alone.noted, []);
  }
  assert.deepEqual(
    (await bring(false, 'sync', CHECKED)).noted.flat().map((walk) => Object.keys(walk as object).sort()),
    [['begunAt', 'image']],
  );
  const { brought, held, noted } = await bring(true);
  assert.ok(brought?.kind === 'fault');
  assert.deepEqual([brought.fault, held, noted], ['queue', undefined, []]);
  assert.match(brought.message, /cannot be stored now: the store is read-only/);
});

test('that walks for a stored set fail is noted with the time of their beginning, and not that the upstream is left alone', async () => {
  let [kept, fault]: [MirrorSetRow | null, WalkFault] = [CHECKED, walkFault('status', 'answered 500')];
  const failed: string[] = [];
  const time = createClock();
  const bringer = createBringer({
    ...unused,
    clock: time,
    walker: {
      async walk() {
        time.pass(5000);
        return fault;
      },
    },
    mirrors: {
      setOf: async () => kept,
      checked: async () => assert.fail('nothing was found'),
      async failed(walks, at) {
        for (const { image, begunAt } of walks)
          failed.push(`${imageFolder(image)} ${begunAt.getTime()} ${at.getTime()}`);
      },
    },
  });
  const bring = () =>
    bringer.bring(IMAGE, 'read', (walk) => {
      time.pass(1000);
      return walk();
    });
  const startMs = time.now().getTime();
  assert.equal((await bring())?.kind, 'fault');
  assert.deepEqual(failed, [`${CHECKED.image} ${startMs + 1000} ${startMs + 6000}`]);
  // the store knows whether a walk has ended well since
  kept = { ...CHECKED, failingSince: new Date(1) };
  await bring();
  assert.equal(failed.length, 2);
  kept = null;
  await bring();
  [kept, fault] = [CHECKED, walkFault('resting', 'left alone')];
  await bring();
  assert.equal(failed.length, 2);
});

test('a failed walk that cannot be noted is noted later, once', async () => {
  let isFull = true;
  const failed: string[][] = [];
  const mirrors: BringerOptions['mirrors'] = {
    setOf: async () => CHECKED,
    checked: async () => assert.fail('nothing was found'),
    async failed(walks) {
      if (isFull) throw new LookasideError('DISK_FULL', 'the disk is full');
      failed.push(walks.map(({ image }) => imageFolder(image)).sort());
    },
  };
  const walker = { walk: async () => walkFault('status', 'answered 500') };
  const bringer = createBringer({ ...unused, walker, mirrors });
  await bringer.bring(IMAGE, 'sync', (walk) => walk());
  await bringer.bring(imageOf('team/other'), 'sync', (walk) => walk());
  await bringer.noteFailures();
  // as when the mirror is edited
  const next = createBringer({ ...unused, mirrors });
  next.takeOver(bringer);
  isFull = false;
  await next.noteFailures();
  await next.noteFailures();
  assert.deepEqual(failed, [[CHECKED.image, imageFolder(imageOf('team/other'))]]);
});

test('a sync waits for its turn while the queue of the verifier is full, and not for one that fails otherwise', async () => {
  const bytes = signatureBytes(folderOf('team/app'), 700);
  const examinations = async (purpose: 'read' | 'sync', detail: { readonly waiting?: number }) => {
    let asked = 0;
    const bringer = createBringer({
      ...unused,
      walker: { walk: async () => ({ kind: 'set', upstream: 0, blobs: [bytes] }) },
      publisher: {
        publish: async () => assert.fail('a sync gathers'),
        gather: async () => ({ done: Promise.resolve({ before: 0, added: 1, entries: [] }) }),
      },
      verifier: {
        async examine() {
          asked += 1;
          if (asked <= 100) throw new LookasideError('BUSY', 'many wait', { detail });
          return GOOD;
        },
      },
    });
    await bringer
      .bring(IMAGE, purpose, (walk) => walk())
      .catch((error: unknown) => {
        if (!isLookasideError(error, 'BUSY')) throw error;
      });
    return asked;
  };
  assert.equal(await examinations('sync', { waiting: 1024 }), 101);
  assert.equal(await examinations('read', { waiting: 1024 }), 10);
  assert.equal(await examinations('sync', {}), 10);
});

test('a set that could not be stored is stored without the upstream, as soon as the disk takes it', async () => {
  const bytes = signatureBytes(folderOf('team/app'), 100);
  const [waited, go] = [createGate(), createGate()];
  const stored: Uint8Array[][] = [];
  let isFull = true;
  const log = createLog();
  const bringer = createBringer({
    ...unused,
    log,
    walker: { walk: async () => ({ kind: 'set', upstream: 0, blobs: [bytes] }) },
    publisher: {
      ...unused.publisher,
      async publish(_, blobs) {
        if (isFull) throw new LookasideError('DISK_FULL', 'no room');
        stored.push(blobs.map((blob) => blob.bytes));
        waited.open();
        return { before: 0, added: 1, entries: [] };
      },
    },
    wait: () => go.promise,
  });
  const brought = await bringer.bring(IMAGE, 'read', (walk) => walk());
  assert.ok(brought?.kind === 'set' && brought.unstored !== null);
  assert.equal(bringer.unstored, 1);
  // a disk stays full for long: no line of many has a stack
  assert.deepEqual(
    log.lines.map(({ fields }) => fields),
    [{ reason: 'no room', image: imageFolder(IMAGE) }],
  );
  isFull = false;
  go.open();
  await waited.promise;
  await bringer.stop();
  assert.equal(bringer.unstored, 0);
  assert.deepEqual(stored, [[bytes]]);
});
