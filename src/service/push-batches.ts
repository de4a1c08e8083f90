// Sending signatures in batches: packed by image, in order, tried again where that may help.
import { backoffMs } from '../domain/backoff.ts';
import { forEachConcurrently } from '../domain/concurrency.ts';
import { type ErrorCode, isLookasideError } from '../domain/errors.ts';
import { MAX_BATCH_PARTS, PACKED_BATCH_BYTES } from '../domain/limits.ts';
import type { Clock } from '../domain/ports.ts';
import type { BatchPart, BatchResult } from '../domain/receipt.ts';
import type { Remap } from '../domain/remap.ts';
import type { SignatureServer } from '../domain/remote.ts';

/** Resolves after the time, or at once when the signal is aborted. */
export type Wait = (ms: number, signal: AbortSignal) => Promise<void>;

export interface SenderOptions {
  readonly server: Pick<SignatureServer, 'uploadBatch'>;
  readonly clock: Pick<Clock, 'monotonicMs'>;
  readonly wait: Wait;
  /** From 0 to 1. */
  readonly random: () => number;
  /** Sent with each batch. */
  readonly signedFor?: readonly Remap[];
}

/** A part and who waits for what becomes of it. */
export interface Sendable extends BatchPart {
  readonly settle: (result: BatchResult) => void;
}

export interface SendOptions {
  readonly force: boolean;
  /** Once aborted no batch is begun any more. */
  readonly signal: AbortSignal;
}

const BATCHES_AT_ONCE = 2;

/** For what the server could not do with a part at that moment. */
const PATIENCE_MS = 60_000;

/** Refusals of a part that say nothing of the part. */
export const PASSING_CODES: ReadonlySet<ErrorCode> = new Set(['BUSY', 'STORE_UNAVAILABLE', 'INDEX_UNUSABLE']);

/** Refusals of a batch that half of it may escape; of a batch of one file, they are the file's. */
const HALVED_CODES: ReadonlySet<ErrorCode> = new Set(['TOO_SLOW', 'TOO_LARGE', 'REQUEST_INVALID']);

export interface Sender {
  /**
   * Sends the parts of each image in their order, never two batches of one image at once. Parts that are not settled
   * when this resolves were not sent, because the signal was aborted. @throws what the server refused a batch with,
   * once the batches under way have ended
   */
  send(images: readonly (readonly Sendable[])[], options: SendOptions): Promise<void>;
}

export function createSender({ server, clock, wait, random, signedFor = [] }: SenderOptions): Sender {
  const remaps = signedFor.length === 0 ? {} : { signedFor: signedFor.map(({ text }) => text) };

  async function send(images: readonly (readonly Sendable[])[], options: SendOptions): Promise<void> {
    await forEachConcurrently(packRuns(images), BATCHES_AT_ONCE, async (run) => {
      for (const batch of run) await sendPatiently(batch, options);
    });
  }

  async function sendPatiently(batch: readonly Sendable[], options: SendOptions): Promise<void> {
    const deadlineMs = clock.monotonicMs() + PATIENCE_MS;
    let waiting = batch;
    for (let attempt = 1; waiting.length > 0 && !options.signal.aborted; attempt += 1) {
      const results = await resultsOf(waiting, options);
      if (results === 'too much') {
        const middle = Math.ceil(waiting.length / 2);
        await sendPatiently(waiting.slice(0, middle), options);
        return sendPatiently(waiting.slice(middle), options);
      }
      const pauseMs = backoffMs(attempt, random(), null);
      const again = clock.monotonicMs() + pauseMs < deadlineMs ? results.map(isPassing) : [];
      for (const [part, { settle }] of waiting.entries()) {
        const result = results[part];
        if (result === undefined)
          throw new Error(`the server answered ${results.length} of ${waiting.length} parts`);
        if (again[part] !== true) settle(result);
      }
      waiting = waiting.filter((_, part) => again[part] === true);
      if (waiting.length > 0) await wait(pauseMs, options.signal);
    }
  }

  /** One result a part, in their order; `too much` when it may go in smaller batches. */
  async function resultsOf(
    batch: readonly Sendable[],
    { force }: SendOptions,
  ): Promise<readonly BatchResult[] | 'too much'> {
    try {
      return await server.uploadBatch(batch, { force, ...remaps });
    } catch (error) {
      if (!isLookasideError(error) || !HALVED_CODES.has(error.code)) throw error;
      if (batch.length > 1) return 'too much';
      return [{ part: 0, result: 'refused', code: error.code, message: error.message }];
    }
  }

  return { send };
}

function isPassing(result: BatchResult): boolean {
  return result.result === 'refused' && PASSING_CODES.has(result.code);
}

/** Batches that must follow one another. */
type Run = readonly (readonly Sendable[])[];

/** Images whole into one batch as long as they fit; one that fits into none gets batches of its own, one after the other. */
function packRuns(images: readonly (readonly Sendable[])[]): readonly Run[] {
  const runs: Run[] = [];
  let open: Sendable[] = [];
  const close = () => {
    if (open.length > 0) runs.push([open]);
    open = [];
  };
  for (const image of images) {
    if (!fits([...open, ...image])) close();
    if (fits(image)) open.push(...image);
    else runs.push(split(image));
  }
  close();
  return runs;
}

function split(image: readonly Sendable[]): Run {
  const batches: Sendable[][] = [];
  for (const part of image) {
    const last = batches.at(-1);
    if (last !== undefined && fits([...last, part])) last.push(part);
    else batches.push([part]);
  }
  return batches;
}

function fits(parts: readonly Sendable[]): boolean {
  return parts.length <= MAX_BATCH_PARTS && sizeBytes(parts) <= PACKED_BATCH_BYTES;
}

function sizeBytes(parts: readonly Sendable[]): number {
  return parts.reduce((sum, { bytes }) => sum + bytes.length, 0);
}
