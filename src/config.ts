// Settings: flags, environment and one optional YAML file in, one frozen object out. Nothing else reads process.env.
// Each setting has a parser here instead of a zod schema: loading zod takes longer than everything else that a short command
// does, and a setting is one text.
import { existsSync, readFileSync } from 'node:fs';
import { BlockList, isIP } from 'node:net';
import { join, relative, resolve } from 'node:path';
import { durationMs } from './domain/duration.ts';
import { LookasideError, systemCode } from './domain/errors.ts';
import { KEY_SOURCE_WANTED, type KeyRefresh, parseKeySource } from './domain/key-source.ts';
import { MAX_SIGNATURE_BYTES } from './domain/limits.ts';
import type { MirrorParsers } from './domain/mirror-sets.ts';
import { parseRemap, REMAP_WANTED, type Remap } from './domain/remap.ts';
import { isKeyNameOfNote } from './domain/signed-note.ts';
import { parseSizeBytes } from './domain/size.ts';

export interface ListenAddress {
  /** Null: all addresses, IPv6 and IPv4. */
  readonly host: string | null;
  readonly port: number;
}

export interface Config {
  readonly listen: ListenAddress;
  /** Absolute. */
  readonly data: string;
  /** Absolute. */
  readonly root: string;
  /** `shared` when a root is given: podman or rsync write there too. */
  readonly tree: 'owned' | 'shared';
  /** Empty or `/like/this`. */
  readonly prefix: string;
  /** Without a final slash; null when not given. */
  readonly publicUrl: string | null;
  /** The registry whose images are signed, as registries.d names it; used only in printed advice. */
  readonly registries: readonly string[];
  /** Names below which signatures for other names are accepted. */
  readonly remaps: readonly Remap[];
  readonly releases: {
    /** In which signatures of releases are looked up that are asked for without a repository. */
    readonly repositories: readonly string[];
    /** A fingerprint or key ID in upper-case hex, whose signatures go first there; null: none. */
    readonly preferredKey: string | null;
  };
  /** Which unverifiable signatures are stored beside verified ones. */
  readonly acceptUnsupported: 'off' | 'v6';
  /** Tokens without a signer may not upload. */
  readonly requireGrants: boolean;
  /** The audiences that an OIDC token may have; none: no such token is taken. */
  readonly oidcAudiences: readonly string[];
  /** Absolute; the file that names the OpenID providers through which people log in to the web pages; null: none. */
  readonly oidcLoginFile: string | null;
  /** From where and how often keys are refreshed; null: only by hand. */
  readonly keyRefresh: KeyRefresh | null;
  /** Nothing is ever withdrawn. */
  readonly appendOnly: boolean;
  readonly tls: { readonly certFile: string; readonly keyFile: string } | null;
  readonly trustedProxies: Networks;
  readonly read: 'anonymous' | 'token';
  /** How many processes answer reads; `auto`: as many as there are processors. */
  readonly readers: number | 'auto';
  readonly listing: boolean;
  /** Whether there are web pages below /ui/. */
  readonly ui: boolean;
  readonly accessLog: 'off' | 'combined' | 'json';
  readonly accessRetentionMs: number;
  readonly accessMaxBytes: number;
  /** Null: only at start. */
  readonly scanIntervalMs: number | null;
  /** Larger uploads are refused. */
  readonly maxSignatureBytes: number;
  /** Uploads are refused when less than this is free on the tree's file system. */
  readonly minFreeBytes: number;
  /** The name of the log of audit events; null: the name that it began with. */
  readonly logOrigin: string | null;
  /** Absolute; a second place for the last checkpoint of the log. */
  readonly checkpointFile: string | null;
  /** Absolute; the file that names the witnesses of the log. */
  readonly witnessesFile: string | null;
  readonly witnessQuorum: number;
  /** Absolute; the file that names the logs of others that are witnessed here; null: none are. */
  readonly witnessLogsFile: string | null;
  /** The name of this witness; null: after that of the log. */
  readonly witnessName: string | null;
  readonly logLevel: 'debug' | 'info' | 'warn' | 'error';
  /** The PostgreSQL that several nodes share; null: everything is in the data directory. */
  readonly database: DatabaseSettings | null;
  readonly remote: RemoteSettings;
}

export interface GivenKey {
  readonly pem: string;
  /** The file, or the setting that holds it. */
  readonly place: string;
}

export interface DatabaseSettings {
  /** With its password. */
  readonly url: string;
  /** Connections of this node. */
  readonly poolSize: number;
  /** How long what was read is served while the database cannot be reached. */
  readonly staleMs: number;
  /** The PEM text of the key that signs the log of audit events, the same on every node; null when none is given. */
  readonly logKey: GivenKey | null;
  /** Likewise, of the key with which the nodes cosign the logs of others. */
  readonly witnessKey: GivenKey | null;
}

