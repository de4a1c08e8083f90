// The only error type that callers may meet. Codes are a closed set: http/errors.ts gives each code a status, and a new
// code without a status does not compile.

/** Why a signature is refused, or is not good. */
export type RefusalCode =
  | 'TOO_LARGE'
  | 'EMPTY'
  | 'FIRST_BYTE'
  | 'ARMORED'
  | 'NOT_INLINE_SIGNED'
  | 'STRUCTURE_INVALID'
  | 'DECOMPRESSION_LIMIT'
  | 'PAYLOAD_INVALID'
  | 'DIGEST_MISMATCH'
  | 'REPOSITORY_MISMATCH'
  | 'REMAP_NOT_ALLOWED'
  | 'REFERENCE_INVALID'
  | 'KEY_UNKNOWN'
  | 'KEY_EXPIRED'
  | 'KEY_REVOKED'
  | 'KEY_UNUSABLE'
  | 'SIGNATURE_BAD'
  | 'SIGNATURE_EXPIRED'
  | 'SIGNED_IN_FUTURE'
  | 'ALGORITHM_UNSUPPORTED'
  | 'ALGORITHM_WEAK'
  | 'FORMAT_UNSUPPORTED';

export type ErrorCode =
  | RefusalCode
  | 'PATH_INVALID'
  | 'REQUEST_INVALID'
  | 'UNAUTHORIZED'
  | 'DENIED'
  | 'NOT_GRANTED'
  | 'KEY_RETIRED'
  | 'WITHDRAWN'
  | 'APPEND_ONLY'
  | 'CROSS_SITE'
  | 'READ_ONLY'
  | 'NOT_OVER_POSTGRESQL'
  | 'NUMBER_TAKEN'
  | 'NUMBER_NOT_NEXT'
  | 'TOO_MANY_SIGNATURES'
  | 'SECRET_KEY'
  | 'SLOW_DOWN'
  | 'TOO_SLOW'
  | 'DISK_FULL'
  | 'NOT_FOUND'
  | 'METHOD_NOT_ALLOWED'
  | 'CONTENT_TYPE_UNSUPPORTED'
  | 'HEADERS_TOO_LARGE'
  | 'NAME_TAKEN'
  | 'CHANGED_MEANWHILE'
  | 'BUSY'
  | 'QUESTION_TOO_LONG'
  | 'STORE_UNAVAILABLE'
  | 'INDEX_UNUSABLE'
  | 'STATE_UNUSABLE'
  | 'ALREADY_RUNNING'
  | 'UPSTREAM_UNAVAILABLE'
  | 'ISSUER_UNAVAILABLE'
  | 'SERVER_UNREACHABLE'
  | 'LISTEN_FAILED'
  | 'CONFIG_INVALID'
  | 'BACKUP_UNUSABLE'
  | 'LOG_MISMATCH'
  | 'PROOF_INVALID'
  | 'DAMAGE_FOUND';

export interface LookasideErrorOptions {
  readonly cause?: unknown;
  readonly detail?: Readonly<Record<string, unknown>>;
}

export class LookasideError extends Error {
  readonly code: ErrorCode;
  /** Facts for programs beside the sentence for people (`{"next":3}`), or null. */
  readonly detail: Readonly<Record<string, unknown>> | null;

  constructor(code: ErrorCode, message: string, options?: LookasideErrorOptions) {
    super(message, options);
    this.name = 'LookasideError';
    this.code = code;
    this.detail = options?.detail ?? null;
  }
}

/** Whether `error` is a LookasideError, and has the given code if one is given. */
export function isLookasideError(error: unknown, code?: ErrorCode): error is LookasideError {
  return error instanceof LookasideError && (code === undefined || error.code === code);
}

/** The system's or SQLite's own code of an error (`ENOENT`, `SQLITE_BUSY`), or null when it carries none. */
export function systemCode(error: unknown): string | null {
  if (typeof error !== 'object' || error === null || !('code' in error)) return null;
  return typeof error.code === 'string' ? error.code : null;
}
