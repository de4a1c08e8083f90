// What the parts of a certificate are for, and why they were revoked.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { openVerifier } from '../../src/openpgp/pool.ts';
import { certificate, makeKey, SIGNED_AT } from './packet-writer.ts';

const [key, subkey] = [makeKey('ed25519'), makeKey('ed25519')];

/** As it is kept once it was added. */
async function usesOf(options: Parameters<typeof certificate>[1]) {
  const verifier = openVerifier({ threads: 1 });
  try {
    const [cleaned] = await verifier.cleanCertificates(certificate(key, options), new Date());
    assert.ok(cleaned?.kind === 'clean', JSON.stringify(cleaned));
    return verifier.usesOf(cleaned.certificate);
  } finally {
    await verifier.close();
  }
}

test('a key says what it and its subkeys are for', async () => {
  const uses = await usesOf({ flags: 0x01, subkeys: [{ key: subkey, flags: 0x22 }] });
  assert.deepEqual(uses, [
    { fingerprint: key.fingerprint, uses: ['certify'], revocationReason: null },
    { fingerprint: subkey.fingerprint, uses: ['sign', 'authenticate'], revocationReason: null },
  ]);
});

test('a revocation says why, in words, of the key and of a subkey', async () => {
  const revoked = (reason: number) => ({ at: SIGNED_AT, reason });
  const reasons = async (reason: number) =>
    (await usesOf({ revoked: revoked(reason), subkeys: [{ key: subkey, revoked: revoked(1) }] })).map(
      ({ revocationReason }) => revocationReason,
    );
  assert.deepEqual(await reasons(2), ['compromised', 'superseded']);
  assert.deepEqual(await reasons(99), ['code 99', 'superseded']);
});
