// What the server does without being asked: work that is due each minute, and the care of its keys.
import { setTimeout as wait } from 'node:timers/promises';
import { createKeyExpiryWarnings } from '../service/key-expiry.ts';
import { systemClock } from './clock.ts';
import type { Composed, ComposeOptions } from './composed.ts';
import { openKeyRefresh } from './key-refreshing.ts';

/** Equal to the precision of the times that it writes. */
const USES_EVERY_MS = 60_000;
/** Withdrawals end to the minute. */
const PUT_BACK_EVERY_MS = 60_000;

export interface Background extends Pick<Composed, 'keyRefresher'> {
  /** Starts what only a server does. The work of each minute has run since the data directory was opened. */
  start(): void;
  stop(): Promise<void>;
}

export function openBackground(
  options: ComposeOptions,
  {
    tokens,
    withdrawals,
    revocations,
    keys,
  }: Pick<Composed, 'tokens' | 'withdrawals' | 'revocations' | 'keys'>,
): Background {
  const noting = setInterval(() => void tokens.writeUses(), USES_EVERY_MS).unref();
  const puttingBack = setInterval(() => void withdrawals.putBack(), PUT_BACK_EVERY_MS).unref();
  const withdrawing = setInterval(() => void revocations.carryOutAll(), PUT_BACK_EVERY_MS).unref();
  const keyExpiry = createKeyExpiryWarnings({
    keys,
    releases: () => options.current().releases,
    clock: systemClock,
    log: options.log,
    wait: (ms) => wait(ms, undefined, { ref: false }),
  });
  const refreshing = openKeyRefresh(options, keys);
  return {
    keyRefresher: refreshing.refresher,
    start() {
      keyExpiry.start();
      refreshing.start();
      void revocations.carryOutAll(); // what a crash has cut short
    },
    async stop() {
      clearInterval(noting);
      clearInterval(puttingBack);
      clearInterval(withdrawing);
      keyExpiry.stop();
      await refreshing.close();
    },
  };
}
