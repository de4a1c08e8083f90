// Which algorithms count: those that today's clients verify (GnuPG 2.2) and that nobody forges.
import type { Refusal, Verdict } from '../domain/verdict.ts';
import { KEY_ALGORITHM, type ReadSignature, type UnsupportedSignature } from './signature-packet.ts';

export interface AlgorithmRefusal {
  readonly verdict: Extract<Verdict, 'bad' | 'unsupported'>;
  readonly refusal: Refusal;
}

const MIN_RSA_BITS = 2048;
const MAX_RSA_BITS = 8192;

const WEAK_HASHES: ReadonlyMap<number, string> = new Map([
  [1, 'MD5'],
  [2, 'SHA-1'],
  [3, 'RIPEMD-160'],
]);

/** By OpenPGP's number, as node:crypto names them. */
export const HASHES: ReadonlyMap<number, string> = new Map([
  [8, 'sha256'],
  [9, 'sha384'],
  [10, 'sha512'],
]);

const RSA: readonly number[] = [KEY_ALGORITHM.rsa, KEY_ALGORITHM.rsaSign];
const CURVES: readonly string[] = ['nistP256', 'nistP384', 'nistP521', 'ed25519Legacy'];

/** Why the signature's own algorithms do not do, whatever its key; null when they do. */
export function refuseAlgorithms(signature: ReadSignature | UnsupportedSignature): AlgorithmRefusal | null {
  if ('unsupportedVersion' in signature) {
    return unsupported(
      `the signature has version ${signature.unsupportedVersion}, which today's GnuPG cannot read`,
    );
  }
  const { version, keyAlgorithm, hashAlgorithm, mpis } = signature;
  const weakHash = WEAK_HASHES.get(hashAlgorithm);
  if (weakHash !== undefined) return weak(`the signature is over a ${weakHash} hash, which can be forged`);
  if (keyAlgorithm === KEY_ALGORITHM.dsa) return weak('the signature is made by a DSA key');
  if (!HASHES.has(hashAlgorithm)) return unsupported(`the signature has the hash algorithm ${hashAlgorithm}`);
  if (mpis === null || (version === 3 && !RSA.includes(keyAlgorithm))) {
    return unsupported(`the signature has version ${version} and the key algorithm ${keyAlgorithm}`);
  }
  const longest = Math.max(...mpis.map(({ length }) => length * 8));
  if (keyAlgorithm === KEY_ALGORITHM.eddsa && longest > 256) return unsupported('the signature is by Ed448');
  return null;
}

/** The same of a signature whose key is not known: RSA keys that cannot be registered show in it. */
export function refuseShortRsa({ keyAlgorithm, mpis }: ReadSignature): AlgorithmRefusal | null {
  const bits = (mpis?.[0]?.length ?? 0) * 8;
  // of 2048-bit keys one signature in 2^80 is as short
  if (!RSA.includes(keyAlgorithm) || bits >= MIN_RSA_BITS - 80) return null;
  return weak(`the signature is made by an RSA key of about ${bits} bits`);
}

/** By OpenPGP.js' names: the shortest hash that gpg takes for ECDSA, in bytes (g10/seskey.c, encode_md_value). */
const MIN_HASH_BYTES: ReadonlyMap<string, number> = new Map([
  ['nistP256', 32],
  ['nistP384', 48],
  ['nistP521', 64],
]);

const HASH_BYTES: ReadonlyMap<number, number> = new Map([
  [8, 32],
  [9, 48],
  [10, 64],
]);

/** Why the hash does not go with the key; null when it does. */
export function refuseShortHash(
  { hashAlgorithm }: ReadSignature,
  { curve = '' }: KeyAlgorithm,
): AlgorithmRefusal | null {
  const wanted = MIN_HASH_BYTES.get(curve);
  const found = HASH_BYTES.get(hashAlgorithm) ?? 0;
  if (wanted === undefined || found >= wanted) return null;
  return unsupported(
    `the signature is over a hash of ${found * 8} bits by a key on ${curve}, for which gpg wants ${wanted * 8}`,
  );
}

/** What OpenPGP.js tells of a key. */
export interface KeyAlgorithm {
  readonly algorithm: string;
  readonly bits?: number;
  readonly curve?: string;
}

/** Why a key's algorithm does not do; null when it does. */
export function refuseKeyAlgorithm({ algorithm, bits, curve }: KeyAlgorithm): AlgorithmRefusal | null {
  switch (algorithm) {
    case 'rsaEncryptSign':
    case 'rsaSign':
      if (bits === undefined || bits < MIN_RSA_BITS) return weak(`the key is RSA with ${bits} bits`);
      return bits > MAX_RSA_BITS ? unsupported(`the key is RSA with ${bits} bits`) : null;
    case 'dsa':
      return weak('the key is DSA');
    case 'ecdsa':
    case 'eddsaLegacy':
      return curve !== undefined && CURVES.includes(curve)
        ? null
        : unsupported(`the key is of the curve ${curve}`);
    default:
      return unsupported(`the key is of the algorithm ${algorithm}`);
  }
}

const EXPECTED =
  'Expected RSA of 2048 to 8192 bits, Ed25519 (EdDSA) or ECDSA on P-256, P-384 or P-521, with SHA-256, SHA-384 or SHA-512, in a version 4 signature';

function weak(found: string): AlgorithmRefusal {
  return { verdict: 'bad', refusal: { code: 'ALGORITHM_WEAK', message: `${found}. ${EXPECTED}` } };
}

export function unsupported(found: string): AlgorithmRefusal {
  return {
    verdict: 'unsupported',
    refusal: { code: 'ALGORITHM_UNSUPPORTED', message: `${found}. ${EXPECTED}` },
  };
}
