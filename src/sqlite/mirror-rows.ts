// Tables mirror and mirror_set, changed by the writer thread; a change of settings comes with its audit event.
import type { Database, Statement } from 'better-sqlite3';
import type { NewAuditEvent } from '../domain/audit.ts';
import { LookasideError, systemCode } from '../domain/errors.ts';
import { type ImageId, imageFolder } from '../domain/image.ts';
import type { StoredMirror, SyncReport } from '../domain/mirror.ts';
import type { AskedSet, CheckedSet, FailedWalk, SetPlace, SetRange } from '../domain/ports.ts';
import type { GraphsTold } from '../domain/release-graph.ts';
import type { AuditRows } from './audit-rows.ts';
import { inTransaction } from './open.ts';

export type MirrorChange =
  | { readonly kind: 'add' | 'edit'; readonly mirror: StoredMirror; readonly event: NewAuditEvent }
  | { readonly kind: 'remove'; readonly name: string; readonly event: NewAuditEvent };

export interface FailedSets {
  readonly walks: readonly FailedWalk[];
  readonly at: Date;
}

interface PlaceRow {
  readonly asked_at_ms: number;
  readonly image: string;
}

/** The condition of mirror_set_on_demand, word for word. */
const IS_ON_DEMAND = "synced_at_ms IS NULL AND size_bytes IS NOT NULL AND gone = '[]'";

/** The parameters are a site and a size. */
export const BEYOND = `
  SELECT asked_at_ms, image
  FROM (
    SELECT image, asked_at_ms, sum(size_bytes) OVER (ORDER BY asked_at_ms DESC, image DESC) AS with_younger
    FROM mirror_set
    WHERE site = ? AND ${IS_ON_DEMAND}
  )
  WHERE with_younger > ?
  ORDER BY asked_at_ms DESC, image DESC
  LIMIT 1`;

/** The parameters are a site, the place behind which it begins, the last place, and how many. */
export const ON_DEMAND_RANGE = `
  SELECT asked_at_ms, image
  FROM mirror_set
  WHERE site = ? AND ${IS_ON_DEMAND} AND (asked_at_ms, image) > (?, ?) AND (asked_at_ms, image) <= (?, ?)
  ORDER BY asked_at_ms, image
  LIMIT ?`;

/** The parameters are a channel, a site and an architecture. */
const LEAVING = `
  DELETE FROM mirror_release_channel
  WHERE channel = ? AND site = ? AND EXISTS (
    SELECT 1
    FROM mirror_release AS named
    WHERE named.site = mirror_release_channel.site AND named.hex = mirror_release_channel.hex AND arch = ?
  )`;

