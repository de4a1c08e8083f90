// GET for lists that people want to mirror: through the proxies of the environment, with a user and password only for the address that
// they were given for.
import { rootCertificates } from 'node:tls';
import { EnvHttpProxyAgent } from 'undici';
import type { AskWeb, WebAnswer } from '../domain/client-machine.ts';
import { LookasideError, systemCode } from '../domain/errors.ts';
import { percentDecode, toUrl } from '../domain/url.ts';
import { isPublicAddress, lookupPublic, NotPublic } from './public-address.ts';
import { openTunnels } from './tunnels.ts';

export interface AskPagesOptions {
  /** Certificates in PEM that are trusted beside the usual ones; null: only those. */
  readonly ca: string | null;
  readonly maxBytes: number;
  readonly patienceMs: number;
  /** Nobody has typed the addresses: only those of the public internet are asked. Through a proxy, the proxy decides. */
  readonly isPublicOnly?: boolean;
}

const MOST_REDIRECTS = 10;
const REDIRECTS: ReadonlySet<number> = new Set([301, 302, 303, 307, 308]);

/** @throws LookasideError CONFIG_INVALID when the environment names a proxy that is not valid */
export function openPages(options: AskPagesOptions): { readonly ask: AskWeb; close(): Promise<void> } {
  const agent = openAgent(options);

  async function ask(text: string, headers: Readonly<Record<string, string>> = {}): Promise<WebAnswer> {
    let url = new URL(text);
    const { origin } = url;
    const login = loginOf(url);
    const signal = AbortSignal.timeout(options.patienceMs);
    try {
      for (let hop = 0; hop <= MOST_REDIRECTS; hop += 1) {
        if (options.isPublicOnly === true && isLocal(url)) throw new NotPublic(url.host);
        const isFirst = url.origin === origin;
        const { authorization, ...plain } = headers;
        const secret = authorization ?? login;
        const answer = await agent.request({
          origin: url.origin,
          path: url.pathname + url.search,
          method: 'GET',
          headers: {
            'user-agent': 'lookaside',
            ...plain,
            ...(isFirst && secret !== null ? { authorization: secret } : {}),
          },
          signal,
        });
        const header = (name: string) => [answer.headers[name] ?? null].flat()[0] ?? null;
        const to = REDIRECTS.has(answer.statusCode) ? toUrl(header('location') ?? '', url) : null;
        const isSafe = to?.protocol === 'https:' || (to?.protocol === 'http:' && url.protocol === 'http:');
        if (to !== null && isSafe) {
          await answer.body.dump();
          url = to;
          continue;
        }
        const body = await readBounded(answer.body, options.maxBytes);
        if (body === null) return { kind: 'too-large', why: `it has more than ${options.maxBytes} bytes` };
        return { kind: 'answer', status: answer.statusCode, header, body };
      }
      return { kind: 'failed', why: `it redirects more than ${MOST_REDIRECTS} times` };
    } catch (error) {
      if (signal.aborted) return { kind: 'failed', why: 'it took too long' };
      if (isNotPublic(error)) return { kind: 'failed', why: 'NOT_PUBLIC' };
      // a message of undici may hold the whole URL
      return { kind: 'failed', why: systemCode(error) ?? 'the connection failed' };
    }
  }

  return { ask, close: () => agent.destroy() };
}

/** A literal address is connected to without a look-up, and the system may know names of itself. */
function isLocal({ hostname }: URL): boolean {
  const isLiteral = /^[\d.]+$|^\[/.test(hostname);
  return isLiteral ? !isPublicAddress(hostname) : /(?:^|\.)localhost\.?$/i.test(hostname);
}

function isNotPublic(error: unknown): boolean {
  for (let cause = error; cause instanceof Error; cause = cause.cause) {
    if (cause instanceof NotPublic) return true;
  }
  return false;
}

function openAgent({ ca, isPublicOnly = false }: AskPagesOptions): EnvHttpProxyAgent {
  const tls = ca === null ? {} : { ca: [...rootCertificates, ca] };
  const connect = isPublicOnly ? { ...tls, lookup: lookupPublic } : tls;
  try {
    return new EnvHttpProxyAgent({
      connect,
      requestTls: tls,
      clientFactory: openTunnels,
      proxyTunnel: false,
    });
  } catch (error) {
    throw new LookasideError('CONFIG_INVALID', 'the environment names a proxy that is not a URL', {
      cause: error,
    });
  }
}

function loginOf({ username, password }: URL): string | null {
  if (username === '') return null;
  const pair = `${percentDecode(username)}:${percentDecode(password)}`;
  return `Basic ${Buffer.from(pair).toString('base64')}`;
}

async function readBounded(body: AsyncIterable<Uint8Array>, maxBytes: number): Promise<Uint8Array | null> {
  const pieces: Uint8Array[] = [];
  let length = 0;
  for await (const piece of body) {
    length += piece.length;
    if (length > maxBytes) return null; // leaving the loop destroys the rest
    pieces.push(piece);
  }
  return Buffer.concat(pieces);
}
