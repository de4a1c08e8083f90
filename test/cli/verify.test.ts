import assert from 'node:assert/strict';
import { test } from 'node:test';
import { exitCodeFor, formatVerification } from '../../src/cli/verify.ts';
import type { CheckedSignature } from '../../src/service/verify.ts';

const PRIMARY = 'A'.repeat(40);
const SUBKEY = 'B'.repeat(40);

const good: CheckedSignature = {
  source: 'signature-2',
  refusal: null,
  fingerprint: PRIMARY,
  signingFingerprint: SUBKEY,
  signedAt: new Date('2026-11-22T09:00:00Z'),
  expiresAt: null,
  manifestDigest: 'sha256:00',
  dockerReference: 'registry.example/app:v1',
};
const bad: CheckedSignature = {
  source: 'evil\u001b[2J.signature',
  refusal: { code: 'SIGNATURE_BAD', message: 'it was changed' },
  fingerprint: null,
  signingFingerprint: null,
  signedAt: null,
  expiresAt: null,
  manifestDigest: null,
  dockerReference: null,
};
const question = { dockerReference: 'registry.example/app:v1', manifestDigest: 'sha256:00' };

test('the last line of a verification is skopeo’s, with the primary key of a subkey that signed', () => {
  assert.deepEqual(
    formatVerification({
      ...question,
      accepted: true,
      signatures: [bad, good],
      refusedKeys: [],
      keyWarnings: [],
    }).split('\n'),
    [
      'evil\\u001b[2J.signature: SIGNATURE_BAD: it was changed',
      `signature-2: accepted; by ${PRIMARY} (subkey ${SUBKEY}), signed 2026-11-22T09:00:00.000Z, for registry.example/app:v1`,
      `Signature verified using fingerprint ${PRIMARY}, digest sha256:00`,
    ],
  );
});

test('whether any is accepted is unknown only when none could be looked at to its end', () => {
  const stuck: CheckedSignature = { ...bad, refusal: { code: 'BUSY', message: 'it took too long' } };
  assert.equal(exitCodeFor({ accepted: true, signatures: [stuck, good] }), 0);
  assert.equal(exitCodeFor({ accepted: false, signatures: [stuck, bad] }), 1);
  assert.equal(exitCodeFor({ accepted: false, signatures: [] }), 1);
  assert.equal(exitCodeFor({ accepted: false, signatures: [stuck] }), 2);
});

test('keys that could not be used are told ahead of what is not verified without them', () => {
  const keyWarnings = [{ source: 'old.gpg', code: 'BOUND_BY_SHA1' as const, message: 'it is old' }];
  const refusedKeys = [
    { source: 'old.gpg', fingerprint: PRIMARY, code: 'ALGORITHM_WEAK', message: 'it is weak' },
  ] as const;
  assert.deepEqual(
    formatVerification({ ...question, accepted: false, signatures: [], refusedKeys, keyWarnings }).split(
      '\n',
    ),
    [
      'key not used: old.gpg: ALGORITHM_WEAK: it is weak',
      'warning: old.gpg: BOUND_BY_SHA1: it is old',
      'Not verified: there is no signature for registry.example/app:v1, digest sha256:00',
    ],
  );
});
