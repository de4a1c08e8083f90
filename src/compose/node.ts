// One of several nodes over one PostgreSQL, which holds everything: docs/decisions/several-nodes.md. A node has no tree and no
// data directory, and may be ended at any time.
import { randomBytes } from 'node:crypto';
import { setImmediate as breathe, setTimeout as wait } from 'node:timers/promises';
import type { Config, DatabaseSettings, GivenKey } from '../config.ts';
import { LookasideError } from '../domain/errors.ts';
import { DEFAULT_SITE, parseLongImageFolder } from '../domain/image.ts';
import { hasRuleFor, type LogInProvider } from '../domain/log-in-provider.ts';
import { ED25519, formatNoteKey } from '../domain/signed-note.ts';
import type { FsckOptions } from '../domain/upkeep.ts';
import { openVerifier } from '../openpgp/pool.ts';
import { numbersOf } from '../postgres/changes.ts';
import { createFewInTime, createPatience, createWhileAnswering, LONGEST_MS } from '../postgres/in-time.ts';
import { otherKey } from '../postgres/log-store.ts';
import { ownSchema } from '../postgres/migrate.ts';
import { type OpenedPostgres, type OpenPostgresOptions, openPostgres } from '../postgres/open.ts';
import { isLate } from '../postgres/signatures.ts';
import { inTurnOfKeys } from '../postgres/turns.ts';
import { Watch } from '../postgres/watch.ts';
import { type AccessRecorder, createAccessRecorder } from '../service/access.ts';
import { createAccessRules } from '../service/access-rules.ts';
import { createEventMaker, type MakeEvent, SERVER } from '../service/audit.ts';
import { createBrowser } from '../service/browse.ts';
import { createFeed } from '../service/feed.ts';
import { createFewLines } from '../service/few-lines.ts';
import { createImporter } from '../service/import.ts';
import { createKeyExpiryWarnings } from '../service/key-expiry.ts';
import { createKeyService } from '../service/keys.ts';
import { type LogKeeper, openLogKeeper } from '../service/log-keeper.ts';
import { proveEvent } from '../service/log-proofs.ts';
import { noteSigner } from '../service/note-keys.ts';
import { createReader } from '../service/read.ts';
import { createRefusalRecorder, type RefusalRecorder } from '../service/refusals.ts';
import { createReleaseView, showingReleases } from '../service/release-view.ts';
import { createSessionService } from '../service/sessions.ts';
import { createCertificateRecord, createSettingsRecord } from '../service/settings-record.ts';
import { createSignatureQueries } from '../service/signatures.ts';
import { createSignerService } from '../service/signers.ts';
import { createSubjectService } from '../service/subjects.ts';
import { createTokenService } from '../service/tokens.ts';
import { createUploader } from '../service/upload.ts';
import { createWithdrawService } from '../service/withdraw.ts';
import { systemClock } from './clock.ts';
import { type Composed, type ComposeOptions, SET_BYTES } from './composed.ts';
import { openGivingWay } from './giving-way.ts';
import { openIdentities } from './identities.ts';
import { openKeyRefresh } from './key-refreshing.ts';
import { openLogIns, readLogInProviders } from './log-ins.ts';
import { checkpointFile, originOf } from './log-keeper.ts';
import { fsckDatabase } from './node-check.ts';
import { createNodeHealth, type NodeHealth } from './node-health.ts';
import { openNodeQuestions } from './node-questions.ts';
import { openNodeSites } from './node-sites.ts';
import { NO_UPKEEP } from './not-over-postgres.ts';
import { sha256Hex } from './site.ts';
import { untrustedVersion6Claim } from './untrusted-claim.ts';
import { type OpenedCosigning, openCosigning, openWitness } from './witnesses.ts';

const USES_EVERY_MS = 60_000;
const PUT_BACK_EVERY_MS = 60_000;
/** Their questions would keep the connections of the node from the change that goes on. */
const UPLOADS_AT_ONCE = 24;

/** What a serving node sets later. */
interface Bells {
  onElected: () => void;
  isLost: boolean;
  /** When the database last answered; null: nobody has looked. */
  answeredAtMs: number | null;
  recorder: AccessRecorder | null;
}

