// The mirrors of a server: added, changed and removed while it runs, and filled ahead of demand.
import type { SyncFollowing } from '../domain/administration.ts';
import { createPlaces, createTurns, forEachConcurrently } from '../domain/concurrency.ts';
import { type ErrorCode, isLookasideError, LookasideError } from '../domain/errors.ts';
import { type ImageId, imageName, parseImageFolder } from '../domain/image.ts';
import { MAX_MIRROR_RELEASE_CHANNELS, MAX_MIRROR_RELEASES } from '../domain/limits.ts';
import {
  MAX_NOTED_IMAGES,
  type MirrorDetails,
  type MirroredImage,
  type MirrorSettings,
  type MirrorStatus,
  parseMirrorName,
  type StoredMirror,
  SYNC_RESULTS,
  type SyncAnswer,
  type SyncedImage,
  type SyncRequest,
  type SyncResult,
  shownUpstream,
  syncedImage,
  unknownMirror,
} from '../domain/mirror.ts';
import { parseMirrorSettings } from '../domain/mirror-settings.ts';
import type { Clock, FolderPage, MirrorSetRow, MirrorStore } from '../domain/ports.ts';
import { type KnownRelease, type Release, releasesAtOnce } from '../domain/release-graph.ts';
import { quoted } from '../domain/text.ts';
import { nameInView } from '../domain/view.ts';
import type { Actor, MakeEvent } from './audit.ts';
import type { Mirror } from './mirror.ts';
import type { Brought } from './mirror-bring.ts';
import type { Asker } from './records.ts';

export interface OpenMirror {
  readonly stored: StoredMirror;
  readonly mirror: Mirror;
  readonly restingMs: () => number;
  /** Null while they are not known. */
  readonly counts: () => Promise<{ readonly images: number; readonly signatures: number } | null>;
}

export interface MirrorsOptions {
  readonly store: MirrorStore;
  /** Those that are open now. */
  readonly open: () => readonly OpenMirror[];
  /** Serves it from now on, in place of the one of that name. */
  readonly put: (mirror: StoredMirror) => Promise<void>;
  readonly take: (name: string) => Promise<void>;
  readonly listHosted: (folder: string) => Promise<FolderPage>;
  readonly missed: (site: string, since: Date, asker: Asker) => Promise<readonly string[]>;
  readonly makeEvent: MakeEvent;
  readonly appendEvent: (event: ReturnType<MakeEvent>) => Promise<unknown>;
  readonly clock: Clock;
  /** Resolves after that time. A command that waits has nothing else to do, so it must keep the process alive. */
  readonly wait: (ms: number) => Promise<unknown>;
}

export interface MirrorService {
  list(): Promise<readonly MirrorStatus[]>;
  /** @throws LookasideError NOT_FOUND, as all that name one */
  show(name: string): Promise<MirrorDetails>;
  /** Null for an image of no mirror, and for one that no walk has found yet. @throws LookasideError STORE_UNAVAILABLE */
  ofImage(image: ImageId): Promise<MirroredImage | null>;
  /** @throws LookasideError REQUEST_INVALID, NAME_TAKEN, CONFIG_INVALID */
  add(name: string, settings: unknown, actor: Actor): Promise<MirrorStatus>;
  /** What is left out stays as it is. */
  edit(name: string, changes: object, actor: Actor): Promise<MirrorStatus>;
  /** Its signatures stay on the disk. */
  remove(name: string, actor: Actor): Promise<void>;
  /** As MirrorAdministration.missed(). */
  missed(name: string, since: Date, asker: Asker): Promise<readonly string[]>;
  sync(name: string, request: SyncRequest & SyncFollowing, actor: Actor): Promise<SyncAnswer>;
  /** What update graphs have said of releases of that version or channel, each digest once. @throws STORE_UNAVAILABLE */
  releases(name: string): Promise<readonly KnownRelease[]>;
}

