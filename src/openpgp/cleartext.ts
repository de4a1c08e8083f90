// Clear-signed text (RFC 9580, section 7), only as the Fedora CoreOS lookaside serves it behind the tag
// simple-signing: no header that hides text, nothing before, between or after.
import { checksumOf } from './armor.ts';

export interface Cleartext {
  /** What is signed: the lines without blanks at their ends, joined by CR LF, with no CR LF after the last line. */
  readonly content: Uint8Array;
  /** The packets in the armour below the text. */
  readonly signatures: Uint8Array;
}

// The expression does not cover the text: matching megabytes line by line would need too much stack.
const START = /^-----BEGIN PGP SIGNED MESSAGE-----\r?\n(?:Hash: [A-Za-z0-9, -]+\r?\n)*\r?\n/;
const SIGNATURE_LINE = '\n-----BEGIN PGP SIGNATURE-----';
const ARMOR =
  /^\r?\n(?:(?:Version|Comment): [^\r\n]*\r?\n)*\r?\n((?:[A-Za-z0-9+/=]+\r?\n)*?)(?:=([A-Za-z0-9+/]{4})\r?\n)?-----END PGP SIGNATURE-----(?:\r?\n)?$/;

/** The armour of the largest signature packet is not longer than this. */
const MAX_ARMOR_CHARACTERS = 96 * 1024;

/** Null when the data does not begin as clear-signed text; a reason, as part of a sentence, when it is malformed. */
export function readCleartext(data: Uint8Array): Cleartext | string | null {
  const file = Buffer.from(data).toString('latin1'); // bytes are kept as they are
  if (!file.startsWith('-----BEGIN PGP SIGNED MESSAGE-----')) return null;
  const start = START.exec(file);
  if (start === null) return 'the first lines of the clear-signed text are not BEGIN, Hash and an empty one';
  const end = file.lastIndexOf(SIGNATURE_LINE);
  if (end < start[0].length - 1) return 'no signature stands below the text';
  const signatures = readArmor(file.slice(end + SIGNATURE_LINE.length));
  if (signatures === null) return 'the armour below the text is broken, or something follows it';
  const lines = file.slice(start[0].length, Math.max(end, start[0].length)).split('\n');
  const text: string[] = [];
  for (const line of lines) {
    if (line.startsWith('-') && !line.startsWith('- '))
      return 'a line of the text begins with a dash that is not escaped';
    text.push((line.startsWith('- ') ? line.slice(2) : line).replace(/[ \t\r]+$/, ''));
  }
  return { content: Buffer.from(text.join('\r\n'), 'latin1'), signatures };
}

function readArmor(text: string): Uint8Array | null {
  if (text.length > MAX_ARMOR_CHARACTERS) return null;
  const groups = ARMOR.exec(text);
  const encoded = groups?.[1]?.replace(/[\r\n]/g, '');
  if (encoded === undefined || encoded === '') return null;
  const bytes = Buffer.from(encoded, 'base64');
  if (bytes.toString('base64') !== encoded) return null;
  const checksum = groups?.[2];
  return checksum === undefined || checksum === checksumOf(bytes) ? bytes : null;
}
