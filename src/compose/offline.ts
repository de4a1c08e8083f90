// Work that neither needs a server nor waits for one: fsck without repair, backup, restore, and look-ups of keys and tokens.
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import type { Config } from '../config.ts';
import {
  type BackupManifest,
  type BackupSource,
  type SiteOfBackup,
  sitesOfBackup,
} from '../domain/backup.ts';
import { isLookasideError, LookasideError } from '../domain/errors.ts';
import type { KeyStore, Log, SignatureIndex, TombstoneStore, UploadStore } from '../domain/ports.ts';
import { isSessionInForce, type ShownSession, showSession } from '../domain/session.ts';
import { type Site, siteOf } from '../domain/site.ts';
import type { ShownToken } from '../domain/token.ts';
import type { FsckResult, OnProgress } from '../domain/upkeep.ts';
import { damagedBackup, makeBackupFolder, openBackup, openBackupTarget } from '../files/backup-folder.ts';
import { readIntents } from '../files/intents.ts';
import { readSmallFile } from '../files/key-file.ts';
import { openRestoreTarget } from '../files/restore-target.ts';
import { isMissing } from '../files/tree.ts';
import { armorPublicKey } from '../openpgp/armor.ts';
import { usesOfCertificate } from '../openpgp/certificate-uses.ts';
import { warningsOfCertificate } from '../openpgp/key-warnings.ts';
import { type BackupResult, makeBackup, restoreBackup } from '../service/backup.ts';
import { findKey, joined, type KeyService } from '../service/keys.ts';
import { createSitesUpkeep } from '../service/sites-upkeep.ts';
import { showToken } from '../service/tokens.ts';
import { createUpkeep, type SiteUpkeep } from '../service/upkeep.ts';
import { copyState } from '../sqlite/copy-state.ts';
import {
  listMirrorsReadOnly,
  openCopiedUploads,
  openIndexReadOnly,
  openKeysReadOnly,
  openSignersReadOnly,
  openTokensReadOnly,
  openUploadsReadOnly,
  type SignerReader,
} from '../sqlite/databases.ts';
import { type LockTaker, takeLock } from '../sqlite/lock.ts';
import { stateFileOf, unfinishedStateFileOf } from '../sqlite/open.ts';
import type { IndexReader } from '../sqlite/signatures.ts';
import { createBackupSource } from '../store/backup-source.ts';
import { createImageChanges } from '../store/image-changes.ts';
import { unlessUnusable } from '../store/look.ts';
import { createScanner } from '../store/scan.ts';
import { uploadsInForce } from '../store/uploads-in-force.ts';
import { systemClock } from './clock.ts';
import { LOG_KEY_NAME } from './log-keeper.ts';
import { rootOfMirror, siteOfMirror } from './open-sites.ts';
import { openSiteTree, sha256Hex, sitesOf, treeName } from './site.ts';

/** Fsck without repair: reads beside a running server. @throws LookasideError INDEX_UNUSABLE, STATE_UNUSABLE, STORE_UNAVAILABLE */
export async function fsckReadOnly({ data, sites, log, onProgress }: FsckRequest): Promise<FsckResult> {
  using index = openIndexReadOnly(data);
  using uploads = openUploadsReadOnly(data);
  const { tombstones } = uploads ?? NO_UPLOADS;
  const { images } = uploads ?? NO_UPLOADS;
  const inForce = { images, ...uploadsInForce(uploads ?? NO_UPLOADS, tombstones) };
  const beside = { index, uploads: inForce, tombstones, log };
  const upkeeps = new Map<string, SiteUpkeep>();
  for (const site of sites) {
    // a backup without mirrors knows of them, and a restored data directory gets their folders when a server starts
    if (site.mirror !== undefined && (await isMissing(site.root))) continue;
    upkeeps.set(site.name, await openReadOnly(site, beside));
  }
  return await createSitesUpkeep(upkeeps).fsck({ repair: false, onProgress });
}

/** The sites of the configuration and the mirrors. @throws LookasideError STATE_UNUSABLE, STORE_UNAVAILABLE */
export function sitesWithMirrors(config: Config): readonly Site[] {
  const mirrors = listMirrorsReadOnly(config.data).map((mirror) => siteOfMirror(config.data, mirror));
  return [...sitesOf(config), ...mirrors];
}

export interface FsckRequest {
  readonly data: string;
  readonly sites: readonly Site[];
  readonly log: Log;
  readonly onProgress: OnProgress;
}

interface Beside {
  readonly index: IndexReader | null;
  readonly uploads: Pick<UploadStore, 'ofImage' | 'images'>;
  readonly tombstones: Pick<TombstoneStore, 'ofImage'>;
  readonly log: Log;
}

