// What several nodes over PostgreSQL cannot do yet: each says so by itself. Keep in sync with the table in docs/scaling.md.
import { LookasideError } from '../domain/errors.ts';
import { unknownMirror } from '../domain/mirror.ts';
import type { MirrorService } from '../service/mirrors.ts';
import type { Upkeep } from '../service/upkeep.ts';

function missing(what: string, instead: string): LookasideError {
  return new LookasideError(
    'NOT_OVER_POSTGRESQL',
    `${what} not available over PostgreSQL yet; ${instead} (docs/scaling.md)`,
  );
}

const noMirrors = async (): Promise<never> => {
  throw missing('mirrors are', 'run them on a server with a data directory, and name that to clients');
};

export const NO_MIRRORS: MirrorService = {
  list: async () => [],
  ofImage: async () => null,
  releases: async () => [],
  show: async (name) => {
    throw unknownMirror(name);
  },
  ...{ add: noMirrors, edit: noMirrors, remove: noMirrors, missed: noMirrors, sync: noMirrors },
};

/** All but fsck. */
export const NO_UPKEEP: Omit<Upkeep, 'fsck'> = {
  start: () => undefined,
  stop: async () => undefined,
  rebuild: () => undefined,
  reindex: async () => {
    throw missing('an index is', 'the server reads its tables themselves, so nothing needs to be rebuilt');
  },
};
