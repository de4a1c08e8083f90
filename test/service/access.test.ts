import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import fc from 'fast-check';
import type {
  AccessBatch,
  AccessLimits,
  AccessLog,
  AccessPruned,
  MissingCount,
  ReadCount,
} from '../../src/domain/ports.ts';
import { type AccessEvent, createAccessRecorder, keepAccessLog } from '../../src/service/access.ts';
import { createGate } from '../gate.ts';
import { createClock, createLog, imageOf } from './hand-driven.ts';

const APP = imageOf('team/app');
const LIMITS = { retentionMs: 1, maxBytes: 1 };

function eventOf(event: Partial<AccessEvent> = {}): AccessEvent {
  return {
    image: APP,
    number: 1,
    signatureSha256: 'b'.repeat(64),
    imageIsSigned: true,
    status: 200,
    address: '192.0.2.1',
    agent: 'Go-http-client/1.1',
    token: null,
    bytes: 500,
    ...event,
  };
}

interface Listed {
  readonly reads: readonly ReadCount[];
  readonly missing: readonly MissingCount[];
}

/** An access log in memory; `write` waits for what `before` gives. */
function open(before: (batch: AccessBatch) => Promise<void> = async () => undefined) {
  const clock = createClock();
  const log = createLog();
  const written: (AccessBatch & Listed)[] = [];
  const pruned: AccessLimits[] = [];
  let isFull = false;
  let doubted: AccessPruned['doubted'] = null;
  let underWay = 0;
  let mostUnderWay = 0;
  const accessLog: AccessLog = {
    async write(batch) {
      underWay += 1;
      mostUnderWay = Math.max(mostUnderWay, underWay);
      try {
        await before(batch);
        written.push({ ...batch, reads: [...batch.reads], missing: [...batch.missing] });
      } finally {
        underWay -= 1;
      }
    },
    closeDays: async () => undefined,
    async prune(limits) {
      pruned.push(limits);
      return { fits: !isFull, doubted };
    },
  };
  const recorder = createAccessRecorder({ log, clock, accessLog });
  return {
    clock,
    log,
    accessLog,
    recorder,
    written,
    pruned,
    /** From the next pruning on. */
    doubt: (days: AccessPruned['doubted']) => {
      doubted = days;
    },
    /** From the next pruning on. */
    fill: (full: boolean) => {
      isFull = full;
    },
    underWay: () => underWay,
    mostUnderWay: () => mostUnderWay,
    async reads(): Promise<readonly ReadCount[]> {
      await recorder.flush();
      return written.flatMap(({ reads }) => reads);
    },
  };
}

