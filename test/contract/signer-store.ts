// What every SignerStore and GrantStore promise, run over each implementation.
import assert from 'node:assert/strict';
import { describe } from 'node:test';
import { type ErrorCode, isLookasideError } from '../../src/domain/errors.ts';
import type { NewGrant } from '../../src/domain/grant.ts';
import type { NewOidcSubject } from '../../src/domain/oidc.ts';
import type { GrantStore, SignerStore, SubjectStore, TokenStore } from '../../src/domain/ports.ts';
import { auditEvent } from './audit-event.ts';
import { tokenNamed } from './token-store.ts';
import { testOver } from './under-test.ts';

export interface SignerStores {
  readonly signers: SignerStore;
  readonly grants: GrantStore;
  readonly subjects: SubjectStore;
  readonly tokens: TokenStore;
}

export interface SignerStoresUnderTest extends SignerStores {
  /** The same as another start finds it. */
  reopen(): Promise<SignerStores>;
  /** Action of each audit event, in their order. */
  recordedActions(): Promise<readonly string[]>;
  close(): Promise<void>;
}

const AT = new Date('2026-11-22T10:00:00.123Z');
const LATER = new Date('2026-11-23T10:00:00.456Z');
const KEY = 'AB'.repeat(20);

const signerNamed = (name: string) => ({ name, description: `the ${name}`, createdAt: AT });

function grantOf(signer: string, changes: Partial<NewGrant> = {}): NewGrant {
  return { signer, repositories: ['team/*'], fingerprints: [KEY], tags: [], createdAt: AT, ...changes };
}

const ISSUER = 'https://issuer.example';

function subjectOf(signer: string, changes: Partial<NewOidcSubject> = {}): NewOidcSubject {
  return { signer, issuer: ISSUER, claims: { sub: 'x' }, createdAt: AT, ...changes };
}

const code = (wanted: ErrorCode) => (error: unknown) => isLookasideError(error, wanted);

export async function* nowAndAfterStart(under: SignerStoresUnderTest): AsyncGenerator<SignerStores> {
  yield under;
  yield await under.reopen();
}

