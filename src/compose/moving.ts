// lookaside migrate: opens a data directory as its one owner, and the database that several nodes are to share, and moves one into
// the other.
import { randomBytes } from 'node:crypto';
import type { Config } from '../config.ts';
import { LookasideError } from '../domain/errors.ts';
import { type MoveProgress, type MoveResult, placeInSite } from '../domain/moving.ts';
import type { Log, Verifier } from '../domain/ports.ts';
import { placesOf, type Site, siteOf } from '../domain/site.ts';
import { DAMAGE_KINDS } from '../domain/tree.ts';
import type { OnProgress, TreeCounts } from '../domain/upkeep.ts';
import { openVerifier } from '../openpgp/pool.ts';
import { openMoveTarget } from '../postgres/moving.ts';
import { createEventMaker } from '../service/audit.ts';
import { createFewLines } from '../service/few-lines.ts';
import { GIVES_NO_WAY } from '../service/giving-way.ts';
import { createKeyService } from '../service/keys.ts';
import { moveDirectory } from '../service/moving.ts';
import { createRevocations } from '../service/revocation.ts';
import { type Databases, listMirrorsReadOnly, openDatabases, openLogReadOnly } from '../sqlite/databases.ts';
import { type LockTaker, takeLock } from '../sqlite/lock.ts';
import { type LeftOutDay, openMoveSource, refuseOlder } from '../sqlite/moving.ts';
import { createSitesStore } from '../store/sites.ts';
import { systemClock } from './clock.ts';
import { siteOfMirror } from './open-sites.ts';
import { type OpenSite, openSite, openSiteTree, sitesOf } from './site.ts';

export interface MigrateOptions {
  /** The configuration of the data directory, with the tree that it is bound to. */
  readonly config: Config;
  /** The URL of the database. */
  readonly url: string;
  readonly isDryRun: boolean;
  /** Mirrors of the directory stay behind. */
  readonly withoutMirrors: boolean;
  readonly taker: LockTaker;
  readonly log: Log;
  readonly onScan: OnProgress;
  readonly onProgress: (progress: MoveProgress) => void;
}

export interface MigrateResult extends MoveResult {
  /** Names of mirrors that stay behind. */
  readonly mirrorsLeft: readonly string[];
  /** Files of the trees that no client can read, and are not moved. */
  readonly leftOut: number;
  /** Uploads of which only the account is left, which is moved. */
  readonly lost: number;
  /** Days of the record of reads that are not moved. */
  readonly daysLeftOut: readonly LeftOutDay[];
  /** Signatures of revoked keys whose withdrawal was ordered before, and which the move has withdrawn first; a dry run would. */
  readonly withdrawn: number;
}

type Unserved = Pick<MigrateResult, 'leftOut' | 'lost'>;

/**
 * @throws LookasideError ALREADY_RUNNING while a server or another command uses the directory.
 * STATE_UNUSABLE when a dry run would have to change the schema of the directory. DAMAGE_FOUND.
 * APPEND_ONLY when signatures of a revoked key still have to be withdrawn, and nothing may be.
 * Whatever moveDirectory() throws.
 */
export async function migrateDirectory(options: MigrateOptions): Promise<MigrateResult> {
  const { config, url, isDryRun, log } = options;
  const lock = takeLock(config.data, options.taker);
  try {
    if (isDryRun) refuseOlder(config.data);
    const unserved = await makeIndexTrue(options);
    const mirrors = listMirrorsReadOnly(config.data).map((mirror) => siteOfMirror(config.data, mirror));
    const sites = [...sitesOf(config), ...(options.withoutMirrors ? [] : mirrors)];
    const mirrorsLeft = options.withoutMirrors ? mirrors.map(({ name }) => name) : [];
    const target = await openMoveTarget({ url, isDryRun, warn: (message) => log.warn({}, message) });
    try {
      const check = async () => (await moveTo(target, sites, { ...options, isDryRun: true })).outcome;
      const withdrawn = await endWithdrawals(options, check);
      return { ...(await moveTo(target, sites, options)), ...unserved, withdrawn, mirrorsLeft };
    } finally {
      await target.close();
    }
  } finally {
    lock.release();
  }
}

