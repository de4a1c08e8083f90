// What every AccessLog promises, run over each implementation.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { describe } from 'node:test';
import type { ImageId } from '../../src/domain/image.ts';
import type { AccessLimits, AccessLog, MissingCount, ReadCount } from '../../src/domain/ports.ts';
import { imageAt } from './signature-index.ts';
import { testOver } from './under-test.ts';

export interface AccessLogUnderTest {
  readonly access: AccessLog;
  /** The same log as another start finds it. */
  reopen(): Promise<AccessLog>;
  /** Days (UTC) of which something is kept, like `2026-11-22`, in their order. */
  days(): Promise<readonly string[]>;
  /** By minute, number and token. `number` null also for numbers that no image can have. */
  reads(day: string): Promise<readonly ReadCount[]>;
  /** By path. */
  missing(day: string): Promise<readonly MissingCount[]>;
  /** Makes what is kept of the day weigh so much. */
  weigh(day: string, sizeBytes: number): Promise<void>;
  close(): Promise<void>;
}

const MIB = 1024 * 1024;
const DAY_MS = 86_400_000;
const ENOUGH = Number.MAX_SAFE_INTEGER;

export const NOON = new Date('2026-11-22T12:00:10.000Z');
/** What a read got. */
export const BYTES = 'b'.repeat(64);
export const APP = imageAt('team/app', 'a');

export function read(changes: Partial<ReadCount> = {}): ReadCount {
  return {
    image: APP,
    number: 1,
    signatureSha256: BYTES,
    status: 200,
    address: '192.0.2.1',
    agent: 'podman/5',
    token: null,
    firstAt: NOON,
    lastAt: NOON,
    count: 1,
    bytes: 500,
    ...changes,
  };
}

export function missing(changes: Partial<MissingCount> = {}): MissingCount {
  return { image: APP, firstAt: NOON, lastAt: NOON, lastAddress: '192.0.2.1', count: 1, ...changes };
}

export function madeUpImage(path: string, seed: number): ImageId {
  const hex = createHash('sha256').update(`${seed}`).digest('hex');
  return { site: 'default', layout: 'repository', path, algorithm: 'sha256', hex };
}

export function later(ms: number): Date {
  return new Date(NOON.getTime() + ms);
}

