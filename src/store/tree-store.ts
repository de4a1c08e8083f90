// The signature store over a tree on disk and its index. A shared tree is read from the disk, an owned one from the
// index; either way the index never makes a reader wait for a writer.
import { createSingleFlight } from '../domain/concurrency.ts';
import { isLookasideError, LookasideError } from '../domain/errors.ts';
import { type ImageId, imageFolder, imageKey } from '../domain/image.ts';
import { BEING_WRITTEN_MS } from '../domain/limits.ts';
import type {
  FolderPage,
  RecordedSignature,
  SignatureIndex,
  SignatureSet,
  SignatureStore,
} from '../domain/ports.ts';
import type { ImageFolder, Problem, Stamps, Tree } from '../domain/tree.ts';
import { type ImageState, ownedState, sameSignatures, sharedState, toEntries } from './image-state.ts';

export interface TreeStoreOptions {
  readonly tree: Tree;
  readonly kind: 'owned' | 'shared';
  readonly index: SignatureIndex;
  /** SHA-256 of the bytes in hex. */
  readonly sha256: (bytes: Uint8Array) => string;
  readonly wait: (ms: number) => Promise<void>;
  /** What is wrong with the image now; empty = nothing. */
  readonly report: (image: ImageId, problems: readonly Problem[]) => void;
  /** Brings the index up to date for one folder's children. */
  readonly syncFolder: (site: string, folder: string) => Promise<void>;
}

/** What a set was made from, to tell cheaply whether it still holds. */
interface Origin {
  readonly signatures: readonly RecordedSignature[];
  /** Null when no folder was there, or the disk was not asked. */
  readonly stamps: Stamps | null;
}

const WRITER_PAUSE_MS = 30;
const WRITER_PAUSES = Math.ceil((2 * BEING_WRITTEN_MS) / WRITER_PAUSE_MS);

export function createTreeStore(options: TreeStoreOptions): SignatureStore {
  const { tree, index, report } = options;
  const origins = new WeakMap<SignatureSet, Origin>();
  const oneReadPerImage = createSingleFlight<SignatureSet>();
  let generation = 0;

  async function readSet(image: ImageId, known?: SignatureSet): Promise<SignatureSet> {
    return oneReadPerImage(imageKey(image), () =>
      options.kind === 'shared' ? readShared(image, known) : readOwned(image, known),
    );
  }

  async function readShared(image: ImageId, known: SignatureSet | undefined): Promise<SignatureSet> {
    const stamps = known === undefined ? null : (origins.get(known)?.stamps ?? null);
    if (known !== undefined && stamps !== null && (await tree.isUnchanged(imageFolder(image), stamps)))
      return known;
    const onDisk = await readSettled(image);
    const state = sharedState(image, onDisk);
    report(image, state.problems);
    keepInIndex(image, state);
    return toSet(known, state.signatures, onDisk?.stamps ?? null);
  }

  async function readOwned(image: ImageId, known: SignatureSet | undefined): Promise<SignatureSet> {
    const recorded = recordedOrNone(image);
    if (recorded.length > 0 && isComplete(image.site)) return toSet(known, recorded, null);
    const numbers = recorded.map(({ number }) => number);
    const state = ownedState(image, await readSettled(image, numbers), recorded, true);
    report(image, state.problems);
    // beside what is recorded a new file may be an extra one: a scan of the checked index tells
    if (recorded.length === 0) keepInIndex(image, state);
    return toSet(known, state.signatures, null);
  }

  /** The folder, once nothing in it is half-written any more or a writer takes longer than we wait. */
  async function readSettled(image: ImageId, numbers?: readonly number[]): Promise<ImageFolder | null> {
    let onDisk = await tree.readImage(imageFolder(image), numbers);
    for (let pause = 0; pause < WRITER_PAUSES && isBeingWritten(onDisk); pause += 1) {
      await options.wait(WRITER_PAUSE_MS);
      onDisk = await tree.readImage(imageFolder(image), numbers);
    }
    return onDisk;
  }

  /** The same set again when nothing that a client sees has changed. */
  function toSet(
    known: SignatureSet | undefined,
    signatures: readonly RecordedSignature[],
    stamps: Stamps | null,
  ): SignatureSet {
    const before = known === undefined ? undefined : origins.get(known);
    const isSame =
      known !== undefined && before !== undefined && sameSignatures(before.signatures, signatures);
    generation += isSame ? 0 : 1;
    const set = isSame ? known : { generation, entries: toEntries(signatures) };
    origins.set(set, { signatures, stamps });
    return set;
  }

  function recordedOrNone(image: ImageId): readonly RecordedSignature[] {
    try {
      return index.recorded(image);
    } catch (error) {
      if (isLookasideError(error, 'INDEX_UNUSABLE')) return [];
      throw error;
    }
  }

  function isComplete(site: string): boolean {
    try {
      return index.isComplete(site);
    } catch (error) {
      if (isLookasideError(error, 'INDEX_UNUSABLE')) return false;
      throw error;
    }
  }

  /** Best effort: the index is a cache, and a scan finds what was not kept. */
  function keepInIndex(image: ImageId, { signatures }: ImageState): void {
    if (sameSignatures(recordedOrNone(image), signatures)) return;
    index.record([{ image, signatures }]).catch(() => undefined);
  }

  async function readBlob(image: ImageId, sha256: string): Promise<Uint8Array | null> {
    return options.kind === 'shared' ? readSharedBlob(image, sha256) : readOwnedBlob(image, sha256);
  }

  async function readSharedBlob(image: ImageId, sha256: string): Promise<Uint8Array | null> {
    const folder = imageFolder(image);
    const file = (await tree.readImage(folder))?.files.find((candidate) => candidate.sha256 === sha256);
    if (file === undefined) return null;
    const bytes = await tree.readFile(folder, file.number);
    return bytes !== null && options.sha256(bytes) === sha256 ? bytes : null;
  }

  async function readOwnedBlob(image: ImageId, sha256: string): Promise<Uint8Array | null> {
    const signature = recordedOrNone(image).find((candidate) => candidate.sha256 === sha256);
    if (signature === undefined) return readSharedBlob(image, sha256);
    if (signature.bytes !== null) return signature.bytes;
    const path = `${imageFolder(image)}/signature-${signature.number}`;
    const bytes = await tree.readFile(imageFolder(image), signature.number);
    if (bytes !== null && options.sha256(bytes) === sha256) return bytes;
    report(image, [{ kind: bytes === null ? 'missing' : 'changed', path }]);
    throw new LookasideError('STORE_UNAVAILABLE', `${path} is damaged: its bytes are not the recorded ones`);
  }

  async function listFolder(
    site: string,
    folder: string,
    after: string | null,
    limit: number,
  ): Promise<FolderPage> {
    if (options.kind === 'shared' || !isComplete(site)) await options.syncFolder(site, folder);
    return index.listFolder(site, folder, after, limit);
  }

  return { readSet, readBlob, listFolder };
}

function isBeingWritten(onDisk: ImageFolder | null): boolean {
  return onDisk?.files.some(({ fault }) => fault === 'being-written') ?? false;
}
