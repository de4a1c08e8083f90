// What the health of the server is read from: each site, the databases, the readers beside.
import { setTimeout as wait } from 'node:timers/promises';
import type { Log, SignatureIndex } from '../domain/ports.ts';
import { createHealth, type SiteSources } from '../service/health.ts';
import type { Databases } from '../sqlite/databases.ts';
import type { Composed, Connections } from './composed.ts';
import type { OpenSite } from './site.ts';

interface HealthParts {
  readonly sites: readonly OpenSite[];
  readonly log: Log;
}

export function openHealth(
  { current, databases, readers }: Connections,
  { sites, log }: HealthParts,
): Composed['health'] {
  return (isDraining) =>
    createHealth({
      get sites() {
        return sites.map((site) => healthOf(site, databases.index));
      },
      dataFreeBytes: databases.freeBytes,
      minFreeBytes: () => current().minFreeBytes,
      writerFault: () => writerFault(databases),
      ...(readers === undefined ? {} : { readersFault: () => readers.fault }),
      isDraining,
      wait,
      log,
    });
}

function healthOf(site: OpenSite, index: SignatureIndex): SiteSources {
  const { name, tree, files, problems, upkeep } = site;
  return {
    name,
    tree,
    checkTree: () => files.check(),
    isTreeWritable: () => files.isWritable(),
    freeBytes: () => site.freeBytes(),
    index: async () => ({
      isComplete: await isComplete(index, name),
      isScanning: upkeep.status.isScanning,
      error: upkeep.status.lastError,
    }),
    fault: () => site.fault,
    damaged: () => problems.damaged,
  };
}

async function isComplete(index: SignatureIndex, site: string): Promise<boolean> {
  try {
    return await index.isComplete(site);
  } catch {
    return false; // INDEX_UNUSABLE: being rebuilt
  }
}

function writerFault(databases: Databases): string | null {
  const { state, index, access } = databases.health();
  for (const [name, lane] of Object.entries({
    'state.db': state,
    'index.db': index,
    'the access log': access,
  })) {
    if (lane.lastWriteSucceeded === false) return `the last write to ${name} failed; the log says why`;
    if (lane.lockedTries > 0) return `${name} is locked by another process; writes wait`;
  }
  return null;
}
