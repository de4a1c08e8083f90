// What is fuzzed: code that reads the bytes of strangers, each with what must hold whatever they are.
import assert from 'node:assert/strict';
import { IncomingMessage } from 'node:http';
import { Socket } from 'node:net';
import { setImmediate } from 'node:timers/promises';
import type { Request, Response } from 'express';
import { isLookasideError } from '../../src/domain/errors.ts';
import { imageFolder } from '../../src/domain/image.ts';
import { parseTarget } from '../../src/domain/lookaside-path.ts';
import { type Payload, parsePayload } from '../../src/domain/simple-signing.ts';
import { createFormParser } from '../../src/http/form.ts';
import { cleanCertificates } from '../../src/openpgp/certificates.ts';
import { createKeyring } from '../../src/openpgp/keyring.ts';
import { isWholeSignature, walkPackets } from '../../src/openpgp/packets.ts';
import { examineStructure } from '../../src/openpgp/structure.ts';
import { examineMessage } from '../../src/openpgp/verifier.ts';
import {
  certificate,
  compressed,
  issuerKeyId,
  literal,
  makeKey,
  message,
  messageParts,
  packet,
  subpacket,
  type WriterKey,
} from '../openpgp/packet-writer.ts';
import type { Target } from './fuzzer.ts';

const NOW = new Date('2025-01-01T00:00:00Z');
const PAYLOAD = Buffer.from(
  JSON.stringify({
    critical: {
      identity: { 'docker-reference': 'registry.example/team/app:v1' },
      image: { 'docker-manifest-digest': `sha256:${'0f'.repeat(32)}` },
      type: 'atomic container signature',
    },
    optional: { creator: 'fuzzer', timestamp: 1_717_243_200 },
  }),
);

const ed25519 = makeKey('ed25519');
const rsa = makeKey('rsa2048');
const curve = makeKey('nistp256');
const keys: readonly WriterKey[] = [ed25519, rsa, curve];
const keyring = createKeyring(keys.map((key) => certificate(key)));

const text = (value: string) => Buffer.from(value);
const cleartext = (signed: string, signature: Buffer) =>
  text(
    `\0simple-signing\n-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\n${signed}\n-----BEGIN PGP SIGNATURE-----\n\n${signature.toString('base64')}\n-----END PGP SIGNATURE-----\n`,
  );

const parts = messageParts(ed25519, PAYLOAD);
const MESSAGES = [
  ...keys.map((key) => message(key, PAYLOAD)),
  message(rsa, PAYLOAD, { version: 3 }),
  message(ed25519, PAYLOAD, { type: 1 }),
  message(ed25519, PAYLOAD, { hash: 'sha512' }),
  compressed(message(ed25519, PAYLOAD), 'zip'),
  compressed(message(ed25519, PAYLOAD), 'zlib', 'new'),
  compressed(message(ed25519, PAYLOAD), 'none', 'old'),
  Buffer.concat([text('\0simple-signing\n'), message(ed25519, PAYLOAD)]),
  cleartext(PAYLOAD.toString(), parts.signature),
  Buffer.concat([parts.signature, parts.literal]),
  parts.signature,
  Buffer.concat([parts.onePass, literal(PAYLOAD), packet(2, parts.signature.subarray(3), 'parts')]),
  text('\0sigstore-json\n{}'),
];
const PACKET_WORDS = [
  ...[1, 2, 4, 6, 8, 10, 11, 13, 14, 17, 21].flatMap((tag) => [
    packet(tag, Buffer.alloc(3)),
    packet(tag, Buffer.alloc(3), 'old'),
  ]),
  ...[2, 3, 9, 16, 20, 25, 27, 29, 32, 33, 100].map((type) => subpacket(type, Buffer.alloc(4), true)),
  issuerKeyId(ed25519.keyId),
  parts.onePass,
  parts.literal,
  parts.signature,
  text('\0simple-signing\n'),
];

