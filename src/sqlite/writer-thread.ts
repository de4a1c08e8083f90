// The only thread that writes databases. It carries out commands in the order in which they come, one at a time or several in
// one transaction. It opens databases when first needed, so a thread that replaces a dead one needs no special start.
import { existsSync, renameSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { parentPort, workerData } from 'node:worker_threads';
import type { Database } from 'better-sqlite3';
import { LookasideError, systemCode } from '../domain/errors.ts';
import { AccessDays } from './access-days.ts';
import { AccessHourRows } from './access-hours.ts';
import { applySteps } from './access-steps.ts';
import { AuditRows } from './audit-rows.ts';
import type { Command, CommandName, Commands, IndexOpened, Outcome, Reply, Request } from './commands.ts';
import { deleteForGood, emptyJournal, forgetEvents } from './forget.ts';
import { KeyRows } from './key-rows.ts';
import { MirrorRows } from './mirror-rows.ts';
import {
  assertSound,
  closedOnError,
  filesOf,
  type HeldFile,
  hold,
  inTransaction,
  isCorruption,
  isInPlace,
  isLocked,
  messageOf,
  openForWriting,
  restoreAdvice,
  stateFileOf,
  UnusableFile,
  unfinishedStateFileOf,
} from './open.ts';
import { SessionRows } from './session-rows.ts';
import { SignatureRows } from './signature-rows.ts';
import { SignerRows } from './signer-rows.ts';
import { SubjectRows } from './subject-rows.ts';
import { TokenRows } from './token-rows.ts';
import { TombstoneRows } from './tombstone-rows.ts';
import { UploadRows } from './upload-rows.ts';

type Handlers = {
  readonly [Name in CommandName]: (input: Commands[Name]['input']) => Commands[Name]['output'];
};

const port = parentPort;
if (port === null) throw new Error('writer-thread is started by writer.ts');
// only writer.ts sets it
const { dataDir } = workerData as { readonly dataDir: string };
const stateFile = stateFileOf(dataDir);
const unfinishedStateFile = unfinishedStateFileOf(dataDir);
const indexFile = join(dataDir, 'index.db');
const accessDays = new AccessDays(join(dataDir, 'access'));

interface StateRows {
  readonly audit: AuditRows;
  readonly accessHours: AccessHourRows;
  readonly tokens: TokenRows;
  readonly sessions: SessionRows;
  readonly signers: SignerRows;
  readonly subjects: SubjectRows;
  readonly keys: KeyRows;
  readonly uploads: UploadRows;
  readonly mirrors: MirrorRows;
  readonly tombstones: TombstoneRows;
}

interface Held<Rows> {
  readonly held: HeldFile;
  readonly rows: Rows;
}

let heldState: Held<StateRows> | null = null;
let heldIndex: Held<SignatureRows> | null = null;

const handlers: Handlers = {
  'state.open': () => {
    heldState = openState();
    return null;
  },
  'state.create-token': ({ token, event }) => {
    state().tokens.insert(token, event);
    return null;
  },
  'state.revoke-token': ({ name, revokedAt, event }) => {
    state().tokens.revoke(name, revokedAt, event);
    return null;
  },
  'state.note-token-use': (uses) => {
    state().tokens.noteUse(uses);
    return null;
  },
  'state.add-session': ({ session, event }) => state().sessions.add(session, event),
  'state.end-session': ({ id, event }) => state().sessions.end(id, event),
  'state.add-signer': ({ signer, event, subjects }) => {
    state().signers.insert(signer, event, subjects);
    return null;
  },
  'state.disable-signer': ({ name, disabledAt, event }) => {
    state().signers.setDisabled(name, disabledAt, event);
    return null;
  },
  'state.remove-signer': ({ name, removedAt, event }) => state().signers.remove(name, removedAt, event),
  'state.add-grant': ({ grant, event }) => state().signers.addGrant(grant, event),
  'state.remove-grant': ({ id, event }) => state().signers.removeGrant(id, event),
  'state.add-subject': ({ subject, event }) => state().subjects.add(subject, event),
  'state.remove-subject': ({ id, event }) => state().subjects.remove(id, event),
  'state.apply-access': (steps) => {
    applySteps(stateInPlace().held.db, state(), steps);
    return null;
  },
  'state.put-key': ({ key, event }) => {
    state().keys.put(key, event);
    return null;
  },
  'state.remove-key': ({ fingerprint, event }) => state().keys.remove(fingerprint, event),
  'state.retire-key': ({ fingerprint, isRetired, event }) =>
    state().keys.setRetired(fingerprint, isRetired, event),
  'state.revoke-key': ({ revoked, event }) => state().keys.revoke(revoked, event),
  'state.add-upload': ({ upload, event }) => state().uploads.add(upload, event),
  'state.put-tombstone': ({ tombstone, event }) => state().tombstones.put(tombstone, event),
  'state.put-ordered-tombstones': ({ tombstones, auditSeq }) => {
    state().tombstones.putAll(tombstones, auditSeq);
    return null;
  },
  'state.settle-tombstones': ({ image, sha256s, isEmpty }) => {
    state().tombstones.settle(image, sha256s, isEmpty);
    return null;
  },
  'state.lift-tombstone': ({ image, sha256, event }) => state().tombstones.lift(image, sha256, event),
  'state.append-audit-event': (event) => state().audit.append(event),
  'state.put-access-hours': ({ day, hours, dropped }) => {
    state().accessHours.put(day, { hours, dropped });
    return null;
  },
  'state.add-checkpoint': (checkpoint) => {
    state().audit.log.addCheckpoint(checkpoint);
    return null;
  },
  'state.cosign-checkpoint': ({ id, note }) => {
    state().audit.log.cosign(id, note);
    return null;
  },
  'state.begin-log': ({ identity, at, event }) => {
    state().audit.beginLog(identity, at, event);
    return null;
  },
  'state.accept-rollback': ({ goodSize, event }) => {
    state().audit.acceptRollback(goodSize, event);
    return null;
  },
  'state.witness': ({ origin, from, head }) => state().audit.log.witness(origin, from, head),
  'state.change-mirror': (change) => {
    state().mirrors.change(change);
    return null;
  },
  'state.mirror-checked': (rows) => {
    state().mirrors.checked(rows);
    return null;
  },
  'state.mirror-asked': (sets) => {
    state().mirrors.asked(sets);
    return null;
  },
  'state.mirror-failed': (sets) => {
    state().mirrors.failed(sets);
    return null;
  },
  'state.mirror-beyond': ({ site, maxBytes }) => state().mirrors.beyond(site, maxBytes),
  'state.mirror-on-demand': ({ site, range, limit }) => state().mirrors.onDemand(site, range, limit),
  'state.mirror-put-releases': ({ site, graphs }) => {
    state().mirrors.putReleases(site, graphs);
    return null;
  },
  'state.mirror-forget': (images) => {
    state().mirrors.forget(images);
    return null;
  },
  'state.mirror-ran': ({ site, run }) => {
    state().mirrors.ran(site, run);
    return null;
  },
  'state.forget': ({ person, beforeMs, event }) => {
    const { held, rows } = stateInPlace();
    deleteForGood(held.db);
    const forgotten = inTransaction(held.db, () => {
      const changes = forgetEvents(held.db, person, beforeMs);
      rows.audit.add(event);
      return changes;
    });
    emptyJournal(held.db);
    return forgotten;
  },
  'index.open': openIndex,
  'index.record': (images) => {
    index().record(images);
    return null;
  },
  'index.record-new': (images) => index().recordNew(images),
  'index.forget-folder': ({ site, folder }) => {
    index().forgetFolder(site, folder);
    return null;
  },
  'index.mark-complete': ({ site }) => {
    index().markComplete(site);
    return null;
  },
  'index.bind': ({ site, tree }) => {
    index().bind(site, tree);
    return null;
  },
  'index.judge': (judged) => {
    index().judge(judged);
    return null;
  },
  'index.judge-again': (input) => index().judgeAgain(input),
  'index.reset': () => {
    remakeIndex();
    return null;
  },
  'access.write': ({ day, batch }) => {
    accessDays.write(day, batch);
    return null;
  },
  'access.forget': ({ day, person, beforeMs }) => accessDays.forget(day, person, beforeMs),
  'access.mark-closed': ({ day, at }) => {
    accessDays.markClosed(day, at);
    return null;
  },
  'access.prune': (limits) => accessDays.prune(limits),
};

port.on('message', (request: Request) => {
  if (request !== 'close') {
    port.postMessage(replyTo(request.commands));
    return;
  }
  heldState?.held.db.close();
  closeIndex();
  accessDays.close();
  port.close();
});

function replyTo(commands: readonly Command[]): Reply {
  return (commands.length > 1 ? together(commands) : null) ?? oneByOne(commands);
}

/**
 * Carries out all commands in one transaction. When one fails, none of them changes anything, and null says that each must be
 * tried by itself: a command must not fail because of another.
 */
function together(commands: readonly Command[]): Reply | null {
  try {
    return inTransaction(databaseOf(commands), () =>
      commands.map(({ name, input }) => ({ outcome: 'done', output: carryOut(name, input) })),
    );
  } catch (error) {
    if (isLocked(error)) return [{ outcome: 'locked', message: messageOf(error) }];
    if (isIoError(systemCode(error))) return commands.map(({ name }) => outcomeOf(name, error));
    return null;
  }
}

function databaseOf([first]: readonly Command[]): Database {
  return (first?.name.startsWith('state.') === true ? stateInPlace() : indexInPlace()).held.db;
}

function oneByOne(commands: readonly Command[]): Reply {
  const outcomes: Outcome[] = [];
  for (const [position, { name, input }] of commands.entries()) {
    const outcome = attempt(name, input);
    outcomes.push(outcome);
    if (outcome.outcome === 'locked') break;
    if (outcome.outcome === 'failed' && isIoError(outcome.code)) {
      return [...outcomes, ...commands.slice(position + 1).map(() => outcome)];
    }
  }
  return outcomes;
}

/**
 * The commands after it must fail too: after a failed fsync the kernel has dropped the pages, and the next fsync succeeds
 * without them.
 */
function isIoError(code: string | null): boolean {
  return /^SQLITE_IOERR/.test(code ?? '');
}

function attempt(name: CommandName, input: unknown): Outcome {
  try {
    return { outcome: 'done', output: carryOut(name, input) };
  } catch (error) {
    return outcomeOf(name, error);
  }
}

// The cast is right because writer.ts pairs each name with its own input.
function carryOut<Name extends CommandName>(name: Name, input: unknown): Commands[Name]['output'] {
  return handlers[name](input as Commands[Name]['input']);
}

function outcomeOf(name: CommandName, error: unknown): Outcome {
  if (isLocked(error)) return { outcome: 'locked', message: messageOf(error) };
  return { outcome: 'failed', code: codeOf(name, error), message: messageOf(error) };
}

function codeOf(name: CommandName, error: unknown): string | null {
  if (!isCorruption(error)) return systemCode(error);
  if (name.startsWith('state.')) return 'STATE_UNUSABLE';
  return name.startsWith('index.') ? 'INDEX_UNUSABLE' : 'STORE_UNAVAILABLE';
}

function state(): StateRows {
  return stateInPlace().rows;
}

function stateInPlace(): Held<StateRows> {
  // for a thread that replaces a dead one; only state.open may create the file
  if (heldState === null && existsSync(stateFile)) heldState = openState();
  if (heldState !== null && isInPlace(heldState.held)) return heldState;
  throw new LookasideError(
    'STORE_UNAVAILABLE',
    `${stateFile} was removed or replaced while in use: put it back and restart`,
  );
}

/** @throws LookasideError STATE_UNUSABLE. A damaged file stays as it is: it may be the best copy there is. */
function openState(): Held<StateRows> {
  if (existsSync(unfinishedStateFile)) {
    const problem = `${dataDir} is half filled: ${unfinishedStateFile} is still there`;
    const message = `${problem}; give the command that fills it again: lookaside restore DIR --data ${dataDir}, or lookaside migrate --from URL --data ${dataDir}`;
    throw new LookasideError('STATE_UNUSABLE', message);
  }
  const isNew = (statSync(stateFile, { throwIfNoEntry: false })?.size ?? 0) === 0;
  const journalBytes = statSync(`${stateFile}-wal`, { throwIfNoEntry: false })?.size ?? 0;
  if (isNew && journalBytes > 0) {
    throw stateUnusable(`${stateFile} is missing or empty, but its ${stateFile}-wal holds changes`);
  }
  try {
    const db = openForWriting(stateFile, 'state', isNew ? undefined : assertSound);
    return closedOnError(db, () => ({ held: hold(db, stateFile), rows: stateRows(db) }));
  } catch (error) {
    if (error instanceof UnusableFile) throw stateUnusable(error.message, error);
    if (hasOtherTables(error))
      throw stateUnusable(`${stateFile} has other tables: ${messageOf(error)}`, error);
    throw error;
  }
}

function stateRows(db: Database): StateRows {
  const audit = new AuditRows(db);
  audit.log.fill();
  const subjects = new SubjectRows(db, audit);
  return {
    audit,
    accessHours: new AccessHourRows(db),
    tokens: new TokenRows(db, audit),
    sessions: new SessionRows(db, audit),
    signers: new SignerRows(db, audit, subjects),
    subjects,
    keys: new KeyRows(db, audit),
    uploads: new UploadRows(db, audit),
    mirrors: new MirrorRows(db, audit),
    tombstones: new TombstoneRows(db, audit),
  };
}

function stateUnusable(problem: string, cause?: unknown): LookasideError {
  return new LookasideError('STATE_UNUSABLE', `${problem}; ${restoreAdvice(dataDir)}`, { cause });
}

function index(): SignatureRows {
  return indexInPlace().rows;
}

function indexInPlace(): Held<SignatureRows> {
  // for a thread that replaces a dead one; only index.open and index.reset may create the file
  if (heldIndex === null && existsSync(indexFile)) heldIndex = holdIndex();
  if (heldIndex !== null && isInPlace(heldIndex.held)) return heldIndex;
  throw new LookasideError('INDEX_UNUSABLE', `${indexFile} was removed or replaced while in use`);
}

function holdIndex(): Held<SignatureRows> {
  const db = openForWriting(indexFile, 'index');
  return closedOnError(db, () => ({ held: hold(db, indexFile), rows: new SignatureRows(db) }));
}

function openIndex(): IndexOpened {
  if (!existsSync(indexFile)) {
    remakeIndex();
    return { isNew: true, replacedBecause: null };
  }
  try {
    heldIndex = holdIndex();
    return { isNew: false, replacedBecause: null };
  } catch (error) {
    if (!isCorruption(error) && !hasOtherTables(error)) throw error;
    if (error instanceof UnusableFile && error.misfit === 'not-ours') setIndexAside();
    remakeIndex();
    return { isNew: true, replacedBecause: messageOf(error) };
  }
}

// The file has our id and version but not our tables, so a migration or a statement fails.
function hasOtherTables(error: unknown): boolean {
  return systemCode(error) === 'SQLITE_ERROR';
}

// The file has our name but holds somebody else's data, which we must not delete.
function setIndexAside(): void {
  const aside = filesOf(`${indexFile}.not-ours`);
  filesOf(indexFile).forEach((name, position) => {
    if (existsSync(name)) renameSync(name, String(aside[position]));
  });
}

function remakeIndex(): void {
  closeIndex();
  for (const name of filesOf(indexFile)) rmSync(name, { force: true });
  heldIndex = holdIndex();
}

function closeIndex(): void {
  heldIndex?.held.db.close();
  heldIndex = null;
}
