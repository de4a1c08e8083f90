import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isLookasideError, LookasideError } from '../../src/domain/errors.ts';
import type { ImageId } from '../../src/domain/image.ts';
import { imageFolder } from '../../src/domain/image.ts';
import { type MirrorSettings, upstreamState } from '../../src/domain/mirror.ts';
import type { MirrorSetRow, MirrorStore, SignatureSet } from '../../src/domain/ports.ts';
import { walkFault } from '../../src/domain/walk.ts';
import { GIVES_NO_WAY } from '../../src/service/giving-way.ts';
import { createMirror } from '../../src/service/mirror.ts';
import type { Brought, Pass } from '../../src/service/mirror-bring.ts';
import { createGate } from '../../src/service/mirror-gate.ts';
import type { MayGo } from '../../src/service/mirror-room.ts';
import { createReader } from '../../src/service/read.ts';
import { createGate as createPromise } from '../gate.ts';
import { createClock, createLog, imageOf } from './hand-driven.ts';

const IMAGE = imageOf('team/app');
const NO_SET: SignatureSet = { generation: 0, entries: [] };
const entry = { sha256: '1'.repeat(64), sizeBytes: 1, storedAt: new Date(0), bytes: Buffer.from('1') };
const SET: SignatureSet = { generation: 1, entries: [entry] };
const UPSTREAM = 'https://one.example/sigstore';
const BROUGHT: Brought = {
  kind: 'set',
  set: SET,
  added: 1,
  leftOut: [],
  unstored: null,
  isWhole: true,
  upstream: UPSTREAM,
};

type Bring = (purpose: 'read' | 'sync', pass: Pass) => Promise<Brought | null>;

interface Opening {
  readonly setOf?: MirrorStore['setOf'];
  readonly onUpstreamFailure?: MirrorSettings['onUpstreamFailure'];
  readonly askedEveryMs?: number | null;
  readonly isShared?: boolean;
}

function open(
  bring: Bring,
  stored: (known?: SignatureSet) => SignatureSet = () => NO_SET,
  {
    setOf = async () => null,
    onUpstreamFailure = '503',
    askedEveryMs = null,
    isShared = false,
  }: Opening = {},
) {
  const read: ImageId[] = [];
  const clock = createClock();
  const waits = createPromise();
  let walks = 0;
  let grown: MayGo | null = null;
  const rest = { ms: 0, of: [] as (string | null)[] };
  const mirror = createMirror({
    settings: { onDemand: null, onUpstreamFailure, maxAgeMs: 3_600_000 },
    store: {
      readSet: async (_, known) => stored(known),
      readBlob: async () => null,
      listFolder: async () => ({ names: [], next: null }),
    },
    bringer: {
      bring: (_, ...asked) => {
        walks += 1;
        return bring(...asked);
      },
      held: async () => undefined,
      heldBlob: () => null,
      unstored: 0,
      stop: async () => undefined,
      noteFailures: async () => undefined,
    },
    mirrors: { setOf },
    isShared,
    restingMs: (upstream) => {
      rest.of.push(upstream);
      return rest.ms;
    },
    room: {
      askedEveryMs,
      asked: (image) => void read.push(image),
      grown: (mayGo) => {
        grown = mayGo;
      },
      stop: async () => undefined,
    },
    givingWay: GIVES_NO_WAY,
    clock,
    wait: () => waits.promise,
    log: createLog(),
  });
  return {
    mirror,
    clock,
    read,
    readerGivesUp: waits.open,
    walks: () => walks,
    rest,
    mayGo: () => grown?.(IMAGE, UPSTREAM) ?? null,
  };
}

test('who waits for a walk that takes too long gets a fault, and the walk goes on', async () => {
  const walk = createPromise<Brought>();
  const { mirror, readerGivesUp } = open(() => walk.promise);
  const read = mirror.store.readSet(IMAGE);
  readerGivesUp();
  await assert.rejects(read, (error: unknown) => {
    assert.ok(error instanceof LookasideError);
    assert.equal(error.code, 'UPSTREAM_UNAVAILABLE');
    assert.deepEqual(error.detail, { retryAfterSeconds: 5 });
    return true;
  });
  walk.open(BROUGHT);
  await mirror.stop();
  assert.equal(mirror.walks.set, 1);
});

