// lookaside list: prints a server's signatures as they arrive.
import { openAskedSignatures } from '../compose/asked-signatures.ts';
import type { Config } from '../config.ts';
import { csvLine } from '../domain/csv.ts';
import { LookasideError } from '../domain/errors.ts';
import { DEFAULT_SITE, parseImageName } from '../domain/image.ts';
import { parseReference } from '../domain/reference.ts';
import { ANY_SIGNATURE, type KeyNames, type RemoteFilter } from '../domain/remote.ts';
import type { StoredSignature } from '../domain/stored-signature.ts';
import { escapeJson, escapeTerminal } from '../domain/text.ts';
import { nameIn, parseNamed } from './image-name.ts';
import { EXIT, errorsWithin, print, QUESTION_PATIENCE_MS, tell, tellRetry } from './terminal.ts';

/** The filter that the options give, without the argument. */
export type ListFilter = Pick<RemoteFilter, 'fingerprint' | 'state' | 'uploader' | 'since' | 'tag'>;

export interface ListOptions {
  /** As it was written; null: all. */
  readonly what: string | null;
  readonly filter: ListFilter;
  readonly form: 'table' | 'json' | 'csv';
}

export async function runList(config: Config, { what, filter, form }: ListOptions): Promise<number> {
  const named = what === null ? null : parseNamed(what);
  const asked = { ...filter, tag: oneTag(named?.tag ?? null, filter.tag) };
  const [name = null, ...otherNames] = named?.names ?? [];
  const options = { onRetry: tellRetry, patienceMs: QUESTION_PATIENCE_MS };
  await using server = await openAskedSignatures(config, options);
  const seen = { unknown: 0 };
  const signatures = countUnknown(server.search({ ...filterOf(name), ...asked }), seen);
  const count = await PRINTERS[form](signatures, server);
  if (count === 0) tell(nothingFound(server.name, { name, otherNames, filter: asked }));
  else if (form === 'table' && count === seen.unknown) tell(ALL_UNKNOWN);
  return EXIT.done;
}

const ALL_UNKNOWN =
  'none of these is verified, because the key that made it is not registered; add the keys of your signers: lookaside key add FILE';

async function* countUnknown(signatures: Signatures, seen: { unknown: number }): Signatures {
  for await (const signature of signatures) {
    if (signature.state === 'unknown-key') seen.unknown += 1;
    yield signature;
  }
}

/** @throws LookasideError CONFIG_INVALID when the argument and the option name two */
function oneTag(named: string | null, wanted: string | null): string | null {
  if (named === null || wanted === null || named === wanted) return named ?? wanted;
  throw new LookasideError(
    'CONFIG_INVALID',
    `the tag is ${named} in what is listed, and ${wanted} in --tag; give one of them`,
  );
}

/** The filter that the name alone gives. */
export function filterOf(name: string | null): RemoteFilter {
  const image = name === null ? null : parseImageName(DEFAULT_SITE, name);
  if (image === null) return { ...ANY_SIGNATURE, repository: name };
  return {
    ...ANY_SIGNATURE,
    repository: image.path === '' ? null : image.path,
    digest: `${image.algorithm}:${image.hex}`,
  };
}

interface Asked {
  readonly name: string | null;
  readonly otherNames: readonly string[];
  readonly filter: ListFilter;
}

export function nothingFound(server: string, { name, otherNames, filter }: Asked): string {
  const { fingerprint, state, uploader, since, tag } = filter;
  const such = [
    name === null ? null : `of ${name}`,
    tag === null ? null : `with the tag ${tag}`,
    state === null ? null : `that are ${state}`,
    fingerprint === null ? null : `by the key ${fingerprint}`,
    uploader === null ? null : `uploaded by ${uploader}`,
    since === null ? null : `stored since ${since.toISOString()}`,
  ].filter((part) => part !== null);
  const nothing = [`${server} has no signatures`, ...such].join(' ');
  const [other] = otherNames;
  if (such.length === 0) return `${nothing}; send some with: lookaside push FOLDER`;
  if (other === undefined) return `${nothing}${howNamed(name, tag)}`;
  return `${nothing}; repositories are named without the registry's host: lookaside list ${other}${tag === null ? '' : `:${tag}`}`;
}

/** A folder of repositories, like `team`, looks like a repository, and nothing may be missing. */
function howNamed(name: string | null, tag: string | null): string {
  if (name === null || tag !== null || parseImageName(DEFAULT_SITE, name) !== null) return '';
  return '; a repository is named whole, like team/app: lookaside list lists all, and with --state withdrawn what was taken away';
}

type Signatures = AsyncIterable<StoredSignature>;

/** Each gives how many it has printed. */
const PRINTERS = { table: printTable, json: printJsonList, csv: printCsv } as const;

async function printJsonList(signatures: Signatures): Promise<number> {
  let count = 0;
  try {
    for await (const signature of signatures) {
      if (!process.stdout.writable) break;
      process.stdout.write(
        `${count === 0 ? '{"signatures":[' : ','}\n${escapeJson(JSON.stringify(signature))}`,
      );
      count += 1;
    }
  } catch (error) {
    // one whole JSON value in any case: the signatures that arrived, and the error that stopped the rest
    if (count > 0) print(`\n],${escapeJson(JSON.stringify(errorsWithin(error))).slice(1)}`);
    throw error;
  }
  print(count === 0 ? '{"signatures":[]}' : '\n]}');
  return count;
}

