// The repositories that have signatures, in the order of their paths, each with what it holds in numbers.
import type { IndexedRepository, RepositoryIndex } from '../domain/ports.ts';

export interface RepositoryQuery {
  readonly site: string;
  /** Only what lies below that folder; '' is everything. */
  readonly below: string;
  /** A part of the path, in any case; '' is every path. */
  readonly contains: string;
  /** 1 to MAX_PAGE_ROWS. */
  readonly limit: number;
  /** The path after which to go on, or null. */
  readonly after: string | null;
}

export interface RepositoryPage {
  /** `images` is MOST_COUNTED_IMAGES + 1 where there are more. There may be fewer than the limit although more follow: see `next`. */
  readonly repositories: readonly IndexedRepository[];
  /** For `after` of the next page; null only at the end. */
  readonly next: string | null;
  /** False while the index is being built: repositories may be missing. */
  readonly isComplete: boolean;
}

export interface RepositoryList {
  /** @throws LookasideError INDEX_UNUSABLE */
  page(query: RepositoryQuery): Promise<RepositoryPage>;
}

export interface RepositoryListOptions {
  readonly index: RepositoryIndex & { isComplete(site: string): Promise<boolean> };
  /** Resolves after other requests have had a turn. */
  readonly breathe: () => Promise<void>;
}

export const MOST_COUNTED_IMAGES = 10_000;

/** Look-ups block every other request: each of these takes a few milliseconds. */
const PATHS_A_BREATH = 500;
const DESCRIBED_A_BREATH = 20;
const MAX_WALKED_PATHS = 20_000;

export function createRepositoryList({ index, breathe }: RepositoryListOptions): RepositoryList {
  async function described(site: string, paths: readonly string[]): Promise<readonly IndexedRepository[]> {
    const repositories: IndexedRepository[] = [];
    for (let at = 0; at < paths.length; at += DESCRIBED_A_BREATH) {
      if (at > 0) await breathe();
      const some = paths.slice(at, at + DESCRIBED_A_BREATH);
      repositories.push(...(await index.repositories(site, some, MOST_COUNTED_IMAGES + 1)));
    }
    return repositories;
  }

  return {
    async page({ site, below, contains, limit, after }) {
      const wanted = contains.toLowerCase();
      const first = below === '' ? '' : `${below}/`;
      // the characters of paths lie between these two
      const before = below === '' ? '~' : `${below}0`;
      let from = after === null || after < first ? first : `${after}\u0001`;
      const matching: string[] = [];
      let next: string | null = null;
      for (let walked = 0; ; ) {
        const paths = await index.repositoryPaths(site, { from, before, limit: PATHS_A_BREATH });
        for (const path of paths) if (path.toLowerCase().includes(wanted)) matching.push(path);
        walked += paths.length;
        const last = paths.at(-1);
        if (matching.length > limit) {
          next = matching[limit - 1] ?? null;
          break;
        }
        if (last === undefined || paths.length < PATHS_A_BREATH) break;
        from = `${last}\u0001`;
        if (walked >= MAX_WALKED_PATHS) {
          next = last;
          break;
        }
        await breathe();
      }
      const repositories = await described(site, matching.slice(0, limit));
      return { repositories, next, isComplete: await index.isComplete(site) };
    },
  };
}