describe('counting reads', () => {
  test('the same read within a minute is one row with its first and last time, count and bytes', async () => {
    const { recorder, clock, reads } = open();
    const firstAt = clock.now();
    recorder.record(eventOf({ bytes: 500 }));
    clock.pass(10_000);
    recorder.record(eventOf({ bytes: 0 }));
    clock.pass(49_999);
    recorder.record(eventOf({ bytes: 7 }));
    const { imageIsSigned: _, ...row } = eventOf();
    assert.deepEqual(await reads(), [{ ...row, firstAt, lastAt: clock.now(), count: 3, bytes: 507 }]);
  });

  test('the next minute of the clock is another row', async () => {
    const { recorder, clock, reads } = open();
    clock.pass(59_999);
    recorder.record(eventOf());
    clock.pass(1);
    recorder.record(eventOf());
    assert.deepEqual(
      (await reads()).map(({ firstAt, count }) => [firstAt.toISOString(), count]),
      [
        ['2026-11-22T10:00:59.999Z', 1],
        ['2026-11-22T10:01:00.000Z', 1],
      ],
    );
  });

  const DIFFERENCES: readonly Partial<AccessEvent>[] = [
    { image: imageOf('team/other') },
    { image: imageOf('team/app', 'b') },
    { image: { ...APP, site: 'mirror' } },
    { number: 2 },
    { number: null },
    { status: 304 },
    { address: '192.0.2.2' },
    { agent: 'curl/8' },
    { agent: '' },
    { token: 'ci' },
    { token: 'null' },
  ];
  for (const difference of DIFFERENCES) {
    test(`another ${Object.keys(difference)} is another row: ${JSON.stringify(Object.values(difference))}`, async () => {
      const { recorder, reads } = open();
      recorder.record(eventOf());
      recorder.record(eventOf(difference));
      recorder.record(eventOf(difference));
      const rows = await reads();
      assert.deepEqual(
        rows.map(({ count }) => count),
        [1, 2],
      );
      const { imageIsSigned: _, bytes: __, ...given } = eventOf(difference);
      assert.deepEqual({ ...rows[1], ...given }, rows[1]);
    });
  }

  test('whatever comes in, no read is lost and none is counted twice', async () => {
    const events = fc.array(
      fc.record({
        number: fc.constantFrom(null, 1, 2),
        status: fc.constantFrom(200, 304, 404),
        agent: fc.constantFrom('a', 'b', ''),
        token: fc.constantFrom(null, 'a', ''),
        bytes: fc.nat({ max: 1000 }),
        imageIsSigned: fc.boolean(),
        pause: fc.constantFrom(0, 1, 30_000),
        flushes: fc.boolean(),
      }),
      { maxLength: 60 },
    );
    await fc.assert(
      fc.asyncProperty(events, async (all) => {
        const { recorder, clock, written } = open();
        for (const { pause, flushes, ...event } of all) {
          clock.pass(pause);
          recorder.record(eventOf(event));
          if (flushes) await recorder.flush();
        }
        await recorder.flush();
        const reads = written.flatMap((batch) => batch.reads);
        const missing = written.flatMap((batch) => batch.missing);
        const sum = (numbers: readonly number[]) => numbers.reduce((total, one) => total + one, 0);
        const signed = all.filter(({ imageIsSigned }) => imageIsSigned);
        assert.equal(sum(reads.map(({ count }) => count)), signed.length);
        assert.equal(sum(reads.map(({ bytes }) => bytes)), sum(signed.map(({ bytes }) => bytes)));
        assert.equal(sum(missing.map(({ count }) => count)), all.length - signed.length);
        assert.ok([...reads, ...missing].every(({ firstAt, lastAt }) => firstAt <= lastAt));
        assert.deepEqual(recorder.buffer, { rows: 0, dropped: 0 });
      }),
    );
  });

  test('an agent is kept to 256 characters, and the rest makes no other row', async () => {
    const { recorder, reads } = open();
    recorder.record(eventOf({ agent: 'x'.repeat(256) }));
    recorder.record(eventOf({ agent: 'x'.repeat(257) }));
    recorder.record(eventOf({ agent: `${'x'.repeat(256)}y${'z'.repeat(10_000)}` }));
    const rows = await reads();
    assert.deepEqual(
      rows.map(({ agent, count }) => [agent, count]),
      [['x'.repeat(256), 3]],
    );
  });

  test('an image without signatures is one row, whoever asks for whatever number', async () => {
    const { recorder, clock, written } = open();
    const firstAt = clock.now();
    recorder.record(eventOf({ imageIsSigned: false, status: 404 }));
    clock.pass(600_000);
    recorder.record(
      eventOf({ imageIsSigned: false, status: 404, number: 2, address: '192.0.2.9', agent: 'x' }),
    );
    recorder.record(eventOf({ imageIsSigned: false, status: 404, image: imageOf('b') }));
    await recorder.flush();
    assert.deepEqual(written[0]?.missing, [
      { image: APP, firstAt, lastAt: clock.now(), lastAddress: '192.0.2.9', count: 2 },
      { image: imageOf('b'), firstAt: clock.now(), lastAt: clock.now(), lastAddress: '192.0.2.1', count: 1 },
    ]);
    assert.deepEqual(written[0]?.reads, []);
  });
});

