// Each row was tried with sqop 0.27 and with golang.org/x/crypto and ProtonMail's go-crypto, or stands in
// docs/clients-and-keys.md with its source.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { KeyPart, KeyWarning, RegisteredKey } from '../../src/domain/key.ts';
import {
  type JudgedSignature,
  readerDifferences,
  SIGNATURE_READERS,
  type SignatureReaderName,
  textOfDifference,
} from '../../src/domain/signature-readers.ts';
import { stateOf } from '../../src/domain/state.ts';
import type { Obstacle } from '../../src/domain/verdict.ts';

const [PRIMARY, SUBKEY] = ['A'.repeat(40), 'B'.repeat(40)];
const day = (text: string) => new Date(`${text}T00:00:00Z`);
const [BEFORE, SIGNED, AFTER, NOW] = ['2025-01-15', '2025-02-01', '2025-03-01', '2026-11-01'].map(day) as [
  Date,
  Date,
  Date,
  Date,
];
const part = (fingerprint: string, changes: Partial<KeyPart> = {}): KeyPart => ({
  fingerprint,
  algorithm: 'rsa2048',
  createdAt: day('2025-01-01'),
  expiresAt: null,
  revokedAt: null,
  canSign: true,
  ...changes,
});
const keyOf = (changes: Partial<RegisteredKey> = {}): RegisteredKey => ({
  ...part(PRIMARY),
  userIds: [],
  subkeys: [],
  addedAt: BEFORE,
  changedAt: BEFORE,
  retiredAt: null,
  certificate: new Uint8Array(),
  ...changes,
});
const good = {
  verdict: 'good',
  form: 'binary',
  signedAt: SIGNED,
  expiresAt: null,
  signingFingerprint: PRIMARY,
  image: { layout: 'repository' },
  dockerReference: 'r.example/team/app:v1',
  number: 1,
} as const;
const traits = (...obstacles: Obstacle[]) => ({ signedSha256: '0'.repeat(64), digestBits: 256, obstacles });

interface Case {
  readonly key?: Partial<RegisteredKey> | null;
  readonly signature?: Partial<JudgedSignature & { readonly expiresAt: Date | null }>;
  readonly reason?: string;
  readonly warnings?: readonly KeyWarning[];
}

/** `+`: accepts, `-`: refuses, `?`: unsure; only those who decide otherwise than gpg. */
function differences({ key = {}, signature = {}, reason = 'superseded', warnings = [] }: Case): string {
  const registered = key === null ? null : keyOf(key);
  const { expiresAt, ...judged } = { ...good, traits: traits(), ...signature };
  const state = stateOf({ ...judged, expiresAt }, registered, NOW);
  const differences = readerDifferences(
    { state, key: registered, ...judged },
    {
      warnings: () => warnings,
      uses: () =>
        [PRIMARY, SUBKEY].map((fingerprint) => ({ fingerprint, uses: [], revocationReason: reason })),
    },
  );
  return differences
    .map(({ reader, accepts }) => `${accepts === null ? '?' : accepts ? '+' : '-'}${reader}`)
    .join(' ');
}

const sha1: KeyWarning = { code: 'BOUND_BY_SHA1', message: 'by SHA-1' };
const bySubkey = { signingFingerprint: SUBKEY };
const release = { image: { layout: 'release' as const } };
const admin = { at: AFTER, by: 'a', reason: 'r', auditSeq: 1, withdraws: false, isInCertificate: false };