const CERTIFICATES = [
  ...keys.map((key) => certificate(key)),
  certificate(ed25519, { subkeys: [{ key: curve }, { key: rsa, backedBy: false }] }),
  certificate(ed25519, { expiresAt: new Date('2024-01-01T00:00:00Z') }),
  certificate(ed25519, { revoked: { at: new Date('2023-01-01T00:00:00Z'), reason: 3 } }),
  certificate(ed25519, { userId: null }),
  Buffer.concat([certificate(ed25519), certificate(curve)]),
];

const JSON_WORDS = [
  ...[
    '{',
    '}',
    '[',
    ']',
    ',',
    ':',
    '"',
    '\\',
    '\\u0000',
    '\\ud800',
    'null',
    'true',
    '1e999',
    '-0',
    ' ',
    '\ufeff',
  ],
  ...['"optional":', '"critical":', '"timestamp":', '"creator":', '"sha512:', 'docker-reference'],
].map(text);

const BOUNDARY = 'b';
const FORM_PART = `--${BOUNDARY}\r\nContent-Disposition: form-data; name="signature"; filename="x"\r\n\r\n`;
const FORMS = [
  `${FORM_PART}one\r\n--${BOUNDARY}--\r\n`,
  `${FORM_PART}one\r\n${FORM_PART}\r\n--${BOUNDARY}--\r\n`,
  `preamble\r\n${FORM_PART.replace('; filename="x"', '')}one\r\n--${BOUNDARY}--\r\nepilogue`,
  // a delimiter right after a header: no form was read after such a one
  `${FORM_PART}--${BOUNDARY}\r\n--x\r\n`,
].map(text);
const FORM_WORDS = [
  FORM_PART,
  `\r\n--${BOUNDARY}`,
  `--${BOUNDARY}\r\n`,
  `\r\n--${BOUNDARY}--\r\n`,
  '\r\n\r\n',
  '\r\n',
  '\r',
  '-',
  'Content-Type: a/b\r\n',
  'name=',
  'filename*=',
].map(text);

/** Turns of the event loop: what is in memory is parsed in a few. */
const FORM_TURNS = 100;

