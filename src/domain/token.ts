// What a token may be called.
import { LookasideError } from './errors.ts';
import { quoted } from './text.ts';

const NAME = /^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$/;

export const TOKEN_NAME_FORM = '1 to 64 letters, digits and . _ @ -';

export function isTokenName(name: string): boolean {
  return NAME.test(name);
}

/** NOT_FOUND, for whoever names a token that was never made. */
export function unknownToken(name: string): LookasideError {
  return new LookasideError('NOT_FOUND', `no token is named ${quoted(name)}; see: lookaside token list`);
}
