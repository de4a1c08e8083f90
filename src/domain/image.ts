// An image: what a set of signatures belongs to, and its one place in the served tree.
import { MAX_NAME_BYTES, MAX_PATH_BYTES } from './limits.ts';
import { quoted } from './text.ts';

export const ALGORITHMS = ['sha256', 'sha384', 'sha512'] as const;
export type Algorithm = (typeof ALGORITHMS)[number];

/** Name of the site at `/`. */
export const DEFAULT_SITE = 'default';

/**
 * `layout` `repository`: `path` is the repository path without the registry's host (`team/app`).
 * `layout` `release` (OpenShift): `path` is the folder in which the image stands, empty at the top.
 * `hex` is lower case, 64, 96 or 128 digits as the algorithm requires. Only parseTarget and parseImageFolder make one
 * from text, so a file name built from it cannot leave the tree.
 */
export interface ImageId {
  readonly site: string;
  readonly layout: 'repository' | 'release';
  readonly path: string;
  readonly algorithm: Algorithm;
  readonly hex: string;
}

export type Digest = Pick<ImageId, 'algorithm' | 'hex'>;

/** The image's folder below the tree's root, as on disk and in URLs: `team/app@sha256=<hex>`, `sha256=<hex>`. */
export function imageFolder(image: ImageId): string {
  const digest = `${image.algorithm}=${image.hex}`;
  if (image.layout === 'repository') return `${image.path}@${digest}`;
  return image.path === '' ? digest : `${image.path}/${digest}`;
}

class Given {
  constructor(image: ImageId) {
    // biome-ignore lint/correctness/noConstructorReturn: the class below puts its field into this object
    return image;
  }
}

/**
 * Keeps an image's key in the object itself, as an image never changes and the same request often brings the same object. Neither copies
 * of it nor comparisons nor messages see the field. A WeakMap of tens of thousands of images takes a microsecond more for each.
 */
class Keyed extends Given {
  readonly #key: string;

  constructor(image: ImageId, key: string) {
    super(image);
    this.#key = key;
  }

  static keyOf(image: ImageId): string | undefined {
    return #key in image ? image.#key : undefined;
  }
}

/** The image's key if one was made of this object; makes none. */
export function knownImageKey(image: ImageId): string | undefined {
  return Keyed.keyOf(image);
}

/** A key unique over sites, for maps. A site's name has no slash. */
export function imageKey(image: ImageId): string {
  const known = Keyed.keyOf(image);
  if (known !== undefined) return known;
  const key = makeImageKey(image);
  new Keyed(image, key);
  return key;
}

/** The same, made anew: for one of very many images that are not asked for again. */
export function makeImageKey(image: ImageId): string {
  return `${image.site}/${imageFolder(image)}`;
}

// One component of a repository path or folder. It allows more than Docker's grammar (capitals, `~`, `+`), because a
// configured base URL may end in any folder of an adopted tree. It never begins with a dot, which keeps out `.`, `..`,
// `.lookaside` and temporary names.
const COMPONENT = '[A-Za-z0-9_][A-Za-z0-9._~+-]*';
const PATH = `${COMPONENT}(?:/${COMPONENT})*`;
const DIGEST =
  '(?:(?<sha256>sha256)=(?=[0-9a-f]{64}$)|(?<sha384>sha384)=(?=[0-9a-f]{96}$)|(?<sha512>sha512)=(?=[0-9a-f]{128}$))(?<hex>[0-9a-f]+)';

const FOLDER = new RegExp(`^${PATH}$`);
const USUAL_FOLDER = new RegExp(`^${PATH}@sha256=[0-9a-f]{64}$`);
const IMAGE_FOLDER = new RegExp(`^(?:(?<repository>${PATH})@|(?:(?<folder>${PATH})/)?)${DIGEST}$`);

/** The image whose folder this is, or null. `folder` has no slash at either end, and is no longer than a folder may be. */
export function parseImageFolder(site: string, folder: string): ImageId | null {
  const image = parseLongImageFolder(site, folder);
  return image === null || lengthFault(image.path, folder) !== null ? null : image;
}

