// Who it was: which texts of a database mean the person that is to be forgotten.
import type { Database } from 'better-sqlite3';
import { overlaps, parseNetwork } from '../domain/network.ts';
import type { Person } from '../domain/records.ts';

/** Whether the address is that of the person: the same text, or within the network that was named. */
export function isAddressOf(asked: string, address: string): boolean {
  if (asked === address) return true;
  const [network, one] = [parseNetwork(asked), parseNetwork(address)];
  return network !== null && one !== null && one.prefix >= network.prefix && overlaps(one, network);
}

/** The pages that are written from now on hold nothing of what was deleted. */
export function deleteForGood(db: Database): void {
  db.pragma('secure_delete = ON');
}

/** What the journal holds of it too. Another reader may keep it from being emptied; it then goes with the next one. */
export function emptyJournal(db: Database): void {
  db.pragma('wal_checkpoint(TRUNCATE)');
}

/** In one transaction of state.db: events that the person made, or that name the person as what was asked for. */
export function forgetEvents(db: Database, person: Person, beforeMs: number): number {
  const isPerson = (actor: unknown, address: unknown, reason: unknown): number => {
    const { kind, text } = person;
    const made =
      kind === 'actor' ? actor === text : typeof address === 'string' && isAddressOf(text, address);
    return made || namesIn(reason, person) ? 1 : 0;
  };
  db.function('is_forgotten_person', isPerson);
  const { changes } = db
    .prepare(`
      UPDATE audit_event
      SET private = NULL, salt = NULL
      WHERE private IS NOT NULL AND at_ms < ?
        AND is_forgotten_person(private ->> '$.actor', private ->> '$.address', private ->> '$.reason')`)
    .run(beforeMs);
  if (person.kind === 'actor') {
    db.prepare(`
      UPDATE upload
      SET uploader = 'forgotten'
      WHERE uploader = ? AND stored_at_ms < ?`).run(person.text, beforeMs);
  }
  return changes;
}

/** Words of a question: `who 192.0.2.7`, `access address=192.0.2.7`; of a token: `ci (uploader)`. */
function namesIn(reason: unknown, { kind, text }: Person): boolean {
  if (typeof reason !== 'string') return false;
  return reason.split(/[\s=]/).some((word) => (kind === 'actor' ? word === text : isAddressOf(text, word)));
}
