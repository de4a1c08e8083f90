// Whether clients could read a stored file. One file outside these rules fails every pull of its image, so it is left out of
// the set. Source: containers/image internal/signature/signature.go (FromBlob) and iolimits.
import { MAX_SIGNATURE_BYTES } from './limits.ts';

export type Unreadable = 'empty' | 'too-large' | 'first-byte' | 'format';

// Compressed data, one-pass signature and signature packets, old and new headers. 0x3D stands in place of 0x93: a mistake in
// the clients' own table, so they do accept it.
const OPENPGP_FIRST_BYTES: ReadonlySet<number> = new Set([
  0xa0, 0xa1, 0xa2, 0xa3, 0xc8, 0x90, 0x91, 0x92, 0x3d, 0xc4, 0x88, 0x89, 0x8a, 0x8b, 0xc2,
]);

/** Null when clients can read these bytes, else why they cannot. */
export function whyUnreadable(bytes: Uint8Array): Unreadable | null {
  const first = bytes[0];
  if (first === undefined) return 'empty';
  if (bytes.length > MAX_SIGNATURE_BYTES) return 'too-large';
  if (first === 0x00) return isTagged(bytes) ? null : 'format';
  return OPENPGP_FIRST_BYTES.has(first) ? null : 'first-byte';
}

// The tagged form, since containers/image 5.22: NUL, format name, line feed, data. Any other name fails the whole read.
function isTagged(bytes: Uint8Array): boolean {
  const lineEnd = bytes.indexOf(0x0a);
  if (lineEnd === -1 || lineEnd > 64) return false;
  const name = String.fromCharCode(...bytes.subarray(1, lineEnd));
  if (name === 'simple-signing') return true;
  return name === 'sigstore-json' && isCosignBlob(bytes.subarray(lineEnd + 1));
}

// What Go's decoder checks in each member. It accepts names in any case, by simple folding as `iu` does.
const COSIGN_MEMBERS: readonly (readonly [name: RegExp, isRight: (value: unknown) => boolean])[] = [
  [/^mimeType$/iu, isNullOrString],
  [/^payload$/iu, isNullOrBase64],
  [/^annotations$/iu, isNullOrStringMap],
];

// Go's decoder accepts an object whose known members are absent, null or of the right type.
function isCosignBlob(data: Uint8Array): boolean {
  let value: unknown;
  try {
    // a byte order mark fails the client too
    value = JSON.parse(new TextDecoder('utf-8', { ignoreBOM: true }).decode(data));
  } catch {
    return false; // only SyntaxError: the client fails on it too
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return false;
  return Object.entries(value).every(([member, content]) =>
    COSIGN_MEMBERS.every(([name, isRight]) => !name.test(member) || isRight(content)),
  );
}

function isNullOrString(value: unknown): boolean {
  return value === null || typeof value === 'string';
}

function isNullOrBase64(value: unknown): boolean {
  if (value === null) return true;
  if (typeof value !== 'string') return false;
  const text = value.replace(/[\r\n]/g, '');
  return text.length % 4 === 0 && /^[A-Za-z0-9+/]*={0,2}$/.test(text);
}

function isNullOrStringMap(value: unknown): boolean {
  if (value === null) return true;
  if (typeof value !== 'object' || Array.isArray(value)) return false;
  return Object.values(value).every(isNullOrString);
}
