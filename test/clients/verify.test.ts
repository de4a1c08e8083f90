// lookaside verify as people type it: with files alone, and with what a server has.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { inflateRawSync } from 'node:zlib';
import { needs } from './available.ts';
import { describeOutcome, type Outcome, run, succeed } from './command.ts';
import { makeDataDirectory } from './data-directory.ts';
import { openGnupgHome } from './keys.ts';
import { isByNodes } from './served-by.ts';
import { createToken, runLookaside, startServer } from './server.ts';
import { openTempFolder } from './temp-folder.ts';
import { uploadsTo } from './uploads.ts';

const MAIN = fileURLToPath(new URL('../../src/main.js', import.meta.url));
const MANIFEST = '{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json"}';
const HEX = createHash('sha256').update(MANIFEST).digest('hex');
const V1 = 'registry.example/team/app:v1';
const V2 = 'registry.example/team/app:v2';

/** Nobody listens there. */
const NOWHERE = { LOOKASIDE_URL: 'http://127.0.0.1:1' };

describe('verify', needs('skopeo', 'gpg'), () => {
  let scene: Awaited<ReturnType<typeof openScene>>;
  before(async () => {
    scene = await openScene();
  });
  after(() => scene[Symbol.asyncDispose]());

  test('accepts a signature file by an armoured keyring, and asks no server', async () => {
    const { manifest, signature, keyring, alice } = scene;
    const script = 'exec "$0" "$1" verify - "$2" "$3" --keyring "$4" < "$5"';
    const argv = ['sh', '-c', script, process.execPath, MAIN, V1, signature, keyring, manifest] as const;
    const outcome = await run(argv, { env: { PATH: process.env.PATH ?? '', ...NOWHERE } });
    assert.equal(outcome.status, 0, describeOutcome(outcome));
    const [first, ...rest] = outcome.stdout.trimEnd().split('\n');
    assert.match(first ?? '', new RegExp(`^${signature}: accepted; by ${alice}, signed 20.*Z, for ${V1}$`));
    assert.deepEqual(rest, [`Signature verified using fingerprint ${alice}, digest sha256:${HEX}`]);
  });

  test('refuses a manifest of schema 1 by name, with what to do', async () => {
    const { schema1, signature, keyring, verify } = scene;
    const { status, stdout, stderr } = await verify([schema1, V1, signature, '--keyring', keyring]);
    assert.deepEqual([status, stdout], [2, '']);
    assert.match(stderr, /schema 1, .* Convert .*skopeo copy --format v2s2/);
  });

  test('tells in JSON what is signed, and nothing of what a changed signature says', async () => {
    const { manifest, signature, changed, keyring, alice, verify } = scene;
    const how = ['--keyring', keyring, '--fingerprint', `0x${alice.toLowerCase()}`, '--json'];
    const [good, bad] = await Promise.all([
      verify([manifest, V1, signature, ...how]),
      verify([manifest, V1, changed, ...how]),
    ]);
    assert.equal(good.status, 0, describeOutcome(good));
    const { signatures, ...rest } = JSON.parse(good.stdout);
    const digest = `sha256:${HEX}`;
    assert.deepEqual(rest, {
      accepted: true,
      dockerReference: V1,
      manifestDigest: digest,
      refusedKeys: [],
      keyWarnings: [],
    });
    const [{ signedAt, ...undated }] = signatures;
    assert.match(signedAt, /^20.*Z$/);
    assert.deepEqual(undated, {
      source: signature,
      refusal: null,
      fingerprint: alice,
      signingFingerprint: alice,
      expiresAt: null,
      manifestDigest: digest,
      dockerReference: V1,
    });

    assert.equal(bad.status, 1, describeOutcome(bad));
    const { accepted, signatures: refused } = JSON.parse(bad.stdout);
    assert.equal(accepted, false);
    assert.deepEqual(
      refused.map(({ refusal, ...claims }: { refusal: { code: string } }) => [refusal.code, claims]),
      [
        [
          'SIGNATURE_BAD',
          {
            source: changed,
            fingerprint: null,
            signingFingerprint: null,
            signedAt: null,
            expiresAt: null,
            manifestDigest: null,
            dockerReference: null,
          },
        ],
      ],
    );
  });

  test('looks at every signature that the server has, by the keys that it has', async () => {
    const { manifest, server, data, token, alice, verify } = scene;
    const settings = { LOOKASIDE_URL: server.url, LOOKASIDE_TOKEN: token };
    const [over, local, unsigned] = await Promise.all([
      verify([manifest, V2], settings),
      // the socket of the server on this machine, which nodes do not have
      isByNodes ? verify([manifest, V2], settings) : verify([manifest, V2, '--data', data]),
      verify([manifest, 'registry.example/team/other:v1'], settings),
    ]);
    assert.equal(over.status, 0, describeOutcome(over));
    assert.equal(local.stdout, over.stdout, describeOutcome(local));
    const lines = over.stdout.trimEnd().split('\n');
    assert.match(
      lines[0] ?? '',
      new RegExp(`^signature-1: REFERENCE_MISMATCH: .*; by ${alice}, .* for ${V1}$`),
    );
    assert.match(lines[1] ?? '', new RegExp(`^signature-2: accepted; by ${alice}, .* for ${V2}$`));
    assert.deepEqual(lines.slice(2), [`Signature verified using fingerprint ${alice}, digest sha256:${HEX}`]);
    assert.equal(unsigned.status, 1, describeOutcome(unsigned));
    assert.match(unsigned.stdout, /^Not verified: there is no signature for .*\/other:v1, digest sha256:/);
  });

  test('needs no token to hold what a server has against a keyring', async () => {
    const { manifest, server, keyring, verify } = scene;
    const settings = { LOOKASIDE_URL: server.url };
    const [known, unknown] = await Promise.all([
      verify([manifest, V1, '--keyring', keyring], settings),
      verify([manifest, V1], settings),
    ]);
    assert.equal(known.status, 0, describeOutcome(known));
    assert.equal(unknown.status, 2, describeOutcome(unknown));
    assert.match(unknown.stderr, /wants a token/);
  });

  test('accepts no signature by another key than the one that is named', async () => {
    const { manifest, signature, keyring, verify } = scene;
    const question = [manifest, V1, signature, '--keyring', keyring];
    const outcome = await verify([...question, '--fingerprint', 'A'.repeat(40)]);
    assert.equal(outcome.status, 1, describeOutcome(outcome));
    assert.match(outcome.stdout, /: KEY_UNKNOWN: the signature is by the key .*, expected A{40}/);
    assert.match(outcome.stdout, /\nNot verified: no signature is accepted for .*:v1, digest sha256:/);
  });

  test('ends with 2 when it could not try, and says why', async () => {
    const { manifest, signature, keyring, absent, verify } = scene;
    const outcomes = await Promise.all([
      verify([absent, V1, signature, '--keyring', keyring]),
      verify([manifest, V1, signature, '--keyring', manifest]),
      verify([manifest, V1, signature, '--fingerprint', 'alice@example.invalid']),
      verify([manifest, V1, '--data', absent]),
    ]);
    const expected = [
      /cannot read .*: there is no such file; name the file of a manifest/,
      /no key to verify with: .*manifest.json: no OpenPGP certificate was found/,
      /"alice@example.invalid" is not a fingerprint/,
      isByNodes ? /names a database; give the URL of a node/ : /no server is named/,
    ];
    assert.deepEqual(
      outcomes.map(({ status, stdout }) => [status, stdout]),
      outcomes.map(() => [2, '']),
    );
    for (const [i, sentence] of expected.entries()) assert.match(outcomes[i]?.stderr ?? '', sentence);
  });
});

