// Keeping the tree of a site and the index true to each other: the scan at start and at intervals, reindex, fsck.
import { isLookasideError, LookasideError } from '../domain/errors.ts';
import type { Clock, Log, SignatureIndex } from '../domain/ports.ts';
import { type Problem, problemText } from '../domain/tree.ts';
import type {
  FsckFinding,
  FsckOptions,
  FsckResult,
  OnProgress,
  ReindexOptions,
  TreeCounts,
} from '../domain/upkeep.ts';

export interface WalkOptions {
  /** Called for every image. */
  readonly onProgress?: OnProgress | undefined;
  /** When aborted, it ends the walk with its reason before another folder is read. */
  readonly signal: AbortSignal;
}

/** What upkeep needs from store/scan.ts. */
export interface TreeScanner<Found extends Problem & { readonly isDamage: boolean }> {
  scan(site: string, options: WalkOptions): Promise<TreeCounts>;
  findProblems(site: string, options: WalkOptions): AsyncIterable<Found>;
  repair(problem: Found): Promise<boolean>;
}

export interface UpkeepOptions<Found extends Problem & { readonly isDamage: boolean }> {
  readonly site: string;
  readonly scanner: TreeScanner<Found>;
  readonly index: SignatureIndex;
  /** Resolves once it is known whether the existing index is sound: until then it counts as incomplete. */
  readonly whenIndexChecked: () => Promise<void>;
  readonly clock: Clock;
  readonly log: Log;
  /** Null: no scans at intervals. */
  readonly scanIntervalMs: () => number | null;
  /** Runs the walks of all sites one after another: two at once would only slow each other down, and a reset ends them all. */
  readonly takeTurn: <T>(walk: () => Promise<T>) => Promise<T>;
  /** Called when the index was made anew: it then holds nothing of any site. This one is being scanned. */
  readonly onReset: () => void;
}

/** The upkeep of all sites of a process. */
export interface Upkeep {
  /** Scans now, and then at intervals; a failure is logged and tried again. */
  start(): void;
  /** Running work ends before the next folder, and waiting work does not begin. */
  stop(): Promise<void>;
  /** Rebuilds the index by a scan as soon as possible; call it when the index proves unusable. */
  rebuild(): void;
  /**
   * @throws LookasideError DAMAGE_FOUND unless damage is accepted: signatures that the tree has lost would be lost for good;
   * BUSY when stopped
   */
  reindex(options: ReindexOptions): Promise<TreeCounts>;
  /** @throws LookasideError BUSY when stopped */
  fsck(options: FsckOptions): Promise<FsckResult>;
}

/** The upkeep of one site. Its reindex() makes the index anew for all sites: see onReset. */
export interface SiteUpkeep extends Upkeep {
  /** Scans as soon as may be, as the index was made anew for another site. A failure is thrown, and tried again too. */
  rescan(onProgress?: OnProgress): Promise<TreeCounts>;
  /** @throws LookasideError DAMAGE_FOUND when the tree has lost recorded bytes; BUSY when stopped */
  refuseDamage(): Promise<void>;
  readonly status: UpkeepStatus;
}

export interface UpkeepStatus {
  readonly isScanning: boolean;
  readonly lastScanAt: Date | null;
  readonly lastError: string | null;
}

export const MAX_FINDINGS = 10_000;
const RETRY_MS = 10_000;

/** Node.js treats a longer delay as 1 ms. */
const LONGEST_DELAY_MS = 2 ** 31 - 1;

