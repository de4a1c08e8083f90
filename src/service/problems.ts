// What is wrong in the trees now, image by image: counted for health and metrics, and logged when first seen.
import { type ImageId, imageKey } from '../domain/image.ts';
import type { Log } from '../domain/ports.ts';
import { DAMAGE_KINDS, type Problem, type ProblemKind, problemText } from '../domain/tree.ts';

export interface ProblemRegister {
  /** Replaces the known problems of the image; empty = all is well. */
  report(image: ImageId, problems: readonly Problem[]): void;
  /** Whether problems of the image are known. */
  has(image: ImageId): boolean;
  /** The folders of the site's images that problems are known of. */
  folders(site: string): readonly string[];
  /** The same as report() for all of the site's folders above images. The caller bounds how many problems there are. */
  reportFolders(site: string, problems: readonly Problem[]): void;
  /** How many problems of each kind, only for kinds that occur. */
  counts(): ReadonlyMap<ProblemKind, number>;
  readonly damaged: number;
}

/** How many images with problems are remembered; problems of further images are logged but not counted. */
const MAX_IMAGES = 10_000;

export function createProblemRegister(log: Log): ProblemRegister {
  const byImage = new Map<string, readonly Problem[]>();

  function replace(key: string, problems: readonly Problem[], hasRoom: boolean): void {
    const before = new Set((byImage.get(key) ?? []).map(nameOf));
    for (const problem of problems) {
      if (before.has(nameOf(problem))) continue;
      const { kind, path } = problem;
      const level = DAMAGE_KINDS.has(kind) ? 'error' : 'warn';
      log[level]({ problem: kind, path }, problemText(problem));
    }
    if (problems.length === 0) byImage.delete(key);
    else if (byImage.has(key) || hasRoom) byImage.set(key, problems);
  }

  function counts(): ReadonlyMap<ProblemKind, number> {
    const sums = new Map<ProblemKind, number>();
    for (const { kind } of [...byImage.values()].flat()) sums.set(kind, (sums.get(kind) ?? 0) + 1);
    return sums;
  }

  return {
    report: (image, problems) => replace(imageKey(image), problems, byImage.size < MAX_IMAGES),
    has: (image) => byImage.size > 0 && byImage.has(imageKey(image)),
    folders(site) {
      const start = `${site}/`;
      const keys = [...byImage.keys()].filter((key) => key.startsWith(start) && key !== start);
      return keys.map((key) => key.slice(start.length));
    },
    reportFolders: (site, problems) => replace(`${site}/`, problems, true), // no image has an empty folder
    counts,
    get damaged() {
      return [...counts()].reduce((sum, [kind, count]) => sum + (DAMAGE_KINDS.has(kind) ? count : 0), 0);
    },
  };
}

function nameOf({ kind, path }: Problem): string {
  return `${kind} ${path}`;
}
