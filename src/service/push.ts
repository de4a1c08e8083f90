// Pushes staged signatures: sends the ones that a server lacks, and reports the results image by image.
import { mapInOrder } from '../domain/concurrency.ts';
import { type ErrorCode, LookasideError } from '../domain/errors.ts';
import { DEFAULT_SITE, type ImageId, imageFolder, imageKey } from '../domain/image.ts';
import { MAX_MISSING_ASKED } from '../domain/limits.ts';
import { claimedImage, signaturePath } from '../domain/placement.ts';
import type { Clock } from '../domain/ports.ts';
import type { BatchResult, Receipt, Warning } from '../domain/receipt.ts';
import { parseReference } from '../domain/reference.ts';
import { isRemapped, type Remap } from '../domain/remap.ts';
import type { SignatureServer } from '../domain/remote.ts';
import type { StagedBytes, StagedFile, StagedProblem, Staging } from '../domain/staged.ts';
import type { Claim } from '../domain/verdict.ts';
import { createSender, type Sendable, type Wait } from './push-batches.ts';

export interface PusherOptions {
  readonly server: Pick<SignatureServer, 'missing' | 'uploadBatch'>;
  readonly staging: Pick<Staging, 'read'>;
  /** Lower-case hex. */
  readonly sha256: (bytes: Uint8Array) => string;
  /**
   * What the payload says, without any verification: it decides what the server is asked, never what is stored. Null:
   * unreadable.
   */
  readonly untrustedClaim: (bytes: Uint8Array) => Claim | null;
  /** False while the file is still being written. */
  readonly isWhole: (bytes: Uint8Array) => boolean;
  readonly clock: Clock;
  readonly wait: Wait;
  /** From 0 to 1. */
  readonly random: () => number;
  readonly placing?: Placing;
}

/** Where signatures belong whose signed name is another than that of their folder. */
export interface Placing {
  /** Below the name that was signed, not where they lie. */
  readonly asSigned: boolean;
  /** Where they lie, if one of these makes the signed name one for that place. */
  readonly signedFor: readonly Remap[];
}

const AS_THEY_LIE: Placing = { asSigned: false, signedFor: [] };

export interface PushOptions {
  /** Also send a signature that is equivalent to a stored one. */
  readonly force: boolean;
  /** Only ask the server, and send nothing. */
  readonly dryRun: boolean;
  /** Once aborted, running batches are completed and no other begins. */
  readonly signal: AbortSignal;
}

/** A staged file with the bytes that were read. */
export interface ReadFile {
  readonly file: StagedFile;
  readonly bytes: Uint8Array;
  readonly sha256: string;
  /**
   * The image that its path names, completed or replaced by its own claim where the path does not say everything; null when
   * neither says it.
   */
  readonly image: ImageId | null;
}

export type PushOutcome =
  | {
      readonly result: 'sent';
      readonly number: number;
      /** `/team/app@sha256=<hex>/signature-2`, without the server's prefix. */
      readonly path: string;
      readonly warnings: readonly Warning[];
    }
  /** The server has exactly these bytes, from before or since. */
  | { readonly result: 'there' }
  /** Another signature by the same key for the same name: nothing was stored. */
  | { readonly result: 'equivalent'; readonly number: number; readonly path: string }
  /** The server lacks it, and nothing was sent because of `dryRun`. */
  | { readonly result: 'missing' }
  | {
      readonly result: 'refused';
      readonly code: ErrorCode;
      readonly message: string;
      /** The path has more folders than the signed name: a folder further down should have been pushed. */
      readonly isMisrooted: boolean;
    }
  /** These bytes were withdrawn on the server, which takes them no more. No failure: they are where they belong. */
  | { readonly result: 'withdrawn'; readonly message: string }
  | { readonly result: 'problem'; readonly kind: StagedProblem['kind']; readonly message: string }
  /** The push ended before this file's turn. */
  | { readonly result: 'unsent' };

export interface PushedFile {
  /** Hostile text: escape where shown. */
  readonly source: string;
  /** Null when the file could not be read; sizeBytes is then null too. */
  readonly sha256: string | null;
  readonly sizeBytes: number | null;
  readonly outcome: PushOutcome;
}

/** All files of one image that were handled together. */
export interface PushedImage {
  /** Null for a file that does not say where it belongs. */
  readonly image: ImageId | null;
  readonly files: readonly PushedFile[];
}

export interface PushListener {
  readonly onImage: (pushed: PushedImage) => void;
  /** What the server answered to each that it has taken, or has had. */
  readonly onReceipt?: (receipt: Receipt) => void;
  /** Called as files are finished; `sentBytes` counts the bytes that the server accepted. */
  readonly onProgress: (progress: { readonly files: number; readonly sentBytes: number }) => void;
}

