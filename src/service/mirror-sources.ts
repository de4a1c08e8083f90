// Where lists of images come from that nobody has as a file: an update graph, a site's own listing, the repositories of a registry.
import type { AskWeb, WebAnswer } from '../domain/client-machine.ts';
import { forEachConcurrently } from '../domain/concurrency.ts';
import { LookasideError } from '../domain/errors.ts';
import { parseDigest } from '../domain/image.ts';
import { MAX_MIRROR_IMAGES } from '../domain/limits.ts';
import { readListing } from '../domain/listing.ts';
import type { NamedImage } from '../domain/sync-source.ts';
import { quoted } from '../domain/text.ts';
import { toUrl } from '../domain/url.ts';

type Answer = Extract<WebAnswer, { kind: 'answer' }>;

export interface SourceOptions {
  readonly ask: AskWeb;
  /** `sha256:<hex>` of the bytes. */
  readonly digestOf: (bytes: Uint8Array) => string;
  /** Told now and then how much was found. */
  readonly onFound: (images: number) => void;
}

const MAX_PAGES = 100_000;
const ASKED_AT_ONCE = 8;

/** The graph's text. @throws LookasideError SERVER_UNREACHABLE, REQUEST_INVALID, as all here */
export async function fetchGraph({ ask }: Pick<SourceOptions, 'ask'>, url: string): Promise<string> {
  const answer = await fetched(ask, parseUrl(url).href, { accept: 'application/json' });
  const text = new TextDecoder().decode(answer.body);
  if (text.trimStart().startsWith('{')) return text;
  throw invalid(`${withoutSecrets(url)} is not an update graph: wanted JSON with "nodes"`);
}

export async function listedImages(options: SourceOptions, url: string): Promise<readonly NamedImage[]> {
  const base = parseUrl(url);
  // a query says how a bucket or an API lists; a folder of web pages ends in a slash, and the list of a lookaside does not
  if (base.search === '' && !/(\/|\/api\/v1\/signatures)$/.test(base.pathname)) base.pathname += '/';
  const named = new Map<string, NamedImage>();
  const known = new Set([base.href]);
  for (const page of known) {
    if (known.size > MAX_PAGES) throw invalid(`${withoutSecrets(url)} lists without an end`);
    const at = new URL(page);
    const answer = await fetched(options.ask, page, {});
    const { images, folders, next } = readPage(answer.body, at, base);
    for (const image of images) named.set(`${image.repository ?? ''}@${image.digest}`, image);
    requireFew(named.size, url);
    options.onFound(named.size);
    for (const more of [...(next === null ? [] : [next]), ...folders]) known.add(more); // the loop goes through what is added
  }
  return [...named.values()];
}

function readPage(body: Uint8Array, at: URL, base: URL) {
  try {
    return readListing(new TextDecoder().decode(body), at, base);
  } catch {
    // only SyntaxError: the page begins like JSON
    throw invalid(`${withoutSecrets(at.href)} begins like JSON and cannot be read as JSON; wanted a listing`);
  }
}

/**
 * The manifests of every tag, and of lists the platforms. `registry`: `HOST/REPOSITORY`, `HOST` for all repositories, or `HOST/FOLDER`
 * for those below it; `http://` in front where it speaks plain HTTP. Repositories are named without the host.
 */
