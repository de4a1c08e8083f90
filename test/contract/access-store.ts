// What every AccessStore promises, run over each implementation: a whole document of who may sign what, or nothing of it.
import assert from 'node:assert/strict';
import { describe } from 'node:test';
import { isLookasideError } from '../../src/domain/errors.ts';
import type { AccessStep, AccessStore } from '../../src/domain/ports.ts';
import { auditEvent } from './audit-event.ts';
import { nowAndAfterStart, type SignerStoresUnderTest } from './signer-store.ts';
import { tokenNamed } from './token-store.ts';
import { testOver } from './under-test.ts';

export interface AccessStoreUnderTest extends SignerStoresUnderTest {
  readonly rules: AccessStore;
  /** Throws when the log lacks a hash of an event or of a full tile, or has another one. */
  checkHashes(): Promise<void>;
}

const AT = new Date('2026-11-22T10:00:00.123Z');
const LATER = new Date('2026-11-23T10:00:00.456Z');
const KEY = 'AB'.repeat(20);
const ISSUER = 'https://issuer.example';

/** With four events each, more than a tile of the log has. */
const MANY = 90;

type StepBody = AccessStep extends infer Step
  ? Step extends AccessStep
    ? Omit<Step, 'event'>
    : never
  : never;

// each kind of step has an action of its own, so that the order of events is seen
const withEvents = (steps: readonly StepBody[]): readonly AccessStep[] =>
  steps.map((step) => ({ ...step, event: auditEvent({ action: ACTIONS[step.kind] }) }) as AccessStep);

const ACTIONS = {
  'put-key': 'key-add',
  'remove-key': 'key-remove',
  'retire-key': 'key-retire',
  'add-signer': 'signer-add',
  'describe-signer': 'signer-edit',
  'disable-signer': 'signer-disable',
  'remove-signer': 'signer-remove',
  'add-grant': 'grant-add',
  'add-subject': 'oidc-add',
  'remove-grant': 'grant-remove',
  'remove-subject': 'oidc-remove',
  'revoke-token': 'token-revoke',
} as const;

const addSigner = (name: string): StepBody => ({
  kind: 'add-signer',
  signer: { name, description: `the ${name}`, createdAt: AT },
});
const addGrant = (signer: string, repository: string): StepBody => ({
  kind: 'add-grant',
  grant: { signer, repositories: [repository], fingerprints: [KEY], tags: [], createdAt: AT },
});
const addSubject = (signer: string, sub: string): StepBody => ({
  kind: 'add-subject',
  subject: { signer, issuer: ISSUER, claims: { sub }, createdAt: AT },
});

export function accessStoreContract(name: string, open: () => Promise<AccessStoreUnderTest>): void {
  const test = testOver(open);

  describe(name, () => {
    test('a large document is in force as a whole, with its events in order, and after another start', async (under) => {
      const names = Array.from({ length: MANY }, (_, n) => `signer-${n}`);
      const steps = withEvents(
        names.flatMap((one) => [
          addSigner(one),
          addSubject(one, one),
          addGrant(one, 'a/*'),
          addGrant(one, 'b/*'),
        ]),
      );
      await under.rules.apply(steps);
      for await (const stores of nowAndAfterStart(under)) {
        assert.deepEqual(
          (await stores.signers.list()).map((one) => one.name),
          names,
        );
        assert.deepEqual(
          (await stores.grants.list(null)).map(({ signer, repositories }) => [signer, ...repositories]),
          names.flatMap((one) => [
            [one, 'a/*'],
            [one, 'b/*'],
          ]),
        );
        assert.deepEqual(
          (await stores.subjects.list(null)).map(({ signer, claims }) => [signer, claims.sub]),
          names.map((one) => [one, one]),
        );
      }
      assert.deepEqual(
        await under.recordedActions(),
        steps.map(({ event }) => event.action),
      );
      await under.checkHashes();
    });

    test('changes of what is there already come together, each with its event', async (under) => {
      for (const one of ['a', 'b', 'c'])
        await under.signers.add({ name: one, description: one, createdAt: AT }, auditEvent());
      await under.tokens.create({ ...tokenNamed('of-c'), signer: 'c' }, auditEvent());
      await under.tokens.create(tokenNamed('free'), auditEvent());
      await under.rules.apply(withEvents([addGrant('a', 'a/*'), addSubject('a', 'x')]));
      const [grant] = await under.grants.list('a');
      const [subject] = await under.subjects.list('a');
      assert.ok(grant !== undefined && subject !== undefined);
      const before = await under.recordedActions();
      await under.rules.apply(
        withEvents([
          { kind: 'describe-signer', signer: 'a', description: 'new' },
          { kind: 'disable-signer', signer: 'b', disabledAt: LATER },
          addGrant('b', 'b/*'),
          { kind: 'remove-grant', id: grant.id },
          { kind: 'remove-subject', id: subject.id },
          { kind: 'revoke-token', token: 'free', at: LATER },
          { kind: 'remove-signer', signer: 'c', at: LATER },
        ]),
      );
      for await (const stores of nowAndAfterStart(under)) {
        assert.deepEqual(
          (await stores.signers.list()).map((one) => [one.name, one.description, one.disabledAt]),
          [
            ['a', 'new', null],
            ['b', 'b', LATER],
          ],
        );
        assert.deepEqual(
          (await stores.grants.list(null)).map(({ signer }) => signer),
          ['b'],
        );
        assert.deepEqual(await stores.subjects.list(null), []);
        assert.deepEqual(
          (await stores.tokens.list()).map(({ name: one, revokedAt }) => [one, revokedAt]),
          [
            ['of-c', LATER],
            ['free', LATER],
          ],
        );
      }
      assert.deepEqual((await under.recordedActions()).slice(before.length), [
        ...['signer-edit', 'signer-disable', 'grant-add', 'grant-remove', 'oidc-remove', 'token-revoke'],
        'signer-remove',
      ]);
    });

    test('nothing of a document is in force when one of its steps finds nothing to change', async (under) => {
      await under.signers.add({ name: 'a', description: 'a', createdAt: AT }, auditEvent());
      await under.rules.apply(withEvents([addGrant('a', 'a/*'), addSubject('a', 'x')]));
      const wrong: readonly StepBody[] = [
        addSigner('a'),
        addGrant('a', 'a/*'),
        addGrant('nobody', 'a/*'),
        addSubject('a', 'x'),
        addSubject('nobody', 'x'),
        { kind: 'describe-signer', signer: 'a', description: 'a' },
        { kind: 'disable-signer', signer: 'a', disabledAt: null },
        { kind: 'disable-signer', signer: 'nobody', disabledAt: LATER },
        { kind: 'remove-signer', signer: 'nobody', at: LATER },
        { kind: 'remove-grant', id: 4711 },
        { kind: 'remove-subject', id: 4711 },
        { kind: 'revoke-token', token: 'nothing', at: LATER },
        { kind: 'retire-key', fingerprint: KEY, isRetired: true },
        { kind: 'remove-key', fingerprint: KEY },
      ];
      const before = await under.recordedActions();
      for (const step of wrong) {
        await assert.rejects(
          under.rules.apply(withEvents([addSigner('new'), addGrant('new', 'c/*'), step])),
          (error) => isLookasideError(error, 'CHANGED_MEANWHILE'),
          JSON.stringify(step),
        );
      }
      assert.deepEqual(
        (await under.signers.list()).map((one) => one.name),
        ['a'],
      );
      assert.equal((await under.grants.list(null)).length, 1);
      assert.deepEqual(await under.recordedActions(), before);
    });
  });
}
