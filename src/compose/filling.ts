// What fills a mirror: its upstreams, the walks through them, and what stores their sets.
import { setTimeout as wait } from 'node:timers/promises';
import type { StoredMirror } from '../domain/mirror.ts';
import type { Clock, Log, SignatureStore, Verifier } from '../domain/ports.ts';
import { readNamedFile } from '../files/named-file.ts';
import { isWholeSignature } from '../openpgp/packets.ts';
import { type MakeEvent, SERVER } from '../service/audit.ts';
import type { Judge } from '../service/judge.ts';
import { createMirror, type Mirror } from '../service/mirror.ts';
import { createBringer } from '../service/mirror-bring.ts';
import { createMirrorRoom } from '../service/mirror-room.ts';
import { createWalker, type Walker } from '../service/walk.ts';
import type { Databases } from '../sqlite/databases.ts';
import { createLetGo } from '../store/let-go.ts';
import { createPublisher, type PublisherOptions } from '../store/publish.ts';

const WALK_MS = 5000;

export interface Filling {
  readonly mirror: Mirror;
  readonly walker: Walker;
}

export interface FillingOptions extends PublisherOptions {
  readonly databases: Databases;
  readonly store: SignatureStore;
  readonly judge: Pick<Judge, 'keyringChanges'>;
  readonly verifier: Pick<Verifier, 'examine'>;
  readonly makeEvent: MakeEvent;
  readonly clock: Clock;
  readonly hasProxies: boolean;
  readonly log: Log;
}

/** @throws LookasideError CONFIG_INVALID when a file that the mirror names cannot be read */
export async function openFilling(
  { name, settings }: StoredMirror,
  options: FillingOptions,
): Promise<Filling> {
  const { databases, clock, log, judge, sha256 } = options;
  // loaded with the first mirror: its HTTP client is a tenth of what a server loads at its start
  const { openSignatureSite } = await import('../upstream/signature-site.ts');
  const walker = createWalker({
    upstreams: settings.upstreams.map((url) =>
      openSignatureSite({
        url,
        missing: settings.missing,
        redirects: settings.redirects,
        ca: readNamedFile(settings.ca),
        certificate: readNamedFile(settings.certificate),
        key: readNamedFile(settings.key),
        authorization: authorizationOf(readNamedFile(settings.credentials)),
        isWhole: isWholeSignature,
        hasProxies: options.hasProxies,
      }),
    ),
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
    publisher: createPublisher(options),
    mirrors: databases.mirrors,
    tombstones: databases.tombstones,
    verifier: options.verifier,
    keyringChanges: () => judge.keyringChanges,
    sha256,
    clock,
    wait: later,
    onGrown: (image, added) => {
      const event = options.makeEvent({ action: 'mirror-grow', image, result: `added ${added}` }, SERVER);
      databases.audit.append(event).catch((err: unknown) => log.warn({ err }, 'an event could not be kept'));
    },
    onHeld: options.onChanged,
    log,
  });
  const mirror: Mirror = createMirror({
    settings,
    store: options.store,
    bringer,
    mirrors: databases.mirrors,
    restingMs: (upstream) =>
      walker.restingMs(upstream === null ? null : settings.upstreams.indexOf(upstream)),
    room: createMirrorRoom({
      site: name,
      maxBytes: settings.maxBytes,
      mirrors: databases.mirrors,
      letGo: createLetGo(options),
      clock,
      wait: later,
      log,
    }),
    clock,
    wait: later,
    log,
  });
  return { mirror, walker };
}

/** One line: `user:password`, or the whole value of the header. */
function authorizationOf(text: string | null): string | null {
  const line = text?.trim() ?? '';
  if (line === '') return null;
  if (/^\S+ \S/.test(line)) return line;
  return `Basic ${Buffer.from(line).toString('base64')}`;
}
