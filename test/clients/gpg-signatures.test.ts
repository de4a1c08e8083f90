// What gpg makes is good, what gpg refuses is not, and our packet writer writes what gpg reads.
import assert from 'node:assert/strict';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import type { Judgement } from '../../src/domain/verdict.ts';
import { createKeyring } from '../../src/openpgp/keyring.ts';
import { examineMessage } from '../../src/openpgp/verifier.ts';
import { isFull } from '../faults/promise.ts';
import {
  certificate,
  issuerFingerprint,
  makeKey,
  message,
  messageParts,
  notation,
  number,
  SIGNED_AT,
  signatureBody,
  subpacket,
  time,
} from '../openpgp/packet-writer.ts';
import { needs } from './available.ts';
import { type GnupgHome, openGnupgHome } from './keys.ts';
import { openTempFolder, type TempFolder } from './temp-folder.ts';

const PAYLOAD = JSON.stringify({
  critical: {
    identity: { 'docker-reference': 'registry.example/team/app:v1' },
    image: { 'docker-manifest-digest': `sha256:${'0f'.repeat(32)}` },
    type: 'atomic container signature',
  },
  optional: { creator: 'atomic' },
});

describe('gpg and we', needs('gpg'), () => {
  let folder: TempFolder;
  let home: GnupgHome;
  let payload: string;
  let output: string;

  before(async () => {
    folder = await openTempFolder();
    home = await openGnupgHome(folder.path);
    payload = join(folder.path, 'payload');
    output = join(folder.path, 'output');
    await writeFile(payload, PAYLOAD);
    for (const signer of [ed25519, rsa]) await importKey(certificate(signer));
  });

  after(async () => {
    await home[Symbol.asyncDispose]();
    await folder[Symbol.asyncDispose]();
  });

  const ed25519 = makeKey('ed25519');
  const rsa = makeKey('rsa2048');

  async function importKey(bytes: Uint8Array) {
    const file = join(folder.path, 'key');
    await writeFile(file, bytes);
    await home.gpg('--import', file);
  }

  async function makeGpgKey(name: string, algorithm: string, ...options: readonly string[]) {
    const email = `${name}@example.invalid`;
    const expiry = options.includes('1y') ? '1y' : 'never';
    const given = options.filter((option) => option !== '1y');
    const args = ['--passphrase', '', '--quick-generate-key', email, algorithm, 'sign', expiry];
    await home.gpg(...given, ...args);
    return email;
  }

  async function fingerprintOf(email: string) {
    const listing = await home.gpg('--with-colons', '--list-keys', email);
    return /^fpr:+([0-9A-F]{40}):/m.exec(listing)?.[1] ?? assert.fail(listing);
  }

  async function exported(email: string): Promise<Uint8Array> {
    await home.gpg('--output', output, '--export', email);
    return readFile(output);
  }

  async function sign(email: string, ...options: readonly string[]): Promise<Uint8Array> {
    const commands = ['--clearsign', '--detach-sign'];
    const command = options.some((option) => commands.includes(option)) ? [] : ['--sign'];
    await home.gpg('--local-user', email, '--output', output, ...options, ...command, payload);
    return readFile(output);
  }

  async function judge(bytes: Uint8Array, email: string, now = new Date()): Promise<Judgement> {
    return examineMessage(bytes, createKeyring([await exported(email)]), now);
  }

  /** `now` in gpg's own clock. */
  async function gpgTakes(bytes: Uint8Array): Promise<boolean> {
    const file = join(folder.path, 'message');
    await writeFile(file, bytes);
    const args = ['--trust-model', 'always', '--output', output, '--decrypt', file];
    return home.gpg(...args).then(
      () => true,
      () => false,
    );
  }

  // gpg makes a large RSA key in seconds
  const more = isFull ? ['rsa3072', 'rsa4096', 'nistp384'] : [];
  for (const algorithm of ['rsa2048', 'ed25519', 'nistp256', 'nistp521', ...more]) {
    test(`agree on a signature by ${algorithm}`, async () => {
      const email = await makeGpgKey(algorithm, algorithm);
      const judged = await judge(await sign(email), email);
      assert.equal(judged.verdict, 'good', judged.refusal?.message);
      assert.equal(judged.refusal, null);
      assert.equal(judged.fingerprint, await fingerprintOf(email));
      assert.equal(judged.claim?.dockerReference, 'registry.example/team/app:v1');
    });
  }

  const FORMS: Readonly<Record<string, readonly string[]>> = {
    'not compressed': ['-z0'],
    'compressed with zip': ['--compress-algo', 'zip'],
    'compressed with zlib': ['--compress-algo', 'zlib'],
    'compressed with bzip2': ['--compress-algo', 'bzip2'],
    'of text': ['--textmode'],
    'of text, not compressed': ['--textmode', '-z0'],
    'over SHA-512': ['--digest-algo', 'SHA512'],
    'with a notation': ['--sig-notation', 'a@example.invalid=b'],
  };
  for (const [form, options] of Object.entries(FORMS)) {
    test(`agree on a signature ${form}`, async () => {
      const email = await makeGpgKey(form.replaceAll(/[^a-z0-9]/gi, ''), 'ed25519');
      const judged = await judge(await sign(email, ...options), email);
      assert.equal(judged.verdict, 'good', judged.refusal?.message);
      assert.equal(judged.refusal, null);
    });
  }

  test('agree on a signature by a subkey', async () => {
    const email = await makeGpgKey('subkey', 'ed25519');
    const primary = await fingerprintOf(email);
    await home.gpg('--passphrase', '', '--quick-add-key', primary, 'rsa2048', 'sign', 'never');
    const judged = await judge(await sign(email), email);
    assert.equal(judged.verdict, 'good', judged.refusal?.message);
    assert.equal(judged.fingerprint, primary);
    assert.notEqual(judged.signingFingerprint, primary);
  });

  test('agree on clear-signed text behind the tag, also one put together of a detached signature', async () => {
    const email = await makeGpgKey('cleartext', 'ed25519');
    const tagged = (text: string) => Buffer.from(`\0simple-signing\n${text}`);
    const cleartext = Buffer.from(await sign(email, '--clearsign')).toString();
    // as coreos-assembler's cmd-sign does
    const detached = join(folder.path, 'detached');
    await writeFile(detached, await sign(email, '--digest-algo', 'SHA256', '--detach-sign'));
    await home.gpg('--output', output, '--enarmor', detached);
    const armor = (await readFile(output, 'utf8')).replaceAll('ARMORED FILE', 'SIGNATURE');
    const joined = `-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\n${PAYLOAD}\n${armor}`;
    for (const text of [cleartext, joined]) {
      assert.equal(await gpgTakes(Buffer.from(text)), true);
      const judged = await judge(tagged(text), email);
      assert.equal(judged.verdict, 'good', judged.refusal?.message);
      assert.equal(judged.form, 'tagged-cleartext');
      assert.equal(judged.refusal?.code, 'NOT_INLINE_SIGNED');
      assert.equal((await judge(tagged(text.replace('app:v1', 'app:v2')), email)).verdict, 'bad');
    }
  });

  test('agree on armour, detached and clear-signed signatures that are none for clients', async () => {
    const email = await makeGpgKey('forms', 'ed25519');
    for (const [options, code] of [
      [['--armor'], 'ARMORED'],
      [['--detach-sign'], 'NOT_INLINE_SIGNED'],
      [['--clearsign'], 'NOT_INLINE_SIGNED'],
      [['--detach-sign', '--armor'], 'ARMORED'],
    ] as const) {
      const judged = await judge(await sign(email, ...options), email);
      assert.deepEqual([judged.verdict, judged.refusal?.code], ['unreadable', code]);
    }
  });

  test('agree that two signers are one too many', async () => {
    const [first, second] = [await makeGpgKey('first', 'ed25519'), await makeGpgKey('second', 'ed25519')];
    const judged = await judge(await sign(first, '--local-user', second), first);
    assert.equal(judged.refusal?.code, 'NOT_INLINE_SIGNED');
  });

  test('agree that a key which has expired since does not verify, until it is prolonged', async () => {
    // with the mark its clock stands still, so that no signature comes to be older than its key
    const faked = ['--faked-system-time', '20200101T000000!'];
    const email = await makeGpgKey('expired', 'ed25519', ...faked, '1y');
    const bytes = await sign(email, ...faked);
    const judged = await judge(bytes, email);
    assert.deepEqual([judged.verdict, judged.refusal?.code], ['good', 'KEY_EXPIRED']);
    assert.equal((await judge(bytes, email, new Date('2020-06-01'))).refusal, null);
    await home.gpg('--quick-set-expire', await fingerprintOf(email), '20y');
    assert.deepEqual((await judge(bytes, email)).refusal, null);
  });

  test('agree that a signature may expire', async () => {
    const email = await makeGpgKey('fleeting', 'ed25519', '--faked-system-time', '20200101T000000');
    // with the mark its clock stands still
    const bytes = await sign(email, '--faked-system-time', '20200601T000000!', '--default-sig-expire', '1d');
    const judged = await judge(bytes, email);
    assert.deepEqual([judged.verdict, judged.refusal?.code], ['good', 'SIGNATURE_EXPIRED']);
    assert.deepEqual(judged.expiresAt, new Date('2020-06-02T00:00:00Z'));
  });

  test('agree that a revoked key does not verify', async () => {
    const email = await makeGpgKey('revoked', 'ed25519');
    const bytes = await sign(email);
    const file = join(home.folder, 'openpgp-revocs.d', `${await fingerprintOf(email)}.rev`);
    // gpg writes a colon ahead of the armour, so that nobody revokes by mistake
    await importKey(Buffer.from((await readFile(file, 'utf8')).replace(':-----BEGIN', '-----BEGIN')));
    const judged = await judge(bytes, email);
    assert.deepEqual([judged.verdict, judged.refusal?.code], ['bad', 'KEY_REVOKED']);
  });

  test('agree on what our packet writer writes', async () => {
    const keyring = createKeyring([certificate(ed25519), certificate(rsa)]);
    const content = Buffer.from(PAYLOAD);
    const parts = messageParts(ed25519, content);
    const changed = message(rsa, content, { version: 3 });
    changed[changed.indexOf('app:v1')] = 0x41;
    const both: readonly (readonly [string, Uint8Array, boolean])[] = [
      ['version 4', message(ed25519, content), true],
      ['version 3', message(rsa, content, { version: 3 }), true],
      ['version 3 over SHA-512', message(rsa, content, { version: 3, hash: 'sha512' }), true],
      ['version 3, changed', changed, false],
      ['version 6', message(ed25519, content, { version: 6 }), false],
      [
        'another hash in the one-pass packet',
        message(ed25519, content, { onePass: { hash: 'sha512' } }),
        false,
      ],
      [
        'a critical notation',
        message(ed25519, content, { hashed: [notation('a@b.invalid', 'c', true)] }),
        false,
      ],
      [
        'an unhashed critical subpacket',
        message(ed25519, content, { unhashed: [subpacket(99, Buffer.of(1), true)] }),
        false,
      ],
      ['no one-pass packet', Buffer.concat([parts.literal, parts.signature]), false],
    ];
    for (const [what, bytes, isGood] of both) {
      assert.equal(await gpgTakes(bytes), isGood, `gpg: ${what}`);
      const { verdict } = await examineMessage(bytes, keyring, new Date());
      assert.equal(verdict === 'good', isGood, `we: ${what} is ${verdict}`);
    }
  });

  test('agree on which critical subpackets spoil a signature', async () => {
    const keyring = createKeyring([certificate(ed25519)]);
    const content = Buffer.from(PAYLOAD);
    const bodies: Readonly<Record<number, Uint8Array>> = {
      3: number(2_000_000_000, 4),
      9: number(0, 4),
      16: Buffer.from(ed25519.keyId, 'hex'),
      32: signatureBody(ed25519, content),
      33: issuerFingerprint(ed25519.fingerprint).subarray(2),
    };
    const stricter: number[] = [];
    for (let type = 3; type <= 40; type += 1) {
      const body = bodies[type] ?? Buffer.of(4, 1, 1, 1);
      const bytes = message(ed25519, content, { hashed: [subpacket(type, body, true)] });
      const { verdict } = await examineMessage(bytes, keyring, new Date());
      const isTaken = await gpgTakes(bytes);
      if (isTaken && verdict !== 'good') stricter.push(type);
      // a trust level is good to gpg, with a warning that it has no place here
      else if (type !== 5) assert.equal(verdict === 'good', isTaken, `a critical subpacket of type ${type}`);
    }
    assert.deepEqual(stricter, [12], 'a key that may revoke, which OpenPGP.js does not take in');
    const timed = message(ed25519, content, {
      onlyHashed: [subpacket(2, time(SIGNED_AT), true), issuerFingerprint(ed25519.fingerprint)],
    });
    assert.equal(await gpgTakes(timed), true);
    assert.equal((await examineMessage(timed, keyring, new Date())).verdict, 'good');
  });
});
