// The overview and the images that were never signed: numbers, where they lead, and what they say when nothing is there.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { LookasideError } from '../../src/domain/errors.ts';
import type { RecordQuestion, RecordSession } from '../../src/domain/records.ts';
import { createOverview } from '../../src/service/overview.ts';
import { render } from '../../src/ui/html.ts';
import { plot } from '../../src/ui/plot.ts';
import type { PageServices } from '../../src/ui/services.ts';
import { createClock, createLog } from '../service/hand-driven.ts';
import { FINGERPRINT, IMAGE, key, servePages } from './scene.ts';

const WELL = {
  status: 'ok',
  reads: 'ok',
  writes: 'ok',
  checks: { tree: { state: 'ok', message: null } },
} as const;
const group = (of: readonly string[], count: number) => ({
  of,
  count,
  bytes: 0,
  firstAt: new Date(0),
  lastAt: new Date(0),
});
const NONE = { dropped: 0, gaps: [] };
const never = () => new Promise<never>(() => undefined);

/** Answers as the records do: every hour the same, and of the month one day. */
function sessions(answer: Partial<RecordSession> = {}) {
  let opened = 0;
  const asked: string[] = [];
  const session = {
    sums: async ({ record, filter: { since, until } }: RecordQuestion, by: readonly string[]) => {
      const day = by[0] === 'day' ? ['2026-11-20'] : [];
      asked.push(`${record} ${since?.toISOString()} ${until?.toISOString() ?? ''}`);
      if (by[0] === 'day' && until === null) return { groups: [], found: 0, total: {}, ...NONE };
      const groups =
        record === 'access'
          ? [group([...day, '200'], 10), group([...day, '404'], 5), group([...day, '503'], 1)]
          : [group([...day, 'created'], 3), group([...day, 'KEY_UNKNOWN'], 2)];
      return { groups, found: groups.length, total: {}, ...NONE };
    },
    unsigned: async () => ({ rows: [], found: 4, ...NONE }),
    ...answer,
  } as unknown as RecordSession;
  const records = {
    session: async <T>(about: unknown, _asker: unknown, act: (one: RecordSession) => Promise<T>) => {
      assert.equal(about, null, 'it names nobody, so no event says who asked');
      opened += 1;
      return act(session);
    },
  };
  return { records, wait: never, opened: () => opened, asked };
}

