// The connections to a proxy over which tunnels are asked for.
import { type Dispatcher, Pool } from 'undici';
import { CONNECT_MS } from './transport.ts';

/** undici gives a proxy five minutes to answer CONNECT, whatever becomes of the request that waits for the tunnel. */
export function openTunnels(proxy: URL, options: object): Dispatcher {
  return new Pool(proxy, { ...options, headersTimeout: CONNECT_MS });
}
