// Whether the server can do its work, checked anew at each request.
import type { Log } from '../domain/ports.ts';

export type CheckState = 'ok' | 'degraded' | 'failed';

export interface Check {
  readonly state: CheckState;
  /** What is wrong, in a sentence; null when nothing is wrong. */
  readonly message: string | null;
}

export interface Health {
  readonly status: CheckState;
  readonly reads: 'ok' | 'failed';
  readonly writes: 'ok' | 'failed';
  readonly checks: Readonly<Record<string, Check>>;
}

export interface HealthSources {
  /** At least one. */
  readonly sites: readonly SiteSources[];
  /** For the databases, as freeBytes for a tree. */
  readonly dataFreeBytes: () => Promise<number>;
  /** With fewer free bytes, uploads are refused. */
  readonly minFreeBytes: () => number;
  /** Null when the last write of each database succeeded. */
  readonly writerFault: () => string | null;
  /** Null when all reader processes answer. Left out: none are wanted. */
  readonly readersFault?: () => string | null;
  readonly isDraining: () => boolean;
  readonly wait: (ms: number) => Promise<void>;
  readonly log: Log;
}

export interface SiteSources {
  readonly name: string;
  readonly tree: 'owned' | 'shared';
  /** Rejects when the tree cannot be read. */
  readonly checkTree: () => Promise<void>;
  readonly isTreeWritable: () => Promise<boolean>;
  /** On the file system of the tree. Rejects when that cannot be told. */
  readonly freeBytes: () => Promise<number>;
  readonly index: () => Promise<{
    readonly isComplete: boolean;
    readonly isScanning: boolean;
    readonly error: string | null;
  }>;
  /** Why the tree takes no more writes; null while it does. */
  readonly fault: () => string | null;
  readonly damaged: () => number;
}

const OK: Check = { state: 'ok', message: null };
const TREE_DEADLINE_MS = 1000;

/** `reads` is ok as long as clients get right answers from every site, whatever else is degraded. */
export function createHealth(sources: HealthSources): () => Promise<Health> {
  /** The tree's answer, or `late`: a hanging disk never answers. */
  function inTime<T>(answer: Promise<T>): Promise<T | 'late'> {
    return Promise.race([answer, sources.wait(TREE_DEADLINE_MS).then((): 'late' => 'late')]);
  }

  /** The worst of what is found in the sites. */
  async function ofSites(check: (site: SiteSources) => Check | Promise<Check>): Promise<Check> {
    const checked = await Promise.all(sources.sites.map(async (site) => ({ site, ...(await check(site)) })));
    const unwell = checked.filter(({ state }) => state !== 'ok');
    if (unwell.length === 0) return OK;
    // where there is one site, its name tells nothing
    const messages = unwell.map(({ site, message }) =>
      checked.length === 1 ? message : `${site.name}: ${message}`,
    );
    const state = unwell.some((one) => one.state === 'failed') ? 'failed' : 'degraded';
    return { state, message: messages.join('; ') };
  }

  async function checkTree(site: SiteSources): Promise<Check> {
    try {
      if ((await inTime(site.checkTree())) !== 'late') return OK;
      return { state: 'failed', message: `the tree did not answer within ${TREE_DEADLINE_MS} ms` };
    } catch (error) {
      sources.log.warn({ site: site.name, err: error }, 'the tree cannot be read');
      return { state: 'failed', message: 'the tree cannot be read; the log says why' };
    }
  }

  async function checkIndex({ index }: SiteSources): Promise<Check> {
    const { isComplete, isScanning, error } = await index();
    if (error !== null)
      return { state: 'degraded', message: 'the last scan of the tree failed; it is tried again' };
    if (isComplete) return OK;
    const message = isScanning
      ? 'the index is being built; the tree is read instead'
      : 'the index is not built';
    return { state: 'degraded', message };
  }

  async function checkWriter(): Promise<Check> {
    const trees = await ofSites(({ fault }) => degradedBy(fault()));
    return trees === OK ? degradedBy(sources.writerFault()) : trees;
  }

  async function checkWritable({ tree, isTreeWritable }: SiteSources): Promise<Check> {
    if (tree === 'shared' || (await inTime(isTreeWritable())) === true) return OK;
    return { state: 'degraded', message: 'the tree cannot be written' };
  }

  async function checkSpace(): Promise<Check> {
    const trees = await ofSites(({ freeBytes }) => checkFree('the tree', freeBytes));
    return trees === OK ? checkFree('the data directory', sources.dataFreeBytes) : trees;
  }

  async function checkFree(place: string, ask: () => Promise<number>): Promise<Check> {
    try {
      const freeBytes = await inTime(ask());
      const minFreeBytes = sources.minFreeBytes();
      if (freeBytes === 'late' || freeBytes >= minFreeBytes) return OK;
      const message = `${freeBytes} bytes are free for ${place}; below ${minFreeBytes} (LOOKASIDE_MIN_FREE) uploads are refused`;
      return { state: 'degraded', message };
    } catch (error) {
      sources.log.warn({ err: error }, `the free space of ${place} is not known`);
      return OK; // the check of the tree reports a tree that is gone or hangs
    }
  }

  function checkDamage({ damaged }: SiteSources): Check {
    const count = damaged();
    if (count === 0) return OK;
    return { state: 'degraded', message: `${count} signature files are damaged; see: lookaside fsck` };
  }

  return async () => {
    const checks = {
      tree: await ofSites(checkTree),
      index: await ofSites(checkIndex),
      writer: await checkWriter(),
      writable: await ofSites(checkWritable),
      space: await checkSpace(),
      damage: await ofSites(checkDamage),
      ...(sources.readersFault === undefined ? {} : { readers: degradedBy(sources.readersFault()) }),
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

function degradedBy(fault: string | null): Check {
  return fault === null ? OK : { state: 'degraded', message: fault };
}
