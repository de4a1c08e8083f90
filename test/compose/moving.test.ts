// What a move shows of its way through the trees of all sites.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { overSites } from '../../src/compose/moving.ts';

test('the count goes on from one site to the next, also where one shows nothing', () => {
  const seen: number[] = [];
  const { show, next } = overSites(({ images }) => void seen.push(images));
  const count = (images: number) => show({ images, signatures: images, problems: 0 });
  count(5);
  count(10);
  next();
  next();
  count(1);
  count(3);
  next();
  count(2);
  assert.deepEqual(seen, [5, 10, 11, 13, 15]);
});
