// All databases of one data directory: opened together, closed in order. The caller holds the lock.

import { existsSync, statSync } from 'node:fs';
import { statfs } from 'node:fs/promises';
import { join } from 'node:path';
import type { Database } from 'better-sqlite3';
import { LookasideError } from '../domain/errors.ts';
import type { ImageId } from '../domain/image.ts';
import type { LogReaderStore, LogStore } from '../domain/log.ts';
import type { StoredMirror } from '../domain/mirror.ts';
import type {
  GrantStore,
  KeyStore,
  SessionStore,
  SignerStore,
  SubjectStore,
  TokenStore,
  TombstoneStore,
  UploadStore,
} from '../domain/ports.ts';
import { SqliteAccessLog } from './access-log.ts';
import { SqliteAccessStore } from './access-rules.ts';
import { SqliteAuditLog } from './audit-log.ts';
import { makeDataFolder } from './data-folder.ts';
import { SqliteEraser } from './eraser.ts';
import { KeyTable, SqliteKeyStore } from './keys.ts';
import { logReader, sqliteLogStore } from './log-store.ts';
import { newestVersion } from './migrate.ts';
import { MirrorTable, SqliteMirrorStore } from './mirrors.ts';
import {
  closedOnError,
  isCorruption,
  messageOf,
  openForReading,
  openOlderForReading,
  restoreAdvice,
  stateFileOf,
  UnusableFile,
} from './open.ts';
import { SqliteQuestions } from './questions.ts';
import { giveUpReserve, takeReserve, takeReserveLeft } from './reserve.ts';
import { SessionTable, SqliteSessionStore } from './sessions.ts';
import { type IndexReader, openIndexReader, SqliteSignatureIndex } from './signatures.ts';
import { SignerTable, SqliteGrantStore, SqliteSignerStore } from './signers.ts';
import { SqliteSubjectStore, SubjectTable } from './subjects.ts';
import { SqliteTokenStore, TokenTable } from './tokens.ts';
import { SqliteTombstoneStore, TombstoneTable } from './tombstones.ts';
import { SqliteUploadStore, UploadTable } from './uploads.ts';
import { type LaneHealth, Writer, type WriterOptions } from './writer.ts';

export interface DatabasesOptions extends WriterOptions {
  /** Called once each time the index proves to be broken while in use: call reset() and scan the trees again. */
  readonly onUnusable: (reason: string) => void;
  /** The index's rows of these images have changed, or may have; null: of any. It comes before the change is acknowledged. */
  readonly onIndexWritten?: (images: readonly ImageId[] | null) => void;
  /**
   * Called when state.db has the schema of an older version, before it is brought to the newest: that reads all audit events, and
   * nothing else happens meanwhile. What it returns is called when that has ended.
   */
  readonly onOlderState?: (older: OlderState) => (isDone: boolean) => void;
}

export interface OlderState {
  readonly file: string;
  readonly schema: number;
  readonly newestSchema: number;
  readonly sizeBytes: number;
}

export interface DatabasesHealth {
  readonly state: LaneHealth;
  readonly index: LaneHealth & { readonly unusable: string | null };
  readonly access: LaneHealth;
}

