// What the main thread asks of the writer thread, and what comes back. Everything here is structured-cloned.
import type { NewAuditEvent } from '../domain/audit.ts';
import type {
  AccessBatch,
  AccessLimits,
  AccessPruned,
  NewUpload,
  RecordedImage,
  VerdictIndex,
} from '../domain/ports.ts';
import type { NewKey } from './key-rows.ts';
import type { NewToken } from './token-rows.ts';
import type { JudgeAgain } from './verdict-rows.ts';

export interface Commands {
  /** Opens or makes state.db and checks it. */
  'state.open': { readonly input: null; readonly output: null };
  'state.create-token': {
    readonly input: { readonly token: NewToken; readonly event: NewAuditEvent };
    readonly output: null;
  };
  'state.revoke-token': {
    readonly input: { readonly name: string; readonly revokedAt: Date; readonly event: NewAuditEvent };
    readonly output: null;
  };
  'state.put-key': {
    readonly input: { readonly key: NewKey; readonly event: NewAuditEvent };
    readonly output: null;
  };
  /** Whether there was such a key. */
  'state.remove-key': {
    readonly input: { readonly fingerprint: string; readonly event: NewAuditEvent };
    readonly output: boolean;
  };
  /** Number of the event that tells of the upload, or of the same upload before. */
  'state.add-upload': {
    readonly input: { readonly upload: NewUpload; readonly event: NewAuditEvent };
    readonly output: number;
  };
  /** The event's number. */
  'state.append-audit-event': { readonly input: NewAuditEvent; readonly output: number };
  'index.open': { readonly input: null; readonly output: IndexOpened };
  'index.record': { readonly input: readonly RecordedImage[]; readonly output: null };
  'index.forget-folder': {
    readonly input: { readonly site: string; readonly folder: string };
    readonly output: null;
  };
  'index.mark-complete': { readonly input: { readonly site: string }; readonly output: null };
  'index.bind': { readonly input: { readonly site: string; readonly tree: string }; readonly output: null };
  'index.judge': { readonly input: Judged; readonly output: null };
  /** The id up to which it was done; null when nothing is left. */
  'index.judge-again': { readonly input: JudgeAgain; readonly output: number | null };
  'index.reset': { readonly input: null; readonly output: null };
  'access.write': {
    readonly input: { readonly day: string; readonly batch: AccessBatch };
    readonly output: null;
  };
  /** Whether what is left fits. */
  'access.prune': { readonly input: AccessLimits; readonly output: AccessPruned };
}

/** What verification found of these signatures. */
export type Judged = Parameters<VerdictIndex['judge']>[0];

export interface IndexOpened {
  /** Whether the file was made now, so that there is nothing in it to check. */
  readonly isNew: boolean;
  /** Why the file that was there could not be used; null when it could, or when there was none. */
  readonly replacedBecause: string | null;
}

export type CommandName = keyof Commands;

/** Each lane keeps its order; a lock that stops one lane leaves the others going. */
export type LaneName = 'state' | 'index' | 'access';

export interface Command {
  readonly name: CommandName;
  readonly input: Commands[CommandName]['input'];
}

/** Several commands are one transaction: of one lane, and each of JOINABLE. */
export type Request = { readonly commands: readonly Command[] } | 'close';

/**
 * Small writes that come many at a time. Their commit costs more than they do, so those that wait together are
 * committed together.
 */
export const JOINABLE: ReadonlySet<CommandName> = new Set([
  'state.add-upload',
  'state.append-audit-event',
  'index.record',
  'index.judge',
]);

export type Outcome =
  | { readonly outcome: 'done'; readonly output: Commands[CommandName]['output'] }
  /** Another connection holds the lock: nothing was changed, the command may be tried again. */
  | { readonly outcome: 'locked'; readonly message: string }
  | { readonly outcome: 'failed'; readonly code: string | null; readonly message: string };

/** One for each command, in their order; a locked one is the last: those behind it were not begun. */
export type Reply = readonly Outcome[];
