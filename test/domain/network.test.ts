import assert from 'node:assert/strict';
import { BlockList, isIP, isIPv6 } from 'node:net';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { formatNetwork, networkOf, overlaps, parseNetwork } from '../../src/domain/network.ts';

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

  test('is the first half of an IPv6 address', () => {
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

describe('a network that somebody asks for', () => {
  const inside = (network: string, address: string) => {
    const [one, other] = [parseNetwork(network), parseNetwork(address)];
    return one !== null && other !== null && overlaps(one, other);
  };

  test('has the addresses that Node.js finds in it', () => {
    const asked = fc.oneof(
      fc.tuple(fc.ipV4(), fc.nat(32), fc.ipV4()),
      fc.tuple(fc.ipV6(), fc.nat(128), fc.ipV6()),
      fc.tuple(fc.ipV4(), fc.integer({ min: 25, max: 32 }), fc.constant(null)),
    );
    fc.assert(
      fc.property(asked, ([address, prefix, other]) => {
        const family = isIP(address) === 4 ? 'ipv4' : 'ipv6';
        const near = other ?? address.replace(/\d+$/, (last) => String((Number(last) + 3) % 256));
        const list = new BlockList();
        list.addSubnet(address, prefix, family);
        assert.ok(inside(`${address}/${prefix}`, address));
        assert.equal(
          inside(`${address}/${prefix}`, near),
          list.check(near, family),
          `${address}/${prefix} ${near}`,
        );
      }),
    );
  });

  test('also has the network that stands for its further addresses', () => {
    assert.ok(inside('2001:db8::7', '2001:db8:0:0::/64'));
    assert.ok(!inside('2001:db8:1::/48', '2001:db8:0:0::/64'));
    assert.ok(!inside('192.0.2.0/24', '::ffff:0:0'));
  });

  test('is refused when it is none', () => {
    const none = [
      '',
      'local',
      '192.0.2',
      '192.0.2.256',
      '192.0.2.01',
      '192.0.2.1/33',
      '192.0.2.1/',
      '192.0.2.1/8/8',
    ]
      .concat([
        '2001:db8::1::2',
        '2001:db8::/129',
        '1:2:3:4:5:6:7',
        '1:2:3:4:5:6:7:8:9',
        '1:2:3:4:5:6:7:8::',
        'fe80::1%eth0',
      ])
      .concat(['::g', '::192.0.2.256', '192.0.2.1 ']);
    for (const text of none) assert.equal(parseNetwork(text), null, text);
  });
});

test('a network is written as it is read', () => {
  for (const [asked, written] of [
    ['10.1.2.3/8', '10.0.0.0/8'],
    ['192.0.2.7', '192.0.2.7/32'],
    ['2001:DB8::/32', '2001:db8:0:0:0:0:0:0/32'],
    ['::ffff:192.0.2.1', '0:0:0:0:0:ffff:c000:201/128'],
  ] as const) {
    const network = parseNetwork(asked) ?? assert.fail(asked);
    assert.equal(formatNetwork(network), written);
    assert.deepEqual(parseNetwork(written), network);
  }
});
