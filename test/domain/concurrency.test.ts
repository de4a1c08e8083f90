import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import fc from 'fast-check';
import {
  createBatches,
  createPlaces,
  createSharedRuns,
  createSingleFlight,
  createTurns,
  createVersions,
  forEachConcurrently,
  mapInOrder,
} from '../../src/domain/concurrency.ts';
import { createGate } from '../gate.ts';

describe('work with one bound for all who ask', () => {
  test('all who ask share the bound, in the order of asking', async () => {
    const places = createPlaces({ items: 3, bytes: 0 });
    const begun: string[] = [];
    const ends = new Map<string, () => void>();
    const act = (item: string) => {
      begun.push(item);
      return new Promise<void>((end) => ends.set(item, end));
    };
    const taken = ['a1', 'a2', 'b1', 'b2', 'b3'].map((item) => places.take(0, () => act(item)));
    await setImmediate();
    assert.deepEqual(begun, ['a1', 'a2', 'b1']);
    ends.get('b1')?.();
    await setImmediate();
    assert.deepEqual(begun, ['a1', 'a2', 'b1', 'b2']);
    ends.get('a1')?.();
    ends.get('a2')?.();
    await Promise.all([taken[0], taken[1]]);
    await setImmediate();
    assert.deepEqual(begun, ['a1', 'a2', 'b1', 'b2', 'b3']);
    ends.get('b2')?.();
    ends.get('b3')?.();
    await Promise.all(taken);
  });

  test('a failure leaves its place to the next', async () => {
    const places = createPlaces({ items: 1, bytes: 0 });
    const begun: string[] = [];
    const failing = places.take(0, async () => {
      throw new Error('a');
    });
    const sound = places.take(0, async () => void begun.push('b'));
    await assert.rejects(failing, { message: 'a' });
    await sound;
    assert.deepEqual(begun, ['b']);
  });

  test('the bytes have a bound too, one that is larger goes alone, and a small one never ahead of it', async () => {
    const places = createPlaces({ items: 9, bytes: 10 });
    const begun: number[] = [];
    const ends: (() => void)[] = [];
    const taken = [6, 4, 11, 1, 1].map((sizeBytes) =>
      places.take(sizeBytes, () => {
        begun.push(sizeBytes);
        return new Promise<void>((end) => ends.push(end));
      }),
    );
    const endFirst = () => {
      ends.shift()?.();
      return setImmediate();
    };
    await setImmediate();
    assert.deepEqual(begun, [6, 4]);
    await endFirst();
    assert.deepEqual(begun, [6, 4]);
    await endFirst();
    assert.deepEqual(begun, [6, 4, 11]);
    await endFirst();
    assert.deepEqual(begun, [6, 4, 11, 1, 1]);
    await endFirst();
    await endFirst();
    await Promise.all(taken);
  });
});

