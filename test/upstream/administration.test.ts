// A server that is administered over HTTP: what is sent, what is believed, what is sent again, and what is told when it ends
// in the middle. What it answers where all is well is test/contract/administration.ts.
import assert from 'node:assert/strict';
import path from 'node:path';
import { describe, test } from 'node:test';
import type { Administration } from '../../src/domain/administration.ts';
import type { FsckResult, OnProgress } from '../../src/domain/upkeep.ts';
import { sentRules } from '../../src/upstream/administration.ts';
import { openTempFolder } from '../clients/temp-folder.ts';
import { createGate } from '../gate.ts';
import { serveOver } from '../http/served.ts';
import { createLog } from '../service/hand-driven.ts';
import {
  type Act,
  administratorOf,
  cut,
  failure,
  html,
  json,
  nameProxy,
  refusal,
  serveActs,
} from './scripted-server.ts';

const FINGERPRINT = 'AB'.repeat(20);
const AT = '2026-11-22T10:00:00.000Z';
const TOKEN = { name: 'ci', role: 'reader', state: 'valid', createdAt: AT, expiresAt: null, revokedAt: null };
const COUNTS = { images: 3, signatures: 4, problems: 0 };
const FSCK = { ...COUNTS, repaired: 0, findings: [], isCompared: true };
const KEY = {
  fingerprint: FINGERPRINT,
  algorithm: 'ed25519',
  state: 'valid',
  canSign: true,
  createdAt: AT,
  expiresAt: null,
  revokedAt: null,
  userIds: [],
  subkeys: [],
  addedAt: AT,
  changedAt: AT,
  retiredAt: null,
  revocation: null,
};
const PARTS = [{ fileName: null, bytes: Buffer.from('x') }];

interface Question {
  readonly line: string;
  readonly contentType: string | undefined;
  readonly ask: (administration: Administration) => Promise<unknown>;
  /** A right answer. */
  readonly answer: Act;
}

/** Everything that can be asked. */
const QUESTIONS: Readonly<Record<string, Question>> = {
  about: {
    line: 'GET /api/v1/server',
    contentType: undefined,
    ask: ({ about }) => about(),
    answer: json({ root: '/srv', tree: 'owned' }),
  },
  'keys.list': {
    line: 'GET /api/v1/keys',
    contentType: undefined,
    ask: ({ keys }) => keys.list(),
    answer: json({ keys: [KEY] }),
  },
  'keys.show': {
    line: `GET /api/v1/keys/${FINGERPRINT}`,
    contentType: undefined,
    ask: ({ keys }) => keys.show(FINGERPRINT.toLowerCase()),
    answer: json({ ...KEY, warnings: [], armored: 'armour' }),
  },
  'keys.add': {
    line: 'POST /api/v1/keys',
    contentType: 'application/octet-stream',
    ask: ({ keys }) => keys.add(Buffer.from('certificate')),
    answer: json({ results: [{ result: 'refused', fingerprint: null, code: 'NEW_CODE', message: 'm' }] }),
  },
  'keys.export': {
    line: 'POST /api/v1/keys/export',
    contentType: 'application/json',
    ask: ({ keys }) => keys.export([FINGERPRINT.toLowerCase()], 'gpg-2.2'),
    answer: json({ armored: 'armour', leftOut: [] }),
  },
  'keys.remove': {
    line: `DELETE /api/v1/keys/${FINGERPRINT}`,
    contentType: undefined,
    ask: ({ keys }) => keys.remove(FINGERPRINT.toLowerCase()),
    answer: json({ fingerprint: FINGERPRINT, userIds: [], signatures: 2 }),
  },
  'tokens.list': {
    line: 'GET /api/v1/tokens',
    contentType: undefined,
    ask: ({ tokens }) => tokens.list(),
    answer: json({ tokens: [TOKEN] }),
  },
  'tokens.create': {
    line: 'POST /api/v1/tokens',
    contentType: 'application/json',
    ask: ({ tokens }) => tokens.create({ name: 'ci', role: 'reader', lifeMs: null }),
    answer: json({ token: 'lookaside_2', expiresAt: null }, 201),
  },
  'tokens.revoke': {
    line: 'DELETE /api/v1/tokens/ci@team',
    contentType: undefined,
    ask: ({ tokens }) => tokens.revoke('ci@team'),
    answer: json({ ...TOKEN, revokedAt: AT }),
  },
  fsck: {
    line: 'POST /api/v1/fsck',
    contentType: 'application/json',
    ask: ({ fsck }) => fsck({ repair: true }),
    answer: json({ result: FSCK }),
  },
  reindex: {
    line: 'POST /api/v1/reindex',
    contentType: 'application/json',
    ask: ({ reindex }) => reindex({ acceptDamage: false }),
    answer: json({ result: COUNTS }),
  },
  importBatch: {
    line: 'POST /api/v1/import?dryRun=1',
    contentType: 'multipart/form-data',
    ask: ({ importBatch }) => importBatch(PARTS, { dryRun: true }),
    answer: json({ results: [{ part: 0, result: 'refused', code: 'EMPTY', message: 'm' }] }),
  },
};

