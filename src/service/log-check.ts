// Whether events, tree and checkpoints agree: at a start as far as numbers, heads and the newest events show it.
import { parseCheckpoint } from '../domain/checkpoint.ts';
import type { LogIdentity, LogReaderStore } from '../domain/log.ts';
import { areEqual, leafHash, type ReadHashes, rootOf, TILE_WIDTH } from '../domain/merkle.ts';
import { parseNoteKey, toHex, verdictOf } from '../domain/signed-note.ts';
import { sha256, verifySignature } from './note-keys.ts';

const encoder = new TextEncoder();

/** Reads the tiles of a store. @throws Error when hashes are missing there */
export function hashesOf(store: Pick<LogReaderStore, 'hashes'>): ReadHashes {
  return async (level, from, count) => {
    const stored = await store.hashes(level, from, count);
    if (stored.length === count) return stored;
    throw new MissingHashes(`the tree lacks hashes of level ${level} from ${from}`);
  };
}

class MissingHashes extends Error {}

/** The root of the tree at that size; null when hashes are missing. */
export async function rootAt(
  store: Pick<LogReaderStore, 'hashes'>,
  size: number,
): Promise<Uint8Array | null> {
  try {
    return await rootOf(sha256, hashesOf(store), size);
  } catch (error) {
    if (error instanceof MissingHashes) return null;
    throw error;
  }
}

/** Whether one of the log's own keys, as they are known, has signed the checkpoint as what it says. */
export function isSignedByLog(note: string, identities: readonly LogIdentity[]): boolean {
  const checkpoint = parseCheckpoint(note);
  if (checkpoint === null) return false;
  return identities.some(({ origin, vkey }) => {
    const key = parseNoteKey(sha256, vkey);
    if (key === null || origin !== checkpoint.origin) return false;
    return verdictOf(checkpoint.note, key, verifySignature).verdict === 'good';
  });
}

const CHECKPOINTS_AT_ONCE = 500;

/** The size up to which all checkpoints are of the tree that is there. */
export async function goodSize(store: LogReaderStore): Promise<number> {
  const { hashes } = await store.extent();
  const identities = await store.identities();
  let good = hashes;
  let after = 0;
  for (;;) {
    const page = await store.checkpoints(after, CHECKPOINTS_AT_ONCE);
    for (const { size, root, note } of page) {
      const parsed = parseCheckpoint(note);
      const isAsSigned =
        parsed?.size === size && areEqual(parsed.root, root) && isSignedByLog(note, identities);
      const computed = isAsSigned && size <= hashes ? await rootAt(store, size) : null;
      if (computed === null || !areEqual(computed, root)) good = Math.min(good, size - 1);
    }
    if (page.length < CHECKPOINTS_AT_ONCE) return good;
    after = page.at(-1)?.id ?? after;
  }
}

/** A checkpoint that was kept outside of the data directory. */
export interface KeptCheckpoint {
  /** Where, for people. */
  readonly place: string;
  readonly note: string;
}

/** What does not agree, in a sentence; null when all that is looked at does. */
export async function findDisagreement(
  store: LogReaderStore,
  kept: KeptCheckpoint | null,
): Promise<string | null> {
  return (
    (await disagreementOfNumbers(store)) ??
    (await disagreementOfCheckpoint(store)) ??
    (kept === null ? null : await disagreementWithKept(store, kept)) ??
    (await disagreementOfNewest(store))
  );
}

async function disagreementOfNumbers(store: LogReaderStore): Promise<string | null> {
  const { hashes, lastSeq, givenSeq } = await store.extent();
  if (lastSeq > hashes)
    return `there is an audit event ${lastSeq}, and the tree ends with event ${hashes}: events were inserted, or hashes of the tree removed`;
  if (lastSeq < hashes)
    return `the tree has ${hashes} events, and the last audit event that is there is ${lastSeq}: events were removed`;
  if (givenSeq > hashes)
    return `${givenSeq} audit events were recorded, and the tree has ${hashes}: events were removed`;
  return null;
}

async function disagreementOfCheckpoint(store: LogReaderStore): Promise<string | null> {
  const last = await store.lastCheckpoint();
  if (last === null) return null;
  const { hashes } = await store.extent();
  const { size, root, note } = last;
  const named = `the last checkpoint, of ${size} events,`;
  if (!isSignedByLog(note, await store.identities())) return `${named} is not signed by the log's key`;
  const parsed = parseCheckpoint(note);
  if (parsed?.size !== size || !areEqual(parsed.root, root))
    return `${named} says something else than what was signed`;
  if (size > hashes) return `${named} is of a larger tree than that of ${hashes} events which is there`;
  const computed = await rootAt(store, size);
  return computed !== null && areEqual(computed, root)
    ? null
    : `${named} is of another tree than the one that is there`;
}

async function disagreementWithKept(
  store: LogReaderStore,
  { place, note }: KeptCheckpoint,
): Promise<string | null> {
  const checkpoint = parseCheckpoint(note);
  if (checkpoint === null) return `${place} holds no checkpoint`;
  const { hashes } = await store.extent();
  const { size, root } = checkpoint;
  if (size > hashes) {
    return `${place} holds a checkpoint of ${size} events, and the log here has ${hashes}: an older state.db was put back, or another one`;
  }
  const computed = await rootAt(store, size);
  if (computed === null || !areEqual(computed, root)) {
    return `${place} holds a checkpoint of ${size} events with another root than the log here has: its history was rewritten, or the file belongs to another log`;
  }
  return null;
}

/** The last events against their hashes: what no checkpoint covers yet is never signed unseen. */
async function disagreementOfNewest(store: LogReaderStore): Promise<string | null> {
  const { hashes } = await store.extent();
  const covered = (await store.lastCheckpoint())?.size ?? 0;
  let from = Math.max(0, Math.min(covered, hashes - TILE_WIDTH));
  let accepted = 0;
  const wrong: number[] = [];
  while (from < hashes) {
    const count = Math.min(TILE_WIDTH - (from % TILE_WIDTH), hashes - from);
    const expected = await store.hashes(0, from, count);
    const events = new Map((await store.events(from + 1, count)).map((event) => [event.seq, event.leaf]));
    for (let position = 0; position < count; position += 1) {
      const seq = from + position + 1;
      const leaf = events.get(seq) ?? '';
      const hash = expected[position];
      if (hash === undefined || !areEqual(hash, leafHash(sha256, encoder.encode(leaf)))) wrong.push(seq);
      else if (leaf.includes('"action":"log-rollback"')) accepted = seq;
    }
    from += count;
  }
  const first = wrong.find((seq) => seq > accepted);
  return first === undefined ? null : `audit event ${first} is not the one whose hash the tree has`;
}

/** For people: `20 events, root 5d1f…`. */
export function describeHead({ size, root }: { readonly size: number; readonly root: Uint8Array }): string {
  return `${size} events, root ${toHex(root)}`;
}
