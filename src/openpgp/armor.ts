// ASCII armour of keys (RFC 9580, section 6). It is removed from incoming keys, as GnuPG 2.2 removes it, and added to
// outgoing ones.
import { readPacket, TAG } from './packets.ts';

// some editors put a byte order mark before the text
const BEGIN = /^(?:\xef\xbb\xbf)?-----BEGIN PGP (?:PUBLIC|PRIVATE|SECRET) KEY BLOCK-----[ \t\r]*\n/gm;
/** gpg reads the first line that is neither empty nor a header as data. */
const HEADER = /^[^:]*:(?:[ \r]|$)/;
const ANY_BEGIN = /-----BEGIN PGP (?:PUBLIC|PRIVATE|SECRET) KEY BLOCK-----/;
/** One character as mail programs encode it. It matches only where the `=` cannot begin a checksum. */
const QUOTED_PRINTABLE = /=([0-9A-Fa-f]{2})(?=[=\n\r\t ])/y;

/** The bytes of a block, or why its armour cannot be removed, as the beginning of a sentence. */
export type UntrustedBlock = Uint8Array | string;

/** The key blocks of a file: what is inside each armour, or the file itself when it has none. Text around armour is dropped. */
export function untrustedBlocks(untrusted: Uint8Array): readonly UntrustedBlock[] {
  if (beginsWithKey(untrusted)) return [untrusted];
  const text = textOf(untrusted);
  const blocks: UntrustedBlock[] = [];
  BEGIN.lastIndex = 0;
  for (let begin = BEGIN.exec(text); begin !== null; begin = BEGIN.exec(text)) {
    const { block, end } = dearmor(text, begin.index + begin[0].length);
    blocks.push(block);
    BEGIN.lastIndex = end;
  }
  return blocks.length === 0 ? [untrusted] : blocks;
}

/** The text ahead of the first BEGIN on its line, behind which no program looks for armour; null when there is none. */
export function displacedArmor(untrusted: Uint8Array): string | null {
  const text = textOf(untrusted);
  const begin = text.search(ANY_BEGIN);
  const ahead = begin === -1 ? '' : text.slice(text.lastIndexOf('\n', begin) + 1, begin);
  return ahead === '' ? null : ahead;
}

/** `-----BEGIN PGP PUBLIC KEY BLOCK-----` and so on, without comments, in lines of 64 characters. */
export function armorPublicKey(binary: Uint8Array): string {
  const lines =
    Buffer.from(binary)
      .toString('base64')
      .match(/.{1,64}/g) ?? [];
  return [
    '-----BEGIN PGP PUBLIC KEY BLOCK-----',
    '',
    ...lines,
    `=${checksumOf(binary)}`,
    '-----END PGP PUBLIC KEY BLOCK-----',
    '',
  ].join('\n');
}

function textOf(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('latin1');
}

// a binary file may hold the words of armour in a user ID
function beginsWithKey(bytes: Uint8Array): boolean {
  const tag = readPacket(bytes, 0)?.tag;
  return tag === TAG.publicKey || tag === TAG.secretKey;
}

interface Dearmored {
  readonly block: UntrustedBlock;
  /** Where the text after the block begins. */
  readonly end: number;
}

/** `from`: the position after the BEGIN line. */
function dearmor(text: string, from: number): Dearmored {
  const { base64, end } = readData(text, skipHeaders(text, from));
  const bytes = Buffer.from(base64, 'base64');
  if (text[end] !== '=') return { block: bytes, end };
  const checksum = readChecksum(text, end);
  return { block: whyDamaged(base64, bytes, checksum.value) ?? bytes, end: checksum.end };
}

function skipHeaders(text: string, from: number): number {
  let at = from;
  for (;;) {
    const lineEnd = text.indexOf('\n', at);
    if (lineEnd === -1) return at;
    const line = text.slice(at, lineEnd);
    const isEmpty = /^[ \t\r]*$/.test(line);
    if (!isEmpty && !HEADER.test(line)) return at;
    at = lineEnd + 1;
    if (isEmpty) return at;
  }
}

/**
 * Reads up to the padding or the checksum, or up to the END line when there is neither: gpg 2.2 then reads the END line
 * as data. Characters that are not base64, such as the quotation marks of a mail, are skipped, as gpg skips them.
 */
function readData(text: string, from: number): { readonly base64: string; readonly end: number } {
  const base64: string[] = [];
  STOP.lastIndex = from - 1; // a line feed is there
  for (let at = from; ; ) {
    const stop = STOP.exec(text);
    const end = stop?.index ?? text.length;
    base64.push(text.slice(at, end).replace(NOT_BASE64, ''));
    const character = stop?.[0] === '=' ? quotedPrintable(text, end) : null;
    if (character === null) return { base64: base64.join(''), end };
    base64.push(character.replace(NOT_BASE64, ''));
    at = end + 3;
    STOP.lastIndex = at;
  }
}

const NOT_BASE64 = /[^A-Za-z0-9+/]+/g;
const STOP = /=|\n[ \t]*-----END PGP/g;

function quotedPrintable(text: string, at: number): string | null {
  QUOTED_PRINTABLE.lastIndex = at;
  const code = QUOTED_PRINTABLE.exec(text)?.[1];
  return code === undefined ? null : String.fromCharCode(Number.parseInt(code, 16));
}

interface Checksum {
  /** Null when there is none, which is allowed. */
  readonly value: string | null;
  readonly end: number;
}

/** `from`: the first `=` of the padding or of the checksum. The checksum may stand on the last line of data. */
function readChecksum(text: string, from: number): Checksum {
  let start = from;
  while (start < text.length && '= \t\r\n'.includes(text.charAt(start))) start += 1;
  const [value = ''] = /^[A-Za-z0-9+/]*/.exec(text.slice(start, start + 4)) ?? [];
  return { value: value === '' ? null : value, end: start + value.length };
}

/** Null when no damage is found. */
function whyDamaged(base64: string, bytes: Uint8Array, checksum: string | null): string | null {
  if (base64.length % 4 === 1) return 'the armour lacks characters, or has one too many';
  if (checksum === null || checksum === checksumOf(bytes)) return null;
  return `the checksum of the armour (${checksum}) is not that of its data (${checksumOf(bytes)}): characters were changed or lost`;
}

/** CRC-24 (RFC 9580, section 6.1.1) in radix-64: older programs still ask for it. */
export function checksumOf(bytes: Uint8Array): string {
  let crc = 0xb704ce;
  for (const byte of bytes) {
    crc ^= byte << 16;
    for (let bit = 0; bit < 8; bit += 1) {
      crc <<= 1;
      if ((crc & 0x1000000) !== 0) crc ^= 0x1864cfb;
    }
  }
  return Buffer.from([crc >> 16, (crc >> 8) & 0xff, crc & 0xff]).toString('base64');
}
