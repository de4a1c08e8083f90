// What commands are built from that ask a server: those of signers, which run where somebody signs without a data directory,
// and those of administrators.
import { createHash } from 'node:crypto';
import { setTimeout as wait } from 'node:timers/promises';
import { systemClock } from './compose.ts';
import { type Config, type Remote, readRemote, socketPathOf } from './config.ts';
import type { Administration } from './domain/administration.ts';
import { isLookasideError } from './domain/errors.ts';
import type { Holder } from './domain/holder.ts';
import type { Digest } from './domain/image.ts';
import { requireManifest } from './domain/manifest.ts';
import type { Verifier } from './domain/ports.ts';
import type { KeyNames, OnRetry, ServedSignatures, SignatureServer } from './domain/remote.ts';
import { parsePayload } from './domain/simple-signing.ts';
import type { Staging } from './domain/staged.ts';
import type { Claim } from './domain/verdict.ts';
import { createStaging } from './files/staging.ts';
import { isWholeSignature } from './openpgp/packets.ts';
import { openVerifier } from './openpgp/pool.ts';
import { examineStructure } from './openpgp/structure.ts';
import { createPusher, type Pusher } from './service/push.ts';
import { type WatchRequest, watchAndPush } from './service/push-watch.ts';
import { isLoopback } from './upstream/address.ts';
import { connectAdministration } from './upstream/administration.ts';
import type { AskerOptions } from './upstream/asker.ts';
import { connectSignatureServer } from './upstream/signature-server.ts';

export interface ConnectServerOptions {
  readonly onRetry: OnRetry;
  /** How long to wait for the server, all waits for one request together; Infinity: for ever. A minute unless told. */
  readonly patienceMs?: number;
}

const PATIENCE_MS = 60_000;

export interface OpenedAdministration extends Administration {
  /** For people: the URL of the server without a password, or the root of the tree on this machine. */
  readonly name: string;
  /** Whether it is the data directory of this machine that is administered, and no server elsewhere. */
  readonly isHere: boolean;
  [Symbol.asyncDispose](): Promise<void>;
}

export interface OpenAdministrationOptions extends ConnectServerOptions {
  /** Written down for other commands that find the data directory taken meanwhile. */
  readonly taker: Pick<Holder, 'command' | 'host'>;
}

/**
 * The administration of the server that the configuration names, or of the data directory on this machine. Warns as
 * connectServer() does. @throws LookasideError CONFIG_INVALID when a file that is named is none
 */
export async function openAdministration(
  config: Config,
  { taker, ...options }: OpenAdministrationOptions,
): Promise<OpenedAdministration> {
  const remote = remoteOf(config);
  const asking = askingBy(options);
  if (remote !== null) return { ...connectAdministration({ at: remote, ...asking }), isHere: false };
  // a command that asks a server elsewhere needs no database, so it loads none
  const { administerHere } = await import('./compose.ts');
  return { ...administerHere({ config, taker, asking }), name: config.root, isHere: true };
}

/**
 * The server that the configuration names, or that of the data directory on this machine. Warns on standard error of
 * a token that others could read on its way. @throws LookasideError CONFIG_INVALID when a file that is named is none
 */
export function connectServer(
  config: Config,
  options: ConnectServerOptions,
): SignatureServer & KeyNames & ServedSignatures {
  const at = remoteOf(config) ?? { socketPath: socketPathOf(config) };
  return connectSignatureServer({ at, ...askingBy(options) });
}

function askingBy({ onRetry, patienceMs = PATIENCE_MS }: ConnectServerOptions): Omit<AskerOptions, 'at'> {
  return {
    onRetry,
    patienceMs,
    wait: (ms, signal) => wait(ms, undefined, { signal }),
    random: Math.random,
  };
}

/** Null when none is named. */
function remoteOf(config: Config): Remote | null {
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

/** A verifier that knows no key yet. */
export function openSignatureVerifier(): Verifier & AsyncDisposable {
  const verifier = openVerifier();
  return Object.assign(verifier, { [Symbol.asyncDispose]: () => verifier.close() });
}

/** The digest of the raw manifest, as containers/image computes it. @throws LookasideError CONFIG_INVALID */
export function digestOfManifest(manifest: Uint8Array): Digest {
  requireManifest(manifest);
  return { algorithm: 'sha256', hex: createHash('sha256').update(manifest).digest('hex') };
}

/** Folders and files on this machine. */
export function openStaging(): Staging {
  return createStaging();
}

export interface PushWays {
  readonly pusher: Pusher;
  /** As watchAndPush(). */
  readonly watch: (request: WatchRequest) => Promise<void>;
}

/** Pushing from the staging folders to the server. */
export function composePush(server: SignatureServer, staging: Staging): PushWays {
  const shared = {
    server,
    staging,
    isWhole: isWholeSignature,
    clock: systemClock,
    wait: waitUnlessAborted,
    random: Math.random,
  };
  const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');
  const pusher = createPusher({ ...shared, sha256, untrustedClaim });
  return { pusher, watch: (request) => watchAndPush({ ...shared, pusher, whyRefused }, request) };
}

/** What the payload of untrusted bytes says, with nobody's key asked; null when it says nothing readable. */
function untrustedClaim(untrusted: Uint8Array): Claim | null {
  const structure = examineStructure(untrusted);
  if (structure.kind === 'refused') return null;
  try {
    return parsePayload(structure.content).claim;
  } catch (error) {
    if (isLookasideError(error, 'PAYLOAD_INVALID')) return null;
    throw error;
  }
}

/** The sentence with which a server would refuse the structure of these bytes, or null. */
function whyRefused(untrusted: Uint8Array): string | null {
  const structure = examineStructure(untrusted);
  return structure.kind === 'refused' ? structure.refusal.message : null;
}

async function waitUnlessAborted(ms: number, signal: AbortSignal): Promise<void> {
  try {
    await wait(ms, undefined, { signal });
  } catch (error) {
    if (!signal.aborted) throw error;
  }
}
