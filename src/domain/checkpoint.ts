// Checkpoints of a log (C2SP tlog-checkpoint), the names of its tiles and bundles (C2SP tlog-tiles), and proofs that are
// verified offline (C2SP tlog-proof).
import { fromBase64, toBase64 } from './base64.ts';
import { HASH_BYTES, TILE_WIDTH } from './merkle.ts';
import { parseNote, type SignedNote } from './signed-note.ts';

export interface TreeHead {
  /** How many leaves it has. */
  readonly size: number;
  readonly root: Uint8Array;
}

export interface Checkpoint extends TreeHead {
  readonly origin: string;
  readonly note: SignedNote;
}

export function checkpointText(origin: string, { size, root }: TreeHead): string {
  return `${origin}\n${size}\n${toBase64(root)}\n`;
}

/** Nobody's signature is verified. Null when it is no checkpoint. */
export function parseCheckpoint(text: string): Checkpoint | null {
  const note = parseNote(text);
  if (note === null) return null;
  const [origin = '', size = '', encoded = '', ...extensions] = note.text.slice(0, -1).split('\n');
  const root = fromBase64(encoded);
  if (origin === '' || !isDecimal(size) || root?.length !== HASH_BYTES || extensions.includes(''))
    return null;
  return { origin, size: Number(size), root, note };
}

/** A tile, or with `level` null a bundle of entries. */
export interface TilePlace {
  readonly level: number | null;
  readonly number: number;
  /** From 1 to 256. */
  readonly width: number;
}

/** Below `/log/tile/`: `0/x001/234.p/5`, `entries/000`. */
export function tilePath({ level, number, width }: TilePlace): string {
  const digits = String(number).padStart(Math.ceil(String(number).length / 3) * 3, '0');
  const parts = digits.match(/.../g) ?? [];
  const path = parts.map((part, position) => (position < parts.length - 1 ? `x${part}` : part)).join('/');
  return `${level ?? 'entries'}/${path}${width === TILE_WIDTH ? '' : `.p/${width}`}`;
}

/** Null for every other text than tilePath() writes. */
export function parseTilePath(path: string): TilePlace | null {
  const match = /^(entries|[0-9]{1,2})\/((?:x[0-9]{3}\/){0,4}[0-9]{3})(?:\.p\/([0-9]{1,3}))?$/.exec(path);
  if (match === null) return null;
  const [, level = '', number = '', width = String(TILE_WIDTH)] = match;
  const place = {
    level: level === 'entries' ? null : Number(level),
    number: Number(number.replace(/[x/]/g, '')),
    width: Number(width),
  };
  const isPossible = place.width > 0 && (place.level ?? 0) < 64;
  return isPossible && tilePath(place) === path ? place : null;
}

/** How many hashes the tile has in a tree of that size; 0 when it has none. */
export function widthIn(size: number, level: number, number: number): number {
  const hashes = Math.floor(size / TILE_WIDTH ** level);
  return Math.max(0, Math.min(TILE_WIDTH, hashes - number * TILE_WIDTH));
}

/** Entries behind each other, each with its length in two bytes before it. */
export function entryBundle(entries: readonly Uint8Array[]): Uint8Array {
  const bytes = new Uint8Array(entries.reduce((sum, { length }) => sum + 2 + length, 0));
  let at = 0;
  for (const entry of entries) {
    if (entry.length > 0xffff) throw new Error(`an entry of ${entry.length} bytes is too long for a bundle`);
    bytes.set([entry.length >> 8, entry.length & 0xff], at);
    bytes.set(entry, at + 2);
    at += 2 + entry.length;
  }
  return bytes;
}

/** Null when the bytes are no bundle. */
export function parseEntryBundle(bytes: Uint8Array): readonly Uint8Array[] | null {
  const entries: Uint8Array[] = [];
  let at = 0;
  while (at < bytes.length) {
    const [high = 0, low] = bytes.subarray(at, at + 2);
    if (low === undefined) return null;
    const end = at + 2 + high * 256 + low;
    if (end > bytes.length) return null;
    entries.push(bytes.subarray(at + 2, end));
    at = end;
  }
  return entries;
}

export interface LogProof {
  /** The number of the entry, from 0. */
  readonly index: number;
  /** The entry itself. */
  readonly entry: Uint8Array;
  readonly hashes: readonly Uint8Array[];
  /** As the log has published it. */
  readonly checkpoint: string;
}

const PROOF_HEADER = 'c2sp.org/tlog-proof@v1';

export function formatProof({ index, entry, hashes, checkpoint }: LogProof): string {
  const lines = [PROOF_HEADER, `extra ${toBase64(entry)}`, `index ${index}`, ...hashes.map(toBase64)];
  return `${lines.join('\n')}\n\n${checkpoint}`;
}

/** Null when it is no proof with the entry as its extra data. Nothing is verified. */
export function parseProof(text: string): LogProof | null {
  const end = text.indexOf('\n\n');
  if (end === -1) return null;
  const [header, extra = '', index = '', ...lines] = text.slice(0, end).split('\n');
  const entry = extra.startsWith('extra ') ? fromBase64(extra.slice(6)) : null;
  const hashes = lines.map(fromBase64);
  if (header !== PROOF_HEADER || entry === null || !index.startsWith('index ') || !isDecimal(index.slice(6)))
    return null;
  // a tree of 2^63 leaves has a height of 63
  if (hashes.length > 63 || !hashes.every((hash) => hash?.length === HASH_BYTES)) return null;
  return {
    index: Number(index.slice(6)),
    entry,
    hashes: hashes.filter((hash) => hash !== null),
    checkpoint: text.slice(end + 2),
  };
}

export function isDecimal(text: string): boolean {
  return /^(?:0|[1-9][0-9]{0,15})$/.test(text) && Number.isSafeInteger(Number(text));
}
