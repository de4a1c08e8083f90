// Certificates as they come in, and what is kept of them: only what their own primary key vouches for.
import type { CleanedCertificate } from '../domain/ports.ts';

/**
 * The certificates of one file, each cleaned, merged with the keyring's of the same primary key (a revocation is never
 * lost), and answered by itself. @throws LookasideError REQUEST_INVALID when there is none at all, TOO_LARGE
 */
export async function cleanCertificates(
  _untrusted: Uint8Array,
  _keyring: ReadonlyMap<string, Uint8Array>,
  _now: Date,
): Promise<readonly CleanedCertificate[]> {
  throw new Error('not written yet');
}

/** ASCII armour of our own making. */
export function armorCertificate(_certificate: Uint8Array): string {
  throw new Error('not written yet');
}
