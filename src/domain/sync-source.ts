// Which images a file names that people have at hand: lists, oc-mirror's mapping, pods, update graphs, catalogues.
import { LookasideError } from './errors.ts';
import { parseDigest, parseImageName } from './image.ts';
import { parseReference } from './reference.ts';
import { quoted } from './text.ts';

/** An image that a file names; `repository` has no registry. */
export interface NamedImage {
  /** Null where the digest stands alone. */
  readonly repository: string | null;
  /** `sha256:<hex>` */
  readonly digest: string;
}

/** A name of which a registry could tell more: for a tag the digest, for a list its platforms. */
export interface NamedReference {
  /** As the source has it. */
  readonly name: string;
  /** Host, and port where one is written; null: the name has none. */
  readonly registry: string | null;
  /** Null where the digest stands alone. */
  readonly repository: string | null;
  /** Null: neither tag nor digest is written, or the digest alone. */
  readonly tag: string | null;
  readonly digest: string | null;
  /** Where oc-mirror copies it to: `m.example:5000/openshift/release-images:4.18.1-x86_64`; null: that is not said. */
  readonly copiedTo: string | null;
}

export interface NamedImages {
  readonly images: readonly NamedImage[];
  /** Each name once, also those in `images`. */
  readonly references: readonly NamedReference[];
  /** `registry.redhat.io/ubi9/ubi`: every tag of these is meant, or those that match a pattern. */
  readonly repositories: readonly string[];
}

const DIGEST = /sha(?:256|384|512):[0-9a-f]{64,128}/;

/**
 * What the text names, each image once. It tells the kinds apart by themselves: JSON (pods, an update graph, an operator
 * catalogue of JSON lines, our own reports), mapping.txt, skopeo's sync.yaml, or one name a line with # for remarks.
 * @throws LookasideError REQUEST_INVALID naming the first line that names nothing
 */
export function namedImages(text: string, parseYaml: (text: string) => unknown): NamedImages {
  const images = collector();
  const trimmed = text.replace(/^\ufeff/, '').trimStart();
  if (trimmed.startsWith('{') || trimmed.startsWith('[')) {
    for (const value of jsonValues(trimmed)) strings(value, images.addIfNamed, 0);
  } else if (isSyncYaml(trimmed)) readSyncYaml(parsedYaml(text, parseYaml), images);
  else {
    for (const [position, line] of text.split('\n').entries()) readLine(line, position + 1, images);
  }
  return images.result();
}

