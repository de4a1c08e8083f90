// When readers' questions for sets go to the database, over answers that a test gives.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Query } from '../../src/postgres/connect.ts';
import { createSetQuestions } from '../../src/postgres/set-questions.ts';
import { createClock, imageOf } from '../service/hand-driven.ts';

test('four questions at most are under way, and who has waited for too long is asked for no more', async () => {
  const clock = createClock();
  const asked: { readonly folders: readonly string[]; readonly answer: () => void }[] = [];
  const query = ((_: string, [, folders]: readonly (readonly string[])[]) =>
    new Promise((resolve) => {
      const rows = folders?.map((_folder, position) => ({ n: position + 1, newest: 7, generation: null }));
      asked.push({ folders: folders ?? [], answer: () => resolve(rows) });
    })) as unknown as Query;
  const ask = createSetQuestions({
    query,
    monotonicMs: clock.monotonicMs,
    longestMs: 4800,
    late: ({ path }) => new Error(path),
    check: (bytes) => bytes,
  });
  const turn = () => new Promise((resolve) => setImmediate(resolve));
  const first = Array.from({ length: 70 }, (_, n) => ask(imageOf(`team/first-${n}`), undefined));
  await turn();
  assert.deepEqual(
    asked.map(({ folders }) => folders.length),
    [16, 16, 16, 16],
  );
  const later = first.slice(64).map((one) => assert.rejects(one, /first-6/));
  clock.pass(4801);
  const second = ask(imageOf('team/second'), undefined);
  asked[0]?.answer();
  assert.deepEqual(await first[0], { set: { generation: 0, entries: [] }, newest: 7 });
  await Promise.all(later);
  await turn();
  // the place of those that were late is free at once
  assert.deepEqual(
    asked.slice(4).map(({ folders }) => folders.length),
    [1],
  );
  asked[4]?.answer();
  assert.equal((await second).newest, 7);
});
