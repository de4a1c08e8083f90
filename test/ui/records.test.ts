// The records of changes and of reads in pages: what is asked, what is shown, who may see it.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { leafText } from '../../src/domain/audit.ts';
import { checkpointText, formatProof } from '../../src/domain/checkpoint.ts';
import { LookasideError } from '../../src/domain/errors.ts';
import type { AccessRow, AuditRow, FedEvent, RecordQuestion } from '../../src/domain/records.ts';
import type { PageServices } from '../../src/ui/services.ts';
import { FINGERPRINT, HEX, IMAGE, servePages } from './scene.ts';

const AT = new Date('2026-11-22T09:00:00.000Z');
const HOSTILE = `"><script>alert(1)</script>\u202e\u001b[2J${'x'.repeat(10_240)}`;

const EVENT: AuditRow = {
  seq: 7,
  at: AT,
  action: 'upload',
  site: 'default',
  image: IMAGE,
  signatureSha256: 'cd'.repeat(32),
  fingerprint: FINGERPRINT,
  result: 'created',
  count: 1,
  since: null,
  actor: 'ci',
  address: '192.0.2.7',
  requestId: null,
  reason: null,
};

const READ: AccessRow = {
  firstAt: AT,
  lastAt: AT,
  site: 'default',
  image: IMAGE,
  number: 1,
  signatureSha256: null,
  status: 404,
  address: '192.0.2.8',
  agent: 'skopeo/1.22',
  token: null,
  count: 1234,
  bytes: 0,
};

interface Asked {
  readonly questions: RecordQuestion[];
  readonly services: Partial<PageServices>;
}

function recordsOf(
  rows: readonly (AuditRow | AccessRow)[],
  fed: readonly FedEvent[] = [],
  endSession = () => {},
): Asked {
  const questions: RecordQuestion[] = [];
  const unasked = () => Promise.reject(new Error('unasked'));
  return {
    questions,
    services: {
      isDraining: () => false,
      records: {
        page: async (question) => {
          questions.push(question);
          const next = rows.length > 1 ? 'cursor-2' : null;
          return { record: question.record, rows, next, dropped: 2, gaps: [] };
        },
        async *export(question, format) {
          questions.push(question);
          yield `${format}\n`;
          yield 'second piece\n';
        },
        sums: unasked,
        forget: unasked,
        session: unasked,
        async follow(question, _, __, isWanted) {
          questions.push(question);
          return (async function* () {
            yield { record: question.record, rows, next: 'cursor-3', dropped: 0, gaps: [] };
            yield null;
            yield new LookasideError('BUSY', '4 questions\nare being answered');
            assert.equal(await isWanted(), true);
            endSession();
            assert.equal(await isWanted(), false);
          })();
        },
      },
      feed: {
        has: async () => true,
        async *events({ after }) {
          yield fed.filter(({ seq }) => seq > after);
          yield null;
        },
      },
    },
  };
}

