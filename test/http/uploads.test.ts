// What HTTP makes of uploads: who may, where to, what comes back. What is stored is another's affair, so it goes to memory.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { afterEach, beforeEach, describe, test } from 'node:test';
import type { RefusalCode } from '../../src/domain/errors.ts';
import { MAX_BATCH_BYTES } from '../../src/domain/limits.ts';
import { ROLES } from '../../src/domain/ports.ts';
import type { BatchResult } from '../../src/domain/receipt.ts';
import { createSender } from '../../src/service/push-batches.ts';
import { createGate } from '../gate.ts';
import { clientOf } from '../upstream/scripted-server.ts';
import { refusedWith } from './memory-uploader.ts';
import { parseAnswer, type RawAnswer, requestRaw, sendRaw } from './raw-request.ts';
import { bearer, openUploadScene, tokenOf, type UploadScene } from './upload-scene.ts';

const A = `sha256=${'a'.repeat(64)}`;
const APP = `team/app@${A}`;
const ONE = Buffer.from('one');
const TWO = Buffer.from('two');
const UPLOADER = bearer('uploader');

let scene: UploadScene;
beforeEach(async () => {
  scene = await openUploadScene();
});
afterEach(() => scene[Symbol.asyncDispose]());

const send = (requestLine: string, body?: Uint8Array, lines: readonly string[] = [UPLOADER]) =>
  requestRaw(scene.port, requestLine, lines, body);

const json = ({ body }: RawAnswer) => JSON.parse(body.toString());
const code = (answer: RawAnswer): string => json(answer).errors[0].code;
const isNothingStored = () => assert.equal(scene.uploader.stored.size, 0);

async function metric(name: string): Promise<string | undefined> {
  const { text } = await scene.metrics.render();
  return text
    .split('\n')
    .find((line) => line.startsWith(`${name} `))
    ?.split(' ')[1];
}

describe('PUT of a signature', () => {
  test('creates it: 201, where it is, and what was found; then it is served', async () => {
    const answer = await send(`PUT /${APP}/signature-1`, ONE);
    assert.equal(answer.status, 201);
    assert.equal(answer.headers.get('location'), `/${APP}/signature-1`);
    assert.equal(answer.headers.get('content-type'), 'application/json');
    assert.equal(answer.headers.get('cache-control'), 'no-store');
    assert.deepEqual(json(answer), {
      path: `/${APP}/signature-1`,
      number: 1,
      created: true,
      state: 'verified',
      fingerprint: 'A'.repeat(40),
      signingFingerprint: 'B'.repeat(40),
      manifestDigest: `sha256:${'a'.repeat(64)}`,
      dockerReference: 'registry.example/team/app:1',
      signedAt: '2026-11-22T09:00:00.000Z',
      signatureSha256: '7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed',
      auditSeq: 1,
      logIndex: 0,
      warnings: [],
    });
    const read = await send(`GET /${APP}/signature-1`, undefined, []);
    assert.equal(read.status, 200);
    assert.deepEqual(read.body, ONE);
  });

  test('of bytes that are there is 200, with the place where they are', async () => {
    await send(`PUT /${APP}/signature-1`, ONE);
    const answer = await send(`PUT /${APP}/signature-7`, ONE);
    assert.equal(answer.status, 200);
    assert.equal(answer.headers.get('location'), `/${APP}/signature-1`);
    assert.equal(json(answer).created, false);
    assert.equal(json(answer).auditSeq, null);
  });

  test('of a number that is taken or not next is 409 and names the next', async () => {
    await send(`PUT /${APP}/signature-1`, ONE);
    for (const [number, wanted] of [
      [1, 'NUMBER_TAKEN'],
      [3, 'NUMBER_NOT_NEXT'],
      [999_999_999, 'NUMBER_NOT_NEXT'],
    ]) {
      const answer = await send(`PUT /${APP}/signature-${number}`, TWO);
      assert.equal(answer.status, 409);
      assert.equal(code(answer), wanted);
      assert.deepEqual(json(answer).errors[0].detail, { next: 2 });
    }
    assert.deepEqual(scene.uploader.stored.get(APP), [ONE]);
  });

  test('is found however its path is written, and query parameters of others are not looked at', async () => {
    const written = `//team//app%40${A.replace('=', '%3D')}/signature%2D1?token=x&y`;
    assert.equal((await send(`PUT ${written}`, ONE)).status, 201);
    assert.deepEqual([...scene.uploader.stored.keys()], [APP]);
  });

  test('works in chunks, without a body it is an empty signature', async () => {
    const chunked = `PUT /${APP}/signature-1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n${UPLOADER}\r\nTransfer-Encoding: chunked\r\n\r\n2\r\non\r\n1\r\ne\r\n0\r\n\r\n`;
    assert.equal(parseAnswer(await sendRaw(scene.port, chunked)).status, 201);
    await send(`PUT /${APP}/signature-2`);
    assert.deepEqual(scene.uploader.stored.get(APP), [ONE, Buffer.alloc(0)]);
  });

  test('that is refused is told in JSON, while reads of the same path stay as they are', async () => {
    const answer = await send(`PUT /${APP}/signature-1`, refusedWith('SIGNATURE_BAD'));
    assert.equal(answer.status, 422);
    assert.deepEqual(json(answer), {
      errors: [{ code: 'SIGNATURE_BAD', message: 'refused as the test wanted it' }],
    });
    const read = await send(`GET /${APP}/signature-1`);
    assert.equal(read.status, 404);
    assert.equal(read.headers.get('content-type'), 'text/plain; charset=utf-8');
    isNothingStored();
  });
});

