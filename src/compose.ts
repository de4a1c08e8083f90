// The only file that names concrete adapters: builds what a configuration asks for, and closes it in order.
import { createHash, randomBytes } from 'node:crypto';
import { setImmediate as breathe, setTimeout as wait } from 'node:timers/promises';
import { type Logger, pino } from 'pino';
import { systemClock } from './clock.ts';
import { type Config, socketPathOf } from './config.ts';
import type { Administration } from './domain/administration.ts';
import type { BackupManifest, BackupSource } from './domain/backup.ts';
import { isLookasideError, LookasideError } from './domain/errors.ts';
import { isServer } from './domain/holder.ts';
import { DEFAULT_SITE, type ImageId } from './domain/image.ts';
import type { RegisteredKey } from './domain/key.ts';
import { BEING_WRITTEN_MS } from './domain/limits.ts';
import type { Log, SignatureIndex, Token } from './domain/ports.ts';
import { escapeJson } from './domain/text.ts';
import type { Tree } from './domain/tree.ts';
import type { FsckResult, OnProgress } from './domain/upkeep.ts';
import { damagedBackup, makeBackupFolder, openBackup, openBackupTarget } from './files/backup-folder.ts';
import { readIntents } from './files/intents.ts';
import { openRestoreTarget } from './files/restore-target.ts';
import { makeRoot, openTree } from './files/tree.ts';
import { openTreeWriter } from './files/tree-writer.ts';
import { armorPublicKey } from './openpgp/armor.ts';
import { warningsOfCertificate } from './openpgp/key-warnings.ts';
import { isWholeSignature } from './openpgp/packets.ts';
import { openVerifier } from './openpgp/pool.ts';
import { type AccessRecorder, type AccessUpkeep, createAccessRecorder } from './service/access.ts';
import { createAdministration, exportedKey, shownKeys } from './service/administration.ts';
import { ADMINISTRATOR, createEventMaker, SERVER } from './service/audit.ts';
import { type BackupResult, makeBackup, restoreBackup } from './service/backup.ts';
import { type Browser, createBrowser } from './service/browse.ts';
import { createHealth, type Health } from './service/health.ts';
import { createImporter, type Importer } from './service/import.ts';
import { createJudge, type Judge } from './service/judge.ts';
import { createKeyService, findKey, type KeyService } from './service/keys.ts';
import { createProblemRegister, type ProblemRegister } from './service/problems.ts';
import { createReader, type Reader } from './service/read.ts';
import { createRefusalRecorder, type RefusalRecorder } from './service/refusals.ts';
import { createSignatureQueries, type SignatureQueries } from './service/signatures.ts';
import { createTokenService, maskTokens, type TokenService } from './service/tokens.ts';
import { createUpkeep, type Upkeep } from './service/upkeep.ts';
import { createUploader, type Uploader } from './service/upload.ts';
import { copyState } from './sqlite/copy-state.ts';
import {
  type Databases,
  openCopiedUploads,
  openDatabases,
  openIndexReadOnly,
  openKeysReadOnly,
  openTokensReadOnly,
  openUploadsReadOnly,
} from './sqlite/databases.ts';
import { type LockTaker, takeLock } from './sqlite/lock.ts';
import { stateFileOf, unfinishedStateFileOf } from './sqlite/open.ts';
import type { IndexReader } from './sqlite/signatures.ts';
import { type Appender, createAppender } from './store/append.ts';
import { createBackupSource } from './store/backup-source.ts';
import { createImageChanges } from './store/image-changes.ts';
import { unlessUnusable } from './store/look.ts';
import { createScanner } from './store/scan.ts';
import { createTreeStore } from './store/tree-store.ts';
import { connectAdministration } from './upstream/administration.ts';
import type { AskerOptions } from './upstream/asker.ts';

const SET_CACHE_BYTES = 64 * 1024 * 1024;

const LINES_KEPT_BYTES = 1024 * 1024;

/**
 * Lines for standard output (1) or standard error (2) that nobody waits for: a reader of our log that stands still
 * must not make the server stand still. Beyond 1 MiB unread, lines are dropped.
 */
export function createLineWriter(fd: 1 | 2): (line: string) => void {
  const stream = pino.destination({ dest: fd, sync: false, maxLength: LINES_KEPT_BYTES });
  stream.on('error', () => undefined); // EPIPE: the reader has gone, and there is nobody left to tell
  return (line) => void stream.write(`${line}\n`);
}

