// One request on its way through: what it asks for and who asks, worked out once.
import { randomUUID } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import { isLookasideError } from '../domain/errors.ts';
import type { ImageId } from '../domain/image.ts';
import type { SiteTarget, Target } from '../domain/lookaside-path.ts';
import { networkOf } from '../domain/network.ts';
import type { Patience } from '../domain/patience.ts';
import type { Token } from '../domain/ports.ts';
import type { Holder } from '../domain/room.ts';
import type { SitePlace } from '../domain/site.ts';
import { type Actor, ADMINISTRATOR } from '../service/audit.ts';
import type { KnownToken } from '../service/tokens.ts';
import { type Caller, clientAddress, requireRole, sentToken } from './client.ts';
import type { ReadServices, Services } from './services.ts';

export interface Exchange {
  /** In which the target is; null: in none. */
  readonly site: SitePlace | null;
  readonly target: Target;
  /** From memory; a route that needs a token first asks the store about one that memory does not know. */
  caller: Caller;
  readonly address: string;
  /** What stands before every path below the site that this client is told. */
  readonly prefix: string;
  /** Names a request that may change something, in its answer and in audit events; null for reads. */
  readonly requestId: string | null;
  /** By the monotonic clock. */
  readonly startedMs: number;
  /** Why the read of the set failed ahead of Express: its route tells it and asks no second time. */
  readFailure?: { readonly error: unknown };
}

interface Arrival {
  readonly at: SiteTarget;
  readonly startedMs: number;
  /** Whether it came by the socket of the data directory. */
  readonly isLocal: boolean;
}

export interface AnsweredRead {
  readonly image: ImageId;
  /** Null when the name asked for is no signature number. */
  readonly number: number | null;
  readonly imageIsSigned: boolean;
  /** The SHA-256 of the bytes that the client has now; null for a 404. */
  readonly signatureSha256: string | null;
  /** 200, 304 or 404. */
  readonly status: number;
  readonly bytes: number;
}

function identify(services: Services, req: IncomingMessage, isLocal: boolean): Caller {
  if (isLocal) return { kind: 'administrator' };
  const text = sentToken(req);
  if (text === null) return { kind: 'anonymous', sent: null };
  return callerWith(services, services.tokens.peek(text));
}

/** Asks the store about a token that memory does not know: another process may just have made it. @throws STORE_UNAVAILABLE */
export async function identifyAgain(
  services: Services,
  req: IncomingMessage,
  { caller, patience }: { readonly caller: Caller; readonly patience: Patience },
): Promise<Caller> {
  const text = sentToken(req);
  if (caller.kind !== 'anonymous' || text === null) return caller;
  // an issuer has its own bound of time, and is not the database
  if (services.identities.isToken(text)) return patience.waitLong(identifyByIssuer(services, text));
  return callerWith(services, await patience.wait(services.tokens.find(text)));
}

/** @throws LookasideError STORE_UNAVAILABLE */
async function identifyByIssuer({ identities }: Services, text: string): Promise<Caller> {
  try {
    const [token, ...others] = await identities.find(text);
    return { kind: 'token', token, others };
  } catch (error) {
    if (!isLookasideError(error) || error.code === 'STORE_UNAVAILABLE') throw error;
    return { kind: 'anonymous', sent: { kind: 'refused', error } };
  }
}

function callerWith({ tokens }: Services, known: KnownToken | null): Caller {
  if (known === null) return { kind: 'anonymous', sent: { kind: 'unknown' } };
  const { token, state } = known;
  if (state !== 'valid') return { kind: 'anonymous', sent: { kind: state, token } };
  tokens.used(token);
  return { kind: 'token', token };
}

export function openExchange(
  services: Services,
  req: IncomingMessage,
  { at: { site, target }, isLocal, startedMs }: Arrival,
): Exchange {
  const { trustedProxies, prefix } = services.settings();
  return {
    site,
    target,
    caller: identify(services, req, isLocal),
    address: clientAddress(req, trustedProxies),
    prefix: (isLocal ? '' : prefix) + (site?.prefix ?? ''),
    requestId: isRead(req) ? null : requestIdOf(req),
    startedMs,
  };
}

/** Call it once the answer to the request is known. */
export function countRequest(
  { metrics, clock }: Pick<ReadServices, 'metrics' | 'clock'>,
  { method }: IncomingMessage,
  { startedMs }: Pick<Exchange, 'startedMs'>,
  { route, status }: { readonly route: string; readonly status: number },
): void {
  metrics.request({ route, method, status, durationMs: clock.monotonicMs() - startedMs });
}

/** Whether the method changes nothing. */
export function isRead({ method }: IncomingMessage): boolean {
  return method === 'GET' || method === 'HEAD';
}

/** The client's own name for the request when it is safe in any log, else one of ours. */
function requestIdOf({ headers }: IncomingMessage): string {
  const sent = headers['x-request-id'];
  return typeof sent === 'string' && /^[A-Za-z0-9._-]{1,64}$/.test(sent) ? sent : randomUUID();
}

/** Who asks, for audit events. Only for routes that require a role: an anonymous caller cannot be an actor. */
export function actorOf({ caller, address, requestId }: Exchange): Actor {
  switch (caller.kind) {
    case 'administrator':
      return { ...ADMINISTRATOR, requestId };
    case 'token': {
      const { token, others = [] } = caller;
      const actor = actorBy(token, { address, requestId });
      if (others.length === 0) return actor;
      return { ...actor, others: others.map((other) => actorBy(other, { address, requestId })) };
    }
    case 'anonymous':
      throw new Error('a route without roles asked who the actor is');
  }
}

function actorBy({ name, signer, role }: Token, from: Pick<Actor, 'address' | 'requestId'>): Actor {
  return { name, ...from, signer, isAdministrator: role === 'admin' };
}

/** Whose share of the room the request's body takes. */
export function holderOf({ caller, address }: Exchange): Holder {
  const network = networkOf(address);
  switch (caller.kind) {
    case 'administrator':
      return { caller: 'administrator', network };
    case 'token':
      return { caller: `token ${caller.token.name}`, network };
    case 'anonymous':
      return { caller: `anybody in ${network}`, network };
  }
}

/** On a closed site any token reads. @throws LookasideError UNAUTHORIZED */
export function requireReader(services: Services, caller: Caller): void {
  if (services.settings().read === 'token') requireRole(caller, ['admin', 'auditor', 'reader', 'uploader']);
}

/** Counts the read and keeps it for the record. `imageIsSigned`: the image has at least one signature. */
export function recordRead(
  services: Pick<ReadServices, 'metrics' | 'recorder'>,
  req: IncomingMessage,
  exchange: Exchange,
  read: AnsweredRead,
): void {
  const missing = read.imageIsSigned ? 'end' : 'miss';
  services.metrics.read(read.image.site, read.status === 404 ? missing : 'hit');
  noteRead(services, req, exchange, read);
}

/** Keeps the read for the record. */
export function noteRead(
  { recorder }: Pick<ReadServices, 'recorder'>,
  req: IncomingMessage,
  { address, caller }: Exchange,
  { image, number, signatureSha256, imageIsSigned, status, bytes }: AnsweredRead,
): void {
  recorder.record({
    image,
    number,
    signatureSha256,
    imageIsSigned,
    status,
    bytes,
    address,
    agent: req.headers['user-agent'] ?? '',
    token: caller.kind === 'token' ? caller.token.name : null,
  });
}
