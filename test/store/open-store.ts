// A store over a real tree and a real index, with uploads in memory, with what it reported and a wait that tests may steer.
import path from 'node:path';
import type { AuditAction, NewAuditEvent } from '../../src/domain/audit.ts';
import { type ImageId, imageFolder, imageKey, parseImageFolder } from '../../src/domain/image.ts';
import { BEING_WRITTEN_MS } from '../../src/domain/limits.ts';
import type {
  IndexedSignature,
  SignatureIndex,
  SignatureStore,
  UploadStore,
  VerifiedUpload,
} from '../../src/domain/ports.ts';
import type { Problem, Tree, TreeWriter } from '../../src/domain/tree.ts';
import type { WalkBatch } from '../../src/domain/tree-walk.ts';
import type { Judgement } from '../../src/domain/verdict.ts';
import { readIntents } from '../../src/files/intents.ts';
import { type QuickWalkOptions, walkQuickly } from '../../src/files/quick-walk.ts';
import { makeRoot, openTree } from '../../src/files/tree.ts';
import { openTreeWriter } from '../../src/files/tree-writer.ts';
import { isWholeSignature } from '../../src/openpgp/packets.ts';
import { createReader, type Reader } from '../../src/service/read.ts';
import { type Databases, openDatabases } from '../../src/sqlite/databases.ts';
import { openFolderStamps } from '../../src/sqlite/folder-stamps.ts';
import { type Appender, createAppender } from '../../src/store/append.ts';
import { createImageChanges } from '../../src/store/image-changes.ts';
import { createScanner, type Scanner } from '../../src/store/scan.ts';
import { createTreeStore } from '../../src/store/tree-store.ts';
import { uploadsInForce } from '../../src/store/uploads-in-force.ts';
import { openTempFolder } from '../clients/temp-folder.ts';
import { createLog, type LogLine } from '../service/hand-driven.ts';
import { sha256Hex } from './lay.ts';
import { createUploads, type KeptUploads } from './uploads.ts';

export const SITE = 'default';

export interface OpenedStore extends AsyncDisposable {
  readonly root: string;
  readonly data: string;
  readonly tree: Tree;
  readonly databases: Databases;
  readonly scanner: Scanner;
  readonly store: SignatureStore;
  readonly appender: Appender;
  /** Over the store, told of its changes as the server's is. */
  readonly reader: Reader;
  /** Another reader is told of them too. */
  readonly tell: (reader: Reader) => void;
  readonly uploads: KeptUploads;
  /** What verification is said to have found, by imageKey. */
  readonly verdicts: Map<string, readonly IndexedSignature[]>;
  /** What was last reported of each image's folder. */
  readonly reported: ReadonlyMap<string, readonly Problem[]>;
  /** What was last reported of folders above images. */
  readonly reportedFolders: () => readonly Problem[];
  /** Folders of images of which something was recorded without a verdict. */
  readonly unjudged: readonly string[];
  readonly log: readonly LogLine[];
}

/** The ports that reads, uploads and scans go through, for tests that come between. */
export interface Ports {
  readonly tree: Tree;
  readonly writer: TreeWriter;
  readonly uploads: UploadStore;
  readonly index: SignatureIndex;
}

export interface StoreOptions {
  readonly kind: 'owned' | 'shared';
  /** Folder of an earlier store's tree and databases; without one a new folder that goes with the store. */
  readonly folder?: string;
  readonly uploads?: KeptUploads;
  /** Wall clock that the files' times are compared with. */
  readonly nowMs?: () => number;
  readonly beingWrittenMs?: number;
  readonly monotonicMs?: () => number;
  readonly wait?: (ms: number) => Promise<void>;
  readonly minFreeBytes?: number;
  readonly dataFreeBytes?: () => Promise<number>;
  readonly between?: (ports: Ports) => Ports;
  /** How many images a walk packs together. */
  readonly imagesAPack?: number;
  /** Whether scans pass over what has not changed; default: without `between`. */
  readonly isQuick?: boolean;
}