/** JSON lines, on standard error unless told, with no token in them and nothing that could forge a line or steer a terminal. */
export function createLog(level: Config['logLevel'], writeLine = createLineWriter(2)): Logger {
  const lines = { write: (line: string) => writeLine(escapeJson(maskTokens(line.trimEnd()))) };
  return pino(
    {
      level,
      base: null,
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
    },
    lines,
  );
}

export interface Composed {
  readonly reader: Reader;
  readonly browser: Browser;
  readonly signatures: SignatureQueries;
  readonly recorder: AccessRecorder;
  readonly accessLog: AccessUpkeep['accessLog'];
  readonly tokens: TokenService;
  readonly keys: KeyService;
  readonly uploader: Uploader;
  readonly refusals: RefusalRecorder;
  readonly importer: Importer;
  readonly judge: Judge;
  readonly upkeep: Upkeep;
  readonly problems: ProblemRegister;
  readonly index: SignatureIndex;
  readonly tree: Tree;
  health(isDraining: () => boolean): () => Promise<Health>;
  /** The end is near: scans, fsck and reindex end, and writes wait for foreign locks for 5 s more at most. */
  hurry(): void;
  /** Stops scanning, writes what is queued, closes the databases, lets go of the lock. */
  [Symbol.asyncDispose](): Promise<void>;
}

export interface ComposeOptions {
  readonly config: Config;
  /** As it is now: a reload may change it. */
  readonly current: () => Config;
  readonly log: Log;
  /** For those who find the data directory taken. */
  readonly taker: LockTaker;
}

/**
 * Opens the data directory as its one owner.
 * @throws LookasideError ALREADY_RUNNING, STATE_UNUSABLE, STORE_UNAVAILABLE
 */
export async function compose({ config, current, log, taker }: ComposeOptions): Promise<Composed> {
  const lock = takeLock(config.data, taker);
  try {
    await makeRoot(config.root);
    const { composed, databases } = await openOwned({ config, current, log });
    return {
      ...composed,
      hurry() {
        void composed.upkeep.stop(); // waited for below
        databases.hurry();
      },
      async [Symbol.asyncDispose]() {
        await Promise.all([composed.upkeep.stop(), composed.judge.stop()]);
        await composed.appender.idle();
        await composed.refusals.stop();
        await databases.close();
        await composed.verifier.close();
        lock.release();
      },
    };
  } catch (error) {
    lock.release();
    throw error;
  }
}

async function openOwned({ config, current, log }: OwnedOptions) {
  let upkeep: Upkeep | null = null;
  const databases = await openDatabases({
    dataDir: config.data,
    onUnusable: (reason) => {
      log.error(
        { reason },
        'index.db cannot be used; it is made anew from the tree, which is read meanwhile',
      );
      upkeep?.rebuild();
    },
  });
  if (databases.indexReplacedBecause !== null) {
    log.warn(
      { reason: databases.indexReplacedBecause },
      'index.db could not be used; it is made anew from the tree',
    );
  }
  try {
    await bindIndex(databases, config);
    const composed = await connect({ config, current, log, databases });
    upkeep = composed.upkeep;
    if (databases.index.unusable !== null) upkeep.rebuild();
    await recover(composed.appender, log);
    return { composed, databases };
  } catch (error) {
    await databases.close();
    throw error;
  }
}

/** One that turns out unusable here answers nothing until it is made anew, and is bound then. */
async function bindIndex({ index }: Databases, config: Config): Promise<void> {
  try {
    await index.bind(DEFAULT_SITE, treeName(config));
  } catch (error) {
    if (!isLookasideError(error, 'INDEX_UNUSABLE')) throw error;
  }
}

/** Reads need nothing of what a crash left half done, so they are served even when it cannot be looked at. */
async function recover(appender: Appender, log: Log): Promise<void> {
  try {
    await appender.recover();
  } catch (error) {
    if (!isLookasideError(error, 'STORE_UNAVAILABLE')) throw error;
    log.error(
      { err: error },
      'interrupted uploads could not be ended; that is tried again at the next start',
    );
  }
}

type OwnedOptions = Omit<ComposeOptions, 'taker'>;

interface Connections extends OwnedOptions {
  readonly databases: Databases;
}

