// The registered certificates by every key ID and fingerprint in them. A certificate is read when first needed.
import { type CertificateFacts, fingerprintsOf, readCertificate } from './certificate-facts.ts';

/** A key that a signature may mean, in one of the certificates that hold it: a thief's may hold it too. */
export interface Candidate {
  /** 40 upper-case hex digits. */
  readonly fingerprint: string;
  /** Null when OpenPGP.js or we cannot read it. */
  readonly certificate: () => Promise<CertificateFacts | null>;
}

export interface Keyring {
  /** `issuer`: a fingerprint (40) or key ID (16), upper-case hex. */
  find(issuer: string): readonly Candidate[];
  /** By the primary key's fingerprint: binary, cleaned. */
  readonly certificates: ReadonlyMap<string, Uint8Array>;
}

export function createKeyring(certificates: readonly Uint8Array[]): Keyring {
  const candidates = new Map<string, Candidate[]>();
  const byFingerprint = new Map<string, Uint8Array>();
  for (const bytes of certificates) {
    const fingerprints = fingerprintsOf(bytes);
    const [primary] = fingerprints;
    if (primary !== undefined) byFingerprint.set(primary, bytes);
    let facts: Promise<CertificateFacts | null> | null = null;
    const certificate = () => {
      facts ??= readCertificate(bytes);
      return facts;
    };
    for (const fingerprint of new Set(fingerprints)) {
      for (const name of [fingerprint, fingerprint.slice(-16)]) {
        const named = candidates.get(name) ?? [];
        candidates.set(name, [...named, { fingerprint, certificate }]);
      }
    }
  }
  return { find: (issuer) => candidates.get(issuer) ?? [], certificates: byFingerprint };
}