describe('POST to an image', () => {
  test('appends, with a final slash and without', async () => {
    const first = await send(`POST /${APP}`, ONE);
    const second = await send(`POST /${APP}/`, TWO);
    const again = await send(`POST /${APP}`, TWO);
    assert.deepEqual([first.status, second.status, again.status], [201, 201, 200]);
    assert.equal(second.headers.get('location'), `/${APP}/signature-2`);
    assert.equal(again.headers.get('location'), `/${APP}/signature-2`);
    assert.deepEqual(scene.uploader.stored.get(APP), [ONE, TWO]);
  });

  test('appends in the release layout and where a repository is named like a route of ours', async () => {
    for (const image of [A, `openshift/release/${A}`, `v2/app@${A}`, `keys@${A}`, `api/v1/signatures@${A}`]) {
      for (const end of ['', '/']) {
        const answer = await send(`POST /${image}${end}`, Buffer.from(image + end));
        assert.equal(answer.status, 201, image);
      }
      assert.equal(scene.uploader.stored.get(image)?.length, 2, image);
    }
  });

  test('names the remaps by which the signed name may be another, twenty at most', async () => {
    const asked = 'signed-for=mirror/quay=quay.io&signed-for=rh%3Dregistry.redhat.io';
    assert.equal((await send(`POST /${APP}?${asked}`, ONE)).status, 201);
    assert.equal((await send(`PUT /${APP}/signature-2?${asked}`, TWO)).status, 201);
    const both = ['mirror/quay=quay.io', 'rh=registry.redhat.io'];
    assert.deepEqual(scene.uploader.remaps, [both, both]);
    for (const query of [
      'signed-for',
      'signed-for=',
      'signed-for==quay.io',
      'signed-for=a=b',
      `x&${'signed-for=a=b.io&'.repeat(21)}`,
    ]) {
      const { status, body } = await send(`POST /${APP}?${query}`, ONE);
      assert.equal(status, 400, query);
      assert.match(body.toString(), /REQUEST_INVALID.*(?:wanted PREFIX=SIGNED_PREFIX|at most 20)/);
    }
    assert.equal(scene.uploader.remaps.length, 2, 'nothing of these was looked at');
  });

  test('is forced by force=1 and by nothing else', async () => {
    assert.equal((await send(`POST /${APP}?force=1`, ONE)).status, 201);
    assert.equal((await send(`POST /${APP}/?x=2&force=1&force=1`, TWO)).status, 201);
    assert.equal((await send(`POST /${APP}?forced=2`, TWO)).status, 200);
    assert.deepEqual(scene.uploader.forces, [true, true, false]);
    for (const query of ['force', 'force=', 'force=0', 'force=true', 'force=1&force=2', 'force=%31%00']) {
      const answer = await send(`POST /${APP}?${query}`, Buffer.from('three'));
      assert.equal(answer.status, 400, query);
      assert.equal(code(answer), 'REQUEST_INVALID');
    }
    assert.deepEqual(scene.uploader.stored.get(APP), [ONE, TWO]);
  });

  test('keeps the parameters behind another one that has a question mark in its value', async () => {
    await send(`POST /${APP}?note=who%20signed?&force=1&signed-for=a.example=b.example`, ONE);
    assert.deepEqual(scene.uploader.forces, [true]);
    assert.equal((await send(`POST /${APP}?note=?why?&force=2`, TWO)).status, 400);
    assert.deepEqual(scene.uploader.remaps[0], ['a.example=b.example']);
  });
});