export function createUpkeep<Found extends Problem & { readonly isDamage: boolean }>(
  options: UpkeepOptions<Found>,
): SiteUpkeep {
  const { site, scanner, index, clock, log } = options;
  let timer: NodeJS.Timeout | null = null;
  const stopping = new AbortController();
  let mustReset = false;
  let lastScanAt: Date | null = null;
  let lastError: string | null = null;
  let last: Promise<unknown> = Promise.resolve();
  let waiting = 0;
  const { signal } = stopping;
  const stopped = new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve()));

  function inTurn<T>(act: () => Promise<T>): Promise<T> {
    waiting += 1;
    const mine = options
      .takeTurn(async () => {
        await Promise.race([options.whenIndexChecked(), stopped]);
        signal.throwIfAborted();
        return await act();
      })
      .finally(() => {
        waiting -= 1;
      });
    last = mine.catch(() => undefined);
    return mine;
  }

  async function scan(onProgress?: OnProgress): Promise<TreeCounts> {
    if (mustReset) {
      await index.reset();
      mustReset = false;
      options.onReset();
    }
    const startedMs = clock.monotonicMs();
    const counts = await scanner.scan(site, { onProgress, signal });
    lastScanAt = clock.now();
    lastError = null;
    log.info({ ...counts, tookMs: Math.round(clock.monotonicMs() - startedMs) }, 'the tree was scanned');
    return counts;
  }

  function schedule(ms: number): void {
    if (signal.aborted) return;
    if (timer !== null) clearTimeout(timer);
    timer = setTimeout(() => void scanAndSchedule(), Math.min(ms, LONGEST_DELAY_MS));
  }

  async function scanAndSchedule(): Promise<void> {
    timer = null;
    try {
      await inTurn(() => scan());
      // rebuild() set both while this scan was running
      const isRebuildDue = mustReset && timer !== null;
      const intervalMs = options.scanIntervalMs();
      if (intervalMs !== null && !isRebuildDue) schedule(intervalMs);
    } catch (error) {
      retry(error);
    }
  }

  function retry(error: unknown): void {
    if (signal.aborted) return;
    if (isLookasideError(error, 'INDEX_UNUSABLE')) mustReset = true;
    lastError = error instanceof Error ? error.message : String(error);
    log.error({ err: error, retryMs: RETRY_MS }, 'the scan of the tree failed; it is tried again');
    schedule(RETRY_MS);
  }

  async function rescan(onProgress?: OnProgress): Promise<TreeCounts> {
    mustReset = false; // that is done
    try {
      return await inTurn(() => scan(onProgress));
    } catch (error) {
      retry(error);
      throw error;
    }
  }

  async function reindex(request: ReindexOptions): Promise<TreeCounts> {
    return inTurn(async () => {
      if (!request.acceptDamage) await refuseDamage();
      mustReset = true;
      try {
        return await scan(request.onProgress);
      } catch (error) {
        schedule(RETRY_MS); // the index must not stay half built until the next interval
        throw error;
      }
    });
  }

  async function refuseDamage(): Promise<void> {
    try {
      for await (const problem of scanner.findProblems(site, { signal })) {
        signal.throwIfAborted();
        if (!problem.isDamage) continue;
        throw new LookasideError(
          'DAMAGE_FOUND',
          `${problem.path}: ${problemText(problem)} first; reindex would forget the recorded bytes (--accept-damage does it all the same)`,
        );
      }
    } catch (error) {
      // an index that cannot be read has no recorded bytes to lose
      if (!isLookasideError(error, 'INDEX_UNUSABLE')) throw error;
    }
  }

  return {
    start: () => schedule(0),
    async stop() {
      stopping.abort(stoppedError());
      if (timer !== null) clearTimeout(timer);
      await last;
    },
    rebuild() {
      mustReset = true;
      schedule(0);
    },
    rescan,
    refuseDamage: () => inTurn(refuseDamage),
    reindex,
    fsck: (request) => inTurn(() => findAll(options, request, signal)),
    get status() {
      return { isScanning: waiting > 0, lastScanAt, lastError };
    },
  };
}

/** Every difference, as far as they are listed, repaired where that is asked for. */
async function findAll<Found extends Problem & { readonly isDamage: boolean }>(
  { site, scanner, index }: UpkeepOptions<Found>,
  request: FsckOptions,
  signal: AbortSignal,
): Promise<FsckResult> {
  let counts: TreeCounts = { images: 0, signatures: 0, problems: 0 };
  let repaired = 0;
  const findings: FsckFinding[] = [];
  const isCompared = await index.isComplete(site);
  const onProgress: OnProgress = (now) => {
    counts = now;
    request.onProgress?.(now);
  };
  for await (const problem of scanner.findProblems(site, { onProgress, signal })) {
    signal.throwIfAborted();
    const isRepaired = request.repair && problem.isDamage && (await scanner.repair(problem));
    repaired += isRepaired ? 1 : 0;
    if (findings.length >= MAX_FINDINGS) continue;
    const { kind, path, count, upload } = problem;
    const message = isRepaired ? 'the recorded bytes were put back' : problemText(problem);
    const more = { ...(count === undefined ? {} : { count }), ...(upload === undefined ? {} : { upload }) };
    findings.push({ site, kind, path, ...more, message, repaired: isRepaired });
  }
  return { ...counts, repaired, findings, isCompared };
}

function stoppedError(): LookasideError {
  const message = 'the server is stopping, and this was not done to its end; try again once it runs again';
  return new LookasideError('BUSY', message);
}
