// A store over a real tree and a real index, with what it reported and a wait that tests may steer.
import path from 'node:path';
import { type ImageId, imageFolder, parseImageFolder } from '../../src/domain/image.ts';
import { BEING_WRITTEN_MS } from '../../src/domain/limits.ts';
import type { SignatureStore } from '../../src/domain/ports.ts';
import type { Problem, Tree } from '../../src/domain/tree.ts';
import { makeRoot, openTree } from '../../src/files/tree.ts';
import { isWholeSignature } from '../../src/openpgp/packets.ts';
import { type Databases, openDatabases } from '../../src/sqlite/databases.ts';
import { createScanner, type Scanner } from '../../src/store/scan.ts';
import { createTreeStore } from '../../src/store/tree-store.ts';
import { openTempFolder } from '../clients/temp-folder.ts';
import { sha256Hex } from './lay.ts';

export const SITE = 'default';

export interface OpenedStore extends AsyncDisposable {
  readonly root: string;
  readonly data: string;
  readonly tree: Tree;
  readonly databases: Databases;
  readonly scanner: Scanner;
  readonly store: SignatureStore;
  /** What was last reported of each image's folder. */
  readonly reported: ReadonlyMap<string, readonly Problem[]>;
}

export interface StoreOptions {
  readonly kind: 'owned' | 'shared';
  /** Wall clock that the files' times are compared with. */
  readonly nowMs?: () => number;
  readonly beingWrittenMs?: number;
  readonly monotonicMs?: () => number;
  readonly wait?: (ms: number) => Promise<void>;
}

export async function openStore(options: StoreOptions): Promise<OpenedStore> {
  const { kind, nowMs = Date.now, beingWrittenMs = BEING_WRITTEN_MS } = options;
  const { monotonicMs = () => performance.now() } = options;
  // by default nobody waits for long: what is half-written stays so
  const { wait = () => new Promise<void>((resolve) => setImmediate(resolve)) } = options;
  const temp = await openTempFolder();
  const data = path.join(temp.path, 'data');
  const root = path.join(temp.path, 'root');
  await makeRoot(root);
  const databases = await openDatabases({ dataDir: data, onUnusable: () => undefined });
  const reported = new Map<string, readonly Problem[]>();
  const tree = openTree({ root, nowMs, beingWrittenMs, isWhole: isWholeSignature });
  const report = (image: ImageId, problems: readonly Problem[]) => {
    reported.set(imageFolder(image), problems);
  };
  const shared = { tree, kind, index: databases.index, report, wait };
  const scanner = createScanner({ ...shared, monotonicMs, wait: () => new Promise<void>(() => undefined) });
  const store = createTreeStore({ ...shared, sha256: sha256Hex, syncFolder: scanner.syncFolder });
  return {
    root,
    data,
    tree,
    databases,
    scanner,
    store,
    reported,
    async [Symbol.asyncDispose]() {
      await databases.close();
      await temp[Symbol.asyncDispose]();
    },
  };
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
