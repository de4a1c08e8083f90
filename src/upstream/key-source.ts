// Newer copies of certificates from key servers and Web Key Directories. What comes is not trusted: only what a registered key
// vouches for itself is merged.
import { createHash } from 'node:crypto';
import type { Dispatcher } from 'undici';
import { LookasideError, systemCode } from '../domain/errors.ts';
import { addressesOf, hkpUrl, type KeySource, type MailAddress, wkdUrls } from '../domain/key-source.ts';
import { MAX_CERTIFICATES_BYTES } from '../domain/limits.ts';
import { trusting } from './direct.ts';
import { lookupPublic, NotPublic } from './public-address.ts';

export interface KeySourcesOptions {
  /** Certificates in PEM that are trusted beside those of Node.js; null: only those. */
  readonly ca: string | null;
  readonly hasProxies: boolean;
}

export interface WantedKey {
  readonly fingerprint: string;
  readonly userIds: readonly string[];
}

export interface KeySources {
  /** What the source has of the key; null when it has nothing. @throws LookasideError UPSTREAM_UNAVAILABLE */
  fetch(source: KeySource, key: WantedKey): Promise<Uint8Array | null>;
  close(): Promise<void>;
}

/** From the beginning to the last byte. */
const PATIENCE_MS = 10_000;
/** The most addresses that are asked for one key. */
const MAX_ADDRESSES = 4;

/**
 * `named`: a host that an administrator has named. `public`: the domain of a user id, which anybody may have written; it may not
 * lead into our own network.
 */
type Way = 'named' | 'public';

class Unwanted extends Error {}

/** Connects at the first request. */
export function openKeySources({ ca, hasProxies }: KeySourcesOptions): KeySources {
  const agents = new Map<Way, Promise<Dispatcher>>();

  function agentFor(way: Way): Promise<Dispatcher> {
    const opened = agents.get(way) ?? openAgent(way);
    agents.set(way, opened);
    return opened;
  }

  async function openAgent(way: Way): Promise<Dispatcher> {
    const { Agent, EnvHttpProxyAgent } = await import('undici');
    const tls = trusting(ca);
    const lookup = way === 'public' ? { lookup: lookupPublic } : {};
    const connect = { ...tls, timeout: PATIENCE_MS, ...lookup };
    // `connect` is for the hosts of NO_PROXY; through a proxy, the proxy decides which addresses can be reached
    if (hasProxies)
      return new EnvHttpProxyAgent({ connect, requestTls: tls, proxyTls: tls, proxyTunnel: false });
    return new Agent({ connect });
  }

  async function read(url: string, way: Way): Promise<Uint8Array | null> {
    try {
      return await readBy(await agentFor(way), new URL(url));
    } catch (error) {
      throw unavailable(url, error);
    }
  }

  /** `failure`: why neither place of the domain answered; null when one did. */
  async function askDirectory(address: MailAddress) {
    const hash = createHash('sha1').update(address.local.toLowerCase()).digest();
    let failure: unknown = null;
    let hasAnswer = false;
    for (const url of wkdUrls(address, hash)) {
      try {
        const bytes = await read(url, 'public');
        if (bytes !== null) return { bytes, failure: null };
        hasAnswer = true;
      } catch (error) {
        // few domains have the advanced place, whose host is then unknown
        failure = error;
      }
    }
    return { bytes: null, failure: hasAnswer ? null : failure };
  }

  return {
    async fetch(source, { fingerprint, userIds }) {
      if (source.kind === 'hkp') return read(hkpUrl(source.url, fingerprint), 'named');
      const pieces: Uint8Array[] = [];
      let failure: unknown = null;
      for (const address of addressesOf(userIds, MAX_ADDRESSES)) {
        const answer = await askDirectory(address);
        if (answer.bytes !== null) pieces.push(answer.bytes);
        failure ??= answer.failure;
      }
      if (pieces.length === 0 && failure !== null) throw failure;
      return pieces.length === 0 ? null : Buffer.concat(pieces);
    },
    async close() {
      await Promise.all([...agents.values()].map(async (agent) => (await agent).destroy()));
    },
  };
}

/** Null for 404. */
async function readBy(agent: Dispatcher, url: URL): Promise<Uint8Array | null> {
  const { statusCode, body } = await agent.request({
    origin: url.origin,
    path: url.pathname + url.search,
    method: 'GET',
    headers: { 'user-agent': 'lookaside' },
    signal: AbortSignal.timeout(PATIENCE_MS),
  });
  if (statusCode !== 200) {
    await body.dump({ limit: 64 * 1024 }).catch(() => undefined);
    if (statusCode === 404) return null;
    const isRedirect = statusCode >= 300 && statusCode < 400;
    throw new Unwanted(isRedirect ? 'redirects, which is not followed' : `answers ${statusCode}`);
  }
  const pieces: Uint8Array[] = [];
  let length = 0;
  for await (const piece of body) {
    length += piece.length;
    if (length > MAX_CERTIFICATES_BYTES)
      throw new Unwanted(`sends more than ${MAX_CERTIFICATES_BYTES} bytes`);
    pieces.push(piece);
  }
  return length === 0 ? null : Buffer.concat(pieces);
}

function unavailable(url: string, error: unknown): LookasideError {
  const { origin, pathname } = new URL(url);
  return new LookasideError(
    'UPSTREAM_UNAVAILABLE',
    `no certificate can be had: ${origin}${pathname} ${why(error)}`,
    { cause: error },
  );
}

function why(error: unknown): string {
  for (let cause = error; cause instanceof Error; cause = cause.cause) {
    if (cause instanceof Unwanted) return cause.message;
    if (cause instanceof NotPublic) return 'has an address that is not public';
    if (cause.name === 'TimeoutError') return `does not answer within ${PATIENCE_MS / 1000} seconds`;
  }
  return `cannot be reached (${systemCode(error) ?? 'unknown'})`;
}
