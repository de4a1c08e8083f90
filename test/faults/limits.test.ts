// Every limit that a client can meet, over the real server: what is just within it works, one more is refused by 4xx.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as LIMITS from '../../src/domain/limits.ts';
import { createToken, startServer } from '../clients/server.ts';
import { enrol, makeSigner, type Signer } from '../clients/signer.ts';
import { openTempFolder } from '../clients/temp-folder.ts';
import { formOf, type Part } from '../clients/uploads.ts';
import { type RawAnswer, requestRaw } from '../http/raw-request.ts';
import { certificate, compressed, makeKey } from '../openpgp/packet-writer.ts';
import { folderOf } from '../store/lay.ts';
import { isFull, promise } from './promise.ts';

const { MAX_BATCH_BYTES, MAX_BATCH_PARTS, MAX_CERTIFICATES_BYTES, MAX_HEADER_LINES } = LIMITS;
const { MAX_MISSING_ASKED, MAX_MISSING_BYTES, MAX_PAGE_ROWS, MAX_TARGET_BYTES } = LIMITS;
const { MAX_SIGNATURES_PER_IMAGE, MAX_UNPACKED_BYTES, MAX_JSON_DEPTH, MAX_JSON_MEMBERS } = LIMITS;
const { MAX_CERTIFICATES, MAX_CREATOR_BYTES, MAX_PATH_BYTES, MAX_NAME_BYTES } = LIMITS;

/** The limits of src/domain/limits.ts that no request can show to be met and gone over, each with the reason. */
const ELSEWHERE: Readonly<Partial<Record<keyof typeof LIMITS, string>>> = {
  MAX_SIGNATURE_BYTES: 'the most that LOOKASIDE_MAX_SIGNATURE_BYTES may be: test/config.test.ts',
  MAX_MANIFEST_BYTES: 'of files that the command line reads',
  MAX_INDEXED_BYTES: 'decides where bytes are read from, and refuses nothing',
  DIRECTORY_PAGE_ENTRIES: 'of what we answer: test/service/browse.test.ts',
  DEFAULT_PAGE_ROWS: 'of what we answer unless asked otherwise',
  LAST_OPENSHIFT_NUMBER: 'warns, and refuses nothing',
  SHARED_SET_FRESH_MS: 'a time of our own',
  BEING_WRITTEN_MS: 'a time of our own',
  CLOCK_LEAD_MS: 'test/faults/clocks.test.ts',
  MAX_CONFIGMAP_BYTES: 'of what we answer: test/domain/configmap.test.ts',
  MAX_MIRROR_IMAGES: 'for administrators alone',
  MAX_MIRROR_RELEASES: 'for administrators alone',
  MAX_MIRROR_RELEASE_CHANNELS: 'for administrators alone',
  MAX_MIRROR_SYNC_BYTES: 'for administrators alone',
  MAX_WALK_BYTES: 'of what upstreams answer: test/service/walk.test.ts',
  MAX_UNVERIFIABLE_PER_IMAGE: 'test/service/upload.test.ts',
  MAX_REMAPS_ASKED: 'test/http/uploads.test.ts',
  MAX_ACCESS_RULES_BYTES: 'for administrators alone',
  MAX_SUBJECT_CLAIMS: 'test/domain/oidc.test.ts',
  MAX_CLAIM_CHARACTERS: 'test/domain/oidc.test.ts',
  MAX_OIDC_TOKEN_BYTES: 'test/service/identities.test.ts',
  MAX_ISSUER_DOCUMENT_BYTES: 'of what OpenID providers answer: test/identity/token-verifier.test.ts',
  MAX_ISSUER_KEYS: 'of what OpenID providers answer: test/identity/token-verifier.test.ts',
  MAX_POLICY_BYTES: 'of files that the command line reads',
  MAX_INSTALLED_BYTES: 'test/files/client-install.test.ts',
  PACKED_BATCH_BYTES: 'how clients pack, and refuses nothing: test/upstream/signature-server.test.ts',
  MAX_SIGNATURE_PACKET_BYTES: 'test/openpgp/structure.test.ts',
  MAX_VERSION_6_PACKET_BYTES: 'test/openpgp/structure.test.ts',
  MAX_MPI_BITS: 'test/openpgp/structure.test.ts',
  MAX_CERTIFICATE_BYTES: 'test/openpgp/certificates.test.ts',
  MAX_USER_IDS: 'test/openpgp/certificates.test.ts',
  MAX_USER_ID_BYTES: 'test/openpgp/certificates.test.ts',
  MAX_SUBKEYS: 'test/openpgp/certificates.test.ts',
  MAX_FILE_NUMBER: 'decides what is looked at: test/files/tree.test.ts, test/store/append-beside.test.ts',
  MAX_SIGNATURES_PER_CLAIM: 'test/clients/uploads-together.test.ts',
  MAX_BODY_BYTES_IN_FLIGHT: 'of all requests together: test/http/body.test.ts',
  MAX_LOCAL_BODY_BYTES_IN_FLIGHT: 'of all requests together: test/http/uploads.test.ts',
  MAX_QUESTIONS_AT_ONCE: 'of all askers together: test/sqlite/questions.test.ts',
  QUESTION_MS: 'a time of our own: test/sqlite/questions.test.ts',
  MAX_FOLDER_LEVELS: 'of folders on disk: test/files/staging.test.ts',
  MAX_REFERENCE_BYTES: 'no reference that parses is as long: test/domain/simple-signing.test.ts',
};

