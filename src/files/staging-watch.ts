// Notices changes below a folder, with one fs.watch for each folder and none for files.
//
// Not chokidar: it lists a folder before it watches it, and so missed 3 of 300 files made just after their folder. It
// noticed nothing more in 100 folders that were deleted and made again at once. Here each folder is watched first and then
// listed, and it is watched anew whenever an event names it.
import { closeSync, type FSWatcher, promises as fs, watch } from 'node:fs';
import { systemCode } from '../domain/errors.ts';
import { MAX_FOLDER_LEVELS } from '../domain/limits.ts';
import type { WatchListener } from '../domain/staged.ts';
import { DIR_MANIFEST, DIR_VERSION, parseStagedName } from '../domain/staged-place.ts';
import { below, entriesOf, inWords, isRefusal, OUT_OF_FILES, openFolder } from './inside.ts';

export interface Watching {
  /** How long changes are gathered before each changed folder is reported, once. */
  readonly gatherMs: number;
  /** How often we check that the root is still there and, where events are not reliable, report everything. */
  readonly pollMs: number;
  /** How often everything is reported, whatever was noticed. */
  readonly everythingMs: number;
  readonly watch: (path: string, onEvent: (kind: string, name: string | null) => void) => FSWatcher;
}

export const DEFAULT_WATCHING: Watching = {
  gatherMs: 100,
  pollMs: 2000,
  everythingMs: 5 * 60 * 1000,
  watch,
};

export interface WatchOptions extends Watching, WatchListener {
  /** As it was given. */
  readonly root: string;
  readonly realRoot: string;
}

/** Resolves when all is watched: from then on changes are noticed. */
export async function watchFolders(options: WatchOptions): Promise<AsyncDisposable> {
  const watch = new FolderWatch(options, await halfOfQueue());
  await watch.start();
  return watch;
}

const QUEUE_LIMIT = '/proc/sys/fs/inotify/max_queued_events';

/**
 * When its queue of events is full, the kernel silently drops further events. After this many events at once the queue may
 * have been full, so we act as if it was.
 */
async function halfOfQueue(): Promise<number> {
  try {
    return Math.max(1, Math.floor(Number(await fs.readFile(QUEUE_LIMIT, 'utf8')) / 2));
  } catch {
    return 8192; // half of Linux's default, when the limit cannot be read
  }
}

interface WatchedFolder {
  readonly watcher: FSWatcher;
  /** Names of watched folders in it. */
  readonly children: Set<string>;
}

class FolderWatch implements AsyncDisposable {
  readonly #options: WatchOptions;
  readonly #manyEvents: number;
  readonly #folders = new Map<string, WatchedFolder>();
  /** Folders that could not be opened, but may be later. */
  readonly #closed = new Set<string>();
  readonly #changed = new Set<string>();
  readonly #toCheck = new Set<string>();
  #realRoot: string;
  #rootIdentity: string | null = null;
  #isReliable = true;
  #toldDoubt: string | null = null;
  #isEnded = false;
  #events = 0;
  #gathering: NodeJS.Timeout | null = null;
  #timers: NodeJS.Timeout[] = [];
  /** The tasks under way, one after the other. */
  #work: Promise<void> = Promise.resolve();

  constructor(options: WatchOptions, manyEvents: number) {
    this.#options = options;
    this.#realRoot = options.realRoot;
    this.#manyEvents = manyEvents;
  }