describe('the records in pages', () => {
  test('only auditors and administrators get them; visitors are asked to log in', async () => {
    await using pages = await servePages(recordsOf([EVENT]));
    for (const path of [
      'audit',
      'audit/export?format=csv',
      'audit/live?after=1',
      'audit/events/7',
      'access',
      'access/live',
      'never-signed',
      'overview',
    ]) {
      assert.equal((await pages.get(path)).status, 303, path);
      assert.equal((await pages.get(path, await pages.logIn('reader'))).status, 403, path);
    }
    assert.doesNotMatch((await pages.get('keys')).text, />Audit</);
    for (const role of ['auditor', 'admin'] as const) {
      const { status, text } = await pages.get('audit', await pages.logIn(role));
      assert.equal(status, 200, role);
      assert.match(text, /href="\.\/audit" aria-current="page">Audit</);
    }
  });

  test('the address says the whole filter, and pages and exports are of exactly that', async () => {
    const asked = recordsOf([EVENT, EVENT]);
    await using pages = await servePages(asked);
    const query = 'repository=team&actor=ci&action=upload&result=created&agent=&site=';
    const { text } = await pages.get(`audit?${query}`, await pages.logIn('auditor'));
    const { filter } = asked.questions[0] ?? assert.fail('nothing was asked');
    assert.deepEqual(
      [filter.repository, filter.actor, filter.action, filter.result, filter.site],
      ['team', 'ci', 'upload', 'created', null],
    );
    const wanted = 'repository=team&amp;actor=ci&amp;action=upload&amp;result=created';
    assert.ok(text.includes(`href="./audit?${wanted}&amp;cursor=cursor-2"`), 'older rows');
    assert.match(text, /<option selected>upload<\/option>/);
    assert.match(text, /2 reads of that time could not be recorded/);
    for (const [format, type] of [
      ['csv', 'text/csv; charset=utf-8'],
      ['jsonl', 'application/jsonl'],
    ] as const) {
      assert.ok(text.includes(`href="./audit/export?${wanted}&amp;format=${format}" download`));
      const file = await pages.get(`audit/export?${query}&format=${format}`, await pages.logIn('auditor'));
      assert.equal(file.headers.get('content-type'), type);
      assert.match(file.headers.get('content-disposition') ?? '', new RegExp(`audit\\.${format}`));
      assert.equal(file.text, `${format}\nsecond piece\n`);
      assert.deepEqual(asked.questions.at(-1)?.filter, filter);
    }
  });

  test('a row of reads leads to the image and to what else came from that client', async () => {
    await using pages = await servePages(recordsOf([READ]));
    const { text } = await pages.get('access?status=404', await pages.logIn('auditor'));
    assert.ok(text.includes(`href="./images/${IMAGE}"`));
    assert.ok(text.includes('href="./access?address=192.0.2.8"'));
    assert.match(text, /1,234/);
  });

  test('a wrong filter is told with what is wanted, and the form keeps what was typed', async () => {
    await using pages = await servePages(recordsOf([]));
    const { status, text } = await pages.get(
      `access?status=nope&agent=${encodeURIComponent(HOSTILE).slice(0, 3000)}`,
      await pages.logIn('auditor'),
    );
    assert.equal(status, 400);
    assert.match(text, /expected a part of a User-Agent|expected a status of HTTP/);
    assert.match(text, /name="status" value="nope"/);
    assert.equal(text.match(/<script/g)?.length, 1);
  });

  test('hostile names, agents and reasons of any length break nothing', async () => {
    const rows = [
      { ...EVENT, actor: HOSTILE, reason: HOSTILE, result: 'KEY_UNKNOWN' },
      { ...READ, agent: HOSTILE, token: HOSTILE },
    ];
    await using pages = await servePages(recordsOf(rows));
    const { status, text } = await pages.get('audit', await pages.logIn('auditor'));
    assert.equal(status, 200);
    assert.equal(text.match(/<script/g)?.length, 1);
    assert.ok(!text.includes('\u202e') && !text.includes('\u001b'));
    assert.ok(text.length < 60_000, String(text.length));
  });

  test('live rows are those of the filter, and end with the session', async () => {
    const fed = [8, 9].map(
      (seq): FedEvent => ({ ...EVENT, seq, actor: seq === 8 ? 'other' : 'ci', leaf: '{}' }),
    );
    await using pages = await servePages(recordsOf([EVENT], fed));
    const session = await pages.logIn('auditor');
    const page = await pages.get('audit?actor=ci', session);
    assert.match(page.text, /data-live="\.\/audit\/live\?actor=ci&amp;after=7"/);
    const { headers, text } = await pages.get('audit/live?actor=ci&after=7', session);
    assert.equal(headers.get('content-type'), 'text/event-stream');
    assert.deepEqual(text.match(/^id: \d+$/gm), ['id: 9']);
    assert.match(
      text,
      /^data: <tr>.*href="\.\/audit\/events\/9".*<\/tr>$/m,
      'links as on the page of the records',
    );
    for (const query of ['address=192.0.2.0/24', `image=sha256:${HEX}`, 'until=1h'])
      assert.doesNotMatch((await pages.get(`audit?${query}`, session)).text, /data-live=/, query);
  });

  test('the newest reads are sent as the part of the page that they stand in', async () => {
    const { questions, services } = recordsOf([READ], [], () =>
      pages.sessions.change('auditor', { revokedAt: AT }),
    );
    await using pages = await servePages({ services });
    const session = await pages.logIn('auditor');
    const { text: page } = await pages.get('access?address=192.0.2.0/24&status=404', session);
    assert.match(
      page,
      /<button type="button" data-live="\.\/access\/live\?address=192\.0\.2\.0%2F24&amp;status=404">Follow</,
    );
    assert.doesNotMatch((await pages.get('access?until=1h', session)).text, /data-live=/);
    assert.doesNotMatch((await pages.get('access?cursor=cursor-2', session)).text, /data-live=/);
    assert.equal((await pages.get('access/live?until=1h', session)).status, 400);
    const asking = { method: 'HEAD', headers: session, signal: AbortSignal.timeout(20_000) };
    for (const live of ['access/live', 'audit/live?after=7'])
      assert.equal((await fetch(`${pages.url}/ui/${live}`, asking)).status, 200, `HEAD ${live}`);
    const { headers, text } = await pages.get('access/live?address=192.0.2.0/24&status=404', session);
    assert.equal(headers.get('content-type'), 'text/event-stream');
    assert.deepEqual(questions.at(-1), questions[0], 'what is followed is what is shown');
    const [rows, alive, trouble, over] = text.split('\n\n');
    assert.match(rows ?? '', /^event: rows\ndata: <div class="part" id="rows">.*<\/div>$/);
    assert.match(
      rows ?? '',
      /href="\.\/images\/.*href="\.\/access\?.*cursor=cursor-3"/,
      'older ones follow on them',
    );
    assert.equal(alive, ': nothing new');
    assert.equal(trouble, 'event: trouble\ndata: 4 questions are being answered.');
    assert.match(over ?? '', /^event: over$/m);
  });
});

