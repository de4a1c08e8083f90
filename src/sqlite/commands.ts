// What the main thread asks the writer thread to do, and what comes back. Everything here is structured-cloned.
import type { NewAuditEvent } from '../domain/audit.ts';
import type { NewGrant } from '../domain/grant.ts';
import type { ImageId } from '../domain/image.ts';
import type { LogIdentity, NewCheckpoint, Witnessed } from '../domain/log.ts';
import type { SyncReport } from '../domain/mirror.ts';
import type { NewOidcSubject } from '../domain/oidc.ts';
import type { PackedImages } from '../domain/packed-images.ts';
import type {
  AccessLimits,
  AccessPruned,
  AccessStep,
  AskedSet,
  CheckedSet,
  NewSession,
  NewTombstone,
  NewUpload,
  RecordedImage,
  RevokedByHand,
  SetPlace,
  SetRange,
  VerdictIndex,
} from '../domain/ports.ts';
import type { Person } from '../domain/records.ts';
import type { GraphsTold } from '../domain/release-graph.ts';
import type { PackedBatch } from './access-columns.ts';
import type { DayTotals } from './day-totals.ts';
import type { NewKey } from './key-rows.ts';
import type { FailedSets, MirrorChange } from './mirror-rows.ts';
import type { GrantAdded, NewSigner } from './signer-rows.ts';
import type { SubjectAdded } from './subject-rows.ts';
import type { NewToken, TokenUse } from './token-rows.ts';
import type { JudgeAgain } from './verdict-rows.ts';

export interface Commands {
  /** Opens or creates state.db and checks it. */
  'state.open': { readonly input: null; readonly output: null };
  'state.create-token': {
    readonly input: { readonly token: NewToken; readonly event: NewAuditEvent };
    readonly output: null;
  };
  'state.revoke-token': {
    readonly input: { readonly name: string; readonly revokedAt: Date; readonly event: NewAuditEvent };
    readonly output: null;
  };
  'state.note-token-use': { readonly input: readonly TokenUse[]; readonly output: null };
  /** The session's id; null: the token was revoked meanwhile. */
  'state.add-session': {
    readonly input: { readonly session: NewSession; readonly event: NewAuditEvent };
    readonly output: number | null;
  };
  /** Whether the session was there. */
  'state.end-session': {
    readonly input: { readonly id: number; readonly event: NewAuditEvent };
    readonly output: boolean;
  };
  'state.add-signer': {
    readonly input: {
      readonly signer: NewSigner;
      readonly event: NewAuditEvent;
      readonly subjects: readonly { readonly subject: NewOidcSubject; readonly event: NewAuditEvent }[];
    };
    readonly output: null;
  };
  'state.disable-signer': {
    readonly input: {
      readonly name: string;
      readonly disabledAt: Date | null;
      readonly event: NewAuditEvent;
    };
    readonly output: null;
  };
  /** Whether the signer was there. */
  'state.remove-signer': {
    readonly input: { readonly name: string; readonly removedAt: Date; readonly event: NewAuditEvent };
    readonly output: boolean;
  };
  'state.add-grant': {
    readonly input: { readonly grant: NewGrant; readonly event: NewAuditEvent };
    readonly output: GrantAdded;
  };
  /** Whether the grant was there. */
  'state.remove-grant': {
    readonly input: { readonly id: number; readonly event: NewAuditEvent };
    readonly output: boolean;
  };
  'state.add-subject': {
    readonly input: { readonly subject: NewOidcSubject; readonly event: NewAuditEvent };
    readonly output: SubjectAdded;
  };
  /** Whether the subject was there. */
  'state.remove-subject': {
    readonly input: { readonly id: number; readonly event: NewAuditEvent };
    readonly output: boolean;
  };
  'state.apply-access': { readonly input: readonly AccessStep[]; readonly output: null };
  'state.put-key': {
    readonly input: { readonly key: NewKey; readonly event: NewAuditEvent };
    readonly output: null;
  };
  /** Whether the key was there. */
  'state.remove-key': {
    readonly input: { readonly fingerprint: string; readonly event: NewAuditEvent };
    readonly output: boolean;
  };
  /** Whether it has changed anything. */
  'state.retire-key': {
    readonly input: {
      readonly fingerprint: string;
      readonly isRetired: boolean;
      readonly event: NewAuditEvent;
    };
    readonly output: boolean;
  };
  /** Whether it has changed anything. */
  'state.revoke-key': {
    readonly input: { readonly revoked: RevokedByHand; readonly event: NewAuditEvent };
    readonly output: boolean;
  };
  /** Number of the event for the upload, or for the same upload before. */
  'state.add-upload': {
    readonly input: { readonly upload: NewUpload; readonly event: NewAuditEvent };
    readonly output: number;
  };
  /** The event's number. */
  'state.put-tombstone': {
    readonly input: { readonly tombstone: NewTombstone; readonly event: NewAuditEvent };
    readonly output: number;
  };
  'state.put-ordered-tombstones': {
    readonly input: { readonly tombstones: readonly NewTombstone[]; readonly auditSeq: number };
    readonly output: null;
  };
  'state.settle-tombstones': {
    readonly input: {
      readonly image: ImageId;
      readonly sha256s: readonly string[];
      readonly isEmpty: boolean;
    };
    readonly output: null;
  };
  /** Whether it was in force. */
  'state.lift-tombstone': {
    readonly input: { readonly image: ImageId; readonly sha256: string; readonly event: NewAuditEvent };
    readonly output: boolean;
  };
  /** The event's number. */
  'state.append-audit-event': { readonly input: NewAuditEvent; readonly output: number };
  /** Replaces those of the day. */
  'state.put-access-hours': {
    readonly input: DayTotals & { readonly day: string };
    readonly output: null;
  };
  'state.add-checkpoint': { readonly input: NewCheckpoint; readonly output: null };
  'state.cosign-checkpoint': {
    readonly input: { readonly id: number; readonly note: string };
    readonly output: null;
  };
  'state.begin-log': {
    readonly input: {
      readonly identity: LogIdentity;
      readonly at: Date;
      readonly event: NewAuditEvent | null;
    };
    readonly output: null;
  };
  'state.accept-rollback': {
    readonly input: { readonly goodSize: number; readonly event: NewAuditEvent };
    readonly output: null;
  };
  /** Whether the head was recorded, and the size of the last one that was. */
  'state.witness': {
    readonly input: { readonly origin: string; readonly from: number; readonly head: Witnessed };
    readonly output: { readonly isRecorded: boolean; readonly size: number };
  };
  'state.change-mirror': { readonly input: MirrorChange; readonly output: null };
  'state.mirror-checked': { readonly input: readonly CheckedSet[]; readonly output: null };
  'state.mirror-asked': { readonly input: readonly AskedSet[]; readonly output: null };
  'state.mirror-failed': { readonly input: FailedSets; readonly output: null };
  /** As MirrorStore.beyond(). */
  'state.mirror-beyond': {
    readonly input: { readonly site: string; readonly maxBytes: number };
    readonly output: SetPlace | null;
  };
  /** As MirrorStore.onDemand(). */
  'state.mirror-on-demand': {
    readonly input: { readonly site: string; readonly range: SetRange; readonly limit: number };
    readonly output: readonly SetPlace[];
  };
  'state.mirror-put-releases': {
    readonly input: { readonly site: string; readonly graphs: GraphsTold };
    readonly output: null;
  };
  'state.mirror-forget': { readonly input: readonly ImageId[]; readonly output: null };
  'state.mirror-ran': {
    readonly input: { readonly site: string; readonly run: SyncReport };
    readonly output: null;
  };
  /** How many events were changed. */
  'state.forget': {
    readonly input: { readonly person: Person; readonly beforeMs: number; readonly event: NewAuditEvent };
    readonly output: number;
  };
  'index.open': { readonly input: null; readonly output: IndexOpened };
  'index.record': { readonly input: readonly RecordedImage[]; readonly output: null };
  /** As NewImageIndex.recordNew(). */
  'index.record-new': { readonly input: NewImages; readonly output: readonly number[] };
  'index.forget-folder': {
    readonly input: { readonly site: string; readonly folder: string };
    readonly output: null;
  };
  'index.mark-complete': { readonly input: { readonly site: string }; readonly output: null };
  'index.bind': { readonly input: { readonly site: string; readonly tree: string }; readonly output: null };
  'index.judge': { readonly input: Judged; readonly output: null };
  /** The id up to which the work is done; null when nothing is left. */
  'index.judge-again': { readonly input: JudgeAgain; readonly output: number | null };
  'index.reset': { readonly input: null; readonly output: null };
  'access.write': {
    readonly input: { readonly day: string; readonly batch: PackedBatch };
    readonly output: null;
  };
  /** How many rows are gone; 0 also when the day is. */
  'access.forget': {
    readonly input: { readonly day: string; readonly person: Person; readonly beforeMs: number };
    readonly output: number;
  };
  /** Null also when the day is gone. */
  'access.mark-closed': {
    readonly input: { readonly day: string; readonly at: Date };
    readonly output: null;
  };
  /** Whether the remaining days fit, and which days are doubted. */
  'access.prune': { readonly input: AccessLimits; readonly output: AccessPruned };
}

