// What real signers write into a payload, and which payloads skopeo takes.
import assert from 'node:assert/strict';
import { readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { parsePayload } from '../../src/domain/simple-signing.ts';
import { payload } from '../domain/payload.ts';
import { count } from '../faults/promise.ts';
import { needs } from './available.ts';
import { type Argv, describeOutcome, run, succeed } from './command.ts';
import { type GnupgHome, openGnupgHome } from './keys.ts';
import { openTempFolder, type TempFolder } from './temp-folder.ts';

/** In `npm test` some of each kind: what we ourselves take is in test/domain/simple-signing.test.ts. */
const ONE_IN = count(1, 4);

const parse = (text: string) => parsePayload(Buffer.from(text)).claim;

describe('payloads of real signers', needs('gpg', 'skopeo'), () => {
  let folder: TempFolder;
  let home: GnupgHome;
  let fingerprint: string;
  let digest: string;
  let manifest: string;
  const reference = 'registry.example:5000/team/app:v1';
  const surroundings = () => ({
    env: { PATH: process.env.PATH ?? '', HOME: folder.path, GNUPGHOME: home.folder },
  });

  before(async () => {
    folder = await openTempFolder();
    home = await openGnupgHome(folder.path);
    fingerprint = (await home.makeKey('signer')).fingerprint;
    manifest = path.join(folder.path, 'manifest.json');
    await writeFile(manifest, '{"schemaVersion":2}');
    digest = (await succeed(['skopeo', 'manifest-digest', manifest], surroundings())).trim();
  });

  after(async () => {
    await home[Symbol.asyncDispose]();
    await folder[Symbol.asyncDispose]();
  });

  test('what skopeo standalone-sign signs, decrypted by gpg, is the claim that it was asked to make', async () => {
    const signature = path.join(folder.path, 'made-by-skopeo');
    const content = path.join(folder.path, 'content');
    const sign: Argv = ['skopeo', 'standalone-sign', manifest, reference, fingerprint, '-o', signature];
    await succeed(sign, surroundings());
    await home.gpg('--output', content, '--decrypt', signature);
    const { creator, ...claim } = parsePayload(await readFile(content)).claim;
    assert.deepEqual(claim, {
      algorithm: 'sha256',
      hex: digest.replace('sha256:', ''),
      dockerReference: reference,
    });
    assert.match(creator ?? '', /^atomic /);
  });

  type Taker = 'both' | 'skopeo alone' | 'nobody';
  const OPTIONALS: readonly (readonly [optional: string, taker: Taker])[] = [
    ['{}', 'both'],
    ['{"creator":"x","timestamp":1}', 'both'],
    ['{"timestamp":1.5e9}', 'both'],
    ['{"timestamp":-0}', 'both'],
    ['{"timestamp":-9223372036854775808}', 'both'],
    ['{"timestamp":9223372036854774784}', 'both'],
    ['{"timestamp":0.9999999999999999999}', 'both'],
    ['{"timestamp":1e-400}', 'both'],
    ['{"x":{"a":1,"a":2}}', 'both'],
    ['{"Creator":1,"__proto__":2}', 'both'],
    ['{"creator":"\\u0000\\u001b\u007f\\/"}', 'both'],
    ['{"creator":"\\ud800"}', 'both'],
    ['{"creator":"\\ude00\\ud83d"}', 'both'],
    ['{"x":"\\ud800"}', 'both'],
    ['{"\\ud800":1}', 'both'],
    ['{"x":{"\\ud800":1,"\\udc00":2}}', 'both'],
    // Pulp refuses null, and no signer writes it
    ['{"creator":null}', 'skopeo alone'],
    ['{"timestamp":null}', 'skopeo alone'],
    ['null', 'nobody'],
    ['[]', 'nobody'],
    ['{"creator":1}', 'nobody'],
    ['{"timestamp":0.5}', 'nobody'],
    ['{"timestamp":"1"}', 'nobody'],
    ['{"timestamp":1e19}', 'nobody'],
    ['{"timestamp":1e400}', 'nobody'],
    ['{"x":[1e400]}', 'nobody'],
    ['{"x":1,"\\u0078":2}', 'nobody'],
    ['{"\\ud800":1,"\\udc00":2}', 'nobody'],
    ['{"\\ud800":1,"\\ufffd":2}', 'nobody'],
    ['{"x":"\\q"}', 'nobody'],
    ['{"x":01}', 'nobody'],
    ['{"x":1,}', 'nobody'],
    ['{},"more":1', 'nobody'],
    ['{}}{', 'nobody'],
  ];
  for (const [index, [optional, taker]] of OPTIONALS.entries()) {
    if (index % ONE_IN !== 0) continue;
    const takers = {
      both: 'skopeo and we take',
      'skopeo alone': 'skopeo alone takes',
      nobody: 'nobody takes',
    };
    test(`${takers[taker]} a payload whose optional is ${JSON.stringify(optional)}`, async () => {
      const text = payload({ digest: `"${digest}"`, reference: `"${reference}"`, optional });
      const content = path.join(folder.path, 'payload');
      const signature = path.join(folder.path, 'signature');
      await writeFile(content, text);
      await home.gpg('--output', signature, '--sign', content);
      const verify: Argv = ['skopeo', 'standalone-verify', manifest, reference, fingerprint, signature];
      const outcome = await run(verify, surroundings());
      assert.equal(outcome.status === 0, taker !== 'nobody', describeOutcome(outcome));
      if (taker === 'both') assert.equal(parse(text).dockerReference, reference);
      else assert.throws(() => parse(text), { code: 'PAYLOAD_INVALID' });
    });
  }
});
