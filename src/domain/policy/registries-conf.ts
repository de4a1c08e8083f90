// registries.conf as containers/image reads it (pkg/sysregistriesv2): which registry is asked for an image, under which name.
import { type DockerReference, formatReference, parseReference } from '../reference.ts';
import { quoted } from '../text.ts';

/** A file of TOML that was read. */
export interface ReadTomlFile {
  readonly path: string;
  /** What the TOML holds. */
  readonly value: unknown;
  /** It lies in registries.conf.d, which takes no section of version 1. */
  readonly isDropIn: boolean;
}

export interface Endpoint {
  /** Null: the name is asked for as it is, which only a prefix with `*.` allows. */
  readonly location: string | null;
  readonly isInsecure: boolean;
}

const MIRROR_PULLS = ['all', 'digest-only', 'tag-only'] as const;

export interface Mirror extends Endpoint {
  /** The references for which the mirror is asked. */
  readonly pulls: (typeof MIRROR_PULLS)[number];
}

export interface RegistrySection extends Endpoint {
  readonly file: string;
  readonly prefix: string;
  readonly isBlocked: boolean;
  readonly isByDigestOnly: boolean;
  readonly mirrors: readonly Mirror[];
}

const SHORT_NAME_MODES = ['enforcing', 'permissive', 'disabled'] as const;
export type ShortNameMode = (typeof SHORT_NAME_MODES)[number];

/** `value` null: the alias is taken back. */
export interface Alias {
  readonly value: string | null;
  readonly file: string;
}

export interface RegistriesConf {
  readonly sections: readonly RegistrySection[];
  /** Hosts that short names are looked for at; null: no file says so. */
  readonly search: { readonly hosts: readonly string[]; readonly file: string } | null;
  readonly shortNameMode: ShortNameMode;
  readonly aliases: ReadonlyMap<string, Alias>;
  /** Where clients have logins from, in this order; null: no file says so, and they read files of logins alone. */
  readonly credentialHelpers: { readonly names: readonly string[]; readonly file: string } | null;
}

/** In credential-helpers: the files of logins, auth.json and its like. Any other name is that of a program. */
export const AUTH_FILES_HELPER = 'containers-auth.json';

/** Why clients refuse all of registries.conf, and with it every image of a registry. */
export class RegistriesConfFault extends Error {
  readonly file: string;

  constructor(file: string, message: string) {
    super(message);
    this.name = 'RegistriesConfFault';
    this.file = file;
  }
}

export interface RegistriesConfOptions {
  /** podman 6 takes a section of version 1 nowhere. */
  readonly takesVersion1: boolean;
}

/**
 * In the order in which clients read the files: a later one replaces sections of the same prefix.
 * @throws RegistriesConfFault where containers/image refuses a file
 */
export function mergeRegistriesConf(
  files: readonly ReadTomlFile[],
  options: RegistriesConfOptions,
): RegistriesConf {
  const sections = new Map<string, RegistrySection>();
  const aliases = new Map<string, Alias>();
  let search: RegistriesConf['search'] = null;
  let shortNameMode: ShortNameMode = 'permissive';
  let credentialHelpers: RegistriesConf['credentialHelpers'] = null;
  for (const file of files) {
    const read = readFile(file, options);
    for (const section of read.sections) sections.set(section.prefix, section);
    for (const [name, alias] of read.aliases) aliases.set(name, alias);
    if (read.search !== null) search = { hosts: read.search, file: file.path };
    shortNameMode = read.shortNameMode ?? shortNameMode;
    if (read.credentialHelpers !== null)
      credentialHelpers = { names: read.credentialHelpers, file: file.path };
  }
  // clients sort them: the first of the longest prefixes counts
  const sorted = [...sections.values()].sort((one, other) => (one.prefix < other.prefix ? -1 : 1));
  return { sections: sorted, search, shortNameMode, aliases, credentialHelpers };
}

interface ReadFile {
  readonly sections: readonly RegistrySection[];
  readonly search: readonly string[] | null;
  readonly shortNameMode: ShortNameMode | null;
  readonly aliases: ReadonlyMap<string, Alias>;
  readonly credentialHelpers: readonly string[] | null;
}

