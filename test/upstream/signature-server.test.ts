// A signature server as its clients reach it: what is sent, what is believed, what is tried again.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { rm } from 'node:fs/promises';
import path from 'node:path';
import { describe, test } from 'node:test';
import type { ImageId } from '../../src/domain/image.ts';
import { MAX_BATCH_BYTES } from '../../src/domain/limits.ts';
import { ANY_SIGNATURE } from '../../src/domain/remote.ts';
import type { StoredSignature } from '../../src/domain/stored-signature.ts';
import { openTempFolder } from '../clients/temp-folder.ts';
import { serveOver } from '../http/served.ts';
import {
  type Act,
  clientOf,
  cut,
  failure,
  html,
  json,
  nameProxy,
  refusal,
  serveActs,
  serveBytes,
} from './scripted-server.ts';

const HEX = 'ab'.repeat(32);
const IMAGE: ImageId = {
  site: 'default',
  layout: 'repository',
  path: 'team/app',
  algorithm: 'sha256',
  hex: HEX,
};
const NO_KEYS = json({ keys: [] });

async function collect<T>(items: AsyncIterable<T>): Promise<readonly T[]> {
  const collected: T[] = [];
  for await (const item of items) collected.push(item);
  return collected;
}

/** What comes of asking a server for its keys that answers so. */
async function ask(...acts: readonly Act[]) {
  await using scripted = await serveActs(acts);
  await using client = clientOf(scripted.url);
  const error = await failure(client.server.certificates());
  assert.doesNotMatch(error.message, /lookaside_1/);
  return { error, asked: scripted.seen.length, url: scripted.url };
}