export interface PushEnd {
  /** Null when all files were handled. `failure`: why the server could not be asked or sent to. */
  readonly stopped: { readonly failure: LookasideError | null } | null;
  /** Files that the push did not get to; onImage is not called for them. */
  readonly unsent: number;
  readonly sentBytes: number;
}

export interface Pusher {
  /** Checks that the server accepts our requests. @throws LookasideError as SignatureServer */
  greet(): Promise<void>;
  /** Reads the files and pushes them; it waits up to a second for a file that is still being written. */
  push(files: readonly StagedFile[], options: PushOptions, listener: PushListener): Promise<PushEnd>;
  pushRead(files: readonly ReadFile[], options: PushOptions, listener: PushListener): Promise<PushEnd>;
  identify(file: StagedFile, read: StagedBytes): ReadFile;
}

/** How much is read and asked about together, which bounds memory. A larger image is handled in several chunks. */
export const CHUNK = { files: 1000, bytes: 16 * 1024 * 1024 } as const;

/** Each file has at most 4 MiB. */
const READ_AT_ONCE = 8;

const UNFINISHED_LOOKS = 10;
const UNFINISHED_PAUSE_MS = 100;

type Looked = ReadFile | { readonly file: StagedFile; readonly problem: StagedProblem };

export function createPusher(options: PusherOptions): Pusher {
  const { server, staging, sha256, untrustedClaim, isWhole, wait, placing = AS_THEY_LIE } = options;
  const sender = createSender({ ...options, signedFor: placing.signedFor });

  function identify(file: StagedFile, { bytes }: StagedBytes): ReadFile {
    return { file, bytes, sha256: sha256(bytes), image: imageOf(file, untrustedClaim(bytes), placing) };
  }

  async function look(file: StagedFile): Promise<Looked> {
    const read = await staging.read(file);
    return 'bytes' in read ? identify(file, read) : { file, problem: read };
  }

  async function push(
    files: readonly StagedFile[],
    pushOptions: PushOptions,
    listener: PushListener,
  ): Promise<PushEnd> {
    let end: PushEnd = { stopped: null, unsent: 0, sentBytes: 0 };
    let filesDone = 0;
    for await (const chunk of chunksOf(mapInOrder(each(files), READ_AT_ONCE, look))) {
      const before = { files: filesDone, sentBytes: end.sentBytes };
      const latest = pushOptions.dryRun ? chunk : await finished(chunk, pushOptions.signal);
      const ofChunk = await pushChunk(latest, pushOptions, {
        ...listener,
        onProgress: ({ files: count, sentBytes }) => {
          listener.onProgress({ files: before.files + count, sentBytes: before.sentBytes + sentBytes });
        },
      });
      filesDone += chunk.length;
      end = {
        stopped: ofChunk.stopped,
        unsent: ofChunk.unsent,
        sentBytes: end.sentBytes + ofChunk.sentBytes,
      };
      if (end.stopped !== null) break;
    }
    return { ...end, unsent: end.unsent + files.length - filesDone };
  }

  /** The chunk once all its files are completely written, or a second has passed. */
  async function finished(chunk: readonly Looked[], signal: AbortSignal): Promise<readonly Looked[]> {
    const latest = [...chunk];
    let unfinished = [...latest.keys()].filter((position) => !isFinished(latest[position]));
    for (let looks = 0; looks < UNFINISHED_LOOKS && unfinished.length > 0; looks += 1) {
      if (signal.aborted) break;
      await wait(UNFINISHED_PAUSE_MS, signal);
      for (const position of unfinished) {
        const item = latest[position];
        if (item !== undefined) latest[position] = await look(item.file);
      }
      unfinished = unfinished.filter((position) => !isFinished(latest[position]));
    }
    return latest;
  }

  function isFinished(looked: Looked | undefined): boolean {
    return looked === undefined || 'problem' in looked || isWhole(looked.bytes);
  }

  async function pushChunk(
    chunk: readonly Looked[],
    { force, dryRun, signal }: PushOptions,
    { onImage, onProgress, onReceipt }: PushListener,
  ): Promise<PushEnd> {
    const groups = groupsOf(chunk);
    let filesDone = 0;
    let sentBytes = 0;
    let unsent = 0;

    const finish = (group: Group) => {
      const pushed = group.tell();
      filesDone += pushed.files.length;
      onImage(pushed);
      onProgress({ files: filesDone, sentBytes });
    };
    /** The files of the group that must be sent. */
    const sendablesOf = (group: Group): readonly Sendable[] =>
      group.open().map((item) => ({
        bytes: item.bytes,
        fileName: fileNameOf(item),
        settle(result) {
          if (result.result !== 'refused') onReceipt?.(result);
          const outcome = toOutcome(result, () => isMisrooted(item, untrustedClaim(item.bytes)));
          if (outcome.result === 'sent') sentBytes += item.bytes.length;
          group.settle(item, outcome);
          if (group.open().length === 0) finish(group);
        },
      }));

    let stopped: PushEnd['stopped'] = null;
    try {
      if (!signal.aborted) {
        await settlePresent(groups);
        if (dryRun) {
          for (const group of groups) {
            for (const item of group.open()) group.settle(item, { result: 'missing' });
          }
        }
        for (const group of groups) if (group.open().length === 0) finish(group);
        const open = groups.filter((group) => group.open().length > 0);
        await sender.send(open.map(sendablesOf), { force, signal });
      }
    } catch (error) {
      if (!(error instanceof LookasideError)) throw error;
      stopped = { failure: error };
    }
    for (const group of groups) {
      if (group.open().length === 0) continue;
      stopped ??= { failure: null };
      if (group.isTouched()) finish(group);
      else unsent += group.size;
    }
    return { stopped, unsent, sentBytes };
  }

  /** Asks the server which files it lacks, and settles all others as present. */
  async function settlePresent(groups: readonly Group[]): Promise<void> {
    const asked = groups.flatMap((group) =>
      group.open().flatMap((item) => (item.image === null ? [] : [{ group, item, image: item.image }])),
    );
    for (let from = 0; from < asked.length; from += MAX_MISSING_ASKED) {
      const page = asked.slice(from, from + MAX_MISSING_ASKED);
      const missing = new Set(
        await server.missing(page.map(({ image, item }) => ({ image, sha256: item.sha256 }))),
      );
      for (const [position, { group, item }] of page.entries()) {
        if (!missing.has(position)) group.settle(item, { result: 'there' });
      }
    }
  }

  return {
    greet: async () => void (await server.missing([])),
    push,
    pushRead: pushChunk,
    identify,
  };
}

