// ASCII armour of keys (RFC 9580, section 6): taken off what comes in, put on what goes out.
import { readPacket, TAG } from './packets.ts';

// a byte order mark is what some editors put before all text
const BEGIN = /^(?:\xef\xbb\xbf)?-----BEGIN PGP (?:PUBLIC|PRIVATE) KEY BLOCK-----[ \t\r]*\n/gm;
const CHECKSUM = /\n=[A-Za-z0-9+/]{4}[ \t\r\n]*$/;
const BASE64 = /^[A-Za-z0-9+/]*={0,2}$/;
const HEADER = /^[A-Za-z][A-Za-z0-9-]*: /;

/**
 * The key blocks of a file: what is inside each armour, or the file itself when it has none. Null stands for armour
 * whose base64 is damaged. Text around armour and its comments are dropped; its checksum says nothing that the
 * packets do not say better (RFC 9580, section 6.1).
 */
export function untrustedBlocks(untrusted: Uint8Array): readonly (Uint8Array | null)[] {
  if (beginsWithKey(untrusted)) return [untrusted];
  const text = Buffer.from(untrusted.buffer, untrusted.byteOffset, untrusted.length).toString('latin1');
  const blocks = [...text.matchAll(BEGIN)].map((begin) => dearmor(text, begin.index + begin[0].length));
  return blocks.length === 0 ? [untrusted] : blocks;
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

// a binary file may hold the words of armour in a user ID
function beginsWithKey(bytes: Uint8Array): boolean {
  const tag = readPacket(bytes, 0)?.tag;
  return tag === TAG.publicKey || tag === TAG.secretKey;
}

function dearmor(text: string, from: number): Uint8Array | null {
  const end = text.indexOf('\n-----', from - 1);
  const content = text.slice(skipHeaders(text, from), end === -1 ? text.length : end + 1);
  const base64 = content.replace(CHECKSUM, '').replace(/[ \t\r\n]+/g, '');
  return base64.length % 4 === 0 && BASE64.test(base64) ? Buffer.from(base64, 'base64') : null;
}

function skipHeaders(text: string, from: number): number {
  let at = from;
  for (;;) {
    const lineEnd = text.indexOf('\n', at);
    if (lineEnd === -1) return at;
    const line = text.slice(at, lineEnd).trimEnd();
    if (line !== '' && !HEADER.test(line)) return at;
    at = lineEnd + 1;
    if (line === '') return at;
  }
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
