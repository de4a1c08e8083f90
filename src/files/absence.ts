// Proves that a name is not there without a look for it: the folder above was listed, and has not changed since. A flood of names
// that are not there then costs one look at that folder for all who ask at the same time.
import { LRUCache } from 'lru-cache';
import { createSharedRuns, type Round } from '../domain/concurrency.ts';
import type { FolderIdentity } from '../domain/tree.ts';
import { isSettled, type Stamped } from './stamps.ts';

export interface AbsenceOptions {
  /** What `act` returns for the folder, which is one and the same until `act` ends; null when there is none. @throws LookasideError STORE_UNAVAILABLE */
  readonly inFolder: <T>(folder: string, act: (held: HeldFolder) => Promise<T>) => Promise<T | null>;
  /** Whether the folder has this stamp now, at once. False: it has another, or the pool of threads must ask. `foundAtMs`: when it had this stamp. */
  readonly peekIsStill: (folder: string, listed: Listed, foundAtMs: number) => boolean;
  /** Wall clock, to be compared with the folders' times. */
  readonly nowMs: () => number;
}

export interface HeldFolder {
  /** @throws LookasideError STORE_UNAVAILABLE */
  stat(): Promise<Listed>;
  /** All names in it; null where its stamp may miss a new name, or names come into being when they are asked for. @throws the system's errors */
  names(): Promise<AsyncIterable<{ readonly name: string }> | null>;
}

export interface Listed extends FolderIdentity {
  /** What its stamp is made of. */
  readonly stamped: Stamped;
  readonly changedAtMs: number;
}

export interface Absence {
  /** Whether it is certain that nothing had this name at some moment since the call. False: a look must tell. */
  isProved(path: string): Promise<boolean>;
  /** As isProved(), at once and waiting for no disk; one look serves a whole round. False also when only isProved() may tell. */
  peekProved(path: string, round?: Round): boolean;
  /** Call it when a look has found nothing: after enough of them the folder above is listed, in the background. */
  missed(path: string): void;
  /** Resolves when no folder is being listed. */
  idle(): Promise<void>;
}

/** What all listings may take together. */
const MAX_BYTES = 16 * 1024 * 1024;
/** With eight probes, one in 24,000 names that are not there seems to be. A look for it costs as much as hundreds that a listing answers. */
const BITS_A_NAME = 24;
const PROBES = 8;
const OVERHEAD_BYTES = 300;
const MAX_NAMES = 4_000_000;

// of all that is asked for: domain/image.ts
const ASCII = /^[\x20-\x7e]*$/;

/** A folder is listed once so many looks for each of its names have found nothing: listing costs no more than they did. */
const LOOKS_A_NAME = 1 / 4;
const FEWEST_LOOKS = 16;

interface Listing {
  readonly listed: Listed;
  readonly names: NameSet;
  /** When the folder last had that stamp. */
  foundAtMs: number;
  /** The last round in which it had that stamp; undefined: there was none. */
  foundIn?: Round;
}

/** The listing of the folder lacks a name. */
interface Lacking {
  readonly folder: string;
  readonly listing: Listing;
}