function createBells(): Bells {
  return { onElected: () => undefined, isLost: false, answeredAtMs: null, recorder: null };
}

export type NodeOptions = Pick<ComposeOptions, 'config' | 'current' | 'log' | 'offersLogIns' | 'setBytes'> &
  Pick<OpenPostgresOptions, 'tables' | 'movedBack'>;

/**
 * Everything but what a serving node has beside it: the log's keeper, and what goes on in the background.
 * @throws LookasideError CONFIG_INVALID, STATE_UNUSABLE, STORE_UNAVAILABLE
 */
export async function openNode(options: NodeOptions) {
  const { config, current, log: everyLine, offersLogIns = false, tables = 'migrate' } = options;
  const { setBytes: cacheBytes = SET_BYTES } = options;
  const clock = systemClock;
  // a command may not be able to read the secrets that they name
  const providers = offersLogIns ? await readLogInProviders(config) : null;
  const log = createFewLines({ log: everyLine, wait: (ms) => wait(ms, undefined, { ref: false }) });
  const makeEvent = createEventMaker({ clock, randomBytes });
  const bells = createBells();
  const answering = { ...clock, answeredAtMs: () => bells.answeredAtMs };
  let keyringNumber = -1;
  const { url, poolSize, staleMs } = databaseOf(config);
  const stores = await openPostgres({
    ...{ url, poolSize, tables, staleMs, movedBack: options.movedBack ?? 'refuse' },
    monotonicMs: clock.monotonicMs,
    keyringNumber: () => keyringNumber,
    isLost: () => bells.isLost,
    whileAnswering: createWhileAnswering(answering),
    onChanged: (image) => reader.forget(image),
    onElected: () => bells.onElected(),
    makeLiftEvent: ({ image, sha256: signatureSha256, until }) =>
      makeEvent(
        {
          ...{ action: 'withdraw-end', image, signatureSha256, result: 'restored' },
          reason: `withdrawn until ${until?.toISOString()}`,
        },
        SERVER,
      ),
    warn: (message) => log.warn({}, message),
  });
  const { connections, verdicts: index, audit } = stores;
  const uploads = { ofImage: stores.uploads.inForceOf.bind(stores.uploads) };
  const verifier = openVerifier();
  const sites = openNodeSites({
    ...{ stores, verifier, makeEvent, clock, log, hasProxies: config.remote.hasProxies },
    givingWay: openGivingWay(() => reader),
    isServing: offersLogIns,
    keyringNumber: () => keyringNumber,
    onChanged: (image) => (image === null ? reader.forgetAll() : reader.forget(image)),
    records: () => questions.records,
  });
  const { store, judge } = sites;
  const { tombstones } = stores;
  const releases = createReleaseView({ store, index, tombstones, settings: () => current().releases });
  const { store: stored, releaseOf: viewOf } = releases;
  const reader = createReader({ store: stored, clock, cacheBytes, viewOf });

  /** Takes up what another node has changed. */
  async function refreshKeyring(number: number): Promise<void> {
    if (number === keyringNumber) return;
    verifier.setKeyring((await stores.keys.list()).map(({ certificate }) => certificate));
    keyringNumber = number;
    judge.keysChanged();
    judge.wake();
  }

  const verifyAgain = async (issuers: readonly string[]) => {
    await index.judgeAgain(DEFAULT_SITE, issuers);
    judge.wake();
  };
  const countByKey = async (fingerprint: string) => {
    let count = 0;
    for (const name of sites.names()) count += await index.countByKey(name, fingerprint);
    return count;
  };
  const keys = await createKeyService({
    ...{ store: stores.keys, audit, verifier, makeEvent, clock },
    countByKey,
    async onChanged(issuers) {
      judge.keysChanged();
      await verifyAgain(issuers);
    },
    alone: (act) =>
      inTurnOfKeys(connections, async () => {
        await refreshKeyring((await numbersOf(connections.query)).keys);
        return act();
      }),
  });
  const refusals = createRefusalRecorder({ audit, makeEvent, clock, log });
  const access = createAccess({ config, current, log }, { stores, makeEvent, refusals, providers });
  const signatures = createSignatureQueries({
    get sites() {
      return sites.names();
    },
    ...{ index: showingReleases(index, releases), keys: stores.keys },
    ...{ uploads, reader, verifier, clock, breathe, rowsAtOnce: 500 },
  });
  const questions = openNodeQuestions({
    ...{ current, stores, keys, verifier, signatures, makeEvent, log, keyringNumber: () => keyringNumber },
    ...{ sites: sites.names, store },
    recorder: () => bells.recorder,
  });
  await sites.follow().catch(async (error: unknown) => {
    await stores.close();
    throw error;
  });
  const sha256 = sha256Hex;
  return {
    ...{ stores, verifier, reader, judge, keys, refusals, makeEvent, log, signatures, bells, refreshKeyring },
    ...access,
    ...{ index, audit, sites, places: sites.places, patience: createPatience(answering) },
    browser: createBrowser({ store, reader, signatures }),
    uploader: createUploader({
      ...{ keyringNumber: () => keyringNumber, imagesOfBatch: 8 },
      ...{ verifier, keys: stores.keys, appender: store, judgeImage: judge.judgeImage, refusals },
      ...{ makeEvent, clock, sha256 },
      inTime: createFewInTime({ atOnce: UPLOADS_AT_ONCE, longestMs: LONGEST_MS, late: isLate, ...clock }),
      maxBytes: () => current().maxSignatureBytes,
      remaps: () => current().remaps,
      permit: access.signers.permit,
      unverifiable: {
        accepted: () => current().acceptUnsupported,
        untrustedClaim: untrustedVersion6Claim,
        readBlob: (...of) => store.readBlob(...of),
        uploads,
      },
    }),
    withdrawals: createWithdrawService({
      ...{ appender: store, tombstones: stores.tombstones, makeEvent, clock, log },
      sites: sites.names,
      isAppendOnly: () => current().appendOnly,
    }),
    importer: createImporter({
      ...{ verifier, keys: stores.keys, appender: store, uploads, reader, makeEvent, clock, sha256 },
      treeOf: () => 'owned',
      keyringChanges: () => judge.keyringChanges,
      ...{ keyringNumber: () => keyringNumber, imagesOfBatch: 16 },
      verifyAgain,
    }),
    rules: createAccessRules({ ...stores, store: stores.rules, keys, makeEvent, clock, sha256 }),
    feed: createFeed({ audit, makeEvent, clock, wait: (ms) => wait(ms, undefined, { ref: false }) }),
    mirrors: sites.mirrors,
    ...questions,
    countByKey,
    proveEvent: (seq: number) => proveEvent(stores.log, seq, wait),
    upkeep: { ...NO_UPKEEP, fsck: (request: FsckOptions) => fsckDatabase(stores, url, request) },
    async close() {
      await sites.stop();
      await judge.stop();
      await refusals.stop();
      await access.tokens.writeUses();
      await access.identities.close();
      await access.logIns.close();
      await stores.close();
      await verifier.close();
      log.sumUp();
    },
  };
}

