// One site: its tree, and the parts that read, write, scan and judge it. All sites share the databases, the threads that verify,
// and the cache of sets.
import { hash } from 'node:crypto';
import { setTimeout as wait } from 'node:timers/promises';
import type { Config } from '../config.ts';
import { isLookasideError, LookasideError } from '../domain/errors.ts';
import { DEFAULT_SITE, type ImageId } from '../domain/image.ts';
import { BEING_WRITTEN_MS } from '../domain/limits.ts';
import type { Clock, Log, SignatureIndex, SignatureStore, UploadStore, Verifier } from '../domain/ports.ts';
import type { Site } from '../domain/site.ts';
import type { Tree } from '../domain/tree.ts';
import { readIntents } from '../files/intents.ts';
import { openThreadedLooks, type ThreadedLooks } from '../files/threaded-looks.ts';
import { openThreadedWalk } from '../files/threaded-walk.ts';
import { openThreadedWriter, type ThreadedWriter } from '../files/threaded-writer.ts';
import { makeRoot, openTree } from '../files/tree.ts';
import { openTreeWriter } from '../files/tree-writer.ts';
import { isWholeSignature } from '../openpgp/packets.ts';
import { type MakeEvent, SERVER } from '../service/audit.ts';
import type { FewLines } from '../service/few-lines.ts';
import { type GivingWay, restingBetween } from '../service/giving-way.ts';
import { createJudge, type Judge, type SiteJudge } from '../service/judge.ts';
import { createProblemRegister, type ProblemRegister } from '../service/problems.ts';
import { createUpkeep, type SiteUpkeep } from '../service/upkeep.ts';
import type { Databases } from '../sqlite/databases.ts';
import { type Appender, createAppender } from '../store/append.ts';
import { createImageChanges } from '../store/image-changes.ts';
import { createLetGo } from '../store/let-go.ts';
import { createPublisher } from '../store/publish.ts';
import { createScanner } from '../store/scan.ts';
import { createTreeStore } from '../store/tree-store.ts';
import { uploadsInForce } from '../store/uploads-in-force.ts';
import { type Filling, openFilling } from './filling.ts';

const WALK_THREAD = new URL('./walk-thread.js', import.meta.url);

/** The sites that the configuration asks for. */
export function sitesOf({ root, tree }: Config): readonly Site[] {
  return [{ name: DEFAULT_SITE, prefix: '', root, tree }];
}

export interface OpenSite extends Site {
  readonly files: Tree;
  readonly store: SignatureStore;
  readonly appender: Appender;
  readonly upkeep: SiteUpkeep;
  readonly judge: Judge;
  /** Null: it takes uploads. */
  readonly filling: Filling | null;
  readonly problems: ProblemRegister;
  /** Free bytes on the file system of the tree. @throws LookasideError STORE_UNAVAILABLE */
  freeBytes(): Promise<number>;
  /** Call it when nothing is written any more. */
  close(): Promise<void>;
  /** Why the tree accepts no more writes; null while it does. */
  readonly fault: string | null;
}

/** What all sites of a process share. */
export interface SharedParts {
  readonly databases: Databases;
  readonly verifier: Verifier;
  readonly makeEvent: MakeEvent;
  /** To whom work gives way that nobody waits for. */
  readonly givingWay: GivingWay;
  readonly clock: Clock;
  readonly log: FewLines;
  /** Where problems of trees are told; left out: in `log`. */
  readonly problemLog?: Log | undefined;
  /** Space on each disk that uploads leave free; a reload may change it. */
  readonly minFreeBytes: () => number;
  /** The environment names proxies. */
  readonly hasProxies: boolean;
  /** Why no upstream of a mirror is asked; left out: they are. */
  readonly unusable?: string;
  readonly scanIntervalMs: () => number | null;
  /** Called when earlier reads of the image are no longer right. */
  readonly onChanged: (image: ImageId) => void;
  /** Runs walks through whole trees one after another. */
  readonly takeTurn: <T>(walk: () => Promise<T>) => Promise<T>;
  /** Called when the index was rebuilt for this site: it holds nothing of the others. */
  readonly onIndexReset: (site: string) => void;
}

/**
 * Makes the tree's root when it is missing, and binds the index to it. Call `appender.recover()` before the first read.
 * @throws LookasideError STORE_UNAVAILABLE
 */
export async function openSite(site: Site, shared: SharedParts): Promise<OpenSite> {
  await makeRoot(site.root);
  await bindIndex(shared.databases.index, site, shared.log);
  return await connectSite(site, shared);
}

