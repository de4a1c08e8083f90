// Cosignatures of witnesses on our own heads. They come after a head is published, and nothing waits for them.

import { toBase64 } from '../domain/base64.ts';
import { parseCheckpoint } from '../domain/checkpoint.ts';
import type { LogStore, StoredCheckpoint } from '../domain/log.ts';
import { consistencyProof } from '../domain/merkle.ts';
import type { Log } from '../domain/ports.ts';
import {
  formatNote,
  type NoteKey,
  type NoteSignature,
  parseSignatureLine,
  verdictOf,
} from '../domain/signed-note.ts';
import { hashesOf } from './log-check.ts';
import { sha256, verifySignature } from './note-keys.ts';

/** A witness elsewhere, as C2SP tlog-witness describes it. */
export interface WitnessClient {
  readonly key: NoteKey;
  /** The lines of signatures, or the size of the head that it cosigned last. @throws LookasideError */
  addCheckpoint(request: string): Promise<{ readonly lines: string } | { readonly size: number }>;
}

export interface CosigningOptions {
  readonly store: LogStore;
  readonly witnesses: readonly WitnessClient[];
  /** How many must have cosigned a head; fewer are told, and not waited for. */
  readonly quorum: number;
  /** Calls `act` after that time, unless it is closed until then. */
  readonly later: (ms: number, act: () => void) => void;
  readonly log: Log;
}

/** A quiet log has no next head for days: a witness that was away is asked again, each time after twice the time. */
const FIRST_RETRY_MS = 60_000;
const LAST_RETRY_MS = 3_600_000;

export interface Cosigning {
  /**
   * Asks all witnesses that have not cosigned it yet for the newest head; while one is asked, later heads wait and the newest of them
   * is next.
   */
  published(checkpoint: StoredCheckpoint): void;
  /** How many witnesses have cosigned the newest head that each was asked for. */
  readonly state: { readonly witnesses: number; readonly cosigned: number };
  /** Resolves when nothing is under way. */
  idle(): Promise<void>;
}