describe('a place that can hold no signature', () => {
  const PLACES = [
    `/${APP}/signature-0`,
    `/${APP}/signature-01`,
    `/${APP}/signature-`,
    `/${APP}/signature-1000000000`,
    `/${APP}/index.json`,
    `/team/app@sha256=${'A'.repeat(64)}/signature-1`,
    `/team/app@sha256=${'a'.repeat(63)}/signature-1`,
    '/team/app@md5=d41d8cd98f00b204e9800998ecf8427e/signature-1',
    `/team/app:${A}/signature-1`,
    '/team/app',
    '/team/',
    '/',
    '/..%2Fx',
    '/%zz',
    '/.lookaside/tmp/signature-1',
    `/${APP}/signature-1/`,
    `/${APP}/signature-1/x`,
  ];
  for (const place of PLACES) {
    test(`${place.replace(A, '<digest>')} is told how a path looks, after the token`, async () => {
      for (const method of ['PUT', 'POST']) {
        const answer = await send(`${method} ${place}`, ONE);
        assert.equal(answer.status, 400);
        assert.equal(code(answer), 'PATH_INVALID');
        const { message } = json(answer).errors[0];
        assert.match(message, /wanted PUT REPOSITORY@ALGORITHM=HEX\/signature-N.*, like \/team\/app@sha256=/);
        assert.equal((await send(`${method} ${place}`, ONE, [])).status, 401);
        assert.equal((await send(`${method} ${place}`, ONE, [bearer('reader')])).status, 403);
      }
      assert.equal(scene.uploader.arrived, 0);
    });
  }

  test('of our own routes is none of these', async () => {
    for (const [line, status] of [
      ['POST /livez', 405],
      ['PUT /api/v1/signatures', 405],
      ['PUT /api/v1/nothing', 404],
      [`PUT /v2/app@${A}`, 404],
    ] as const) {
      assert.equal((await send(line, ONE)).status, status, line);
    }
  });
});

describe('a method that is not possible', () => {
  for (const [target, allow] of [
    [`/${APP}/signature-1`, 'GET, HEAD, PUT, DELETE'],
    [`/${APP}`, 'GET, HEAD, POST'],
    [`/${APP}/`, 'GET, HEAD, POST'],
    [`/${APP}/signature-0`, 'GET, HEAD'],
    ['/team/', 'GET, HEAD'],
    ['/nothing', 'GET, HEAD'],
    ['/api/v1/tokens', 'GET, HEAD, POST'],
    ['/api/v1/server', 'GET, HEAD'],
    ['/api/v1/signatures', 'GET, HEAD, POST'],
  ]) {
    test(`on ${target?.replace(A, '<digest>')} is told ${allow}`, async () => {
      for (const method of ['DELETE', 'PATCH', 'OPTIONS', 'PROPFIND']) {
        if (allow?.includes(method)) continue;
        for (const lines of [[], [UPLOADER]]) {
          const answer = await send(`${method} ${target}`, undefined, lines);
          assert.equal(answer.status, 405);
          assert.equal(answer.headers.get('allow'), allow);
          assert.equal(code(answer), 'METHOD_NOT_ALLOWED');
        }
      }
    });
  }

  test('is PUT of an image and POST of a number', async () => {
    assert.equal((await send(`PUT /${APP}`, ONE)).headers.get('allow'), 'GET, HEAD, POST');
    assert.equal(
      (await send(`POST /${APP}/signature-1`, ONE)).headers.get('allow'),
      'GET, HEAD, PUT, DELETE',
    );
    isNothingStored();
  });
});

