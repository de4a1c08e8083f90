// What /metrics tells of mirrors: the last sync, how far behind it is, and what differs from the upstream.
import { Gauge, type Registry } from 'prom-client';
import type { MirrorStatus } from '../domain/mirror.ts';

export interface MirrorSource
  extends Pick<
    MirrorStatus,
    'name' | 'lastSync' | 'completeAt' | 'restingMs' | 'goneUpstream' | 'leftOut' | 'unstored'
  > {
  /** Since the last sync in which nothing failed; null: there was none. */
  readonly lagMs: number | null;
}

type Set = (labels: Readonly<Record<string, string>>, value: number) => void;

interface Told {
  readonly name: string;
  readonly help: string;
  readonly labels?: readonly string[];
  readonly tell: (mirror: MirrorSource, set: Set) => void;
}

const TOLD: readonly Told[] = [
  {
    name: 'lookaside_mirror_lag_seconds',
    help: 'Time since the last sync of a mirror in which nothing failed; absent: there was none',
    tell({ lagMs }, set) {
      if (lagMs !== null) set({}, lagMs / 1000);
    },
  },
  {
    name: 'lookaside_mirror_last_sync_timestamp_seconds',
    help: 'When the last sync of a mirror ended',
    tell({ lastSync }, set) {
      if (lastSync !== null) set({}, lastSync.finishedAt.getTime() / 1000);
    },
  },
  {
    name: 'lookaside_mirror_last_sync_images',
    help: 'Images of the last sync of a mirror by what became of them',
    labels: ['result'],
    tell({ lastSync }, set) {
      for (const [result, count] of Object.entries(lastSync?.counts ?? {})) set({ result }, count);
    },
  },
  {
    name: 'lookaside_mirror_resting_seconds',
    help: 'For how long every upstream of a mirror is left alone after faults; 0: one is asked',
    tell: ({ restingMs }, set) => set({}, restingMs / 1000),
  },
  {
    name: 'lookaside_mirror_gone_upstream_signatures',
    help: 'Signatures that a mirror serves and that are gone from its upstream',
    tell: ({ goneUpstream }, set) => set({}, goneUpstream),
  },
  {
    name: 'lookaside_mirror_left_out_signatures',
    help: 'Signatures of the upstream that a mirror does not serve, as no client could use them',
    tell: ({ leftOut }, set) => set({}, leftOut),
  },
  {
    name: 'lookaside_mirror_unstored_images',
    help: 'Images whose signatures a mirror serves from memory alone, because they could not be stored',
    tell: ({ unstored }, set) => set({}, unstored),
  },
];

/** What is returned looks at the mirrors once, for all gauges of a scrape. */
export function countMirrors(
  mirrors: () => Promise<readonly MirrorSource[]>,
  registers: Registry[],
): () => Promise<void> {
  const gauges = TOLD.map(({ name, help, labels = [] }) => {
    return new Gauge({ name, help, labelNames: ['site', ...labels], registers });
  });
  return async () => {
    const statuses = await mirrors().catch(() => null); // STORE_UNAVAILABLE: the last known numbers stay
    if (statuses === null) return;
    for (const [position, { tell }] of TOLD.entries()) {
      const gauge = gauges[position];
      gauge?.reset();
      for (const mirror of statuses)
        tell(mirror, (more, value) => gauge?.set({ site: mirror.name, ...more }, value));
    }
  };
}