type OpenedNode = Awaited<ReturnType<typeof openNode>>;

interface AccessParts {
  readonly stores: OpenedPostgres;
  readonly makeEvent: MakeEvent;
  readonly refusals: RefusalRecorder;
  /** Null: nobody logs in through this process. */
  readonly providers: readonly LogInProvider[] | null;
}

/** Who may do what. */
function createAccess({ config, current, log }: NodeOptions, parts: AccessParts) {
  const { stores, makeEvent, refusals, providers } = parts;
  const clock = systemClock;
  const { subjects, grants, keys } = stores;
  const tokens = createTokenService({
    ...{ store: stores.tokens, clock, makeEvent, randomBytes, sha256: sha256Hex, log },
  });
  const sessions = createSessionService({
    ...{ store: stores.sessions, tokens, refusals, clock, makeEvent, randomBytes, sha256: sha256Hex },
    findSigner: (name) => stores.signers.find(name),
    isGiven: providers === null ? null : (what) => hasRuleFor(providers, what),
  });
  return {
    tokens,
    sessions,
    logIns: openLogIns({ providers: providers ?? [], config, clock, log, sessions, refusals }),
    signers: createSignerService({
      ...{ signers: stores.signers, grants, subjects, keys, listTokens: tokens.list, clock, makeEvent },
      requireGrants: () => current().requireGrants,
    }),
    subjects: createSubjectService({ subjects, signers: stores.signers, clock, makeEvent }),
    identities: openIdentities({ config, current, subjects, clock, log }),
  };
}