export interface Databases {
  readonly index: SqliteSignatureIndex;
  readonly access: SqliteAccessLog;
  readonly tokens: SqliteTokenStore;
  readonly sessions: SqliteSessionStore;
  readonly signers: SqliteSignerStore;
  readonly grants: SqliteGrantStore;
  readonly subjects: SqliteSubjectStore;
  readonly rules: SqliteAccessStore;
  readonly keys: SqliteKeyStore;
  readonly uploads: SqliteUploadStore;
  readonly mirrors: SqliteMirrorStore;
  readonly tombstones: SqliteTombstoneStore;
  readonly audit: SqliteAuditLog;
  readonly questions: SqliteQuestions;
  readonly eraser: SqliteEraser;
  readonly log: LogStore;
  /** Its path, for a thread that reads it. */
  readonly indexFile: string;
  /** Why the existing index.db could not be used, so that an empty one replaced it; null when it could. */
  readonly indexReplacedBecause: string | null;
  /** It reads only memory: cheap enough for every probe. */
  health(): DatabasesHealth;
  /** Free bytes that this process may use on the data directory's file system. @throws LookasideError STORE_UNAVAILABLE */
  freeBytes(): Promise<number>;
  /**
   * Call it when the server begins to stop. From then on writes wait for locks of other processes for 5 s in all, and no more
   * days of the record of reads are tidied up.
   */
  hurry(): void;
  /** Calls hurry(), writes what is queued and closes. A second call does nothing. */
  close(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}

/**
 * Opens the databases below `dataDir`, which it creates. An index that is missing or unusable is replaced by an empty one,
 * which is complete for no site. Only one process may do this: call takeLock() first.
 * @throws LookasideError STATE_UNUSABLE when state.db is damaged, not ours or newer; BUSY; STORE_UNAVAILABLE
 */
export async function openDatabases(options: DatabasesOptions): Promise<Databases> {
  const { dataDir, onUnusable, onIndexWritten: onWritten = () => undefined } = options;
  makeFolder(dataDir);
  giveUpReserve(dataDir);
  const writer = new Writer(options);
  let stateReader: Database | null = null;
  try {
    await openState(writer, options);
    const { isNew, replacedBecause } = await writer.run('index.open', null, 0);
    stateReader = openForReading(stateFileOf(dataDir), 'state');
    const tokens = new SqliteTokenStore(stateReader, writer);
    const signerTable = new SignerTable(stateReader);
    const signers = new SqliteSignerStore(signerTable, writer, () => tokens.reload());
    const grants = new SqliteGrantStore(signerTable, writer);
    const subjects = new SqliteSubjectStore(new SubjectTable(stateReader), writer);
    const keys = new SqliteKeyStore(stateReader, writer);
    const uploads = new SqliteUploadStore(stateReader, writer);
    const mirrors = new SqliteMirrorStore(stateReader, writer);
    const index = new SqliteSignatureIndex({
      file: indexFile(dataDir),
      writer,
      isNew,
      onUnusable,
      onWritten,
    });
    takeReserve(dataDir);
    const tombstones = new SqliteTombstoneStore(stateReader, writer);
    const stores = { index, tokens, signers, grants, subjects, keys, uploads, mirrors, tombstones };
    return connect({ dataDir, writer, stateReader, ...stores, replacedBecause });
  } catch (error) {
    stateReader?.close();
    await writer.close();
    takeReserveLeft(dataDir);
    throw error;
  }
}

async function openState(writer: Writer, { dataDir, onOlderState }: DatabasesOptions): Promise<void> {
  const older = onOlderState === undefined ? null : olderState(stateFileOf(dataDir));
  const end = older === null ? null : onOlderState?.(older);
  let isDone = false;
  try {
    await writer.run('state.open', null, 0);
    isDone = true;
  } finally {
    end?.(isDone);
  }
}

function olderState(file: string): OlderState | null {
  const sizeBytes = statSync(file, { throwIfNoEntry: false })?.size ?? 0;
  if (sizeBytes === 0) return null;
  let schema: number;
  try {
    const db = openOlderForReading(file, 'state');
    schema = Number(db.pragma('user_version', { simple: true }));
    db.close();
  } catch {
    return null; // the writer meets the same fault, and says which
  }
  const newestSchema = newestVersion('state');
  return schema < newestSchema ? { file, schema, newestSchema, sizeBytes } : null;
}

/**
 * The look-ups of the index, also while a server runs; null when there is no index. @throws LookasideError INDEX_UNUSABLE,
 * STORE_UNAVAILABLE
 */
export function openIndexReadOnly(dataDir: string): IndexReader | null {
  const file = indexFile(dataDir);
  return existsSync(file) ? openIndexReader(file) : null;
}

export interface TokenReader extends Pick<TokenStore, 'find' | 'list'>, Closable {
  readonly sessions: Pick<SessionStore, 'list'>;
}

/** The tokens as they are now, also while a server runs; null when there is no state.db. @throws LookasideError STATE_UNUSABLE, STORE_UNAVAILABLE */
export function openTokensReadOnly(dataDir: string): TokenReader | null {
  return readState(dataDir, (db) => {
    const table = new TokenTable(db);
    const sessions = new SessionTable(db);
    return {
      find: async (hash) => table.find(hash),
      list: async () => table.list(),
      sessions: { list: async () => sessions.list() },
      ...closing(db),
    };
  });
}

export interface SignerReader extends Closable {
  readonly signers: Pick<SignerStore, 'list' | 'find'>;
  readonly grants: Pick<GrantStore, 'list'>;
  readonly subjects: Pick<SubjectStore, 'list'>;
}

/** The signers as they are now, also while a server runs; null when there is no state.db. @throws LookasideError STATE_UNUSABLE, STORE_UNAVAILABLE */
export function openSignersReadOnly(dataDir: string): SignerReader | null {
  return readState(dataDir, (db) => {
    const table = new SignerTable(db);
    const subjects = new SubjectTable(db);
    return {
      signers: { list: async () => table.signers(), find: async (name) => table.signer(name) },
      grants: { list: async (signer) => table.grants(signer) },
      subjects: { list: async (signer) => subjects.list(signer) },
      ...closing(db),
    };
  });
}

export interface KeyReader extends Pick<KeyStore, 'find' | 'list'>, Closable {}

/** The keys as they are now, also while a server runs; null when there is no state.db. @throws LookasideError STATE_UNUSABLE, STORE_UNAVAILABLE */
export function openKeysReadOnly(dataDir: string): KeyReader | null {
  return readState(dataDir, (db) => {
    const table = new KeyTable(db);
    return {
      find: async (fingerprint) => table.find(fingerprint),
      list: async () => table.list(),
      ...closing(db),
    };
  });
}

/** The mirrors as they are now, also while a server runs. @throws LookasideError STATE_UNUSABLE, STORE_UNAVAILABLE */
export function listMirrorsReadOnly(dataDir: string): readonly StoredMirror[] {
  return (
    readState(dataDir, (db) => {
      const mirrors = new MirrorTable(db).list();
      db.close();
      return mirrors;
    }) ?? []
  );
}

export interface UploadReader extends Pick<UploadStore, 'ofImage' | 'images'>, Closable {
  readonly tombstones: Pick<TombstoneStore, 'ofImage'>;
}

/** The uploads as they are now, also while a server runs; null when there is no state.db. @throws LookasideError STATE_UNUSABLE, STORE_UNAVAILABLE */
export function openUploadsReadOnly(dataDir: string): UploadReader | null {
  return readState(dataDir, uploadReader);
}

export interface LogReader extends LogReaderStore, Closable {}

/** The log as it is now, also while a server runs; null when there is no state.db. @throws LookasideError STATE_UNUSABLE, STORE_UNAVAILABLE */
export function openLogReadOnly(dataDir: string): LogReader | null {
  return readState(dataDir, (db) => ({ ...logReader(db), ...closing(db) }));
}

/** The uploads of a copy of state.db. @throws LookasideError STATE_UNUSABLE, STORE_UNAVAILABLE */
export function openCopiedUploads(copy: string): UploadReader {
  return readStateFile(copy, 'make the copy again', uploadReader);
}

function uploadReader(db: Database): UploadReader {
  const table = new UploadTable(db);
  const buried = new TombstoneTable(db);
  return {
    ofImage: async (image) => table.ofImage(image),
    images: async (...page) => table.images(...page),
    tombstones: { ofImage: async (image) => buried.ofImage(image) },
    ...closing(db),
  };
}

interface Closable {
  close(): void;
  [Symbol.dispose](): void;
}

function closing(db: Database): Closable {
  return { close: () => void db.close(), [Symbol.dispose]: () => void db.close() };
}

function readState<T>(dataDir: string, read: (db: Database) => T): T | null {
  const file = stateFileOf(dataDir);
  if (!existsSync(file)) return null;
  return readStateFile(file, restoreAdvice(dataDir), read);
}

function readStateFile<T>(file: string, advice: string, read: (db: Database) => T): T {
  try {
    const db = openForReading(file, 'state');
    return closedOnError(db, () => read(db));
  } catch (error) {
    const code = isCorruption(error) ? 'STATE_UNUSABLE' : 'STORE_UNAVAILABLE';
    // a start of the server upgrades an older file
    const isOlder = error instanceof UnusableFile && error.misfit === 'older';
    const how = code === 'STATE_UNUSABLE' && !isOlder ? `; ${advice}` : '';
    throw new LookasideError(code, `cannot read ${file}: ${messageOf(error)}${how}`, { cause: error });
  }
}

interface Parts {
  readonly dataDir: string;
  readonly writer: Writer;
  readonly stateReader: Database;
  readonly index: SqliteSignatureIndex;
  readonly tokens: SqliteTokenStore;
  readonly signers: SqliteSignerStore;
  readonly grants: SqliteGrantStore;
  readonly subjects: SqliteSubjectStore;
  readonly keys: SqliteKeyStore;
  readonly uploads: SqliteUploadStore;
  readonly mirrors: SqliteMirrorStore;
  readonly tombstones: SqliteTombstoneStore;
  readonly replacedBecause: string | null;
}

function connect({
  dataDir,
  writer,
  stateReader,
  index,
  tokens,
  signers,
  grants,
  subjects,
  keys,
  uploads,
  mirrors,
  tombstones,
  replacedBecause,
}: Parts): Databases {
  const questions = new SqliteQuestions(dataDir);
  const access = new SqliteAccessLog(writer, dataDir);
  // The writer's connections close last: the last connection of a database writes the -wal into it and deletes the -wal.
  const close = async (): Promise<void> => {
    await Promise.all([questions.close(), access.close()]);
    await writer.drain();
    await index.close();
    stateReader.close();
    await writer.close();
    takeReserveLeft(dataDir);
  };
  let closed: Promise<void> | null = null;
  const closeOnce = (): Promise<void> => {
    closed ??= close();
    return closed;
  };
  return {
    index,
    tokens,
    signers,
    grants,
    subjects,
    keys,
    uploads,
    mirrors,
    tombstones,
    sessions: new SqliteSessionStore(stateReader, writer),
    rules: new SqliteAccessStore(writer, (fingerprints) => {
      tokens.reload();
      keys.reload(fingerprints);
    }),
    audit: new SqliteAuditLog(stateReader, writer),
    questions,
    eraser: new SqliteEraser(writer, dataDir, access),
    access,
    log: sqliteLogStore(stateReader, writer),
    indexFile: indexFile(dataDir),
    indexReplacedBecause: replacedBecause,
    health: () => {
      const { state, index: indexLane, access } = writer.health();
      return { state, index: { ...indexLane, unusable: index.unusable }, access };
    },
    freeBytes: () => freeBytes(dataDir),
    hurry() {
      access.hurry();
      writer.hurry();
    },
    close: closeOnce,
    [Symbol.asyncDispose]: closeOnce,
  };
}

function makeFolder(dataDir: string): void {
  try {
    makeDataFolder(dataDir);
  } catch (error) {
    throw new LookasideError('STORE_UNAVAILABLE', `cannot make ${dataDir}: ${messageOf(error)}`, {
      cause: error,
    });
  }
}

async function freeBytes(dataDir: string): Promise<number> {
  try {
    const { bavail, bsize } = await statfs(dataDir);
    return bavail * bsize;
  } catch (error) {
    const message = `cannot tell the free space of ${dataDir}: ${messageOf(error)}`;
    throw new LookasideError('STORE_UNAVAILABLE', message, { cause: error });
  }
}

function indexFile(dataDir: string): string {
  return join(dataDir, 'index.db');
}
