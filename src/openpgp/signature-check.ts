// The only check of whether a key has made a signature over some data, for documents and certificates alike; and what
// such checks may cost where strangers decide how many there are.
import { createHash, type Hash, hash } from 'node:crypto';
import { LookasideError } from '../domain/errors.ts';
import { uint16 } from './fields.ts';
import { HASHES, type HashName, hashedKey, type PublicKey } from './public-key.ts';
import type { ReadSignature } from './signature-packet.ts';

/** What a signature covers, without its own fields, which are hashed after this. */
export interface SignedData {
  readonly sizeBytes: number;
  digest(hash: HashName, trailer: Uint8Array): Buffer;
  whole(trailer: Uint8Array): Uint8Array;
}

export function signedContent(content: Uint8Array): SignedData {
  return signedData([content]);
}

/** A key by itself: direct-key signatures and revocations. */
export function signedKey(key: Uint8Array): SignedData {
  return signedData(hashedKey(key));
}

export function signedUserId(key: Uint8Array, userId: Uint8Array): SignedData {
  const { length } = userId;
  return signedData([...hashedKey(key), Uint8Array.of(0xb4), uint16(length >>> 16), uint16(length), userId]);
}

export function signedSubkey(key: Uint8Array, subkey: Uint8Array): SignedData {
  return signedData([...hashedKey(key), ...hashedKey(subkey)]);
}

/** Larger data is hashed once for all signatures over it. Smaller data is hashed anew: that costs less than bookkeeping. */
const SMALL_BYTES = 2048;

function signedData(chunks: readonly Uint8Array[]): SignedData {
  const data = Buffer.concat(chunks);
  const states = new Map<HashName, Hash>();
  const stateOf = (name: HashName): Hash => {
    const state = states.get(name) ?? createHash(name).update(data);
    states.set(name, state);
    return state;
  };
  const whole = (trailer: Uint8Array) => Buffer.concat([data, trailer]);
  return {
    whole,
    sizeBytes: data.length,
    digest: (name, trailer) =>
      data.length <= SMALL_BYTES
        ? hash(name, whole(trailer), 'buffer')
        : stateOf(name).copy().update(trailer).digest(),
  };
}

/** What is hashed after the data: RFC 9580, section 5.2.4, and for version 3 RFC 4880, section 5.2.4. */
function trailerOf({ version, hashedPart }: ReadSignature): Uint8Array {
  if (version === 3) return hashedPart;
  const { length } = hashedPart;
  const trailer = Buffer.allocUnsafe(length + 6);
  trailer.set(hashedPart);
  trailer[length] = 4;
  trailer[length + 1] = 0xff;
  trailer.writeUInt32BE(length, length + 2);
  return trailer;
}

/**
 * Whether the key may have made the signature, judged by the sizes of its numbers and the first bytes of the digest. This
 * finds most forgeries by one hash; a check of the numbers costs as much as fifty.
 */
export function mayBeMadeBy(key: PublicKey, data: SignedData, signature: ReadSignature): boolean {
  const { numbers, keyAlgorithm, hashAlgorithm, digestStart } = signature;
  const name = HASHES.get(hashAlgorithm);
  if (name === undefined || keyAlgorithm !== key.keyAlgorithm) return false;
  if (numbers === null || !key.fits(numbers)) return false;
  const digest = data.digest(name, trailerOf(signature));
  return digest[0] === digestStart[0] && digest[1] === digestStart[1];
}

/** Whether the key has made the signature over the data: cryptography alone. */
export function isMadeBy(key: PublicKey, data: SignedData, signature: ReadSignature): boolean {
  const { numbers, hashAlgorithm } = signature;
  const name = HASHES.get(hashAlgorithm);
  if (name === undefined || numbers === null || !mayBeMadeBy(key, data, signature)) return false;
  const trailer = trailerOf(signature);
  const signed = { hash: name, digest: data.digest(name, trailer), content: () => data.whole(trailer) };
  return key.hasSigned(signed, numbers);
}

/** Whether the hash is as long as the key requires; gpg does not verify with shorter ones. */
export function isLongEnough(key: PublicKey, { hashAlgorithm }: ReadSignature): boolean {
  return (HASH_BYTES.get(hashAlgorithm) ?? 0) >= key.minHashBytes;
}

/** The size of the hash that was signed; 0 for a hash that we do not know. */
export function digestBitsOf({ hashAlgorithm }: ReadSignature): number {
  return 8 * (HASH_BYTES.get(hashAlgorithm) ?? 0);
}

const HASH_BYTES: ReadonlyMap<number, number> = new Map(
  [...HASHES].map(([number, name]) => [number, hash(name, '', 'buffer').length]),
);

/**
 * SHA-256, in hex, over the key and all that it vouches for. It is the same however the signature is written. The numbers
 * of the signature are not in it: from an ECDSA pair anybody can make a second pair for the same data.
 */
export function signedSha256(key: PublicKey, content: Uint8Array, signature: ReadSignature): string {
  const { version, hashAlgorithm, keyAlgorithm, hashedPart } = signature;
  return createHash('sha256')
    .update(key.fingerprintBytes)
    .update(Uint8Array.of(version, hashAlgorithm, keyAlgorithm))
    .update(uint16(hashedPart.length))
    .update(hashedPart)
    .update(content)
    .digest('hex');
}

/** Rations checks, so that no file makes us work for longer than we mean to. */
export interface Budget {
  /** Counts one more signature that may be the key's own. @throws LookasideError TOO_LARGE */
  consider(): void;
  /** Takes the cost of one check. @throws LookasideError TOO_LARGE */
  spend(microseconds: number): void;
  readonly left: number;
}

/** The most in one certificate. Twenty user IDs, renewed every month for twenty years, have 4,800. */
const MAX_CANDIDATES = 5000;

export function createBudget(microseconds: number): Budget {
  let left = microseconds;
  let candidates = 0;
  return {
    consider() {
      candidates += 1;
      if (candidates > MAX_CANDIDATES) throw poisoned();
    },
    spend(amount) {
      left -= amount;
      if (left < 0) throw poisoned();
    },
    get left() {
      return Math.max(left, 0);
    },
  };
}

/** For certificates that are already cleaned. */
export const UNLIMITED: Budget = { consider() {}, spend() {}, left: Number.POSITIVE_INFINITY };

// the whole certificate is refused: a revocation may be among what was not looked at
function poisoned(): LookasideError {
  return new LookasideError(
    'TOO_LARGE',
    'the certificate holds more signatures that may be its own than are checked for one key, so most are forged; have gpg drop those: gpg --import it, then gpg --export-options export-minimal --export FINGERPRINT',
  );
}