export function accessLogContract(name: string, open: () => Promise<AccessLogUnderTest>): void {
  const test = testOver(open);

  describe(`${name}: what is written`, () => {
    test('has one row for what one client did with one signature in one minute', async (under) => {
      await under.access.write({
        reads: [
          read({ count: 3, bytes: 1500, lastAt: later(20_000) }),
          read({ token: 'ci' }),
          read({ number: 2, status: 404, bytes: 0 }),
          read({ number: null, status: 404, bytes: 0 }),
          read({ number: 999_999, status: 404, bytes: 0 }),
        ],
        missing: [],
      });
      await under.access.write({
        reads: [
          read({ firstAt: later(-5000), lastAt: later(1000) }),
          read({ firstAt: later(60_000), lastAt: later(60_000) }),
        ],
        missing: [],
      });
      const wanted = [
        read({ number: null, status: 404, count: 2, bytes: 0 }),
        read({ firstAt: later(-5000), lastAt: later(20_000), count: 4, bytes: 2000 }),
        read({ token: 'ci' }),
        read({ number: 2, status: 404, bytes: 0 }),
        read({ firstAt: later(60_000), lastAt: later(60_000) }),
      ];
      assert.deepEqual(await under.reads('2026-11-22'), wanted);
      await under.reopen();
      assert.deepEqual(await under.reads('2026-11-22'), wanted);
    });

    test('goes on in the same rows after another start', async (under) => {
      await under.access.write({ reads: [read()], missing: [missing()] });
      const again = await under.reopen();
      await again.write({ reads: [read()], missing: [missing()] });
      assert.deepEqual(await under.reads('2026-11-22'), [read({ count: 2, bytes: 1000 })]);
      assert.deepEqual(await under.missing('2026-11-22'), [missing({ count: 2 })]);
    });

    test('keeps sites, images, statuses, addresses and agents apart', async (under) => {
      const reads = [
        read(),
        read({ image: { ...APP, site: 'mirror' } }),
        read({ image: imageAt('team/app', 'b') }),
        read({ image: imageAt('team/app/', 'a') }),
        read({ status: 304, bytes: 0 }),
        read({ address: '2001:db8::1' }),
        read({ agent: 'skopeo/1' }),
        read({ agent: '' }),
      ];
      await under.access.write({ reads, missing: [] });
      await under.access.write({ reads, missing: [] });
      const stored = await under.reads('2026-11-22');
      assert.equal(stored.length, reads.length);
      for (const one of reads) {
        const { image, status, address, agent } = one;
        const [row, another] = stored.filter(
          (candidate) =>
            JSON.stringify([candidate.image, candidate.status, candidate.address, candidate.agent]) ===
            JSON.stringify([image, status, address, agent]),
        );
        assert.deepEqual([row, another], [{ ...one, count: 2, bytes: 2 * one.bytes }, undefined]);
      }
    });

    test('belongs to the day (UTC) in which it began', async (under) => {
      const times = ['2026-11-21T23:59:59.999Z', '2026-11-22T00:00:00.000Z', '2026-11-23T00:00:00.000Z'];
      const dates = times.map((time) => new Date(time));
      await under.access.write({
        reads: dates.map((time) => read({ firstAt: time, lastAt: time })),
        missing: dates.map((time) => missing({ firstAt: time, lastAt: time })),
      });
      assert.deepEqual(await under.days(), ['2026-11-21', '2026-11-22', '2026-11-23']);
      for (const [position, day] of (await under.days()).entries()) {
        const at = dates[position] ?? assert.fail();
        assert.deepEqual(await under.reads(day), [read({ firstAt: at, lastAt: at })]);
        assert.deepEqual(await under.missing(day), [missing({ firstAt: at, lastAt: at })]);
      }
    });

    test('has one row a day for the requests for an image that holds no signature', async (under) => {
      await under.access.write({ reads: [], missing: [missing({ count: 5 })] });
      const again = missing({
        firstAt: later(-1),
        lastAt: later(7_200_000),
        lastAddress: '2001:db8::1',
        count: 2,
      });
      await under.access.write({ reads: [], missing: [again] });
      assert.deepEqual(await under.missing('2026-11-22'), [{ ...again, count: 7 }]);
      assert.deepEqual(await under.reads('2026-11-22'), []);
    });

    test('counts once each of fifty batches that come at once, and none that was refused as too many', async (under) => {
      const batches = Array.from({ length: 50 }, () => ({ reads: [read()], missing: [missing()] }));
      const written = await Promise.allSettled(batches.map((batch) => under.access.write(batch)));
      const kept = written.filter(({ status }) => status === 'fulfilled').length;
      assert.ok(kept > 0);
      for (const result of written)
        if (result.status === 'rejected') assert.equal(result.reason.code, 'BUSY');
      assert.deepEqual(await under.reads('2026-11-22'), [read({ count: kept, bytes: 500 * kept })]);
      assert.deepEqual(await under.missing('2026-11-22'), [missing({ count: kept })]);
    });
  });

  describe(`${name}: pruning`, () => {
    const DAYS = ['2026-11-18', '2026-11-19', '2026-11-20', '2026-11-21', '2026-11-22'];
    const limitsAt = (now: Date | string, changes: Partial<AccessLimits> = {}): AccessLimits => {
      return { now: new Date(now), steadyMs: 0, retentionMs: 2 * DAY_MS, maxBytes: ENOUGH, ...changes };
    };

    const prunes = (title: string, act: (under: AccessLogUnderTest) => Promise<void>): void =>
      test(title, async (under) => {
        for (const day of DAYS) {
          const time = new Date(`${day}T12:00:00.000Z`);
          await under.access.write({ reads: [read({ firstAt: time, lastAt: time })], missing: [] });
        }
        await act(under);
      });

    prunes('deletes the days that ended longer ago than the retention', async ({ access, days }) => {
      const pruned = await access.prune(limitsAt(NOON, { steadyMs: DAY_MS }));
      assert.deepEqual(pruned, { fits: true, doubted: null });
      assert.deepEqual(await days(), ['2026-11-20', '2026-11-21', '2026-11-22']);
    });

    prunes('deletes the oldest days until the others fit', async ({ access, days, weigh }) => {
      for (const day of DAYS.slice(0, 3)) await weigh(day, 10 * MIB);
      const limits = limitsAt(NOON, { retentionMs: 365 * DAY_MS, maxBytes: 15 * MIB });
      assert.equal((await access.prune(limits)).fits, true);
      assert.deepEqual(await days(), ['2026-11-20', '2026-11-21', '2026-11-22']);
    });

    prunes("never deletes today's, which goes on being written", async ({ access, days, reads }) => {
      const { fits } = await access.prune(limitsAt(NOON, { retentionMs: 0, maxBytes: 0 }));
      assert.equal(fits, false, 'the day of today is kept, and is more than nothing');
      assert.deepEqual(await days(), ['2026-11-22']);
      const before = (await reads('2026-11-22')).length;
      await access.write({ reads: [read({ agent: 'new' })], missing: [] });
      assert.equal((await reads('2026-11-22')).length, before + 1);
    });

    prunes(
      'deletes nothing by a clock that has become years ahead, until it has gone steadily for a day',
      async ({ access, days }) => {
        const [ahead, tomorrow] = ['2040-11-22T12:00:00.000Z', '2040-11-23T11:59:59.000Z'];
        const kept = { retentionMs: 30 * DAY_MS };
        const inDoubt = { fits: true, doubted: { days: 5, newest: '2026-11-22' } };
        assert.deepEqual(await access.prune(limitsAt(ahead, kept)), inDoubt);
        const at = new Date(ahead);
        await access.write({ reads: [read({ firstAt: at, lastAt: at })], missing: [] });
        const almost = limitsAt(tomorrow, { ...kept, steadyMs: DAY_MS - 1 });
        assert.deepEqual(await access.prune(almost), inDoubt);
        assert.deepEqual(await days(), [...DAYS, '2040-11-22']);
        const inTheEnd = await access.prune(limitsAt(tomorrow, { ...kept, steadyMs: DAY_MS }));
        assert.deepEqual(inTheEnd, { fits: true, doubted: null });
        assert.deepEqual(await days(), ['2040-11-22']);
      },
    );

    prunes(
      'believes a clock after a start as far as days of the log go that ended a day ago or earlier',
      async ({ access, days }) => {
        const pruned = await access.prune(limitsAt('2026-11-23T23:59:59.999Z'));
        assert.deepEqual(pruned, { fits: true, doubted: null });
        assert.deepEqual(await days(), ['2026-11-20', '2026-11-21', '2026-11-22']);
        await access.prune(limitsAt('2026-11-24T00:00:00.000Z'));
        assert.deepEqual(await days(), ['2026-11-21', '2026-11-22']);
      },
    );

    prunes(
      'deletes nothing for a clock that is back, and still the oldest until all fit',
      async ({ access, days, weigh }) => {
        for (const day of DAYS) await weigh(day, 10 * MIB);
        const back = limitsAt('2026-11-19T12:00:00.000Z', { steadyMs: DAY_MS });
        assert.equal((await access.prune(back)).fits, true);
        assert.deepEqual(await days(), DAYS);
        assert.equal((await access.prune({ ...back, maxBytes: 25 * MIB })).fits, true);
        assert.deepEqual(await days(), ['2026-11-19', '2026-11-22']);
        const years = limitsAt('2012-01-01T00:00:00.000Z', { steadyMs: DAY_MS, maxBytes: 0 });
        assert.equal((await access.prune(years)).fits, true);
        assert.deepEqual(await days(), []);
      },
    );
  });
}