export function signerStoresContract(name: string, open: () => Promise<SignerStoresUnderTest>): void {
  const test = testOver(open);

  describe(name, () => {
    test('a signer is found once it is added, in order, and after another start', async (under) => {
      for (const one of ['c', 'a']) {
        const added = await under.signers.add(signerNamed(one), auditEvent({ action: 'signer-add' }));
        assert.deepEqual(added, { ...signerNamed(one), disabledAt: null });
      }
      const wanted = ['c', 'a'].map((one) => ({ ...signerNamed(one), disabledAt: null }));
      for await (const { signers } of nowAndAfterStart(under)) {
        assert.deepEqual(await signers.list(), wanted);
        assert.deepEqual(await signers.find('a'), wanted[1]);
        assert.equal(await signers.find('A'), null);
      }
      assert.deepEqual(await under.recordedActions(), ['signer-add', 'signer-add']);
    });

    test('only one of twenty administrators that add one name at once adds it', async ({
      signers,
      recordedActions,
    }) => {
      const asked = Array.from({ length: 20 }, () => signers.add(signerNamed('ci'), auditEvent()));
      const answers = await Promise.allSettled(asked);
      const refused = answers.flatMap((answer) => (answer.status === 'rejected' ? [answer.reason] : []));
      assert.equal(refused.length, 19);
      for (const error of refused) assert.ok(code('NAME_TAKEN')(error), String(error));
      assert.equal((await signers.list()).length, 1);
      assert.equal((await recordedActions()).length, 1);
    });

    test('a disabled signer disables its tokens at once, and a second time changes nothing', async (under) => {
      const { signers, tokens } = under;
      await signers.add(signerNamed('ci'), auditEvent());
      const bound = { ...tokenNamed('ci-1', 'uploader'), signer: 'ci' };
      await tokens.create(bound, auditEvent());
      await tokens.create(tokenNamed('free', 'uploader'), auditEvent());
      const disabled = await signers.setDisabled('ci', AT, auditEvent());
      assert.deepEqual(disabled?.disabledAt, AT);
      assert.deepEqual((await signers.setDisabled('ci', LATER, auditEvent()))?.disabledAt, AT);
      assert.deepEqual(tokens.peek(bound.hash)?.disabledAt, AT);
      assert.equal(tokens.peek(tokenNamed('free').hash)?.disabledAt, null);
      for await (const stores of nowAndAfterStart(under)) {
        assert.deepEqual((await stores.tokens.find(bound.hash))?.disabledAt, AT);
      }
      assert.equal((await under.recordedActions()).length, 4);
    });

    test('an enabled signer has its tokens back', async ({ signers, tokens, recordedActions }) => {
      await signers.add(signerNamed('ci'), auditEvent());
      const bound = { ...tokenNamed('ci-1', 'uploader'), signer: 'ci' };
      await tokens.create(bound, auditEvent());
      await signers.setDisabled('ci', null, auditEvent());
      assert.equal((await recordedActions()).length, 2);
      await signers.setDisabled('ci', AT, auditEvent());
      assert.equal((await signers.setDisabled('ci', null, auditEvent()))?.disabledAt, null);
      assert.equal(tokens.peek(bound.hash)?.disabledAt, null);
      assert.equal((await recordedActions()).length, 4);
    });

    test('what is asked of a signer that is not there changes nothing', async ({
      signers,
      grants,
      recordedActions,
    }) => {
      assert.equal(await signers.setDisabled('nobody', AT, auditEvent()), null);
      assert.equal(await signers.remove('nobody', AT, auditEvent()), false);
      await assert.rejects(grants.add(grantOf('nobody'), auditEvent()), code('NOT_FOUND'));
      assert.deepEqual(await grants.list('nobody'), []);
      assert.equal(await grants.remove(1, auditEvent()), false);
      assert.deepEqual(await recordedActions(), []);
    });

    test('a removed signer takes its grants and tokens along, and leaves those of others', async (under) => {
      const { signers, grants, tokens } = under;
      for (const one of ['ci', 'other']) {
        await signers.add(signerNamed(one), auditEvent());
        await grants.add(grantOf(one), auditEvent());
        await tokens.create({ ...tokenNamed(`${one}-1`, 'uploader'), signer: one }, auditEvent());
      }
      assert.equal(await signers.remove('ci', LATER, auditEvent()), true);
      for await (const stores of nowAndAfterStart(under)) {
        assert.deepEqual(
          (await stores.signers.list()).map((signer) => signer.name),
          ['other'],
        );
        assert.deepEqual(
          (await stores.grants.list(null)).map(({ signer }) => signer),
          ['other'],
        );
        assert.equal(stores.tokens.peek(tokenNamed('ci-1').hash), null);
        assert.notEqual(stores.tokens.peek(tokenNamed('other-1').hash), null);
        assert.deepEqual((await stores.tokens.list())[0]?.revokedAt, LATER);
      }
      // a new one of that name gets nothing of the old one
      const { signers: again, grants: now, tokens: still } = await under.reopen();
      await again.add(signerNamed('ci'), auditEvent());
      assert.deepEqual(await now.list('ci'), []);
      assert.equal(still.peek(tokenNamed('ci-1').hash), null);
    });

    test('a grant is kept as it was given, and the same one again is no other', async (under) => {
      await under.signers.add(signerNamed('ci'), auditEvent());
      const wanted = grantOf('ci', { repositories: ['a/**', 'b'], tags: ['v*'] });
      const added = await under.grants.add(wanted, auditEvent());
      assert.deepEqual(added, { ...wanted, id: added.id, created: true });
      const again = await under.grants.add({ ...wanted, createdAt: LATER }, auditEvent());
      assert.deepEqual(again, { ...added, created: false });
      for await (const { grants } of nowAndAfterStart(under)) {
        assert.deepEqual(await grants.list('ci'), [{ ...wanted, id: added.id }]);
        assert.deepEqual(await grants.find(added.id), { ...wanted, id: added.id });
      }
      assert.equal((await under.recordedActions()).length, 2);
    });

    test('the number of a removed grant is not given again', async ({ signers, grants, recordedActions }) => {
      await signers.add(signerNamed('ci'), auditEvent());
      const { id } = await grants.add(grantOf('ci'), auditEvent());
      assert.equal(await grants.remove(id, auditEvent()), true);
      assert.equal(await grants.remove(id, auditEvent()), false);
      const next = await grants.add(grantOf('ci'), auditEvent());
      assert.ok(next.id > id && next.created);
      assert.equal((await recordedActions()).length, 4);
    });

    test('a subject is found by its issuer, and is as disabled as its signer', async (under) => {
      await under.signers.add(signerNamed('ci'), auditEvent(), [
        { subject: subjectOf('ci'), event: auditEvent() },
      ]);
      await under.signers.add(signerNamed('other'), auditEvent());
      const added = await under.subjects.add(
        subjectOf('other', { claims: { a: '1', b: '2' } }),
        auditEvent(),
      );
      assert.ok(added.created);
      const again = await under.subjects.add(
        subjectOf('other', { claims: { a: '1', b: '2' } }),
        auditEvent(),
      );
      assert.deepEqual(again, { ...added, created: false });
      await under.subjects.add(subjectOf('other', { issuer: 'https://another.example' }), auditEvent());
      await under.signers.setDisabled('ci', LATER, auditEvent());
      for await (const { subjects } of nowAndAfterStart(under)) {
        assert.deepEqual(
          (await subjects.ofIssuer(ISSUER)).map(({ subject: { id, ...subject }, disabledAt }) => [
            subject,
            disabledAt,
          ]),
          [
            [subjectOf('ci'), LATER],
            [subjectOf('other', { claims: { a: '1', b: '2' } }), null],
          ],
        );
        assert.deepEqual(await subjects.ofIssuer('https://ISSUER.example'), []);
        assert.deepEqual((await subjects.find(added.id))?.claims, { a: '1', b: '2' });
        assert.equal((await subjects.list('other')).length, 2);
      }
      assert.equal((await under.recordedActions()).length, 6);
    });

    test('a subject goes with its signer, and its number is not given again', async (under) => {
      const { signers, subjects, recordedActions } = under;
      await signers.add(signerNamed('ci'), auditEvent());
      const { id } = await subjects.add(subjectOf('ci'), auditEvent());
      assert.equal(await subjects.remove(id, auditEvent()), true);
      assert.equal(await subjects.remove(id, auditEvent()), false);
      const next = await subjects.add(subjectOf('ci'), auditEvent());
      assert.ok(next.id > id);
      assert.equal((await recordedActions()).length, 4);
      await signers.remove('ci', LATER, auditEvent());
      assert.deepEqual(await subjects.list(null), []);
      await assert.rejects(subjects.add(subjectOf('ci'), auditEvent()), code('NOT_FOUND'));
      // nothing of it is left when an event cannot be written
      const broken = [{ subject: subjectOf('ci'), event: auditEvent({ salt: 'ab' }) }];
      await assert.rejects(signers.add(signerNamed('ci'), auditEvent(), broken));
      assert.deepEqual([await signers.list(), (await recordedActions()).length], [[], 5]);
    });

    test('one administrator removes a signer while others give it grants and tokens: nothing is left of it', async (under) => {
      const { signers, grants, tokens } = under;
      await signers.add(signerNamed('ci'), auditEvent());
      const acts = Array.from({ length: 10 }, (_, n) => [
        grants.add(grantOf('ci', { repositories: [`r${n}`] }), auditEvent()),
        tokens.create({ ...tokenNamed(`t${n}`, 'uploader'), signer: 'ci' }, auditEvent()),
        ...(n === 5 ? [signers.remove('ci', LATER, auditEvent())] : []),
      ]).flat();
      const answers = await Promise.allSettled<unknown>(acts);
      for (const answer of answers) {
        if (answer.status === 'rejected') assert.ok(code('NOT_FOUND')(answer.reason), String(answer.reason));
      }
      assert.ok(answers.some(({ status }) => status === 'rejected'));
      assert.deepEqual(await grants.list(null), []);
      assert.ok((await tokens.list()).every(({ revokedAt }) => revokedAt !== null));
    });

    test('nothing is changed when its event cannot be written', async ({
      signers,
      grants,
      tokens,
      recordedActions,
    }) => {
      const unwritable = auditEvent({ salt: 'ab' });
      await assert.rejects(signers.add(signerNamed('x'), unwritable));
      await signers.add(signerNamed('ci'), auditEvent());
      const { id } = await grants.add(grantOf('ci'), auditEvent());
      await assert.rejects(grants.add(grantOf('ci', { repositories: ['x'] }), unwritable));
      await assert.rejects(grants.remove(id, unwritable));
      await assert.rejects(signers.setDisabled('ci', AT, unwritable));
      const bound = { ...tokenNamed('ci-1', 'uploader'), signer: 'ci' };
      await tokens.create(bound, auditEvent());
      await assert.rejects(signers.remove('ci', AT, unwritable));
      assert.deepEqual(await signers.list(), [{ ...signerNamed('ci'), disabledAt: null }]);
      assert.equal((await grants.list('ci')).length, 1);
      assert.notEqual(tokens.peek(bound.hash), null);
      assert.equal((await recordedActions()).length, 3);
    });
  });
}