/** A limit of Node.js: target, names and values of all header lines together are less than 16 KiB. */
const MAX_HEADER_BYTES = 16 * 1024 - 1;

/** As LOOKASIDE_MAX_SIGNATURE_BYTES has it unless told. */
const MAX_UPLOAD_BYTES = 128 * 1024;

interface Sent {
  readonly line: string;
  readonly lines?: readonly string[];
  readonly body?: Uint8Array;
}

const JSON_TYPE = ['Content-Type: application/json'];

interface Limit {
  readonly what: string;
  /** That of src/domain/limits.ts, if it is one of those. */
  readonly name?: keyof typeof LIMITS;
  readonly most: number;
  /** A request of that size, or with so many of them. */
  readonly request: (size: number) => Sent | Promise<Sent>;
  /** At the limit: not refused, or for what it holds instead of its size. */
  readonly at: number;
  readonly over: number;
}

function limitsOf(signer: Signer, headerBytes: number): readonly Limit[] {
  const post = (line: string, size: number): Sent => ({ line, body: Buffer.alloc(size, ' ') });
  return [
    {
      what: 'header lines',
      name: 'MAX_HEADER_LINES',
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
      what: 'bytes of a header',
      most: MAX_HEADER_BYTES,
      request: (bytes) => ({
        line: 'GET /livez',
        lines: [`X: ${'x'.repeat(bytes - headerBytes - '/livez'.length - 'X'.length)}`],
      }),
      at: 200,
      over: 431,
    },
    {
      what: 'bytes of a target',
      name: 'MAX_TARGET_BYTES',
      most: MAX_TARGET_BYTES,
      request: (bytes) => ({ line: `GET ${'/livez?'.padEnd(bytes, 'x')}` }),
      at: 200,
      over: 404,
    },
    {
      what: 'bytes of the path of an image',
      name: 'MAX_PATH_BYTES',
      most: MAX_PATH_BYTES,
      request: (bytes) => ({
        line: `POST /${'c/'.repeat(125)}${'c'.repeat(bytes - 250)}/sha256=${'a'.repeat(64)}`,
        body: NO_SIGNATURE,
      }),
      at: 422,
      over: 400,
    },
    {
      what: 'bytes of one name of a path, with its digest',
      name: 'MAX_NAME_BYTES',
      most: MAX_NAME_BYTES,
      request: (bytes) => ({
        line: `POST /team/${`@sha256=${'a'.repeat(64)}`.padStart(bytes, 'n')}`,
        body: NO_SIGNATURE,
      }),
      at: 422,
      over: 400,
    },
    {
      what: 'bytes of a signature',
      most: MAX_UPLOAD_BYTES,
      request: (bytes) => ({ line: `POST /${folderOf('size/app')}`, body: signatureOf(signer, bytes) }),
      at: 201,
      over: 413,
    },
    {
      what: 'unpacked bytes of a signature',
      name: 'MAX_UNPACKED_BYTES',
      most: MAX_UNPACKED_BYTES,
      request: (bytes) => {
        const sign = (length: number, number: number) => signer.signPayload(payloadOf({ number }, length));
        return toPayloads(compressed(ofSize(bytes, sign)));
      },
      at: 201,
      over: 422,
    },
    {
      what: 'bytes of a creator',
      name: 'MAX_CREATOR_BYTES',
      most: MAX_CREATOR_BYTES,
      request: (bytes) => toPayloads(signer.signPayload(payloadOf({ creator: 'c'.repeat(bytes) }))),
      at: 201,
      over: 422,
    },
    {
      what: 'members of an object of a payload',
      name: 'MAX_JSON_MEMBERS',
      most: MAX_JSON_MEMBERS,
      request: (members) => {
        const optional = Object.fromEntries(Array.from({ length: members }, (_, k) => [`m${k}`, k]));
        return toPayloads(signer.signPayload(payloadOf(optional)));
      },
      at: 201,
      over: 422,
    },
    {
      what: 'levels of a payload',
      name: 'MAX_JSON_DEPTH',
      most: MAX_JSON_DEPTH,
      request: (levels) => {
        // the payload and what is optional are two
        const nested = JSON.parse(`${'['.repeat(levels - 2)}${']'.repeat(levels - 2)}`);
        return toPayloads(signer.signPayload(payloadOf({ nested })));
      },
      at: 201,
      over: 422,
    },
    {
      what: 'certificates in a request',
      name: 'MAX_CERTIFICATES',
      most: MAX_CERTIFICATES,
      request: (certificates) => ({
        line: 'POST /api/v1/keys',
        body: Buffer.concat(Array.from({ length: certificates }, (_, k) => certificateOf(`signer ${k}`))),
      }),
      at: 200,
      over: 413,
    },
    {
      what: 'parts of a form',
      name: 'MAX_BATCH_PARTS',
      most: MAX_BATCH_PARTS,
      request: async (parts) => batch(Array.from({ length: parts }, () => ({ bytes: Buffer.from('x') }))),
      at: 200,
      over: 413,
    },
    {
      what: 'bytes of a form',
      name: 'MAX_BATCH_BYTES',
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
      name: 'MAX_CERTIFICATES_BYTES',
      most: MAX_CERTIFICATES_BYTES,
      request: (bytes) => post('POST /api/v1/keys', bytes),
      at: 400,
      over: 413,
    },
    {
      what: 'bytes of a question for what is missing',
      name: 'MAX_MISSING_BYTES',
      most: MAX_MISSING_BYTES,
      request: (bytes) => ({
        line: 'POST /api/v1/signatures/missing',
        lines: JSON_TYPE,
        body: Buffer.from('{"signatures":[]}'.padEnd(bytes)),
      }),
      at: 200,
      over: 413,
    },
    {
      what: 'digests in a question for what is missing',
      name: 'MAX_MISSING_ASKED',
      most: MAX_MISSING_ASKED,
      request: (digests) => ({
        line: 'POST /api/v1/signatures/missing',
        lines: JSON_TYPE,
        body: Buffer.from(JSON.stringify({ signatures: Array.from({ length: digests }, () => ASKED) })),
      }),
      at: 200,
      over: 400,
    },
    {
      what: 'rows of a page',
      name: 'MAX_PAGE_ROWS',
      most: MAX_PAGE_ROWS,
      request: (rows) => ({ line: `GET /api/v1/signatures?limit=${rows}` }),
      at: 200,
      over: 400,
    },
    {
      what: 'bytes of a request for fsck',
      most: 1024,
      request: (bytes) => ({
        line: 'POST /api/v1/fsck',
        lines: JSON_TYPE,
        body: Buffer.from('{"repair":false}'.padEnd(bytes)),
      }),
      at: 200,
      over: 413,
    },
    {
      what: 'bytes of a request to reindex',
      most: 1024,
      request: (bytes) => ({
        line: 'POST /api/v1/reindex',
        lines: JSON_TYPE,
        body: Buffer.from('{"acceptDamage":false}'.padEnd(bytes)),
      }),
      at: 200,
      over: 413,
    },
    {
      what: 'bytes of a request for a token',
      most: 4096,
      request: (bytes) => ({
        line: 'POST /api/v1/tokens',
        lines: JSON_TYPE,
        body: Buffer.from('{"name":"limit","role":"reader"}'.padEnd(bytes)),
      }),
      at: 201,
      over: 413,
    },
  ];
}

