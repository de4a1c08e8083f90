// Whether the server can do its work, asked anew each time.
import type { Log } from '../domain/ports.ts';

export type CheckState = 'ok' | 'degraded' | 'failed';

export interface Check {
  readonly state: CheckState;
  /** What is wrong, in a sentence; null when nothing is. */
  readonly message: string | null;
}

export interface Health {
  readonly status: CheckState;
  readonly reads: 'ok' | 'failed';
  readonly writes: 'ok' | 'failed';
  readonly checks: Readonly<Record<string, Check>>;
}

export interface HealthSources {
  /** Rejects when the tree cannot be read. */
  readonly checkTree: () => Promise<void>;
  readonly isTreeWritable: () => Promise<boolean>;
  /** On the file system of the tree. Rejects when that cannot be told. */
  readonly freeBytes: () => Promise<number>;
  /** The same for the databases. */
  readonly dataFreeBytes: () => Promise<number>;
  /** With less, uploads are refused. */
  readonly minFreeBytes: () => number;
  readonly tree: 'owned' | 'shared';
  readonly index: () => Promise<{
    readonly isComplete: boolean;
    readonly isScanning: boolean;
    readonly error: string | null;
  }>;
  /** Null when the last write of each database succeeded. */
  readonly writerFault: () => string | null;
  readonly damaged: () => number;
  readonly isDraining: () => boolean;
  readonly wait: (ms: number) => Promise<void>;
  readonly log: Log;
}

const OK: Check = { state: 'ok', message: null };
const TREE_DEADLINE_MS = 1000;

/** `reads` is ok as long as clients get right answers, whatever else is degraded. */
export function createHealth(sources: HealthSources): () => Promise<Health> {
  /** What the tree answers, or `late`: on a disk that hangs nothing ever comes back. */
  function inTime<T>(answer: Promise<T>): Promise<T | 'late'> {
    return Promise.race([answer, sources.wait(TREE_DEADLINE_MS).then((): 'late' => 'late')]);
  }

  async function checkTree(): Promise<Check> {
    try {
      if ((await inTime(sources.checkTree())) !== 'late') return OK;
      return { state: 'failed', message: `the tree did not answer within ${TREE_DEADLINE_MS} ms` };
    } catch (error) {
      sources.log.warn({ err: error }, 'the tree cannot be read');
      return { state: 'failed', message: 'the tree cannot be read; the log says why' };
    }
  }

  async function checkIndex(): Promise<Check> {
    const { isComplete, isScanning, error } = await sources.index();
    if (error !== null)
      return { state: 'degraded', message: 'the last scan of the tree failed; it is tried again' };
    if (isComplete) return OK;
    const message = isScanning
      ? 'the index is being built; the tree is read instead'
      : 'the index is not built';
    return { state: 'degraded', message };
  }

  function checkWriter(): Check {
    const fault = sources.writerFault();
    return fault === null ? OK : { state: 'degraded', message: fault };
  }

  async function checkWritable(): Promise<Check> {
    if (sources.tree === 'shared' || (await inTime(sources.isTreeWritable())) === true) return OK;
    return { state: 'degraded', message: 'the tree cannot be written' };
  }

  async function checkSpace(): Promise<Check> {
    const ofTree = await checkFree('the tree', sources.freeBytes);
    return ofTree === OK ? checkFree('the data directory', sources.dataFreeBytes) : ofTree;
  }

  async function checkFree(place: string, ask: () => Promise<number>): Promise<Check> {
    try {
      const freeBytes = await inTime(ask());
      const minFreeBytes = sources.minFreeBytes();
      if (freeBytes === 'late' || freeBytes >= minFreeBytes) return OK;
      const message = `${freeBytes} bytes are free for ${place}; below ${minFreeBytes} (LOOKASIDE_MIN_FREE) uploads are refused`;
      return { state: 'degraded', message };
    } catch (error) {
      sources.log.warn({ err: error }, `the free space of ${place} cannot be told`);
      return OK; // a tree that has gone, or hangs, is told by its own check
    }
  }

  function checkDamage(): Check {
    const count = sources.damaged();
    if (count === 0) return OK;
    return { state: 'degraded', message: `${count} signature files are damaged; see: lookaside fsck` };
  }

  return async () => {
    const checks = {
      tree: await checkTree(),
      index: await checkIndex(),
      writer: checkWriter(),
      writable: await checkWritable(),
      space: await checkSpace(),
      damage: checkDamage(),
      draining: sources.isDraining()
        ? ({ state: 'degraded', message: 'the server is stopping' } satisfies Check)
        : OK,
    };
    const reads = checks.tree.state === 'ok' ? 'ok' : 'failed';
    const canWrite = [checks.writer, checks.writable, checks.space, checks.tree, checks.draining].every(
      ({ state }) => state === 'ok',
    );
    const isDegraded = Object.values(checks).some(({ state }) => state !== 'ok');
    const status = reads === 'failed' ? 'failed' : isDegraded ? 'degraded' : 'ok';
    return { status, reads, writes: canWrite ? 'ok' : 'failed', checks };
  };
}
