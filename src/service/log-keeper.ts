// Keeps the log over the audit events: signs its head soon after events, gives out tiles, bundles and checkpoints.
import { checkpointText, entryBundle, type TilePlace, type TreeHead, widthIn } from '../domain/checkpoint.ts';
import { LookasideError } from '../domain/errors.ts';
import type { LogIdentity, LogStore, StoredCheckpoint } from '../domain/log.ts';
import { areEqual } from '../domain/merkle.ts';
import type { Clock, Log } from '../domain/ports.ts';
import { formatNote, formatNoteKey } from '../domain/signed-note.ts';
import { type MakeEvent, SERVER } from './audit.ts';
import { describeHead, findDisagreement, goodSize, rootAt } from './log-check.ts';
import type { NoteSigner } from './note-keys.ts';

export interface LogKeeper {
  readonly identity: LogIdentity;
  /** What did not agree and was accepted at this start; null when nothing was. */
  readonly accepted: string | null;
  /** The newest checkpoint that was published, perhaps without cosignatures that have come since. */
  peekPublished(): StoredCheckpoint | null;
  /** The newest checkpoint, with all its cosignatures; null before the first. @throws STORE_UNAVAILABLE */
  checkpoint(): Promise<StoredCheckpoint | null>;
  /** The tile or bundle, as far as published checkpoints reach; null beyond. @throws STORE_UNAVAILABLE */
  tile(place: TilePlace): Promise<Uint8Array | null>;
  /** An event was written: it has a checkpoint within a second. */
  noteEvent(): void;
  /** Signs what is there, unless that was done; resolves when it is published. Never throws. */
  publish(): Promise<void>;
  /** Called after each checkpoint that is published. */
  onPublished(act: (checkpoint: StoredCheckpoint) => void): void;
  /** The last checkpoint. */
  stop(): Promise<void>;
}

/** The last checkpoint where a rollback of the data directory does not reach it. */
export interface CheckpointFile {
  readonly path: string;
  /** Null when there is none yet. */
  read(): Promise<string | null>;
  write(note: string): Promise<void>;
}

export interface LogKeeperOptions {
  readonly store: LogStore;
  readonly signer: NoteSigner;
  readonly file: CheckpointFile | null;
  /** To go on although the tree is not what was signed before. */
  readonly acceptRollback: boolean;
  readonly makeEvent: MakeEvent;
  readonly clock: Clock;
  readonly log: Log;
  /** Whether this process signs now, where several share a log; what others have signed is read then. Left out: it always does. */
  readonly isLeader?: () => boolean;
}

/** After an event; a second is promised, and signing and syncing take their time. */
const PUBLISH_AFTER_MS = 250;
const TRY_AGAIN_MS = 1000;

/** @throws LookasideError LOG_MISMATCH unless events, tree and checkpoints agree, or that was accepted */
export async function openLogKeeper(options: LogKeeperOptions): Promise<LogKeeper> {
  const accepted = await agree(options);
  const last = await options.store.lastCheckpoint();
  const keeper = createLogKeeper(options, { accepted, last });
  const published = keeper.publish();
  // what was signed before is given out meanwhile: another process may hold the lock of state.db for half a minute, and reads must not
  // wait for it
  if (last === null || accepted !== null || !isOf(keeper.identity, last)) await published;
  return keeper;
}

async function agree({
  store,
  signer,
  file,
  acceptRollback,
  makeEvent,
  clock,
  log,
}: LogKeeperOptions): Promise<string | null> {
  const note = (await file?.read()) ?? null;
  const disagreement = await findDisagreement(
    store,
    file === null || note === null ? null : { place: file.path, note },
  );
  if (disagreement !== null && !acceptRollback) {
    throw new LookasideError(
      'LOG_MISMATCH',
      `the log of audit events does not agree with what was signed: ${disagreement}. lookaside audit verify names every difference. Put the right state.db back from a backup; or, to go on with what is there, start once with --accept-rollback, which is recorded for ever`,
    );
  }
  await beginIfNew({ store, signer, makeEvent, clock });
  if (disagreement !== null) {
    const event = makeEvent({ action: 'log-rollback', result: 'accepted', reason: disagreement }, SERVER);
    await store.acceptRollback(await goodSize(store), event);
    log.warn(
      { found: disagreement },
      'the log goes on from a tree that is not what was signed before, as --accept-rollback asked for',
    );
  } else if (acceptRollback) {
    log.warn(
      {},
      '--accept-rollback was not needed: the log agrees with what was signed; leave it out from now on',
    );
  }
  return disagreement;
}

