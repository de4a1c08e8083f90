import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { isLookasideError } from '../../src/domain/errors.ts';
import type { RecordedImage } from '../../src/domain/ports.ts';
import { auditEvent } from '../contract/audit-event.ts';
import { imageAt, recordedImage, sha256 } from '../contract/signature-index.ts';
import { uploadOf } from '../contract/upload-store.ts';
import { promise } from '../faults/promise.ts';
import { events, open, otherProcess, temporaryFolder, until } from './scratch.ts';

const SITE = 'default';
const NOW = new Date('2026-11-22T12:00:00.000Z');
const ALICE = {
  name: 'alice',
  role: 'admin',
  hash: sha256('alice'),
  createdAt: NOW,
  expiresAt: null,
  signer: null,
} as const;
const KNOWN = recordedImage(imageAt('team/app', 'known'), 'one');

const busy = (error: unknown): boolean => isLookasideError(error, 'BUSY');
const unavailable = (error: unknown): boolean => isLookasideError(error, 'STORE_UNAVAILABLE');

function manyImages(count: number): RecordedImage[] {
  return Array.from({ length: count }, (_, position) =>
    recordedImage(imageAt(`many/app${position}`, String(position)), `one of ${position}`, 'two', 'three'),
  );
}

describe('a foreign process that holds the write lock', () => {
  it('delays writes and no look-up; all that was queued is written once it lets go', async (t) => {
    const dataDir = temporaryFolder(t);
    const { databases, reasons } = await open(dataDir);
    t.after(() => databases.close());
    const { index } = databases;
    await index.record([KNOWN]);
    const other = await otherProcess(t, 'write', join(dataDir, 'index.db'));

    const images = manyImages(20);
    let written = 0;
    const writes = images.map((image) => index.record([image]).then(() => (written += 1)));
    let lookUps = 0;
    // each try waits 20 ms in SQLite and 25 ms after it: 45 of them are 2 s
    await until(async () => {
      assert.equal((await index.recorded(KNOWN.image)).length, 1);
      assert.deepEqual((await index.listFolder(SITE, '', null, 10)).names, ['team']);
      lookUps += 1;
      return databases.health().index.lockedTries >= 45;
    });
    assert.equal(written, 0);
    assert.equal(databases.health().index.queued, 20);
    assert.ok(lookUps > 45);

    await other.end();
    await Promise.all(writes);
    for (const { image } of images) assert.equal((await index.recorded(image)).length, 3);
    assert.equal(databases.health().index.lockedTries, 0);
    assert.deepEqual(reasons, []);
  });

  it('on one database does not delay the writes of another', async (t) => {
    const dataDir = temporaryFolder(t);
    const { databases } = await open(dataDir);
    t.after(() => databases.close());
    const other = await otherProcess(t, 'write', join(dataDir, 'index.db'));
    const waiting = databases.index.record([KNOWN]);
    await until(() => databases.health().index.lockedTries > 0);
    await databases.tokens.create(ALICE, auditEvent());
    await databases.access.write({ reads: [], missing: [] });
    assert.equal(databases.health().index.queued, 1);
    await other.end();
    await waiting;
  });

  it('for longer than the limit makes a token BUSY and not created', async (t) => {
    const dataDir = temporaryFolder(t);
    const { databases } = await open(dataDir, { lockedLimitMs: 0 });
    t.after(() => databases.close());
    const other = await otherProcess(t, 'write', join(dataDir, 'state.db'));
    await assert.rejects(databases.tokens.create(ALICE, auditEvent()), busy);
    assert.equal(await databases.tokens.find(ALICE.hash), null);
    assert.equal(databases.health().state.lastWriteSucceeded, false);
    await other.end();
    assert.deepEqual(await databases.tokens.list(), []);
    await databases.tokens.create(ALICE, auditEvent());
    assert.equal(databases.health().state.lastWriteSucceeded, true);
  });

  it('is not waited for at the end by each write that is queued, one after the other', async (t) => {
    const dataDir = temporaryFolder(t);
    const { databases } = await open(dataDir, { endingLimitMs: 0 });
    const other = await otherProcess(t, 'write', join(dataDir, 'index.db'));
    const writes = manyImages(300).map((image) => databases.index.record([image]));
    const startedMs = performance.now();
    const results = Promise.allSettled(writes);
    databases.hurry();
    for (const result of await results) assert.ok(result.status === 'rejected' && busy(result.reason));
    // SQLite waits for 20 ms at each try
    assert.ok(performance.now() - startedMs < (300 * 20) / 2);
    await databases.tokens.create(ALICE, auditEvent());
    await databases.close();
    await other.end();
  });

  it('does not hinder a start', async (t) => {
    const dataDir = temporaryFolder(t);
    const first = await open(dataDir);
    await first.databases.index.record([KNOWN]);
    await first.databases.close();
    const holders = [];
    for (const name of ['index.db', 'state.db']) {
      holders.push(await otherProcess(t, 'write', join(dataDir, name)));
    }
    const { databases } = await open(dataDir);
    assert.equal((await databases.index.recorded(KNOWN.image)).length, 1);
    for (const holder of holders) await holder.end();
    await databases.close();
  });
});

