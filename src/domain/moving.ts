// A data directory on its way into the database that several nodes share, or back: rows of tables, part after part.
import { DEFAULT_SITE } from './image.ts';
import type { MirrorSettings } from './mirror.ts';

export type MovedValue = string | number | Uint8Array | null;

/** By the names of columns, which both databases share. */
export type MovedRow = Readonly<Record<string, MovedValue>>;

/** What may be large, in this order: each part of it is there as a whole or not at all, and the next run goes on from it. */
export const MOVE_STEPS = [
  'events',
  'hashes',
  'checkpoints',
  'uploads',
  'tombstones',
  'signatures',
  'mirrors',
  'reads',
  'hours',
] as const;
export type MoveStep = (typeof MOVE_STEPS)[number];

export interface MovePlace {
  readonly step: MoveStep;
  /** The cursor of the last part that was taken; null: none of this step was. */
  readonly cursor: string | null;
}

export interface MovedPart {
  /** By tables, in the order of inserting. */
  readonly rows: readonly (readonly [table: string, rows: readonly MovedRow[]])[];
  readonly cursor: string;
}

/** How many rows of each table there are. */
export type MovedCounts = Readonly<Record<string, number>>;

/** A mirror that comes along. */
export interface MovedMirror {
  readonly name: string;
  readonly images: number;
  /** Without the copies at the numbers of withdrawn ones. */
  readonly signatures: number;
  /** How many images it knows, whether or not it has signatures of them. */
  readonly sets: number;
  /** Paths of the files that it names, which lie outside of both databases. */
  readonly files: readonly string[];
}

export interface MoveSource {
  /** Changes with everything that is moved part after part. */
  readonly mark: string;
  readonly counts: MovedCounts;
  /** How many of the signatures are copies at the numbers of withdrawn ones; nobody counts them as signatures. */
  readonly fillers: number;
  readonly mirrors: readonly MovedMirror[];
  /** The SignaturesMark of all signatures. */
  readonly signatures: string;
  parts(place: MovePlace): AsyncIterable<MovedPart> | Iterable<MovedPart>;
  /** Keys, tokens, signers and their like: few, and moved at once at the end. */
  rules(): Promise<MovedPart['rows']>;
  /** The highest number that was ever given, by tables in which none is given a second time. */
  numbers(): Promise<MovedCounts>;
}

/** With it nodes may start. */
export interface LastPart {
  readonly rules: MovedPart['rows'];
  /** As MoveSource has them. */
  readonly numbers: MovedCounts;
  readonly now: Date;
  /** Called with the counts of the rules; what it throws is thrown. */
  readonly check: (counts: MovedCounts) => void;
}

export interface MoveTarget {
  /** What begin() would say, and nothing is changed. @throws LookasideError NAME_TAKEN when something else is there */
  look(mark: string): Promise<MovePlace | 'finished' | null>;
  /**
   * Where an earlier run has come to; null: nothing is there, or what was there of another state of the directory is gone again.
   * @throws LookasideError NAME_TAKEN when something else is there; BUSY when another run is under way
   */
  begin(mark: string, now: Date): Promise<MovePlace | 'finished' | null>;
  /** @throws LookasideError CHANGED_MEANWHILE when rows of the part are there already */
  put(step: MoveStep, part: MovedPart): Promise<void>;
  counts(tables: readonly string[]): Promise<MovedCounts>;
  /** The SignaturesMark of all signatures; it hashes their bytes. @throws LookasideError DAMAGE_FOUND */
  signatures(onProgress: (done: number) => void): Promise<string>;
  /** All of it or nothing. */
  finish(last: LastPart): Promise<void>;
  /** Takes out what is there, so that the next run begins anew. */
  clear(): Promise<void>;
}

export interface MoveProgress {
  readonly step: MoveStep | 'verifying';
  /** Rows of this step so far. */
  readonly done: number;
}

export interface MoveResult {
  readonly outcome: 'moved' | 'moved-before' | 'would-move';
  /** Whether an earlier run had begun it. */
  readonly isResumed: boolean;
  readonly counts: MovedCounts;
  /** As MoveSource has it. */
  readonly fillers: number;
  readonly mirrors: readonly MovedMirror[];
  /** The log of audit events, which is the same in both databases. */
  readonly log: { readonly size: number; readonly root: string; readonly checkpoints: number };
}

/** Adds up what every signature is, in any order. */
export class SignaturesMark {
  #sum = 0n;
  #count = 0;

  /** `hash`: SHA-256 of folder, number and bytes' hash, in hex. */
  add(hash: string): void {
    this.#sum = (this.#sum + BigInt(`0x${hash}`)) % 2n ** 256n;
    this.#count += 1;
  }

  text(): string {
    return `${this.#count} ${this.#sum.toString(16)}`;
  }
}

/** What is hashed for SignaturesMark. */
export function signatureText(site: string, folder: string, number: number, sha256: string): string {
  return `${placeInSite(site, `${folder}/signature-${number}`)} ${sha256}`;
}

/** For people: the place, and of which mirror it is. */
export function placeInSite(site: string, path: string): string {
  return site === DEFAULT_SITE ? path : `${path} of the mirror ${site}`;
}

/** The files that a mirror names. */
export function filesOfMirror({ ca, certificate, key, credentials }: MirrorSettings): readonly string[] {
  return [ca, certificate, key, credentials].filter((file) => file !== null);
}
