// The uploads that a tree is compared with: those that were not withdrawn.
import type { TombstoneStore, UploadStore } from '../domain/ports.ts';
import { withdrawnOf } from '../domain/tombstone.ts';

type OfImage = Pick<UploadStore, 'ofImage'>;

export function uploadsInForce<Uploads extends OfImage>(
  uploads: Uploads,
  tombstones: Pick<TombstoneStore, 'ofImage'>,
): OfImage {
  return {
    async ofImage(image) {
      const uploaded = await uploads.ofImage(image);
      if (uploaded.length === 0) return uploaded;
      const gone = withdrawnOf(await tombstones.ofImage(image));
      return gone.size === 0 ? uploaded : uploaded.filter(({ sha256 }) => !gone.has(sha256));
    },
  };
}
