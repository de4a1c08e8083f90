// Builds what signers' commands use. They run where somebody signs, without a data directory: this file, push.ts and verify.ts
// import no database and no log.
import { setTimeout as wait } from 'node:timers/promises';
import { type Config, type Remote, socketPathOf } from '../config.ts';
import type { KeyNames, OnRetry, ServedSignatures, SignatureServer } from '../domain/remote.ts';
import { isLoopback } from '../upstream/address.ts';
import type { AskerOptions } from '../upstream/asker.ts';
import { connectWhenAsked } from '../upstream/lazy-server.ts';
import type { RemoteLog } from '../upstream/log-store.ts';
import { readRemote } from './remote.ts';

export interface ConnectServerOptions {
  readonly onRetry: OnRetry;
  /** How long to wait for the server, all waits of one request together; Infinity: for ever. Default: one minute. */
  readonly patienceMs?: number;
}

const PATIENCE_MS = 60_000;

/**
 * The server that the configuration names, or that of the data directory on this machine. Warns on standard error when
 * others could read the token on its way. @throws LookasideError CONFIG_INVALID when a named file is unusable
 */
export function connectServer(
  config: Config,
  options: ConnectServerOptions,
): SignatureServer & KeyNames & ServedSignatures {
  const at = remoteOf(config) ?? { socketPath: socketPathOf(config) };
  return connectWhenAsked({ at, ...askingBy(options) });
}

/** The log of the same server, without another warning. @throws as connectServer() */
export async function connectLogOf(config: Config, options: ConnectServerOptions): Promise<RemoteLog> {
  const { connectLog } = await import('../upstream/log-store.ts');
  return connectLog({ at: readRemote(config) ?? { socketPath: socketPathOf(config) }, ...askingBy(options) });
}

/** How a server is asked, and what is reported meanwhile. */
export function askingBy({
  onRetry,
  patienceMs = PATIENCE_MS,
}: ConnectServerOptions): Omit<AskerOptions, 'at'> {
  return {
    onRetry,
    patienceMs,
    wait: (ms, signal) => wait(ms, undefined, { signal }),
    random: Math.random,
  };
}

/** The named server, with the warning that connectServer() gives; null when none is named. */
export function remoteOf(config: Config): Remote | null {
  const remote = readRemote(config);
  if (remote !== null) warnOfPlainHttp(remote);
  return remote;
}

function warnOfPlainHttp({ url, token }: Remote): void {
  const { protocol, hostname, host, password } = new URL(url);
  if (protocol !== 'http:' || (token === null && password === '') || isLoopback(hostname)) return;
  process.stderr.write(
    `lookaside: warning: the token goes to ${host} over plain http, where others on the way can read it; use https\n`,
  );
}
