import assert from 'node:assert/strict';
import { isIPv6 } from 'node:net';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { networkOf } from '../../src/domain/network.ts';

describe('the network of an address', () => {
  const NETWORKS: readonly (readonly [address: string, network: string])[] = [
    ['192.0.2.1', '192.0.2.1'],
    ['local', 'local'],
    ['2001:db8:1:2:3:4:5:6', '2001:db8:1:2::/64'],
    ['2001:DB8:0001:2::6', '2001:db8:1:2::/64'],
    ['2001:db8::6', '2001:db8:0:0::/64'],
    ['2001:db8::', '2001:db8:0:0::/64'],
    ['::1', '0:0:0:0::/64'],
    ['::', '0:0:0:0::/64'],
    ['fe80::1%eth0', 'fe80:0:0:0::/64'],
    ['64:ff9b::192.0.2.1', '64:ff9b:0:0::/64'],
    ['1:2:3:4:5:6:192.0.2.1', '1:2:3:4::/64'],
    ['::2:3:4:5:6:7:8', '0:2:3:4::/64'],
  ];
  for (const [address, network] of NETWORKS) {
    test(`${address} is in ${network}`, () => assert.equal(networkOf(address), network));
  }

  test('of any IPv6 address is its first half', () => {
    fc.assert(
      fc.property(fc.ipV6(), (address) => {
        const network = networkOf(address);
        assert.ok(isIPv6(network.replace('/64', '')), network);
        // the URL parser writes addresses out in its own way
        const canonical = (text: string) => new URL(`http://[${text}]`).hostname;
        const [first, second] = [network.replace('::/64', ':1:2:3:4'), network.replace('::/64', ':5:6:7:8')];
        assert.equal(networkOf(canonical(first).slice(1, -1)), network);
        assert.equal(networkOf(canonical(second).slice(1, -1)), network);
      }),
    );
  });
});
