// A mirror: a site that is filled from signature sites elsewhere, and the paths below which it is served.
import { LookasideError } from './errors.ts';
import { type ImageId, parseImageName } from './image.ts';
import type { MirrorLayout } from './mirror-presets.ts';
import type { Release, WholeChannel } from './release-graph.ts';
import { quoted } from './text.ts';
import type { WalkFaultKind } from './walk.ts';

export interface MirrorSettings {
  /** Without user and password; asked in this order. */
  readonly upstreams: readonly string[];
  readonly layout: MirrorLayout;
  readonly views: readonly { readonly prefix: string; readonly strip: string; readonly add: string }[];
  /** Statuses that mean that a file is not there. */
  readonly missing: readonly number[];
  /** Hosts that redirects may lead to wherever they are. */
  readonly redirects: readonly string[];
  /** Globs of repository paths that a read may make us ask for; null: all. */
  readonly onDemand: readonly string[] | null;
  /** What a reader gets when the upstream fails and nothing is stored. */
  readonly onUpstreamFailure: '503' | '404';
  /** After which a stored set is asked for again, behind the reader's back. */
  readonly maxAgeMs: number;
  /** What sets that reads alone have brought may take on a disk; null: what they need. */
  readonly maxBytes: number | null;
  /** Files on the server's machine; each null: none. */
  readonly ca: string | null;
  readonly certificate: string | null;
  readonly key: string | null;
  /** One line: `user:password`, or the value of the header Authorization. */
  readonly credentials: string | null;
}

export interface StoredMirror {
  readonly name: string;
  readonly settings: MirrorSettings;
  readonly addedAt: Date;
}

export const DEFAULT_MIRROR = {
  layout: 'repository',
  missing: [404],
  redirects: [],
  onDemand: null,
  onUpstreamFailure: '503',
  maxAgeMs: 3_600_000,
  maxBytes: null,
  ca: null,
  certificate: null,
  key: null,
  credentials: null,
} as const satisfies Partial<MirrorSettings>;

const BLOCK_BYTES = 4096;

/** What the files of a set and their folder take on a disk with blocks of 4 KiB, as most have. */
export function bytesOnDisk(entries: readonly { readonly sizeBytes: number }[]): number {
  return entries.reduce(
    (sum, { sizeBytes }) => sum + Math.ceil(sizeBytes / BLOCK_BYTES) * BLOCK_BYTES,
    BLOCK_BYTES,
  );
}

export interface MirrorStatus extends MirrorSettings {
  readonly name: string;
  readonly addedAt: Date;
  readonly images: number | null;
  readonly signatures: number | null;
  /** Walks since the start, by what came of them. */
  readonly walks: Readonly<Record<'set' | 'empty', number>>;
  readonly faults: Readonly<Partial<Record<WalkFaultKind, number>>>;
  readonly lastFault: { readonly at: Date; readonly upstream: string; readonly message: string } | null;
  /** When an upstream has last said what it has of an image, since the start; null: it has not. */
  readonly lastAnswerAt: Date | null;
  /** How long no upstream is asked; 0: they are. */
  readonly restingMs: number;
  readonly lastSync: SyncReport | null;
  /** When a sync last ended in which nothing failed. */
  readonly completeAt: Date | null;
  /** Signatures that are served here and are gone from the upstream. */
  readonly goneUpstream: number;
  /** Signatures of the upstream that are not served, as no client could use them. */
  readonly leftOut: number;
  /** Images whose sets are served from memory alone, because they could not be stored. */
  readonly unstored: number;
}

/**
 * What the newest walk tells of the upstreams. `idle`: none has ended since the start. `failing`: it has failed, whatever came before
 * it. `resting`: none is asked, after several that failed.
 */
export type UpstreamState = 'ok' | 'idle' | 'failing' | 'resting';

export function upstreamState({
  restingMs,
  walks,
  lastAnswerAt,
  lastFault,
}: Pick<MirrorStatus, 'restingMs' | 'walks' | 'lastAnswerAt' | 'lastFault'>): UpstreamState {
  if (restingMs > 0) return 'resting';
  // a server of an older version does not tell when
  const hasAnswered = lastAnswerAt !== null || walks.set + walks.empty > 0;
  const isFaultNewer = lastFault !== null && lastAnswerAt !== null && lastAnswerAt < lastFault.at;
  if (isFaultNewer || (lastFault !== null && !hasAnswered)) return 'failing';
  return hasAnswered ? 'ok' : 'idle';
}