function readFile(
  { path, value, isDropIn }: ReadTomlFile,
  { takesVersion1 }: RegistriesConfOptions,
): ReadFile {
  const table = new Table(path, value, 'the file');
  const version1 = table.table('registries');
  if (version1 !== null) {
    const hasBoth = table.has('registry') || table.has('unqualified-search-registries');
    if (isDropIn || !takesVersion1 || hasBoth)
      throw new RegistriesConfFault(
        path,
        `has [registries…] of version 1 ${hasBoth ? 'beside settings of version 2' : 'where clients take version 2 alone'}`,
      );
    return readVersion1(path, version1);
  }
  const sections = new Map<string, RegistrySection>();
  const written = table.tables('registry').map((one) => readSection(path, one));
  for (const [index, section] of written.entries()) {
    for (const other of written.slice(0, index)) requireSame(other, section);
    // of one prefix twice in a file the first counts
    if (!sections.has(section.prefix)) sections.set(section.prefix, section);
  }
  const mode = table.text('short-name-mode');
  const known = SHORT_NAME_MODES.find((one) => one === mode) ?? null;
  if (mode !== null && mode !== '' && known === null)
    throw new RegistriesConfFault(
      path,
      `short-name-mode is ${quoted(mode)}; clients know ${SHORT_NAME_MODES.join(', ')}`,
    );
  return {
    sections: [...sections.values()],
    search: table.texts('unqualified-search-registries')?.map((host) => searchHost(path, host)) ?? null,
    shortNameMode: known,
    aliases: readAliases(path, table.table('aliases')),
    credentialHelpers: table.texts('credential-helpers'),
  };
}

function readVersion1(path: string, registries: Table): ReadFile {
  const hosts = (name: string) => registries.table(name)?.texts('registries') ?? [];
  const blocked = hosts('block').map((host) => locationOf(path, host));
  const insecure = hosts('insecure').map((host) => locationOf(path, host));
  const prefixes = [...new Set([...blocked, ...insecure])].flatMap((one) => one ?? []);
  const sections = prefixes.map((prefix) => ({
    file: path,
    prefix,
    location: prefix,
    isInsecure: insecure.includes(prefix),
    isBlocked: blocked.includes(prefix),
    isByDigestOnly: false,
    mirrors: [],
  }));
  const search = registries.table('search')?.texts('registries') ?? null;
  return {
    sections,
    search: search?.map((host) => searchHost(path, host)) ?? null,
    shortNameMode: null,
    aliases: new Map(),
    credentialHelpers: null,
  };
}

function readSection(file: string, table: Table): RegistrySection {
  const location = locationOf(file, table.text('location') ?? '');
  const prefix = locationOf(file, table.text('prefix') ?? '') ?? location;
  const fault = (message: string) => new RegistriesConfFault(file, message);
  if (prefix === null) throw fault('a [[registry]] has neither location nor prefix');
  if (location === null && !prefix.startsWith('*.'))
    throw fault(`the [[registry]] with the prefix ${quoted(prefix)} has no location`);
  if (prefix.startsWith('*.') && /[/@:]/.test(prefix))
    throw fault(`the prefix ${quoted(prefix)} has more than *. and a host`);
  if (table.has('pull-from-mirror'))
    throw fault(`pull-from-mirror stands outside of [[registry.mirror]] (${prefix})`);
  const isByDigestOnly = table.flag('mirror-by-digest-only');
  const mirrors = table.tables('mirror').map((mirror): Mirror => {
    const where = locationOf(file, mirror.text('location') ?? '');
    if (where === null) throw fault(`a mirror of ${quoted(prefix)} has no location`);
    const given = mirror.text('pull-from-mirror') ?? '';
    if (given !== '' && isByDigestOnly)
      throw fault(
        `${quoted(prefix)} has mirror-by-digest-only, and its mirror ${quoted(where)} pull-from-mirror`,
      );
    const pulls = MIRROR_PULLS.find((one) => one === (given || 'all'));
    if (pulls === undefined)
      throw fault(
        `pull-from-mirror of ${quoted(where)} is ${quoted(given)}; clients know ${MIRROR_PULLS.join(', ')}`,
      );
    return { location: where, isInsecure: mirror.flag('insecure'), pulls };
  });
  const isBlocked = table.flag('blocked');
  return { file, prefix, location, isInsecure: table.flag('insecure'), isBlocked, isByDigestOnly, mirrors };
}

