// A site: one signature tree that is served below a prefix.
import type { StoredMirror } from './mirror.ts';

export interface Site extends SitePlace {
  /** The root of the tree. Absolute. */
  readonly root: string;
  readonly tree: 'owned' | 'shared';
  /** Where it is filled from, and below which other prefixes it is served; left out: it takes uploads. */
  readonly mirror?: StoredMirror;
}

/** The places of one site or of several, as createSiteFinder() wants them. */
export function placesOf(sites: readonly Site[]): readonly SitePlace[] {
  return sites.flatMap(({ name, prefix, mirror }): readonly SitePlace[] => {
    if (mirror === undefined) return [{ name, prefix }];
    const { layout, views } = mirror.settings;
    return views.map((view) => ({
      name,
      prefix: view.prefix,
      view: { layout, strip: view.strip, add: view.add },
    }));
  });
}

/** Where a site's signatures are found. A mirror may have several places. */
export interface SitePlace {
  /** Without a slash. */
  readonly name: string;
  /** Below the server's own: empty, or `/like/this`. */
  readonly prefix: string;
  /** Left out: paths below the prefix are those of the site. */
  readonly view?: View;
}

/** How a path below a prefix becomes one of the site: `strip` is taken from its front, then `add` put there; both may be empty. */
export interface View {
  /** The layout of the site. In `release` the digest alone counts. */
  readonly layout: 'repository' | 'release';
  readonly strip: string;
  readonly add: string;
}

/**
 * Finds the site of a path that begins with a slash, below the server's prefix; of several the one with the longest prefix, and
 * of several views there the one that strips most.
 */
export function createSiteFinder<Place extends SitePlace>(
  sites: readonly Place[],
): (path: string) => Place | null {
  const strips = ({ view }: SitePlace) => view?.strip ?? '';
  const longestFirst = [...sites].sort(
    (one, other) => other.prefix.length - one.prefix.length || strips(other).length - strips(one).length,
  );
  return (path) => {
    const first = longestFirst.find(({ prefix }) => path.startsWith(`${prefix}/`));
    if (first === undefined || strips(first) === '') return first ?? null;
    const fits = (place: Place) => {
      const [strip, rest] = [strips(place), path.slice(first.prefix.length + 1)];
      return strip === '' || (rest.startsWith(strip) && '/@'.includes(rest[strip.length] ?? '.'));
    };
    // without one that fits, nothing is there: what is below a mirror's prefix is no other site's
    return longestFirst.find((place) => place.prefix === first.prefix && fits(place)) ?? first;
  };
}

/** The one of that name, which is known to be there. */
export function siteOf<Named extends Pick<SitePlace, 'name'>>(sites: readonly Named[], name: string): Named {
  const site = sites.find((one) => one.name === name);
  if (site === undefined) throw new Error(`there is no site ${name}`);
  return site;
}
