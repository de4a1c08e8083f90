// A site: one signature tree that is served below a prefix.

export interface Site extends SitePlace {
  /** Of the tree. Absolute. */
  readonly root: string;
  readonly tree: 'owned' | 'shared';
}

/** Where a site's signatures are found. */
export interface SitePlace {
  /** Without a slash. */
  readonly name: string;
  /** Below the server's own: empty, or `/like/this`. */
  readonly prefix: string;
}

/** Finds the site of a path that begins with a slash, below the server's prefix; of several the one with the longest prefix. */
export function createSiteFinder<Place extends SitePlace>(
  sites: readonly Place[],
): (path: string) => Place | null {
  const longestFirst = [...sites].sort((one, other) => other.prefix.length - one.prefix.length);
  return (path) => longestFirst.find(({ prefix }) => path.startsWith(`${prefix}/`)) ?? null;
}

/** The one of that name, which is known to be there. */
export function siteOf<Named extends Pick<SitePlace, 'name'>>(sites: readonly Named[], name: string): Named {
  const site = sites.find((one) => one.name === name);
  if (site === undefined) throw new Error(`there is no site ${name}`);
  return site;
}
