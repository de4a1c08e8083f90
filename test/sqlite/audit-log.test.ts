import assert from 'node:assert/strict';
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { connect as connectDatabase } from '../../src/sqlite/connect.ts';
import type { Databases } from '../../src/sqlite/databases.ts';
import { auditEvent } from '../contract/audit-event.ts';
import { auditLogContract } from '../contract/audit-log.ts';
import { imageAt, sha256 } from '../contract/signature-index.ts';
import { uploadOf } from '../contract/upload-store.ts';
import { reopenable } from './reopenable.ts';
import { type Cleanup, change, events, open, temporaryFolder } from './scratch.ts';

async function opened(t: Cleanup): Promise<{ readonly dataDir: string; readonly databases: Databases }> {
  const dataDir = temporaryFolder(t);
  const { databases } = await open(dataDir);
  t.after(() => databases.close());
  return { dataDir, databases };
}

const seqsOf = (dataDir: string) => events(dataDir).map(({ seq }) => seq);
const upTo = (last: number) => Array.from({ length: last }, (_, position) => position + 1);

auditLogContract('the SQLite audit log', async () => {
  const dataDir = mkdtempSync(join(tmpdir(), 'lookaside-sqlite-'));
  const { databases, reopen, close } = await reopenable(dataDir);
  return {
    audit: databases.audit,
    reopen: async () => (await reopen()).audit,
    kept: async () => events(dataDir),
    close,
  };
});

describe('an audit event', () => {
  const refused: readonly (readonly [string, string])[] = [
    ['its leaf is changed', `UPDATE audit_event SET leaf = json_set(leaf, '$.result', 'x') WHERE seq = 2`],
    ['its number is changed', 'UPDATE audit_event SET seq = 7 WHERE seq = 2'],
    ['its time is changed', 'UPDATE audit_event SET at_ms = at_ms + 1 WHERE seq = 2'],
    ['it is said to have been another', `UPDATE audit_event SET private = '{}' WHERE seq = 2`],
    ['its salt alone is forgotten', 'UPDATE audit_event SET salt = NULL WHERE seq = 2'],
    [
      'its leaf is changed as who it was is forgotten',
      `UPDATE audit_event SET private = NULL, salt = NULL, leaf = '{"seq":2}' WHERE seq = 2`,
    ],
    ['it is deleted', 'DELETE FROM audit_event WHERE seq = 2'],
    ['all are deleted', 'DELETE FROM audit_event'],
    ['it is replaced', `INSERT OR REPLACE INTO audit_event (seq, at_ms, leaf) VALUES (2, 1, '{"seq":2}')`],
    [
      'it is replaced on conflict',
      `INSERT INTO audit_event (seq, at_ms, leaf) VALUES (2, 1, '{"seq":2}') ON CONFLICT DO UPDATE SET at_ms = 9`,
    ],
    ['its upload is deleted with it', 'DELETE FROM upload; DELETE FROM audit_event'],
    [
      'another one is added under a wrong number',
      `INSERT INTO audit_event (seq, at_ms, leaf) VALUES (9, 1, '{"seq":8}')`,
    ],
  ];
  for (const [what, sql] of refused) {
    it(`is as it was after an attempt in which ${what}`, async (t) => {
      const { dataDir, databases } = await opened(t);
      for (const content of ['one', 'two', 'three']) {
        await databases.uploads.add(uploadOf(imageAt('team/app', 'a'), content), auditEvent());
      }
      const before = events(dataDir);
      assert.throws(() => change(join(dataDir, 'state.db'), `BEGIN; ${sql}; COMMIT`));
      assert.deepEqual(events(dataDir), before);
      assert.equal(await databases.audit.append(auditEvent()), 4);
    });
  }

  it('is found again by its action, the newest of the server alone', async (t) => {
    const { databases } = await opened(t);
    const of = (actor: string, reason: string) => {
      const event = auditEvent();
      return { ...event, action: 'settings' as const, private: { ...event.private, actor, reason } };
    };
    assert.equal(await databases.audit.lastReason('settings'), null);
    for (const reason of ['one', 'two']) await databases.audit.append(of('server', reason));
    await databases.audit.append(of('somebody', 'three'));
    await databases.audit.append(auditEvent());
    assert.equal(await databases.audit.lastReason('settings'), 'two');
  });

  it('can forget who it was and keeps its leaf', async (t) => {
    const { dataDir, databases } = await opened(t);
    await databases.audit.append(auditEvent());
    const [before] = events(dataDir);
    change(join(dataDir, 'state.db'), 'UPDATE audit_event SET private = NULL, salt = NULL');
    assert.deepEqual(events(dataDir), [{ ...before, private: null, salt: null }]);
    const again = `UPDATE audit_event SET private = '{}', salt = zeroblob(32)`;
    assert.throws(() => change(join(dataDir, 'state.db'), again), /never changed/);
  });
});

describe('numbers of audit events', () => {
  it('have no hole where a change was refused or failed', async (t) => {
    const { dataDir, databases } = await opened(t);
    const image = imageAt('team/app', 'a');
    let last = 0;
    const token = {
      name: 'ci',
      role: 'reader',
      hash: sha256('ci'),
      createdAt: new Date(0),
      expiresAt: null,
      signer: null,
    } as const;
    await databases.tokens.create(token, auditEvent());
    const attempts: Record<string, (n: number) => Promise<unknown>> = {
      'an event': () => databases.audit.append(auditEvent()),
      'an event that cannot be written': () => databases.audit.append(auditEvent({ salt: '' })),
      'an upload': (n) => databases.uploads.add(uploadOf(image, `upload ${n}`), auditEvent()),
      'an upload again': () => databases.uploads.add(uploadOf(image, 'again'), auditEvent()),
      // the event is written first, and undone with the row
      'an upload that cannot be written': (n) =>
        databases.uploads.add(uploadOf(image, `${n}`, { sizeBytes: -1 }), auditEvent()),
      'a token whose name is taken': () => databases.tokens.create(token, auditEvent()),
    };
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.constantFrom(...Object.keys(attempts)), { minLength: 6, maxLength: 20 }),
        async (kinds) => {
          await Promise.allSettled(kinds.map((kind, n) => attempts[kind]?.(last + n)));
          const seqs = seqsOf(dataDir);
          assert.deepEqual(seqs, upTo(seqs.length));
          assert.ok(seqs.length >= last);
          last = seqs.length;
        },
      ),
      { numRuns: 40 },
    );
    assert.ok(last > 50, `only ${last} events`);
    const stored = connectDatabase(join(dataDir, 'state.db'), { readonly: true });
    t.after(() => void stored.close());
    const strays = stored.prepare(
      'SELECT count(*) FROM upload WHERE audit_seq NOT IN (SELECT seq FROM audit_event)',
    );
    assert.equal(strays.pluck().get(), 0);
  });

  it('are not given again when the last events were cut off by force', async (t) => {
    const { dataDir, databases } = await opened(t);
    for (const _ of upTo(3)) await databases.audit.append(auditEvent());
    const force = 'DROP TRIGGER audit_event_is_never_deleted; DELETE FROM audit_event WHERE seq >= 2';
    change(join(dataDir, 'state.db'), force);
    assert.equal(await databases.audit.append(auditEvent()), 4);
    assert.deepEqual(seqsOf(dataDir), [1, 4]);
  });
});
