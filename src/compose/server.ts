// The process that owns a data directory: builds everything that a configuration asks for, and closes it in order.
import { randomBytes } from 'node:crypto';
import { setImmediate as breathe, setTimeout as wait } from 'node:timers/promises';
import type { Config } from '../config.ts';
import { createTurns } from '../domain/concurrency.ts';
import { isLookasideError } from '../domain/errors.ts';
import { DEFAULT_SITE, type ImageId } from '../domain/image.ts';
import { hasRuleFor } from '../domain/log-in-provider.ts';
import type { Log, SignatureAppender, SignatureIndex, SignatureStore, Verifier } from '../domain/ports.ts';
import type { RecordLookups } from '../domain/records.ts';
import { type Site, type SitePlace, siteOf } from '../domain/site.ts';
import { openVerifier } from '../openpgp/pool.ts';
import { type AccessRecorder, type AccessUpkeep, createAccessRecorder } from '../service/access.ts';
import { type AccessRulesService, createAccessRules } from '../service/access-rules.ts';
import { createEventMaker, type MakeEvent } from '../service/audit.ts';
import { type Browser, createBrowser } from '../service/browse.ts';
import { createFeed, type Feed } from '../service/feed.ts';
import { createFewLines } from '../service/few-lines.ts';
import { createHealth, type Health, type SiteSources } from '../service/health.ts';
import { createImporter, type Importer } from '../service/import.ts';
import type { Judge } from '../service/judge.ts';
import { createKeyExpiryWarnings } from '../service/key-expiry.ts';
import type { KeyRefresher } from '../service/key-refresh.ts';
import { createKeyService, type KeyService } from '../service/keys.ts';
import type { LogIns } from '../service/log-ins.ts';
import type { LogKeeper } from '../service/log-keeper.ts';
import { proveEvent } from '../service/log-proofs.ts';
import { createMirrors, type MirrorService } from '../service/mirrors.ts';
import { missedImages } from '../service/missed-images.ts';
import { createOverview, type OverviewService } from '../service/overview.ts';
import { createReader, type Reader } from '../service/read.ts';
import { createReadyQuestions, type ReadyQuestions } from '../service/ready-questions.ts';
import { createRecords, type Records } from '../service/records.ts';
import { createRefusalRecorder, type RefusalRecorder } from '../service/refusals.ts';
import { createReleaseView, showingReleases } from '../service/release-view.ts';
import { createRepositoryList, type RepositoryList } from '../service/repositories.ts';
import { createRevocations, type RevocationService } from '../service/revocation.ts';
import { createRotation, type RotationService } from '../service/rotation.ts';
import { createSessionService, type SessionService } from '../service/sessions.ts';
import {
  createCertificateRecord,
  createSettingsRecord,
  type RecordCertificate,
  type RecordSettings,
} from '../service/settings-record.ts';
import { createSignatureQueries, type SignatureQueries } from '../service/signatures.ts';
import { createSignerService, type SignerService } from '../service/signers.ts';
import { createSitesJudge } from '../service/sites-judge.ts';
import { createSitesUpkeep } from '../service/sites-upkeep.ts';
import { createSubjectService, type SubjectService } from '../service/subjects.ts';
import { createTokenService, type TokenService } from '../service/tokens.ts';
import type { Upkeep } from '../service/upkeep.ts';
import { createUploader, type Uploader } from '../service/upload.ts';
import { createWithdrawService, type WithdrawService } from '../service/withdraw.ts';
import type { Witness } from '../service/witness.ts';
import { type Databases, openDatabases } from '../sqlite/databases.ts';
import { type LockTaker, takeLock } from '../sqlite/lock.ts';
import type { PackedDays } from '../sqlite/packed-days.ts';
import { createSitesStore } from '../store/sites.ts';
import { systemClock } from './clock.ts';
import { type OpenedIdentities, openIdentities } from './identities.ts';
import { openKeyRefresh } from './key-refreshing.ts';
import { type OpenedLogIns, openLogIns, readLogInProviders } from './log-ins.ts';
import { openLogs } from './log-keeper.ts';
import { createOpenSites, isMirror, type OpenSites, siteOfMirror } from './open-sites.ts';
import { type OpenSite, type SharedParts, sha256Hex } from './site.ts';
import { untrustedVersion6Claim } from './untrusted-claim.ts';

/** Equal to the precision of the times that it writes. */
const USES_EVERY_MS = 60_000;
/** Withdrawals end to the minute. */
const PUT_BACK_EVERY_MS = 60_000;
const SET_CACHE_BYTES = 64 * 1024 * 1024;

