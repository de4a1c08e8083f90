// Which looks at a tree need no turn through the pool of threads. The kernel answers from memory for what was looked at a moment
// ago on a local file system, also while the disk hangs.
import { promises as fs } from 'node:fs';
import { join, resolve } from 'node:path';
import { systemCode } from '../domain/errors.ts';

export interface LocalLooks {
  /**
   * Whether a look at what has this stamp waits for nothing. `lookedAtMs`: when it was last found, by the wall clock. False is always
   * right: then the pool of threads asks.
   */
  mayPeek(stamp: string, lookedAtMs: number): boolean;
}

/** What was found stays in the kernel's memory for so long at least; only a machine without free memory drops it. */
const KEPT_MS = 10_000;

/** How long the file systems on the way to the root are believed to be the same. */
const PLACE_KEPT_MS = 1000;

// statfs(2): ext, XFS, Btrfs, tmpfs, F2FS. ZFS may wait for its pool; NFS, FUSE and autofs for others.
const LOCAL: ReadonlySet<number> = new Set([0xef53, 0x58465342, 0x9123683e, 0x01021994, 0xf2f52010]);

// overlayfs, of which a container's `/` is made: only its folders are passed through
const PASSED: ReadonlySet<number> = new Set([...LOCAL, 0x794c7630]);

/** As the kernel. */
const MAX_LINKS = 40;

interface Place {
  /** As stamps begin; null: some look may wait. */
  readonly device: string | null;
  readonly atMs: number;
}

export function createLocalLooks(root: string, nowMs: () => number): LocalLooks {
  let place: Place = { device: null, atMs: Number.NEGATIVE_INFINITY };
  let isLooking = false;

  function lookAgain(): void {
    if (isLooking) return;
    isLooking = true;
    const atMs = nowMs();
    // if it hangs, the place grows old and every look goes to the pool
    deviceOf(root)
      .catch(() => null) // the look that follows tells what is wrong
      .then((device) => {
        place = { device, atMs };
        isLooking = false;
      });
  }

  return {
    mayPeek(stamp, lookedAtMs) {
      const now = nowMs();
      const ageMs = Math.abs(now - place.atMs);
      if (ageMs >= PLACE_KEPT_MS / 2) lookAgain();
      if (ageMs >= PLACE_KEPT_MS || place.device === null) return false;
      return Math.abs(now - lookedAtMs) < KEPT_MS && stamp.startsWith(place.device);
    },
  };
}

/** Null when the root, or a folder on the way to it, lies on a file system that may wait. @throws the system's errors */
async function deviceOf(root: string): Promise<string | null> {
  const { folders, realPath } = await wayTo(root);
  const types = await Promise.all([realPath, ...folders].map(typeOf));
  const [ofRoot = 0, ...onTheWay] = types;
  if (!LOCAL.has(ofRoot) || !onTheWay.every((type) => PASSED.has(type))) return null;
  const { dev } = await fs.stat(realPath, { bigint: true });
  return `${dev}:`;
}

/** Every folder in which the kernel looks a name up, those of links on the way too: realpath() tells only where they end. */
async function wayTo(path: string) {
  const folders = new Set<string>();
  const names = resolve(path).split('/');
  let realPath = '/';
  let links = 0;
  for (let name = names.shift(); name !== undefined; name = names.shift()) {
    if (name === '' || name === '.') continue;
    folders.add(realPath);
    const next = join(realPath, name);
    const target = name === '..' ? null : await linkAt(next);
    if (target === null) {
      realPath = next;
      continue;
    }
    links += 1;
    if (links > MAX_LINKS) throw new Error(`too many links on the way to ${path}`);
    if (target.startsWith('/')) realPath = '/';
    names.unshift(...target.split('/'));
  }
  return { folders: [...folders], realPath };
}

/** Null: it is no link. @throws the system's other errors */
async function linkAt(path: string): Promise<string | null> {
  try {
    return await fs.readlink(path);
  } catch (error) {
    if (systemCode(error) === 'EINVAL') return null;
    throw error;
  }
}

async function typeOf(path: string): Promise<number> {
  return (await fs.statfs(path)).type;
}
