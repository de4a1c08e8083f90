// What an administrator can ask of the process that owns the data directory.
import type { AboutTree, Administration } from '../domain/administration.ts';
import type { ExportedKey, ShownKey } from '../domain/key.ts';
import type { Clock } from '../domain/ports.ts';
import type { Actor } from './audit.ts';
import type { Importer } from './import.ts';
import { type KeyService, showKey } from './keys.ts';
import type { TokenService } from './tokens.ts';
import type { Upkeep } from './upkeep.ts';

export interface AdministrationOptions {
  readonly keys: KeyService;
  readonly tokens: Pick<TokenService, 'list' | 'create' | 'revoke'>;
  readonly upkeep: Pick<Upkeep, 'fsck' | 'reindex'>;
  readonly importer: Importer;
  readonly clock: Pick<Clock, 'now'>;
  readonly about: AboutTree;
}

/** Changes are told in the audit log as the actor's. */
export function createAdministration(options: AdministrationOptions, actor: Actor): Administration {
  const { keys, tokens, upkeep, importer, clock, about } = options;
  return {
    about: async () => ({ root: about.root, tree: about.tree }),
    keys: {
      list: () => shownKeys(keys, clock.now()),
      show: (name) => exportedKey(keys, name, clock.now()),
      add: (untrusted) => keys.add(untrusted, actor),
    },
    tokens: {
      list: async () => await tokens.list(),
      create: (name, role) => tokens.create(name, role, actor),
      revoke: (name) => tokens.revoke(name, actor),
    },
    fsck: upkeep.fsck,
    reindex: upkeep.reindex,
    importBatch: (parts, importOptions) => importer.importBatch(parts, importOptions, actor),
  };
}

export async function shownKeys(keys: Pick<KeyService, 'list'>, now: Date): Promise<readonly ShownKey[]> {
  return (await keys.list()).map((key) => showKey(key, now));
}

/** @throws LookasideError REQUEST_INVALID, NOT_FOUND */
export async function exportedKey(
  keys: Pick<KeyService, 'find' | 'armor' | 'warnings'>,
  name: string,
  now: Date,
): Promise<ExportedKey> {
  const key = await keys.find(name);
  return { ...showKey(key, now), warnings: keys.warnings(key), armored: keys.armor(key) };
}