describe('what may pass', () => {
  for (const status of [408, 429, 502, 503, 504]) {
    test(`${status} is tried again, whoever says it`, async () => {
      await using scripted = await serveActs([html(status), refusal(status, 'BUSY'), NO_KEYS]);
      await using client = clientOf(scripted.url);
      assert.deepEqual(await client.server.certificates(), []);
      assert.deepEqual(
        client.retries.map(({ waitMs }) => waitMs),
        [125, 250],
      );
      assert.match(client.retries[0]?.message ?? '', new RegExp(`with ${status} and text/html`));
      assert.equal(client.retries[1]?.message, 'the message of BUSY');
    });
  }

  for (const status of [400, 403, 409, 413, 500, 501, 507]) {
    test(`${status} is not tried again`, async () => {
      assert.equal((await ask(html(status))).asked, 1);
      const { error, asked } = await ask(refusal(status, 'DENIED', { detail: { next: 3 } }));
      assert.equal(asked, 1);
      assert.deepEqual(
        [error.code, error.message, error.detail],
        ['DENIED', 'the message of DENIED', { next: 3 }],
      );
    });
  }

  const AFTER: readonly (readonly [header: string, waitMs: number])[] = [
    ['7', 7000],
    ['3600', 60_000],
    ['Fri, 31 Dec 9999 23:59:59 GMT', 60_000],
    ['Thu, 01 Jan 1970 00:00:00 GMT', 125],
    ['soon', 125],
    ['-5', 125],
  ];
  for (const [header, waitMs] of AFTER) {
    test(`with Retry-After: ${header} it is tried again after ${waitMs} ms`, async () => {
      await using scripted = await serveActs([json({}, 503, { 'Retry-After': header }), NO_KEYS]);
      await using client = clientOf(scripted.url);
      await client.server.certificates();
      assert.equal(client.retries[0]?.waitMs, waitMs);
    });
  }

  test('connections that are reset, closed without an answer, or within one, are made again', async () => {
    const acts: Act[] = [
      cut,
      (res) => res.socket?.destroy(),
      (res) => res.writeHead(200, { 'Content-Length': 100 }).write('{', () => res.socket?.destroy()),
      (res) => res.writeHead(200).write('{', () => res.socket?.destroy()),
      NO_KEYS,
    ];
    await using scripted = await serveActs(acts);
    await using client = clientOf(scripted.url);
    await client.server.certificates();
    assert.equal(client.retries.length, 4);
    assert.match(client.retries[0]?.message ?? '', /^http:\/\/127\.0\.0\.1:\d+ cannot be reached: /);
  });

  test('a kept connection that the server closes as the next request comes is made again', async () => {
    const connections = new Set<unknown>();
    const closeIfKept: Act = (res, req, body) => {
      if (connections.has(req.socket)) req.socket.destroy();
      else NO_KEYS(res, req, body);
      connections.add(req.socket);
    };
    await using scripted = await serveActs([closeIfKept]);
    await using client = clientOf(scripted.url);
    // there may be two connections before one is used again
    for (const _ of 'abcd') assert.deepEqual(await client.server.certificates(), []);
    assert.ok(client.retries.length > 0);
  });

  test('an upload is sent again as it was', async () => {
    const result = { part: 0, result: 'refused', code: 'BUSY', message: 'busy' };
    await using scripted = await serveActs([cut, refusal(503, 'BUSY'), json({ results: [result] })]);
    await using client = clientOf(scripted.url);
    const part = { bytes: Buffer.from('signature'), fileName: 'team/app' };
    assert.deepEqual(await client.server.uploadBatch([part], { force: true }), [result]);
    assert.equal(scripted.seen.length, 3);
    for (const { line, body } of scripted.seen) {
      assert.equal(line, 'POST /api/v1/signatures?force=1');
      assert.deepEqual(body, scripted.seen[0]?.body);
    }
  });

  test('remaps are named with each batch', async () => {
    const result = { part: 0, result: 'refused', code: 'REMAP_NOT_ALLOWED', message: 'ask the operator' };
    await using scripted = await serveActs([json({ results: [result] })]);
    await using client = clientOf(scripted.url);
    const part = { bytes: Buffer.from('signature'), fileName: 'team/app' };
    const how = { force: false, signedFor: ['mirror/quay=quay.io', 'x=127.0.0.1:5000/y'] };
    assert.deepEqual(await client.server.uploadBatch([part], how), [result]);
    const asked = new URL(scripted.seen[0]?.line.replace('POST ', '') ?? '', 'http://x').searchParams;
    assert.deepEqual(asked.getAll('signed-for'), how.signedFor);
  });

  test('patience ends with what was said last, and all waits together are no longer', async () => {
    await using scripted = await serveActs([html(502), refusal(503, 'STORE_UNAVAILABLE')]);
    await using client = clientOf(scripted.url, { patienceMs: 10_000 });
    const error = await failure(client.server.certificates());
    assert.equal(error.code, 'STORE_UNAVAILABLE');
    const waited = client.retries.reduce((sum, { waitMs }) => sum + waitMs, 0);
    assert.deepEqual([waited, scripted.seen.length], [125 + 250 + 500 + 1000 + 2000 + 4000, 7]);
  });

  test('a server that says for how long to slow down is waited for beyond patience, for ten minutes', async () => {
    const slowDown = json({ errors: [{ code: 'SLOW_DOWN', message: 'slow' }] }, 429, { 'Retry-After': '60' });
    await using scripted = await serveActs([...Array<Act>(10).fill(slowDown), html(502), NO_KEYS]);
    await using client = clientOf(scripted.url, { patienceMs: 10_000 });
    await client.server.certificates();
    const waits = client.retries.map(({ waitMs }) => waitMs);
    assert.deepEqual(waits.slice(0, 10), Array(10).fill(60_000));
    assert.equal(waits.length, 11);

    await using stubborn = await serveActs([slowDown]);
    await using other = clientOf(stubborn.url, { patienceMs: 10_000 });
    assert.equal((await failure(other.server.certificates())).code, 'SLOW_DOWN');
    assert.equal(stubborn.seen.length, 11);
  });

  test('patience without end outlasts any outage', async () => {
    await using scripted = await serveActs([...Array<Act>(50).fill(html(502)), NO_KEYS]);
    await using client = clientOf(scripted.url, { patienceMs: Number.POSITIVE_INFINITY });
    assert.deepEqual(await client.server.certificates(), []);
    assert.equal(client.retries.length, 50);
  });

  test('a wait ends when the server is no longer wanted', async () => {
    const server = await serveActs([NO_KEYS]);
    await server[Symbol.asyncDispose]();
    const wait = async (_: number, signal: AbortSignal) => {
      const aborted = once(signal, 'abort');
      await client[Symbol.asyncDispose]();
      await aborted;
      throw signal.reason;
    };
    const client = clientOf(server.url, { wait });
    const { code, message } = await failure(client.server.certificates());
    assert.equal(code, 'SERVER_UNREACHABLE');
    assert.match(message, /ECONNREFUSED/);
  });
});

