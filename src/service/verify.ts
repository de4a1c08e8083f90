// Verifies signatures for a manifest and the name by which it is pulled, against keys that the user trusts. It works as
// skopeo standalone-verify (containers/image signature.VerifyDockerManifestSignature), but by the rules of uploads.
import { type ErrorCode, isLookasideError, LookasideError, type RefusalCode } from '../domain/errors.ts';
import type { Digest, ImageId } from '../domain/image.ts';
import type { KeyWarning } from '../domain/key.ts';
import { MAX_SIGNATURES_PER_IMAGE } from '../domain/limits.ts';
import type { CleanedCertificate, Clock, Verifier } from '../domain/ports.ts';
import { type DockerReference, formatReference, parseReference } from '../domain/reference.ts';
import type { ServedSignatures } from '../domain/remote.ts';
import type { Claim, Judgement } from '../domain/verdict.ts';

/** A file, or a signature from a server. Nothing in it is trusted. */
export interface UntrustedSignature {
  /** As people name it. */
  readonly source: string;
  readonly bytes: Uint8Array;
}

export interface VerifyQuestion {
  /** Digest of the manifest. */
  readonly digest: Digest;
  /** The reference that the signature must name, including the tag. */
  readonly reference: DockerReference;
  /** Fingerprints of the primary keys or subkeys that may have made it, upper-case hex; null: any trusted key. */
  readonly fingerprints: ReadonlySet<string> | null;
  readonly keysFrom: 'keyring' | 'server';
}

export interface VerifyRefusal {
  /** REFERENCE_MISMATCH: good, but for another name. BUSY: its verification could not be completed. */
  readonly code: RefusalCode | 'REFERENCE_MISMATCH' | 'BUSY';
  readonly message: string;
}

/** One signature. What it says about itself is set only when one of the keys has signed it. */
export interface CheckedSignature {
  readonly source: string;
  /** Null: accepted. */
  readonly refusal: VerifyRefusal | null;
  /** Fingerprint of the primary key. This and all later fields are null unless the verdict is good. */
  readonly fingerprint: string | null;
  readonly signingFingerprint: string | null;
  readonly signedAt: Date | null;
  /** Null also when it never expires. */
  readonly expiresAt: Date | null;
  /** `sha256:<hex>`. */
  readonly manifestDigest: string | null;
  readonly dockerReference: string | null;
}

export interface VerifyOptions {
  readonly verifier: Pick<Verifier, 'examine'>;
  readonly clock: Pick<Clock, 'now'>;
}

/**
 * The results are in the order of `untrusted`; each signature is verified, whatever happens with another. @throws what
 * `untrusted` throws
 */
export async function verifySignatures(
  { verifier, clock }: VerifyOptions,
  question: VerifyQuestion,
  untrusted: AsyncIterable<UntrustedSignature> | Iterable<UntrustedSignature>,
): Promise<readonly CheckedSignature[]> {
  const checked: CheckedSignature[] = [];
  for await (const { source, bytes } of untrusted) {
    try {
      checked.push(check(source, await verifier.examine(bytes, clock.now(), 'upload'), question));
    } catch (error) {
      if (!isLookasideError(error, 'BUSY')) throw error;
      checked.push(unjudged(source, error.message));
    }
  }
  return checked;
}

/** The result for a signature that takes longer than the verifier allows, or crashes the verifier's thread. */
function unjudged(source: string, message: string): CheckedSignature {
  return {
    source,
    refusal: { code: 'BUSY', message },
    fingerprint: null,
    signingFingerprint: null,
    signedAt: null,
    expiresAt: null,
    manifestDigest: null,
    dockerReference: null,
  };
}

function check(source: string, judgement: Judgement, question: VerifyQuestion): CheckedSignature {
  const { claim } = judgement;
  return {
    source,
    refusal: refusalOf(judgement, question),
    fingerprint: judgement.fingerprint,
    signingFingerprint: judgement.signingFingerprint,
    signedAt: judgement.signedAt,
    expiresAt: judgement.expiresAt,
    manifestDigest: claim === null ? null : `${claim.algorithm}:${claim.hex}`,
    dockerReference: claim?.dockerReference ?? null,
  };
}

function refusalOf(judgement: Judgement, question: VerifyQuestion): VerifyRefusal | null {
  const { verdict, refusal, claim, issuer } = judgement;
  if (verdict === 'no-key' && question.keysFrom === 'keyring') return notInKeyring(issuer);
  if (refusal !== null) return refusal;
  if (verdict !== 'good' || claim === null) throw new Error(`the verdict ${verdict} without a refusal`);
  return (
    refuseSigner(judgement, question) ?? refuseDigest(claim, question) ?? refuseReference(claim, question)
  );
}

function notInKeyring(issuer: string | null): VerifyRefusal {
  return {
    code: 'KEY_UNKNOWN',
    message:
      issuer === null
        ? 'the signature names no key, and no key of the keyring has made it. Name a file with the key of the signer: --keyring FILE'
        : `the signature names the key ${issuer}, which the keyring does not hold. Check that it is the signer's, then name a file with it: --keyring FILE`,
  };
}

function refuseSigner(
  { fingerprint, signingFingerprint }: Judgement,
  { fingerprints }: VerifyQuestion,
): VerifyRefusal | null {
  if (fingerprints === null) return null;
  if ([fingerprint, signingFingerprint].some((one) => one !== null && fingerprints.has(one))) return null;
  return {
    code: 'KEY_UNKNOWN',
    message: `the signature is by the key ${fingerprint}, expected ${[...fingerprints].join(' or ')}. Ask its signer for one, or name that key too if you trust it`,
  };
}

