// What the system notes of a file or folder when it changes, and for how long two changes may look like one.
import { type BigIntStats, promises as fs } from 'node:fs';

/** Most file systems: timestamps tick every few milliseconds, so two changes within a tick look like one. */
const TICK_MS = 50;

/** File systems that keep whole seconds: ext2 and ext3, ext4 with small inodes, FAT with every second one. */
const COARSE_TICK_MS = 2050;

/** What a stamp is made of. */
export type Stamped = Pick<BigIntStats, 'dev' | 'ino' | 'size' | 'mtimeNs' | 'ctimeNs'>;

/** Differs after each change, unless two of them fell into one tick: isSettled. */
export function stampOf(stats: Stamped): string {
  // mtime and size, as rsync compares them; ctime and inode for changes that keep both
  return `${stats.dev}:${stats.ino}:${stats.size}:${stats.mtimeNs}:${stats.ctimeNs}`;
}

/** Whether the stamps of both are equal, without making texts of them. */
export function haveOneStamp(one: Stamped, other: Stamped): boolean {
  if (one.ctimeNs !== other.ctimeNs || one.mtimeNs !== other.mtimeNs) return false;
  return one.ino === other.ino && one.size === other.size && one.dev === other.dev;
}

/** Whether every later change gives another stamp. Both in ms of the wall clock. */
export function isSettled(changedAtMs: number, nowMs: number): boolean {
  // a whole second may be a rounded one
  const tickMs = changedAtMs % 1000 === 0 ? COARSE_TICK_MS : TICK_MS;
  return Math.abs(nowMs - changedAtMs) > tickMs;
}

const EARLIEST_MS = Date.parse('0001-01-01T00:00:00Z');
const LATEST_MS = Date.parse('9999-12-31T23:59:59Z');

/** Within the years 1 to 9999: Btrfs, ZFS and tmpfs keep any time that somebody has set, and Date has none so far away. */
export function modifiedAtOf(mtimeMs: number | bigint): Date {
  return new Date(Math.min(Math.max(Number(mtimeMs), EARLIEST_MS), LATEST_MS));
}

// statfs(2): ext, XFS, Btrfs, tmpfs, ZFS, F2FS. Others, such as NFS, autofs and FUSE, keep a folder's times in other ways, and of
// overlayfs the layers below may be changed unseen.
const STAMPED: ReadonlySet<number> = new Set([
  0xef53, 0x58465342, 0x9123683e, 0x01021994, 0x2fc12fc1, 0xf2f52010,
]);

/** Whether the times of files and folders tell of every change there. @throws the system's errors */
export async function isStamped(path: string): Promise<boolean> {
  return STAMPED.has((await fs.statfs(path)).type);
}
