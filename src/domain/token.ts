// Tokens: what one may be called, and whether it opens anything now.
import { LookasideError } from './errors.ts';
import type { Role, Token } from './ports.ts';
import { quoted } from './text.ts';

export interface WantedToken {
  readonly name: string;
  readonly role: Role;
  /** How long it opens anything, by the clock of who makes it; null: until it is revoked. */
  readonly lifeMs: number | null;
}

export interface CreatedToken {
  readonly text: string;
  readonly expiresAt: Date | null;
}

/** Whoever expired is useless as whoever was revoked; both stay listed. */
export type TokenState = 'valid' | 'expired' | 'revoked';

export interface ShownToken extends Token {
  readonly state: TokenState;
}

export function tokenState({ revokedAt, expiresAt }: Token, now: Date): TokenState {
  if (revokedAt !== null) return 'revoked';
  return expiresAt !== null && expiresAt.getTime() <= now.getTime() ? 'expired' : 'valid';
}

/** A hundred years: beyond it a typing error is more likely. */
export const MAX_TOKEN_LIFE_MS = 36_500 * 86_400_000;

const NAME = /^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$/;

export const TOKEN_NAME_FORM = '1 to 64 letters, digits and . _ @ -';

export function isTokenName(name: string): boolean {
  return NAME.test(name);
}

/** NOT_FOUND, for whoever names a token that was never made. */
export function unknownToken(name: string): LookasideError {
  return new LookasideError('NOT_FOUND', `no token is named ${quoted(name)}; see: lookaside token list`);
}
