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

const FOLDERS_BYTES = 8 * 1024 * 1024;
const WHOLE_BYTES = 8 * 1024 * 1024;
const OVERHEAD_BYTES = 300;
/** How many folders are known to have come once. They take 256 KiB. */
const SEEN = 65_536;
const HASHED_CHARACTERS = 16;

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
  // by what stands before `/signature-N`: the signatures of an image have many numbers
  const folders = createMemory<SignatureTarget>(FOLDERS_BYTES);
  // of signatures only those of a known folder: both share its image
  const whole = createMemory<SiteTarget>(WHOLE_BYTES);
  const wasSeen = createSeen();

  function signatureIn(raw: string, number: number): SiteTarget {
    const folder = raw.slice(0, raw.lastIndexOf('/'));
    const known = folders.get(folder);
    if (known === undefined) {
      const { site, target } = parse(raw);
      if (target.kind === 'signature' && wasSeen(folder)) folders.set(folder, { site, target });
      return { site, target };
    }
    const numbered = { site: known.site, target: { ...known.target, number } };
    whole.set(raw, numbered);
    return numbered;
  }

  return (raw) => {
    const known = whole.get(raw);
    if (known !== undefined) return known;
    const number = numberAtEnd(raw);
    if (number !== null) return signatureIn(raw, number);
    const target = parse(raw);
    whole.set(raw, target);
    return target;
  };
}

/**
 * Whether the text came before, as far as is remembered. A flood of names that each come once would otherwise turn the memory over,
 * and remembering a name costs more than parsing it.
 */
function createSeen(): (text: string) => boolean {
  const seen = new Uint32Array(SEEN);
  return (text) => {
    const hash = hashOf(text);
    const at = hash % SEEN;
    if (seen[at] === hash) return true;
    seen[at] = hash;
    return false;
  };
}

/** Hashes the end alone: nearly all of it is a digest. */
function hashOf(text: string): number {
  let hash = text.length;
  for (let at = Math.max(0, text.length - HASHED_CHARACTERS); at < text.length; at += 1)
    hash = Math.imul(hash ^ text.charCodeAt(at), 0x01000193);
  return (hash ^ (hash >>> 15)) >>> 0;
}

function createMemory<Value extends object>(maxSize: number): LRUCache<string, Value> {
  return new LRUCache({ maxSize, sizeCalculation: (_, raw) => raw.length + OVERHEAD_BYTES });
}

/**
 * N where the raw target ends in `/signature-N` and has no query: then all that stands before names the same folder for
 * every N. Null for every other target.
 */
function numberAtEnd(raw: string): number | null {
  if (raw.length > MAX_TARGET_BYTES || raw.includes('?')) return null;
  return parseSignatureName(raw.slice(raw.lastIndexOf('/') + 1));
}
