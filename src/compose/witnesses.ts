// Witnesses of our log, and this server as a witness of others: the files that the settings name, and keys.
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import type { Config } from '../config.ts';
import { LookasideError } from '../domain/errors.ts';
import type { LogStore } from '../domain/log.ts';
import type { Log } from '../domain/ports.ts';
import {
  COSIGNATURE_V1,
  ED25519,
  ML_DSA_44_COSIGNATURE,
  type NoteKey,
  parseNoteKey,
} from '../domain/signed-note.ts';
import { quoted } from '../domain/text.ts';
import { readSmallFile, writeSmallFile } from '../files/key-file.ts';
import { type Cosigning, createCosigning, type WitnessClient } from '../service/cosigning.ts';
import type { LogKeeper } from '../service/log-keeper.ts';
import { canVerify, makePrivateKey, noteSigner, sha256 } from '../service/note-keys.ts';
import { createWitness, type Witness } from '../service/witness.ts';
import { connectWitness, type RemoteWitness } from '../upstream/witness-client.ts';
import { systemClock } from './clock.ts';

const WITNESS_KEY_NAME = 'witness.key';

/** A note has 64 signatures at most, and one is the log's own. */
const MAX_WITNESSES = 60;

/** For one request to a witness, waits between tries included. */
const PATIENCE_MS = 10_000;

interface Parts {
  readonly config: Pick<Config, 'witnessesFile' | 'witnessQuorum' | 'witnessLogsFile' | 'witnessName'> & {
    readonly remote: Pick<Config['remote'], 'hasProxies'>;
  };
  readonly store: LogStore;
  readonly auditLog: LogKeeper;
}

interface CosigningParts extends Parts {
  /** As in LogKeeperOptions: who does not lead asks nobody. */
  readonly isLeader?: () => boolean;
  readonly log: Log;
}

interface WitnessParts extends Parts {
  /** The key with which this server cosigns, and where it lies. */
  readonly readKey: () => Promise<{ readonly pem: string; readonly place: string }>;
}

export interface OpenedCosigning extends Cosigning {
  /** Asks for the newest head: what led before may have ended before it did. */
  askAgain(): void;
  close(): Promise<void>;
}

