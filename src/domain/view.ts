// Which image of a site is meant by a path below one of its prefixes.
import { type ImageId, imageFolder, imageName, parseImageFolder } from './image.ts';
import type { View } from './site.ts';

/** The image of the site that is meant by one that was asked for below a view; null: there is none. */
export function viewed(image: ImageId, { layout, strip, add }: View): ImageId | null {
  if (layout === 'release') return { ...image, layout, path: '' };
  if (image.layout !== 'repository') return null;
  const left = strip === '' ? image.path : below(image.path, strip);
  if (left === null) return null;
  if (strip === '' && add === '') return image;
  return parseImageFolder(image.site, imageFolder({ ...image, path: [add, left].filter(Boolean).join('/') }));
}

/** What viewed() takes for the image, below the view's prefix: `redhat/ubi9/ubi@sha256:<hex>`; null: nothing. */
export function nameInView(image: ImageId, view: View): string | null {
  const { strip, add } = view;
  if (view.layout === 'release') return `${image.algorithm}:${image.hex}`;
  const left = add === '' ? image.path : below(image.path, add);
  if (left === null) return null;
  const path = [strip, left].filter(Boolean).join('/');
  if (path === '') return null;
  const asked = { ...image, path };
  const meant = viewed(asked, view);
  return meant !== null && imageFolder(meant) === imageFolder(image) ? imageName(asked) : null;
}

function below(path: string, strip: string): string | null {
  if (path === strip) return '';
  return path.startsWith(`${strip}/`) ? path.slice(strip.length + 1) : null;
}
