// Judgements, keys and indexed signatures as tests of services want them.
import type { ImageId } from '../../src/domain/image.ts';
import type { RegisteredKey } from '../../src/domain/key.ts';
import type { IndexedSignature } from '../../src/domain/ports.ts';
import type { Judgement, Traits } from '../../src/domain/verdict.ts';

export const FINGERPRINT = 'A'.repeat(40);
export const SUBKEY = 'B'.repeat(40);
export const SIGNED_AT = new Date('2026-11-22T09:00:00.000Z');

export const TRAITS: Traits = { signedSha256: '5'.repeat(64), digestBits: 512, obstacles: [] };

/** What a good signature for the image is found to be; the docker-reference is registry.example/<path>:v1. */
export function goodFor(image: ImageId, changes: Partial<Judgement> = {}): Judgement {
  return {
    verdict: 'good',
    refusal: null,
    form: 'binary',
    issuer: FINGERPRINT,
    fingerprint: FINGERPRINT,
    signingFingerprint: FINGERPRINT,
    signedAt: SIGNED_AT,
    expiresAt: null,
    claim: {
      algorithm: image.algorithm,
      hex: image.hex,
      dockerReference: `registry.example/${image.path}:v1`,
      creator: 'test',
    },
    traits: TRAITS,
    judgeAgainAt: null,
    ...changes,
  };
}

/** What verification found wrong. */
export function refusedWith(
  code: NonNullable<Judgement['refusal']>['code'],
  verdict: Judgement['verdict'] = 'bad',
): Judgement {
  return {
    verdict,
    refusal: { code, message: `refused with ${code}` },
    form: 'binary',
    issuer: null,
    fingerprint: null,
    signingFingerprint: null,
    signedAt: null,
    expiresAt: null,
    claim: null,
    traits: null,
    judgeAgainAt: null,
  };
}

export function keyOf(changes: Partial<RegisteredKey> = {}): RegisteredKey {
  const part = {
    algorithm: 'ed25519',
    createdAt: new Date('2026-01-01T00:00:00.000Z'),
    expiresAt: null,
    revokedAt: null,
    canSign: true,
  };
  return {
    ...part,
    fingerprint: FINGERPRINT,
    userIds: ['Signer <signer@example.invalid>'],
    subkeys: [{ ...part, fingerprint: SUBKEY }],
    addedAt: new Date('2026-01-02T00:00:00.000Z'),
    changedAt: new Date('2026-01-02T00:00:00.000Z'),
    retiredAt: null,
    certificate: new Uint8Array([1]),
    ...changes,
  };
}

/** A row of the index for the judged signature. */
export function indexed(
  image: ImageId,
  number: number,
  judgement: Judgement,
  changes: Partial<IndexedSignature> = {},
): IndexedSignature {
  const {
    verdict,
    refusal,
    form,
    issuer,
    fingerprint,
    signingFingerprint,
    signedAt,
    expiresAt,
    claim,
    traits,
  } = judgement;
  return {
    id: number,
    image,
    number,
    servedNumber: number,
    sha256: String(number).padStart(64, '0'),
    sizeBytes: 500,
    storedAt: SIGNED_AT,
    verdict,
    reason: refusal?.code ?? null,
    form,
    issuer,
    fingerprint,
    signingFingerprint,
    signedAt,
    expiresAt,
    manifestDigest: claim === null ? null : `${claim.algorithm}:${claim.hex}`,
    dockerReference: claim?.dockerReference ?? null,
    creator: claim?.creator ?? null,
    traits,
    ...changes,
  };
}