describe('what is counted for the overview', () => {
  test('hours and days, uploads with their refusals, and what was asked for in vain', async () => {
    const clock = createClock();
    const counted = (await createOverview({ ...sessions(), clock, log: createLog() }).get()) ?? assert.fail();
    assert.equal(counted.hours.length, 24);
    assert.equal(counted.hours.at(-1)?.at.toISOString(), '2026-11-22T10:00:00.000Z');
    assert.deepEqual(
      { ...counted.hours[0], at: null },
      { at: null, fetched: 10, ended: 5, failed: 1, accepted: 3, refused: 2 },
    );
    assert.equal(counted.days.length, 30);
    assert.equal(
      counted.days.reduce((sum, { fetched }) => sum + fetched, 0),
      10,
      'the day that has reads, once',
    );
    assert.equal(counted.days.at(-3)?.refused, 2);
    assert.deepEqual(counted.refusals, [{ code: 'KEY_UNKNOWN', count: 2 }]);
    assert.deepEqual(counted.missed, { day: 4, month: 4 });
  });

  test('an answer is kept for a minute, then shown while the next one is made, and dropped when it is old', async () => {
    const clock = createClock();
    const { records, wait, opened } = sessions();
    const overview = createOverview({ records, clock, wait, log: createLog() });
    const [one, two] = await Promise.all([overview.get(), overview.get()]);
    assert.equal(one, two, 'two who ask at once wait for one count');
    clock.pass(59_000);
    assert.equal(await overview.get(), one);
    assert.equal(opened(), 1);
    clock.pass(2000);
    assert.equal(await overview.get(), one, 'nobody waits');
    await new Promise((resolve) => setImmediate(resolve));
    assert.equal(opened(), 2);
    assert.notEqual(await overview.get(), one);
    clock.pass(3_600_000);
    assert.equal((await overview.get())?.madeAt.getTime(), clock.now().getTime());
  });

  test('who asks before the first count is done does not wait for it, and what is over is counted once an hour', async () => {
    const clock = createClock();
    const { records, opened, asked } = sessions();
    let go: () => void = () => undefined;
    const held = {
      session: (async (about, asker, act) => {
        await new Promise<void>((resolve) => {
          go = resolve;
        });
        return records.session(about, asker, act as never);
      }) as typeof records.session,
    };
    const overview = createOverview({ records: held, clock, wait: async () => undefined, log: createLog() });
    assert.equal(await overview.get(), null);
    assert.equal(await overview.get(), null);
    go();
    for (let counted = await overview.get(); counted === null; ) counted = await overview.get();
    assert.equal(opened(), 1);
    const month = (text: string) => text.startsWith('access 2026-10-24');
    assert.equal(asked.filter(month).length, 1);
    clock.pass(61_000);
    await overview.get();
    go();
    while (opened() < 2) await new Promise((resolve) => setImmediate(resolve));
    await new Promise((resolve) => setImmediate(resolve));
    assert.equal(asked.filter(month).length, 1);
    clock.pass(3_600_000);
    await overview.get();
    go();
    while (opened() < 3) await new Promise((resolve) => setImmediate(resolve));
    assert.equal(asked.filter(month).length, 2);
  });

  test('a count behind an answer that fails in an unknown way is logged, and the answer stays', async () => {
    const clock = createClock();
    const log = createLog();
    const { records } = sessions();
    let isBroken = false;
    const breaking = {
      session: (async (...input) => {
        if (isBroken) throw new Error('out of memory');
        return records.session(...input);
      }) as typeof records.session,
    };
    const overview = createOverview({ records: breaking, clock, wait: never, log });
    const first = await overview.get();
    isBroken = true;
    clock.pass(61_000);
    // a rejection that nobody handles fails this test, as it would end the server
    assert.equal(await overview.get(), first);
    await new Promise((resolve) => setImmediate(resolve));
    assert.match(
      log.lines.map(({ level, fields }) => `${level} ${fields.err}`).join(),
      /^warn .*out of memory$/,
    );
  });

  test('a count that fails is not begun again within a minute', async () => {
    const clock = createClock();
    let begun = 0;
    const records = {
      session: async () => {
        begun += 1;
        throw new LookasideError('QUESTION_TOO_LONG', 'too long');
      },
    };
    const overview = createOverview({ records, clock, wait: never, log: createLog() });
    for (let time = 0; time < 3; time += 1)
      await assert.rejects(overview.get(), { code: 'QUESTION_TOO_LONG' });
    assert.equal(begun, 1);
    clock.pass(61_000);
    await assert.rejects(overview.get(), { code: 'QUESTION_TOO_LONG' });
    assert.equal(begun, 2);
  });
});

