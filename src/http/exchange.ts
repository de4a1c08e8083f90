// One request on its way through: what it asks for and who asks, worked out once.
import type { IncomingMessage } from 'node:http';
import { LookasideError } from '../domain/errors.ts';
import type { ImageId } from '../domain/image.ts';
import type { Target } from '../domain/lookaside-path.ts';
import { type Actor, ADMINISTRATOR } from '../service/audit.ts';
import { type Caller, clientAddress, requireRole, sentToken } from './client.ts';
import type { Services } from './services.ts';

export interface Exchange {
  readonly target: Target;
  readonly caller: Caller;
  readonly address: string;
}

export interface AnsweredRead {
  readonly image: ImageId;
  /** Null when the name asked for is no signature number. */
  readonly number: number | null;
  readonly imageIsSigned: boolean;
  /** 200, 304 or 404. */
  readonly status: number;
  readonly bytes: number;
}

export function identify(services: Services, req: IncomingMessage, isLocal: boolean): Caller {
  if (isLocal) return { kind: 'administrator' };
  const text = sentToken(req);
  const token = text === null ? null : services.tokens.find(text);
  return token === null ? { kind: 'anonymous' } : { kind: 'token', token };
}

export function openExchange(
  services: Services,
  req: IncomingMessage,
  target: Target,
  isLocal: boolean,
): Exchange {
  const { trustedProxies } = services.settings();
  return { target, caller: identify(services, req, isLocal), address: clientAddress(req, trustedProxies) };
}

/** Who asks, for audit events. Only for routes that want a role: nobody is no actor. */
export function actorOf({ caller, address }: Exchange): Actor {
  switch (caller.kind) {
    case 'administrator':
      return ADMINISTRATOR;
    case 'token':
      return { name: caller.token.name, address, requestId: null };
    case 'anonymous':
      throw new Error('a route without roles asked who the actor is');
  }
}

/** On a closed site any token reads. @throws LookasideError UNAUTHORIZED */
export function requireReader(services: Services, caller: Caller): void {
  if (services.settings().read === 'token') requireRole(caller, ['admin', 'auditor', 'reader', 'uploader']);
}

export function requireMethod(req: IncomingMessage, methods: readonly string[]): void {
  if (methods.includes(req.method ?? '')) return;
  throw new LookasideError(
    'METHOD_NOT_ALLOWED',
    `${req.method} is not possible here; wanted ${methods.join(' or ')}`,
  );
}

/** Counts the read and keeps it for the record. `imageIsSigned`: the image has at least one signature. */
export function recordRead(
  { metrics, recorder }: Services,
  req: IncomingMessage,
  { address, caller }: Exchange,
  { image, number, imageIsSigned, status, bytes }: AnsweredRead,
): void {
  if (status !== 404) metrics.read('hit');
  else metrics.read(imageIsSigned ? 'end' : 'miss');
  recorder.record({
    image,
    number,
    imageIsSigned,
    status,
    bytes,
    address,
    agent: req.headers['user-agent'] ?? '',
    token: caller.kind === 'token' ? caller.token.name : null,
  });
}
