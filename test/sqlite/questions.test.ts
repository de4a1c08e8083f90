// Questions to both records: each row once, right sums, an end from outside. Real databases, filled as a server fills them.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import {
  appendFileSync,
  closeSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { setImmediate as turnOf } from 'node:timers/promises';
import fc from 'fast-check';
import { MAX_QUESTIONS_AT_ONCE, QUESTION_MS } from '../../src/domain/limits.ts';
import type { ReadCount } from '../../src/domain/ports.ts';
import { parseFilter } from '../../src/domain/record-question.ts';
import {
  type AccessRow,
  ANY_RECORD,
  type Grouping,
  type Position,
  type RecordFilter,
  type RecordRow,
  type RecordSession,
} from '../../src/domain/records.ts';
import { createAccessRecorder } from '../../src/service/access.ts';
import { createEventMaker } from '../../src/service/audit.ts';
import { connect, keptObjects } from '../../src/sqlite/connect.ts';
import type { Databases } from '../../src/sqlite/databases.ts';
import { QuestionSession } from '../../src/sqlite/question-session.ts';
import { SqliteQuestions } from '../../src/sqlite/questions.ts';
import { APP, BYTES, later, missing, NOON, read } from '../contract/access-log.ts';
import { imageAt } from '../contract/signature-index.ts';
import { createClock, createLog } from '../service/hand-driven.ts';
import { type Cleanup, open, otherProcess, temporaryFolder, until } from './scratch.ts';

const MINUTE_MS = 60_000;
const DAY_MS = 86_400_000;
const never = () => undefined;

async function filled(
  t: Cleanup,
): Promise<{ databases: Databases; session: QuestionSession; dataDir: string }> {
  const dataDir = temporaryFolder(t);
  const { databases } = await open(dataDir);
  const session = new QuestionSession(dataDir, never);
  t.after(async () => {
    session.close();
    await databases.close();
  });
  return { databases, session, dataDir };
}

const ACCESS = (filter: Partial<RecordFilter> = {}) =>
  ({ record: 'access', filter: { ...ANY_RECORD, ...filter } }) as const;
const AUDIT = (filter: Partial<RecordFilter> = {}) =>
  ({ record: 'audit', filter: { ...ANY_RECORD, ...filter } }) as const;

function written(text: Readonly<Record<string, string>>): RecordFilter {
  const parsed = parseFilter(text, NOON);
  return 'filter' in parsed ? parsed.filter : assert.fail(`${parsed.wrong}: wanted ${parsed.wanted}`);
}

/** All rows, by pages of that length. */
function walk(
  session: QuestionSession,
  question: ReturnType<typeof ACCESS | typeof AUDIT>,
  limit: number,
): RecordRow[] {
  const rows: RecordRow[] = [];
  for (let after: Position | null = null; ; ) {
    const page = session.page(question, after, limit);
    assert.ok(page.rows.length <= limit);
    rows.push(...page.rows);
    if (page.next === null) return rows;
    after = page.next;
  }
}

const eventMaker = createEventMaker({
  clock: createClock(),
  randomBytes: (length) => new Uint8Array(length),
});

test('two readers who page through a day while it ends and grows get every row once', async (t) => {
  const { databases, session, dataDir } = await filled(t);
  const at = (minute: number) => later(minute * MINUTE_MS - 12 * 3_600_000);
  const rowAt = (minute: number, address: string) =>
    read({ firstAt: at(minute), lastAt: at(minute), address });
  const before = Array.from({ length: 300 }, (_, k) => rowAt(1100 + k, `192.0.2.${k % 7}`));
  await databases.access.write({ reads: before, missing: [] });
  const others = new QuestionSession(dataDir, never);
  t.after(() => others.close());
  const seen: [AccessRow[], AccessRow[]] = [[], []];
  const after: [Position | null, Position | null] = [null, null];
  for (let turn = 0; after[0] !== null || after[1] !== null || turn === 0; turn += 1) {
    for (const [reader, one] of [session, others].entries() as Iterable<[0 | 1, QuestionSession]>) {
      if (turn > 0 && after[reader] === null) continue;
      const { rows, next } = one.page(ACCESS(), after[reader], 7 + reader * 6);
      seen[reader].push(...(rows as readonly AccessRow[]));
      after[reader] = next;
    }
    // the day goes on, ends, and the next one begins
    const minute = 1400 + turn;
    await databases.access.write({
      reads: [rowAt(minute, '198.51.100.9'), rowAt(1100, '192.0.2.0')],
      missing: [],
    });
  }
  for (const rows of seen) {
    const keys = rows
      .filter(({ address }) => address !== '198.51.100.9')
      .map(({ firstAt, address }) => `${firstAt.toISOString()} ${address}`);
    assert.equal(new Set(keys).size, keys.length, 'a row came twice');
    assert.equal(keys.length, before.length, 'a row was left out');
    const times = rows.map(({ firstAt }) => Math.floor(firstAt.getTime() / MINUTE_MS));
    assert.deepEqual(
      times,
      [...times].sort((one, other) => other - one),
      'newest first',
    );
  }
});

/** What happened, as a plain list. */
interface Deed {
  readonly minute: number;
  readonly path: string;
  readonly number: number;
  readonly status: number;
  readonly address: string;
  readonly token: string | null;
}

