// Table tombstone of state.db as the main thread sees it: look-ups on a read-only connection, changes through the writer
// thread.
import type { Database, Statement } from 'better-sqlite3';
import type { NewAuditEvent } from '../domain/audit.ts';
import { LookasideError } from '../domain/errors.ts';
import { type ImageId, imageFolder, parseLongImageFolder } from '../domain/image.ts';
import type { NewTombstone, TombstoneStore } from '../domain/ports.ts';
import type { Tombstone, WithdrawnFilter, WithdrawnPlace } from '../domain/tombstone.ts';
import { EVENT_BYTES } from './audit-log.ts';
import { checkKept } from './kept-bytes.ts';
import { messageOf } from './open.ts';
import type { Writer } from './writer.ts';

const COMMAND_BYTES = EVENT_BYTES + 3000;
const PAGE_ROWS = 1000;
/** Behind every folder: paths are ASCII, and `~` is the last of its printable characters. */
const LAST = '\u{10ffff}';

interface TombstoneRow {
  readonly site: string;
  readonly image: string;
  readonly sha256: Buffer;
  readonly number: number;
  readonly fillers: string;
  readonly audit_seq: number;
  readonly withdrawn_at_ms: number;
  readonly withdrawn_by: string;
  readonly reason: string;
  readonly until_ms: number | null;
  readonly lifted_at_ms: number | null;
}

interface PageValues {
  readonly site: string;
  readonly image: string;
  readonly sha256: Uint8Array;
  /** The images of a path stand between these two, and some others. */
  readonly path: string | null;
  readonly from: string;
  readonly to: string;
  /** The end of the image's folder; empty: any. */
  readonly digest: string;
  readonly by: string | null;
  readonly since: number;
  readonly limit: number;
}

interface EndedValues {
  readonly now: number;
  readonly until: number;
  readonly site: string;
  readonly image: string;
  readonly sha256: Uint8Array;
  readonly limit: number;
}

/** The look-ups on one connection. */
export class TombstoneTable {
  readonly #ofImage: Statement<[string, string], TombstoneRow>;
  readonly #any: Statement<[string], number>;
  readonly #page: Statement<[PageValues], TombstoneRow>;
  readonly #unsettled: Statement<[string], TombstoneRow>;
  readonly #ended: Statement<[EndedValues], TombstoneRow>;
  readonly #bytes: Statement<[string, string, Uint8Array], Buffer | null>;