  async start(): Promise<void> {
    const { pollMs, everythingMs } = this.#options;
    await this.#watchAll();
    this.#timers = [
      setInterval(() => this.#enqueue(() => this.#poll()), pollMs),
      setInterval(() => this.#enqueue(() => this.#beginAgain()), everythingMs),
    ];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#isEnded = true;
    for (const timer of this.#timers) clearInterval(timer);
    if (this.#gathering !== null) clearTimeout(this.#gathering);
    await this.#work;
    for (const { watcher } of this.#folders.values()) watcher.close();
    this.#folders.clear();
  }

  // --- reporting

  #tell(folder: string): void {
    this.#changed.add(folder);
    this.#gather();
  }

  #gather(): void {
    if (this.#isEnded) return;
    this.#gathering ??= setTimeout(() => this.#endOfGathering(), this.#options.gatherMs);
  }

  #endOfGathering(): void {
    this.#gathering = null;
    const mayHaveLost = this.#events >= this.#manyEvents;
    this.#events = 0;
    if (mayHaveLost) this.#enqueue(() => this.#beginAgain());
    const folders = this.#changed.has('') ? [''] : [...this.#changed];
    this.#changed.clear();
    for (const folder of folders) this.#options.onChange(folder);
  }

  // --- events

  #onEvent(folder: string, kind: string, name: string | null): void {
    if (this.#isEnded) return;
    this.#events += 1;
    this.#gather();
    if (name === null) {
      this.#tell(folder);
      return;
    }
    if (name.startsWith('.')) return;
    const path = pathOf(folder, name);
    // rename: it came or went, and may be another folder under the same name; change: its content or its mode
    if (kind === 'rename' || this.#closed.has(path)) this.#check(path);
    else if (isOfInterest(name)) this.#tell(folder);
  }

  #check(path: string): void {
    if (this.#toCheck.size === 0) this.#enqueue(() => this.#checkAll());
    this.#toCheck.add(path);
  }

  async #checkAll(): Promise<void> {
    const paths = [...this.#toCheck];
    this.#toCheck.clear();
    for (const path of paths) {
      const parent = parentOf(path);
      // an event of a folder that has been dropped since
      if (!this.#folders.has(parent)) continue;
      this.#drop(path);
      const isFolder = await this.#watchBelow(path, (folder) => this.#tell(folder));
      if (isFolder) continue;
      if (isOfInterest(nameOf(path))) this.#tell(parent);
      // an event about the root itself also carries a name
      if (parent === '') await this.#checkRoot();
    }
  }

  // --- watching

  /** Watches the folder and all folders in it, and calls `onWatched` for each; false when it is not a folder. */
  async #watchBelow(start: string, onWatched: (folder: string) => void): Promise<boolean> {
    const waiting = [start];
    let isFolder = false;
    for (let path = waiting.pop(); path !== undefined && !this.#isEnded; path = waiting.pop()) {
      const names = await this.#watchFolder(path);
      if (names === null) continue;
      isFolder ||= path === start;
      onWatched(path);
      if (path.split('/').length > MAX_FOLDER_LEVELS) continue; // the walk goes no deeper either
      for (const name of names) waiting.push(pathOf(path, name));
    }
    return isFolder;
  }

  /** The names of folders in it, or null when it is not a folder or cannot be opened. */
  async #watchFolder(path: string): Promise<readonly string[] | null> {
    const opened = await openFolder(below(this.#realRoot, path));
    if (isRefusal(opened)) {
      if (opened === OUT_OF_FILES) this.#doubt(`a folder ${opened.message}`);
      if (opened.kind === 'unreadable') this.#closed.add(path);
      return null;
    }
    try {
      this.#addWatcher(path, opened.path);
      const names: string[] = [];
      for await (const entry of await entriesOf(opened)) {
        if (entry.isDirectory() && !entry.name.startsWith('.')) names.push(entry.name);
      }
      return names;
    } catch (error) {
      // a folder that cannot be listed may hold folders that are not watched
      this.#doubt(whyUnwatched(error));
      return [];
    } finally {
      closeSync(opened.descriptor);
    }
  }

  #addWatcher(path: string, openPath: string): void {
    const watcher = this.#options.watch(openPath, (kind, name) => this.#onEvent(path, kind, name));
    watcher.on('error', (error) => this.#doubt(whyUnwatched(error)));
    this.#drop(path);
    this.#folders.set(path, { watcher, children: new Set() });
    if (path !== '') this.#folders.get(parentOf(path))?.children.add(nameOf(path));
  }

  /** Stops watching the folder and all folders in it. */
  #drop(path: string): void {
    this.#closed.delete(path);
    const folder = this.#folders.get(path);
    if (folder === undefined) return;
    folder.watcher.close();
    this.#folders.delete(path);
    for (const name of folder.children) this.#drop(pathOf(path, name));
    if (path !== '') this.#folders.get(parentOf(path))?.children.delete(nameOf(path));
  }

  // --- the root, and what no event reports

  async #watchAll(): Promise<void> {
    this.#drop('');
    this.#closed.clear();
    this.#isReliable = true;
    this.#rootIdentity = await this.#identifyRoot();
    const isWatched = this.#rootIdentity !== null && (await this.#watchBelow('', () => undefined));
    if (!isWatched) this.#rootIdentity = null;
    if (isWatched && (await isRemote(this.#realRoot))) this.#doubt(REMOTE);
  }

  async #beginAgain(): Promise<void> {
    await this.#watchAll();
    if (this.#rootIdentity !== null) this.#tell('');
  }

  async #poll(): Promise<void> {
    await this.#checkRoot();
    if (this.#rootIdentity !== null && !this.#isReliable) this.#tell('');
  }

  async #checkRoot(): Promise<void> {
    if ((await this.#identifyRoot()) !== this.#rootIdentity) await this.#beginAgain();
  }

  /** Identifies the root as it is now; null when it is not there. An inode is not enough: a new folder may get the old one's. */
  async #identifyRoot(): Promise<string | null> {
    try {
      this.#realRoot = await fs.realpath(this.#options.root);
      const { dev, ino, birthtimeNs } = await fs.stat(this.#realRoot, { bigint: true });
      return `${this.#realRoot} ${dev}:${ino}:${birthtimeNs}`;
    } catch {
      return null; // away for whatever reason: we ask again later
    }
  }

  #enqueue(act: () => Promise<void>): void {
    this.#work = this.#work
      .then(() => (this.#isEnded ? undefined : act()))
      // no descriptors are left, or /proc is gone: report everything until that is better
      .catch((error: unknown) => this.#doubt(whyUnwatched(error)));
  }

  /** After this, each poll reports everything. People get a reason only once while it stays the same. */
  #doubt(why: string): void {
    this.#isReliable = false;
    if (this.#toldDoubt === why) return;
    this.#toldDoubt = why;
    this.#options.onPolling(why);
  }
}

const REMOTE =
  'it lies on a network file system, and the kernel does not report what other machines change there';

function whyUnwatched(error: unknown): string {
  return NO_WATCHES[systemCode(error) ?? ''] ?? `not all of its folders can be watched: ${inWords(error)}`;
}

// inotify_add_watch(2) and inotify_init1(2)
const NO_WATCHES: Readonly<Record<string, string>> = {
  ENOSPC: 'the kernel grants no more watches, and each folder needs one; raise fs.inotify.max_user_watches',
  EMFILE: 'the kernel grants no more watching; raise fs.inotify.max_user_instances, or ulimit -n',
};

/** Whether a file of that name changes what is found in its folder. */
function isOfInterest(name: string): boolean {
  return parseStagedName(name) !== null || name === DIR_MANIFEST || name === DIR_VERSION;
}

function pathOf(folder: string, name: string): string {
  return folder === '' ? name : `${folder}/${name}`;
}

function parentOf(path: string): string {
  return path.slice(0, Math.max(0, path.lastIndexOf('/')));
}

function nameOf(path: string): string {
  return path.slice(path.lastIndexOf('/') + 1);
}

// statfs(2): file systems that other machines, or programs, change without an event here
const REMOTE_TYPES: ReadonlySet<number> = new Set([
  0x6969, // NFS
  0x517b, // SMB
  0xfe534d42, // SMB 2
  0xff534d42, // CIFS
  0x01021997, // 9p
  0x65735546, // FUSE
  0x00c36400, // Ceph
  0x5346414f, // AFS
  0x7461636f, // OCFS2
  0x01161970, // GFS2
  0x0bd00bd0, // Lustre
  0x6a656a63, // VirtualBox's shared folders; virtiofs reports FUSE's type
]);

async function isRemote(path: string): Promise<boolean> {
  try {
    return REMOTE_TYPES.has((await fs.statfs(path)).type);
  } catch (error) {
    // ENOENT: gone meanwhile, and the next look at the root notices; else the type is unknown, so do not rely on events
    return systemCode(error) !== 'ENOENT';
  }
}