const deed: fc.Arbitrary<Deed> = fc.record({
  minute: fc.integer({ min: 0, max: 4 * 1440 - 1 }),
  path: fc.constantFrom('team/app', 'team/app2', 'team', 'other/app'),
  number: fc.integer({ min: 1, max: 3 }),
  status: fc.constantFrom(200, 304, 404),
  address: fc.constantFrom('192.0.2.1', '192.0.2.200', '198.51.100.7', '2001:db8::1', '2001:db8:1::9'),
  token: fc.constantFrom(null, 'ci', 'mirror'),
});

const asked: readonly (readonly [Readonly<Record<string, string>>, (deed: Deed) => boolean])[] = [
  [{}, () => true],
  [{ repository: 'team' }, ({ path }) => path === 'team' || path.startsWith('team/')],
  [{ repository: 'team/app' }, ({ path }) => path === 'team/app'],
  [{ address: '192.0.2.0/25' }, ({ address }) => address === '192.0.2.1'],
  [{ address: '192.0.2.1' }, ({ address }) => address === '192.0.2.1'],
  [
    { address: '2001:db8::/32', status: '200' },
    ({ address, status }) => address.startsWith('2001') && status === 200,
  ],
  [{ actor: 'ci' }, ({ token }) => token === 'ci'],
  [
    { since: '2026-11-23', until: '2026-11-24T12:00:00Z' },
    ({ minute }) => minute >= 1440 && minute < 2 * 1440 + 720,
  ],
];

test('the record answers as a plain list of the reads does, over batches and ends of days', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(fc.array(deed, { maxLength: 30 }), { maxLength: 4 }), async (batches) => {
      const cleanups: (() => void | Promise<void>)[] = [];
      const { databases, session } = await filled({ after: (act) => void cleanups.unshift(act) });
      const clock = createClock('2026-11-22T00:00:00.000Z');
      const recorder = createAccessRecorder({ log: createLog(), clock, accessLog: databases.access });
      const deeds = batches.flatMap((batch) => [...batch].sort((one, other) => one.minute - other.minute));
      for (const batch of batches) {
        for (const { minute, path, ...rest } of [...batch].sort((one, other) => one.minute - other.minute)) {
          clock.jump(Date.parse('2026-11-22') + minute * MINUTE_MS - clock.now().getTime());
          recorder.record({
            image: imageAt(path, 'a'),
            imageIsSigned: true,
            signatureSha256: null,
            agent: 'podman',
            bytes: 10,
            ...rest,
          });
        }
        await recorder.flush();
      }
      for (const [texts, isWanted] of asked) {
        const filter = written(texts);
        const wanted = deeds.filter(isWanted);
        const { total } = session.sums(ACCESS(filter), [], 1);
        assert.deepEqual(
          [total.count, total.bytes],
          [wanted.length, wanted.length * 10],
          JSON.stringify(texts),
        );
        const rows = walk(session, ACCESS(filter), 3) as AccessRow[];
        assert.equal(
          rows.reduce((sum, { count }) => sum + count, 0),
          wanted.length,
        );
        const { groups } = session.sums(ACCESS(filter), ['repository', 'address', 'day'], 1000);
        const listed = new Map<string, number>();
        for (const { path, address, minute } of wanted) {
          const day = `2026-11-${22 + Math.floor(minute / 1440)}`;
          const key = [path, address, day].join(' ');
          listed.set(key, (listed.get(key) ?? 0) + 1);
        }
        assert.deepEqual(new Map(groups.map(({ of, count }) => [of.join(' '), count])), listed);
      }
      for (const cleanup of cleanups) await cleanup();
    }),
    { numRuns: 12 },
  );
});

test('audit events are found by what they are about and by who it was, newest first, each once', async (t) => {
  const { databases, session } = await filled(t);
  const actor = (name: string, address: string | null) => ({ name, address, requestId: null });
  const [alice, bob] = [actor('alice', '192.0.2.7'), actor('bob', '2001:db8::7')];
  const images = ['team/app', 'team/app2', 'team'].map((path) => imageAt(path, 'a'));
  for (let k = 0; k < 30; k += 1) {
    const image = images[k % 3] ?? assert.fail();
    const fingerprint = (k % 2 === 0 ? 'A' : 'B').repeat(40);
    const result = k % 5 === 0 ? 'KEY_UNKNOWN' : 'created';
    await databases.audit.append(
      eventMaker(
        { action: 'upload', image, fingerprint, result, signatureSha256: `${k}`.padStart(64, '0') },
        k % 4 === 0 ? alice : bob,
      ),
    );
  }
  const seqsWith = (texts: Readonly<Record<string, string>>) =>
    walk(session, AUDIT(written(texts)), 4).map((row) => ('seq' in row ? row.seq : 0));
  const upTo30 = Array.from({ length: 30 }, (_, k) => 30 - k);
  assert.deepEqual(seqsWith({}), upTo30);
  assert.deepEqual(
    seqsWith({ repository: 'team' }),
    upTo30.filter((seq) => (seq - 1) % 3 === 2 || (seq - 1) % 3 < 2),
  );
  assert.deepEqual(
    seqsWith({ repository: 'team/app' }),
    upTo30.filter((seq) => (seq - 1) % 3 === 0),
  );
  assert.deepEqual(
    seqsWith({ address: '192.0.2.0/24' }),
    upTo30.filter((seq) => (seq - 1) % 4 === 0),
  );
  assert.deepEqual(
    seqsWith({ actor: 'bob', fingerprint: 'a'.repeat(40) }),
    upTo30.filter((seq) => seq % 4 === 3),
  );
  assert.deepEqual(
    seqsWith({ result: 'KEY_UNKNOWN' }),
    upTo30.filter((seq) => (seq - 1) % 5 === 0),
  );
  assert.deepEqual(seqsWith({ signature: '7'.padStart(64, '0') }), [8]);
  assert.deepEqual(
    seqsWith({ image: images[1]?.hex === undefined ? '' : `sha256:${images[1].hex}` }),
    upTo30,
  );
  assert.deepEqual(seqsWith({ action: 'import' }), []);
  const { groups, total } = session.sums(AUDIT(), ['actor', 'result'], 10);
  assert.deepEqual(
    groups.map(({ of, count }) => [...of, count]),
    [
      ['bob', 'created', 18],
      ['alice', 'created', 6],
      ['bob', 'KEY_UNKNOWN', 4],
      ['alice', 'KEY_UNKNOWN', 2],
    ],
  );
  assert.equal(total.count, 30);
});

