// Signed notes of C2SP signed-note, their keys, and the cosignatures of C2SP tlog-cosignature: text that keys vouch for.
import { fromBase64, toBase64 } from './base64.ts';
import type { Sha256 } from './merkle.ts';

/** Signature types of C2SP signed-note that are read or written here. */
export const ED25519 = 0x01;
export const COSIGNATURE_V1 = 0x04;
export const ML_DSA_44_COSIGNATURE = 0x06;

/** A key with which notes are verified. Its text (a vkey) is `<name>+<hex of the ID>+<base64 of type and key>`. */
export interface NoteKey {
  readonly name: string;
  /** 8 hex digits. */
  readonly id: string;
  readonly type: number;
  readonly publicKey: Uint8Array;
}

export interface NoteSignature {
  readonly name: string;
  /** 8 hex digits. */
  readonly id: string;
  /** What follows the ID of the key. */
  readonly bytes: Uint8Array;
}

export interface SignedNote {
  /** With its last line feed, without the empty line behind it. */
  readonly text: string;
  readonly signatures: readonly NoteSignature[];
}

/** Whether the signature over the message is by that key; `type` says how it is to be read. */
export type VerifySignature = (
  type: number,
  publicKey: Uint8Array,
  message: Uint8Array,
  signature: Uint8Array,
) => boolean;

const encoder = new TextEncoder();
const KEY_BYTES: ReadonlyMap<number, number> = new Map([
  [ED25519, 32],
  [COSIGNATURE_V1, 32],
  [ML_DSA_44_COSIGNATURE, 1312],
]);
/** ML-DSA-44 signatures have 2,420 bytes; 16 signatures must be accepted, and 64 of that size are. */
const MAX_NOTE_BYTES = 256 * 1024;
const MAX_NOTE_SIGNATURES = 64;

export function isKeyNameOfNote(name: string): boolean {
  return name !== '' && !/[\s+\p{White_Space}\p{Cc}]/u.test(name);
}

export function noteKey(sha256: Sha256, name: string, type: number, publicKey: Uint8Array): NoteKey {
  const id = toHex(sha256(encoder.encode(`${name}\n`), Uint8Array.of(type), publicKey).subarray(0, 4));
  return { name, id, type, publicKey };
}

export function formatNoteKey({ name, id, type, publicKey }: NoteKey): string {
  return `${name}+${id}+${toBase64(Uint8Array.of(type, ...publicKey))}`;
}

/** Null when the text is no vkey, or one of a type that is not known here. */
export function parseNoteKey(sha256: Sha256, text: string): NoteKey | null {
  const [, name = '', id = '', encoded = ''] = /^([^+]+)\+([0-9a-f]{8})\+(.+)$/.exec(text) ?? [];
  const bytes = fromBase64(encoded);
  const [type = 0] = bytes ?? [];
  if (bytes === null || !isKeyNameOfNote(name) || bytes.length - 1 !== KEY_BYTES.get(type)) return null;
  const key = noteKey(sha256, name, type, bytes.subarray(1));
  return key.id === id ? key : null;
}

/** Null when the text is no signed note. */
export function parseNote(note: string): SignedNote | null {
  if (note.length > MAX_NOTE_BYTES || hasControls(note)) return null;
  const end = note.lastIndexOf('\n\n');
  if (end === -1 || !note.endsWith('\n')) return null;
  const lines = note.slice(end + 2, -1).split('\n');
  if (lines.length > MAX_NOTE_SIGNATURES) return null;
  const signatures = lines.map(parseSignatureLine);
  return signatures.every((signature) => signature !== null)
    ? { text: note.slice(0, end + 1), signatures }
    : null;
}

export function formatNote({ text, signatures }: SignedNote): string {
  return `${text}\n${signatures.map(formatSignatureLine).join('')}`;
}

/** Null for what is no line of a signature. `line` has no line feed. */
export function parseSignatureLine(line: string): NoteSignature | null {
  const [, name = '', encoded = ''] = /^\u2014 ([^ ]+) ([^ ]+)$/.exec(line) ?? [];
  const bytes = fromBase64(encoded);
  if (bytes === null || bytes.length < 5 || !isKeyNameOfNote(name)) return null;
  return { name, id: toHex(bytes.subarray(0, 4)), bytes: bytes.subarray(4) };
}