/** The files of one image; the same bytes are sent only once. */
interface Group {
  readonly size: number;
  /** Files without a result yet, each with different bytes, in the order of their numbers. */
  open(): readonly ReadFile[];
  settle(item: ReadFile, outcome: PushOutcome): void;
  /** Whether any file has a result or a problem. */
  isTouched(): boolean;
  /** The results in the order of the files; `unsent` for files without one. */
  tell(): PushedImage;
}

function groupsOf(chunk: readonly Looked[]): readonly Group[] {
  const byImage = new Map<string, { image: ImageId | null; looked: Looked[] }>();
  for (const [position, looked] of chunk.entries()) {
    const image = 'problem' in looked ? placedImage(looked.file) : looked.image;
    const key = image === null ? `file ${position}` : imageKey(image);
    const known = byImage.get(key);
    if (known === undefined) byImage.set(key, { image, looked: [looked] });
    else known.looked.push(looked);
  }
  return [...byImage.values()].map(({ image, looked }) => createGroup(image, looked));
}

function createGroup(image: ImageId | null, looked: readonly Looked[]): Group {
  const items = looked.filter((item) => 'bytes' in item);
  const byNumber = items.toSorted((a, b) => numberOf(a.file) - numberOf(b.file));
  const firsts = new Map<string, ReadFile>();
  for (const item of byNumber) if (!firsts.has(item.sha256)) firsts.set(item.sha256, item);
  const outcomes = new Map<ReadFile, PushOutcome>();
  const open = new Set(firsts.values());

  const outcomeOf = (item: Looked): PushOutcome => {
    if ('problem' in item) return toProblem(item.problem);
    const first = firsts.get(item.sha256);
    const outcome = (first && outcomes.get(first)) ?? { result: 'unsent' };
    const isTaken = outcome.result === 'sent' || outcome.result === 'missing';
    return first !== item && isTaken ? { result: 'there' } : outcome;
  };

  return {
    size: looked.length,
    open: () => [...open],
    settle(item, outcome) {
      outcomes.set(item, outcome);
      open.delete(item);
    },
    isTouched: () => outcomes.size > 0 || items.length < looked.length,
    tell: () => ({ image, files: looked.map((item) => toPushed(item, outcomeOf(item))) }),
  };
}

