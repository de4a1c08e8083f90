// Verifies a whole log: every event against its hash, every hash against the tree, the tree against every checkpoint.
import { parseCheckpoint } from '../domain/checkpoint.ts';
import type { LogExtent, LoggedEvent, LogIdentity, LogReaderStore, StoredCheckpoint } from '../domain/log.ts';
import { areEqual, createGrowingTree, foldHashes, leafHash, TILE_WIDTH } from '../domain/merkle.ts';
import { parseNoteKey, toHex } from '../domain/signed-note.ts';
import { isSignedByLog } from './log-check.ts';
import { sha256 } from './note-keys.ts';

export type LogFaultKind =
  /** These are about one event, or about one of those from `seq` to `upTo`. */
  | 'changed'
  | 'removed'
  | 'inserted'
  | 'reordered'
  /** Who it was is not what the event binds. */
  | 'private-changed'
  /** The time that questions go by is not the one in the event. */
  | 'time-changed'
  /** A hash of the tree above the events. */
  | 'tree'
  | 'checkpoint';

export interface LogFault {
  readonly kind: LogFaultKind;
  /** The number of the first event that it is about; null for what is about none. */
  readonly seq: number | null;
  readonly message: string;
}

export interface VerifiedLog {
  readonly origin: string | null;
  readonly vkey: string | null;
  /** The size of the tree that is there. */
  readonly size: number;
  /** Hex. */
  readonly root: string;
  readonly checkpoints: number;
  /** Events whose private part is there, and agrees with the event. */
  readonly privateParts: number;
  readonly forgotten: number;
  /** The size of the older checkpoint that was given, if the log goes on from it. */
  readonly continues: number | null;
  /** In the order of the events that they are about; the first 1,000. */
  readonly faults: readonly LogFault[];
}

export interface VerifyLogOptions {
  /** The log's key, as a vkey; null: the one that the log itself names. */
  readonly vkey: string | null;
  /** An older checkpoint that the log must go on from; null: none. */
  readonly from: string | null;
  readonly onProgress: (events: number, of: number) => void;
}

type AddFault = (fault: LogFault) => void;

const MAX_FAULTS = 1000;
const CHECKPOINTS_AT_ONCE = 500;
const encoder = new TextEncoder();

/** @throws LookasideError whatever the store throws */
export async function verifyLog(store: LogReaderStore, options: VerifyLogOptions): Promise<VerifiedLog> {
  const identities = await trusted(store, options.vkey);
  const extent = await store.extent();
  const faults: LogFault[] = [];
  const fault: AddFault = (one) => void (faults.length < MAX_FAULTS && faults.push(one));
  const heads = new Heads(store, identities, options.from, fault);
  const walk = new Walk(store, extent.hashes, heads, fault);
  await walk.run(options.onProgress);
  inserted(extent, fault);
  await verifyUpper(store, extent.hashes, fault);
  if (extent.givenSeq > Math.max(extent.hashes, extent.lastSeq)) {
    fault({
      kind: 'removed',
      seq: extent.hashes + 1,
      message: `events ${extent.hashes + 1} to ${extent.givenSeq} were recorded once, and neither they nor their hashes are there`,
    });
  }
  const last = identities.at(-1) ?? null;
  return {
    origin: last?.origin ?? null,
    vkey: last?.vkey ?? null,
    size: extent.hashes,
    root: toHex(walk.root()),
    checkpoints: heads.count,
    privateParts: walk.privateParts,
    forgotten: walk.forgotten,
    continues: heads.continues,
    faults: faults.toSorted(inOrder),
  };
}

/** What names an event first; of one event what names more of it. */
function inOrder(a: LogFault, b: LogFault): number {
  const bySeq = (a.seq ?? Number.MAX_SAFE_INTEGER) - (b.seq ?? Number.MAX_SAFE_INTEGER);
  return bySeq !== 0 ? bySeq : Number(isBesideLeaf(a)) - Number(isBesideLeaf(b));
}

function isBesideLeaf({ kind }: LogFault): boolean {
  return kind === 'private-changed' || kind === 'time-changed';
}

