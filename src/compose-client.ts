// What the commands of signers are built from: they run where somebody signs, without a data directory.
import { setTimeout as wait } from 'node:timers/promises';
import { type Config, type Remote, readRemote, socketPathOf } from './config.ts';
import type { KeyNames, OnRetry, SignatureServer } from './domain/remote.ts';
import type { Staging } from './domain/staged.ts';
import { createStaging } from './files/staging.ts';
import { isLoopback } from './upstream/connection.ts';
import { connectSignatureServer } from './upstream/signature-server.ts';

export interface ConnectServerOptions {
  readonly onRetry: OnRetry;
  /** How long to wait for the server, all waits for one request together; Infinity: for ever. A minute unless told. */
  readonly patienceMs?: number;
}

const PATIENCE_MS = 60_000;

/**
 * The server that the configuration names, or that of the data directory on this machine. Warns on standard error of
 * a token that others could read on its way. @throws LookasideError CONFIG_INVALID when a file that is named is none
 */
export function connectServer(
  config: Config,
  { onRetry, patienceMs = PATIENCE_MS }: ConnectServerOptions,
): SignatureServer & KeyNames {
  const remote = readRemote(config);
  if (remote !== null) warnOfPlainHttp(remote);
  return connectSignatureServer({
    at: remote ?? { socketPath: socketPathOf(config) },
    onRetry,
    patienceMs,
    wait: (ms, signal) => wait(ms, undefined, { signal }),
    random: Math.random,
  });
}

function warnOfPlainHttp({ url, token }: Remote): void {
  const { protocol, hostname, host, password } = new URL(url);
  if (protocol !== 'http:' || (token === null && password === '') || isLoopback(hostname)) return;
  process.stderr.write(
    `lookaside: warning: the token goes to ${host} over plain http, where others on the way can read it; use https\n`,
  );
}

/** Folders and files on this machine. */
export function openStaging(): Staging {
  return createStaging();
}
