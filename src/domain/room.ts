// Memory that many requests share. Each caller and each client network may hold only a part of it, so that nobody can fill
// it.

export interface Holder {
  /** One token, over all its connections and networks. */
  readonly caller: string;
  /** As networkOf() returns it. */
  readonly network: string;
}

/** Who holds the room at one moment. */
export interface Held {
  /** Held by this caller, on all his connections. */
  readonly ownBytes: number;
  /** Held by other callers of his network. */
  readonly networkBytes: number;
  readonly othersBytes: number;
}

/** What one piece of work holds of the room. */
export interface Claim {
  /** How many more bytes it could take at this moment. */
  leftBytes(): number;
  /**
   * Returns false and takes nothing when fewer bytes are left. Never waits: holders that wait for more could wait for each
   * other.
   */
  take(bytes: number): boolean;
  /** Gives back all that it took. A second call does nothing. */
  release(): void;
  held(): Held;
}

export interface Room {
  readonly maxBytes: number;
  open(holder: Holder): Claim;
}

/**
 * Room with two rules. A network never holds more than what then remains free, and a caller never holds more than what his
 * network may then still take. So one caller alone gets at most a quarter, and one network at most a half. Beside a caller
 * with a quarter, another caller still gets an eighth of the room in the same network, and more in another one. A new caller
 * in a network that holds nothing gets a quarter of what is free, so that a few callers can never fill the room.
 * After A. K. Choudhury and E. L. Hahne, Dynamic Queue Length Thresholds, IEEE/ACM Transactions on Networking 6 (1998).
 */
export function createSharedRoom(maxBytes: number): Room {
  return createRoom(maxBytes, ({ ownBytes, networkBytes, othersBytes }) => {
    const freeBytes = maxBytes - ownBytes - networkBytes - othersBytes;
    const leftToNetwork = (freeBytes - ownBytes - networkBytes) / 2;
    return (leftToNetwork - ownBytes) / 2;
  });
}

/** Room in which each holder may take everything that is free. */
export function createUndividedRoom(maxBytes: number): Room {
  return createRoom(maxBytes, (held) => maxBytes - held.ownBytes - held.networkBytes - held.othersBytes);
}

function createRoom(maxBytes: number, leftBytes: (held: Held) => number): Room {
  let allBytes = 0;
  const byCaller = createTally();
  // the bytes of a caller in several networks count fully in each of his limits
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

/** Sums by name. A name whose sum is zero is forgotten. */
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
