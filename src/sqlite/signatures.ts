// index.db as the main thread uses it: look-ups on a read-only connection, changes through the writer thread.
import { hash } from 'node:crypto';
import { Worker } from 'node:worker_threads';
import type { Database, Statement } from 'better-sqlite3';
import { isLookasideError, LookasideError } from '../domain/errors.ts';
import type { ImageId } from '../domain/image.ts';
import type { PackedImages } from '../domain/packed-images.ts';
import type {
  FolderPage,
  IndexedRepository,
  IndexedSignature,
  NewImageIndex,
  RecordedImage,
  RecordedSignature,
  RepositoryIndex,
  RepositoryWalk,
  SignatureIndex,
  SignaturePage,
  VerdictIndex,
} from '../domain/ports.ts';
import type { Judgement } from '../domain/verdict.ts';
import type { CommandName, Commands, Judged } from './commands.ts';
import { FolderEntries } from './folder-entries.ts';
import { findDamage, isCorruption, keepFewPages, messageOf, openForReading } from './open.ts';
import { RecordedDigests } from './recorded-digests.ts';
import { Repositories } from './repositories.ts';
import { Verdicts } from './verdicts.ts';
import type { Writer } from './writer.ts';

// The sizes of an image, a signature and a judgement in the writer's queue, without their texts and bytes.
const IMAGE_BYTES = 400;
const SIGNATURE_BYTES = 300;
const JUDGEMENT_BYTES = 500;

/** An array, and the hash in hex: each read of a set that is not in memory makes them, and objects and buffers take twice as long. */
type SignatureRow = readonly [
  number: number,
  sha256: string,
  sizeBytes: number,
  storedAtMs: number,
  bytes: Buffer | null,
  filler: 0 | 1,
];

interface ImageRow {
  readonly path: string;
  readonly layout: ImageId['layout'];
  readonly algorithm: ImageId['algorithm'];
  readonly digest: Buffer;
}

interface SiteRow {
  readonly images: number;
  readonly signatures: number;
  readonly tree: string;
}

/** The look-ups for commands that only read. Every method may throw LookasideError INDEX_UNUSABLE. */
export type IndexLookups = Pick<
  SignatureIndex,
  'recorded' | 'listFolder' | 'hasChild' | 'images' | 'counts' | 'treeOf' | 'isComplete'
> &
  Pick<VerdictIndex, 'ofImage' | 'search'>;

export interface IndexReader extends IndexLookups {
  close(): void;
  [Symbol.dispose](): void;
}

/** @throws LookasideError INDEX_UNUSABLE when the file is corrupt, not ours or newer; STORE_UNAVAILABLE */
export function openIndexReader(file: string): IndexReader {
  let statements: Statements;
  try {
    statements = readStatements(file);
  } catch (error) {
    const code = isCorruption(error) ? 'INDEX_UNUSABLE' : 'STORE_UNAVAILABLE';
    throw new LookasideError(code, `cannot read ${file}: ${messageOf(error)}`, { cause: error });
  }
  let isSound: boolean | null = null;
  const look = async <T>(query: (on: Statements) => T): Promise<T> => asLookUp(() => query(statements));
  return {
    recorded: (image) => look((on) => on.recorded(image)),
    listFolder: (...page) => look((on) => on.folders.page(...page)),
    hasChild: (...child) => look((on) => on.folders.has(...child)),
    images: (...page) => look((on) => on.images(...page)),
    counts: (site) => look((on) => on.counts(site)),
    treeOf: (site) => look((on) => on.treeOf(site)),
    ofImage: (image) => look((on) => on.verdicts.ofImage(image)),
    search: (...page) => look((on) => on.verdicts.search(...page)),
    isComplete: (site) =>
      look((on) => {
        if (!on.isMarkedComplete(site)) return false;
        isSound ??= findDamage(on.db) === null;
        return isSound;
      }),
    close: () => void statements.db.close(),
    [Symbol.dispose]: () => void statements.db.close(),
  };
}

export interface SqliteSignatureIndexOptions {
  readonly file: string;
  readonly writer: Writer;
  /** Whether the writer has just created the file. */
  readonly isNew: boolean;
  /** Called once each time the index proves to be broken; until reset() every look-up throws INDEX_UNUSABLE. */
  readonly onUnusable: (reason: string) => void;
  /** The rows of these images have changed, or may have; null: of any. Called before the change is acknowledged. */
  readonly onWritten: (images: readonly ImageId[] | null) => void;
}

