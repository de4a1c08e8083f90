// Where newer copies of registered certificates come from: key servers (HKP), and the domains of their user ids (WKD).

export type KeySource =
  /** The Web Key Directory of each user id's domain: draft-koch-openpgp-webkey-service. */
  | { readonly kind: 'wkd' }
  /** `url`: with http: or https:, without a slash at the end. */
  | { readonly kind: 'hkp'; readonly url: string };

/** When the server asks by itself. */
export interface KeyRefresh {
  readonly everyMs: number;
  /** At least one. */
  readonly sources: readonly KeySource[];
}

export const KEY_SOURCE_WANTED =
  'wkd, or the URL of a key server like hkps://keys.example.com (hkp://, https:// and http:// too)';

/** HKP's own port, which hkp: means: draft-gallagher-openpgp-hkp. */
const HKP_PORT = '11371';

/** Null when the text is none. */
export function parseKeySource(text: string): KeySource | null {
  if (text === 'wkd') return { kind: 'wkd' };
  const [, scheme = '', rest = ''] = /^(hkps?|https?):\/\/(.+)$/.exec(text) ?? [];
  if (scheme === '' || !URL.canParse(`http://${rest}`)) return null;
  const isPlain = scheme === 'hkp' || scheme === 'http';
  const url = new URL(`${isPlain ? 'http' : 'https'}://${rest}`);
  if (url.username !== '' || url.password !== '' || url.search !== '' || url.hash !== '') return null;
  if (scheme === 'hkp' && url.port === '' && !/:80(?:\/|$)/.test(rest)) url.port = HKP_PORT;
  return { kind: 'hkp', url: url.href.replace(/\/+$/, '') };
}

/** As parseKeySource() reads it. */
export function keySourceText(source: KeySource): string {
  return source.kind === 'wkd' ? 'wkd' : source.url;
}

/** What a key server is asked for one certificate. */
export function hkpUrl(server: string, fingerprint: string): string {
  return `${server}/pks/lookup?op=get&options=mr&search=0x${fingerprint}`;
}

export interface MailAddress {
  readonly local: string;
  /** Lower case. */
  readonly domain: string;
}

/** The addresses in user ids, each once; at most `limit`, because each is asked for. */
export function addressesOf(userIds: readonly string[], limit: number): readonly MailAddress[] {
  const addresses = new Map<string, MailAddress>();
  for (const userId of userIds) {
    const text = /<([^<>\s]+)>\s*$/.exec(userId)?.[1] ?? userId.trim();
    const [, local, domain] = /^([!-?A-~]{1,64})@((?:[a-z0-9-]{1,63}\.)+[a-z]{2,63})$/i.exec(text) ?? [];
    if (local === undefined || domain === undefined) continue;
    addresses.set(text.toLowerCase(), { local, domain: domain.toLowerCase() });
  }
  return [...addresses.values()].slice(0, limit);
}

/** In the order in which they are asked. `hash`: the SHA-1 of the local part in lower case. */
export function wkdUrls({ local, domain }: MailAddress, hash: Uint8Array): readonly string[] {
  const file = `hu/${zBase32(hash)}?l=${encodeURIComponent(local)}`;
  return [
    `https://openpgpkey.${domain}/.well-known/openpgpkey/${domain}/${file}`,
    `https://${domain}/.well-known/openpgpkey/${file}`,
  ];
}

const Z_BASE_32 = 'ybndrfg8ejkmcpqxot1uwisza345h769';

/** RFC 6189, section 5.1.6; the bytes are a multiple of 5. */
function zBase32(bytes: Uint8Array): string {
  let [bits, held, text] = [0, 0, ''];
  for (const byte of bytes) {
    held = ((held << 8) | byte) & 0xffff;
    bits += 8;
    for (; bits >= 5; bits -= 5) text += Z_BASE_32[(held >> (bits - 5)) & 31];
  }
  return text;
}