/** The message in the file with another tag in its payload. */
async function forged(file: string): Promise<Buffer> {
  const message = await readFile(file);
  const unpacked = inflateRawSync(message.subarray(2));
  const tag = unpacked.indexOf(':v1"');
  assert.notEqual(tag, -1);
  unpacked[tag + 1] = 'w'.charCodeAt(0);
  return unpacked;
}

/** A server with a key and two signatures of one manifest by it, and the same in files. */
async function openScene() {
  const temp = await openTempFolder();
  const folder = temp.path;
  const gnupg = await openGnupgHome(folder);
  const inFolder = (name: string) => path.join(folder, name);
  const [manifest, data] = [inFolder('manifest.json'), inFolder('data')];
  await writeFile(manifest, MANIFEST);
  const { fingerprint: alice, publicKeyFile: keyring } = await gnupg.makeKey('alice');
  const env = { PATH: process.env.PATH ?? '', HOME: folder, GNUPGHOME: gnupg.folder };
  const sign = async (reference: string, file: string) => {
    await succeed(['skopeo', 'standalone-sign', manifest, reference, alice, '--output', file], { env });
    return readFile(file);
  };
  const [signature, changed] = [inFolder('v1.signature'), inFolder('changed.signature')];
  const signatures = [await sign(V1, signature), await sign(V2, inFolder('v2.signature'))];
  await writeFile(changed, await forged(signature));
  const schema1 = inFolder('schema1.json');
  await writeFile(schema1, '{"schemaVersion":1,"name":"team/app","signatures":[{"protected":"e30"}]}');

  await makeDataDirectory(data);
  await runLookaside(['key', 'add', keyring, '--data', data]);
  const token = await createToken(data, 'alice', 'uploader');
  const server = await startServer({ data });
  const uploads = uploadsTo(server.port, token);
  for (const bytes of signatures) {
    assert.equal((await uploads.post(`team/app@sha256=${HEX}`, bytes)).status, 201);
  }

  return {
    ...{
      manifest,
      schema1,
      signature,
      changed,
      keyring,
      alice,
      data,
      server,
      token,
      absent: inFolder('absent'),
    },
    verify: (args: readonly string[], settings: Readonly<Record<string, string>> = {}): Promise<Outcome> =>
      runLookaside(['verify', ...args], settings, folder),
    async [Symbol.asyncDispose]() {
      await server[Symbol.asyncDispose]();
      await gnupg[Symbol.asyncDispose]();
      await temp[Symbol.asyncDispose]();
    },
  };
}