test('readers that decide otherwise than gpg are named, and no others', () => {
  const cases: readonly [string, Case, string][] = [
    ['a plain one', {}, ''],
    ['an expired key', { key: { expiresAt: AFTER } }, '+sequoia +go-before-2026-07'],
    ['revoked as superseded, later', { key: { revokedAt: AFTER } }, '+sequoia'],
    ['revoked as compromised', { key: { revokedAt: AFTER }, reason: 'compromised' }, ''],
    ['revoked without a reason', { key: { revokedAt: AFTER }, reason: 'none given' }, ''],
    ['revoked before it signed', { key: { revokedAt: BEFORE } }, ''],
    ['revoked by an administrator alone', { key: { revokedAt: AFTER, revocation: admin } }, ''],
    ['revoked later, and expired before it signed', { key: { revokedAt: AFTER, expiresAt: BEFORE } }, ''],
    ['a subkey', { key: { subkeys: [part(SUBKEY)] }, signature: bySubkey }, '-before-2025-08'],
    [
      'an expired subkey',
      { key: { subkeys: [part(SUBKEY, { expiresAt: AFTER })] }, signature: bySubkey },
      '+sequoia +go-before-2026-07',
    ],
    [
      'a subkey revoked as superseded',
      { key: { subkeys: [part(SUBKEY, { revokedAt: AFTER })] }, signature: bySubkey },
      '+sequoia',
    ],
    ['Ed25519', { key: { algorithm: 'ed25519' } }, '-go-before-2026-07'],
    ['an expired key with Ed25519', { key: { algorithm: 'ed25519', expiresAt: AFTER } }, '+sequoia'],
    ['DSA', { key: { algorithm: 'dsa2048', subkeys: [part(SUBKEY, { algorithm: 'elgamal2048' })] } }, ''],
    ['RSA with ElGamal', { key: { subkeys: [part(SUBKEY, { algorithm: 'elg2048' })] } }, ''],
    ['a NIST curve', { key: { algorithm: 'nistp256' } }, ''],
    ['a key bound by SHA-1', { warnings: [sha1] }, '-sequoia'],
    ['an expired key bound by SHA-1', { warnings: [sha1], key: { expiresAt: AFTER } }, '+go-before-2026-07'],
    ['version 3', { signature: { traits: traits('version-3') } }, '-go-since-2026-07'],
    ['other parts', { signature: { traits: traits('wrapping') } }, '?go-before-2026-07 ?go-since-2026-07'],
    ['clear-signed', { signature: { form: 'tagged-cleartext' } }, '-go-before-2026-07 -go-since-2026-07'],
    ['an expired signature', { signature: { expiresAt: AFTER }, key: { algorithm: 'ed25519' } }, ''],
    ['a release', { signature: release }, ''],
    ['the second of a release', { signature: { ...release, number: 2 } }, '?openshift'],
    ['the tenth of a release', { signature: { ...release, number: 10 } }, '-openshift'],
    [
      'a release of Ed25519',
      { signature: release, key: { algorithm: 'ed25519' } },
      '-go-before-2026-07 -openshift',
    ],
    ['a tagged release', { signature: { ...release, form: 'tagged' } }, '-openshift'],
    ['a payload with more', { signature: { ...release, traits: traits('payload') } }, '-openshift'],
    [
      'a release by an expired key',
      { signature: release, key: { expiresAt: AFTER } },
      '+sequoia +go-before-2026-07 +openshift',
    ],
    ['a tag with a dot', { signature: { dockerReference: 'r.example/team/app:v1.0' } }, '-flatpak'],
    [
      'a tag with a dot and a digest',
      { signature: { dockerReference: `r.example/app:1.0@sha256:${'a'.repeat(64)}` } },
      '-flatpak',
    ],
    ['no tag, and dots in the name', { signature: { dockerReference: 'r.example:5000/team.a/app' } }, ''],
    [
      'a release with a dot in its tag',
      { signature: { ...release, dockerReference: 'q.example/release:4.18.3' } },
      '',
    ],
    [
      'a tag with a dot by an expired key',
      { signature: { dockerReference: 'r.example/app:1.0' }, key: { expiresAt: AFTER } },
      '+sequoia +go-before-2026-07',
    ],
    ['post-quantum', { signature: { verdict: 'unsupported' }, key: null }, '?sequoia ?go-since-2026-07'],
    ['of cosign', { signature: { verdict: 'unsupported', form: 'cosign' }, key: null }, ''],
    ['by an unknown key', { key: null }, ''],
    ['a bad one', { signature: { verdict: 'bad' } }, ''],
  ];
  for (const [what, given, expected] of cases) assert.equal(differences(given), expected, what);
});

test('each difference is a sentence, also of a reader that a newer server names', () => {
  for (const reader of [...SIGNATURE_READERS, 'tomorrow' as SignatureReaderName]) {
    assert.match(textOfDifference({ reader, accepts: false, because: 'x' }), / refuses? it, because x$/);
  }
});
