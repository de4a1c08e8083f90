// Sends signatures in batches: packed by image, in order, and tried again where that may help.
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

/** A part, and the callback for its result. */
export interface Sendable extends BatchPart {
  readonly settle: (result: BatchResult) => void;
}

export interface SendOptions {
  readonly force: boolean;
  /** Once aborted, no further batch begins. */
  readonly signal: AbortSignal;
}

const BATCHES_AT_ONCE = 2;

/** How long to try again with parts that the server could not handle at that moment. */
const PATIENCE_MS = 60_000;

/** Refusals of a part that say nothing about the part itself. */
export const PASSING_CODES: ReadonlySet<ErrorCode> = new Set(['BUSY', 'STORE_UNAVAILABLE', 'INDEX_UNUSABLE']);

/** Refusals of a batch that half of the batch may not meet. For a batch of one file, they refuse that file. */
const HALVED_CODES: ReadonlySet<ErrorCode> = new Set(['TOO_SLOW', 'TOO_LARGE', 'REQUEST_INVALID']);

export interface Sender {
  /**
   * Sends the parts of each image in their order, never two batches of one image at once. Parts that are not settled when
   * this resolves were not sent, because the signal was aborted. @throws the refusal of a batch by the server, once the
   * running batches have ended
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

  /** One result for each part, in their order; `too much` when smaller batches may work. */
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

/** Batches that must be sent one after the other. */
type Run = readonly (readonly Sendable[])[];

/**
 * Packs whole images into a batch as long as they fit. An image that is too large for one batch gets batches of its own, one
 * after the other.
 */
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
