import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { NewAuditEvent } from '../../src/domain/audit.ts';
import { isLookasideError } from '../../src/domain/errors.ts';
import type { Grant } from '../../src/domain/grant.ts';
import { type Actor, ADMINISTRATOR, createEventMaker } from '../../src/service/audit.ts';
import { createSignerService } from '../../src/service/signers.ts';
import { createClock, imageOf } from './hand-driven.ts';
import { FINGERPRINT, keyOf } from './judgements.ts';

const UNBOUND: Actor = { name: 'old', address: null, requestId: null };
const BOUND: Actor = { ...UNBOUND, name: 'ci-1', signer: 'ci' };
const ADMIN: Actor = { ...UNBOUND, name: 'root', isAdministrator: true };

const GRANT: Grant = {
  id: 7,
  signer: 'ci',
  repositories: ['team/*'],
  fingerprints: [FINGERPRINT],
  tags: [],
  createdAt: new Date(0),
};

interface Scene {
  readonly requireGrants?: boolean;
  readonly retiredAt?: Date | null;
}

function open({ requireGrants = false, retiredAt = null }: Scene = {}) {
  const clock = createClock();
  const events: NewAuditEvent[] = [];
  const keep = (event: NewAuditEvent) => void events.push(event);
  const signer = { name: 'ci', description: '', createdAt: clock.now(), disabledAt: null };
  const service = createSignerService({
    signers: {
      list: async () => [signer],
      find: async (name) => (name === 'ci' ? signer : null),
      async add(wanted, event) {
        keep(event);
        return { ...wanted, disabledAt: null };
      },
      async setDisabled(_, disabledAt, event) {
        keep(event);
        return { ...signer, disabledAt };
      },
      async remove(_name, _at, event) {
        keep(event);
        return true;
      },
    },
    grants: {
      list: async (name) => (name === null || name === 'ci' ? [GRANT] : []),
      find: async (id) => (id === 7 ? GRANT : null),
      async add(grant, event) {
        keep(event);
        return { ...grant, id: 8, created: true };
      },
      async remove(_, event) {
        keep(event);
        return true;
      },
    },
    subjects: { list: async () => [] },
    keys: {
      find: async (fingerprint) => (fingerprint === FINGERPRINT ? keyOf({ retiredAt }) : null),
      list: async () => [keyOf()],
    },
    listTokens: async () => [],
    clock,
    makeEvent: createEventMaker({ clock, randomBytes: (count) => new Uint8Array(count) }),
    requireGrants: () => requireGrants,
  });
  return { service, events };
}

const what = (path = 'team/app', fingerprint: string | null = FINGERPRINT) => {
  return { image: imageOf(path), fingerprint, tag: 'v1' };
};

describe('an upload', () => {
  test('of a signer is permitted by its grant alone, and the refusal has the facts for programs', async () => {
    const { service } = open();
    await service.permit(BOUND, what());
    await assert.rejects(service.permit(BOUND, what('team-evil/app')), (error) => {
      assert.ok(isLookasideError(error, 'NOT_GRANTED'));
      assert.deepEqual(error.detail, {
        missing: ['repository'],
        signer: 'ci',
        repository: 'team-evil/app',
        fingerprint: FINGERPRINT,
        tag: 'v1',
      });
      return true;
    });
    await assert.rejects(service.permit({ ...BOUND, signer: 'gone' }, what()), (error) => {
      return isLookasideError(error, 'NOT_GRANTED') && /has no grants/.test(error.message);
    });
  });

  test('of a caller that is several signers is permitted as the first whose grant covers it', async () => {
    const { service } = open();
    const other = { ...BOUND, name: 'other-1', signer: 'other' };
    assert.deepEqual(await service.permit({ ...other, others: [BOUND] }, what()), BOUND);
    assert.deepEqual(await service.permit({ ...BOUND, others: [other] }, what()), BOUND);
    await assert.rejects(service.permit({ ...BOUND, others: [other] }, what('evil/app')), (error) => {
      assert.ok(isLookasideError(error, 'NOT_GRANTED'));
      assert.equal(error.detail?.signer, 'ci');
      return true;
    });
  });

  test('of a token without a signer is permitted until grants are required; of an administrator always', async () => {
    await open().service.permit(UNBOUND, what());
    const { service } = open({ requireGrants: true });
    await assert.rejects(service.permit(UNBOUND, what()), (error) => {
      assert.ok(isLookasideError(error, 'NOT_GRANTED'));
      assert.match(error.message, /"old" belongs to no signer.*LOOKASIDE_REQUIRE_GRANTS.*--signer SIGNER/);
      return true;
    });
    await service.permit(BOUND, what());
    for (const actor of [ADMIN, ADMINISTRATOR]) await service.permit(actor, what());
  });
});

test('a test of a grant for a retired key says that no new signature by it is taken', async () => {
  const asked = { signer: 'ci', repository: 'team/app', key: FINGERPRINT, tag: 'v1' };
  assert.equal((await open().service.test(asked)).allowed, true);
  const { allowed, message } = await open({ retiredAt: new Date(0) }).service.test(asked);
  assert.equal(allowed, false);
  assert.match(message, /^the key A{40} is retired since 1970-01-01T00:00:00.000Z, .*; otherwise: grant 7 /);
});

test('every change of a signer or grant has its event, which says what it was', async () => {
  const { service, events } = open();
  await service.add({ name: 'ci', description: 'x' }, ADMIN);
  await service.setDisabled('ci', true, ADMIN);
  await service.setDisabled('ci', false, ADMIN);
  await service.addGrant({ signer: 'ci', repositories: ['a'], keys: [FINGERPRINT], tags: ['v*'] }, ADMIN);
  await service.removeGrant(7, ADMIN);
  await service.remove('ci', ADMIN);
  assert.deepEqual(
    events.map(({ action, result, private: { actor, reason } }) => [action, result, actor, reason]),
    [
      ['signer-add', 'added', 'root', 'ci'],
      ['signer-disable', 'disabled', 'root', 'ci'],
      ['signer-enable', 'enabled', 'root', 'ci'],
      ['grant-add', 'added', 'root', `ci: a by ${FINGERPRINT} for v*`],
      ['grant-remove', 'removed', 'root', `ci: team/* by ${FINGERPRINT}`],
      ['signer-remove', 'removed', 'root', 'ci'],
    ],
  );
});
