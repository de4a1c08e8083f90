// The administration of a PostgreSQL that nodes share: by this process, beside the nodes. Who can open the database is its
// administrator.
import { type Config, shownDatabase } from '../config.ts';
import type { AboutTree, Administration } from '../domain/administration.ts';
import { createAdministration } from '../service/administration.ts';
import { ADMINISTRATOR } from '../service/audit.ts';
import { systemClock } from './clock.ts';
import { createLog } from './log.ts';
import { openNode } from './node.ts';

export interface DatabaseAdministration extends Administration {
  /** The database for people. */
  readonly name: string;
  readonly here: AboutTree;
  [Symbol.asyncDispose](): Promise<void>;
}

/** @throws LookasideError STATE_UNUSABLE, STORE_UNAVAILABLE */
export async function administerDatabase(config: Config): Promise<DatabaseAdministration> {
  const node = await openNode({ config, current: () => config, log: createLog('warn'), tables: 'make' });
  const name = shownDatabase(config) ?? '';
  const about = { root: name, tree: 'owned' } as const;
  return {
    ...createAdministration({ ...node, clock: systemClock, about }, ADMINISTRATOR),
    name,
    here: about,
    [Symbol.asyncDispose]: () => node.close(),
  };
}