describe('who may upload', () => {
  for (const role of ROLES) {
    const may = role === 'uploader' || role === 'admin';
    test(`the role ${role} ${may ? 'may' : 'may not'}`, async () => {
      const basic = `Authorization: Basic ${Buffer.from(`any:${tokenOf(role)}`).toString('base64')}`;
      for (const [k, line] of [bearer(role), basic].entries()) {
        const answer = await send(`PUT /${APP}/signature-${k + 1}`, Buffer.from(`${k}`), [line]);
        assert.equal(answer.status, may ? 201 : 403);
        if (!may) assert.equal(code(answer), 'DENIED');
      }
      if (!may) isNothingStored();
      assert.equal((await send(`POST /${APP}`, ONE, [bearer(role)])).status, may ? 201 : 403);
    });
  }

  test('nobody without a token; reads stay open', async () => {
    for (const line of [`PUT /${APP}/signature-1`, `POST /${APP}`, 'POST /api/v1/signatures']) {
      const answer = await send(line, ONE, []);
      assert.equal(answer.status, 401);
      assert.equal(answer.headers.get('www-authenticate'), 'Basic realm="lookaside"');
      assert.match(json(answer).errors[0].message, /^a token is needed here/);
      const wrong = await send(line, ONE, ['Authorization: Bearer wrong']);
      assert.equal(wrong.status, 401);
      assert.match(json(wrong).errors[0].message, /^the token that was sent is unknown or revoked/);
    }
    assert.equal((await send(`GET /${APP}/signature-1`, undefined, [])).status, 404);
    isNothingStored();
  });

  test('is known to the audit: the token, the address, and the id of the request that the answer tells', async () => {
    const own = await send(`PUT /${APP}/signature-1`, ONE, [UPLOADER, 'X-Request-Id: build-17_a.b']);
    assert.equal(own.headers.get('x-request-id'), 'build-17_a.b');
    const ids = ['build-17_a.b'];
    for (const line of [
      'X-Other: 1',
      'X-Request-Id: a b',
      'X-Request-Id: <b>',
      'X-Request-Id:',
      `X-Request-Id: ${'x'.repeat(65)}`,
    ]) {
      const { headers } = await send(`PUT /${APP}/signature-1`, ONE, [UPLOADER, line]);
      const id = headers.get('x-request-id') ?? '';
      assert.match(id, /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/);
      ids.push(id);
    }
    assert.equal(new Set(ids).size, ids.length);
    assert.deepEqual(
      scene.uploader.actors,
      ids.map((requestId) => ({
        name: 'uploader',
        address: '127.0.0.1',
        requestId,
        signer: null,
        isAdministrator: false,
      })),
    );
    const refused = await send(`PUT /${APP}/signature-1`, ONE, []);
    assert.match(refused.headers.get('x-request-id') ?? '', /^[0-9a-f-]{36}$/);
    assert.equal((await send(`GET /${APP}/signature-1`)).headers.get('x-request-id'), undefined);
  });

  test('is the administrator on the socket, of whom no address is told', async () => {
    await using local = await openUploadScene({ isLocal: true, settings: { prefix: '/sig' } });
    const answer = await requestRaw(local.port, `POST /${APP}`, [], ONE);
    assert.equal(answer.status, 201);
    assert.equal(answer.headers.get('location'), `/${APP}/signature-1`);
    const [actor] = local.uploader.actors;
    assert.deepEqual(actor, {
      name: 'administrator',
      isAdministrator: true,
      address: null,
      requestId: answer.headers.get('x-request-id'),
    });
  });
});

