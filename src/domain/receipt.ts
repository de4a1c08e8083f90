// The results of uploads, as their senders get them.
import type { ErrorCode } from './errors.ts';
import type { State } from './state.ts';

const WARNING_CODES = [
  'SHA512_DIGEST',
  'SIGNING_SUBKEY',
  'OVER_NINE',
  'NOT_THE_FIRST',
  'OPENSHIFT_KEY',
  'REFERENCE_WITHOUT_TAG',
  'REMAPPED',
  'UNVERIFIABLE',
  'EQUIVALENT_EXISTS',
  'SAME_SIGNATURE',
] as const;
export type WarningCode = (typeof WARNING_CODES)[number];

export interface Warning {
  readonly code: WarningCode;
  readonly message: string;
}

/** The answer to an uploader. */
export interface Receipt {
  /** Below the site: `/team/app@sha256=<hex>/signature-2`, without the prefixes of server and site. */
  readonly path: string;
  readonly number: number;
  readonly created: boolean;
  readonly state: State;
  /** This and all that follows to `signedAt`, but for the digest: null where nobody vouches for it. */
  readonly fingerprint: string | null;
  readonly signingFingerprint: string | null;
  /** `sha256:<hex>`. */
  readonly manifestDigest: string;
  readonly dockerReference: string | null;
  readonly signedAt: Date | null;
  /** SHA-256 of the stored bytes: those of the equivalent signature when there is one. */
  readonly signatureSha256: string;
  /** Null when the stored bytes were not uploaded to this server. */
  readonly auditSeq: number | null;
  readonly warnings: readonly Warning[];
}

export interface BatchPart {
  /** A part over MAX_SIGNATURE_BYTES is cut to one byte more than that: enough to refuse it. */
  readonly bytes: Uint8Array;
  /** As the client named it, path and all; null when it did not. */
  readonly fileName: string | null;
}

export type BatchResult =
  | ({ readonly part: number; readonly result: 'created' | 'exists' } & Receipt)
  | {
      readonly part: number;
      readonly result: 'refused';
      readonly code: ErrorCode;
      readonly message: string;
      readonly detail?: Readonly<Record<string, unknown>>;
    };

interface Imported {
  readonly part: number;
  /** `team/app@sha256:<hex>`. */
  readonly image: string;
  /** The number under which clients get it; null when nothing is stored yet. */
  readonly number: number | null;
  readonly signatureSha256: string;
  /** Null when the signature was neither uploaded nor imported. */
  readonly auditSeq: number | null;
}

export type ImportResult =
  | (Imported & { readonly result: 'created'; readonly state: State })
  /** The same bytes are already stored. */
  | (Imported & { readonly result: 'exists' })
  | {
      readonly part: number;
      readonly result: 'refused';
      readonly code: ErrorCode;
      readonly message: string;
    };

export interface ImportOptions {
  /** Judges everything and stores nothing: `created` is what would be stored. */
  readonly dryRun: boolean;
}