const NO_SIGNATURE = Buffer.from('x');

const PAYLOADS = folderOf('payload/app');
const toPayloads = (body: Uint8Array): Sent => ({ line: `POST /${PAYLOADS}?force=1`, body });

/** Made longer by white space if it is shorter. */
function payloadOf(optional: Readonly<Record<string, unknown>>, bytes = 0): Buffer {
  const critical = {
    type: 'atomic container signature',
    image: { 'docker-manifest-digest': PAYLOADS.replace(/^.*@sha256=/, 'sha256:') },
    identity: { 'docker-reference': 'registry.example/payload/app:v1' },
  };
  return Buffer.from(JSON.stringify({ critical, optional }).padEnd(bytes));
}

function certificateOf(name: string): Buffer {
  return certificate(makeKey('ed25519'), { userId: `${name} <signer@example.invalid>` });
}

const ASKED = { image: `team/app@sha256:${'a'.repeat(64)}`, sha256: 'b'.repeat(64) };

async function batch(parts: readonly Part[]): Promise<Required<Sent>> {
  const { contentType, body } = await formOf(parts);
  return { line: 'POST /api/v1/signatures', lines: [`Content-Type: ${contentType}`], body };
}

/** A signature of exactly this size. */
function signatureOf(signer: Signer, bytes: number): Buffer {
  return ofSize(bytes, (length, number) =>
    signer.sign({ repository: 'size/app', tag: 'v1', filling: `${number}`.padEnd(length, 'x') }),
  );
}

