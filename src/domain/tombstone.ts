// Withdrawn signatures. Numbers never move: a withdrawn signature's number holds a filler, which is a copy of another signature of
// the image. So clients that walk 1, 2, 3 … at that moment miss none of the others.
import type { ImageId } from './image.ts';

export interface Tombstone {
  readonly image: ImageId;
  /** 64 hex digits. */
  readonly sha256: string;
  /** Under which clients got it. */
  readonly number: number;
  /** Numbers of files that hold a copy of another signature since. */
  readonly fillers: readonly number[];
  readonly auditSeq: number;
  readonly withdrawnAt: Date;
  /** Name of the token, or `administrator`. */
  readonly withdrawnBy: string;
  /** Hostile text: escape where shown. */
  readonly reason: string;
  /** When it comes back by itself; null: never. */
  readonly until: Date | null;
  /** False: it is withdrawn no longer, and only its fillers count. */
  readonly isInForce: boolean;
}

/** What was withdrawn, as an administrator is told. */
export interface Withdrawn {
  /** Below the site: `/team/app@sha256=<hex>/signature-2`. */
  readonly path: string;
  readonly number: number;
  readonly signatureSha256: string;
  readonly withdrawnAt: Date;
  readonly withdrawnBy: string;
  readonly reason: string;
  readonly until: Date | null;
  readonly auditSeq: number;
}

/** One of a list over many images. */
export interface ListedWithdrawal extends Withdrawn {
  readonly site: string;
  /** `team/app@sha256:<hex>`. */
  readonly image: string;
}

export interface WithdrawnFilter {
  /** Repository path, or folder of the release layout; it must be equal. */
  readonly path: string | null;
  /** `sha256:<hex>`, parsed by the caller. */
  readonly digest: Pick<ImageId, 'algorithm' | 'hex'> | null;
  /** Name of the token of whoever withdrew it, or `administrator`. */
  readonly by: string | null;
  /** Withdrawn at or after. */
  readonly since: Date | null;
}

/** Behind this one of its site. */
export interface WithdrawnPlace {
  /** The image's folder. */
  readonly image: string;
  readonly sha256: string;
}

export interface WantedWithdrawal {
  /** Below the site, with or without a slash in front. */
  readonly path: string;
  /** 64 lower-case hex digits, of the bytes that are meant: a number that fell free may have been taken again. Left out: any. */
  readonly sha256?: string;
  readonly reason: string;
  readonly until: Date | null;
}

/** A signature at its file's number. */
interface Standing {
  readonly number: number;
  readonly sha256: string;
  readonly isFiller?: boolean;
}

/** SHA-256 of what must not be served. */
export function withdrawnOf(tombstones: readonly Tombstone[]): ReadonlySet<string> {
  return new Set(tombstones.flatMap(({ isInForce, sha256 }) => (isInForce ? [sha256] : [])));
}

/**
 * The signatures, by file number, as they should be served: fillers in the places of withdrawn ones, except behind the last of
 * the others, where nothing is missed.
 */
export function withFillers<Signature extends Standing>(
  signatures: readonly Signature[],
  tombstones: readonly Tombstone[],
): readonly Signature[] {
  if (tombstones.length === 0) return signatures;
  const gone = withdrawnOf(tombstones);
  const isLeft = ({ sha256 }: Standing) => !gone.has(sha256);
  const lowest = signatures.find(isLeft);
  if (lowest === undefined) return [];
  const filled = signatures
    .slice(0, signatures.findLastIndex(isLeft) + 1)
    .map((one) => (isLeft(one) ? one : { ...lowest, number: one.number, isFiller: true }));
  return markFillers(filled, new Set(tombstones.flatMap(({ fillers }) => fillers)));
}

/** A number may have been a filler's once: only a copy of another file can be one. */
function markFillers<Signature extends Standing>(
  signatures: readonly Signature[],
  fillers: ReadonlySet<number>,
): readonly Signature[] {
  return signatures.map((one) => {
    if (one.isFiller === true || !fillers.has(one.number)) return one;
    const isCopy = signatures.some(
      ({ number, sha256 }) =>
        sha256 === one.sha256 && number !== one.number && (!fillers.has(number) || number > one.number),
    );
    return isCopy ? { ...one, isFiller: true } : one;
  });
}