export async function registryImages(
  options: SourceOptions,
  registry: string,
): Promise<readonly NamedImage[]> {
  const base = parseUrl(/^https?:\/\//.test(registry) ? registry : `https://${registry}`);
  const path = base.pathname.replace(/^\/+|\/+$/g, '');
  base.pathname = '/';
  const server = openRegistry(options.ask, base);
  const named = new Map<string, NamedImage>();
  const repositories = await repositoriesOf(server, path);
  for (const { repository, tags } of repositories) {
    await forEachConcurrently(tags ?? (await server.tags(repository)) ?? [], ASKED_AT_ONCE, async (tag) => {
      for (const digest of await manifestsOf(options, server, { repository, tag })) {
        named.set(`${repository}@${digest}`, { repository, digest });
      }
      requireFew(named.size, registry);
      options.onFound(named.size);
    });
  }
  return [...named.values()];
}

interface Repository {
  readonly repository: string;
  /** Null: not asked yet. */
  readonly tags: readonly string[] | null;
}

async function repositoriesOf(server: Registry, path: string): Promise<readonly Repository[]> {
  const tags = path === '' ? null : await server.tags(path);
  if (tags !== null) return [{ repository: path, tags }];
  const all = await server.catalog();
  const below = all.filter((name) => path === '' || name.startsWith(`${path}/`));
  if (below.length > 0) return below.map((repository) => ({ repository, tags: null }));
  throw invalid(
    `the registry has no repository ${quoted(path || 'at all')}, and its catalog names none below; wanted HOST/REPOSITORY`,
  );
}

/** A tag may have gone since it was listed: none then. */
async function manifestsOf(
  { digestOf }: SourceOptions,
  server: Registry,
  { repository, tag }: { readonly repository: string; readonly tag: string },
): Promise<readonly string[]> {
  const answer = await server.get(`/v2/${repository}/manifests/${tag}`, repository);
  if (answer === null) return [];
  const own = digestOf(answer.body);
  return [own, ...platformsOf(answer.body)];
}

/** Digests of the manifests that the list names; none where it is no list. */
export function platformsOf(manifest: Uint8Array): readonly string[] {
  const value = jsonOf(manifest);
  const entries = membersOf(value).manifests;
  if (!Array.isArray(entries)) return [];
  return entries.flatMap((entry: unknown) => {
    const { digest } = membersOf(entry);
    return typeof digest === 'string' && parseDigest(digest) !== null ? [digest] : [];
  });
}

export interface Registry {
  /** Null: it is not there. `repository`: what a token is asked for. */
  get(path: string, repository: string | null): Promise<Answer | null>;
  /** Null: there is no such repository. */
  tags(repository: string): Promise<readonly string[] | null>;
  catalog(): Promise<readonly string[]>;
}

const ACCEPT = [
  'application/vnd.oci.image.index.v1+json',
  'application/vnd.docker.distribution.manifest.list.v2+json',
  'application/vnd.oci.image.manifest.v1+json',
  'application/vnd.docker.distribution.manifest.v2+json',
  'application/json',
].join(', ');

/** `base`: perhaps with user and password, which go to that origin and to its tokens' server alone. */
export function openRegistry(ask: AskWeb, base: URL): Registry {
  const tokens = new Map<string, string>();

  async function get(path: string, repository: string | null): Promise<Answer | null> {
    const url = new URL(path, base).href;
    const scope = repository === null ? 'registry:catalog:*' : `repository:${repository}:pull`;
    for (let tries = 1; ; tries += 1) {
      const token = tokens.get(scope);
      const headers = {
        accept: ACCEPT,
        ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
      };
      const answer = await asked(ask, url, headers);
      if (answer.status === 200) return answer;
      if (answer.status === 404) return null;
      const fresh = answer.status === 401 && tries === 1 ? await tokenFor(ask, base, answer, scope) : null;
      if (fresh === null) throw refused(url, answer.status);
      tokens.set(scope, fresh);
    }
  }

  /** All pages, joined; null: the first one is not there. */
  async function pages(
    first: string,
    repository: string | null,
    member: string,
  ): Promise<readonly string[] | null> {
    const listed: string[] = [];
    const seen = new Set<string>();
    for (let path: string | null = first; path !== null && !seen.has(path); ) {
      seen.add(path);
      const answer: Answer | null = await get(path, repository);
      if (answer === null) return seen.size === 1 ? null : listed;
      const names = membersOf(jsonOf(answer.body))[member];
      if (Array.isArray(names)) listed.push(...names.filter((name) => typeof name === 'string'));
      path = nextPage(answer, new URL(path, base));
    }
    return listed;
  }

  return {
    get,
    tags: (repository) => pages(`/v2/${repository}/tags/list?n=1000`, repository, 'tags'),
    catalog: async () => (await pages('/v2/_catalog?n=1000', null, 'repositories')) ?? [],
  };
}

/** `Link: </v2/…?last=x&n=1000>; rel="next"`. Only within the registry: a token goes with it. */
function nextPage(answer: Answer, at: URL): string | null {
  const link = /<([^>]*)>\s*;[^,]*\brel="?next"?/i.exec(answer.header('link') ?? '')?.[1];
  const url = link === undefined ? null : toUrl(link, at);
  return url === null || url.origin !== at.origin ? null : url.pathname + url.search;
}

/** Null: none is given. @throws LookasideError SERVER_UNREACHABLE */
async function tokenFor(ask: AskWeb, base: URL, refusal: Answer, scope: string): Promise<string | null> {
  const challenge = refusal.header('www-authenticate') ?? '';
  const realm = toUrl(/^Bearer .*?realm="([^"]+)"/i.exec(challenge)?.[1] ?? '');
  if (realm === null) return null;
  const service = /service="([^"]+)"/i.exec(challenge)?.[1];
  if (service !== undefined) realm.searchParams.set('service', service);
  realm.searchParams.set('scope', scope);
  if (realm.protocol === 'https:' || realm.origin === base.origin) {
    realm.username = base.username;
    realm.password = base.password;
  }
  const answer = await asked(ask, realm.href, {});
  const value = answer.status === 200 ? membersOf(jsonOf(answer.body)) : {};
  const token = value.token ?? value.access_token;
  return typeof token === 'string' ? token : null;
}