test('a mirror that answers faults of its upstream with 404 never does so for faults of its own', async () => {
  let next: Brought | null = walkFault('status', 'answered 500');
  const walking = createPromise<Brought>();
  let isWaiting = false;
  const { mirror, readerGivesUp } = open(async () => (isWaiting ? walking.promise : next), undefined, {
    onUpstreamFailure: '404',
  });
  assert.equal(await readOf(mirror), 0);
  const refused = () =>
    assert.rejects(readOf(mirror), (error: unknown) => isLookasideError(error, 'UPSTREAM_UNAVAILABLE'));
  next = null; // too many wait
  await refused();
  isWaiting = true; // behind others
  readerGivesUp();
  await refused();
  walking.open(walkFault('status', 'answered 500'));
  next = BROUGHT;
  await mirror.stop();
  await refused();
});

test('a reader does not join the walk of a sync, which waits behind many others', async () => {
  const queued = createPromise<Brought>();
  const { mirror } = open((purpose) => (purpose === 'sync' ? queued.promise : Promise.resolve(BROUGHT)));
  const synced = mirror.bring(IMAGE);
  assert.equal(await readOf(mirror), 1);
  queued.open(BROUGHT);
  assert.equal((await synced).kind, 'set');
});

test('a mirror that stops begins none of the walks that wait', async () => {
  const hold = createPromise();
  let begun = 0;
  const { mirror } = open((_, pass) =>
    pass(async (): Promise<Brought> => {
      begun += 1;
      await hold.promise;
      return BROUGHT;
    }),
  );
  const synced = Array.from({ length: 100 }, (_, k) => mirror.bring(imageOf(`team/app-${k}`)));
  await turn();
  const under = begun;
  assert.ok(under > 0 && under < 100, `${under} under way`);
  const stopped = mirror.stop();
  hold.open();
  await stopped;
  assert.equal(begun, under);
  const kinds = (await Promise.all(synced)).map(({ kind }) => kind);
  assert.equal(kinds.filter((kind) => kind === 'fault').length, 100 - under);
});

test('that an image has no signatures is remembered for five minutes', async () => {
  const { mirror, clock, walks } = open(async () => ({ kind: 'empty', leftOut: [] }));
  for (let read = 0; read < 3; read += 1) assert.equal(await readOf(mirror), 0);
  assert.equal(walks(), 1);
  clock.pass(299_000);
  await readOf(mirror);
  assert.equal(walks(), 1);
  clock.pass(2000);
  await readOf(mirror);
  assert.equal(walks(), 2);
});

test('what is stored never waits for the upstream, and is asked for again when it is old', async () => {
  const walk = createPromise<Brought>();
  const { mirror, clock, walks } = open(
    () => walk.promise,
    () => SET,
  );
  assert.equal(await readOf(mirror), 1);
  walk.open(walkFault('status', 'answered 500'));
  await turn();
  assert.equal(walks(), 1);
  for (let read = 0; read < 3; read += 1) assert.equal(await readOf(mirror), 1);
  await turn();
  assert.equal(walks(), 1);
  clock.pass(31_000);
  assert.equal(await readOf(mirror), 1);
  await turn();
  assert.equal(walks(), 2);
  await mirror.stop();
});

test('readers begin fifty walks a second at most, sixteen run at once, and too many are turned away', async () => {
  const clock = createClock();
  const waits: number[] = [];
  let isOver = false;
  const gate = createGate({
    atOnce: 16,
    perSecond: 50,
    maxWaiting: 10,
    givingWay: GIVES_NO_WAY,
    clock,
    wait: async (ms) => void waits.push(ms),
    isOver: () => isOver,
  });
  const hold = createPromise();
  let running = 0;
  const results = Array.from({ length: 30 }, () =>
    gate.pass('read', async () => {
      running += 1;
      await hold.promise;
      return true;
    }),
  );
  await turn();
  assert.equal(running, 16);
  hold.open();
  const passed = await Promise.all(results);
  assert.equal(passed.filter((one) => one === true).length, 26);
  assert.equal(passed.filter((one) => one === null).length, 4);
  assert.equal(Math.max(...waits), 25 * 20);
  // a stop does not wait until all who wait have had their turn
  isOver = true;
  const before = waits.length;
  assert.equal(await gate.pass('read', async () => true), true);
  assert.equal(waits.length, before);
});

