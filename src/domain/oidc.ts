// OIDC subjects: who a token of an OpenID provider may be, to act as a signer; and whether the claims of one say so.
import { LookasideError } from './errors.ts';
import { MAX_CLAIM_CHARACTERS, MAX_SUBJECT_CLAIMS } from './limits.ts';
import { quoted } from './text.ts';

/** Which tokens of an issuer act as a signer. */
export interface OidcSubject {
  /** Never used for another one. */
  readonly id: number;
  readonly signer: string;
  /** Exactly as tokens name it in `iss`. */
  readonly issuer: string;
  /** Patterns by the names of claims; at least one, and a token must meet all. */
  readonly claims: Readonly<Record<string, string>>;
  readonly createdAt: Date;
}

export type NewOidcSubject = Omit<OidcSubject, 'id'>;

export type WantedSubject = Pick<OidcSubject, 'signer' | 'issuer' | 'claims'>;

export interface AddedSubject extends OidcSubject {
  /** False: the signer had the same one already. */
  readonly created: boolean;
}

/** A subject with what decides whether it counts now. */
export interface BoundSubject {
  readonly subject: OidcSubject;
  /** Since when its signer is disabled; null: it is not. */
  readonly disabledAt: Date | null;
}

/** The claims of a token whose signature, issuer, audience and times were checked. */
export interface TokenClaims {
  /** `sub`. */
  readonly subject: string;
  readonly all: Readonly<Record<string, unknown>>;
}

/** A compact JWS: three parts in base 64, the last of them perhaps empty. No token of ours has a full stop. */
export function isJwt(text: string): boolean {
  return /^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*$/.test(text);
}

/** What the token says, which nobody has checked; null when it cannot be read. */
export function untrustedClaimsOf(token: string): Readonly<Record<string, unknown>> | null {
  const [, payload = ''] = token.split('.');
  try {
    const bytes = Uint8Array.from(atob(payload.replaceAll('-', '+').replaceAll('_', '/')), (unit) =>
      unit.charCodeAt(0),
    );
    const claims: unknown = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
    return typeof claims === 'object' && claims !== null ? { ...claims } : null;
  } catch {
    return null; // only for text that is not base 64, not UTF-8 or not JSON
  }
}

/** What the token says of its issuer, which nobody has checked; null when it says nothing that can be read. */
export function untrustedIssuerOf(token: string): string | null {
  const issuer = untrustedClaimsOf(token)?.iss;
  return typeof issuer === 'string' ? issuer : null;
}

/**
 * Whether the whole value is what the pattern says: `*` is any run of characters but `/`, also none; `**` is any run. Every
 * other character means itself.
 */
export function matchesClaim(pattern: string, value: string): boolean {
  const [first = '', ...rest] = pattern.split(/(\*+)/);
  if (!value.startsWith(first)) return false;
  // where the part of the pattern that was looked at so far can end in the value
  let ends = new Set([first.length]);
  for (let at = 0; at < rest.length; at += 2) {
    ends = endsBehind(ends, { star: rest[at] ?? '', piece: rest[at + 1] ?? '', value });
    if (ends.size === 0) return false;
  }
  return ends.has(value.length);
}

/** Where `piece` ends, when it follows `star` and that follows one of `ends`: at most one step for each character. */
function endsBehind(
  ends: ReadonlySet<number>,
  { star, piece, value }: { readonly star: string; readonly piece: string; readonly value: string },
): Set<number> {
  const pieceEnds = new Set<number>();
  let isOpen = false;
  for (let at = Math.min(...ends); at <= value.length; at += 1) {
    if (star === '*' && at > 0 && value[at - 1] === '/') isOpen = false;
    isOpen ||= ends.has(at);
    if (isOpen && value.startsWith(piece, at)) pieceEnds.add(at + piece.length);
  }
  return pieceEnds;
}

/** Whether the claims meet all patterns. A claim that is no text, number, true or false meets none. */
export function matchesSubject(
  { claims }: Pick<OidcSubject, 'claims'>,
  tokenClaims: Readonly<Record<string, unknown>>,
): boolean {
  return Object.entries(claims).every(([name, pattern]) => {
    const value = Object.hasOwn(tokenClaims, name) ? tokenClaims[name] : undefined;
    const isSimple = typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean';
    return isSimple && matchesClaim(pattern, String(value));
  });
}

/** How audit events name who uploaded: the signer, the issuer and the subject, with a blank between. No signer or issuer has a blank. */
export function identityName(signer: string, issuer: string, subject: string): string {
  return `${signer} ${issuer} ${subject}`;
}

const CLAIM_WANTED =
  'wanted NAME=PATTERN, like repository=team/app or sub=system:serviceaccount:ci:signer; * in a pattern is any run of characters but /, ** any run';

/** @throws LookasideError REQUEST_INVALID */
export function parseClaims(texts: readonly string[]): Readonly<Record<string, string>> {
  const claims: [string, string][] = [];
  for (const text of texts) {
    const sign = text.indexOf('=');
    if (sign < 1) refuse(`${quoted(text)} is not a claim; ${CLAIM_WANTED}`);
    const name = text.slice(0, sign);
    if (claims.some(([known]) => known === name)) {
      refuse(
        `the claim ${quoted(name)} is given twice, and a token has one value for it; use a pattern, or add two subjects`,
      );
    }
    claims.push([name, text.slice(sign + 1)]);
  }
  return Object.fromEntries(claims);
}

