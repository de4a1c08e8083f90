// GET /api/v1/audit and /api/v1/access: who may ask, and what is refused before anything is looked up.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ROLES } from '../../../src/domain/ports.ts';
import type { RecordQuestion } from '../../../src/domain/records.ts';
import type { Records } from '../../../src/service/records.ts';
import { serveOver } from '../served.ts';

const ROW = '{"address":"192.0.2.7"}\n';

function answering() {
  const asked: RecordQuestion[] = [];
  const unasked = () => assert.fail('not asked');
  const records: Records = {
    async page(question) {
      asked.push(question);
      return { record: question.record, rows: [], next: null, dropped: 3, gaps: [] };
    },
    async sums(question, by) {
      asked.push(question);
      const total = { count: 0, bytes: 0, rows: 0, firstAt: null, lastAt: null };
      return { record: question.record, by, groups: [], found: 0, total, dropped: 0, gaps: [] };
    },
    async *export(question) {
      asked.push(question);
      yield ROW;
      yield ROW;
    },
    session: unasked,
    follow: unasked,
    forget: unasked,
  };
  return { records, asked };
}

test('only auditors and administrators get an answer from the records', async () => {
  const { records, asked } = answering();
  await using served = await serveOver({ records });
  for (const path of [
    '/api/v1/audit',
    '/api/v1/access',
    '/api/v1/access?format=jsonl',
    '/api/v1/audit?by=address',
  ]) {
    for (const role of ROLES) {
      const before = asked.length;
      const headers = { authorization: `Bearer ${served.tokens[role]}` };
      const response = await fetch(served.url + path, { headers });
      const isAuditor = role === 'admin' || role === 'auditor';
      assert.equal(response.status, isAuditor ? 200 : 403, `${role} ${path}`);
      const text = await response.text();
      if (!isAuditor) assert.match(text, /wanted admin or auditor/);
      assert.equal(asked.length - before, isAuditor ? 1 : 0);
    }
    const before = asked.length;
    const response = await fetch(served.url + path);
    assert.equal(response.status, 401);
    assert.doesNotMatch(await response.text(), /192\.0\.2/);
    assert.equal(asked.length, before);
  }
});

test('a question that is wrong is refused with what is wanted, and not asked', async () => {
  const { records, asked } = answering();
  await using served = await serveOver({ records });
  const headers = { authorization: `Bearer ${served.tokens.auditor}` };
  for (const [query, wanted] of [
    ['/access?action=upload', /no parameter \\"action\\"/],
    ['/audit?status=200', /no parameter \\"status\\"/],
    ['/audit?since=yesterday', /since is \\"yesterday\\", expected a time like/],
    ['/audit?address=192.0.2.999', /expected an address or a network/],
    ['/audit?image=team/app', /expected an image like team\/app@sha256/],
    ['/audit?action=steal', /expected upload, import/],
    ['/audit?by=agent', /expected at most 3 of: repository/],
    ['/audit?by=day,day', /expected at most 3 of/],
    ['/audit?limit=1001', /expected 1 to 1000/],
    ['/audit?format=csv&limit=5', /limit has no meaning with csv/],
    ['/audit?count=1&cursor=x', /cursor has no meaning with sums/],
    ['/access?signature=abc', /64 hex digits/],
  ] as const) {
    const response = await fetch(`${served.url}/api/v1${query}`, { headers });
    assert.equal(response.status, 400, query);
    assert.match(await response.text(), wanted, query);
  }
  assert.equal(asked.length, 0);
});

test('a filter reaches the record as it was meant, and dropped reads stand beside the answer', async () => {
  const { records, asked } = answering();
  await using served = await serveOver({ records });
  const headers = { authorization: `Bearer ${served.tokens.auditor}` };
  const query = new URLSearchParams({
    since: '1h',
    fingerprint: 'ab'.repeat(20),
    address: '192.0.2.0/24',
    agent: 'podman',
  });
  const response = await fetch(`${served.url}/api/v1/access?${query}`, { headers });
  assert.equal(((await response.json()) as { dropped: number }).dropped, 3);
  const [question] = asked;
  assert.deepEqual(question?.filter.since, new Date('2026-11-22T09:00:00.000Z'));
  assert.equal(question?.filter.fingerprint, 'AB'.repeat(20));
  const exported = await fetch(`${served.url}/api/v1/access?format=jsonl`, { headers });
  assert.equal(exported.headers.get('content-type'), 'application/jsonl');
  assert.equal(await exported.text(), ROW + ROW);
});
