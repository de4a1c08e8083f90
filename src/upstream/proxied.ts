// The way to a server through the proxies that the environment names, by undici. Loaded only where a proxy is named.
import { EnvHttpProxyAgent } from 'undici';
import { LookasideError } from '../domain/errors.ts';
import { trusting } from './direct.ts';
import { CONNECT_MS, type Outgoing, streamOf, type Transport } from './transport.ts';
import { openTunnels } from './tunnels.ts';

/** @throws LookasideError CONFIG_INVALID when the environment names a proxy that is not valid */
export function openProxied(origin: string, ca: string | null): Transport {
  const dispatcher = openAgent(ca);
  return {
    async open({ method, path, headers, body, patience: { silenceMs, totalMs } }: Outgoing) {
      const answer = await dispatcher.request({
        origin,
        path,
        method,
        headers,
        body,
        headersTimeout: silenceMs,
        bodyTimeout: silenceMs,
        signal: totalMs === null ? null : AbortSignal.timeout(totalMs),
      });
      return streamOf(answer.statusCode, answer.headers, answer.body);
    },
    close: () => dispatcher.destroy(),
  };
}

function openAgent(ca: string | null): EnvHttpProxyAgent {
  const tls = { timeout: CONNECT_MS, ...trusting(ca) };
  try {
    return new EnvHttpProxyAgent({
      connect: tls,
      requestTls: tls,
      proxyTls: tls,
      clientFactory: openTunnels,
      proxyTunnel: false, // proxies often refuse tunnels to ports other than 443; https gets a tunnel all the same
    });
  } catch (error) {
    const message =
      'the environment names a proxy that is not a URL; wanted HTTP_PROXY and HTTPS_PROXY like http://proxy.example.com:3128';
    throw new LookasideError('CONFIG_INVALID', message, { cause: error });
  }
}