/** The keys whose signatures count. */
async function trusted(store: LogReaderStore, vkey: string | null): Promise<readonly LogIdentity[]> {
  if (vkey === null) return store.identities();
  const key = parseNoteKey(sha256, vkey);
  return key === null ? [] : [{ origin: key.name, vkey }];
}

/** The checkpoints, compared as the walk comes by their sizes. */
class Heads {
  count = 0;
  continues: number | null = null;
  readonly #store: LogReaderStore;
  readonly #identities: readonly LogIdentity[];
  readonly #fault: AddFault;
  readonly #from: { readonly size: number; readonly root: Uint8Array } | null;
  #page: StoredCheckpoint[] = [];
  #lastId = 0;
  #isOver = false;
  /** The largest size at which the tree was what was signed. */
  #goodSize = 0;
  #isBad = false;

  constructor(
    store: LogReaderStore,
    identities: readonly LogIdentity[],
    from: string | null,
    fault: AddFault,
  ) {
    this.#store = store;
    this.#identities = identities;
    this.#fault = fault;
    this.#from = from === null ? null : this.#parseFrom(from);
  }

  #parseFrom(note: string) {
    const checkpoint = parseCheckpoint(note);
    if (checkpoint !== null && isSignedByLog(note, this.#identities)) return checkpoint;
    this.#fault({
      kind: 'checkpoint',
      seq: null,
      message: 'the older checkpoint that was given is not signed by the key of this log',
    });
    return null;
  }

  /** Compares all heads of that size. `root` computes it only where it is asked for. */
  async passBy(size: number, root: () => Uint8Array): Promise<void> {
    if (this.#from?.size === size) this.#compareFrom(this.#from, root());
    for (let next = await this.#next(); next !== null && next.size <= size; next = await this.#next()) {
      this.#page.shift();
      this.#compare(next, size, root);
    }
  }

  async #next(): Promise<StoredCheckpoint | null> {
    if (this.#page.length === 0 && !this.#isOver) {
      this.#page = [...(await this.#store.checkpoints(this.#lastId, CHECKPOINTS_AT_ONCE))];
      this.#lastId = this.#page.at(-1)?.id ?? this.#lastId;
      this.#isOver = this.#page.length < CHECKPOINTS_AT_ONCE;
    }
    return this.#page[0] ?? null;
  }

  #compareFrom(
    { size, root }: { readonly size: number; readonly root: Uint8Array },
    rootNow: Uint8Array,
  ): void {
    if (areEqual(root, rootNow)) {
      this.continues = size;
      return;
    }
    this.#fault({
      kind: 'checkpoint',
      seq: null,
      message: `the log does not go on from the older checkpoint that was given: its first ${size} events are others than were signed then`,
    });
  }

  #compare(head: StoredCheckpoint, size: number, root: () => Uint8Array): void {
    this.count += 1;
    const named = `the checkpoint of ${head.size} events of ${head.at.toISOString()}`;
    const parsed = parseCheckpoint(head.note);
    const about = (message: string) => this.#fault({ kind: 'checkpoint', seq: null, message });
    if (head.size < size) about(`${named} stands behind a larger one`);
    else if (parsed === null || !isSignedByLog(head.note, this.#identities))
      about(`${named} is not signed by the log's key`);
    else if (parsed.size !== head.size || !areEqual(parsed.root, head.root))
      about(`${named} is not what was signed`);
    else if (areEqual(head.root, root())) {
      if (!this.#isBad) this.#goodSize = size;
    } else if (!this.#isBad) {
      this.#isBad = true;
      const first = this.#goodSize + 1;
      this.#fault({
        kind: size === 0 ? 'checkpoint' : 'changed',
        seq: first,
        message: `at least one of the events ${first} to ${size} is not what was signed: ${named} has another root than the tree`,
      });
    }
  }

  /** Those beyond the tree; what a server has signed of events that it added meanwhile is none of them. */
  async end(size: number): Promise<void> {
    let [grownTo, readBehind] = [size, -1];
    if (this.#from !== null && this.#from.size > size) {
      this.#fault({
        kind: 'removed',
        seq: size + 1,
        message: `the older checkpoint that was given is of ${this.#from.size} events, and the log has ${size}: events were removed`,
      });
    }
    for (let next = await this.#next(); next !== null; next = await this.#next()) {
      this.#page.shift();
      if (next.size > grownTo && readBehind !== this.#lastId) {
        // once a page, behind it: whatever the page has was signed of a tree that was there by then
        readBehind = this.#lastId;
        grownTo = (await this.#store.extent()).hashes;
      }
      if (next.size <= grownTo) continue;
      this.count += 1;
      this.#fault({
        kind: 'removed',
        seq: size + 1,
        message: `a checkpoint of ${next.size} events was signed, and the tree has ${size}: events were removed`,
      });
    }
  }
}

