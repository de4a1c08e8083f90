// The signature store over a tree on disk and its index. It reads a shared tree from the disk, and an owned one from the
// index. In both, no reader waits for a writer of the index.
import { createSingleFlight, type Round } from '../domain/concurrency.ts';
import { isLookasideError, LookasideError } from '../domain/errors.ts';
import { type ImageId, imageFolder, imageKey } from '../domain/image.ts';
import type { FolderPage, RecordedSignature, SignatureSet, SignatureStore } from '../domain/ports.ts';
import { withdrawnOf } from '../domain/tombstone.ts';
import type { Stamps } from '../domain/tree.ts';
import { sameSignatures, toEntries } from './image-state.ts';
import { type Asked, createLooker, type Look, type TreeAndIndex } from './look.ts';
import { createLooksBefore } from './looks-before.ts';

export interface TreeStoreOptions extends TreeAndIndex {
  /** SHA-256 of the bytes in hex. */
  readonly sha256: (bytes: Uint8Array) => string;
  /** Brings the index up to date for one folder's children. */
  readonly syncFolder: (site: string, folder: string) => Promise<void>;
  /** Called for an image as it was found: an upload may have to be finished or put back. */
  readonly tend: (image: ImageId, seen: Look) => void;
  /** Whether `report` was told of problems of the image: a read that finds none says so. */
  readonly hasProblems: (image: ImageId) => boolean;
  /** Something of the image was recorded without a verdict. */
  readonly onRecorded: (image: ImageId) => void;
}

/** What a set was made from: shows cheaply whether the set is still right. */
interface Origin {
  readonly signatures: readonly RecordedSignature[];
  /** Null when there was no folder, or the disk was not read. */
  readonly stamps: Stamps | null;
  readonly isSettled?: boolean;
}

const NOTHING: Origin = { signatures: [], stamps: null };

/** No origin is kept of a set that was made from nothing: a flood of names that are not there would make many. */
function isNothing({ signatures, stamps, isSettled = false }: Origin): boolean {
  return signatures.length === 0 && stamps === null && !isSettled;
}

function originless({ entries }: SignatureSet): Origin | undefined {
  return entries.length === 0 ? NOTHING : undefined;
}