describe('the proof of an event', () => {
  const leaf = leafText(1, 'ab'.repeat(32), {
    at: AT,
    action: 'key-add',
    site: 'default',
    image: null,
    signatureSha256: null,
    fingerprint: FINGERPRINT,
    result: '<script>',
    private: { actor: 'nobody-sees', address: null, requestId: null, reason: null },
    salt: '00'.repeat(32),
  });
  const root = Buffer.alloc(32, 9);
  const note = `${checkpointText('log.example', { size: 2, root })}\n— log.example AAAAAAAAAAAA\n`;
  const text = formatProof({
    index: 0,
    entry: Buffer.from(leaf),
    hashes: [Buffer.alloc(32, 5)],
    checkpoint: note,
  });
  const services: Partial<PageServices> = {
    proveEvent: (seq) =>
      seq === 1
        ? Promise.resolve(text)
        : Promise.reject(new LookasideError('NOT_FOUND', 'there is no such event')),
  };

  test('leaf, path and checkpoint are there for the browser to check, and as a file', async () => {
    await using pages = await servePages({ services });
    const session = await pages.logIn('auditor');
    const page = await pages.get('audit/events/1', session);
    assert.equal(page.status, 200);
    assert.ok(page.text.includes(`data-path="${'05'.repeat(32)}" data-root="${'09'.repeat(32)}"`));
    assert.match(page.text, /data-index="0" data-size="2"/);
    assert.ok(page.text.includes('&quot;action&quot;:&quot;key-add&quot;'));
    assert.equal(page.text.match(/<script/g)?.length, 1);
    assert.equal((await pages.get('audit/events/1.proof', session)).text, text);
    for (const wrong of ['2', '0', 'x', '1/2'])
      assert.equal((await pages.get(`audit/events/${wrong}`, session)).status, 404, wrong);
  });
});