/** Under way in one run: some of these are walked, and the others are stored together or wait. */
const IMAGES_AT_ONCE = 600;
/** Begun and not walked yet: a few more than a mirror walks at once, so that the next one is at hand. */
const WALKS_AHEAD = 32;
const LOOKED_UP_AT_ONCE = 500;
/** How long the end of a set is believed. */
const END_KNOWN_MS = 300_000;
/** An upstream that has answered in this run and is left alone after faults is waited for: for so long since its last answer. */
const PATIENCE_MS = 100_000;
/** How often a run looks whether it is over; the mirror may stop meanwhile. */
const REST_PAUSE_MS = 1000;

export function createMirrors(options: MirrorsOptions): MirrorService {
  const { store, clock, makeEvent } = options;
  const turns = createTurns();
  /** One change at a time: what one has checked another must not make untrue. */
  const inTurn = <T>(act: () => Promise<T>) => turns.take('change', act);

  function find(name: string): OpenMirror {
    const mirror = options.open().find(({ stored }) => stored.name === name);
    if (mirror === undefined) throw unknownMirror(name);
    return mirror;
  }

  async function statusOf({ stored, mirror, restingMs, counts }: OpenMirror): Promise<MirrorStatus> {
    const { name, settings, addedAt } = stored;
    const { images = null, signatures = null } = (await counts()) ?? {};
    const run = await store.lastRun(name);
    const { gone: goneUpstream, leftOut } = await store.notedCounts(name);
    return {
      name,
      ...settings,
      upstreams: settings.upstreams.map(shownUpstream),
      addedAt,
      images,
      signatures,
      walks: { ...mirror.walks },
      faults: Object.fromEntries(mirror.faults),
      lastFault: mirror.lastFault,
      lastAnswerAt: mirror.lastAnswerAt,
      restingMs: restingMs(),
      lastSync: run && { startedAt: run.startedAt, finishedAt: run.finishedAt, counts: run.counts },
      completeAt: run?.completeAt ?? null,
      goneUpstream,
      leftOut,
      unstored: mirror.unstored,
    };
  }

  async function checkPlaces(name: string, { views, layout, onDemand }: MirrorSettings): Promise<void> {
    if (layout === 'release' && onDemand?.length) {
      throw invalid(
        'releases have no repository path, so --on-demand cannot choose among them; leave it out',
      );
    }
    const others = options.open().filter(({ stored }) => stored.name !== name);
    const taken = new Map(
      others.flatMap(({ stored }) => stored.settings.views.map(({ prefix }) => [prefix, stored.name])),
    );
    for (const { prefix } of views) {
      const owner = taken.get(prefix);
      if (owner !== undefined)
        throw invalid(`the prefix ${prefix} is that of the mirror ${owner}; choose another`);
      const { names } = await options.listHosted(prefix.slice(1));
      if (names.length === 0) continue;
      const message = `signatures are stored below ${prefix}/ already (${names[0]}), and nobody could read them there any more; choose another prefix`;
      throw invalid(message);
    }
  }

  return {
    list: async () => Promise.all(options.open().map(statusOf)),
    show: async (name) => ({ ...(await statusOf(find(name))), noted: await notedOf(store, name) }),
    ofImage: (image) => mirroredImage(image, options),
    add: (name, value, actor) =>
      inTurn(async () => {
        const settings = parseMirrorSettings(value);
        const mirror = { name: parseMirrorName(name), settings, addedAt: clock.now() };
        await checkPlaces(name, settings);
        if (options.open().some(({ stored }) => stored.name === name)) {
          throw new LookasideError(
            'NAME_TAKEN',
            `a mirror named ${name} exists already; see: lookaside mirror edit`,
          );
        }
        // first: what cannot be opened must not be there at the next start
        await options.put(mirror);
        try {
          await store.add(mirror, makeEvent({ action: 'mirror-add', site: name, result: 'added' }, actor));
        } catch (error) {
          await options.take(name);
          throw error;
        }
        return statusOf(find(name));
      }),
    edit: (name, changes, actor) =>
      inTurn(async () => {
        const { stored } = find(name);
        const settings = parseMirrorSettings({ ...stored.settings, ...changes });
        await checkPlaces(name, settings);
        const mirror = { ...stored, settings };
        await options.put(mirror);
        try {
          await store.edit(
            mirror,
            makeEvent({ action: 'mirror-edit', site: name, result: 'updated' }, actor),
          );
        } catch (error) {
          await options.put(stored);
          throw error;
        }
        return statusOf(find(name));
      }),
    remove: (name, actor) =>
      inTurn(async () => {
        find(name);
        await store.remove(
          name,
          makeEvent({ action: 'mirror-remove', site: name, result: 'removed' }, actor),
        );
        await options.take(name);
      }),
    missed: async (name, since, asker) => options.missed(find(name).stored.name, since, asker),
    releases: async (name) => {
      const known = await store.releases(name, MAX_MIRROR_RELEASES);
      return [...new Map(known.map((release) => [release.digest, release])).values()];
    },
    sync: async (name, request, actor) => runSync(find(name), request, { actor, options }),
  };
}