describe('a path that is too long', () => {
  const places = (path: string) =>
    [`${path}@${A}`, `${path}/${A}`].flatMap((at) => [at, `${at}/signature-1`]);

  test('is refused before a body is asked for, and says how long it may be; to readers it is not there', async () => {
    for (const place of [
      ...places('c/'.repeat(1900)),
      ...places('c'.repeat(256)),
      `team/${'n'.repeat(200)}@${A}`,
    ]) {
      const path = place.replaceAll('/@', '/c@').replaceAll('//', '/');
      const method = path.endsWith('/signature-1') ? 'PUT' : 'POST';
      const answer = await send(`${method} /${path}`, ONE);
      assert.equal(answer.status, 400, path);
      assert.equal(code(answer), 'PATH_INVALID');
      const { message } = json(answer).errors[0];
      assert.match(
        message,
        /has [0-9]+ bytes, and registries take 255 at most|272 bytes, and file systems take 255/,
      );
      assert.ok(message.length < 300, 'the path itself is not repeated');
      for (const end of ['', '/', '/signature-1']) {
        const read = await send(`GET /${path.replace(/\/signature-1$/, '')}${end}`);
        assert.equal(read.status, 404, `${path}${end}`);
      }
    }
    assert.equal(scene.uploader.arrived, 0);
  });

  test('of 255 bytes is taken', async () => {
    for (const place of [`${'c/'.repeat(127)}c@${A}`, `${'c/'.repeat(127)}c/${A}`]) {
      const answer = await send(`POST /${place}`, ONE);
      assert.equal(answer.status, 201, place);
    }
  });
});

describe('a prefix', () => {
  test('stands before what is told, and before every place', async () => {
    await using below = await openUploadScene({ settings: { prefix: '/sig/store' } });
    const at = (line: string) => requestRaw(below.port, line, [UPLOADER], ONE);
    const answer = await at(`PUT /sig/store/${APP}/signature-1`);
    assert.equal(answer.status, 201);
    assert.equal(answer.headers.get('location'), `/sig/store/${APP}/signature-1`);
    assert.equal(json(answer).path, `/${APP}/signature-1`);
    const outside = await at(`PUT /${APP}/signature-1`);
    assert.equal(code(outside), 'PATH_INVALID');
    assert.match(json(outside).errors[0].message, /like \/sig\/store\/team\/app@sha256=/);
  });
});

describe('wrong tokens', () => {
  const wrong = ['Authorization: Bearer lookaside_wrong'];

  test('are told to slow down after ten in a minute, on writes alone; a right one never', async () => {
    const attempt = () => send(`PUT /${APP}/signature-1`, ONE, wrong);
    for (let k = 0; k < 10; k += 1) assert.equal((await attempt()).status, 401);
    const eleventh = await attempt();
    assert.equal(eleventh.status, 429);
    assert.equal(code(eleventh), 'SLOW_DOWN');
    assert.equal(eleventh.headers.get('retry-after'), '60');
    assert.equal((await send('POST /api/v1/tokens', Buffer.from('{}'), wrong)).status, 429);

    assert.equal((await send(`PUT /${APP}/signature-1`, ONE)).status, 201);
    assert.equal((await send(`PUT /${APP}/signature-2`, ONE, [])).status, 401);
    assert.equal((await send(`PUT /${APP}/signature-2`, ONE, [bearer('reader')])).status, 403);
    assert.equal((await send(`GET /${APP}/signature-1`, undefined, wrong)).status, 200);
    assert.equal((await send('GET /api/v1/tokens', undefined, wrong)).status, 401);

    scene.clock.pass(60_000);
    assert.equal((await attempt()).status, 401);
  });

  test('of reads, right ones and missing ones are not counted', async () => {
    for (let k = 0; k < 15; k += 1) {
      assert.equal((await send('GET /api/v1/tokens', undefined, wrong)).status, 401);
      assert.equal((await send(`PUT /${APP}/signature-1`, ONE, [])).status, 401);
      assert.equal((await send(`PUT /${APP}/signature-1`, ONE, [bearer('reader')])).status, 403);
    }
    assert.equal((await send(`PUT /${APP}/signature-1`, ONE, wrong)).status, 401);
  });
});

