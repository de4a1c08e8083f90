// What was asked of several nodes and what they answered, with times; and whether one order of all that explains it: a search after
// Wing and Gong (1993), image by image. A read may be behind by as much as the promise allows, but never behind what its own node
// has acknowledged or shown before.

interface Asked {
  readonly image: string;
  readonly node: number;
  /** By one clock. */
  readonly startMs: number;
  readonly endMs: number;
}

export interface Append extends Asked {
  readonly kind: 'append';
  readonly value: string;
  /** Its number, stored by this or before; `withdrawn`: refused for that; unknown: it may have happened, or may happen yet. */
  readonly answer: { readonly number: number; readonly created: boolean } | 'withdrawn' | 'unknown';
}

export interface Withdraw extends Asked {
  readonly kind: 'withdraw';
  readonly number: number;
  readonly value: string;
  /** `absent`: the value does not stand there. */
  readonly answer: 'done' | 'absent' | 'unknown';
}

export interface Get extends Asked {
  readonly kind: 'get';
  readonly number: number;
  /** Null: 404. */
  readonly seen: string | null;
}

export type Operation = Append | Withdraw | Get;

interface Slot {
  readonly value: string;
  /** A copy in the place of one that was withdrawn. */
  readonly isFiller: boolean;
}

/** One image as it should be. A filler stays also when all behind it are withdrawn: it is as good as what it copies. */
class ImageModel {
  readonly #slots: readonly Slot[];
  readonly #gone: ReadonlySet<string>;

  constructor(slots: readonly Slot[] = [], gone: ReadonlySet<string> = new Set()) {
    this.#slots = slots;
    this.#gone = gone;
  }

  get text(): string {
    const slots = this.#slots.map(({ value, isFiller }) => (isFiller ? `(${value})` : value));
    return `${slots.join(' ')} | ${[...this.#gone].sort().join(' ')}`;
  }

  /** Null: the image was not such that this could be answered. */
  after(operation: Operation): ImageModel | null {
    switch (operation.kind) {
      case 'get':
        return (this.#slots[operation.number - 1]?.value ?? null) === operation.seen ? this : null;
      case 'append':
        return this.#afterAppend(operation);
      case 'withdraw':
        return this.#afterWithdrawal(operation);
    }
  }

  #stands(number: number, value: string): boolean {
    const slot = this.#slots[number - 1];
    return slot !== undefined && slot.value === value && !slot.isFiller;
  }

