import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  consistencyProof,
  createGrowingTree,
  foldHashes,
  inclusionProof,
  isConsistent,
  isIncluded,
  leafHash,
  type ReadHashes,
  rootOf,
  TILE_WIDTH,
} from '../../src/domain/merkle.ts';
import { auditPath, hashOfLeaf, merkleTreeHash, sha256Of, subproof } from './independent-log.ts';

const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');

/** The leaves and roots of the reference implementation of RFC 6962 (certificate-transparency, merkle_tree_test). */
const LEAVES = [
  '',
  '00',
  '10',
  '2021',
  '3031',
  '40414243',
  '5051525354555657',
  '606162636465666768696a6b6c6d6e6f',
];
const ROOTS = [
  'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855',
  '6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d',
  'fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125',
  'aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77',
  'd37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7',
  '4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4',
  '76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef',
  'ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c',
  '5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328',
];

/** The tiles over these hashes of leaves, each hash of a level above made of a full tile. */
function tilesOver(leaves: readonly Uint8Array[]): ReadHashes {
  const levels: (readonly Uint8Array[])[] = [leaves];
  for (let below = leaves; below.length >= TILE_WIDTH; below = levels.at(-1) ?? []) {
    const full = Math.floor(below.length / TILE_WIDTH);
    levels.push(
      Array.from({ length: full }, (_, n) =>
        merkleTreeHash(below.slice(n * TILE_WIDTH, (n + 1) * TILE_WIDTH)),
      ),
    );
  }
  return async (level, from, count) => {
    assert.equal(
      Math.floor(from / TILE_WIDTH),
      Math.floor((from + count - 1) / TILE_WIDTH),
      'one tile at a time',
    );
    const hashes = levels[level]?.slice(from, from + count) ?? [];
    assert.equal(hashes.length, count, `tile ${level}/${from} has what is asked for`);
    return hashes;
  };
}

const numbered = (count: number) =>
  Array.from({ length: count }, (_, n) => hashOfLeaf(Buffer.from(String(n))));

test('roots are those of the reference implementation of RFC 6962', async () => {
  const hashes = LEAVES.map((leaf) => leafHash(sha256Of, Buffer.from(leaf, 'hex')));
  for (const [size, root] of ROOTS.entries()) {
    const some = hashes.slice(0, size);
    assert.equal(hex(foldHashes(sha256Of, some)), root);
    assert.equal(hex(await rootOf(sha256Of, tilesOver(some), size)), root);
  }
});

test('every proof of every small tree is that of RFC 6962, and verifies', async () => {
  const all = numbered(40);
  for (let size = 1; size <= all.length; size += 1) {
    const leaves = all.slice(0, size);
    const read = tilesOver(leaves);
    const root = merkleTreeHash(leaves);
    for (const [index, leaf] of leaves.entries()) {
      const proof = await inclusionProof(sha256Of, read, { index, size });
      assert.deepEqual(proof.map(hex), auditPath(index, leaves).map(hex));
      assert.ok(isIncluded(sha256Of, { leafHash: leaf, index, size, proof, root }));
    }
    for (let from = 1; from <= size; from += 1) {
      const proof = await consistencyProof(sha256Of, read, { from, size });
      assert.deepEqual(proof.map(hex), subproof(from, leaves).map(hex));
      const fromRoot = merkleTreeHash(leaves.slice(0, from));
      assert.ok(isConsistent(sha256Of, { from, fromRoot, size, root, proof }), `${from} in ${size}`);
    }
  }
});

test('proofs of trees over several tiles are read from the tiles', async () => {
  const all = numbered(70_000);
  const read = tilesOver(all);
  for (const [index, from, size] of [
    [0, 1, 256],
    [255, 256, 257],
    [256, 255, 512],
    [65_535, 65_536, 70_000],
    [69_999, 69_999, 70_000],
  ] as const) {
    const leaves = all.slice(0, size);
    const root = merkleTreeHash(leaves);
    assert.equal(hex(await rootOf(sha256Of, read, size)), hex(root));
    const proof = await inclusionProof(sha256Of, read, { index, size });
    assert.ok(isIncluded(sha256Of, { leafHash: all[index] ?? root, index, size, proof, root }));
    const path = await consistencyProof(sha256Of, read, { from, size });
    const fromRoot = merkleTreeHash(all.slice(0, from));
    assert.ok(isConsistent(sha256Of, { from, fromRoot, size, root, proof: path }));
  }
});

test('a growing tree has the root of its leaves at every size', () => {
  const tree = createGrowingTree(sha256Of);
  const all = numbered(300);
  for (const [size, leaf] of all.entries()) {
    assert.equal(tree.size, size);
    assert.equal(hex(tree.root()), hex(merkleTreeHash(all.slice(0, size))));
    tree.add(leaf);
  }
});

/** The bytes with one bit turned. */
function turned(bytes: Uint8Array, at: number): Uint8Array {
  const other = Uint8Array.from(bytes);
  other[at % other.length] = (other[at % other.length] ?? 0) ^ (1 << (at % 8));
  return other;
}

test('any one bit of a proof, a leaf or a root, and any other index or size, is found', async () => {
  const all = numbered(50);
  const place = fc.integer({ min: 2, max: 50 }).chain((size) =>
    fc.record({
      size: fc.constant(size),
      index: fc.nat(size - 1),
      from: fc.integer({ min: 1, max: size - 1 }),
    }),
  );
  await fc.assert(
    fc.asyncProperty(place, fc.nat(32 * 12 - 1), async ({ size, index, from }, bit) => {
      const read = tilesOver(all.slice(0, size));
      const root = merkleTreeHash(all.slice(0, size));
      const leaf = all[index] ?? root;
      const proof = await inclusionProof(sha256Of, read, { index, size });
      const spoilt = (hashes: readonly Uint8Array[]) =>
        hashes.map((hash, n) => (n === bit % hashes.length ? turned(hash, bit) : hash));
      const good = { leafHash: leaf, index, size, proof, root };
      assert.ok(isIncluded(sha256Of, good));
      assert.ok(!isIncluded(sha256Of, { ...good, proof: spoilt(proof) }));
      assert.ok(!isIncluded(sha256Of, { ...good, leafHash: turned(leaf, bit) }));
      assert.ok(!isIncluded(sha256Of, { ...good, root: turned(root, bit) }));
      assert.ok(!isIncluded(sha256Of, { ...good, proof: proof.slice(1) }));
      assert.ok(!isIncluded(sha256Of, { ...good, proof: [...proof, root] }));
      assert.ok(!isIncluded(sha256Of, { ...good, index: (index + 1) % size }));
      const fromRoot = merkleTreeHash(all.slice(0, from));
      const path = await consistencyProof(sha256Of, read, { from, size });
      const same = { from, fromRoot, size, root, proof: path };
      assert.ok(isConsistent(sha256Of, same));
      assert.ok(!isConsistent(sha256Of, { ...same, proof: spoilt(path) }));
      assert.ok(!isConsistent(sha256Of, { ...same, fromRoot: turned(fromRoot, bit) }));
      assert.ok(!isConsistent(sha256Of, { ...same, root: turned(root, bit) }));
      assert.ok(!isConsistent(sha256Of, { ...same, proof: path.slice(1) }));
      assert.ok(!isConsistent(sha256Of, { ...same, proof: [...path, root] }));
    }),
    { numRuns: 150 },
  );
});