/** Whether the text needs a parser of YAML, which costs more to load than a list to read. */
export function needsYaml(text: string): boolean {
  const trimmed = text.replace(/^\ufeff/, '').trimStart();
  return !/^[{[]/.test(trimmed) && isSyncYaml(trimmed);
}

function isSyncYaml(trimmed: string): boolean {
  return /^[^\s#=]+:\s*$/m.test(trimmed);
}

function collector() {
  const images = new Map<string, NamedImage>();
  const references = new Map<string, NamedReference>();
  const repositories = new Set<string>();
  function add(text: string, copiedTo: string | null = null): boolean {
    const named = parseNamed(text);
    if (named === null) return false;
    const { repository, digest } = named;
    if (digest !== null) images.set(`${repository ?? ''}@${digest}`, { repository, digest });
    if (!references.has(named.name)) references.set(named.name, { ...named, copiedTo });
    return true;
  }
  return {
    add,
    addWhole: (repository: string) => void repositories.add(repository),
    /** Adds text that may be anything. What no image can be called is left out, so that it does not keep the others from being fetched. */
    addIfNamed: (text: string, member: string | null) => {
      const hasDigest = DIGEST.test(text);
      // without a digest, what a text is can be told by its member alone
      if (!hasDigest && (member !== 'image' || !/[/:]/.test(text) || parseReference(text) === null)) return;
      const named = parseNamed(text);
      if (named === null || (hasDigest && named.digest === null)) return;
      const { repository, digest } = named;
      if (repository === null || digest === null || parseImageName('', `${repository}@${digest}`) !== null)
        add(text);
    },
    result: (): NamedImages => ({
      images: [...images.values()],
      references: [...references.values()],
      repositories: [...repositories],
    }),
  };
}

type Collector = ReturnType<typeof collector>;

function parseNamed(text: string): Omit<NamedReference, 'copiedTo'> | null {
  const name = withoutTransport(text).replace(/^"|"$/g, '');
  const [front = '', digest = null, ...rest] = name.split('@');
  if (rest.length > 0) return null;
  if (digest === null && parseDigest(front) !== null)
    return { name, registry: null, repository: null, tag: null, digest: front };
  if (!/^[A-Za-z0-9][A-Za-z0-9._:/-]*$/.test(front) || /^sha(?:256|384|512):/.test(front)) return null;
  if (digest === null ? !/[/:]/.test(front) : parseDigest(digest) === null) return null;
  const { registry, path } = splitRegistry(front);
  const colon = path.lastIndexOf(':');
  const tag = colon > path.lastIndexOf('/') ? path.slice(colon + 1) : null;
  const written = tag === null ? path : path.slice(0, colon);
  const repository = isHub(registry) && !written.includes('/') ? `library/${written}` : written;
  return { name, registry, repository, tag: digest === null ? tag : null, digest };
}

/** The names of Docker Hub that images have. */
export const HUB_NAMES: readonly string[] = ['docker.io', 'index.docker.io'];

function isHub(registry: string | null): boolean {
  return registry !== null && HUB_NAMES.includes(registry);
}

function withoutTransport(text: string): string {
  return text.trim().replace(/^(?:docker|oci|docker-pullable|cri-o):\/\//, '');
}

/** Registries have a dot or a port in their name, or are localhost, as distribution/reference has it. */
function splitRegistry(name: string): { readonly registry: string | null; readonly path: string } {
  const slash = name.indexOf('/');
  const first = slash === -1 ? '' : name.slice(0, slash);
  if (first !== 'localhost' && !/[.:]/.test(first)) return { registry: null, path: name };
  return { registry: first, path: name.slice(slash + 1) };
}

function readLine(line: string, number: number, images: Collector): void {
  const text = line.replace(/(?:^|\s)#.*$/, '').trim();
  if (text === '') return;
  const folder = text.replace(/(sha(?:256|384|512))=(?=[0-9a-f]{64,128}\/?$)/, '$1:');
  // oc-mirror: src@sha256:…=dst@sha256:…; the source is what is signed
  const [, source, copy = null] = /^([^=\s]+)=([^=\s]+)$/.exec(folder) ?? [];
  const name = source ?? folder.replace(/\/$/, '');
  if (images.add(name, copy === null ? null : withoutTransport(copy))) return;
  throw new LookasideError(
    'REQUEST_INVALID',
    `line ${number} names no image: ${quoted(text)}; wanted REPOSITORY@sha256:<hex> or sha256:<hex>, one a line`,
  );
}

function* jsonValues(text: string): Generator<unknown> {
  const whole = parsedJson(text);
  if (whole !== undefined) {
    yield whole;
    return;
  }
  // JSON lines, or values one after the other as opm writes them. Each is parsed once, where its brackets end: a large file that was
  // cut would otherwise be parsed again at each line
  let from = 0;
  let depth = 0;
  let isQuoted = false;
  for (let at = 0; at < text.length; at += 1) {
    const character = text[at];
    if (character === '"') isQuoted = !isQuoted;
    else if (isQuoted) at += character === '\\' ? 1 : 0;
    else if (character === '{' || character === '[') depth += 1;
    else if (character === '}' || character === ']') {
      depth -= 1;
      if (depth > 0) continue;
      const value = parsedJson(text.slice(from, at + 1));
      if (value === undefined) break;
      yield value;
      [from, depth] = [at + 1, 0];
    }
  }
  if (text.slice(from).trim() !== '')
    throw new LookasideError(
      'REQUEST_INVALID',
      'the file begins like JSON and cannot be read as JSON; write it again',
    );
}

function parsedJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined; // only SyntaxError, and JSON has no undefined
  }
}

const MAX_DEPTH = 64;

type Take = (text: string, member: string | null) => void;

/** Every text within: which member names an image differs from tool to tool, and a digest is no other thing. */
function strings(value: unknown, take: Take, depth: number, member: string | null = null): void {
  if (typeof value === 'string') take(value, member);
  else if (Array.isArray(value) && depth < MAX_DEPTH) {
    for (const inner of value) strings(inner, take, depth + 1, member);
  } else if (typeof value === 'object' && value !== null && depth < MAX_DEPTH) {
    const covered = 'spec' in value && 'status' in value ? coveredTags(value) : NO_TAGS;
    const takeOthers: Take =
      covered.size === 0 ? take : (text, of) => void (covered.has(text) || take(text, of));
    for (const [name, inner] of entries(value)) strings(inner, takeOthers, depth + 1, name);
  }
}

const NO_TAGS: ReadonlySet<string> = new Set();
const STATUSES = ['containerStatuses', 'initContainerStatuses', 'ephemeralContainerStatuses'];
const CONTAINERS = ['containers', 'initContainers', 'ephemeralContainers'];

/** The names with a tag in a pod whose status says by digest what runs. */
function coveredTags(pod: object): ReadonlySet<string> {
  const [spec, status] = [entries(entries(pod).get('spec')), entries(entries(pod).get('status'))];
  const covered = new Set<string>();
  const running = new Set<unknown>();
  for (const one of STATUSES.flatMap((name) => listOf(status.get(name)))) {
    const [image, imageID] = [one.get('image'), one.get('imageID')];
    if (typeof imageID !== 'string' || !imageID.includes('@')) continue;
    running.add(one.get('name'));
    if (typeof image === 'string') covered.add(image);
  }
  for (const one of CONTAINERS.flatMap((name) => listOf(spec.get(name)))) {
    const image = one.get('image');
    const name = one.get('name');
    if (typeof name === 'string' && running.has(name) && typeof image === 'string') covered.add(image);
  }
  return covered;
}

function listOf(value: unknown): readonly Map<string, unknown>[] {
  return Array.isArray(value) ? value.map(entries) : [];
}

function parsedYaml(text: string, parseYaml: (text: string) => unknown): unknown {
  try {
    return parseYaml(text);
  } catch (error) {
    const why =
      error instanceof Error ? error.message.split('\n', 1)[0]?.replace(/:$/, '') : 'it is not valid';
    const message = `the file looks like the sync.yaml of skopeo and cannot be read as YAML: ${why}; mend it there`;
    throw new LookasideError('REQUEST_INVALID', message, { cause: error });
  }
}

/** Members of a registry that name repositories and patterns of tags. */
const PATTERNS = ['images-by-tag-regex', 'images-by-semver'];

/** `registry: {images: {repository: [tag or digest]}}`; without tags, every tag is meant. */
function readSyncYaml(value: unknown, images: Collector): void {
  for (const [registry, settings] of entries(value)) {
    const members = entries(settings);
    for (const [repository, names] of entries(members.get('images'))) {
      if (!Array.isArray(names) || names.length === 0) {
        images.addWhole(`${registry}/${repository}`);
        continue;
      }
      for (const name of names.map(String)) {
        const isDigest = parseDigest(name) !== null;
        images.add(`${registry}/${repository}${isDigest ? '@' : ':'}${name}`);
      }
    }
    for (const repository of PATTERNS.flatMap((member) => [...entries(members.get(member)).keys()]))
      images.addWhole(`${registry}/${repository}`);
  }
}

function entries(value: unknown): Map<string, unknown> {
  return typeof value === 'object' && value !== null ? new Map(Object.entries(value)) : new Map();
}
