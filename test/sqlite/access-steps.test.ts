import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isLookasideError } from '../../src/domain/errors.ts';
import type { AccessStep } from '../../src/domain/ports.ts';
import { auditEvent } from '../contract/audit-event.ts';
import { events, open, temporaryFolder } from './scratch.ts';

const AT = new Date('2026-11-22T10:00:00.000Z');
const signer = (name: string) => ({ name, description: '', createdAt: AT });
const add = (name: string): AccessStep => ({ kind: 'add-signer', signer: signer(name), event: auditEvent() });

test('changes of who may sign what are made all together, or none is', async (t) => {
  const dataDir = temporaryFolder(t);
  const { databases } = await open(dataDir);
  t.after(() => databases.close());
  const { rules, signers, grants } = databases;
  const grant = {
    signer: 'a',
    repositories: ['x'],
    fingerprints: ['AB'.repeat(20)],
    tags: [],
    createdAt: AT,
  };
  await rules.apply([add('a'), { kind: 'add-grant', grant, event: auditEvent() }]);
  assert.equal((await grants.list('a')).length, 1);
  const before = events(dataDir).length;
  const wrong: readonly AccessStep[] = [
    add('a'),
    { kind: 'remove-signer', signer: 'gone', at: AT, event: auditEvent() },
    { kind: 'describe-signer', signer: 'a', description: '', event: auditEvent() },
    { kind: 'disable-signer', signer: 'a', disabledAt: null, event: auditEvent() },
    { kind: 'add-grant', grant, event: auditEvent() },
    { kind: 'add-grant', grant: { ...grant, signer: 'gone' }, event: auditEvent() },
    { kind: 'remove-grant', id: 99, event: auditEvent() },
    { kind: 'remove-subject', id: 99, event: auditEvent() },
    { kind: 'revoke-token', token: 'gone', at: AT, event: auditEvent() },
    { kind: 'remove-key', fingerprint: 'AB'.repeat(20), event: auditEvent() },
  ];
  for (const step of wrong) {
    await assert.rejects(
      rules.apply([add('b'), step]),
      (error) => isLookasideError(error, 'CHANGED_MEANWHILE'),
      step.kind,
    );
    assert.deepEqual(
      (await signers.list()).map(({ name }) => name),
      ['a'],
    );
    assert.equal((await grants.list('a')).length, 1);
  }
  assert.equal(events(dataDir).length, before);

  // two administrators: each applies his own, and one name goes to one of them
  const both = await Promise.allSettled([
    rules.apply([add('x'), add('y')]),
    rules.apply([add('y'), add('z')]),
  ]);
  assert.deepEqual(both.map(({ status }) => status).sort(), ['fulfilled', 'rejected']);
  assert.equal((await signers.list()).length, 3);
});
