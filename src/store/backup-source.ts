// What a backup takes of an owned tree: each image's signatures as they are served, without those that were uploaded
// after the copy of state.db was made.
import type { BackupSource } from '../domain/backup.ts';
import { type ImageId, imageFolder } from '../domain/image.ts';
import type { RecordedSignature, UploadStore } from '../domain/ports.ts';
import { createLooker, type TreeAndIndex } from './look.ts';
import { uploadsUnderWay } from './under-way.ts';
import { createWalker, rethrow } from './walk.ts';

export interface BackupSourceOptions extends Omit<TreeAndIndex, 'kind' | 'report'> {
  /** The uploads as they are now. */
  readonly uploadsNow: Pick<UploadStore, 'ofImage'>;
  /** Number of the last audit event in the copy of state.db. */
  readonly lastSeq: number;
  /** The intents of the uploads that are under way. */
  readonly readIntents: () => Promise<readonly string[]>;
  readonly sha256: (bytes: Uint8Array) => string;
}

export function createBackupSource(options: BackupSourceOptions): BackupSource {
  const { tree, index, uploadsNow, lastSeq } = options;
  const looker = createLooker({ ...options, kind: 'owned' });
  const walker = createWalker(tree, index, () => options.wait(0));

  async function load(image: ImageId, { number, sha256, bytes, storedAt }: RecordedSignature) {
    const content = bytes ?? (await tree.readFile(imageFolder(image), number));
    if (content === null || options.sha256(content) !== sha256) return null;
    return { bytes: content, modifiedAt: storedAt };
  }

  /** Their files may be in place already, but no upload of them was acknowledged. */
  async function notToldYet(image: ImageId): Promise<readonly string[]> {
    const kept = new Set((await options.uploads.ofImage(image)).map(({ sha256 }) => sha256));
    const underWay = await uploadsUnderWay(options.readIntents, image);
    return underWay.flatMap(({ sha256 }) => (kept.has(sha256) ? [] : [sha256]));
  }

  return {
    async *images(site) {
      await tree.check();
      yield* walker.images({ site, folder: '', onFailure: rethrow });
    },
    async signaturesOf(image) {
      const { signatures, recorded } = await looker.lookSettled(image);
      const uploaded = await options.uploads.ofImage(image);
      const known = new Set([...recorded, ...uploaded].map(({ sha256 }) => sha256));
      const isNew = signatures.some(({ sha256 }) => !known.has(sha256));
      // read intents before rows: an intent that has gone by then has left its row
      const underWay = isNew ? await notToldYet(image) : [];
      const later = (await uploadsNow.ofImage(image)).filter(({ auditSeq }) => auditSeq > lastSeq);
      const leftOut = new Set([...underWay, ...later.map(({ sha256 }) => sha256)]);
      const served = signatures.filter(({ sha256 }) => !leftOut.has(sha256));
      return served.map((signature) => ({ sha256: signature.sha256, load: () => load(image, signature) }));
    },
  };
}