describe('work with a bound', () => {
  test('every item is worked on once, and never more than the bound at a time', async () => {
    const shapes = fc.record({
      turns: fc.array(fc.nat({ max: 4 }), { maxLength: 30 }),
      limit: fc.integer({ min: 1, max: 9 }),
      isSlowSource: fc.boolean(),
    });
    await fc.assert(
      fc.asyncProperty(shapes, async ({ turns, limit, isSlowSource }) => {
        const done: number[] = [];
        let running = 0;
        let most = 0;
        const items = [...turns.keys()];
        await forEachConcurrently(isSlowSource ? slowly(items) : items, limit, async (item) => {
          running += 1;
          most = Math.max(most, running);
          for (let turn = 0; turn < (turns[item] ?? 0); turn += 1) await setImmediate();
          running -= 1;
          done.push(item);
        });
        assert.deepEqual(
          done.sort((a, b) => a - b),
          items,
        );
        assert.ok(most <= limit, `${most} at a time, ${limit} allowed`);
        assert.equal(running, 0);
      }),
      { numRuns: 60 },
    );
  });

  test('the bound is used to the full', async () => {
    const gate = createGate();
    let running = 0;
    const work = forEachConcurrently([1, 2, 3, 4, 5], 3, async () => {
      running += 1;
      if (running === 3) gate.open();
      await gate.promise;
    });
    await work;
    assert.equal(running, 5);
  });

  test('a failure is thrown wherever it happens, and whatever else is done by then', async () => {
    const shapes = fc.record({
      turns: fc.array(fc.nat({ max: 3 }), { minLength: 1, maxLength: 12 }),
      failing: fc.nat({ max: 11 }),
      limit: fc.integer({ min: 1, max: 9 }),
      isSlowSource: fc.boolean(),
    });
    await fc.assert(
      fc.asyncProperty(shapes, async ({ turns, failing, limit, isSlowSource }) => {
        const items = [...turns.keys()];
        const failed = failing % items.length;
        const failure = new Error('the disk failed');
        let running = 0;
        const work = forEachConcurrently(isSlowSource ? slowly(items) : items, limit, async (item) => {
          running += 1;
          for (let turn = 0; turn < (turns[item] ?? 0); turn += 1) await setImmediate();
          running -= 1;
          if (item === failed) throw failure;
        });
        await assert.rejects(work, failure);
        assert.equal(running, 0, 'nothing is still under way');
      }),
      { numRuns: 100 },
    );
  });

  test('nothing is begun after a failure', async () => {
    const begun: number[] = [];
    const work = forEachConcurrently(slowly([1, 2, 3, 4, 5]), 4, async (item) => {
      begun.push(item);
      if (item === 2) throw new Error('the disk failed');
    });
    await assert.rejects(work, /the disk failed/);
    assert.deepEqual(begun, [1, 2]);
  });

  test('a failure of the source is thrown', async () => {
    async function* broken() {
      yield 1;
      throw new Error('the folder went');
    }
    await assert.rejects(
      forEachConcurrently(broken(), 4, async () => undefined),
      /the folder went/,
    );
  });
});

describe('a single flight', () => {
  test('callers with one key share one run, others have their own', async () => {
    const flight = createSingleFlight<string>();
    const gate = createGate();
    const runs: string[] = [];
    const ask = (key: string) =>
      flight(key, async () => {
        runs.push(key);
        await gate.promise;
        return `${key}-${runs.length}`;
      });
    const asked = [ask('a'), ask('a'), ask('b'), ask('a')];
    gate.open();
    assert.deepEqual(await Promise.all(asked), ['a-2', 'a-2', 'b-2', 'a-2']);
    assert.deepEqual(runs, ['a', 'b']);
    assert.equal(await ask('a'), 'a-3', 'the next one looks again');
  });

  test('a failure is shared too, and is not kept', async () => {
    const flight = createSingleFlight<string>();
    const failing = async () => {
      await setImmediate();
      throw new Error('the disk failed');
    };
    const results = await Promise.allSettled([flight('a', failing), flight('a', failing)]);
    assert.deepEqual(
      results.map(({ status }) => status),
      ['rejected', 'rejected'],
    );
    assert.equal(await flight('a', async () => 'there again'), 'there again');
  });
});

describe('shared runs', () => {
  test('who asks while one is under way shares the next, which begins after it', async () => {
    const share = createSharedRuns();
    const begun: number[] = [];
    const gates = [createGate(), createGate()];
    const run = async () => {
      const gate = gates[begun.length];
      begun.push(begun.length + 1);
      await gate?.promise;
    };
    const first = share('a', run);
    const others = [share('a', run), share('a', run)];
    const elsewhere = share('b', async () => undefined);
    await elsewhere;
    assert.deepEqual(begun, [1]);
    gates[0]?.open();
    await first;
    await setImmediate();
    assert.deepEqual(begun, [1, 2]);
    gates[1]?.open();
    await Promise.all(others);
    await share('a', run);
    assert.deepEqual(begun, [1, 2, 3], 'nobody is under way any more');
  });

  test('a failure is told to those who share it, and to nobody else', async () => {
    const share = createSharedRuns();
    const fail = () => setImmediate().then(() => Promise.reject(new Error('the disk failed')));
    const first = share('a', fail);
    const next = share('a', async () => undefined);
    await assert.rejects(first, /the disk failed/);
    await next;
  });
});