async function openReadOnly(
  site: Site,
  { index: opened, uploads, tombstones, log }: Beside,
): Promise<SiteUpkeep> {
  const isOfThisTree = (await opened?.treeOf(site.name)) === treeName(site);
  const index = isOfThisTree ? { ...NO_INDEX, ...opened } : NO_INDEX;
  const scanner = createScanner({
    tree: openSiteTree(site),
    kind: site.tree,
    takesAll: site.mirror !== undefined,
    index,
    uploads,
    tombstones,
    readIntents: () => readIntents(site.root),
    changes: createImageChanges(),
    tend: () => undefined,
    restore: () => Promise.reject(new Error('nothing is put back by an fsck that only reads')),
    report: () => undefined,
    reportFolders: () => undefined,
    wait,
    monotonicMs: systemClock.monotonicMs,
    quick: null, // it only reads
  });
  return createUpkeep({
    site: site.name,
    scanner,
    index,
    whenIndexChecked: async () => undefined, // it is checked when it is asked
    clock: systemClock,
    log,
    scanIntervalMs: () => null,
    takeTurn: (walk) => walk(), // each site comes after the other
    onReset: () => undefined,
  });
}

export interface BackupOptions {
  /** Absolute path of the data directory. */
  readonly data: string;
  readonly sites: readonly Site[];
  /** Absolute. Made when missing. */
  readonly folder: string;
  /** The version of lookaside. */
  readonly version: string;
  readonly taker: LockTaker;
  readonly onProgress: OnProgress;
}

/**
 * Makes a backup, even beside a running server: it opens everything in the data directory read-only.
 * @throws LookasideError CONFIG_INVALID, ALREADY_RUNNING when another is being made there, STATE_UNUSABLE, DISK_FULL, READ_ONLY,
 * STORE_UNAVAILABLE
 */
export async function backUp({ data, folder, taker, ...request }: BackupOptions): Promise<BackupResult> {
  await makeBackupFolder(folder);
  const lock = takeLock(folder, taker);
  const opened: { close(): void }[] = [];
  try {
    const names = request.sites.map(({ name }) => name);
    const target = await openBackupTarget(folder, names, systemClock.now());
    return await makeBackup({
      ...request,
      sites: request.sites.map(({ name, tree, mirror }) => {
        return mirror === undefined ? { name, tree } : { name, tree, mirror: true };
      }),
      target,
      clock: systemClock,
      copyState: (file) => copyState(data, file),
      readLogKey: () => readSmallFile(join(data, LOG_KEY_NAME)),
      openSource: async (name, { auditSeq: lastSeq }) => {
        const site = siteOf(request.sites, name);
        return openBackupSource({ data, site, copy: target.stateFile, lastSeq, opened });
      },
    });
  } finally {
    for (const each of opened) each.close();
    lock.release();
  }
}

interface OpenBackupSource {
  readonly data: string;
  readonly site: Site;
  /** The copy of state.db. */
  readonly copy: string;
  readonly lastSeq: number;
  /** Receives what must be closed afterwards. */
  readonly opened: { close(): void }[];
}

async function openBackupSource({
  data,
  site,
  copy,
  lastSeq,
  opened,
}: OpenBackupSource): Promise<BackupSource> {
  const uploads = openCopiedUploads(copy);
  opened.push(uploads);
  const uploadsNow = openUploadsReadOnly(data) ?? uploads;
  if (uploadsNow !== uploads) opened.push(uploadsNow);
  const index = await openUsableIndex(data, site);
  if (index !== null) opened.push(index);
  return createBackupSource({
    tree: openSiteTree(site),
    index: index === null ? NO_INDEX : { ...NO_INDEX, ...index, listFolder: orNoNames(index) },
    uploads: uploadsInForce(uploads, uploads.tombstones),
    tombstones: uploads.tombstones,
    uploadsNow,
    lastSeq,
    readIntents: () => readIntents(site.root),
    changes: createImageChanges(),
    sha256: sha256Hex,
    wait,
  });
}

/** Null when there is no usable index: the tree alone then says what there is. */
async function openUsableIndex(data: string, site: Site): Promise<IndexReader | null> {
  try {
    const index = openIndexReadOnly(data);
    if ((await index?.treeOf(site.name)) === treeName(site)) return index;
    index?.close();
    return null;
  } catch (error) {
    if (isLookasideError(error, 'INDEX_UNUSABLE')) return null;
    throw error;
  }
}

/** The server may replace index.db at any time. */
function orNoNames(index: IndexReader): IndexReader['listFolder'] {
  return (...asked) => unlessUnusable(() => index.listFolder(...asked), { names: [], next: null });
}

export interface RestoreOptions {
  /** Absolute path of the data directory. */
  readonly data: string;
  readonly sites: readonly Site[];
  /** Absolute path of the backup. */
  readonly folder: string;
  readonly taker: LockTaker;
  readonly onProgress: OnProgress;
}

/**
 * Fills the data directory, which must be empty or missing, from a backup.
 * @throws LookasideError BACKUP_UNUSABLE, CONFIG_INVALID, ALREADY_RUNNING, DISK_FULL, READ_ONLY, STORE_UNAVAILABLE
 */