describe('what is no lookaside server', () => {
  const NO_API =
    /^http:\S+ is not the API of a lookaside server: it answers GET \/api\/v1\/keys with (\d+) and (\S+|no type); give as --server /;

  for (const [what, act, complaint] of [
    ['a page of files', html(404), ['404', 'text/html']],
    ['an older server', refusal(404, 'NOT_FOUND'), ['404', 'application/json']],
    [
      'a server of other errors',
      json({ errors: [{ code: 'x y', message: 'z' }] }, 401),
      ['401', 'application/json'],
    ],
    ['an answer of no type', (res) => res.writeHead(405).end(), ['405', 'no type']],
  ] as readonly (readonly [string, Act, readonly string[]])[]) {
    test(`${what} is told as that, with what it answered`, async () => {
      const { error, asked } = await ask(act);
      assert.deepEqual([error.code, asked], ['SERVER_UNREACHABLE', 1]);
      const [, status, type] = NO_API.exec(error.message) ?? assert.fail(error.message);
      assert.deepEqual([status, type], complaint);
    });
  }

  test('a path that the server does not have is told as that also where it takes the request for an upload', async () => {
    await using scripted = await serveActs([refusal(400, 'PATH_INVALID')]);
    await using client = clientOf(`${scripted.url}/wrong`);
    const asked = [{ image: IMAGE, sha256: HEX }];
    const { code, message } = await failure(client.server.missing(asked));
    assert.equal(code, 'SERVER_UNREACHABLE');
    assert.match(
      message,
      /answers POST \/api\/v1\/signatures\/missing with 400 .*; is the path \/wrong right\?/,
    );
  });

  for (const [what, act, complaint] of [
    ['a page', html(200), /the whole: /],
    ['nothing', (res) => res.end(), /the whole: /],
    ['another JSON', json({ keys: 1 }), /keys: /],
    ['a wrong member', json({ keys: [{ fingerprint: '../x', userIds: [] }] }), /keys\.0\.fingerprint: /],
  ] as readonly (readonly [string, Act, RegExp])[]) {
    test(`${what} in the place of an answer is not believed`, async () => {
      const { error } = await ask(act);
      assert.equal(error.code, 'SERVER_UNREACHABLE');
      assert.match(error.message, /^http:\S+ is not a lookaside of this version: /);
      assert.match(error.message, complaint);
    });
  }

  test('a proxy that refuses large bodies is told what it has to let through, and may take smaller ones', async () => {
    const { error } = await ask(html(413));
    assert.equal(error.code, 'TOO_LARGE');
    assert.match(
      error.message,
      /with 413 and text\/html; a proxy in front of the server has to let bodies of 16 MiB/,
    );
  });

  test('an answer without end is cut off', async () => {
    const { error } = await ask((res) => {
      const piece = Buffer.alloc(1024 * 1024, ' ');
      // once the client has gone, each write calls back with an error, maybe ahead of anything else that would happen
      const more = (error?: Error | null) => {
        if (!error && !res.destroyed) res.write(piece, more);
      };
      more();
    });
    assert.equal(error.code, 'SERVER_UNREACHABLE');
    assert.match(error.message, /more than 67108864 bytes, which no lookaside server does/);
  });

  test('what speaks no HTTP, or no TLS, is told as that and not tried again', async () => {
    await using other = await serveBytes((socket) => socket.end('SSH-2.0-OpenSSH_9.2\r\n'));
    await using client = clientOf(other.url);
    assert.match(
      (await failure(client.server.certificates())).message,
      /speaks no HTTP.*https:\/\/ instead of http/,
    );
    await using secure = clientOf(other.url.replace('http:', 'https:'));
    assert.match(
      (await failure(secure.server.certificates())).message,
      /speaks no TLS.*http:\/\/ instead of https/,
    );
    assert.deepEqual([...client.retries, ...secure.retries], []);
  });

  test('a name that no machine has is not tried again', async () => {
    await using client = clientOf('http://signatures.invalid', { patienceMs: 0 });
    const { code, message } = await failure(client.server.certificates());
    assert.equal(code, 'SERVER_UNREACHABLE');
    // without any name server it might be known later
    assert.match(message, /ENOTFOUND.*no machine has that name|EAI_AGAIN/);
  });
});