/** The server that commands talk to. Files are named here and read by readRemote() of compose/remote.ts. */
export interface RemoteSettings {
  /** Without a final slash, perhaps with user and password; null: the data directory on this machine, or its server. */
  readonly url: string | null;
  /** At most one of `token` and `tokenFile` is not null; both are null when the URL has a password. */
  readonly token: string | null;
  /** Absolute. */
  readonly tokenFile: string | null;
  /** Absolute. */
  readonly caFile: string | null;
  /** Where a job finds its OIDC token; null when it has none. */
  readonly job: JobSettings | null;
  /** The audience for which such a token is asked for. */
  readonly audience: string | null;
  /** Whether the environment names a proxy, by a variable that undici reads. */
  readonly hasProxies: boolean;
  /** What the user called these settings: a flag or a variable. */
  readonly called: { readonly tokenFile: string; readonly caFile: string };
  /** NODE_EXTRA_CA_CERTS as given: Node.js itself uses it only while no authority is named. */
  readonly nodeCaFile: string | null;
}

/** The variables of GitHub Actions, or the setting that a job of another provider has. */
export type JobSettings =
  | { readonly kind: 'github'; readonly url: string; readonly secret: string }
  | { readonly kind: 'text'; readonly name: string; readonly text: string }
  /** An absolute path. */
  | { readonly kind: 'file'; readonly path: string };

export interface Remote {
  /** May contain user, password and a path. */
  readonly url: string;
  readonly token: string | null;
  /** Certificates in PEM, trusted beside the built-in ones of Node.js; null: only the built-in ones. */
  readonly ca: string | null;
  readonly hasProxies: boolean;
}

export interface Setting {
  readonly name: string;
  /** As given, secrets masked. */
  readonly value: string;
  readonly source: 'flag' | 'environment' | 'file' | 'default';
}

export interface LoadedConfig {
  readonly config: Config;
  readonly settings: readonly Setting[];
}

/** Why a text is not a valid value of a setting. */
class Unwanted extends Error {}

/** The value that a text means. @throws Unwanted saying what is wanted */
type Parse<T> = (text: string) => T;

function listen(text: string): ListenAddress {
  const match = /^(?:(?<host>[A-Za-z0-9_.-]+|\[[0-9A-Fa-f:.%]+\]))?:(?<port>[0-9]{1,5})$/.exec(text);
  const port = Number(match?.groups?.port);
  const host = match?.groups?.host?.replace(/^\[|\]$/g, '') ?? null;
  if (match === null || port > 65_535 || (text.startsWith('[') && isIP(host ?? '') !== 6)) {
    throw new Unwanted('wanted [HOST]:PORT, like :8000, 127.0.0.1:8000 or [::1]:8000');
  }
  return { host, port };
}

function path(text: string): string {
  if (text === '') throw new Unwanted('wanted a path');
  return text;
}

function oneOf<const Word extends string>(...words: readonly Word[]): Parse<Word> {
  return (text) => {
    const word = words.find((known) => known === text);
    if (word !== undefined) return word;
    throw new Unwanted(`wanted ${words.slice(0, -1).join(', ')} or ${words.at(-1)}`);
  };
}

const onOrOff = oneOf('on', 'off');

function onOff(text: string): boolean {
  return onOrOff(text) === 'on';
}

/** Like onOff, and also the words that other programs use. */
function trueOrFalse(text: string): boolean {
  if (text === 'true' || text === 'on') return true;
  if (text === 'false' || text === 'off') return false;
  throw new Unwanted('wanted true or false');
}

function duration(text: string): number {
  const ms = durationMs(text);
  if (ms === null) throw new Unwanted('wanted a duration like 30s, 15m, 1h or 90d');
  return ms;
}

function durationOrOff(text: string): number | null {
  if (text === 'off') return null;
  const ms = durationMs(text);
  if (ms === null) throw new Unwanted('wanted off or a duration like 1h');
  return ms;
}

const HOUR_MS = 3_600_000;
const DAY_MS = 86_400_000;
/** A timer of Node.js that is set for more than 2^31 - 1 ms, 24.8 days, fires at once. */
const MOST_REFRESH_MS = 24 * DAY_MS;

/** Sources with commas between, and in front of them perhaps how often they are asked. */
function keyRefresh(text: string): KeyRefresh {
  const [first = '', ...rest] = text.split(',').map((part) => part.trim());
  const everyMs = durationMs(first);
  const named = everyMs === null ? [first, ...rest] : rest;
  const sources = named.map(parseKeySource);
  const often = everyMs ?? DAY_MS;
  const isGood = sources.length > 0 && sources.every((source) => source !== null);
  if (isGood && often >= HOUR_MS && often <= MOST_REFRESH_MS) return { everyMs: often, sources };
  throw new Unwanted(
    `wanted ${KEY_SOURCE_WANTED}; several with commas between, and in front of them perhaps how often, from 1h to 24d: 12h,wkd`,
  );
}

function size(text: string): number {
  const bytes = parseSizeBytes(text);
  if (bytes === null) throw new Unwanted('wanted a size like 512MiB or 4GiB');
  return bytes;
}

function signatureSize(text: string): number {
  const bytes = /^[1-9][0-9]{0,8}$/.test(text) ? Number(text) : (parseSizeBytes(text) ?? 0);
  if (bytes === 0 || bytes > MAX_SIGNATURE_BYTES) {
    throw new Unwanted(
      `wanted a number of bytes from 1 to ${MAX_SIGNATURE_BYTES}, which is all that clients read`,
    );
  }
  return bytes;
}