test('a sync has as many walks as there may be beside reads, and readers come ahead of it', async () => {
  let most = 4;
  const watchers = new Set<() => void>();
  const gate = createGate({
    atOnce: 4,
    perSecond: 50,
    maxWaiting: 10,
    givingWay: {
      most: () => most,
      watch(tell) {
        watchers.add(tell);
        return () => void watchers.delete(tell);
      },
    },
    clock: createClock(),
    wait: async () => undefined,
    isOver: () => false,
  });
  const begun: string[] = [];
  const pass = (purpose: 'read' | 'sync', name: string) => {
    const hold = createPromise();
    const passed = gate.pass(purpose, async () => {
      begun.push(name);
      await hold.promise;
    });
    return async () => {
      hold.open();
      await passed;
      await turn();
    };
  };
  const syncs = ['a', 'b', 'c', 'd', 'e', 'f'].map((name) => pass('sync', name));
  await turn();
  assert.deepEqual(begun, ['a', 'b', 'c', 'd']);
  most = 2;
  for (const end of syncs.slice(0, 2)) await end();
  assert.deepEqual(begun, ['a', 'b', 'c', 'd'], 'those under way are not ended, and no others begin');
  const readers = ['r', 's', 't'].map((name) => pass('read', name));
  await turn();
  assert.deepEqual(begun.splice(0), ['a', 'b', 'c', 'd', 'r', 's']);
  await syncs[2]?.();
  assert.deepEqual(begun, ['t']);
  for (const end of readers) await end();
  assert.deepEqual(begun, ['t', 'e']);
  most = 4;
  for (const tell of watchers) tell();
  await turn();
  assert.deepEqual(begun, ['t', 'e', 'f']);
  for (const end of syncs.slice(3)) await end();
  assert.equal(watchers.size, 0, 'nothing is watched when there is no sync');
});

async function readOf({ store }: Pick<ReturnType<typeof createMirror>, 'store'>): Promise<number> {
  return (await store.readSet(IMAGE)).entries.length;
}

function turn(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve);
  });
}

test('a set is not let go while a walk asks for it', async () => {
  let next: Promise<Brought> = Promise.resolve(BROUGHT);
  const { mirror, mayGo } = open(() => next);
  await mirror.bring(IMAGE);
  await turn();
  assert.equal(mayGo(), true);
  const walk = createPromise<Brought>();
  next = walk.promise;
  const reading = mirror.store.readSet(IMAGE);
  await Promise.resolve();
  await Promise.resolve();
  assert.equal(mayGo(), false);
  walk.open(BROUGHT);
  await reading;
  await turn();
  assert.equal(mayGo(), true);
});

test('of a mirror with a limit, each minute notes that a set is still read', async () => {
  const settled = { ...SET, isSettled: true };
  const { mirror, clock, read } = open(
    async () => ({ ...BROUGHT, added: 0 }),
    () => settled,
    { askedEveryMs: 60_000 },
  );
  await mirror.store.readSet(IMAGE);
  await turn();
  assert.equal((await mirror.store.readSet(IMAGE)).askAgainMs, clock.monotonicMs() + 60_000);
  assert.deepEqual(read, [IMAGE, IMAGE]);
});

test('a settled set holds until it is to be asked for again, and the store knows it again', async () => {
  const settled = { ...SET, isSettled: true };
  const knownAs: (SignatureSet | undefined)[] = [];
  const { mirror, clock, walks, rest } = open(
    async () => ({ ...BROUGHT, added: 0 }),
    (known) => {
      knownAs.push(known);
      return settled;
    },
  );
  const first = await mirror.store.readSet(IMAGE);
  assert.equal(first.askAgainMs, clock.monotonicMs(), 'it is asked for now');
  await turn();
  assert.equal(walks(), 1);
  const second = await mirror.store.readSet(IMAGE, first);
  assert.equal(second.askAgainMs, clock.monotonicMs() + 3_600_000);
  assert.deepEqual(knownAs, [undefined, settled]);
  clock.pass(3_600_000);
  rest.ms = 20_000;
  assert.equal((await mirror.store.readSet(IMAGE)).askAgainMs, clock.monotonicMs() + 20_000);
  assert.equal(rest.of.at(-1), UPSTREAM);
  assert.equal(walks(), 1);
});

test('what a reader has waited for is not kept as settled, as it does not say when to ask again', async () => {
  const settled = { ...SET, isSettled: true };
  let stored = NO_SET;
  const { mirror, clock } = open(
    async () => {
      stored = settled;
      return { ...BROUGHT, set: settled };
    },
    () => stored,
  );
  const reader = createReader({ store: mirror.store, clock, cacheBytes: 1_000_000 });
  assert.equal((await reader.readSet(IMAGE)).entries.length, 1);
  clock.pass(60_000);
  assert.equal(reader.peekSet(IMAGE), null);
  assert.equal((await reader.readSet(IMAGE)).askAgainMs, 3_600_000);
  clock.pass(60_000);
  assert.notEqual(reader.peekSet(IMAGE), null);
});