/** As parseImageFolder, but for any length: for folders that were written before paths had a limit. */
export function parseLongImageFolder(site: string, folder: string): ImageId | null {
  return parseUsualFolder(site, folder) ?? parseAnyFolder(site, folder);
}

/** Nearly all folders have this form. Its parts stand at known places, and groups of an expression take longer than the rest of it. */
function parseUsualFolder(site: string, folder: string): ImageId | null {
  if (!USUAL_FOLDER.test(folder)) return null;
  const digits = folder.length - HEX_LENGTH.sha256;
  return {
    site,
    layout: 'repository',
    path: folder.slice(0, digits - '@sha256='.length),
    algorithm: 'sha256',
    hex: folder.slice(digits),
  };
}

function parseAnyFolder(site: string, folder: string): ImageId | null {
  const groups = IMAGE_FOLDER.exec(folder)?.groups;
  if (groups === undefined) return null;
  const algorithm = ALGORITHMS.find((name) => groups[name] !== undefined);
  if (algorithm === undefined || groups.hex === undefined) return null;
  const { repository, folder: parent = '', hex } = groups;
  return repository === undefined
    ? { site, layout: 'release', path: parent, algorithm, hex }
    : { site, layout: 'repository', path: repository, algorithm, hex };
}

/** Whether this is a folder above images: path components joined by single slashes, none empty or hidden, not too long. */
export function isNamespaceFolder(folder: string): boolean {
  return FOLDER.test(folder) && lengthFault(folder, folder) === null;
}

/**
 * In words for people, why the folder is too long to be an image's folder or one above images, although its names would
 * be valid. Null for every other folder.
 */
export function whyTooLong(folder: string): string | null {
  const path = parseLongImageFolder('', folder)?.path ?? (FOLDER.test(folder) ? folder : null);
  return path === null ? null : lengthFault(path, folder);
}

/** As whyTooLong, for an image's or a repository's name: `team/app@sha256:<hex>`, `team/app`. */
export function whyNameTooLong(name: string): string | null {
  return name.includes('=') ? null : whyTooLong(name.replace(':', '='));
}

/** Both texts match the grammar, so they are ASCII and a character is a byte. */
function lengthFault(path: string, folder: string): string | null {
  if (path.length > MAX_PATH_BYTES) {
    return `the path ${quoted(path)} has ${path.length} bytes, and registries take ${MAX_PATH_BYTES} at most; use a shorter one`;
  }
  const name = folder.slice(folder.lastIndexOf('/') + 1);
  if (name.length > MAX_NAME_BYTES) {
    return `the folder ${quoted(name)} would have a name of ${name.length} bytes, and file systems take ${MAX_NAME_BYTES} at most; use a shorter one`;
  }
  return null;
}

const HEX_LENGTH: Record<Algorithm, number> = { sha256: 64, sha384: 96, sha512: 128 };

/** The digest in `sha256:<hex>`, or null: lower-case hex digits, 64, 96 or 128 as the algorithm requires. */
export function parseDigest(text: string): Digest | null {
  const [name, hex = '', ...rest] = text.split(':');
  const algorithm = ALGORITHMS.find((known) => known === name);
  if (algorithm === undefined || rest.length > 0) return null;
  return hex.length === HEX_LENGTH[algorithm] && /^[0-9a-f]+$/.test(hex) ? { algorithm, hex } : null;
}

/** The image as people write it in the API: `team/app@sha256:<hex>`, `openshift/release/sha256:<hex>`. */
export function imageName(image: ImageId): string {
  return imageFolder(image).replace('=', ':'); // the only = is the one in the digest
}

/** The image of that name, or null; the inverse of imageName. */
export function parseImageName(site: string, name: string): ImageId | null {
  if (name.includes('=')) return null;
  return parseImageFolder(site, name.replace(':', '='));
}