function prefix(text: string): string {
  const trimmed = text.replace(/\/+$/, '');
  if (trimmed === '') return '';
  if (!/^(?:\/[A-Za-z0-9_][A-Za-z0-9._~+-]*)+$/.test(trimmed)) {
    throw new Unwanted('wanted a path like /sigstore');
  }
  return trimmed;
}

function baseUrl(text: string): string {
  // URL() also accepts blanks and backslashes, which people and maskPassword read differently
  if (!/^https?:\/\/[^\s\\?#]+$/i.test(text) || !URL.canParse(text)) {
    throw new Unwanted('wanted a URL like https://signatures.example.com');
  }
  return text.replace(/\/+$/, '');
}

function quorum(text: string): number {
  if (!/^[0-9]{1,2}$/.test(text)) throw new Unwanted('wanted how many witnesses, from 0 to 99');
  return Number(text);
}

/** What the server sets for its sessions: node-postgres would prefer the URL. */
const SESSION_PARAMETERS = [
  'options',
  'statement_timeout',
  'lock_timeout',
  'idle_in_transaction_session_timeout',
  'query_timeout',
] as const;

function databaseUrl(text: string): string {
  const parsable = text.replace(/@\//, '@host/');
  if (!/^postgres(?:ql)?:\/\/[^\s\\]*$/.test(text) || !URL.canParse(parsable)) {
    throw new Unwanted('wanted a URL like postgres://lookaside@db.example.com/lookaside?sslmode=verify-full');
  }
  const { searchParams } = new URL(parsable);
  const parameter = SESSION_PARAMETERS.find((name) => searchParams.has(name));
  if (parameter === undefined) return text;
  throw new Unwanted(
    `${parameter} is in the URL, and lookaside sets the timeouts of its sessions itself; leave it out, and set other parameters with ALTER ROLE`,
  );
}

export const MOST_READERS = 64;

function readers(text: string): number | 'auto' {
  if (text === 'auto') return 'auto';
  const count = /^[0-9]{1,2}$/.test(text) ? Number(text) : 0;
  if (count < 1 || count > MOST_READERS) throw new Unwanted(`wanted auto or 1 to ${MOST_READERS}`);
  return count;
}

function poolSize(text: string): number {
  const count = /^[0-9]{1,3}$/.test(text) ? Number(text) : 0;
  if (count < 2 || count > 100) throw new Unwanted('wanted how many connections, from 2 to 100');
  return count;
}

function pem(text: string): string {
  if (!/^-----BEGIN [A-Z ]+-----\r?\n/.test(text)) throw new Unwanted('wanted a private key in PEM');
  return text;
}

/** A key name of C2SP signed-note, short enough for the cosignatures of witnesses. */
function logOrigin(text: string): string {
  if (!isKeyNameOfNote(text) || Buffer.byteLength(text) > 255) {
    throw new Unwanted(
      'wanted a name without blanks and plus signs, at most 255 bytes long, like signatures.example.com/log',
    );
  }
  return text;
}

/** As in the `docker` section of registries.d: a host, perhaps with a wildcard, port or path. */
const REGISTRY =
  /^(?:\*\.)?[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?(?::[0-9]{1,5})?(?:\/[a-z0-9]+(?:[._-]+[a-z0-9]+)*)*$/;

function registries(text: string): readonly string[] {
  const names = text.split(',').map((part) => part.trim());
  for (const name of names) {
    if (!REGISTRY.test(name)) {
      throw new Unwanted(
        `"${name}" is not a registry; wanted its name as it stands in front of images, like registry.example.com:5000, or a list of such`,
      );
    }
  }
  return names;
}

const REPOSITORY = /^[a-z0-9]+(?:[._-]+[a-z0-9]+)*(?:\/[a-z0-9]+(?:[._-]+[a-z0-9]+)*)*$/;

function repositories(text: string): readonly string[] {
  return text.split(',').map((part) => {
    const path = part.trim();
    if (REPOSITORY.test(path)) return path;
    throw new Unwanted(
      `"${path}" is not a repository; wanted its path without the registry, like openshift/release, or a list of such`,
    );
  });
}

function keyName(text: string): string {
  const name = text.replace(/\s/g, '').replace(/^0x/i, '').toUpperCase();
  if (/^(?:[0-9A-F]{16}|[0-9A-F]{40})$/.test(name)) return name;
  throw new Unwanted('wanted a fingerprint of 40 hex digits or a key ID of 16');
}

function remaps(text: string): readonly Remap[] {
  return text.split(',').map((part) => {
    const remap = parseRemap(part.trim());
    if (remap !== null) return remap;
    throw new Unwanted(`"${part.trim()}" is not a remap; ${REMAP_WANTED}; or a list of such`);
  });
}

function audiences(text: string): readonly string[] {
  const names = text.split(',').map((part) => part.trim());
  if (names.every((name) => /^[\x21-\x7e]{1,255}$/.test(name))) return names;
  throw new Unwanted(
    'wanted the audience that OIDC tokens are made for, like https://signatures.example.com, or a list of such',
  );
}

export const TOKEN_WANTED = 'wanted the token alone, as lookaside token create prints it';
export const TOKEN = /^[\x21-\x7e]+$/;

function token(text: string): string {
  if (!TOKEN.test(text)) throw new Unwanted(TOKEN_WANTED);
  return text;
}

function idToken(text: string): string {
  if (!TOKEN.test(text)) throw new Unwanted('wanted the OIDC token of a job alone');
  return text;
}

/** Networks, with the text that names them. */
class Networks extends BlockList {
  readonly text: string;

  constructor(text: string) {
    super();
    this.text = text;
  }
}

/** What another process was told of them. */
export const parseNetworks = networks;

function networks(text: string): Networks {
  const list = new Networks(text);
  for (const network of text.split(',').map((part) => part.trim())) {
    if (network !== '' && !addNetwork(list, network)) {
      throw new Unwanted(`"${network}" is not a network; wanted a list like 10.0.0.0/8,fd00::/8`);
    }
  }
  return list;
}

/** The row of a setting that always has a value. */
function always<T>(parse: Parse<T>, ordinary: string) {
  return { parse: (given: string | undefined) => parse(given ?? ordinary), default: ordinary } as const;
}

/** The row of a setting that may be absent. */
function perhaps<T>(parse: Parse<T>) {
  const parseIfGiven = (given: string | undefined) => (given === undefined ? undefined : parse(given));
  return { parse: parseIfGiven, default: undefined } as const;
}

const ORDINARY_DATA = './data';

// One row per setting: its name in the environment is LOOKASIDE_ and the row's in capitals.
const SETTINGS = {
  listen: always(listen, ':8000'),
  data: always(path, ORDINARY_DATA),
  root: perhaps(path),
  prefix: always(prefix, ''),
  public_url: perhaps(baseUrl),
  registry: perhaps(registries),
  remap: perhaps(remaps),
  release_repositories: perhaps(repositories),
  release_key: perhaps(keyName),
  accept_unsupported: always(oneOf('off', 'v6'), 'off'),
  require_grants: always(trueOrFalse, 'false'),
  oidc_audience: perhaps(audiences),
  oidc_login: perhaps(path),
  key_refresh: perhaps(keyRefresh),
  append_only: always(trueOrFalse, 'false'),
  tls_cert: perhaps(path),
  tls_key: perhaps(path),
  trusted_proxies: always(networks, ''),
  read: always(oneOf('anonymous', 'token'), 'anonymous'),
  readers: always(readers, '1'),
  listing: always(onOff, 'on'),
  ui: always(onOff, 'on'),
  access_log: always(oneOf('off', 'combined', 'json'), 'off'),
  access_retention: always(duration, '90d'),
  access_max: always(size, '4GiB'),
  scan_interval: always(durationOrOff, '1h'),
  max_signature_bytes: always(signatureSize, '131072'),
  min_free: always(size, '64MiB'),
  log_origin: perhaps(logOrigin),
  checkpoint_file: perhaps(path),
  witnesses: perhaps(path),
  witness_quorum: always(quorum, '0'),
  witness_logs: perhaps(path),
  witness_name: perhaps(logOrigin),
  log_level: always(oneOf('debug', 'info', 'warn', 'error'), 'info'),
  database: perhaps(databaseUrl),
  database_file: perhaps(path),
  database_pool: always(poolSize, '10'),
  stale: always(duration, '5m'),
  log_key: perhaps(pem),
  log_key_file: perhaps(path),
  witness_key: perhaps(pem),
  witness_key_file: perhaps(path),
  url: perhaps(baseUrl),
  token: perhaps(token),
  token_file: perhaps(path),
  id_token: perhaps(idToken),
  id_token_file: perhaps(path),
  ca: perhaps(path),
} as const;

/** Their values are never printed, not even in a refusal. */
const SECRETS: ReadonlySet<SettingName> = new Set(['token', 'id_token', 'log_key', 'witness_key']);

type SettingName = keyof typeof SETTINGS;
type Values = { [N in SettingName]: ReturnType<(typeof SETTINGS)[N]['parse']> };
type Source = Setting['source'];

/** `place`: the file that contains the setting. */
type Given = Map<SettingName, { readonly text: string; readonly source: Source; readonly place?: string }>;

const NAMES = Object.keys(SETTINGS) as SettingName[]; // keys of a literal: exactly these
const CONFIG_FILE_VARIABLE = 'LOOKASIDE_CONFIG';

type FlagName =
  | 'listen'
  | 'tls_cert'
  | 'tls_key'
  | 'registry'
  | 'data'
  | 'root'
  | 'url'
  | 'token_file'
  | 'ca'
  | 'database';

/** The data directory of the service unit and of the container image. */
export const SYSTEM_DATA = '/var/lib/lookaside';

/** Whether a server has ever used it, as far as the caller may see. */
export function isDataDirectory(dir: string): boolean {
  return existsSync(join(dir, 'state.db'));
}

/** The value of a YAML document. @throws whatever the parser throws when the text is not YAML */
export type ParseYaml = (text: string) => unknown;

/** The parser for the file that the environment names; null when it names none, because loading a parser takes time. */
export async function loadYamlParser(environment = process.env): Promise<ParseYaml | null> {
  if (environment[CONFIG_FILE_VARIABLE] === undefined) return null;
  return loadYaml();
}

/** The parser for files that a command is given. */
export async function loadYaml(): Promise<ParseYaml> {
  const { parse } = await import('yaml');
  return (text) => parse(text);
}

/** The same, with every scalar as it is written: `1.10` is the name of a tag. */
export async function loadTextYaml(): Promise<ParseYaml> {
  const { parse } = await import('yaml');
  return (text) => parse(text, { schema: 'failsafe' });
}

/** The parsers for files that name mirrors of registries. */
export async function loadMirrorParsers(): Promise<MirrorParsers> {
  const [parseYaml, { parse }] = await Promise.all([loadYaml(), import('smol-toml')]);
  return { parseYaml, parseToml: (text) => parse(text) };
}

export interface ConfigInput {
  /** From the command line; undefined = not given. */
  readonly flags: { readonly [N in FlagName]?: string };
  /** Settings that are as if nobody gave them, in flags, environment and file. */
  readonly without?: readonly SettingName[];
  /** The process' environment when left out. */
  readonly environment?: NodeJS.ProcessEnv;
  readonly workingFolder: string;
  /** Used when no data directory is named and the working folder has none, if it is one. Left out for commands that make one. */
  readonly systemData?: string;
  /** The result of loadYamlParser() for this environment. */
  readonly parseYaml: ParseYaml | null;
}

/** @throws LookasideError CONFIG_INVALID naming the setting, what it was and what is wanted */
export function loadConfig(input: ConfigInput): LoadedConfig {
  const given: Given = new Map();
  const { environment = process.env, parseYaml } = input;
  const file = environment[CONFIG_FILE_VARIABLE];
  if (file !== undefined) {
    if (parseYaml === null) throw new Error('a file of settings is named, and its parser was not loaded');
    addFile(given, resolve(input.workingFolder, file), parseYaml);
  }
  addEnvironment(given, environment);
  for (const [name, text] of Object.entries(input.flags)) {
    if (text !== undefined) given.set(name as SettingName, { text, source: 'flag' });
  }

  for (const name of input.without ?? []) given.delete(name);
  dropOverruledToken(given);
  dropOverruledServer(given);
  if (input.flags.database !== undefined) given.delete('database_file');

  addSystemData(given, input);

  const values = parseValues(given);
  const nodeCaFile = environment.NODE_EXTRA_CA_CERTS ?? null;
  const hasProxies = PROXY_VARIABLES.some((variable) => (environment[variable] ?? '') !== '');
  const called = (name: SettingName) => calledIn(given, name);
  const github = githubJob(environment);
  const config = toConfig(values, {
    workingFolder: input.workingFolder,
    nodeCaFile,
    hasProxies,
    github,
    called,
  });
  const inForce = NAMES.map((name) => toSetting(name, given.get(name), config));
  if (file !== undefined) inForce.push({ name: CONFIG_FILE_VARIABLE, value: file, source: 'environment' });
  return Object.freeze({ config: Object.freeze(config), settings: inForce });
}

/** Lets an administrator's command find the service's data in any working folder. */
function addSystemData(given: Given, { systemData, workingFolder }: ConfigInput): void {
  if (systemData === undefined || given.has('data') || existsSync(resolve(workingFolder, ORDINARY_DATA)))
    return;
  if (isDataDirectory(systemData)) given.set('data', { text: systemData, source: 'default' });
}

function addEnvironment(given: Given, environment: NodeJS.ProcessEnv): void {
  for (const [variable, text] of Object.entries(environment)) {
    if (!variable.startsWith('LOOKASIDE_') || variable === CONFIG_FILE_VARIABLE || text === undefined)
      continue;
    const name = settingNamed(variable.slice('LOOKASIDE_'.length).toLowerCase());
    if (name === null || variable !== variableOf(name)) throw unknown(variable, 'the environment');
    given.set(name, { text, source: 'environment' });
  }
}

function addFile(given: Given, path: string, parseYaml: ParseYaml): void {
  const content = readYaml(path, parseYaml);
  for (const [key, value] of Object.entries(content)) {
    const name = settingNamed(key.replace(/^lookaside_/, ''));
    if (name === null) throw unknown(key, path);
    if (given.has(name)) throw invalid(`${key} stands twice in ${path}; keep one`);
    given.set(name, { text: yamlText(key, value, path), source: 'file', place: path });
  }
}

function readYaml(path: string, parseYaml: ParseYaml): object {
  let content: unknown;
  try {
    content = parseYaml(readFileSync(path, 'utf8'));
  } catch (error) {
    throw new LookasideError(
      'CONFIG_INVALID',
      `${CONFIG_FILE_VARIABLE}: cannot read ${path}: ${whyUnreadable(error)}`,
      { cause: error },
    );
  }
  if (content === null || content === undefined) return {};
  if (typeof content !== 'object' || Array.isArray(content)) {
    throw invalid(`${CONFIG_FILE_VARIABLE}: ${path} holds no settings; wanted lines like "listen: ':8000'"`);
  }
  return content;
}

/** Why a file that a setting names could not be read, and what to do now. */
export function whyUnread(error: unknown): string {
  const code = systemCode(error) ?? (error instanceof Error ? error.message : String(error));
  if (code === 'ENOENT') return 'ENOENT, there is no such file; name one that is there';
  if (code === 'EACCES')
    return 'EACCES, this user may not read it; name another file, or change its owner or mode';
  if (code === 'EISDIR') return 'EISDIR, it is a folder; name a file';
  return code;
}

/** The parser's message has several lines and repeats the text that it did not understand. */
function whyUnreadable(error: unknown): string {
  const code = systemCode(error);
  if (code === 'ENOENT') return 'ENOENT, there is no such file';
  if (code !== null && /^E[A-Z]+$/.test(code)) return code;
  const [line = ''] = (error instanceof Error ? error.message : String(error)).split('\n');
  return `it is not YAML: ${line.replace(/:$/, '')}; wanted lines like "listen: ':8000'"`;
}

// YAML reads `on` as a word (1.2) but `true` as a boolean and 90 as a number; a list is written with commas elsewhere
function yamlText(key: string, value: unknown, path: string): string {
  if (value === true) return 'on';
  if (value === false) return 'off';
  if (typeof value === 'string') return value;
  if (typeof value === 'number') return String(value);
  if (Array.isArray(value) && value.every((part) => typeof part === 'string')) return value.join(',');
  throw invalid(`${key} in ${path} is neither text nor a list of texts`);
}

/** Two names of one thing: the nearer source wins. @throws CONFIG_INVALID when both come from one place */
function dropOverruledToken(given: Given): void {
  const [token, file] = [given.get('token'), given.get('token_file')];
  if (token === undefined || file === undefined) return;
  if (token.source === file.source) {
    throw invalid(
      `${calledIn(given, 'token')} and ${calledIn(given, 'token_file')} are both set; give one of them`,
    );
  }
  given.delete(
    NEAREST_FIRST.indexOf(token.source) < NEAREST_FIRST.indexOf(file.source) ? 'token_file' : 'token',
  );
}

/** A data directory on the command line means this machine. @throws CONFIG_INVALID when a server is named beside it */
function dropOverruledServer(given: Given): void {
  const named = (['data', 'root'] as const).find((name) => given.get(name)?.source === 'flag');
  if (named === undefined) return;
  if (given.get('url')?.source === 'flag') {
    throw invalid(
      `--server and --${named} are both given: one is a server elsewhere, the other a folder of this machine; give one of them`,
    );
  }
  given.delete('url');
  // a folder of this machine was named: not the database of the environment
  if (given.get('database')?.source !== 'flag') given.delete('database');
  given.delete('database_file');
}

const NEAREST_FIRST: readonly Source[] = ['flag', 'environment', 'file', 'default'];

function parseValues(given: Given): Values {
  const parsed = NAMES.map((name): [SettingName, unknown] => {
    const text = given.get(name)?.text;
    try {
      return [name, SETTINGS[name].parse(text)];
    } catch (error) {
      if (!(error instanceof Unwanted)) throw error;
      // a password may stand anywhere in what is no good URL of a database
      const isSecret = SECRETS.has(name) || (name === 'database' && /@|%|passw/i.test(text ?? ''));
      // as in a job whose secret is not set, or has another name
      const isEmpty = isSecret && text === '';
      const quotedText = isEmpty ? 'empty' : `"${isSecret ? MASK : hidePassword(text ?? '')}"`;
      throw invalid(`${calledIn(given, name)} is ${quotedText}: ${error.message}`);
    }
  });
  return Object.fromEntries(parsed) as Values; // each value went through its own row's parser
}

const FLAGS: { readonly [N in SettingName]?: string } = {
  listen: '--listen',
  tls_cert: '--tls-cert',
  tls_key: '--tls-key',
  registry: '--registry',
  data: '--data',
  root: '--root',
  url: '--server',
  token_file: '--token-file',
  ca: '--ca',
  database: '--to',
} satisfies Record<FlagName, string>;

/** The setting as the user wrote it: a flag, a variable or a line of the file. */
function calledIn(given: Given, name: SettingName): string {
  const { source, place } = given.get(name) ?? {};
  if (source === 'flag') return FLAGS[name] ?? variableOf(name);
  return source === 'file' ? `${name} in ${place}` : variableOf(name);
}

const PROXY_VARIABLES = ['http_proxy', 'HTTP_PROXY', 'https_proxy', 'HTTPS_PROXY'] as const;

interface Surroundings {
  readonly workingFolder: string;
  readonly nodeCaFile: string | null;
  readonly hasProxies: boolean;
  readonly github: JobSettings | null;
  readonly called: (name: SettingName) => string;
}

function toConfig(values: Values, surroundings: Surroundings): Config {
  const { workingFolder, called } = surroundings;
  if ((values.tls_cert === undefined) !== (values.tls_key === undefined)) {
    const [there, missing] =
      values.tls_key === undefined ? (['tls_cert', 'tls_key'] as const) : (['tls_key', 'tls_cert'] as const);
    throw invalid(`${called(there)} is set but ${called(missing)} is not; give both or neither`);
  }
  const data = resolve(workingFolder, values.data);
  const ownRoot = resolve(data, 'sigstore');
  const root = values.root === undefined ? ownRoot : resolve(workingFolder, values.root);
  if (`${data}/`.startsWith(root.replace(/\/?$/, '/'))) {
    throw invalid(
      `${called('root')} ${root} holds ${called('data')} ${data}, which would be served; move one out`,
    );
  }
  return {
    listen: values.listen,
    data,
    root,
    tree: root === ownRoot ? 'owned' : 'shared',
    prefix: values.prefix,
    publicUrl: values.public_url ?? null,
    registries: values.registry ?? [],
    remaps: values.remap ?? [],
    releases: {
      repositories: values.release_repositories ?? [],
      preferredKey: values.release_key ?? null,
    },
    acceptUnsupported: values.accept_unsupported,
    requireGrants: values.require_grants,
    oidcAudiences: values.oidc_audience ?? (values.public_url === undefined ? [] : [values.public_url]),
    oidcLoginFile: values.oidc_login === undefined ? null : resolve(workingFolder, values.oidc_login),
    keyRefresh: values.key_refresh ?? null,
    appendOnly: values.append_only,
    tls:
      values.tls_cert === undefined || values.tls_key === undefined
        ? null
        : {
            certFile: resolve(workingFolder, values.tls_cert),
            keyFile: resolve(workingFolder, values.tls_key),
          },
    trustedProxies: values.trusted_proxies,
    read: values.read,
    readers: toReaders(values, surroundings),
    listing: values.listing,
    ui: values.ui,
    accessLog: values.access_log,
    accessRetentionMs: values.access_retention,
    accessMaxBytes: values.access_max,
    scanIntervalMs: values.scan_interval,
    maxSignatureBytes: values.max_signature_bytes,
    minFreeBytes: values.min_free,
    logOrigin: values.log_origin ?? null,
    checkpointFile:
      values.checkpoint_file === undefined ? null : resolve(workingFolder, values.checkpoint_file),
    witnessesFile: values.witnesses === undefined ? null : resolve(workingFolder, values.witnesses),
    witnessQuorum: values.witness_quorum,
    witnessLogsFile: values.witness_logs === undefined ? null : resolve(workingFolder, values.witness_logs),
    witnessName: values.witness_name ?? null,
    logLevel: values.log_level,
    database: toDatabase(values, surroundings),
    remote: toRemote(values, surroundings),
  };
}

/** Several processes are refused where only one can be; `auto` is then one. */
function toReaders({ readers: wanted, database, database_file }: Values, { called }: Surroundings) {
  const isNode = database !== undefined || database_file !== undefined;
  if (!isNode || wanted === 1) return wanted;
  if (wanted === 'auto') return 1;
  throw invalid(
    `${called('readers')} is ${wanted}, and a node over PostgreSQL answers reads in one process: leave it out, or set it to auto, and start more nodes`,
  );
}

function toDatabase(values: Values, surroundings: Surroundings): DatabaseSettings | null {
  const { database, database_file } = values;
  const { workingFolder, called } = surroundings;
  refuseTwoKeys(values, surroundings);
  if (database !== undefined && database_file !== undefined)
    throw invalid(`${called('database')} and ${called('database_file')} are both set; give one of them`);
  const url =
    database_file === undefined
      ? database
      : secretIn(called('database_file'), resolve(workingFolder, database_file), databaseUrl);
  if (url === undefined) return null;
  if (values.root !== undefined) {
    throw invalid(
      `${called('root')} names a tree, and with ${called(database === undefined ? 'database_file' : 'database')} there is none: signatures lie in the database; leave one of them out`,
    );
  }
  return {
    url,
    poolSize: values.database_pool,
    staleMs: values.stale,
    logKey: keyOf('log_key', values, surroundings),
    witnessKey: keyOf('witness_key', values, surroundings),
  };
}

const GIVEN_KEYS = ['log_key', 'witness_key'] as const;

function refuseTwoKeys(values: Values, { called }: Surroundings): void {
  for (const name of GIVEN_KEYS) {
    if (values[name] === undefined || values[`${name}_file`] === undefined) continue;
    throw invalid(`${called(name)} and ${called(`${name}_file`)} are both set; give one of them`);
  }
}

function keyOf(
  name: (typeof GIVEN_KEYS)[number],
  values: Values,
  { workingFolder, called }: Surroundings,
): GivenKey | null {
  const file = values[`${name}_file`];
  const text = values[name];
  if (file === undefined) return text === undefined ? null : { pem: text, place: called(name) };
  const place = resolve(workingFolder, file);
  return { pem: secretIn(called(`${name}_file`), place, pem), place };
}

/** The one text of a file, without its end of line. @throws CONFIG_INVALID */
function secretIn<T>(setting: string, path: string, parse: Parse<T>): T {
  try {
    return parse(readFileSync(path, 'utf8').trim());
  } catch (error) {
    if (error instanceof Unwanted)
      throw invalid(`${setting}: what is in ${path} cannot be used: ${error.message}`);
    throw new LookasideError('CONFIG_INVALID', `${setting}: cannot read ${path}: ${whyUnread(error)}`, {
      cause: error,
    });
  }
}

function toRemote(values: Values, surroundings: Surroundings): RemoteSettings {
  const { workingFolder, nodeCaFile, hasProxies, called } = surroundings;
  const { token_file, ca } = values;
  const url = values.url ?? null;
  const token = values.token ?? null;
  if (url !== null && hasCredentials(url) && (token !== null || token_file !== undefined)) {
    const other = called(token === null ? 'token_file' : 'token');
    throw invalid(`${called('url')} holds a user or password, and ${other} is set too; give one of them`);
  }
  const absolute = (path: string | undefined) => (path === undefined ? null : resolve(workingFolder, path));
  if (values.id_token !== undefined && values.id_token_file !== undefined)
    throw invalid(`${called('id_token')} and ${called('id_token_file')} are both set; give one of them`);
  return {
    url,
    token,
    tokenFile: absolute(token_file),
    caFile: absolute(ca),
    job: jobOf(values, surroundings),
    audience: values.oidc_audience?.[0] ?? url,
    nodeCaFile,
    hasProxies,
    called: { tokenFile: called('token_file'), caFile: called('ca') },
  };
}

/** A setting says more than the surroundings of the job. */
function jobOf({ id_token, id_token_file }: Values, { workingFolder, github, called }: Surroundings) {
  if (id_token !== undefined) return { kind: 'text', name: called('id_token'), text: id_token } as const;
  if (id_token_file !== undefined)
    return { kind: 'file', path: resolve(workingFolder, id_token_file) } as const;
  return github;
}

/** What GitHub Actions gives to a job with the permission `id-token: write`. */
function githubJob({
  ACTIONS_ID_TOKEN_REQUEST_URL: url = '',
  ACTIONS_ID_TOKEN_REQUEST_TOKEN: secret = '',
}: NodeJS.ProcessEnv): JobSettings | null {
  return url === '' || secret === '' ? null : { kind: 'github', url, secret };
}

function hasCredentials(url: string): boolean {
  const { username, password } = new URL(url);
  return username !== '' || password !== '';
}

/** The size of sun_path in unix(7). */
const MAX_SOCKET_PATH_BYTES = 107;

/**
 * The socket on which the server that owns the data directory answers this machine's administrator: an absolute path, or a
 * relative one when only that is short enough for a socket.
 */
export function socketPathOf({ data }: Pick<Config, 'data'>): string {
  const path = join(data, 'lookaside.sock');
  return Buffer.byteLength(path) <= MAX_SOCKET_PATH_BYTES ? path : relative(process.cwd(), path);
}

/** As socketPathOf(), of the socket on which reader processes pass requests on. */
export function readersSocketPathOf({ data }: Pick<Config, 'data'>): string {
  const path = join(data, 'readers.sock');
  return Buffer.byteLength(path) <= MAX_SOCKET_PATH_BYTES ? path : relative(process.cwd(), path);
}

/** The database for people, without its password; null when there is none. */
export function shownDatabase({ database }: Pick<Config, 'database'>): string | null {
  return database === null ? null : maskPassword(database.url);
}

function toSetting(
  name: SettingName,
  given: { text: string; source: Source } | undefined,
  config: Config,
): Setting {
  const text = given?.text ?? (name === 'root' ? config.root : SETTINGS[name].default) ?? '';
  const value = SECRETS.has(name) && text !== '' ? MASK : maskPassword(text);
  return { name: variableOf(name), value, source: given?.source ?? 'default' };
}

/** Stands for a secret. */
export const MASK = '****';

function maskPassword(url: string): string {
  return url
    .replace(/^(https?:\/\/[^/:]*:)[^/]*@/i, `$1${MASK}@`)
    .replace(/^(postgres(?:ql)?:\/\/[^/:@]*:).*@/, `$1${MASK}@`)
    .replace(/^postgres(?:ql)?:\/\/.*/, (database) =>
      database.replace(/([?&](?:ssl)?password=)[^&]*/g, `$1${MASK}`),
    );
}

// a refused text may not be a URL: its password may contain a slash
function hidePassword(text: string): string {
  return text.replace(/(:\/\/[^/:]*:).*@/s, `$1${MASK}@`);
}

function settingNamed(name: string): SettingName | null {
  return NAMES.find((known) => known === name) ?? null;
}

function variableOf(name: SettingName): string {
  return `LOOKASIDE_${name.toUpperCase()}`;
}

function addNetwork(list: BlockList, network: string): boolean {
  const [address = '', bits, ...rest] = network.split('/');
  const family = isIP(address);
  if (family === 0 || rest.length > 0) return false;
  const longest = family === 4 ? 32 : 128;
  const length = bits === undefined ? longest : Number(bits);
  if (bits !== undefined && (!/^[0-9]{1,3}$/.test(bits) || length > longest)) return false;
  list.addSubnet(address, length, family === 4 ? 'ipv4' : 'ipv6');
  return true;
}

/** About the names of an address or a port: also Kubernetes gives such variables to pods, of each service. */
function hintFor(name: string): string {
  if (!/^(?:LOOKASIDE_)?(?:ADDRESS|BIND|HOST|PORT|SERVICE_(?:HOST|PORT))(?:_|$)/i.test(name)) return '';
  const listen = ': the address and the port to listen on are LOOKASIDE_LISTEN, like :8000';
  if (!/^LOOKASIDE_(?:PORT|SERVICE_)/.test(name)) return listen;
  return `${listen}, and in Kubernetes a service named lookaside puts such variables into pods that are without enableServiceLinks: false`;
}

function unknown(name: string, place: string): LookasideError {
  const known = NAMES.map(variableOf).join(', ');
  return invalid(`${name} in ${place} is not a setting${hintFor(name)}; known are ${known}`);
}

function invalid(message: string): LookasideError {
  return new LookasideError('CONFIG_INVALID', message);
}
