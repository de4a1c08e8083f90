// The framing of OpenPGP packets (RFC 9580, section 4): our own walk, which decides structure and bounds everything
// before any other code looks inside.
import { unpack } from './unpack.ts';

/** Packet types (RFC 9580, section 5). */
export const TAG = {
  signature: 2,
  onePass: 4,
  secretKey: 5,
  publicKey: 6,
  secretSubkey: 7,
  compressed: 8,
  literal: 11,
  userId: 13,
  publicSubkey: 14,
  userAttribute: 17,
} as const;

/** A compression method that is too slow to unpack when we only look at a file. */
export const BZIP2 = 3;

/**
 * The most packets in a row, and the most parts of one packet. A signed message has three packets, and 4 MiB have 8192
 * parts of 512 bytes, the least that RFC 9580 section 4.2.1.4 allows for the first. The limit stops millions of empty ones.
 */
const MAX_PIECES = 10_000;

export interface Packet {
  readonly tag: number;
  readonly body: Uint8Array;
  /** How its length is given: as a `whole`, in `parts`, or not at all: the packet goes to the `end` of the data. */
  readonly length: 'whole' | 'parts' | 'end';
}

/**
 * Whether the bytes are a whole signature file, as far as their framing tells: every packet ends where its length
 * says, compressed data unpacks to its end, and a signature packet is there. Tells a finished file from one that is
 * still being written; says nothing about validity.
 */
export function isWholeSignature(bytes: Uint8Array): boolean {
  if (bytes[0] !== 0x00) return isWholeMessage(bytes);
  const lineEnd = bytes.indexOf(0x0a);
  if (lineEnd === -1) return false;
  const data = bytes.subarray(lineEnd + 1);
  switch (Buffer.from(bytes.subarray(1, lineEnd)).toString('latin1')) {
    case 'simple-signing':
      return isWholeMessage(data) || isWholeCleartext(data);
    case 'sigstore-json':
      return isWholeJson(data);
    default:
      return false;
  }
}

/** The packets in a row, or null when one of them does not end where it says, or there are more than 10,000. */
export function walkPackets(bytes: Uint8Array): readonly Packet[] | null {
  const packets: Packet[] = [];
  let position = 0;
  while (position < bytes.length) {
    const packet = readPacket(bytes, position);
    if (packet === null || packets.length === MAX_PIECES) return null;
    const { tag, body, length, end } = packet;
    packets.push({ tag, body, length });
    position = end;
  }
  return packets;
}

function isWholeMessage(bytes: Uint8Array): boolean {
  const packets = walkPackets(bytes);
  const first = packets?.[0];
  if (packets === null || first === undefined) return false;
  if (first.tag !== TAG.compressed) return packets.some(({ tag }) => tag === TAG.signature);
  const unpacked = first.body[0] === BZIP2 ? 'unknown' : unpack(first.body);
  if (unpacked === 'cut') return false;
  // when bytes follow the compressed data, or it is not unpacked here, the outer framing alone decides
  if (typeof unpacked === 'string') return true;
  return walkPackets(unpacked.content)?.some(({ tag }) => tag === TAG.signature) ?? false;
}

/** The packet that begins at `start`, and where it ends; null when no packet begins there, or it is not whole. */
export function readPacket(bytes: Uint8Array, start: number): PlacedPacket | null {
  const header = bytes[start];
  if (header === undefined || (header & 0x80) === 0) return null;
  return (header & 0x40) === 0
    ? readOldPacket(bytes, start, (header >> 2) & 0x0f, header & 0x03)
    : readNewPacket(bytes, start, header & 0x3f);
}

type PlacedPacket = Packet & { readonly end: number };

function readOldPacket(bytes: Uint8Array, start: number, tag: number, lengthType: number) {
  if (lengthType === 3) return placed(tag, bytes.subarray(start + 1), 'end', bytes.length);
  const octets = 2 ** lengthType;
  const length = readNumber(bytes, start + 1, octets);
  return length === null ? null : slicePacket(bytes, tag, start + 1 + octets, length);
}

function readNewPacket(bytes: Uint8Array, start: number, tag: number) {
  const chunks: Uint8Array[] = [];
  let position = start + 1;
  for (;;) {
    const length = readNewLength(bytes, position);
    if (length === null) return null;
    const part = slicePacket(bytes, tag, length.next, length.value);
    if (part === null || chunks.length === MAX_PIECES) return null;
    if (!length.isPartial && chunks.length === 0) return part;
    chunks.push(part.body);
    position = part.end;
    if (!length.isPartial) return placed(tag, Buffer.concat(chunks), 'parts', position);
  }
}

function readNewLength(bytes: Uint8Array, at: number) {
  const first = bytes[at];
  if (first === undefined) return null;
  if (first < 192) return { value: first, next: at + 1, isPartial: false };
  if (first >= 224 && first < 255) return { value: 2 ** (first & 0x1f), next: at + 1, isPartial: true };
  if (first === 255) {
    const value = readNumber(bytes, at + 1, 4);
    return value === null ? null : { value, next: at + 5, isPartial: false };
  }
  const second = bytes[at + 1];
  return second === undefined
    ? null
    : { value: (first - 192) * 256 + second + 192, next: at + 2, isPartial: false };
}

function slicePacket(bytes: Uint8Array, tag: number, from: number, length: number) {
  const end = from + length;
  return end > bytes.length ? null : placed(tag, bytes.subarray(from, end), 'whole', end);
}

function placed(tag: number, body: Uint8Array, length: Packet['length'], end: number): PlacedPacket {
  return { tag, body, length, end };
}

function readNumber(bytes: Uint8Array, at: number, octets: number): number | null {
  if (at + octets > bytes.length) return null;
  return bytes.subarray(at, at + octets).reduce((value, octet) => value * 256 + octet, 0);
}

function isWholeCleartext(data: Uint8Array): boolean {
  const text = Buffer.from(data).toString('latin1');
  return (
    text.startsWith('-----BEGIN PGP SIGNED MESSAGE-----') && text.includes('-----END PGP SIGNATURE-----')
  );
}

function isWholeJson(data: Uint8Array): boolean {
  try {
    JSON.parse(new TextDecoder().decode(data));
    return true;
  } catch {
    return false; // only SyntaxError
  }
}
