// The process that owns a data directory: builds everything that a configuration asks for, and closes it in order.
import { randomBytes } from 'node:crypto';
import { setImmediate as breathe, setTimeout as wait } from 'node:timers/promises';
import type { Config } from '../config.ts';
import { createTurns } from '../domain/concurrency.ts';
import { isLookasideError } from '../domain/errors.ts';
import { DEFAULT_SITE } from '../domain/image.ts';
import type { Log, SignatureIndex, SignatureStore } from '../domain/ports.ts';
import { parsePayload } from '../domain/simple-signing.ts';
import { type Site, type SitePlace, siteOf } from '../domain/site.ts';
import type { Claim } from '../domain/verdict.ts';
import { openVerifier } from '../openpgp/pool.ts';
import { untrustedVersion6Content } from '../openpgp/structure.ts';
import { type AccessRecorder, type AccessUpkeep, createAccessRecorder } from '../service/access.ts';
import { createEventMaker, type MakeEvent } from '../service/audit.ts';
import { type Browser, createBrowser } from '../service/browse.ts';
import { createFeed, type Feed } from '../service/feed.ts';
import { createFewLines } from '../service/few-lines.ts';
import { createHealth, type Health, type SiteSources } from '../service/health.ts';
import { createImporter, type Importer } from '../service/import.ts';
import type { Judge } from '../service/judge.ts';
import { createKeyService, type KeyService } from '../service/keys.ts';
import type { LogKeeper } from '../service/log-keeper.ts';
import { createMirrors, type MirrorService } from '../service/mirrors.ts';
import { createReader, type Reader } from '../service/read.ts';
import { createReadyQuestions, type ReadyQuestions } from '../service/ready-questions.ts';
import { createRecords, type Records } from '../service/records.ts';
import { createRefusalRecorder, type RefusalRecorder } from '../service/refusals.ts';
import { createSignatureQueries, type SignatureQueries } from '../service/signatures.ts';
import { createSignerService, type SignerService } from '../service/signers.ts';
import { createSitesJudge } from '../service/sites-judge.ts';
import { createSitesUpkeep } from '../service/sites-upkeep.ts';
import { createTokenService, type TokenService } from '../service/tokens.ts';
import type { Upkeep } from '../service/upkeep.ts';
import { createUploader, type Uploader } from '../service/upload.ts';
import { createWithdrawService, type WithdrawService } from '../service/withdraw.ts';
import type { Witness } from '../service/witness.ts';
import { type Databases, openDatabases } from '../sqlite/databases.ts';
import { type LockTaker, takeLock } from '../sqlite/lock.ts';
import { createSitesStore } from '../store/sites.ts';
import { systemClock } from './clock.ts';
import { openLogs } from './log-keeper.ts';
import { createOpenSites, isMirror, type OpenSites, siteOfMirror } from './open-sites.ts';
import { type OpenSite, type SharedParts, sha256Hex } from './site.ts';

/** Equal to the precision of the times that it writes. */
const USES_EVERY_MS = 60_000;
/** Withdrawals end to the minute. */
const PUT_BACK_EVERY_MS = 60_000;
const SET_CACHE_BYTES = 64 * 1024 * 1024;

export interface Composed {
  /** As they are now: mirrors come and go. */
  readonly sites: readonly OpenSite[];
  readonly places: () => readonly SitePlace[];
  readonly mirrors: MirrorService;
  readonly reader: Reader;
  readonly browser: Browser;
  readonly signatures: SignatureQueries;
  readonly recorder: AccessRecorder;
  readonly records: Records;
  readonly feed: Feed;
  readonly readyQuestions: ReadyQuestions;
  readonly accessLog: AccessUpkeep['accessLog'];
  readonly tokens: TokenService;
  readonly signers: SignerService;
  readonly keys: KeyService;
  readonly uploader: Uploader;
  readonly withdrawals: WithdrawService;
  readonly refusals: RefusalRecorder;
  readonly importer: Importer;
  readonly judge: Judge;
  readonly upkeep: Upkeep;
  readonly index: SignatureIndex;
  /** Of the audit events. */
  readonly auditLog: LogKeeper;
  /** Of other logs; null when none are named. */
  readonly witness: Witness | null;
  health(isDraining: () => boolean): () => Promise<Health>;
  /** Prepares the end: scans, fsck and reindex stop, and writes wait at most 5 s more for locks of other processes. */
  hurry(): void;
  /** Stops scanning, writes what is queued, closes the databases, releases the lock. */
  [Symbol.asyncDispose](): Promise<void>;
}