export function createCosigning({ store, witnesses, quorum, later, log }: CosigningOptions): Cosigning {
  /** The size of the last head that each has cosigned, as far as it is known. */
  const sizes = new Map<WitnessClient, number>();
  const good = new Set<WitnessClient>();
  let newest: StoredCheckpoint | null = null;
  let running: Promise<void> | null = null;
  let retries = 0;

  async function run(): Promise<void> {
    for (let head = newest; head !== null; head = newest) {
      newest = null;
      const signed = witnesses.filter((witness) => hasSigned(witness, head));
      const asked = witnesses.filter((witness) => !signed.includes(witness));
      const answers = await Promise.all(asked.map((witness) => ask(witness, head)));
      const signatures = answers.filter((signature) => signature !== null);
      const isKept = signatures.length === 0 || (await keep(head, signatures));
      const cosigned = signed.length + (isKept ? signatures.length : 0);
      if (cosigned < quorum) {
        const counts = { size: head.size, cosigned, quorum };
        log.warn(counts, 'fewer witnesses than LOOKASIDE_WITNESS_QUORUM have cosigned a head of the log');
      }
      if (cosigned < witnesses.length) retry(head.id);
    }
  }

  /** A start, and a second try, bring a head that some have cosigned. */
  function hasSigned(witness: WitnessClient, { note, size }: StoredCheckpoint): boolean {
    const parsed = parseCheckpoint(note);
    if (parsed === null || verdictOf(parsed.note, witness.key, verifySignature).verdict !== 'good')
      return false;
    sizes.set(witness, size);
    good.add(witness);
    return true;
  }

  /** Unless there is another head by then, which has its own tries. */
  function retry(id: number): void {
    later(Math.min(FIRST_RETRY_MS * 2 ** retries, LAST_RETRY_MS), () => {
      void store.lastCheckpoint().then(
        (head) => {
          if (head?.id !== id || newest !== null) return;
          retries += 1;
          begin(head);
        },
        (error: unknown) => {
          log.warn({ err: error }, 'the last head of the log could not be read for its witnesses');
          retry(id);
        },
      );
    });
  }

  async function ask(witness: WitnessClient, head: StoredCheckpoint): Promise<NoteSignature | null> {
    try {
      const signature = await cosignatureOf(witness, head);
      good.add(witness);
      return signature;
    } catch (error) {
      good.delete(witness);
      log.warn(
        { err: error, witness: witness.key.name, size: head.size },
        'a witness has not cosigned the newest head of the log; it is asked again after a while, or with the next one',
      );
      return null;
    }
  }

  async function cosignatureOf(witness: WitnessClient, head: StoredCheckpoint): Promise<NoteSignature> {
    for (let tries = 0; tries < 2; tries += 1) {
      const answer = await witness.addCheckpoint(await requestOf(head, sizes.get(witness) ?? 0));
      if ('size' in answer) {
        if (answer.size > head.size)
          throw new Error(`it has cosigned ${answer.size} entries, and the log has ${head.size}`);
        sizes.set(witness, answer.size);
        continue;
      }
      const signature = verified(witness.key, head, answer.lines);
      if (signature === null) throw new Error('its answer is not a cosignature by its key');
      sizes.set(witness, head.size);
      return signature;
    }
    throw new Error('it names another size each time');
  }

  async function requestOf({ note, size }: StoredCheckpoint, from: number): Promise<string> {
    const proof = from === 0 ? [] : await consistencyProof(sha256, hashesOf(store), { from, size });
    return `old ${from}\n${proof.map((hash) => `${toBase64(hash)}\n`).join('')}\n${note}`;
  }

  /** False: they are asked for again, as where a witness was away. */
  async function keep(head: StoredCheckpoint, signatures: readonly NoteSignature[]): Promise<boolean> {
    try {
      await add(head, signatures);
      return true;
    } catch (error) {
      log.error({ err: error, size: head.size }, 'cosignatures of the log could not be kept');
      return false;
    }
  }

  async function add(head: StoredCheckpoint, signatures: readonly NoteSignature[]): Promise<void> {
    const note = parseCheckpoint(head.note)?.note;
    if (note === undefined) throw new Error('a published head is not a checkpoint');
    // a witness that is asked a second time, after a restart, has one cosignature all the same
    const others = note.signatures.filter(
      (one) => !signatures.some(({ name, id }) => name === one.name && id === one.id),
    );
    const cosigned = formatNote({ ...note, signatures: [...others, ...signatures] });
    // no server starts on a last head that it cannot read
    if (parseCheckpoint(cosigned) === null)
      throw new Error(`a head with ${others.length + signatures.length} signatures cannot be read`);
    await store.cosign(head.id, cosigned);
  }

  function begin(head: StoredCheckpoint): void {
    newest = head;
    running ??= run()
      .catch((error: unknown) => log.error({ err: error }, 'the witnesses of the log could not be asked'))
      .finally(() => {
        running = null;
        // a head that came while this one failed
        if (newest !== null) begin(newest);
      });
  }

  return {
    published(checkpoint) {
      retries = 0;
      begin(checkpoint);
    },
    get state() {
      return { witnesses: witnesses.length, cosigned: good.size };
    },
    async idle() {
      while (running !== null) await running;
    },
  };
}

function verified(key: NoteKey, { note }: StoredCheckpoint, lines: string): NoteSignature | null {
  const checkpoint = parseCheckpoint(note);
  if (checkpoint === null) return null;
  for (const line of lines.split('\n')) {
    const signature = parseSignatureLine(line);
    if (signature === null || signature.name !== key.name || signature.id !== key.id) continue;
    const verdict = verdictOf({ text: checkpoint.note.text, signatures: [signature] }, key, verifySignature);
    if (verdict.verdict === 'good') return signature;
  }
  return null;
}
