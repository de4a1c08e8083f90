// Moves a data directory into the database that several nodes share, or back, and compares both before anything may start on it.
import { isLookasideError, LookasideError } from '../domain/errors.ts';
import type { LogReaderStore } from '../domain/log.ts';
import {
  MOVE_STEPS,
  type MovedCounts,
  type MovePlace,
  type MoveProgress,
  type MoveResult,
  type MoveSource,
  type MoveTarget,
} from '../domain/moving.ts';
import type { Clock } from '../domain/ports.ts';
import { type VerifiedLog, verifyLog } from './log-verify.ts';

export interface MoveOptions {
  readonly source: MoveSource & { readonly log: LogReaderStore };
  readonly target: MoveTarget & { readonly log: LogReaderStore };
  readonly isDryRun: boolean;
  readonly clock: Clock;
  readonly onProgress: (progress: MoveProgress) => void;
}

/**
 * Whole, or a part from which the same call goes on.
 * @throws LookasideError NAME_TAKEN, LOG_MISMATCH when the log is not what was signed, DAMAGE_FOUND, CHANGED_MEANWHILE, STORE_UNAVAILABLE
 */
export async function moveDirectory(options: MoveOptions): Promise<MoveResult> {
  const { source, target, isDryRun, clock, onProgress } = options;
  const tried = await tryMove(source, onProgress);
  const { log } = tried;
  const place = isDryRun ? await target.look(source.mark) : await target.begin(source.mark, clock.now());
  if (place === 'finished') return { ...tried, outcome: 'moved-before', isResumed: true };
  if (isDryRun) return { ...tried, isResumed: place !== null };
  const isResumed = await putFrom(options, place);
  await compare(options, log);
  const [rules, numbers] = [await source.rules(), await source.numbers()];
  const { counts } = tried;
  await target.finish({
    ...{ rules, numbers, now: clock.now() },
    check(moved) {
      const wrong = differing(Object.fromEntries(rules.map(([table]) => [table, counts[table] ?? 0])), moved);
      if (wrong !== null) throw changed(wrong);
    },
  });
  return { ...tried, outcome: 'moved', isResumed };
}

/** What a move would begin with. @throws LookasideError LOG_MISMATCH when the log is not what was signed */
export async function tryMove(
  { log, counts, fillers, mirrors }: Pick<MoveOptions['source'], 'log' | 'counts' | 'fillers' | 'mirrors'>,
  onProgress: MoveOptions['onProgress'],
): Promise<MoveResult> {
  const logged = await verified(log, onProgress);
  return { outcome: 'would-move', isResumed: false, counts, fillers, mirrors, log: logged };
}

const START: MovePlace = { step: 'events', cursor: null };

/** Begins anew where rows of the earlier run are in the way; whether it went on from there. */
async function putFrom(options: MoveOptions, place: MovePlace | null): Promise<boolean> {
  const { source, target, clock } = options;
  try {
    await putAll(options, place ?? START);
    return place !== null;
  } catch (error) {
    if (!isLookasideError(error, 'CHANGED_MEANWHILE')) throw error;
    await target.clear();
    if (place === null) throw error;
    await target.begin(source.mark, clock.now());
    await putAll(options, START);
    return false;
  }
}

async function putAll({ source, target, onProgress }: MoveOptions, from: MovePlace): Promise<void> {
  for (const step of MOVE_STEPS.slice(MOVE_STEPS.indexOf(from.step))) {
    let done = 0;
    onProgress({ step, done });
    for await (const part of source.parts({ step, cursor: step === from.step ? from.cursor : null })) {
      await target.put(step, part);
      done += part.rows.reduce((sum, [, rows]) => sum + rows.length, 0);
      onProgress({ step, done });
    }
  }
}

/** Every count, every byte and every leaf. What differs is taken out again: the next run begins anew. */
async function compare({ source, target, onProgress }: MoveOptions, log: MoveResult['log']): Promise<void> {
  const tables = Object.keys(source.counts).filter((table) => !isRule(table));
  const wanted = Object.fromEntries(tables.map((table) => [table, source.counts[table] ?? 0]));
  const wrong = differing(wanted, await target.counts(tables));
  const signatures = await target.signatures((done) => onProgress({ step: 'verifying', done }));
  const { size, root } = await verified(target.log, onProgress);
  const what =
    wrong ??
    (signatures === source.signatures ? null : 'signatures are not the same on both sides') ??
    (size === log.size && root === log.root ? null : 'the log of audit events is not the same on both sides');
  if (what === null) return;
  await target.clear();
  throw changed(what);
}

const RULES: readonly string[] = ['signer', 'signer_grant', 'oidc_subject', 'token', 'page_session'].concat([
  'openpgp_key',
]);

/** They come with the last transaction, and are counted in it. */
function isRule(table: string): boolean {
  return RULES.includes(table);
}

function differing(wanted: MovedCounts, moved: MovedCounts): string | null {
  const table = Object.keys(wanted).find((name) => wanted[name] !== moved[name]);
  if (table === undefined) return null;
  return `table ${table} has ${moved[table] ?? 0} rows there, and ${wanted[table]} were to come`;
}

function changed(what: string): LookasideError {
  return new LookasideError(
    'CHANGED_MEANWHILE',
    `${what}: something has written to one of them meanwhile; nothing of it is served; give the same command again while nothing else uses the directory or the database`,
  );
}

/** @throws LookasideError LOG_MISMATCH */
async function verified(
  store: LogReaderStore,
  onProgress: MoveOptions['onProgress'],
): Promise<MoveResult['log']> {
  const verified: VerifiedLog = await verifyLog(store, {
    vkey: null,
    from: null,
    onProgress: (done) => onProgress({ step: 'verifying', done }),
  });
  const [fault] = verified.faults;
  if (fault !== undefined) {
    throw new LookasideError(
      'LOG_MISMATCH',
      `the log of audit events is not what was signed: ${fault.message}; lookaside audit verify tells all of it; put back a backup of before, then move that`,
    );
  }
  const { size, root, checkpoints } = verified;
  return { size, root, checkpoints };
}