  #afterAppend({ value, answer }: Append): ImageModel | null {
    const isGone = this.#gone.has(value);
    const isThere = this.#slots.some((slot) => slot.value === value);
    if (answer === 'withdrawn') return isGone ? this : null;
    const added = { value, isFiller: false };
    const next = isGone || isThere ? this : new ImageModel([...this.#slots, added], this.#gone);
    if (answer === 'unknown') return next;
    if (isGone || answer.created === isThere) return null;
    return next.#stands(answer.number, value) ? next : null;
  }

  #afterWithdrawal({ number, value, answer }: Withdraw): ImageModel | null {
    const stands = this.#stands(number, value);
    if (answer === 'absent') return stands ? null : this;
    if (!stands) return answer === 'done' ? null : this;
    const gone = new Set([...this.#gone, value]);
    const left = this.#slots.filter((slot) => slot.value !== value);
    const last = this.#slots.findLastIndex((slot) => slot.value !== value);
    const filler = { value: left[0]?.value ?? '', isFiller: true };
    const slots = this.#slots.slice(0, last + 1).map((slot) => (slot.value === value ? filler : slot));
    return new ImageModel(slots, gone);
  }
}

/** More than any history of these tests needs: that is a fault of the test. */
const MAX_STEPS = 200_000;

/** In words, what no order explains; null: all is explained. `behindMs`: by how much the read may be behind what other nodes did. */
export function findFault(history: readonly Operation[], behindMs: (read: Get) => number): string | null {
  const images = new Map<string, Operation[]>();
  for (const operation of history) {
    const known = images.get(operation.image);
    if (known === undefined) images.set(operation.image, [operation]);
    else known.push(operation);
  }
  for (const operations of images.values()) {
    const fault = new Search(operations, behindMs).fault();
    if (fault !== null) return fault;
  }
  return null;
}

class Search {
  readonly #operations: readonly Operation[];
  /** The operations that come before each one in every order. */
  readonly #before: readonly (readonly number[])[];
  readonly #seen = new Set<string>();
  #steps = 0;
  #best: { readonly left: readonly number[]; readonly model: ImageModel } | null = null;

  constructor(operations: readonly Operation[], behindMs: (read: Get) => number) {
    const seen = new Set(operations.flatMap(seenIn));
    // what nobody has ever seen explains nothing, and would be tried at every place
    this.#operations = operations
      .filter((one) => one.kind !== 'append' || one.answer !== 'unknown' || seen.has(one.value))
      // that of unknown outcome is tried where no other goes on
      .toSorted((a, b) => Number(isUnknown(a)) - Number(isUnknown(b)) || a.startMs - b.startMs);
    this.#before = this.#operations.map((one) =>
      this.#operations.flatMap((other, n) => (isBefore(other, one, behindMs) ? [n] : [])),
    );
  }

  fault(): string | null {
    const left = this.#operations.map((_, n) => n);
    if (this.#search(new ImageModel(), left)) return null;
    const best = this.#best;
    const stuck = (best?.left ?? []).map((n) => this.#operations[n]).filter((one) => one !== undefined);
    const explained = this.#operations.length - stuck.length;
    const examples = stuck.slice(0, 5).map(describe).join('; ');
    return `no order explains ${this.#operations.length} operations: after ${explained} of them the image is ${best?.model.text}, and left are ${examples}`;
  }

  #search(model: ImageModel, all: readonly number[]): boolean {
    this.#steps += 1;
    if (this.#steps > MAX_STEPS) throw new Error('the history is too long to be judged');
    const left = this.#afterReads(model, all);
    if (left.every((n) => this.#isUnknown(n))) return true;
    if (this.#best === null || left.length < this.#best.left.length) this.#best = { left, model };
    const key = `${left.join(',')} ${model.text}`;
    if (this.#seen.has(key)) return false;
    this.#seen.add(key);
    for (const n of this.#eligible(left)) {
      const operation = this.#operations[n];
      if (operation === undefined || operation.kind === 'get') continue;
      const next = model.after(operation);
      const others = left.filter((one) => one !== n);
      // one of unknown outcome that changes nothing here is no step
      if (next !== null && !(next === model && this.#isUnknown(n)) && this.#search(next, others)) return true;
    }
    return false;
  }

  /** A read that the image explains now is best taken now: it changes nothing, and others wait for it. */
  #afterReads(model: ImageModel, all: readonly number[]): readonly number[] {
    for (let left = all; ; ) {
      const explained = new Set(this.#eligible(left).filter((n) => this.#isExplained(n, model)));
      if (explained.size === 0) return left;
      left = left.filter((n) => !explained.has(n));
    }
  }

  #isExplained(n: number, model: ImageModel): boolean {
    const operation = this.#operations[n];
    return operation?.kind === 'get' && model.after(operation) !== null;
  }

  #eligible(left: readonly number[]): readonly number[] {
    const isLeft = new Set(left);
    return left.filter((n) => !(this.#before[n] ?? []).some((one) => isLeft.has(one)));
  }

  #isUnknown(n: number): boolean {
    const operation = this.#operations[n];
    return operation !== undefined && isUnknown(operation);
  }
}

/** Values that an answer speaks of. */
function seenIn(operation: Operation): readonly string[] {
  if (operation.kind === 'get') return operation.seen === null ? [] : [operation.seen];
  return operation.answer === 'unknown' ? [] : [operation.value];
}

function isUnknown(operation: Operation): boolean {
  return operation.kind !== 'get' && operation.answer === 'unknown';
}

/** Whether the first is over before the second can have happened. */
function isBefore(first: Operation, second: Operation, behindMs: (read: Get) => number): boolean {
  if (isUnknown(first)) return false; // it may happen long after whoever asked for it has given up
  const mayBeBehind = second.kind === 'get' && first.node !== second.node;
  return first.endMs < second.startMs - (mayBeBehind ? behindMs(second) : 0);
}

function describe(operation: Operation): string {
  const { kind, image, node, startMs, endMs } = operation;
  const when = `node ${node}, ${Math.round(startMs)} to ${Math.round(endMs)} ms`;
  if (kind === 'get') return `${image}/${operation.number} was ${operation.seen ?? 'absent'} (${when})`;
  return `${kind} ${operation.value}: ${JSON.stringify(operation.answer)} (${when})`;
}
