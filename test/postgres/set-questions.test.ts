// When readers' questions for sets go to the database, over answers that a test gives.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import pg from 'pg';
import { LookasideError } from '../../src/domain/errors.ts';
import type { Query } from '../../src/postgres/connect.ts';
import { LONGEST_MS } from '../../src/postgres/in-time.ts';
import { createSetQuestions } from '../../src/postgres/set-questions.ts';
import { imageOf } from '../service/hand-driven.ts';

test('four questions at most are under way, and who has waited for too long is asked for no more', async ({
  mock,
}) => {
  mock.timers.enable({ apis: ['setTimeout'] });
  const asked: { readonly folders: readonly string[]; readonly answer: () => void }[] = [];
  const query = ((_: string, [, folders]: readonly (readonly string[])[]) =>
    new Promise((resolve) => {
      const rows = folders?.map((_folder, position) => ({ n: position + 1, newest: 7, generation: null }));
      asked.push({ folders: folders ?? [], answer: () => resolve(rows) });
    })) as unknown as Query;
  const ask = createSetQuestions({
    query,
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
  const late = Promise.all(first.map((one) => assert.rejects(one, /^Error: team\/first-/)));
  mock.timers.tick(LONGEST_MS);
  await late;
  const second = ask(imageOf('team/second'), undefined);
  await turn();
  assert.equal(asked.length, 4);
  asked[0]?.answer();
  await turn();
  await turn();
  assert.deepEqual(
    asked.slice(4).map(({ folders }) => folders.length),
    [1],
  );
  asked[4]?.answer();
  assert.deepEqual(await second, { set: { generation: 0, entries: [] }, newest: 7 });
});

/** Asks for the images together, while PostgreSQL fails each question about the first with that code. */
async function askAll(code: string) {
  const asked: number[] = [];
  const query = (async (_: string, [, folders]: readonly (readonly string[])[]) => {
    asked.push(folders?.length ?? 0);
    if (folders?.some((folder) => folder.startsWith('team/broken@')) === true) {
      const cause = Object.assign(new pg.DatabaseError('invalid page in block 7', 0, 'error'), { code });
      throw new LookasideError('STORE_UNAVAILABLE', cause.message, { cause });
    }
    return folders?.map((_folder, position) => ({ n: position + 1, newest: 7, generation: null }));
  }) as unknown as Query;
  const ask = createSetQuestions({ query, late: ({ path }) => new Error(path), check: (bytes) => bytes });
  const names = ['team/broken', ...Array.from({ length: 9 }, (_, n) => `team/app-${n}`)];
  const answers = await Promise.allSettled(names.map((name) => ask(imageOf(name), undefined)));
  return { asked, answers: answers.map(({ status }) => status) };
}

test('an image whose rows PostgreSQL cannot read fails no question for another one', async () => {
  for (const code of ['XX001', 'XX000', '58030', '54000', '22P02']) {
    const { asked, answers } = await askAll(code);
    assert.deepEqual(answers, ['rejected', ...Array.from({ length: 9 }, () => 'fulfilled')], code);
    assert.deepEqual(asked, [10, ...Array.from({ length: 10 }, () => 1)], code);
  }
});

test('sets are asked for once where PostgreSQL stops, or has no time, no connection, no memory or no such password', async () => {
  for (const code of ['57014', '57P03', '53300', '53200', '28P01', '3D000', '08P01', '42P01']) {
    const { asked, answers } = await askAll(code);
    assert.deepEqual(new Set(answers), new Set(['rejected']), code);
    assert.deepEqual(asked, [10], code);
  }
});