export interface NewImages {
  readonly site: string;
  readonly packed: PackedImages;
  readonly without: ReadonlySet<number>;
}

/** The results of verification for these signatures. */
export type Judged = Parameters<VerdictIndex['judge']>[0];

export interface IndexOpened {
  /** Whether the file was just created, so that it has nothing to check. */
  readonly isNew: boolean;
  /** Why the existing file could not be used; null when it could, or when there was no file. */
  readonly replacedBecause: string | null;
}

export type CommandName = keyof Commands;

/** Each lane keeps its order. A lock that stops one lane does not stop the others. */
export type LaneName = 'state' | 'index' | 'access';

export interface Command {
  readonly name: CommandName;
  readonly input: Commands[CommandName]['input'];
}

/** Several commands form one transaction: all of one lane, and all in JOINABLE. */
export type Request = { readonly commands: readonly Command[] } | 'close';

/**
 * Small writes that come in large numbers. A commit costs more than the write itself, so writes that wait together are
 * committed together.
 */
export const JOINABLE: ReadonlySet<CommandName> = new Set([
  'state.add-upload',
  'state.put-ordered-tombstones',
  'state.settle-tombstones',
  'state.append-audit-event',
  'state.add-checkpoint',
  'state.cosign-checkpoint',
  'state.mirror-checked',
  'state.mirror-asked',
  'state.mirror-failed',
  'index.record',
  'index.judge',
]);

export type Outcome =
  | { readonly outcome: 'done'; readonly output: Commands[CommandName]['output'] }
  /** Another connection holds the lock. Nothing was changed, and the command may be tried again. */
  | { readonly outcome: 'locked'; readonly message: string }
  | { readonly outcome: 'failed'; readonly code: string | null; readonly message: string };

/** One outcome for each command, in their order. A locked one is the last: the commands behind it were not started. */
export type Reply = readonly Outcome[];
