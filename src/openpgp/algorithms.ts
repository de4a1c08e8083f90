// Which algorithms are accepted: those that today's clients verify (GnuPG 2.2) and that nobody can forge.
import type { Refusal, Verdict } from '../domain/verdict.ts';
import { MIN_RSA_BITS, type UnusableKey } from './public-key.ts';
import { KEY_ALGORITHM, type ReadSignature, type UnsupportedSignature } from './signature-packet.ts';

export interface AlgorithmRefusal {
  readonly verdict: Extract<Verdict, 'bad' | 'unsupported'>;
  readonly refusal: Refusal;
}

const WEAK_HASHES: ReadonlyMap<number, string> = new Map([
  [1, 'MD5'],
  [2, 'SHA-1'],
  [3, 'RIPEMD-160'],
]);

const SHA224 = 11;
/** The hashes accepted in signatures over documents: SHA-256, SHA-384, SHA-512 and SHA-224. */
const DOCUMENT_HASHES: readonly number[] = [8, 9, 10, SHA224];

const RSA: readonly number[] = [KEY_ALGORITHM.rsa, KEY_ALGORITHM.rsaSign];

/** Why the signature's own algorithms are refused, whatever its key is; null when they are accepted. */
export function refuseAlgorithms(signature: ReadSignature | UnsupportedSignature): AlgorithmRefusal | null {
  if (signature.kind === 'unsupported') {
    return unsupported(`the signature has version ${signature.version}, which today's GnuPG cannot read`);
  }
  const { version, keyAlgorithm, hashAlgorithm, numbers } = signature;
  const weakHash = WEAK_HASHES.get(hashAlgorithm);
  if (weakHash !== undefined) return weak(`the signature is over a ${weakHash} hash, which can be forged`);
  if (keyAlgorithm === KEY_ALGORITHM.dsa) return weak('the signature is made by a DSA key');
  if (!DOCUMENT_HASHES.includes(hashAlgorithm))
    return unsupported(`the signature has the hash algorithm ${hashAlgorithm}`);
  if (numbers === null || (version === 3 && !RSA.includes(keyAlgorithm))) {
    return unsupported(`the signature has version ${version} and the key algorithm ${keyAlgorithm}`);
  }
  // RFC 9580, section 5.2.3.3: readers refuse EdDSA over less than 256 bits; OpenPGP.js does, gpg does not yet
  if (keyAlgorithm === KEY_ALGORITHM.eddsa && hashAlgorithm === SHA224) {
    return unsupported('the signature is by EdDSA over a SHA-224 hash, which RFC 9580 forbids');
  }
  const longest = Math.max(...numbers.map(({ length }) => length * 8));
  if (keyAlgorithm === KEY_ALGORITHM.eddsa && longest > 256) return unsupported('the signature is by Ed448');
  return null;
}

/** The same for a signature by an unknown key: its size shows an RSA key that is too short to be registered. */
export function refuseShortRsa({ keyAlgorithm, numbers }: ReadSignature): AlgorithmRefusal | null {
  const bits = (numbers?.[0]?.length ?? 0) * 8;
  // only one in 2^80 signatures by a 2048-bit key is that short
  if (!RSA.includes(keyAlgorithm) || bits >= MIN_RSA_BITS - 80) return null;
  return weak(`the signature is made by an RSA key of about ${bits} bits`);
}

/** What is wrong with the key itself. */
export function refuseUnusableKey({ code, why }: UnusableKey): AlgorithmRefusal {
  if (code === 'ALGORITHM_UNSUPPORTED') return unsupported(`the key ${why}`);
  return { verdict: 'bad', refusal: { code, message: `the key ${why}. ${EXPECTED}` } };
}

const EXPECTED =
  'Expected RSA of 2048 to 8192 bits, Ed25519 (EdDSA) or ECDSA on P-256, P-384 or P-521, with SHA-256, SHA-384 or SHA-512 (ECDSA: not shorter than its curve), or RSA with SHA-224, in a version 4 signature';

function weak(what: string): AlgorithmRefusal {
  return { verdict: 'bad', refusal: { code: 'ALGORITHM_WEAK', message: `${what}. ${EXPECTED}` } };
}

export function unsupported(what: string): AlgorithmRefusal {
  return {
    verdict: 'unsupported',
    refusal: { code: 'ALGORITHM_UNSUPPORTED', message: `${what}. ${EXPECTED}` },
  };
}
