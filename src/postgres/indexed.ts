// Signatures with their verdicts, as rows of table signature.
import { type ImageId, parseLongImageFolder } from '../domain/image.ts';
import type { IndexedSignature } from '../domain/ports.ts';
import { OBSTACLES, type SignatureForm, type Traits, type Verdict } from '../domain/verdict.ts';

export interface IndexedRow {
  readonly id: number;
  readonly site: string;
  readonly folder: string;
  readonly number: number;
  readonly sha256: Buffer;
  readonly size_bytes: number;
  readonly stored_at_ms: number;
  readonly verdict: Verdict;
  readonly reason: string | null;
  readonly form: SignatureForm | null;
  readonly issuer: string | null;
  readonly fingerprint: string | null;
  readonly signing_fingerprint: string | null;
  readonly signed_at_ms: number | null;
  readonly expires_at_ms: number | null;
  readonly claimed_algorithm: string | null;
  readonly claimed_digest: Buffer | null;
  readonly docker_reference: string | null;
  readonly creator: string | null;
  readonly signed_sha256: Buffer | null;
  readonly digest_bits: number | null;
  readonly obstacles: string | null;
}

/** Without the bytes; of `signature AS s` and `image AS i`. */
export const INDEXED_COLUMNS = `
  s.id, i.site, i.folder, s.number, s.sha256, s.size_bytes, s.stored_at_ms, s.verdict, s.reason, s.form, s.issuer,
  s.fingerprint, s.signing_fingerprint, s.signed_at_ms, s.expires_at_ms, s.claimed_algorithm, s.claimed_digest,
  s.docker_reference, s.creator, s.signed_sha256, s.digest_bits, s.obstacles`;

export function indexedOf(row: IndexedRow): IndexedSignature {
  const { claimed_algorithm, claimed_digest } = row;
  return {
    id: row.id,
    image: imageOf(row),
    number: row.number,
    // numbers have no holes here
    servedNumber: row.number,
    sha256: row.sha256.toString('hex'),
    sizeBytes: row.size_bytes,
    storedAt: new Date(row.stored_at_ms),
    verdict: row.verdict,
    reason: row.reason,
    form: row.form,
    issuer: row.issuer,
    fingerprint: row.fingerprint,
    signingFingerprint: row.signing_fingerprint,
    signedAt: dateOf(row.signed_at_ms),
    expiresAt: dateOf(row.expires_at_ms),
    manifestDigest: claimed_digest === null ? null : `${claimed_algorithm}:${claimed_digest.toString('hex')}`,
    dockerReference: row.docker_reference,
    creator: row.creator,
    traits: traitsOf(row),
  };
}

/** The image of a row that names its site and folder. */
export function imageOf({ site, folder }: { readonly site: string; readonly folder: string }): ImageId {
  const image = parseLongImageFolder(site, folder);
  if (image === null) throw new Error(`${folder} in the database is not the folder of an image`);
  return image;
}

export function dateOf(ms: number | null): Date | null {
  return ms === null ? null : new Date(ms);
}

function traitsOf({ signed_sha256, digest_bits, obstacles }: IndexedRow): Traits | null {
  if (signed_sha256 === null || digest_bits === null || obstacles === null) return null;
  const words = obstacles.split(' ');
  return {
    signedSha256: signed_sha256.toString('hex'),
    digestBits: digest_bits,
    obstacles: OBSTACLES.filter((obstacle) => words.includes(obstacle)),
  };
}
