import assert from 'node:assert/strict';
import { describe, type TestContext, test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { createTurns } from '../../src/domain/concurrency.ts';
import { isLookasideError, LookasideError } from '../../src/domain/errors.ts';
import type { SignatureIndex } from '../../src/domain/ports.ts';
import { PROBLEM_TEXTS, type Problem, type ProblemKind } from '../../src/domain/tree.ts';
import { createUpkeep, type TreeScanner, type Upkeep } from '../../src/service/upkeep.ts';
import { createGate } from '../gate.ts';
import { createClock, createLog } from './hand-driven.ts';

interface Found extends Problem {
  readonly isDamage: boolean;
}

const COUNTS = { images: 2, signatures: 3, problems: 0 };
const HOUR_MS = 3_600_000;
const RETRY_MS = 10_000;

const problemOf = (kind: ProblemKind, path: string): Found => ({
  kind,
  path,
  isDamage: kind === 'missing' || kind === 'changed',
});

interface Scene {
  /** What a scan does before it ends. */
  scan?: (signal: AbortSignal) => Promise<void>;
  problems?: readonly Found[];
  /** Awaited ahead of each problem but the first. */
  between?: () => Promise<void>;
  /** What is thrown after the problems. */
  findFailure?: Error;
  repair?: (problem: Found) => Promise<boolean>;
  reset?: () => Promise<void>;
  isComplete?: boolean;
  intervalMs?: number | null;
}

/** Upkeep over a scanner and an index that only keep account of what they are told; timers go by hand. */
function open(t: TestContext, scene: Scene = {}) {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const clock = createClock();
  const log = createLog();
  const acts: string[] = [];
  const turns = createTurns();
  let underWay = 0;

  async function alone<T>(name: string, act: () => Promise<T>): Promise<T> {
    assert.equal(underWay, 0, `${name} while another is under way`);
    underWay += 1;
    acts.push(name);
    try {
      return await act();
    } finally {
      underWay -= 1;
    }
  }

  const scanner: TreeScanner<Found> = {
    scan: (_, { onProgress, signal }) =>
      alone('scan', async () => {
        onProgress?.(COUNTS);
        await scene.scan?.(signal);
        return COUNTS;
      }),
    async *findProblems(_, { onProgress }) {
      acts.push('look');
      for (const [position, problem] of (scene.problems ?? []).entries()) {
        if (position > 0) await scene.between?.();
        onProgress?.({ ...COUNTS, problems: position + 1 });
        yield problem;
      }
      if (scene.findFailure !== undefined) throw scene.findFailure;
      onProgress?.({ ...COUNTS, problems: scene.problems?.length ?? 0 });
    },
    async repair(problem) {
      acts.push(`repair ${problem.path}`);
      return (await scene.repair?.(problem)) ?? true;
    },
  };
  const unused = () => assert.fail('upkeep has no business here');
  const index: SignatureIndex = {
    recorded: unused,
    listFolder: unused,
    hasChild: unused,
    images: unused,
    counts: unused,
    treeOf: unused,
    bind: unused,
    record: unused,
    forgetFolder: unused,
    markComplete: unused,
    peekWrites: unused,
    isComplete: async () => scene.isComplete ?? true,
    reset: () => alone('reset', async () => scene.reset?.()),
  };
  const upkeep = createUpkeep({
    site: 'default',
    scanner,
    index,
    whenIndexChecked: async () => undefined,
    clock,
    log,
    scanIntervalMs: () => (scene.intervalMs === undefined ? HOUR_MS : scene.intervalMs),
    takeTurn: (walk) => turns.take('walk', walk),
    onReset: () => undefined,
  });
  t.after(() => upkeep.stop());

  return {
    upkeep,
    acts,
    clock,
    log,
    scene,
    /** Lets that much time go by, and what it set off come to rest. */
    async pass(ms: number): Promise<void> {
      t.mock.timers.tick(ms);
      await setImmediate();
    },
  };
}

describe('scanning', () => {
  test('the tree is scanned at the start and again after each interval', async (t) => {
    const { upkeep, acts, pass, clock } = open(t);
    assert.deepEqual(upkeep.status, { isScanning: false, lastScanAt: null, lastError: null });
    upkeep.start();
    await pass(0);
    assert.deepEqual(acts, ['scan']);
    assert.deepEqual(upkeep.status, { isScanning: false, lastScanAt: clock.now(), lastError: null });
    await pass(HOUR_MS - 1);
    assert.equal(acts.length, 1);
    await pass(1);
    assert.equal(acts.length, 2);
    await pass(HOUR_MS);
    assert.equal(acts.length, 3);
  });

  test('the interval counts from the end of a scan, and a scan that lasts is not met by the next', async (t) => {
    const gate = createGate();
    const { upkeep, acts, pass } = open(t, { scan: () => gate.promise });
    upkeep.start();
    await pass(0);
    assert.equal(upkeep.status.isScanning, true);
    await pass(5 * HOUR_MS);
    assert.deepEqual(acts, ['scan']);
    gate.open();
    await setImmediate();
    assert.equal(upkeep.status.isScanning, false);
    await pass(HOUR_MS);
    assert.deepEqual(acts, ['scan', 'scan']);
  });

  test('an interval that changes while waiting counts from the next scan on', async (t) => {
    const { upkeep, acts, pass, scene } = open(t, { intervalMs: null });
    upkeep.start();
    await pass(0);
    await pass(100 * HOUR_MS);
    assert.equal(acts.length, 1, 'without an interval, at the start alone');
    scene.intervalMs = HOUR_MS;
    upkeep.rebuild();
    await pass(0);
    await pass(HOUR_MS);
    assert.deepEqual(acts, ['scan', 'reset', 'scan', 'scan']);
  });

  // a delay of 2^31 ms or more would be taken for 1 ms: scan after scan without a pause
  test('an interval that is longer than a timer can wait is waited for as long as it can', async (t) => {
    const longest = 2 ** 31 - 1;
    const { upkeep, acts, pass } = open(t, { intervalMs: 30 * 24 * HOUR_MS });
    upkeep.start();
    await pass(0);
    await pass(longest - 1);
    assert.equal(acts.length, 1);
    await pass(1);
    assert.equal(acts.length, 2);
  });

  test('a scan that failed is told of and tried again in ten seconds', async (t) => {
    const { upkeep, acts, pass, log, scene } = open(t, {
      scan: () => Promise.reject(new Error('the disk failed')),
    });
    upkeep.start();
    await pass(0);
    assert.equal(upkeep.status.lastError, 'the disk failed');
    assert.equal(upkeep.status.lastScanAt, null);
    assert.equal(log.lines.at(-1)?.level, 'error');
    await pass(RETRY_MS - 1);
    assert.equal(acts.length, 1);
    await pass(1);
    assert.equal(acts.length, 2);
    delete scene.scan;
    await pass(RETRY_MS);
    assert.deepEqual(acts, ['scan', 'scan', 'scan']);
    assert.equal(upkeep.status.lastError, null);
    await pass(RETRY_MS);
    assert.equal(acts.length, 3, 'and then the interval counts again');
  });

  test('a scan that failed is tried again even when scans have no interval', async (t) => {
    const { upkeep, acts, pass } = open(t, { intervalMs: null, scan: () => Promise.reject(new Error('no')) });
    upkeep.start();
    await pass(0);
    await pass(RETRY_MS);
    assert.equal(acts.length, 2);
  });

  test('an index that proves unusable is made anew before the next scan', async (t) => {
    const unusable = new LookasideError('INDEX_UNUSABLE', 'malformed');
    const { upkeep, acts, pass, scene } = open(t, { scan: () => Promise.reject(unusable) });
    upkeep.start();
    await pass(0);
    assert.deepEqual(acts, ['scan']);
    delete scene.scan;
    await pass(RETRY_MS);
    assert.deepEqual(acts, ['scan', 'reset', 'scan']);
    await pass(HOUR_MS);
    assert.deepEqual(acts, ['scan', 'reset', 'scan', 'scan']);
  });

  test('a reset that failed is tried again before any scan', async (t) => {
    const { upkeep, acts, pass, scene } = open(t, { reset: () => Promise.reject(new Error('no space')) });
    upkeep.rebuild();
    await pass(0);
    await pass(RETRY_MS);
    assert.deepEqual(acts, ['reset', 'reset']);
    delete scene.reset;
    await pass(RETRY_MS);
    assert.deepEqual(acts, ['reset', 'reset', 'reset', 'scan']);
  });

  test('rebuild makes the index anew at once, however long the interval still is', async (t) => {
    const { upkeep, acts, pass } = open(t);
    upkeep.start();
    await pass(0);
    upkeep.rebuild();
    upkeep.rebuild();
    await pass(0);
    assert.deepEqual(acts, ['scan', 'reset', 'scan']);
  });

  test('rebuild during a scan waits for its end, and is not forgotten over it', async (t) => {
    const gate = createGate();
    const { upkeep, acts, pass, scene } = open(t, { scan: () => gate.promise });
    upkeep.start();
    await pass(0);
    upkeep.rebuild();
    gate.open();
    await setImmediate();
    assert.deepEqual(acts, ['scan']);
    delete scene.scan;
    await pass(0);
    assert.deepEqual(acts, ['scan', 'reset', 'scan']);
    await pass(HOUR_MS);
    assert.deepEqual(acts, ['scan', 'reset', 'scan', 'scan']);
  });
});

describe('stopping', () => {
  test('a scan that is under way is ended and not tried again', async (t) => {
    const gate = createGate();
    const { upkeep, acts, pass, log } = open(t, {
      scan: async (signal) => {
        await gate.promise;
        signal.throwIfAborted();
      },
    });
    upkeep.start();
    await pass(0);
    const stopping = upkeep.stop();
    gate.open();
    await stopping;
    await pass(RETRY_MS);
    await pass(HOUR_MS);
    assert.deepEqual(acts, ['scan']);
    assert.deepEqual(log.lines, []);
    assert.equal(upkeep.status.lastScanAt, null);
  });

  test('no scan begins after it, neither at an interval nor for a rebuild', async (t) => {
    const { upkeep, acts, pass } = open(t);
    upkeep.start();
    await pass(0);
    await upkeep.stop();
    upkeep.rebuild();
    await pass(HOUR_MS);
    assert.deepEqual(acts, ['scan']);
  });

  const isStopping = (error: unknown) =>
    isLookasideError(error, 'BUSY') && /the server is stopping.*try again/.test(error.message);

  interface Walk {
    readonly name: string;
    readonly begin: (upkeep: Upkeep) => Promise<unknown>;
    readonly first: ProblemKind;
    readonly acts: readonly string[];
  }

  const walks: readonly Walk[] = [
    { name: 'fsck', begin: ({ fsck }) => fsck({ repair: false }), first: 'missing', acts: ['look'] },
    {
      name: 'fsck with repair',
      begin: ({ fsck }) => fsck({ repair: true }),
      first: 'missing',
      acts: ['look', 'repair a/signature-1'],
    },
    {
      name: 'the look for damage ahead of a reindex',
      begin: ({ reindex }) => reindex({ acceptDamage: false }),
      first: 'empty',
      acts: ['look'],
    },
  ];

  for (const { name, begin, first, acts } of walks) {
    test(`${name} that is under way ends at the next image, and tells its caller why`, async (t) => {
      const gate = createGate();
      const problems = [problemOf(first, 'a/signature-1'), problemOf('missing', 'b/signature-1')];
      const scene = open(t, { problems, between: () => gate.promise });
      const ended = assert.rejects(begin(scene.upkeep), isStopping);
      await setImmediate();
      const stopping = scene.upkeep.stop();
      gate.open();
      await Promise.all([ended, stopping]);
      assert.deepEqual(scene.acts, acts);
    });
  }

  test('a reindex that is under way ends at the next image, and tells its caller why', async (t) => {
    const gate = createGate();
    const { upkeep, acts, pass } = open(t, {
      scan: async (signal) => {
        await gate.promise;
        signal.throwIfAborted();
      },
    });
    const ended = assert.rejects(upkeep.reindex({ acceptDamage: true }), isStopping);
    await setImmediate();
    const stopping = upkeep.stop();
    gate.open();
    await Promise.all([ended, stopping]);
    await pass(RETRY_MS);
    assert.deepEqual(acts, ['reset', 'scan'], 'the next start finishes it');
  });

  test('what waits for its turn does not begin, and neither does what is asked for afterwards', async (t) => {
    const gate = createGate();
    const { upkeep, acts, pass } = open(t, { scan: () => gate.promise });
    upkeep.start();
    await pass(0);
    const waiting = [
      upkeep.fsck({ repair: true }),
      upkeep.reindex({ acceptDamage: false }),
      upkeep.reindex({ acceptDamage: true }),
    ];
    const refused = Promise.all(waiting.map((each) => assert.rejects(each, isStopping)));
    const stopping = upkeep.stop();
    gate.open();
    await Promise.all([refused, stopping]);
    await assert.rejects(upkeep.fsck({ repair: false }), isStopping);
    assert.deepEqual(acts, ['scan']);
  });

  test('before the first scan, nothing is scanned', async (t) => {
    const { upkeep, acts, pass } = open(t);
    upkeep.start();
    await upkeep.stop();
    await pass(HOUR_MS);
    assert.deepEqual(acts, []);
  });
});

describe('turns', () => {
  test('scans, reindex and fsck take turns', async (t) => {
    const gates = [createGate(), createGate()];
    let scans = 0;
    const { upkeep, acts, pass } = open(t, { scan: async () => gates[scans++]?.promise });
    upkeep.start();
    await pass(0);
    const reindexed = upkeep.reindex({ acceptDamage: true });
    const checked = upkeep.fsck({ repair: false });
    await setImmediate();
    assert.deepEqual(acts, ['scan']);
    gates[0]?.open();
    await setImmediate();
    assert.deepEqual(acts, ['scan', 'reset', 'scan']);
    assert.equal(upkeep.status.isScanning, true);
    gates[1]?.open();
    await Promise.all([reindexed, checked]);
    assert.deepEqual(acts, ['scan', 'reset', 'scan', 'look']);
    assert.equal(upkeep.status.isScanning, false);
  });

  test('one that failed does not keep the next from its turn', async (t) => {
    const { upkeep, acts } = open(t, { findFailure: new Error('the disk failed') });
    const results = await Promise.allSettled([
      upkeep.fsck({ repair: false }),
      upkeep.reindex({ acceptDamage: false }),
      upkeep.reindex({ acceptDamage: true }),
    ]);
    assert.deepEqual(
      results.map(({ status }) => status),
      ['rejected', 'rejected', 'fulfilled'],
    );
    assert.deepEqual(acts, ['look', 'look', 'reset', 'scan']);
  });
});

describe('reindex', () => {
  test('it makes the index anew from a tree without damage', async (t) => {
    const problems = [problemOf('empty', 'a/signature-1'), problemOf('extra', 'a/signature-2')];
    const { upkeep, acts } = open(t, { problems });
    const seen: object[] = [];
    const counts = await upkeep.reindex({ acceptDamage: false, onProgress: (now) => seen.push(now) });
    assert.deepEqual(counts, COUNTS);
    assert.deepEqual(seen, [COUNTS]);
    assert.deepEqual(acts, ['look', 'reset', 'scan']);
  });

  test('one that failed half way is finished by a scan, also when scans have no interval', async (t) => {
    const { upkeep, acts, pass, scene } = open(t, {
      intervalMs: null,
      scan: () => Promise.reject(new Error('the disk failed')),
    });
    await assert.rejects(upkeep.reindex({ acceptDamage: true }), /the disk failed/);
    delete scene.scan;
    await pass(RETRY_MS);
    assert.deepEqual(acts, ['reset', 'scan', 'scan']);
  });

  for (const kind of ['missing', 'changed'] as const) {
    test(`a ${kind} file makes it refuse, and nothing is forgotten`, async (t) => {
      const { upkeep, acts, pass } = open(t, {
        problems: [problemOf('empty', 'a'), problemOf(kind, 'team/signature-2')],
      });
      await assert.rejects(upkeep.reindex({ acceptDamage: false }), (error) => {
        return isLookasideError(error, 'DAMAGE_FOUND') && error.message.includes('team/signature-2');
      });
      upkeep.start();
      await pass(0);
      assert.deepEqual(acts, ['look', 'scan'], 'nor is it with the next scan');
    });
  }

  test('damage that is accepted is not looked for', async (t) => {
    const { upkeep, acts } = open(t, { problems: [problemOf('missing', 'a')] });
    assert.deepEqual(await upkeep.reindex({ acceptDamage: true }), COUNTS);
    assert.deepEqual(acts, ['reset', 'scan']);
  });

  test('an index that cannot be read has nothing to lose', async (t) => {
    const { upkeep, acts } = open(t, { findFailure: new LookasideError('INDEX_UNUSABLE', 'malformed') });
    await upkeep.reindex({ acceptDamage: false });
    assert.deepEqual(acts, ['look', 'reset', 'scan']);
  });

  test('a tree that cannot be read is no tree without damage', async (t) => {
    const { upkeep, acts } = open(t, { findFailure: new LookasideError('STORE_UNAVAILABLE', 'EIO') });
    await assert.rejects(upkeep.reindex({ acceptDamage: false }), (error) =>
      isLookasideError(error, 'STORE_UNAVAILABLE'),
    );
    assert.deepEqual(acts, ['look']);
  });
});

describe('fsck', () => {
  const PROBLEMS = [
    problemOf('missing', 'a/signature-1'),
    problemOf('empty', 'b/signature-1'),
    problemOf('changed', 'c/signature-1'),
  ];

  test('it tells what is wrong and what to do, and changes nothing', async (t) => {
    const { upkeep, acts } = open(t, { problems: PROBLEMS });
    const seen: number[] = [];
    const result = await upkeep.fsck({ repair: false, onProgress: ({ problems }) => seen.push(problems) });
    assert.deepEqual(result, {
      ...COUNTS,
      problems: 3,
      repaired: 0,
      isCompared: true,
      findings: PROBLEMS.map(({ kind, path }) => ({
        site: 'default',
        kind,
        path,
        message: PROBLEM_TEXTS[kind],
        repaired: false,
      })),
    });
    assert.deepEqual(seen, [1, 2, 3, 3]);
    assert.deepEqual(acts, ['look']);
  });

  test('what stands for many is told with how many', async (t) => {
    const many = { ...problemOf('over-limit', 'a/signature-128'), count: 19_873 };
    const { upkeep } = open(t, { problems: [many] });
    const { findings } = await upkeep.fsck({ repair: false });
    const { kind, path, count } = many;
    const message = `this and 19872 more: ${PROBLEM_TEXTS[kind]}`;
    assert.deepEqual(findings, [{ site: 'default', kind, path, count, message, repaired: false }]);
  });

  test('with repair, damage alone is put right, and what could not be is told as it is', async (t) => {
    const { upkeep, acts } = open(t, { problems: PROBLEMS, repair: async ({ kind }) => kind === 'missing' });
    const result = await upkeep.fsck({ repair: true });
    assert.equal(result.repaired, 1);
    assert.deepEqual(
      result.findings.map(({ path, message, repaired }) => [path, message, repaired]),
      [
        ['a/signature-1', 'the recorded bytes were put back', true],
        ['b/signature-1', PROBLEM_TEXTS.empty, false],
        ['c/signature-1', PROBLEM_TEXTS.changed, false],
      ],
    );
    assert.deepEqual(acts, ['look', 'repair a/signature-1', 'repair c/signature-1']);
  });

  test('without a whole index it says that bytes were not compared', async (t) => {
    const { upkeep } = open(t, { isComplete: false });
    const result = await upkeep.fsck({ repair: false });
    assert.deepEqual(result, { ...COUNTS, repaired: 0, findings: [], isCompared: false });
  });

  test('beyond 10,000 findings it goes on repairing and counting', async (t) => {
    const problems = Array.from({ length: 10_002 }, (_, number) =>
      problemOf('missing', `a/signature-${number}`),
    );
    const { upkeep } = open(t, { problems });
    const { findings, repaired } = await upkeep.fsck({ repair: true });
    assert.deepEqual([findings.length, repaired], [10_000, 10_002]);
  });

  test('a failure is thrown', async (t) => {
    const { upkeep } = open(t, { findFailure: new LookasideError('STORE_UNAVAILABLE', 'EIO') });
    await assert.rejects(upkeep.fsck({ repair: false }), (error) =>
      isLookasideError(error, 'STORE_UNAVAILABLE'),
    );
  });
});
