// What several nodes over PostgreSQL cannot do yet: each says so by itself. Keep in sync with the table in docs/scaling.md.
import { LookasideError } from '../domain/errors.ts';
import type { Upkeep } from '../service/upkeep.ts';

function missing(what: string, instead: string): LookasideError {
  return new LookasideError(
    'NOT_OVER_POSTGRESQL',
    `${what} not available over PostgreSQL yet; ${instead} (docs/scaling.md)`,
  );
}

/** All but fsck. */
export const NO_UPKEEP: Omit<Upkeep, 'fsck'> = {
  start: () => undefined,
  stop: async () => undefined,
  rebuild: () => undefined,
  reindex: async () => {
    throw missing('an index is', 'the server reads its tables themselves, so nothing needs to be rebuilt');
  },
};
