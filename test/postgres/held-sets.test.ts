// Which sets hold without a question about each, by answers that a test makes up.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { SignatureSet } from '../../src/domain/ports.ts';
import { HeldSets } from '../../src/postgres/held-sets.ts';

const setOf = (generation: number): SignatureSet => ({ generation, entries: [] });

test('a set that was looked at is held by each later answer of the same session', () => {
  const held = new HeldSets();
  const [set, unseen] = [setOf(3), setOf(3)];
  held.take({ newest: 5, images: null }, 100);
  held.note(set, 5, 150);
  assert.equal(held.heldAtMs(set), 150);
  held.take({ newest: 6, images: [] }, 600);
  held.take({ newest: 6, images: [] }, 1100);
  assert.deepEqual([held.heldAtMs(set), held.heldAtMs(unseen)], [1100, null]);
});

test('a look that saw less than the session has told of already is worth no more than its own time', () => {
  const held = new HeldSets();
  const [behind, level] = [setOf(3), setOf(3)];
  held.take({ newest: 5, images: null }, 100);
  held.take({ newest: 7, images: [{ key: 'a', generation: 7 }] }, 600);
  // from a standby that is behind, or asked for before and answered late
  held.note(behind, 6, 700);
  held.note(level, 7, 700);
  held.take({ newest: 7, images: [] }, 1100);
  assert.deepEqual([held.heldAtMs(behind), held.heldAtMs(level)], [700, 1100]);
});

test('the end of a session, or an answer that cannot name what has changed, ends what it says of earlier looks', () => {
  const held = new HeldSets();
  const set = setOf(3);
  held.note(set, 5, 50);
  held.take({ newest: 5, images: null }, 100);
  assert.equal(held.heldAtMs(set), 50); // of before the first answer
  held.note(set, 5, 150);
  held.end();
  assert.equal(held.newest, null);
  held.take({ newest: 5, images: null }, 600);
  held.take({ newest: 5, images: [] }, 1100);
  assert.equal(held.heldAtMs(set), 150);
  held.note(set, 5, 1200);
  held.take({ newest: 5000, images: null }, 1600);
  assert.deepEqual([held.newest, held.heldAtMs(set)], [5000, 1200]);
});

test('what is known of the same set is known of the one that is kept', () => {
  const held = new HeldSets();
  const [kept, read] = [setOf(3), setOf(3)];
  held.take({ newest: 5, images: null }, 100);
  held.note(kept, 5, 110);
  held.note(read, 4, 300);
  held.noteAs(kept, read);
  held.take({ newest: 5, images: [] }, 600);
  assert.equal(held.heldAtMs(kept), 300);
});