describe('redirects', () => {
  const TARGETS: readonly (readonly [location: string, wanted: string])[] = [
    ['https://sig.example/api/v1/keys', 'https://sig.example'],
    ['https://sig.example/sigstore/api/v1/keys', 'https://sig.example/sigstore'],
    ['https://login.example/?next=x', 'https://login.example/?next=x'],
  ];
  for (const [location, wanted] of TARGETS) {
    test(`to ${location} are not followed, and name ${wanted}`, async () => {
      for (const status of [301, 302, 303, 307, 308]) {
        const { error, asked } = await ask(html(status, { Location: location }));
        assert.deepEqual([error.code, asked], ['SERVER_UNREACHABLE', 1]);
        assert.ok(error.message.includes(` redirects to ${wanted}, `), error.message);
        assert.match(error.message, /name it by --server$/);
      }
    });
  }

  test('to a path are told whole', async () => {
    const { error, url } = await ask(html(302, { Location: '/login' }));
    assert.ok(error.message.includes(` redirects to ${url}/login, `), error.message);
  });
});

describe('who asks', () => {
  const SENT: readonly (readonly [
    credentials: string,
    token: string | null,
    authorization: string | undefined,
  ])[] = [
    ['', 'lookaside_1', 'Bearer lookaside_1'],
    ['', null, undefined],
    ['joe:p%40ss@', null, `Basic ${Buffer.from('joe:p@ss').toString('base64')}`],
    [':100%@', null, `Basic ${Buffer.from(':100%').toString('base64')}`],
  ];
  for (const [credentials, token, authorization] of SENT) {
    test(`is told by ${authorization ?? 'nothing'} with ${credentials === '' ? `the token ${token}` : credentials}`, async () => {
      await using scripted = await serveActs([NO_KEYS]);
      const url = `${scripted.url.replace('//', `//${credentials}`)}/sig/store/`;
      await using client = clientOf({ url, token });
      await client.server.certificates();
      const [request] = scripted.seen;
      assert.equal(request?.headers.authorization, authorization);
      assert.equal(request?.line, 'GET /sig/store/api/v1/keys');
      assert.equal(client.server.name, `${scripted.url}/sig/store`);
    });
  }

  test('without a token, or with a wrong one, is told which and what to do', async () => {
    await using scripted = await serveActs([refusal(401, 'UNAUTHORIZED')]);
    for (const [token, complaint] of [
      [null, /wants a token, and none was sent; give one with --token-file FILE/],
      ['x', /does not know the token that was sent.*lookaside token create/],
    ] as const) {
      await using client = clientOf({ url: scripted.url, token });
      const { code, message } = await failure(client.server.certificates());
      assert.equal(code, 'UNAUTHORIZED');
      assert.match(message, complaint);
    }
  });
});

