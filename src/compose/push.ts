// Builds what `push` uses: staging folders, and what their files claim.
import { createHash } from 'node:crypto';
import { setTimeout as wait } from 'node:timers/promises';
import { isLookasideError } from '../domain/errors.ts';
import type { SignatureServer } from '../domain/remote.ts';
import { parsePayload } from '../domain/simple-signing.ts';
import type { Staging } from '../domain/staged.ts';
import type { Claim } from '../domain/verdict.ts';
import { createStaging } from '../files/staging.ts';
import { isWholeSignature } from '../openpgp/packets.ts';
import { examineStructure } from '../openpgp/structure.ts';
import { createPusher, type Placing, type Pusher } from '../service/push.ts';
import { type WatchRequest, watchAndPush } from '../service/push-watch.ts';
import { systemClock } from './clock.ts';

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
export function composePush(server: SignatureServer, staging: Staging, placing: Placing): PushWays {
  const shared = {
    server,
    staging,
    isWhole: isWholeSignature,
    clock: systemClock,
    wait: waitUnlessAborted,
    random: Math.random,
    placing,
  };
  const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');
  const pusher = createPusher({ ...shared, sha256, untrustedClaim });
  return { pusher, watch: (request) => watchAndPush({ ...shared, pusher, whyRefused }, request) };
}

/** The claim in the payload of untrusted bytes, without asking any key; null when there is no readable one. */
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
