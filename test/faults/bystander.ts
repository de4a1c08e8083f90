// Somebody who reads while others do their worst: what he must see of it, and what the server may take of the machine.
import assert from 'node:assert/strict';
import type { LookasideServer } from '../clients/server.ts';
import { sha256Hex } from '../store/lay.ts';
import { startAsking } from './asking.ts';
import { memoryOf } from './memory.ts';
import { percentile } from './percentile.ts';
import { isFull } from './promise.ts';

export const MIB = 1024 * 1024;

const READ_PAUSE_MS = 20;
const READ_MS = 100;
const MEMORY_MIB = 512;

/** The figures, as a promise wants them. */
export const UNHARMED = `memory ≤ ${MEMORY_MIB} MiB, others read right, p99 ≤ ${READ_MS} ms`;

export interface Bystander extends AsyncDisposable {
  /**
   * Ends the reading: every answer must have been right, and the server's memory within its limit. How long reads took
   * is judged in the full run alone, on a machine with nothing else to do. The figures that were seen.
   */
  end(): Promise<string>;
}

/** Reads the signature at `target` again and again; it has these bytes. */
export function openBystander(server: LookasideServer, target: string, bytes: Uint8Array): Bystander {
  const asking = startAsking({ port: server.port, target, pauseMs: READ_PAUSE_MS });
  return {
    async end() {
      const reads = await asking.end();
      assert.ok(reads.length > 0);
      for (const { status, sha256 } of reads) assert.deepEqual([status, sha256], [200, sha256Hex(bytes)]);
      const tookMs = reads.map((read) => read.tookMs);
      const p99Ms = percentile(tookMs, 99);
      const { peakBytes } = await memoryOf(server.pid);
      assert.ok(peakBytes > 0 && peakBytes <= MEMORY_MIB * MIB, `memory ${peakBytes} bytes`);
      if (isFull) assert.ok(p99Ms <= READ_MS, `p99 ${p99Ms} ms`);
      return `memory ${Math.round(peakBytes / MIB)} MiB at its peak, p99 ${Math.round(p99Ms)} ms of ${reads.length} reads`;
    },
    [Symbol.asyncDispose]: () => asking[Symbol.asyncDispose](),
  };
}