/** One run: every image that is named, and what is kept of it. */
async function runSync(
  open: OpenMirror,
  { images, maxAgeMs, releases = [], wholeChannels = [], onProgress }: SyncRequest & SyncFollowing,
  { actor, options }: { readonly actor: Actor; readonly options: MirrorsOptions },
): Promise<SyncAnswer> {
  const { store, clock, makeEvent } = options;
  const { name } = open.stored;
  const wanted = new Map(images.map((text) => [text, imageOf(text, open.stored)]));
  demandFew(releases);
  const startedAt = clock.now();
  const youngest = maxAgeMs === null ? null : startedAt.getTime() - maxAgeMs;
  const results = new Map<string, SyncedImage>();
  const keep = createKeeper();
  // first: who asks for a channel must be told of what did not come
  if (releases.length > 0)
    await keep.try('what the graphs say of releases', () =>
      store.putReleases(name, { releases, wholeChannels }),
    );
  onProgress?.({ done: 0, total: wanted.size });
  if (youngest !== null) await open.mirror.noteFailures();
  const syncing = {
    ...options,
    mirror: open.mirror,
    bring: createPatience(open.mirror, options),
    youngest,
  };
  await forEachConcurrently(turnsOf(wanted, syncing), IMAGES_AT_ONCE, async (turn) => {
    results.set(turn.text, await syncOne(turn, syncing));
    onProgress?.({ done: results.size, total: wanted.size });
  });
  const inOrder = [...wanted.keys()].flatMap((text) => results.get(text) ?? []);
  const counts = Object.fromEntries(
    SYNC_RESULTS.map((result) => [result, inOrder.filter((one) => one.result === result).length]),
  ) as Record<SyncResult, number>; // one for each
  const report = { startedAt, finishedAt: clock.now(), counts };
  // one that was removed meanwhile has no runs; a later one of its name would tell of this one
  if (options.open().some(({ stored }) => isSameMirror(stored, open.stored)))
    await keep.try('the result', () => store.ran(name, report));
  const result = SYNC_RESULTS.map((one) => `${one} ${counts[one]}`).join(', ');
  const event = makeEvent({ action: 'mirror-sync', site: name, result }, actor);
  await keep.try('the audit event', () => options.appendEvent(event));
  return { ...report, images: inOrder, unrecorded: keep.failure };
}

const KEEPS_NOTHING: readonly ErrorCode[] = ['DISK_FULL', 'READ_ONLY', 'STORE_UNAVAILABLE', 'BUSY'];

/** A database that takes nothing must not cost the report of what a run has fetched: trees may lie on another disk. */
function createKeeper() {
  const lost: string[] = [];
  let why = '';
  return {
    /** @throws what no state of the disk explains */
    async try(what: string, act: () => Promise<unknown>): Promise<void> {
      try {
        await act();
      } catch (error) {
        if (!isLookasideError(error) || !KEEPS_NOTHING.includes(error.code)) throw error;
        lost.push(what);
        why = error.message;
      }
    },
    get failure() {
      return lost.length === 0 ? null : `${lost.join(' and ')} of this run could not be kept: ${why}`;
    },
  };
}

function isSameMirror(one: StoredMirror, other: StoredMirror): boolean {
  return one.name === other.name && one.addedAt.getTime() === other.addedAt.getTime();
}

