// The network that a client comes from, for limits on what one client may use.

/** The address itself for IPv4; for IPv6 its /64, which is what one customer has. */
export function networkOf(address: string): string {
  if (!address.includes(':')) return address;
  const [head = '', tail = ''] = (address.split('%', 1)[0] ?? '').split('::', 2);
  const before = head === '' ? [] : head.split(':');
  const after = tail === '' ? [] : tail.split(':');
  // an IPv4 address at the end stands for two groups
  const written = before.length + after.length + (address.includes('.') ? 1 : 0);
  const groups = [...before, ...Array<string>(8 - written).fill('0'), ...after].slice(0, 4);
  return `${groups.map((group) => Number.parseInt(group, 16).toString(16)).join(':')}::/64`;
}

/** A network, or one address; `192.0.2.0/24`, `2001:db8::/32`, `192.0.2.7`. */
export interface Network {
  readonly family: 4 | 6;
  /** How many bits the addresses of the network have in common. */
  readonly prefix: number;
  readonly bits: bigint;
}

const WIDTH = { 4: 32, 6: 128 } as const;

/** Null when the text is no address, or has more bits than such an address. */
export function parseNetwork(text: string): Network | null {
  const [address = '', length, ...rest] = text.split('/');
  if (rest.length > 0 || (length !== undefined && !/^[0-9]{1,3}$/.test(length))) return null;
  const family = address.includes(':') ? 6 : 4;
  const bits = family === 4 ? ipv4Bits(address) : ipv6Bits(address);
  const prefix = length === undefined ? WIDTH[family] : Number(length);
  if (bits === null || prefix > WIDTH[family]) return null;
  return { family, prefix, bits: cutTo(bits, prefix, family) };
}

/** As parseNetwork() reads it, with its length. */
export function formatNetwork({ family, prefix, bits }: Network): string {
  const width = family === 4 ? 8 : 16;
  const parts = Array.from({ length: WIDTH[family] / width }, (_, n) => {
    const part = (bits >> BigInt(WIDTH[family] - width * (n + 1))) & ((1n << BigInt(width)) - 1n);
    return part.toString(family === 4 ? 10 : 16);
  });
  return `${parts.join(family === 4 ? '.' : ':')}/${prefix}`;
}

/**
 * Whether they have an address in common: an address or a network stands in rows, since a network may stand for its further
 * addresses.
 */
export function overlaps(one: Network, other: Network): boolean {
  if (one.family !== other.family) return false;
  const prefix = Math.min(one.prefix, other.prefix);
  return cutTo(one.bits, prefix, one.family) === cutTo(other.bits, prefix, one.family);
}

/** The first and the last text that an address within it may have, by code units; what is no address stands for itself. */
export function textsWithin(asked: string): readonly [string, string] {
  const network = parseNetwork(asked);
  if (network === null) return [asked, asked];
  const octets = network.family === 4 ? Math.floor(network.prefix / 8) : 0;
  const head = asked.split('/', 1).join('').split('.').slice(0, octets).join('.');
  return [head, `${head}\u{10ffff}`];
}

function cutTo(bits: bigint, prefix: number, family: 4 | 6): bigint {
  const free = BigInt(WIDTH[family] - prefix);
  return (bits >> free) << free;
}

function ipv4Bits(text: string): bigint | null {
  const parts = text.split('.');
  if (
    parts.length !== 4 ||
    !parts.every((part) => /^(?:0|[1-9][0-9]{0,2})$/.test(part) && Number(part) < 256)
  )
    return null;
  return parts.reduce((bits, part) => (bits << 8n) | BigInt(part), 0n);
}

function ipv6Bits(text: string): bigint | null {
  const halves = text.split('::');
  if (halves.length > 2) return null;
  const groups = halves.map((half) => (half === '' ? [] : half.split(':').flatMap(hexGroups)));
  const [head = [], tail] = groups;
  const missing = 8 - head.length - (tail?.length ?? 0);
  if (tail === undefined ? missing !== 0 : missing < 1) return null;
  const all = [...head, ...Array<string>(missing).fill('0'), ...(tail ?? [])];
  if (!all.every((group) => /^[0-9a-fA-F]{1,4}$/.test(group))) return null;
  return all.reduce((bits, group) => (bits << 16n) | BigInt(`0x${group}`), 0n);
}

/** An IPv4 address at the end stands for two groups. */
function hexGroups(group: string): readonly string[] {
  if (!group.includes('.')) return [group];
  const bits = ipv4Bits(group);
  return bits === null ? ['?'] : [(bits >> 16n).toString(16), (bits & 0xffffn).toString(16)];
}
