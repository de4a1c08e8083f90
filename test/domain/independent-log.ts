// A verifier of logs that shares no code with src: written from RFC 6962, section 2.1, and C2SP's signed-note, tlog-tiles and
// tlog-proof, in their own recursive words.
import { createHash, createPublicKey, verify } from 'node:crypto';

export function sha256Of(...pieces: readonly Uint8Array[]): Buffer {
  const hash = createHash('sha256');
  for (const piece of pieces) hash.update(piece);
  return hash.digest();
}

export function hashOfLeaf(leaf: Uint8Array): Buffer {
  return sha256Of(Buffer.from([0]), leaf);
}

/** MTH of RFC 6962 over the hashes of leaves. */
export function merkleTreeHash(leaves: readonly Uint8Array[]): Buffer {
  const [first] = leaves;
  if (first === undefined) return sha256Of();
  if (leaves.length === 1) return Buffer.from(first);
  const k = splitAt(leaves.length);
  return sha256Of(Buffer.from([1]), merkleTreeHash(leaves.slice(0, k)), merkleTreeHash(leaves.slice(k)));
}

/** PATH(m, D[n]) of RFC 6962. */
export function auditPath(m: number, leaves: readonly Uint8Array[]): Buffer[] {
  if (leaves.length <= 1) return [];
  const k = splitAt(leaves.length);
  return m < k
    ? [...auditPath(m, leaves.slice(0, k)), merkleTreeHash(leaves.slice(k))]
    : [...auditPath(m - k, leaves.slice(k)), merkleTreeHash(leaves.slice(0, k))];
}

/** SUBPROOF(m, D[n], b) of RFC 6962. */
export function subproof(m: number, leaves: readonly Uint8Array[], isWhole = true): Buffer[] {
  if (m === leaves.length) return isWhole ? [] : [merkleTreeHash(leaves)];
  const k = splitAt(leaves.length);
  return m <= k
    ? [...subproof(m, leaves.slice(0, k), isWhole), merkleTreeHash(leaves.slice(k))]
    : [...subproof(m - k, leaves.slice(k), false), merkleTreeHash(leaves.slice(0, k))];
}

function splitAt(n: number): number {
  return 2 ** (31 - Math.clz32(n - 1));
}

/** The root that an audit path leads to. */
function rootFrom(m: number, n: number, leaf: Uint8Array, path: readonly Uint8Array[]): Buffer {
  const above = path.at(-1);
  if (n === 1) {
    if (above !== undefined) throw new Error('the path is too long');
    return Buffer.from(leaf);
  }
  if (above === undefined) throw new Error('the path is too short');
  const k = splitAt(n);
  const below = path.slice(0, -1);
  return m < k
    ? sha256Of(Buffer.from([1]), rootFrom(m, k, leaf, below), above)
    : sha256Of(Buffer.from([1]), above, rootFrom(m - k, n - k, leaf, below));
}

/** Whether a line of the note is by the Ed25519 key of the vkey. */
export function isSignedBy(note: string, vkey: string): boolean {
  const [name = '', id = '', encoded = ''] = vkey.split('+').length > 3 ? splitVkey(vkey) : vkey.split('+');
  const key = Buffer.from(encoded, 'base64');
  if (key[0] !== 1 || key.length !== 33) throw new Error('no Ed25519 key');
  const wanted = sha256Of(Buffer.from(`${name}\n`), key)
    .subarray(0, 4)
    .toString('hex');
  if (wanted !== id) throw new Error('the ID is not that of the key');
  const at = note.lastIndexOf('\n\n');
  const text = note.slice(0, at + 1);
  const publicKey = createPublicKey({
    key: Buffer.concat([Buffer.from('302a300506032b6570032100', 'hex'), key.subarray(1)]),
    format: 'der',
    type: 'spki',
  });
  return note
    .slice(at + 2)
    .split('\n')
    .filter((line) => line.startsWith(`— ${name} `))
    .map((line) => Buffer.from(line.split(' ')[2] ?? '', 'base64'))
    .filter((bytes) => bytes.subarray(0, 4).toString('hex') === id)
    .some((bytes) => verify(null, Buffer.from(text), publicKey, bytes.subarray(4)));
}

// base64 may hold plus signs too
function splitVkey(vkey: string): string[] {
  const [name = '', id = ''] = vkey.split('+');
  return [name, id, vkey.slice(name.length + id.length + 2)];
}

/** The entry of a tlog-proof, once its inclusion is verified. @throws where anything is wrong */
export function verifiedEntry(proof: string, vkey: string): string {
  const at = proof.indexOf('\n\n');
  const [header, extra = '', index = '', ...path] = proof.slice(0, at).split('\n');
  const checkpoint = proof.slice(at + 2);
  const [origin, size = '', root = ''] = checkpoint.split('\n');
  if (header !== 'c2sp.org/tlog-proof@v1') throw new Error('no tlog-proof');
  if (origin !== vkey.split('+')[0]) throw new Error('another origin');
  if (!isSignedBy(checkpoint, vkey)) throw new Error('not signed by the log');
  const entry = Buffer.from(extra.replace(/^extra /, ''), 'base64');
  const computedRoot = rootFrom(
    Number(index.replace(/^index /, '')),
    Number(size),
    hashOfLeaf(entry),
    path.map((line) => Buffer.from(line, 'base64')),
  );
  if (computedRoot.toString('base64') !== root) throw new Error('the path leads to another root');
  return entry.toString('utf8');
}