async function connect({ config, current, log, databases }: Connections) {
  const { index, access: accessLog, keys: keyStore, uploads, audit } = databases;
  const clock = systemClock;
  const tree = openSiteTree(config);
  const writer = openTreeWriter({ root: config.root, nowMs: Date.now });
  const problems = createProblemRegister(log);
  const verifier = openVerifier();
  const makeEvent = createEventMaker({ site: DEFAULT_SITE, clock, randomBytes });
  const refusals = createRefusalRecorder({ audit, makeEvent, clock, log });

  // these know each other: what one finds, another is told of
  const forget = (image: ImageId) => reader.forget(image);
  const prefer = (image: ImageId) => void judge.prefer(image);

  const shared = {
    tree,
    kind: config.tree,
    index,
    uploads,
    changes: createImageChanges(),
    report: problems.report,
    wait,
  };
  const appender = createAppender({
    ...shared,
    writer,
    verdicts: index,
    audit,
    makeRestoreEvent: (image, signatureSha256) =>
      makeEvent({ action: 'restore', image, signatureSha256, result: 'restored' }, SERVER),
    sha256: sha256Hex,
    dataFreeBytes: databases.freeBytes,
    get minFreeBytes() {
      return current().minFreeBytes; // a reload may change it
    },
    onChanged: forget,
    onRecorded: prefer,
    log,
  });
  const { tend } = appender;
  const scanner = createScanner({
    ...shared,
    tend,
    restore: writer.restore,
    reportFolders: problems.reportFolders,
    readIntents: () => readIntents(config.root),
    monotonicMs: clock.monotonicMs,
  });
  const { syncFolder } = scanner;
  const store = createTreeStore({ ...shared, tend, sha256: sha256Hex, syncFolder, onRecorded: prefer });
  const reader = createReader({ store, clock, cacheBytes: SET_CACHE_BYTES });
  const judge = createJudge({ site: DEFAULT_SITE, index, store, verifier, clock, log });
  const verifyAgain = async (issuers: readonly string[]) => {
    await index.judgeAgain(DEFAULT_SITE, issuers);
    judge.wake();
  };
  const upkeep = createUpkeep({
    site: DEFAULT_SITE,
    scanner: { ...scanner, scan: (...what) => scanner.scan(...what).finally(judge.wake) },
    index,
    whenIndexChecked: () => index.whenChecked(),
    clock,
    log,
    scanIntervalMs: () => current().scanIntervalMs,
  });
  const signatures = createSignatureQueries({
    site: DEFAULT_SITE,
    index,
    keys: keyStore,
    uploads,
    reader,
    clock,
    breathe,
  });
  return {
    reader,
    browser: createBrowser({ store, reader, signatures }),
    signatures,
    uploader: createUploader({
      site: DEFAULT_SITE,
      verifier,
      keys: keyStore,
      appender,
      judgeImage: judge.judgeImage,
      refusals,
      makeEvent,
      clock,
      sha256: sha256Hex,
      maxBytes: () => current().maxSignatureBytes,
    }),
    refusals,
    importer: createImporter({
      site: DEFAULT_SITE,
      tree: config.tree,
      verifier,
      keys: keyStore,
      appender,
      uploads,
      reader,
      makeEvent,
      clock,
      sha256: sha256Hex,
      keyringChanges: () => judge.keyringChanges,
      verifyAgain,
    }),
    keys: await createKeyService({
      store: keyStore,
      audit,
      verifier,
      makeEvent,
      clock,
      async onChanged(issuers) {
        judge.keysChanged();
        await verifyAgain(issuers);
      },
    }),
    recorder: createAccessRecorder({ log, clock, accessLog }),
    accessLog,
    tokens: createTokenService({
      store: databases.tokens,
      clock,
      makeEvent,
      randomBytes,
      sha256: sha256Hex,
    }),
    upkeep,
    judge,
    appender,
    verifier,
    problems,
    index,
    tree,
    health: (isDraining: () => boolean) =>
      createHealth({
        checkTree: () => tree.check(),
        isTreeWritable: () => tree.isWritable(),
        freeBytes: () => writer.freeBytes(),
        dataFreeBytes: databases.freeBytes,
        minFreeBytes: () => current().minFreeBytes,
        tree: config.tree,
        index: async () => ({
          isComplete: await isComplete(index),
          isScanning: upkeep.status.isScanning,
          error: upkeep.status.lastError,
        }),
        writerFault: () => writer.fault ?? writerFault(databases),
        damaged: () => problems.damaged,
        isDraining,
        wait,
        log,
      }),
  };
}