describe('the socket of a server on this machine', () => {
  test('is asked without a token', async () => {
    await using temp = await openTempFolder();
    const socketPath = path.join(temp.path, 's');
    await using scripted = await serveActs([NO_KEYS], socketPath);
    await using client = clientOf({ socketPath });
    await client.server.certificates();
    assert.deepEqual(
      [scripted.seen[0]?.line, scripted.seen[0]?.headers.authorization],
      ['GET /api/v1/keys', undefined],
    );
    assert.equal(client.server.name, socketPath);
  });

  test('that is not there is told at once, and one that has gone is waited for', async () => {
    await using temp = await openTempFolder();
    const socketPath = path.join(temp.path, 's');
    await using client = clientOf({ socketPath }, { patienceMs: 1000 });
    const { code, message } = await failure(client.server.certificates());
    assert.equal(code, 'CONFIG_INVALID');
    assert.match(
      message,
      /^no server is named, and there is none at \S+\/s: give --server URL or set LOOKASIDE_URL/,
    );
    assert.deepEqual(client.retries, []);

    const scripted = await serveActs([NO_KEYS], socketPath);
    await client.server.certificates();
    await scripted[Symbol.asyncDispose]();
    await rm(socketPath, { force: true });
    assert.equal((await failure(client.server.certificates())).code, 'SERVER_UNREACHABLE');
    assert.ok(client.retries.length > 0);
  });
});

describe('a proxy of the environment', () => {
  test('is asked for http with the whole URL, but for nothing on this machine', async (t) => {
    await using proxy = await serveActs([NO_KEYS]);
    await using here = await serveActs([NO_KEYS]);
    nameProxy(t, 'http_proxy', proxy.url);
    await using client = clientOf({ url: 'http://sig.example:8000/sig', hasProxies: true });
    await client.server.certificates();
    await using local = clientOf({ url: here.url, hasProxies: true });
    await local.server.certificates();
    assert.deepEqual(
      proxy.seen.map(({ line, headers }) => [line, headers.host]),
      [['GET http://sig.example:8000/sig/api/v1/keys', 'sig.example:8000']],
    );
    assert.equal(here.seen.length, 1);
  });

  test('that is no URL is refused as a setting', async (t) => {
    nameProxy(t, 'http_proxy', 'proxy:3128');
    await using client = clientOf({ url: 'http://sig.example', hasProxies: true });
    const { code, message } = await failure(client.server.certificates());
    assert.deepEqual([code, client.retries], ['CONFIG_INVALID', []]);
    assert.match(message, /HTTP_PROXY/);
  });
});

