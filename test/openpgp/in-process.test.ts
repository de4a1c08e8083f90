// The verifier without threads: it judges as the threads do, and nothing in a signature keeps it for longer than they would be.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { isLookasideError } from '../../src/domain/errors.ts';
import { openVerifierInProcess, within } from '../../src/openpgp/in-process.ts';
import { openVerifier } from '../../src/openpgp/pool.ts';
import { certificate, compressed, makeKey, message } from './packet-writer.ts';

const NOW = new Date('2025-01-01T00:00:00Z');
const PAYLOAD = Buffer.from(
  JSON.stringify({
    critical: {
      identity: { 'docker-reference': 'registry.example/team/app:v1' },
      image: { 'docker-manifest-digest': `sha256:${'0f'.repeat(32)}` },
      type: 'atomic container signature',
    },
    optional: {},
  }),
);

test('a verifier without threads says what one with threads says', async () => {
  const [key, other] = [makeKey('ed25519'), makeKey('rsa2048')];
  const good = message(key, PAYLOAD);
  const changed = Buffer.from(good);
  changed[changed.length - 1] = (changed.at(-1) ?? 0) ^ 1;
  const files = [
    certificate(key),
    Buffer.concat([certificate(other), certificate(key)]),
    PAYLOAD,
    Buffer.alloc(0),
  ];
  const signatures = [good, compressed(good), changed, message(other, PAYLOAD), PAYLOAD, Buffer.alloc(0)];
  const verifiers = [openVerifierInProcess(), openVerifier({ threads: 1, examineLimitMs: 60_000 })];
  const answers = await Promise.all(
    verifiers.map(async (verifier) => {
      try {
        const cleaned = [];
        for (const file of files)
          cleaned.push(
            await verifier.cleanCertificates(file, NOW).catch(({ code, message }) => ({ code, message })),
          );
        verifier.setKeyring([certificate(key)]);
        const judged = [];
        for (const signature of signatures) judged.push(await verifier.examine(signature, NOW, 'upload'));
        return { cleaned, judged };
      } finally {
        await verifier.close();
      }
    }),
  );
  assert.deepEqual(answers[0], answers[1]);
  assert.deepEqual(
    answers[0]?.judged.map(({ verdict }) => verdict),
    ['good', 'good', 'bad', 'no-key', 'unreadable', 'unreadable'],
  );
});

describe('work in the process', () => {
  test('that does not end is ended, and answered with BUSY', () => {
    let rounds = 0;
    const endless = () => {
      for (;;) rounds += 1;
    };
    assert.throws(
      () => within(50, endless),
      (error) => isLookasideError(error, 'BUSY') && /took longer than 50 ms/.test(error.message),
    );
    assert.ok(rounds > 0);
    // a pattern that tries every way round
    assert.throws(
      () => within(50, () => /^(a|a)*$/.test(`${'a'.repeat(60)}b`)),
      (error) => isLookasideError(error, 'BUSY'),
    );
    assert.equal(
      within(60_000, () => 'next'),
      'next',
    );
  });

  test('gives what it returns, throws or refuses with', async () => {
    const wrong = new TypeError('wrong');
    assert.throws(
      () =>
        within(60_000, () => {
          throw wrong;
        }),
      (error) => error === wrong,
    );
    await assert.rejects(
      within(60_000, async () => {
        await null;
        throw wrong;
      }),
      (error) => error === wrong,
    );
    assert.deepEqual(await within(60_000, async () => [1]), [1]);
  });
});