export interface Composed {
  /** As they are now: mirrors come and go. */
  readonly sites: readonly ServedSite[];
  readonly places: () => readonly SitePlace[];
  readonly mirrors: MirrorService;
  readonly reader: Reader;
  readonly browser: Browser;
  readonly signatures: SignatureQueries;
  readonly repositories: RepositoryList;
  readonly proveEvent: (seq: number) => Promise<string>;
  readonly overview: OverviewService;
  readonly recorder: AccessRecorder;
  readonly records: Records;
  readonly feed: Feed;
  readonly readyQuestions: ReadyQuestions;
  readonly rotation: RotationService;
  readonly lookups: RecordLookups;
  readonly revocations: RevocationService;
  readonly accessLog: AccessUpkeep['accessLog'];
  /** Rows of the record that a reader process has packed; null: this one has none. */
  readonly writePackedRows: ((days: PackedDays) => Promise<void>) | null;
  readonly tokens: TokenService;
  /** The log-ins of the web pages. */
  readonly sessions: SessionService;
  readonly logIns: LogIns;
  readonly signers: SignerService;
  readonly subjects: SubjectService;
  readonly rules: AccessRulesService;
  /** Closed with the rest. */
  readonly identities: OpenedIdentities;
  readonly keys: KeyService;
  readonly keyRefresher: Pick<KeyRefresher, 'sources' | 'refreshNow'>;
  /** How many signatures verified by the key. @throws INDEX_UNUSABLE */
  readonly countByKey: (fingerprint: string) => Promise<number>;
  readonly uploader: Uploader;
  readonly withdrawals: WithdrawService;
  readonly refusals: RefusalRecorder;
  readonly importer: Importer;
  readonly judge: Judge;
  readonly upkeep: Upkeep;
  readonly index: Pick<SignatureIndex, 'counts'>;
  /** The log of audit events. */
  readonly auditLog: LogKeeper;
  /** Cosigns other logs; null when none are named. */
  readonly witness: Witness | null;
  health(isDraining: () => boolean): () => Promise<Health>;
  readonly recordSettings: RecordSettings;
  readonly recordCertificate: RecordCertificate;
  /** Prepares the end: scans, fsck and reindex stop, and writes wait at most 5 s more for locks of other processes. */
  hurry(): void;
  /** Stops scanning, writes what is queued, closes the databases, releases the lock. */
  [Symbol.asyncDispose](): Promise<void>;
}

/** What the server tells of a site. */
export interface ServedSite extends Site, Pick<OpenSite, 'problems' | 'filling'> {
  readonly files: Pick<OpenSite['files'], 'isWritable'>;
}

/** The reader processes of a server, as what they read from sees them. */
export interface ReadersBeside {
  /** Null: any image may have changed. */
  forgotten(image: ImageId | null): void;
  /** Has them write their rows of the record. */
  flush(): Promise<void>;
  readonly buffer: AccessRecorder['buffer'];
  /** What is wrong with them, in a sentence, or null. */
  readonly fault: string | null;
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
  /** People log in through this process: it reads LOOKASIDE_OIDC_LOGIN. */
  readonly offersLogIns?: boolean;
  /** Left out: this process alone answers reads. */
  readonly readers?: ReadersBeside;
}

/**
 * Opens the data directory as its one owner.
 * @throws LookasideError ALREADY_RUNNING, STATE_UNUSABLE, STORE_UNAVAILABLE
 */
