// Tokens: which names they may have, and whether a token gives access now.
import { LookasideError } from './errors.ts';
import type { Role, Token } from './ports.ts';
import { quoted } from './text.ts';

export interface WantedToken {
  readonly name: string;
  readonly role: Role;
  /** How long it gives access, by the clock of the machine that makes it; null: until it is revoked. */
  readonly lifeMs: number | null;
  /** Name of the signer whose grants bind its uploads; null or left out: none. */
  readonly signer?: string | null;
}

export interface CreatedToken {
  readonly text: string;
  readonly expiresAt: Date | null;
}

/** An expired token is as useless as a revoked one; both stay listed. `disabled`: its signer is. */
export type TokenState = 'valid' | 'expired' | 'revoked' | 'disabled';

export interface ShownToken extends Token {
  readonly state: TokenState;
}

export function tokenState({ revokedAt, expiresAt, disabledAt }: Token, now: Date): TokenState {
  if (revokedAt !== null) return 'revoked';
  if (expiresAt !== null && expiresAt.getTime() <= now.getTime()) return 'expired';
  return disabledAt === null ? 'valid' : 'disabled';
}

/** A hundred years: a longer time is more likely a typing error. */
export const MAX_TOKEN_LIFE_MS = 36_500 * 86_400_000;

const NAME = /^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$/;

export const TOKEN_NAME_FORM = '1 to 64 letters, digits and . _ @ -';

export function isTokenName(name: string): boolean {
  return NAME.test(name);
}

/** The error NOT_FOUND for a token name that was never used. */
export function unknownToken(name: string): LookasideError {
  return new LookasideError('NOT_FOUND', `no token is named ${quoted(name)}; see: lookaside token list`);
}
