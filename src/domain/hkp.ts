// What key servers are asked and answer: draft-gallagher-openpgp-hkp, as gpg and sq speak it.
import type { KeyPart, RegisteredKey } from './key.ts';

/** Those that the text names: by fingerprint or key ID of the key or a subkey, or by a part of a user id. */
export function searchKeys(
  keys: readonly RegisteredKey[],
  search: string,
  isExact: boolean,
): readonly RegisteredKey[] {
  const hex = /^0x([0-9A-Fa-f]+)$/.exec(search.trim())?.[1]?.toUpperCase();
  if (hex !== undefined) return keys.filter((key) => isNamed(key, hex));
  const bare = search.trim().toUpperCase();
  if (NAME.test(bare)) return keys.filter((key) => isNamed(key, bare));
  const text = search.trim().toLowerCase();
  if (text === '') return [];
  return keys.filter(({ userIds }) =>
    userIds.some((userId) => {
      return isExact ? userId.toLowerCase() === text : userId.toLowerCase().includes(text);
    }),
  );
}

const NAME = /^(?:[0-9A-F]{16}|[0-9A-F]{40})$/;

// key IDs of 8 digits are the same for many keys, which anybody can make
function isNamed(key: RegisteredKey, hex: string): boolean {
  return NAME.test(hex) && [key, ...key.subkeys].some(({ fingerprint }) => fingerprint.endsWith(hex));
}

/** The machine-readable index. User ids are escaped, so that none makes a line or field of its own. */
export function indexText(keys: readonly RegisteredKey[], now: Date): string {
  const lines = keys.flatMap((key) => [
    [
      'pub',
      key.fingerprint,
      ...algorithmOf(key),
      seconds(key.createdAt),
      seconds(key.expiresAt),
      flagsOf(key, now),
    ],
    ...key.userIds.map((userId) => ['uid', escapeField(userId), '', '', '']),
  ]);
  return [`info:1:${keys.length}`, ...lines.map((fields) => fields.join(':'))]
    .map((line) => `${line}\n`)
    .join('');
}

/** Number of RFC 9580 and bits, of the names that gpg has for algorithms; empty where neither is known. */
function algorithmOf({ algorithm }: KeyPart): readonly [string, string] {
  const [, name = '', bits = ''] = /^([a-z]+)([0-9]*)/.exec(algorithm) ?? [];
  switch (name) {
    case 'rsa':
      return ['1', bits];
    case 'dsa':
      return ['17', bits];
    case 'nistp':
    case 'secp':
      return ['19', bits];
    case 'ed':
      return ['22', bits === '25519' ? '256' : bits];
    default:
      return ['', ''];
  }
}

function flagsOf({ revokedAt, expiresAt }: KeyPart, now: Date): string {
  if (revokedAt !== null) return 'r';
  return expiresAt !== null && expiresAt.getTime() <= now.getTime() ? 'e' : '';
}

function seconds(at: Date | null): string {
  return at === null ? '' : String(Math.floor(at.getTime() / 1000));
}

function escapeField(text: string): string {
  return Array.from(new TextEncoder().encode(text), (byte) => {
    const isPlain = byte > 0x1f && byte < 0x7f && byte !== 0x25 && byte !== 0x3a;
    return isPlain ? String.fromCharCode(byte) : `%${byte.toString(16).toUpperCase().padStart(2, '0')}`;
  }).join('');
}