export function createTreeStore(options: TreeStoreOptions): SignatureStore {
  const { tree, index, changes, report, tend } = options;
  const { lookSettled, askOrNone, recordedOrNone, isComplete } = createLooker(options);
  const origins = new WeakMap<SignatureSet, Origin>();
  const oneReadPerImage = createSingleFlight<SignatureSet>();
  const looksBefore = createLooksBefore(options);
  let generation = 0;

  function readSet(image: ImageId, known?: SignatureSet): Promise<SignatureSet> {
    // a call after a change of the image or its rows must not share a look that began before the change
    return oneReadPerImage(`${imageKey(image)} ${changes.versionOf(image)} ${index.peekWrites()}`, () =>
      options.kind === 'shared' ? readShared(image, known) : readOwned(image, known),
    );
  }

  async function readShared(image: ImageId, known: SignatureSet | undefined): Promise<SignatureSet> {
    const stamps = known === undefined ? null : stampsOf(image, known);
    if (known !== undefined && stamps !== null && (await tree.isUnchanged(imageFolder(image), stamps)))
      return known;
    const seen = await lookSettled(image);
    report(image, seen.problems);
    keepInIndex(image, seen);
    tend(image, seen);
    return toSet(known, { signatures: seen.signatures, stamps: seen.stamps });
  }

  function peekHolds(image: ImageId, known: SignatureSet): boolean {
    if (options.kind === 'owned') return peekSeenBefore(image, known);
    const stamps = stampsOf(image, known);
    return stamps !== null && tree.peekUnchanged(imageFolder(image), stamps);
  }

  /** The same look-ups as of a set that is not in memory, of which nothing is left to do when both find nothing. */
  function peekEmpty(image: ImageId, round?: Round): boolean {
    if (changes.isPending(image) || options.hasProblems(image)) return false;
    return index.peekLacks?.(image) === true && tree.peekAbsent(imageFolder(image), round);
  }

  /** As readOwned() where it asks the index alone, in which case nothing is awaited. */
  function peekSettled(image: ImageId): SignatureSet | null {
    if (options.kind === 'shared' || !changes.isScanned || changes.isPending(image)) return null;
    const recorded = index.peekRecorded?.(image) ?? [];
    if (recorded.length === 0) return null;
    generation += 1;
    return { generation, entries: toEntries(recorded), isSettled: true };
  }

  /** Null when the files alone do not tell whether the set is still right. */
  function stampsOf(image: ImageId, known: SignatureSet): Stamps | null {
    return changes.isUnsettled(image) ? null : (origins.get(known)?.stamps ?? null);
  }

  async function readOwned(image: ImageId, known: SignatureSet | undefined): Promise<SignatureSet> {
    const asked = await askOrNone(image);
    const { version } = asked;
    const recorded = asked.isWhole ? asked.recorded : [];
    const isWhole = recorded.length > 0 && !(await isLagging(image, recorded, options));
    // the record may have changed during the look-up
    if (isWhole && version === changes.versionOf(image)) {
      // from here on only the index changes the set; before the end of the scan, `uploads` may change it too
      return toSet(known, { signatures: recorded, stamps: null, isSettled: changes.isScanned });
    }
    const writes = index.peekWrites();
    const again = await seenBefore(image, asked, known);
    if (again !== null) return again;
    // rows that are there may have changed during the look-ups above, and others may have come while the disk was asked
    const isAsAsked = asked.recorded.length === 0 && index.peekWrites() === writes;
    const seen = await lookSettled(image, isAsAsked ? asked : undefined);
    report(image, seen.problems);
    // a new file beside recorded ones may be `extra`: only a scan of the checked index decides that
    if (seen.recorded.length === 0 || options.takesAll === true) keepInIndex(image, seen);
    tend(image, seen);
    if (isYoung(asked)) looksBefore.keep(image, seen);
    return toSet(known, { signatures: seen.signatures, stamps: null });
  }

  /** The index is being built: what it tells of an image proves nothing yet. */
  function isYoung({ isWhole }: Asked): boolean {
    return !isWhole && !changes.isScanned && options.takesAll !== true;
  }

  /** The set without another look, while the index is being built; null: a look must tell. */
  async function seenBefore(
    image: ImageId,
    asked: Asked,
    known: SignatureSet | undefined,
  ): Promise<SignatureSet | null> {
    if (!isYoung(asked)) {
      looksBefore.forgetAll();
      return null;
    }
    const served = known === undefined ? [] : (origins.get(known)?.signatures ?? []);
    const signatures = await looksBefore.again(image, asked, served);
    return signatures === null ? null : toSet(known, { signatures, stamps: null });
  }

  /**
   * Rows of the image that are written meanwhile have its set forgotten. It does not matter that all rows may be others: the set is
   * what lies on the disk.
   */
  function peekSeenBefore(image: ImageId, known: SignatureSet): boolean {
    const served = changes.isScanned ? undefined : origins.get(known)?.signatures;
    return served !== undefined && looksBefore.peekSame(image, served);
  }

  /** The same set again when nothing that a client sees has changed. */
  function toSet(known: SignatureSet | undefined, origin: Origin): SignatureSet {
    const { signatures, isSettled = false } = origin;
    const before = known === undefined ? undefined : (origins.get(known) ?? originless(known));
    const isSame =
      known !== undefined && before !== undefined && sameSignatures(before.signatures, signatures);
    generation += isSame ? 0 : 1;
    const set = isSame ? known : { generation, entries: toEntries(signatures), isSettled };
    const marked = set.isSettled === isSettled ? set : { ...set, isSettled };
    if (!isNothing(origin)) origins.set(marked, origin);
    return marked;
  }

  /** Best effort: the index is a cache, and a scan finds what was not recorded. */
  function keepInIndex(image: ImageId, { signatures, recorded, version }: Look): void {
    if (!changes.mayRecord(image, version) || sameSignatures(recorded, signatures)) return;
    index.record([{ image, signatures }]).then(
      () => options.onRecorded(image),
      () => undefined,
    );
  }

  async function listFolder(
    site: string,
    folder: string,
    after: string | null,
    limit: number,
  ): Promise<FolderPage> {
    if (options.kind === 'shared' || !(await isComplete(site))) await options.syncFolder(site, folder);
    return index.listFolder(site, folder, after, limit);
  }

  return {
    readSet,
    peekHolds,
    peekEmpty,
    peekSettled,
    areStored: (images) => areStored(images, options, isComplete),
    readBlob: createBlobReader(options, recordedOrNone),
    listFolder,
  };
}

