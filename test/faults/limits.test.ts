// Every limit that a client can meet, over the real server: what is just within it works, one more is refused by 4xx.
import assert from 'node:assert/strict';
import {
  MAX_BATCH_BYTES,
  MAX_BATCH_PARTS,
  MAX_CERTIFICATES_BYTES,
  MAX_HEADER_LINES,
  MAX_MISSING_ASKED,
  MAX_MISSING_BYTES,
  MAX_PAGE_ROWS,
  MAX_SIGNATURES_PER_IMAGE,
  MAX_TARGET_BYTES,
} from '../../src/domain/limits.ts';
import { createToken, startServer } from '../clients/server.ts';
import { enrol, makeSigner, type Signer } from '../clients/signer.ts';
import { openTempFolder } from '../clients/temp-folder.ts';
import { formOf, type Part } from '../clients/uploads.ts';
import { type RawAnswer, requestRaw } from '../http/raw-request.ts';
import { folderOf } from '../store/lay.ts';
import { isFull, promise } from './promise.ts';

/** As LOOKASIDE_MAX_SIGNATURE_BYTES has it unless told. */
const MAX_UPLOAD_BYTES = 128 * 1024;

interface Sent {
  readonly line: string;
  readonly lines?: readonly string[];
  readonly body?: Uint8Array;
}

interface Limit {
  readonly what: string;
  readonly most: number;
  /** A request of that size, or with so many of them. */
  readonly request: (size: number) => Sent | Promise<Sent>;
  /** At the limit: not refused, or for what it holds instead of its size. */
  readonly at: number;
  readonly over: number;
}

function limitsOf(signer: Signer): readonly Limit[] {
  const post = (line: string, size: number): Sent => ({ line, body: Buffer.alloc(size, ' ') });
  return [
    {
      what: 'header lines',
      most: MAX_HEADER_LINES,
      // Host, Connection and Authorization stand there already
      request: (lines) => ({
        line: 'GET /livez',
        lines: Array.from({ length: lines - 3 }, (_, k) => `X-${k}: a`),
      }),
      at: 200,
      over: 431,
    },
    {
      what: 'bytes of a target',
      most: MAX_TARGET_BYTES,
      request: (bytes) => ({ line: `GET ${'/livez?'.padEnd(bytes, 'x')}` }),
      at: 200,
      over: 404,
    },
    {
      what: 'bytes of a signature',
      most: MAX_UPLOAD_BYTES,
      request: (bytes) => ({ line: `POST /${folderOf('size/app')}`, body: signatureOf(signer, bytes) }),
      at: 201,
      over: 413,
    },
    {
      what: 'parts of a form',
      most: MAX_BATCH_PARTS,
      request: async (parts) => batch(Array.from({ length: parts }, () => ({ bytes: Buffer.from('x') }))),
      at: 200,
      over: 413,
    },
    {
      what: 'bytes of a form',
      most: MAX_BATCH_BYTES,
      request: async (bytes) => {
        const { length } = (await batch([{ bytes: Buffer.alloc(0) }])).body;
        return batch([{ bytes: Buffer.alloc(bytes - length) }]);
      },
      at: 200,
      over: 413,
    },
    {
      what: 'bytes of certificates',
      most: MAX_CERTIFICATES_BYTES,
      request: (bytes) => post('POST /api/v1/keys', bytes),
      at: 400,
      over: 413,
    },
    {
      what: 'bytes of a question for what is missing',
      most: MAX_MISSING_BYTES,
      request: (bytes) => ({
        line: 'POST /api/v1/signatures/missing',
        body: Buffer.from('{"signatures":[]}'.padEnd(bytes)),
      }),
      at: 200,
      over: 413,
    },
    {
      what: 'digests in a question for what is missing',
      most: MAX_MISSING_ASKED,
      request: (digests) => ({
        line: 'POST /api/v1/signatures/missing',
        body: Buffer.from(JSON.stringify({ signatures: Array.from({ length: digests }, () => ASKED) })),
      }),
      at: 200,
      over: 400,
    },
    {
      what: 'rows of a page',
      most: MAX_PAGE_ROWS,
      request: (rows) => ({ line: `GET /api/v1/signatures?limit=${rows}` }),
      at: 200,
      over: 400,
    },
    {
      what: 'bytes of what an administrator asks',
      most: 1024,
      request: (bytes) => ({
        line: 'POST /api/v1/fsck',
        body: Buffer.from('{"repair":false}'.padEnd(bytes)),
      }),
      at: 200,
      over: 413,
    },
    {
      what: 'bytes of a request for a token',
      most: 4096,
      request: (bytes) => ({
        line: 'POST /api/v1/tokens',
        body: Buffer.from('{"name":"limit","role":"reader"}'.padEnd(bytes)),
      }),
      at: 201,
      over: 413,
    },
  ];
}

