// Tables mirror, mirror_set, mirror_run and mirror_release…: what all nodes know of mirrors and of what walks have found.
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
import { raise } from './changes.ts';
import { type Connections, isDuplicate, type Query } from './connect.ts';
import { dateOf } from './indexed.ts';
import type { Change, PostgresWriter } from './writer.ts';

const SETTINGS_BYTES = 64 * 1024;
const SET_BYTES = 1000;
/** More than anybody has; it bounds the list. */
const MAX_MIRRORS = 1000;

interface SetRow {
  readonly image: string;
  readonly checked_at_ms: number;
  readonly upstream: string | null;
  readonly gone: string;
  readonly left_out: string;
  readonly synced_at_ms: number | null;
  readonly size_bytes: number | null;
  readonly failing_since_ms: number | null;
}

const SETS = `
  SELECT image, checked_at_ms, upstream, gone, left_out, synced_at_ms, size_bytes, failing_since_ms
  FROM mirror_set`;
/** The condition of mirror_set_noted. */
const IS_NOTED = "(gone <> '[]' OR left_out <> '[]')";
/** The condition of mirror_set_on_demand. */
const IS_ON_DEMAND = "synced_at_ms IS NULL AND size_bytes IS NOT NULL AND gone = '[]'";

export class PostgresMirrors implements MirrorStore {
  readonly #query: Query;
  readonly #writer: PostgresWriter;

  constructor({ query }: Pick<Connections, 'query'>, writer: PostgresWriter) {
    this.#query = query;
    this.#writer = writer;
  }

