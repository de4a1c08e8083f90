// Table tombstone, changed by the writer thread; each withdrawal and its end come with their audit events.
import type { Database, Statement } from 'better-sqlite3';
import type { NewAuditEvent } from '../domain/audit.ts';
import { type ImageId, imageFolder } from '../domain/image.ts';
import type { NewTombstone } from '../domain/ports.ts';
import type { AuditRows } from './audit-rows.ts';
import { inTransaction } from './open.ts';

type Key = [site: string, image: string, sha256: Uint8Array];

export class TombstoneRows {
  readonly #db: Database;
  readonly #audit: AuditRows;
  readonly #put: Statement<
    [...Key, number, string, number, number, string, string, number | null, Uint8Array | null]
  >;
  readonly #fillers: Statement<Key, string>;
  readonly #settle: Statement<Key>;
  readonly #clear: Statement<[string, string]>;
  readonly #lift: Statement<[number, ...Key, number]>;

  constructor(db: Database, audit: AuditRows) {
    this.#db = db;
    this.#audit = audit;
    this.#put = db.prepare(`
      INSERT INTO tombstone (
        site, image, sha256, number, fillers, audit_seq, withdrawn_at_ms, withdrawn_by, reason, until_ms, bytes, settled
      )
      VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0)
      ON CONFLICT (site, image, sha256) DO UPDATE SET
        number = excluded.number,
        fillers = excluded.fillers,
        audit_seq = excluded.audit_seq,
        withdrawn_at_ms = excluded.withdrawn_at_ms,
        withdrawn_by = excluded.withdrawn_by,
        reason = excluded.reason,
        until_ms = excluded.until_ms,
        bytes = excluded.bytes,
        settled = 0,
        lifted_at_ms = NULL`);
    this.#fillers = db
      .prepare<Key, string>('SELECT fillers FROM tombstone WHERE site = ? AND image = ? AND sha256 = ?')
      .pluck();
    this.#settle = db.prepare(`
      UPDATE tombstone
      SET settled = 1
      WHERE site = ? AND image = ? AND sha256 = ?`);
    this.#clear = db.prepare(`
      UPDATE tombstone
      SET fillers = '[]'
      WHERE site = ? AND image = ?`);
    this.#lift = db.prepare(`
      UPDATE tombstone
      SET lifted_at_ms = ?, bytes = NULL
      WHERE site = ? AND image = ? AND sha256 = ? AND lifted_at_ms IS NULL AND until_ms <= ?`);
  }

  /** The event's number. */
  put(tombstone: NewTombstone, event: NewAuditEvent): number {
    return inTransaction(this.#db, () => {
      const seq = this.#audit.add(event);
      this.#write(tombstone, seq);
      return seq;
    });
  }

  /** Under an event that is written already. */
  putAll(tombstones: readonly NewTombstone[], auditSeq: number): void {
    inTransaction(this.#db, () => {
      for (const tombstone of tombstones) this.#write(tombstone, auditSeq);
    });
  }

  #write(tombstone: NewTombstone, seq: number): void {
    const { image, sha256, number, fillers, withdrawnAt, withdrawnBy, reason, until, bytes } = tombstone;
    const key = keyOf(image, sha256);
    const before: readonly number[] = JSON.parse(this.#fillers.get(...key) ?? '[]'); // only this writes it
    const all = JSON.stringify([...new Set([...before, ...fillers])].sort((a, b) => a - b));
    const untilMs = until?.getTime() ?? null;
    this.#put.run(...key, number, all, seq, withdrawnAt.getTime(), withdrawnBy, reason, untilMs, bytes);
  }

  /** `isEmpty`: the image has no file any more, and so no filler. */
  settle(image: ImageId, sha256s: readonly string[], isEmpty: boolean): void {
    inTransaction(this.#db, () => {
      for (const sha256 of sha256s) this.#settle.run(...keyOf(image, sha256));
      if (isEmpty) this.#clear.run(image.site, imageFolder(image));
    });
  }

  /** False, without an event, when no withdrawal of it had ended by the event's time: a later one may have no end, or a later one. */
  lift(image: ImageId, sha256: string, event: NewAuditEvent): boolean {
    return inTransaction(this.#db, () => {
      const atMs = event.at.getTime();
      const { changes } = this.#lift.run(atMs, ...keyOf(image, sha256), atMs);
      if (changes > 0) this.#audit.add(event);
      return changes > 0;
    });
  }
}

function keyOf(image: ImageId, sha256: string): Key {
  return [image.site, imageFolder(image), Buffer.from(sha256, 'hex')];
}
