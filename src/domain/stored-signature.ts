// A stored signature, as answers and pages show it.
import type { Warning } from './receipt.ts';
import type { State } from './state.ts';
import type { SignatureForm } from './verdict.ts';

/** One stored signature. What it says of itself is shown only when it was verified. */
export interface StoredSignature {
  /** `team/app@sha256:<hex>`. */
  readonly image: string;
  /** Below the site: `/team/app@sha256=<hex>/signature-2`, without the server's prefix. */
  readonly path: string;
  /** The one under which clients get it. */
  readonly number: number;
  readonly state: State;
  /** Code of what stands against it, or null. */
  readonly reason: string | null;
  readonly form: SignatureForm | null;
  /** Of the primary key that made it; null unless the verdict is good. */
  readonly fingerprint: string | null;
  readonly signingFingerprint: string | null;
  /** Which key it names where nobody vouches for that: fingerprint or key ID; null when the verdict is good. */
  readonly issuer: string | null;
  /** `sha256:<hex>`. This and all that follows to `expiresAt`: null unless the verdict is good. */
  readonly manifestDigest: string | null;
  readonly dockerReference: string | null;
  /** Hostile text: escape where shown. */
  readonly creator: string | null;
  readonly signedAt: Date | null;
  /** Null also when it never does. */
  readonly expiresAt: Date | null;
  readonly storedAt: Date;
  readonly sizeBytes: number;
  readonly signatureSha256: string;
  /** Null when it was not uploaded to us. */
  readonly uploader: string | null;
  readonly auditSeq: number | null;
  /** Which clients do not read it there. */
  readonly warnings: readonly Warning[];
}
