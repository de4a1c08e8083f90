// This server as a witness of other logs (C2SP tlog-witness). It cosigns a head only if the head goes on from the last one that
// it has cosigned, so the operator of that log cannot show two histories.

import { fromBase64 } from '../domain/base64.ts';
import { isDecimal, parseCheckpoint } from '../domain/checkpoint.ts';
import type { LogStore } from '../domain/log.ts';
import { isConsistent } from '../domain/merkle.ts';
import type { Clock } from '../domain/ports.ts';
import { formatNote, formatSignatureLine, type NoteKey, verdictOf } from '../domain/signed-note.ts';
import { type NoteSigner, sha256, verifySignature } from './note-keys.ts';

/** The answers of C2SP tlog-witness, "add-checkpoint". */
export type WitnessAnswer =
  | { readonly outcome: 'cosigned'; readonly lines: string }
  | { readonly outcome: 'malformed' | 'unknown-log' | 'not-signed' | 'inconsistent'; readonly why: string }
  /** Another head was cosigned last. */
  | { readonly outcome: 'conflict'; readonly size: number };

export interface Witness {
  readonly key: NoteKey;
  /** Two requests at once for one log are answered one after the other. */
  addCheckpoint(request: string): Promise<WitnessAnswer>;
  /** The last cosigned head of the log with this hash of its origin in hex; null when there is none. */
  checkpoint(originHash: string): Promise<string | null>;
}

export interface WitnessOptions {
  readonly store: Pick<LogStore, 'witnessed' | 'witness'>;
  readonly signer: NoteSigner;
  /** Those that are witnessed, by the keys that sign them. */
  readonly logs: readonly NoteKey[];
  readonly clock: Clock;
}

const MAX_PROOF_LINES = 63;

interface AddRequest {
  readonly oldSize: number;
  readonly proof: readonly Uint8Array[];
  readonly checkpoint: NonNullable<ReturnType<typeof parseCheckpoint>>;
}

export function createWitness({ store, signer, logs, clock }: WitnessOptions): Witness {
  async function addCheckpoint(text: string): Promise<WitnessAnswer> {
    const request = parseRequest(text);
    if (request === null)
      return { outcome: 'malformed', why: 'wanted lines as of C2SP tlog-witness, add-checkpoint' };
    const { oldSize, checkpoint } = request;
    const keys = logs.filter(({ name }) => name === checkpoint.origin);
    if (keys.length === 0)
      return { outcome: 'unknown-log', why: `the log ${checkpoint.origin} is not witnessed here` };
    const verdicts = keys.map((key) => verdictOf(checkpoint.note, key, verifySignature).verdict);
    if (verdicts.includes('bad') || !verdicts.includes('good')) {
      return {
        outcome: 'not-signed',
        why: 'the checkpoint is not signed by the key that is known of its log',
      };
    }
    if (oldSize > checkpoint.size)
      return { outcome: 'malformed', why: 'the old size is larger than the checkpoint' };
    return cosign(request);
  }

  async function cosign({ oldSize, proof, checkpoint }: AddRequest): Promise<WitnessAnswer> {
    const { origin, size, root, note } = checkpoint;
    const last = await store.witnessed(origin);
    const lastSize = last?.size ?? 0;
    if (lastSize !== oldSize) return { outcome: 'conflict', size: lastSize };
    const fromRoot = last?.root ?? sha256();
    if (!isConsistent(sha256, { from: oldSize, fromRoot, size, root, proof })) {
      return {
        outcome: 'inconsistent',
        why: `the tree of ${size} entries does not go on from the one of ${oldSize} that was cosigned last`,
      };
    }
    const at = clock.now();
    const cosignature = signer.cosign(note.text, Math.floor(at.getTime() / 1000));
    const own = note.signatures.filter(({ name }) => name === origin);
    const cosigned = formatNote({ text: note.text, signatures: [...own, cosignature] });
    // compared again with what is recorded, in one transaction
    const { isRecorded, size: recorded } = await store.witness(origin, oldSize, {
      size,
      root,
      note: cosigned,
      at,
    });
    if (!isRecorded) return { outcome: 'conflict', size: recorded };
    return { outcome: 'cosigned', lines: formatSignatureLine(cosignature) };
  }

  return {
    key: signer.key,
    addCheckpoint,
    async checkpoint(originHash) {
      const log = logs.find(
        ({ name }) => Buffer.from(sha256(Buffer.from(name))).toString('hex') === originHash,
      );
      return log === undefined ? null : ((await store.witnessed(log.name))?.note ?? null);
    },
  };
}

function parseRequest(text: string): AddRequest | null {
  const end = text.indexOf('\n\n');
  const [first = '', ...lines] = text.slice(0, Math.max(0, end)).split('\n');
  const oldSize = first.replace(/^old /, '');
  const checkpoint = end === -1 ? null : parseCheckpoint(text.slice(end + 2));
  const proof = lines.map(fromBase64);
  if (!first.startsWith('old ') || !isDecimal(oldSize) || checkpoint === null) return null;
  if (lines.length > MAX_PROOF_LINES || !proof.every((hash) => hash?.length === 32)) return null;
  return { oldSize: Number(oldSize), proof: proof.filter((hash) => hash !== null), checkpoint };
}
