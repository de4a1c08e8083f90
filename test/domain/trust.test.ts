import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { Grant } from '../../src/domain/grant.ts';
import type { ShownKey } from '../../src/domain/key.ts';
import { trustOf } from '../../src/domain/trust.ts';
import { FINGERPRINT, HEX, storedSignature, unvouched } from '../cli/stored.ts';

const OTHER = 'CD'.repeat(20);
const AT = new Date('2026-11-22T10:00:00Z');
const DIGEST = `sha256:${HEX}`;
const ALICE = { fingerprint: FINGERPRINT, keyId: FINGERPRINT.slice(-16), userId: 'Alice' };

const key: ShownKey = {
  fingerprint: FINGERPRINT,
  algorithm: 'ed25519',
  state: 'valid',
  canSign: true,
  createdAt: AT,
  expiresAt: null,
  revokedAt: null,
  retiredAt: null,
  revocation: null,
  userIds: ['Alice', 'A. Lice'],
  subkeys: [],
  addedAt: AT,
  changedAt: AT,
};

const signerOf = (name: string, disabledAt: Date | null = null) => {
  return { name, description: '', createdAt: AT, disabledAt };
};
const grantOf = (id: number, signer: string, more: Partial<Grant> = {}): Grant => {
  const all = { id, signer, repositories: ['team/*'], fingerprints: [FINGERPRINT], tags: [], createdAt: AT };
  return { ...all, ...more };
};

const NOTHING = { repository: 'team/app', signatures: [], keys: [key], signers: [], grants: [] };

describe('trust of a repository', () => {
  test('has each tag of each digest once, with all who signed it', () => {
    const { signed } = trustOf({
      ...NOTHING,
      signatures: [
        storedSignature(),
        storedSignature({ number: 2, fingerprint: OTHER, state: 'unknown-key' }),
        storedSignature({ number: 3, dockerReference: `registry.example/team/app@${DIGEST}` }),
        unvouched({ number: 4, state: 'bad' }),
      ],
      signers: [signerOf('ci')],
      grants: [grantOf(1, 'ci')],
    });
    const byAlice = { ...ALICE, state: 'verified', signers: ['ci'] };
    const byOther = {
      fingerprint: OTHER,
      keyId: OTHER.slice(-16),
      userId: null,
      state: 'unknown-key',
      signers: [],
    };
    assert.deepEqual(signed, [
      { site: 'default', tag: 'v1', digest: DIGEST, signatures: [byAlice, byOther] },
      { site: 'default', tag: null, digest: DIGEST, signatures: [byAlice] },
    ]);
  });

  test('names the signers with a grant that covers the repository, and no others', () => {
    const { signers } = trustOf({
      ...NOTHING,
      signers: [signerOf('ci'), signerOf('gone', AT), signerOf('elsewhere'), signerOf('none')],
      grants: [
        grantOf(1, 'ci'),
        grantOf(2, 'ci', { repositories: ['team/app'], fingerprints: [FINGERPRINT, OTHER] }),
        grantOf(3, 'gone'),
        grantOf(4, 'elsewhere', { repositories: ['team-evil/*'] }),
      ],
    });
    const alice = { ...ALICE, state: 'valid' };
    const other = { fingerprint: OTHER, keyId: OTHER.slice(-16), userId: null, state: null };
    assert.deepEqual(signers, [
      { name: 'ci', isDisabled: false, keys: [alice, other] },
      { name: 'gone', isDisabled: true, keys: [alice] },
    ]);
  });
});
