// Certificates that gpg made, and what gpg says of what we make of them.
import assert from 'node:assert/strict';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { readKey } from 'openpgp';
import type { CleanedCertificate } from '../../src/domain/ports.ts';
import { armorPublicKey } from '../../src/openpgp/armor.ts';
import { cleanCertificates } from '../../src/openpgp/certificates.ts';
import { isFull } from '../faults/promise.ts';
import { needs } from './available.ts';
import { describeOutcome, run } from './command.ts';
import { openTempFolder, type TempFolder } from './temp-folder.ts';

type Clean = Extract<CleanedCertificate, { kind: 'clean' }>;

interface Home extends AsyncDisposable {
  gpg(...args: readonly string[]): Promise<string>;
  /** What gpg writes to a file, as bytes. */
  write(...args: readonly string[]): Promise<Uint8Array>;
  /** Takes the bytes with --import. */
  take(bytes: Uint8Array | string): Promise<void>;
  /** A new key without passphrase; its fingerprint. */
  make(name: string, algorithm: string, usage?: string, expires?: string): Promise<string>;
  /** The revocation that gpg makes of every key in advance. */
  revocationOf(fingerprint: string): Promise<string>;
}

let temp: TempFolder;
let homes = 0;

before(async () => {
  temp = await openTempFolder();
});
after(() => temp?.[Symbol.asyncDispose]());

async function openHome(): Promise<Home> {
  homes += 1;
  const folder = path.join(temp.path, `h${homes}`);
  await mkdir(folder, { mode: 0o700 });
  const env = { PATH: process.env.PATH ?? '', LC_ALL: 'C', HOME: folder, GNUPGHOME: folder };
  let files = 0;
  const newFile = () => {
    files += 1;
    return path.join(folder, `file-${files}`);
  };
  const gpg = async (...args: readonly string[]) => {
    const options = ['--batch', '--yes', '--no-tty', '--pinentry-mode', 'loopback', '--passphrase', ''];
    const outcome = await run(['gpg', ...options, ...args], { env });
    assert.equal(outcome.status, 0, describeOutcome(outcome));
    return outcome.stdout;
  };
  return {
    gpg,
    async write(...args) {
      const file = newFile();
      await gpg('--output', file, ...args);
      return readFile(file);
    },
    async take(bytes) {
      const file = newFile();
      await writeFile(file, bytes);
      await gpg('--import', file);
    },
    async make(name, algorithm, usage = 'sign', expires = 'never') {
      await gpg('--quick-generate-key', name, algorithm, usage, expires);
      const listing = await gpg('--with-colons', '--list-keys', name);
      const fingerprint = /^fpr:+([0-9A-F]{40}):/m.exec(listing)?.[1];
      assert.ok(fingerprint, listing);
      return fingerprint;
    },
    async revocationOf(fingerprint) {
      const file = path.join(folder, 'openpgp-revocs.d', `${fingerprint}.rev`);
      return (await readFile(file, 'utf8')).replace(/^:/m, ''); // the colon guards against use by accident
    },
    async [Symbol.asyncDispose]() {
      await run(['gpgconf', '--kill', 'all'], { env });
    },
  };
}

async function cleanOne(bytes: Uint8Array, known?: Clean): Promise<Clean> {
  const keyring = new Map(known === undefined ? [] : [[known.details.fingerprint, known.certificate]]);
  const [result] = await cleanCertificates(bytes, keyring, new Date());
  if (result?.kind !== 'clean') assert.fail(`refused: ${result?.code} ${result?.message}`);
  return result;
}

/** Key by key: fingerprint, validity, times and what it may do, as a gpg that knows nothing else lists them. */
async function listedBy(gpg: Home['gpg']): Promise<readonly string[]> {
  const lines = (await gpg('--with-colons', '--fixed-list-mode', '--list-keys')).split('\n');
  return lines
    .map((line) => line.split(':'))
    .filter(([kind = '']) => ['pub', 'sub', 'fpr', 'uid'].includes(kind))
    .map((fields) => [0, 1, 2, 3, 5, 6, 9, 11].map((at) => fields[at] ?? '').join(':'));
}

/** What a fresh gpg makes of our output. */
async function listedOf(certificate: Uint8Array): Promise<readonly string[]> {
  await using home = await openHome();
  await home.take(armorPublicKey(certificate));
  return listedBy(home.gpg);
}

/** What a fresh gpg makes of the same bytes as they came. */
async function listedOfOriginal(bytes: Uint8Array): Promise<readonly string[]> {
  await using home = await openHome();
  await home.take(bytes);
  return listedBy(home.gpg);
}

const seconds = (at: Date | null) => (at === null ? '' : String(at.getTime() / 1000));

