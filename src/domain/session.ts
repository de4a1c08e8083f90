// Sessions of the web pages: how long they last, and how they are shown.
import { LookasideError } from './errors.ts';
import type { PageSession, Role } from './ports.ts';
import { tokenState } from './token.ts';

/** A working day with its edges. */
export const SESSION_MS = 12 * 3_600_000;

/** A session that gives access, as lists show it. */
export interface ShownSession {
  readonly id: number;
  /** Name of the token that was logged in with; of a log-in through an OpenID provider, issuer and subject. */
  readonly token: string;
  readonly role: Role;
  /** What the provider calls whoever logged in; null: logged in with a token. */
  readonly shownName: string | null;
  readonly createdAt: Date;
  /** When it ends by itself: twelve hours after the log-in, or earlier with its token. */
  readonly expiresAt: Date;
}

/** Whether it gives access now, as far as its times and its token tell. */
export function isSessionInForce({ token, expiresAt }: PageSession, now: Date): boolean {
  return expiresAt > now && tokenState(token, now) === 'valid';
}

export function showSession({ id, token, identity, createdAt, expiresAt }: PageSession): ShownSession {
  const endsWithToken = token.expiresAt !== null && token.expiresAt < expiresAt;
  return {
    id,
    token: token.name,
    role: token.role,
    shownName: identity?.shownName ?? null,
    createdAt,
    expiresAt: endsWithToken && token.expiresAt !== null ? token.expiresAt : expiresAt,
  };
}

/** The error NOT_FOUND for a session that is over, or never was. */
export function unknownSession(id: number): LookasideError {
  return new LookasideError(
    'NOT_FOUND',
    `there is no session ${id}: it has ended; see: lookaside token list`,
  );
}
