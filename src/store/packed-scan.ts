// Images that the walk of a scan has read because the index knew nothing of them. Where nothing else is known of them either, a look
// would find the same. So the writer of the index takes it as it is, and the thread that answers reads only hands it on.
import { forEachConcurrently } from '../domain/concurrency.ts';
import { type ImageId, imageFolder, parseImageFolder } from '../domain/image.ts';
import { foldersOf, type PackedImage, type PackedImages, unpackImages } from '../domain/packed-images.ts';
import type { NewImageIndex, TombstoneStore, UploadStore } from '../domain/ports.ts';
import { toHex } from '../domain/signed-note.ts';
import type { ImageFolder } from '../domain/tree.ts';
import type { QuickStamp } from '../domain/tree-walk.ts';
import type { Look, Looker, TreeAndIndex } from './look.ts';

export interface PackedScanOptions extends Pick<TreeAndIndex, 'changes' | 'tombstones'> {
  readonly uploads: Pick<UploadStore, 'ofImage' | 'images'>;
  readonly looker: Looker;
}

export interface PackedScanParts {
  readonly recordNew: NewImageIndex['recordNew'];
  readonly tombstones: Pick<TombstoneStore, 'hasAny'>;
  /** Folders of images that something is known to be wrong with. */
  readonly troubled: () => readonly string[];
}

/** Part of a scan that is under way. */
export interface Packed {
  readonly site: string;
  readonly packed: PackedImages;
  /** It was read since then. */
  readonly moment: number;
  readonly signal: AbortSignal | undefined;
  /** Compares one of them with all that is known of it. */
  readonly takeOne: (image: ImageId, looked: () => Promise<Look>, taken: QuickStamp) => Promise<void>;
}

export interface TakenPack {
  readonly images: number;
  readonly signatures: number;
  /** Compares those that are not counted yet. Call it before the next batch is asked for. */
  readonly takeLeft: () => Promise<void>;
}

const IMAGES_AT_ONCE = 8;

export function createPackedScan(options: PackedScanOptions, parts: PackedScanParts) {
  const { changes, looker } = options;

  /** Records those of which nothing else is known. */
  async function takePack(pack: Packed): Promise<TakenPack> {
    const { site, packed, moment } = pack;
    const images = foldersOf(packed).map((folder) => imageOf(site, folder));
    const apart = await withPast(site, images);
    for (const position of changedSince(images, moment)) apart.add(position);
    // nothing was awaited since: what changes from here on is recorded later than this
    const there = apart.size < images.length ? await parts.recordNew(images, packed, apart) : [];
    for (const position of there) apart.add(position);
    const left = apart.size === 0 ? [] : [...unpackImages(packed)].filter((_, at) => apart.has(at));
    const signatures = left.reduce((sum, { files }) => sum + files.length, 0);
    return {
      images: images.length - left.length,
      signatures: packed.signatures - signatures,
      takeLeft: () => takeEach(pack, left),
    };
  }

  /** The positions of the images that something was once uploaded to, or withdrawn from. */
  async function withPast(site: string, images: readonly ImageId[]): Promise<Set<number>> {
    // asked for each pack: the first of them may have come while the scan went on, long before these images were read
    const hasUploads = (await options.uploads.images(site, null, 1)).length > 0;
    const hasTombstones = await parts.tombstones.hasAny(site);
    const positions = new Set<number>();
    if (!hasUploads && !hasTombstones) return positions;
    for (const [position, image] of images.entries()) {
      const isUploaded = hasUploads && (await options.uploads.ofImage(image)).length > 0;
      if (isUploaded || (hasTombstones && (await options.tombstones.ofImage(image)).length > 0))
        positions.add(position);
    }
    return positions;
  }

  /** The positions of those that have changed, are being changed, or that something is wrong with. */
  function* changedSince(images: readonly ImageId[], moment: number): Generator<number> {
    const troubled = new Set(parts.troubled());
    if (changes.isQuietSince(moment) && troubled.size === 0) return;
    for (const [position, image] of images.entries()) {
      const isUntouched = changes.isUntouchedSince(image, moment) && !changes.isPending(image);
      if (!isUntouched || troubled.has(imageFolder(image))) yield position;
    }
  }

  async function takeEach({ site, moment, signal, takeOne }: Packed, left: readonly PackedImage[]) {
    await forEachConcurrently(left, IMAGES_AT_ONCE, async (one) => {
      signal?.throwIfAborted();
      const image = imageOf(site, one.folder);
      const looked = () =>
        changes.isUntouchedSince(image, moment)
          ? looker.lookAtNew(image, contentOf(one))
          : looker.look(image);
      await takeOne(image, looked, one.stamp);
    });
  }

  return { takePack };
}

export function imageOf(site: string, folder: string): ImageId {
  const image = parseImageFolder(site, folder);
  if (image === null) throw new Error(`${folder} is not the folder of an image`);
  return image;
}

/** A copy: the memory of a pack is written again. */
function contentOf({ files }: PackedImage): ImageFolder {
  return {
    files: files.map(({ number, modifiedMs, sha256, bytes }) => ({
      number,
      sizeBytes: bytes.length,
      modifiedAt: new Date(modifiedMs),
      sha256: toHex(sha256),
      bytes: bytes.slice(),
      fault: null,
    })),
    hidden: [],
    beyond: null,
    strangers: [],
    stamps: { folder: '', files: [], settled: false }, // of no use behind the walk
  };
}
