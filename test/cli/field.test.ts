// What was met in the field, as files that gpg and others have made, and the right answer to each by the command itself.
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { parseReference } from '../../src/domain/reference.ts';
import { parsePayload } from '../../src/domain/simple-signing.ts';
import { examineStructure } from '../../src/openpgp/structure.ts';
import { makeDataDirectory } from '../clients/data-directory.ts';
import { createToken, type LookasideServer, runLookaside, startServer } from '../clients/server.ts';
import { enrol, makeSigner } from '../clients/signer.ts';
import { openTempFolder, type TempFolder } from '../clients/temp-folder.ts';

const FIELD = fileURLToPath(new URL('../../../test/field/', import.meta.url));
const inField = (...names: readonly string[]) => path.join(FIELD, ...names);

let temp: TempFolder;
before(async () => {
  temp = await openTempFolder();
});
after(() => temp?.[Symbol.asyncDispose]());

const REFERENCE = 'localhost:5055/var/app:v1';

function verify(signature: string, keyring: string, reference: string, ...more: readonly string[]) {
  const manifest = path.join(path.dirname(signature), 'manifest');
  return runLookaside(['verify', manifest, reference, signature, '--keyring', keyring, ...more]);
}

const remap = 'mirror/quay=localhost:5055';

describe('what was met in the field', () => {
  /** One for those that push. */
  let data: string;
  let server: LookasideServer;
  before(async () => {
    data = path.join(temp.path, 'pushed');
    server = await startServer({ data, settings: { LOOKASIDE_REMAP: remap } });
  });
  after(() => server?.[Symbol.asyncDispose]());

  test('every armour that gpg takes is taken by key add', async () => {
    const files = readdirSync(inField('armour')).map((name) => inField('armour', name));
    assert.ok(files.length >= 6);
    const data = path.join(temp.path, 'armour');
    await makeDataDirectory(data);
    const outcome = await runLookaside(['key', 'add', ...files, '--data', data]);
    assert.equal(outcome.status, 0, outcome.stdout + outcome.stderr);
  });

  test('a critical notation is named', async () => {
    const outcome = await verify(
      inField('critical-notation', 'critical-notation.sig'),
      inField('critical-notation', 'rel.asc'),
      REFERENCE,
    );
    assert.equal(outcome.status, 1, outcome.stderr);
    assert.match(outcome.stdout, /SIGNATURE_BAD: the signature has a critical notation/);
    assert.doesNotMatch(outcome.stdout, /changed/);
  });

  test('base64 is told as such', async () => {
    const outcome = await runLookaside([
      ...['verify', inField('critical-notation', 'manifest'), REFERENCE],
      ...[inField('base64', 'from-configmap.txt'), '--keyring', inField('critical-notation', 'rel.asc')],
    ]);
    assert.equal(outcome.status, 1, outcome.stderr);
    assert.match(outcome.stdout, /FIRST_BYTE: the signature is encoded in base64, .* base64 -d < in > out/);
  });

  test('the fingerprint any stands for every key that is trusted, as in skopeo, but not beside another', async () => {
    const files = [inField('v5-subkey', 'b.signature'), inField('v5-subkey', 'v5sub.gpg')] as const;
    const reference = 'localhost:5055/busybox:latest';
    const good = await verify(...files, reference, '--fingerprint', 'any');
    assert.equal(good.status, 0, good.stdout + good.stderr);
    const other = `any,${'A'.repeat(40)}`;
    const mixed = await verify(...files, reference, '--fingerprint', other);
    assert.equal(mixed.status, 2);
    assert.match(mixed.stderr, /"any" is not a fingerprint/);
  });

  test('a signature by SLH-DSA, of 17 kB, is imported as unsupported', async () => {
    const data = path.join(temp.path, 'slhdsa');
    const outcome = await runLookaside(['import', inField('slhdsa'), '--data', data]);
    assert.equal(outcome.status, 0, outcome.stdout + outcome.stderr);
    assert.match(outcome.stdout, /1 signatures stored \(1 unsupported\)/);
  });

  test('who signs by SLH-DSA as well pushes both, again and again, where the operator accepts version 6', async () => {
    const data = path.join(temp.path, 'twice');
    const image = 'app@sha256=025705ec8cab15dbf71655031ccc2081b8af1dde1bc70539ba56f8f20b8a7a27';
    const version6 = await readFile(inField('slhdsa', 'pq', image, 'signature-1'));
    const structure = examineStructure(version6);
    assert.ok(structure.kind === 'message');
    const { dockerReference } = parsePayload(structure.content).claim;
    const repository = parseReference(dockerReference)?.path ?? assert.fail();
    const signer = makeSigner('twice');
    const folder = path.join(temp.path, 'staged', `${repository}@${image.split('@')[1]}`);
    await mkdir(folder, { recursive: true });
    await writeFile(path.join(folder, 'signature-1'), version6);
    await writeFile(path.join(folder, 'signature-2'), signer.signPayload(structure.content));
    const token = await enrol(data, signer);
    const push = (url: string) =>
      runLookaside(['push', path.join(temp.path, 'staged'), '--server', url], { LOOKASIDE_TOKEN: token });

    const strict = await startServer({ data });
    const refused = await push(strict.url);
    await strict.stop();
    assert.equal(refused.status, 1);
    assert.match(refused.stdout, /1 sent.*1 refused[\s\S]*LOOKASIDE_ACCEPT_UNSUPPORTED=v6/);

    await using server = await startServer({ data, settings: { LOOKASIDE_ACCEPT_UNSUPPORTED: 'v6' } });
    for (const refusal of [/1 sent as signature-2, 1 there already/, /2 there already/]) {
      const pushed = await push(server.url);
      assert.equal(pushed.status, 0, pushed.stdout + pushed.stderr);
      assert.match(pushed.stdout, refusal);
    }
  });

  test('a file that GnuPG 2.2 imports nothing of is told by verify and key add, and export writes a better one', async () => {
    const keyring = inField('v5-subkey', 'v5sub.gpg');
    const warning = /warning: .*GPG_CANNOT_IMPORT: GnuPG 2\.2 stops at a subkey of version 5 in the file/;
    const reference = 'localhost:5055/busybox:latest';
    const verified = await verify(inField('v5-subkey', 'b.signature'), keyring, reference);
    assert.equal(verified.status, 0);
    assert.match(verified.stdout, warning);
    const data = path.join(temp.path, 'v5');
    await makeDataDirectory(data);
    const added = await runLookaside(['key', 'add', keyring, '--data', data]);
    assert.equal(added.status, 0);
    assert.match(added.stdout, warning);
    const exported = await runLookaside(['key', 'export', '--data', data]);
    assert.equal(exported.status, 0, exported.stderr);
    const file = path.join(temp.path, 'exported.asc');
    await writeFile(file, exported.stdout);
    const again = await verify(inField('v5-subkey', 'b.signature'), file, reference);
    assert.equal(again.status, 0);
    assert.doesNotMatch(again.stdout, /warning/);
  });

  test('what skopeo copy leaves below the name of a mirror is refused with the way to push it, and pushed that way', async () => {
    const added = await runLookaside(['key', 'add', inField('mirror', 'rel.asc'), '--data', data]);
    assert.equal(added.status, 0, added.stdout);
    const settings = { LOOKASIDE_TOKEN: await createToken(data, 'mirrorer', 'uploader') };
    const push = (...args: readonly string[]) =>
      runLookaside(['push', inField('mirror', 'staging'), '--server', server.url, ...args], settings);
    const refused = await push();
    assert.equal(refused.status, 1);
    assert.ok(refused.stdout.includes(`--signed-for ${remap}`), refused.stdout);
    assert.match(refused.stderr, /If they are those of a mirror/);
    const unwanted = await push('--signed-for', 'mirror/quay');
    assert.equal(unwanted.status, 2);
    assert.match(unwanted.stderr, /--signed-for is "mirror\/quay"; wanted PREFIX=SIGNED_PREFIX/);
    const pushed = await push('--signed-for', remap);
    assert.equal(pushed.status, 0, pushed.stdout + pushed.stderr);
    // what the policy.json beside it says, with a registry in place of its own
    assert.match(
      pushed.stdout,
      /warning: .*"prefix":"<registry>\/mirror\/quay","signedPrefix":"localhost:5055"/,
    );
  });

  test('a release signed by Ed25519 is taken with a warning, which push, show and the page tell', async () => {
    const added = await runLookaside([
      'key',
      'add',
      inField('release-ed25519', 'maint-a.asc'),
      '--data',
      data,
    ]);
    assert.equal(added.status, 0, added.stdout);
    const token = path.join(temp.path, 'token');
    await writeFile(token, await createToken(data, 'maintainer', 'uploader'), { mode: 0o600 });
    const remote = ['--server', server.url, '--token-file', token];
    const pushed = await runLookaside(['push', inField('release-ed25519', 'tree'), ...remote]);
    assert.equal(pushed.status, 0, pushed.stdout + pushed.stderr);
    assert.match(pushed.stdout, /warning: the key .* is or holds ed25519/);
    const image = `sha256:${'ab'.repeat(32)}`;
    const outcome = await runLookaside(['show', image, ...remote]);
    assert.match(
      outcome.stdout,
      /warning +OPENSHIFT_KEY: .* ed25519, and OpenShift reads releases signed by RSA/,
    );
    const page = await fetch(`${server.url}/${image.replace(':', '=')}/`, {
      headers: { accept: 'text/html' },
    });
    assert.match(await page.text(), /OpenShift reads releases signed by RSA keys alone/);
  });

  test('what oc-mirror keeps of a release is pushed into the release layout', async () => {
    const added = await runLookaside(['key', 'add', inField('oc-mirror', 'rel.asc'), '--data', data]);
    assert.equal(added.status, 0, added.stderr);
    const token = await createToken(data, 'signer', 'uploader');
    const settings = { LOOKASIDE_URL: server.url, LOOKASIDE_TOKEN: token };
    const outcome = await runLookaside(['push', inField('oc-mirror')], settings);
    assert.equal(outcome.status, 0, outcome.stdout + outcome.stderr);
    const served = await fetch(`${server.url}/sha256=${'4'.repeat(64)}/signature-1`);
    assert.equal(served.status, 200);
    const name = `4.98.0-x86_64-sha256-${'4'.repeat(64)}`;
    assert.deepEqual(Buffer.from(await served.arrayBuffer()), readFileSync(inField('oc-mirror', name)));
  });
});
