// lookaside migrate --from: opens the database that several nodes share, and an empty data directory, and moves one into the other.
import { join, resolve } from 'node:path';
import type { Config, DatabaseSettings } from '../config.ts';
import { isLookasideError, LookasideError, systemCode } from '../domain/errors.ts';
import type { LogReaderStore } from '../domain/log.ts';
import type { MoveProgress, MoveResult, MoveTarget } from '../domain/moving.ts';
import { ED25519, formatNoteKey } from '../domain/signed-note.ts';
import { openRestoreTarget, refuseFilledFolder } from '../files/restore-target.ts';
import { type OpenedMoveSource, openMoveSource } from '../postgres/moving-source.ts';
import { moveDirectory, tryMove } from '../service/moving.ts';
import { noteSigner } from '../service/note-keys.ts';
import { type LockTaker, takeLock } from '../sqlite/lock.ts';
import { type FilledDirectory, namesOfFilled, openFilledDirectory } from '../sqlite/moving-target.ts';
import { stateFileOf, unfinishedStateFileOf } from '../sqlite/open.ts';
import { systemClock } from './clock.ts';
import { LOG_KEY_NAME } from './log-keeper.ts';
import { rootOfMirror } from './open-sites.ts';
import { sitesOf, treeName } from './site.ts';

export interface MoveBackOptions {
  /** The configuration of the data directory. */
  readonly config: Config;
  readonly database: DatabaseSettings;
  readonly isDryRun: boolean;
  /** Mirrors stay behind. */
  readonly withoutMirrors: boolean;
  readonly taker: LockTaker;
  readonly onProgress: (progress: MoveProgress) => void;
}

/**
 * All of it, or the directory stays as empty as it was; a run that was cut short begins anew.
 * @throws LookasideError CONFIG_INVALID when the directory is not empty, or the log's key is not given. ALREADY_RUNNING while nodes run,
 * or another command uses the directory. Whatever openMoveSource() and moveDirectory() throw.
 */
export async function moveBack(
  options: MoveBackOptions,
): Promise<MoveResult & Pick<OpenedMoveSource, 'mirrorsLeft'>> {
  const { config, database, isDryRun, withoutMirrors, onProgress } = options;
  if (config.tree === 'shared') {
    throw new LookasideError(
      'CONFIG_INVALID',
      'signatures of a database are moved into a tree of their own, below the data directory; leave --root and LOOKASIDE_ROOT out',
    );
  }
  const onHashed = (done: number) => onProgress({ step: 'verifying', done });
  if (isDryRun) await refuseFilledFolder(config.data);
  const lock = isDryRun ? null : takeLock(config.data, options.taker);
  try {
    const source = await openMoveSource({
      ...{ url: database.url, isDryRun, withoutMirrors, onProgress: onHashed },
      place: `${resolve(config.data)} on ${options.taker.host}`,
    });
    try {
      const logKey = await keyOf(source.log, database);
      const result = isDryRun ? await tryMove(source, onProgress) : await fill(source, logKey, options);
      return { ...result, mirrorsLeft: source.mirrorsLeft };
    } finally {
      await source.close();
    }
  } finally {
    lock?.release();
  }
}

/** The server goes on with the log, and would refuse another key. */
async function keyOf(log: LogReaderStore, { logKey }: DatabaseSettings): Promise<string | null> {
  const last = (await log.identities()).at(-1);
  if (last === undefined) return logKey?.pem ?? null;
  if (logKey === null) {
    throw new LookasideError(
      'CONFIG_INVALID',
      'LOOKASIDE_LOG_KEY_FILE is not set, and the server that goes on with the log of audit events needs the key that signs it; name the file that every node has',
    );
  }
  const { key } = noteSigner(logKey.pem, { name: last.origin, type: ED25519, file: logKey.place });
  if (formatNoteKey(key) === last.vkey) return logKey.pem;
  throw new LookasideError(
    'LOG_MISMATCH',
    `the log in the database is signed as ${last.vkey}, and ${logKey.place} would sign as ${formatNoteKey(key)}; give the key that the nodes have`,
  );
}

async function fill(
  source: OpenedMoveSource,
  logKey: string | null,
  { config, onProgress }: MoveBackOptions,
): Promise<MoveResult> {
  const { data } = config;
  const mirrors = source.mirrors.map(({ name }) => ({
    ...{ name, root: rootOfMirror(data, name), tree: 'owned' as const },
  }));
  const sites = [...sitesOf(config), ...mirrors];
  const places = {
    ...{ dataDir: data, trees: sites, stateFile: stateFileOf(data) },
    logKeyFile: join(data, LOG_KEY_NAME),
    unfinishedStateFile: unfinishedStateFileOf(data),
    others: namesOfFilled(data),
  };
  const target = await openRestoreTarget(places, '');
  try {
    const filled = openFilledDirectory({
      dataDir: data,
      sites: sites.map((site) => ({ name: site.name, tree: treeName(site) })),
      writeFile: (place, bytes, modifiedAt) => target.write(place, { bytes, modifiedAt }),
      readFile: async (place) => (await target.read(place))?.bytes ?? null,
    });
    const move = { source, target: targetOf(filled), isDryRun: false, clock: systemClock, onProgress };
    const result = await moveDirectory(move).finally(() => filled.close());
    await source.end();
    await target.finishInPlace(logKey);
    source.stayBarred();
    return result;
  } catch (error) {
    await target.abandon();
    throw refusalOf(error, data);
  }
}

/** Databases are filled in this thread, and what SQLite or the system says of the disk is no fault of the program. */
function refusalOf(error: unknown, data: string): unknown {
  const code = systemCode(error);
  if (isLookasideError(error) || code === null) return error;
  const isFull = /^(?:SQLITE_FULL|SQLITE_IOERR_SHMSIZE|ENOSPC|EDQUOT)$/.test(code);
  if (!isFull && !/^(?:SQLITE_(?:IOERR|READONLY|CANTOPEN)|E[A-Z]+$)/.test(code)) return error;
  return new LookasideError(
    isFull ? 'DISK_FULL' : 'STORE_UNAVAILABLE',
    `cannot fill ${data} (${code}): ${isFull ? 'no space is left there; free some' : 'look after the disk'}, then give the same command again, which begins anew`,
    { cause: error },
  );
}

/** Nothing of an earlier run is there, and whoever begins one takes all of it out again when it fails. */
function targetOf(filled: FilledDirectory): MoveTarget & { readonly log: LogReaderStore } {
  return {
    log: filled.log,
    look: async () => null,
    begin: async () => null,
    put: (_, part) => filled.put(part),
    counts: async (tables) => filled.counts(tables),
    signatures: filled.signatures,
    finish: async (last) => filled.finish(last),
    clear: async () => undefined,
  };
}
