// Who is asking: the address behind trusted proxies, and the token.
import type { IncomingMessage } from 'node:http';
import { type BlockList, isIP } from 'node:net';
import { LookasideError } from '../domain/errors.ts';
import { leastRole, type Role, type Token } from '../domain/ports.ts';

/**
 * The client's address. X-Forwarded-For is read from the right, and believed as long as the addresses that wrote it are
 * trusted. Without an address (a Unix socket) it is `local`.
 */
export function clientAddress(req: IncomingMessage, trusted: BlockList): string {
  let address = peerOf(req);
  if (req.headers['x-forwarded-for'] === undefined) return address;
  for (const hop of forwarded(req, 'x-forwarded-for', trusted).map(plain).reverse()) {
    if (isIP(hop) === 0) return address;
    address = hop;
    if (!isTrusted(trusted, address)) return address;
  }
  return address;
}

/** The parts of a header that proxies write, in their order; none when the sender of the request is no trusted proxy. */
export function forwarded(req: IncomingMessage, name: `x-forwarded-${string}`, trusted: BlockList): string[] {
  const header = req.headers[name];
  if (header === undefined || !isTrusted(trusted, peerOf(req))) return [];
  return (Array.isArray(header) ? header.join(',') : header).split(',').map((part) => part.trim());
}

/** Who the caller is: the administrator on the Unix socket, the holder of a token, or somebody unknown. */
export type Caller =
  | { readonly kind: 'administrator' }
  | {
      readonly kind: 'token';
      readonly token: Token;
      /** As other signers, when an OIDC token is the subject of several. */
      readonly others?: readonly Token[];
    }
  | { readonly kind: 'anonymous'; readonly sent: WorthlessToken | null };

/** A token was sent that gives no access. */
export type WorthlessToken =
  /** Perhaps it was revoked: the text of a revoked token cannot be told from any other text. */
  | { readonly kind: 'unknown' }
  | { readonly kind: 'expired' | 'disabled'; readonly token: Token }
  /** An OIDC token, with what is said of it. */
  | { readonly kind: 'refused'; readonly error: LookasideError };

/** The token's text from Bearer or as the Basic password with any user; null when none was sent. */
export function sentToken(req: IncomingMessage): string | null {
  const { authorization } = req.headers;
  if (authorization === undefined) return null;
  const [scheme = '', credentials = ''] = authorization.trim().split(/ +/, 2);
  if (scheme.toLowerCase() === 'bearer') return credentials;
  if (scheme.toLowerCase() !== 'basic') return null;
  const userAndPassword = Buffer.from(credentials, 'base64').toString('utf8');
  const colon = userAndPassword.indexOf(':');
  return colon === -1 ? null : userAndPassword.slice(colon + 1);
}

const NO_TOKEN =
  'a token is needed here, as Bearer or as the password of Basic; an administrator makes one with: lookaside token create';
const WRONG_TOKEN =
  'the token that was sent is unknown or revoked; wanted one that is in force, as lookaside token list shows them; an administrator makes one with: lookaside token create';

/** @throws LookasideError UNAUTHORIZED without a valid token, DENIED when its role is not among these */
export function requireRole(caller: Caller, roles: readonly Role[]): void {
  if (caller.kind === 'administrator') return;
  if (caller.kind === 'anonymous') throw unauthorized(caller.sent);
  if (roles.includes(caller.token.role)) return;
  throw new LookasideError(
    'DENIED',
    `the token "${caller.token.name}" has the role ${caller.token.role}; wanted ${roles.join(' or ')}; an administrator makes such a token with: lookaside token create --name NAME --role ${leastRole(roles)}`,
  );
}

function unauthorized(sent: WorthlessToken | null): LookasideError {
  switch (sent?.kind) {
    case undefined:
      return new LookasideError('UNAUTHORIZED', NO_TOKEN);
    case 'refused':
      return sent.error;
    case 'unknown':
      return new LookasideError('UNAUTHORIZED', WRONG_TOKEN);
    case 'disabled':
      return new LookasideError(
        'UNAUTHORIZED',
        `the token "${sent.token.name}" that was sent belongs to the signer "${sent.token.signer}", which is disabled; an administrator allows it again with: lookaside signer enable ${sent.token.signer}`,
        { detail: { disabledSigner: sent.token.signer } },
      );
    case 'expired': {
      const expiredAt = sent.token.expiresAt?.toISOString() ?? null;
      return new LookasideError(
        'UNAUTHORIZED',
        `the token "${sent.token.name}" that was sent expired at ${expiredAt}; wanted one that is in force; an administrator makes one, under another name, with: lookaside token create`,
        { detail: { expiredAt } },
      );
    }
  }
}

/** What a reader process says of the connection on which a request came to it. */
export interface Peer {
  readonly address: string;
  readonly isEncrypted: boolean;
}

const PEER = Symbol('peer');

interface PassedOn extends IncomingMessage {
  [PEER]?: Peer;
}

/** From here on the request counts as one that came from there. */
export function setPeer(req: PassedOn, peer: Peer): void {
  req[PEER] = peer;
}

/** Whether a reader process has passed the request on. */
export function isPassedOn(req: PassedOn): boolean {
  return req[PEER] !== undefined;
}

/** Who is at the other end of the connection; `local` without an address. */
export function peerOf(req: PassedOn): string {
  return plain(req[PEER]?.address ?? req.socket.remoteAddress ?? 'local');
}

/** Whether the client's connection ends here and is TLS. */
export function isEncrypted(req: PassedOn): boolean {
  return req[PEER]?.isEncrypted ?? 'encrypted' in req.socket;
}

function isTrusted(trusted: BlockList, address: string): boolean {
  const family = isIP(address);
  return family !== 0 && trusted.check(address, family === 4 ? 'ipv4' : 'ipv6');
}

const COLON = 0x3a;
const BRACKET = 0x5b;

// a dual-stack socket writes IPv4 as ::ffff:192.0.2.1
function plain(address: string): string {
  if (address.charCodeAt(0) !== COLON && address.charCodeAt(0) !== BRACKET) return address;
  const mapped = /^::ffff:([0-9.]+)$/i.exec(address)?.[1];
  return mapped ?? address.replace(/^\[|\]$/g, '');
}
