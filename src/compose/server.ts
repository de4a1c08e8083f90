// The process that owns a data directory: builds what a configuration asks for, and closes it in order.
import { randomBytes } from 'node:crypto';
import { setImmediate as breathe, setTimeout as wait } from 'node:timers/promises';
import type { Config } from '../config.ts';
import { isLookasideError } from '../domain/errors.ts';
import { DEFAULT_SITE, type ImageId } from '../domain/image.ts';
import type { Log, SignatureIndex } from '../domain/ports.ts';
import type { Tree } from '../domain/tree.ts';
import { readIntents } from '../files/intents.ts';
import { makeRoot } from '../files/tree.ts';
import { openTreeWriter } from '../files/tree-writer.ts';
import { openVerifier } from '../openpgp/pool.ts';
import { type AccessRecorder, type AccessUpkeep, createAccessRecorder } from '../service/access.ts';
import { createEventMaker, SERVER } from '../service/audit.ts';
import { type Browser, createBrowser } from '../service/browse.ts';
import { createFewLines, type FewLines } from '../service/few-lines.ts';
import { createHealth, type Health } from '../service/health.ts';
import { createImporter, type Importer } from '../service/import.ts';
import { createJudge, type Judge } from '../service/judge.ts';
import { createKeyService, type KeyService } from '../service/keys.ts';
import { createProblemRegister, type ProblemRegister } from '../service/problems.ts';
import { createReader, type Reader } from '../service/read.ts';
import { createRefusalRecorder, type RefusalRecorder } from '../service/refusals.ts';
import { createSignatureQueries, type SignatureQueries } from '../service/signatures.ts';
import { createTokenService, type TokenService } from '../service/tokens.ts';
import { createUpkeep, type Upkeep } from '../service/upkeep.ts';
import { createUploader, type Uploader } from '../service/upload.ts';
import { type Databases, openDatabases } from '../sqlite/databases.ts';
import { type LockTaker, takeLock } from '../sqlite/lock.ts';
import { type Appender, createAppender } from '../store/append.ts';
import { createImageChanges } from '../store/image-changes.ts';
import { createScanner } from '../store/scan.ts';
import { createTreeStore } from '../store/tree-store.ts';
import { systemClock } from './clock.ts';
import { bindIndex, isComplete, openSiteTree, sha256Hex } from './site.ts';

const SET_CACHE_BYTES = 64 * 1024 * 1024;

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
        composed.fewLines.sumUp();
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
        'index.db cannot be used; it is rebuilt from the tree, and reads go to the tree meanwhile',
      );
      upkeep?.rebuild();
    },
  });
  if (databases.indexReplacedBecause !== null) {
    log.warn(
      { reason: databases.indexReplacedBecause },
      'index.db could not be used; it is rebuilt from the tree',
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

/** Reads need nothing of what a crash left half done, so they are served even when it cannot be looked at. */
async function recover(appender: Appender, log: Log): Promise<void> {
  try {
    await appender.recover();
  } catch (error) {
    if (!isLookasideError(error, 'STORE_UNAVAILABLE')) throw error;
    log.error(
      { err: error },
      'interrupted uploads could not be finished; this is tried again at the next start',
    );
  }
}

type OwnedOptions = Omit<ComposeOptions, 'taker'>;

interface Connections extends OwnedOptions {
  readonly databases: Databases;
}

async function connect({ config, current, log: everyLine, databases }: Connections) {
  // below a tree of any size and on a disk that fails, no line may come once for each file
  const log = createFewLines({ log: everyLine, wait: (ms) => wait(ms, undefined, { ref: false }) });
  const { index, access: accessLog, keys: keyStore, uploads, audit } = databases;
  const clock = systemClock;
  const tree = openSiteTree(config);
  const writer = openTreeWriter({ root: config.root, nowMs: Date.now });
  const problems = createProblemRegister(log.listedBy('lookaside fsck'));
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
  const badLog = log.listedBy('GET /api/v1/signatures?state=bad and ?state=unreadable');
  const judge = createJudge({ site: DEFAULT_SITE, index, store, verifier, clock, log, badLog });
  const verifyAgain = async (issuers: readonly string[]) => {
    await index.judgeAgain(DEFAULT_SITE, issuers);
    judge.wake();
  };
  const upkeep = createUpkeep({
    site: DEFAULT_SITE,
    scanner: { ...scanner, scan: (...what) => toldAsOne(scanner.scan(...what), judge, log) },
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
      remaps: () => current().remaps,
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
      countByKey: (fingerprint) => index.countByKey(DEFAULT_SITE, fingerprint),
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
    fewLines: log,
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

/** A scan, and in the log with it the verdicts on what it has found. */
function toldAsOne<T>(scan: Promise<T>, judge: Judge, fewLines: FewLines): Promise<T> {
  void fewLines.during(scan.then(judge.settled, judge.settled));
  return scan.finally(judge.wake);
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