  constructor(db: Database) {
    const rows = `
      SELECT site, image, sha256, number, fillers, audit_seq, withdrawn_at_ms, withdrawn_by, reason, until_ms,
        lifted_at_ms
      FROM tombstone`;
    // an image has at most 127 signatures at one time, and withdrawals are made by hand
    this.#ofImage = db.prepare(`${rows}
      WHERE site = ? AND image = ?
      ORDER BY audit_seq, number`);
    this.#any = db
      .prepare<[string], number>(`
        SELECT 1
        FROM tombstone
        WHERE site = ?
        LIMIT 1`)
      .pluck();
    // Along the primary key. Behind a path comes @ and the digest, or in the release layout / and the digest; what else is in that
    // range are folders below the path.
    this.#page = db.prepare(`${rows}
      WHERE site = @site AND (image, sha256) > (@image, @sha256) AND image >= @from AND image < @to
        AND lifted_at_ms IS NULL AND withdrawn_at_ms >= @since
        AND (@path IS NULL
          OR (@path <> '' AND substr(image, length(@path) + 1, 1) = '@')
          OR (instr(substr(image, length(@path) + 1), '@') = 0 AND instr(substr(image, length(@path) + 2), '/') = 0))
        AND (@by IS NULL OR withdrawn_by = @by)
        AND (@digest = '' OR substr(image, -length(@digest)) = @digest)
      ORDER BY image, sha256
      LIMIT @limit`);
    this.#unsettled = db.prepare(`${rows}
      WHERE site = ? AND settled = 0
      ORDER BY audit_seq
      LIMIT ${PAGE_ROWS}`);
    this.#ended = db.prepare(`${rows}
      WHERE until_ms <= @now AND lifted_at_ms IS NULL
        AND (until_ms, site, image, sha256) > (@until, @site, @image, @sha256)
      ORDER BY until_ms, site, image, sha256
      LIMIT @limit`);
    this.#bytes = db
      .prepare<[string, string, Uint8Array], Buffer | null>(`
        SELECT bytes
        FROM tombstone
        WHERE site = ? AND image = ? AND sha256 = ?`)
      .pluck();
  }

  ofImage(image: ImageId): readonly Tombstone[] {
    return asLookUp(() => this.#ofImage.all(image.site, imageFolder(image)).flatMap(tombstoneOf));
  }

  hasAny(site: string): boolean {
    return asLookUp(() => this.#any.get(site) !== undefined);
  }

  page(
    site: string,
    { path, digest, by, since }: WithdrawnFilter,
    after: WithdrawnPlace | null,
    limit: number,
  ): readonly Tombstone[] {
    return asLookUp(() =>
      this.#page
        .all({
          site,
          image: after?.image ?? '',
          sha256: Buffer.from(after?.sha256 ?? '', 'hex'),
          path,
          from: path === null ? '' : path === '' ? 'sha' : `${path}/sha`,
          to: path === null ? LAST : path === '' ? 'sha~' : `${path}@~`,
          digest: digest === null ? '' : `${digest.algorithm}=${digest.hex}`,
          by,
          since: since?.getTime() ?? Number.MIN_SAFE_INTEGER,
          limit,
        })
        .flatMap(tombstoneOf),
    );
  }

  unsettled(site: string): readonly Tombstone[] {
    return asLookUp(() => this.#unsettled.all(site).flatMap(tombstoneOf));
  }

  ended(now: Date, limit: number, after?: Tombstone): readonly Tombstone[] {
    const values = {
      now: now.getTime(),
      until: after?.until?.getTime() ?? Number.MIN_SAFE_INTEGER,
      site: after?.image.site ?? '',
      image: after === undefined ? '' : imageFolder(after.image),
      sha256: Buffer.from(after?.sha256 ?? '', 'hex'),
      limit,
    };
    return asLookUp(() => this.#ended.all(values).flatMap(tombstoneOf));
  }

  bytesOf(image: ImageId, sha256: string): Uint8Array | null {
    return asLookUp(() => {
      const key = Buffer.from(sha256, 'hex');
      return checkKept(this.#bytes.get(image.site, imageFolder(image), key), sha256);
    });
  }
}

export class SqliteTombstoneStore implements TombstoneStore {
  readonly #writer: Writer;
  readonly #table: TombstoneTable;
  /**
   * Sites that were found without any. Each upload asks about its image twice, and each question meets a cache that the commit before
   * it has emptied. Nobody else writes, so what is not in `#some` has none.
   */
  readonly #none = new Set<string>();
  /** Sites that may have some. One stays here from the moment at which one was to be written, whatever became of it. */
  readonly #some = new Set<string>();

  /** `db`: a read-only connection to state.db. */
  constructor(db: Database, writer: Writer) {
    this.#writer = writer;
    this.#table = new TombstoneTable(db);
  }

  async ofImage(image: ImageId): Promise<readonly Tombstone[]> {
    return this.#hasNone(image.site) ? [] : this.#table.ofImage(image);
  }

  async hasAny(site: string): Promise<boolean> {
    return this.#table.hasAny(site);
  }

  #hasNone(site: string): boolean {
    if (this.#some.has(site)) return false;
    if (this.#none.has(site)) return true;
    (this.#table.hasAny(site) ? this.#some : this.#none).add(site);
    return this.#none.has(site);
  }

  async page(...page: Parameters<TombstoneStore['page']>): Promise<readonly Tombstone[]> {
    return this.#table.page(...page);
  }

  async unsettled(site: string): Promise<readonly Tombstone[]> {
    return this.#table.unsettled(site);
  }

  async ended(...page: Parameters<TombstoneStore['ended']>): Promise<readonly Tombstone[]> {
    return this.#table.ended(...page);
  }

  async bytesOf(image: ImageId, sha256: string): Promise<Uint8Array | null> {
    return this.#table.bytesOf(image, sha256);
  }

  async put(tombstone: NewTombstone, event: NewAuditEvent): Promise<{ readonly auditSeq: number }> {
    this.#some.add(tombstone.image.site);
    // cloning a view to the thread would copy the whole buffer beneath it
    const bytes = tombstone.bytes === null ? null : new Uint8Array(tombstone.bytes);
    const input = { tombstone: { ...tombstone, bytes }, event };
    const sizeBytes = COMMAND_BYTES + (bytes?.length ?? 0);
    return { auditSeq: await this.#writer.run('state.put-tombstone', input, sizeBytes) };
  }

  async putAll(tombstones: readonly NewTombstone[], auditSeq: number): Promise<void> {
    for (const { image } of tombstones) this.#some.add(image.site);
    const own = tombstones.map(({ bytes, ...tombstone }) => ({
      ...tombstone,
      bytes: bytes === null ? null : new Uint8Array(bytes),
    }));
    const sizeBytes = own.reduce((sum, { bytes }) => sum + COMMAND_BYTES + (bytes?.length ?? 0), 0);
    await this.#writer.run('state.put-ordered-tombstones', { tombstones: own, auditSeq }, sizeBytes);
  }

  async settle(image: ImageId, sha256s: readonly string[], isEmpty: boolean): Promise<void> {
    await this.#writer.run('state.settle-tombstones', { image, sha256s, isEmpty }, COMMAND_BYTES);
  }

  async lift(image: ImageId, sha256: string, event: NewAuditEvent): Promise<boolean> {
    return this.#writer.run('state.lift-tombstone', { image, sha256, event }, COMMAND_BYTES);
  }
}

function tombstoneOf(row: TombstoneRow): Tombstone[] {
  const image = parseLongImageFolder(row.site, row.image);
  if (image === null) return []; // no image has such a folder
  return [
    {
      image,
      sha256: row.sha256.toString('hex'),
      number: row.number,
      fillers: JSON.parse(row.fillers), // only TombstoneRows writes it
      auditSeq: row.audit_seq,
      withdrawnAt: new Date(row.withdrawn_at_ms),
      withdrawnBy: row.withdrawn_by,
      reason: row.reason,
      until: row.until_ms === null ? null : new Date(row.until_ms),
      isInForce: row.lifted_at_ms === null,
    },
  ];
}

function asLookUp<T>(query: () => T): T {
  try {
    return query();
  } catch (error) {
    throw new LookasideError('STORE_UNAVAILABLE', `withdrawals cannot be read: ${messageOf(error)}`, {
      cause: error,
    });
  }
}
