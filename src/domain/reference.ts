// Docker references, normalised as containers/image does (docker/reference of distribution).
import { parseDigest } from './image.ts';
import { MAX_REFERENCE_BYTES } from './limits.ts';
import { quoted } from './text.ts';

export interface DockerReference {
  /** `docker.io` when none is written. */
  readonly domain: string;
  /** The repository path without the domain: `library/busybox`, `team/app`. */
  readonly path: string;
  readonly tag: string | null;
  /** `sha256:<hex>`. */
  readonly digest: string | null;
}

const DEFAULT_DOMAIN = 'docker.io';
const LEGACY_DOMAIN = 'index.docker.io';

const MAX_NAME_LENGTH = 255; // distribution's NameTotalLengthMax: domain, slash and path
const MAX_TAG_LENGTH = 128; // as REMAINDER and TAG have it
const SHORTEST = 'x';

// keep in sync with distribution's reference/regexp.go
const DOMAIN_COMPONENT = '(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])';
const HOST = `(?:${DOMAIN_COMPONENT}(?:\\.${DOMAIN_COMPONENT})*|\\[[a-fA-F0-9:]+\\])`;
const PATH_COMPONENT = '[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*';
const DOMAIN = new RegExp(`^${HOST}(?::[0-9]+)?$`);
const REMAINDER = new RegExp(
  `^(?<path>${PATH_COMPONENT}(?:/${PATH_COMPONENT})*)(?::(?<tag>\\w[\\w.-]{0,127}))?(?:@(?<digest>.+))?$`,
);

const REPOSITORY_PATH = new RegExp(`^${PATH_COMPONENT}(?:/${PATH_COMPONENT})*$`);

/** Whether the text is a repository's path without its registry, as registries have it: `team/app`. */
export function isRepositoryPath(text: string): boolean {
  return text.length <= MAX_NAME_LENGTH && REPOSITORY_PATH.test(text);
}

// an image's ID, which is not a name
const IDENTIFIER = /^[a-f0-9]{64}$/;

/**
 * Null when a policy could not parse it. The first component is the domain when it has a dot, a colon or a capital, or is
 * `localhost`. A component that looks like a domain but is not valid as one (`my_host.local/app`) is refused: distribution
 * reads it as a path without domain, from which nothing can be pulled.
 */
export function parseReference(text: string): DockerReference | null {
  if (text.length > MAX_REFERENCE_BYTES || IDENTIFIER.test(text)) return null;
  const { domain, remainder } = splitDomain(text);
  const groups = REMAINDER.exec(remainder)?.groups;
  if (groups?.path === undefined || !DOMAIN.test(domain)) return null;
  const { path, tag = null, digest = null } = groups;
  if (domain.length + 1 + path.length > MAX_NAME_LENGTH) return null;
  if (digest !== null && parseDigest(digest) === null) return null;
  return { domain, path, tag, digest };
}

/** In words for people, why the text is no reference although a shorter one would be. Null for every other text. */
export function whyReferenceTooLong(text: string): string | null {
  if (parseReference(text) !== null) return null;
  const { tag = '' } = /:(?<tag>\w[\w.-]*)(?:@[^@]*)?$/.exec(text)?.groups ?? {};
  const shortTagged = tag.length > MAX_TAG_LENGTH ? text.replace(`:${tag}`, ':x') : text;
  const { domain, remainder } = splitDomain(shortTagged);
  const path = REMAINDER.exec(remainder)?.groups?.path;
  if (path === undefined || parseReference(`${domain}/${SHORTEST}`) === null) return null;
  if (tag.length > MAX_TAG_LENGTH)
    return `the tag of ${quoted(text)} has ${tag.length} characters, and registries take ${MAX_TAG_LENGTH} at most`;
  const length = domain.length + 1 + path.length;
  if (length <= MAX_NAME_LENGTH) return null;
  return `the name ${quoted(text)} has ${length} characters, and clients take ${MAX_NAME_LENGTH} at most: of the host, the slash and the repository`;
}

/** The tag that the text names; null when it names none, or is no reference. */
export function tagOf(text: string): string | null {
  return parseReference(text)?.tag ?? null;
}

const TAG = /^\w[\w.-]{0,127}$/;

/** Whether the text may be a tag, as distribution has it. */
export function isTag(text: string): boolean {
  return TAG.test(text);
}

/** The whole reference as distribution writes a normalised one: `docker.io/library/busybox:latest`. */
export function formatReference({ domain, path, tag, digest }: DockerReference): string {
  const named = `${domain}/${path}`;
  return `${named}${tag === null ? '' : `:${tag}`}${digest === null ? '' : `@${digest}`}`;
}

function splitDomain(text: string): { readonly domain: string; readonly remainder: string } {
  const slash = text.indexOf('/');
  const first = text.slice(0, Math.max(slash, 0));
  const written = isDomain(first) ? first : null;
  const domain = written === null || written === LEGACY_DOMAIN ? DEFAULT_DOMAIN : written;
  const rest = written === null ? text : text.slice(slash + 1);
  const isOfficial = domain === DEFAULT_DOMAIN && !rest.includes('/');
  return { domain, remainder: isOfficial ? `library/${rest}` : rest };
}

function isDomain(component: string): boolean {
  return component === 'localhost' || /[.:]/.test(component) || component.toLowerCase() !== component;
}
