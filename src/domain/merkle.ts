// The Merkle tree of RFC 6962 over SHA-256: roots, and proofs that a leaf is in a tree or that one tree begins another. The
// hashes come from tiles as C2SP tlog-tiles lays them out.

/** The 32 bytes of the SHA-256. */
export type Sha256 = (...pieces: readonly Uint8Array[]) => Uint8Array;

/**
 * Hashes `from` up to `from + count` of the tiles of this level: level 0 has the hashes of the leaves, each hash of a level
 * above that of a full tile below. All that are asked for lie in one tile.
 */
export type ReadHashes = (level: number, from: number, count: number) => Promise<readonly Uint8Array[]>;

export const HASH_BYTES = 32;
/** Hashes of a full tile, and entries of a full bundle. */
export const TILE_WIDTH = 256;
const TILE_HEIGHT = 8;

const LEAF_PREFIX = Uint8Array.of(0);
const NODE_PREFIX = Uint8Array.of(1);

export function leafHash(sha256: Sha256, leaf: Uint8Array): Uint8Array {
  return sha256(LEAF_PREFIX, leaf);
}

function nodeHash(sha256: Sha256, left: Uint8Array, right: Uint8Array): Uint8Array {
  return sha256(NODE_PREFIX, left, right);
}

/** The hash of the tree that has these hashes as its leaves. */
export function foldHashes(sha256: Sha256, hashes: readonly Uint8Array[]): Uint8Array {
  const tree = createGrowingTree(sha256);
  for (const hash of hashes) tree.add(hash);
  return tree.root();
}

/** A tree that is built leaf by leaf, in memory of its height. */
export interface GrowingTree {
  readonly size: number;
  add(leafHash: Uint8Array): void;
  /** The root; `right` is the hash of a tree that follows on the right, which must be lower than this one. */
  root(right?: Uint8Array): Uint8Array;
}

export function createGrowingTree(sha256: Sha256): GrowingTree {
  /** Hashes of complete subtrees from left to right, each lower than the one before. */
  const stack: Uint8Array[] = [];
  let size = 0;
  return {
    get size() {
      return size;
    },
    add(hash) {
      let node = hash;
      for (let left = size; left % 2 === 1; left = (left - 1) / 2) {
        node = nodeHash(sha256, stack.pop() ?? node, node);
      }
      stack.push(node);
      size += 1;
    },
    root(right) {
      const parts = right === undefined ? stack : [...stack, right];
      return parts.length === 0
        ? sha256()
        : parts.reduceRight((below, left) => nodeHash(sha256, left, below));
    },
  };
}

export async function rootOf(sha256: Sha256, read: ReadHashes, size: number): Promise<Uint8Array> {
  return size === 0 ? sha256() : hashOfRange(sha256, read, 0, size);
}

/** From the sibling of the leaf up to the child of the root. `index` is below `size`. RFC 6962, 2.1.1 */
export async function inclusionProof(
  sha256: Sha256,
  read: ReadHashes,
  { index, size }: { readonly index: number; readonly size: number },
): Promise<readonly Uint8Array[]> {
  const downwards: Uint8Array[] = [];
  let [start, end] = [0, size];
  while (end - start > 1) {
    const middle = start + splitOf(end - start);
    const isLeft = index < middle;
    downwards.push(
      await (isLeft ? hashOfRange(sha256, read, middle, end) : hashOfRange(sha256, read, start, middle)),
    );
    if (isLeft) end = middle;
    else start = middle;
  }
  return downwards.reverse();
}

/** Proves that the tree of `from` leaves is the beginning of that of `size`; 0 < `from` ≤ `size`. RFC 6962, 2.1.2 */
export async function consistencyProof(
  sha256: Sha256,
  read: ReadHashes,
  { from, size }: { readonly from: number; readonly size: number },
): Promise<readonly Uint8Array[]> {
  const downwards: Uint8Array[] = [];
  let [start, end] = [0, size];
  // whether the part that is looked at is all of the older tree, whose root the verifier has
  let isWhole = true;
  while (from < end) {
    const middle = start + splitOf(end - start);
    const isLeft = from <= middle;
    downwards.push(
      await (isLeft ? hashOfRange(sha256, read, middle, end) : hashOfRange(sha256, read, start, middle)),
    );
    if (isLeft) end = middle;
    else {
      start = middle;
      isWhole = false;
    }
  }
  if (!isWhole) downwards.push(await hashOfRange(sha256, read, start, end));
  return downwards.reverse();
}

