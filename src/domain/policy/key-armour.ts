// Armoured keys that some clients do not read.

const BLOCK = /^-----BEGIN PGP PUBLIC KEY BLOCK-----\r?$([\s\S]*?)^-----END PGP PUBLIC KEY BLOCK-----/gm;
const CHECKSUM = /^=[A-Za-z0-9+/]{4}\s*$/m;

/**
 * Whether the file has a block of ASCII armour whose last line of base64 is full, and no checksum behind it. GnuPG 2.2, as in
 * Debian 12, takes nothing from such a file, and 2.4 its keys. RFC 9580 lets programs leave the checksum out.
 */
export function lacksChecksum(file: Uint8Array): boolean {
  const text = new TextDecoder('latin1').decode(file);
  return [...text.matchAll(BLOCK)].some(([, body = '']) => !CHECKSUM.test(body) && !/=\s*$/.test(body));
}
