// What every KeyStore promises, run over each implementation.
import assert from 'node:assert/strict';
import { describe } from 'node:test';
import type { KeyDetails, KeyPart } from '../../src/domain/key.ts';
import type { KeyStore } from '../../src/domain/ports.ts';
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

export function keyNamed(letter: string, told: Partial<NewKey> = {}): NewKey {
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
    ...told,
  };
}

async function assertHolds(
  store: KeyStore,
  wanted: readonly (NewKey & { addedAt: Date; changedAt: Date })[],
): Promise<void> {
  const plain = <T extends NewKey>(keys: readonly T[]) =>
    keys.map((key) => ({ ...key, certificate: Buffer.from(key.certificate) }));
  assert.deepEqual(plain(await store.list()), plain(wanted));
  for (const key of wanted) {
    const found = await store.find(key.fingerprint);
    assert.ok(found !== null);
    assert.deepEqual(plain([found]), plain([key]));
  }
}

export function keyStoreContract(name: string, open: () => Promise<KeyStoreUnderTest>): void {
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

    test('a certificate that is a small part of a large buffer is kept as it is', async ({ keys }) => {
      const certificate = Buffer.alloc(100_000, 'ab').subarray(1001, 1011);
      const stored = await keys.put(keyNamed('A', { certificate }), auditEvent());
      assert.deepEqual(Buffer.from(stored.certificate), certificate);
    });

    test('250 keys of 64 KiB put at once are all there, in that order', async (under) => {
      const fingerprints = Array.from({ length: 250 }, (_, n) =>
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
