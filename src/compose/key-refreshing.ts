// Newer keys by themselves, from where LOOKASIDE_KEY_REFRESH says.
import { setTimeout as wait } from 'node:timers/promises';
import type { Config } from '../config.ts';
import type { Log } from '../domain/ports.ts';
import { createKeyRefresher } from '../service/key-refresh.ts';
import type { KeyService } from '../service/keys.ts';
import { openKeySources } from '../upstream/key-source.ts';
import { readCaOf } from './remote.ts';

export interface KeyRefreshingOptions {
  readonly config: Config;
  readonly current: () => Config;
  readonly log: Log;
  /** Where several processes have the same keys, one of them asks; left out: this one does. */
  readonly isLeader?: () => boolean;
}

export function openKeyRefresh(
  { config, current, log, isLeader = () => true }: KeyRefreshingOptions,
  keys: KeyService,
) {
  const sources = openKeySources({ ca: readCaOf(config), hasProxies: config.remote.hasProxies });
  const refresher = createKeyRefresher({
    keys,
    schedule: () => current().keyRefresh,
    isLeader,
    fetch: sources.fetch,
    log,
    wait: (ms) => wait(ms, undefined, { ref: false }),
  });
  return {
    start: refresher.start,
    refresher,
    close() {
      refresher.stop();
      return sources.close();
    },
  };
}
