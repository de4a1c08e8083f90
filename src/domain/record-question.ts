// Questions to the records as text: in URLs, in cursors, and in the audit event that says who asked.
import { AUDIT_ACTIONS } from './audit.ts';
import { durationMs } from './duration.ts';
import { LookasideError } from './errors.ts';
import { DEFAULT_SITE, isNamespaceFolder, parseImageName } from './image.ts';
import { isKeyName, parseKeyName } from './key.ts';
import { parseNetwork } from './network.ts';
import {
  ANY_RECORD,
  type AskedImage,
  type RecordFilter,
  type RecordName,
  type RecordQuestion,
} from './records.ts';
import { quoted } from './text.ts';

/** Names of the filters of each record, as in URLs. */
export const FILTERS = {
  audit: [
    'since',
    'until',
    'site',
    'repository',
    'image',
    'signature',
    'fingerprint',
    'actor',
    'address',
    'action',
    'result',
  ],
  access: [
    'since',
    'until',
    'site',
    'repository',
    'image',
    'signature',
    'fingerprint',
    'actor',
    'address',
    'agent',
    'status',
  ],
} as const satisfies Readonly<Record<RecordName, readonly (keyof RecordFilter)[]>>;

export type FilterName = (typeof FILTERS)[RecordName][number];

const TIME_WANTED = 'a time like 2026-11-22T10:00:00Z, a day, or how long ago: 7d, 12h, 30m';

/** What each filter takes, behind the word `wanted`. */
const WANTED: Readonly<Record<FilterName, string>> = {
  since: TIME_WANTED,
  until: TIME_WANTED,
  site: "a site's name",
  repository: "a repository without the registry's host, or a folder of them, like team/app or team",
  image: 'an image like team/app@sha256:<64 lower-case hex digits>, or the digest alone',
  signature: "the signature's SHA-256: 64 hex digits",
  fingerprint:
    'the fingerprint of a primary key: 40 hex digits, or 64 of a version 6 key; or the key ID of 16 of a registered key',
  actor:
    "a token's name, administrator or server; or signer, issuer and subject of an OIDC token, with blanks between",
  address: 'an address or a network, like 192.0.2.7, 192.0.2.0/24 or 2001:db8::/32',
  action: AUDIT_ACTIONS.join(', '),
  result: 'a result like created, or the code of a refusal like KEY_UNKNOWN',
  agent: 'a part of a User-Agent',
  status: 'a status of HTTP, like 200',
};

/** The value, or null when the text is none. `now` is for times that say how long ago. */
const PARSERS: { readonly [Name in FilterName]: (text: string, now: Date) => RecordFilter[Name] } = {
  since: parseTime,
  until: parseTime,
  site: parseWord,
  repository: (text) => (isNamespaceFolder(text) ? text : null),
  image: parseAskedImage,
  signature: (text) => (/^[0-9a-fA-F]{64}$/.test(text) ? text.toLowerCase() : null),
  fingerprint: (text) => {
    if (isKeyName(text)) return parseKeyName(text);
    const written = text.replaceAll(' ', '').toUpperCase();
    return /^[0-9A-F]{64}$/.test(written) ? written : null;
  },
  actor: parseActor,
  address: (text) => (parseNetwork(text) === null && text !== 'local' ? null : text),
  action: (text) => AUDIT_ACTIONS.find((action) => action === text) ?? null,
  result: (text) => (/^[A-Za-z_-]{1,64}$/.test(text) ? text : null),
  agent: (text) => (text === '' || text.length > 256 ? null : text),
  status: (text) => (/^[1-5][0-9]{2}$/.test(text) ? Number(text) : null),
};

export type FilterResult =
  | { readonly filter: RecordFilter }
  | { readonly wrong: string; readonly wanted: string };

/** The filter that these texts say, or the name of the first that is wrong: also `until` when it is before `since`. Texts that are undefined are left out. */
export function parseFilter(
  texts: Readonly<Partial<Record<FilterName, string | undefined>>>,
  now: Date,
): FilterResult {
  const filter: Partial<Record<FilterName, unknown>> = {};
  for (const [name, text] of Object.entries(texts) as [FilterName, string | undefined][]) {
    if (text === undefined) continue;
    const value = PARSERS[name](text, now);
    if (value === null) return { wrong: name, wanted: WANTED[name] };
    filter[name] = value;
  }
  const { since, until } = filter as Partial<RecordFilter>;
  // such a question finds nothing, which would read as if nothing had happened
  if (since != null && until != null && since > until)
    return { wrong: 'until', wanted: 'a time that is not before since' };
  return { filter: { ...ANY_RECORD, ...filter } as RecordFilter }; // each value has the type of its parser
}

/** The same for a request of a person or program. @throws LookasideError REQUEST_INVALID saying what was found and what is wanted */
export function askedFilter(
  texts: Readonly<Partial<Record<FilterName, string | undefined>>>,
  now: Date,
): RecordFilter {
  const parsed = parseFilter(texts, now);
  if ('filter' in parsed) return parsed.filter;
  const given = texts[parsed.wrong as FilterName] ?? '';
  throw new LookasideError(
    'REQUEST_INVALID',
    `${parsed.wrong} is ${quoted(given)}, expected ${parsed.wanted}`,
  );
}

/** The filter as texts that parseFilter() reads again; what filters nothing is left out. */
export function filterTexts(filter: RecordFilter): Readonly<Partial<Record<FilterName, string>>> {
  const texts: Partial<Record<FilterName, string>> = {};
  for (const name of Object.keys(WANTED) as FilterName[]) {
    const value = filter[name];
    if (value === null) continue;
    texts[name] = value instanceof Date ? value.toISOString() : textOf(value);
  }
  return texts;
}

/** One line that says all of a question. */
export function questionText({ record, filter }: RecordQuestion): string {
  const parts = Object.entries(filterTexts(filter)).map(([name, text]) => `${name}=${text}`);
  return [record, ...parts].join(' ');
}

function textOf(value: string | number | AskedImage): string {
  if (typeof value !== 'object') return String(value);
  const { digest, place } = value;
  const name = `${digest.algorithm}:${digest.hex}`;
  if (place === null) return name;
  if (place.layout === 'repository') return `${place.path}@${name}`;
  return `${place.path}/${name}`;
}

/** The digest alone means that image wherever it is. */
function parseAskedImage(text: string): AskedImage | null {
  const image = parseImageName(DEFAULT_SITE, text.replace(/(^|[@/])(sha(?:256|384|512))=/, '$1$2:'));
  if (image === null) return null;
  const { layout, path, algorithm, hex } = image;
  return { digest: { algorithm, hex }, place: path === '' ? null : { layout, path } };
}

const TIME = /^\d{4}-\d{2}-\d{2}(?:T\d{2}:\d{2}(?::\d{2}(?:\.\d{1,3})?)?(?:Z|[+-]\d{2}:\d{2}))?$/;

/** A day is its beginning, UTC. */
export function parseTime(text: string, now: Date): Date | null {
  const ago = durationMs(text);
  if (ago !== null) return new Date(now.getTime() - ago);
  const at = new Date(TIME.test(text) ? text : Number.NaN);
  return Number.isNaN(at.getTime()) ? null : at;
}

/** The actor of an OIDC subject is the signer, the issuer and the subject; domain/oidc.ts bounds each. */
function parseActor(text: string): string | null {
  return /^[^\p{Cc}]{1,600}$/u.test(text) ? text : null;
}

function parseWord(text: string): string | null {
  return /^[^\p{Cc}]{1,128}$/u.test(text) ? text : null;
}