  list(): Promise<readonly StoredMirror[]> {
    return listIn(this.#query);
  }

  /** @throws REQUEST_INVALID when another node has just given a prefix of it to another mirror; NAME_TAKEN */
  async add(mirror: StoredMirror, event: NewAuditEvent): Promise<void> {
    const { name, settings, addedAt } = mirror;
    await this.#writer.run(async (change) => {
      await refusePrefixes(change.query, mirror);
      try {
        await change.query('INSERT INTO mirror (name, settings, added_at_ms) VALUES ($1, $2, $3)', [
          name,
          JSON.stringify(settings),
          addedAt.getTime(),
        ]);
      } catch (error) {
        if (!isDuplicate(error)) throw error;
        throw new LookasideError(
          'NAME_TAKEN',
          `a mirror named ${name} exists already; see: lookaside mirror edit`,
        );
      }
      await announce(change, event);
    }, SETTINGS_BYTES);
  }

  /** @throws REQUEST_INVALID as add() */
  async edit(mirror: StoredMirror, event: NewAuditEvent): Promise<void> {
    await this.#writer.run(async (change) => {
      await refusePrefixes(change.query, mirror);
      await change.query('UPDATE mirror SET settings = $2 WHERE name = $1', [
        mirror.name,
        JSON.stringify(mirror.settings),
      ]);
      await announce(change, event);
    }, SETTINGS_BYTES);
  }

  async remove(name: string, event: NewAuditEvent): Promise<void> {
    await this.#writer.run(async (change) => {
      await change.query('DELETE FROM mirror WHERE name = $1', [name]);
      for (const table of ['mirror_run', 'mirror_release', 'mirror_release_channel'])
        await change.query(`DELETE FROM ${table} WHERE site = $1`, [name]);
      await announce(change, event);
    });
  }

  async setOf(image: ImageId): Promise<MirrorSetRow | null> {
    const [row] = await this.#query<SetRow>(`${SETS} WHERE site = $1 AND image = $2`, [
      image.site,
      imageFolder(image),
    ]);
    return row === undefined ? null : toSet(image.site, row);
  }

  async setsOf(images: readonly ImageId[]): Promise<readonly (MirrorSetRow | null)[]> {
    const site = images[0]?.site ?? '';
    const folders = images.map(imageFolder);
    const rows = await this.#query<SetRow>(`${SETS} WHERE site = $1 AND image = ANY($2)`, [site, folders]);
    const sets = new Map(rows.map((row) => [row.image, toSet(site, row)]));
    return folders.map((folder) => sets.get(folder) ?? null);
  }

  async checked(rows: readonly CheckedSet[]): Promise<void> {
    await this.#writer.run(({ query }) => putChecked(query, rows), rows.length * SET_BYTES);
  }

  async failed(walks: readonly FailedWalk[], at: Date): Promise<void> {
    await this.#writer.run(
      ({ query }) =>
        query(
          `
          UPDATE mirror_set
          SET failing_since_ms = $4
          FROM unnest($1::text[], $2::text[], $3::bigint[]) AS walk (site, image, begun_at_ms)
          WHERE mirror_set.site = walk.site AND mirror_set.image = walk.image AND failing_since_ms IS NULL
            AND checked_at_ms NOT BETWEEN walk.begun_at_ms AND $4`,
          [...keysOf(walks), walks.map(({ begunAt }) => begunAt.getTime()), at.getTime()],
        ),
      walks.length * SET_BYTES,
    );
  }

  async asked(sets: readonly AskedSet[]): Promise<void> {
    if (sets.length === 0) return;
    await this.#writer.run(
      ({ query }) =>
        query(
          `
          UPDATE mirror_set
          SET asked_at_ms = newest.at_ms
          FROM (
            SELECT site, image, max(at_ms) AS at_ms
            FROM unnest($1::text[], $2::text[], $3::bigint[]) AS asked (site, image, at_ms)
            GROUP BY site, image
          ) AS newest
          WHERE mirror_set.site = newest.site AND mirror_set.image = newest.image AND asked_at_ms < newest.at_ms`,
          [...keysOf(sets), sets.map(({ askedAt }) => askedAt.getTime())],
        ),
      sets.length * SET_BYTES,
    );
  }

  async beyond(site: string, maxBytes: number): Promise<SetPlace | null> {
    const [row] = await this.#query<PlaceRow>(
      `
      SELECT asked_at_ms, image
      FROM (
        SELECT image, asked_at_ms, sum(size_bytes) OVER (ORDER BY asked_at_ms DESC, image DESC) AS with_younger
        FROM mirror_set
        WHERE site = $1 AND ${IS_ON_DEMAND}
      ) AS summed
      WHERE with_younger > $2
      ORDER BY asked_at_ms DESC, image DESC
      LIMIT 1`,
      [site, maxBytes],
    );
    return row === undefined ? null : toPlace(row);
  }

  async onDemand(site: string, { after, last }: SetRange, limit: number): Promise<readonly SetPlace[]> {
    const rows = await this.#query<PlaceRow>(
      `
      SELECT asked_at_ms, image
      FROM mirror_set
      WHERE site = $1 AND ${IS_ON_DEMAND} AND (asked_at_ms, image) > ($2, $3) AND (asked_at_ms, image) <= ($4, $5)
      ORDER BY asked_at_ms, image
      LIMIT $6`,
      [
        ...[site, after?.askedAt.getTime() ?? 0, after?.image ?? ''],
        ...[last.askedAt.getTime(), last.image, limit],
      ],
    );
    return rows.map(toPlace);
  }

  async putReleases(site: string, graphs: GraphsTold): Promise<void> {
    await this.#writer.run(({ query }) => putReleasesIn(query, site, graphs), graphsBytes(graphs));
  }

  async releases(name: string, limit: number): Promise<readonly KnownRelease[]> {
    // no name is both
    const sql = RELEASE_VERSION.test(name)
      ? 'SELECT hex, version, arch FROM mirror_release WHERE version = $1 ORDER BY hex, site LIMIT $2'
      : `
        SELECT hex, version, arch
        FROM mirror_release_channel
        JOIN mirror_release USING (site, hex)
        WHERE channel = $1
        ORDER BY hex, site
        LIMIT $2`;
    const rows = await this.#query<ReleaseRow>(sql, [name, limit]);
    return rows.map(({ hex, version, arch }) => ({
      digest: `sha256:${hex}`,
      version,
      arch: arch === '' ? null : arch,
    }));
  }

  async forget(images: readonly ImageId[]): Promise<void> {
    await this.#writer.run(
      ({ query }) =>
        query(
          `
          DELETE FROM mirror_set
          USING unnest($1::text[], $2::text[]) AS forgotten (site, image)
          WHERE mirror_set.site = forgotten.site AND mirror_set.image = forgotten.image`,
          keysOf(images.map((image) => ({ image }))),
        ),
      images.length * SET_BYTES,
    );
  }

  async notedCounts(site: string): Promise<{ readonly gone: number; readonly leftOut: number }> {
    const [row] = await this.#query<{ gone: number; leftOut: number }>(
      `
      SELECT coalesce(sum(json_array_length(gone::json)), 0)::bigint AS gone,
        coalesce(sum(json_array_length(left_out::json)), 0)::bigint AS "leftOut"
      FROM mirror_set
      WHERE site = $1 AND ${IS_NOTED}`,
      [site],
    );
    return row ?? { gone: 0, leftOut: 0 };
  }

  async noted(site: string, limit: number): Promise<readonly MirrorSetRow[]> {
    const rows = await this.#query<SetRow>(
      `${SETS} WHERE site = $1 AND ${IS_NOTED} ORDER BY image LIMIT $2`,
      [site, limit],
    );
    return rows.map((row) => toSet(site, row));
  }

  async lastRun(site: string): Promise<SyncRun | null> {
    const [row] = await this.#query<RunRow>(
      'SELECT started_at_ms, finished_at_ms, counts, complete_at_ms FROM mirror_run WHERE site = $1',
      [site],
    );
    if (row === undefined) return null;
    return {
      startedAt: new Date(row.started_at_ms),
      finishedAt: new Date(row.finished_at_ms),
      counts: JSON.parse(row.counts) as SyncRun['counts'], // only ran() writes them
      completeAt: dateOf(row.complete_at_ms),
    };
  }

  async ran(site: string, { startedAt, finishedAt, counts }: SyncReport): Promise<void> {
    const completeMs = counts.failed === 0 ? finishedAt.getTime() : null;
    await this.#writer.run(({ query }) =>
      query(
        `
        INSERT INTO mirror_run (site, started_at_ms, finished_at_ms, counts, complete_at_ms)
        VALUES ($1, $2, $3, $4, $5)
        ON CONFLICT (site) DO UPDATE SET
          started_at_ms = excluded.started_at_ms,
          finished_at_ms = excluded.finished_at_ms,
          counts = excluded.counts,
          complete_at_ms = coalesce(excluded.complete_at_ms, mirror_run.complete_at_ms)`,
        [site, startedAt.getTime(), finishedAt.getTime(), JSON.stringify(counts), completeMs],
      ),
    );
  }
}

