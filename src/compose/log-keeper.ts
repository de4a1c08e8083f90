// The log of a data directory: its key is in DATA/log.key, its tables in state.db, its last checkpoint may be on another disk.
import { join } from 'node:path';
import type { Config } from '../config.ts';
import { LookasideError } from '../domain/errors.ts';
import type { LogIdentity } from '../domain/log.ts';
import type { Log } from '../domain/ports.ts';
import { ED25519 } from '../domain/signed-note.ts';
import { readSmallFile, writeSmallFile } from '../files/key-file.ts';
import type { MakeEvent } from '../service/audit.ts';
import { type CheckpointFile, type LogKeeper, openLogKeeper } from '../service/log-keeper.ts';
import { makePrivateKey, type NoteSigner, noteSigner } from '../service/note-keys.ts';
import type { Databases } from '../sqlite/databases.ts';
import { systemClock } from './clock.ts';
import { openCosigning, openWitness, witnessKeyIn } from './witnesses.ts';

interface OpenLogOptions {
  readonly config: Pick<Config, 'data' | 'publicUrl' | 'logOrigin' | 'checkpointFile'>;
  /** The name of this machine. */
  readonly host: string;
  readonly databases: Databases;
  readonly makeEvent: MakeEvent;
  readonly acceptRollback: boolean;
  readonly log: Log;
}

/** @throws LookasideError LOG_MISMATCH, CONFIG_INVALID; STORE_UNAVAILABLE, DISK_FULL, READ_ONLY */
async function openLog(options: OpenLogOptions): Promise<LogKeeper> {
  const { config, databases, makeEvent, acceptRollback, log } = options;
  return openLogKeeper({
    store: databases.log,
    signer: await signerOf(options, await databases.log.identities()),
    file: config.checkpointFile === null ? null : checkpointFile(config.checkpointFile),
    acceptRollback,
    makeEvent,
    clock: systemClock,
    log,
  });
}

export interface OpenLogsOptions extends Pick<OpenLogOptions, 'databases'> {
  readonly config: Config;
  readonly taker: { readonly host: string };
  readonly acceptRollback?: boolean;
}

/** The log with its witnesses, and what is witnessed for others. @throws as openLog() */
export async function openLogs(
  { config, databases, taker, acceptRollback = false }: OpenLogsOptions,
  { makeEvent, log }: Pick<OpenLogOptions, 'makeEvent' | 'log'>,
) {
  const auditLog = await openLog({ config, databases, host: taker.host, makeEvent, acceptRollback, log });
  const parts = { config, store: databases.log, auditLog, log };
  const readKey = () => witnessKeyIn(config.data);
  return {
    auditLog,
    witness: await openWitness({ ...parts, readKey }),
    cosigning: await openCosigning(parts),
  };
}

export const LOG_KEY_NAME = 'log.key';

async function signerOf(
  { config, host, acceptRollback }: OpenLogOptions,
  identities: readonly LogIdentity[],
): Promise<NoteSigner> {
  const file = join(config.data, LOG_KEY_NAME);
  const name = config.logOrigin ?? identities.at(-1)?.origin ?? originOf(config.publicUrl, host);
  const pem = await readSmallFile(file);
  if (pem === null && identities.length > 0 && !acceptRollback) {
    throw new LookasideError(
      'LOG_MISMATCH',
      `${file}, with which the log of audit events is signed, is missing; put it back from a backup, where it is called ${LOG_KEY_NAME}; or, when it is lost, start once with --accept-rollback, which makes a new key and records that for ever: who verifies the log needs the new key then`,
    );
  }
  return noteSigner(pem ?? (await makeKey(file)), { name, type: ED25519, file });
}

async function makeKey(file: string): Promise<string> {
  const pem = makePrivateKey();
  await writeSmallFile(file, pem, 0o600);
  return pem;
}

/** The URL below which the log is, without its scheme, as C2SP tlog-tiles wants it. */
export function originOf(publicUrl: string | null, host: string): string {
  if (publicUrl === null) return `${host}/log`;
  const { host: named, pathname } = new URL(publicUrl);
  return `${named}${pathname.replace(/\/+$/, '')}/log`;
}

export function checkpointFile(path: string): CheckpointFile {
  return { path, read: () => readSmallFile(path), write: (note) => writeSmallFile(path, note, 0o644) };
}
