// Signing keys made by gpg, and the agent that holds them.
import { mkdir } from 'node:fs/promises';
import path from 'node:path';
import { type Argv, run, succeed } from './command.ts';

export interface SigningKey {
  /** What `--sign-by` takes. */
  readonly email: string;
  /** The fingerprint of the primary key, upper-case hex. */
  readonly fingerprint: string;
  /** The exported public key, for a policy's keyPath. */
  readonly publicKeyFile: string;
}

export interface GnupgHome extends AsyncDisposable {
  readonly folder: string;
  /** A new key without passphrase. The primary key signs: older clients refuse signatures by subkeys. */
  makeKey(
    name: string,
    options?: { readonly algorithm?: 'ed25519' | 'nistp256' | 'rsa2048' },
  ): Promise<SigningKey>;
  gpg(...args: readonly string[]): Promise<string>;
}

/** A GNUPGHOME below `parent`, whose agent ends when it is disposed of. */
export async function openGnupgHome(parent: string): Promise<GnupgHome> {
  const folder = path.join(parent, 'gnupg');
  await mkdir(folder, { mode: 0o700 });
  const surroundings = {
    env: { PATH: process.env.PATH ?? '', LC_ALL: 'C', HOME: parent, GNUPGHOME: folder },
  };
  const gpg = (...args: readonly string[]) => {
    const argv: Argv = ['gpg', '--batch', '--yes', '--no-tty', '--pinentry-mode', 'loopback', ...args];
    return succeed(argv, surroundings);
  };

  return {
    folder,
    gpg,
    async makeKey(name, { algorithm = 'ed25519' } = {}) {
      const email = `${name}@example.invalid`;
      await gpg('--passphrase', '', '--quick-generate-key', email, algorithm, 'sign', 'never');
      const listing = await gpg('--with-colons', '--list-keys', email);
      const fingerprint = /^fpr:+([0-9A-F]{40}):/m.exec(listing)?.[1];
      if (fingerprint === undefined) throw new Error(`gpg lists no fingerprint for ${email}:\n${listing}`);
      const publicKeyFile = path.join(parent, `${name}.gpg`);
      await gpg('--output', publicKeyFile, '--armor', '--export', email);
      return { email, fingerprint, publicKeyFile };
    },
    async [Symbol.asyncDispose]() {
      await run(['gpgconf', '--kill', 'all'], surroundings);
      await run(['gpgconf', '--remove-socketdir'], surroundings);
    },
  };
}
