// What the audit log is told of the OIDC subjects of signers.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { NewAuditEvent } from '../../src/domain/audit.ts';
import type { OidcSubject } from '../../src/domain/oidc.ts';
import { type Actor, createEventMaker } from '../../src/service/audit.ts';
import { createSubjectService } from '../../src/service/subjects.ts';
import { createClock } from './hand-driven.ts';

const ALICE: Actor = { name: 'alice', address: '192.0.2.1', requestId: 'r-1' };
const ISSUER = 'https://issuer.example';
const CLAIMS = { repository: 'team/app', ref: 'refs/heads/*' };

function open() {
  const clock = createClock();
  const subjects = new Map<number, OidcSubject>();
  const events: NewAuditEvent[] = [];
  const service = createSubjectService({
    subjects: {
      list: async () => [...subjects.values()],
      ofIssuer: () => assert.fail('not asked'),
      find: async (id) => subjects.get(id) ?? null,
      async add(subject, event) {
        const added = { ...subject, id: events.push(event) };
        subjects.set(added.id, added);
        return { ...added, created: true };
      },
      async remove(id, event) {
        events.push(event);
        return subjects.delete(id);
      },
    },
    signers: { find: () => assert.fail('not asked') },
    clock,
    makeEvent: createEventMaker({ clock, randomBytes: (count) => new Uint8Array(count) }),
  });
  return { service, events, clock };
}

test('a subject that is added and one that is removed are events: who did it, to which signer, and which tokens', async () => {
  const { service, events, clock } = open();
  const { id } = await service.add({ signer: 'ci', issuer: ISSUER, claims: CLAIMS }, ALICE);
  clock.pass(1000);
  await service.remove(id, { ...ALICE, name: 'bob' });
  const reason = `ci: ${ISSUER} ref=refs/heads/* repository=team/app`;
  const { address, requestId } = ALICE;
  assert.deepEqual(
    events.map(({ action, result, at, private: who }) => [action, result, at.toISOString(), who]),
    [
      ['oidc-add', 'added', '2026-11-22T10:00:00.000Z', { actor: 'alice', address, requestId, reason }],
      ['oidc-remove', 'removed', '2026-11-22T10:00:01.000Z', { actor: 'bob', address, requestId, reason }],
    ],
  );
});

test('what is refused, and the removal of a subject that there is not, are no events', async () => {
  const { service, events } = open();
  await assert.rejects(service.add({ signer: 'ci', issuer: 'http://x', claims: CLAIMS }, ALICE), {
    code: 'REQUEST_INVALID',
  });
  await assert.rejects(service.remove(7, ALICE), { code: 'NOT_FOUND' });
  assert.deepEqual(events, []);
});