for (const [name, { line, contentType, ask, answer }] of Object.entries(QUESTIONS)) {
  describe(name, () => {
    test('is sent as what it is, with the token, and sent again when the server was away', async () => {
      await using scripted = await serveActs([refusal(503, 'BUSY'), answer]);
      await using client = administratorOf(scripted.url);
      const isOnce = name === 'tokens.create' || name === 'keys.remove';
      if (isOnce) assert.equal((await failure(ask(client.administration))).code, 'BUSY');
      await ask(client.administration);
      assert.deepEqual([scripted.seen.length, client.retries.length], [2, isOnce ? 0 : 1]);
      for (const request of scripted.seen) {
        assert.equal(request.line, line);
        assert.equal(request.headers['content-type']?.split(';', 1)[0], contentType);
        assert.equal(request.headers.authorization, 'Bearer lookaside_1');
      }
    });

    for (const [what, act] of Object.entries({
      'a page': html(name === 'tokens.create' ? 201 : 200),
      'another JSON': json({ keys: 1, results: [{}], tokens: {} }, name === 'tokens.create' ? 201 : 200),
    })) {
      test(`${what} in the place of its answer is not believed`, async () => {
        await using scripted = await serveActs([act]);
        await using client = administratorOf(scripted.url);
        const { code, message } = await failure(ask(client.administration));
        assert.equal(code, 'SERVER_UNREACHABLE');
        assert.ok(message.startsWith(`${scripted.url} is not a lookaside of this version: `), message);
        assert.equal(scripted.seen.length, 1);
      });
    }

    test('with a token that may not is told that, and how it is possible', async () => {
      await using scripted = await serveActs([refusal(403, 'DENIED')]);
      await using client = administratorOf(scripted.url);
      const { code, message } = await failure(ask(client.administration));
      assert.equal(code, 'DENIED');
      assert.match(
        message,
        /^the message of DENIED; or run this on the server's machine, .* data directory as --data$/,
      );
    });
  });
}

describe('an answer', () => {
  test('may have more members and words than are known', async () => {
    const newer = { ...KEY, state: 'withdrawn', novelty: {}, subkeys: [{ ...KEY, novelty: 1 }] };
    await using scripted = await serveActs([json({ keys: [newer], novelty: 1 })]);
    await using client = administratorOf(scripted.url);
    const [key] = await client.administration.keys.list();
    assert.deepEqual(
      [key?.state, key?.createdAt, 'novelty' in (key ?? {})],
      ['withdrawn', new Date(AT), false],
    );
  });

  test('that there is no such key or token is the answer, and no sign of another server', async () => {
    await using scripted = await serveActs([refusal(404, 'NOT_FOUND')]);
    await using client = administratorOf(scripted.url);
    const { keys, tokens } = client.administration;
    for (const doing of [keys.show(FINGERPRINT), tokens.revoke('ci')]) {
      const { code, message } = await failure(doing);
      assert.deepEqual([code, message], ['NOT_FOUND', 'the message of NOT_FOUND']);
    }
    const { code, message } = await failure(keys.list());
    assert.equal(code, 'SERVER_UNREACHABLE');
    assert.match(message, /is not the API of a lookaside server/);
  });

  test('with a token in which a terminal would find orders is not believed', async () => {
    await using scripted = await serveActs([json({ token: 'lookaside_\u001b[2J', expiresAt: null }, 201)]);
    await using client = administratorOf(scripted.url);
    const { message } = await failure(
      client.administration.tokens.create({ name: 'ci', role: 'reader', lifeMs: null }),
    );
    assert.match(message, /is not a lookaside of this version: .*token/);
    assert.ok(!message.includes('\u001b'));
  });

  test('of an import about other parts than were sent is not believed', async () => {
    const result = { part: 1, result: 'refused', code: 'EMPTY', message: 'm' };
    await using scripted = await serveActs([json({ results: [] }), json({ results: [result] })]);
    await using client = administratorOf(scripted.url);
    for (const _ of 'ab') {
      const { code } = await failure(client.administration.importBatch(PARTS, { dryRun: false }));
      assert.equal(code, 'SERVER_UNREACHABLE');
    }
  });
});

