// lookaside key add, list, show, remove.
import type { Config } from '../config.ts';
import type { KeyAdministration } from '../domain/administration.ts';
import { LookasideError } from '../domain/errors.ts';
import type {
  KeyPart,
  KeyPartUse,
  KeyResult,
  KeyRevocation,
  KeyWarning,
  PartSignatures,
  RemovedKey,
  ShownKey,
  ShownPart,
} from '../domain/key.ts';
import { daysUntil, nextEnd } from '../domain/key-expiry.ts';
import { MAX_CERTIFICATES_BYTES } from '../domain/limits.ts';
import { escapeTerminal } from '../domain/text.ts';
import { administer } from './administer.ts';
import { readInput } from './input.ts';
import { EXIT, formatTable, print, printJson, tell } from './terminal.ts';

/** One certificate of one file. */
export interface FileResult {
  /** As it was named; `-` is standard input. */
  readonly file: string;
  readonly result: KeyResult;
}

export interface KeyAddOptions {
  /** `-` is standard input. */
  readonly files: readonly string[];
  readonly json: boolean;
}

/** EXIT.failed when any certificate was refused; the others are added all the same. */
export async function runKeyAdd(config: Config, { files, json }: KeyAddOptions): Promise<number> {
  const contents: { readonly file: string; readonly bytes: Uint8Array }[] = [];
  for (const file of files) contents.push({ file, bytes: await readInput(file, KEYS) });
  const results = await administer(config, ({ keys }) => addEach(contents, keys.add));
  if (json) printJson({ results: results.map(({ file, result }) => ({ file, ...result })) });
  else print(formatResults(results));
  return results.some(({ result }) => result.result === 'refused') ? EXIT.failed : EXIT.done;
}

const KEYS = {
  maxBytes: MAX_CERTIFICATES_BYTES,
  remedy: 'name a file of public keys, which this writes: gpg --export FINGERPRINT > FILE',
};

async function addEach(
  contents: readonly { readonly file: string; readonly bytes: Uint8Array }[],
  add: (bytes: Uint8Array) => Promise<readonly KeyResult[]>,
): Promise<readonly FileResult[]> {
  const results: FileResult[] = [];
  for (const { file, bytes } of contents) {
    results.push(...(await addOne(bytes, add)).map((result) => ({ file, result })));
  }
  return results;
}

// a file without a certificate must not stop the next one
async function addOne(
  bytes: Uint8Array,
  add: (bytes: Uint8Array) => Promise<readonly KeyResult[]>,
): Promise<readonly KeyResult[]> {
  try {
    checkSize(bytes);
    return await add(bytes);
  } catch (error) {
    if (!(error instanceof LookasideError) || !ABOUT_THE_FILE.has(error.code)) throw error;
    return [{ result: 'refused', fingerprint: null, code: error.code, message: error.message }];
  }
}

function checkSize({ length }: Uint8Array): void {
  if (length <= MAX_CERTIFICATES_BYTES) return;
  const message = `the file has more than ${MAX_CERTIFICATES_BYTES} bytes, which is all that is taken at one time; export fewer keys into it`;
  throw new LookasideError('TOO_LARGE', message);
}

const ABOUT_THE_FILE: ReadonlySet<string> = new Set(['REQUEST_INVALID', 'TOO_LARGE']);

export interface KeyListOptions {
  /** Only keys that expire within that time; null: all. */
  readonly expiringMs: number | null;
  readonly json: boolean;
}

export async function runKeyList(config: Config, { expiringMs, json }: KeyListOptions): Promise<number> {
  const keys = await administer(config, (administration) => administration.keys.list(expiringMs));
  if (json) printJson({ keys });
  else print(expiringMs === null ? formatKeys(keys) : formatExpiring(keys, new Date()));
  return EXIT.done;
}

export interface KeyShowOptions {
  /** Fingerprint or key ID. */
  readonly name: string;
  readonly json: boolean;
}

