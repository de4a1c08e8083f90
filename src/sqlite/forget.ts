// Who it was: which texts of a database mean the person that is to be forgotten.
import type { Database } from 'better-sqlite3';
import { isAddressOf, isNamedIn } from '../domain/person.ts';
import type { Person } from '../domain/records.ts';

/** The pages that are written from now on hold nothing of what was deleted. */
export function deleteForGood(db: Database): void {
  db.pragma('secure_delete = ON');
}

/**
 * Call it behind deleteForGood() where something was deleted: pages that were split before keep copies of what they held, and deleting
 * does not reach these. The old pages are overwritten.
 */
function renewIndexOfAddresses(db: Database): void {
  db.exec('REINDEX audit_event_by_address');
}

/** What the journal holds of it too. Another reader may keep it from being emptied; it then goes with the next one. */
export function emptyJournal(db: Database): void {
  db.pragma('wal_checkpoint(TRUNCATE)');
}

/** In one transaction of state.db: events that the person made, or that name the person as what was asked for. */
export function forgetEvents(db: Database, person: Person, beforeMs: number): number {
  const isPerson = (actor: unknown, address: unknown, action: unknown, reason: unknown): number => {
    const { kind, text } = person;
    const made =
      kind === 'actor' ? actor === text : typeof address === 'string' && isAddressOf(text, address);
    return made || isNamedIn({ action, reason }, person) ? 1 : 0;
  };
  db.function('is_forgotten_person', isPerson);
  const { changes } = db
    .prepare(`
      UPDATE audit_event
      SET private = NULL, salt = NULL
      WHERE private IS NOT NULL AND at_ms < ?
        AND is_forgotten_person(private ->> '$.actor', private ->> '$.address',
          leaf ->> '$.action', private ->> '$.reason')`)
    .run(beforeMs);
  if (changes > 0) renewIndexOfAddresses(db);
  if (person.kind === 'actor') {
    db.prepare('DELETE FROM page_session WHERE identity_name = ? AND created_at_ms < ?').run(
      person.text,
      beforeMs,
    );
    db.prepare(`
      UPDATE upload
      SET uploader = 'forgotten'
      WHERE uploader = ? AND stored_at_ms < ?`).run(person.text, beforeMs);
    db.prepare(`
      UPDATE openpgp_key
      SET added_by = NULL
      WHERE added_by = ? AND added_at_ms < ?`).run(person.text, beforeMs);
    db.prepare(`
      UPDATE openpgp_key
      SET revoked_by = 'forgotten'
      WHERE revoked_by = ? AND revoked_at_ms < ?`).run(person.text, beforeMs);
    db.prepare(`
      UPDATE tombstone
      SET withdrawn_by = 'forgotten'
      WHERE withdrawn_by = ? AND withdrawn_at_ms < ?`).run(person.text, beforeMs);
  }
  return changes;
}