export async function compose(
  options: ComposeOptions,
): Promise<Omit<Composed, 'sites'> & { readonly sites: readonly OpenSite[] }> {
  const lock = takeLock(options.config.data, options.taker);
  try {
    const { composed, databases } = await openOwned(options);
    const noting = setInterval(() => void composed.tokens.writeUses(), USES_EVERY_MS).unref();
    const puttingBack = setInterval(() => void composed.withdrawals.putBack(), PUT_BACK_EVERY_MS).unref();
    const withdrawing = setInterval(() => void composed.revocations.carryOutAll(), PUT_BACK_EVERY_MS).unref();
    const keyExpiry = createKeyExpiryWarnings({
      keys: composed.keys,
      clock: systemClock,
      log: options.log,
      wait: (ms) => wait(ms, undefined, { ref: false }),
    });
    const refreshing = openKeyRefresh(options, composed.keys);
    return {
      ...composed,
      keyRefresher: refreshing.refresher,
      upkeep: {
        ...composed.upkeep,
        start() {
          composed.upkeep.start();
          keyExpiry.start();
          refreshing.start();
          void composed.revocations.carryOutAll(); // what a crash has cut short
        },
      },
      hurry() {
        void composed.upkeep.stop(); // waited for below
        void composed.stopMirrors();
        databases.hurry();
      },
      async [Symbol.asyncDispose]() {
        clearInterval(noting);
        clearInterval(puttingBack);
        clearInterval(withdrawing);
        keyExpiry.stop();
        await refreshing.close();
        const { upkeep, judge, revocations } = composed;
        await Promise.all([upkeep.stop(), judge.stop(), composed.stopMirrors(), revocations.stop()]);
        await Promise.all(composed.sites.map(({ appender }) => appender.idle()));
        await composed.refusals.stop();
        await composed.tokens.writeUses();
        await composed.auditLog.stop();
        await composed.cosigning?.close();
        await composed.identities.close();
        await composed.logIns.close();
        await databases.close();
        await Promise.all(composed.sites.map((site) => site.close()));
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
  const releases = createReleaseView({ store, index, settings: () => current().releases });
  const reader = createReader({
    store: releases.store,
    clock,
    cacheBytes: SET_CACHE_BYTES,
    onForgotten: (image) => options.readers?.forgotten(image),
  });
  const verifyAgain = async (issuers: readonly string[]) => {
    for (const { name } of sites) await index.judgeAgain(name, issuers);
    judge.wake();
  };
  const signatures = createSignatureQueries({
    get sites() {
      return sites.map(({ name }) => name);
    },
    index: showingReleases(index, releases),
    keys: keyStore,
    uploads,
    reader,
    verifier,
    clock,
    breathe,
  });
  const access = await createAccess(options, { makeEvent, clock, log, refusals });
  const { signers } = access;
  const records = openRecords(options, { makeEvent, recorder });
  const keys = await openKeys(shared, { sites, judge, verifyAgain });
  return {
    auditLog,
    witness,
    cosigning,
    sites,
    places: open.places,
    stopMirrors: () => open.stop(),
    mirrors: openMirrors({ open, data: config.data, databases, store, reader, makeEvent, records }),
    reader,
    browser: createBrowser({ store, reader, signatures }),
    signatures,
    repositories: createRepositoryList({ index, breathe }),
    overview: createOverview({ records, clock, wait, log }),
    proveEvent: (seq: number) => proveEvent(databases.log, seq, wait),
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
      sites: () => sites.map(({ name }) => name),
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
    keys,
    revocations: openRevocations(options, { keys, store, verifier, sites, log }),
    countByKey: countByKey(sites, index),
    rules: createAccessRules({
      ...databases,
      store: databases.rules,
      keys,
      makeEvent,
      clock,
      sha256: sha256Hex,
    }),
    recorder,
    accessLog,
    writePackedRows: (days: PackedDays) => accessLog.writePacked(days),
    records,
    ...openQuestions(databases, { makeEvent, records, signatures, auditLog }),
    ...access,
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
    recordSettings: createSettingsRecord({ audit, makeEvent, log }),
    recordCertificate: createCertificateRecord({ audit, makeEvent, log }),
    index,
    health: openHealth(options, { sites, log }),
  };
}

interface HealthParts {
  readonly sites: readonly OpenSite[];
  readonly log: Log;
}

function openHealth(
  { current, databases, readers }: Connections,
  { sites, log }: HealthParts,
): Composed['health'] {
  return (isDraining) =>
    createHealth({
      get sites() {
        return sites.map((site) => healthOf(site, databases.index));
      },
      dataFreeBytes: databases.freeBytes,
      minFreeBytes: () => current().minFreeBytes,
      writerFault: () => writerFault(databases),
      ...(readers === undefined ? {} : { readersFault: () => readers.fault }),
      isDraining,
      wait,
      log,
    });
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
    countByKey: countByKey(sites, index),
    async onChanged(issuers) {
      judge.keysChanged();
      await verifyAgain(issuers);
    },
  });
}

interface RevocationParts {
  readonly keys: KeyService;
  readonly store: Pick<SignatureAppender, 'withdrawOrdered'> & Pick<SignatureStore, 'readBlob'>;
  readonly verifier: Verifier;
  readonly sites: readonly OpenSite[];
  readonly log: Log;
}

function openRevocations(
  { current, databases }: Connections,
  { keys, store, verifier, sites, log }: RevocationParts,
): RevocationService {
  return createRevocations({
    keys,
    lookups: databases.questions,
    index: databases.index,
    appender: store,
    store,
    verifier,
    sites: () => sites.map(({ name }) => name),
    isAppendOnly: () => current().appendOnly,
    clock: systemClock,
    log,
  });
}

function countByKey(
  sites: readonly Pick<OpenSite, 'name'>[],
  index: Databases['index'],
): Composed['countByKey'] {
  return async (fingerprint) => {
    const counts = await Promise.all(sites.map(({ name }) => index.countByKey(name, fingerprint)));
    return counts.reduce((sum, count) => sum + count, 0);
  };
}

/** Who asks for a person, or takes rows away, is written down. */
function openRecords(
  { databases, readers }: Connections,
  { makeEvent, recorder }: { readonly makeEvent: MakeEvent; readonly recorder: AccessRecorder },
): Records {
  return createRecords({
    lookups: databases.questions,
    recorder: readers === undefined ? recorder : together(recorder, readers),
    audit: databases.audit,
    makeEvent,
    sha256: sha256Hex,
    wait: (ms) => wait(ms, undefined, { ref: false }),
    eraser: databases.eraser,
    clock: systemClock,
  });
}

/** The rows of all processes that answer reads. */
function together(
  recorder: AccessRecorder,
  readers: ReadersBeside,
): Pick<AccessRecorder, 'flush' | 'buffer'> {
  return {
    async flush() {
      await Promise.all([recorder.flush(), readers.flush()]);
    },
    get buffer() {
      const [one, others] = [recorder.buffer, readers.buffer];
      return { rows: one.rows + others.rows, dropped: one.dropped + others.dropped };
    },
  };
}

/** What people and other programs ask of the records. */
function openQuestions(
  { audit, keys, questions }: Databases,
  {
    makeEvent,
    records,
    signatures,
    auditLog,
  }: Pick<Composed, 'records' | 'signatures' | 'auditLog'> & Pick<SharedParts, 'makeEvent'>,
): Pick<Composed, 'feed' | 'readyQuestions' | 'rotation' | 'lookups'> {
  const clock = systemClock;
  return {
    feed: createFeed({ audit, makeEvent, clock, wait: (ms) => wait(ms, undefined, { ref: false }) }),
    readyQuestions: createReadyQuestions({
      records,
      signatures,
      async checkpoint() {
        await auditLog.publish(); // of the last second too
        return (await auditLog.checkpoint())?.note ?? null;
      },
      clock,
    }),
    lookups: questions,
    rotation: createRotation({ keys, lookups: questions, clock }),
  };
}

interface Access extends Pick<Composed, 'tokens' | 'sessions' | 'signers' | 'subjects' | 'identities'> {
  readonly logIns: OpenedLogIns;
}

/** Who may do what. */
async function createAccess(
  { config, current, databases, offersLogIns = false }: Connections,
  {
    makeEvent,
    clock,
    log,
    refusals,
  }: Pick<SharedParts, 'makeEvent' | 'clock' | 'log'> & Pick<Composed, 'refusals'>,
): Promise<Access> {
  const { subjects: store } = databases;
  // a command may not be able to read the secrets that they name
  const providers = offersLogIns ? await readLogInProviders(config) : [];
  const tokens = createTokenService({
    store: databases.tokens,
    clock,
    makeEvent,
    randomBytes,
    sha256: sha256Hex,
    log,
  });
  const sessions = createSessionService({
    store: databases.sessions,
    tokens,
    refusals,
    findSigner: (name) => databases.signers.find(name),
    isGiven: offersLogIns ? (what) => hasRuleFor(providers, what) : null,
    clock,
    makeEvent,
    randomBytes,
    sha256: sha256Hex,
  });
  const signers = createSignerService({
    signers: databases.signers,
    grants: databases.grants,
    subjects: store,
    keys: databases.keys,
    listTokens: tokens.list,
    clock,
    makeEvent,
    requireGrants: () => current().requireGrants,
  });
  const subjects = createSubjectService({ subjects: store, signers: databases.signers, clock, makeEvent });
  const identities = openIdentities({ config, current, subjects: store, clock, log });
  const logIns = openLogIns({ providers, config, clock, log, sessions, refusals });
  return { tokens, sessions, logIns, signers, subjects, identities };
}

interface MirrorParts {
  readonly open: OpenSites;
  readonly data: string;
  readonly databases: Databases;
  readonly store: Pick<SignatureStore, 'listFolder'>;
  readonly reader: Reader;
  readonly makeEvent: MakeEvent;
  readonly records: Records;
}

function openMirrors(parts: MirrorParts): MirrorService {
  const { open, data, databases, store, reader, makeEvent, records } = parts;
  return createMirrors({
    store: databases.mirrors,
    open: () =>
      open.all.filter(isMirror).map(({ name, mirror: stored, filling: { mirror, walker } }) => ({
        stored,
        mirror,
        restingMs: () => walker.restingMs(null),
        counts: () => databases.index.counts(name).catch(() => null), // INDEX_UNUSABLE: being rebuilt
      })),
    async put(mirror) {
      await open.putMirror(siteOfMirror(data, mirror));
      // until when a set in memory holds was said by the mirror as it was before
      reader.forgetAll();
    },
    take: (name) => open.take(name),
    missed: (site, since, asker) => missedImages(records, { site, since }, asker),
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
