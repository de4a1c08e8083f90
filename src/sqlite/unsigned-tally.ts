// Requests for images without a signature, summed up by image and by repository over the days of one question.

const FIRST_ROOM = 1024;

/** What is known of one image of the answer. */
export interface Tallied {
  readonly id: number;
  readonly count: number;
  readonly firstMs: number;
  readonly lastMs: number;
  /** Which day it was last asked for, as it was given to add(). */
  readonly day: number;
}

export interface TalliedPlace {
  /** As it was given to repositories(). */
  readonly repository: string;
  readonly count: number;
  readonly images: number;
  /** The image that was asked for last. */
  readonly last: Tallied;
}

/** By images' ids, which are dense: so a million images are summed up in some milliseconds. */
export class Tally {
  /** Images with requests. */
  found = 0;
  #counts = new Float64Array(FIRST_ROOM);
  #firsts = new Float64Array(FIRST_ROOM);
  #lasts = new Float64Array(FIRST_ROOM);
  #days = new Uint32Array(FIRST_ROOM);

  constructor(size: number) {
    this.#grow(size);
  }

  add(id: number, count: number, firstMs: number, lastMs: number, day: number): void {
    if (id >= this.#counts.length) this.#grow(2 * id);
    const before = this.#counts[id] ?? 0;
    if (before === 0) {
      this.found += 1;
      this.#firsts[id] = firstMs;
      this.#lasts[id] = lastMs;
      this.#days[id] = day;
    } else {
      if (firstMs < (this.#firsts[id] ?? 0)) this.#firsts[id] = firstMs;
      if (lastMs > (this.#lasts[id] ?? 0)) {
        this.#lasts[id] = lastMs;
        this.#days[id] = day;
      }
    }
    this.#counts[id] = before + count;
  }

  /** Most requests first; of as many, the one that was asked for last. */
  top(limit: number): readonly Tallied[] {
    const heap = new Heap(limit, (one, other) => this.#isBefore(one, other));
    // later ids were asked for later, so that most of equal counts come after what the heap has
    for (let id = this.#counts.length - 1; id >= 0; id -= 1) if ((this.#counts[id] ?? 0) > 0) heap.offer(id);
    return heap.sorted().map((id) => this.#of(id));
  }

  /** As top(), by what `placeOf` says of each image: the place in `names`. Places of the same name are one. */
  repositories(placeOf: (id: number) => number, names: readonly string[]): readonly TalliedPlace[] {
    const counts = new Float64Array(names.length);
    const images = new Uint32Array(names.length);
    const lasts = new Uint32Array(names.length);
    for (let id = this.#counts.length - 1; id >= 0; id -= 1) {
      const count = this.#counts[id] ?? 0;
      if (count === 0) continue;
      const place = placeOf(id);
      counts[place] = (counts[place] ?? 0) + count;
      if (images[place] === 0 || (this.#lasts[id] ?? 0) > (this.#lasts[lasts[place] ?? 0] ?? 0))
        lasts[place] = id;
      images[place] = (images[place] ?? 0) + 1;
    }
    const byName = new Map<string, TalliedPlace>();
    for (const [place, repository] of names.entries()) {
      if (images[place] === 0) continue;
      const one = {
        repository,
        count: counts[place] ?? 0,
        images: images[place] ?? 0,
        last: this.#of(lasts[place] ?? 0),
      };
      const known = byName.get(repository);
      byName.set(repository, known === undefined ? one : together(known, one));
    }
    return [...byName.values()].sort(
      (one, other) => other.count - one.count || other.last.lastMs - one.last.lastMs,
    );
  }

  #of(id: number): Tallied {
    return {
      id,
      count: this.#counts[id] ?? 0,
      firstMs: this.#firsts[id] ?? 0,
      lastMs: this.#lasts[id] ?? 0,
      day: this.#days[id] ?? 0,
    };
  }

  #isBefore(one: number, other: number): boolean {
    const more = (this.#counts[one] ?? 0) - (this.#counts[other] ?? 0);
    return more > 0 || (more === 0 && (this.#lasts[one] ?? 0) > (this.#lasts[other] ?? 0));
  }

  #grow(size: number): void {
    const room = Math.max(size + 1, this.#counts.length);
    for (const copy of [
      () => (this.#counts = grown(this.#counts, new Float64Array(room))),
      () => (this.#firsts = grown(this.#firsts, new Float64Array(room))),
      () => (this.#lasts = grown(this.#lasts, new Float64Array(room))),
      () => (this.#days = grown(this.#days, new Uint32Array(room))),
    ])
      copy();
  }
}

function grown<T extends Float64Array | Uint32Array>(before: T, after: T): T {
  after.set(before);
  return after;
}

function together(one: TalliedPlace, other: TalliedPlace): TalliedPlace {
  return {
    repository: one.repository,
    count: one.count + other.count,
    images: one.images + other.images,
    last: other.last.lastMs > one.last.lastMs ? other.last : one.last,
  };
}

/** The first so many of all that are offered. The last of them is at its top. */
class Heap {
  readonly #ids: number[] = [];
  readonly #limit: number;
  readonly #isBefore: (one: number, other: number) => boolean;

  constructor(limit: number, isBefore: (one: number, other: number) => boolean) {
    this.#limit = limit;
    this.#isBefore = isBefore;
  }

  offer(id: number): void {
    const [last] = this.#ids;
    if (this.#ids.length < this.#limit) {
      this.#ids.push(id);
      this.#rise(this.#ids.length - 1);
    } else if (last !== undefined && this.#isBefore(id, last)) {
      this.#ids[0] = id;
      this.#sink();
    }
  }

  sorted(): number[] {
    return this.#ids.sort((one, other) =>
      this.#isBefore(one, other) ? -1 : this.#isBefore(other, one) ? 1 : 0,
    );
  }

  #rise(position: number): void {
    const ids = this.#ids;
    for (let at = position; at > 0; ) {
      const above = (at - 1) >> 1;
      if (!this.#isBefore(ids[above] ?? 0, ids[at] ?? 0)) return;
      [ids[above], ids[at]] = [ids[at] ?? 0, ids[above] ?? 0];
      at = above;
    }
  }

  #sink(): void {
    const ids = this.#ids;
    for (let at = 0; ; ) {
      const [left, right] = [2 * at + 1, 2 * at + 2];
      let last = at;
      if (left < ids.length && this.#isBefore(ids[last] ?? 0, ids[left] ?? 0)) last = left;
      if (right < ids.length && this.#isBefore(ids[last] ?? 0, ids[right] ?? 0)) last = right;
      if (last === at) return;
      [ids[last], ids[at]] = [ids[at] ?? 0, ids[last] ?? 0];
      at = last;
    }
  }
}
