// Tables mirror and mirror_set of state.db as the main thread sees them: look-ups on a read-only connection, changes through the
// writer thread.
import type { Database, Statement } from 'better-sqlite3';
import type { NewAuditEvent } from '../domain/audit.ts';
import { LookasideError } from '../domain/errors.ts';
import { type ImageId, imageFolder } from '../domain/image.ts';
import type { StoredMirror, SyncReport, SyncRun } from '../domain/mirror.ts';
import { parseMirrorSettings } from '../domain/mirror-settings.ts';
import type {
  AskedSet,
  CheckedSet,
  FailedWalk,
  MirrorSetRow,
  MirrorStore,
  SetPlace,
  SetRange,
} from '../domain/ports.ts';
import { type GraphsTold, graphsBytes, type KnownRelease, RELEASE_VERSION } from '../domain/release-graph.ts';
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
  readonly size_bytes: number | null;
  readonly failing_since_ms: number | null;
}

interface ImageRow extends SetRow {
  readonly image: string;
}

interface ReleaseRow {
  readonly hex: string;
  readonly version: string;
  readonly arch: string;
}

interface RunRow {
  readonly started_at_ms: number;
  readonly finished_at_ms: number;
  readonly counts: string;
  readonly complete_at_ms: number | null;
}

export const OF_VERSION = `
  SELECT hex, version, arch
  FROM mirror_release
  WHERE version = ?
  ORDER BY hex, site
  LIMIT ?`;

export const OF_CHANNEL = `
  SELECT mirror_release.hex, version, arch
  FROM mirror_release_channel CROSS JOIN mirror_release USING (site, hex)
  WHERE channel = ?
  ORDER BY mirror_release_channel.hex, mirror_release_channel.site
  LIMIT ?`;

/** The look-ups on one connection. */
export class MirrorTable {
  readonly #counts: Statement<[string], { readonly gone: number | null; readonly left_out: number | null }>;
  readonly #noted: Statement<[string, number], ImageRow>;
  readonly #run: Statement<[string], RunRow>;
  readonly #all: Statement<[number], MirrorRow>;
  readonly #set: Statement<[string, string], SetRow>;
  readonly #ofVersion: Statement<[string, number], ReleaseRow>;
  readonly #ofChannel: Statement<[string, number], ReleaseRow>;