interface Mismatch {
  readonly seq: number;
  readonly expected: Uint8Array;
  /** Null where no event is. */
  readonly actual: Uint8Array | null;
}

/** All events beside the hashes of the tree, once from the first to the last. */
class Walk {
  privateParts = 0;
  forgotten = 0;
  readonly #store: LogReaderStore;
  readonly #size: number;
  readonly #heads: Heads;
  readonly #fault: AddFault;
  readonly #mismatches: Mismatch[] = [];
  readonly #tiles = createGrowingTree(sha256);
  #tile = createGrowingTree(sha256);

  constructor(store: LogReaderStore, size: number, heads: Heads, fault: AddFault) {
    this.#store = store;
    this.#size = size;
    this.#heads = heads;
    this.#fault = fault;
  }

  root(): Uint8Array {
    return this.#tile.size === 0 ? this.#tiles.root() : this.#tiles.root(this.#tile.root());
  }

  async run(onProgress: VerifyLogOptions['onProgress']): Promise<void> {
    const root = () => this.root();
    await this.#heads.passBy(0, root);
    for (let from = 0; from < this.#size; from += TILE_WIDTH) {
      const count = Math.min(TILE_WIDTH, this.#size - from);
      const hashes = await this.#store.hashes(0, from, count);
      const events = new Map((await this.#store.events(from + 1, count)).map((event) => [event.seq, event]));
      if (hashes.length < count) {
        const message = `hashes of events ${from + 1} to ${from + count} are missing in the tree`;
        this.#fault({ kind: 'tree', seq: from + 1, message });
      }
      for (const [position, hash] of hashes.entries()) {
        const seq = from + position + 1;
        this.#compare(seq, hash, events.get(seq));
        this.#tile.add(hash);
        await this.#heads.passBy(seq, root);
      }
      if (this.#tile.size === TILE_WIDTH) await this.#endTile(from / TILE_WIDTH);
      onProgress(from + count, this.#size);
    }
    await this.#heads.end(this.#size);
    await this.#tellMismatches();
  }

  async #endTile(number: number): Promise<void> {
    const hash = this.#tile.root();
    const [stored] = await this.#store.hashes(1, number, 1);
    if (stored === undefined || !areEqual(stored, hash)) {
      const [first, last] = [number * TILE_WIDTH + 1, (number + 1) * TILE_WIDTH];
      const message = `the hashes of events ${first} to ${last} are not those that the tree was made of`;
      this.#fault({ kind: 'tree', seq: first, message });
    }
    this.#tiles.add(hash);
    this.#tile = createGrowingTree(sha256);
  }

  #compare(seq: number, expected: Uint8Array, event: LoggedEvent | undefined): void {
    const actual = leafHash(sha256, encoder.encode(event?.leaf ?? ''));
    if (!areEqual(expected, actual)) {
      if (this.#mismatches.length < MAX_FAULTS) {
        this.#mismatches.push({ seq, expected, actual: event === undefined ? null : actual });
      }
    } else if (event !== undefined) {
      this.#compareTime(event);
      this.#comparePrivate(event);
    }
  }

  // questions find events by their column, so an event could be hidden from them without a change of its leaf
  #compareTime({ seq, atMs, leaf }: LoggedEvent): void {
    if (atMs === null) return;
    const bound = /"at":"([^"]+)"/.exec(leaf)?.[1];
    if (bound !== undefined && Date.parse(bound) === atMs) return;
    const message = `the time by which event ${seq} is looked up was changed: the event says ${bound ?? 'none'}`;
    this.#fault({ kind: 'time-changed', seq, message });
  }

