// Look-ups over all databases of a data directory, for one asker after the other, in the thread that has them to itself.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { LookasideError } from '../domain/errors.ts';
import { type ImageId, imageKey, imageName } from '../domain/image.ts';
import { Sums } from '../domain/record-sums.ts';
import { exportEnd, exportHead, exportRow } from '../domain/record-text.ts';
import {
  ANY_RECORD,
  type ExportFormat,
  type Grouping,
  type Listed,
  type PageFound,
  type Position,
  type RecordFilter,
  type RecordQuestion,
  type RecordSums,
  type RepositoryTotal,
  type StaleImage,
  type UnsignedImages,
} from '../domain/records.ts';
import type { ImagePlace, UsableKeys } from '../domain/revocation.ts';
import type { RotationPlace } from '../domain/rotation.ts';
import { type AccessQuestions, OpenDays } from './access-questions.ts';
import { AuditQuestions } from './audit-questions.ts';
import {
  closedOnError,
  type HeldFile,
  hold,
  isCorruption,
  isReachable,
  messageOf,
  openForReading,
  restoreAdvice,
  stateFileOf,
} from './open.ts';
import { type Pause, Statements } from './question-parts.ts';
import { RevocationQuestions } from './revocation-questions.ts';
import { RotationQuestions } from './rotation-questions.ts';
import { UnsignedQuestions } from './unsigned-questions.ts';

const EXPORT_ROWS = 2000;
const STALE_ROWS_A_PAUSE = 10_000;
/** Images that memory holds while they are counted. */
const MAX_IMAGES = 1_000_000;

interface IndexImage {
  readonly site: string;
  readonly path: string;
  readonly layout: ImageId['layout'];
  readonly algorithm: ImageId['algorithm'];
  readonly digest: Uint8Array;
}

/** state.db, as long as it is in its place. */
interface HeldState {
  readonly held: HeldFile;
  readonly questions: AuditQuestions;
  readonly statements: Statements;
}

/** index.db, as long as it is in its place. */
interface HeldIndex {
  readonly held: HeldFile;
  readonly statements: Statements;
  rotation: RotationQuestions | null;
  revocation: RevocationQuestions | null;
}

export class QuestionSession {
  readonly #dataDir: string;
  readonly #pause: Pause;
  readonly #days: OpenDays;
  readonly #unsigned: UnsignedQuestions;
  readonly #keys = new Map<string, string | null>();
  #state: HeldState | null = null;
  #index: HeldIndex | null = null;

