// The first of many names.

const MAX_FIRST = 20;

/** Counts names, however many, and keeps the first 20 in order. */
export class FirstNames {
  readonly first: string[] = [];
  count = 0;

  add(name: string): void {
    this.count += 1;
    this.#keep(name);
  }

  addAll(others: FirstNames): void {
    this.count += others.count;
    for (const name of others.first) this.#keep(name);
  }

  #keep(name: string): void {
    const last = this.first[MAX_FIRST - 1];
    if (last !== undefined && name >= last) return;
    this.first.push(name);
    this.first.sort();
    this.first.length = Math.min(this.first.length, MAX_FIRST);
  }
}
