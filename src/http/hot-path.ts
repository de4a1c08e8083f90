// Reads that are answered before Express, from memory alone. Most of all traffic is such reads, and half of them are 404s.
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { SignatureSet } from '../domain/ports.ts';
import { countRequest, type Exchange, isRead, recordRead } from './exchange.ts';
import { sendReply } from './reply.ts';
import type { Services } from './services.ts';
import { NOT_THERE, signatureReply } from './signature-reply.ts';

/** The name of this route in metrics. The slower way, which gives the same answers, has the same name. */
export const SIGNATURE_ROUTE = 'signature';

/** True when answered. False: the set is not in memory or not fresh, or the request needs more than a look-up. */
export function answerFromMemory(
  services: Services,
  req: IncomingMessage,
  res: ServerResponse,
  exchange: Exchange,
): boolean {
  const { target, caller } = exchange;
  if (target.kind !== 'signature' || !isRead(req)) return false;
  if (services.settings().read === 'token' && caller.kind === 'anonymous') return false;
  const set = services.reader.peekSet(target.image);
  if (set === null) return false;
  const reply = replyFrom(req, set, target.number);
  if (reply === null) return false;

  sendReply(req, res, reply);
  countRequest(services, req, exchange, { route: SIGNATURE_ROUTE, status: reply.status });
  recordRead(services, req, exchange, {
    image: target.image,
    number: target.number,
    imageIsSigned: set.entries.length > 0,
    status: reply.status,
    bytes: reply.status === 200 && req.method === 'GET' ? Number(reply.headers['Content-Length']) : 0,
  });
  return true;
}

function replyFrom(req: IncomingMessage, set: SignatureSet, number: number | null) {
  const entry = number === null ? undefined : set.entries[number - 1];
  if (entry === undefined) return NOT_THERE;
  return entry.bytes === null ? null : signatureReply(req, entry, entry.bytes);
}