describe('the memory of reads that are not written yet', () => {
  test('it holds 20,000 rows; further ones are dropped and counted, and known ones go on counting', async () => {
    const { recorder, written } = open();
    const address = (number: number) => `10.0.${number >> 8}.${number % 256}`;
    for (let number = 1; number <= 19_999; number += 1) {
      recorder.record(eventOf({ number, address: address(number) }));
    }
    recorder.record(eventOf({ imageIsSigned: false }));
    assert.deepEqual(recorder.buffer, { rows: 20_000, dropped: 0 });
    recorder.record(eventOf({ number: 60_000 }));
    recorder.record(eventOf({ number: 60_000 }));
    recorder.record(eventOf({ imageIsSigned: false, image: imageOf('b') }));
    recorder.record(eventOf({ number: 1, address: address(1) }));
    recorder.record(eventOf({ imageIsSigned: false }));
    assert.deepEqual(recorder.buffer, { rows: 20_000, dropped: 3 });
    await recorder.flush();
    assert.equal(written[0]?.reads[0]?.count, 2);
    assert.equal(written[0]?.missing[0]?.count, 2);
    recorder.record(eventOf({ number: 60_000 }));
    assert.deepEqual(recorder.buffer, { rows: 1, dropped: 3 });
  });

  test('one network fills 1,000 rows; its further reads are told apart by image and status alone', async () => {
    const { recorder, reads } = open();
    const LATER = '2001:db8::7';
    for (let k = 0; k < 3000; k += 1) {
      const address = `2001:db8::${k.toString(16)}`;
      recorder.record(eventOf({ number: k, agent: `agent ${k}`, address, status: k % 2 === 0 ? 200 : 404 }));
    }
    recorder.record(eventOf({ address: '2001:db8:0:1::1' }));
    recorder.record(eventOf({ number: 7, agent: 'agent 7', address: LATER, status: 404 }));
    assert.deepEqual(recorder.buffer, { rows: 1003, dropped: 0 });
    const all = await reads();
    const merged = all.filter(({ agent }) => agent === null);
    assert.deepEqual(
      merged.map(({ number, address, status, count, bytes }) => ({ number, address, status, count, bytes })),
      [200, 404].map((status) => {
        return { number: null, address: '2001:db8:0:0::/64', status, count: 1000, bytes: 500_000 };
      }),
    );
    assert.equal(all.find(({ address }) => address === LATER)?.count, 2);
    recorder.record(eventOf({ address: LATER }));
    assert.equal(recorder.buffer.rows, 1, 'the next batch begins anew');
  });

  test('what is told apart no more is not taken for reads of a name that is no number, without an agent', async () => {
    const { recorder, reads } = open();
    const noNumber = eventOf({ number: null, agent: '', status: 404 });
    recorder.record(noNumber);
    for (let k = 1; k < 1003; k += 1) recorder.record(eventOf({ number: k, status: 404 }));
    recorder.record(noNumber);
    const all = await reads();
    const counted = (wanted: string | null) =>
      all.filter(({ agent }) => agent === wanted).map(({ count }) => count);
    assert.deepEqual([counted(''), counted(null)], [[2], [3]]);
  });

  test('nothing is written while there is nothing to write', async () => {
    const { recorder, written } = open();
    await recorder.flush();
    recorder.record(eventOf());
    await recorder.flush();
    await recorder.flush();
    assert.equal(written.length, 1);
  });

  test('writes that go on failing are told once a minute, with all that was lost', async () => {
    const { recorder, clock, log } = open(() => Promise.reject(new Error('the disk is full')));
    for (let second = 0; second <= 60; second += 1) {
      recorder.record(eventOf());
      await recorder.flush();
      clock.pass(1000);
    }
    assert.deepEqual(
      log.lines.map(({ fields }) => fields.rows),
      [1, 60],
    );
    assert.equal(recorder.buffer.dropped, 61);
  });

  test('what was lost within the last minute is told at the end', async () => {
    const { recorder, log } = open(() => Promise.reject(new Error('the database is locked')));
    recorder.record(eventOf());
    await recorder.flush();
    recorder.record(eventOf());
    await recorder.flush();
    recorder.record(eventOf());
    await recorder.end();
    await recorder.end();
    assert.deepEqual(
      log.lines.map(({ fields }) => fields.rows),
      [1, 2],
    );
  });

  test('reads that found no room, or were lost with a write, are counted in the next batch that is taken', async () => {
    let fails = true;
    const { recorder, written, clock } = open(async () => {
      if (fails) throw new Error('disk full');
    });
    const start = clock.now();
    recorder.record(eventOf());
    recorder.record(eventOf());
    await recorder.flush();
    clock.pass(1000);
    recorder.setFull(true);
    recorder.record(eventOf());
    recorder.setFull(false);
    await recorder.flush();
    fails = false;
    await recorder.flush();
    const dropped = { count: 3, firstAt: start, lastAt: clock.now() };
    assert.deepEqual(written, [{ reads: [], missing: [], dropped }]);
    assert.equal(recorder.buffer.dropped, 3);
    recorder.record(eventOf());
    await recorder.flush();
    assert.equal(written.at(-1)?.dropped, undefined);
  });

  test('a write that fails is told and its reads are counted as dropped; the next one goes on', async () => {
    let isFailing = true;
    const { recorder, log, written } = open(async () => {
      if (isFailing) throw new Error('the database is locked');
    });
    recorder.record(eventOf());
    recorder.record(eventOf());
    recorder.record(eventOf({ imageIsSigned: false }));
    await recorder.flush();
    assert.deepEqual(recorder.buffer, { rows: 0, dropped: 3 });
    assert.deepEqual(
      log.lines.map(({ level, fields }) => [level, fields.rows]),
      [['warn', 2]],
    );
    isFailing = false;
    recorder.record(eventOf());
    await recorder.flush();
    assert.equal(written.length, 1);
    assert.deepEqual(recorder.buffer, { rows: 0, dropped: 3 });
  });

  test('while a write is under way reads gather here, and no second write begins', async () => {
    const gates = [createGate(), createGate(), createGate()];
    let writes = 0;
    const scene = open((): Promise<void> => {
      writes += 1;
      // a read that comes in between two of those that waited
      if (writes === 2) recorder.record(eventOf({ number: 3 }));
      return gates[writes - 1]?.promise ?? assert.fail('a fourth write');
    });
    const { recorder, written } = scene;
    recorder.record(eventOf({ number: 1 }));
    const flushes = [recorder.flush()];
    recorder.record(eventOf({ number: 2 }));
    flushes.push(recorder.flush(), recorder.flush());
    for (const [position, gate] of gates.entries()) {
      await setImmediate();
      assert.equal(scene.underWay(), 1);
      assert.equal(recorder.buffer.rows, position === 2 ? 0 : 1);
      gate.open();
    }
    await Promise.all(flushes);
    assert.equal(scene.mostUnderWay(), 1);
    assert.deepEqual(
      written.flatMap(({ reads }) => reads).map(({ number }) => number),
      [1, 2, 3],
    );
  });

  test('whoever flushes comes back when all that was there is written, also by another', async () => {
    const gates = [createGate(), createGate()];
    let writes = 0;
    const { recorder, written } = open(async () => gates[writes++]?.promise);
    recorder.record(eventOf());
    const first = recorder.flush();
    recorder.record(eventOf({ number: 2 }));
    const others = [recorder.flush(), recorder.flush()];
    const seen = others.map((other) => other.then(() => written.length));
    gates[0]?.open();
    await first;
    await setImmediate();
    gates[1]?.open();
    assert.deepEqual(await Promise.all(seen), [2, 2]);
  });
});