describe('the queue', () => {
  it('takes a bounded number of writes, and refuses more as BUSY', async (t) => {
    const { databases } = await open(temporaryFolder(t));
    t.after(() => databases.close());
    const writes = Array.from({ length: 1500 }, () => databases.index.record([KNOWN]));
    const results = await Promise.allSettled(writes);
    const refused = results.flatMap((result) => (result.status === 'rejected' ? [result.reason] : []));
    assert.equal(refused.length, 500);
    assert.ok(refused.every(busy));
    await databases.index.record([KNOWN]);
  });

  it('lets a token overtake batches of the access log', async (t) => {
    const { databases } = await open(temporaryFolder(t));
    t.after(() => databases.close());
    const missing = Array.from({ length: 1000 }, (_, n) => {
      return { image: imageAt('x', String(n)), firstAt: NOW, lastAt: NOW, lastAddress: '::1', count: 1 };
    });
    const order: string[] = [];
    const batches = Array.from({ length: 10 }, () =>
      databases.access.write({ reads: [], missing }).then(() => order.push('access')),
    );
    await databases.tokens.create(ALICE, auditEvent());
    order.push('token');
    await Promise.all(batches);
    assert.ok(order.indexOf('token') <= 1, order.join(' '));
  });

  it('is carried out before the databases close, which take nothing afterwards', async (t) => {
    const dataDir = temporaryFolder(t);
    const { databases } = await open(dataDir);
    const images = manyImages(50);
    const writes = images.map((image) => databases.index.record([image]));
    const token = databases.tokens.create(ALICE, auditEvent());
    await databases.close();
    await Promise.all(writes);
    assert.equal((await token).name, 'alice');
    await assert.rejects(databases.tokens.create({ ...ALICE, name: 'late' }, auditEvent()), unavailable);
    await databases.close();
    const again = await open(dataDir);
    t.after(() => again.databases.close());
    assert.deepEqual(await again.databases.index.counts(SITE), { images: 50, signatures: 150 });
    assert.equal((await again.databases.tokens.find(ALICE.hash))?.name, 'alice');
  });
});

