// What OpenShift's readers make of a signature where it lies.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { KeyPart } from '../../src/domain/key.ts';
import { type PlacedSignature, readerWarnings } from '../../src/domain/release-readers.ts';

const [PRIMARY, SUBKEY] = ['A'.repeat(40), 'B'.repeat(40)];

const part = (fingerprint: string, algorithm: string): KeyPart => ({
  fingerprint,
  algorithm,
  createdAt: new Date(0),
  expiresAt: null,
  revokedAt: null,
  canSign: true,
});

function placed(
  layout: 'release' | 'repository',
  number: number,
  algorithm: string,
  subkey: string | null = null,
): PlacedSignature {
  const subkeys = subkey === null ? [] : [part(SUBKEY, subkey)];
  return {
    image: { layout },
    number,
    signingFingerprint: PRIMARY,
    key: { ...part(PRIMARY, algorithm), subkeys },
  };
}

test('a signature is warned of where a reader of OpenShift passes it over, and nowhere else', () => {
  const cases: readonly [PlacedSignature, readonly string[]][] = [
    [placed('release', 1, 'rsa4096'), []],
    [placed('release', 1, 'rsa4096', 'rsa2048'), []],
    [placed('release', 1, 'ed25519'), ['OPENSHIFT_KEY']],
    [placed('release', 1, 'nistp256'), ['OPENSHIFT_KEY']],
    [placed('release', 1, 'rsa4096', 'ed25519'), ['OPENSHIFT_KEY']],
    [placed('release', 2, 'rsa4096'), ['NOT_THE_FIRST']],
    [placed('release', 9, 'ed25519'), ['NOT_THE_FIRST', 'OPENSHIFT_KEY']],
    [placed('release', 10, 'rsa4096'), ['OVER_NINE', 'NOT_THE_FIRST']],
    [{ ...placed('release', 1, 'ed25519'), key: null }, []],
    [placed('repository', 1, 'ed25519'), []],
    [placed('repository', 9, 'rsa4096'), []],
    [placed('repository', 10, 'rsa4096'), ['OVER_NINE']],
  ];
  for (const [signature, codes] of cases) {
    assert.deepEqual(
      readerWarnings(signature).map(({ code }) => code),
      codes,
      JSON.stringify(signature),
    );
  }
});

test('the first of a release by another key than RSA is told to stand in the way of oc-mirror', () => {
  const [first] = readerWarnings(placed('release', 1, 'ed25519'));
  assert.match(
    first?.message ?? '',
    /is or holds ed25519, .* oc-mirror reads no other signature than this first one\. Sign releases/,
  );
  const second = readerWarnings(placed('release', 2, 'ed25519')).at(-1);
  assert.doesNotMatch(second?.message ?? '', /only one/);
});