/** Fsck without repair: reads beside a running server. @throws LookasideError INDEX_UNUSABLE, STATE_UNUSABLE, STORE_UNAVAILABLE */
export async function fsckReadOnly(config: Config, log: Log, onProgress: OnProgress): Promise<FsckResult> {
  using found = openIndexReadOnly(config.data);
  using uploads = openUploadsReadOnly(config.data);
  const isOfThisTree = (await found?.treeOf(DEFAULT_SITE)) === treeName(config);
  const index = isOfThisTree ? { ...NO_INDEX, ...found } : NO_INDEX;
  const scanner = createScanner({
    tree: openSiteTree(config),
    kind: config.tree,
    index,
    uploads: uploads ?? NO_UPLOADS,
    readIntents: () => readIntents(config.root),
    changes: createImageChanges(),
    tend: () => undefined,
    restore: () => Promise.reject(new Error('nothing is put back by an fsck that only reads')),
    report: () => undefined,
    reportFolders: () => undefined,
    wait,
    monotonicMs: systemClock.monotonicMs,
  });
  const upkeep = createUpkeep({
    site: DEFAULT_SITE,
    scanner,
    index,
    whenIndexChecked: async () => undefined, // it is checked when it is asked
    clock: systemClock,
    log,
    scanIntervalMs: () => null,
  });
  return await upkeep.fsck({ repair: false, onProgress });
}

export interface BackupOptions {
  readonly config: Config;
  /** Absolute. Made when it is not there. */
  readonly folder: string;
  /** Of lookaside. */
  readonly version: string;
  readonly taker: LockTaker;
  readonly onProgress: OnProgress;
}

/**
 * Makes a backup, beside a running server too: of the data directory all is opened for reading alone.
 * @throws LookasideError CONFIG_INVALID, ALREADY_RUNNING when another is being made there, STATE_UNUSABLE, DISK_FULL, READ_ONLY,
 * STORE_UNAVAILABLE
 */
export async function backUp({ config, folder, taker, ...request }: BackupOptions): Promise<BackupResult> {
  await makeBackupFolder(folder);
  const lock = takeLock(folder, taker);
  const opened: { close(): void }[] = [];
  try {
    const target = await openBackupTarget(folder, systemClock.now());
    return await makeBackup({
      ...request,
      site: DEFAULT_SITE,
      target,
      clock: systemClock,
      copyState: (file) => copyState(config.data, file),
      openSource: async ({ auditSeq }) =>
        config.tree === 'shared'
          ? null
          : openBackupSource({ config, copy: target.stateFile, lastSeq: auditSeq, opened }),
    });
  } finally {
    for (const each of opened) each.close();
    lock.release();
  }
}

interface OpenBackupSource {
  readonly config: Config;
  /** Of state.db. */
  readonly copy: string;
  readonly lastSeq: number;
  /** Takes what is to be closed afterwards. */
  readonly opened: { close(): void }[];
}

async function openBackupSource({ config, copy, lastSeq, opened }: OpenBackupSource): Promise<BackupSource> {
  const uploads = openCopiedUploads(copy);
  opened.push(uploads);
  const uploadsNow = openUploadsReadOnly(config.data) ?? uploads;
  if (uploadsNow !== uploads) opened.push(uploadsNow);
  const index = await openUsableIndex(config);
  if (index !== null) opened.push(index);
  return createBackupSource({
    tree: openSiteTree(config),
    index: index === null ? NO_INDEX : { ...NO_INDEX, ...index, listFolder: orNoNames(index) },
    uploads,
    uploadsNow,
    lastSeq,
    readIntents: () => readIntents(config.root),
    changes: createImageChanges(),
    sha256: sha256Hex,
    wait,
  });
}

/** Null: the tree alone tells what there is. */
async function openUsableIndex(config: Config): Promise<IndexReader | null> {
  try {
    const found = openIndexReadOnly(config.data);
    if ((await found?.treeOf(DEFAULT_SITE)) === treeName(config)) return found;
    found?.close();
    return null;
  } catch (error) {
    if (isLookasideError(error, 'INDEX_UNUSABLE')) return null;
    throw error;
  }
}

/** The server may put another index.db into its place at any time. */
function orNoNames(index: IndexReader): IndexReader['listFolder'] {
  return (...asked) => unlessUnusable(() => index.listFolder(...asked), { names: [], next: null });
}