describe('what is sent and answered', () => {
  test('file names arrive as they are, and parts without one name no image', async () => {
    const names: (string | null)[] = [];
    await using served = await serveOver({
      metrics: {
        request: () => undefined,
        read: () => undefined,
        upload: () => undefined,
        uploadTook: () => undefined,
        add: () => undefined,
        render: async () => ({ contentType: '', text: '' }),
      },
      uploader: {
        upload: () => assert.fail(),
        async uploadBatch(parts) {
          names.push(...parts.map(({ fileName }) => fileName));
          assert.deepEqual(parts[0]?.bytes, Buffer.from('\r\n--x\r\n\0'));
          return parts.map((_, part) => ({ part, result: 'refused', code: 'EMPTY', message: 'm' }));
        },
      },
    });
    await using client = clientOf({ url: served.url, token: served.tokens.uploader });
    const place = `team/a_b.c~d+e-f@sha256=${HEX}/signature-12`;
    const bytes = Buffer.from('\r\n--x\r\n\0');
    const parts = [place, 'Ünïcode/ ;name', null].map((fileName) => ({ bytes, fileName }));
    const results = await client.server.uploadBatch(parts, { force: false });
    assert.deepEqual(names, [place, 'Ünïcode/ ;name', 'signature']);
    assert.deepEqual(results[2], { part: 2, result: 'refused', code: 'EMPTY', message: 'm' });
  });

  test('parts that fit into a batch, but not with their form, go in two', async () => {
    const answer: Act = (res, req, body) => {
      const count = body.toString('latin1').split('; name="signature"').length - 1;
      const results = Array.from({ length: count }, (_, part) => ({
        part,
        result: 'refused',
        code: 'EMPTY',
        message: `${count}`,
      }));
      json({ results })(res, req, body);
    };
    await using scripted = await serveActs([answer]);
    await using client = clientOf(scripted.url);
    const bytes = Buffer.alloc(MAX_BATCH_BYTES / 4);
    const parts = Array.from({ length: 4 }, () => ({ bytes, fileName: null }));
    const results = await client.server.uploadBatch(parts, { force: false });
    assert.deepEqual(
      results.map((result) => [result.part, 'message' in result ? result.message : null]),
      [
        [0, '2'],
        [1, '2'],
        [2, '2'],
        [3, '2'],
      ],
    );
  });

  test('results of other parts than were sent are not believed', async () => {
    const result = { part: 1, result: 'refused', code: 'EMPTY', message: 'm' };
    await using scripted = await serveActs([json({ results: [] }), json({ results: [result] })]);
    await using client = clientOf(scripted.url);
    const parts = [{ bytes: Buffer.from('x'), fileName: null }];
    for (const _ of 'ab') {
      const error = await failure(client.server.uploadBatch(parts, { force: false }));
      assert.equal(error.code, 'SERVER_UNREACHABLE');
    }
  });

  test('what is missing is asked by the names of images, and only what was asked about is believed', async () => {
    await using scripted = await serveActs([
      json({ missing: [1], more: 1 }),
      json({ missing: [2] }),
      json({ missing: [1, 0] }),
    ]);
    await using client = clientOf(scripted.url);
    const asked = [
      { image: IMAGE, sha256: HEX },
      { image: { ...IMAGE, layout: 'release', path: '' } as const, sha256: HEX },
    ];
    assert.deepEqual(await client.server.missing(asked), [1]);
    assert.deepEqual(JSON.parse(scripted.seen[0]?.body.toString() ?? ''), {
      signatures: [
        { image: `team/app@sha256:${HEX}`, sha256: HEX },
        { image: `sha256:${HEX}`, sha256: HEX },
      ],
    });
    for (const _ of 'ab')
      assert.equal((await failure(client.server.missing(asked))).code, 'SERVER_UNREACHABLE');
  });

  test('an image without signatures has none', async () => {
    await using scripted = await serveActs([refusal(404, 'NOT_FOUND'), html(404)]);
    await using client = clientOf(scripted.url);
    assert.deepEqual(await client.server.ofImage(IMAGE), []);
    assert.equal(scripted.seen[0]?.line, `GET /api/v1/images/team/app@sha256:${HEX}`);
    assert.equal((await failure(client.server.ofImage(IMAGE))).code, 'SERVER_UNREACHABLE');
  });

  test('certificates come in the order of the keys, and names by fingerprint', async () => {
    const fingerprints = ['A', 'B', 'C'].map((digit) => digit.repeat(40));
    const keys = fingerprints.map((fingerprint, i) => ({
      fingerprint,
      userIds: i === 1 ? [] : [`user ${i}`, 'other'],
    }));
    const answer: Act = (res, req, body) => {
      const [, one] = /keys\/(.)/.exec(req.url ?? '') ?? [];
      json(one === undefined ? { keys } : { armored: `armour of ${one}` })(res, req, body);
    };
    await using scripted = await serveActs([answer]);
    await using client = clientOf(scripted.url);
    const armour = await client.server.certificates();
    assert.deepEqual(armour.map(String), ['armour of A', 'armour of B', 'armour of C']);
    assert.deepEqual(
      [...(await client.server.userIds())],
      [
        [fingerprints[0], 'user 0'],
        [fingerprints[2], 'user 2'],
      ],
    );
  });
});