describe('keeping the access log', () => {
  test('reads are written twice a second, and old days go at the start and every minute', async (t) => {
    t.mock.timers.enable({ apis: ['setInterval'] });
    const { recorder, accessLog, log, clock, written, pruned } = open();
    const keeping = keepAccessLog({ recorder, accessLog, log, clock, limits: () => LIMITS });
    assert.equal(pruned.length, 1);
    recorder.record(eventOf());
    t.mock.timers.tick(499);
    assert.equal(recorder.buffer.rows, 1);
    t.mock.timers.tick(1);
    assert.equal(recorder.buffer.rows, 0);
    await setImmediate();
    assert.equal(written.length, 1);
    t.mock.timers.tick(59_500);
    assert.equal(pruned.length, 2);
    await keeping.stop();
  });

  test('stopping writes what is left, and then nothing happens any more', async (t) => {
    t.mock.timers.enable({ apis: ['setInterval'] });
    const { recorder, accessLog, log, clock, written, pruned } = open();
    const keeping = keepAccessLog({ recorder, accessLog, log, clock, limits: () => LIMITS });
    recorder.record(eventOf());
    await keeping.stop();
    assert.equal(written.length, 1);
    recorder.record(eventOf());
    t.mock.timers.tick(3_600_000);
    assert.equal(written.length, 1);
    assert.equal(pruned.length, 1);
  });

  test('while today alone is more than the logs may hold, reads are dropped and counted, and said once', async (t) => {
    t.mock.timers.enable({ apis: ['setInterval'] });
    const { recorder, accessLog, log, clock, fill } = open();
    fill(true);
    const keeping = keepAccessLog({ recorder, accessLog, log, clock, limits: () => LIMITS });
    await setImmediate();
    recorder.record(eventOf());
    assert.deepEqual(recorder.buffer, { rows: 0, dropped: 1 });
    t.mock.timers.tick(60_000);
    await setImmediate();
    assert.match(log.lines.map(({ message }) => message).join(), /^[^,]*LOOKASIDE_ACCESS_MAX[^,]*$/);
    fill(false);
    t.mock.timers.tick(60_000);
    await setImmediate();
    recorder.record(eventOf());
    assert.deepEqual(recorder.buffer, { rows: 1, dropped: 1 });
    await keeping.stop();
  });

  test('a jump of the clock begins its steadiness anew, and what it does not move does not', async (t) => {
    t.mock.timers.enable({ apis: ['setInterval'] });
    const { recorder, accessLog, log, clock, pruned } = open();
    const keeping = keepAccessLog({ recorder, accessLog, log, clock, limits: () => LIMITS });
    const after = (ms: number, jumpMs: number) => {
      clock.pass(ms);
      clock.jump(jumpMs);
      t.mock.timers.tick(60_000);
    };
    after(3_600_000, 0);
    after(3_600_000, 60_000);
    after(3_600_000, 400_000_000_000);
    after(3_600_000, 0);
    after(3_600_000, -400_000_000_000);
    await setImmediate();
    assert.deepEqual(
      pruned.map(({ steadyMs }) => steadyMs),
      [0, 3_600_000, 7_200_000, 0, 3_600_000, 0],
    );
    assert.deepEqual(pruned.at(-1)?.now, clock.now());
    await keeping.stop();
  });

  test('days that are kept because the clock may be wrong are told of once, and again when they come back', async (t) => {
    t.mock.timers.enable({ apis: ['setInterval'] });
    const { recorder, accessLog, log, clock, doubt } = open();
    const doubted = { days: 30, newest: '2026-11-21' };
    doubt(doubted);
    const keeping = keepAccessLog({ recorder, accessLog, log, clock, limits: () => LIMITS });
    const tick = async () => {
      await setImmediate();
      t.mock.timers.tick(60_000);
      await setImmediate();
    };
    await tick();
    await tick();
    assert.deepEqual(
      log.lines.map(({ fields }) => fields),
      [{ now: clock.now(), ...doubted }],
    );
    doubt(null);
    await tick();
    doubt(doubted);
    await tick();
    assert.equal(log.lines.length, 2);
    await keeping.stop();
  });

  test('days that cannot be deleted are told of, and reads are written all the same', async (t) => {
    t.mock.timers.enable({ apis: ['setInterval'] });
    const { recorder, accessLog, log, clock, written } = open();
    const failing: AccessLog = { ...accessLog, prune: () => Promise.reject(new Error('read-only')) };
    const keeping = keepAccessLog({ recorder, accessLog: failing, log, clock, limits: () => LIMITS });
    recorder.record(eventOf());
    await keeping.stop();
    assert.deepEqual(
      log.lines.map(({ message }) => message),
      ['old access logs were not pruned'],
    );
    assert.equal(written.length, 1);
  });
});
