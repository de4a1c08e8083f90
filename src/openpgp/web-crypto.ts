// Web Crypto as OpenPGP.js asks it in a verification thread. Node.js answers each call from the pool of threads that the process
// shares, behind the fsyncs of uploads. A verification thread has nothing else to do meanwhile, so it computes the answer itself.
import { createPublicKey, type JsonWebKey, type KeyObject, verify } from 'node:crypto';

/** What OpenPGP.js asks when it verifies; it looks at nothing of the key that it imports. */
export interface Subtle {
  importKey(...call: ImportCall): Promise<unknown>;
  verify(...call: VerifyCall): Promise<boolean>;
}

type ImportCall = readonly [
  format: string,
  key: unknown,
  algorithm: unknown,
  isExtractable: boolean,
  usages: readonly string[],
];
type VerifyCall = readonly [
  algorithm: unknown,
  key: unknown,
  signature: Uint8Array | ArrayBuffer,
  data: Uint8Array,
];

/** Stands for a CryptoKey. */
class KeyAtHand {
  readonly key: KeyObject;
  readonly call: ImportCall;

  constructor(key: KeyObject, call: ImportCall) {
    this.key = key;
    this.call = call;
  }
}

/** The same object for every caller: OpenPGP.js keeps hold of it. */
export function subtleOfThisThread(): Subtle {
  // the cast: its own types have one overload for each form of a key
  return globalThis.crypto.subtle as unknown as Subtle;
}

/** From now on what OpenPGP.js asks in this thread about signatures by public keys is answered at once. */
export function answerAtOnceInThisThread(): void {
  const subtle = subtleOfThisThread();
  const own = { importKey: subtle.importKey.bind(subtle), verify: subtle.verify.bind(subtle) };
  Object.assign(subtle, answeredAtOnce(own));
}

/**
 * The same answers as those of `subtle`, which still answers other calls. It also answers where node:crypto throws, so that what
 * is refused, and how, does not change.
 */
export function answeredAtOnce(subtle: Subtle): Subtle {
  return {
    async importKey(...call) {
      const [format, jwk, , , usages] = call;
      if (format !== 'jwk' || usages.length !== 1 || usages[0] !== 'verify') return subtle.importKey(...call);
      // the cast: node:crypto checks what is in it
      const key = orNull(() => createPublicKey({ key: jwk as JsonWebKey, format }));
      return key === null ? subtle.importKey(...call) : new KeyAtHand(key, call);
    },
    async verify(...call) {
      const [algorithm, held, signature, data] = call;
      if (!(held instanceof KeyAtHand)) return subtle.verify(...call);
      const hash = hashOf(algorithm, held.call[2]);
      const key = { key: held.key, dsaEncoding: 'ieee-p1363' } as const;
      // OpenPGP.js hands over the numbers of ECDSA in a bare buffer, at which verify() throws
      const bytes = signature instanceof ArrayBuffer ? new Uint8Array(signature) : signature;
      const isRight = hash === undefined ? null : orNull(() => verify(hash, data, key, bytes));
      return isRight ?? subtle.verify(algorithm, await subtle.importKey(...held.call), signature, data);
    },
  };
}

/** The name of the hash for node:crypto; null: the algorithm has its own; undefined: we do not know the algorithm. */
function hashOf(asked: unknown, imported: unknown): string | null | undefined {
  switch (nameOf(asked)) {
    case 'RSASSA-PKCS1-v1_5': // says its hash when the key is imported
      return nameOfHash(imported);
    case 'ECDSA':
      return nameOfHash(asked);
    case 'Ed25519':
      return null;
    default:
      return undefined;
  }
}

const HASHES: ReadonlyMap<string, string> = new Map([
  ['SHA-1', 'sha1'],
  ['SHA-256', 'sha256'],
  ['SHA-384', 'sha384'],
  ['SHA-512', 'sha512'],
]);

function nameOfHash(algorithm: unknown): string | undefined {
  if (typeof algorithm !== 'object' || algorithm === null || !('hash' in algorithm)) return undefined;
  return HASHES.get(nameOf(algorithm.hash) ?? '');
}

function nameOf(algorithm: unknown): string | null {
  if (typeof algorithm === 'string') return algorithm;
  if (typeof algorithm !== 'object' || algorithm === null || !('name' in algorithm)) return null;
  return typeof algorithm.name === 'string' ? algorithm.name : null;
}

function orNull<T>(act: () => T): T | null {
  try {
    return act();
  } catch {
    return null;
  }
}
