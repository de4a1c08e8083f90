// The log: the Merkle tree over the leaves of all audit events, and its signed heads. Entry n is event n + 1.
import type { NewAuditEvent } from './audit.ts';
import type { TreeHead } from './checkpoint.ts';

/** The name under which a log is known, and the key with which it signs. */
export interface LogIdentity {
  readonly origin: string;
  /** As formatNoteKey() writes it. */
  readonly vkey: string;
}

export interface StoredCheckpoint extends TreeHead {
  /** Grows with each. */
  readonly id: number;
  readonly note: string;
  readonly at: Date;
}

export interface NewCheckpoint extends TreeHead {
  readonly note: string;
  readonly at: Date;
}

/** What numbers say of the log without a look at its entries. */
export interface LogExtent {
  /** How many hashes of leaves are there, by the highest number of one. */
  readonly hashes: number;
  /** The number of the last event that is there; 0 for none. */
  readonly lastSeq: number;
  /** The highest number that was ever given to an event. */
  readonly givenSeq: number;
}

export interface LoggedEvent {
  readonly seq: number;
  /** The time that questions go by, in milliseconds; it is also in the leaf. Null from a server, which shows leaves alone. */
  readonly atMs: number | null;
  readonly leaf: string;
  /** Null once it was forgotten who it was, as the salt. */
  readonly private: string | null;
  readonly salt: Uint8Array | null;
}

/** A head of another log that we have cosigned. */
export interface Witnessed extends TreeHead {
  readonly note: string;
  readonly at: Date;
}

/** Look-ups reject with STORE_UNAVAILABLE. */
export interface LogReaderStore {
  extent(): Promise<LogExtent>;
  /** The hashes that are there of those, in their order: all lie in one tile. */
  hashes(level: number, from: number, count: number): Promise<readonly Uint8Array[]>;
  /** Events with these numbers that are there, in their order. At most as many as a bundle has entries. */
  events(fromSeq: number, count: number): Promise<readonly LoggedEvent[]>;
  /** The newest that counts; null before the first. */
  lastCheckpoint(): Promise<StoredCheckpoint | null>;
  /** The smallest checkpoint that holds so many entries, cosigned by somebody if there is such a one; null: there is none yet. */
  checkpointHolding(size: number): Promise<StoredCheckpoint | null>;
  /** Those that count, by their size; `after` is the ID of the last one seen, 0 at the beginning. */
  checkpoints(after: number, limit: number): Promise<readonly StoredCheckpoint[]>;
  /** The newest last. */
  identities(): Promise<readonly LogIdentity[]>;
  /** The number of the event of the upload of these bytes; null when they were not uploaded. */
  seqOfUpload(site: string, image: string, sha256: string): Promise<number | null>;
  witnessed(origin: string): Promise<Witnessed | null>;
}

/** Every change is durable once resolved. */
export interface LogStore extends LogReaderStore {
  addCheckpoint(checkpoint: NewCheckpoint): Promise<void>;
  /** Puts a note with more signatures into the place of that checkpoint's. */
  cosign(id: number, note: string): Promise<void>;
  /** From now on the log signs as that; with the event, if there is one. */
  begin(identity: LogIdentity, at: Date, event: NewAuditEvent | null): Promise<void>;
  /**
   * Checkpoints of more than `goodSize` events count no longer. Events beyond the tree are taken into it, and this event comes
   * behind them.
   */
  acceptRollback(goodSize: number, event: NewAuditEvent): Promise<void>;
  /** Records the head unless another than that of `from` was recorded last; the size of that one then. */
  witness(
    origin: string,
    from: number,
    head: Witnessed,
  ): Promise<{ readonly isRecorded: boolean; readonly size: number }>;
}
