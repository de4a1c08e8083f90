// Room in memory that many share. Each caller and each client network may hold only a part of it, so that nobody can fill it.

export interface Holder {
  /** One token, whatever connections and networks it comes by. */
  readonly caller: string;
  /** As networkOf() has it. */
  readonly network: string;
}

/** Who holds the room at one moment. */
export interface Held {
  /** By this caller, on all his connections. */
  readonly ownBytes: number;
  /** By other callers of his network. */
  readonly networkBytes: number;
  readonly othersBytes: number;
}

/** What one piece of work holds of the room. */
export interface Claim {
  /** How much more it could take at this moment. */
  leftBytes(): number;
  /** False, and nothing is taken, when that is more than is left. Never waits: who holds some and waits for more would be waited for. */
  take(bytes: number): boolean;
  /** Gives back all that it took. A second time does nothing. */
  release(): void;
  held(): Held;
}

export interface Room {
  readonly maxBytes: number;
  open(holder: Holder): Claim;
}

/**
 * Room in which what a network holds is never more than what is then left free, and what a caller holds never more than
 * what his network may then still take. One caller alone comes to a quarter, one network to a half; another caller still
 * gets an eighth of it in the same network, and more in another one. Whoever comes next, in a network that holds none, gets a
 * quarter of what is free, so that few can never fill it.
 * After A. K. Choudhury and E. L. Hahne, Dynamic Queue Length Thresholds, IEEE/ACM Transactions on Networking 6 (1998).
 */
export function createSharedRoom(maxBytes: number): Room {
  return createRoom(maxBytes, ({ ownBytes, networkBytes, othersBytes }) => {
    const freeBytes = maxBytes - ownBytes - networkBytes - othersBytes;
    const leftToNetwork = (freeBytes - ownBytes - networkBytes) / 2;
    return (leftToNetwork - ownBytes) / 2;
  });
}

/** Room in which everybody may hold all. */
export function createUndividedRoom(maxBytes: number): Room {
  return createRoom(maxBytes, (held) => maxBytes - held.ownBytes - held.networkBytes - held.othersBytes);
}

function createRoom(maxBytes: number, leftBytes: (held: Held) => number): Room {
  let allBytes = 0;
  const byCaller = createTally();
  // a caller of several networks counts whole in each
  const byCallerAndNetwork = createTally();
  const byNetwork = createTally();

  return {
    maxBytes,
    open({ caller, network }) {
      const both = `${network}\n${caller}`;
      let taken = 0;

      function held(): Held {
        const ownBytes = byCaller.of(caller);
        const networkBytes = byNetwork.of(network) - byCallerAndNetwork.of(both);
        return { ownBytes, networkBytes, othersBytes: allBytes - ownBytes - networkBytes };
      }
      function add(bytes: number): void {
        taken += bytes;
        allBytes += bytes;
        byCaller.add(caller, bytes);
        byNetwork.add(network, bytes);
        byCallerAndNetwork.add(both, bytes);
      }
      const left = () => Math.max(0, Math.floor(leftBytes(held())));
      return {
        leftBytes: left,
        held,
        take(bytes) {
          if (bytes > left()) return false;
          add(bytes);
          return true;
        },
        release: () => add(-taken),
      };
    },
  };
}

/** Sums by name; of a name whose sum is nothing, nothing is remembered. */
function createTally() {
  const sums = new Map<string, number>();
  return {
    of: (name: string) => sums.get(name) ?? 0,
    add(name: string, bytes: number): void {
      const sum = (sums.get(name) ?? 0) + bytes;
      if (sum === 0) sums.delete(name);
      else sums.set(name, sum);
    },
  };
}