export interface ComposeOptions {
  readonly config: Config;
  /** The current configuration: a reload may change it. */
  readonly current: () => Config;
  /** At least one; each with its own name, prefix and tree. Mirrors come from the database. */
  readonly sites: readonly Site[];
  readonly log: Log;
  /** Named to other commands that find the data directory locked. */
  readonly taker: LockTaker;
  /** Goes on although the log of audit events is not the one that was signed before. */
  readonly acceptRollback?: boolean;
}

/**
 * Opens the data directory as its one owner.
 * @throws LookasideError ALREADY_RUNNING, STATE_UNUSABLE, STORE_UNAVAILABLE
 */
export async function compose(options: ComposeOptions): Promise<Composed> {
  const lock = takeLock(options.config.data, options.taker);
  try {
    const { composed, databases } = await openOwned(options);
    const noting = setInterval(() => void composed.tokens.writeUses(), USES_EVERY_MS).unref();
    const puttingBack = setInterval(() => void composed.withdrawals.putBack(), PUT_BACK_EVERY_MS).unref();
    return {
      ...composed,
      hurry() {
        void composed.upkeep.stop(); // waited for below
        void composed.stopMirrors();
        databases.hurry();
      },
      async [Symbol.asyncDispose]() {
        clearInterval(noting);
        clearInterval(puttingBack);
        await Promise.all([composed.upkeep.stop(), composed.judge.stop(), composed.stopMirrors()]);
        await Promise.all(composed.sites.map(({ appender }) => appender.idle()));
        await composed.refusals.stop();
        await composed.tokens.writeUses();
        await composed.auditLog.stop();
        await composed.cosigning?.close();
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

async function openOwned(options: ComposeOptions) {
  const { config, log } = options;
  let upkeep: Upkeep | null = null;
  let reader: Reader | null = null;
  let auditLog: LogKeeper | null = null;
  const databases = await openDatabases({
    dataDir: config.data,
    onIndexWritten(images) {
      if (images === null) reader?.forgetAll();
      else for (const image of images) reader?.forget(image);
    },
    onStateChanged: () => auditLog?.noteEvent(),
    onUnusable: (reason) => {
      log.error(
        { reason },
        'index.db cannot be used; it is rebuilt from the trees, and reads go to the trees meanwhile',
      );
      upkeep?.rebuild();
    },
  });
  if (databases.indexReplacedBecause !== null) {
    log.warn(
      { reason: databases.indexReplacedBecause },
      'index.db could not be used; it is rebuilt from the trees',
    );
  }
  try {
    const composed = await connect({ ...options, databases });
    ({ upkeep, reader, auditLog } = composed);
    if (databases.index.unusable !== null) upkeep.rebuild();
    for (const site of composed.sites) await recover(site, log);
    await composed.withdrawals.putBack();
    return { composed, databases };
  } catch (error) {
    await databases.close();
    throw error;
  }
}

/** Reads need nothing that a crash left unfinished, so they are served even when that cannot be read. */
async function recover({ name: site, appender }: OpenSite, log: Log): Promise<void> {
  try {
    await appender.recover();
  } catch (error) {
    if (!isLookasideError(error, 'STORE_UNAVAILABLE')) throw error;
    log.error(
      { site, err: error },
      'interrupted uploads and withdrawals could not be finished; this is tried again at the next start',
    );
  }
}

interface Connections extends ComposeOptions {
  readonly databases: Databases;
}

async function connect(options: Connections) {
  const { config, current, sites: wanted, log: everyLine, databases } = options;
  // on a failing disk, a large tree must not cause one line for each file
  const log = createFewLines({ log: everyLine, wait: (ms) => wait(ms, undefined, { ref: false }) });
  const { index, access: accessLog, keys: keyStore, uploads, audit } = databases;
  const clock = systemClock;
  const makeEvent = createEventMaker({ clock, randomBytes });
  const { auditLog, witness, cosigning } = await openLogs(options, { makeEvent, log });
  const verifier = openVerifier();
  const refusals = createRefusalRecorder({ audit, makeEvent, clock, log });
  const recorder = createAccessRecorder({ log, clock, accessLog });
  const turns = createTurns();

  const shared: SharedParts = {
    databases,
    verifier,
    makeEvent,
    clock,
    log,
    minFreeBytes: () => current().minFreeBytes,
    hasProxies: config.remote.hasProxies,
    scanIntervalMs: () => current().scanIntervalMs,
    takeTurn: (walk) => turns.take('walk', walk),
    // created below: the sites, the reader and the upkeep call each other
    onChanged: (image) => reader.forget(image),
    onIndexReset: (site) => upkeep.indexWasReset(site),
  };
  const open = createOpenSites(shared);
  for (const site of wanted) await open.open(site);
  for (const mirror of await databases.mirrors.list()) await open.open(siteOfMirror(config.data, mirror));
  const { all: sites } = open;
  const store = createSitesStore(sites, open.places);
  const judge = createSitesJudge(open.judges);
  const upkeep = createSitesUpkeep(open.upkeeps);
  const reader = createReader({ store, clock, cacheBytes: SET_CACHE_BYTES });
  const verifyAgain = async (issuers: readonly string[]) => {
    for (const { name } of sites) await index.judgeAgain(name, issuers);
    judge.wake();
  };
  const signatures = createSignatureQueries({
    get sites() {
      return sites.map(({ name }) => name);
    },
    index,
    keys: keyStore,
    uploads,
    reader,
    clock,
    breathe,
  });
  const { tokens, signers } = createAccess(options, { makeEvent, clock, log });
  const records = openRecords(options, { makeEvent, recorder });
  return {
    auditLog,
    witness,
    cosigning,
    sites,
    places: open.places,
    stopMirrors: () => open.stop(),
    mirrors: openMirrors({ open, data: config.data, databases, store, makeEvent }),
    reader,
    browser: createBrowser({ store, reader, signatures }),
    signatures,
    uploader: createUploader({
      verifier,
      keys: keyStore,
      appender: store,
      judgeImage: judge.judgeImage,
      refusals,
      makeEvent,
      clock,
      sha256: sha256Hex,
      maxBytes: () => current().maxSignatureBytes,
      remaps: () => current().remaps,
      permit: signers.permit,
      unverifiable: {
        accepted: () => current().acceptUnsupported,
        untrustedClaim: untrustedVersion6Claim,
        readBlob: store.readBlob,
        uploads,
      },
    }),
    withdrawals: createWithdrawService({
      appender: store,
      tombstones: databases.tombstones,
      makeEvent,
      clock,
      isAppendOnly: () => current().appendOnly,
      log,
    }),
    refusals,
    importer: createImporter({
      treeOf: (name) => siteOf(sites, name).tree,
      verifier,
      keys: keyStore,
      appender: store,
      uploads,
      reader,
      makeEvent,
      clock,
      sha256: sha256Hex,
      keyringChanges: () => judge.keyringChanges,
      verifyAgain,
    }),
    keys: await openKeys(shared, { sites, judge, verifyAgain }),
    recorder,
    accessLog,
    records,
    feed: createFeed({ audit, makeEvent, clock, wait: (ms) => wait(ms, undefined, { ref: false }) }),
    readyQuestions: createReadyQuestions({ records, signatures, clock }),
    tokens,
    signers,
    upkeep: {
      ...upkeep,
      start() {
        open.start();
        upkeep.start();
      },
    },
    judge,
    verifier,
    fewLines: log,
    index,
    health: (isDraining: () => boolean) =>
      createHealth({
        get sites() {
          return sites.map((site) => healthOf(site, index));
        },
        dataFreeBytes: databases.freeBytes,
        minFreeBytes: () => current().minFreeBytes,
        writerFault: () => writerFault(databases),
        isDraining,
        wait,
        log,
      }),
  };
}

interface KeyParts {
  readonly sites: readonly OpenSite[];
  readonly judge: Pick<Judge, 'keysChanged'>;
  readonly verifyAgain: (issuers: readonly string[]) => Promise<void>;
}

function openKeys(
  { databases, verifier, makeEvent, clock }: SharedParts,
  { sites, judge, verifyAgain }: KeyParts,
): Promise<KeyService> {
  const { keys: store, audit, index } = databases;
  return createKeyService({
    store,
    audit,
    verifier,
    makeEvent,
    clock,
    async countByKey(fingerprint) {
      const counts = await Promise.all(sites.map(({ name }) => index.countByKey(name, fingerprint)));
      return counts.reduce((sum, count) => sum + count, 0);
    },
    async onChanged(issuers) {
      judge.keysChanged();
      await verifyAgain(issuers);
    },
  });
}

/** Who asks for a person, or takes rows away, is written down. */
function openRecords(
  { databases }: Connections,
  { makeEvent, recorder }: { readonly makeEvent: MakeEvent; readonly recorder: AccessRecorder },
): Records {
  return createRecords({
    lookups: databases.questions,
    recorder,
    audit: databases.audit,
    makeEvent,
    sha256: sha256Hex,
    wait: (ms) => wait(ms, undefined, { ref: false }),
    eraser: databases.eraser,
    clock: systemClock,
  });
}

/** Who may do what. */
function createAccess(
  { current, databases }: Connections,
  { makeEvent, clock, log }: Pick<SharedParts, 'makeEvent' | 'clock' | 'log'>,
): { readonly tokens: TokenService; readonly signers: SignerService } {
  const tokens = createTokenService({
    store: databases.tokens,
    clock,
    makeEvent,
    randomBytes,
    sha256: sha256Hex,
    log,
  });
  const signers = createSignerService({
    signers: databases.signers,
    grants: databases.grants,
    keys: databases.keys,
    listTokens: tokens.list,
    clock,
    makeEvent,
    requireGrants: () => current().requireGrants,
  });
  return { tokens, signers };
}

interface MirrorParts {
  readonly open: OpenSites;
  readonly data: string;
  readonly databases: Databases;
  readonly store: Pick<SignatureStore, 'listFolder'>;
  readonly makeEvent: MakeEvent;
}

function openMirrors({ open, data, databases, store, makeEvent }: MirrorParts): MirrorService {
  return createMirrors({
    store: databases.mirrors,
    open: () =>
      open.all.filter(isMirror).map(({ name, mirror: stored, filling: { mirror, walker } }) => ({
        stored,
        mirror,
        restingMs: walker.restingMs,
        counts: () => databases.index.counts(name).catch(() => null), // INDEX_UNUSABLE: being rebuilt
      })),
    put: (mirror) => open.putMirror(siteOfMirror(data, mirror)),
    take: (name) => open.take(name),
    listHosted: (folder) => store.listFolder(DEFAULT_SITE, folder, null, 1),
    makeEvent,
    appendEvent: (event) => databases.audit.append(event),
    clock: systemClock,
  });
}

function healthOf(site: OpenSite, index: SignatureIndex): SiteSources {
  const { name, tree, files, problems, upkeep } = site;
  return {
    name,
    tree,
    checkTree: () => files.check(),
    isTreeWritable: () => files.isWritable(),
    freeBytes: () => site.freeBytes(),
    index: async () => ({
      isComplete: await isComplete(index, name),
      isScanning: upkeep.status.isScanning,
      error: upkeep.status.lastError,
    }),
    fault: () => site.fault,
    damaged: () => problems.damaged,
  };
}

async function isComplete(index: SignatureIndex, site: string): Promise<boolean> {
  try {
    return await index.isComplete(site);
  } catch {
    return false; // INDEX_UNUSABLE: being rebuilt
  }
}

/** Of a payload that nobody has verified. */
function untrustedVersion6Claim(untrusted: Uint8Array): Claim | null {
  const content = untrustedVersion6Content(untrusted);
  try {
    return content === null ? null : parsePayload(content).claim;
  } catch (error) {
    if (isLookasideError(error, 'PAYLOAD_INVALID')) return null;
    throw error;
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
