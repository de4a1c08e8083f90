// Which images a file names that people have at hand: lists, oc-mirror's mapping, pods, update graphs, catalogues.
import { LookasideError } from './errors.ts';
import { parseDigest, parseImageName } from './image.ts';
import { quoted } from './text.ts';

/** An image that a file names; `repository` has no registry. */
export interface NamedImage {
  /** Null where the digest stands alone. */
  readonly repository: string | null;
  /** `sha256:<hex>` */
  readonly digest: string;
}

export interface NamedImages {
  readonly images: readonly NamedImage[];
  /** Names with a tag and without a digest: a registry would have to be asked. */
  readonly tagged: readonly string[];
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
  } else if (isSyncYaml(trimmed)) readSyncYaml(parseYaml(text), images);
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
  const tagged = new Set<string>();
  function add(name: string): boolean {
    const image = parseNamed(name);
    if (image === null) return false;
    if ('digest' in image) images.set(`${image.repository ?? ''}@${image.digest}`, image);
    else tagged.add(image.name);
    return true;
  }
  return {
    add,
    /** For text that may be anything: what no image can be called is none, and must not keep the others from being fetched. */
    addIfNamed: (name: string) => {
      if (!DIGEST.test(name)) return;
      const image = parseNamed(name);
      if (image === null || !('digest' in image)) return;
      const { repository, digest } = image;
      if (repository === null || parseImageName('', `${repository}@${digest}`) !== null) add(name);
    },
    result: (): NamedImages => ({ images: [...images.values()], tagged: [...tagged] }),
  };
}

type Collector = ReturnType<typeof collector>;

function parseNamed(text: string): NamedImage | { readonly name: string } | null {
  const name = text
    .trim()
    .replace(/^(?:docker|oci|docker-pullable|cri-o):\/\//, '')
    .replace(/^"|"$/g, '');
  const [front = '', digest, ...rest] = name.split('@');
  if (rest.length > 0) return null;
  if (digest === undefined && parseDigest(front) !== null) return { repository: null, digest: front };
  if (!/^[A-Za-z0-9][A-Za-z0-9._:/-]*$/.test(front)) return null;
  if (digest === undefined) return front.includes('/') || front.includes(':') ? { name: front } : null;
  if (parseDigest(digest) === null) return null;
  return {
    repository: withoutRegistry(front.replace(/:[^/:]*$/, (tag) => (/^:\d+$/.test(tag) ? tag : ''))),
    digest,
  };
}

/** Registries have a dot or a port in their name, or are localhost, as distribution/reference has it. */
function withoutRegistry(name: string): string {
  const slash = name.indexOf('/');
  const first = slash === -1 ? '' : name.slice(0, slash);
  return first === 'localhost' || /[.:]/.test(first) ? name.slice(slash + 1) : name;
}

function readLine(line: string, number: number, images: Collector): void {
  const text = line.replace(/(?:^|\s)#.*$/, '').trim();
  if (text === '') return;
  const folder = text.replace(/(sha(?:256|384|512))=(?=[0-9a-f]{64,128}\/?$)/, '$1:');
  // oc-mirror: src@sha256:…=dst@sha256:…; the source is what is signed
  const name = /^([^=\s]+)=[^=\s]+$/.exec(folder)?.[1] ?? folder.replace(/\/$/, '');
  if (images.add(name)) return;
  throw new LookasideError(
    'REQUEST_INVALID',
    `line ${number} names no image: ${quoted(text)}; wanted REPOSITORY@sha256:<hex> or sha256:<hex>, one a line`,
  );
}

function* jsonValues(text: string): Generator<unknown> {
  try {
    yield JSON.parse(text);
    return;
  } catch {
    // JSON lines, or values one after the other as opm writes them
  }
  let begun = '';
  for (const line of text.split('\n')) {
    begun += `${line}\n`;
    if (!/[}\]]\s*$/.test(line)) continue;
    try {
      yield JSON.parse(begun);
      begun = '';
    } catch {
      // it goes on
    }
  }
  if (begun.trim() !== '')
    throw new LookasideError(
      'REQUEST_INVALID',
      'the file begins like JSON and cannot be read as JSON; write it again',
    );
}

const MAX_DEPTH = 64;

/** Every text within: which member names an image differs from tool to tool, and a digest is no other thing. */
function strings(value: unknown, take: (text: string) => void, depth: number): void {
  if (typeof value === 'string') take(value);
  else if (typeof value === 'object' && value !== null && depth < MAX_DEPTH) {
    for (const inner of Object.values(value)) strings(inner, take, depth + 1);
  }
}

/** `registry: {images: {repository: [tag or digest]}}` */
function readSyncYaml(value: unknown, images: Collector): void {
  for (const [registry, settings] of entries(value)) {
    for (const [repository, names] of entries(entries(settings).get('images'))) {
      if (!Array.isArray(names)) continue;
      for (const name of names.map(String)) {
        const isDigest = parseDigest(name) !== null;
        images.add(`${registry}/${repository}${isDigest ? '@' : ':'}${name}`);
      }
    }
  }
}

function entries(value: unknown): Map<string, unknown> {
  return typeof value === 'object' && value !== null ? new Map(Object.entries(value)) : new Map();
}
