// A map bounded by weight that forgets what was used longest ago.

export interface Lru<K, V> {
  get(key: K): V | undefined;
  set(key: K, value: V): void;
  delete(key: K): void;
  clear(): void;
  readonly weight: number;
  readonly size: number;
}

export function createLru<K, V>(maxWeight: number, weigh: (value: V, key: K) => number): Lru<K, V> {
  // a Map iterates in insertion order: the first key is the one used longest ago
  const entries = new Map<K, { readonly value: V; readonly weight: number }>();
  let weight = 0;

  function remove(key: K): void {
    const entry = entries.get(key);
    if (entry === undefined) return;
    entries.delete(key);
    weight -= entry.weight;
  }

  return {
    get(key) {
      const entry = entries.get(key);
      if (entry === undefined) return undefined;
      entries.delete(key);
      entries.set(key, entry);
      return entry.value;
    },
    set(key, value) {
      remove(key);
      const added = weigh(value, key);
      if (added > maxWeight) return;
      entries.set(key, { value, weight: added });
      weight += added;
      for (const oldest of entries.keys()) {
        if (weight <= maxWeight) break;
        remove(oldest);
      }
    },
    delete: remove,
    clear() {
      entries.clear();
      weight = 0;
    },
    get weight() {
      return weight;
    },
    get size() {
      return entries.size;
    },
  };
}