interface PlaceRow {
  readonly asked_at_ms: number;
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

async function listIn(query: Query): Promise<readonly StoredMirror[]> {
  const rows = await query<{ name: string; settings: string; added_at_ms: number }>(
    'SELECT name, settings, added_at_ms FROM mirror ORDER BY name LIMIT $1',
    [MAX_MIRRORS],
  );
  return rows.map(({ name, settings, added_at_ms }) => ({
    name,
    settings: parseMirrorSettings(JSON.parse(settings)),
    addedAt: new Date(added_at_ms),
  }));
}

/** With its event; the other nodes read the list again. */
async function announce(change: Change, event: NewAuditEvent): Promise<void> {
  await change.addEvent(event);
  await raise(change, 'mirrors');
}

/** Each node has looked before, and another one may have been faster. */
async function refusePrefixes(query: Query, { name, settings }: StoredMirror): Promise<void> {
  const wanted = new Set(settings.views.map(({ prefix }) => prefix));
  for (const other of await listIn(query)) {
    if (other.name === name) continue;
    const taken = other.settings.views.find(({ prefix }) => wanted.has(prefix));
    if (taken === undefined) continue;
    const message = `the prefix ${taken.prefix} is that of the mirror ${other.name}; choose another`;
    throw new LookasideError('REQUEST_INVALID', message);
  }
}

async function putChecked(query: Query, rows: readonly CheckedSet[]): Promise<void> {
  // a statement changes a row once: of two about one image the later counts
  const last = new Map<string, CheckedSet>();
  for (const row of rows) {
    const key = `${row.site}/${row.image}`;
    last.set(key, { ...row, syncedAt: row.syncedAt ?? last.get(key)?.syncedAt ?? null });
  }
  const sets = [...last.values()];
  await query(
    `
    INSERT INTO mirror_set (site, image, checked_at_ms, upstream, gone, left_out, synced_at_ms, size_bytes, asked_at_ms)
    SELECT site, image, checked_at_ms, upstream, gone, left_out, synced_at_ms, size_bytes, checked_at_ms
    FROM unnest($1::text[], $2::text[], $3::bigint[], $4::text[], $5::text[], $6::text[], $7::bigint[], $8::bigint[])
      AS found (site, image, checked_at_ms, upstream, gone, left_out, synced_at_ms, size_bytes)
    ON CONFLICT (site, image) DO UPDATE SET
      checked_at_ms = excluded.checked_at_ms,
      upstream = excluded.upstream,
      gone = excluded.gone,
      left_out = excluded.left_out,
      synced_at_ms = coalesce(excluded.synced_at_ms, mirror_set.synced_at_ms),
      size_bytes = excluded.size_bytes,
      asked_at_ms = excluded.asked_at_ms,
      failing_since_ms = NULL`,
    [
      sets.map(({ site }) => site),
      sets.map(({ image }) => image),
      sets.map(({ checkedAt }) => checkedAt.getTime()),
      sets.map(({ upstream }) => upstream),
      sets.map(({ gone }) => JSON.stringify(gone)),
      sets.map(({ leftOut }) => JSON.stringify(leftOut)),
      sets.map(({ syncedAt }) => syncedAt?.getTime() ?? null),
      sets.map(({ sizeBytes }) => sizeBytes),
    ],
  );
}

async function putReleasesIn(
  query: Query,
  site: string,
  { releases, wholeChannels }: GraphsTold,
): Promise<void> {
  // what is still true comes again below
  for (const { channel, arch } of wholeChannels)
    await query(
      `
      DELETE FROM mirror_release_channel AS leaving
      WHERE channel = $1 AND site = $2 AND EXISTS (
        SELECT 1
        FROM mirror_release AS named
        WHERE named.site = leaving.site AND named.hex = leaving.hex AND arch = $3
      )`,
      [channel, site, arch],
    );
  const whole = releases.filter(({ hasAllChannels }) => hasAllChannels === true);
  await query('DELETE FROM mirror_release_channel WHERE site = $1 AND hex = ANY ($2::text[])', [
    site,
    whole.map(({ digest }) => hexOf(digest)),
  ]);
  const known = new Map<string, { readonly version: string; readonly arch: string }>();
  for (const { digest, version, arch } of releases) {
    const hex = hexOf(digest);
    known.set(hex, { version, arch: arch ?? known.get(hex)?.arch ?? '' });
  }
  const named = [...known.values()];
  await query(
    `
    INSERT INTO mirror_release (site, hex, version, arch)
    SELECT $1, hex, version, arch
    FROM unnest($2::text[], $3::text[], $4::text[]) AS named (hex, version, arch)
    ON CONFLICT (site, hex) DO UPDATE SET
      version = excluded.version,
      arch = CASE excluded.arch WHEN '' THEN mirror_release.arch ELSE excluded.arch END`,
    [site, [...known.keys()], named.map(({ version }) => version), named.map(({ arch }) => arch)],
  );
  const inChannels = releases.flatMap(({ digest, channels }) =>
    channels.map((channel) => [channel, hexOf(digest)] as const),
  );
  await query(
    `
    INSERT INTO mirror_release_channel (site, channel, hex)
    SELECT $1, channel, hex
    FROM unnest($2::text[], $3::text[]) AS named (channel, hex)
    ON CONFLICT DO NOTHING`,
    [site, inChannels.map(([channel]) => channel), inChannels.map(([, hex]) => hex)],
  );
}

function keysOf(entries: readonly { readonly image: ImageId }[]): readonly (readonly string[])[] {
  return [entries.map(({ image }) => image.site), entries.map(({ image }) => imageFolder(image))];
}

function toSet(site: string, row: SetRow): MirrorSetRow {
  return {
    site,
    image: row.image,
    checkedAt: new Date(row.checked_at_ms),
    upstream: row.upstream,
    // only putChecked() writes them
    gone: JSON.parse(row.gone) as MirrorSetRow['gone'],
    leftOut: JSON.parse(row.left_out) as MirrorSetRow['leftOut'],
    syncedAt: dateOf(row.synced_at_ms),
    sizeBytes: row.size_bytes,
    failingSince: dateOf(row.failing_since_ms),
  };
}

function toPlace({ asked_at_ms, image }: PlaceRow): SetPlace {
  return { askedAt: new Date(asked_at_ms), image };
}

function hexOf(digest: string): string {
  return digest.slice(digest.indexOf(':') + 1);
}