export async function restore(options: RestoreOptions): Promise<BackupManifest> {
  const { data, folder, taker, onProgress } = options;
  const backup = await openBackup(folder);
  const kept = sitesOfBackup(backup.manifest);
  // the mirrors themselves are in the backup's state.db
  const mirrors = kept.flatMap(({ name, mirror }): Pick<Site, 'name' | 'root' | 'tree'>[] =>
    mirror === undefined ? [] : [{ name, root: rootOfMirror(data, name), tree: 'owned' }],
  );
  const sites = [...options.sites, ...mirrors];
  for (const site of kept) refuseOtherTree(site, sites);
  const lock = takeLock(data, taker);
  try {
    const places = {
      dataDir: data,
      trees: kept
        .filter(({ tree }) => tree === 'owned')
        .flatMap(({ name }) => sites.find((site) => site.name === name) ?? []),
      stateFile: stateFileOf(data),
      logKeyFile: join(data, LOG_KEY_NAME),
      unfinishedStateFile: unfinishedStateFileOf(data),
    };
    const target = await openRestoreTarget(places, folder);
    const damaged = (what: string) => damagedBackup(folder, what);
    return await restoreBackup({ backup, target, sha256: sha256Hex, onProgress, damaged });
  } finally {
    lock.release();
  }
}

/** @throws LookasideError CONFIG_INVALID */
function refuseOtherTree({ name, tree }: SiteOfBackup, sites: readonly Pick<Site, 'name' | 'tree'>[]): void {
  const site = sites.find((one) => one.name === name);
  if (site === undefined) {
    throw new LookasideError(
      'CONFIG_INVALID',
      `the backup has the site ${name}, which the data directory would not have; set it up first, then restore`,
    );
  }
  if (tree === site.tree) return;
  throw new LookasideError(
    'CONFIG_INVALID',
    tree === 'owned'
      ? 'the backup holds the signatures of an owned tree, which belong to DATA/sigstore; leave --root and LOOKASIDE_ROOT out'
      : 'the backup was made beside a shared tree, and has no signatures but those in state.db; name that tree with --root',
  );
}

export async function listTokens({ data }: Config): Promise<readonly ShownToken[]> {
  const tokens = openTokensReadOnly(data);
  try {
    return ((await tokens?.list()) ?? []).map((token) => showToken(token, systemClock.now()));
  } finally {
    tokens?.close();
  }
}

export async function listSessions({ data }: Config): Promise<readonly ShownSession[]> {
  const tokens = openTokensReadOnly(data);
  try {
    const now = systemClock.now();
    const sessions = (await tokens?.sessions.list()) ?? [];
    return sessions.filter((session) => isSessionInForce(session, now)).map(showSession);
  } finally {
    tokens?.close();
  }
}

export interface ReadSigners extends Pick<SignerReader, 'signers' | 'grants' | 'subjects'> {
  readonly keys: Pick<KeyStore, 'find' | 'list'>;
  readonly listTokens: () => Promise<readonly ShownToken[]>;
}

export async function withSigners<T>(config: Config, act: (stores: ReadSigners) => Promise<T>): Promise<T> {
  using opened = openSignersReadOnly(config.data);
  using keys = openKeysReadOnly(config.data);
  const { signers, grants, subjects } = opened ?? NO_SIGNERS;
  return await act({
    signers,
    grants,
    subjects,
    keys: keys ?? NO_KEYS,
    listTokens: () => listTokens(config),
  });
}

export type ReadKeys = Pick<KeyService, 'list' | 'find' | 'armor' | 'warnings' | 'uses'>;

export async function withKeys<T>({ data }: Config, act: (keys: ReadKeys) => Promise<T>): Promise<T> {
  const keys = openKeysReadOnly(data);
  try {
    return await act({
      list: async () => (await keys?.list()) ?? [],
      find: (name) => findKey(keys ?? NO_KEYS, name),
      armor: (...chosen) => armorPublicKey(joined(chosen)),
      warnings: ({ certificate }) => warningsOfCertificate(certificate),
      uses: ({ certificate }) => usesOfCertificate(certificate),
    });
  } finally {
    keys?.close();
  }
}

const NO_KEYS = { list: async () => [], find: async () => null };

const NO_SIGNERS = {
  signers: { list: async () => [], find: async () => null },
  grants: { list: async () => [] },
  subjects: { list: async () => [] },
};

/** Stands in for the uploads of a data directory that has no state.db yet. */
const NO_UPLOADS = {
  ofImage: async () => [],
  images: async () => [],
  tombstones: { ofImage: async () => [] },
};

/** An empty index, for a data directory that has none yet. */
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
  peekWrites: () => 0,
};

function refuseWrite(): Promise<never> {
  return Promise.reject(new Error('a read-only command tried to write to the index'));
}
