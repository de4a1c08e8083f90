// What names stand for, by the registries that may be asked: for a tag its manifest or list, for a list its platforms.
import type { AskWeb } from '../domain/client-machine.ts';
import { forEachConcurrently } from '../domain/concurrency.ts';
import { isLookasideError, LookasideError } from '../domain/errors.ts';
import { parseDigest } from '../domain/image.ts';
import { HUB_NAMES, type NamedImage, type NamedReference } from '../domain/sync-source.ts';
import { quoted } from '../domain/text.ts';
import { toUrl } from '../domain/url.ts';
import { openRegistry, platformsOf, type Registry, requireFew } from './mirror-sources.ts';

/** Where names of a registry are asked for, in the words of registries.conf: a prefix, and the location that takes its place. */
export interface ResolveRule {
  /** `quay.io`, `registry.redhat.io/ubi9`; null: every name, also one without a registry. */
  readonly prefix: string | null;
  /** `m.example:5000/redhat`, perhaps with `http://`; null: the registry of the name, at a public address alone. */
  readonly location: string | null;
}

export interface ResolveOptions {
  /** Asks what somebody has typed, wherever it is. */
  readonly ask: AskWeb;
  /** Asks addresses of the public internet alone, and whatever they lead to. */
  readonly askPublic: AskWeb;
  /** `HOST/REPOSITORY`, perhaps with `http://`, and with USER:PASSWORD@ where a login is known. */
  readonly withLogin: (registry: string) => Promise<string>;
  /** `sha256:<hex>` of the bytes, or that of the other algorithm. */
  readonly digestOf: (bytes: Uint8Array, algorithm: string) => string;
  /** Told now and then how much was found. */
  readonly onFound: (images: number) => void;
}

/** A name that was passed over, and why. */
export interface UnresolvedName {
  readonly name: string;
  readonly message: string;
}

export interface ResolvedImages {
  readonly images: readonly NamedImage[];
  /** Names of registries that were asked. */
  readonly unresolved: readonly UnresolvedName[];
  /** No rule covers them. */
  readonly unasked: readonly NamedReference[];
}

const ASKED_AT_ONCE = 8;
/** Names of a registry that fail one after the other before the rest of its names is passed over. */
const FAULTS_IN_A_ROW = 5;