export class MirrorRows {
  readonly #db: Database;
  readonly #audit: AuditRows;
  readonly #insert: Statement<[string, string, number]>;
  readonly #update: Statement<[string, string]>;
  readonly #remove: Statement<[string]>;
  readonly #forgetRun: Statement<[string]>;
  readonly #forgetReleases: Statement<[string]>;
  readonly #ran: Statement<[string, number, number, string, number | null]>;
  readonly #checked: Statement<
    [string, string, number, string | null, string, string, number | null, number | null, number]
  >;
  readonly #asked: Statement<[number, string, string, number]>;
  readonly #failed: Statement<[number, string, string, number, number]>;
  readonly #beyond: Statement<[string, number], PlaceRow>;
  readonly #onDemand: Statement<[string, number, string, number, string, number], PlaceRow>;
  readonly #forget: Statement<[string, string]>;
  readonly #putRelease: Statement<[string, string, string, string]>;
  readonly #putChannel: Statement<[string, string, string]>;
  readonly #forgetChannels: Statement<[string]>;
  readonly #leaveChannels: Statement<[string, string]>;
  readonly #emptyChannel: Statement<[string, string, string]>;

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
    this.#forgetRun = db.prepare(`
      DELETE FROM mirror_run
      WHERE site = ?`);
    this.#forgetReleases = db.prepare(`
      DELETE FROM mirror_release
      WHERE site = ?`);
    this.#ran = db.prepare(`
      INSERT INTO mirror_run (site, started_at_ms, finished_at_ms, counts, complete_at_ms)
      VALUES (?, ?, ?, ?, ?)
      ON CONFLICT (site) DO UPDATE SET
        started_at_ms = excluded.started_at_ms,
        finished_at_ms = excluded.finished_at_ms,
        counts = excluded.counts,
        complete_at_ms = coalesce(excluded.complete_at_ms, complete_at_ms)`);
    this.#checked = db.prepare(`
      INSERT INTO mirror_set (site, image, checked_at_ms, upstream, gone, left_out, synced_at_ms, size_bytes, asked_at_ms)
      VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
      ON CONFLICT (site, image) DO UPDATE SET
        checked_at_ms = excluded.checked_at_ms,
        upstream = excluded.upstream,
        gone = excluded.gone,
        left_out = excluded.left_out,
        synced_at_ms = coalesce(excluded.synced_at_ms, synced_at_ms),
        size_bytes = excluded.size_bytes,
        asked_at_ms = excluded.asked_at_ms,
        failing_since_ms = NULL`);
    this.#asked = db.prepare(`
      UPDATE mirror_set
      SET asked_at_ms = ?
      WHERE site = ? AND image = ? AND asked_at_ms < ?`);
    this.#failed = db.prepare(`
      UPDATE mirror_set
      SET failing_since_ms = ?
      WHERE site = ? AND image = ? AND failing_since_ms IS NULL AND checked_at_ms NOT BETWEEN ? AND ?`);
    this.#beyond = db.prepare(BEYOND);
    this.#onDemand = db.prepare(ON_DEMAND_RANGE);
    this.#putRelease = db.prepare(`
      INSERT INTO mirror_release (site, hex, version, arch)
      VALUES (?, ?, ?, ?)
      ON CONFLICT (site, hex) DO UPDATE SET
        version = excluded.version,
        arch = CASE excluded.arch WHEN '' THEN arch ELSE excluded.arch END`);
    this.#putChannel = db.prepare(`
      INSERT INTO mirror_release_channel (site, channel, hex)
      VALUES (?, ?, ?)
      ON CONFLICT DO NOTHING`);
    this.#forgetChannels = db.prepare(`
      DELETE FROM mirror_release_channel
      WHERE site = ?`);
    this.#leaveChannels = db.prepare(`
      DELETE FROM mirror_release_channel
      WHERE site = ? AND hex = ?`);
    this.#emptyChannel = db.prepare(LEAVING);
    this.#forget = db.prepare(`
      DELETE FROM mirror_set
      WHERE site = ? AND image = ?`);
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
      this.#forgetRun.run(change.name);
      this.#forgetReleases.run(change.name);
      this.#forgetChannels.run(change.name);
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

  ran(site: string, { startedAt, finishedAt, counts }: SyncReport): void {
    const completeMs = counts.failed === 0 ? finishedAt.getTime() : null;
    this.#ran.run(site, startedAt.getTime(), finishedAt.getTime(), JSON.stringify(counts), completeMs);
  }

  /** All in one transaction. */
  checked(rows: readonly CheckedSet[]): void {
    inTransaction(this.#db, () => {
      for (const row of rows) this.#check(row);
    });
  }

  asked(sets: readonly AskedSet[]): void {
    inTransaction(this.#db, () => {
      for (const { image, askedAt } of sets)
        this.#asked.run(askedAt.getTime(), image.site, imageFolder(image), askedAt.getTime());
    });
  }

  failed({ walks, at }: FailedSets): void {
    const atMs = at.getTime();
    inTransaction(this.#db, () => {
      for (const { image, begunAt } of walks)
        this.#failed.run(atMs, image.site, imageFolder(image), begunAt.getTime(), atMs);
    });
  }

  beyond(site: string, maxBytes: number): SetPlace | null {
    const row = this.#beyond.get(site, maxBytes);
    return row === undefined ? null : toPlace(row);
  }

  onDemand(site: string, { after, last }: SetRange, limit: number): readonly SetPlace[] {
    const from = [after?.askedAt.getTime() ?? 0, after?.image ?? ''] as const;
    return this.#onDemand.all(site, ...from, last.askedAt.getTime(), last.image, limit).map(toPlace);
  }

  putReleases(site: string, { releases, wholeChannels }: GraphsTold): void {
    inTransaction(this.#db, () => {
      // what is still true comes again below
      for (const { channel, arch } of wholeChannels) this.#emptyChannel.run(channel, site, arch);
      for (const { digest, hasAllChannels } of releases)
        if (hasAllChannels === true) this.#leaveChannels.run(site, hexOf(digest));
      for (const { digest, version, arch, channels } of releases) {
        this.#putRelease.run(site, hexOf(digest), version, arch ?? '');
        for (const channel of channels) this.#putChannel.run(site, channel, hexOf(digest));
      }
    });
  }

  forget(images: readonly ImageId[]): void {
    inTransaction(this.#db, () => {
      for (const image of images) this.#forget.run(image.site, imageFolder(image));
    });
  }

  #check({ site, image, checkedAt, upstream, gone, leftOut, syncedAt, sizeBytes }: CheckedSet): void {
    this.#checked.run(
      site,
      image,
      checkedAt.getTime(),
      upstream,
      JSON.stringify(gone),
      JSON.stringify(leftOut),
      syncedAt?.getTime() ?? null,
      sizeBytes,
      checkedAt.getTime(),
    );
  }
}

function toPlace({ asked_at_ms, image }: PlaceRow): SetPlace {
  return { askedAt: new Date(asked_at_ms), image };
}

function hexOf(digest: string): string {
  return digest.slice(digest.indexOf(':') + 1);
}
