// Asks a signature site for all signatures of an image: 1, 2, 3 … to the first that is missing, whole or not at all. A site that
// fails is left alone for a while.
import { MAX_WALK_BYTES } from '../domain/limits.ts';
import type { Clock } from '../domain/ports.ts';
import {
  type Fetched,
  type SignatureUpstream,
  type Walk,
  type WalkFault,
  walkFault,
} from '../domain/walk.ts';

export interface WalkerOptions {
  /** In the order in which they are asked; at least one. */
  readonly upstreams: readonly SignatureUpstream[];
  readonly clock: Pick<Clock, 'monotonicMs'>;
  /** For the whole walk, over all upstreams. */
  readonly deadlineMs: number;
  /** Aborts after that time. */
  readonly timeout: (ms: number) => AbortSignal;
  /** Called for every fault of an upstream, but not for `resting`. */
  readonly onFault: (upstream: string, fault: WalkFault) => void;
}

export interface Walker {
  /**
   * Never throws. `from`: the one upstream that is asked, because what is stored came from it; null: all in their order, and the
   * first that has a set wins. Sets of two upstreams are never mixed.
   */
  walk(folder: string, from: number | null): Promise<Walk>;
  /** How long that one is left alone, from now on; null: every one. 0: it, or one of them, is asked. */
  restingMs(from: number | null): number;
  readonly names: readonly string[];
  close(): Promise<void>;
}

/** As many as the files of an image's folder that are looked at (MAX_FILE_NUMBER). */
const LAST_NUMBER = 128;
const TRIES = 2;
const FAULTS_BEFORE_REST = 5;
const REST_MS = 30_000;

export function createWalker(options: WalkerOptions): Walker {
  const { clock, deadlineMs } = options;
  const asked = options.upstreams.map((upstream) => ({ upstream, rest: createRest(clock) }));

  async function walkOne(position: number, folder: string, signal: AbortSignal): Promise<Walk> {
    const one = asked[position];
    if (one === undefined) throw new Error(`there is no upstream ${position}`);
    const { upstream, rest } = one;
    const restingMs = rest.enter();
    if (restingMs > 0) return walkFault('resting', `${upstream.name} is left alone after faults`, restingMs);
    const walk = await numbers(upstream, position, folder, signal);
    rest.leave(walk.kind === 'fault' ? walk : null);
    if (walk.kind === 'fault') options.onFault(upstream.name, walk);
    return walk;
  }

  async function numbers(
    upstream: SignatureUpstream,
    position: number,
    folder: string,
    signal: AbortSignal,
  ): Promise<Walk> {
    const blobs: Uint8Array[] = [];
    let sizeBytes = 0;
    for (let number = 1; ; number += 1) {
      const fetched = await insist(upstream, `${folder}/signature-${number}`, signal);
      if (fetched.kind === 'fault') return fetched;
      if (fetched.kind === 'missing')
        return blobs.length === 0 ? { kind: 'empty' } : { kind: 'set', upstream: position, blobs };
      if (number > LAST_NUMBER)
        return walkFault('number', `${upstream.name} has more than ${LAST_NUMBER} signatures of one image`);
      sizeBytes += fetched.bytes.length;
      if (sizeBytes > MAX_WALK_BYTES) {
        const message = `${upstream.name} has more than ${MAX_WALK_BYTES} bytes of signatures of one image`;
        return walkFault('too-large', message);
      }
      blobs.push(fetched.bytes);
    }
  }

  return {
    names: options.upstreams.map(({ name }) => name),
    async walk(folder, from) {
      const signal = options.timeout(deadlineMs);
      if (from !== null && from < asked.length) return walkOne(from, folder, signal);
      let fault: WalkFault | null = null;
      for (const position of asked.keys()) {
        const walk = await walkOne(position, folder, signal);
        if (walk.kind === 'set') return walk;
        if (walk.kind === 'fault') fault ??= walk;
      }
      // one that failed may have the set: that the others have none proves nothing
      return fault ?? { kind: 'empty' };
    },
    restingMs: (from) => {
      const left = asked.map(({ rest }) => rest.leftMs());
      return (from === null ? undefined : left[from]) ?? Math.min(...left);
    },
    close: async () => void (await Promise.all(options.upstreams.map((upstream) => upstream.close()))),
  };
}

async function insist(upstream: SignatureUpstream, path: string, signal: AbortSignal): Promise<Fetched> {
  for (let tries = 1; ; tries += 1) {
    const fetched = await upstream.get(path, { signal, isFresh: tries > 1 });
    const isLast = fetched.kind !== 'fault' || tries === TRIES || signal.aborted;
    if (isLast || fetched.retryAfterMs !== null || fetched.fault === 'redirect') return fetched;
  }
}

/** After several faults in a row one walk alone goes ahead, to see whether the rest may end. */
function createRest(clock: Pick<Clock, 'monotonicMs'>) {
  let faults = 0;
  let untilMs = Number.NEGATIVE_INFINITY;
  let isProbed = false;

  const leftMs = () => Math.max(0, untilMs - clock.monotonicMs());

  return {
    leftMs,
    /** 0: the upstream may be asked, and leave() must follow. */
    enter(): number {
      if (leftMs() > 0) return leftMs();
      if (faults < FAULTS_BEFORE_REST) return 0;
      if (isProbed) return REST_MS;
      isProbed = true;
      return 0;
    },
    leave(fault: WalkFault | null): void {
      isProbed = false;
      faults = fault === null ? 0 : faults + 1;
      if (fault === null) return;
      const restMs = Math.max(faults >= FAULTS_BEFORE_REST ? REST_MS : 0, fault.retryAfterMs ?? 0);
      if (restMs > 0) untilMs = Math.max(untilMs, clock.monotonicMs() + restMs);
    },
  };
}
