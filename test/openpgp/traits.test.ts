// What tells signatures of one claim apart for their readers, and what does not.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { Obstacle, Traits } from '../../src/domain/verdict.ts';
import { createKeyring } from '../../src/openpgp/keyring.ts';
import { examineMessage } from '../../src/openpgp/verifier.ts';
import { dressesOf } from './dresses.ts';
import {
  certificate,
  type MessageOptions,
  makeKey,
  message,
  mpi,
  notation,
  SIGNED_AT,
} from './packet-writer.ts';

const NOW = new Date('2025-01-01T00:00:00Z');
const payloadOf = (optional: string, tag = 'v1') =>
  Buffer.from(
    `{"critical":{"identity":{"docker-reference":"registry.example/team/app:${tag}"},"image":{"docker-manifest-digest":"sha256:${'0f'.repeat(32)}"},"type":"atomic container signature"},"optional":${optional}}`,
  );
const PAYLOAD = payloadOf('{}');
const key = makeKey('ed25519');
const rsa = makeKey('rsa2048');
const curve = makeKey('nistp256');
const keyring = createKeyring([key, rsa, curve].map((each) => certificate(each)));

async function traitsOf(bytes: Uint8Array): Promise<Traits> {
  const { traits, verdict, refusal } = await examineMessage(bytes, keyring, NOW);
  assert.equal(verdict, 'good', refusal?.message);
  return traits ?? assert.fail('a good signature without traits');
}

test('what was signed stays the same in every way of writing one signature', async () => {
  const { signedSha256 } = await traitsOf(message(key, PAYLOAD));
  let count = 0;
  for (const { what, bytes, isOdd } of dressesOf(key, PAYLOAD)) {
    const traits = await traitsOf(bytes);
    assert.equal(traits.signedSha256, signedSha256, what);
    assert.deepEqual(traits.obstacles, isOdd ? ['wrapping'] : [], what);
    count += 1;
  }
  assert.ok(count > 25);
});

/** The order of NIST P-256: (r, n − s) is a signature wherever (r, s) is. */
const ORDER = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n;

test('the second pair of numbers that anybody can make of an ECDSA signature is the same signature', async () => {
  const twin = (right: Buffer) => {
    const length = 2 + Math.ceil(right.readUInt16BE(0) / 8);
    const s = BigInt(`0x${right.subarray(length + 2).toString('hex')}`);
    const other = Buffer.from((ORDER - s).toString(16).padStart(64, '0'), 'hex');
    return Buffer.concat([right.subarray(0, length), mpi(other)]);
  };
  const one = await traitsOf(message(curve, PAYLOAD));
  const other = await traitsOf(message(curve, PAYLOAD, { numbers: twin }));
  assert.deepEqual(other, one);
});

test('what was signed is another where key, time, hashed part, hash or payload is another', async () => {
  const others = [
    message(key, PAYLOAD),
    message(curve, PAYLOAD),
    message(key, PAYLOAD, { at: new Date(SIGNED_AT.getTime() + 1000) }),
    message(key, PAYLOAD, { hashed: [notation('n@example.test', 'x', false)] }),
    message(key, PAYLOAD, { hash: 'sha512' }),
    message(key, payloadOf('{}', 'v2')),
    message(rsa, PAYLOAD),
    message(rsa, PAYLOAD, { version: 3 }),
  ];
  const signed = await Promise.all(others.map(async (bytes) => (await traitsOf(bytes)).signedSha256));
  assert.equal(new Set(signed).size, others.length);
});

describe('an obstacle', () => {
  const cases: readonly (readonly [what: string, bytes: Uint8Array, obstacles: readonly Obstacle[]])[] = [
    ['is none in what podman writes', signed('{"creator":"atomic 5.39.1","timestamp":1795313641}'), []],
    ['is version 3', message(rsa, PAYLOAD, { version: 3 }), ['version-3']],
    ['is a text signature', signed('{}', { type: 1 }), ['text']],
    ['is a member that OpenShift does not know', signed('{"x":1}'), ['payload']],
    ['is a timestamp that is written as no integer', signed('{"timestamp":1.5e9}'), ['payload']],
    ['is a timestamp below zero', signed('{"timestamp":-1}'), ['payload']],
    ['is none in the hashed part', signed('{}', { hashed: [notation('n@example.test', 'x', false)] }), []],
  ];
  for (const [what, bytes, obstacles] of cases) {
    test(what, async () => assert.deepEqual((await traitsOf(bytes)).obstacles, obstacles));
  }

  function signed(optional: string, options: MessageOptions = {}): Buffer {
    return message(rsa, payloadOf(optional), options);
  }
});

test('the digest is told by its length', async () => {
  for (const [hash, bits] of [
    ['sha256', 256],
    ['sha384', 384],
    ['sha512', 512],
  ] as const) {
    assert.equal((await traitsOf(message(key, PAYLOAD, { hash }))).digestBits, bits);
  }
});

test('a signature that verifies nowhere has no traits', async () => {
  const bytes = message(key, PAYLOAD);
  bytes[bytes.length - 1] = (bytes.at(-1) ?? 0) ^ 1;
  assert.equal((await examineMessage(bytes, keyring, NOW)).traits, null);
  assert.equal((await examineMessage(message(makeKey('ed25519'), PAYLOAD), keyring, NOW)).traits, null);
});
