// Whatever is good to us is good to OpenPGP.js, over signatures that no program would make.
// test/clients/gpg-agreement.test.ts asks gpg.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { parsePublicKey } from '../../src/openpgp/public-key.ts';
import { isConfirmed } from '../../src/openpgp/second-opinion.ts';
import { isMadeBy, signedContent } from '../../src/openpgp/signature-check.ts';
import { readSignaturePacket } from '../../src/openpgp/signature-packet.ts';
import { makeKey, mpi, signatureBody, subpacket } from './packet-writer.ts';
import { numbersOf } from './written-key.ts';

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

describe('OpenPGP.js', () => {
  const signers = (['rsa2048', 'ed25519', 'nistp256', 'nistp384', 'nistp521'] as const).map((kind) =>
    makeKey(kind),
  );

  test('confirms every signature that our own reading finds good, however it was changed', async () => {
    const edit = fc.record({
      which: fc.nat({ max: 1 }),
      at: fc.nat({ max: 66 }),
      byte: fc.nat({ max: 255 }),
      kind: fc.constantFrom('set', 'cut', 'grow', 'keep'),
    });
    // but for what it cannot parse though nobody asks for it: revokers, targets and pieces of signatures
    const type = fc.integer({ min: 1, max: 60 }).filter((each) => ![2, 3, 12, 16, 31, 32, 33].includes(each));
    const unasked = fc
      .tuple(type, fc.uint8Array({ maxLength: 40 }))
      .map(([each, body]) => subpacket(each, body));
    const some = fc.array(unasked, { maxLength: 3 });
    let good = 0;
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(...signers),
        edit,
        some,
        some,
        async (signer, { which, at, byte, kind }, hashed, unhashed) => {
          const numbers = (right: Buffer) => {
            const edited = numbersOf(right).map((number, index) => {
              const copy = Buffer.from(number);
              if (index !== which || kind === 'keep') return copy;
              if (kind === 'cut') return copy.subarray(1);
              if (kind === 'grow') return Buffer.concat([Buffer.of(byte), copy]);
              copy[at % copy.length] = byte;
              return copy;
            });
            return Buffer.concat(edited.map(mpi));
          };
          const body = signatureBody(signer, PAYLOAD, { numbers, hashed, unhashed });
          const signature = readSignaturePacket(body);
          const key = parsePublicKey(signer.body);
          if (signature.kind !== 'read' || signature.isPadded || 'why' in key) return;
          if (signature.notUnderstood !== null || !isMadeBy(key, signedContent(PAYLOAD), signature)) return;
          good += 1;
          assert.ok(await isConfirmed({ key, isSubkey: false, signature, content: PAYLOAD }));
        },
      ),
      { numRuns: 400 },
    );
    assert.ok(good > 20, `${good} of them were good`);
  });
});
