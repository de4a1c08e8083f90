// Connects the services of the sites with each other, with the databases and with the log of audit events.
import { randomBytes } from 'node:crypto';
import { setImmediate as breathe, setTimeout as wait } from 'node:timers/promises';
import { createTurns } from '../domain/concurrency.ts';
import type { Log, SignatureAppender, SignatureStore, Verifier } from '../domain/ports.ts';
import { siteOf } from '../domain/site.ts';
import { openVerifier } from '../openpgp/pool.ts';
import { createAccessRecorder } from '../service/access.ts';
import { createAccessRules } from '../service/access-rules.ts';
import { createEventMaker } from '../service/audit.ts';
import { createBrowser } from '../service/browse.ts';
import { createFewLines } from '../service/few-lines.ts';
import { createImporter } from '../service/import.ts';
import type { Judge } from '../service/judge.ts';
import { createKeyService, type KeyService } from '../service/keys.ts';
import { proveEvent } from '../service/log-proofs.ts';
import { createOverview } from '../service/overview.ts';
import { createReader } from '../service/read.ts';
import { createRefusalRecorder } from '../service/refusals.ts';
import { createReleaseView, type ReleaseView, showingReleases } from '../service/release-view.ts';
import { createRepositoryList } from '../service/repositories.ts';
import { createRevocations, type RevocationService } from '../service/revocation.ts';
import { createCertificateRecord, createSettingsRecord } from '../service/settings-record.ts';
import { createSignatureQueries } from '../service/signatures.ts';
import { createSitesJudge } from '../service/sites-judge.ts';
import { createSitesUpkeep } from '../service/sites-upkeep.ts';
import { createUploader } from '../service/upload.ts';
import { createWithdrawService } from '../service/withdraw.ts';
import type { Databases } from '../sqlite/databases.ts';
import type { PackedDays } from '../sqlite/packed-days.ts';
import { createSitesStore } from '../store/sites.ts';
import { createAccess } from './access.ts';
import { systemClock } from './clock.ts';
import { type Composed, type Connections, SET_BYTES } from './composed.ts';
import { openGivingWay } from './giving-way.ts';
import { openLogs } from './log-keeper.ts';
import { openMirrors } from './open-mirrors.ts';
import { createOpenSites, siteOfMirror } from './open-sites.ts';
import { openQuestions, openRecords } from './questions.ts';
import { openHealth } from './server-health.ts';
import { type OpenSite, type SharedParts, sha256Hex } from './site.ts';
import { untrustedVersion6Claim } from './untrusted-claim.ts';

export async function connect(options: Connections) {
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
    ...{ databases, verifier, makeEvent, clock, log },
    problemLog: options.problemLog,
    minFreeBytes: () => current().minFreeBytes,
    hasProxies: config.remote.hasProxies,
    scanIntervalMs: () => current().scanIntervalMs,
    takeTurn: (walk) => turns.take('walk', walk),
    // created below: the sites, the reader and the upkeep call each other
    givingWay: openGivingWay(() => reader),
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
  const releases = openReleases(store, options);
  const reader = createReader({
    ...{ store: releases.store, viewOf: releases.releaseOf, clock },
    cacheBytes: options.setBytes ?? SET_BYTES,
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

function openReleases(store: SignatureStore, { databases, current }: Connections): ReleaseView {
  const { index, tombstones } = databases;
  return createReleaseView({ store, index, tombstones, settings: () => current().releases });
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
