// Copies of sets in a reader process. The owner of the data directory says for how long each may be served, and when one is to be
// forgotten before that.
import { type ImageId, imageKey } from '../domain/image.ts';
import type { Clock, SetEntry, SignatureSet } from '../domain/ports.ts';
import type { Packing } from '../service/packed-sets.ts';
import type { Reader } from '../service/read.ts';
import { createSetMemory } from '../service/set-memory.ts';
import type { Ask, AskAnswer, CacheCounts } from './messages.ts';

export interface Copies extends Pick<Reader, 'peekSet' | 'readSet'> {
  answer(answers: readonly AskAnswer[]): void;
  /** Null: all. */
  forget(images: readonly ImageId[] | null): void;
  readonly counts: CacheCounts;
}

export interface CopiesOptions {
  readonly clock: Pick<Clock, 'monotonicMs'>;
  readonly cacheBytes: number;
  /** Called once with all that was asked in one turn of the event loop. */
  readonly ask: (asks: readonly Ask[]) => void;
  /** Calls `act` at the end of this turn. */
  readonly later: (act: () => void) => void;
}

interface Copy {
  readonly set: SignatureSet;
  readonly number: number;
  readonly untilMs: number;
}

/** Those that hold until they are forgotten. */
const LASTING: Packing<Copy> = {
  numbersOf: ({ number, untilMs }) => (untilMs === Number.POSITIVE_INFINITY ? [number, 0] : null),
  unpack: (set, [number]) => ({ set, number, untilMs: Number.POSITIVE_INFINITY }),
};

interface Pending {
  readonly image: ImageId;
  readonly askedAtMs: number;
  readonly before: Copy | undefined;
  readonly promise: Promise<SignatureSet>;
  readonly settle: (set: SignatureSet | null) => void;
}

export function createCopies({ clock, cacheBytes, ask, later }: CopiesOptions): Copies {
  const copies = createSetMemory<Copy>(cacheBytes, LASTING);
  const pending = new Map<number, Pending>();
  /** What was asked since the image was last forgotten, by imageKey(). */
  const sharedAsks = new Map<string, number>();
  let unasked: Ask[] = [];
  let lastId = 0;
  let hits = 0;
  let misses = 0;

  function peekSet(image: ImageId): SignatureSet | null {
    const copy = copies.get(imageKey(image));
    if (copy === undefined) return null;
    // most hold until they are forgotten
    if (copy.untilMs !== Number.POSITIVE_INFINITY && clock.monotonicMs() >= copy.untilMs) return null;
    hits += 1;
    return copy.set;
  }

  function readSet(image: ImageId): Promise<SignatureSet> {
    const fresh = peekSet(image);
    if (fresh !== null) return Promise.resolve(fresh);
    misses += 1;
    const key = imageKey(image);
    const shared = pending.get(sharedAsks.get(key) ?? 0);
    return shared === undefined ? begin(image, key) : shared.promise;
  }

  function begin(image: ImageId, key: string): Promise<SignatureSet> {
    lastId += 1;
    const id = lastId;
    const before = copies.get(key);
    const { promise, settle } = settling();
    // the age counts from before the question
    pending.set(id, { image, before, askedAtMs: clock.monotonicMs(), promise, settle });
    sharedAsks.set(key, id);
    if (unasked.length === 0) {
      later(() => {
        const asks = unasked;
        unasked = [];
        ask(asks);
      });
    }
    unasked.push({ id, image, known: before?.number ?? null });
    return promise;
  }

  function take(answer: AskAnswer): void {
    const one = pending.get(answer.id);
    if (one === undefined) return;
    pending.delete(answer.id);
    const key = imageKey(one.image);
    // forgotten meanwhile: what was read before that is for those alone who asked before
    const isLatest = sharedAsks.get(key) === answer.id;
    if (isLatest) sharedAsks.delete(key);
    const set = 'failed' in answer ? null : setOf(answer, one.before);
    if (set !== null && isLatest && 'holdsMs' in answer) {
      const { number, holdsMs } = answer;
      copies.set(key, { set, number, untilMs: one.askedAtMs + holdsMs });
    }
    one.settle(set);
  }

  return {
    peekSet,
    readSet,
    answer(answers) {
      for (const one of answers) take(one);
    },
    forget(images) {
      if (images === null) {
        copies.clear();
        sharedAsks.clear();
        return;
      }
      for (const key of images.map(imageKey)) {
        copies.delete(key);
        sharedAsks.delete(key);
      }
    },
    get counts() {
      return { bytes: copies.bytes, sets: copies.size, hits, misses };
    },
  };
}

function settling(): Pick<Pending, 'promise' | 'settle'> {
  let settle: Pending['settle'] = () => undefined;
  const promise = new Promise<SignatureSet>((resolve, reject) => {
    settle = (set) =>
      set === null
        ? reject(new Error('the owner of the data directory could not read the set'))
        : resolve(set);
  });
  return { promise, settle };
}

function setOf(
  { number, entries }: { readonly number: number; readonly entries: readonly SetEntry[] | null },
  before: Copy | undefined,
): SignatureSet | null {
  if (entries !== null) return { generation: number, entries: entries.map(owned) };
  return before?.number === number ? before.set : null;
}

/** The bytes of a message are a part of it, and would keep it whole in memory. */
function owned(entry: SetEntry): SetEntry {
  return entry.bytes === null ? entry : { ...entry, bytes: Buffer.from(entry.bytes) };
}
