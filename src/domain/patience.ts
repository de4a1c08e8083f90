// How long one request waits for a store that is across a network.

/** The time of one request: its parts share it. What is given up may go on all the same. */
export interface Patience {
  /** As the part settles. @throws LookasideError STORE_UNAVAILABLE when the time of the request is over */
  wait<T>(part: Promise<T>): Promise<T>;
  /** For a part that works or waits for others for long: for as long as the store answers anybody. @throws STORE_UNAVAILABLE */
  waitLong<T>(part: Promise<T>): Promise<T>;
}

/** Where the store is on this machine, and bounds its own waits. */
export const ENDLESS: Patience = { wait: (part) => part, waitLong: (part) => part };