  constructor(db: Database) {
    this.#all = db.prepare(`
      SELECT name, settings, added_at_ms
      FROM mirror
      ORDER BY name
      LIMIT ?`);
    this.#ofVersion = db.prepare(OF_VERSION);
    this.#ofChannel = db.prepare(OF_CHANNEL);
    this.#set = db.prepare(`
      SELECT checked_at_ms, upstream, gone, left_out, synced_at_ms, size_bytes, failing_since_ms
      FROM mirror_set
      WHERE site = ? AND image = ?`);
    // the condition of mirror_set_noted, word for word: else the whole table would be read
    this.#counts = db.prepare(`
      SELECT sum(json_array_length(gone)) AS gone, sum(json_array_length(left_out)) AS left_out
      FROM mirror_set
      WHERE site = ? AND (gone <> '[]' OR left_out <> '[]')`);
    this.#noted = db.prepare(`
      SELECT image, checked_at_ms, upstream, gone, left_out, synced_at_ms, size_bytes, failing_since_ms
      FROM mirror_set
      WHERE site = ? AND (gone <> '[]' OR left_out <> '[]')
      ORDER BY image
      LIMIT ?`);
    this.#run = db.prepare(`
      SELECT started_at_ms, finished_at_ms, counts, complete_at_ms
      FROM mirror_run
      WHERE site = ?`);
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
    return row === undefined ? null : toSet(site, { image: folder, ...row });
  }

  releases(name: string, limit: number): readonly KnownRelease[] {
    // no name is both
    const query = RELEASE_VERSION.test(name) ? this.#ofVersion : this.#ofChannel;
    return asLookUp(() => query.all(name, limit)).map(({ hex, version, arch }) => ({
      digest: `sha256:${hex}`,
      version,
      arch: arch === '' ? null : arch,
    }));
  }

  notedCounts(site: string): { readonly gone: number; readonly leftOut: number } {
    const row = asLookUp(() => this.#counts.get(site));
    return { gone: row?.gone ?? 0, leftOut: row?.left_out ?? 0 };
  }

  noted(site: string, limit: number): readonly MirrorSetRow[] {
    return asLookUp(() => this.#noted.all(site, limit)).map((row) => toSet(site, row));
  }

  lastRun(site: string): SyncRun | null {
    const row = asLookUp(() => this.#run.get(site));
    if (row === undefined) return null;
    return {
      startedAt: new Date(row.started_at_ms),
      finishedAt: new Date(row.finished_at_ms),
      counts: JSON.parse(row.counts) as SyncRun['counts'], // only mirror-rows.ts writes them
      completeAt: row.complete_at_ms === null ? null : new Date(row.complete_at_ms),
    };
  }
}

function toSet(site: string, row: ImageRow): MirrorSetRow {
  return {
    site,
    image: row.image,
    checkedAt: new Date(row.checked_at_ms),
    upstream: row.upstream,
    // only mirror-rows.ts writes them
    gone: JSON.parse(row.gone) as MirrorSetRow['gone'],
    leftOut: JSON.parse(row.left_out) as MirrorSetRow['leftOut'],
    syncedAt: row.synced_at_ms === null ? null : new Date(row.synced_at_ms),
    sizeBytes: row.size_bytes,
    failingSince: row.failing_since_ms === null ? null : new Date(row.failing_since_ms),
  };
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

  async setsOf(images: readonly ImageId[]): Promise<readonly (MirrorSetRow | null)[]> {
    return images.map((image) => this.#table.setOf(image));
  }

  async checked(rows: readonly CheckedSet[]): Promise<void> {
    await this.#writer.run('state.mirror-checked', rows, rows.length * SET_BYTES);
  }

  async asked(sets: readonly AskedSet[]): Promise<void> {
    await this.#writer.run('state.mirror-asked', sets, sets.length * SET_BYTES);
  }

  async failed(walks: readonly FailedWalk[], at: Date): Promise<void> {
    await this.#writer.run('state.mirror-failed', { walks, at }, walks.length * SET_BYTES);
  }

  // both in the writer thread: the one reads a whole index, and the other is asked for again and again
  async beyond(site: string, maxBytes: number): Promise<SetPlace | null> {
    return this.#writer.run('state.mirror-beyond', { site, maxBytes }, SET_BYTES);
  }

  async onDemand(site: string, range: SetRange, limit: number): Promise<readonly SetPlace[]> {
    return this.#writer.run('state.mirror-on-demand', { site, range, limit }, SET_BYTES);
  }

  async putReleases(site: string, graphs: GraphsTold): Promise<void> {
    await this.#writer.run('state.mirror-put-releases', { site, graphs }, graphsBytes(graphs));
  }

  async releases(name: string, limit: number): Promise<readonly KnownRelease[]> {
    return this.#table.releases(name, limit);
  }

  async forget(images: readonly ImageId[]): Promise<void> {
    await this.#writer.run('state.mirror-forget', images, images.length * SET_BYTES);
  }

  async notedCounts(site: string): Promise<{ readonly gone: number; readonly leftOut: number }> {
    return this.#table.notedCounts(site);
  }

  async noted(site: string, limit: number): Promise<readonly MirrorSetRow[]> {
    return this.#table.noted(site, limit);
  }

  async lastRun(site: string): Promise<SyncRun | null> {
    return this.#table.lastRun(site);
  }

  async ran(site: string, run: SyncReport): Promise<void> {
    await this.#writer.run('state.mirror-ran', { site, run }, SET_BYTES);
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