describe('a token', () => {
  test('is not made twice when the answer is lost, and that is told', async () => {
    for (const act of [cut, html(504)]) {
      await using scripted = await serveActs([act, json({ token: 'lookaside_2', expiresAt: null }, 201)]);
      await using client = administratorOf(scripted.url);
      const { code, message } = await failure(
        client.administration.tokens.create({ name: 'ci', role: 'reader', lifeMs: null }),
      );
      assert.equal(code, 'SERVER_UNREACHABLE');
      assert.match(
        message,
        /; the token may have been made all the same, .*: see lookaside token list, revoke/,
      );
      assert.deepEqual([scripted.seen.length, client.retries.length], [1, 0]);
    }
  });

  test('is asked for again of a server that was not reached', async () => {
    const scripted = await serveActs([]);
    await scripted[Symbol.asyncDispose]();
    await using client = administratorOf(scripted.url, { patienceMs: 500 });
    const { message } = await failure(
      client.administration.tokens.create({ name: 'ci', role: 'reader', lifeMs: null }),
    );
    assert.match(message, /ECONNREFUSED/);
    assert.doesNotMatch(message, /may have been made/);
    assert.ok(client.retries.length > 0);
  });
});

describe('a key', () => {
  test('is not removed twice when the answer is lost, and that is told', async () => {
    await using scripted = await serveActs([cut]);
    await using client = administratorOf(scripted.url);
    const { code, message } = await failure(client.administration.keys.remove(FINGERPRINT));
    assert.equal(code, 'SERVER_UNREACHABLE');
    assert.match(message, /; the key may have been removed all the same: see lookaside key list$/);
    assert.equal(scripted.seen.length, 1);
  });
});