/** The same lines out of our own description. */
function listedByUs({ details }: Clean) {
  return {
    fingerprints: [details.fingerprint, ...details.subkeys.map(({ fingerprint }) => fingerprint)],
    times: [details, ...details.subkeys].map(
      ({ createdAt, expiresAt }) => `${seconds(createdAt)}-${seconds(expiresAt)}`,
    ),
    validity: [details, ...details.subkeys].map(({ revokedAt, expiresAt }) => {
      if (revokedAt !== null || details.revokedAt !== null) return 'r'; // gpg shows subkeys as their primary key
      return expiresAt !== null && expiresAt < new Date() ? 'e' : '-';
    }),
  };
}

function assertSameAsGpg(clean: Clean, listing: readonly string[]): void {
  const rows = listing.map((line) => line.split(':'));
  const keys = rows.filter(([kind]) => kind === 'pub' || kind === 'sub');
  const ours = listedByUs(clean);
  assert.deepEqual(
    rows.filter(([kind]) => kind === 'fpr').map((row) => row[6]),
    ours.fingerprints,
  );
  assert.deepEqual(
    keys.map((row) => `${row[4]}-${row[5]}`),
    ours.times,
  );
  assert.deepEqual(
    keys.map((row) => row[1]?.replace('u', '-')),
    ours.validity,
  );
}

