import assert from 'node:assert/strict';
import { test } from 'node:test';
import { StampTable } from '../../src/sqlite/stamp-table.ts';

test('a table of stamps has each name with its stamp until it is taken out, in bounded memory', () => {
  const count = 50_000;
  const nameOf = (number: number) => `app@sha256=${number.toString(16).padStart(64, '0')}`;
  const stampOf = (number: number) => (number % 3 === 0 ? null : 2 ** 53 - 1 - number);
  const before = process.memoryUsage().arrayBuffers;
  const table = new StampTable();
  for (let number = 0; number < count; number += 1) table.add(nameOf(number), stampOf(number));
  assert.ok(process.memoryUsage().arrayBuffers - before < 100 * count);
  assert.equal(table.size, count);
  for (let number = 0; number < count; number += 2) table.delete(nameOf(number));
  table.delete(nameOf(0));
  table.delete(nameOf(count));
  assert.equal(table.size, count / 2);
  for (let number = 0; number < count; number += 1) {
    const wanted = number % 2 === 0 ? undefined : stampOf(number);
    if (table.get(nameOf(number)) !== wanted) assert.equal(table.get(nameOf(number)), wanted, nameOf(number));
  }
  assert.equal(table.get(nameOf(count)), undefined);
});