export async function runKeyShow(config: Config, { name, json }: KeyShowOptions): Promise<number> {
  const { key, signatures } = await administer(config, async ({ keys }) => ({
    key: await keys.show(name),
    signatures: await countsOf(keys, name),
  }));
  if (json) printJson({ ...key, signatures });
  else
    print(
      [
        formatKey(key, { ...key, signatures }),
        ...key.warnings.map(formatWarning),
        escapeLines(key.armored).trimEnd(),
      ].join('\n\n'),
    );
  return EXIT.done;
}

/** Null when they cannot be counted now: what is known of the key is shown all the same. */
async function countsOf(
  keys: Pick<KeyAdministration, 'signatures'>,
  name: string,
): Promise<readonly PartSignatures[] | null> {
  try {
    return await keys.signatures(name);
  } catch (error) {
    if (!(error instanceof LookasideError)) throw error;
    tell(`the signatures by the key could not be counted: ${error.message}`);
    return null;
  }
}

export async function runKeyRemove(config: Config, { name, json }: KeyShowOptions): Promise<number> {
  const removed = await administer(config, ({ keys }) => keys.remove(name));
  if (json) printJson(removed);
  else print(formatRemoved(removed));
  return EXIT.done;
}

/** Describes the removed key, and what the removal means for its signatures. */
export function formatRemoved({ fingerprint, userIds, signatures }: RemovedKey): string {
  const [who] = userIds;
  const key = who === undefined ? fingerprint : `${fingerprint} (${who})`;
  return [
    `The key ${key} is removed. Uploads that are signed by it are refused from now on.`,
    `${whatBecomes(signatures)} To take it back, add the key again with: lookaside key add FILE`,
  ]
    .map(escapeTerminal)
    .join('\n');
}

function whatBecomes(signatures: number | null): string {
  switch (signatures) {
    case null:
      return 'The number of stored signatures that it verified is not known while index.db is rebuilt. They are still served, and are shown as unknown-key.';
    case 0:
      return 'No stored signature verified by it.';
    case 1:
      return '1 stored signature verified by it; it goes on being served, and is shown as unknown-key.';
    default:
      return `${signatures} stored signatures verified by it; they go on being served, and are shown as unknown-key.`;
  }
}

/** The armour may come from a server that is not to be trusted with this terminal. */
function escapeLines(text: string): string {
  return text.split('\n').map(escapeTerminal).join('\n');
}

function formatWarning({ code, message }: KeyWarning): string {
  return escapeTerminal(`warning: ${code}: ${message}`);
}

/** A table; below it why each refused key was refused, and warnings about the accepted ones. */
export function formatResults(results: readonly FileResult[]): string {
  const rows = results.map(({ file, result }) => [
    result.result,
    result.fingerprint ?? '-',
    result.result === 'refused' ? result.code : result.state,
    file,
    result.result === 'refused' ? '' : (result.userIds[0] ?? ''),
  ]);
  const remarks = results.flatMap(({ file, result }) =>
    result.result === 'refused'
      ? [`${file}: ${result.message}`]
      : result.warnings.map(({ code, message }) => `${file}: warning: ${code}: ${message}`),
  );
  const table = formatTable([['RESULT', 'FINGERPRINT', 'STATE', 'FILE', 'USER ID'], ...rows]);
  return [table, ...new Set(remarks.map(escapeTerminal))].join('\n');
}

export function formatKeys(keys: readonly ShownKey[]): string {
  if (keys.length === 0) return 'No keys yet; add one with: lookaside key add FILE';
  const rows = keys.map(({ fingerprint, algorithm, state, retiredAt, expiresAt, userIds }) => [
    fingerprint,
    algorithm,
    retiredAt === null ? state : `${state}, retired`,
    day(expiresAt),
    userIds[0] ?? '',
  ]);
  return formatTable([['FINGERPRINT', 'ALGORITHM', 'STATE', 'EXPIRES', 'USER ID'], ...rows]);
}

