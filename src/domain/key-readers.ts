// Which clients read which registered keys, as far as the keys themselves decide it.
import type { KeyWarning, RegisteredKey } from './key.ts';

/** What clients are built with. Only keys of version 4 are registered, so every gpg reads all of them. */
export const KEY_READERS = ['gpg-2.2', 'gpg-2.4', 'sequoia', 'openshift'] as const;
export type KeyReaderName = (typeof KEY_READERS)[number];

/** Registered keys in one file for clients of one kind. */
export interface KeyFile {
  /** ASCII armour, all keys in one block: some clients read no second block. Null when it holds no key. */
  readonly armored: string | null;
  /** In the order of adding, or in the order in which the keys were named. */
  readonly leftOut: readonly KeyLeftOut[];
}

export interface KeyLeftOut {
  readonly fingerprint: string;
  readonly reason: string;
}

/** Null when these readers accept the key. */
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
