// Repositories and images as people name them on the command line.
import { LookasideError } from '../domain/errors.ts';
import { DEFAULT_SITE, isNamespaceFolder, parseImageName, whyNameTooLong } from '../domain/image.ts';
import { quoted } from '../domain/text.ts';

/**
 * What the argument may mean, likeliest first: `team/app`, `team/app@sha256:<hex>`, `sha256:<hex>`. Also written with
 * `=`, with a tag before the digest, with docker:// or the registry's host in front, which a repository's path may be too.
 * @throws LookasideError CONFIG_INVALID when it means nothing
 */
export function namesOf(argument: string): readonly [string, ...string[]] {
  const written = argument
    .replace(/^docker:\/\//, '')
    .replace(/(^|[@/])(sha256|sha384|sha512)=([0-9a-f]+)$/, '$1$2:$3')
    .replace(/:[^/@:]+(?=@)/, '');
  const below = withoutHost(written);
  const [first, ...others] = [written, ...(below === null ? [] : [below])].filter(isName);
  if (first !== undefined) return [first, ...others];
  const tooLong = whyNameTooLong(below ?? written);
  if (tooLong !== null) throw new LookasideError('CONFIG_INVALID', tooLong);
  const todo = /:[^/@:]+$/.test(written) && !written.includes('@') ? TAG : '';
  throw new LookasideError(
    'CONFIG_INVALID',
    `${quoted(argument)} names no repository and no image; wanted one like team/app or team/app@sha256:<64 lower-case hex digits>${todo}`,
  );
}

const TAG =
  '. Signatures belong to digests: skopeo inspect --format {{.Digest}} docker://IMAGE prints that of a tag';

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
