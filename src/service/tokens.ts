// Tokens: created here, shown once, stored only as hashes.
import { LookasideError } from '../domain/errors.ts';
import type { Clock, Log, Role, Token, TokenStore } from '../domain/ports.ts';
import {
  type CreatedToken,
  isTokenName,
  MAX_TOKEN_LIFE_MS,
  type ShownToken,
  TOKEN_NAME_FORM,
  type TokenState,
  tokenState,
  unknownToken,
  type WantedToken,
} from '../domain/token.ts';
import { type Actor, ADMINISTRATOR, ANONYMOUS, type MakeEvent, SERVER } from './audit.ts';

export interface TokenServiceOptions {
  readonly store: TokenStore;
  readonly clock: Clock;
  readonly makeEvent: MakeEvent;
  readonly randomBytes: (count: number) => Uint8Array;
  /** Lower-case hex. */
  readonly sha256: (text: string) => string;
  readonly log: Pick<Log, 'debug'>;
}

export interface TokenService {
  /** The result has the token's text, which can never be shown again. @throws LookasideError NAME_TAKEN, REQUEST_INVALID */
  create(wanted: WantedToken, actor: Actor): Promise<CreatedToken>;
  list(): Promise<readonly ShownToken[]>;
  /** @throws NOT_FOUND */
  revoke(name: string, actor: Actor): Promise<ShownToken>;
  /** The token with this text, unless it is revoked; never waits. See TokenStore.peek. */
  peek(text: string): KnownToken | null;
  /** The same for a text that peek() does not know. @throws STORE_UNAVAILABLE */
  find(text: string): Promise<KnownToken | null>;
  /** Notes that it was used; never waits. */
  used(token: Token): void;
  /** Writes down what was noted; resolves when that is done or given up for now. */
  writeUses(): Promise<void>;
}

/** A token found by its text, with its state now. */
export interface KnownToken {
  readonly token: Token;
  readonly state: Exclude<TokenState, 'revoked'>;
}

/** The prefix lets scanners for leaked secrets recognise a token. */
const PREFIX = 'lookaside_';
const TOKEN = /^lookaside_[0-9a-f]{64}$/;
/** It also matches a token that is cut short, or whose underscore is escaped. */
const ANY_TOKEN = /(lookaside(?:_|%5f))[0-9a-f]{16,}/gi;
/** A token of an OpenID provider: its header is JSON, and so begins in this way. */
const ANY_JWT = /\b(eyJ)[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]*)?/g;
/** Names in the audit log that do not belong to tokens. */
const RESERVED: readonly string[] = [ADMINISTRATOR.name, SERVER.name, ANONYMOUS];

export function createTokenService(options: TokenServiceOptions): TokenService {
  const { store, clock, makeEvent, randomBytes, sha256, log } = options;
  const uses = new Map<string, Date>();
  return {
    async create({ name, role, lifeMs, signer = null }, actor) {
      checkName(name);
      checkLife(lifeMs);
      if (signer !== null) checkBound(role);
      const createdAt = clock.now();
      const expiresAt = lifeMs === null ? null : new Date(createdAt.getTime() + lifeMs);
      const text = PREFIX + Buffer.from(randomBytes(32)).toString('hex');
      const event = makeEvent(
        {
          action: 'token-create',
          result: 'created',
          reason: `${name} (${role}${ofSigner(signer)}${untilOf(expiresAt)})`,
        },
        actor,
      );
      await store.create({ name, role, hash: sha256(text), createdAt, expiresAt, signer }, event);
      return { text, expiresAt };
    },
    list: async () => (await store.list()).map((token) => showToken(token, clock.now())),
    async revoke(name, actor) {
      const event = makeEvent({ action: 'token-revoke', result: 'revoked', reason: name }, actor);
      const revoked = await store.revoke(name, clock.now(), event);
      if (revoked === null) throw unknownToken(name);
      return showToken(revoked, clock.now());
    },
    peek: (text) => (TOKEN.test(text) ? known(store.peek(sha256(text))) : null),
    find: async (text) => (TOKEN.test(text) ? known(await store.find(sha256(text))) : null),
    used({ name, lastUsedAt }) {
      const at = minuteOf(clock.now());
      if ((lastUsedAt?.getTime() ?? 0) < at.getTime()) uses.set(name, at);
    },
    async writeUses() {
      const noted = [...uses].map(([name, at]) => ({ name, at }));
      if (noted.length === 0) return;
      uses.clear();
      try {
        await store.noteUse(noted);
      } catch (error) {
        // it costs nobody anything but a time in a list, which the next use sets
        log.debug({ err: error }, 'the last uses of tokens could not be written');
      }
    },
  };

  function known(token: Token | null): KnownToken | null {
    if (token === null) return null;
    const state = tokenState(token, clock.now());
    return state === 'revoked' ? null : { token, state };
  }
}

export function showToken(token: Token, now: Date): ShownToken {
  const { name, role, signer, createdAt, expiresAt, revokedAt, disabledAt, lastUsedAt } = token;
  const state = tokenState(token, now);
  return { name, role, signer, state, createdAt, expiresAt, revokedAt, disabledAt, lastUsedAt };
}

function minuteOf(at: Date): Date {
  return new Date(Math.floor(at.getTime() / 60_000) * 60_000);
}

function ofSigner(signer: string | null): string {
  return signer === null ? '' : ` of the signer ${signer}`;
}

/** @throws LookasideError REQUEST_INVALID */
function checkBound(role: Role): void {
  if (role === 'uploader') return;
  throw new LookasideError(
    'REQUEST_INVALID',
    `a token of a signer has the role uploader, and this one would have ${role}; leave out the role, or the signer`,
  );
}

function untilOf(expiresAt: Date | null): string {
  return expiresAt === null ? '' : `, until ${expiresAt.toISOString()}`;
}

/** The text for a log, with every token in it masked, wherever a client has put one. */
export function maskTokens(text: string): string {
  return text.replace(ANY_TOKEN, '$1****').replace(ANY_JWT, '$1****');
}

/** @throws LookasideError REQUEST_INVALID */
function checkLife(lifeMs: number | null): void {
  if (lifeMs === null || (Number.isSafeInteger(lifeMs) && lifeMs > 0 && lifeMs <= MAX_TOKEN_LIFE_MS)) return;
  throw new LookasideError(
    'REQUEST_INVALID',
    'a token lasts from one millisecond to 36500 days, or without an end; choose a time between',
  );
}

/** @throws LookasideError REQUEST_INVALID */
function checkName(name: string): void {
  if (!isTokenName(name)) {
    throw new LookasideError(
      'REQUEST_INVALID',
      `"${name.slice(0, 80)}" is not a name for a token; wanted ${TOKEN_NAME_FORM}`,
    );
  }
  if (RESERVED.includes(name.toLowerCase())) {
    throw new LookasideError(
      'REQUEST_INVALID',
      `"${name}" stands for another in the audit log; choose another name for the token`,
    );
  }
}