describe('the page Overview', () => {
  const services = (others: Partial<PageServices> = {}): Partial<PageServices> => ({
    health: async () => WELL,
    mirrors: { list: async () => [] } as unknown as PageServices['mirrors'],
    overview: createOverview({ ...sessions(), clock: createClock(), log: createLog() }),
    ...others,
  });

  test('each number leads to the rows behind it, and plots have their numbers as text and table', async () => {
    const endsSoon = key({ expiresAt: new Date('2026-12-01T00:00:00Z'), userIds: ['Ends <soon>'] });
    await using pages = await servePages({ keys: [endsSoon], services: services() });
    const { status, text } = await pages.get('overview', await pages.logIn('auditor'));
    assert.equal(status, 200);
    assert.match(text, /All is well/);
    assert.match(text, /href="\.\/access\?since=2026-11-21T11%3A00%3A00\.000Z&amp;status=200">240<\/a>/);
    assert.match(text, /href="\.\/audit\?since=[^"]*&amp;action=upload&amp;result=KEY_UNKNOWN">2<\/a>/);
    assert.match(text, /href="\.\/never-signed\?since=[^"]*">4<\/a>/);
    assert.match(
      text,
      /role="img" aria-label="Requests of clients: reads 240, ends of lists 120, failures 24; at most 16 in one hour"/,
    );
    assert.ok(text.includes(`href="./keys/${FINGERPRINT}">Ends &lt;soon&gt;`));
    assert.doesNotMatch(text, /style=/);
    assert.ok(Buffer.byteLength(text) < 60_000, String(text.length));
  });

  test('numbers that are still being counted keep no page back, and it loads itself again', async () => {
    await using pages = await servePages({ services: services({ overview: { get: async () => null } }) });
    const { status, text } = await pages.get('overview', await pages.logIn('admin'));
    assert.equal(status, 200);
    assert.match(text, /data-refresh="2".*The reads and uploads are being counted/s);
    assert.match(text, /All is well/);
  });

  test('damage, a failing store and a mirror behind are told in words; what cannot be counted hides nothing else', async () => {
    const health = {
      ...WELL,
      status: 'failed',
      reads: 'failed',
      checks: { tree: { state: 'failed', message: 'the tree cannot be read; the log says why' } },
    } as const;
    const mirror = { name: 'red-hat', restingMs: 5000, completeAt: null, lastSync: null };
    await using pages = await servePages({
      services: services({
        health: async () => health,
        mirrors: { list: async () => [mirror] } as unknown as PageServices['mirrors'],
        overview: { get: () => Promise.reject(new LookasideError('QUESTION_TOO_LONG', 'too long')) },
      }),
    });
    const { status, text } = await pages.get('overview', await pages.logIn('admin'));
    assert.equal(status, 200);
    assert.match(text, /Clients get no right answers.*the tree cannot be read/s);
    assert.match(text, /its upstream fails.*red-hat/s);
    assert.match(text, /could not be counted.*lookaside audit report/s);
    assert.match(text, /No key is registered yet/);
  });
});

test('a plot of nothing is a plot, without a division by nothing', () => {
  const text = render(
    plot({
      title: 'None',
      at: [new Date(0)],
      step: 'day',
      series: [{ title: 'x', colour: 'a', values: [0] }],
    }),
  );
  assert.doesNotMatch(text, /NaN|Infinity|<rect/);
});

describe('the page Never signed', () => {
  const ask = (rows: boolean): Partial<PageServices> => ({
    readyQuestions: {
      ask: async (question) => {
        assert.equal(question.kind, 'unsigned');
        const at = '2026-11-22T09:00:00.000Z';
        const tables = [
          {
            name: 'repositories',
            title: '',
            columns: [],
            rows: rows ? [['team/app', 1200, 1, at, '192.0.2.9']] : [],
            found: rows ? 1 : 0,
          },
          {
            name: 'images',
            title: '',
            columns: [],
            rows: rows
              ? [
                  [IMAGE, 1200, at, at, null, 'default'],
                  [IMAGE, 3, at, at, null, 'red-hat'],
                ]
              : [],
            found: rows ? 300 : 0,
          },
        ];
        return { ...question, question: 'unsigned', answeredAt: new Date(), facts: [], tables, ...NONE };
      },
    },
  });

  test('repositories and images with their last client, each a link', async () => {
    await using pages = await servePages({ services: ask(true) });
    const { text } = await pages.get('never-signed', await pages.logIn('auditor'));
    assert.ok(text.includes('href="./never-signed?since=30d&amp;repository=team%2Fapp"'));
    assert.ok(text.includes('href="./access?address=192.0.2.9"'));
    assert.ok(text.includes(`href="./images/${IMAGE}"`));
    assert.ok(text.includes(`href="./images/${IMAGE}?site=red-hat"`), 'where it was asked for');
    assert.match(text, /The first 2 of 300 images.*lookaside audit unsigned/s);
    assert.equal((await pages.get('never-signed?since=nonsense', await pages.logIn('auditor'))).status, 400);
  });

  test('nothing asked for in vain is said in words', async () => {
    await using pages = await servePages({ services: ask(false) });
    assert.match(
      (await pages.get('never-signed', await pages.logIn('admin'))).text,
      /Nothing was asked for in vain/,
    );
  });
});