const ASKED = { image: `team/app@sha256:${'a'.repeat(64)}`, sha256: 'b'.repeat(64) };

async function batch(parts: readonly Part[]): Promise<Required<Sent>> {
  const { contentType, body } = await formOf(parts);
  return { line: 'POST /api/v1/signatures', lines: [`Content-Type: ${contentType}`], body };
}

/** Of exactly this size. */
function signatureOf(signer: Signer, bytes: number): Buffer {
  const sign = (filling: string) => signer.sign({ repository: 'size/app', tag: 'v1', filling });
  let length = bytes - 1024;
  for (let tries = 0; tries < 5; tries += 1) {
    const made = sign('x'.repeat(length));
    if (made.length === bytes) return made;
    length += bytes - made.length;
  }
  throw new Error(`no filling makes a signature of ${bytes} bytes`);
}

promise(
  {
    id: 'P13',
    what: 'what is just within a limit works, one more is refused cleanly',
    wanted: 'each limit: at it as if there were none, over it 4xx',
  },
  async (see) => {
    await using temp = await openTempFolder();
    const signer = makeSigner('alice');
    await enrol(temp.path, signer);
    const token = await createToken(temp.path, 'root', 'admin');
    await using server = await startServer({ data: temp.path });
    const send = ({ line, lines = [], body }: Sent) =>
      requestRaw(server.port, line, [`Authorization: Bearer ${token}`, ...lines], body);

    const limits = limitsOf(signer);
    const found: string[] = [];
    for (const { what, most, request, at, over } of limits) {
      const within = await send(await request(most));
      const beyond = await send(await request(most + 1));
      if (within.status !== at || beyond.status !== over) {
        found.push(
          `${most} ${what}: ${within.status} for ${at}, one more ${beyond.status} for ${over}: ${within.body.subarray(0, 200)}`,
        );
      }
      // nobody is told by a bare status what to do
      if (beyond.status !== 404)
        assert.match(beyond.body.toString(), /^\{"errors":\[\{"code":"[A-Z_]+","message":"/);
    }

    if (isFull) await fillImage(signer, send, found);
    see(`${limits.length + (isFull ? 1 : 0)} limits, ${found.length} otherwise`);
    assert.deepEqual(found, []);
  },
);

/** As many signatures as an image can have, and one more. */
async function fillImage(
  signer: Signer,
  send: (what: Sent) => Promise<RawAnswer>,
  found: string[],
): Promise<void> {
  const many = Array.from({ length: MAX_SIGNATURES_PER_IMAGE + 1 }, (_, k) => ({
    bytes: signer.sign({ repository: 'many/app', tag: `v${k}` }),
  }));
  const taken = [
    await send(await batch(many.slice(0, MAX_BATCH_PARTS))),
    await send(await batch(many.slice(MAX_BATCH_PARTS, MAX_SIGNATURES_PER_IMAGE))),
  ].map(({ body }) => body.toString().match(/"result":"created"/g)?.length ?? 0);
  assert.equal(taken[0], MAX_BATCH_PARTS);
  assert.equal(taken[1], MAX_SIGNATURES_PER_IMAGE - MAX_BATCH_PARTS);
  const folder = folderOf('many/app');
  const beyond = await send({ line: `POST /${folder}`, body: many.at(-1)?.bytes ?? Buffer.alloc(0) });
  if (beyond.status < 400 || beyond.status > 499) found.push(`a signature too many: ${beyond.status}`);
  const last = `GET /${folder}/signature-${MAX_SIGNATURES_PER_IMAGE}`;
  assert.equal((await send({ line: last })).status, 200);
  assert.equal((await send({ line: `GET /${folder}/signature-${many.length}` })).status, 404);
}