test('a day that cannot be read is named in the answer, and the other days answer', async (t) => {
  const { databases, session, dataDir } = await filled(t);
  await databases.access.write({
    reads: [read(), read({ firstAt: later(DAY_MS), lastAt: later(DAY_MS) })],
    missing: [],
  });
  writeFileSync(
    join(dataDir, 'access', '2026-11-20.db'),
    'no database, but as long as one that begins so'.repeat(30),
  );
  const { rows, gaps } = session.page(ACCESS(), null, 10);
  assert.equal(rows.length, 2);
  assert.match(gaps.join(), /2026-11-20 cannot be read/);
});

test('a read is found by the bytes that it got, under whatever number, and by the key that signed them', async (t) => {
  const { databases, session } = await filled(t);
  const [one, other] = ['1', '2'].map((digit) => digit.repeat(64)) as [string, string];
  const app = imageAt('team/app', 'a');
  // the number came to mean another signature within the minute
  const reads = [read({ signatureSha256: one, count: 3 }), read({ signatureSha256: other, count: 4 })];
  const ended = read({ signatureSha256: null, status: 404, number: 2, count: 5 });
  await databases.access.write({ reads: [...reads, ended], missing: [] });
  const about = { action: 'upload', image: app, result: 'created' } as const;
  const ci = { name: 'ci', address: null, requestId: null };
  const fingerprint = 'A'.repeat(40);
  await databases.audit.append(eventMaker({ ...about, signatureSha256: one, fingerprint }, ci));
  for (const [filter, count] of [
    [{ signature: one }, 3],
    [{ signature: other }, 4],
    [{ fingerprint }, 3],
    [{ fingerprint, signature: other }, 0],
    [{ fingerprint: 'B'.repeat(40) }, 0],
    [{}, 12],
  ] as const) {
    assert.equal(session.sums(ACCESS(filter), [], 1).total.count, count, JSON.stringify(filter));
    const rows = walk(session, ACCESS(filter), 1) as AccessRow[];
    assert.equal(
      rows.reduce((sum, row) => sum + row.count, 0),
      count,
    );
  }
  const groups = (by: Grouping) =>
    session.sums(ACCESS(), by, 9).groups.map(({ of, count }) => [...of, count]);
  assert.deepEqual(groups(['key']), [
    [null, 9],
    [fingerprint, 3],
  ]);
  assert.deepEqual(groups(['signature']), [
    [null, 5],
    [other, 4],
    [one, 3],
  ]);
});

test('reads that a busy network makes no longer told apart are not those of a name that is no number', async (t) => {
  const { databases, session } = await filled(t);
  const merged = read({ number: null, agent: null, count: 7 });
  const noNumber = read({ number: null, agent: 'other', count: 2 }); // the name of row 0 in the dictionary
  await databases.access.write({ reads: [merged, noNumber], missing: [] });
  const counts = walk(session, ACCESS(), 10).map(({ count }) => count);
  assert.deepEqual(counts.sort(), [2, 7]);
});

test('what was dropped stands beside every answer over that time', async (t) => {
  const { databases, session } = await filled(t);
  const lost = { count: 9, firstAt: NOON, lastAt: later(1000) };
  await databases.access.write({ reads: [read()], missing: [], dropped: lost });
  await databases.access.write({ reads: [], missing: [], dropped: { ...lost, count: 2 } });
  assert.equal(session.page(ACCESS(), null, 1).dropped, 11);
  assert.equal(session.sums(ACCESS({ status: 200 }), ['day'], 1).dropped, 11);
  assert.equal(session.unsigned(ANY_RECORD, 1).dropped, 11);
  assert.equal(session.page(ACCESS({ since: later(2000) }), null, 1).dropped, 0);
});

