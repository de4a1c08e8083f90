// Any bytes as path, header, file or payload: whoever sends them is answered below 500 or let go, and the server goes on.
import assert from 'node:assert/strict';
import { connect } from 'node:net';
import path from 'node:path';
import { after, before } from 'node:test';
import fc from 'fast-check';
import { createToken, type LookasideServer, startServer } from '../clients/server.ts';
import { addKey, makeSigner } from '../clients/signer.ts';
import { openTempFolder, type TempFolder } from '../clients/temp-folder.ts';
import { requestRaw } from '../http/raw-request.ts';
import { folderOf, layImage, signatureBytes } from '../store/lay.ts';
import { count, promise } from './promise.ts';

const RUNS = count(5000, 120);
/** Fewer than the refused uploads after which a token is told to slow down. */
const RUNS_OF_TOKEN = 900;
const SILENT_MS = 10_000;

const METHODS = ['GET', 'HEAD', 'PUT', 'POST', 'DELETE', 'OPTIONS'] as const;
const ONE = signatureBytes('one');
const FOLDER = folderOf('team/app');

/** Bytes, and more often such as a parser takes an interest in. */
const bytes = fc
  .array(
    fc.oneof(
      fc.uint8Array({ maxLength: 20 }).map((some) => Buffer.from(some).toString('latin1')),
      fc.string({ unit: 'binary', maxLength: 10 }),
      fc.constantFrom(
        '..',
        '/',
        '%',
        '%2f',
        '%00',
        '%ff',
        '\0',
        '?',
        '#',
        '@sha256=',
        FOLDER,
        '/signature-1',
      ),
      fc.constantFrom(
        'bytes=0-',
        'W/"',
        '*',
        'gzip',
        'chunked',
        'close',
        '100-continue',
        '-1',
        ',',
        ';',
        '=',
      ),
    ),
    { maxLength: 8 },
  )
  .map((parts) => parts.join(''));

/** What the parser of HTTP lets pass, so that those behind it meet it. */
const line = bytes.map((some) => some.replaceAll(/[^\x20-\x7e\x80-\xff]/g, ''));

/** The same for what comes behind the method. */
const target = line.map((some) => some.replaceAll(/[ \x7f-\xff]/g, '%41'));

const name = fc.oneof(
  bytes,
  fc.constantFrom(
    'Range',
    'If-None-Match',
    'If-Modified-Since',
    'Accept',
    'Accept-Encoding',
    'Authorization',
  ),
  fc.constantFrom('X-A', 'Origin', 'Referer', 'User-Agent', 'Via', 'Date', 'Accept-Language', 'TE', 'Link'),
  fc.constantFrom('Content-Length', 'Content-Type', 'Transfer-Encoding', 'Expect', 'Connection', 'Upgrade'),
  fc.constantFrom(
    'X-Forwarded-For',
    'X-Forwarded-Proto',
    'Forwarded',
    'X-Request-Id',
    'Host',
    'Cookie',
    '__proto__',
  ),
);

/** The head of a part of a form that could be a signature. */
const partHead = line.map((some) => `Content-Disposition: form-data; name="signature"; filename="${some}"`);

interface Scene {
  readonly token: string;
  /** Signed as it should be by one whom the server knows. */
  sign(payload: Uint8Array): Buffer;
}

interface Kind {
  readonly what: string;
  /** Whether the server can tell where the request ends; if not, the sender ends the connection. */
  readonly isWhole: boolean;
  readonly request: fc.Arbitrary<(scene: Scene) => Buffer>;
}

const request = (line: string, lines: readonly string[], body: Uint8Array = Buffer.alloc(0)) =>
  Buffer.concat([Buffer.from(`${[`${line} HTTP/1.1`, ...lines].join('\r\n')}\r\n\r\n`, 'latin1'), body]);

const HOST = ['Host: a', 'Connection: close'] as const;

/** One to an image of its own, so that nothing that was taken before is in its way. */
function upload(method: 'PUT' | 'POST', { token }: Scene, body: Uint8Array, text: string): Buffer {
  const folder = folderOf('any/app', text);
  const target = method === 'PUT' ? `${folder}/signature-1` : folder;
  const lines = [`Authorization: Bearer ${token}`, `Content-Length: ${body.length}`];
  return request(`${method} /${target}`, [...HOST, ...lines], body);
}

