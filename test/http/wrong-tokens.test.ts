import assert from 'node:assert/strict';
import { isIPv6 } from 'node:net';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { isLookasideError } from '../../src/domain/errors.ts';
import { createWrongTokens, networkOf } from '../../src/http/wrong-tokens.ts';
import { createClock } from '../service/hand-driven.ts';

function isTaken(act: () => void): boolean {
  try {
    act();
    return true;
  } catch (error) {
    assert.ok(isLookasideError(error, 'SLOW_DOWN'), String(error));
    return false;
  }
}

describe('wrong tokens', () => {
  test('ten in a minute are noted, the eleventh is too many, and the wait is told', () => {
    const clock = createClock();
    const wrong = createWrongTokens(clock.monotonicMs);
    for (let k = 0; k < 10; k += 1) {
      wrong.note('192.0.2.1');
      clock.pass(1000);
    }
    assert.throws(
      () => wrong.note('192.0.2.1'),
      (error) => isLookasideError(error, 'SLOW_DOWN') && error.detail?.retryAfterSeconds === 50,
    );
    clock.pass(49_999);
    assert.equal(
      isTaken(() => wrong.note('192.0.2.1')),
      false,
    );
    clock.pass(1);
    assert.equal(
      isTaken(() => wrong.note('192.0.2.1')),
      true,
    );
    assert.equal(
      isTaken(() => wrong.note('192.0.2.1')),
      false,
    );
  });

  test('never are more than ten taken within any minute, and one address does not count for another', () => {
    const gaps = fc.array(fc.tuple(fc.constantFrom('192.0.2.1', '192.0.2.2'), fc.nat({ max: 20_000 })), {
      maxLength: 120,
    });
    fc.assert(
      fc.property(gaps, (notes) => {
        const clock = createClock();
        const wrong = createWrongTokens(clock.monotonicMs);
        const taken = new Map<string, number[]>([
          ['192.0.2.1', []],
          ['192.0.2.2', []],
        ]);
        for (const [address, gapMs] of notes) {
          clock.pass(gapMs);
          const nowMs = clock.monotonicMs();
          const times = taken.get(address) ?? assert.fail();
          const recent = times.filter((atMs) => nowMs - atMs < 60_000).length;
          const isNoted = isTaken(() => wrong.note(address));
          assert.equal(isNoted, recent < 10);
          if (isNoted) times.push(nowMs);
        }
      }),
    );
  });

  test('of more addresses than are remembered, the latest are', () => {
    const clock = createClock();
    const wrong = createWrongTokens(clock.monotonicMs);
    const fill = (address: string) => {
      for (let k = 0; k < 10; k += 1) wrong.note(address);
    };
    fill('192.0.2.1');
    for (let k = 0; k < 10_000; k += 1) wrong.note(`10.0.${k >> 8}.${k & 255}`);
    fill('192.0.2.1');
    assert.equal(
      isTaken(() => wrong.note('192.0.2.1')),
      false,
    );
  });
});

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
