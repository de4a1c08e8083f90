// What the main thread asks of a verification thread, and what that thread answers.
import type { ErrorCode } from '../domain/errors.ts';
import type { CleanedCertificate } from '../domain/ports.ts';
import type { Judgement } from '../domain/verdict.ts';

/** What the thread is started with. */
export interface ThreadData {
  /** Whether nobody waits for what it does. */
  readonly givesWay: boolean;
}

export interface Jobs {
  readonly examine: { readonly output: Judgement };
  readonly 'clean-certificates': { readonly output: readonly CleanedCertificate[] };
}
export type JobName = keyof Jobs;

export interface Job {
  readonly name: JobName;
  readonly bytes: Uint8Array;
  readonly now: Date;
}

export type Request =
  /** Done one after the other. */
  | { readonly name: 'jobs'; readonly jobs: readonly Job[] }
  /** Holds for every job that comes after it; has no reply. */
  | { readonly name: 'keyring'; readonly certificates: readonly Uint8Array[] };

/** `ready` once, when the thread has loaded; after that one reply to each job, in order. */
export type Reply =
  | { readonly outcome: 'ready' }
  | { readonly outcome: 'done'; readonly output: unknown }
  | {
      readonly outcome: 'failed';
      /** Null for a bug of ours. */
      readonly code: ErrorCode | null;
      readonly message: string;
      readonly detail: Readonly<Record<string, unknown>> | null;
    };