describe('a search', () => {
  const ALL = ANY_SIGNATURE;
  const CURSOR_REFUSED = refusal(400, 'REQUEST_INVALID', { detail: { reason: 'cursor' } });

  test('walks page by page as its results are wanted', async () => {
    await using scripted = await serveActs([page([1, 2], 'c1'), page([], 'c2'), page([3], null)]);
    await using client = clientOf(scripted.url);
    const rows = client.server
      .search({
        repository: 'team/app',
        digest: `sha256:${HEX}`,
        tag: 'v1',
        fingerprint: 'AB'.repeat(8),
        state: 'key-expired',
        uploader: 'ci@team',
        since: new Date('2026-11-22T10:00:00Z'),
      })
      [Symbol.asyncIterator]();
    assert.equal((await rows.next()).value?.number, 1);
    assert.equal(scripted.seen.length, 1);
    const rest = [await rows.next(), await rows.next(), await rows.next()];
    assert.deepEqual(
      rest.map(({ value, done }) => (done ? 'end' : value.number)),
      [2, 3, 'end'],
    );
    const query = `repository=team%2Fapp&digest=sha256%3A${HEX}&tag=v1&fingerprint=ABABABABABABABAB&state=key-expired&uploader=ci%40team&since=2026-11-22T10%3A00%3A00.000Z`;
    assert.deepEqual(
      scripted.seen.map(({ line }) => line.replace('GET /api/v1/signatures?limit=1000&', '')),
      [query, `${query}&cursor=c1`, `${query}&cursor=c2`],
    );
  });

  test('begins again when the index was made anew, and repeats nothing', async () => {
    await using scripted = await serveActs([
      page([1, 2], 'c'),
      CURSOR_REFUSED,
      page([2, 3], 'd'),
      page([1, 4], null),
    ]);
    await using client = clientOf(scripted.url);
    const rows = await collect(client.server.search(ALL));
    assert.deepEqual(
      rows.map(({ number }) => number),
      [1, 2, 3, 4],
    );
  });

  test('does not begin again for ever', async () => {
    const acts = Array<readonly Act[]>(9)
      .fill([page([1], 'c'), CURSOR_REFUSED])
      .flat();
    await using scripted = await serveActs(acts);
    await using client = clientOf(scripted.url);
    assert.equal((await failure(collect(client.server.search(ALL)))).code, 'REQUEST_INVALID');
    assert.equal(scripted.seen.length, 8);
  });

  test('does not follow a page that leads to itself', async () => {
    await using scripted = await serveActs([page([1], 'c')]);
    await using client = clientOf(scripted.url);
    assert.equal((await failure(collect(client.server.search(ALL)))).code, 'SERVER_UNREACHABLE');
  });

  test('passes over members that it does not know, and takes words of newer servers as they are', async () => {
    const newer = { ...stored(1), state: 'withdrawn', form: 'v7', novelty: {} };
    await using scripted = await serveActs([json({ signatures: [newer], next: null, novelty: 1 })]);
    await using client = clientOf(scripted.url);
    const [signature] = await collect(client.server.search(ALL));
    assert.deepEqual(signature, { ...stored(1), state: 'withdrawn', form: 'v7' });
  });
});

function page(numbers: readonly number[], next: string | null): Act {
  return json({ signatures: numbers.map(stored), next, cursor: null });
}

function stored(number: number): StoredSignature {
  return {
    site: 'default',
    image: `team/app@sha256:${HEX}`,
    path: `/team/app@sha256=${HEX}/signature-${number}`,
    number,
    state: 'verified',
    reason: null,
    form: 'binary',
    fingerprint: 'A'.repeat(40),
    signingFingerprint: 'A'.repeat(40),
    issuer: null,
    manifestDigest: `sha256:${HEX}`,
    dockerReference: 'registry.example/team/app:v1',
    creator: null,
    signedAt: new Date('2026-11-22T10:00:00Z'),
    expiresAt: null,
    storedAt: new Date('2026-11-22T10:00:01Z'),
    sizeBytes: 700,
    signatureSha256: HEX,
    uploader: 'alice',
    auditSeq: number,
    remap: null,
    warnings: [],
    readers: [],
  };
}