export interface RestoreOptions {
  readonly config: Config;
  /** That of the backup, absolute. */
  readonly folder: string;
  readonly taker: LockTaker;
  readonly onProgress: OnProgress;
}

/**
 * Fills the data directory, which must be empty or missing, from a backup.
 * @throws LookasideError BACKUP_UNUSABLE, CONFIG_INVALID, ALREADY_RUNNING, DISK_FULL, READ_ONLY, STORE_UNAVAILABLE
 */
export async function restore(options: RestoreOptions): Promise<BackupManifest> {
  const { config, folder, taker, onProgress } = options;
  const backup = await openBackup(folder, DEFAULT_SITE);
  refuseOtherTree(backup.manifest, config);
  const lock = takeLock(config.data, taker);
  try {
    const places = {
      dataDir: config.data,
      stateFile: stateFileOf(config.data),
      unfinishedStateFile: unfinishedStateFileOf(config.data),
    };
    const target = await openRestoreTarget(places, folder);
    const damaged = (found: string) => damagedBackup(folder, found);
    return await restoreBackup({ backup, target, sha256: sha256Hex, onProgress, damaged });
  } finally {
    lock.release();
  }
}

/** @throws LookasideError CONFIG_INVALID */
function refuseOtherTree({ tree }: BackupManifest, config: Config): void {
  if (tree === config.tree) return;
  throw new LookasideError(
    'CONFIG_INVALID',
    tree === 'owned'
      ? 'the backup holds the signatures of an owned tree, which belong to DATA/sigstore; leave --root and LOOKASIDE_ROOT out'
      : 'the backup was made beside a shared tree, and has no signatures but those in state.db; name that tree with --root',
  );
}

export interface LocalAdministrationOptions {
  readonly config: Config;
  readonly taker: LockTaker;
  /** For asking the server that holds the data directory. */
  readonly asking: Omit<AskerOptions, 'at'>;
}

export interface LocalAdministration extends Administration {
  [Symbol.asyncDispose](): Promise<void>;
}

/**
 * The administration of the data directory on this machine. It reads keys, tokens and what fsck without repair needs from the
 * files, which it opens for reading alone: no server is needed or waited for. Everything else takes the lock, or is done by
 * the server that holds it. That includes about(), which names the tree that changes go to.
 * @throws LookasideError also ALREADY_RUNNING when another command line holds the lock
 */
export function administerHere(options: LocalAdministrationOptions): LocalAdministration {
  const { config } = options;
  const reads = readAdministration(config);
  let changing: Promise<LocalAdministration> | null = null;
  const changes = () => {
    changing ??= openForChanges(options);
    return changing;
  };
  return {
    about: async () => (await changes()).about(),
    keys: { ...reads.keys, add: async (untrusted) => (await changes()).keys.add(untrusted) },
    tokens: {
      ...reads.tokens,
      create: async (name, role) => (await changes()).tokens.create(name, role),
      revoke: async (name) => (await changes()).tokens.revoke(name),
    },
    fsck: async (request) => (request.repair ? (await changes()).fsck(request) : reads.fsck(request)),
    reindex: async (request) => (await changes()).reindex(request),
    importBatch: async (...batch) => (await changes()).importBatch(...batch),
    async [Symbol.asyncDispose]() {
      const opened = await changing?.catch(() => null); // who asked for the change was told
      await opened?.[Symbol.asyncDispose]();
    },
  };
}

async function openForChanges(options: LocalAdministrationOptions): Promise<LocalAdministration> {
  try {
    return await administerAlone(options);
  } catch (error) {
    if (!isLookasideError(error, 'ALREADY_RUNNING') || isOtherCommand(error)) throw error;
    const at = { socketPath: socketPathOf(options.config), isHeld: true };
    return connectAdministration({ at, ...options.asking });
  }
}

async function administerAlone({
  config,
  taker,
}: Pick<LocalAdministrationOptions, 'config' | 'taker'>): Promise<LocalAdministration> {
  const log = createLog('warn');
  const composed = await compose({ config, current: () => config, log, taker });
  const services = { ...composed, clock: systemClock, about: config };
  return {
    ...createAdministration(services, ADMINISTRATOR),
    [Symbol.asyncDispose]: () => composed[Symbol.asyncDispose](),
  };
}