interface Syncing extends Pick<MirrorsOptions, 'store' | 'clock'> {
  readonly mirror: Mirror;
  readonly bring: Mirror['bring'];
  /** Since when a set must have been checked to be left alone, as a time; null: none is left alone. */
  readonly youngest: number | null;
}

/** One image of a run, whose turn has come. */
interface Turn {
  readonly text: string;
  readonly image: ImageId;
  /** What became of it, where that is known already. */
  readonly known: SyncedImage | null;
  /** It is noted as young, and whether it is stored has to be looked at. */
  readonly isYoung: boolean;
  /** Its walk has ended, or it has none; a second call does nothing. */
  readonly leave: () => void;
}

/**
 * The images one after the other, each as soon as there is room among the walks: were hundreds begun at once, the first answers would
 * wait for all of them. What is stored and young is looked up for many together.
 */
async function* turnsOf(wanted: ReadonlyMap<string, ImageId>, syncing: Syncing): AsyncGenerator<Turn> {
  const walks = createPlaces({ items: WALKS_AHEAD, bytes: Number.POSITIVE_INFINITY });
  const all = [...wanted];
  for (let first = 0; first < all.length; first += LOOKED_UP_AT_ONCE) {
    const some = all.slice(first, first + LOOKED_UP_AT_ONCE);
    const looks = await lookUp(
      some.map(([, image]) => image),
      syncing,
    );
    for (const [position, [text, image]] of some.entries()) {
      const look = looks[position] ?? DUE;
      if (look.known !== null) yield { text, image, ...look, leave: () => undefined };
      else yield { text, image, ...look, leave: once((await walks.enter(0)).leave) };
    }
  }
}

const DUE: Pick<Turn, 'known' | 'isYoung'> = { known: null, isYoung: false };

/** What is known of each before the upstream is asked, in their order. */
async function lookUp(
  images: readonly ImageId[],
  { store, clock, mirror, youngest }: Syncing,
): Promise<readonly Pick<Turn, 'known' | 'isYoung'>[]> {
  if (youngest === null) return [];
  const rows = await store.setsOf(images);
  const now = clock.now();
  // signatures come after images
  const youngestEnd = Math.max(youngest, now.getTime() - END_KNOWN_MS);
  const isYoung = rows.map((row) => row?.upstream != null && syncedMs(row, now) >= youngest);
  // the row may tell of a set that is gone: a backup has the row, and the set only where that was asked for
  const young = images.filter((_, position) => isYoung[position]);
  const areStored = await mirror.haveSome(young);
  const stored = new Set(young.filter((_, position) => areStored[position]));
  return images.map((image, position) => {
    const row = rows[position] ?? null;
    if (stored.has(image)) return { ...DUE, known: synced(image, 'unchanged') };
    if (row?.upstream === null && syncedMs(row, now) >= youngestEnd)
      return { ...DUE, known: synced(image, 'missing') };
    return { ...DUE, isYoung: isYoung[position] === true };
  });
}

function once(act: () => void): () => void {
  let isDone = false;
  return () => {
    if (!isDone) act();
    isDone = true;
  };
}

/** For the images of one run: those behind a few faults must not all fail with them. */
function createPatience(mirror: Mirror, { clock, wait }: MirrorsOptions): Mirror['bring'] {
  let answeredAtMs = Number.NEGATIVE_INFINITY;
  return async (image, onWalked) => {
    for (;;) {
      const brought = await mirror.bring(image, onWalked);
      if (brought.kind !== 'fault') {
        answeredAtMs = clock.monotonicMs();
        return brought;
      }
      const restMs = brought.fault === 'resting' ? brought.retryAfterMs : null;
      // null: not the upstream rests, but this mirror stops
      if (restMs === null || clock.monotonicMs() + restMs > answeredAtMs + PATIENCE_MS) return brought;
      await wait(REST_PAUSE_MS);
    }
  };
}