test('a day that is over gets its indexes and keeps its hourly totals for ever, also with reads that come late', async (t) => {
  const { databases, session, dataDir } = await filled(t);
  const now = later(DAY_MS);
  const state = connect(join(dataDir, 'state.db'), { readonly: true });
  t.after(() => void state.close());
  const hours = state.prepare(
    'SELECT hour, site, repository, fetched, ended, bytes FROM access_hour ORDER BY hour, repository',
  );
  const hour = Math.floor(NOON.getTime() / 3_600_000);
  const total = (at: number, fetched: number, ended: number, repository = 'team/app') => {
    return { hour: at, site: 'default', repository, fetched, ended, bytes: (fetched + ended) * 500 };
  };
  const ended = read({ status: 404, signatureSha256: null, number: 2 });
  const nextHour = read({
    firstAt: later(3_600_000),
    lastAt: later(3_600_000),
    image: imageAt('team/b', 'a'),
  });
  await databases.access.write({
    reads: [read(), ended, nextHour],
    missing: [],
    dropped: { count: 4, firstAt: NOON, lastAt: NOON },
  });
  await databases.access.write({ reads: [read({ firstAt: now, lastAt: now })], missing: [] });
  const before = walk(session, ACCESS(), 10);
  for (let times = 0; times < 2; times += 1) {
    await databases.access.closeDays(now);
    assert.deepEqual(hours.all(), [total(hour, 1, 1), total(hour + 1, 1, 0, 'team/b')]);
  }
  assert.deepEqual(walk(session, ACCESS(), 10), before);
  const closed = connect(join(dataDir, 'access', '2026-11-22.db'), { readonly: true });
  t.after(() => void closed.close());
  const indexes = closed
    .prepare("SELECT name FROM sqlite_schema WHERE type = 'index' AND name LIKE 'read_by%' ORDER BY name")
    .pluck();
  assert.deepEqual(indexes.all(), ['read_by_address', 'read_by_image', 'read_by_signature']);

  await databases.access.write({ reads: [read({ count: 5, bytes: 2500 })], missing: [] });
  await databases.access.closeDays(now);
  assert.deepEqual(hours.all(), [total(hour, 6, 1), total(hour + 1, 1, 0, 'team/b')]);
  // retention takes the day, and not its totals
  await databases.access.prune({
    now: later(100 * DAY_MS),
    steadyMs: 2 * DAY_MS,
    retentionMs: DAY_MS,
    maxBytes: Number.MAX_SAFE_INTEGER,
  });
  assert.equal(walk(session, ACCESS(), 10).length, 0);
  assert.equal(hours.all().length, 2);
});

test('a day that cannot be closed keeps no later one from it, and is tried again ten minutes later', async (t) => {
  const { databases, session, dataDir } = await filled(t);
  const folder = join(dataDir, 'access');
  await databases.access.write({ reads: [read()], missing: [] });
  writeFileSync(join(folder, '2026-11-20.db'), 'this is no database'.repeat(300));
  mkdirSync(join(folder, '2026-11-21.db')); // it cannot be opened
  const state = connect(join(dataDir, 'state.db'), { readonly: true });
  t.after(() => void state.close());
  const hours = state.prepare('SELECT fetched FROM access_hour').pluck();
  const at = (minutes: number) => later(DAY_MS + minutes * MINUTE_MS);
  await assert.rejects(databases.access.closeDays(at(0)), ({ message }: Error) => {
    assert.match(message, /2026-11-20\.db: .*; put the file back from a backup, or move it away/);
    assert.match(message, /2026-11-21\.db: unable to open/);
    return true;
  });
  assert.deepEqual(hours.all(), [1]);
  await databases.access.closeDays(at(9));
  await assert.rejects(databases.access.closeDays(at(10)), /2026-11-20/);
  rmSync(join(folder, '2026-11-20.db'));
  rmSync(join(folder, '2026-11-21.db'), { recursive: true });
  await databases.access.closeDays(at(20));
  session.begin();
  assert.deepEqual(session.page(ACCESS(), null, 10).gaps, []);
});

test('reads that come while their day is being closed are in its totals', async (t) => {
  const { databases, dataDir } = await filled(t);
  await databases.access.write({ reads: [read()], missing: [] });
  // the day has been summed up, and its totals wait
  const other = await otherProcess(t, 'write', join(dataDir, 'state.db'));
  const closing = databases.access.closeDays(later(DAY_MS));
  await until(() => databases.health().state.lockedTries > 0);
  await databases.access.write({ reads: [read()], missing: [] });
  await databases.access.closeDays(later(DAY_MS + MINUTE_MS)); // the first is not over yet
  await other.end();
  await closing;
  await databases.access.closeDays(later(DAY_MS + 2 * MINUTE_MS));
  const state = connect(join(dataDir, 'state.db'), { readonly: true });
  t.after(() => void state.close());
  assert.deepEqual(state.prepare('SELECT fetched FROM access_hour').pluck().all(), [2]);
});

test('a day that somebody was taken out of is closed anew, with totals that do not count them', async (t) => {
  const { databases, dataDir } = await filled(t);
  await databases.access.write({
    reads: [read(), read({ address: '198.51.100.9', count: 5 })],
    missing: [],
  });
  await databases.access.closeDays(later(DAY_MS));
  const state = connect(join(dataDir, 'state.db'), { readonly: true });
  t.after(() => void state.close());
  const fetched = state.prepare('SELECT fetched FROM access_hour').pluck();
  assert.deepEqual(fetched.all(), [6]);
  const person = { kind: 'address', text: '198.51.100.9' } as const;
  assert.equal(await databases.eraser.forgetReads(person, later(DAY_MS)), 1);
  await databases.access.closeDays(later(DAY_MS + MINUTE_MS));
  assert.deepEqual(fetched.all(), [1]);
});