describe('writes that wait together', () => {
  const upload = (content: string) => uploadOf(imageAt('team/app', content), content);

  it('are committed together, and numbered in their order', async (t) => {
    const dataDir = temporaryFolder(t);
    const { databases } = await open(dataDir);
    t.after(() => databases.close());
    const state = join(dataDir, 'state.db');
    const other = await otherProcess(t, 'write', state);
    const before = commitsIn(`${state}-wal`);
    const writes = Array.from({ length: 20 }, (_, n) => databases.uploads.add(upload(`${n}`), auditEvent()));
    const event = databases.audit.append(auditEvent());
    await other.end();
    const added = await Promise.all(writes);
    assert.deepEqual(
      added.map(({ auditSeq }) => auditSeq),
      added.map((_, position) => position + 1),
    );
    assert.equal(await event, 21);
    assert.equal(databases.health().state.queued, 0);
    // the first is tried alone, before the others are there
    assert.ok(commitsIn(`${state}-wal`) - before <= 2);
  });

  it('fail each for its own fault alone', async (t) => {
    const dataDir = temporaryFolder(t);
    const { databases } = await open(dataDir);
    t.after(() => databases.close());
    const other = await otherProcess(t, 'write', join(dataDir, 'state.db'));
    const first = databases.uploads.add(upload('first'), auditEvent());
    const wrong = databases.uploads.add(upload('wrong'), auditEvent({ salt: '00' }));
    const second = databases.uploads.add(upload('second'), auditEvent());
    const refused = assert.rejects(wrong, /CHECK constraint failed/);
    await other.end();
    assert.deepEqual(await first, { auditSeq: 1 });
    await refused;
    assert.deepEqual(await second, { auditSeq: 2 });
    assert.deepEqual(await databases.uploads.ofImage(upload('wrong').image), []);
    assert.deepEqual(
      events(dataDir).map(({ seq }) => seq),
      [1, 2],
    );
  });

  it('give up a foreign lock each at its own time', async (t) => {
    const dataDir = temporaryFolder(t);
    const { databases } = await open(dataDir, { lockedLimitMs: 0 });
    t.after(() => databases.close());
    const other = await otherProcess(t, 'write', join(dataDir, 'state.db'));
    const writes = ['a', 'b', 'c'].map((content) => databases.uploads.add(upload(content), auditEvent()));
    const results = await Promise.allSettled(writes);
    for (const result of results) assert.ok(result.status === 'rejected' && busy(result.reason));
    await other.end();
    assert.deepEqual(await databases.uploads.add(upload('a'), auditEvent()), { auditSeq: 1 });
  });
});

/** Commits in a write-ahead log: frames that tell the size of the database (sqlite.org/fileformat.html, section 4.1). */
function commitsIn(file: string): number {
  const log = readFileSync(file);
  const pageSize = log.readUInt32BE(8);
  let commits = 0;
  for (let at = 32; at < log.length; at += 24 + pageSize) if (log.readUInt32BE(at + 4) > 0) commits += 1;
  return commits;
}

describe('a writer thread that dies', () => {
  promise(
    {
      id: 'P15',
      what: 'a writer thread that runs out of memory takes only the write under way with it; look-ups never notice',
      wanted: '1 write refused, the next ones done',
    },
    async (see) => {
      const dataDir = mkdtempSync(join(tmpdir(), 'lookaside-writer-'));
      const { databases, reasons } = await open(dataDir, { threadHeapMib: 12 });
      try {
        const { index } = databases;
        await index.record([KNOWN]);
        const fatal = index.record(manyImages(40_000)); // more than a heap of 12 MiB holds
        const token = databases.tokens.create(ALICE, auditEvent());
        await assert.rejects(fatal, unavailable);
        assert.equal((await index.recorded(KNOWN.image)).length, 1);
        assert.equal((await token).name, 'alice');
        await index.record([recordedImage(imageAt('team/app', 'next'), 'one')]);
        assert.deepEqual(await index.counts(SITE), { images: 2, signatures: 2 });
        assert.deepEqual(reasons, []);
        see('1 write refused, the next ones done');
      } finally {
        await databases.close();
        rmSync(dataDir, { recursive: true });
      }
    },
  );

  it('is not replaced by one that makes a new index when the file is gone', async (t) => {
    const dataDir = temporaryFolder(t);
    const { databases, reasons } = await open(dataDir, { threadHeapMib: 12 });
    t.after(() => databases.close());
    await databases.index.record([KNOWN]);
    const fatal = databases.index.record(manyImages(40_000));
    for (const name of ['index.db', 'state.db']) rmSync(join(dataDir, name));
    await assert.rejects(fatal, unavailable);
    await assert.rejects(databases.index.record([KNOWN]), (error) =>
      isLookasideError(error, 'INDEX_UNUSABLE'),
    );
    await assert.rejects(databases.tokens.create(ALICE, auditEvent()), unavailable);
    assert.equal(reasons.length, 1);
    await databases.index.reset();
    await databases.index.record([KNOWN]);
    assert.equal((await databases.index.recorded(KNOWN.image)).length, 1);
  });
});
