// The one error type that callers may meet. Codes are a closed set: http/errors.ts gives each a status,
// cli/terminal.ts an exit code, and a new code without either does not compile.

export type ErrorCode =
  | 'REQUEST_INVALID'
  | 'UNAUTHORIZED'
  | 'DENIED'
  | 'NOT_FOUND'
  | 'METHOD_NOT_ALLOWED'
  | 'HEADERS_TOO_LARGE'
  | 'NAME_TAKEN'
  | 'BUSY'
  | 'STORE_UNAVAILABLE'
  | 'INDEX_UNUSABLE'
  | 'STATE_UNUSABLE'
  | 'ALREADY_RUNNING'
  | 'SERVER_UNREACHABLE'
  | 'LISTEN_FAILED'
  | 'CONFIG_INVALID'
  | 'DAMAGE_FOUND';

export class LookasideError extends Error {
  readonly code: ErrorCode;

  constructor(code: ErrorCode, message: string, options?: { readonly cause?: unknown }) {
    super(message, options);
    this.name = 'LookasideError';
    this.code = code;
  }
}

/** Whether `error` is a LookasideError, of the given code if one is named. */
export function isLookasideError(error: unknown, code?: ErrorCode): error is LookasideError {
  return error instanceof LookasideError && (code === undefined || error.code === code);
}

/** The system's or SQLite's own code of an error (`ENOENT`, `SQLITE_BUSY`), or null when it carries none. */
export function systemCode(error: unknown): string | null {
  if (typeof error !== 'object' || error === null || !('code' in error)) return null;
  return typeof error.code === 'string' ? error.code : null;
}
