// What every KeyStore promises, run over each implementation.
import assert from 'node:assert/strict';
import { describe } from 'node:test';
import type { KeyDetails, KeyPart, RegisteredKey } from '../../src/domain/key.ts';
import type { KeyStore, RevokedByHand } from '../../src/domain/ports.ts';
import { auditEvent } from './audit-event.ts';
import { testOver } from './under-test.ts';

export interface KeyStoreUnderTest {
  readonly keys: KeyStore;
  /** The same keys as another start finds them. */
  reopen(): Promise<KeyStore>;
  close(): Promise<void>;
}

export type NewKey = KeyDetails & { readonly certificate: Uint8Array };

const ADDED_AT = new Date('2026-11-22T10:00:00.123Z');
const CHANGED_AT = new Date('2026-11-23T11:00:00.456Z');

export function keyNamed(letter: string, overrides: Partial<NewKey> = {}): NewKey {
  const part = (fingerprint: string): KeyPart => ({
    fingerprint,
    algorithm: 'rsa3072',
    createdAt: new Date('2020-01-02T03:04:05.000Z'),
    expiresAt: null,
    revokedAt: null,
    canSign: true,
  });
  return {
    ...part(letter.repeat(40)),
    userIds: [`${letter} <${letter}@example.com>`],
    subkeys: [{ ...part(`${letter}0`.repeat(20)), expiresAt: new Date('2030-01-01T00:00:00.000Z') }],
    certificate: Buffer.from(`certificate of ${letter}`),
    ...overrides,
  };
}

async function assertHolds(
  store: KeyStore,
  expected: readonly (NewKey & Partial<RegisteredKey> & { addedAt: Date; changedAt: Date })[],
): Promise<void> {
  const plain = <T extends NewKey>(keys: readonly T[]) =>
    keys.map((key) => ({ ...key, certificate: Buffer.from(key.certificate) }));
  const wanted = expected.map((key) => ({ retiredAt: null, revocation: null, addedBy: 'alice', ...key }));
  assert.deepEqual(plain(await store.list()), plain(wanted));
  for (const key of wanted) {
    const stored = await store.find(key.fingerprint);
    assert.ok(stored !== null);
    assert.deepEqual(plain([stored]), plain([key]));
  }
}