describe('uploads that are refused', () => {
  interface Refused {
    readonly code?: string;
    readonly lines?: readonly string[];
    readonly port?: number;
  }
  const refused = (
    parts: number,
    { code = 'KEY_UNKNOWN', lines = [UPLOADER], port = scene.port }: Refused = {},
  ) => {
    const part = `--b\r\nContent-Disposition: form-data; name="signature"; filename="${APP}/signature-1"\r\n\r\n${refusedWith(code as RefusalCode)}\r\n`;
    const form = Buffer.from(`${part.repeat(parts)}--b--\r\n`);
    return requestRaw(
      port,
      'POST /api/v1/signatures',
      [...lines, 'Content-Type: multipart/form-data; boundary=b'],
      form,
    );
  };

  test('by the thousand in a minute are told to slow down, ahead of what comes next; others are not', async () => {
    for (let k = 0; k < 9; k += 1) assert.equal((await refused(100)).status, 200);
    for (let k = 0; k < 100; k += 1) {
      assert.equal((await send(`PUT /${APP}/signature-1`, refusedWith('EMPTY'))).status, 422);
    }
    const { arrived } = scene.uploader;
    for (const answer of [await refused(1), await send(`PUT /${APP}/signature-1`, ONE)]) {
      assert.equal(answer.status, 429);
      assert.equal(code(answer), 'SLOW_DOWN');
      assert.equal(answer.headers.get('retry-after'), '60');
      assert.match(
        json(answer).errors[0].message,
        /^more than 1000 uploads of the token "uploader" were refused/,
      );
    }
    assert.equal(scene.uploader.arrived, arrived);
    assert.equal((await send(`GET /${APP}/signature-1`)).status, 404);
    assert.equal((await send(`PUT /${APP}/signature-1`, ONE, [bearer('admin')])).status, 201);

    scene.clock.pass(59_999);
    assert.equal((await refused(1)).headers.get('retry-after'), '1');
    scene.clock.pass(1);
    assert.equal((await refused(1)).status, 200);
  });

  test('at once by many requests are waited for as long as their number takes', async () => {
    let letGo = () => {};
    scene.uploader.gate = new Promise((resolve) => {
      letGo = resolve;
    });
    const sent = Array.from({ length: 25 }, () => refused(100));
    while (scene.uploader.arrived < 25) await new Promise(setImmediate);
    letGo();
    for (const { status } of await Promise.all(sent)) assert.equal(status, 200);
    assert.equal((await refused(1)).headers.get('retry-after'), '120');
    scene.clock.pass(119_000);
    assert.equal((await refused(1)).headers.get('retry-after'), '1');
    scene.clock.pass(1000);
    assert.equal((await refused(1)).status, 200);
  });

  test('of a push of 3,000 bad files are told each by each, and the push waits as it is told', async () => {
    await using client = clientOf(
      { url: `http://127.0.0.1:${scene.port}`, token: tokenOf('uploader') },
      { wait: async (ms) => scene.clock.pass(ms) },
    );
    const { clock } = scene;
    const sender = createSender({ server: client.server, clock, wait: async () => {}, random: () => 1 });
    const events = new Map<number, string>();
    const files = Array.from({ length: 3000 }, (_, k) => ({
      bytes: refusedWith('KEY_UNKNOWN'),
      fileName: `team/app-${k}@${A}/signature-1`,
      settle: (result: BatchResult) => void events.set(k, result.result),
    }));
    await sender.send(
      files.map((file) => [file]),
      { force: false, signal: new AbortController().signal },
    );
    assert.equal(events.size, 3000);
    assert.deepEqual([...new Set(events.values())], ['refused']);
    assert.ok(client.retries.length > 0);
    for (const { message } of client.retries) assert.match(message, /go on in [0-9]+ seconds$/);
  });

  test('for what is not their fault are not counted, nor are those of the administrator', async () => {
    await using local = await openUploadScene({ isLocal: true });
    for (let k = 0; k < 11; k += 1)
      assert.equal((await refused(100, { lines: [], port: local.port })).status, 200);
    for (let k = 0; k < 11; k += 1) assert.equal((await refused(100, { code: 'BUSY' })).status, 200);
    assert.equal((await send(`PUT /${APP}/signature-1`, ONE)).status, 201);
  });
});

