// Documents of OpenID providers: small, whole and from where they are said to be.
import type { Dispatcher } from 'undici';
import { LookasideError, systemCode } from '../domain/errors.ts';
import { MAX_ISSUER_DOCUMENT_BYTES } from '../domain/limits.ts';
import { isLoopback } from './address.ts';
import { trusting } from './direct.ts';
import { isPublicAddress, lookupPublic, NotPublic } from './public-address.ts';

export interface IssuerDocumentsOptions {
  /** Certificates in PEM that are trusted beside those of Node.js; null: only those. */
  readonly ca: string | null;
  readonly hasProxies: boolean;
}

export interface IssuerDocuments {
  /** The text of the document. @throws LookasideError ISSUER_UNAVAILABLE */
  read(url: URL, issuer: URL): Promise<string>;
  /** One request and its whole answer, whatever its status but a redirect. @throws LookasideError ISSUER_UNAVAILABLE */
  ask(url: URL, issuer: URL, request: ProviderRequest): Promise<ProviderAnswer>;
  close(): Promise<void>;
}

export interface ProviderRequest {
  readonly method: string;
  readonly headers: Readonly<Record<string, string>>;
  /** A form, as text. */
  readonly body: string | null;
}

export interface ProviderAnswer {
  readonly status: number;
  /** The first of each name, in lower case. */
  readonly headers: Readonly<Record<string, string>>;
  readonly text: string;
}

/** From the beginning to the last byte. */
const PATIENCE_MS = 10_000;
/** At once, to one provider. */
const CONNECTIONS = 8;

/** Connects at the first request. */
export function openIssuerDocuments(options: IssuerDocumentsOptions): IssuerDocuments {
  const agents = new Map<Way, Promise<Dispatcher>>();

  function agentFor(way: Way): Promise<Dispatcher> {
    const known = agents.get(way);
    if (known !== undefined) return known;
    const opened = openAgent(way, options);
    agents.set(way, opened);
    return opened;
  }

  const ask = async (url: URL, issuer: URL, request: ProviderRequest) =>
    askBy(await agentFor(wayTo(url, issuer, options)), url, request);

  return {
    async read(url, issuer) {
      try {
        const { status, text } = await ask(url, issuer, READ);
        if (status === 200) return text;
        throw new Unwanted(`answers ${status}`);
      } catch (error) {
        throw unavailable('the keys of the issuer cannot be had', url, error);
      }
    },
    async ask(url, issuer, request) {
      try {
        return await ask(url, issuer, request);
      } catch (error) {
        throw unavailable('the OpenID provider cannot be asked', url, error);
      }
    },
    async close() {
      await Promise.all([...agents.values()].map(async (agent) => (await agent).destroy()));
    },
  };
}

/**
 * `named`: the host of the issuer, which an administrator has named. `public`: another host that the issuer names; it may not
 * lead into our own network. `loopback`: no proxy is asked for this machine.
 */
type Way = 'named' | 'loopback' | 'public';

class Unwanted extends Error {}

function wayTo(url: URL, issuer: URL, { hasProxies }: IssuerDocumentsOptions): Way {
  if (url.host === issuer.host) return isLoopback(url.hostname) ? 'loopback' : 'named';
  const isLiteral = /^[\d.]+$|^\[/.test(url.hostname);
  if (isLoopback(url.hostname) || (isLiteral && !isPublicAddress(url.hostname)))
    throw new NotPublic(url.host);
  // through a proxy, the proxy decides which addresses can be reached
  return hasProxies ? 'named' : 'public';
}

async function openAgent(way: Way, { ca, hasProxies }: IssuerDocumentsOptions): Promise<Dispatcher> {
  const { Agent, EnvHttpProxyAgent } = await import('undici');
  const tls = trusting(ca);
  const connect = { ...tls, timeout: PATIENCE_MS, ...(way === 'public' ? { lookup: lookupPublic } : {}) };
  if (!hasProxies || way !== 'named') return new Agent({ connect, connections: CONNECTIONS });
  return new EnvHttpProxyAgent({
    connect,
    connections: CONNECTIONS,
    requestTls: tls,
    proxyTls: tls,
    proxyTunnel: false,
  });
}

const READ: ProviderRequest = { method: 'GET', headers: { accept: 'application/json' }, body: null };

async function askBy(
  agent: Dispatcher,
  url: URL,
  { method, headers: sent, body: form }: ProviderRequest,
): Promise<ProviderAnswer> {
  const { statusCode, headers, body } = await agent.request({
    origin: url.origin,
    path: url.pathname + url.search,
    method: method === 'POST' ? 'POST' : 'GET',
    headers: { ...sent, 'user-agent': 'lookaside' },
    body: form,
    signal: AbortSignal.timeout(PATIENCE_MS),
  });
  if (statusCode >= 300 && statusCode < 400) {
    await body.dump({ limit: 64 * 1024 }).catch(() => undefined);
    throw new Unwanted('redirects, which is not followed');
  }
  const pieces: Uint8Array[] = [];
  let length = 0;
  for await (const piece of body) {
    length += piece.length;
    if (length > MAX_ISSUER_DOCUMENT_BYTES)
      throw new Unwanted(`sends more than ${MAX_ISSUER_DOCUMENT_BYTES} bytes`); // leaving the loop destroys the rest
    pieces.push(piece);
  }
  const named = Object.entries(headers).map(([name, value]) => [name, [value].flat()[0] ?? '']);
  return {
    status: statusCode,
    headers: Object.fromEntries(named),
    text: Buffer.concat(pieces).toString('utf8'),
  };
}

function unavailable(what: string, url: URL, error: unknown): LookasideError {
  const { origin, pathname } = url;
  return new LookasideError(
    'ISSUER_UNAVAILABLE',
    `${what}: ${origin}${pathname} ${why(error)}; try again, and see the log of the server`,
    { cause: error },
  );
}

function why(error: unknown): string {
  for (let cause = error; cause instanceof Error; cause = cause.cause) {
    if (cause instanceof Unwanted) return cause.message;
    if (cause instanceof NotPublic) return 'lies on another host, whose address is not public';
    if (cause.name === 'TimeoutError') return `does not answer within ${PATIENCE_MS / 1000} seconds`;
  }
  return `cannot be reached (${systemCode(error) ?? 'unknown'})`;
}
