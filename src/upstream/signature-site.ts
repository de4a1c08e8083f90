// One file of a signature site that is not ours: redirects, encodings and bodies of which nothing is believed. What it says of a
// URL has neither user nor query, because both may be secrets: presigned links are passwords.
import { rootCertificates } from 'node:tls';
import { gunzipSync } from 'node:zlib';
import { MAX_SIGNATURE_BYTES } from '../domain/limits.ts';
import { whyUnreadable } from '../domain/readable.ts';
import { type Fetched, type SignatureUpstream, type WalkFault, walkFault } from '../domain/walk.ts';
import { isPublicAddress, lookupPublic, NotPublic } from './public-address.ts';
import {
  askOver,
  type Lines,
  type Manners,
  openLines,
  openProxiedLines,
  type SiteAnswer,
} from './site-lines.ts';

export interface SignatureSiteOptions {
  /** The folder that holds the site's images; its query goes with every request to its origin alone, and it names no user. */
  readonly url: string;
  /** Statuses that mean that a file is not there. */
  readonly missing: readonly number[];
  /** Hosts, with a port where it is not the usual one, that redirects may lead to whatever their address. */
  readonly redirects: readonly string[];
  /** In PEM; each null when there is none. */
  readonly ca: string | null;
  readonly certificate: string | null;
  readonly key: string | null;
  /** The value of the header Authorization. */
  readonly authorization: string | null;
  /** Whether every packet of the file ends. */
  readonly isWhole: (bytes: Uint8Array) => boolean;
  readonly hasProxies: boolean;
}

type Trying = Parameters<SignatureUpstream['get']>[1];

const MAX_REDIRECTS = 10;
const MAX_RETRY_AFTER_MS = 3_600_000;
const REDIRECTS: ReadonlySet<number> = new Set([301, 302, 303, 307, 308]);
/** At once, those over fresh connections among them. */
const REQUESTS = 16;
/** Longer than any walk may last: an attempt that nobody waits for any more must not keep its place for ever. */
const CONNECT_MS = 10_000;