/** @throws LookasideError SERVER_UNREACHABLE unless it is 200 */
async function fetched(ask: AskWeb, url: string, headers: Readonly<Record<string, string>>): Promise<Answer> {
  const answer = await asked(ask, url, headers);
  if (answer.status === 200) return answer;
  throw refused(url, answer.status);
}

/** A second try, as such sites flake. */
async function asked(ask: AskWeb, url: string, headers: Readonly<Record<string, string>>): Promise<Answer> {
  for (let tries = 1; ; tries += 1) {
    const answer = await ask(url, headers);
    const isLast = tries === 2;
    if (answer.kind === 'answer' && (answer.status < 500 || isLast)) return answer;
    if (answer.kind !== 'answer' && isLast)
      throw new LookasideError(
        'SERVER_UNREACHABLE',
        `${withoutSecrets(url)} cannot be read: ${answer.why}; ${todoFor(answer.why)}`,
        { detail: { isDown: true } },
      );
  }
}

const UNTRUSTED = /SELF_SIGNED_CERT|^UNABLE_TO_(GET_ISSUER|VERIFY)|^CERT_UNTRUSTED$/;

/** What people can do, by the codes of Node.js and OpenSSL. */
function todoFor(why: string): string {
  if (why === 'ERR_SSL_WRONG_VERSION_NUMBER' || why === 'EPROTO')
    return 'what answers there speaks no TLS; where plain HTTP is meant, write http:// in front of the host';
  if (why === 'ECONNREFUSED') return 'nothing listens there; start it, or correct the host and the port';
  if (why === 'ENOTFOUND') return 'there is no such host; correct its name';
  if (why === 'ERR_TLS_CERT_ALTNAME_INVALID') return 'its certificate is for other names; use one of those';
  if (why === 'NOT_PUBLIC')
    return 'it, or where it sends those who ask, has an address that is not on the public internet; where that is meant, name the registry: --resolve HOST';
  if (UNTRUSTED.test(why))
    return "its certificate is by an authority that is not trusted here; give that authority's certificate with --ca FILE or LOOKASIDE_CA";
  return 'try again';
}

function refused(url: string, status: number): LookasideError {
  const why =
    status === 401 || status === 403
      ? '; it wants a login: run podman login, or name its file with --authfile; --registry takes USER:PASSWORD@ in front of the host too'
      : '';
  return new LookasideError(
    'SERVER_UNREACHABLE',
    `${withoutSecrets(url)} answered ${status}, and 200 was wanted${why}`,
    { detail: { isDown: status >= 500 || status === 429 } },
  );
}

export function requireFew(count: number, from: string): void {
  if (count <= MAX_MIRROR_IMAGES) return;
  throw invalid(`${withoutSecrets(from)} names more than ${MAX_MIRROR_IMAGES} images; name a part of it`);
}

function parseUrl(text: string): URL {
  const url = toUrl(text);
  if (url !== null && (url.protocol === 'https:' || url.protocol === 'http:')) return url;
  throw invalid(`${quoted(text)} is not an address; wanted one like https://example.com/path`);
}

/** Without user, password and query: they may be secrets. */
function withoutSecrets(text: string): string {
  const url = toUrl(text);
  return url === null ? text.replace(/^[^/]*@/, '') : url.origin + url.pathname;
}

function jsonOf(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder().decode(bytes));
  } catch {
    return null; // only SyntaxError: what is no JSON names nothing
  }
}

function membersOf(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
}

function invalid(message: string): LookasideError {
  return new LookasideError('REQUEST_INVALID', message);
}
