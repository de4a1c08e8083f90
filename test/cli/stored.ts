// A stored signature, as a server answers.
import type { StoredSignature } from '../../src/domain/stored-signature.ts';

export const HEX = '0123456789abcdef'.repeat(4);
export const FINGERPRINT = 'AB'.repeat(20);

export function storedSignature(changes: Partial<StoredSignature> = {}): StoredSignature {
  return {
    site: 'default',
    image: `team/app@sha256:${HEX}`,
    path: `/team/app@sha256=${HEX}/signature-1`,
    number: 1,
    state: 'verified',
    reason: null,
    form: 'binary',
    fingerprint: FINGERPRINT,
    signingFingerprint: FINGERPRINT,
    issuer: null,
    manifestDigest: `sha256:${HEX}`,
    dockerReference: 'registry.example/team/app:v1',
    creator: 'atomic 5.23.1',
    signedAt: new Date('2026-11-22T10:00:00Z'),
    expiresAt: null,
    storedAt: new Date('2026-11-22T10:00:01Z'),
    sizeBytes: 721,
    signatureSha256: HEX,
    uploader: 'alice',
    auditSeq: 17,
    remap: null,
    warnings: [],
    readers: [],
    ...changes,
  };
}

/** Nobody vouches for what such a one says of itself. */
export function unvouched(changes: Partial<StoredSignature> = {}): StoredSignature {
  return storedSignature({
    fingerprint: null,
    signingFingerprint: null,
    manifestDigest: null,
    dockerReference: null,
    creator: null,
    signedAt: null,
    ...changes,
  });
}