export interface Inclusion {
  readonly leafHash: Uint8Array;
  readonly index: number;
  readonly size: number;
  readonly proof: readonly Uint8Array[];
  readonly root: Uint8Array;
}

/** RFC 9162, 2.1.3.2. */
export function isIncluded(sha256: Sha256, { leafHash: leaf, index, size, proof, root }: Inclusion): boolean {
  if (!isCount(index) || !isCount(size) || index >= size) return false;
  let [at, last, hash] = [index, size - 1, leaf];
  for (const sibling of proof) {
    if (last === 0) return false;
    if (at % 2 === 1 || at === last) {
      hash = nodeHash(sha256, sibling, hash);
      while (at % 2 === 0 && at !== 0) [at, last] = [half(at), half(last)];
    } else {
      hash = nodeHash(sha256, hash, sibling);
    }
    [at, last] = [half(at), half(last)];
  }
  return last === 0 && areEqual(hash, root);
}

export interface Consistency {
  readonly from: number;
  readonly fromRoot: Uint8Array;
  readonly size: number;
  readonly root: Uint8Array;
  readonly proof: readonly Uint8Array[];
}

/** Whether the tree of `from` leaves begins that of `size`. RFC 9162, 2.1.4.2; every tree begins with the empty one. */
export function isConsistent(sha256: Sha256, { from, fromRoot, size, root, proof }: Consistency): boolean {
  if (!isCount(from) || !isCount(size) || from > size) return false;
  if (size === 0 && !areEqual(root, sha256())) return false;
  if (from === 0) return proof.length === 0 && areEqual(fromRoot, sha256());
  if (from === size) return proof.length === 0 && areEqual(fromRoot, root);
  const path = isPowerOfTwo(from) ? [fromRoot, ...proof] : proof;
  const [first, ...rest] = path;
  if (first === undefined) return false;
  let [at, last] = [from - 1, size - 1];
  while (at % 2 === 1) [at, last] = [half(at), half(last)];
  let [older, newer] = [first, first];
  for (const hash of rest) {
    if (last === 0) return false;
    if (at % 2 === 1 || at === last) {
      older = nodeHash(sha256, hash, older);
      newer = nodeHash(sha256, hash, newer);
      while (at % 2 === 0 && at !== 0) [at, last] = [half(at), half(last)];
    } else {
      newer = nodeHash(sha256, newer, hash);
    }
    [at, last] = [half(at), half(last)];
  }
  return last === 0 && areEqual(older, fromRoot) && areEqual(newer, root);
}

export function areEqual(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false;
  for (let position = 0; position < a.length; position += 1) if (a[position] !== b[position]) return false;
  return true;
}

/** The hash over leaves `start` up to `end`, a part into which RFC 6962 divides a tree. */
async function hashOfRange(
  sha256: Sha256,
  read: ReadHashes,
  start: number,
  end: number,
): Promise<Uint8Array> {
  const size = end - start;
  const middle = start + splitOf(size);
  if (!isPowerOfTwo(size)) {
    const left = await hashOfRange(sha256, read, start, middle);
    return nodeHash(sha256, left, await hashOfRange(sha256, read, middle, end));
  }
  // a complete subtree is part of one tile, of the highest level that still has all of it
  const level = Math.floor(Math.log2(size) / TILE_HEIGHT);
  const unit = TILE_WIDTH ** level;
  return foldHashes(sha256, await read(level, start / unit, size / unit));
}

/** The largest power of two below `size`; 1 for 1. */
function splitOf(size: number): number {
  let split = 1;
  while (split * 2 < size) split *= 2;
  return split;
}

function isPowerOfTwo(count: number): boolean {
  return count === 1 || (count > 0 && splitOf(count) * 2 === count);
}

function half(count: number): number {
  return Math.floor(count / 2);
}

function isCount(count: number): boolean {
  return Number.isSafeInteger(count) && count >= 0;
}