/** Soonest first, with the part of the key that ends. */
export function formatExpiring(keys: readonly ShownKey[], now: Date): string {
  const ending = keys
    .flatMap((key) => {
      const end = nextEnd(key, now);
      return end === null ? [] : [{ key, end }];
    })
    .sort((one, other) => one.end.at.getTime() - other.end.at.getTime());
  if (ending.length === 0) return 'No key expires within that time.';
  const rows = ending.map(({ key: { fingerprint, userIds }, end }) => [
    fingerprint,
    day(end.at),
    String(daysUntil(end.at, now)),
    end.isSubkey ? `subkey ${end.fingerprint.slice(-16)}` : 'key',
    userIds[0] ?? '',
  ]);
  const table = formatTable([['FINGERPRINT', 'EXPIRES', 'DAYS', 'WHAT', 'USER ID'], ...rows]);
  return `${table}\nFrom that day gpg-based clients refuse what they signed. Whoever has the key can extend it: gpg --quick-set-expire FINGERPRINT 1y, and for its subkeys the same with '*' behind it; then: lookaside key add FILE`;
}

/** What `key show` knows beside what lists have. */
export interface KeyNotes {
  readonly addedBy: string | null;
  readonly parts: readonly KeyPartUse[];
  /** Null: they could not be counted. */
  readonly signatures: readonly PartSignatures[] | null;
}

const NO_NOTES: KeyNotes = { addedBy: null, parts: [], signatures: null };

export function formatKey(key: ShownKey, notes: KeyNotes = NO_NOTES): string {
  const facts = formatTable([
    ['fingerprint', key.fingerprint],
    ['algorithm', key.algorithm],
    ['state', key.state],
    ['signs', key.canSign ? 'yes' : 'by subkeys alone'],
    ['usage', usesText(key.fingerprint, notes)],
    ['signatures', signaturesText(key.fingerprint, notes)],
    ['created', day(key.createdAt)],
    ['expires', day(key.expiresAt)],
    ['revoked', revokedText(key, notes)],
    ...(key.revocation === null ? [] : [['revoked by', revocationText(key.revocation)]]),
    ['retired', key.retiredAt?.toISOString() ?? '-'],
    ['added', `${key.addedAt.toISOString()}${notes.addedBy === null ? '' : ` by ${notes.addedBy}`}`],
    ['changed', key.changedAt.toISOString()],
    ...key.userIds.map((userId) => ['user ID', userId]),
  ]);
  return key.subkeys.length === 0 ? facts : `${facts}\n\n${formatSubkeys(key.subkeys, notes)}`;
}

function revocationText({ at, by, reason, withdraws, isInCertificate }: KeyRevocation): string {
  const what = withdraws ? '; what it signed is withdrawn' : '';
  const revocationRemark = isInCertificate
    ? ''
    : '; its certificate does not say so, and is not given to clients';
  return `${by} at ${at.toISOString()}: ${reason}${what}${revocationRemark}`;
}

function usesText(fingerprint: string, { parts }: KeyNotes): string {
  const uses = parts.find((part) => part.fingerprint === fingerprint)?.uses ?? [];
  return uses.length === 0 ? '-' : uses.join(', ');
}

function signaturesText(fingerprint: string, { signatures }: KeyNotes): string {
  if (signatures === null) return '-';
  return String(signatures.find((part) => part.fingerprint === fingerprint)?.signatures ?? 0);
}

function revokedText({ fingerprint, revokedAt }: KeyPart, { parts }: KeyNotes): string {
  const reason = parts.find((part) => part.fingerprint === fingerprint)?.revocationReason ?? null;
  return reason === null ? day(revokedAt) : `${day(revokedAt)} (${reason})`;
}

function formatSubkeys(subkeys: readonly ShownPart[], notes: KeyNotes): string {
  const rows = subkeys.map((subkey) => [
    subkey.fingerprint,
    subkey.algorithm,
    subkey.state,
    subkey.canSign ? 'yes' : 'no',
    day(subkey.createdAt),
    day(subkey.expiresAt),
    revokedText(subkey, notes),
    signaturesText(subkey.fingerprint, notes),
  ]);
  const titles = ['SUBKEY', 'ALGORITHM', 'STATE', 'SIGNS', 'CREATED', 'EXPIRES', 'REVOKED', 'SIGNATURES'];
  return formatTable([titles, ...rows]);
}

function day(at: Date | null): string {
  return at === null ? '-' : at.toISOString().slice(0, 10);
}