/** An image of which not all is the same here and at the upstream. */
export interface NotedImage {
  /** `ubi9/ubi@sha256:…`, `sha256:…` */
  readonly image: string;
  /** SHA-256 of each, as the next. */
  readonly goneUpstream: readonly string[];
  readonly leftOut: readonly { readonly sha256: string; readonly code: string }[];
}

/** What a mirror knows of one image, beside its signatures. */
export interface MirroredImage extends Pick<NotedImage, 'goneUpstream' | 'leftOut'> {
  /** Where the stored set came from, without a query; null: nothing is stored. */
  readonly upstream: string | null;
  readonly checkedAt: Date;
  /** When it was last asked for ahead of demand; null: readers alone have asked. */
  readonly syncedAt: Date | null;
  /** Where clients find it, below each view: `/rh/ubi9/ubi@sha256:…`. A server of an older version does not tell. */
  readonly servedAs: readonly string[];
}

export interface MirrorDetails extends MirrorStatus {
  /** By name, the first MAX_NOTED_IMAGES of them. */
  readonly noted: readonly NotedImage[];
}

export const MAX_NOTED_IMAGES = 100;

export const SYNC_RESULTS = ['new', 'unchanged', 'missing', 'refused', 'failed'] as const;
export type SyncResult = (typeof SYNC_RESULTS)[number];

export interface SyncedImage {
  /** `ubi9/ubi@sha256:…`, `sha256:…` */
  readonly image: string;
  readonly result: SyncResult;
  /** How many are served now, and how many of them are new. */
  readonly signatures: number;
  readonly added: number;
  /** Why it failed or was refused; null for the rest. */
  readonly message: string | null;
}

export interface SyncReport {
  readonly startedAt: Date;
  readonly finishedAt: Date;
  readonly counts: Readonly<Record<SyncResult, number>>;
}

/** What is kept of the last run. */
export interface SyncRun extends SyncReport {
  readonly completeAt: Date | null;
}

export interface SyncAnswer extends SyncReport {
  /** In the order in which they were named. */
  readonly images: readonly SyncedImage[];
  /** What of the run could not be kept, and why: status, metrics and the log of events do not tell of it. Null: all was kept. */
  readonly unrecorded: string | null;
}

export interface SyncProgress {
  readonly done: number;
  readonly total: number;
}

export interface SyncRequest {
  /** `ubi9/ubi@sha256:…`; in the layout `release` `sha256:…`. Each at most once. */
  readonly images: readonly string[];
  /** Those that a sync has asked for more recently are not asked for again; null: all are. */
  readonly maxAgeMs: number | null;
  /** What update graphs say of some of the images, in the layout `release`: kept, so that releases are found by it. */
  readonly releases?: readonly Release[];
  /** As in GraphsTold. */
  readonly wholeChannels?: readonly WholeChannel[];
}

/** The image of the site; of a release the digest alone counts. Null when the text names none. */
export function syncedImage(site: string, text: string, layout: MirrorLayout): ImageId | null {
  const digest = layout === 'release' ? (text.split('@').at(-1) ?? '') : text;
  const image = parseImageName(site, digest);
  return image?.layout === layout ? image : null;
}

export const MIRROR_NAME = /^[a-z0-9][a-z0-9-]{0,62}$/;

/** @throws LookasideError REQUEST_INVALID */
export function parseMirrorName(name: string): string {
  if (MIRROR_NAME.test(name) && name !== 'default') return name;
  throw invalid(
    `${quoted(name)} cannot name a mirror; wanted lower-case letters, digits and hyphens, like red-hat`,
  );
}

/** For people: a query may be a secret. */
export function shownUpstream(url: string): string {
  return url.replace(/\?.*$/s, '?…');
}

/** Whether one of the globs covers the whole path: `*` is part of one name, `**` any number of names. */
export function createMatcher(globs: readonly string[] | null): (path: string) => boolean {
  if (globs === null) return () => true;
  const patterns = globs.map((glob) => {
    const text = glob.replace(/[.+?^${}()|[\]\\]/g, '\\$&').replace(/\*\*|\*/g, (stars) => {
      return stars === '**' ? '.*' : '[^/]*';
    });
    return new RegExp(`^${text}$`);
  });
  return (path) => patterns.some((pattern) => pattern.test(path));
}

export function unknownMirror(name: string): LookasideError {
  return new LookasideError(
    'NOT_FOUND',
    `there is no mirror ${quoted(name)}; lookaside mirror list names them`,
  );
}

function invalid(message: string): LookasideError {
  return new LookasideError('REQUEST_INVALID', message);
}
