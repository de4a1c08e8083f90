// Refuses what a page of another site makes a browser send. Tokens are also accepted as Basic, which browsers remember and
// send by themselves, so such a page would act as whoever is logged in.
import type { IncomingMessage } from 'node:http';
import { LookasideError } from '../domain/errors.ts';
import { quoted } from '../domain/text.ts';
import { forwarded, isEncrypted } from './client.ts';
import { isRead } from './exchange.ts';
import type { HttpSettings } from './services.ts';

/**
 * Null when the request may go on: it changes nothing, or no page of another site has sent it. Only browsers send these
 * headers, and no page can change them. Either is enough to refuse: browsers send Sec-Fetch-Site over http: only on loopback,
 * and not every browser sends Origin. An Origin of `null` counts as another site's. So a page of ours that posts a form must
 * not have `Referrer-Policy: no-referrer`: its Origin would be `null`.
 * Sources: Fetch Metadata Request Headers, section 2.4; Fetch, "append a request `Origin` header"
 */
export function refuseCrossSite(
  req: IncomingMessage,
  settings: Pick<HttpSettings, 'publicUrl' | 'trustedProxies'>,
): LookasideError | null {
  if (isRead(req)) return null;
  const { 'sec-fetch-site': site, origin } = req.headers;
  if (site !== undefined && site !== 'same-origin' && site !== 'none') {
    return refusal(
      `the browser says that a page of another site has sent this request (Sec-Fetch-Site: ${quoted(String(site))}); wanted one that is sent by a page of this server, or by no browser`,
    );
  }
  if (origin === undefined) return null;
  const sent = parseOrigin(origin);
  if (sent !== null && ourOrigins(req, settings).includes(sent)) return null;
  return refusal(
    `a page of ${quoted(origin)} sent this request, and this server does not know that name as its own; if clients reach it by that name, set LOOKASIDE_PUBLIC_URL to it`,
  );
}

function refusal(message: string): LookasideError {
  return new LookasideError('CROSS_SITE', message);
}

/** The origins under which a browser may have reached this server. A path or prefix is no part of an origin. */
function ourOrigins(
  req: IncomingMessage,
  { publicUrl, trustedProxies }: Pick<HttpSettings, 'publicUrl' | 'trustedProxies'>,
): readonly (string | null)[] {
  const named = publicUrl === null ? [] : [new URL(publicUrl).origin];
  const hosts = [req.headers.host ?? '', ...forwarded(req, 'x-forwarded-host', trustedProxies)];
  const schemes = schemesOf(req, trustedProxies);
  return [...named, ...hosts.flatMap((host) => schemes.map((scheme) => parseOrigin(`${scheme}://${host}`)))];
}

/** Without our own TLS and without a proxy's header, some proxy may still end TLS: then only the host must match. */
function schemesOf(req: IncomingMessage, trusted: HttpSettings['trustedProxies']): readonly string[] {
  const forwardedScheme = forwarded(req, 'x-forwarded-proto', trusted);
  if (forwardedScheme.length > 0) return forwardedScheme;
  return isEncrypted(req) ? ['https'] : ['http', 'https'];
}

const ORIGIN = /^https?:\/\/(?:\[[0-9a-f:.]+\]|[^\s/?#@:[\]\\]+)(?::[0-9]{1,5})?$/i;

/** In the form that all equal origins share: lower case, no default port, short IPv6. Null when it is not an origin. */
function parseOrigin(text: string): string | null {
  return ORIGIN.test(text) && URL.canParse(text) ? new URL(text).origin : null;
}
