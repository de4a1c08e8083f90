// lookaside key export: the keys in one file, as the clients that are to have it can read it.
import { readKeys } from '../compose/offline.ts';
import type { Config } from '../config.ts';
import { LookasideError } from '../domain/errors.ts';
import type { KeyWarning, RegisteredKey } from '../domain/key.ts';
import { EXIT, tell } from './terminal.ts';

/** What clients are built with. What is registered is of version 4 alone, so that every gpg reads all of it. */
export const KEY_READERS = ['gpg-2.2', 'gpg-2.4', 'sequoia', 'openshift'] as const;
export type KeyReaderName = (typeof KEY_READERS)[number];

export interface KeyExportOptions {
  /** Fingerprints or key IDs; empty: all keys. */
  readonly names: readonly string[];
  readonly reader: KeyReaderName;
}

/** Writes armour to standard output. EXIT.failed when a key is left out, which is told on standard error. */
export function runKeyExport(config: Config, { names, reader }: KeyExportOptions): Promise<number> {
  return readKeys(config, async (keys) => {
    const named =
      names.length === 0 ? await keys.list() : await Promise.all(names.map((name) => keys.find(name)));
    const chosen = new Map(named.map((key) => [key.fingerprint, key]));
    const kept: RegisteredKey[] = [];
    for (const [fingerprint, key] of chosen) {
      const why = whyUnreadable(key, keys.warnings(key), reader);
      if (why === null) kept.push(key);
      else tell(`${fingerprint} is left out: ${why}`);
    }
    if (kept.length === 0) {
      throw new LookasideError('NOT_FOUND', 'no key is left to be exported; see: lookaside key list');
    }
    process.stdout.write(keys.armorAll(kept));
    return kept.length === chosen.size ? EXIT.done : EXIT.failed;
  });
}

/** Null when the readers take the key. */
export function whyUnreadable(
  { algorithm, subkeys }: Pick<RegisteredKey, 'algorithm' | 'subkeys'>,
  warnings: readonly KeyWarning[],
  reader: KeyReaderName,
): string | null {
  switch (reader) {
    case 'gpg-2.2':
    case 'gpg-2.4':
      return null;
    case 'sequoia':
      return warnings.find(({ code }) => code === 'BOUND_BY_SHA1')?.message ?? null;
    case 'openshift': {
      const other = [algorithm, ...subkeys.map((subkey) => subkey.algorithm)].find(
        (name) => !name.startsWith('rsa'),
      );
      if (other === undefined) return null;
      return `it holds ${other}, and the readers of OpenShift read keys of RSA alone. Make a key of RSA for releases`;
    }
  }
}