  #comparePrivate({ seq, leaf, private: text, salt }: LoggedEvent): void {
    if (text === null || salt === null) {
      this.forgotten += 1;
      return;
    }
    const bound = /"private":"([0-9a-f]{64})"/.exec(leaf)?.[1];
    if (toHex(sha256(salt, encoder.encode(text))) === bound) this.privateParts += 1;
    else {
      const message = `who did what event ${seq} records was changed: it is not what the event binds`;
      this.#fault({ kind: 'private-changed', seq, message });
    }
  }

  /** Says of each event that is not the one of its hash what became of it. */
  async #tellMismatches(): Promise<void> {
    if (this.#mismatches.length === 0) return;
    const expected = new Map(this.#mismatches.map((one) => [toHex(one.expected), one.seq]));
    const actual = new Map(
      this.#mismatches.flatMap((one) => (one.actual === null ? [] : [[toHex(one.actual), one.seq] as const])),
    );
    // where what was expected has gone to, and where what was found has come from
    const goneTo = new Map<number, number>();
    const comeFrom = new Map<number, number>();
    for (let from = 0; from < this.#size; from += TILE_WIDTH) {
      const hashes = await this.#store.hashes(0, from, TILE_WIDTH);
      for (const [position, hash] of hashes.entries()) {
        const seq = actual.get(toHex(hash));
        if (seq !== undefined) comeFrom.set(seq, from + position + 1);
      }
      for (const event of await this.#store.events(from + 1, TILE_WIDTH)) {
        const seq = expected.get(toHex(leafHash(sha256, encoder.encode(event.leaf))));
        if (seq !== undefined) goneTo.set(seq, event.seq);
      }
    }
    for (const one of this.#mismatches) {
      this.#fault(describe(one, goneTo.get(one.seq) ?? null, comeFrom.get(one.seq) ?? null));
    }
  }
}

function describe({ seq, actual }: Mismatch, goneTo: number | null, comeFrom: number | null): LogFault {
  if (goneTo !== null && (actual === null || comeFrom !== null)) {
    return { kind: 'reordered', seq, message: `event ${seq} was put to the place of event ${goneTo}` };
  }
  if (goneTo !== null) {
    return {
      kind: 'inserted',
      seq,
      message: `event ${seq} was inserted: the one that was there is event ${goneTo} now`,
    };
  }
  if (actual === null || comeFrom !== null) {
    const now = comeFrom === null ? '' : `, and event ${comeFrom} is in its place`;
    return { kind: 'removed', seq, message: `event ${seq} was removed${now}` };
  }
  return {
    kind: 'changed',
    seq,
    message: `event ${seq} was changed: it is not the one whose hash is in the tree`,
  };
}

/** Events beyond the tree, as both were at the beginning: a server that runs goes on adding to both. */
function inserted({ hashes: size, lastSeq }: LogExtent, fault: AddFault): void {
  if (lastSeq <= size) return;
  const message = `events ${size + 1} to ${lastSeq} were inserted: the tree has no hashes of them`;
  fault({ kind: 'inserted', seq: size + 1, message });
}

/** The levels above tiles of hashes of events. */
async function verifyUpper(store: LogReaderStore, size: number, fault: AddFault): Promise<void> {
  for (let level = 1; TILE_WIDTH ** (level + 1) <= size; level += 1) {
    const full = Math.floor(size / TILE_WIDTH ** (level + 1));
    for (let number = 0; number < full; number += 1) {
      const hashes = await store.hashes(level, number * TILE_WIDTH, TILE_WIDTH);
      const [above] = await store.hashes(level + 1, number, 1);
      if (above !== undefined && areEqual(above, foldHashes(sha256, hashes))) continue;
      const first = number * TILE_WIDTH ** (level + 1) + 1;
      fault({
        kind: 'tree',
        seq: first,
        message: `hash ${number} of level ${level + 1} is not that of the hashes below`,
      });
    }
  }
}