async function moveTo(
  target: Awaited<ReturnType<typeof openMoveTarget>>,
  sites: readonly Site[],
  { config, isDryRun, onProgress }: MigrateOptions,
): Promise<MoveResult & Pick<MigrateResult, 'daysLeftOut'>> {
  const trees = sites.map((site) => ({ name: site.name, tree: openSiteTree(site) }));
  const log = openLogReadOnly(config.data);
  if (log === null) throw new Error('a data directory that was opened has a state.db');
  const source = openMoveSource({
    ...{ dataDir: config.data, isDryRun, sites: sites.map(({ name }) => name) },
    readFile: (site, folder, number) => siteOf(trees, site).tree.readFile(folder, number),
  });
  try {
    const clock = systemClock;
    const { daysLeftOut } = source;
    const result = await moveDirectory({ source: { ...source, log }, target, isDryRun, clock, onProgress });
    return { ...result, daysLeftOut };
  } finally {
    source.close();
    log.close();
  }
}

/** Ends what a crash left unfinished, and scans the trees. @throws LookasideError DAMAGE_FOUND */
function makeIndexTrue(options: MigrateOptions): Promise<Unserved> {
  const { onScan } = options;
  return withDirectory(options, async (directory) => {
    const { sites } = directory;
    for (const { appender } of sites) await appender.recover();
    await rescanAll(directory, onScan);
    let [leftOut, lost] = [0, 0];
    const checked = overSites(onScan);
    for (const { upkeep } of sites) {
      const { findings } = await upkeep.fsck({ repair: false, onProgress: checked.show });
      checked.next();
      const damage = findings.find(({ kind }) => DAMAGE_KINDS.has(kind));
      if (damage !== undefined) {
        const place = placeInSite(damage.site, damage.path);
        throw new LookasideError('DAMAGE_FOUND', `${place}: ${damage.message}; then move the directory`);
      }
      for (const { kind, count = 1 } of findings) {
        if (kind === 'lost') lost += count;
        else leftOut += count;
      }
    }
    return { leftOut, lost };
  });
}

async function rescanAll({ sites }: OpenedDirectory, onScan: OnProgress): Promise<void> {
  const read = overSites(onScan);
  for (const { upkeep } of sites) {
    await upkeep.rescan(read.show);
    read.next();
  }
}

/** One count over all sites, which does not begin anew with each mirror. */
export function overSites(onScan: OnProgress): { readonly show: OnProgress; next(): void } {
  const none: TreeCounts = { images: 0, signatures: 0, problems: 0 };
  let before = none;
  let now = none;
  return {
    show({ images, signatures, problems }) {
      now = {
        images: before.images + images,
        signatures: before.signatures + signatures,
        problems: before.problems + problems,
      };
      onScan(now);
    },
    next() {
      before = now;
    },
  };
}

interface OpenedDirectory {
  readonly sites: readonly OpenSite[];
  readonly databases: Databases;
  readonly verifier: Verifier;
  readonly log: Log;
}

async function withDirectory<T>(
  { config, withoutMirrors, log: everyLine }: Pick<MigrateOptions, 'config' | 'withoutMirrors' | 'log'>,
  act: (directory: OpenedDirectory) => Promise<T>,
): Promise<T> {
  const log = createFewLines({ log: everyLine, wait: async () => undefined });
  const databases = await openDatabases({ dataDir: config.data, onUnusable: () => undefined });
  const verifier = openVerifier();
  const sites: OpenSite[] = [];
  try {
    const mirrors = withoutMirrors ? [] : await databases.mirrors.list();
    for (const place of [...sitesOf(config), ...mirrors.map((mirror) => siteOfMirror(config.data, mirror))]) {
      const site = await openSite(place, {
        ...{ databases, verifier, log, clock: systemClock },
        makeEvent: createEventMaker({ clock: systemClock, randomBytes }),
        minFreeBytes: () => 0,
        givingWay: GIVES_NO_WAY,
        hasProxies: false,
        unusable: 'its data directory is being moved',
        scanIntervalMs: () => null,
        onChanged: () => undefined,
        takeTurn: (walk) => walk(),
        onIndexReset: () => undefined,
      });
      sites.push(site);
    }
    return await act({ sites, databases, verifier, log });
  } finally {
    for (const { upkeep, judge, appender, filling } of sites) {
      // a scan that failed would be tried again, without the lock
      await upkeep.stop();
      await judge.stop();
      await appender.idle();
      await filling?.mirror.stop();
      await filling?.walker.close();
    }
    await databases.close();
    for (const site of sites) await site.close();
    await verifier.close();
    log.sumUp();
  }
}

