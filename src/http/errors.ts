// The only writer of errors: a status for every code, one JSON shape, nothing of our insides.
import { type ErrorCode, isLookasideError } from '../domain/errors.ts';
import { jsonReply, type Reply, textReply } from './reply.ts';

const STATUS: Record<ErrorCode, number> = {
  REQUEST_INVALID: 400,
  UNAUTHORIZED: 401,
  DENIED: 403,
  NOT_FOUND: 404,
  METHOD_NOT_ALLOWED: 405,
  NAME_TAKEN: 409,
  DAMAGE_FOUND: 409,
  HEADERS_TOO_LARGE: 431,
  BUSY: 503,
  STORE_UNAVAILABLE: 503,
  INDEX_UNUSABLE: 503,
  STATE_UNUSABLE: 500,
  ALREADY_RUNNING: 500,
  SERVER_UNREACHABLE: 500,
  LISTEN_FAILED: 500,
  CONFIG_INVALID: 500,
};

const RETRY_AFTER_S = 5;
const CHALLENGE = 'Basic realm="lookaside"';

/** `{"errors":[{"code","message"}]}`. An error that is not ours shows nothing but that it happened. */
export function renderError(error: unknown): Reply {
  const code = isLookasideError(error) ? error.code : 'INTERNAL';
  const status = isLookasideError(error) ? STATUS[error.code] : 500;
  const message = isLookasideError(error)
    ? error.message
    : 'the server failed at this request; its log says why';
  return jsonReply(status, { errors: [{ code, message }] }, extraHeaders(status));
}

/**
 * On a signature path, where clients know only 200 and 404: plain text, and 503 for every failure of ours, because
 * a false 404 would hide a signature.
 */
export function renderSignatureError(error: unknown): Reply {
  if (isLookasideError(error, 'UNAUTHORIZED')) return textReply(401, `${error.message}\n`, extraHeaders(401));
  return textReply(503, 'the signature store cannot be read right now; try again\n', extraHeaders(503));
}

function extraHeaders(status: number): Record<string, string> {
  if (status === 401) return { 'WWW-Authenticate': CHALLENGE };
  if (status === 503) return { 'Retry-After': String(RETRY_AFTER_S) };
  return {};
}