/** Heads of the log go to its witnesses from now on. Null: it has none. @throws LookasideError CONFIG_INVALID */
export async function openCosigning({
  config,
  store,
  auditLog,
  isLeader = () => true,
  log,
}: CosigningParts): Promise<OpenedCosigning | null> {
  const { witnessesFile: file, witnessQuorum: quorum } = config;
  if (file === null) return null;
  const parsed = (await linesOf('LOOKASIDE_WITNESSES', file)).map((line) => {
    const [url = '', vkey = '', ...rest] = line.split(/\s+/);
    const key = parseNoteKey(sha256, vkey);
    if (!/^https?:\/\/[^\s\\?#]+$/i.test(url) || !URL.canParse(url) || key === null || rest.length > 0) {
      throw invalid(
        `LOOKASIDE_WITNESSES: ${file} has the line ${quoted(line)}; wanted the URL of a witness, a blank and its verifier key`,
      );
    }
    requireType('LOOKASIDE_WITNESSES', key, [COSIGNATURE_V1, ML_DSA_44_COSIGNATURE]);
    return { url: url.replace(/\/+$/, ''), key };
  });
  requireFew(file, parsed);
  const clients: (RemoteWitness & WitnessClient)[] = parsed.map(({ url, key }) => {
    const at = { url, token: null, ca: null, hasProxies: config.remote.hasProxies };
    const client = connectWitness({
      at,
      onRetry: () => undefined,
      patienceMs: PATIENCE_MS,
      wait: (ms, signal) => wait(ms, undefined, { signal, ref: false }),
      random: Math.random,
    });
    return { ...client, key };
  });
  let timer: NodeJS.Timeout | undefined;
  let isClosed = false;
  const later = (ms: number, act: () => void) => {
    clearTimeout(timer);
    if (isClosed) return;
    timer = setTimeout(() => {
      if (isLeader()) act();
    }, ms).unref();
  };
  const cosigning = createCosigning({ store, witnesses: clients, quorum, later, log });
  auditLog.onPublished((head) => cosigning.published(head));
  async function publishNewest(): Promise<void> {
    const head = await store.lastCheckpoint();
    if (head !== null && isLeader()) cosigning.published(head);
  }
  const askAgain = () => {
    publishNewest().catch((err: unknown) =>
      log.warn({ err }, 'the newest head of the log cannot be read; witnesses are asked for the next one'),
    );
  };
  const head = auditLog.peekPublished();
  if (head !== null && isLeader()) cosigning.published(head);
  return {
    published: cosigning.published,
    askAgain,
    get state() {
      return cosigning.state;
    },
    idle: cosigning.idle,
    async close() {
      isClosed = true;
      clearTimeout(timer);
      await Promise.all(clients.map((client) => client[Symbol.asyncDispose]()));
      await cosigning.idle();
    },
  };
}

/** Null: this server is no witness. @throws LookasideError CONFIG_INVALID; as readKey() */
export async function openWitness({
  config,
  store,
  auditLog,
  readKey,
}: WitnessParts): Promise<Witness | null> {
  const { witnessLogsFile: file, witnessName } = config;
  if (file === null) return null;
  const logs = (await linesOf('LOOKASIDE_WITNESS_LOGS', file)).map((line) => {
    const key = parseNoteKey(sha256, line);
    if (key === null) {
      throw invalid(
        `LOOKASIDE_WITNESS_LOGS: ${file} has the line ${quoted(line)}; wanted the verifier key of a log, as GET /log/key gives it`,
      );
    }
    requireType('LOOKASIDE_WITNESS_LOGS', key, [ED25519]);
    return key;
  });
  const name = witnessName ?? `${auditLog.identity.origin.replace(/\/log$/, '')}/witness`;
  const { pem, place } = await readKey();
  const signer = noteSigner(pem, { name, type: COSIGNATURE_V1, file: place });
  return createWitness({ store, signer, logs, clock: systemClock });
}

/** The key of a data directory, which is made when it is missing. @throws LookasideError STORE_UNAVAILABLE, DISK_FULL, READ_ONLY */
export async function witnessKeyIn(data: string): Promise<{ readonly pem: string; readonly place: string }> {
  const place = join(data, WITNESS_KEY_NAME);
  const there = await readSmallFile(place);
  if (there !== null) return { pem: there, place };
  const pem = makePrivateKey();
  await writeSmallFile(place, pem, 0o600);
  return { pem, place };
}

/** What a quorum counts is different witnesses, and a head has room for the cosignature of each. */
function requireFew(file: string, witnesses: readonly { readonly key: NoteKey }[]): void {
  if (witnesses.length > MAX_WITNESSES) {
    throw invalid(
      `LOOKASIDE_WITNESSES: ${file} names ${witnesses.length} witnesses; a head has room for ${MAX_WITNESSES}`,
    );
  }
  const names = witnesses.map(({ key: { name, id } }) => `${name}+${id}`);
  const twice = names.find((name, position) => names.indexOf(name) !== position);
  if (twice !== undefined)
    throw invalid(`LOOKASIDE_WITNESSES: ${file} names the key ${twice} twice; leave one of its lines`);
}

function requireType(setting: string, key: NoteKey, types: readonly number[]): void {
  if (!types.includes(key.type))
    throw invalid(`${setting}: the key of ${key.name} is of another type than wanted here`);
  if (canVerify(key)) return;
  throw invalid(
    `${setting}: the key of ${key.name} is an ML-DSA-44 key, and this Node.js, ${process.version}, cannot verify those; run lookaside with a newer Node.js`,
  );
}

/** Without empty ones and those that begin with #. */
async function linesOf(setting: string, file: string): Promise<readonly string[]> {
  const text = await readSmallFile(file);
  if (text === null) throw invalid(`${setting}: there is no file ${file}`);
  return text
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '' && !line.startsWith('#'));
}

function invalid(message: string): LookasideError {
  return new LookasideError('CONFIG_INVALID', message);
}