describe('room for uploads', () => {
  const head = (lines: readonly string[], length: string) =>
    `POST /api/v1/signatures HTTP/1.1\r\nHost: a\r\nContent-Type: multipart/form-data; boundary=b\r\n${[...lines, length].join('\r\n')}\r\n\r\n`;

  async function hold(port: number, text: string | Buffer): Promise<Socket> {
    const socket = connect({ host: '127.0.0.1', port });
    await once(socket, 'connect');
    await new Promise((resolve) => socket.write(text, resolve));
    return socket;
  }

  test('is held by forms of one uploader that send one byte as far as that, whatever they announce', async () => {
    const chunked = `${head([UPLOADER], 'Transfer-Encoding: chunked')}1\r\n-\r\n`;
    const announced = `${head([UPLOADER], `Content-Length: ${MAX_BATCH_BYTES}`)}-`;
    const held = [];
    for (let k = 0; k < 12; k += 1) {
      held.push(await hold(scene.port, chunked), await hold(scene.port, announced));
    }
    assert.equal((await send(`PUT /${APP}/signature-1`, ONE, [bearer('admin')])).status, 201);
    assert.equal((await send(`PUT /${APP}/signature-2`, TWO)).status, 201);
    for (const socket of held) socket.destroy();
  });

  test('is one for all commands on the machine, as much as four batches, and free again behind them', async () => {
    await using local = await openUploadScene({ isLocal: true });
    const gate = createGate();
    local.uploader.gate = gate.promise;
    const part = `--b\r\nContent-Disposition: form-data; name="signature"; filename="x"\r\n\r\n`;
    const end = '\r\n--b--\r\n';
    const form = Buffer.concat([
      Buffer.from(part),
      Buffer.alloc(MAX_BATCH_BYTES - part.length - end.length, 'x'),
      Buffer.from(end),
    ]);
    const lines = ['Content-Type: multipart/form-data; boundary=b'];
    const at = (body: Uint8Array) => requestRaw(local.port, 'POST /api/v1/signatures', lines, body);
    const whole = [at(form), at(form), at(form), at(form)];
    while (local.uploader.arrived < 4) await new Promise(setImmediate);
    const fifth = await at(form);
    assert.equal(fifth.status, 503);
    assert.equal(code(fifth), 'BUSY');
    gate.open();
    for (const { status } of await Promise.all(whole)) assert.equal(status, 200);
    assert.equal((await at(form)).status, 200);
  });
});

describe('an upload that is too large', () => {
  test('is refused at the size that the settings say', async () => {
    await using small = await openUploadScene({ settings: { maxSignatureBytes: 10 } });
    const at = (bytes: number) =>
      requestRaw(small.port, `POST /${APP}`, [UPLOADER], Buffer.alloc(bytes, 'x'));
    assert.equal((await at(10)).status, 201);
    const refused = await at(11);
    assert.equal(refused.status, 413);
    assert.equal(code(refused), 'TOO_LARGE');
    assert.deepEqual(json(refused).errors[0].detail, { maxBytes: 10 });
  });

  for (const [what, lines, status] of [
    ['and without a token', [], 401],
    ['for the one who may', [UPLOADER], 413],
    ['for the one who may not', [bearer('auditor')], 403],
  ] as const) {
    test(`${what} is answered ${status} while a mebibyte of it is still being sent`, async () => {
      const answer = await send(`PUT /${APP}/signature-1`, Buffer.alloc(1024 * 1024, 'x'), lines);
      assert.equal(answer.status, status);
      isNothingStored();
    });
  }
});

