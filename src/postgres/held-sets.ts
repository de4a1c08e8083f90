// Which of the sets in a node's memory still hold, without a question about each. One session asks again and again which sets
// have changed, and all others hold. docs/decisions/several-nodes.md says why no change is missed.
import type { SignatureSet } from '../domain/ports.ts';
import type { ChangedSets } from './changes.ts';

/** What one session has answered so far. */
interface Chain {
  /** The highest generation that it has told of. */
  newest: number;
  /** When the last of these questions was asked. */
  confirmedAtMs: number;
}

interface Look {
  readonly askedAtMs: number;
  /** Whose answers tell when the set changes; null: nobody's. */
  readonly chain: Chain | null;
}

export class HeldSets {
  #chain: Chain | null = null;
  readonly #looks = new WeakMap<SignatureSet, Look>();

  /** What the next question is about; null: it begins. */
  get newest(): number | null {
    return this.#chain?.newest ?? null;
  }

  /** Forget the images that it names first, in the same turn. */
  take({ newest, images }: Pick<ChangedSets, 'newest' | 'images'>, askedAtMs: number): void {
    if (this.#chain !== null && images !== null) {
      this.#chain.newest = newest;
      this.#chain.confirmedAtMs = askedAtMs;
    } else this.#chain = { newest, confirmedAtMs: askedAtMs };
  }

  /** The session is over: from now on, each set is asked for. */
  end(): void {
    this.#chain = null;
  }

  /** A question of that time had the set as its answer, and saw `newest` as the highest generation of all. */
  note(set: SignatureSet, newest: number, askedAtMs: number): void {
    const chain = this.#chain;
    // what it did not see may have been told already, and is not told again: a standby that is behind has answered, or an early question late
    this.#looks.set(set, { askedAtMs, chain: chain !== null && newest >= chain.newest ? chain : null });
  }

  /** `same` is the same set: what is known of it holds for `set` too. */
  noteAs(set: SignatureSet, same: SignatureSet): void {
    const look = this.#looks.get(same);
    if (look !== undefined) this.#looks.set(set, look);
    else this.#looks.delete(set);
  }

  /** When the set was last known to hold, unless its image was forgotten since; null: that is not known. */
  heldAtMs(set: SignatureSet): number | null {
    const look = this.#looks.get(set);
    if (look === undefined) return null;
    return look.chain === null ? look.askedAtMs : Math.max(look.askedAtMs, look.chain.confirmedAtMs);
  }
}