export async function openStore(options: StoreOptions): Promise<OpenedStore> {
  const { kind, nowMs = Date.now, beingWrittenMs = BEING_WRITTEN_MS } = options;
  const { monotonicMs = () => performance.now(), between = (ports) => ports } = options;
  // by default nobody waits for long: what is half-written stays so
  const { wait = () => new Promise<void>((resolve) => setImmediate(resolve)) } = options;
  const walk = options.imagesAPack === undefined ? {} : { imagesAPack: options.imagesAPack };
  const temp = options.folder === undefined ? await openTempFolder() : null;
  const folder = options.folder ?? temp?.path ?? '';
  const data = path.join(folder, 'data');
  const root = path.join(folder, 'root');
  await makeRoot(root);
  const readers = new Set<Reader>();
  const databases = await openDatabases({
    dataDir: data,
    onUnusable: () => undefined,
    onIndexWritten(images) {
      for (const reader of readers) {
        if (images === null) reader.forgetAll();
        else for (const image of images) reader.forget(image);
      }
    },
  });
  const kept = options.uploads ?? createUploads();
  const reported = new Map<string, readonly Problem[]>();
  let reportedFolders: readonly Problem[] = [];
  const unjudged: string[] = [];
  const verdicts = new Map<string, readonly IndexedSignature[]>();
  const log = createLog();
  const { tombstones } = databases;
  const ports = between({
    tree: openTree({ root, nowMs, beingWrittenMs, isWhole: isWholeSignature }),
    writer: openTreeWriter({ root, nowMs }),
    uploads: { ...kept, ...uploadsInForce(kept, tombstones) },
    index: databases.index,
  });
  const report = (image: ImageId, problems: readonly Problem[]) => {
    reported.set(imageFolder(image), problems);
  };
  const onRecorded = (image: ImageId) => void unjudged.push(imageFolder(image));
  const changes = createImageChanges();
  const shared = { kind, ...ports, tombstones, changes, report, wait, onRecorded, sha256: sha256Hex };
  const appender = createAppender({
    ...shared,
    verdicts: { ofImage: async (image) => verdicts.get(imageKey(image)) ?? [] },
    audit: kept,
    site: SITE,
    makeLiftEvent: ({ image, sha256 }) => eventOf(image, sha256, 'withdraw-end'),
    makeRestoreEvent: (image, sha256) => eventOf(image, sha256, 'restore'),
    dataFreeBytes: options.dataFreeBytes ?? databases.freeBytes,
    minFreeBytes: options.minFreeBytes ?? 0,
    monotonicMs: () => performance.now(),
    onChanged(image) {
      for (const reader of readers) reader.forget(image);
    },
    log,
  });
  const { tend } = appender;
  const scanner = createScanner({
    ...shared,
    tend,
    restore: ports.writer.restore,
    reportFolders: (_, problems) => {
      reportedFolders = problems;
    },
    readIntents: () => readIntents(root),
    monotonicMs,
    wait: () => new Promise<void>(() => undefined),
    // with ports of its own, a test steers what is read
    quick:
      (options.isQuick ?? options.between === undefined)
        ? {
            walk: async ({ site, share, mustLook }) =>
              walkHere(
                { ...walk, root, site, share, mustLook: new Set(mustLook), nowMs, beingWrittenMs },
                databases.indexFile,
              ),
            recordNew: (...images) => databases.index.recordNew(...images),
            tombstones,
            troubled: () =>
              [...reported].flatMap(([image, problems]) => (problems.length > 0 ? [image] : [])),
          }
        : null,
  });
  const store = createTreeStore({
    ...shared,
    tend,
    hasProblems: () => false,
    syncFolder: scanner.syncFolder,
  });
  const clock = { now: () => new Date(), monotonicMs };
  const reader = createReader({ store, clock, cacheBytes: 1024 * 1024 });
  readers.add(reader);
  return {
    root,
    data,
    tree: ports.tree,
    databases,
    scanner,
    store,
    appender,
    reader,
    tell: (another) => void readers.add(another),
    uploads: kept,
    verdicts,
    reported,
    reportedFolders: () => reportedFolders,
    unjudged,
    log: log.lines,
    async [Symbol.asyncDispose]() {
      await databases.close();
      await temp?.[Symbol.asyncDispose]();
    },
  };
}

/** The server's walk, in this thread. */
async function* walkHere(
  walk: Omit<QuickWalkOptions, 'recorded'>,
  indexFile: string,
): AsyncGenerator<WalkBatch> {
  const stamps = openFolderStamps(indexFile);
  try {
    yield* walkQuickly({ ...walk, recorded: (...names) => stamps.in(walk.site, ...names) });
  } finally {
    stamps.close();
  }
}

/** The image whose folder this is. */
export function imageIn(folder: string): ImageId {
  const image = parseImageFolder(SITE, folder);
  if (image === null) throw new Error(`${folder} is no image's folder`);
  return image;
}

/** Kinds of what was last reported of the folder. */
export function kindsOf({ reported }: OpenedStore, folder: string): string[] {
  return (reported.get(folder) ?? []).map(({ kind, path: file }) => `${kind} ${path.basename(file)}`);
}

/** An upload of these bytes to the image, verified as far as the store cares. */
export function uploadOf(
  image: ImageId,
  bytes: Uint8Array,
  more: Partial<Pick<VerifiedUpload, 'number' | 'review' | 'uploader' | 'remap'>> = {},
): VerifiedUpload {
  const event = eventOf(image, sha256Hex(bytes), 'upload');
  return {
    image,
    bytes,
    judgement: GOOD,
    uploader: 'ci',
    remap: null,
    event,
    number: null,
    review: null,
    ...more,
  };
}

export const GOOD: Judgement = {
  verdict: 'good',
  refusal: null,
  form: 'binary',
  issuer: 'A'.repeat(40),
  fingerprint: 'A'.repeat(40),
  signingFingerprint: 'A'.repeat(40),
  signedAt: new Date('2026-11-01T00:00:00Z'),
  expiresAt: null,
  claim: null,
  traits: null,
  judgeAgainAt: null,
};

export function eventOf(image: ImageId, sha256: string, action: AuditAction): NewAuditEvent {
  return {
    at: new Date(),
    action,
    site: image.site,
    image: imageFolder(image),
    signatureSha256: sha256,
    fingerprint: null,
    result: 'created',
    private: { actor: 'ci', address: null, requestId: null, reason: null },
    salt: '0'.repeat(64),
  };
}