test('a stop ends what tidies up a day, without a word, and the next start does it', async (t) => {
  const dataDir = temporaryFolder(t);
  const { databases } = await open(dataDir);
  await databases.access.write({ reads: [read()], missing: [missing()] });
  const closing = databases.access.closeDays(later(DAY_MS));
  databases.hurry();
  await databases.close();
  await closing;
  const { databases: again } = await open(dataDir);
  t.after(() => again.close());
  await again.access.closeDays(later(DAY_MS));
  const state = connect(join(dataDir, 'state.db'), { readonly: true });
  t.after(() => void state.close());
  assert.deepEqual(state.prepare('SELECT fetched FROM access_hour').pluck().all(), [1]);
});

test('a day that an older version recorded answers too, without the bytes that it did not name', async (t) => {
  const { databases, session, dataDir } = await filled(t);
  await databases.access.write({ reads: [read()], missing: [] });
  const old = connect(join(dataDir, 'access', '2026-11-20.db'));
  old.exec(readFileSync(new URL('../../../migrations/access/0001_access.sql', import.meta.url), 'utf8'));
  old.pragma('application_id = 0x6c6b4143');
  old.pragma('user_version = 1');
  old.exec(`
    INSERT INTO image VALUES (1, 'default', 'team/app', 'repository', 'sha256', x'${APP.hex}');
    INSERT INTO address VALUES (1, '192.0.2.1');
    INSERT INTO read VALUES (${Date.parse('2026-11-20') / MINUTE_MS}, 1, 1, 200, 1, 0, 0, 0, 0, 3, 1500);
    INSERT INTO read VALUES (${Date.parse('2026-11-20') / MINUTE_MS}, 1, 2, 404, 1, 0, 0, 0, 0, 2, 0);`);
  old.close();
  const rows = walk(session, ACCESS(), 1) as AccessRow[];
  assert.deepEqual(
    rows.map(({ count, signatureSha256 }) => [count, signatureSha256]),
    [
      [1, BYTES],
      [2, null],
      [3, null],
    ],
  );
  assert.equal(session.sums(ACCESS(), ['signature'], 9).total.count, 6);
  assert.equal(walk(session, ACCESS({ signature: BYTES }), 1).length, 1);
});

