// Repositories and images as people name them on the command line.
import { LookasideError } from '../domain/errors.ts';
import { DEFAULT_SITE, isNamespaceFolder, parseImageName, whyNameTooLong } from '../domain/image.ts';
import { isTag } from '../domain/reference.ts';
import { quoted } from '../domain/text.ts';

export interface Named {
  /** The possible meanings, likeliest first. */
  readonly names: readonly [string, ...string[]];
  /** The tag behind a repository; null when there is none, or when there is a digest, which says more. */
  readonly tag: string | null;
}

/** As namesOf(), also of `team/app:v1`. @throws LookasideError CONFIG_INVALID when it means nothing */
export function parseNamed(argument: string): Named {
  const [, repository, tag] = /^(.*[^/]):([^/@:]+)$/.exec(argument) ?? [];
  const isDigest = /(?:^|[@/])sha(?:256|384|512)$/.test(repository ?? '');
  if (repository === undefined || tag === undefined || isDigest || argument.includes('@')) {
    return { names: namesOf(argument), tag: null };
  }
  if (!isTag(tag)) {
    throw new LookasideError(
      'CONFIG_INVALID',
      `${quoted(tag)} in ${quoted(argument)} is not a tag; wanted letters, digits and . _ -, at most 128`,
    );
  }
  return { names: namesOf(repository), tag };
}

/**
 * What the argument may mean, likeliest first: `team/app`, `team/app@sha256:<hex>`, `sha256:<hex>`. It may also have `=`, be the path
 * of a signature, have a tag before the digest, or begin with docker:// or the registry's host. What looks like a host may
 * also be a part of the repository's path.
 * @throws LookasideError CONFIG_INVALID when it means nothing
 */
export function namesOf(argument: string): readonly [string, ...string[]] {
  const written = argument
    .replace(/^(?:docker:\/\/|\/(?=[^/]))/, '')
    .replace(/(?<=[:=][0-9a-f]{64,})\/signature-[0-9]+$/, '')
    .replace(/(^|[@/])(sha256|sha384|sha512)=([0-9a-f]+)$/, '$1$2:$3')
    .replace(/:[^/@:]+(?=@)/, '');
  const below = withoutHost(written);
  const [first, ...others] = [written, ...(below === null ? [] : [below])].filter(isName);
  if (first !== undefined) return [first, ...others];
  const tooLong = whyNameTooLong(below ?? written);
  if (tooLong !== null) throw new LookasideError('CONFIG_INVALID', tooLong);
  throw new LookasideError(
    'CONFIG_INVALID',
    `${quoted(argument)} names no repository and no image; wanted one like team/app, team/app:v1 or team/app@sha256:<64 lower-case hex digits>`,
  );
}

// as distribution's references are read, but for capitals, which a path in an adopted tree may have
function withoutHost(name: string): string | null {
  const slash = name.indexOf('/');
  const first = name.slice(0, Math.max(slash, 0));
  return first === 'localhost' || /^[A-Za-z0-9[].*[.:]/.test(first) ? name.slice(slash + 1) : null;
}

function isName(name: string): boolean {
  return isNamespaceFolder(name) || parseImageName(DEFAULT_SITE, name) !== null;
}

/** An image or a path, with its site unless that is the one at the top. */
export function nameIn(site: string, name: string): string {
  return site === DEFAULT_SITE ? name : `${site}: ${name}`;
}