/** An index that proves unusable here answers nothing until it is rebuilt, and is bound then. */
async function bindIndex(index: SignatureIndex, site: Site, log: Log): Promise<void> {
  await unlessUnusable(() => warnOfOtherTree(index, site, log));
  await unlessUnusable(() => index.bind(site.name, treeName(site)));
}

async function unlessUnusable(act: () => Promise<void>): Promise<void> {
  try {
    await act();
  } catch (error) {
    if (!isLookasideError(error, 'INDEX_UNUSABLE')) throw error;
  }
}

async function warnOfOtherTree(index: SignatureIndex, site: Site, log: Log): Promise<void> {
  const tree = await index.treeOf(site.name);
  if (tree === '' || tree === treeName(site)) return;
  const { images } = await index.counts(site.name);
  if (images > 0) log.warn({ site: site.name, images }, otherTree(tree, site));
}

/** A forgotten --root would otherwise look like a tree in which nothing is signed. */
function otherTree(tree: string, { root }: Site): string {
  const before = sharedRootOf(tree);
  const [what, how] =
    before === null
      ? ['its own tree', 'leave --root and LOOKASIDE_ROOT out']
      : [`the tree ${before}`, `start with --root ${before}`];
  return `this data directory served ${what} before, and serves ${root} from now on; if that is not meant, ${how}`;
}

async function connectSite(site: Site, shared: SharedParts): Promise<OpenSite> {
  const { databases, verifier, makeEvent, clock } = shared;
  const { index, audit, tombstones } = databases;
  const { ofImage } = uploadsInForce(databases.uploads, tombstones);
  const uploads: UploadStore = {
    ofImage,
    images: (...page) => databases.uploads.images(...page),
    bytesOf: (...of) => databases.uploads.bytesOf(...of),
    add: (...upload) => databases.uploads.add(...upload),
  };
  const log = naming(site, shared.log);
  const looks = openThreadedLooks({ root: site.root, beingWrittenMs: BEING_WRITTEN_MS });
  const files = openSiteTree(site, looks);
  if (await isNew(site, files, index)) looks.begin();
  const writer = openWriter(site);
  const problems = createProblemRegister(
    naming(site, shared.problemLog ?? shared.log.listedBy('lookaside fsck')),
  );
  const badLog = shared.log.listedBy('GET /api/v1/signatures?state=bad and ?state=unreadable');
  // these parts call each other: the appender and the scanner hand new images to the judge
  const prefer = (image: ImageId) => void judge.prefer(image);
  const parts = {
    tree: files,
    kind: site.tree,
    takesAll: site.mirror !== undefined,
    index,
    uploads,
    tombstones,
    changes: createImageChanges(),
    report: problems.report,
    wait,
  };
  const appender = createAppender({
    ...parts,
    writer,
    verdicts: index,
    audit,
    makeRestoreEvent: (image, signatureSha256) =>
      makeEvent({ action: 'restore', image, signatureSha256, result: 'restored' }, SERVER),
    site: site.name,
    makeLiftEvent: ({ image, sha256: signatureSha256, until }) =>
      makeEvent(
        {
          action: 'withdraw-end',
          image,
          signatureSha256,
          result: 'restored',
          reason: `withdrawn until ${until?.toISOString()}`,
        },
        SERVER,
      ),
    sha256: sha256Hex,
    dataFreeBytes: databases.freeBytes,
    monotonicMs: clock.monotonicMs,
    get minFreeBytes() {
      return shared.minFreeBytes(); // a reload may change it
    },
    onChanged: shared.onChanged,
    onRecorded: prefer,
    log,
  });
  const { tend } = appender;
  const quickly = openThreadedWalk({ root: site.root, index: databases.indexFile, script: WALK_THREAD });
  const scanner = createScanner({
    ...parts,
    tend,
    restore: writer.restore,
    reportFolders: problems.reportFolders,
    readIntents: () => readIntents(site.root),
    monotonicMs: clock.monotonicMs,
    quick: {
      async walk(request) {
        const batches = await quickly.walk(request);
        return batches === null ? null : restingBetween(batches, shared.givingWay, { clock, wait });
      },
      recordNew(...images) {
        judge.makeWay();
        return index.recordNew(...images);
      },
      tombstones,
      troubled: () => problems.folders(site.name),
    },
  });
  const { syncFolder } = scanner;
  const hasProblems = problems.has;
  const stored = createTreeStore({
    ...parts,
    tend,
    hasProblems,
    sha256: sha256Hex,
    syncFolder,
    onRecorded: prefer,
  });
  const judge = createJudge({
    site: site.name,
    index,
    store: stored,
    verifier,
    clock,
    log,
    badLog: naming(site, badLog),
  });
  const upkeep = createUpkeep({
    site: site.name,
    scanner: { ...scanner, scan: (...what) => withVerdicts(scanner.scan(...what), judge, shared.log) },
    index,
    whenIndexChecked: () => index.whenChecked(),
    clock,
    log,
    scanIntervalMs: shared.scanIntervalMs,
    takeTurn: shared.takeTurn,
    onReset: () => shared.onIndexReset(site.name),
  });
  const { mirror } = site;
  const filling =
    mirror === undefined
      ? null
      : await openFilling(mirror, {
          ...shared,
          ...{ mirrors: databases.mirrors, tombstones, audit, store: stored, judge, sha256: sha256Hex, log },
          publisher: createPublisher({
            ...shared,
            ...parts,
            writer,
            sha256: sha256Hex,
            onRecorded: prefer,
            log,
          }),
          letGo: createLetGo({ ...shared, ...parts, writer }),
          ...{ isShared: false, unusable: shared.unusable ?? null },
        });
  return {
    ...site,
    files,
    store: filling?.mirror.store ?? stored,
    appender: filling === null ? appender : { ...appender, append: () => refuseUpload(site.name) },
    filling,
    upkeep,
    judge,
    problems,
    freeBytes: () => writer.freeBytes(),
    close: () => writer.close(),
    get fault() {
      return writer.fault;
    },
  };
}