async function* slowly<T>(items: readonly T[]): AsyncGenerator<T> {
  for (const item of items) {
    await setImmediate();
    yield item;
  }
}

describe('results in order', () => {
  async function* upTo(count: number): AsyncGenerator<number> {
    for (let item = 0; item < count; item += 1) yield item;
  }

  test('come in the order of the items, whichever is ready first, and never more than the limit are under way', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.nat({ max: 3 }), { maxLength: 30 }),
        fc.integer({ min: 1, max: 5 }),
        async (turns, limit) => {
          let underWay = 0;
          let most = 0;
          const seen: number[] = [];
          const work = async (item: number) => {
            underWay += 1;
            most = Math.max(most, underWay);
            for (let turn = 0; turn < (turns[item] ?? 0); turn += 1) await Promise.resolve();
            underWay -= 1;
            return item;
          };
          for await (const item of mapInOrder(upTo(turns.length), limit, work)) seen.push(item);
          assert.deepEqual(
            seen,
            turns.map((_, item) => item),
          );
          assert.ok(most <= limit, `${most} at once, ${limit} allowed`);
        },
      ),
    );
  });

  test('end with the first failure, in its turn', async () => {
    const seen: number[] = [];
    const work = async (item: number) => {
      if (item === 2) throw new Error('two');
      return item;
    };
    await assert.rejects(async () => {
      for await (const item of mapInOrder(upTo(6), 3, work)) seen.push(item);
    }, /two/);
    assert.deepEqual(seen, [0, 1]);
  });
});

describe('turns', () => {
  test('of one key come one at a time in the order of asking, and of others do not wait', async () => {
    const turns = createTurns();
    const gate = createGate();
    const order: string[] = [];
    const first = turns.take('a', async () => {
      await gate.promise;
      order.push('a1');
      throw new Error('failed');
    });
    const second = turns.take('a', async () => order.push('a2'));
    await turns.take('b', async () => order.push('b'));
    assert.deepEqual(order, ['b']);
    assert.deepEqual([turns.isTaken('a'), turns.isTaken('b')], [true, false]);
    gate.open();
    await assert.rejects(first, /failed/);
    await second;
    await setImmediate();
    assert.deepEqual(order, ['b', 'a1', 'a2']);
    assert.equal(turns.isTaken('a'), false);
  });

  test('hand on the result, and never run two of one key at once', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.constantFrom('a', 'b', 'c'), { maxLength: 30 }), async (keys) => {
        const turns = createTurns();
        const running = new Set<string>();
        const results = await Promise.all(
          keys.map((key, asked) =>
            turns.take(key, async () => {
              assert.ok(!running.has(key));
              running.add(key);
              await Promise.resolve();
              running.delete(key);
              return asked;
            }),
          ),
        );
        assert.deepEqual(
          results,
          keys.map((_, asked) => asked),
        );
      }),
    );
  });
});

describe('versions', () => {
  test('are never equal over a change, however few keys are remembered', () => {
    fc.assert(
      fc.property(fc.array(fc.nat({ max: 8 }), { maxLength: 60 }), fc.nat({ max: 5 }), (changed, kept) => {
        const versions = createVersions(kept);
        const keys = Array.from({ length: 9 }, (_, key) => `${key}`);
        const seen = new Map(keys.map((key) => [key, new Set([versions.of(key)])]));
        for (const key of changed) {
          const earlier = seen.get(`${key}`);
          versions.change(`${key}`);
          assert.ok(!earlier?.has(versions.of(`${key}`)), `${key} changed, and has an old version`);
          for (const each of keys) seen.get(each)?.add(versions.of(each));
        }
      }),
    );
  });

  test('stay while nothing changed, and others do not touch them', () => {
    const versions = createVersions();
    const before = versions.of('a');
    versions.change('b');
    assert.equal(versions.of('a'), before);
  });

  test('of the keys that changed last stay while others change', () => {
    const versions = createVersions(10);
    for (let time = 0; time < 35; time += 1) {
      versions.change('kept');
      const before = versions.of('kept');
      for (let other = 0; other < 9; other += 1) versions.change(`${time} ${other}`);
      assert.equal(versions.of('kept'), before);
    }
  });
});