/**
 * What `make` makes of exactly this size. One in 128 signatures is a byte shorter, as the first byte of a number in it is zero: each try
 * has a number of its own to be filled with, so that no two lengths can take turns for ever.
 */
function ofSize(bytes: number, make: (length: number, number: number) => Buffer): Buffer {
  let length = bytes - 1024;
  for (let number = 10; number < 100; number += 1) {
    const made = make(length, number);
    if (made.length === bytes) return made;
    length += bytes - made.length;
  }
  throw new Error(`nothing has ${bytes} bytes`);
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
    // names and values of the lines that every request has
    const headerBytes = `Hostlookaside.exampleConnectioncloseAuthorizationBearer ${token}`.length;

    const limits = limitsOf(signer, headerBytes);
    const deviations: string[] = [];
    for (const { what, most, request, at, over } of limits) {
      const within = await send(await request(most));
      const beyond = await send(await request(most + 1));
      if (within.status !== at || beyond.status !== over) {
        deviations.push(
          `${most} ${what}: ${within.status} for ${at}, one more ${beyond.status} for ${over}: ${within.body.subarray(0, 200)}`,
        );
      }
      // nobody is told by a bare status what to do
      if (beyond.status !== 404)
        assert.match(beyond.body.toString(), /^\{"errors":\[\{"code":"[A-Z_]+","message":"/);
    }

    if (isFull) await fillImage(signer, send, deviations);
    const met = limits.map(({ what, most }) => `${most} ${what}`);
    if (isFull) met.push(`${MAX_SIGNATURES_PER_IMAGE} signatures of an image`);
    see(`${met.join(', ')}: ${deviations.length} otherwise`);
    assert.deepEqual(deviations, []);
  },
);

test('every limit of src/domain/limits.ts is tried over the server, or is said to be none that a request shows', () => {
  const tried = limitsOf(makeSigner('alice'), 0).flatMap(({ name }) => (name === undefined ? [] : [name]));
  const placed = [...tried, 'MAX_SIGNATURES_PER_IMAGE', ...Object.keys(ELSEWHERE)];
  assert.deepEqual(placed.sort(), Object.keys(LIMITS).sort());
});

/** As many signatures as an image can have, and one more. */
async function fillImage(
  signer: Signer,
  send: (what: Sent) => Promise<RawAnswer>,
  deviations: string[],
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
  if (beyond.status < 400 || beyond.status > 499) deviations.push(`a signature too many: ${beyond.status}`);
  const last = `GET /${folder}/signature-${MAX_SIGNATURES_PER_IMAGE}`;
  assert.equal((await send({ line: last })).status, 200);
  assert.equal((await send({ line: `GET /${folder}/signature-${many.length}` })).status, 404);
}
