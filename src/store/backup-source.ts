// What a backup takes of an owned tree: each image's signatures as they are served, without those that were uploaded
// after the copy of state.db was made.
import type { BackupSource } from '../domain/backup.ts';
import { type ImageId, imageFolder } from '../domain/image.ts';
import type { RecordedSignature, UploadStore } from '../domain/ports.ts';
import { createLooker, type TreeAndIndex } from './look.ts';
import { createWalker, rethrow } from './walk.ts';

export interface BackupSourceOptions extends Omit<TreeAndIndex, 'kind' | 'report'> {
  /** As they are now. */
  readonly uploadsNow: Pick<UploadStore, 'ofImage'>;
  /** Number of the last audit event in the copy of state.db. */
  readonly lastSeq: number;
  readonly sha256: (bytes: Uint8Array) => string;
}

export function createBackupSource(options: BackupSourceOptions): BackupSource {
  const { tree, index, uploadsNow, lastSeq } = options;
  const looker = createLooker({ ...options, kind: 'owned' });
  const walker = createWalker(tree, index, () => options.wait(0));

  async function load(image: ImageId, { number, sha256, bytes, storedAt }: RecordedSignature) {
    const found = bytes ?? (await tree.readFile(imageFolder(image), number));
    if (found === null || options.sha256(found) !== sha256) return null;
    return { bytes: found, modifiedAt: storedAt };
  }

  return {
    async *images(site) {
      await tree.check();
      yield* walker.images(site, '', rethrow);
    },
    async signaturesOf(image) {
      const { signatures } = await looker.lookSettled(image);
      const later = new Set(
        uploadsNow.ofImage(image).flatMap(({ auditSeq, sha256 }) => (auditSeq > lastSeq ? [sha256] : [])),
      );
      const served = signatures.filter(({ sha256 }) => !later.has(sha256));
      return served.map((signature) => ({ sha256: signature.sha256, load: () => load(image, signature) }));
    },
  };
}
