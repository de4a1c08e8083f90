// registries.d as containers/image reads it (docker/registries_d.go): from which base URL the signatures of an image come.

export interface ReadYamlFile {
  readonly path: string;
  /** What the YAML holds. */
  readonly value: unknown;
}

export interface Section {
  readonly file: string;
  readonly lookaside: string | null;
  readonly lookasideStaging: string | null;
  readonly sigstore: string | null;
  readonly sigstoreStaging: string | null;
}

export interface RegistriesD {
  /** The section `default-docker`, or null. */
  readonly standard: Section | null;
  readonly namespaces: ReadonlyMap<string, Section>;
}

/** Why clients refuse all of registries.d, and with it every image of a registry. */
export class RegistriesDFault extends Error {
  readonly file: string;

  constructor(file: string, message: string) {
    super(message);
    this.name = 'RegistriesDFault';
    this.file = file;
  }
}

/** @throws RegistriesDFault for what is no mapping, and for one section in two files */
export function mergeRegistriesD(files: readonly ReadYamlFile[]): RegistriesD {
  let standard: Section | null = null;
  const namespaces = new Map<string, Section>();
  for (const { path, value } of files) {
    if (value === null || value === undefined) continue;
    const { 'default-docker': ofDefault, docker } = mapping(value, path, 'the file');
    if (ofDefault !== undefined && ofDefault !== null) {
      if (standard !== null) throw twice('default-docker', standard.file, path);
      standard = sectionOf(ofDefault, path, 'default-docker');
    }
    if (docker === undefined || docker === null) continue;
    for (const [name, section] of Object.entries(mapping(docker, path, 'docker'))) {
      const other = namespaces.get(name);
      if (other !== undefined) throw twice(name, other.file, path);
      namespaces.set(name, sectionOf(section ?? {}, path, name));
    }
  }
  return { standard, namespaces };
}

/** `section` null: nothing is configured, and clients look into their own folder. */
export interface Base {
  readonly url: string;
  readonly section: { readonly name: string; readonly file: string; readonly spelling: Spelling } | null;
}

type Spelling = 'lookaside' | 'lookaside-staging' | 'sigstore' | 'sigstore-staging';

export interface BaseQuestion {
  /** dockerScopes() of the image. */
  readonly names: readonly string[];
  /** `old`: containers/image before 5.22, which knows sigstore alone. */
  readonly generation: 'new' | 'old';
  /** What is read where nothing is configured. */
  readonly builtIn: string;
}

/** A section that names no URL for reading lets the next wider one decide, unlike what registries.d(5) says. */
export function baseFor(config: RegistriesD, { names, generation, builtIn }: BaseQuestion): Base {
  for (const name of names) {
    const section = config.namespaces.get(name);
    const url = section === undefined ? null : readingUrl(section, name, generation);
    if (url !== null) return url;
  }
  const standardUrl =
    config.standard === null ? null : readingUrl(config.standard, 'default-docker', generation);
  return standardUrl ?? { url: builtIn, section: null };
}

function readingUrl(section: Section, name: string, generation: 'new' | 'old'): Base | null {
  const { file, lookaside, sigstore } = section;
  if (generation === 'new' && lookaside !== null)
    return { url: lookaside, section: { name, file, spelling: 'lookaside' } };
  return sigstore === null ? null : { url: sigstore, section: { name, file, spelling: 'sigstore' } };
}

/** Where podman push --sign-by writes: as the base for reading is chosen, with the staging URL of each section first. */
export function writingBaseFor(
  config: RegistriesD,
  { names, builtIn }: Pick<BaseQuestion, 'names' | 'builtIn'>,
): string {
  const sections = [...names.flatMap((name) => config.namespaces.get(name) ?? []), config.standard];
  for (const section of sections) {
    if (section === null) continue;
    const { lookasideStaging, sigstoreStaging, lookaside, sigstore } = section;
    const url = lookasideStaging ?? sigstoreStaging ?? lookaside ?? sigstore;
    if (url !== null) return url;
  }
  return builtIn;
}

function sectionOf(value: unknown, file: string, name: string): Section {
  const fields = mapping(value, file, name);
  const text = (key: string) => {
    const given = fields[key];
    if (given === undefined || given === null || given === '') return null;
    if (typeof given === 'object') throw new RegistriesDFault(file, `${name}: ${key} must be a URL`);
    return String(given);
  };
  return {
    file,
    lookaside: text('lookaside'),
    lookasideStaging: text('lookaside-staging'),
    sigstore: text('sigstore'),
    sigstoreStaging: text('sigstore-staging'),
  };
}

function mapping(value: unknown, file: string, what: string): Readonly<Record<string, unknown>> {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw new RegistriesDFault(file, `${what} must be a mapping`);
  return Object.fromEntries(Object.entries(value));
}

function twice(name: string, first: string, second: string): RegistriesDFault {
  return new RegistriesDFault(
    second,
    `${name} stands in ${first} too; clients refuse every pull until it stands in one of them`,
  );
}

/** The URL of the N-th signature, built as clients build it: as text, so that a slash at the end of `base` doubles. */
export function signatureUrl(
  base: string,
  image: { readonly path: string; readonly digest: string },
  number: number,
): string {
  const url = new URL(base);
  // URL.pathname has "/" where Go's path is empty
  const path = url.pathname === '/' && !/^[a-z]+:\/\/[^/?#]*\//i.test(base) ? '' : url.pathname;
  url.pathname = `${path}/${image.path}@${image.digest.replace(':', '=')}/signature-${number}`;
  return url.href;
}
