// Patterns of grants: which repositories and tags they name. They match whole names, and never more than they say.
import { isRepositoryPath } from './reference.ts';

const MAX_PATTERN_LENGTH = 255; // the longest repository path

export const REPOSITORY_PATTERN_WANTED =
  'wanted a repository path without its registry, like team/app; with * for one whole part, like team/*; with ** as the last part for everything below, like team/**; in lower case';

/**
 * Whether the text is a pattern of repositories: the parts of a repository path, of which each may be `*`, and the last `**`.
 */
export function isRepositoryPattern(text: string): boolean {
  if (text.length > MAX_PATTERN_LENGTH) return false;
  const parts = text.split('/');
  const last = parts.pop() ?? '';
  return [...parts, last === '**' ? '*' : last].every((part) => part === '*' || isRepositoryPath(part));
}

/** `*` stands for exactly one part, `**` for one or more. */
export function matchesRepository(pattern: string, path: string): boolean {
  const wanted = pattern.split('/');
  const segments = path.split('/');
  const isOpen = wanted.at(-1) === '**';
  if (isOpen ? segments.length < wanted.length : segments.length !== wanted.length) return false;
  return wanted.every((part, at) => part === '**' || part === '*' || part === segments[at]);
}

/** Whether the pattern matches the repository of that path, or one below it. */
export function touchesPrefix(pattern: string, prefix: string): boolean {
  const wanted = pattern.split('/');
  const prefixSegments = prefix.split('/');
  for (const [at, part] of prefixSegments.entries()) {
    const want = wanted[at];
    if (want === '**') return true;
    if (want !== '*' && want !== part) return false;
  }
  return true;
}

export const TAG_PATTERN_WANTED =
  'wanted a tag, with * for any run of characters, like v1.* or *-release: letters, digits and . _ - *, at most 128';

const TAG_PATTERN = /^[\w.*-]{1,128}$/;

export function isTagPattern(text: string): boolean {
  return TAG_PATTERN.test(text);
}

/** `*` stands for any run of characters, also for none. */
export function matchesTag(pattern: string, tag: string): boolean {
  const [first = '', ...rest] = pattern.split('*');
  const last = rest.pop();
  if (last === undefined) return pattern === tag;
  if (tag.length < first.length + last.length || !tag.startsWith(first) || !tag.endsWith(last)) return false;
  // each piece at its first place leaves most room for the others
  let at = first.length;
  for (const piece of rest) {
    const start = tag.indexOf(piece, at);
    if (start === -1) return false;
    at = start + piece.length;
  }
  return at <= tag.length - last.length;
}