/** Another command line, which listens to nobody. */
function isOtherCommand({ detail }: LookasideError): boolean {
  const command = detail?.command;
  return typeof command === 'string' && !isServer({ command });
}

interface ReadAdministration {
  readonly keys: Pick<Administration['keys'], 'list' | 'show'>;
  readonly tokens: Pick<Administration['tokens'], 'list'>;
  /** Without repair. */
  readonly fsck: Administration['fsck'];
}

/** What changes nothing, beside a running server too. It throws STATE_UNUSABLE and STORE_UNAVAILABLE as well. */
function readAdministration(config: Config): ReadAdministration {
  return {
    keys: {
      list: () => withKeys(config, (keys) => shownKeys(keys, systemClock.now())),
      show: (name) => withKeys(config, (keys) => exportedKey(keys, name, systemClock.now())),
    },
    tokens: { list: () => listTokens(config) },
    fsck: ({ onProgress = () => undefined }) => fsckReadOnly(config, createLog('error'), onProgress),
  };
}

async function listTokens({ data }: Config): Promise<readonly Token[]> {
  const tokens = openTokensReadOnly(data);
  try {
    return (await tokens?.list()) ?? [];
  } finally {
    tokens?.close();
  }
}

type ReadKeys = Pick<KeyService, 'list' | 'find' | 'armor' | 'warnings'>;

async function withKeys<T>({ data }: Config, act: (keys: ReadKeys) => Promise<T>): Promise<T> {
  const keys = openKeysReadOnly(data);
  try {
    return await act({
      list: async () => (await keys?.list()) ?? [],
      find: (name) => findKey(keys ?? NO_KEYS, name),
      armor: ({ certificate }) => armorPublicKey(certificate),
      warnings: ({ certificate }) => warningsOfCertificate(certificate),
    });
  } finally {
    keys?.close();
  }
}

/** The keys, beside a running server too. @throws LookasideError STATE_UNUSABLE, STORE_UNAVAILABLE; whatever `act` throws */
export function readKeys<T>(config: Config, act: (keys: KeyReader) => Promise<T>): Promise<T> {
  return withKeys(config, (keys) =>
    act({
      ...keys,
      armorAll: (chosen) => armorPublicKey(Buffer.concat(chosen.map(({ certificate }) => certificate))),
    }),
  );
}

export interface KeyReader extends ReadKeys {
  /** All in one block: some clients read no second one. */
  armorAll(keys: readonly RegisteredKey[]): string;
}

const NO_KEYS = { list: async () => [], find: async () => null };

/** An owned tree moves with its data directory; a shared one is the one at that place. */
function treeName({ tree, root }: Config): string {
  return tree === 'owned' ? 'owned' : `shared ${root}`;
}

function openSiteTree(config: Config): Tree {
  return openTree({
    root: config.root,
    nowMs: Date.now,
    beingWrittenMs: BEING_WRITTEN_MS,
    isWhole: isWholeSignature,
  });
}

function sha256Hex(content: Uint8Array | string): string {
  return createHash('sha256').update(content).digest('hex');
}

async function isComplete(index: SignatureIndex): Promise<boolean> {
  try {
    return await index.isComplete(DEFAULT_SITE);
  } catch {
    return false; // INDEX_UNUSABLE: being made anew
  }
}

function writerFault(databases: Databases): string | null {
  const { state, index, access } = databases.health();
  for (const [name, lane] of Object.entries({
    'state.db': state,
    'index.db': index,
    'the access log': access,
  })) {
    if (lane.lastWriteSucceeded === false) return `the last write to ${name} failed; the log says why`;
    if (lane.lockedTries > 0) return `${name} is locked by another process; writes wait`;
  }
  return null;
}

/** Of a data directory that has no state.db yet. */
const NO_UPLOADS = { ofImage: async () => [] };

/** An index that knows nothing, for a data directory that has none yet. */
const NO_INDEX: SignatureIndex = {
  recorded: async () => [],
  treeOf: async () => '',
  listFolder: async () => ({ names: [], next: null }),
  hasChild: async () => false,
  images: async () => [],
  counts: async () => ({ images: 0, signatures: 0 }),
  isComplete: async () => false,
  record: refuseWrite,
  forgetFolder: refuseWrite,
  markComplete: refuseWrite,
  bind: refuseWrite,
  reset: refuseWrite,
};

function refuseWrite(): Promise<never> {
  return Promise.reject(new Error('a read-only command tried to write to the index'));
}
