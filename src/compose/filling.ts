// What fills a mirror: its upstreams, the walks through them, and what stores their sets.
import { setTimeout as wait } from 'node:timers/promises';
import type { ImageId } from '../domain/image.ts';
import { type MirrorSettings, type StoredMirror, shownUpstream } from '../domain/mirror.ts';
import type {
  AuditLog,
  BatchPublisher,
  Clock,
  Log,
  MirrorStore,
  SignatureStore,
  TombstoneStore,
  Verifier,
} from '../domain/ports.ts';
import { type SignatureUpstream, walkFault } from '../domain/walk.ts';
import { readNamedFile } from '../files/named-file.ts';
import { isWholeSignature } from '../openpgp/packets.ts';
import { type MakeEvent, SERVER } from '../service/audit.ts';
import type { GivingWay } from '../service/giving-way.ts';
import type { Judge } from '../service/judge.ts';
import { createMirror, type Mirror } from '../service/mirror.ts';
import { type Bringer, createBringer } from '../service/mirror-bring.ts';
import { createMirrorRoom, type MirrorRoomOptions } from '../service/mirror-room.ts';
import { createWalker, type Walker } from '../service/walk.ts';

/** Less than a reader waits, so that who is told of a slow upstream hears it from the walk. */
const WALK_MS = 4800;

export interface Filling {
  readonly mirror: Mirror;
  readonly walker: Walker;
  readonly bringer: Pick<Bringer, 'takeOver' | 'left'>;
}

export interface FillingOptions {
  readonly mirrors: MirrorStore;
  readonly tombstones: Pick<TombstoneStore, 'ofImage'>;
  readonly audit: AuditLog;
  readonly store: SignatureStore;
  readonly publisher: BatchPublisher;
  readonly letGo: MirrorRoomOptions['letGo'];
  /** SHA-256 of the bytes in hex. */
  readonly sha256: (bytes: Uint8Array) => string;
  /** What was read of the image before is no longer true. */
  readonly onChanged: (image: ImageId) => void;
  /** Other processes fill it too. */
  readonly isShared: boolean;
  /** Why this process cannot ask the upstreams: what is stored is served all the same. Null: it can. */
  readonly unusable: string | null;
  readonly judge: Pick<Judge, 'keyringChanges'>;
  readonly verifier: Pick<Verifier, 'examine'>;
  readonly makeEvent: MakeEvent;
  readonly givingWay: GivingWay;
  readonly clock: Clock;
  readonly hasProxies: boolean;
  readonly log: Log;
}

/** @throws LookasideError CONFIG_INVALID when a file that the mirror names cannot be read */
export async function openFilling(
  { name, settings }: StoredMirror,
  options: FillingOptions,
): Promise<Filling> {
  const { mirrors, tombstones, clock, log, judge, sha256, unusable } = options;
  const walker = createWalker({
    upstreams:
      unusable === null
        ? await openUpstreams(settings, options)
        : settings.upstreams.map((url) => unusableUpstream(shownUpstream(url), unusable)),
    clock,
    deadlineMs: WALK_MS,
    timeout: (ms) => AbortSignal.timeout(ms),
    onFault: (upstream, fault) => mirror.onFault(upstream, fault),
  });
  const later = (ms: number) => wait(ms, undefined, { ref: false });
  const bringer = createBringer({
    upstreams: settings.upstreams,
    walker,
    store: options.store,
    publisher: options.publisher,
    mirrors,
    tombstones,
    verifier: options.verifier,
    keyringChanges: () => judge.keyringChanges,
    sha256,
    clock,
    wait: later,
    onGrown: (image, added) => {
      const event = options.makeEvent({ action: 'mirror-grow', image, result: `added ${added}` }, SERVER);
      options.audit.append(event).catch((err: unknown) => log.warn({ err }, 'an event could not be kept'));
    },
    onHeld: options.onChanged,
    isShared: options.isShared,
    log,
  });
  const mirror: Mirror = createMirror({
    // that it cannot be asked from here says nothing of the upstream
    settings: unusable === null ? settings : { ...settings, onUpstreamFailure: '503' },
    store: options.store,
    bringer,
    mirrors,
    isShared: options.isShared,
    givingWay: options.givingWay,
    restingMs: (upstream) =>
      walker.restingMs(upstream === null ? null : settings.upstreams.indexOf(upstream)),
    room: createMirrorRoom({
      site: name,
      maxBytes: settings.maxBytes,
      mirrors,
      letGo: options.letGo,
      clock,
      wait: later,
      log,
    }),
    clock,
    wait: later,
    log,
  });
  return { mirror, walker, bringer };
}

async function openUpstreams(
  settings: MirrorSettings,
  { hasProxies }: Pick<FillingOptions, 'hasProxies'>,
): Promise<readonly SignatureUpstream[]> {
  // loaded with the first mirror: its HTTP client is a tenth of what a server loads at its start
  const { openSignatureSite } = await import('../upstream/signature-site.ts');
  const { missing, redirects } = settings;
  const files = {
    ca: readNamedFile(settings.ca),
    certificate: readNamedFile(settings.certificate),
    key: readNamedFile(settings.key),
    authorization: authorizationOf(readNamedFile(settings.credentials)),
  };
  return settings.upstreams.map((url) =>
    openSignatureSite({ url, missing, redirects, ...files, isWhole: isWholeSignature, hasProxies }),
  );
}

function unusableUpstream(name: string, why: string): SignatureUpstream {
  return { name, get: async () => walkFault('connection', why), close: async () => undefined };
}

/** One line: `user:password`, or the whole value of the header. */
function authorizationOf(text: string | null): string | null {
  const line = text?.trim() ?? '';
  if (line === '') return null;
  if (/^\S+ \S/.test(line)) return line;
  return `Basic ${Buffer.from(line).toString('base64')}`;
}
