// Which site a page is about, and how images and repositories are named in addresses.
import { LookasideError } from '../../domain/errors.ts';
import { DEFAULT_SITE, type ImageId, imageFolder } from '../../domain/image.ts';
import { quoted } from '../../domain/text.ts';
import type { PageContext } from '../page.ts';

/** The path of a repository in an address; the top of the release layout has none, and no repository is named so. */
const TOP = '-';

/** @throws LookasideError NOT_FOUND */
export function siteOf({ request, services }: PageContext): string {
  const wanted = request.query.get('site') ?? DEFAULT_SITE;
  if (siteNames({ services }).includes(wanted)) return wanted;
  throw new LookasideError(
    'NOT_FOUND',
    `this server has no site ${quoted(wanted)}, expected one of: ${siteNames({ services }).join(', ')}`,
  );
}

export function siteNames({ services }: Pick<PageContext, 'services'>): readonly string[] {
  return [...new Set(services.places().map(({ name }) => name))];
}

/** The site for an address; the default one goes without saying. */
export function placed(site: string): { readonly site: string | null } {
  return { site: siteParameter(site) };
}

const siteParameter = (site: string) => (site === DEFAULT_SITE ? null : site);

export function imageLink(
  { link }: Pick<PageContext, 'link'>,
  image: { readonly site: string; readonly name: string },
  query: Record<string, string> = {},
): string {
  return link(`images/${image.name}`, { site: siteParameter(image.site), ...query });
}

export function repositoryLink(
  { link }: Pick<PageContext, 'link'>,
  site: string,
  path: string,
  query: Record<string, string | null> = {},
): string {
  return link(`repositories/${path === '' ? TOP : path}`, { site: siteParameter(site), ...query });
}

export function repositoryAt(rest: string): string {
  return rest === TOP ? '' : rest;
}

/** Where clients find the image: the URL of its folder. */
export function folderUrl({ request, services }: PageContext, image: ImageId): string {
  const prefix = services.places().find(({ name }) => name === image.site)?.prefix ?? '';
  return `${request.url}${prefix}/${imageFolder(image)}`;
}

/** The link to the signature's bytes on this server. */
export function bytesLink({ request, services }: PageContext, image: ImageId, number: number): string {
  const prefix = services.places().find(({ name }) => name === image.site)?.prefix ?? '';
  return `${request.base}..${prefix}/${imageFolder(image)}/signature-${number}`;
}
