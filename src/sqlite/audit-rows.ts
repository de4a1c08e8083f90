// Table audit_event, as the writer thread adds to it. Nothing changes or deletes a row: the table's triggers refuse it.
import { createHash } from 'node:crypto';
import type { Database, Statement } from 'better-sqlite3';
import { leafText, type NewAuditEvent, privateText } from '../domain/audit.ts';
import type { LogIdentity } from '../domain/log.ts';
import { LogRows } from './log-rows.ts';
import { inTransaction } from './open.ts';

export class AuditRows {
  /** The tree over the leaves. */
  readonly log: LogRows;
  readonly #db: Database;
  readonly #lastSeq: Statement<[], number>;
  readonly #insert: Statement<[number, number, string, string, Uint8Array]>;

  constructor(db: Database) {
    this.#db = db;
    this.log = new LogRows(db);
    // AUTOINCREMENT's own record: no number is used again, even when somebody removed the last rows by force
    this.#lastSeq = db
      .prepare<[], number>(`
        SELECT seq
        FROM sqlite_sequence
        WHERE name = 'audit_event'`)
      .pluck();
    this.#insert = db.prepare(`
      INSERT INTO audit_event (seq, at_ms, leaf, private, salt)
      VALUES (?, ?, ?, ?, ?)`);
  }

  /** Returns the event's number: the next one. Call it inside the transaction of the change that the event records. */
  add(event: NewAuditEvent): number {
    const seq = (this.#lastSeq.get() ?? 0) + 1;
    const salt = Buffer.from(event.salt, 'hex');
    const text = privateText(event.private);
    const privateHash = createHash('sha256').update(salt).update(text).digest('hex');
    const leaf = leafText(seq, privateHash, event);
    this.#insert.run(seq, event.at.getTime(), leaf, text, salt);
    this.log.add(seq, leaf);
    return seq;
  }

  /** In a transaction of its own. */
  append(event: NewAuditEvent): number {
    return inTransaction(this.#db, () => this.add(event));
  }

  /** From now on the log signs as that. */
  beginLog(identity: LogIdentity, at: Date, event: NewAuditEvent | null): void {
    inTransaction(this.#db, () => {
      this.log.begin(identity, at);
      if (event !== null) this.add(event);
    });
  }

  /** The tree as it is now is the log from now on. */
  acceptRollback(goodSize: number, event: NewAuditEvent): void {
    inTransaction(this.#db, () => {
      this.log.rollBack(goodSize, event.at);
      this.add(event);
    });
  }
}
