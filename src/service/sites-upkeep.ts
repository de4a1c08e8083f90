// The upkeep of all sites over one index: what makes that anew for one site has every other scanned again.
import type { FsckResult, OnProgress, TreeCounts } from '../domain/upkeep.ts';
import { MAX_FINDINGS, type SiteUpkeep, type Upkeep } from './upkeep.ts';

export interface SitesUpkeep extends Upkeep {
  /** Call it when the upkeep of that site has made the index anew. */
  indexWasReset(site: string): void;
}

/** `sites`: by name, at least one; others may come and go, and are started and stopped by who brings them. */
export function createSitesUpkeep(sites: ReadonlyMap<string, SiteUpkeep>): SitesUpkeep {
  const all = () => [...sites.values()];
  /** The scans that the last reset has started. */
  let rescans: readonly Promise<TreeCounts>[] = [];
  /** Who hears of the reindex under way. */
  let progressOf: ((site: string) => OnProgress) | null = null;

  function indexWasReset(site: string): void {
    const others = [...sites].filter(([name]) => name !== site);
    rescans = others.map(([name, upkeep]) => upkeep.rescan(progressOf?.(name)));
    // each is tried again by itself, and who reindexes is told
    for (const rescan of rescans) rescan.catch(() => undefined);
  }

  const reindex: Upkeep['reindex'] = async ({ acceptDamage, onProgress }) => {
    const [[name, first] = unreachable(), ...others] = [...sites];
    // of all, before anything is forgotten of one
    if (!acceptDamage) for (const [, upkeep] of others) await upkeep.refuseDamage();
    progressOf = summing(onProgress);
    const counts = await first.reindex({ acceptDamage, onProgress: progressOf(name) });
    return sumOf([counts, ...(await Promise.all(rescans))]);
  };

  const fsck: Upkeep['fsck'] = async ({ repair, onProgress }) => {
    const progress = summing(onProgress);
    const results: FsckResult[] = [];
    for (const [name, upkeep] of sites)
      results.push(await upkeep.fsck({ repair, onProgress: progress(name) }));
    return {
      ...sumOf(results),
      repaired: results.reduce((sum, { repaired }) => sum + repaired, 0),
      findings: results.flatMap(({ findings }) => findings).slice(0, MAX_FINDINGS),
      isCompared: results.every(({ isCompared }) => isCompared),
    };
  };

  return {
    start() {
      for (const upkeep of all()) upkeep.start();
    },
    stop: async () => void (await Promise.all(all().map((upkeep) => upkeep.stop()))),
    rebuild() {
      for (const upkeep of all()) upkeep.rebuild();
    },
    reindex,
    fsck,
    indexWasReset,
  };
}

/** Takes the counts of each site, and reports the sum of all. */
function summing(onProgress: OnProgress | undefined): (site: string) => OnProgress {
  const counted = new Map<string, TreeCounts>();
  return (site) => (counts) => {
    counted.set(site, { ...counts });
    onProgress?.(sumOf([...counted.values()]));
  };
}

function sumOf(counts: readonly TreeCounts[]): TreeCounts {
  const sum = { images: 0, signatures: 0, problems: 0 };
  for (const { images, signatures, problems } of counts) {
    sum.images += images;
    sum.signatures += signatures;
    sum.problems += problems;
  }
  return sum;
}

function unreachable(): never {
  throw new Error('there is no site');
}
