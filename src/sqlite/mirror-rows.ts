// Tables mirror and mirror_set, changed by the writer thread; a change of settings comes with its audit event.
import type { Database, Statement } from 'better-sqlite3';
import type { NewAuditEvent } from '../domain/audit.ts';
import { LookasideError, systemCode } from '../domain/errors.ts';
import type { StoredMirror } from '../domain/mirror.ts';
import type { MirrorSetRow } from '../domain/ports.ts';
import type { AuditRows } from './audit-rows.ts';
import { inTransaction } from './open.ts';

export type MirrorChange =
  | { readonly kind: 'add' | 'edit'; readonly mirror: StoredMirror; readonly event: NewAuditEvent }
  | { readonly kind: 'remove'; readonly name: string; readonly event: NewAuditEvent };

export class MirrorRows {
  readonly #db: Database;
  readonly #audit: AuditRows;
  readonly #insert: Statement<[string, string, number]>;
  readonly #update: Statement<[string, string]>;
  readonly #remove: Statement<[string]>;
  readonly #checked: Statement<[string, string, number, string | null, string, string, number | null]>;

  constructor(db: Database, audit: AuditRows) {
    this.#db = db;
    this.#audit = audit;
    this.#insert = db.prepare(`
      INSERT INTO mirror (name, settings, added_at_ms)
      VALUES (?, ?, ?)`);
    this.#update = db.prepare(`
      UPDATE mirror
      SET settings = ?
      WHERE name = ?`);
    this.#remove = db.prepare(`
      DELETE FROM mirror
      WHERE name = ?`);
    this.#checked = db.prepare(`
      INSERT INTO mirror_set (site, image, checked_at_ms, upstream, gone, left_out, synced_at_ms)
      VALUES (?, ?, ?, ?, ?, ?, ?)
      ON CONFLICT (site, image) DO UPDATE SET
        checked_at_ms = excluded.checked_at_ms,
        upstream = excluded.upstream,
        gone = excluded.gone,
        left_out = excluded.left_out,
        synced_at_ms = coalesce(excluded.synced_at_ms, synced_at_ms)`);
  }

  /** @throws LookasideError NAME_TAKEN */
  change(change: MirrorChange): void {
    inTransaction(this.#db, () => {
      this.#carryOut(change);
      this.#audit.add(change.event);
    });
  }

  #carryOut(change: MirrorChange): void {
    if (change.kind === 'remove') {
      this.#remove.run(change.name);
      return;
    }
    const { name, settings, addedAt } = change.mirror;
    if (change.kind === 'edit') {
      this.#update.run(JSON.stringify(settings), name);
      return;
    }
    try {
      this.#insert.run(name, JSON.stringify(settings), addedAt.getTime());
    } catch (error) {
      if (systemCode(error) !== 'SQLITE_CONSTRAINT_PRIMARYKEY') throw error;
      throw new LookasideError(
        'NAME_TAKEN',
        `a mirror named ${name} exists already; see: lookaside mirror edit`,
      );
    }
  }

  checked({ site, image, checkedAt, upstream, gone, leftOut, syncedAt }: MirrorSetRow): void {
    this.#checked.run(
      site,
      image,
      checkedAt.getTime(),
      upstream,
      JSON.stringify(gone),
      JSON.stringify(leftOut),
      syncedAt?.getTime() ?? null,
    );
  }
}