async function printTable(signatures: Signatures, keys: KeyNames): Promise<number> {
  const { isTTY, columns } = process.stdout;
  const layout = isTTY === true ? terminalLayout(columns) : PIPE_LAYOUT;
  let userIds: ReadonlyMap<string, string> | null = null;
  let count = 0;
  for await (const signature of signatures) {
    if (!process.stdout.writable) break; // who read our output has seen enough
    if (userIds === null) {
      userIds = await keys.userIds();
      print(formatLine(TITLES, layout));
    }
    print(formatLine(cellsOf(signature, userIds, layout), layout));
    count += 1;
  }
  return count;
}

async function printCsv(signatures: Signatures, keys: KeyNames): Promise<number> {
  process.stdout.write(csvLine(CSV_TITLES));
  let userIds: ReadonlyMap<string, string> | null = null;
  let count = 0;
  for await (const signature of signatures) {
    if (!process.stdout.writable) break;
    userIds ??= await keys.userIds();
    process.stdout.write(csvLine(csvCellsOf(signature, userIds)));
    count += 1;
  }
  return count;
}

export const CSV_TITLES = [
  'site',
  'image',
  'path',
  'number',
  'state',
  'reason',
  'form',
  'fingerprint',
  'signingFingerprint',
  'userId',
  'issuer',
  'manifestDigest',
  'dockerReference',
  'creator',
  'signedAt',
  'expiresAt',
  'storedAt',
  'sizeBytes',
  'signatureSha256',
  'uploader',
  'auditSeq',
  'remap',
  'warnings',
  'readers',
] as const;

const ACCEPTS: Readonly<Record<string, string>> = { true: 'accepts', false: 'refuses', null: 'unsure' };

/** In the order of CSV_TITLES, as the JSON has them; empty where that has null. */
export function csvCellsOf(
  signature: StoredSignature,
  userIds: ReadonlyMap<string, string>,
): readonly string[] {
  const { fingerprint, warnings, readers } = signature;
  const values = {
    ...signature,
    userId: fingerprint === null ? null : (userIds.get(fingerprint) ?? null),
    warnings: warnings.map(({ code }) => code).join(' '),
    readers: readers.map(({ reader, accepts }) => `${reader}=${ACCEPTS[String(accepts)]}`).join(' '),
  };
  return CSV_TITLES.map((title) => {
    const value = values[title];
    return value instanceof Date ? value.toISOString() : escapeTerminal(String(value ?? ''));
  });
}

export interface Layout {
  /** The width of each column. A terminal shows a longer cell cut; elsewhere it moves the following cells to the right. */
  readonly widths: readonly number[];
  readonly isCut: boolean;
}

const TITLES = ['IMAGE', 'N', 'STATE', 'SIGNED BY', 'TAG', 'STORED'] as const;
const [N_WIDTH, STATE_WIDTH, DAY_WIDTH] = [3, 'unknown-key'.length, 'YYYY-MM-DD'.length];
const NARROWEST = 72;

export const PIPE_LAYOUT: Layout = {
  widths: [100, N_WIDTH, STATE_WIDTH, 40, 40, 0],
  isCut: false,
};

/** The layout for that many columns, at least 72. */
export function terminalLayout(columns: number): Layout {
  const gaps = 2 * (TITLES.length - 1);
  const free = Math.max(columns, NARROWEST) - N_WIDTH - STATE_WIDTH - DAY_WIDTH - gaps;
  const image = Math.ceil(free * 0.5);
  const signer = Math.floor(free * 0.28);
  return {
    widths: [image, N_WIDTH, STATE_WIDTH, signer, free - image - signer, DAY_WIDTH],
    isCut: true,
  };
}

export function cellsOf(
  { site, image, number, state, fingerprint, dockerReference, storedAt, remap }: StoredSignature,
  userIds: ReadonlyMap<string, string>,
  { isCut }: Layout,
): readonly string[] {
  const signer = fingerprint === null ? '-' : (userIds.get(fingerprint) ?? fingerprint);
  const stored = storedAt.toISOString();
  if (!isCut) return [nameIn(site, image), String(number), state, signer, dockerReference ?? '-', stored];
  return [
    nameIn(site, shortImage(image)),
    String(number),
    state,
    signer,
    // if it was signed for another name, the tag alone would be misleading
    remap === null ? tagOf(dockerReference) : (dockerReference ?? '-'),
    stored.slice(0, DAY_WIDTH),
  ];
}

const SHORT_DIGITS = 12;

/** `team/app@0123456789ab`: the first digits of a digest are enough for people. */
function shortImage(name: string): string {
  return name.replace(/sha(?:256|384|512):([0-9a-f]+)$/, (_, hex: string) => hex.slice(0, SHORT_DIGITS));
}

function tagOf(dockerReference: string | null): string {
  if (dockerReference === null) return '-';
  const { tag = null, digest = null } = parseReference(dockerReference) ?? {};
  return tag ?? (digest === null ? dockerReference : shortImage(`@${digest}`));
}

export function formatLine(cells: readonly string[], { widths, isCut }: Layout): string {
  return cells
    .map((cell, i) => {
      const escaped = escapeTerminal(cell);
      const width = widths[i] ?? 0;
      const fitting = isCut && escaped.length > width ? cut(escaped, width, i === 0) : escaped;
      return fitting.padEnd(width);
    })
    .join('  ')
    .trimEnd();
}

/** The end of an image's name distinguishes it from other images, so the start is cut. */
function cut(text: string, width: number, isImage: boolean): string {
  return isImage ? `…${text.slice(text.length - width + 1)}` : `${text.slice(0, width - 1)}…`;
}