/** `atOnce`: as many keys as the store takes within its time on a machine with much to do. */
export function keyStoreContract(name: string, open: () => Promise<KeyStoreUnderTest>, atOnce = 250): void {
  const test = testOver(open);

  describe(`${name}`, () => {
    test('a key that was put is found whole, by its fingerprint, and after another start', async (under) => {
      const key = keyNamed('A', {
        userIds: ['Ä "quoted" \u0000 \u2028 ‮', ''],
        expiresAt: new Date('2031-01-01T00:00:00.000Z'),
        revokedAt: new Date('2029-01-01T00:00:00.000Z'),
        canSign: false,
      });
      const wanted = { ...key, addedAt: ADDED_AT, changedAt: ADDED_AT };
      const stored = await under.keys.put(key, auditEvent({ action: 'key-add', at: ADDED_AT }));
      assert.deepEqual(stored.addedAt, ADDED_AT);
      await assertHolds(under.keys, [wanted]);
      await assertHolds(await under.reopen(), [wanted]);
    });

    test('a fingerprint that nobody put is null, also in other letters or as a part', async ({ keys }) => {
      await keys.put(keyNamed('A'), auditEvent());
      for (const wrong of ['', 'a'.repeat(40), 'A'.repeat(16), 'A'.repeat(64), 'B'.repeat(40)]) {
        assert.equal(await keys.find(wrong), null);
      }
    });

    test('keys are listed in the order of their adding, which a later change does not move', async (under) => {
      const { keys } = under;
      for (const letter of ['C', 'A', 'B']) await keys.put(keyNamed(letter), auditEvent({ at: ADDED_AT }));
      const changed = keyNamed('C', {
        userIds: [],
        subkeys: [],
        revokedAt: CHANGED_AT,
        certificate: Buffer.from('other'),
      });
      await keys.put(changed, auditEvent({ at: CHANGED_AT }));
      const wanted = [
        { ...changed, addedAt: ADDED_AT, changedAt: CHANGED_AT },
        { ...keyNamed('A'), addedAt: ADDED_AT, changedAt: ADDED_AT },
        { ...keyNamed('B'), addedAt: ADDED_AT, changedAt: ADDED_AT },
      ];
      await assertHolds(keys, wanted);
      await assertHolds(await under.reopen(), wanted);
    });

    test('a key that was removed is gone, after another start too, and others stay in their order', async (under) => {
      const { keys } = under;
      for (const letter of ['A', 'B', 'C']) await keys.put(keyNamed(letter), auditEvent({ at: ADDED_AT }));
      assert.equal(await keys.remove('B'.repeat(40), auditEvent()), true);
      const rest = ['A', 'C'].map((letter) => ({
        ...keyNamed(letter),
        addedAt: ADDED_AT,
        changedAt: ADDED_AT,
      }));
      await assertHolds(keys, rest);
      assert.equal(await keys.find('B'.repeat(40)), null);
      assert.equal(await keys.remove('B'.repeat(40), auditEvent()), false);
      const again = await under.reopen();
      await assertHolds(again, rest);
      await again.put(keyNamed('B'), auditEvent({ at: CHANGED_AT }));
      await assertHolds(again, [...rest, { ...keyNamed('B'), addedAt: CHANGED_AT, changedAt: CHANGED_AT }]);
    });

    test('a key that is retired is so from the time of the event on, after another start too', async (under) => {
      const { keys } = under;
      for (const letter of ['A', 'B']) await keys.put(keyNamed(letter), auditEvent({ at: ADDED_AT }));
      const retire = (letter: string, isRetired: boolean) =>
        keys.setRetired(letter.repeat(40), isRetired, auditEvent({ at: CHANGED_AT }));
      assert.equal(await retire('A', false), false);
      assert.equal(await retire('A', true), true);
      assert.equal(await keys.setRetired('A'.repeat(40), true, auditEvent({ at: new Date() })), false);
      assert.equal(await retire('C', true), false);
      const other = { ...keyNamed('B'), addedAt: ADDED_AT, changedAt: ADDED_AT };
      const retired = { ...keyNamed('A'), addedAt: ADDED_AT, changedAt: ADDED_AT, retiredAt: CHANGED_AT };
      await assertHolds(keys, [retired, other]);
      await assertHolds(await under.reopen(), [retired, other]);
    });

    test('a key that an administrator revokes is so at once, after another start, and with a new certificate', async (under) => {
      let { keys } = under;
      for (const letter of ['A', 'B']) await keys.put(keyNamed(letter), auditEvent({ at: ADDED_AT }));
      const revoke = (more: Partial<RevokedByHand>, at = CHANGED_AT) =>
        keys.revoke(
          {
            fingerprint: 'A'.repeat(40),
            key: null,
            by: 'carol',
            reason: 'leaked',
            withdraws: false,
            ...more,
          },
          auditEvent({ at, action: 'key-revoke' }),
        );
      assert.equal(await revoke({ fingerprint: 'C'.repeat(40) }), false);
      assert.equal(await revoke({}), true);
      assert.equal(await revoke({ reason: 'again' }, new Date()), false, 'a second time changes nothing');
      const other = { ...keyNamed('B'), addedAt: ADDED_AT, changedAt: ADDED_AT };
      const [first] = await keys.list();
      const auditSeq = first?.revocation?.auditSeq ?? 0;
      assert.ok(auditSeq > 2);
      const revocation = {
        at: CHANGED_AT,
        by: 'carol',
        reason: 'leaked',
        auditSeq,
        withdraws: false,
        isInCertificate: false,
      };
      const key = { ...keyNamed('A'), addedAt: ADDED_AT, changedAt: ADDED_AT };
      await assertHolds(keys, [{ ...key, revokedAt: CHANGED_AT, revocation }, other]);
      keys = await under.reopen();
      await assertHolds(keys, [{ ...key, revokedAt: CHANGED_AT, revocation }, other]);
      // what comes later adds to it, and the time of the first one stays
      const later = new Date('2026-12-01T00:00:00.000Z');
      assert.equal(await revoke({ withdraws: true, by: 'dave', reason: 'all of it' }, later), true);
      const ordered = (await keys.find('A'.repeat(40)))?.revocation;
      assert.ok(ordered != null && ordered.auditSeq > auditSeq);
      assert.deepEqual(
        { ...ordered, auditSeq },
        { ...revocation, by: 'dave', reason: 'all of it', withdraws: true },
      );
      assert.equal(await revoke({}), false, 'an order to withdraw stays');
      const revokedAt = new Date('2026-11-01T00:00:00.000Z');
      const merged = keyNamed('A', { revokedAt, certificate: Buffer.from('revoked') });
      assert.equal(await revoke({ key: merged }, later), true);
      await assertHolds(keys, [
        { ...merged, addedAt: ADDED_AT, changedAt: later, revocation: { ...ordered, isInCertificate: true } },
        other,
      ]);
    });

    test('a retirement outlives a new certificate of the key, until it is ended', async ({ keys }) => {
      await keys.put(keyNamed('A'), auditEvent({ at: ADDED_AT }));
      await keys.setRetired('A'.repeat(40), true, auditEvent({ at: CHANGED_AT }));
      const certificate = Buffer.from('extended');
      const again = await keys.put(keyNamed('A', { certificate }), auditEvent({ at: CHANGED_AT }));
      assert.deepEqual(again.retiredAt, CHANGED_AT);
      assert.equal(await keys.setRetired('A'.repeat(40), false, auditEvent()), true);
      assert.equal((await keys.find('A'.repeat(40)))?.retiredAt, null);
    });

    test('a certificate that is a small part of a large buffer is kept as it is', async ({ keys }) => {
      const certificate = Buffer.alloc(100_000, 'ab').subarray(1001, 1011);
      const stored = await keys.put(keyNamed('A', { certificate }), auditEvent());
      assert.deepEqual(Buffer.from(stored.certificate), certificate);
    });

    test(`${atOnce} keys of 64 KiB put at once are all there, in that order`, async (under) => {
      const fingerprints = Array.from({ length: atOnce }, (_, n) =>
        n.toString(16).toUpperCase().padStart(40, '0'),
      );
      const certificate = Buffer.alloc(64 * 1024, 'c');
      await Promise.all(
        fingerprints.map((fingerprint) =>
          under.keys.put({ ...keyNamed('A'), fingerprint, certificate }, auditEvent()),
        ),
      );
      for (const keys of [under.keys, await under.reopen()]) {
        assert.deepEqual(
          (await keys.list()).map(({ fingerprint }) => fingerprint),
          fingerprints,
        );
        assert.ok((await keys.list()).every((key) => key.certificate.length === certificate.length));
      }
    });
  });
}