describe('an upload that is dropped', () => {
  test('leaves nothing, is no failure of ours, and is logged as gone', async () => {
    await using logged = await openUploadScene({ settings: { accessLog: 'json' } });
    for (let k = 0; k < 50; k += 1) {
      const socket = connect({ host: '127.0.0.1', port: logged.port });
      await once(socket, 'connect');
      const head = `PUT /${APP}/signature-1 HTTP/1.1\r\nHost: a\r\n${UPLOADER}\r\nContent-Length: 100\r\n\r\n`;
      await new Promise((resolve) => socket.write(`${head}half`, resolve));
      socket.destroy();
    }
    while (logged.accessLines.length < 50) await new Promise(setImmediate);
    for (const line of logged.accessLines) assert.equal(JSON.parse(line).status, 499);
    assert.equal(logged.uploader.arrived, 0);
    assert.deepEqual(logged.log.lines, []);
    const { text } = await logged.metrics.render();
    assert.match(text, /^lookaside_http_requests_total\{route="upload",method="PUT",status="499"\} 50$/m);
  });

  test('after its last byte is kept all the same', async () => {
    let letGo = () => {};
    scene.uploader.gate = new Promise((resolve) => {
      letGo = resolve;
    });
    const socket = connect({ host: '127.0.0.1', port: scene.port });
    await once(socket, 'connect');
    socket.write(
      `PUT /${APP}/signature-1 HTTP/1.1\r\nHost: a\r\n${UPLOADER}\r\nContent-Length: 3\r\n\r\none`,
    );
    while (scene.uploader.arrived === 0) await new Promise(setImmediate);
    socket.destroy();
    letGo();
    assert.equal((await send(`PUT /${APP}/signature-1`, ONE)).status, 200);
    assert.deepEqual(scene.uploader.stored.get(APP), [ONE]);
  });
});

describe('what any token may read', () => {
  for (const role of ROLES) {
    test(`the role ${role} reads tokens and server, by GET and HEAD`, async () => {
      const tokens = await send('GET /api/v1/tokens', undefined, [bearer(role)]);
      assert.equal(tokens.status, 200);
      assert.equal(json(tokens).tokens.length, ROLES.length);
      assert.doesNotMatch(tokens.body.toString(), /token-of-the|hash/);
      assert.equal((await send('GET /api/v1/server', undefined, [bearer(role)])).status, 200);
      for (const path of ['tokens', 'server']) {
        const head = await send(`HEAD /api/v1/${path}`, undefined, [bearer(role)]);
        assert.equal(head.status, 200);
        assert.equal(head.body.length, 0);
      }
    });

    if (role === 'admin') continue;
    test(`the role ${role} changes neither tokens nor the tree`, async () => {
      for (const line of [
        'POST /api/v1/tokens',
        'DELETE /api/v1/tokens/x',
        'POST /api/v1/fsck',
        'POST /api/v1/reindex',
      ]) {
        assert.equal((await send(line, Buffer.from('{}'), [bearer(role)])).status, 403, line);
      }
    });
  }

  test('nobody reads without one', async () => {
    for (const line of ['GET /api/v1/tokens', 'HEAD /api/v1/server'])
      assert.equal((await send(line, undefined, [])).status, 401);
  });
});

describe('metrics', () => {
  test('count uploads by what became of them, and how long they took', async () => {
    await send(`PUT /${APP}/signature-1`, ONE);
    await send(`PUT /${APP}/signature-1`, ONE);
    await send(`PUT /${APP}/signature-1`, TWO);
    await send(`POST /${APP}`, refusedWith('KEY_UNKNOWN'));
    assert.equal(await metric('lookaside_uploads_total{result="created",code=""}'), '1');
    assert.equal(await metric('lookaside_uploads_total{result="exists",code=""}'), '1');
    assert.equal(await metric('lookaside_uploads_total{result="refused",code="NUMBER_TAKEN"}'), '1');
    assert.equal(await metric('lookaside_uploads_total{result="refused",code="KEY_UNKNOWN"}'), '1');
    assert.equal(await metric('lookaside_upload_duration_seconds_count'), '4');
  });
});
