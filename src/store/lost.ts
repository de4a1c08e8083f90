// Uploads of an owned tree that are nowhere any more: state.db has the account, and neither the tree nor the index has the bytes.
import { isLookasideError } from '../domain/errors.ts';
import { type ImageId, imageFolder } from '../domain/image.ts';
import type { SignatureIndex, Upload, UploadStore } from '../domain/ports.ts';
import type { Problem, Tree } from '../domain/tree.ts';

export interface LostOptions {
  readonly tree: Tree;
  readonly index: Pick<SignatureIndex, 'recorded'>;
  readonly uploads: Pick<UploadStore, 'ofImage' | 'images'>;
}

export interface LostProblem extends Problem {
  readonly image: ImageId;
  readonly isDamage: false;
}

const IMAGES_AT_ONCE = 100;

/** In the order of the images' folders, then of uploading. @throws LookasideError STORE_UNAVAILABLE, INDEX_UNUSABLE */
export async function* findLost(
  site: string,
  options: LostOptions,
  signal?: AbortSignal,
): AsyncGenerator<LostProblem> {
  let after: ImageId | null = null;
  do {
    const page: readonly ImageId[] = await options.uploads.images(site, after, IMAGES_AT_ONCE);
    for (const image of page) {
      signal?.throwIfAborted();
      for (const { sha256, uploader, storedAt } of await lostOf(image, options)) {
        const upload = { sha256, uploader, storedAt };
        yield { kind: 'lost', path: imageFolder(image), upload, image, isDamage: false };
      }
    }
    after = page.at(-1) ?? null;
  } while (after !== null);
}

async function lostOf(image: ImageId, { tree, index, uploads }: LostOptions): Promise<readonly Upload[]> {
  const uploaded = await uploads.ofImage(image);
  // an upload is recorded last, so one that is under way is in the tree by now
  const recorded = new Set((await index.recorded(image)).map(({ sha256 }) => sha256));
  const unrecorded = uploaded.filter(({ sha256 }) => !recorded.has(sha256));
  if (unrecorded.length === 0) return [];
  const there = await storedIn(tree, imageFolder(image));
  return there === null ? [] : unrecorded.filter(({ sha256 }) => !there.has(sha256));
}

/** Null when that cannot be read: fsck names the folder as `unreadable`. */
async function storedIn(tree: Tree, folder: string): Promise<ReadonlySet<string | null> | null> {
  try {
    const inLine = await tree.readImage(folder);
    if (inLine === null) return new Set();
    // behind a gap too: no client sees it, but it is there
    const { hidden } = inLine;
    const whole = hidden.length === 0 ? inLine : ((await tree.readImage(folder, hidden)) ?? inLine);
    return new Set(whole.files.map(({ sha256 }) => sha256));
  } catch (error) {
    if (isLookasideError(error, 'STORE_UNAVAILABLE')) return null;
    throw error;
  }
}
