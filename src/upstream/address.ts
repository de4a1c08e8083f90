// Where a server is, as people and policies see it.
import { BlockList, isIP } from 'node:net';

/** A URL, perhaps with user, password and a path; or the socket of a server on this machine. */
export type ServerAddress = { readonly url: string } | { readonly socketPath: string };

/** For people: the URL without user and password, or the socket's path. */
export function nameOfServer(at: ServerAddress): string {
  if ('socketPath' in at) return at.socketPath;
  const { origin, pathname } = new URL(at.url);
  return origin + pathname.replace(/\/+$/, '');
}

const LOOPBACK = new BlockList();
LOOPBACK.addSubnet('127.0.0.0', 8, 'ipv4');
LOOPBACK.addAddress('::1', 'ipv6');

/** Whether all that is sent there stays on this machine. Such hosts are asked without a proxy, as Go's clients do. */
export function isLoopback(hostname: string): boolean {
  const host = hostname.replace(/^\[|\]$/g, '');
  if (host === 'localhost' || host.endsWith('.localhost')) return true;
  const family = isIP(host);
  return family !== 0 && LOOPBACK.check(host, family === 4 ? 'ipv4' : 'ipv6');
}
