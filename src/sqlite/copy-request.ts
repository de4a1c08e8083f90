// What copy-state.ts asks its thread to do, and what comes back.
import type { StateCopy } from '../domain/backup.ts';

export interface CopyRequest {
  readonly file: string;
  readonly copy: string;
}

export type CopyOutcome =
  | { readonly outcome: 'done'; readonly state: StateCopy }
  | { readonly outcome: 'failed'; readonly code: string | null; readonly message: string };
