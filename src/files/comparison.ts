// Whether an image's folder and its files are as they were when their stamps were taken.
import { fstatSync, lstat, lstatSync, stat } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { Stamps, Tree } from '../domain/tree.ts';
import type { LocalLooks } from './local-looks.ts';
import { type Entry, HELD, HELD_FOLDER } from './opened.ts';
import { orNull, type Root } from './root.ts';
import { stampOf } from './stamps.ts';

export interface ComparisonOptions {
  readonly root: string;
  readonly places: Pick<Root, 'inTarget' | 'peekInside'>;
  readonly mayPeek: LocalLooks['mayPeek'];
  readonly nowMs: () => number;
}

export interface Comparison extends Pick<Tree, 'isUnchanged' | 'peekUnchanged'> {
  /** Call it when stamps are taken. */
  taken(stamps: Stamps, atMs: number): void;
}

const statPath = promisify(stat);
const statLink = promisify(lstat);

export function createComparison({ root, places, mayPeek, nowMs }: ComparisonOptions): Comparison {
  const { inTarget, peekInside } = places;
  /** When what has these stamps was last found. */
  const foundAtMs = new WeakMap<Stamps, number>();

  function peekUnchanged(folder: string, stamps: Stamps): boolean {
    if (!stamps.settled || !mayPeek(stamps.folder, foundAtMs.get(stamps) ?? Number.NEGATIVE_INFINITY))
      return false;
    const isSame = peekInside(
      folder,
      ({ descriptor, path }) =>
        stampOf(fstatSync(descriptor, { bigint: true })) === stamps.folder &&
        // a link's stamp has two parts, and so is never equal
        stamps.files.every(
          ({ number, stamp }) =>
            stampOf(lstatSync(`${path}/signature-${number}`, { bigint: true })) === stamp,
        ),
    );
    if (isSame) foundAtMs.set(stamps, nowMs());
    return isSame;
  }

  async function isUnchanged(folder: string, stamps: Stamps): Promise<boolean> {
    if (!stamps.settled) return false;
    const path = join(root, folder);
    const askedAtMs = nowMs();
    // All at once, which is one turn through the pool of threads, and by their names. If a name is turned to something else meanwhile,
    // equal stamps are still those of the same folder and files, and nothing of them is read here.
    const looks = [
      liesInside({ path, name: path }, HELD_FOLDER),
      isSameFolder(path, stamps.folder),
      ...stamps.files.map(({ number, stamp }) => isSameFile(`${path}/signature-${number}`, stamp)),
    ];
    const isSame = (await Promise.all(looks)).every((one) => one);
    if (isSame) foundAtMs.set(stamps, askedAtMs);
    return isSame;
  }

  /** A folder above it, or above what a link leads to, may have been moved out, with a link in its place: that changes no stamp. */
  async function liesInside(entry: Entry, flags: number): Promise<boolean> {
    return (await inTarget(entry, flags, async () => true)) ?? false;
  }

  async function isSameFolder(path: string, stamp: string): Promise<boolean> {
    const stats = await orNull(() => statPath(path, { bigint: true }), path);
    return stats !== null && stamp === stampOf(stats);
  }

  async function isSameFile(path: string, stamp: string): Promise<boolean> {
    const link = await orNull(() => statLink(path, { bigint: true }), path);
    if (link === null) return false;
    if (!link.isSymbolicLink()) return stamp === stampOf(link);
    const stats = await orNull(() => statPath(path, { bigint: true }), path);
    if (stats === null || stamp !== `${stampOf(link)} ${stampOf(stats)}`) return false;
    return liesInside({ path, name: path }, HELD);
  }

  return {
    isUnchanged,
    peekUnchanged,
    taken: (stamps, atMs) => void foundAtMs.set(stamps, atMs),
  };
}
