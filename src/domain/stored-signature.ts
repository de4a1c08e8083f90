// A stored signature, as answers and pages show it.
import type { Warning } from './receipt.ts';
import type { ReaderDifference } from './signature-readers.ts';
import type { State } from './state.ts';
import type { SignatureForm } from './verdict.ts';

/** One stored signature. What it says about itself is shown only when it was verified. */
export interface StoredSignature {
  readonly site: string;
  /** `team/app@sha256:<hex>`. */
  readonly image: string;
  /** Below the site: `/team/app@sha256=<hex>/signature-2`, without the prefixes of server and site. */
  readonly path: string;
  /** The number under which clients get it. */
  readonly number: number;
  readonly state: State;
  /** Code of what is wrong with it, or null. */
  readonly reason: string | null;
  readonly form: SignatureForm | null;
  /** Fingerprint of the primary key that made it; null unless the verdict is good. */
  readonly fingerprint: string | null;
  readonly signingFingerprint: string | null;
  /** The key that it names, which nothing proves: fingerprint or key ID. Null when the verdict is good. */
  readonly issuer: string | null;
  /** `sha256:<hex>`. This and all fields down to `expiresAt` are null unless the verdict is good. */
  readonly manifestDigest: string | null;
  readonly dockerReference: string | null;
  /** Hostile text: escape where shown. */
  readonly creator: string | null;
  readonly signedAt: Date | null;
  /** Null also when it never expires. */
  readonly expiresAt: Date | null;
  readonly storedAt: Date;
  readonly sizeBytes: number;
  readonly signatureSha256: string;
  /** Null when it was not uploaded to this server. */
  readonly uploader: string | null;
  readonly auditSeq: number | null;
  /** The remap by which it was taken below another name than the signed one, `mirror/quay=quay.io`; null for most. */
  readonly remap: string | null;
  /** Which clients cannot read it under its number. */
  readonly warnings: readonly Warning[];
  /** Clients that decide otherwise about it than `state` says, which is for those that verify by GnuPG. */
  readonly readers: readonly ReaderDifference[];
}