/** Two sections about one location must agree, whatever their prefixes are. */
function requireSame(one: RegistrySection, other: RegistrySection): void {
  if ((one.location ?? one.prefix) !== (other.location ?? other.prefix)) return;
  if (one.isInsecure === other.isInsecure && one.isBlocked === other.isBlocked) return;
  throw new RegistriesConfFault(
    one.file,
    `${quoted(one.location ?? one.prefix)} stands there twice, with different values of insecure or blocked`,
  );
}

function readAliases(file: string, table: Table | null): ReadonlyMap<string, Alias> {
  const aliases = new Map<string, Alias>();
  for (const name of table?.names() ?? []) {
    const value = table?.text(name) ?? '';
    const target = value === '' ? null : parseReference(value);
    const isWhole = target !== null && target.tag === null && target.digest === null && !isShortName(value);
    if (!isShortName(name) || /[:@]/.test(name) || (value !== '' && !isWhole))
      throw new RegistriesConfFault(
        file,
        `the alias ${quoted(name)} = ${quoted(value)} must lead from a name without host to one with host, both without tag`,
      );
    aliases.set(name, { value: value === '' ? null : value, file });
  }
  return aliases;
}

/** Null: it is empty. */
function locationOf(file: string, text: string): string | null {
  const trimmed = text.replace(/\/+$/, '');
  if (/^https?:\/\//.test(trimmed))
    throw new RegistriesConfFault(
      file,
      `the location ${quoted(text)} has a scheme; clients take host and path alone`,
    );
  return trimmed === '' ? null : trimmed;
}

function searchHost(file: string, text: string): string {
  const host = locationOf(file, text);
  if (host !== null && parseReference(`${host}/x`)?.domain !== undefined && !host.includes('/')) return host;
  throw new RegistriesConfFault(
    file,
    `unqualified-search-registries has ${quoted(text)}, which is not a host`,
  );
}

/** A table of TOML. As in clients, names match in either case, and what is unknown is passed over. */
class Table {
  readonly #file: string;
  readonly #members: ReadonlyMap<string, unknown>;

  constructor(file: string, value: unknown, what: string) {
    if (typeof value !== 'object' || value === null || Array.isArray(value))
      throw new RegistriesConfFault(file, `${what} must be a table`);
    this.#file = file;
    this.#members = new Map(Object.entries(value));
  }

  names(): readonly string[] {
    return [...this.#members.keys()];
  }

  has(name: string): boolean {
    return this.#member(name) !== undefined;
  }

  text(name: string): string | null {
    const value = this.#member(name);
    if (value === undefined) return null;
    if (typeof value !== 'string') throw this.#wrong(name, 'a text in quotes');
    return value;
  }

  flag(name: string): boolean {
    const value = this.#member(name) ?? false;
    if (typeof value !== 'boolean') throw this.#wrong(name, 'true or false, without quotes');
    return value;
  }

  texts(name: string): readonly string[] | null {
    const value = this.#member(name);
    if (value === undefined) return null;
    if (!Array.isArray(value)) throw this.#wrong(name, 'a list of texts in quotes');
    return value.map((one: unknown) => {
      if (typeof one !== 'string') throw this.#wrong(name, 'a list of texts in quotes');
      return one;
    });
  }

  table(name: string): Table | null {
    const value = this.#member(name);
    return value === undefined ? null : new Table(this.#file, value, name);
  }

  tables(name: string): readonly Table[] {
    const value = this.#member(name) ?? [];
    if (!Array.isArray(value)) throw this.#wrong(name, `[[${name}]]`);
    return value.map((one: unknown) => new Table(this.#file, one, name));
  }

  #member(name: string): unknown {
    if (this.#members.has(name)) return this.#members.get(name);
    for (const [key, value] of this.#members) if (key.toLowerCase() === name) return value;
    return undefined;
  }

  #wrong(name: string, expected: string): RegistriesConfFault {
    return new RegistriesConfFault(this.#file, `${name} must be ${expected}`);
  }
}

/** The section of the longest prefix that the image's name, without tag and digest, begins with. */
export function findSection(
  { sections }: Pick<RegistriesConf, 'sections'>,
  { domain, path }: Pick<DockerReference, 'domain' | 'path'>,
): RegistrySection | null {
  let longest: RegistrySection | null = null;
  for (const section of sections) {
    const matches = matchedLength(`${domain}/${path}`, section.prefix) !== null;
    if (matches && section.prefix.length > (longest?.prefix.length ?? 0)) longest = section;
  }
  return longest;
}

/** How many characters of the name the prefix stands for; null: it does not match. */
function matchedLength(name: string, prefix: string): number | null {
  let end = prefix.length;
  if (prefix.startsWith('*.')) {
    const at = name.indexOf(prefix.slice(1));
    if (at === -1 || name.slice(0, at).includes('/')) return null;
    end = at + prefix.length - 1;
  } else if (!name.startsWith(prefix)) return null;
  // the port too ends a prefix: example.com matches example.com:5000
  return end === name.length || /[:/@]/.test(name[end] ?? '') ? end : null;
}

/** A name under which a pull asks for the image, and how. */
export interface PullSource {
  readonly image: DockerReference;
  /** TLS is not checked, and plain HTTP will do. */
  readonly isInsecure: boolean;
  readonly isMirror: boolean;
}

/**
 * In the order in which clients ask: the mirrors that may be asked for such a reference, then the registry itself.
 * @throws RegistriesConfFault when one of the names is none, which ends the pull whichever would have answered
 */
export function pullSources(section: RegistrySection | null, image: DockerReference): readonly PullSource[] {
  if (section === null) return [{ image, isInsecure: false, isMirror: false }];
  const isDigested = image.digest !== null;
  const mirrors = section.mirrors.filter(({ pulls }) => {
    if (section.isByDigestOnly) return isDigested;
    return pulls === 'all' || (pulls === 'digest-only') === isDigested;
  });
  const source = (endpoint: Endpoint, isMirror: boolean) => ({
    image: rewrite(section, endpoint, image),
    isInsecure: endpoint.isInsecure,
    isMirror,
  });
  return [...mirrors.map((mirror) => source(mirror, true)), source(section, false)];
}

function rewrite(
  { prefix, file }: RegistrySection,
  { location }: Endpoint,
  image: DockerReference,
): DockerReference {
  if (location === null) return image;
  const name = formatReference(image);
  const text = `${location}${name.slice(matchedLength(name, prefix) ?? prefix.length)}`;
  const parsed = parseReference(text);
  // as clients: it must be whole already
  if (parsed !== null && formatReference(parsed) === text) return parsed;
  throw new RegistriesConfFault(
    file,
    `the prefix ${quoted(prefix)} with the location ${quoted(location)} makes ${quoted(text)} of ${name}, which is not an image`,
  );
}

/** Whether the name has no host, so that podman looks for one. */
export function isShortName(name: string): boolean {
  const slash = name.indexOf('/');
  const first = name.slice(0, Math.max(slash, 0));
  return !(first === 'localhost' || /[.:]/.test(first));
}

export interface Candidates {
  /** Whole names, in the order in which podman tries them. */
  readonly images: readonly string[];
  readonly file: string;
  readonly from: 'alias' | 'search';
}

export type ShortNameFailure = 'no-host' | 'ambiguous';

/** What podman makes of a name without host where nobody can be asked; `recorded` are the aliases that podman wrote itself. */
export function resolveShortName(
  conf: RegistriesConf,
  recorded: RegistriesConf['aliases'],
  name: string,
): Candidates | ShortNameFailure {
  const bare = name.replace(/@.*$/, '').replace(/:[^/]*$/, '');
  const alias = recorded.get(bare) ?? conf.aliases.get(bare);
  if (alias !== undefined && alias.value !== null)
    return { images: [`${alias.value}${name.slice(bare.length)}`], file: alias.file, from: 'alias' };
  const { search, shortNameMode } = conf;
  if (search === null || search.hosts.length === 0) return 'no-host';
  if (shortNameMode === 'enforcing' && search.hosts.length > 1) return 'ambiguous';
  return { images: search.hosts.map((host) => `${host}/${name}`), file: search.file, from: 'search' };
}
