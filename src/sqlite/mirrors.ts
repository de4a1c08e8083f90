// Tables mirror and mirror_set of state.db as the main thread sees them: look-ups on a read-only connection, changes through the
// writer thread.
import type { Database, Statement } from 'better-sqlite3';
import type { NewAuditEvent } from '../domain/audit.ts';
import { LookasideError } from '../domain/errors.ts';
import { type ImageId, imageFolder } from '../domain/image.ts';
import { parseMirrorSettings, type StoredMirror } from '../domain/mirror.ts';
import type { MirrorSetRow, MirrorStore } from '../domain/ports.ts';
import { EVENT_BYTES } from './audit-log.ts';
import { messageOf } from './open.ts';
import type { Writer } from './writer.ts';

const SETTINGS_BYTES = 64 * 1024;
const SET_BYTES = 1000;
/** More than anybody has; it bounds the list. */
const MAX_MIRRORS = 1000;

interface MirrorRow {
  readonly name: string;
  readonly settings: string;
  readonly added_at_ms: number;
}

interface SetRow {
  readonly checked_at_ms: number;
  readonly upstream: string | null;
  readonly gone: string;
  readonly left_out: string;
  readonly synced_at_ms: number | null;
}

/** The look-ups on one connection. */
export class MirrorTable {
  readonly #all: Statement<[number], MirrorRow>;
  readonly #set: Statement<[string, string], SetRow>;

  constructor(db: Database) {
    this.#all = db.prepare(`
      SELECT name, settings, added_at_ms
      FROM mirror
      ORDER BY name
      LIMIT ?`);
    this.#set = db.prepare(`
      SELECT checked_at_ms, upstream, gone, left_out, synced_at_ms
      FROM mirror_set
      WHERE site = ? AND image = ?`);
  }

  list(): readonly StoredMirror[] {
    return asLookUp(() =>
      this.#all.all(MAX_MIRRORS).map(({ name, settings, added_at_ms }) => ({
        name,
        settings: parseMirrorSettings(JSON.parse(settings)),
        addedAt: new Date(added_at_ms),
      })),
    );
  }

  setOf(image: ImageId): MirrorSetRow | null {
    const [site, folder] = [image.site, imageFolder(image)];
    const row = asLookUp(() => this.#set.get(site, folder));
    if (row === undefined) return null;
    return {
      site,
      image: folder,
      checkedAt: new Date(row.checked_at_ms),
      upstream: row.upstream,
      // only mirror-rows.ts writes them
      gone: JSON.parse(row.gone) as MirrorSetRow['gone'],
      leftOut: JSON.parse(row.left_out) as MirrorSetRow['leftOut'],
      syncedAt: row.synced_at_ms === null ? null : new Date(row.synced_at_ms),
    };
  }
}

export class SqliteMirrorStore implements MirrorStore {
  readonly #writer: Writer;
  readonly #table: MirrorTable;

  /** `db`: a read-only connection to state.db. */
  constructor(db: Database, writer: Writer) {
    this.#writer = writer;
    this.#table = new MirrorTable(db);
  }

  async list(): Promise<readonly StoredMirror[]> {
    return this.#table.list();
  }

  async add(mirror: StoredMirror, event: NewAuditEvent): Promise<void> {
    await this.#writer.run('state.change-mirror', { kind: 'add', mirror, event }, SETTINGS_BYTES);
  }

  async edit(mirror: StoredMirror, event: NewAuditEvent): Promise<void> {
    await this.#writer.run('state.change-mirror', { kind: 'edit', mirror, event }, SETTINGS_BYTES);
  }

  async remove(name: string, event: NewAuditEvent): Promise<void> {
    await this.#writer.run('state.change-mirror', { kind: 'remove', name, event }, EVENT_BYTES);
  }

  async setOf(image: ImageId): Promise<MirrorSetRow | null> {
    return this.#table.setOf(image);
  }

  async checked(row: MirrorSetRow): Promise<void> {
    await this.#writer.run('state.mirror-checked', row, SET_BYTES);
  }
}

function asLookUp<T>(query: () => T): T {
  try {
    return query();
  } catch (error) {
    throw new LookasideError('STORE_UNAVAILABLE', `mirrors cannot be read: ${messageOf(error)}`, {
      cause: error,
    });
  }
}