function toPushed(item: Looked, outcome: PushOutcome): PushedFile {
  const { source } = item.file;
  if ('problem' in item) return { source, sha256: null, sizeBytes: null, outcome };
  return { source, sha256: item.sha256, sizeBytes: item.bytes.length, outcome };
}

function toProblem({ kind, message }: StagedProblem): PushOutcome {
  return { result: 'problem', kind, message };
}

function toOutcome(result: BatchResult, isMisplaced: () => boolean): PushOutcome {
  switch (result.result) {
    case 'created':
      return { result: 'sent', ...placeOf(result), warnings: result.warnings };
    case 'exists':
      return result.warnings.some(({ code }) => code === 'EQUIVALENT_EXISTS' || code === 'SAME_SIGNATURE')
        ? { result: 'equivalent', ...placeOf(result) }
        : { result: 'there' };
    case 'refused':
      if (result.code === 'WITHDRAWN') return { result: 'withdrawn', message: result.message };
      return {
        result: 'refused',
        code: result.code,
        message: result.message,
        isMisrooted: result.code === 'REPOSITORY_MISMATCH' && isMisplaced(),
      };
  }
}

function placeOf({ number, path }: Receipt): { readonly number: number; readonly path: string } {
  return { number, path };
}

function imageOf({ place }: StagedFile, claim: Claim | null, placing: Placing): ImageId | null {
  if (place.kind === 'image') return placedOf(place.image, claim, placing);
  if (claim === null) return null;
  return claimedImage(DEFAULT_SITE, place.kind === 'payload' ? claim : { ...claim, ...place.digest });
}

function placedOf(placed: ImageId, claim: Claim | null, { asSigned, signedFor }: Placing): ImageId {
  if (claim === null || placed.layout !== 'repository') return placed;
  if (signedFor.some((remap) => isRemapped(placed.path, claim, remap))) return placed;
  if (!asSigned) return wholeOf(placed, claim) ?? placed;
  const { algorithm, hex } = placed;
  return claimedImage(DEFAULT_SITE, { ...claim, algorithm, hex }) ?? placed;
}

/** The claimed image when the place is the end of its path, as below `staging/team` of a staging folder; else null. */
function wholeOf(placed: ImageId, claim: Claim | null): ImageId | null {
  const claimed = claim === null ? null : claimedImage(DEFAULT_SITE, claim);
  if (claimed === null || placed.layout !== 'repository') return null;
  const isEnd = imageFolder(claimed).endsWith(`/${imageFolder(placed)}`);
  return isEnd ? claimed : null;
}

function placedImage({ place }: StagedFile): ImageId | null {
  return place.kind === 'image' ? place.image : null;
}

function pathOf({ dockerReference }: Claim): string | null {
  return parseReference(dockerReference)?.path ?? null;
}

/** Null: then the server places the file by the claim that it verifies. */
function fileNameOf({ image, file }: ReadFile): string | null {
  if (image === null || file.place.kind === 'payload') return null;
  return signaturePath(image, file.place.number).slice(1);
}

/** A file without a number sorts behind all numbers. */
function numberOf({ place }: StagedFile): number {
  return place.kind === 'payload' ? Number.MAX_SAFE_INTEGER : place.number;
}

function isMisrooted({ image, file }: ReadFile, untrusted: Claim | null): boolean {
  const path = untrusted === null ? null : pathOf(untrusted);
  if (image === null || path === null || file.place.kind !== 'image') return false;
  return image.path.endsWith(`/${path}`);
}

async function* each<T>(items: readonly T[]): AsyncGenerator<T> {
  yield* items;
}

/** Cuts the files into chunks. Files of one folder stay together until the chunk has twice its proper size. */
async function* chunksOf(looked: AsyncIterable<Looked>): AsyncGenerator<readonly Looked[]> {
  let chunk: Looked[] = [];
  let bytes = 0;
  for await (const item of looked) {
    const last = chunk.at(-1);
    const fullness = Math.max(chunk.length / CHUNK.files, bytes / CHUNK.bytes);
    if (last !== undefined && (fullness >= 2 || (fullness >= 1 && !isBeside(last.file, item.file)))) {
      yield chunk;
      chunk = [];
      bytes = 0;
    }
    chunk.push(item);
    bytes += 'bytes' in item ? item.bytes.length : 0;
  }
  if (chunk.length > 0) yield chunk;
}

function isBeside({ place: a }: StagedFile, { place: b }: StagedFile): boolean {
  if (a.kind === 'image') return b.kind === 'image' && imageKey(a.image) === imageKey(b.image);
  return a.kind === 'manifest' && b.kind === 'manifest' && a.digest.hex === b.digest.hex;
}