describe('work that takes long', () => {
  /** Writes these pieces, and then ends the answer or cuts it off. */
  const pieces =
    (texts: readonly (string | Buffer)[], end: 'end' | 'cut' = 'end'): Act =>
    (res) => {
      for (const text of texts) res.write(text);
      if (end === 'end') res.end();
      else res.write('{', () => res.socket?.destroy());
    };

  async function fsckBy(act: Act, onProgress?: OnProgress): Promise<FsckResult> {
    await using scripted = await serveActs([act]);
    await using client = administratorOf(scripted.url);
    try {
      return await client.administration.fsck({ repair: false, ...(onProgress && { onProgress }) });
    } finally {
      assert.equal(scripted.seen.length, 1, 'it is not begun a second time');
    }
  }

  test('tells how far it is, line by line however they come', async () => {
    // the first as by a server that knows of no sites
    const finding = { kind: 'missing', path: 'ünï\u2028code/\ud83d\ude00', message: 'm', repaired: false };
    const findings = [finding, { ...finding, site: 'other', count: 2 }];
    const lines = [{ progress: { ...COUNTS, images: 1 } }, { progress: COUNTS }].map((line) =>
      JSON.stringify(line),
    );
    const text = [...lines, JSON.stringify({ result: { ...FSCK, findings } })].join('\n');
    const bytes = Buffer.from(text);
    const single = [...bytes].map((byte) => Buffer.of(byte));
    for (const split of [[bytes], single]) {
      const progress: number[] = [];
      const result = await fsckBy(pieces(split), ({ images }) => progress.push(images));
      assert.deepEqual(progress, [1, 3]);
      assert.deepEqual(result.findings, [{ site: 'default', ...finding }, findings[1]]);
    }
  });

  test('is told by a proxy line by line too', async (t) => {
    const lines = [{ progress: COUNTS }, { result: FSCK }].map((line) => `${JSON.stringify(line)}\n`);
    await using proxy = await serveActs([pieces(lines)]);
    nameProxy(t, 'http_proxy', proxy.url);
    await using client = administratorOf({ url: 'http://sig.example', hasProxies: true });
    const progress: number[] = [];
    const onProgress: OnProgress = ({ images }) => progress.push(images);
    assert.deepEqual(await client.administration.fsck({ repair: false, onProgress }), FSCK);
    assert.deepEqual(progress, [3]);
    assert.deepEqual(
      proxy.seen.map(({ line }) => line),
      ['POST http://sig.example/api/v1/fsck'],
    );
  });

  test('that the server fails at is told with its code', async () => {
    const line = JSON.stringify({ errors: [{ code: 'DAMAGE_FOUND', message: 'gone', detail: { a: 1 } }] });
    const { code, message, detail } = await failure(
      fsckBy(pieces([`${JSON.stringify({ progress: COUNTS })}\n${line}\n`])),
    );
    assert.deepEqual([code, message, detail], ['DAMAGE_FOUND', 'gone', { a: 1 }]);
  });

  test('is told to be undone when the server goes in the middle, or ends without a result', async () => {
    const progress = `${JSON.stringify({ progress: COUNTS })}\n`;
    const gone = await failure(fsckBy(pieces([progress], 'cut')));
    assert.equal(gone.code, 'SERVER_UNREACHABLE');
    assert.match(
      gone.message,
      /^http:\S+ went away before it was done \(.+\); see the server's log, and run this again/,
    );
    const silent = await failure(fsckBy(pieces([progress])));
    assert.equal(silent.code, 'SERVER_UNREACHABLE');
    assert.match(silent.message, /is not a lookaside of this version: .*the answer ended without a result/);
  });

  test('keeps its line alive while it waits, and what fails in the server is in its log', async () => {
    const [begun, end] = [createGate(), createGate<FsckResult>()];
    const log = createLog();
    const upkeep = {
      fsck: () => {
        begun.open();
        return end.promise;
      },
    };
    await using served = await serveOver({ upkeep: { ...UNUSED_UPKEEP, ...upkeep }, log });
    await using client = administratorOf({ url: served.url, token: served.tokens.admin });
    const firstProgress = createGate<unknown>();
    const doing = failure(client.administration.fsck({ repair: false, onProgress: firstProgress.open }));
    await begun.promise;
    assert.deepEqual(await firstProgress.promise, { images: 0, signatures: 0, problems: 0 });
    end.fail(new Error('a bug of ours'));
    const { code, message } = await doing;
    assert.equal(code, 'INTERNAL');
    assert.match(message, /its log says why$/);
    assert.deepEqual(
      log.lines.map(({ fields: { err } }) => (err instanceof Error ? err.message : null)),
      ['a bug of ours'],
    );
  });
});

const UNUSED_UPKEEP = {
  start: () => assert.fail(),
  stop: () => assert.fail(),
  rebuild: () => assert.fail(),
  reindex: () => assert.fail(),
  status: { isScanning: false, lastScanAt: null, lastError: null },
};

describe('the socket of a server that holds the data directory', () => {
  test('is waited for while the server starts, and what is wrong is told', async (t) => {
    await using temp = await openTempFolder();
    const socketPath = path.join(temp.path, 's');
    await using client = administratorOf({ socketPath, isHeld: true }, { patienceMs: 1000 });
    const { code, message } = await failure(
      client.administration.tokens.create({ name: 'ci', role: 'reader', lifeMs: null }),
    );
    assert.equal(code, 'SERVER_UNREACHABLE');
    assert.match(
      message,
      /^a server holds the data directory, but \S+\/s does not answer \(ENOENT\); restart it, or stop it and try again$/,
    );
    assert.ok(client.retries.length > 0);

    const started: AsyncDisposable[] = [];
    t.after(() => Promise.all(started.map((server) => server[Symbol.asyncDispose]())));
    const wait = async () => {
      started.push(await serveActs([json({ token: 'lookaside_2', expiresAt: null }, 201)], socketPath));
    };
    await using patient = administratorOf({ socketPath, isHeld: true }, { wait });
    const { text } = await patient.administration.tokens.create({ name: 'ci', role: 'reader', lifeMs: null });
    assert.equal(text, 'lookaside_2');
    assert.equal(patient.retries.length, 1);
  });
});

test('a file that retires no key is sent as an older server knows it', () => {
  const key = { fingerprint: FINGERPRINT, certificate: null };
  const rules = { keys: [{ ...key, retired: null }], signers: null, tokens: null };
  assert.deepEqual(sentRules(rules), { ...rules, keys: [key] });
  const retiring = { ...rules, keys: [{ ...key, retired: false }] };
  assert.deepEqual(sentRules(retiring), retiring);
  assert.deepEqual(sentRules({ ...rules, keys: null }), { ...rules, keys: null });
});
