// The thread that walks through a tree beside its index: started by files/threaded-walk.ts. It does nothing else, so that its calls may
// block it.
import { parentPort, workerData } from 'node:worker_threads';
import { isLookasideError, LookasideError } from '../domain/errors.ts';
import type { RecordedNames } from '../domain/tree-walk.ts';
import { type QuickWalkOptions, walkQuickly } from '../files/quick-walk.ts';
import type { WalkNews, WalkOrder } from '../files/threaded-walk.ts';
import { giveWay } from '../low-priority.ts';
import { openFolderStamps } from '../sqlite/folder-stamps.ts';
import { isCorruption, messageOf } from '../sqlite/open.ts';

const port = parentPort;
if (port === null) throw new Error('walk-thread is started by threaded-walk.ts');
// only threaded-walk.ts sets it
const order = workerData as WalkOrder;
giveWay();

try {
  walk(order);
  tell({ kind: 'end' });
} catch (error) {
  const code = isLookasideError(error) ? error.code : null;
  tell({ kind: 'failure', code, message: messageOf(error) });
}

function walk({ root, site, share, mustLook, index, taken }: WalkOrder): void {
  const stamps = asLookUp(() => openFolderStamps(index));
  try {
    const recorded: QuickWalkOptions['recorded'] = (...names) =>
      guarded(asLookUp(() => stamps.in(site, ...names)));
    let handedOver = 0;
    const options = { root, site, share, mustLook: new Set(mustLook), recorded, nowMs: Date.now };
    for (const batch of walkQuickly(options)) {
      tell({ kind: 'batch', batch });
      handedOver += 1;
      // One is gone through while the next is being read, into the memory of the one before.
      for (let count = Atomics.load(taken, 0); count < handedOver - 1; count = Atomics.load(taken, 0))
        Atomics.wait(taken, 0, count);
    }
  } finally {
    stamps.close();
  }
}

function tell(news: WalkNews): void {
  port?.postMessage(news);
}

function guarded(names: RecordedNames): RecordedNames {
  return {
    get: (name) => names.get(name),
    delete: (name) => names.delete(name),
    *keys() {
      try {
        yield* names.keys();
      } catch (error) {
        throw lookUpFailure(error);
      }
    },
  };
}

function asLookUp<T>(act: () => T): T {
  try {
    return act();
  } catch (error) {
    throw lookUpFailure(error);
  }
}

function lookUpFailure(error: unknown): LookasideError {
  const code = isCorruption(error) ? 'INDEX_UNUSABLE' : 'STORE_UNAVAILABLE';
  return new LookasideError(code, `the index cannot be read: ${messageOf(error)}`, { cause: error });
}