export const TARGETS: readonly Target[] = [
  {
    name: 'packets',
    watched: ['/src/openpgp/'],
    seeds: MESSAGES,
    words: PACKET_WORDS,
    run(input) {
      isWholeSignature(input);
      const sizeBytes = (walkPackets(input) ?? []).reduce((sum, { body }) => sum + body.length, 0);
      assert.ok(sizeBytes <= input.length, 'bodies are longer than what they are in');
    },
  },
  {
    name: 'structure',
    watched: ['/src/openpgp/', '/src/domain/'],
    seeds: MESSAGES,
    words: PACKET_WORDS,
    run(input) {
      const structure = examineStructure(input);
      if (structure.kind === 'refused') assert.match(structure.refusal.message, /\S/);
    },
  },
  {
    name: 'payload',
    watched: ['/src/domain/'],
    seeds: [
      PAYLOAD,
      text(PAYLOAD.toString().replace('fuzzer', '\\u00e4\\n')),
      text(PAYLOAD.toString().replace('team/app', '\\ud83d\\ud83d')),
    ],
    words: JSON_WORDS,
    run(input) {
      const claim = orRefusal(() => parsePayload(input));
      // whoever reads it with another parser must not see something else
      if (claim !== null) assertSays(JSON.parse(Buffer.from(input).toString()), claim);
    },
  },
  {
    name: 'verdict',
    watched: ['/src/openpgp/', '/src/domain/'],
    seeds: MESSAGES,
    words: PACKET_WORDS,
    async run(input) {
      const { verdict, claim } = await examineMessage(input, keyring, NOW);
      if (verdict !== 'good') return;
      assert.equal(claim?.hex, '0f'.repeat(32), 'a statement that nobody has signed');
      assert.equal(claim.dockerReference, 'registry.example/team/app:v1');
    },
  },
  {
    name: 'certificates',
    watched: ['/src/openpgp/'],
    seeds: CERTIFICATES,
    words: PACKET_WORDS,
    run(input) {
      for (const result of orRefusal(() => cleanCertificates(input, new Map(), NOW)) ?? []) {
        if (result.kind === 'refused') continue;
        const [again] = cleanCertificates(result.certificate, new Map(), NOW);
        assert.ok(again?.kind === 'clean', 'what was cleaned is refused');
        assert.deepEqual(again.certificate, result.certificate, 'what was cleaned is cleaned differently');
      }
    },
  },
  {
    name: 'forms',
    // what reads it is a package, whose ways through are as many as ours
    watched: ['/src/http/form', '/busboy/', '/multer/', '/streamsearch/'],
    seeds: FORMS,
    words: FORM_WORDS,
    async run(input) {
      const settled = parseForm(Buffer.from(input)).then((files) => ({ files }), refusalOf);
      let outcome: { readonly files: number } | null | undefined;
      void settled.then((backup) => {
        outcome = backup;
      });
      for (let turn = 0; outcome === undefined && turn < FORM_TURNS; turn += 1) await setImmediate();
      assert.ok(outcome !== undefined, 'a form that is never answered, and no other one after it');
      const delimiters = Buffer.from(input).toString('latin1').split(`--${BOUNDARY}`).length - 1;
      if (outcome !== null) assert.ok(outcome.files < delimiters, 'more files than the form has parts');
    },
  },
  {
    name: 'paths',
    watched: ['/src/domain/'],
    seeds: [
      `/team/app@sha256=${'a'.repeat(64)}/signature-1`,
      `/sha512=${'0'.repeat(128)}/signature-127`,
      'http://a/api/v1/images/team/app@sha256:00/?x=1',
      '//a/..%2f%2e%2e/%00/%ff%fe/.lookaside/tmp/',
    ].map(text),
    words: ['..', '%2e', '%2F', '%00', '%25', '//', '\\', '@sha256=', 'signature-', '?', '#', '%c0%ae'].map(
      text,
    ),
    run(input) {
      const target = parseTarget('default', '', Buffer.from(input).toString('latin1'));
      const image = 'image' in target ? target.image : null;
      const named =
        image === null ? (target.kind === 'folder-page' ? target.folder : '') : imageFolder(image);
      assert.doesNotMatch(named, /(?:^|\/)\.|\0|\/\/|^\/|\\/, 'a name that leads elsewhere');
    },
  },
];

/** How many files the form has. The request has ended, as in the server: its body is read whole ahead of the parser. */
async function parseForm(body: Buffer): Promise<number> {
  const req = new IncomingMessage(new Socket());
  req.headers = {
    'content-type': `multipart/form-data; boundary=${BOUNDARY}`,
    'content-length': String(body.length),
  };
  req.complete = true;
  req.push(null);
  req.resume();
  const middle = Math.floor(body.length / 2);
  const pieces = [body.subarray(0, middle), body.subarray(middle)];
  const form = { req: req as Request, res: {} as Response, boundary: BOUNDARY, pieces };
  const files = await createFormParser()(form);
  return files.length;
}

/** Null for a refusal. @throws every other error */
function refusalOf(error: unknown): null {
  if (isLookasideError(error)) return null;
  throw error;
}

/** Null when it was refused, as anything may be. Every other error is ours. */
function orRefusal<T>(act: () => T): T | null {
  try {
    return act();
  } catch (error) {
    if (isLookasideError(error)) return null;
    throw error;
  }
}

function assertSays(json: unknown, { claim }: Payload): void {
  const { critical } = json as { readonly critical: Record<string, Record<string, unknown>> };
  assert.equal(critical.image?.['docker-manifest-digest'], `${claim.algorithm}:${claim.hex}`);
  const reference = String(critical.identity?.['docker-reference']);
  assert.equal(withOneReplacement(reference), withOneReplacement(claim.dockerReference));
}

/** Parsers differ in how many U+FFFD they put in the place of what is no text, which no reference has. */
function withOneReplacement(text: string): string {
  return text.replace(/[\p{Surrogate}\ufffd]+/gu, '\ufffd');
}
