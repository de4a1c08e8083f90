// Builds what signers' commands use. They run where somebody signs, without a data directory: this file, push.ts and verify.ts
// import no database and no log.
import { setTimeout as wait } from 'node:timers/promises';
import { type Config, type Remote, socketPathOf } from '../config.ts';
import { LookasideError } from '../domain/errors.ts';
import type {
  ImageNotes,
  KeyNames,
  OnRetry,
  ServedSignatures,
  SignatureServer,
  WithdrawnList,
} from '../domain/remote.ts';
import { isLoopback } from '../upstream/address.ts';
import type { AskerOptions } from '../upstream/asker.ts';
import type { TokenSource } from '../upstream/connection.ts';
import type { SentToken } from '../upstream/job-token.ts';
import type { KeySources } from '../upstream/key-source.ts';
import { connectWhenAsked } from '../upstream/lazy-server.ts';
import type { RemoteLog } from '../upstream/log-store.ts';
import { readCaOf, readIdToken, readRemote } from './remote.ts';

export interface ConnectServerOptions {
  readonly onRetry: OnRetry;
  /** Sent in place of the token of the settings; left out: that one is. */
  readonly tokens?: TokenSource;
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
): SignatureServer & KeyNames & ServedSignatures & ImageNotes & WithdrawnList {
  const at = remoteOf(config, options.tokens) ?? localServerOf(config);
  return connectWhenAsked({ at, ...askingBy(options) });
}

/** The log of the same server, without another warning. @throws as connectServer() */
export async function connectLogOf(config: Config, options: ConnectServerOptions): Promise<RemoteLog> {
  const { connectLog } = await import('../upstream/log-store.ts');
  const remote = sending(readRemote(config), options.tokens);
  return connectLog({ at: remote ?? localServerOf(config), ...askingBy(options) });
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
export function remoteOf(config: Config, tokens?: TokenSource): RemoteWithTokens | null {
  const remote = sending(readRemote(config), tokens);
  if (remote !== null) warnOfPlainHttp(remote);
  return remote;
}

/** @throws LookasideError CONFIG_INVALID where nodes share a database, because they are known by their URLs alone */
export function localServerOf(config: Config): { readonly socketPath: string } {
  if (config.database === null) return { socketPath: socketPathOf(config) };
  const message =
    'this command asks a server, and LOOKASIDE_DATABASE names a database; give the URL of a node with --server or LOOKASIDE_URL';
  throw new LookasideError('CONFIG_INVALID', message);
}

interface RemoteWithTokens extends Remote {
  readonly tokens?: TokenSource;
}

function sending(remote: Remote | null, tokens: TokenSource | undefined): RemoteWithTokens | null {
  return remote === null || tokens === undefined ? remote : { ...remote, token: null, tokens };
}

/**
 * The OIDC tokens of the job that runs this command; `onToken` is told each before it is sent. @throws LookasideError
 * CONFIG_INVALID when the job has none, or no server elsewhere is named
 */
export async function openJobTokens(
  config: Config,
  onToken: (sent: SentToken) => void,
): Promise<TokenSource> {
  const { url, job, audience, hasProxies } = config.remote;
  if (url === null || audience === null) {
    throw new LookasideError(
      'CONFIG_INVALID',
      '--oidc sends a token to a server elsewhere, and none is named; give --server URL or LOOKASIDE_URL',
    );
  }
  const { username, password } = new URL(url);
  if (username + password !== '') {
    throw new LookasideError(
      'CONFIG_INVALID',
      'the URL of the server holds a user or password, and --oidc sends a token; give one of them',
    );
  }
  if (job === null) throw new LookasideError('CONFIG_INVALID', NO_JOB);
  const origin = job.kind === 'file' ? { ...job, read: () => readIdToken(job.path) } : job;
  const { systemClock } = await import('./clock.ts');
  const { openJobToken } = await import('../upstream/job-token.ts');
  return openJobToken({
    origin,
    audience,
    ca: readCaOf(config),
    hasProxies,
    monotonicMs: systemClock.monotonicMs,
    wait: (ms) => wait(ms),
    onToken,
  });
}

const NO_JOB =
  '--oidc sends the OIDC token of the job, and there is none: in GitHub Actions, give the job the permission id-token: write; in GitLab, name a token LOOKASIDE_ID_TOKEN below id_tokens; elsewhere, name a file by LOOKASIDE_ID_TOKEN_FILE';

function warnOfPlainHttp({ url, token, tokens }: RemoteWithTokens): void {
  const { protocol, hostname, host, password } = new URL(url);
  const sendsSecret = token !== null || tokens !== undefined || password !== '';
  if (protocol !== 'http:' || !sendsSecret || isLoopback(hostname)) return;
  process.stderr.write(
    `lookaside: warning: the token goes to ${host} over plain http, where others on the way can read it; use https\n`,
  );
}

/** Key servers and Web Key Directories, asked from this machine. @throws LookasideError CONFIG_INVALID when the file of LOOKASIDE_CA is unusable */
export async function connectKeySources(config: Config): Promise<KeySources> {
  // most commands ask none
  const { openKeySources } = await import('../upstream/key-source.ts');
  return openKeySources({ ca: readCaOf(config), hasProxies: config.remote.hasProxies });
}
