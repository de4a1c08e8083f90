// What every AuditLog promises, run over each implementation.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { describe } from 'node:test';
import { leafText, type NewAuditEvent } from '../../src/domain/audit.ts';
import type { AuditLog } from '../../src/domain/ports.ts';
import { auditEvent } from './audit-event.ts';
import { sha256 } from './signature-index.ts';
import { testOver } from './under-test.ts';

/** An event as it is kept. `private` and `salt` are null once it was forgotten who it was. */
export interface KeptEvent {
  readonly seq: number;
  readonly leaf: string;
  readonly private: string | null;
  readonly salt: Uint8Array | null;
}

export interface AuditLogUnderTest {
  readonly audit: AuditLog;
  /** The same log as another start finds it. */
  reopen(): Promise<AuditLog>;
  /** All events, by number. */
  kept(): Promise<readonly KeptEvent[]>;
  close(): Promise<void>;
}

export function auditLogContract(name: string, open: () => Promise<AuditLogUnderTest>): void {
  const test = testOver(open);
  const upTo = (last: number) => Array.from({ length: last }, (_, position) => position + 1);

  describe(name, () => {
    test('an event keeps its leaf, which binds who it was by a salted hash', async ({ audit, kept }) => {
      const event = auditEvent({
        image: `team/app@sha256=${sha256('a')}`,
        signatureSha256: sha256('one'),
        fingerprint: 'A'.repeat(40),
        private: {
          actor: 'älice',
          address: '2001:db8::1',
          requestId: 'r-1',
          reason: 'a "quoted" \u0000 one',
        },
      });
      assert.equal(await audit.append(event), 1);
      const [stored] = await kept();
      assert.ok(stored?.private != null && stored.salt !== null);
      const privateHash = createHash('sha256')
        .update(Buffer.from(event.salt, 'hex'))
        .update(Buffer.from(stored.private, 'utf8'))
        .digest('hex');
      assert.equal(stored.leaf, leafText(1, privateHash, event));
      assert.equal(Buffer.from(stored.salt).toString('hex'), event.salt);
      assert.deepEqual(JSON.parse(stored.private), event.private);
      assert.deepEqual(JSON.parse(stored.leaf), {
        v: 1,
        seq: 1,
        at: '2026-11-22T10:00:00.123Z',
        action: 'upload',
        site: 'default',
        image: event.image,
        signatureSha256: event.signatureSha256,
        fingerprint: event.fingerprint,
        result: 'created',
        private: privateHash,
      });
      assert.doesNotMatch(stored.leaf, /lice|2001|r-1|quoted/);
    });

    test('an event is there as it was after other starts and further events', async (under) => {
      let { audit } = under;
      let before: readonly KeptEvent[] = [];
      for (const seq of upTo(3)) {
        assert.equal(await audit.append(auditEvent()), seq);
        audit = await under.reopen();
        const now = await under.kept();
        assert.deepEqual(now.slice(0, -1), before);
        before = now;
      }
      assert.deepEqual(
        before.map(({ seq }) => seq),
        upTo(3),
      );
    });

    test('numbers rise in the order in which events were asked for', async ({ audit, kept }) => {
      const asked: NewAuditEvent[] = upTo(300).map((n) => auditEvent({ result: `change ${n}` }));
      const seqs = await Promise.all(asked.map((event) => audit.append(event)));
      assert.deepEqual(seqs, upTo(300));
      assert.deepEqual(
        (await kept()).map(({ leaf }) => JSON.parse(leaf).result),
        asked.map(({ result }) => result),
      );
    });

    test('an event that cannot be written takes no number, and fails no other', async ({ audit, kept }) => {
      const asked = upTo(30).map((n) => auditEvent(n % 3 === 0 ? { salt: 'ab' } : {}));
      const answers = await Promise.allSettled(asked.map((event) => audit.append(event)));
      const seqs = answers.flatMap((answer) => (answer.status === 'fulfilled' ? [answer.value] : []));
      assert.deepEqual(seqs, upTo(20));
      assert.ok(answers.every(({ status }, position) => (status === 'rejected') === (position % 3 === 2)));
      assert.equal((await kept()).length, 20);
    });
  });
}
