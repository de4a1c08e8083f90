// Which addresses a redirect may lead to: those of the public internet, as the address is connected to and not as it is named.
import { lookup as dnsLookup, type LookupAddress, type LookupOptions } from 'node:dns';
import { BlockList, isIP } from 'node:net';

// RFC 6890 and the registries that it began: what is not globally reachable, and what embeds an IPv4 address
const IPV4: readonly (readonly [string, number])[] = [
  ['0.0.0.0', 8],
  ['10.0.0.0', 8],
  ['100.64.0.0', 10],
  ['127.0.0.0', 8],
  ['169.254.0.0', 16],
  ['172.16.0.0', 12],
  ['192.0.0.0', 24],
  ['192.0.2.0', 24],
  ['192.88.99.0', 24],
  ['192.168.0.0', 16],
  ['198.18.0.0', 15],
  ['198.51.100.0', 24],
  ['203.0.113.0', 24],
  ['224.0.0.0', 3],
];
const IPV6: readonly (readonly [string, number])[] = [
  ['::', 96],
  ['::ffff:0:0', 96],
  ['64:ff9b::', 96],
  ['64:ff9b:1::', 48],
  ['100::', 64],
  ['2001::', 23],
  ['2001:db8::', 32],
  ['2002::', 16],
  ['3fff::', 20],
  ['5f00::', 16],
  ['fc00::', 7],
  ['fe80::', 9],
  ['ff00::', 8],
];

// two lists: in one, ::ffff:0:0/96 would hold every IPv4 address
const [hidden4, hidden6] = [new BlockList(), new BlockList()];
for (const [net, bits] of IPV4) hidden4.addSubnet(net, bits, 'ipv4');
for (const [net, bits] of IPV6) hidden6.addSubnet(net, bits, 'ipv6');

/** Whether the text is an IP address that anybody on the internet could reach. */
export function isPublicAddress(address: string): boolean {
  const bare = address.replace(/^\[|\]$/g, '').split('%', 1)[0] ?? '';
  switch (isIP(bare)) {
    case 4:
      return !hidden4.check(bare, 'ipv4');
    case 6:
      return !hidden6.check(bare, 'ipv6');
    default:
      return false;
  }
}

export class NotPublic extends Error {}

type LookedUp = (error: Error | null, address: string | LookupAddress[], family?: number) => void;

/** As dns.lookup, and fails with NotPublic when one of the host's addresses is not public: what it gives is what is connected to. */
export function lookupPublic(hostname: string, options: LookupOptions, callback: LookedUp): void {
  dnsLookup(hostname, { ...options, all: true }, (error, addresses) => {
    if (error !== null) return callback(error, []);
    const [first] = addresses;
    const hidden = addresses.find(({ address }) => !isPublicAddress(address));
    if (hidden !== undefined || first === undefined)
      return callback(new NotPublic(`${hostname} has an address that is not public`), []);
    if (options.all === true) return callback(null, addresses);
    callback(null, first.address, first.family);
  });
}