/** With its line feed. */
export function formatSignatureLine({ name, id, bytes }: NoteSignature): string {
  return `\u2014 ${name} ${toBase64(Uint8Array.of(...fromHex(id), ...bytes))}\n`;
}

/**
 * What the note says of a key: `good` with the time of a cosignature in seconds, `absent`, or `bad`. It is `bad` when a signature
 * names the key and is not by it: the note must then be refused.
 */
export type KeyVerdict =
  | { readonly verdict: 'good'; readonly atSeconds: number | null }
  | { readonly verdict: 'absent' }
  | { readonly verdict: 'bad' };

export function verdictOf(note: SignedNote, key: NoteKey, verify: VerifySignature): KeyVerdict {
  const named = note.signatures.filter(({ name, id }) => name === key.name && id === key.id);
  let verdict: KeyVerdict = { verdict: 'absent' };
  for (const { bytes } of named) {
    const signed = signedBy(note, key, bytes);
    if (signed === null || !verify(key.type, key.publicKey, signed.message, signed.signature))
      return { verdict: 'bad' };
    verdict = { verdict: 'good', atSeconds: signed.atSeconds };
  }
  return verdict;
}

interface Signed {
  readonly message: Uint8Array;
  readonly signature: Uint8Array;
  readonly atSeconds: number | null;
}

/** Null when the signature is none of its type. */
function signedBy({ text }: SignedNote, { name, type }: NoteKey, bytes: Uint8Array): Signed | null {
  if (type === ED25519) {
    return bytes.length === 64 ? { message: encoder.encode(text), signature: bytes, atSeconds: null } : null;
  }
  const signature = bytes.subarray(8);
  const atSeconds = readUint64(bytes);
  if (atSeconds === null) return null;
  if (type === COSIGNATURE_V1) {
    return signature.length === 64
      ? { message: cosignedMessage(text, atSeconds), signature, atSeconds }
      : null;
  }
  const message = signature.length === 2420 ? subtreeMessage(text, name, atSeconds) : null;
  return message === null ? null : { message, signature, atSeconds };
}

/** What a cosigner signs with Ed25519. */
export function cosignedMessage(text: string, atSeconds: number): Uint8Array {
  return encoder.encode(`cosignature/v1\ntime ${atSeconds}\n${text}`);
}

/** What a cosigner signs with ML-DSA-44, for the whole tree of a checkpoint; null when the text is no checkpoint. */
function subtreeMessage(text: string, cosigner: string, atSeconds: number): Uint8Array | null {
  const [origin = '', size = '', root = ''] = text.split('\n');
  const hash = fromBase64(root);
  const [cosignerBytes, originBytes] = [encoder.encode(cosigner), encoder.encode(origin)];
  if (hash?.length !== 32 || !/^[0-9]{1,15}$/.test(size)) return null;
  if (cosignerBytes.length > 255 || originBytes.length > 255) return null;
  return Uint8Array.of(
    ...encoder.encode('subtree/v1\n\0'),
    cosignerBytes.length,
    ...cosignerBytes,
    ...uint64(atSeconds),
    originBytes.length,
    ...originBytes,
    ...uint64(0),
    ...uint64(Number(size)),
    ...hash,
  );
}

/** The signature of a cosigner as it stands in its line: the time, then what was signed. */
export function timestamped(atSeconds: number, signature: Uint8Array): Uint8Array {
  return Uint8Array.of(...uint64(atSeconds), ...signature);
}

const HEX_OF_BYTE = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, '0'));

export function toHex(bytes: Uint8Array): string {
  let text = '';
  for (const byte of bytes) text += HEX_OF_BYTE[byte];
  return text;
}

function fromHex(hex: string): Uint8Array {
  return Uint8Array.from(hex.match(/../g) ?? [], (pair) => Number.parseInt(pair, 16));
}

function uint64(value: number): Uint8Array {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(value));
  return bytes;
}

function readUint64(bytes: Uint8Array): number | null {
  if (bytes.length < 8) return null;
  const value = new DataView(bytes.buffer, bytes.byteOffset, 8).getBigUint64(0);
  return value <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(value) : null;
}

function hasControls(text: string): boolean {
  for (let at = 0; at < text.length; at += 1) {
    const unit = text.charCodeAt(at);
    if (unit < 0x20 && unit !== 0x0a) return true;
  }
  return false;
}