async function beginIfNew({
  store,
  signer,
  makeEvent,
  clock,
}: Pick<LogKeeperOptions, 'store' | 'signer' | 'makeEvent' | 'clock'>): Promise<void> {
  const identity = identityOf(signer);
  const last = (await store.identities()).at(-1);
  if (last?.vkey === identity.vkey) return;
  const event =
    last === undefined
      ? null
      : makeEvent(
          { action: 'log-identity', result: 'changed', reason: `${last.vkey} became ${identity.vkey}` },
          SERVER,
        );
  await store.begin(identity, clock.now(), event);
}

function identityOf({ key }: NoteSigner): LogIdentity {
  return { origin: key.name, vkey: formatNoteKey(key) };
}

function isOf({ origin }: LogIdentity, { note }: StoredCheckpoint): boolean {
  return note.startsWith(`${origin}\n`);
}

interface Opened {
  readonly accepted: string | null;
  readonly last: StoredCheckpoint | null;
}

function createLogKeeper(options: LogKeeperOptions, { accepted, last }: Opened): LogKeeper {
  const { store, signer, file, clock, log } = options;
  const identity = identityOf(signer);
  const listeners: ((checkpoint: StoredCheckpoint) => void)[] = [];
  let published = last;
  let timer: NodeJS.Timeout | null = null;
  let running: Promise<void> = Promise.resolve();
  let isStopped = false;
  /** Whether the file has the newest. */
  let isCopied = file === null;

  function schedule(ms: number): void {
    if (isStopped || timer !== null) return;
    timer = setTimeout(() => {
      timer = null;
      void publish();
    }, ms).unref();
  }

  function publish(): Promise<void> {
    running = running.then(publishOnce).catch((error: unknown) => {
      log.error(
        { err: error },
        'no checkpoint could be made of the newest audit events; this is tried again',
      );
      schedule(TRY_AGAIN_MS);
    });
    return running;
  }

  async function publishOnce(): Promise<void> {
    if (options.isLeader?.() === false) {
      published = await store.lastCheckpoint();
      return;
    }
    // of an earlier leader
    if (options.isLeader !== undefined) published = await store.lastCheckpoint();
    const { hashes: size } = await store.extent();
    if (published !== null && published.size >= size && isOf(identity, published)) {
      if (!isCopied) await keepCopy(published.note);
      return;
    }
    if (published !== null) await refuseOtherHistory(published);
    const root = await rootAt(store, size);
    if (root === null) throw new Error(`hashes of the tree of ${size} events are missing`);
    const text = checkpointText(identity.origin, { size, root });
    const note = formatNote({ text, signatures: [signer.sign(text)] });
    await store.addCheckpoint({ size, root, note, at: clock.now() });
    published = await store.lastCheckpoint();
    if (published === null) throw new Error('the checkpoint that was written is not there');
    await keepCopy(note);
    for (const act of listeners) act(published);
  }

  /** What was signed once binds whatever is signed later. */
  async function refuseOtherHistory(head: TreeHead): Promise<void> {
    const root = await rootAt(store, head.size);
    if (root !== null && areEqual(root, head.root)) return;
    throw new Error(
      `the tree is no longer what was signed (${describeHead(head)}): run lookaside audit verify`,
    );
  }

  async function keepCopy(note: string): Promise<void> {
    try {
      await file?.write(note);
      isCopied = true;
    } catch (error) {
      isCopied = false;
      log.error(
        { err: error, path: file?.path },
        'the last checkpoint could not be written there; the next one is tried again',
      );
    }
  }

  async function tile({ level, number, width }: TilePlace): Promise<Uint8Array | null> {
    const isWithin = () => published !== null && widthIn(published.size, level ?? 0, number) >= width;
    // who leads signs, and this one may not have heard of the newest checkpoint, which any node gives out
    if (!isWithin() && options.isLeader !== undefined) published = await store.lastCheckpoint();
    if (!isWithin()) return null;
    const from = number * 256;
    if (level !== null) {
      const hashes = await store.hashes(level, from, width);
      return hashes.length === width ? Buffer.concat(hashes) : null;
    }
    const leaves = new Map(
      (await store.events(from + 1, width)).map(({ seq, leaf }) => [seq, Buffer.from(leaf)]),
    );
    // an event that is gone has no entry, which is not what its hash says
    return entryBundle(Array.from({ length: width }, (_, n) => leaves.get(from + n + 1) ?? Buffer.alloc(0)));
  }

  return {
    identity,
    accepted,
    peekPublished: () => published,
    checkpoint: () => store.lastCheckpoint(),
    tile,
    noteEvent: () => schedule(PUBLISH_AFTER_MS),
    publish,
    onPublished: (act) => void listeners.push(act),
    async stop() {
      isStopped = true;
      if (timer !== null) clearTimeout(timer);
      await publish();
    },
  };
}
