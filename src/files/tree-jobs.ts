// What is asked of the thread that writes a tree, and what it answers.
import type { ErrorCode } from '../domain/errors.ts';
import type { TreeWriter } from '../domain/tree.ts';

/** What changes a tree. */
export type JobName = Exclude<keyof TreeWriter, 'fault' | 'freeBytes' | 'leftOver'>;

export interface Job {
  readonly id: number;
  readonly name: JobName;
  /** As TreeWriter takes them; bytes are no views into others. */
  readonly args: readonly unknown[];
}

/** Those that came at the same time. They are begun in their order, and wait for the disk together. */
export type Request = readonly Job[];

export interface Answer {
  readonly id: number;
  readonly output: unknown;
  /** Null: it is done. */
  readonly failure: Failure | null;
}

export interface Failure {
  /** Null for a bug of ours. */
  readonly code: ErrorCode | null;
  readonly message: string;
  readonly detail: Readonly<Record<string, unknown>> | null;
  /** As TreeWriter.fault, after it. */
  readonly fault: string | null;
}

/** Each of one job, in the order of their ends. */
export type Reply = readonly Answer[];