function refuseDigest({ algorithm, hex }: Claim, { digest }: VerifyQuestion): VerifyRefusal | null {
  if (algorithm === digest.algorithm && hex === digest.hex) return null;
  return {
    code: 'DIGEST_MISMATCH',
    message: `the signature is for the manifest ${algorithm}:${hex}, this one is ${digest.algorithm}:${digest.hex}. An image list and each of its images have manifests and signatures of their own`,
  };
}

function refuseReference({ dockerReference }: Claim, { reference }: VerifyQuestion): VerifyRefusal | null {
  const signed = parseReference(dockerReference);
  const expected = formatReference(reference);
  if (signed !== null && formatReference(signed) === expected) return null;
  return {
    code: 'REFERENCE_MISMATCH',
    message: `the signature names ${dockerReference}, expected ${expected}. Verify with the name that was signed if that is what you pull, or sign this one`,
  };
}

// --- where signatures and keys come from

/**
 * The signatures of the first of these images that has any, as clients that pull it get them: up to the first missing number.
 */
export async function* signaturesOf(
  server: ServedSignatures,
  images: readonly ImageId[],
): AsyncGenerator<UntrustedSignature> {
  for (const image of images) {
    let number = 1;
    for (; number <= MAX_SIGNATURES_PER_IMAGE; number += 1) {
      const bytes = await server.signature(image, number);
      if (bytes === null) break;
      yield { source: `signature-${number}`, bytes };
    }
    if (number > 1) return;
  }
}

/** Keys of one file or one server. */
export interface UntrustedKeys {
  /** As people name it. */
  readonly source: string;
  /** Each as `gpg --export` writes one or many keys, armoured or not. No key is in two of them. */
  readonly certificates: readonly Uint8Array[];
}

export interface RefusedKey {
  readonly source: string;
  /** Null when it is unreadable before its fingerprint is known. */
  readonly fingerprint: string | null;
  readonly code: ErrorCode;
  readonly message: string;
}

export interface SourceWarning extends KeyWarning {
  readonly source: string;
}

export interface TrustedKeys {
  /** Fingerprints of the keys and their subkeys. */
  readonly fingerprints: ReadonlySet<string>;
  readonly refused: readonly RefusedKey[];
  readonly warnings: readonly SourceWarning[];
}

export interface TrustOptions {
  readonly verifier: Pick<Verifier, 'cleanCertificates' | 'setKeyring'>;
  readonly clock: Pick<Clock, 'now'>;
}

/**
 * Makes these keys the keyring for verification. Returns which keys were refused, and warnings about how clients treat the
 * others. Copies of one key in several sources are merged. @throws LookasideError CONFIG_INVALID when no key is left, BUSY
 */
export async function trustKeys(
  { verifier, clock }: TrustOptions,
  sources: readonly UntrustedKeys[],
): Promise<TrustedKeys> {
  const trusted = new Map<string, Uint8Array>();
  const fingerprints = new Set<string>();
  const refused: RefusedKey[] = [];
  const warnings = new Map<string, SourceWarning>();
  for (const { source, certificates } of sources) {
    for (const bytes of certificates) {
      for (const result of await cleaned(verifier, bytes, clock.now())) {
        if (result.kind === 'refused') {
          refused.push(leftOut(source, result));
          continue;
        }
        const { fingerprint, subkeys } = result.details;
        trusted.set(fingerprint, result.certificate);
        for (const part of [fingerprint, ...subkeys.map((subkey) => subkey.fingerprint)])
          fingerprints.add(part);
        // what is said of a file is said with each of its keys
        for (const warning of result.warnings) {
          warnings.set(`${source}\n${warning.message}`, { source, ...warning });
        }
      }
    }
    verifier.setKeyring([...trusted.values()]); // so that copies of the same keys in the next source are merged with these
  }
  if (trusted.size > 0) return { fingerprints, refused, warnings: [...warnings.values()] };
  const [first] = refused;
  const why = first === undefined ? 'none is there' : `${first.source}: ${first.message}`;
  throw new LookasideError('CONFIG_INVALID', `there is no key to verify with: ${why}`);
}

/**
 * The fingerprint that each name means: itself, or that of the trusted key or subkey with this ID. An ID of none stays as it is,
 * and is no signer's. @throws LookasideError CONFIG_INVALID for the ID of several
 */
export function namedSigners(
  names: readonly string[],
  { fingerprints }: Pick<TrustedKeys, 'fingerprints'>,
): ReadonlySet<string> {
  return new Set(
    names.map((name) => {
      const [one, another] = [...fingerprints].filter((fingerprint) => fingerprint.endsWith(name));
      if (one === undefined || another === undefined) return one ?? name;
      throw new LookasideError(
        'CONFIG_INVALID',
        `several keys have the ID ${name}; wanted the fingerprint of one: ${one} or ${another}`,
      );
    }),
  );
}

function leftOut(
  source: string,
  { fingerprint, code, message }: Extract<CleanedCertificate, { kind: 'refused' }>,
): RefusedKey {
  return { source, fingerprint, code, message };
}

/** A file without any certificate counts as one refused certificate. */
async function cleaned(
  verifier: Pick<Verifier, 'cleanCertificates'>,
  bytes: Uint8Array,
  now: Date,
): Promise<readonly CleanedCertificate[]> {
  try {
    return await verifier.cleanCertificates(bytes, now);
  } catch (error) {
    if (!isLookasideError(error, 'REQUEST_INVALID') && !isLookasideError(error, 'TOO_LARGE')) throw error;
    return [{ kind: 'refused', fingerprint: null, code: error.code, message: error.message }];
  }
}