/** A node that serves. @throws LookasideError CONFIG_INVALID, LOG_MISMATCH, STATE_UNUSABLE, STORE_UNAVAILABLE */
export async function composeNode(options: ComposeOptions): Promise<Composed> {
  const { config } = options;
  const node = await openNode({
    ...options,
    movedBack: options.acceptMovedBack === true ? 'accept' : 'refuse',
  });
  const { stores, reader, judge, log, tokens, withdrawals, keys, refusals } = node;
  try {
    await stores.leader.start();
    const logs = await openLogs(options, node);
    const { keeper, cosigning } = logs;
    const { leader } = stores;
    const carryOut = () => {
      if (leader.isLeading) void node.revocations.carryOutAll(); // what a node's end has cut short too
    };
    node.bells.onElected = () => {
      keeper.noteEvent();
      cosigning?.askAgain();
      judge.wake();
      carryOut();
    };
    const health = createNodeHealth({ staleMs: databaseOf(config).staleMs, clock: systemClock, log });
    const watch = createWatch(node, { ...health, noteEvent: () => keeper.noteEvent() });
    await watch.start();
    carryOut(); // it may have been elected before the bell was there
    const recorder = createAccessRecorder({ log, clock: systemClock, accessLog: stores.access });
    node.bells.recorder = recorder;
    const noting = setInterval(() => void tokens.writeUses(), USES_EVERY_MS).unref();
    const puttingBack = setInterval(() => {
      if (leader.isLeading) void withdrawals.putBack();
      carryOut();
    }, PUT_BACK_EVERY_MS).unref();
    const endBatches = () => {
      node.uploader.stop();
      node.importer.stop();
    };
    const refreshing = openKeyRefresh({ ...options, isLeader: () => leader.isLeading }, keys);
    const keyExpiry = createKeyExpiryWarnings({
      ...{ keys, clock: systemClock, log },
      releases: () => options.current().releases,
      wait: (ms) => wait(ms, undefined, { ref: false }),
    });
    const settled = createSettled();
    return {
      ...node,
      keyRefresher: refreshing.refresher,
      sites: node.sites.all,
      reader,
      recorder,
      accessLog: stores.access,
      writePackedRows: null,
      auditLog: keeper,
      witness: logs.witness,
      upkeep: {
        ...node.upkeep,
        start() {
          keyExpiry.start();
          refreshing.start();
        },
      },
      recordSettings: settled.kept(createSettingsRecord(node)),
      recordCertificate: settled.kept(createCertificateRecord(node)),
      health: health.of,
      hurry: () => stores.access.hurry(),
      endBatches,
      async [Symbol.asyncDispose]() {
        endBatches();
        clearInterval(noting);
        clearInterval(puttingBack);
        keyExpiry.stop();
        await refreshing.close();
        await node.revocations.stop();
        await settled.all();
        await watch.stop();
        await refusals.stop();
        await keeper.stop();
        await cosigning?.close();
        await node.close();
      },
    };
  } catch (error) {
    await node.close();
    throw error;
  }
}

/** What was begun and nobody waits for: it is ended before the database is closed. */
function createSettled() {
  let begun: Promise<unknown> = Promise.resolve();
  return {
    kept<What>(record: (what: What) => Promise<void>): (what: What) => Promise<void> {
      return (what) => {
        const recording = record(what);
        begun = Promise.all([begun, recording]);
        return recording;
      };
    },
    all: () => begun,
  };
}

interface WatchBells extends Pick<NodeHealth, 'noteAnswer' | 'noteWritable'> {
  readonly noteEvent: () => void;
}

