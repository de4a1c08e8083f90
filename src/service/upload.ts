// Uploading: verified first, placed by its own claim or held against the place that was asked for, then stored.
import type { ErrorCode } from '../domain/errors.ts';
import type { ImageId } from '../domain/image.ts';
import type { State } from '../domain/state.ts';
import type { Actor } from './audit.ts';

export type WarningCode =
  | 'SHA512_DIGEST'
  | 'SIGNING_SUBKEY'
  | 'OVER_NINE'
  | 'REFERENCE_WITHOUT_TAG'
  | 'EQUIVALENT_EXISTS';

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
  readonly warnings: readonly { readonly code: WarningCode; readonly message: string }[];
}

export interface UploadRequest {
  readonly image: ImageId;
  readonly bytes: Uint8Array;
  /** The number asked for; null: append. */
  readonly number: number | null;
  /** Append even when an equivalent one is there. */
  readonly force: boolean;
}

export interface BatchPart {
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

export interface Uploader {
  /** @throws LookasideError, every code of an upload */
  upload(request: UploadRequest, actor: Actor): Promise<Receipt>;
  /** In the order of the parts; a refused one never stops the others. */
  uploadBatch(
    parts: readonly BatchPart[],
    options: { readonly force: boolean },
    actor: Actor,
  ): Promise<readonly BatchResult[]>;
}
