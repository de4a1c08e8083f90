// What raw request targets ask for, remembered. The parse is a pure function of the raw target, so nothing is ever forgotten
// but for want of room.
import { LRUCache } from 'lru-cache';
import { MAX_TARGET_BYTES } from '../domain/limits.ts';
import {
  createTargetParser,
  parseSignatureName,
  type SiteTarget,
  type Target,
} from '../domain/lookaside-path.ts';
import type { SitePlace } from '../domain/site.ts';

const OTHERS_BYTES = 8 * 1024 * 1024;
const OVERHEAD_BYTES = 300;
/** How many folders of images are remembered, four at each place. They take 10 MiB. */
const PLACES = 4096;
const WAYS = 4;
/** How many of those are remembered besides that came last: a pull asks for two names of a folder. So few die young. */
const LATELY = 256;
/** How many folders are known to have come once. They take 256 KiB. */
const SEEN = 65_536;
const HASHED_CHARACTERS = 16;
/** Escapes and runs of slashes make a folder's text longer than the folder. */
const MOST_REMEMBERED = 512;
/** Most sets have so many signatures, with the name behind them. */
const NUMBERS_KEPT = 2;

type SignatureTarget = SiteTarget & { readonly target: Extract<Target, { kind: 'signature' }> };

/**
 * What raw targets ask for, where the sites are now. `places` gives another array whenever one has come or gone; the prefix is
 * read when one has.
 */
export function createSiteTargets(
  places: () => readonly SitePlace[],
  prefix: () => string,
): (rawTarget: string) => SiteTarget {
  let known = places();
  const open = () => createTargets(createTargetParser(known, prefix()));
  let targets = open();
  return (raw) => {
    const now = places();
    if (now !== known) {
      known = now;
      targets = open();
    }
    return targets(raw);
  };
}

/** The same answers as `parse`, from memory where it was asked before. */
export function createTargets(parse: (rawTarget: string) => SiteTarget): (rawTarget: string) => SiteTarget {
  const folders = createFolders();
  const others = new LRUCache<string, SiteTarget>({
    maxSize: OTHERS_BYTES,
    sizeCalculation: (_, raw) => raw.length + OVERHEAD_BYTES,
  });

  function signatureIn(raw: string, number: number): SiteTarget {
    const length = raw.lastIndexOf('/');
    const hash = hashOf(raw, length);
    const known = folders.find(raw, length, hash);
    if (known !== null) return numbered(known, number);
    const parsed = parse(raw);
    const { site, target } = parsed;
    if (target.kind === 'signature' && length <= MOST_REMEMBERED)
      folders.add({ text: raw.slice(0, length), hash, first: { site, target }, byNumber: [] });
    return parsed;
  }

  return (raw) => {
    const number = numberAtEnd(raw);
    if (number !== null) return signatureIn(raw, number);
    const known = others.get(raw);
    if (known !== undefined) return known;
    const target = parse(raw);
    others.set(raw, target);
    return target;
  };
}

/** The folder of an image as it stands in raw targets. All its signatures share the image. */
interface Folder {
  readonly text: string;
  readonly hash: number;
  readonly first: SignatureTarget;
  readonly byNumber: SiteTarget[];
}

function numbered({ first, byNumber }: Folder, number: number): SiteTarget {
  const known = byNumber[number];
  if (known !== undefined) return known;
  const { site, target } = first;
  const made = { site, target: { ...target, number } };
  if (number <= NUMBERS_KEPT) byNumber[number] = made;
  return made;
}

/**
 * Folders stand at fixed places by a hash of their texts, and one takes the place of another. A parse is cheap, and lists of who was used
 * last cost more than they save. A folder is kept when it is parsed a second time. Otherwise a flood of names that each come once would
 * turn all of them over, and what is kept for some time costs the garbage collector more than parsing it again.
 */
function createFolders() {
  const lately: (Folder | null)[] = Array(LATELY).fill(null);
  const places: (Folder | null)[] = Array(WAYS * PLACES).fill(null);
  const seen = new Uint32Array(SEEN);
  let added = 0;

  function isIts(one: Folder | null | undefined, raw: string, length: number, hash: number): one is Folder {
    return one?.hash === hash && one.text.length === length && raw.startsWith(one.text);
  }

  function wasSeen(hash: number): boolean {
    const at = hash % SEEN;
    if (seen[at] === hash) return true;
    seen[at] = hash;
    return false;
  }

  return {
    /** The folder that is the text up to `length`. */
    find(raw: string, length: number, hash: number): Folder | null {
      const from = WAYS * (hash % PLACES);
      for (let at = from; at < from + WAYS; at += 1) {
        const one = places[at];
        if (isIts(one, raw, length, hash)) return one;
      }
      const last = lately[hash % LATELY];
      return isIts(last, raw, length, hash) ? last : null;
    },
    add(folder: Folder): void {
      if (!wasSeen(folder.hash)) {
        lately[folder.hash % LATELY] = folder;
        return;
      }
      const from = WAYS * (folder.hash % PLACES);
      const free = places.slice(from, from + WAYS).indexOf(null);
      // else any of them, and not the oldest: when too many share a place in turn, some of them stay
      added += 1;
      places[from + (free === -1 ? added % WAYS : free)] = folder;
    },
  };
}

/** Hashes the end alone: nearly all of it is a digest. */
function hashOf(text: string, length: number): number {
  let hash = length;
  for (let at = Math.max(0, length - HASHED_CHARACTERS); at < length; at += 1)
    hash = Math.imul(hash ^ text.charCodeAt(at), 0x01000193);
  return (hash ^ (hash >>> 15)) >>> 0;
}

/**
 * N where the raw target ends in `/signature-N` and has no query: then all that stands before names the same folder for
 * every N. Null for every other target.
 */
function numberAtEnd(raw: string): number | null {
  if (raw.length > MAX_TARGET_BYTES || raw.includes('?')) return null;
  return parseSignatureName(raw.slice(raw.lastIndexOf('/') + 1));
}