describe('places', () => {
  test('are for so many things and bytes at a time, and for a larger one by itself', async () => {
    const places = createPlaces({ items: 2, bytes: 10 });
    const order: string[] = [];
    const entered = async (name: string, sizeBytes: number) => {
      const { leave } = await places.enter(sizeBytes);
      order.push(name);
      return leave;
    };
    const [first, second] = [await entered('first', 5), await entered('second', 5)];
    const third = entered('third', 1);
    await setImmediate();
    assert.deepEqual(order, ['first', 'second']);
    first();
    const leaveThird = await third;
    const large = entered('large', 1000);
    second();
    await setImmediate();
    assert.deepEqual(order, ['first', 'second', 'third']);
    leaveThird();
    (await large)();
    assert.deepEqual(order, ['first', 'second', 'third', 'large']);
  });
});

describe('batches', () => {
  test('what comes alone runs at once, and what comes meanwhile runs together, as far as there is room', async () => {
    const gates: (() => void)[] = [];
    const batches: (readonly number[])[] = [];
    const { add } = createBatches<number, number>({ items: 3, bytes: 100 }, async (items) => {
      batches.push(items);
      const gate = createGate();
      gates.push(() => gate.open());
      await gate.promise;
      return items.map((item) => item * 10);
    });
    const first = await add(0, 1);
    assert.deepEqual(batches, [[0]]);
    const added = [1, 2, 3, 4].map((item) => add(item, 1));
    let isFourthIn = false;
    void added[3]?.then(() => {
      isFourthIn = true;
    });
    await setImmediate();
    assert.equal(isFourthIn, false);
    gates[0]?.();
    assert.equal(await first.done, 0);
    const results = Promise.all(added.map(async (one) => (await one).done));
    while (batches.length < 3) {
      await setImmediate();
      gates[batches.length - 1]?.();
    }
    gates[2]?.();
    assert.deepEqual(await results, [10, 20, 30, 40]);
    assert.deepEqual(batches, [[0], [1, 2, 3], [4]]);
  });

  test('what comes in the pause after a batch runs together, and the pause ends when there is no room for more', async () => {
    const batches: (readonly number[])[] = [];
    const pauses: (() => void)[] = [];
    const { add } = createBatches<number, number>(
      { items: 3, bytes: 100 },
      async (items) => {
        batches.push(items);
        return items;
      },
      () => new Promise<void>((resolve) => pauses.push(resolve)),
    );
    await (await add(0, 1)).done;
    const second = [await add(1, 1), await add(2, 1)];
    await setImmediate();
    assert.deepEqual(batches, [[0]]);
    pauses[0]?.();
    await Promise.all(second.map(({ done }) => done));
    assert.deepEqual(batches, [[0], [1, 2]]);
    const third = [await add(3, 1), await add(4, 1), await add(5, 1)];
    await Promise.all(third.map(({ done }) => done));
    assert.deepEqual(batches, [[0], [1, 2], [3, 4, 5]]);
    pauses[2]?.();
    await setImmediate();
    await (await add(6, 1)).done;
    assert.deepEqual(batches.at(-1), [6]);
  });

  test('the failure of one batch is that of its items alone', async () => {
    let runs = 0;
    const { add } = createBatches<string, string>({ items: 3, bytes: 100 }, async (items) => {
      runs += 1;
      if (runs === 1) throw new Error('no room');
      return items;
    });
    const [first, second] = [await add('a', 1), await add('b', 1)];
    await assert.rejects(first.done, /no room/);
    assert.equal(await second.done, 'b');
  });
});