  constructor(dataDir: string, pause: Pause) {
    this.#dataDir = dataDir;
    this.#pause = pause;
    this.#unsigned = new UnsignedQuestions(dataDir, pause);
    this.#days = new OpenDays(dataDir, pause, {
      signaturesBy: (fingerprint) => this.#signaturesBy(fingerprint),
      keyOf: (image, sha256) => this.#keyOf(image, sha256),
    });
  }

  page({ record, filter }: RecordQuestion, after: Position | null, limit: number): PageFound {
    if (record === 'audit') {
      // one row more tells whether there is another page
      const rows = this.#auditQuestions()?.page(filter, after, limit + 1) ?? [];
      const page = rows.slice(0, limit);
      const last = page.at(-1);
      const next = rows.length > limit && last !== undefined ? [last.seq] : null;
      return { rows: page, next, dropped: 0, gaps: [] };
    }
    const access = this.#access();
    const { rows, end } = access.page(filter, after, limit);
    const isMore = end !== null && access.page(filter, end, 1).rows.length > 0;
    return { rows, next: isMore ? end : null, dropped: access.dropped(filter), gaps: access.gaps };
  }

  sums({ record, filter }: RecordQuestion, by: Grouping, limit: number): Omit<RecordSums, 'by' | 'record'> {
    const sums = new Sums();
    let [dropped, gaps]: [number, readonly string[]] = [0, []];
    if (record === 'audit') this.#auditQuestions()?.sums(filter, by, sums);
    else {
      const access = this.#access();
      access.sums(filter, by, sums);
      [dropped, gaps] = [access.dropped(filter), access.gaps];
    }
    const { left, found, total } = sums;
    const cut =
      left === 0 ? [] : [`there are more than ${found} groups: those beyond are in the total alone`];
    return { groups: sums.groups(by, limit), found, total, dropped, gaps: [...gaps, ...cut] };
  }

  *export({ record, filter }: RecordQuestion, format: ExportFormat): Generator<string> {
    yield exportHead(record, format);
    let rows = 0;
    let after: Position | null = null;
    const gaps = new Set<string>();
    const access = this.#access();
    do {
      // each piece is a look-up of its own: a client that reads slowly keeps no database from being tidied
      const page: PageFound =
        record === 'audit'
          ? this.page({ record, filter }, after, EXPORT_ROWS)
          : accessPiece(access, filter, after);
      rows += page.rows.length;
      for (const gap of page.gaps) gaps.add(gap);
      if (page.rows.length > 0) yield page.rows.map((row) => exportRow(record, format, row)).join('');
      after = page.next;
    } while (after !== null);
    const dropped = record === 'audit' ? 0 : access.dropped(filter);
    yield exportEnd(format, { rows, dropped, gaps: [...gaps] });
  }

  unsigned(filter: RecordFilter, limit: number): UnsignedImages {
    const access = this.#access();
    const sources = { state: this.#stateNow(), index: this.#indexNow() };
    const { left, ...answer } = this.#unsigned.ask(access, sources, filter, limit);
    const cut =
      left === 0 ? [] : [`${left} more images were asked for than can be counted at once: ask for less time`];
    return { ...answer, dropped: access.dropped(filter), gaps: [...access.gaps, ...cut] };
  }

  repositoryTotals(filter: RecordFilter, limit: number): Listed<RepositoryTotal> {
    const [first, last] = [hourOf(filter.since, 0), hourOf(filter.until, Number.MAX_SAFE_INTEGER)];
    const audit = this.#auditQuestions();
    const kept = audit?.hours(first, last) ?? { rows: [], days: new Set<string>(), dropped: 0 };
    const totals = new Map(kept.rows.map((row) => [row.repository, row]));
    const access = this.#access(kept.days);
    const live = new Sums();
    access.sums({ ...ANY_RECORD, since: filter.since, until: filter.until }, ['repository', 'status'], live);
    for (const { of, count, bytes } of live.groups(['repository', 'status'], MAX_IMAGES)) {
      const repository = of[0] ?? '';
      const isFetched = of[1] === '200' || of[1] === '304';
      const known = totals.get(repository) ?? { repository, fetched: 0, ended: 0, bytes: 0 };
      totals.set(repository, {
        repository,
        fetched: known.fetched + (isFetched ? count : 0),
        ended: known.ended + (isFetched ? 0 : count),
        bytes: known.bytes + bytes,
      });
    }
    const rows = [...totals.values()].sort((one, other) => other.fetched - one.fetched);
    const dropped = kept.dropped + access.dropped(filter);
    return { rows: rows.slice(0, limit), found: rows.length, dropped, gaps: access.gaps };
  }

  stale(since: Date, filter: RecordFilter, limit: number): Listed<StaleImage> {
    const access = this.#access();
    const fetched = new Set<string>();
    const time = { ...ANY_RECORD, since };
    access.fetched(time, (image) => fetched.add(imageKey(image)));
    const rows: StaleImage[] = [];
    let [seen, found] = [0, 0];
    for (const { image, signatures, storedAt } of this.#storedBefore(since, filter)) {
      seen += 1;
      if (seen % STALE_ROWS_A_PAUSE === 0) this.#pause();
      if (fetched.has(imageKey(image))) continue;
      found += 1;
      rows.push({ site: image.site, image: imageName(image), signatures, storedAt });
      if (rows.length > 2 * limit + 1000) keepOldest(rows, limit);
    }
    keepOldest(rows, limit);
    const { firstDay } = access;
    const isShort = firstDay === null || Date.parse(firstDay) > since.getTime();
    const short = isShort
      ? [
          `the access record begins ${firstDay === null ? 'with the next read' : `on ${firstDay}`}: what was fetched before is not known`,
        ]
      : [];
    return { rows, found, dropped: access.dropped(time), gaps: [...access.gaps, ...short] };
  }

  rotation(old: string, next: string, now: Date) {
    const nothing = { images: { old: 0, both: 0, new: 0 }, gaps: ['there is no index yet'] };
    return this.#rotationQuestions()?.counts(old, next, now.getTime()) ?? nothing;
  }

  rotationWork(old: string, next: string, after: RotationPlace, limit: number) {
    return this.#rotationQuestions()?.work(old, next, after, limit) ?? { work: [], next: null };
  }

  signaturesBy(key: string) {
    return this.#revocationQuestions()?.signaturesBy(key) ?? [];
  }

  revocation(key: string, issuers: readonly string[], others: UsableKeys, now: Date) {
    const nothing = { signatures: 0, images: 0, broken: 0, refused: 0, gaps: ['there is no index yet'] };
    return this.#revocationQuestions()?.counts(key, issuers, others, now.getTime()) ?? nothing;
  }

  revocationBroken(key: string, others: UsableKeys, now: Date, after: ImagePlace, limit: number) {
    const none = { images: [], next: null };
    return this.#revocationQuestions()?.broken(key, others, now.getTime(), after, limit) ?? none;
  }

  /** Call it behind an asker's last look-up. Databases stay open, and what was remembered of their content is forgotten. */
  rest(): void {
    this.#keys.clear();
    this.#days.rest();
    this.#unsigned.rest();
    this.#state?.held.db.pragma('shrink_memory');
    this.#index?.held.db.pragma('shrink_memory');
  }

  close(): void {
    this.#days.close();
    this.#unsigned.close();
    this.#state?.held.db.close();
    this.#index?.held.db.close();
    [this.#state, this.#index] = [null, null];
  }

  /** Call it before an asker's first look-up: a restore or a new index may have replaced what is open. */
  begin(): void {
    this.#days.letGo();
    this.#unsigned.letGo();
    if (this.#state !== null && !isReachable(this.#state.held)) {
      this.#state.held.db.close();
      this.#state = null;
    }
    if (this.#index !== null && !isReachable(this.#index.held)) {
      this.#index.held.db.close();
      this.#index = null;
    }
  }

  /** Without these days. */
  #access(without: ReadonlySet<string> = new Set()): AccessQuestions {
    return this.#days.ask(without);
  }

  #auditQuestions(): AuditQuestions | null {
    return this.#stateNow()?.questions ?? null;
  }

  /** Null: there is no state.db, so nothing was ever changed. @throws LookasideError STATE_UNUSABLE, STORE_UNAVAILABLE */
  #stateNow(): HeldState | null {
    if (this.#state !== null) return this.#state;
    const file = stateFileOf(this.#dataDir);
    if (!existsSync(file)) return null;
    try {
      const db = openForReading(file, 'state');
      this.#state = closedOnError(db, () => ({
        held: hold(db, file),
        questions: new AuditQuestions(db, this.#pause),
        statements: new Statements(db),
      }));
      return this.#state;
    } catch (error) {
      const code = isCorruption(error) ? 'STATE_UNUSABLE' : 'STORE_UNAVAILABLE';
      throw new LookasideError(
        code,
        `cannot read ${file}: ${messageOf(error)}; ${restoreAdvice(this.#dataDir)}`,
        {
          cause: error,
        },
      );
    }
  }

  /** Null: there is none now, and nothing is known of what was not uploaded here. @throws LookasideError INDEX_UNUSABLE */
  #indexNow(): HeldIndex | null {
    if (this.#index !== null) return this.#index;
    const file = join(this.#dataDir, 'index.db');
    if (!existsSync(file)) return null;
    try {
      const db = openForReading(file, 'index');
      this.#index = closedOnError(db, () => {
        return { held: hold(db, file), statements: new Statements(db), rotation: null, revocation: null };
      });
      return this.#index;
    } catch (error) {
      const message = `cannot read ${file}: ${messageOf(error)}; it is rebuilt by: lookaside reindex`;
      throw new LookasideError('INDEX_UNUSABLE', message, { cause: error });
    }
  }

  #signaturesBy(fingerprint: string): ReadonlySet<string> {
    const signatures = new Set(this.#auditQuestions()?.signaturesBy(fingerprint) ?? []);
    const statements = this.#indexNow()?.statements;
    if (statements === undefined) return signatures;
    const sites = statements.plucked<string>('SELECT name FROM site').all();
    const select = statements.plucked<string>(`
      SELECT DISTINCT lower(hex(sha256))
      FROM signature
      WHERE site = ? AND fingerprint = ?`);
    for (const site of sites) for (const sha256 of select.iterate(site, fingerprint)) signatures.add(sha256);
    return signatures;
  }

  #keyOf(image: ImageId, sha256: string): string | null {
    const key = `${imageKey(image)} ${sha256}`;
    const known = this.#keys.get(key);
    if (known !== undefined) return known;
    const { site, path, layout, algorithm, hex } = image;
    const fingerprint =
      this.#indexNow()
        ?.statements.plucked<string | null>(`
          SELECT fingerprint
          FROM signature
          WHERE site = ? AND path = ? AND layout = ? AND algorithm = ? AND digest = ? AND sha256 = ?
          LIMIT 1`)
        .get(site, path, layout, algorithm, Buffer.from(hex, 'hex'), Buffer.from(sha256, 'hex')) ??
      this.#auditQuestions()?.keyOf(sha256) ??
      null;
    this.#keys.set(key, fingerprint);
    return fingerprint;
  }

  #rotationQuestions(): RotationQuestions | null {
    const index = this.#indexNow();
    if (index === null) return null;
    index.rotation ??= new RotationQuestions(index.held.db);
    return index.rotation;
  }

  #revocationQuestions(): RevocationQuestions | null {
    const index = this.#indexNow();
    if (index === null) return null;
    index.revocation ??= new RevocationQuestions(index.held.db);
    return index.revocation;
  }

  *#storedBefore(since: Date, { site, repository }: RecordFilter) {
    const index = this.#indexNow();
    if (index === null) return;
    const select = index.held.db.prepare<
      unknown[],
      IndexImage & { signatures: number; stored_at_ms: number }
    >(`
      SELECT site, path, layout, algorithm, digest, count(*) AS signatures, max(stored_at_ms) AS stored_at_ms
      FROM signature
      WHERE (@site IS NULL OR site = @site)
        AND (@repository IS NULL OR path = @repository OR (path >= @repository || '/' AND path < @repository || '0'))
      GROUP BY site, path, layout, algorithm, digest
      HAVING max(stored_at_ms) < @before`);
    for (const { signatures, stored_at_ms, digest, ...rest } of select.iterate({
      site,
      repository,
      before: since.getTime(),
    })) {
      const image: ImageId = { ...rest, hex: Buffer.from(digest).toString('hex') };
      yield { image, signatures, storedAt: new Date(stored_at_ms) };
    }
  }
}

const HOUR_MS = 3_600_000;

function hourOf(time: Date | null, none: number): number {
  return time === null ? none : Math.floor(time.getTime() / HOUR_MS);
}

function accessPiece(access: AccessQuestions, filter: RecordFilter, after: Position | null): PageFound {
  const { rows, end } = access.page(filter, after, EXPORT_ROWS);
  return { rows, next: end, dropped: 0, gaps: access.gaps };
}

function keepOldest(rows: StaleImage[], limit: number): void {
  rows.sort((one, other) => one.storedAt.getTime() - other.storedAt.getTime());
  rows.length = Math.min(rows.length, limit);
}
