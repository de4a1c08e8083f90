// Tokens: made here, shown once, kept only as hashes.
import { LookasideError } from '../domain/errors.ts';
import type { Clock, Role, Token, TokenStore } from '../domain/ports.ts';
import { isTokenName, TOKEN_NAME_FORM, unknownToken } from '../domain/token.ts';
import { type Actor, ADMINISTRATOR, type MakeEvent, SERVER } from './audit.ts';

export interface TokenServiceOptions {
  readonly store: TokenStore;
  readonly clock: Clock;
  readonly makeEvent: MakeEvent;
  readonly randomBytes: (count: number) => Uint8Array;
  /** Lower-case hex. */
  readonly sha256: (text: string) => string;
}

export interface TokenService {
  /** The token's text, which nobody can be shown again. @throws LookasideError NAME_TAKEN, REQUEST_INVALID */
  create(name: string, role: Role, actor: Actor): Promise<string>;
  list(): Promise<readonly Token[]>;
  /** @throws NOT_FOUND */
  revoke(name: string, actor: Actor): Promise<Token>;
  /** The token whose text this is, unless revoked; never waits. See TokenStore.peek. */
  peek(text: string): Token | null;
  /** The same, for a text that peek() does not know. @throws STORE_UNAVAILABLE */
  find(text: string): Promise<Token | null>;
}

/** So that scanners for leaked secrets know one when they see it. */
const PREFIX = 'lookaside_';
const TOKEN = /^lookaside_[0-9a-f]{64}$/;
/** Also one that was cut, or whose underscore is escaped. */
const ANY_TOKEN = /(lookaside(?:_|%5f))[0-9a-f]{16,}/gi;
/** Names under which others than tokens stand in the audit log. */
const RESERVED: readonly string[] = [ADMINISTRATOR.name, SERVER.name];

export function createTokenService(options: TokenServiceOptions): TokenService {
  const { store, clock, makeEvent, randomBytes, sha256 } = options;
  return {
    async create(name, role, actor) {
      checkName(name);
      const text = PREFIX + Buffer.from(randomBytes(32)).toString('hex');
      const event = makeEvent(
        { action: 'token-create', result: 'created', reason: `${name} (${role})` },
        actor,
      );
      await store.create({ name, role, hash: sha256(text), createdAt: clock.now() }, event);
      return text;
    },
    list: () => store.list(),
    async revoke(name, actor) {
      const event = makeEvent({ action: 'token-revoke', result: 'revoked', reason: name }, actor);
      const revoked = await store.revoke(name, clock.now(), event);
      if (revoked === null) throw unknownToken(name);
      return revoked;
    },
    peek: (text) => (TOKEN.test(text) ? store.peek(sha256(text)) : null),
    find: async (text) => (TOKEN.test(text) ? store.find(sha256(text)) : null),
  };
}

/** The text for a log: with no token in it, wherever a client has put it. */
export function maskTokens(text: string): string {
  return text.replace(ANY_TOKEN, '$1****');
}

/** @throws LookasideError REQUEST_INVALID */
function checkName(name: string): void {
  if (!isTokenName(name)) {
    throw new LookasideError(
      'REQUEST_INVALID',
      `"${name.slice(0, 80)}" is no name for a token; wanted ${TOKEN_NAME_FORM}`,
    );
  }
  if (RESERVED.includes(name.toLowerCase())) {
    throw new LookasideError(
      'REQUEST_INVALID',
      `"${name}" stands for another in the audit log; choose another name for the token`,
    );
  }
}