export function createAbsence({ inFolder, peekIsStill, nowMs }: AbsenceOptions): Absence {
  const listings = new LRUCache<string, Listing>({
    maxSize: MAX_BYTES,
    sizeCalculation: (listing, folder) => listing.names.bytes + folder.length + OVERHEAD_BYTES,
  });
  /** By folder: the looks that found nothing, and how many are wanted before it is listed. */
  const looks = new LRUCache<string, { count: number; wanted: number }>({ max: 1000 });
  const shared = createSharedRuns<Listed | null>();
  let listing: Promise<void> | null = null;

  function peekProved(path: string, round?: Round): boolean {
    const lacking = lackingIn(path);
    if (lacking === null) return false;
    // all of a round have asked before this look
    if (round !== undefined && lacking.listing.foundIn === round) return true;
    if (!peekUnchanged(lacking)) return false;
    if (round !== undefined) lacking.listing.foundIn = round;
    return true;
  }

  function peekUnchanged({ folder, listing }: Lacking): boolean {
    const askedAtMs = nowMs();
    if (!peekIsStill(folder, listing.listed, listing.foundAtMs)) return false;
    listing.foundAtMs = askedAtMs;
    return true;
  }

  async function isProved(path: string): Promise<boolean> {
    const lacking = lackingIn(path);
    if (lacking === null) return false;
    if (peekUnchanged(lacking)) return true;
    const askedAtMs = nowMs();
    const { stamp } = lacking.listing.listed;
    // the look begins after the question: what was put there before it is seen
    const now = await shared(lacking.folder, () => inFolder(lacking.folder, (held) => held.stat()));
    if (now?.stamp === stamp) {
      lacking.listing.foundAtMs = askedAtMs;
      return true;
    }
    if (listings.peek(lacking.folder) === lacking.listing) listings.delete(lacking.folder);
    return false;
  }

  /** The folder whose listing lacks the next name on the path; null when no listing tells. */
  function lackingIn(path: string): Lacking | null {
    let [folder, start] = ['', 0];
    for (;;) {
      const known = listings.get(folder);
      if (known === undefined) return null;
      const slash = path.indexOf('/', start);
      const end = slash === -1 ? path.length : slash;
      if (!known.names.mayHave(path.slice(start, end))) return { folder, listing: known };
      if (slash === -1) return null;
      folder = path.slice(0, end);
      start = end + 1;
    }
  }

  function missed(path: string): void {
    const folder = firstUnlisted(path);
    if (folder === null || listing !== null) return;
    const looked = looks.get(folder) ?? { count: 0, wanted: FEWEST_LOOKS };
    looked.count += 1;
    looks.set(folder, looked);
    if (looked.count < looked.wanted) return;
    looked.count = 0;
    listing = inFolder(folder, (held) => list(folder, held, looked))
      .then(() => undefined)
      .catch(() => undefined) // a look for a name tells what is wrong
      .finally(() => {
        listing = null;
      });
  }

  function firstUnlisted(path: string): string | null {
    let folder = '';
    for (let slash = path.indexOf('/'); ; slash = path.indexOf('/', slash + 1)) {
      if (!listings.has(folder)) return folder;
      if (slash === -1) return null;
      folder = path.slice(0, slash);
    }
  }

  /** The names and both stamps are of one folder, whatever its name is turned to meanwhile. */
  async function list(folder: string, held: HeldFolder, looked: { wanted: number }): Promise<void> {
    const foundAtMs = nowMs();
    const before = await held.stat();
    if (!isSettled(before.changedAtMs, nowMs())) return;
    const all = await held.names();
    const gathered = all === null ? null : await gather(all);
    if (gathered === null) {
      looked.wanted = Number.POSITIVE_INFINITY;
      return;
    }
    looked.wanted = Math.max(FEWEST_LOOKS, Math.ceil(gathered.length * LOOKS_A_NAME));
    const after = await held.stat();
    if (after.stamp !== before.stamp) return;
    listings.set(folder, { listed: before, names: new NameSet(gathered), foundAtMs });
  }

  return {
    isProved,
    peekProved,
    missed,
    async idle() {
      while (listing !== null) await listing;
    },
  };
}

/** Null: they are too many, or one may be found by a name of other bytes. */
async function gather(names: AsyncIterable<{ readonly name: string }>): Promise<number[] | null> {
  const gathered: number[] = [];
  for await (const { name } of names) {
    // a file system that folds case finds a K in the sign for kelvin, and passes over a joiner without width
    if (!ASCII.test(name) || gathered.length === MAX_NAMES) return null;
    gathered.push(hashOf(name));
  }
  return gathered;
}

/** A Bloom filter: what it lacks is certainly not there. Some names that are not there seem to be, and a look tells. */
class NameSet {
  readonly #bits: Uint32Array;

  constructor(hashes: readonly number[]) {
    this.#bits = new Uint32Array(Math.max(2, Math.ceil((BITS_A_NAME * hashes.length) / 32)));
    for (const hash of hashes)
      this.#each(hash, (word, bit) => {
        this.#bits[word] = (this.#bits[word] ?? 0) | bit;
        return true;
      });
  }

  get bytes(): number {
    return this.#bits.byteLength;
  }

  mayHave(name: string): boolean {
    return this.#each(hashOf(name), (word, bit) => ((this.#bits[word] ?? 0) & bit) !== 0);
  }

  #each(hash: number, act: (word: number, bit: number) => boolean): boolean {
    const size = this.#bits.length * 32;
    const step = (Math.imul(hash ^ (hash >>> 15), 0x85ebca6b) >>> 0) | 1;
    for (let turn = 0; turn < PROBES; turn += 1) {
      const at = ((hash + Math.imul(turn, step)) >>> 0) % size;
      if (!act(at >>> 5, 1 << (at & 31))) return false;
    }
    return true;
  }
}

/** The hash of the name in lower case: some file systems find a name in other letters too. */
function hashOf(name: string): number {
  let hash = 0x811c9dc5; // FNV-1a
  for (let at = 0; at < name.length; at += 1) {
    const code = name.charCodeAt(at);
    hash = Math.imul(hash ^ (code >= 65 && code <= 90 ? code + 32 : code), 0x01000193);
  }
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  return (hash ^ (hash >>> 13)) >>> 0;
}