test('what was checked by a clock that was wrong, in the future, is asked for now', async () => {
  const clock = createClock();
  const row: MirrorSetRow = {
    site: IMAGE.site,
    image: imageFolder(IMAGE),
    checkedAt: clock.now(),
    upstream: UPSTREAM,
    gone: [],
    leftOut: [],
    syncedAt: null,
    sizeBytes: 8192,
    failingSince: null,
  };
  for (const [aheadMs, expected] of [
    [0, 0],
    [1, 1],
    [3_600_000_000, 1],
  ] as const) {
    const checkedAt = new Date(clock.now().getTime() + aheadMs);
    const bring = async () => ({ ...BROUGHT, added: 0 });
    const { mirror, walks } = open(bring, () => SET, { setOf: async () => ({ ...row, checkedAt }) });
    assert.equal(await readOf(mirror), 1);
    await turn();
    assert.equal(walks(), expected, `${aheadMs} ms ahead`);
  }
});

test('what another process has just asked for is not asked for again', async () => {
  for (const [isShared, expected] of [
    [false, 2],
    [true, 1],
  ] as const) {
    const row: MirrorSetRow = {
      ...{ site: IMAGE.site, image: imageFolder(IMAGE), checkedAt: new Date(0), upstream: UPSTREAM },
      ...{ gone: [], leftOut: [], syncedAt: null, sizeBytes: 8192, failingSince: null },
    };
    let checkedAt = row.checkedAt;
    const { mirror, clock, walks } = open(
      async () => ({ ...BROUGHT, added: 0 }),
      () => SET,
      { isShared, setOf: async () => ({ ...row, checkedAt }) },
    );
    const readAgain = async () => {
      assert.equal(await readOf(mirror), 1);
      await turn();
    };
    await readAgain();
    assert.equal(walks(), 1);
    clock.pass(3_600_001);
    checkedAt = clock.now(); // by the other one
    await readAgain();
    assert.equal(walks(), expected);
    clock.pass(3_600_001);
    await readAgain();
    assert.equal(walks(), expected + 1);
  }
});

test('many sets that are due are asked for by and by, so that readers who have nothing need not wait behind them', async () => {
  const hold = createPromise<Brought>();
  const { mirror, clock, walks } = open(
    () => hold.promise,
    () => ({ ...SET, isSettled: true }),
  );
  for (let k = 0; k < 100; k += 1) await mirror.store.readSet(imageOf(`team/app-${k}`));
  assert.equal(walks(), 25);
  const { askAgainMs } = await mirror.store.readSet(imageOf('team/app-99'));
  assert.equal(askAgainMs, clock.monotonicMs() + 5000, 'its turn comes later');
  hold.open(BROUGHT);
  await turn();
  for (let k = 25; k < 50; k += 1) await mirror.store.readSet(imageOf(`team/app-${k}`));
  assert.equal(walks(), 50);
});

test('no set is let go while its upstream is left alone', async () => {
  const { mirror, mayGo, rest } = open(async () => BROUGHT);
  await mirror.bring(IMAGE);
  await turn();
  rest.ms = 30_000;
  assert.equal(mayGo(), false);
  assert.equal(rest.of.at(-1), UPSTREAM);
  rest.ms = 0;
  assert.equal(mayGo(), true);
});

test('an opening looks for room once the upstream has given a whole set, and not before', async () => {
  let next: Brought = walkFault('status', 'answered 500') as Brought;
  const { mirror, mayGo } = open(async () => next);
  assert.equal(mayGo(), null);
  const others: readonly Brought[] = [
    next,
    { kind: 'empty', leftOut: [] },
    { ...BROUGHT, added: 0, isWhole: false },
  ];
  for (const other of others) {
    next = other;
    await mirror.bring(IMAGE);
    assert.equal(mayGo(), null);
  }
  next = { ...BROUGHT, added: 0 };
  await mirror.bring(IMAGE);
  await turn();
  assert.equal(mayGo(), true);
});

test('the state of an upstream is that of the newest walk, whatever came before it', async () => {
  const { mirror, clock } = open(async () => BROUGHT);
  const state = (restingMs = 0) => upstreamState({ ...mirror, restingMs });
  assert.equal(state(), 'idle');
  mirror.onFault('https://one.example', walkFault('cut', 'cut'));
  assert.equal(state(), 'failing');
  clock.pass(1000);
  await mirror.bring(IMAGE);
  assert.equal(state(), 'ok');
  clock.pass(1000);
  mirror.onFault('https://one.example', walkFault('status', 'answered 500'));
  assert.equal(state(), 'failing');
  assert.equal(state(25_000), 'resting');
  // an older server tells of walks alone
  assert.equal(upstreamState({ ...mirror, lastAnswerAt: null, restingMs: 0 }), 'ok');
});