/** Whether the index lacks uploads of the image: they are not recorded yet, or the index is an older copy. */
async function isLagging(
  image: ImageId,
  recorded: readonly RecordedSignature[],
  { changes, takesAll, tombstones, uploads }: TreeStoreOptions,
): Promise<boolean> {
  const isUnsure = changes.isUnrecorded(image) || changes.isUnsettled(image);
  if (isUnsure || changes.unfinishedOf(image).length > 0) return true;
  if (changes.isScanned) return false;
  // nothing else tells what an older copy of the index lacks
  if (takesAll === true) return true;
  const gone = withdrawnOf(await tombstones.ofImage(image));
  if (recorded.some(({ sha256 }) => gone.has(sha256))) return true;
  const known = new Set(recorded.map(({ sha256 }) => sha256));
  return (await uploads.ofImage(image)).some(({ sha256 }) => !known.has(sha256));
}

/** As readOwned() takes them from the index; what it would have to look at the disk for is left to it. */
async function areStored(
  images: readonly ImageId[],
  { kind, index, changes }: TreeStoreOptions,
  isComplete: (site: string) => Promise<boolean>,
): Promise<readonly boolean[]> {
  const [first] = images;
  if (kind === 'shared' || first === undefined || !changes.isScanned) return images.map(() => false);
  const recorded = await unlessUnusable(async () =>
    (await isComplete(first.site)) ? await index.areRecorded?.(images) : undefined,
  );
  return images.map((image, position) => recorded?.[position] === true && !changes.isPending(image));
}

async function unlessUnusable<T>(look: () => Promise<T>): Promise<T | undefined> {
  try {
    return await look();
  } catch (error) {
    if (isLookasideError(error, 'INDEX_UNUSABLE')) return undefined;
    throw error;
  }
}

function createBlobReader(
  { tree, kind, sha256: hash, report }: TreeStoreOptions,
  recordedOrNone: (image: ImageId) => Promise<readonly RecordedSignature[]>,
): SignatureStore['readBlob'] {
  async function readSharedBlob(image: ImageId, sha256: string): Promise<Uint8Array | null> {
    // try its last number first: reading all files for each signature would be 127 × 127 reads
    const last = (await recordedOrNone(image)).find((signature) => signature.sha256 === sha256);
    const bytes = last === undefined ? null : await readBytes(image, last.number, sha256);
    if (bytes !== null) return bytes;
    const onDisk = await tree.readImage(imageFolder(image));
    const file = onDisk?.files.find((candidate) => candidate.sha256 === sha256);
    return file === undefined ? null : readBytes(image, file.number, sha256);
  }

  /** Null when the file has other bytes, or is gone. */
  async function readBytes(image: ImageId, number: number, sha256: string): Promise<Uint8Array | null> {
    const bytes = await tree.readFile(imageFolder(image), number);
    return bytes !== null && hash(bytes) === sha256 ? bytes : null;
  }

  async function readOwnedBlob(image: ImageId, sha256: string): Promise<Uint8Array | null> {
    const signature = (await recordedOrNone(image)).find((candidate) => candidate.sha256 === sha256);
    if (signature === undefined) return readSharedBlob(image, sha256);
    if (signature.bytes !== null) return signature.bytes;
    const path = `${imageFolder(image)}/signature-${signature.number}`;
    const bytes = await tree.readFile(imageFolder(image), signature.number);
    if (bytes !== null && hash(bytes) === sha256) return bytes;
    report(image, [{ kind: bytes === null ? 'missing' : 'changed', path }]);
    throw new LookasideError('STORE_UNAVAILABLE', `${path} is damaged: its bytes are not the recorded ones`);
  }

  return kind === 'shared' ? readSharedBlob : readOwnedBlob;
}
