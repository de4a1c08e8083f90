// What becomes of uploads, as their senders are told.
import type { ErrorCode } from './errors.ts';
import type { State } from './state.ts';

export const WARNING_CODES = [
  'SHA512_DIGEST',
  'SIGNING_SUBKEY',
  'OVER_NINE',
  'NOT_THE_FIRST',
  'OPENSHIFT_KEY',
  'REFERENCE_WITHOUT_TAG',
  'EQUIVALENT_EXISTS',
  'SAME_SIGNATURE',
] as const;
export type WarningCode = (typeof WARNING_CODES)[number];

export interface Warning {
  readonly code: WarningCode;
  readonly message: string;
}

/** What the uploader is told. */
export interface Receipt {
  /** Below the site: `/team/app@sha256=<hex>/signature-2`, without the server's prefix. */
  readonly path: string;
  readonly number: number;
  readonly created: boolean;
  readonly state: State;
  readonly fingerprint: string;
  readonly signingFingerprint: string;
  /** `sha256:<hex>`. */
  readonly manifestDigest: string;
  readonly dockerReference: string;
  readonly signedAt: Date;
  /** Of the bytes that are there: those of the equivalent one when that was found. */
  readonly signatureSha256: string;
  /** Null when the bytes that are there were not uploaded to us. */
  readonly auditSeq: number | null;
  readonly warnings: readonly Warning[];
}

export interface BatchPart {
  /** Of a part over MAX_SIGNATURE_BYTES one byte more than that: enough to refuse it. */
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
  /** The one under which clients get it; null when nothing was stored yet. */
  readonly number: number | null;
  readonly signatureSha256: string;
  /** Null when it was not uploaded or imported. */
  readonly auditSeq: number | null;
}

export type ImportResult =
  | (Imported & { readonly result: 'created'; readonly state: State })
  /** The same bytes are there already. */
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
