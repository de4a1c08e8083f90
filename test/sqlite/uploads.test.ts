import assert from 'node:assert/strict';
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { isLookasideError } from '../../src/domain/errors.ts';
import { auditEvent } from '../contract/audit-event.ts';
import { imageAt, recordedImage, sha256 } from '../contract/signature-index.ts';
import { uploadOf, uploadStoreContract } from '../contract/upload-store.ts';
import { reopenable } from './reopenable.ts';
import { change, events, open, temporaryFolder } from './scratch.ts';

const IMAGE = imageAt('team/app', 'a');
const unavailable = (error: unknown): boolean => isLookasideError(error, 'STORE_UNAVAILABLE');

uploadStoreContract('the SQLite uploads', async () => {
  const { databases, reopen, close } = await reopenable(mkdtempSync(join(tmpdir(), 'lookaside-sqlite-')));
  return { uploads: databases.uploads, reopen: async () => (await reopen()).uploads, close };
});

describe('an upload', () => {
  it('is neither there nor told when its row or its event cannot be written', async (t) => {
    const dataDir = temporaryFolder(t);
    const { databases } = await open(dataDir);
    t.after(() => databases.close());
    const { uploads } = databases;
    await assert.rejects(uploads.add(uploadOf(IMAGE, 'one', { sizeBytes: -1 }), auditEvent()));
    await assert.rejects(uploads.add(uploadOf(IMAGE, 'one'), auditEvent({ salt: 'ab' })));
    assert.deepEqual(await uploads.ofImage(IMAGE), []);
    assert.deepEqual(events(dataDir), []);
    assert.equal(databases.health().state.lastWriteSucceeded, false);
    assert.deepEqual(await uploads.add(uploadOf(IMAGE, 'one'), auditEvent()), { auditSeq: 1 });
    assert.equal(databases.health().state.lastWriteSucceeded, true);
  });

  it('whose kept bytes are no longer those of its SHA-256 gives none', async (t) => {
    const dataDir = temporaryFolder(t);
    const { databases } = await open(dataDir);
    t.after(() => databases.close());
    await databases.uploads.add(uploadOf(IMAGE, 'one', { bytes: Buffer.from('one') }), auditEvent());
    change(join(dataDir, 'state.db'), 'UPDATE upload SET bytes = zeroblob(size_bytes)');
    await assert.rejects(databases.uploads.bytesOf(IMAGE, sha256('one')), unavailable);
  });

  it('that is under way as the writer dies is whole or absent, and can be repeated', async (t) => {
    const dataDir = temporaryFolder(t);
    const { databases } = await open(dataDir, { threadHeapMib: 12 });
    t.after(() => databases.close());
    const many = Array.from({ length: 40_000 }, (_, n) =>
      recordedImage(imageAt(`many/app${n}`, `${n}`), 'one', 'two', 'three'),
    );
    const fatal = databases.index.record(many); // more than a heap of 12 MiB holds
    const added = Array.from({ length: 20 }, (_, n) =>
      databases.uploads.add(uploadOf(IMAGE, `signature ${n}`), auditEvent()),
    );
    await assert.rejects(fatal, unavailable);
    await Promise.allSettled(added);
    const again = await Promise.all(
      added.map((_, n) => databases.uploads.add(uploadOf(IMAGE, `signature ${n}`), auditEvent())),
    );
    assert.deepEqual(
      (await databases.uploads.ofImage(IMAGE)).map(({ auditSeq }) => auditSeq),
      again.map(({ auditSeq }) => auditSeq),
    );
    assert.deepEqual(
      events(dataDir).map(({ seq }) => seq),
      again.map(({ auditSeq }) => auditSeq),
    );
  });

  it('is BUSY beyond what may wait, and none of those that were taken is lost', async (t) => {
    const { databases } = await open(temporaryFolder(t));
    t.after(() => databases.close());
    const bytes = Buffer.alloc(4 * 1024 * 1024, 'x');
    const added = await Promise.allSettled(
      Array.from({ length: 20 }, (_, n) => {
        bytes.writeUInt32BE(n);
        const upload = uploadOf(IMAGE, '', { sha256: sha256(bytes), sizeBytes: bytes.length, bytes });
        return databases.uploads.add(upload, auditEvent());
      }),
    );
    const refused = added.flatMap((result) => (result.status === 'rejected' ? [result.reason] : []));
    assert.ok(refused.length > 0 && refused.length < 6, `${refused.length}`);
    assert.ok(refused.every((error) => isLookasideError(error, 'BUSY')));
    const kept = await databases.uploads.ofImage(IMAGE);
    assert.equal(kept.length, 20 - refused.length);
    for (const upload of kept)
      assert.equal((await databases.uploads.bytesOf(IMAGE, upload.sha256))?.length, bytes.length);
  });
});
