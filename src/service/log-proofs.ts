// Proofs that one event is in the log: made from its tiles, and checked with nothing but the key of the log.
import { formatProof, parseCheckpoint, parseProof } from '../domain/checkpoint.ts';
import { LookasideError } from '../domain/errors.ts';
import type { LogReaderStore, StoredCheckpoint } from '../domain/log.ts';
import { inclusionProof, isIncluded, leafHash } from '../domain/merkle.ts';
import { type NoteKey, parseNoteKey, verdictOf } from '../domain/signed-note.ts';
import { hashesOf } from './log-check.ts';
import { sha256, verifySignature } from './note-keys.ts';

const encoder = new TextEncoder();

/** A checkpoint follows its event within a second; a slow disk takes longer. */
const LOOKS = 50;
/** A log over HTTP shows no event ahead of its checkpoint. */
const LOOKS_ANYWAY = 15;
const LOOK_EVERY_MS = 200;

export type Wait = (ms: number) => Promise<unknown>;

/**
 * The proof of the event with that number, in the form of C2SP tlog-proof, with the event as its extra data. Waits for the
 * checkpoint of a new event. @throws LookasideError NOT_FOUND, LOG_MISMATCH
 */
export async function proveEvent(store: LogReaderStore, seq: number, wait: Wait): Promise<string> {
  const checkpoint = await checkpointWith(store, seq, wait);
  const [event] = await store.events(seq, 1);
  if (event === undefined) throw noEvent(seq);
  const [index, { size, root, note }] = [seq - 1, checkpoint];
  const hashes = await inclusionProof(sha256, hashesOf(store), { index, size });
  const entry = encoder.encode(event.leaf);
  if (!isIncluded(sha256, { leafHash: leafHash(sha256, entry), index, size, proof: hashes, root })) {
    throw new LookasideError(
      'LOG_MISMATCH',
      `event ${seq} cannot be proved: it, or the tree, is not what the checkpoint of ${size} events was signed over; lookaside audit verify names what was changed`,
    );
  }
  return formatProof({ index, entry, hashes, checkpoint: note });
}

async function checkpointWith(store: LogReaderStore, seq: number, wait: Wait): Promise<StoredCheckpoint> {
  for (let looks = 1; ; looks += 1) {
    const checkpoint = await store.checkpointHolding(seq);
    if (checkpoint !== null) return checkpoint;
    const { lastSeq, hashes } = await store.extent();
    const isToCome = looks < LOOKS_ANYWAY || Math.max(lastSeq, hashes) >= seq;
    if (!isToCome || looks === LOOKS) throw noEvent(seq);
    await wait(LOOK_EVERY_MS);
  }
}

function noEvent(seq: number): LookasideError {
  return new LookasideError(
    'NOT_FOUND',
    `the log has no event ${seq} under a checkpoint; wanted the number of an audit event, as auditSeq of an upload's answer tells it`,
  );
}

export interface CheckOptions {
  /** The key of the log, as a vkey. */
  readonly key: string;
  /** The keys of witnesses, as vkeys: each must have cosigned. */
  readonly witnesses: readonly string[];
}

export interface CheckedProof {
  readonly origin: string;
  readonly index: number;
  /** The size of the tree that the checkpoint is about. */
  readonly size: number;
  /** The event as it is in the log: JSON, each member text, number or null. */
  readonly event: Readonly<Record<string, unknown>>;
  readonly cosigned: readonly { readonly witness: string; readonly at: Date | null }[];
}

/** What the proof proves. @throws LookasideError PROOF_INVALID; CONFIG_INVALID for text that is no key */
export function checkProof(text: string, { key, witnesses }: CheckOptions): CheckedProof {
  const logKey = keyOf(key, 'the key of the log');
  const proof = parseProof(text);
  if (proof === null)
    throw invalid('this is not a proof; wanted a file that lookaside audit prove has written');
  const checkpoint = parseCheckpoint(proof.checkpoint);
  if (checkpoint === null)
    throw invalid(
      'the checkpoint in it cannot be read; wanted a file that lookaside audit prove has written',
    );
  const { origin, size, root, note } = checkpoint;
  if (origin !== logKey.name)
    throw invalid(`it is of the log ${origin}, and the key is that of ${logKey.name}`);
  const { verdict } = verdictOf(note, logKey, verifySignature);
  if (verdict !== 'good') {
    throw invalid(
      verdict === 'bad'
        ? 'the signature of the checkpoint is wrong'
        : 'its checkpoint is not signed by that key of the log',
    );
  }
  const { index, entry, hashes } = proof;
  if (!isIncluded(sha256, { leafHash: leafHash(sha256, entry), index, size, proof: hashes, root })) {
    throw invalid('the event in it is not in the tree that was signed');
  }
  const cosigned = witnesses.map((vkey) => {
    const witness = keyOf(vkey, 'the key of a witness');
    const verdict = verdictOf(note, witness, verifySignature);
    if (verdict.verdict !== 'good') throw invalid(`${witness.name} has not cosigned its checkpoint`);
    return {
      witness: witness.name,
      at: verdict.atSeconds === null ? null : new Date(verdict.atSeconds * 1000),
    };
  });
  return { origin, index, size, event: parseEvent(entry), cosigned };
}

function keyOf(vkey: string, what: string): NoteKey {
  const key = parseNoteKey(sha256, vkey);
  if (key !== null) return key;
  throw new LookasideError(
    'CONFIG_INVALID',
    `${what} is not a verifier key; wanted one like example.com/log+1a2b3c4d+AQ…, as GET /log/key of the server gives it`,
  );
}

function parseEvent(entry: Uint8Array): Readonly<Record<string, unknown>> {
  try {
    const event: unknown = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(entry));
    if (typeof event === 'object' && event !== null && !Array.isArray(event)) return { ...event };
  } catch {
    // told below: it is in the log all the same, but no event of ours
  }
  throw invalid('what it proves is not an audit event');
}

function invalid(why: string): LookasideError {
  return new LookasideError('PROOF_INVALID', `the proof proves nothing: ${why}`);
}