/** @throws LookasideError CONFIG_INVALID when the environment names a proxy that is not valid */
export function openSignatureSite(options: SignatureSiteOptions): SignatureUpstream {
  const base = new URL(options.url);
  const folder = base.pathname.replace(/\/+$/, '');
  const { authorization } = options;
  const lines = {
    origin: linesOf(options, 'origin'),
    allowed: linesOf(options, 'allowed'),
    public: linesOf(options, 'public'),
  };
  const underWay = createPlaces();
  const manners: Manners = { mayFollow: true };
  const name = originOf(base);

  /** Where the request may be sent, and by which agent; or why it may not. */
  function wayTo(url: URL): Way | WalkFault {
    if (url.origin === base.origin) return 'origin';
    if (options.redirects.includes(url.host)) return 'allowed';
    const isLiteral = /^[\d.]+$|^\[/.test(url.hostname);
    const isLocal = /(?:^|\.)localhost\.?$/i.test(url.hostname);
    if (isLocal || (isLiteral && !isPublicAddress(url.hostname))) return notPublic(url);
    return 'public';
  }

  async function follow(path: string, { signal, isFresh }: Trying, leave: () => void): Promise<Fetched> {
    let url = new URL(base.origin);
    let target = `${folder}/${path}${base.search}`;
    for (let redirects = 0; ; redirects += 1) {
      const way = wayTo(url);
      if (typeof way !== 'string') return way;
      const line = isFresh ? lines[way].takeFresh(url.origin) : lines[way].take(url.origin);
      const isOurs = url.origin === base.origin;
      const request = {
        origin: url.origin,
        path: target,
        headers: {
          'user-agent': 'lookaside',
          accept: '*/*',
          'accept-encoding': 'gzip',
          ...(isOurs && authorization !== null ? { authorization } : {}),
        },
        signal,
      };
      const answer = await askOver(line, request, manners, (status) => {
        if (manners.mayFollow && !REDIRECTS.has(status)) leave();
      });
      if (!REDIRECTS.has(answer.status)) return readAnswer(answer, { path, url }, options);
      if (redirects === MAX_REDIRECTS) return walkFault('redirect', `${name} redirects without an end`);
      const next = nextOf(headerOf(answer.headers, 'location'), new URL(target, url.origin));
      if ('kind' in next) return next;
      url = next;
      target = next.pathname + next.search;
    }
  }

  return {
    name,
    get: (path, trying) =>
      underWay.enter(async (leave) => {
        try {
          if (trying.signal.aborted) return faultOf(null, name, trying.signal);
          return await follow(path, trying, leave);
        } catch (error) {
          return faultOf(error, name, trying.signal);
        } finally {
          leave();
        }
      }),
    async close() {
      await Promise.all(Object.values(lines).map((some) => some.close()));
    },
  };
}

/** Those who wait begin in the moment in which a place is left: what they send is then on its way ahead of all other work. */
function createPlaces() {
  const waiting: (() => void)[] = [];
  let taken = 0;

  function leave(): void {
    const next = waiting.shift();
    if (next === undefined) taken -= 1;
    else next();
  }

  return {
    /** Runs `act` once there is a place; it leaves it, and may do so more than once. */
    enter<T>(act: (leave: () => void) => Promise<T>): Promise<T> {
      return new Promise((resolve) => {
        const begin = () => {
          let isLeft = false;
          const leaveOnce = () => {
            if (isLeft) return;
            isLeft = true;
            leave();
          };
          resolve(act(leaveOnce));
        };
        if (taken === REQUESTS) {
          waiting.push(begin);
          return;
        }
        taken += 1;
        begin();
      });
    },
  };
}

function nextOf(location: string | null, from: URL): URL | WalkFault {
  const to = location === null ? null : parseUrl(location, from);
  if (to === null) return walkFault('redirect', `${originOf(from)} redirects to no address`);
  const isPlain = to.protocol === 'http:' && from.protocol === 'http:';
  if (to.protocol === 'https:' || isPlain) return to;
  const message = `${originOf(from)} redirects to ${to.protocol}, and only https, or http from http, is followed`;
  return walkFault('redirect', message);
}

function parseUrl(text: string, base: URL): URL | null {
  try {
    return new URL(text, base);
  } catch {
    return null; // only TypeError: no URL
  }
}

function notPublic(url: URL): WalkFault {
  const message = `a redirect leads to ${url.host}, which is not on the public internet; allow it with --redirect ${url.host} if it is meant`;
  return walkFault('redirect', message);
}

function readAnswer(
  { status, headers, body }: SiteAnswer,
  { path, url }: { readonly path: string; readonly url: URL },
  { missing, isWhole }: SignatureSiteOptions,
): Fetched {
  const from = originOf(url);
  if (missing.includes(status)) return { kind: 'missing' };
  if (status !== 200) {
    const retryAfterMs = retryAfterOf(headerOf(headers, 'retry-after'));
    return walkFault('status', `${from} answered ${status}`, retryAfterMs);
  }
  if (body === null) return walkFault('too-large', `${from} sent more than ${MAX_SIGNATURE_BYTES} bytes`);
  const bytes = decoded(body, headerOf(headers, 'content-encoding'), from);
  if (!(bytes instanceof Uint8Array)) return bytes;
  const unreadable = whyUnreadable(bytes);
  if (unreadable === 'first-byte' || unreadable === 'empty')
    return walkFault(
      'not-openpgp',
      `${from} sent ${kindOf(bytes)} in place of ${path.slice(path.lastIndexOf('/') + 1)}`,
    );
  if (unreadable === null && !isWhole(bytes))
    return walkFault('cut', `${from} sent a signature without its end`);
  return { kind: 'bytes', bytes };
}

function kindOf(bytes: Uint8Array): string {
  if (bytes.length === 0) return 'nothing';
  return bytes[0] === '<'.charCodeAt(0) ? 'a page' : 'other data';
}

function decoded(bytes: Buffer, encoding: string | null, from: string): Uint8Array | WalkFault {
  const name = (encoding ?? '').trim().toLowerCase();
  if (name === '' || name === 'identity') return bytes;
  if (name !== 'gzip' && name !== 'x-gzip')
    return walkFault('encoding', `${from} sent a body in an encoding that was not asked for`);
  try {
    return gunzipSync(bytes, { maxOutputLength: MAX_SIGNATURE_BYTES });
  } catch (error) {
    const isLong = error instanceof RangeError;
    return isLong
      ? walkFault('too-large', `${from} sent more than ${MAX_SIGNATURE_BYTES} bytes`)
      : walkFault('cut', `${from} sent a gzip body that does not unpack`);
  }
}

function retryAfterOf(text: string | null): number | null {
  if (text === null) return null;
  const ms = /^\d{1,9}$/.test(text.trim()) ? Number(text) * 1000 : Date.parse(text) - Date.now();
  return Number.isNaN(ms) ? null : Math.min(Math.max(ms, 0), MAX_RETRY_AFTER_MS);
}

function faultOf(error: unknown, name: string, signal: AbortSignal): WalkFault {
  if (signal.aborted) return walkFault('deadline', `${name} took too long`);
  for (let cause = error; cause instanceof Error; cause = cause.cause) {
    if (cause instanceof NotPublic)
      return walkFault('redirect', `a redirect leads to a host whose address is not public`);
  }
  // a message of undici or of the system may hold the whole URL
  const code = error instanceof Error && 'code' in error ? String(error.code) : 'unknown';
  return walkFault('connection', `${name} could not be read (${code})`);
}

/** Without user, password, query and path: a path of a presigned link may be a secret as well. */
function originOf(url: URL): string {
  return url.origin;
}

function headerOf(headers: SiteAnswer['headers'], name: string): string | null {
  return [headers[name] ?? null].flat()[0] ?? null;
}

/**
 * To the site itself; to a host that redirects may lead to; or to any other host, and then to public addresses alone. Through a
 * proxy, the proxy decides about addresses.
 */
type Way = 'origin' | 'allowed' | 'public';

function linesOf(options: SignatureSiteOptions, way: Way): Lines {
  const { ca, certificate, key, hasProxies } = options;
  const tls = {
    ...(ca === null ? {} : { ca: [...rootCertificates, ca] }),
    // a client certificate is a credential: it is for the site's own origin
    ...(certificate === null || key === null || way !== 'origin' ? {} : { cert: certificate, key }),
  };
  const connect = { ...tls, timeout: CONNECT_MS, ...(way === 'public' ? { lookup: lookupPublic } : {}) };
  return hasProxies ? openProxiedLines(connect, tls, REQUESTS) : openLines(connect, REQUESTS);
}
