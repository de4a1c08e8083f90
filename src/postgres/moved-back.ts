// A database that lookaside migrate --from has brought back into a data directory takes nothing more: a server there would not serve it.
import { LookasideError } from '../domain/errors.ts';
import type { Query } from './connect.ts';

interface MovedBackRow {
  readonly place: string;
  readonly started_at_ms: number;
  readonly finished_at_ms: number | null;
}

/** True in each transaction that changes something. */
export const IS_MOVED_BACK = 'EXISTS (SELECT 1 FROM moved_back)';

/** @throws LookasideError STATE_UNUSABLE */
export async function refuseMovedBack(query: Query): Promise<void> {
  const [row] = await query<MovedBackRow>(
    'SELECT place, started_at_ms, finished_at_ms FROM moved_back WHERE id = 1',
  );
  if (row === undefined) return;
  const { place, started_at_ms, finished_at_ms } = row;
  const at = (ms: number) => new Date(ms).toISOString();
  throw new LookasideError(
    'STATE_UNUSABLE',
    finished_at_ms === null
      ? `lookaside migrate --from began at ${at(started_at_ms)} to move this database to the data directory ${place}, and has not ended; wait for its end, or give the same command again; or, when no server is to run there, start one node with --accept-moved-back`
      : `this database was moved to the data directory ${place} at ${at(finished_at_ms)}, and a server there would not serve what is written here; start that server instead; or, when no server runs there any more, start one node with --accept-moved-back, which goes on from what the database had then`,
  );
}

/** From now on it may be served and written to again. Whether it was barred. */
export async function acceptMovedBack(query: Query): Promise<boolean> {
  return (await query('DELETE FROM moved_back RETURNING id')).length > 0;
}

/** Bars it. False: an earlier move has done so, and is to be seen until this one has ended. */
export async function beginMoveBack(query: Query, place: string, now: Date): Promise<boolean> {
  const rows = await query(
    `
    INSERT INTO moved_back (id, place, started_at_ms)
    VALUES (1, $1, $2)
    ON CONFLICT (id) DO NOTHING
    RETURNING id`,
    [place, now.getTime()],
  );
  return rows.length > 0;
}

/** It stays barred. @throws LookasideError ALREADY_RUNNING when somebody has taken the bar away: a node may take uploads by now */
export async function endMoveBack(query: Query, place: string, now: Date): Promise<void> {
  const ended = await query(
    'UPDATE moved_back SET place = $1, finished_at_ms = $2 WHERE id = 1 RETURNING id',
    [place, now.getTime()],
  );
  if (ended.length > 0) return;
  throw new LookasideError(
    'ALREADY_RUNNING',
    'a node was started with --accept-moved-back while the database was moved, and what it takes would be missing in the directory; stop all nodes, and give the same command again',
  );
}