describe('certificates made by gpg', needs('gpg'), () => {
  let home: Home;
  before(async () => {
    home = await openHome();
  });
  after(() => home?.[Symbol.asyncDispose]());

  // gpg makes large RSA and DSA keys in seconds
  const more = isFull ? ['rsa3072', 'rsa4096', 'nistp384'] : [];
  for (const algorithm of ['rsa2048', 'ed25519', 'nistp256', 'nistp521', ...more]) {
    test(`of ${algorithm} are listed by gpg after cleaning as before, and load into OpenPGP.js`, async () => {
      const fingerprint = await home.make(`${algorithm}@x`, algorithm, 'sign', '2y');
      // by itself gpg takes a curve for a subkey that encrypts
      const kind = algorithm.startsWith('nistp') ? `${algorithm}/ecdsa` : algorithm;
      await home.gpg('--quick-add-key', fingerprint, kind, 'sign', '1y');
      const exported = await home.write('--export', fingerprint);
      const clean = await cleanOne(exported);
      assert.equal(clean.details.algorithm, algorithm);
      assert.deepEqual(
        [clean.details, ...clean.details.subkeys].map(({ canSign }) => canSign),
        [true, true],
      );
      const listing = await listedOf(clean.certificate);
      assert.deepEqual(listing, await listedOfOriginal(exported));
      assertSameAsGpg(clean, listing);
      const loaded = await readKey({ binaryKey: clean.certificate });
      assert.ok(await loaded.getSigningKey());
      const armored = Buffer.from(await home.gpg('--armor', '--comment', 'hello', '--export', fingerprint));
      assert.deepEqual(await cleanOne(armored), clean);
    });
  }

  for (const [algorithm, code] of [
    ['dsa2048', 'ALGORITHM_WEAK'],
    ...(isFull ? ([['dsa3072', 'ALGORITHM_WEAK']] as const) : []),
    ['rsa1024', 'ALGORITHM_WEAK'],
    ['secp256k1', 'ALGORITHM_UNSUPPORTED'],
    ['brainpoolP256r1', 'ALGORITHM_UNSUPPORTED'],
  ] as const) {
    test(`of ${algorithm} are refused: ${code}`, async () => {
      const fingerprint = await home.make(`${algorithm}@x`, algorithm);
      const [result] = await cleanCertificates(
        await home.write('--export', fingerprint),
        new Map(),
        new Date(),
      );
      assert.equal(result?.kind === 'refused' && result.code, code);
      assert.equal(result?.kind === 'refused' && result.fingerprint, fingerprint);
    });
  }

  test('with self-signatures by SHA-1, as old release keys have them, are taken', async () => {
    const parameters = path.join(temp.path, 'sha1');
    const lines = ['%no-protection', 'Key-Type: RSA', 'Key-Length: 2048', 'Name-Real: Old', '%commit'];
    await writeFile(parameters, `${lines.join('\n')}\n`);
    await home.gpg('--cert-digest-algo', 'SHA1', '--generate-key', parameters);
    const exported = await home.write('--export', 'Old');
    const clean = await cleanOne(exported);
    assert.match(await packetsOf(clean.certificate), /digest algo 2,/);
    assert.deepEqual(await listedOf(clean.certificate), await listedOfOriginal(exported));
    assert.ok(await (await readKey({ binaryKey: clean.certificate })).getSigningKey());
  });

  async function packetsOf(certificate: Uint8Array): Promise<string> {
    const file = path.join(temp.path, 'packets');
    await writeFile(file, certificate);
    return home.gpg('--list-packets', file);
  }

  test('that are secret are refused, and named by their fingerprint', async () => {
    for (const algorithm of ['rsa2048', 'ed25519', 'nistp256', 'dsa2048']) {
      const fingerprint = await home.make(`secret-${algorithm}@x`, algorithm);
      for (const armor of [[], ['--armor']]) {
        const exported = await home.write(...armor, '--export-secret-keys', fingerprint);
        const [result] = await cleanCertificates(exported, new Map(), new Date());
        assert.equal(result?.kind === 'refused' && result.code, 'SECRET_KEY');
        assert.equal(result?.kind === 'refused' && result.fingerprint, fingerprint);
      }
    }
  });

  test('lose encryption subkeys, photos and what others certified', async () => {
    const fingerprint = await home.make('full@x', 'ed25519', 'sign');
    await home.gpg('--quick-add-key', fingerprint, 'cv25519', 'encr', 'never');
    const before = await cleanOne(await home.write('--export', fingerprint));
    await home.make('friend@x', 'ed25519');
    await home.gpg('--local-user', 'friend@x', '--quick-sign-key', fingerprint);
    const exported = await home.write('--export', fingerprint);
    assert.match(await packetsOf(exported), /public sub key packet[\s\S]*algo 18/);
    const clean = await cleanOne(exported);
    assert.deepEqual(clean, before);
    assert.doesNotMatch(await packetsOf(clean.certificate), /sub key/);
    assert.equal((await packetsOf(clean.certificate)).match(/:signature packet/g)?.length, 1);
  });

  test('follow their owner: new user IDs, one revoked, another expiry, and at last the whole key revoked', async () => {
    const fingerprint = await home.make('owner@x', 'ed25519', 'sign', '1y');
    const exports = [await home.write('--export', fingerprint)];
    await home.gpg('--quick-add-uid', fingerprint, 'second@x');
    await home.gpg('--quick-add-key', fingerprint, 'rsa2048', 'sign', '1y');
    exports.push(await home.write('--export', fingerprint));
    await home.gpg('--quick-set-primary-uid', fingerprint, 'owner@x');
    await home.gpg('--quick-set-expire', fingerprint, '3y');
    exports.push(await home.write('--export', fingerprint));
    await home.gpg('--quick-revoke-uid', fingerprint, 'second@x');
    exports.push(await home.write('--export', fingerprint));
    let merged: Clean | undefined;
    for (const exported of exports) {
      merged = await cleanOne(exported, merged);
      assertSameAsGpg(merged, await listedOfOriginal(exported));
      assertSameAsGpg(merged, await listedOf(merged.certificate));
    }
    assert.deepEqual(merged?.details.userIds, ['owner@x']);
    const revoked = await cleanOne(Buffer.from(await home.revocationOf(fingerprint)), merged);
    assertSameAsGpg(revoked, await listedOf(revoked.certificate));
    assert.ok(revoked.details.revokedAt !== null);
    for (const exported of exports) {
      assert.deepEqual(await cleanOne(exported, await cleanOne(revoked.certificate)), revoked);
    }
  });

  test('that have expired are taken, and gpg says expired too', async () => {
    await using past = await openHome();
    const created = '20200101T000000!'; // with the mark its clock stands still
    await past.gpg('--faked-system-time', created, '--quick-generate-key', 'gone@x', 'ed25519', 'sign', '1y');
    const exported = await past.write('--export', 'gone@x');
    const clean = await cleanOne(exported);
    assert.deepEqual(clean.details.expiresAt, new Date('2020-12-31T00:00:00Z'));
    const listing = await listedOf(clean.certificate);
    assert.match(listing[0] ?? '', /^pub:e:/);
    assertSameAsGpg(clean, listing);
  });

  test('verify what their keys signed, by primary key and by subkey, also after cleaning', async () => {
    const fingerprint = await home.make('signer@x', 'nistp256');
    await home.gpg('--quick-add-key', fingerprint, 'ed25519', 'sign', 'never');
    const content = path.join(temp.path, 'content');
    await writeFile(content, 'hello');
    const clean = await cleanOne(await home.write('--export', fingerprint));
    await using fresh = await openHome();
    await fresh.take(clean.certificate);
    for (const { fingerprint: signing } of [clean.details, ...clean.details.subkeys]) {
      const file = path.join(temp.path, `${signing}.sig`);
      await home.gpg('--output', file, '--local-user', `${signing}!`, '--sign', content);
      const status = await fresh.gpg('--status-fd', '1', '--verify', file);
      assert.match(status, new RegExp(`VALIDSIG ${signing} .* ${fingerprint}$`, 'm'));
    }
  });
});
