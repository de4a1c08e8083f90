// The same questions to a data directory and to the database that it was moved into: the answers are the same.
import assert from 'node:assert/strict';
import { parseFilter } from '../../src/domain/record-question.ts';
import { ANY_RECORD, DIMENSIONS, type Dimension, type RecordFilter } from '../../src/domain/records.ts';
import { connect } from '../../src/postgres/connect.ts';
import { PostgresQuestions } from '../../src/postgres/questions.ts';
import { QuestionSession } from '../../src/sqlite/question-session.ts';

/** As people write them. */
const FILTERS: readonly Readonly<Record<string, string>>[] = [
  {},
  { since: '2020-01-01', until: '2099-01-01' },
  { until: '2020-01-01' },
  { repository: 'team' },
  { repository: 'team/app' },
  { address: '192.0.2.0/24' },
  { address: '192.0.2.9' },
  { address: '198.51.100.1' },
];
const OF_AUDIT = [
  { action: 'key-add' },
  { action: 'upload' },
  { result: 'created' },
  { result: 'KEY_UNKNOWN' },
  { actor: 'administrator' },
  { actor: 'server' },
  { actor: 'no"body\\' },
  { site: 'default' },
  { site: 'no-such' },
  { address: '0.0.0.0/0' },
  { address: '::/0', action: 'upload' },
];
const OF_ACCESS = [{ status: '404' }, { agent: 'PODMAN' }, { actor: 'ci' }];

export interface Asked {
  readonly dataDir: string;
  readonly url: string;
  /** Folder of an image with reads. */
  readonly folder: string;
  /** Primary fingerprints: of a key with signatures, of another one. */
  readonly keys: readonly [string, string];
}

export async function assertSameAnswers({ dataDir, url, folder, keys }: Asked): Promise<void> {
  const old = new QuestionSession(dataDir, () => undefined);
  const questions = new PostgresQuestions(url);
  const { signal } = new AbortController();
  try {
    await using session = await questions.open(signal);
    const image = folder.replace('sha256=', 'sha256:');
    const digest = image.slice(image.indexOf('sha256:'));
    const more = [
      { image },
      { image: digest },
      { fingerprint: keys[0] },
      { fingerprint: keys[0], repository: 'team/app' },
    ];
    for (const record of ['audit', 'access'] as const) {
      const own = record === 'audit' ? OF_AUDIT : OF_ACCESS;
      for (const text of [...FILTERS, ...more, ...own]) {
        const filter = filterOf(text);
        const label = `${record} ${JSON.stringify(text)}`;
        const question = { record, filter };
        const before = old.page(question, null, 100);
        const rows = await walked(session, question);
        assert.deepEqual(sorted(rows), sorted(before.rows), label);
        for (const by of DIMENSIONS[record] as readonly Dimension[]) {
          assert.deepEqual(
            await session.sums(question, [by], 100),
            old.sums(question, [by], 100),
            `${label} by ${by}`,
          );
        }
      }
      const question = { record, filter: ANY_RECORD };
      assert.deepEqual(
        (await pieces(session.export(question, 'jsonl'))).length,
        [...old.export(question, 'jsonl')].join('').trim().split('\n').length,
      );
    }
    const since = new Date('2099-01-01T00:00:00Z');
    const now = new Date();
    const [key, other] = keys;
    const usable = { keys: [other], endedSubkeys: [] };
    const issuers = [key];
    assert.deepEqual(await session.unsigned(ANY_RECORD, 10), old.unsigned(ANY_RECORD, 10));
    assert.deepEqual(await session.repositoryTotals(ANY_RECORD, 10), old.repositoryTotals(ANY_RECORD, 10));
    const stale = await session.stale(since, ANY_RECORD, 10);
    assert.deepEqual(sorted(stale.rows), sorted(old.stale(since, ANY_RECORD, 10).rows));
    assert.deepEqual(await session.signaturesBy(key), old.signaturesBy(key));
    assert.deepEqual(
      (await session.revocation(key, issuers, usable, now)).broken,
      old.revocation(key, issuers, usable, now).broken,
    );
    assert.deepEqual(
      await session.revocation(key, issuers, usable, now),
      old.revocation(key, issuers, usable, now),
    );
    assert.deepEqual(
      (await session.revocationBroken(key, usable, now, null, 10)).images,
      old.revocationBroken(key, usable, now, null, 10).images,
    );
    assert.deepEqual(await session.rotation(key, other, now), old.rotation(key, other, now));
    assert.deepEqual(
      (await session.rotationWork(key, other, null, 10)).work,
      old.rotationWork(key, other, null, 10).work,
    );
    await assertManyGroups(url, session);
  } finally {
    old.close();
    await questions.close();
  }
}

/** More groups than the database sends: the first of them, and the number and the total of all. */
async function assertManyGroups(url: string, session: Session): Promise<void> {
  const connections = connect({ url });
  try {
    await connections.query(
      `
      INSERT INTO access_read (day, first_at_ms, last_at_ms, site, folder, number, sha256, status, address, agent, token, count, bytes)
      SELECT day, first_at_ms, last_at_ms, site, folder, number, sha256, status, address, 'many-' || n, token, n, 1
      FROM (SELECT * FROM access_read LIMIT 1) AS one, generate_series(1, 6000) AS n`,
    );
    const question = { record: 'access', filter: filterOf({ agent: 'many-' }) } as const;
    const byAgent = await session.sums(question, ['agent'], 2);
    assert.deepEqual(
      byAgent.groups.map(({ of, count }) => [...of, count]),
      [
        ['many-6000', 6000],
        ['many-5999', 5999],
      ],
    );
    const { count, bytes, rows } = byAgent.total;
    assert.deepEqual([byAgent.found, count, bytes, rows], [6000, (6000 * 6001) / 2, 6000, 6000]);
    assert.deepEqual(byAgent.gaps, []);
    // how many keys those beyond have, nobody has looked up
    const byKey = await session.sums(question, ['key', 'agent'], 1);
    assert.equal(byKey.total.count, count);
    assert.equal(byKey.gaps.length, 1);
  } finally {
    await connections.close();
  }
}

function filterOf(text: Readonly<Record<string, string>>): RecordFilter {
  const parsed = parseFilter(text, new Date());
  return 'filter' in parsed ? parsed.filter : assert.fail(`${parsed.wrong}: wanted ${parsed.wanted}`);
}

type Session = Awaited<ReturnType<PostgresQuestions['open']>>;

/** By pages of two: each row comes once. */
async function walked(session: Session, question: Parameters<Session['page']>[0]) {
  const rows: object[] = [];
  let after: Parameters<Session['page']>[1] = null;
  do {
    const page: Awaited<ReturnType<Session['page']>> = await session.page(question, after, 2);
    rows.push(...page.rows);
    after = page.next;
  } while (after !== null);
  return rows;
}

async function pieces(text: AsyncIterable<string>): Promise<readonly string[]> {
  let all = '';
  for await (const piece of text) all += piece;
  return all.trim().split('\n');
}

const sorted = (rows: readonly object[]) => rows.map((row) => JSON.stringify(row)).sort();
