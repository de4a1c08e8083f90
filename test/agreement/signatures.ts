// Signatures by gpg over all its digests, compressions, notations and expiries, judged by gpg and by us.
import { readFile, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { createKeyring } from '../../src/openpgp/keyring.ts';
import { examineMessage } from '../../src/openpgp/verifier.ts';
import { run } from '../clients/command.ts';
import { openGnupgHome } from '../clients/keys.ts';
import type { Difference } from './report.ts';

const PAYLOAD = JSON.stringify({
  critical: {
    identity: { 'docker-reference': 'registry.example/team/app:v1' },
    image: { 'docker-manifest-digest': `sha256:${'0f'.repeat(32)}` },
    type: 'atomic container signature',
  },
  optional: { creator: 'agreement' },
});

const KEYS = [
  'rsa2048',
  'rsa3072',
  'rsa4096',
  'ed25519',
  'nistp256',
  'nistp384',
  'nistp521',
  'dsa2048',
  'brainpoolP256r1',
];
const DIGESTS = ['MD5', 'SHA1', 'RIPEMD160', 'SHA224', 'SHA256', 'SHA384', 'SHA512'];
const COMPRESSIONS = ['uncompressed', 'zip', 'zlib', 'bzip2'];
const NOTATIONS = [
  [],
  ['--sig-notation', 'purpose@example.org=release'],
  ['--sig-notation', '!purpose@example.org=release'],
];
const EXPIRIES = [
  [],
  ['--default-sig-expire', '1y'],
  ['--faked-system-time', '20200101T000000', '--default-sig-expire', '1d'],
];
const FORMS = [[], ['--textmode']];

/** Why we refuse what gpg accepts: our codes, and what each stands for in docs/uploading.md. */
const STRICTER: Readonly<Record<string, string>> = {
  ALGORITHM_WEAK: 'the digest or the key is of a kind that can be forged, and newer clients refuse it',
  ALGORITHM_UNSUPPORTED: 'the key is of a kind that most clients cannot verify',
};

export interface SignatureAgreement {
  readonly key: string;
  readonly signatures: number;
  readonly accepted: number;
  readonly differences: readonly Difference[];
}

/** All combinations, of each key. */
export async function compareSignatures(folder: string): Promise<readonly SignatureAgreement[]> {
  await using home = await openGnupgHome(folder);
  const rows: SignatureAgreement[] = [];
  for (const algorithm of KEYS) rows.push(await compareKey(home.gpg, algorithm, folder, home.folder));
  return rows;
}

type Gpg = (...args: readonly string[]) => Promise<string>;

async function compareKey(
  gpg: Gpg,
  algorithm: string,
  folder: string,
  home: string,
): Promise<SignatureAgreement> {
  const [payload, signature, exported] = ['payload', 'signature', 'key'].map((name) =>
    path.join(folder, name),
  ) as [string, string, string];
  await writeFile(payload, PAYLOAD);
  const email = `${algorithm.toLowerCase()}@example.invalid`;
  // older than the oldest signature
  const old = ['--faked-system-time', '20190101T000000'];
  await gpg(...old, '--passphrase', '', '--quick-generate-key', email, algorithm, 'sign', 'never');
  await rm(exported, { force: true });
  await gpg('--output', exported, '--export', email);
  const keyring = createKeyring([await readFile(exported)]);
  const differences: Difference[] = [];
  let [signatures, accepted] = [0, 0];
  for (const options of combinations()) {
    await rm(signature, { force: true });
    const made = await gpg(...options, '--local-user', email, '--output', signature, '--sign', payload).catch(
      () => null,
    );
    if (made === null) continue; // gpg does not make that: SHA-1 for a long curve, MD5 in newer releases
    signatures += 1;
    const byGpg = await isGood(signature, home, folder);
    const { verdict, refusal } = await examineMessage(await readFile(signature), keyring, new Date());
    const byUs = verdict === 'good' && refusal === null; // an expired one is good, and refused
    accepted += byUs ? 1 : 0;
    if (byGpg === byUs) continue;
    const explanation = byGpg ? (STRICTER[refusal?.code ?? ''] ?? null) : null;
    differences.push({
      about: `${algorithm} ${options.join(' ')}`,
      what: `gpg ${byGpg ? 'accepts' : 'refuses'} it, we ${byUs ? 'accept' : `refuse it: ${refusal?.code}`}`,
      explanation,
    });
  }
  return { key: algorithm, signatures, accepted, differences };
}

function* combinations(): Generator<readonly string[]> {
  for (const digest of DIGESTS)
    for (const compression of COMPRESSIONS)
      for (const notation of NOTATIONS)
        for (const expiry of EXPIRIES)
          for (const form of FORMS)
            yield ['--digest-algo', digest, '--compress-algo', compression, ...notation, ...expiry, ...form];
}

/** As podman built with gpgme takes it: good, and neither the signature nor its key expired. */
async function isGood(file: string, home: string, folder: string): Promise<boolean> {
  const env = { PATH: process.env.PATH ?? '', LC_ALL: 'C', HOME: folder, GNUPGHOME: home };
  const argv = [
    'gpg',
    '--batch',
    '--no-tty',
    '--status-fd',
    '1',
    '--output',
    '/dev/null',
    '--yes',
    '--decrypt',
    file,
  ] as const;
  const { stdout } = await run([...argv], { env });
  return /^\[GNUPG:\] GOODSIG /m.test(stdout);
}