const KINDS: readonly Kind[] = [
  {
    what: 'path',
    isWhole: true,
    request: fc.tuple(fc.constantFrom(...METHODS), fc.oneof(bytes, target, target)).map(
      ([method, some]) =>
        () =>
          request(`${method} /${some}`, HOST),
    ),
  },
  {
    what: 'header',
    isWhole: false,
    request: fc
      .tuple(
        fc.constantFrom(...METHODS),
        fc.array(fc.tuple(name, fc.oneof(bytes, line, line)), { minLength: 1, maxLength: 3 }),
      )
      .map(([method, headers]) => ({ token }) => {
        const lines = headers.map(([each, value]) => `${each}: ${value}`);
        const authorization = `Authorization: Bearer ${token}`;
        return request(`${method} /${FOLDER}/signature-1`, [...HOST, authorization, ...lines], ONE);
      }),
  },
  {
    what: 'file',
    isWhole: true,
    request: fc.tuple(fc.constantFrom('PUT', 'POST'), fc.uint8Array({ maxLength: 400 }), bytes).map(
      ([method, body, text]) =>
        (scene) =>
          upload(method, scene, body, text),
    ),
  },
  {
    what: 'form',
    isWhole: true,
    request: fc.tuple(fc.oneof(bytes, partHead, partHead), bytes).map(([head, body]) => ({ token }) => {
      const form = Buffer.from(`--x\r\n${head}\r\n\r\n${body}\r\n--x--\r\n`, 'latin1');
      const type = 'Content-Type: multipart/form-data; boundary=x';
      const lines = [`Authorization: Bearer ${token}`, type, `Content-Length: ${form.length}`];
      return request('POST /api/v1/signatures', [...HOST, ...lines], form);
    }),
  },
  {
    what: 'payload',
    isWhole: true,
    request: fc
      .tuple(fc.oneof(fc.uint8Array({ maxLength: 300 }), fc.json().map(Buffer.from), claim()), bytes)
      .map(
        ([payload, text]) =>
          (scene) =>
            upload('POST', scene, scene.sign(payload), text),
      ),
  },
];

/** A claim, of which any part is anything. */
function claim(): fc.Arbitrary<Uint8Array> {
  const anything = fc.oneof(fc.jsonValue(), bytes);
  return fc
    .record(
      {
        critical: fc.oneof(
          anything,
          fc.record(
            {
              type: fc.oneof(fc.constant('atomic container signature'), anything),
              image: fc.oneof(anything, fc.record({ 'docker-manifest-digest': anything })),
              identity: fc.oneof(anything, fc.record({ 'docker-reference': anything })),
            },
            { requiredKeys: [] },
          ),
        ),
        optional: fc.oneof(anything, fc.record({ creator: anything, timestamp: anything })),
      },
      { requiredKeys: [] },
    )
    .map((value) => Buffer.from(JSON.stringify(value)));
}

let temp: TempFolder;
let server: LookasideServer;
let scene: Scene;
/** Tokens of uploaders, which take turns. */
const tokens: string[] = [];
let runs = 0;

before(async () => {
  temp = await openTempFolder();
  await layImage(path.join(temp.path, 'sigstore'), 'team/app', ONE);
  const signer = makeSigner('alice');
  await addKey(temp.path, signer);
  for (let k = 0; k * RUNS_OF_TOKEN < RUNS * KINDS.length; k += 1) {
    tokens.push(await createToken(temp.path, `alice-${k}`, 'uploader'));
  }
  scene = {
    get token() {
      return tokens[Math.floor(runs / RUNS_OF_TOKEN) % tokens.length] ?? assert.fail();
    },
    sign: signer.signPayload,
  };
  server = await startServer({ data: temp.path });
});

after(async () => {
  await server?.[Symbol.asyncDispose]();
  await temp?.[Symbol.asyncDispose]();
});

for (const { what, isWhole, request: any } of KINDS) {
  promise(
    {
      id: 'P23',
      what: `any bytes as ${what} are answered below 500 or the connection is closed, and the server goes on`,
      wanted: `0 of ${RUNS} otherwise`,
    },
    async (see) => {
      const statuses = new Map<string, number>();
      await fc.assert(
        fc.asyncProperty(any, async (make) => {
          const said = await exchange(server.port, make(scene), isWhole);
          runs += 1;
          assert.ok(!isWhole || said.length > 0, 'it was not answered');
          for (const status of said) {
            statuses.set(status, (statuses.get(status) ?? 0) + 1);
            assert.match(status, /^[1-4]/);
            assert.notEqual(status, '429');
          }
        }),
        { numRuns: RUNS },
      );
      const { status, body } = await requestRaw(server.port, `GET /${FOLDER}/signature-1`);
      assert.equal(status, 200, server.output());
      assert.ok(body.equals(ONE));
      assert.doesNotMatch(server.output(), /"level":"(?:error|fatal)"/);
      const counted = [...statuses].sort().map(([each, times]) => `${times} × ${each}`);
      see(`0 of ${RUNS} otherwise: ${counted.join(', ')}`);
    },
  );
}

/** Statuses of all answers. @throws Error when the connection is neither answered nor closed in time */
function exchange(port: number, sent: Buffer, isWhole: boolean): Promise<readonly string[]> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    const socket = connect({ host: '127.0.0.1', port }, () => {
      if (isWhole) socket.write(sent);
      else socket.end(sent);
    });
    socket.setTimeout(SILENT_MS, () => {
      reject(new Error(`neither answered nor closed after ${SILENT_MS} ms`));
      socket.destroy();
    });
    socket.on('data', (chunk) => chunks.push(chunk));
    socket.on('error', () => undefined); // a reset is one of the ways to be let go
    socket.on('close', () => {
      const text = Buffer.concat(chunks).toString('latin1');
      resolve([...text.matchAll(/^HTTP\/1\.1 ([0-9]{3}) /gm)].map(([, status = '']) => status));
    });
  });
}
