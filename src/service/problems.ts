// What is wrong in the trees right now, image by image: counted for health and metrics, logged when first seen.
import { type ImageId, imageKey } from '../domain/image.ts';
import type { Log } from '../domain/ports.ts';
import { DAMAGE_KINDS, PROBLEM_TEXTS, type Problem, type ProblemKind } from '../domain/tree.ts';

export interface ProblemRegister {
  /** Replaces what is known of the image; empty = all is well. */
  report(image: ImageId, problems: readonly Problem[]): void;
  /** How many of each kind, only kinds that occur. */
  counts(): ReadonlyMap<ProblemKind, number>;
  readonly damaged: number;
}

/** Images with problems that are remembered; more are logged but not counted. */
const MAX_IMAGES = 10_000;

export function createProblemRegister(log: Log): ProblemRegister {
  const byImage = new Map<string, readonly Problem[]>();

  function report(image: ImageId, problems: readonly Problem[]): void {
    const key = imageKey(image);
    const before = byImage.get(key) ?? [];
    for (const { kind, path } of problems) {
      if (before.some((known) => known.kind === kind && known.path === path)) continue;
      const level = DAMAGE_KINDS.has(kind) ? 'error' : 'warn';
      log[level]({ problem: kind, path }, PROBLEM_TEXTS[kind]);
    }
    if (problems.length === 0) byImage.delete(key);
    else if (byImage.has(key) || byImage.size < MAX_IMAGES) byImage.set(key, problems);
  }

  function counts(): ReadonlyMap<ProblemKind, number> {
    const sums = new Map<ProblemKind, number>();
    for (const { kind } of [...byImage.values()].flat()) sums.set(kind, (sums.get(kind) ?? 0) + 1);
    return sums;
  }

  return {
    report,
    counts,
    get damaged() {
      return [...counts()].reduce((sum, [kind, count]) => sum + (DAMAGE_KINDS.has(kind) ? count : 0), 0);
    },
  };
}