/** `PREFIX`, `PREFIX=LOCATION`, `all` or `all=LOCATION`. @throws LookasideError CONFIG_INVALID */
export function parseResolveRule(text: string): ResolveRule {
  const [names = '', mirror, ...more] = text.split('=');
  const prefix = withoutSlashes(names.replace(/^https?:\/\//, ''));
  const isForAll = prefix === 'all';
  const location = mirror ?? (isForAll ? null : names);
  const isRule = (isForAll || isRegistry(prefix)) && (location === null || isRegistry(location));
  if (isRule && more.length === 0)
    return {
      prefix: isForAll ? null : prefix,
      location: location === null ? null : withoutSlashes(location),
    };
  throw new LookasideError(
    'CONFIG_INVALID',
    `--resolve is ${quoted(text.replace(/^.*@/s, '…@'))}; wanted a registry like quay.io, one with the mirror to ask instead like registry.redhat.io=m.example:5000/redhat, or all`,
  );
}

/** @throws LookasideError REQUEST_INVALID when too many images are found */
export async function resolveImages(
  options: ResolveOptions,
  references: readonly NamedReference[],
  rules: readonly ResolveRule[],
): Promise<ResolvedImages> {
  // the longest prefix wins, as in registries.conf
  const inOrder = rules.toSorted((one, other) => (other.prefix?.length ?? 0) - (one.prefix?.length ?? 0));
  const registries = createRegistries(options);
  const named = new Map<string, NamedImage>();
  const unresolved: UnresolvedName[] = [];
  const unasked: NamedReference[] = [];
  await forEachConcurrently(references, ASKED_AT_ONCE, async (reference) => {
    const place = placeOf(reference, inOrder);
    if (place === null) {
      unasked.push(reference);
      return;
    }
    try {
      const { repository } = reference;
      for (const digest of await manifestsAt(place, reference, { registries, options }))
        named.set(`${repository ?? ''}@${digest}`, { repository, digest });
    } catch (error) {
      if (!isLookasideError(error, 'SERVER_UNREACHABLE')) throw error;
      unresolved.push({ name: reference.name, message: error.message });
    }
    requireFew(named.size, 'the registry');
    options.onFound(named.size);
  });
  return { images: [...named.values()], unresolved, unasked };
}

function withoutSlashes(text: string): string {
  return text.replace(/\/+$/, '');
}

/** Without a login, a query and a fragment. */
function isRegistry(text: string): boolean {
  const url = toUrl(withScheme(text));
  return url !== null && url.host !== '' && /^[^\s@?#]+$/.test(text);
}

interface Place {
  /** `m.example:5000`, perhaps with `http://`. */
  readonly host: string;
  readonly repository: string;
  readonly wanted: string;
  readonly isTyped: boolean;
}

/** Null: no rule covers it. */
function placeOf(reference: NamedReference, rules: readonly ResolveRule[]): Place | null {
  const { registry, repository, tag, digest, copiedTo } = reference;
  const wanted = digest ?? tag ?? 'latest';
  for (const { prefix, location } of rules) {
    // every name, without its registry; or what follows the prefix
    const left =
      prefix === null
        ? (repository ?? '')
        : registry === null
          ? null
          : below(`${registry}/${repository}`, prefix);
    if (left === null) continue;
    if (location === null) {
      if (registry === null || repository === null) return null;
      return { host: registry, repository, wanted, isTyped: false };
    }
    const [host, folder] = splitHost(location);
    const copy = copiedTo === null ? null : splitCopy(copiedTo);
    if (copy?.host === host.replace(/^https?:\/\//, ''))
      return { host, repository: copy.repository, wanted: digest ?? copy.tag ?? wanted, isTyped: true };
    const asked = [folder, left].filter(Boolean).join('/');
    return asked === '' ? null : { host, repository: asked, wanted, isTyped: true };
  }
  return null;
}

function below(name: string, prefix: string): string | null {
  if (name === prefix) return '';
  return name.startsWith(`${prefix}/`) ? name.slice(prefix.length + 1) : null;
}

function splitHost(location: string): readonly [host: string, folder: string] {
  const [, host = '', folder = ''] = /^((?:https?:\/\/)?[^/]+)\/?(.*)$/.exec(location) ?? [];
  return [host, folder];
}

function splitCopy(copy: string) {
  const [, host, path, tag = null] = /^([^/@]+)\/([^@]*?)(?::([^:/@]+))?(?:@.*)?$/.exec(copy) ?? [];
  return host === undefined || path === undefined ? null : { host, repository: path, tag };
}

interface Asked {
  readonly registries: ReturnType<typeof createRegistries>;
  readonly options: ResolveOptions;
}

/** What stands for the name, and of a list the platforms. @throws LookasideError SERVER_UNREACHABLE */
async function manifestsAt(
  place: Place,
  { digest }: NamedReference,
  { registries, options }: Asked,
): Promise<readonly string[]> {
  const { repository, wanted, host } = place;
  const answer = await registries.with(place, (registry) =>
    registry.get(`/v2/${repository}/manifests/${wanted}`, repository),
  );
  if (answer === null) throw unreachable(`${host} has no ${wanted} of ${repository}`);
  const algorithm = (digest === null ? null : parseDigest(digest)?.algorithm) ?? 'sha256';
  const own = options.digestOf(answer.body, algorithm);
  // what a list says of its platforms is believed only when it is the list that was named
  if (digest !== null && own !== digest)
    throw unreachable(`${host} sent another manifest for ${wanted} of ${repository}`);
  return [own, ...platformsOf(answer.body)];
}

function createRegistries({ ask, askPublic, withLogin }: ResolveOptions) {
  const bases = new Map<string, Promise<URL>>();
  const servers = new Map<string, Registry>();
  const faults = new Map<string, { inARow: number; message: string }>();

  /** With the login. Docker Hub is asked under another name than its images have. */
  async function baseOf(host: string, repository: string): Promise<URL> {
    const isHub = HUB_NAMES.includes(host);
    for (const name of isHub ? HUB_NAMES : [host]) {
      const url = toUrl(withScheme(await withLogin(`${name}/${repository}`)));
      if (url === null) throw unreachable(`${host} is not an address`);
      if (isHub && url.username === '' && name !== HUB_NAMES.at(-1)) continue;
      url.pathname = '/';
      if (isHub) url.host = 'registry-1.docker.io';
      return url;
    }
    throw unreachable(`${host} is not an address`);
  }

  async function serverOf({ host, repository, isTyped }: Place): Promise<Registry> {
    const place = `${host}/${repository}`;
    const known = bases.get(place) ?? baseOf(host, repository);
    bases.set(place, known);
    const base = await known;
    const key = `${isTyped} ${base.href}`;
    const server = servers.get(key) ?? openRegistry(isTyped ? ask : askPublic, base);
    servers.set(key, server);
    return server;
  }

  return {
    /** A registry that fails for several names in a row is asked no more. */
    async with<T>(place: Place, act: (registry: Registry) => Promise<T>): Promise<T> {
      const fault = faults.get(place.host) ?? { inARow: 0, message: '' };
      faults.set(place.host, fault);
      if (fault.inARow >= FAULTS_IN_A_ROW) throw unreachable(fault.message);
      try {
        const result = await act(await serverOf(place));
        fault.inARow = 0;
        return result;
      } catch (error) {
        if (!isLookasideError(error, 'SERVER_UNREACHABLE')) throw error;
        if (error.detail?.isDown === true) fault.inARow += 1;
        fault.message = error.message;
        throw error;
      }
    },
  };
}

function withScheme(registry: string): string {
  return /^https?:\/\//.test(registry) ? registry : `https://${registry}`;
}

function unreachable(message: string): LookasideError {
  return new LookasideError('SERVER_UNREACHABLE', message);
}