/** A tree that others write to may lie on a network disk that hangs: those share the pool of threads. */
function openWriter({ root, tree, mirror }: Site): ThreadedWriter {
  const options = { root, nowMs: Date.now };
  if (tree === 'shared') return Object.assign(openTreeWriter(options), { close: async () => undefined });
  // mirrors are many, and most of the time nothing new comes
  return openThreadedWriter(mirror === undefined ? options : { ...options, idleMs: WRITER_IDLE_MS });
}

export async function refuseUpload(name: string): Promise<never> {
  const message = `${name} is a mirror, which is filled from its upstream alone; upload to a path outside of it`;
  throw new LookasideError('READ_ONLY', message);
}

/** The scan. Verdicts go on after it, and the log summarizes both together. */
function withVerdicts<T>(scan: Promise<T>, judge: SiteJudge, fewLines: FewLines): Promise<T> {
  const ended = scan.finally(judge.goOn);
  void fewLines.during(ended.then(judge.settled, judge.settled));
  return ended;
}

/** A log that names the site in each line. */
function naming({ name: site }: Site, log: Log): Log {
  return {
    debug: (fields, message) => log.debug({ site, ...fields }, message),
    info: (fields, message) => log.info({ site, ...fields }, message),
    warn: (fields, message) => log.warn({ site, ...fields }, message),
    error: (fields, message) => log.error({ site, ...fields }, message),
  };
}

/** An owned tree moves with its data directory; a shared tree is identified by its place. */
export function treeName({ tree, root }: Pick<Site, 'tree' | 'root'>): string {
  return tree === 'owned' ? 'owned' : `${SHARED}${root}`;
}

const SHARED = 'shared ';
const WRITER_IDLE_MS = 60_000;

/** The root of the shared tree that has this name; null for an owned one. */
export function sharedRootOf(name: string): string | null {
  return name.startsWith(SHARED) ? name.slice(SHARED.length) : null;
}

/** Whether there are images and none is recorded: the first read of each looks at the tree. */
async function isNew({ name, tree, mirror }: Site, files: Tree, index: SignatureIndex): Promise<boolean> {
  if (tree === 'shared' || mirror !== undefined) return false;
  try {
    if ((await index.images(name, null, 1)).length > 0) return false;
    for await (const _ of (await files.children('')) ?? []) return true;
    return false;
  } catch (error) {
    if (isLookasideError(error, 'INDEX_UNUSABLE')) return true;
    if (isLookasideError(error, 'STORE_UNAVAILABLE')) return false; // whoever reads the tree tells what is wrong
    throw error;
  }
}

export function openSiteTree({ root }: Pick<Site, 'root'>, looks?: ThreadedLooks): Tree {
  return openTree({
    root,
    ...(looks === undefined ? {} : { looks }),
    nowMs: Date.now,
    beingWrittenMs: BEING_WRITTEN_MS,
    isWhole: isWholeSignature,
  });
}

export function sha256Hex(content: Uint8Array | string): string {
  return hash('sha256', content);
}