test('an export has every row and says at its end that it is whole', async (t) => {
  const { databases, session } = await filled(t);
  const at = (k: number) => later(k * MINUTE_MS);
  const reads: ReadCount[] = Array.from({ length: 5000 }, (_, k) =>
    read({
      firstAt: at(k % 600),
      lastAt: at(k % 600),
      address: `192.0.2.${k % 9}`,
      number: (k % 7) + 1,
      agent: '=cmd|x\u001b[2J',
    }),
  );
  await databases.access.write({ reads, missing: [] });
  const { total } = session.sums(ACCESS(), [], 1);
  const lines = [...session.export(ACCESS(), 'jsonl')].join('').trimEnd().split('\n');
  assert.deepEqual(JSON.parse(lines.at(-1) ?? ''), { end: { rows: total.rows, dropped: 0, gaps: [] } });
  assert.equal(lines.length, total.rows + 1);
  assert.equal(new Set(lines).size, lines.length);
  const [head, first] = [...session.export(ACCESS(), 'csv')].join('').split('\r\n');
  assert.equal(
    head,
    'firstAt,lastAt,site,image,number,signatureSha256,status,address,agent,token,count,bytes',
  );
  // no formula, and nothing that controls a terminal
  assert.match(first ?? '', /,'=cmd\|x\\u001b\[2J,/);
});

test('an image counts as never signed only when no signature of it was ever here', async (t) => {
  const { databases, session } = await filled(t);
  const [never1, uploaded] = [imageAt('team/none', 'a'), imageAt('team/late', 'a')];
  const asks = [missing({ image: never1, count: 3 }), missing({ image: uploaded, count: 9 })];
  const next = missing({
    image: never1,
    count: 2,
    firstAt: later(DAY_MS),
    lastAt: later(DAY_MS),
    lastAddress: '192.0.2.9',
  });
  await databases.access.write({ reads: [], missing: [...asks, next] });
  const event = eventMaker(
    { action: 'upload', image: uploaded, result: 'created' },
    { name: 'ci', address: null, requestId: null },
  );
  const upload = {
    image: uploaded,
    sha256: 'a'.repeat(64),
    sizeBytes: 1,
    uploader: 'ci',
    storedAt: NOON,
    bytes: null,
    remap: null,
  };
  await databases.uploads.add(upload, event);
  const { rows, found } = session.unsigned(ANY_RECORD, 10);
  assert.equal(found, 1);
  assert.deepEqual(
    rows.map(({ image, count, lastAddress }) => [image, count, lastAddress]),
    [[`team/none@sha256:${never1.hex}`, 5, '192.0.2.9']],
  );
});

test('a person who is forgotten leaves no name and no address, and every leaf stays and still binds the others', async (t) => {
  const { databases, session, dataDir } = await filled(t);
  const at = (days: number) => new Date(NOON.getTime() + days * DAY_MS);
  const clock = createClock('2026-11-22T12:00:00.000Z');
  const make = createEventMaker({ clock, randomBytes: (length) => new Uint8Array(length).fill(7) });
  const by = (name: string, address: string | null) => ({ name, address, requestId: null });
  const upload = { action: 'upload', image: APP, result: 'created' } as const;
  const query = { action: 'query', result: 'answered', reason: 'access address=192.0.2.7' } as const;
  for (const event of [
    make(upload, by('alice', '192.0.2.7')),
    make(upload, by('bob', '192.0.2.70')),
    make(query, by('bob', '192.0.2.70')),
  ]) {
    await databases.audit.append(event);
  }
  clock.pass(2 * DAY_MS);
  await databases.audit.append(make(upload, by('alice', '192.0.2.7')));
  const readBy = (days: number, address: string, token: string | null) =>
    read({ firstAt: at(days), lastAt: at(days), address, token });
  await databases.access.write({
    reads: [readBy(0, '192.0.2.7', 'alice'), readBy(0, '192.0.2.70', null), readBy(2, '192.0.2.7', null)],
    missing: [missing({ lastAddress: '192.0.2.7', count: 3 })],
  });
  const leaves = async () => (await databases.audit.after(0, 99)).map(({ leaf }) => leaf);
  const before = await leaves();
  const person = { kind: 'address', text: '192.0.2.7' } as const;
  const event = make({ action: 'forget', result: 'forgotten' }, by('root', null));
  assert.equal(await databases.eraser.forgetReads(person, at(1)), 1);
  assert.equal(await databases.eraser.forgetEvents(person, at(1), event), 2);
  assert.deepEqual((await leaves()).slice(0, before.length), before);
  const rows = await databases.audit.after(0, 99);
  assert.deepEqual(
    rows.map(({ action, actor, address, reason }) => [action, actor, address, reason]),
    [
      ['upload', null, null, null],
      ['upload', 'bob', '192.0.2.70', null],
      ['query', null, null, null],
      ['upload', 'alice', '192.0.2.7', null],
      ['forget', 'root', null, null],
    ],
  );
  // events that still say who it was prove as before
  for (const row of rows.filter(({ actor }) => actor !== null)) {
    const { actor, address, requestId, reason } = row;
    const text = JSON.stringify({ actor, address, reason, requestId });
    const hash = createHash('sha256').update(new Uint8Array(32).fill(7)).update(text).digest('hex');
    assert.equal(JSON.parse(row.leaf).private, hash);
  }
  const kept = walk(session, ACCESS(), 9) as AccessRow[];
  assert.deepEqual(
    kept.map(({ address }) => address),
    ['192.0.2.7', '192.0.2.70'],
  );
  assert.deepEqual(
    session.unsigned(ANY_RECORD, 9).rows.map(({ count, lastAddress }) => [count, lastAddress]),
    [[3, 'other']],
  );
  assert.equal(await databases.eraser.forgetReads({ kind: 'actor', text: 'alice' }, at(3)), 0);
  // a session bears the name too
  const name = 'https://sso.example.com anna';
  const identity = {
    issuer: 'https://sso.example.com',
    shownName: 'anna',
    role: 'reader',
    signer: null,
  } as const;
  const times = { createdAt: at(0), expiresAt: at(9) };
  for (const [token, hash] of [
    [name, '01'],
    [`${name}bel`, '02'],
  ] as const) {
    const logIn = make({ action: 'log-in', result: 'created' }, by(token, null));
    assert.ok(
      (await databases.sessions.add({ token, identity, hash: hash.repeat(32), ...times }, logIn)) !== null,
    );
  }
  await databases.eraser.forgetEvents({ kind: 'actor', text: name }, at(1), event);
  assert.deepEqual(
    (await databases.sessions.list()).map(({ token }) => token.name),
    [`${name}bel`],
  );
  // the files themselves hold neither: not in free pages, and not in a journal
  for (const name of readdirSync(join(dataDir, 'access')).filter((one) => one.startsWith('2026-11-22'))) {
    const bytes = readFileSync(join(dataDir, 'access', name));
    assert.ok(!/192\.0\.2\.7(?!0)/.test(bytes.toString('latin1')), name);
    assert.ok(!bytes.includes('alice'), name);
  }
});

async function asking(
  t: Cleanup,
  dataDir: string,
  signal: AbortSignal,
  questionMs = QUESTION_MS,
): Promise<RecordSession> {
  const session = await new SqliteQuestions(dataDir, { questionMs }).open(signal);
  t.after(async () => await session[Symbol.asyncDispose]());
  return session;
}

test('a question in its thread answers, ends when its asker leaves, and is given up after its time', async (t) => {
  const { databases, dataDir } = await filled(t);
  const many = Array.from({ length: 4000 }, (_, k) =>
    read({ firstAt: later(k * 1000), lastAt: later(k * 1000), number: (k % 9) + 1 }),
  );
  await databases.access.write({ reads: many, missing: [] });
  const leaving = new AbortController();
  const session = await asking(t, dataDir, leaving.signal);
  assert.equal((await session.sums(ACCESS(), [], 1)).total.count, 4000);
  let pieces = 0;
  for await (const piece of session.export(ACCESS(), 'csv')) pieces += piece === '' ? 0 : 1;
  assert.ok(pieces >= 2);
  const left = new Error('left');
  leaving.abort(left);
  await assert.rejects(session.sums(ACCESS(), [], 1), (error) => error === left);
  const late = await asking(t, dataDir, new AbortController().signal, 1);
  await assert.rejects(late.sums(ACCESS(), [], 1), { code: 'QUESTION_TOO_LONG' });
});

test('more askers than can be answered at once are told to ask again', async (t) => {
  const { dataDir } = await filled(t);
  const questions = new SqliteQuestions(dataDir);
  const { signal } = new AbortController();
  const sessions: RecordSession[] = [];
  for (let k = 0; k < MAX_QUESTIONS_AT_ONCE; k += 1) sessions.push(await questions.open(signal));
  await assert.rejects(questions.open(signal), { code: 'BUSY' });
  const last = sessions.pop() ?? assert.fail();
  await last.page(ACCESS(), null, 1);
  await last[Symbol.asyncDispose]();
  sessions.push(await questions.open(signal));
  for (const session of sessions) await session[Symbol.asyncDispose]();
});

test('a thread that has answered answers the next asker too, sees what was replaced meanwhile, and ends after a while', async (t) => {
  const { databases, dataDir } = await filled(t);
  await databases.access.write({ reads: [read({ count: 3 })], missing: [] });
  const questions = new SqliteQuestions(dataDir, { restMs: 20, rests: 2 });
  const countOf = async () => {
    await using session = await questions.open(new AbortController().signal);
    assert.equal(questions.resting, 0);
    return (await session.sums(ACCESS(), [], 1)).total.count;
  };
  assert.equal(await countOf(), 3);
  assert.equal(questions.resting, 1);
  await databases.access.write({ reads: [read({ count: 4 })], missing: [] });
  assert.equal(await countOf(), 7);
  await databases.access.prune({
    now: later(100 * DAY_MS),
    steadyMs: 2 * DAY_MS,
    retentionMs: DAY_MS,
    maxBytes: Number.MAX_SAFE_INTEGER,
  });
  assert.equal(await countOf(), 0);
  await databases.access.write({ reads: [read({ count: 5 })], missing: [] });
  assert.equal(await countOf(), 5);
  while (questions.resting > 0) await turnOf();
  assert.equal(await countOf(), 5);
  await questions.close();
  assert.equal(questions.resting, 0);
  assert.equal(await countOf(), 5);
  assert.equal(questions.resting, 0, 'a question behind close() keeps no thread');
});

/** Where an open file lies; one that is closed meanwhile lies nowhere. */
function linkOf(fd: string): string {
  try {
    return readlinkSync(`/proc/self/fd/${fd}`);
  } catch {
    return '';
  }
}

test('a thread that rests lets go of days that are deleted, long before it ends', async (t) => {
  const { databases, dataDir } = await filled(t);
  await databases.access.write({ reads: [read()], missing: [] });
  const questions = new SqliteQuestions(dataDir, { restMs: 20, rests: 100_000 });
  {
    await using session = await questions.open(new AbortController().signal);
    await session.sums(ACCESS(), [], 1);
  }
  const openDays = () =>
    readdirSync('/proc/self/fd')
      .map(linkOf)
      .filter((file) => file.startsWith(join(dataDir, 'access', '20')));
  assert.ok(openDays().length > 0);
  await databases.access.prune({
    now: later(100 * DAY_MS),
    steadyMs: 2 * DAY_MS,
    retentionMs: DAY_MS,
    maxBytes: Number.MAX_SAFE_INTEGER,
  });
  while (openDays().some((file) => file.endsWith('(deleted)'))) await turnOf();
  assert.equal(questions.resting, 1);
  await questions.close();
});

test('a question that is cancelled or overdue ends its thread, and the next asker gets a new one', async (t) => {
  const { databases, dataDir } = await filled(t);
  await databases.access.write({ reads: [read()], missing: [] });
  const { signal } = new AbortController();
  const leaving = new AbortController();
  const questions = new SqliteQuestions(dataDir);
  const cancelled = await questions.open(leaving.signal);
  const answer = cancelled.sums(ACCESS(), [], 1);
  leaving.abort(new Error('left'));
  await assert.rejects(answer, /left/);
  await cancelled[Symbol.asyncDispose]();
  assert.equal(questions.resting, 0);
  const overdue = new SqliteQuestions(dataDir, { questionMs: 1 });
  const late = await overdue.open(signal);
  await assert.rejects(late.sums(ACCESS(), [], 1), { code: 'QUESTION_TOO_LONG' });
  await late[Symbol.asyncDispose]();
  assert.equal(overdue.resting, 0);
  // an export that nobody takes to its end is no reason for a new thread
  const partly = await questions.open(signal);
  for await (const _ of partly.export(ACCESS(), 'csv')) break;
  await partly[Symbol.asyncDispose]();
  assert.equal(questions.resting, 1);
  const next = await questions.open(signal);
  assert.equal((await next.sums(ACCESS(), [], 1)).total.count, 1);
  await next[Symbol.asyncDispose]();
  await questions.close();
});

test('a thread keeps no more connections and statements with each question of the same form', async (t) => {
  const { databases, session } = await filled(t);
  await databases.access.write({ reads: [read()], missing: [missing({ image: imageAt('team/none', 'a') })] });
  const ask = () => {
    session.begin();
    const filter = {
      address: '192.0.2.0/24',
      image: { digest: APP, place: null },
      fingerprint: 'A'.repeat(40),
    };
    for (const question of [ACCESS(), ACCESS(filter), AUDIT(), AUDIT(filter)]) {
      session.page(question, null, 10);
      session.sums(question, ['day', 'address'], 10);
    }
    session.unsigned(ANY_RECORD, 10);
    session.repositoryTotals(ANY_RECORD, 10);
    session.rotation('A'.repeat(40), 'B'.repeat(40), NOON);
    session.rest();
  };
  ask();
  const before = keptObjects();
  for (let k = 0; k < 20; k += 1) ask();
  assert.equal(keptObjects(), before);
});

test('a thread that fails by itself is told as a store that cannot be read', async (t) => {
  // a folder that is no text ends the thread outside of any question, as memory that is used up does
  const session = await asking(t, 7 as unknown as string, new AbortController().signal);
  await assert.rejects(session.page(ACCESS(), null, 1), { code: 'STORE_UNAVAILABLE' });
});

test('what is held and can be reached no more is let go, and answers again once it can be', async (t) => {
  const { databases, session, dataDir } = await filled(t);
  await databases.access.write({ reads: [read()], missing: [] });
  await databases.audit.append(
    eventMaker({ action: 'upload', result: 'created' }, { name: 'ci', address: null, requestId: null }),
  );
  const ask = () => [session.page(ACCESS(), null, 10), session.page(AUDIT(), null, 10)] as const;
  const before = ask().map(({ rows }) => rows.length);
  for (const name of ['access/2026-11-22.db', 'state.db']) {
    const file = join(dataDir, name);
    renameSync(file, `${file}.aside`);
    symlinkSync(file, file); // ELOOP
    session.begin();
    rmSync(file);
    renameSync(`${file}.aside`, file);
  }
  assert.deepEqual(
    ask().map(({ rows }) => rows.length),
    before,
  );
});

test('a day that is damaged while it is held is named, and the other days answer', async (t) => {
  const { databases, session, dataDir } = await filled(t);
  const next = read({ firstAt: later(DAY_MS), lastAt: later(DAY_MS) });
  await databases.access.write({ reads: [read(), next], missing: [] });
  assert.equal(session.page(ACCESS(), null, 10).rows.length, 2);
  const day = join(dataDir, 'access', '2026-11-22.db');
  const tidied = connect(day);
  tidied.pragma('wal_checkpoint(TRUNCATE)');
  tidied.close();
  const file = openSync(day, 'r+');
  writeSync(file, Buffer.alloc(4096, 0x2a), 0, 4096, 0);
  closeSync(file);
  session.begin();
  const { rows, gaps } = session.page(ACCESS(), null, 10);
  assert.equal(rows.length, 1);
  assert.match(gaps.join(), /2026-11-22 cannot be read/);
});

test('a day that is over stands in its own file, also while a resting thread holds it', async (t) => {
  const { databases, session, dataDir } = await filled(t);
  const at = (days: number) => read({ firstAt: later(days * DAY_MS), lastAt: later(days * DAY_MS) });
  await databases.access.write({ reads: [at(0)], missing: [] });
  session.page(ACCESS(), null, 10);
  await databases.access.write({ reads: [at(1)], missing: [] });
  await databases.access.closeDays(later(DAY_MS));
  const sizeOf = (name: string) =>
    statSync(join(dataDir, 'access', name), { throwIfNoEntry: false })?.size ?? 0;
  // two days that are written to later: the writer lets this one go
  await databases.access.write({ reads: [at(2), at(3)], missing: [] });
  assert.equal(sizeOf('2026-11-22.db-wal'), 0);
  assert.ok(sizeOf('2026-11-22.db') > 4096);
  assert.equal(session.page(ACCESS(), null, 10).rows.length, 4);
});

/** Empty for one that was closed meanwhile. */
function readlinkOf(path: string): string {
  try {
    return readlinkSync(path);
  } catch {
    return '';
  }
}

test('days that retention took are held no longer than until the next question, whatever it is about', async (t) => {
  const { databases, session, dataDir } = await filled(t);
  await databases.access.write({ reads: [read()], missing: [] });
  session.page(ACCESS(), null, 10);
  session.rest();
  await databases.access.prune({
    now: later(100 * DAY_MS),
    steadyMs: 2 * DAY_MS,
    retentionMs: DAY_MS,
    maxBytes: Number.MAX_SAFE_INTEGER,
  });
  const heldInVain = () =>
    readdirSync('/proc/self/fd').filter((fd) => {
      const link = readlinkOf(join('/proc/self/fd', fd));
      return link.startsWith(dataDir) && link.includes('2026-11-22.db');
    });
  assert.notEqual(heldInVain().length, 0);
  session.begin();
  assert.deepEqual(heldInVain(), []);
});

test('a state.db that is damaged is told as such', async (t) => {
  const dataDir = join(temporaryFolder(t), 'data');
  mkdirSync(dataDir);
  appendFileSync(
    join(dataDir, 'state.db'),
    'no database at all, and longer than a header of a database would be'.repeat(20),
  );
  const session = await asking(t, dataDir, new AbortController().signal);
  await assert.rejects(session.page(AUDIT(), null, 1), { code: 'STATE_UNUSABLE' });
});
