// The only writer of errors: a status for every code, one JSON shape, and no internals of the server.
import { type ErrorCode, isLookasideError } from '../domain/errors.ts';
import { jsonReply, type Reply, textReply } from './reply.ts';

const STATUS: Record<ErrorCode, number> = {
  PATH_INVALID: 400,
  REQUEST_INVALID: 400,
  UNAUTHORIZED: 401,
  DENIED: 403,
  NOT_GRANTED: 403,
  APPEND_ONLY: 403,
  WITHDRAWN: 409,
  CROSS_SITE: 403,
  READ_ONLY: 403,
  REMAP_NOT_ALLOWED: 403,
  NOT_FOUND: 404,
  METHOD_NOT_ALLOWED: 405,
  TOO_SLOW: 408,
  NAME_TAKEN: 409,
  CHANGED_MEANWHILE: 409,
  DAMAGE_FOUND: 409,
  NUMBER_TAKEN: 409,
  NUMBER_NOT_NEXT: 409,
  TOO_MANY_SIGNATURES: 409,
  TOO_LARGE: 413,
  CONTENT_TYPE_UNSUPPORTED: 415,
  EMPTY: 422,
  FIRST_BYTE: 422,
  ARMORED: 422,
  NOT_INLINE_SIGNED: 422,
  STRUCTURE_INVALID: 422,
  DECOMPRESSION_LIMIT: 422,
  PAYLOAD_INVALID: 422,
  DIGEST_MISMATCH: 422,
  REPOSITORY_MISMATCH: 422,
  REFERENCE_INVALID: 422,
  KEY_UNKNOWN: 422,
  KEY_EXPIRED: 422,
  KEY_REVOKED: 422,
  KEY_UNUSABLE: 422,
  KEY_RETIRED: 422,
  SIGNATURE_BAD: 422,
  SIGNATURE_EXPIRED: 422,
  SIGNED_IN_FUTURE: 422,
  ALGORITHM_UNSUPPORTED: 422,
  ALGORITHM_WEAK: 422,
  FORMAT_UNSUPPORTED: 422,
  SECRET_KEY: 422,
  QUESTION_TOO_LONG: 422,
  SLOW_DOWN: 429,
  HEADERS_TOO_LARGE: 431,
  NOT_OVER_POSTGRESQL: 501,
  BUSY: 503,
  STORE_UNAVAILABLE: 503,
  INDEX_UNUSABLE: 503,
  UPSTREAM_UNAVAILABLE: 503,
  ISSUER_UNAVAILABLE: 503,
  STATE_UNUSABLE: 500,
  ALREADY_RUNNING: 500,
  SERVER_UNREACHABLE: 500,
  LISTEN_FAILED: 500,
  CONFIG_INVALID: 500,
  BACKUP_UNUSABLE: 500,
  LOG_MISMATCH: 500,
  PROOF_INVALID: 422,
  DISK_FULL: 507,
};

const RETRY_AFTER_S = 5;
const CHALLENGE = 'Basic realm="lookaside"';

/**
 * `{"errors":[{"code","message","detail"}]}`, detail only where there is one. An error that is not ours shows nothing but
 * that it happened.
 */
export function renderError(error: unknown): Reply {
  const status = statusOf(error);
  const headers = { ...extraHeaders(status), ...retryAfter(error) };
  return jsonReply(status, { errors: [describeError(error)] }, headers);
}

/** 500 for an error that is not ours. */
export function statusOf(error: unknown): number {
  return isLookasideError(error) ? STATUS[error.code] : 500;
}

/** One error in the form that callers get. */
export function describeError(error: unknown) {
  if (!isLookasideError(error))
    return { code: 'INTERNAL', message: 'the server failed at this request; its log says why' };
  const { code, message, detail } = error;
  return detail === null ? { code, message } : { code, message, detail };
}

/**
 * On a signature path, where clients know only 200 and 404: plain text, and 503 for every failure of ours, because
 * a false 404 would hide a signature.
 */
export function renderSignatureError(error: unknown): Reply {
  if (isLookasideError(error, 'UNAUTHORIZED')) return textReply(401, `${error.message}\n`, extraHeaders(401));
  const text = isLookasideError(error, 'UPSTREAM_UNAVAILABLE')
    ? 'the signatures of this image are not here yet, and cannot be fetched right now; try again\n'
    : 'the signature store cannot be read right now; try again\n';
  return textReply(503, text, { ...extraHeaders(503), ...retryAfter(error) });
}

function extraHeaders(status: number): Record<string, string> {
  if (status === 401) return { 'WWW-Authenticate': CHALLENGE };
  if (status === 429 || status === 503) return { 'Retry-After': String(RETRY_AFTER_S) };
  return {};
}

/** For an error that knows how long to wait. */
function retryAfter(error: unknown): Record<string, string> {
  const seconds = isLookasideError(error) ? error.detail?.retryAfterSeconds : undefined;
  return typeof seconds === 'number' ? { 'Retry-After': String(seconds) } : {};
}
