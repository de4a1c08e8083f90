import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import fc from 'fast-check';
import type { ImageId } from '../../src/domain/image.ts';
import type { MissingCount } from '../../src/domain/ports.ts';
import { MissingRows } from '../../src/service/missing-rows.ts';

const MOST = 20;
const image = fc.record({
  site: fc.constantFrom('default', 'mirror'),
  layout: fc.constantFrom('repository', 'release'),
  path: fc.constantFrom('', 'a', 'team/app'),
  algorithm: fc.constantFrom('sha256', 'sha384'),
  hex: fc.constantFrom('aa', 'ab', 'ba').map((part) => part.repeat(32)),
});
const asked = fc.record({ image, address: fc.constantFrom('192.0.2.1', '2001:db8::1'), passedMs: fc.nat(9) });

test('each image has one row, in the order in which they came, and there are no more than may be', () => {
  fc.assert(
    fc.property(fc.array(fc.array(asked, { maxLength: 60 }), { maxLength: 3 }), (batches) => {
      const rows = new MissingRows(MOST, 1);
      let nowMs = 0;
      for (const batch of batches) {
        const wanted = new Map<string, MissingCount>();
        for (const one of batch) {
          nowMs += one.passedMs;
          rows.count({ ...one.image }, one.address, nowMs, () => rows.size < MOST);
          const key = JSON.stringify(one.image);
          const known = wanted.get(key);
          if (known === undefined && wanted.size === MOST) continue;
          const lastAt = new Date(nowMs);
          const { firstAt = lastAt, count = 0 } = known ?? {};
          wanted.set(key, {
            image: { ...one.image },
            firstAt,
            lastAt,
            lastAddress: one.address,
            count: count + 1,
          });
        }
        assert.deepEqual([...rows], [...wanted.values()]);
        rows.clear();
        assert.equal(rows.size, 0);
      }
    }),
  );
});

test('a flood fills it to the last row', () => {
  const rows = new MissingRows(20_000, 2);
  const imageAt = (seed: number): ImageId => {
    const hex = createHash('sha256').update(`${seed}`).digest('hex');
    return { site: 'default', layout: 'repository', path: 'team/app', algorithm: 'sha256', hex };
  };
  for (let seed = 0; seed < 20_001; seed += 1)
    rows.count(imageAt(seed), '192.0.2.1', seed, () => rows.size < 20_000);
  rows.count(imageAt(7), '192.0.2.2', 20_001, () => false);
  assert.equal(rows.size, 20_000);
  assert.equal([...rows].filter(({ count }) => count === 2).length, 1);
});