function createWatch(node: OpenedNode, { noteEvent, noteAnswer, noteWritable }: WatchBells): Watch {
  const { stores, reader, judge, bells, refreshKeyring, sites, log } = node;
  let tokensNumber = -1;
  let confirmedAtMs = 0;
  return new Watch({
    connections: stores.connections,
    monotonicMs: systemClock.monotonicMs,
    held: stores.signatures.held,
    onImage(key, generation) {
      const slash = key.indexOf('/');
      const image = parseLongImageFolder(key.slice(0, slash), key.slice(slash + 1));
      if (image === null) return;
      // what a mirror serves may have numbers of its own
      if (image.site === DEFAULT_SITE) reader.forget(image, generation);
      else reader.forget(image);
    },
    onAnswer() {
      bells.answeredAtMs = systemClock.monotonicMs();
    },
    async onNumbers({ keys, tokens, mirrors }, askedAtMs) {
      await refreshKeyring(keys);
      if (tokens !== tokensNumber) await stores.tokens.reload();
      else stores.tokens.confirm(askedAtMs);
      tokensNumber = tokens;
      confirmedAtMs = askedAtMs;
      // not waited for: a mirror that is closed ends its walks first
      sites.follow(mirrors).catch((error: unknown) => {
        log.warn(
          { err: error },
          'mirrors that another node has changed cannot be opened yet; this is tried again',
        );
      });
    },
    onWritable: (isWritable, oldest) => noteWritable(isWritable, ownSchema() < oldest),
    onJudge: () => judge.wake(),
    onLog: noteEvent,
    onReachable(isReachable, error) {
      bells.isLost = !isReachable;
      if (isReachable) bells.answeredAtMs = systemClock.monotonicMs();
      noteAnswer(isReachable ? confirmedAtMs : null, error);
    },
  });
}

/** The log of all nodes, which one key signs. */
async function openLog(
  { config, taker, acceptRollback = false }: ComposeOptions,
  { stores, makeEvent, log }: Pick<OpenedNode, 'stores' | 'makeEvent' | 'log'>,
): Promise<LogKeeper> {
  const { logKey } = databaseOf(config);
  if (logKey === null) {
    throw new LookasideError(
      'CONFIG_INVALID',
      'LOOKASIDE_LOG_KEY_FILE is not set: the nodes over one PostgreSQL sign their log of audit events with one key; make it once with: openssl genpkey -algorithm ed25519 -out log.key, keep a copy, and give it to every node',
    );
  }
  const known = (await stores.log.identities()).at(-1);
  const name = config.logOrigin ?? known?.origin ?? originOf(config.publicUrl, taker.host);
  const signer = noteSigner(logKey.pem, { name, type: ED25519, file: logKey.place });
  if (known !== undefined && !acceptRollback) {
    const ours = formatNoteKey(signer.key);
    if (ours !== known.vkey) throw otherKey(known.vkey, ours);
  }
  return openLogKeeper({
    ...{ store: stores.log, signer, acceptRollback, makeEvent, clock: systemClock, log },
    file: config.checkpointFile === null ? null : checkpointFile(config.checkpointFile),
    isLeader: () => stores.leader.isLeading,
  });
}

/** The log, its witnesses, and the nodes as the witness of others. */
async function openLogs(options: ComposeOptions, node: Pick<OpenedNode, 'stores' | 'makeEvent' | 'log'>) {
  const { config } = options;
  const { stores, log } = node;
  const keeper = await openLog(options, node);
  const parts = { config, store: stores.log, auditLog: keeper };
  const witness = await openWitness({ ...parts, readKey: async () => witnessKeyOf(config) });
  const isLeader = () => stores.leader.isLeading;
  const cosigning: OpenedCosigning | null = await openCosigning({ ...parts, isLeader, log });
  return { keeper, witness, cosigning };
}

function witnessKeyOf(config: Config): GivenKey {
  const { witnessKey } = databaseOf(config);
  if (witnessKey !== null) return witnessKey;
  throw new LookasideError(
    'CONFIG_INVALID',
    'LOOKASIDE_WITNESS_LOGS is set and LOOKASIDE_WITNESS_KEY_FILE is not: the nodes over one PostgreSQL are one witness, with one key; make it once with: openssl genpkey -algorithm ed25519 -out witness.key, and give it to every node',
  );
}

function databaseOf({ database }: Config): DatabaseSettings {
  if (database === null) throw new Error('no database is set');
  return database;
}
