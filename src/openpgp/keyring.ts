// The registered certificates by every key ID and fingerprint in them. A certificate is read when first needed.
import { type CertificateFacts, readFacts } from './certificate-facts.ts';
import { merge, takeApart } from './certificate-parts.ts';
import { TAG, walkPackets } from './packets.ts';
import { fingerprintOf, parsePublicKey, type UnusableKey } from './public-key.ts';
import { UNLIMITED } from './signature-check.ts';

/** A key that a signature may name, in one of the certificates that hold it. A thief's certificate may hold it too. */
export interface Candidate {
  /** 40 upper-case hex digits. */
  readonly fingerprint: string;
  readonly certificate: () => CertificateFacts | UnusableKey;
}

export interface Keyring {
  /** All keys with this name; several may share a key ID. `issuer`: a fingerprint (40) or key ID (16), upper-case hex. */
  find(issuer: string): readonly Candidate[];
  /** By the primary key's fingerprint: binary, cleaned. */
  readonly certificates: ReadonlyMap<string, Uint8Array>;
}

/** `certificates`: binary, cleaned. Others do no harm: they are found if they can be read. */
export function createKeyring(certificates: readonly Uint8Array[]): Keyring {
  const candidates = new Map<string, Candidate[]>();
  const byFingerprint = new Map<string, Uint8Array>();
  for (const bytes of certificates) {
    const fingerprints = new Set(fingerprintsIn(bytes));
    const [primary] = fingerprints;
    if (primary === undefined) continue;
    byFingerprint.set(primary, bytes);
    const certificate = once(() => readCertificate(bytes));
    for (const fingerprint of fingerprints) {
      for (const name of [fingerprint, fingerprint.slice(-16)]) {
        candidates.set(name, [...(candidates.get(name) ?? []), { fingerprint, certificate }]);
      }
    }
  }
  return { find: (issuer) => candidates.get(issuer) ?? [], certificates: byFingerprint };
}

/**
 * The fingerprints of all version 4 keys in it, bound or not, the primary key first; empty when the primary key has another
 * version.
 */
function fingerprintsIn(certificate: Uint8Array): readonly string[] {
  const packets = walkPackets(certificate) ?? [];
  if (packets[0]?.tag !== TAG.publicKey || packets[0].body[0] !== 4) return [];
  return packets
    .filter(({ tag, body }) => (tag === TAG.publicKey || tag === TAG.publicSubkey) && body[0] === 4)
    .flatMap(({ body }) => fingerprintOf(body) ?? []);
}

/** The facts hold for all times: whoever uses them decides each time which of them are in force. */
export function readCertificate(bytes: Uint8Array): CertificateFacts | UnusableKey {
  const [entry] = takeApart(bytes);
  if (entry?.kind !== 'certificate') throw new Error('what begins with a public key is not a certificate');
  const key = parsePublicKey(entry.primary.body);
  if ('why' in key) return key;
  return readFacts(key, merge(entry, null), { latest: FOREVER, budget: UNLIMITED });
}

const FOREVER = new Date(8.64e15); // the last date that JavaScript has

function once<T>(make: () => T): () => T {
  let made: { readonly value: T } | null = null;
  return () => {
    made ??= { value: make() };
    return made.value;
  };
}
