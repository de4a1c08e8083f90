// Gives one day of the access record its indexes and sums it up by the hour. The writer waits for it only with late reads of that day.
import { existsSync } from 'node:fs';
import { parentPort, workerData } from 'node:worker_threads';
import type { Database } from 'better-sqlite3';
import { ADD_IMAGE_BY_PLACE } from './day-ids.ts';
import type { CloseOutcome, DayTotals, HourTotal } from './day-totals.ts';
import { closeInItsFile, isCorruption, messageOf, openForWriting } from './open.ts';

const port = parentPort;
if (port === null) throw new Error('close-day-thread is started by close-day.ts');
// only close-day.ts sets it
const { file } = workerData as { readonly file: string };
port.postMessage(outcomeOf());

function outcomeOf(): CloseOutcome {
  try {
    if (!existsSync(file)) return { outcome: 'done', totals: null };
    const db = openForWriting(file, 'access');
    try {
      const closedAt = db.prepare('SELECT closed_at_ms FROM day').pluck().get();
      if (closedAt !== null) return { outcome: 'done', totals: null };
      addIndexes(db);
      return { outcome: 'done', totals: totalsOf(db) };
    } finally {
      closeInItsFile(db);
    }
  } catch (error) {
    return { outcome: 'failed', message: messageOf(error), isDamaged: isCorruption(error) };
  }
}

/** Each in a transaction of its own, so that late reads wait for one at most. */
function addIndexes(db: Database): void {
  for (const column of ['image', 'address', 'signature']) {
    db.exec(`CREATE INDEX IF NOT EXISTS read_by_${column} ON read (${column})`);
  }
  // a digest below any path is found by image_by_start
  db.exec(ADD_IMAGE_BY_PLACE);
  db.exec('CREATE INDEX IF NOT EXISTS missing_once_by_digest ON missing_once (digest)');
  db.exec('ANALYZE');
}

function totalsOf(db: Database): DayTotals {
  const hours = db
    .prepare<[], HourTotal>(`
      SELECT minute / 60 AS hour, image.site AS site, image.path AS repository,
        sum(iif(status IN (200, 304), count, 0)) AS fetched,
        sum(iif(status IN (200, 304), 0, count)) AS ended,
        sum(bytes) AS bytes
      FROM read
      JOIN image ON image.id = read.image
      GROUP BY minute / 60, image.site, image.path`)
    .all();
  const dropped = db
    .prepare<[], { hour: number; count: number }>(`
      SELECT hour, count
      FROM dropped`)
    .all();
  return { hours, dropped };
}