/** Create it after the writer's `index.open`; close it before the writer. */
export class SqliteSignatureIndex implements SignatureIndex, NewImageIndex, VerdictIndex, RepositoryIndex {
  readonly #file: string;
  readonly #writer: Writer;
  readonly #onUnusable: (reason: string) => void;
  readonly #onWritten: (images: readonly ImageId[] | null) => void;
  #writes = 0;
  #statements: Statements | null = null;
  #unusable: string | null = null;
  #isChecked: boolean;
  #check: Worker | null = null;
  #checked: Promise<void>;
  #resetting: Promise<void> | null = null;
  /** Sites that were found to be complete: only bind() and reset() end that, and every read of an owned tree asks. */
  readonly #complete = new Set<string>();
  readonly #digests = new RecordedDigests({
    count: () => this.#look((on) => on.imageCount()),
    page: (after, limit) => this.#look((on) => on.digests(after, limit)),
  });
  /** The trees that a new file must be bound to, by site. */
  readonly #trees = new Map<string, string>();

  /** @throws LookasideError STORE_UNAVAILABLE */
  constructor({ file, writer, isNew, onUnusable, onWritten }: SqliteSignatureIndexOptions) {
    this.#file = file;
    this.#writer = writer;
    this.#onUnusable = onUnusable;
    this.#onWritten = onWritten;
    this.#statements = readStatements(file);
    this.#isChecked = isNew;
    this.#checked = isNew ? Promise.resolve() : this.#startCheck();
  }

  /** Why the index cannot be used, or null. */
  get unusable(): string | null {
    return this.#unusable;
  }

  peekWrites(): number {
    return this.#writes;
  }

  peekLacks(image: ImageId): boolean {
    return this.#unusable === null && this.#digests.lacks(image);
  }

  peekRecorded(image: ImageId): readonly RecordedSignature[] | null {
    if (!this.#isChecked || this.#unusable !== null || !this.#complete.has(image.site)) return null;
    try {
      return this.#look((on) => on.recorded(image));
    } catch {
      return null; // recorded(), which is asked next, meets the same and tells it
    }
  }

  /** Resolves when the check that began at the opening of the file has ended, whatever it found. */
  whenChecked(): Promise<void> {
    this.#check?.ref(); // an awaited check keeps the process alive
    return this.#checked;
  }

  async recorded(image: ImageId): Promise<readonly RecordedSignature[]> {
    return this.#look((on) => on.recorded(image));
  }

  async areRecorded(images: readonly ImageId[]): Promise<readonly boolean[]> {
    return this.#look((on) => images.map((image) => on.isRecorded(image)));
  }

  async listFolder(site: string, folder: string, after: string | null, limit: number): Promise<FolderPage> {
    return this.#look((on) => on.folders.page(site, folder, after, limit));
  }

  async hasChild(site: string, folder: string, name: string): Promise<boolean> {
    return this.#look((on) => on.folders.has(site, folder, name));
  }

  async images(site: string, after: ImageId | null, limit: number): Promise<readonly ImageId[]> {
    return this.#look((on) => on.images(site, after, limit));
  }

  async counts(site: string): Promise<{ readonly images: number; readonly signatures: number }> {
    return this.#look((on) => on.counts(site));
  }

  async treeOf(site: string): Promise<string> {
    return this.#look((on) => on.treeOf(site));
  }

  async isComplete(site: string): Promise<boolean> {
    if (!this.#isChecked || this.#unusable !== null) return false;
    if (this.#complete.has(site)) return true;
    const isComplete = this.#look((on) => on.isMarkedComplete(site));
    if (isComplete) this.#complete.add(site);
    return isComplete;
  }

  async generation(): Promise<string> {
    return this.#look((on) => on.verdicts.generation());
  }

  async ofImage(image: ImageId): Promise<readonly IndexedSignature[]> {
    return this.#look((on) => on.verdicts.ofImage(image));
  }

  async search(site: string, page: SignaturePage): Promise<readonly IndexedSignature[]> {
    return this.#look((on) => on.verdicts.search(site, page));
  }

  async repositoryPaths(site: string, walk: RepositoryWalk): Promise<readonly string[]> {
    return this.#look((on) => on.repositories.paths(site, walk));
  }

  async repositories(
    site: string,
    paths: readonly string[],
    most: number,
  ): Promise<readonly IndexedRepository[]> {
    return this.#look((on) => on.repositories.describe(site, paths, most));
  }

  async imagesByKey(
    site: string,
    fingerprint: string,
    after: ImageId | null,
    limit: number,
  ): Promise<readonly ImageId[]> {
    return this.#look((on) => on.verdicts.imagesByKey(site, fingerprint, after, limit));
  }

  async countByKey(site: string, fingerprint: string): Promise<number> {
    return this.#look((on) => on.verdicts.countByKey(site, fingerprint));
  }

  async unjudged(
    site: string,
    now: Date,
    after: number,
    limit: number,
  ): Promise<readonly IndexedSignature[]> {
    return this.#look((on) => on.verdicts.unjudged(site, now, after, limit));
  }

  async unjudgedOf(image: ImageId): Promise<readonly IndexedSignature[]> {
    return this.#look((on) => on.verdicts.unjudgedOf(image));
  }

  async record(images: readonly RecordedImage[]): Promise<void> {
    const ended = this.#digests.recording(images.map(({ image }) => image));
    try {
      await this.#write('index.record', images.map(withOwnBytes), sizeOf(images));
    } finally {
      ended();
      // a thread that died may have written them all the same
      this.#written(images.map(({ image }) => image));
    }
  }

  async recordNew(
    images: readonly ImageId[],
    packed: PackedImages,
    without: ReadonlySet<number>,
  ): Promise<readonly number[]> {
    const [first] = images;
    if (first === undefined) return [];
    const ended = this.#digests.recording(images);
    try {
      const sizeBytes = IMAGE_BYTES + packed.folders.length + packed.memory.length;
      return await this.#write('index.record-new', { site: first.site, packed, without }, sizeBytes);
    } finally {
      ended();
      this.#written(images); // likewise
    }
  }

  async judge(judged: Judged): Promise<void> {
    if (judged.length > 0) await this.#write('index.judge', judged, sizeOfJudged(judged));
  }

  async judgeAgain(site: string, issuers: readonly string[]): Promise<void> {
    const sizeBytes = IMAGE_BYTES + 64 * issuers.length;
    let after: number | null = issuers.length === 0 ? null : 0;
    while (after !== null)
      after = await this.#write('index.judge-again', { site, issuers, after }, sizeBytes);
  }

  async forgetFolder(site: string, folder: string): Promise<void> {
    try {
      await this.#write('index.forget-folder', { site, folder }, IMAGE_BYTES);
    } finally {
      this.#written(null);
    }
  }

  async markComplete(site: string): Promise<void> {
    await this.#write('index.mark-complete', { site }, IMAGE_BYTES);
  }

  async bind(site: string, tree: string): Promise<void> {
    this.#trees.set(site, tree);
    try {
      await this.#write('index.bind', { site, tree }, IMAGE_BYTES);
    } finally {
      this.#complete.delete(site);
      this.#written(null); // another tree's rows are gone
    }
  }

  reset(): Promise<void> {
    this.#resetting ??= this.#reset().finally(() => {
      this.#resetting = null;
    });
    return this.#resetting;
  }

  /** Also ends the check. Changes that have begun still reach the writer. */
  async close(): Promise<void> {
    this.#unusable ??= `${this.#file} is closed`;
    this.#closeReader();
    await this.#check?.terminate();
    await this.#checked;
  }

  async #reset(): Promise<void> {
    this.#unusable = `${this.#file} is being rebuilt`;
    this.#written(null);
    this.#isChecked = false;
    this.#complete.clear();
    this.#digests.forget();
    this.#closeReader();
    await this.#check?.terminate();
    try {
      await this.#writer.run('index.reset', null, IMAGE_BYTES);
      for (const [site, tree] of this.#trees) {
        await this.#writer.run('index.bind', { site, tree }, IMAGE_BYTES);
      }
      this.#statements = readStatements(this.#file);
    } catch (error) {
      this.#unusable = `${this.#file} could not be rebuilt: ${messageOf(error)}`;
      throw error;
    }
    this.#isChecked = true;
    this.#unusable = null;
    this.#written(null);
  }

  #written(images: readonly ImageId[] | null): void {
    this.#writes += 1;
    this.#onWritten(images);
  }

  #closeReader(): void {
    this.#statements?.db.close();
    this.#statements = null;
  }

  #look<T>(query: (on: Statements) => T): T {
    const statements = this.#statements;
    if (statements === null || this.#unusable !== null) throw indexUnusable(this.#unusable ?? 'closed');
    try {
      return asLookUp(() => query(statements));
    } catch (error) {
      if (isLookasideError(error) && isCorruption(error.cause)) this.#fail(error.message);
      throw error;
    }
  }

  async #write<Name extends CommandName>(
    name: Name,
    input: Commands[Name]['input'],
    sizeBytes: number,
  ): Promise<Commands[Name]['output']> {
    if (this.#unusable !== null) throw indexUnusable(this.#unusable);
    const statements = this.#statements;
    try {
      return await this.#writer.run(name, input, sizeBytes);
    } catch (error) {
      // if a reset came in between, the old file failed and not this one
      const isOfThisFile = statements === this.#statements;
      if (isOfThisFile && isLookasideError(error, 'INDEX_UNUSABLE')) this.#fail(error.message);
      throw error;
    }
  }

  #fail(reason: string): void {
    if (this.#unusable !== null) return;
    this.#unusable = reason;
    this.#written(null);
    this.#onUnusable(reason);
  }

  #startCheck(): Promise<void> {
    const worker = new Worker(new URL('./check-thread.js', import.meta.url), {
      name: 'index-check',
      workerData: { file: this.#file },
    });
    worker.unref();
    this.#check = worker;
    let death: unknown = null;
    worker.on('message', (damage: string | null) => {
      if (this.#resetting !== null) return;
      if (damage === null) this.#isChecked = true;
      else this.#fail(`${this.#file} is damaged: ${damage}`);
    });
    worker.on('error', (error) => {
      death = error;
    });
    return new Promise((resolve) => {
      worker.on('exit', () => {
        this.#check = null;
        if (death !== null) this.#fail(`${this.#file} could not be checked: ${messageOf(death)}`);
        resolve();
      });
    });
  }
}

/** The prepared look-ups of one read-only connection. */
class Statements {
  readonly db: Database;
  readonly folders: FolderEntries;
  readonly verdicts: Verdicts;
  readonly repositories: Repositories;
  readonly #recorded: Statement<[string, string, string, string, Buffer], SignatureRow>;
  readonly #isRecorded: Statement<[string, string, string, string, Buffer], number>;
  readonly #images: Statement<[string, string, string, string, Buffer, number], ImageRow>;
  readonly #site: Statement<[string], SiteRow>;
  readonly #isComplete: Statement<[string], number>;
  readonly #imageCount: Statement<[], number>;
  readonly #digests: Statement<[Uint8Array, number], Buffer>;

  constructor(db: Database) {
    this.db = db;
    this.folders = new FolderEntries(db);
    this.verdicts = new Verdicts(db);
    this.repositories = new Repositories(db);
    this.#recorded = db
      .prepare<[string, string, string, string, Buffer], SignatureRow>(`
        SELECT number, lower(hex(sha256)), size_bytes, stored_at_ms, bytes, filler
        FROM signature
        WHERE site = ? AND path = ? AND layout = ? AND algorithm = ? AND digest = ?
        ORDER BY number`)
      .raw();
    this.#isRecorded = db
      .prepare<[string, string, string, string, Buffer], number>(`
      SELECT 1
      FROM signature
      WHERE site = ? AND path = ? AND layout = ? AND algorithm = ? AND digest = ?
      LIMIT 1`)
      .pluck();
    this.#images = db.prepare(`
      SELECT DISTINCT path, layout, algorithm, digest
      FROM signature
      WHERE site = ? AND (path, layout, algorithm, digest) > (?, ?, ?, ?)
      ORDER BY path, layout, algorithm, digest
      LIMIT ?`);
    this.#site = db.prepare(`
      SELECT images, signatures, tree
      FROM site
      WHERE name = ?`);
    this.#isComplete = db
      .prepare<[string], number>(`
        SELECT complete
        FROM site
        WHERE name = ?`)
      .pluck();
    this.#imageCount = db
      .prepare<[], number>(`
        SELECT coalesce(sum(images), 0)
        FROM site`)
      .pluck();
    // the words of the index signature_by_digest
    this.#digests = db
      .prepare<[Uint8Array, number], Buffer>(`
        SELECT DISTINCT substr(digest, 1, 6)
        FROM signature
        WHERE substr(digest, 1, 6) > ?
        ORDER BY substr(digest, 1, 6)
        LIMIT ?`)
      .pluck();
  }

  recorded({ site, path, layout, algorithm, hex }: ImageId): readonly RecordedSignature[] {
    return this.#recorded.all(site, path, layout, algorithm, Buffer.from(hex, 'hex')).map(signatureOf);
  }

  isRecorded({ site, path, layout, algorithm, hex }: ImageId): boolean {
    return this.#isRecorded.get(site, path, layout, algorithm, Buffer.from(hex, 'hex')) !== undefined;
  }

  images(site: string, after: ImageId | null, limit: number): readonly ImageId[] {
    const { path = '', layout = '', algorithm = '', hex = '' } = after ?? {};
    return this.#images
      .all(site, path, layout, algorithm, Buffer.from(hex, 'hex'), limit)
      .map(({ digest, ...image }) => ({ site, ...image, hex: digest.toString('hex') }));
  }

  counts(site: string): { readonly images: number; readonly signatures: number } {
    const { images, signatures } = this.#site.get(site) ?? { images: 0, signatures: 0 };
    return { images, signatures };
  }

  /** How many images all sites together have. */
  imageCount(): number {
    return this.#imageCount.get() ?? 0;
  }

  /** The first bytes of digests, in order. */
  digests(after: Uint8Array, limit: number): readonly Buffer[] {
    return this.#digests.all(after, limit);
  }

  treeOf(site: string): string {
    return this.#site.get(site)?.tree ?? '';
  }

  isMarkedComplete(site: string): boolean {
    return this.#isComplete.get(site) === 1;
  }
}

function readStatements(file: string): Statements {
  const db = openForReading(file, 'index');
  try {
    keepFewPages(db);
    return new Statements(db);
  } catch (error) {
    db.close();
    throw error;
  }
}

class WrongBytes extends Error {
  readonly code = 'SQLITE_CORRUPT';
}

function signatureOf([
  number,
  sha256,
  sizeBytes,
  storedAtMs,
  bytes,
  filler,
]: SignatureRow): RecordedSignature {
  if (bytes !== null && hash('sha256', bytes) !== sha256) {
    throw new WrongBytes(`the bytes of a row are not those of its SHA-256 ${sha256}`);
  }
  // it becomes the Content-Length: a wrong one would shift every later answer on the connection
  if (bytes !== null && bytes.length !== sizeBytes) {
    throw new WrongBytes(`a row has ${bytes.length} bytes where it says ${sizeBytes}`);
  }
  const signature = { number, sha256, sizeBytes, storedAt: new Date(storedAtMs), bytes };
  return filler === 1 ? { ...signature, isFiller: true } : signature;
}

function asLookUp<T>(query: () => T): T {
  try {
    return query();
  } catch (error) {
    throw new LookasideError('INDEX_UNUSABLE', `the index cannot be read: ${messageOf(error)}`, {
      cause: error,
    });
  }
}

function indexUnusable(reason: string): LookasideError {
  return new LookasideError('INDEX_UNUSABLE', `the index cannot be used: ${reason}`);
}

// Cloning a view to the thread would copy the whole buffer beneath it: 8 KiB or more for a small Buffer.
function withOwnBytes({ image, signatures, stamp }: RecordedImage): RecordedImage {
  return {
    image,
    stamp,
    signatures: signatures.map((signature) => ({
      ...signature,
      bytes: signature.bytes === null ? null : new Uint8Array(signature.bytes),
    })),
  };
}

function sizeOf(images: readonly RecordedImage[]): number {
  let sizeBytes = 0;
  for (const { image, signatures } of images) {
    sizeBytes += IMAGE_BYTES + image.path.length;
    for (const { bytes, judgement } of signatures) {
      sizeBytes += SIGNATURE_BYTES + (bytes?.length ?? 0);
      if (judgement !== undefined) sizeBytes += sizeOfJudgement(judgement);
    }
  }
  return sizeBytes;
}

function sizeOfJudged(judged: Judged): number {
  return judged.reduce(
    (sum, { image, judgement }) => sum + IMAGE_BYTES + image.path.length + sizeOfJudgement(judgement),
    0,
  );
}

function sizeOfJudgement({ claim, refusal }: Judgement): number {
  const texts = [claim?.dockerReference, claim?.creator, refusal?.message];
  return texts.reduce((sum, text) => sum + (text?.length ?? 0), JUDGEMENT_BYTES);
}