async function syncOne(
  { image, known, isYoung, leave }: Turn,
  { mirror, bring }: Syncing,
): Promise<SyncedImage> {
  try {
    if (known !== null) return known;
    if (isYoung && (await mirror.has(image))) return synced(image, 'unchanged');
    return syncedFrom(image, await bring(image, leave));
  } finally {
    leave();
  }
}

async function notedOf(store: Pick<MirrorStore, 'noted'>, name: string): Promise<MirrorDetails['noted']> {
  const rows = await store.noted(name, MAX_NOTED_IMAGES);
  return rows.flatMap(({ image: folder, gone: goneUpstream, leftOut }) => {
    const image = parseImageFolder(name, folder);
    return image === null ? [] : [{ image: imageName(image), goneUpstream, leftOut }];
  });
}

async function mirroredImage(
  image: ImageId,
  { store, open }: Pick<MirrorsOptions, 'store' | 'open'>,
): Promise<MirroredImage | null> {
  const row = await store.setOf(image);
  if (row === null) return null;
  const { checkedAt, syncedAt, gone: goneUpstream, leftOut } = row;
  const upstream = row.upstream === null ? null : shownUpstream(row.upstream);
  const settings = open().find(({ stored }) => stored.name === image.site)?.stored.settings;
  const servedAs = (settings?.views ?? []).flatMap(({ prefix, strip, add }) => {
    const name = nameInView(image, { layout: settings?.layout ?? image.layout, strip, add });
    return name === null ? [] : [`${prefix}/${name}`];
  });
  return { upstream, checkedAt, syncedAt, servedAs, goneUpstream, leftOut };
}

function synced(image: ImageId, result: SyncResult, more: Partial<SyncedImage> = {}): SyncedImage {
  return { image: imageName(image), result, signatures: 0, added: 0, message: null, ...more };
}

function syncedFrom(image: ImageId, brought: Brought): SyncedImage {
  switch (brought.kind) {
    case 'fault':
      return synced(image, 'failed', { message: brought.message });
    case 'empty':
      return brought.leftOut.length === 0
        ? synced(image, 'missing')
        : synced(image, 'refused', { message: leftOutText(brought.leftOut) });
    case 'set': {
      const { set, added, leftOut, unstored } = brought;
      const counts = { signatures: set.entries.length, added };
      if (unstored !== null) return synced(image, 'failed', { ...counts, message: unstored });
      const message = leftOut.length === 0 ? null : leftOutText(leftOut);
      return synced(image, added > 0 ? 'new' : 'unchanged', { ...counts, message });
    }
  }
}

function leftOutText(leftOut: readonly { readonly code: string }[]): string {
  const codes = [...new Set(leftOut.map(({ code }) => code))].join(', ');
  return `${leftOut.length} left out, as no client could use them: ${codes}`;
}

/** @throws LookasideError REQUEST_INVALID */
function imageOf(text: string, { name, settings }: StoredMirror): ImageId {
  const image = syncedImage(name, text, settings.layout);
  if (image !== null) return image;
  const wanted = settings.layout === 'release' ? 'sha256:<hex>' : 'ubi9/ubi@sha256:<hex>';
  throw invalid(`${quoted(text)} is not an image of the mirror ${name}; wanted one like ${wanted}`);
}

/**
 * When a sync has last checked it; never, when the last walk has failed. A time in the future is from a clock that was wrong: nobody
 * knows when that was.
 */
function syncedMs(row: MirrorSetRow | null, now: Date): number {
  if (row === null || row.syncedAt === null || row.checkedAt > now) return Number.NEGATIVE_INFINITY;
  return row.failingSince === null ? row.checkedAt.getTime() : Number.NEGATIVE_INFINITY;
}

/** @throws LookasideError REQUEST_INVALID */
function demandFew(releases: readonly Release[]): void {
  if (releasesAtOnce(releases).length === releases.length) return;
  throw invalid(
    `one sync tells of ${MAX_MIRROR_RELEASES} releases with ${MAX_MIRROR_RELEASE_CHANNELS} channels together at most; send the rest of them with another`,
  );
}

function invalid(message: string): LookasideError {
  return new LookasideError('REQUEST_INVALID', message);
}
