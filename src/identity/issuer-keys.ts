// The keys of OpenID providers: found by discovery, kept for an hour at most, asked for no oftener than the provider can bear.
import { createLocalJWKSet, type JSONWebKeySet, type JWTVerifyGetKey } from 'jose';
import { LRUCache } from 'lru-cache';
import { isLookasideError, LookasideError } from '../domain/errors.ts';
import { MAX_ISSUER_KEYS } from '../domain/limits.ts';
import { quoted } from '../domain/text.ts';

/** One document of a provider, as text. @throws LookasideError ISSUER_UNAVAILABLE when it cannot be had, is too large or leads elsewhere */
export type ReadDocument = (url: URL, issuer: URL) => Promise<string>;

export interface IssuerKeysOptions {
  readonly read: ReadDocument;
  readonly monotonicMs: () => number;
  /** Called when an issuer could not be asked; keys at hand are used meanwhile. */
  readonly onFailure: (issuer: string, error: LookasideError) => void;
}

export interface IssuerKeys {
  /** Those at hand when they are at most some minutes old or the issuer cannot be asked, else new ones. @throws ISSUER_UNAVAILABLE */
  get(issuer: string): Promise<JWTVerifyGetKey>;
  /** New ones, because a token names one that is not among them; null when they were asked for a moment ago. @throws ISSUER_UNAVAILABLE */
  again(issuer: string): Promise<JWTVerifyGetKey | null>;
}

/** Until then nobody asks again. */
const FRESH_MS = 10 * 60_000;
/** Until then keys are used when the issuer cannot be asked: for so long a key that it has withdrawn may go on. */
const USABLE_MS = 60 * 60_000;
/** Between two requests to one issuer, whatever tokens name. */
const REST_MS = 30_000;
const MAX_ISSUERS = 64;

interface Kept {
  readonly keys: JWTVerifyGetKey;
  readonly atMs: number;
}

interface Entry {
  kept: Kept | null;
  /** When the last request began; null: none has. */
  askedMs: number | null;
  failure: LookasideError | null;
  asking: Promise<void> | null;
}

export function createIssuerKeys({ read, monotonicMs, onFailure }: IssuerKeysOptions): IssuerKeys {
  const entries = new LRUCache<string, Entry>({ max: MAX_ISSUERS });

  function entryOf(issuer: string): Entry {
    const known = entries.get(issuer);
    if (known !== undefined) return known;
    const entry: Entry = { kept: null, askedMs: null, failure: null, asking: null };
    entries.set(issuer, entry);
    return entry;
  }

  /** One request at a time; it never rejects. */
  function ask(issuer: string, entry: Entry): Promise<void> {
    entry.asking ??= askNow(issuer, entry).finally(() => {
      entry.asking = null;
    });
    return entry.asking;
  }

  async function askNow(issuer: string, entry: Entry): Promise<void> {
    entry.askedMs = monotonicMs();
    try {
      const keys = createLocalJWKSet(await discover(issuer, read));
      entry.kept = { keys, atMs: monotonicMs() };
      entry.failure = null;
    } catch (error) {
      entry.failure = isLookasideError(error, 'ISSUER_UNAVAILABLE')
        ? error
        : new LookasideError('ISSUER_UNAVAILABLE', `the keys of the issuer ${issuer} cannot be used`, {
            cause: error,
          });
      onFailure(issuer, entry.failure);
    }
  }

  function mayAsk({ askedMs, asking }: Entry): boolean {
    return asking !== null || askedMs === null || monotonicMs() - askedMs >= REST_MS;
  }

  function usable({ kept }: Entry): JWTVerifyGetKey | null {
    return kept !== null && monotonicMs() - kept.atMs < USABLE_MS ? kept.keys : null;
  }

  return {
    async get(issuer) {
      const entry = entryOf(issuer);
      const { kept } = entry;
      if (kept !== null && monotonicMs() - kept.atMs < FRESH_MS) return kept.keys;
      if (mayAsk(entry)) await ask(issuer, entry);
      const keys = usable(entry);
      if (keys !== null) return keys;
      throw entry.failure ?? new Error('keys that were just fetched cannot be used');
    },
    async again(issuer) {
      const entry = entryOf(issuer);
      if (!mayAsk(entry)) return null;
      await ask(issuer, entry);
      return usable(entry);
    },
  };
}

/** OpenID Connect Discovery 1.0, section 4. @throws LookasideError ISSUER_UNAVAILABLE */
async function discover(issuer: string, read: ReadDocument): Promise<JSONWebKeySet> {
  const base = new URL(issuer);
  const at = new URL(`${issuer.replace(/\/$/, '')}/.well-known/openid-configuration`);
  const configuration = parseObject(await read(at, base), at);
  if (configuration.issuer !== issuer) {
    throw unusable(
      at,
      `names the issuer ${quoted(String(configuration.issuer).slice(0, 255))}, and not ${issuer}`,
    );
  }
  const { jwks_uri: keysAt } = configuration;
  if (typeof keysAt !== 'string' || !URL.canParse(keysAt)) throw unusable(at, 'names no jwks_uri');
  const url = new URL(keysAt);
  if (
    url.protocol !== 'https:' &&
    (url.protocol !== 'http:' || url.host !== base.host || base.protocol !== 'http:')
  )
    throw unusable(at, `names the jwks_uri ${quoted(keysAt.slice(0, 255))}, and only https is asked`);
  const { keys } = parseObject(await read(url, base), url);
  if (!Array.isArray(keys)) throw unusable(url, 'has no keys');
  if (keys.length > MAX_ISSUER_KEYS)
    throw unusable(url, `has ${keys.length} keys; at most ${MAX_ISSUER_KEYS} are taken`);
  return { keys: keys.filter(isPublicKey) };
}

/** A shared secret in a set that anybody may read signs nothing. */
function isPublicKey(key: unknown): boolean {
  return typeof key === 'object' && key !== null && 'kty' in key && key.kty !== 'oct';
}

function parseObject(text: string, url: URL): Readonly<Record<string, unknown>> {
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value === 'object' && value !== null) return value as Readonly<Record<string, unknown>>; // any object is one
  } catch {
    // only SyntaxError, told below
  }
  throw unusable(url, 'is not a JSON object');
}

function unusable({ href }: URL, why: string): LookasideError {
  return new LookasideError('ISSUER_UNAVAILABLE', `the keys of the issuer cannot be had: ${href} ${why}`);
}