/** Issuer and claims as they are kept: the claims by name. @throws LookasideError REQUEST_INVALID */
export function checkSubject({ issuer, claims }: Pick<OidcSubject, 'issuer' | 'claims'>) {
  checkIssuer(issuer);
  const entries = Object.entries(claims).sort(([a], [b]) => (a < b ? -1 : 1));
  if (entries.length === 0)
    refuse(`a subject needs a claim, or every token of ${issuer} would be it; ${CLAIM_WANTED}`);
  if (entries.length > MAX_SUBJECT_CLAIMS)
    refuse(`a subject has at most ${MAX_SUBJECT_CLAIMS} claims, and these are ${entries.length}`);
  for (const [name, pattern] of entries) checkClaim(name, pattern);
  checkOwner(issuer, claims);
  return { issuer, claims: Object.fromEntries(entries) };
}

const CLAIM_NAME = /^[A-Za-z_][A-Za-z0-9_.:/-]{0,63}$/;
/** Checked for every token apart from claims; a pattern for them would say nothing, or never be met. */
const CHECKED_ANYWAY: readonly string[] = ['iss', 'aud', 'exp', 'nbf', 'iat', 'jti'];

/** @throws LookasideError REQUEST_INVALID */
export function checkClaim(name: string, pattern: string): void {
  if (!CLAIM_NAME.test(name)) refuse(`${quoted(name)} is not the name of a claim; ${CLAIM_WANTED}`);
  if (CHECKED_ANYWAY.includes(name)) {
    refuse(`${quoted(name)} is checked for every token, and says nothing of who it is; ${CLAIM_WANTED}`);
  }
  if (pattern.length > MAX_CLAIM_CHARACTERS)
    refuse(
      `the pattern of ${name} has ${pattern.length} characters; at most ${MAX_CLAIM_CHARACTERS} are taken`,
    );
  // \p{C}: what cannot be seen; \s at an end is never meant
  if (pattern === '' || /\p{C}/u.test(pattern) || pattern.trim() !== pattern)
    refuse(
      `the pattern of ${name} is ${quoted(pattern)}; wanted text without blanks at its ends and control characters`,
    );
  if (/^\*+$/.test(pattern))
    refuse(`the pattern of ${name} is met by every value; leave it out, or say more`);
  if (pattern.includes('***')) refuse(`the pattern of ${name} is ${quoted(pattern)}; wanted * or **`);
}

const LOOPBACK = /^(?:localhost|127\.\d{1,3}\.\d{1,3}\.\d{1,3}|\[::1\])$/;

/** @throws LookasideError REQUEST_INVALID */
export function checkIssuer(issuer: string): void {
  const url = parseUrl(issuer);
  // a text that URL() would write in another way is no issuer that a token could name
  const isPlain =
    url !== null &&
    issuer.length <= 255 &&
    /^[\x21-\x7e]+$/.test(issuer) &&
    url.username + url.password + url.search + url.hash === '' &&
    !/[?#\\]/.test(issuer) &&
    (url.href === issuer || url.href === `${issuer}/`);
  if (isPlain && (url.protocol === 'https:' || (url.protocol === 'http:' && LOOPBACK.test(url.hostname))))
    return;
  refuse(
    `${quoted(issuer)} is not an issuer; wanted its https URL exactly as the claim iss of its tokens has it, like https://token.actions.githubusercontent.com`,
  );
}

function parseUrl(text: string): URL | null {
  return URL.canParse(text) ? new URL(text) : null;
}

/** Issuers whose tokens anybody can get, with the claims that say whose pipeline it is. */
const SHARED: Readonly<Record<string, readonly string[]>> = {
  'https://token.actions.githubusercontent.com': [
    'sub',
    'repository',
    'repository_id',
    'repository_owner',
    'repository_owner_id',
  ],
  'https://gitlab.com': ['sub', 'project_path', 'project_id', 'namespace_path', 'namespace_id'],
};

/** Without one of these claims, a stranger's pipeline would be the signer. */
function checkOwner(issuer: string, claims: Readonly<Record<string, string>>): void {
  const owners = SHARED[issuer.replace(/\/$/, '')];
  if (owners === undefined || owners.some((name) => namesOwner(claims[name]))) return;
  refuse(
    `anybody can get tokens of ${issuer}: wanted one of the claims ${owners.join(', ')}, with a pattern that has no * ahead of its first /`,
  );
}

function namesOwner(pattern: string | undefined): boolean {
  if (pattern === undefined) return false;
  const [literal = ''] = pattern.split('*', 1);
  return literal === pattern || literal.includes('/');
}

/** The error NOT_FOUND. */
export function unknownSubject(id: number): LookasideError {
  const which = Number.isSafeInteger(id) ? `OIDC subject ${id}` : 'OIDC subject of that number';
  return new LookasideError('NOT_FOUND', `there is no ${which}; see: lookaside signer oidc list`);
}

/** For people and the audit log. */
export function subjectText({ issuer, claims }: Pick<OidcSubject, 'issuer' | 'claims'>): string {
  return [issuer, ...Object.entries(claims).map(([name, pattern]) => `${name}=${pattern}`)].join(' ');
}

function refuse(message: string): never {
  throw new LookasideError('REQUEST_INVALID', message);
}
