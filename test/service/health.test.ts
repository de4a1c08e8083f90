import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { createHealth, type Health, type HealthSources, type SiteSources } from '../../src/service/health.ts';
import { createLog } from './hand-driven.ts';

const never = () => new Promise<never>(() => undefined);

/** What a server with one site reads its health from. */
type Sources = Omit<HealthSources, 'sites'> & Omit<SiteSources, 'name'>;

function siteWith(name: string, changes: Partial<Sources> = {}): SiteSources {
  return {
    name,
    checkTree: async () => undefined,
    isTreeWritable: async () => true,
    freeBytes: async () => 100,
    tree: 'owned',
    index: async () => ({ isComplete: true, isScanning: false, error: null }),
    fault: () => null,
    damaged: () => 0,
    ...changes,
  };
}

function sourcesWith(changes: Partial<Sources> = {}): HealthSources {
  return {
    sites: [siteWith('default', changes)],
    dataFreeBytes: async () => 100,
    minFreeBytes: () => 100,
    writerFault: () => null,
    isDraining: () => false,
    wait: never,
    log: createLog(),
    ...changes,
  };
}

const healthWith = (changes: Partial<Sources>) => createHealth(sourcesWith(changes))();

/** The checks that are not well, with their states. */
function unwell({ checks }: Health): Record<string, string> {
  const states = Object.entries(checks).map(([name, { state }]) => [name, state]);
  return Object.fromEntries(states.filter(([, state]) => state !== 'ok'));
}

describe('health', () => {
  test('when nothing is wrong, all is well and nothing is said', async () => {
    const health = await healthWith({});
    assert.deepEqual(
      { status: health.status, reads: health.reads, writes: health.writes },
      { status: 'ok', reads: 'ok', writes: 'ok' },
    );
    assert.ok(Object.values(health.checks).every(({ state, message }) => state === 'ok' && message === null));
  });

  const DEGRADED: readonly (readonly [
    what: string,
    sources: Partial<Sources>,
    check: string,
    writes: 'ok' | 'failed',
    said: RegExp,
  ])[] = [
    [
      'a reader process that has ended',
      { readersFault: () => '1 of 2 reader processes answer; the others are being started' },
      'readers',
      'ok',
      /^1 of 2 reader processes answer/,
    ],
    [
      'an index that is being built',
      { index: async () => ({ isComplete: false, isScanning: true, error: null }) },
      'index',
      'ok',
      /being built; the tree is read instead/,
    ],
    [
      'an index that is not built',
      { index: async () => ({ isComplete: false, isScanning: false, error: null }) },
      'index',
      'ok',
      /not built/,
    ],
    [
      'a scan that failed, even of a complete index',
      { index: async () => ({ isComplete: true, isScanning: false, error: 'secret path' }) },
      'index',
      'ok',
      /^the last scan of the tree failed; it is tried again$/,
    ],
    [
      'a write that failed',
      { writerFault: () => 'the last write failed' },
      'writer',
      'failed',
      /^the last write failed$/,
    ],
    [
      'an owned tree that cannot be written',
      { isTreeWritable: async () => false },
      'writable',
      'failed',
      /cannot be written/,
    ],
    ['damaged files', { damaged: () => 3 }, 'damage', 'ok', /^3 signature files are damaged/],
    [
      'a disk that is nearly full',
      { minFreeBytes: () => 101 },
      'space',
      'failed',
      /100 bytes.*the tree.*LOOKASIDE_MIN_FREE/,
    ],
    [
      'a disk with the databases that is nearly full',
      { dataFreeBytes: async () => 99 },
      'space',
      'failed',
      /99 bytes.*the data directory.*LOOKASIDE_MIN_FREE/,
    ],
    ['a server that is stopping', { isDraining: () => true }, 'draining', 'failed', /stopping/],
  ];
  for (const [what, sources, check, writes, said] of DEGRADED) {
    test(`${what} leaves reads as they are${writes === 'failed' ? ' and stops writes' : ''}`, async () => {
      const health = await healthWith(sources);
      assert.deepEqual(unwell(health), { [check]: 'degraded' });
      assert.deepEqual(
        { status: health.status, reads: health.reads, writes: health.writes },
        { status: 'degraded', reads: 'ok', writes },
      );
      assert.match(health.checks[check]?.message ?? '', said);
    });
  }

  test('a shared tree need not be writable, and is not tried', async () => {
    const health = await healthWith({ tree: 'shared', isTreeWritable: () => assert.fail('it was tried') });
    assert.equal(health.status, 'ok');
    assert.equal(health.writes, 'ok');
  });

  test('a tree that cannot be read fails reads and writes; why is for the log alone', async () => {
    const log = createLog();
    const failure = new Error('EIO: /srv/secret');
    const health = await healthWith({ checkTree: () => Promise.reject(failure), log });
    assert.deepEqual(
      { status: health.status, reads: health.reads, writes: health.writes },
      { status: 'failed', reads: 'failed', writes: 'failed' },
    );
    assert.doesNotMatch(JSON.stringify(health), /secret/);
    assert.equal(log.lines[0]?.fields.err, failure);
  });

  for (const tree of ['owned', 'shared'] as const) {
    test(`${tree === 'owned' ? 'an' : 'a'} ${tree} tree that never answers has failed once the deadline is over`, async () => {
      const waits: number[] = [];
      const health = await healthWith({
        tree,
        checkTree: never,
        isTreeWritable: never,
        wait: async (ms) => void waits.push(ms),
      });
      assert.equal(health.reads, 'failed');
      assert.equal(health.writes, 'failed');
      assert.deepEqual([health.status, health.checks.tree?.state], ['failed', 'failed']);
      assert.equal(health.checks.tree?.message, 'the tree did not answer within 1000 ms');
      assert.ok(waits.every((ms) => ms === 1000));
    });
  }

  test('a tree that takes writes for ever is readable, and not writable', async () => {
    const health = await healthWith({
      isTreeWritable: never,
      wait: async () => undefined,
      checkTree: async () => undefined,
    });
    assert.deepEqual(unwell(health), { writable: 'degraded' });
    assert.equal(health.reads, 'ok');
    assert.equal(health.writes, 'failed');
  });

  test('of several sites it is told which one is not well, and the worst decides', async () => {
    const sites = [
      siteWith('default', { damaged: () => 3, fault: () => 'a write was lost' }),
      siteWith('fine'),
      siteWith('rh', { damaged: () => 1, checkTree: () => Promise.reject(new Error('EIO')) }),
    ];
    const health = await createHealth({ ...sourcesWith(), sites })();
    assert.deepEqual(unwell(health), { tree: 'failed', writer: 'degraded', damage: 'degraded' });
    assert.deepEqual([health.status, health.reads, health.writes], ['failed', 'failed', 'failed']);
    assert.match(health.checks.tree?.message ?? '', /^rh: the tree cannot be read/);
    assert.equal(health.checks.writer?.message, 'default: a write was lost');
    assert.match(
      health.checks.damage?.message ?? '',
      /^default: 3 signature files .*; rh: 1 signature files /,
    );
  });

  test('every question is asked anew', async () => {
    let damaged = 0;
    const health = createHealth(sourcesWith({ damaged: () => damaged }));
    assert.equal((await health()).status, 'ok');
    damaged = 1;
    assert.equal((await health()).status, 'degraded');
    damaged = 0;
    assert.equal((await health()).status, 'ok');
  });
});
