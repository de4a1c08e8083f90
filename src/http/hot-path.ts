// Reads of signatures that are answered before Express. Most of all traffic is such reads, and half of them are 404s.
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Round } from '../domain/concurrency.ts';
import type { Target } from '../domain/lookaside-path.ts';
import type { SetEntry, SignatureSet } from '../domain/ports.ts';
import { countRequest, type Exchange, isRead, recordRead } from './exchange.ts';
import { sendReply } from './reply.ts';
import type { ReadServices } from './services.ts';
import { NOT_THERE, signatureReply } from './signature-reply.ts';

/** The name of this route in metrics. The slower way, which gives the same answers, has the same name. */
export const SIGNATURE_ROUTE = 'signature';

type SignatureTarget = Extract<Target, { kind: 'signature' }>;

export interface SignatureRequest {
  readonly req: IncomingMessage;
  readonly res: ServerResponse;
  readonly exchange: Exchange;
  readonly target: SignatureTarget;
}

/** The image and number that are asked for; null when it is no such read, or the caller is not known to be allowed one. */
export function signatureAskedFor(
  services: ReadServices,
  req: IncomingMessage,
  { target, caller }: Pick<Exchange, 'target' | 'caller'>,
): SignatureTarget | null {
  if (target.kind !== 'signature' || !isRead(req)) return null;
  return services.settings().read === 'token' && caller.kind === 'anonymous' ? null : target;
}

/** True when answered. False: the set is not in memory or not fresh, or the signature is too large to be in it. */
export function answerFromMemory(services: ReadServices, asked: SignatureRequest, round?: Round): boolean {
  const set = services.reader.peekSet(asked.target.image, round);
  return set !== null && answerWith(services, asked, set);
}

/** As answerFromMemory, once the store was asked. False also when that failed: the route tells how. */
export async function answerFromStore(services: ReadServices, asked: SignatureRequest): Promise<boolean> {
  let set: SignatureSet;
  try {
    set = await services.reader.readSet(asked.target.image);
  } catch (error) {
    asked.exchange.readFailure = { error };
    return false;
  }
  return answerWith(services, asked, set);
}

function answerWith(
  services: ReadServices,
  { req, res, exchange, target }: SignatureRequest,
  set: SignatureSet,
): boolean {
  const entry = target.number === null ? undefined : set.entries[target.number - 1];
  const reply = replyFrom(req, entry);
  if (reply === null) return false;

  sendReply(req, res, reply);
  countRequest(services, req, exchange, { route: SIGNATURE_ROUTE, status: reply.status });
  recordRead(services, req, exchange, {
    image: target.image,
    number: target.number,
    signatureSha256: entry?.sha256 ?? null,
    imageIsSigned: set.entries.length > 0,
    status: reply.status,
    bytes: entry !== undefined && reply.status === 200 && req.method === 'GET' ? entry.sizeBytes : 0,
  });
  return true;
}

function replyFrom(req: IncomingMessage, entry: SetEntry | undefined) {
  if (entry === undefined) return NOT_THERE;
  return entry.bytes === null ? null : signatureReply(req, entry, entry.bytes);
}