/**
 * Carries out what revocations of keys have ordered: a node that withdraws nothing would leave it unfinished for ever. Nodes do it
 * for a shared tree, which stays as it is. The number of signatures; a dry run only counts. `check` tells whether the move would be
 * refused: nothing is withdrawn before. @throws LookasideError APPEND_ONLY, STORE_UNAVAILABLE; as `check`
 */
async function endWithdrawals(
  options: MigrateOptions,
  check: () => Promise<MoveResult['outcome']>,
): Promise<number> {
  const { config, isDryRun } = options;
  if (config.tree === 'shared' && !config.appendOnly) return 0;
  return withDirectory(options, async (directory) => {
    const keys = await directory.databases.keys.list();
    const ordered = keys
      .filter(({ revocation }) => revocation?.withdraws === true)
      .map(({ fingerprint }) => fingerprint);
    if (ordered.length === 0) return 0;
    const revocations = await openRevocations(directory);
    for (const { judge } of directory.sites) {
      judge.start();
      await judge.settled(); // what has no verdict yet may be by one of these keys
    }
    let [toWithdraw, withdrawn] = [0, 0];
    for (const fingerprint of ordered) {
      const { withdrawn: count } = await revocations.count(fingerprint);
      if (count > 0 && config.appendOnly) throw isToBeWithdrawn(fingerprint);
      toWithdraw += count;
    }
    if (isDryRun || toWithdraw === 0) return toWithdraw;
    if ((await check()) === 'moved-before') return 0;
    await rescanAll(directory, options.onScan); // an open tree is known in full once it was read
    for (const fingerprint of ordered) {
      const { withdrawn: count, left, failed } = await revocations.carryOut(fingerprint);
      if (failed.length > 0) throw cannotWithdraw(fingerprint, failed);
      // nodes verify them, and go on with the order
      for (const what of left) directory.log.warn({ fingerprint }, `not withdrawn yet: ${what}`);
      withdrawn += count;
    }
    return withdrawn;
  });
}

async function openRevocations({ sites, databases, verifier, log }: OpenedDirectory) {
  const store = createSitesStore(sites, () => placesOf(sites));
  const names = sites.map(({ name }) => name);
  const { keys: keyStore, audit, index } = databases;
  const clock = systemClock;
  const keys = await createKeyService({
    ...{ store: keyStore, audit, verifier, clock, makeEvent: createEventMaker({ clock, randomBytes }) },
    countByKey: async (fingerprint) => {
      const counts = await Promise.all(names.map((name) => index.countByKey(name, fingerprint)));
      return counts.reduce((sum, count) => sum + count, 0);
    },
    onChanged: async () => undefined, // no key is changed here
  });
  return createRevocations({
    ...{ keys, index, appender: store, store, verifier, clock, log },
    lookups: databases.questions,
    sites: () => names,
    isAppendOnly: () => false,
  });
}

function isToBeWithdrawn(fingerprint: string): LookasideError {
  return new LookasideError(
    'APPEND_ONLY',
    `the key ${fingerprint} was revoked with --withdraw, and some of its signatures are still served, because LOOKASIDE_APPEND_ONLY=true withdraws nothing; give the command without this setting, so that they are withdrawn before the move`,
  );
}

function cannotWithdraw(fingerprint: string, left: readonly string[]): LookasideError {
  return new LookasideError(
    'STORE_UNAVAILABLE',
    `the key ${fingerprint} was revoked with --withdraw, and not all of its signatures could be withdrawn before the move: ${left.join('; ')}; start the server once on this directory, which goes on with it, then give the same command again`,
  );
}
