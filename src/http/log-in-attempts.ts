// Counts log-ins through OpenID providers by address: those that came to nothing within a minute, and those under way, because each asks
// the provider. Wrong tokens are counted apart, so that they lock out nobody who logs in at a provider from the same network.
import { networkOf } from '../domain/network.ts';
import { createLimit, slowDown } from './wrong-tokens.ts';

export interface LogInAttempts {
  /**
   * Notes one from this address, ahead of the question to its provider. What it answers takes that back, once somebody is logged in.
   * @throws LookasideError SLOW_DOWN when there were too many
   */
  begin(address: string): () => void;
}

/** A whole office may be behind one address. */
const MAX_PER_MINUTE = 30;

export function createLogInAttempts(monotonicMs: () => number): LogInAttempts {
  const limit = createLimit(monotonicMs, MAX_PER_MINUTE);
  return {
    begin(address) {
      const network = networkOf(address);
      const waitSeconds = limit.wait(network);
      if (waitSeconds !== null)
        throw slowDown(
          waitSeconds,
          `${MAX_PER_MINUTE} log-ins through an OpenID provider came from ${network} within a minute and led to nothing, or are still under way; try again in ${waitSeconds} seconds, or log in with a token`,
        );
      const atMs = limit.note(network);
      return () => limit.takeBack(network, atMs);
    },
  };
}
