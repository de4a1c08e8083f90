// Signatures as gpg frames them: each is whole, and nothing less of it is.
import assert from 'node:assert/strict';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import fc from 'fast-check';
import { isWholeSignature, walkPackets } from '../../src/openpgp/packets.ts';
import { tagged } from '../openpgp/tagged.ts';
import { needs } from './available.ts';
import { openGnupgHome } from './keys.ts';
import { openTempFolder } from './temp-folder.ts';

const PAYLOAD = JSON.stringify({
  critical: {
    identity: { 'docker-reference': 'registry.example/team/app:v1' },
    image: { 'docker-manifest-digest': `sha256:${'0f'.repeat(32)}` },
    type: 'atomic container signature',
  },
  optional: { creator: 'atomic' },
});

/** The forms that gpg and the clients' libraries write, with the first byte that tells them apart. */
const FORMS = {
  'compressed as by default': { options: [], first: 0xa3 },
  uncompressed: { options: ['-z0'], first: 0x90 },
  'compressed with zip': { options: ['--compress-algo', 'zip'], first: 0xa3 },
  'compressed with zlib': { options: ['--compress-algo', 'zlib'], first: 0xa3 },
  'compressed with bzip2': { options: ['--compress-algo', 'bzip2'], first: 0xa3 },
} as const;
type Form = keyof typeof FORMS;

describe('signatures made by gpg', needs('gpg'), () => {
  const made = new Map<Form, Uint8Array>();
  let cleartext: Uint8Array = new Uint8Array();

  before(async () => {
    await using folder = await openTempFolder();
    await using home = await openGnupgHome(folder.path);
    const { email } = await home.makeKey('signer');
    const payload = join(folder.path, 'payload');
    await writeFile(payload, PAYLOAD);
    const sign = async (...options: readonly string[]) => {
      const output = join(folder.path, 'signed');
      await home.gpg('--local-user', email, '--output', output, ...options, payload);
      return readFile(output);
    };
    for (const [form, { options }] of Object.entries(FORMS)) {
      made.set(form as Form, await sign(...options, '--sign')); // keys of a literal: exactly these
    }
    cleartext = await sign('--clearsign');
  });

  after(() => made.clear());

  const signature = (form: Form) => made.get(form) ?? assert.fail(`gpg made none: ${form}`);

  for (const form of Object.keys(FORMS) as Form[]) {
    test(`one ${form} is whole`, () => {
      assert.equal(signature(form)[0], FORMS[form].first);
      assert.equal(isWholeSignature(signature(form)), true);
    });

    test(`one ${form} is whole behind the tag too`, () => {
      assert.equal(isWholeSignature(tagged('simple-signing', signature(form))), true);
      assert.equal(isWholeSignature(tagged('sigstore-json', signature(form))), false);
    });
  }

  // bzip2 is not unpacked, so that its end does not show
  for (const form of Object.keys(FORMS).filter((name) => !name.endsWith('bzip2')) as Form[]) {
    test(`no beginning of one ${form} is whole`, () => {
      const whole = signature(form);
      for (let length = 0; length < whole.length; length += 1) {
        assert.equal(isWholeSignature(whole.subarray(0, length)), false, `the first ${length} bytes`);
        assert.equal(isWholeSignature(tagged('simple-signing', whole.subarray(0, length))), false);
      }
    });
  }

  test('an uncompressed one is a one-pass signature, the payload and a signature', () => {
    const tags = walkPackets(signature('uncompressed'))?.map(({ tag }) => tag);
    assert.deepEqual(tags, [4, 11, 2]);
  });

  test('a cleartext one is whole behind the tag alone, and only with its last line', () => {
    assert.equal(isWholeSignature(cleartext), false);
    assert.equal(isWholeSignature(tagged('simple-signing', cleartext)), true);
    const cut = cleartext.subarray(0, cleartext.length - 10);
    assert.equal(isWholeSignature(tagged('simple-signing', cut)), false);
  });

  test('one that was spoilt in any byte has an answer', () => {
    const position = fc.nat({ max: 400 });
    fc.assert(
      fc.property(
        fc.constantFrom(...(Object.keys(FORMS) as Form[])),
        position,
        fc.nat({ max: 255 }),
        (form, at, to) => {
          const bytes = Buffer.from(signature(form));
          bytes[at % bytes.length] = to;
          assert.equal(typeof isWholeSignature(bytes), 'boolean');
        },
      ),
    );
  });
});
