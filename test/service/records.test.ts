// Questions to the records: cursors that are ours alone, and askers who are written down.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { NewAuditEvent } from '../../src/domain/audit.ts';
import { LookasideError } from '../../src/domain/errors.ts';
import { type AccessRow, ANY_RECORD, type Position, type RecordFilter } from '../../src/domain/records.ts';
import { createEventMaker } from '../../src/service/audit.ts';
import { createRecords } from '../../src/service/records.ts';
import { sha256Hex } from '../store/lay.ts';
import { createClock } from './hand-driven.ts';

const ASKER = {
  actor: { name: 'anna', address: '192.0.2.9', requestId: null },
  signal: new AbortController().signal,
};

const READ: AccessRow = {
  ...{ firstAt: new Date(0), lastAt: new Date(0), site: 'default', image: 'app', number: 1 },
  ...{
    signatureSha256: null,
    status: 404,
    address: '192.0.2.7',
    agent: null,
    token: null,
    count: 1,
    bytes: 0,
  },
};

function open(next: Position | null, { wait }: { readonly wait?: () => Promise<unknown> } = {}) {
  const written: NewAuditEvent[] = [];
  const positions: (Position | null)[] = [];
  const unasked = () => assert.fail('not asked');
  let flushes = 0;
  const answers: (() => AccessRow[])[] = [];
  const records = createRecords({
    lookups: {
      open: async () => ({
        async page(_, after) {
          positions.push(after);
          return { rows: answers.shift()?.() ?? [], next, dropped: 0, gaps: [] };
        },
        sums: unasked,
        async *export() {
          yield 'rows';
        },
        unsigned: unasked,
        stale: unasked,
        repositoryTotals: unasked,
        rotation: unasked,
        rotationWork: unasked,
        revocation: unasked,
        revocationBroken: unasked,
        signaturesBy: unasked,
        [Symbol.asyncDispose]: async () => undefined,
      }),
    },
    recorder: {
      flush: async () => {
        flushes += 1;
      },
      buffer: { rows: 0, dropped: 0 },
    },
    audit: { append: async (event) => written.push(event) },
    makeEvent: createEventMaker({ clock: createClock(), randomBytes: (length) => new Uint8Array(length) }),
    sha256: sha256Hex,
    keys: { find: async () => null, list: async () => [] },
    eraser: { forgetReads: unasked, forgetEvents: unasked },
    clock: createClock(),
    wait: (ms) => (ms === 1000 && wait !== undefined ? wait() : new Promise(() => undefined)),
  });
  const page = (
    filter: Partial<RecordFilter>,
    cursor: string | null,
    record: 'audit' | 'access' = 'access',
  ) => records.page({ record, filter: { ...ANY_RECORD, ...filter } }, { cursor, limit: 10 }, ASKER);
  return { records, written, positions, page, answers, flushes: () => flushes };
}

test('a cursor leads on in its own question alone, at whatever time it is asked', async () => {
  const { page, positions, flushes } = open([20779, 1]);
  const { next } = await page({ status: 200, since: new Date(1) }, null);
  assert.ok(next !== null);
  await page({ status: 200, since: new Date(2) }, next);
  assert.deepEqual(positions, [null, [20779, 1]]);
  assert.equal(flushes(), 2, 'reads that are still in memory are written first');
  await assert.rejects(async () => page({ status: 404 }, next), { code: 'REQUEST_INVALID' });
  await assert.rejects(async () => page({ status: 200 }, next, 'audit'), { code: 'REQUEST_INVALID' });
  assert.equal(positions.length, 2);
});

test('a cursor that somebody changed is refused', async () => {
  const { page, positions } = open([20779, 29_921_000, 3, 1, 200, 0, 0, 0, 0]);
  const { next } = await page({}, null);
  const bytes = Buffer.from(next ?? '', 'base64url');
  await fc.assert(
    fc.asyncProperty(fc.nat(bytes.length - 1), fc.integer({ min: 1, max: 255 }), async (at, bits) => {
      const changed = Buffer.from(bytes);
      changed[at] = (changed[at] ?? 0) ^ bits;
      await assert.rejects(async () => page({}, changed.toString('base64url')), { code: 'REQUEST_INVALID' });
    }),
  );
  for (const cursor of [
    '',
    'x',
    `${next}A`,
    `${next}=`,
    '[1]',
    Buffer.from('[1e99]').toString('base64url'),
  ]) {
    await assert.rejects(async () => page({}, cursor), { code: 'REQUEST_INVALID' }, cursor);
  }
  assert.equal(positions.length, 1);
});

test('the newest rows come again once they have changed; a person is written down once', async () => {
  let seconds = 0;
  const { records, answers, written } = open(null, { wait: async () => (seconds += 1) });
  const read = (count: number): AccessRow => ({ ...READ, count });
  const fail = () => {
    throw new LookasideError('BUSY', 'not now');
  };
  answers.push(
    () => [read(1)],
    () => [read(1)],
    () => [read(2)],
    fail,
    fail,
    () => [read(2)],
  );
  const question = { record: 'access', filter: { ...ANY_RECORD, address: '192.0.2.7' } } as const;
  const pages = await records.follow(question, 10, ASKER, async () => seconds < 12);
  const seen: unknown[] = [];
  for await (const page of pages) {
    if (page instanceof LookasideError) seen.push(page.message);
    else if (page !== null) seen.push(page.rows.map((row) => ('count' in row ? row.count : 0)));
  }
  assert.deepEqual(seen, [[1], [2], 'not now', [2]]);
  assert.equal(seconds, 12, 'a look each two seconds, until it is not wanted any more');
  assert.deepEqual(
    written.map(({ action, private: { reason } }) => [action, reason]),
    [['query', 'access address=192.0.2.7, followed']],
  );
});

test('so many may follow at once, and who leaves makes room', async () => {
  const { records } = open(null, { wait: () => Promise.resolve() });
  const question = { record: 'access', filter: ANY_RECORD } as const;
  const follow = () => records.follow(question, 10, ASKER, async () => true);
  await follow(); // left before its first rows
  const all = await Promise.all(Array.from({ length: 16 }, follow));
  for (const one of all) await one.next();
  await assert.rejects(follow, { code: 'BUSY' });
  await all[3]?.return(undefined);
  const [next, refused] = await Promise.allSettled([follow(), follow()]); // one look is under way
  assert.deepEqual([next?.status, refused?.status], ['fulfilled', 'rejected']);
});

test('who asks for an address, or takes rows away, is in the audit log before the answer', async () => {
  const { page, records, written } = open(null);
  await page({}, null);
  assert.equal(written.length, 0);
  await page({ address: '192.0.2.0/24' }, null);
  const question = { record: 'audit', filter: { ...ANY_RECORD, fingerprint: 'A'.repeat(40) } } as const;
  for await (const piece of records.export(question, 'csv', ASKER)) {
    assert.equal(piece, 'rows');
    assert.equal(written.length, 2);
  }
  assert.deepEqual(
    written.map(({ action, fingerprint, private: { actor, reason } }) => [
      action,
      fingerprint,
      actor,
      reason,
    ]),
    [
      ['query', null, 'anna', 'access address=192.0.2.0/24'],
      ['export', 'A'.repeat(40), 'anna', `audit fingerprint=${'A'.repeat(40)}`],
    ],
  );
});
