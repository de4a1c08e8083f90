// The metrics for Prometheus. A digest, repository or address is never a label.
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';
import type { ErrorCode } from '../domain/errors.ts';
import { countMirrors, type MirrorSource } from './mirror-metrics.ts';
import { type CountsElsewhere, createRequestCounts, type RequestCounts } from './request-counts.ts';

export type UploadResult =
  | { readonly result: 'created' | 'exists' }
  | { readonly result: 'refused'; readonly code: ErrorCode | 'INTERNAL' };

export interface MetricsSource {
  readonly version: string;
  readonly cache: () => { bytes: number; sets: number; hits: number; misses: number };
  readonly accessBuffer: () => { rows: number; dropped: number };
  /** Left out: no reader processes are wanted. */
  readonly readers?: ReadersSource;
  readonly sites: readonly SiteSource[];
  /** How many keys expire within so many days; see countEnding(). */
  readonly expiringKeys: () => Promise<readonly { readonly days: number; readonly count: number }[]>;
  /** How the mirrors are doing. */
  readonly mirrors: () => Promise<readonly MirrorSource[]>;
}

export interface ReadersSource {
  /** Has them say what they have counted. */
  readonly gather: () => Promise<void>;
  /** How many answer now, and how many have ended unasked since the start. */
  readonly counts: () => { readonly serving: number; readonly ended: number };
}

export interface SiteSource {
  readonly name: string;
  readonly problems: () => ReadonlyMap<string, number>;
  readonly damaged: () => number;
  /** How many walks of a mirror ended as a set, empty or with each kind of fault. Left out: it takes uploads. */
  readonly walks?: () => ReadonlyMap<string, number>;
  /** Null while the index is being rebuilt: the last known numbers stay. */
  readonly counts: () => Promise<{ images: number; signatures: number } | null>;
}

export interface Metrics extends RequestCounts {
  /** What became of one signature. */
  upload(result: UploadResult): void;
  /** How long one request with signatures took, from its last byte to the answer. */
  uploadTook(durationMs: number): void;
  /** What a reader process has counted since it last said so. */
  add(counted: CountsElsewhere): void;
  render(): Promise<{ readonly contentType: string; readonly text: string }>;
}

/** Gauges of prom-client with names of counters, which checkers refuse. They are sums of other gauges, which stay. */
const MISNAMED = [
  'nodejs_active_handles_total',
  'nodejs_active_requests_total',
  'nodejs_active_resources_total',
];

export function createMetrics(source: MetricsSource): Metrics {
  const registry = new Registry();
  collectDefaultMetrics({ register: registry });
  for (const name of MISNAMED) registry.removeSingleMetric(name);
  const registers = [registry];

  const counts = createRequestCounts(registry);
  const uploads = new Counter({
    name: 'lookaside_uploads_total',
    help: 'Uploaded signatures by what became of them; code says why one was refused',
    labelNames: ['result', 'code'],
    registers,
  });
  const uploadSeconds = new Histogram({
    name: 'lookaside_upload_duration_seconds',
    help: 'Verifying and storing what one upload request brought',
    buckets: [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10],
    registers,
  });
  gauge('lookaside_set_cache_bytes', 'Memory held by cached sets', () => source.cache().bytes);
  gauge('lookaside_set_cache_sets', 'Cached sets', () => source.cache().sets);
  counter('lookaside_set_cache_hits_total', 'Sets answered from memory', () => source.cache().hits);
  counter('lookaside_set_cache_misses_total', 'Sets looked up', () => source.cache().misses);
  gauge(
    'lookaside_access_buffer_rows',
    'Access rows waiting to be written',
    () => source.accessBuffer().rows,
  );
  counter(
    'lookaside_access_dropped_total',
    'Access rows that were not kept',
    () => source.accessBuffer().dropped,
  );
  siteGauge(
    'lookaside_damaged_signatures',
    'Recorded signatures whose file is gone or changed',
    ({ damaged }) => damaged(),
  );
  siteGauge('lookaside_images', 'Images with signatures', async ({ counts }) => {
    return (await counts())?.images ?? null;
  });
  siteGauge('lookaside_signatures', 'Signatures served', async ({ counts }) => {
    return (await counts())?.signatures ?? null;
  });
  new Gauge({
    name: 'lookaside_tree_problems',
    help: 'Files of the tree that need a look, by kind; lookaside fsck names them',
    labelNames: ['site', 'kind'],
    registers,
    collect() {
      this.reset();
      for (const { name: site, problems } of source.sites) {
        for (const [kind, count] of problems()) this.set({ site, kind }, count);
      }
    },
  });
  countWalks(source, registers);
  countExpiringKeys(source, registers);
  countReaders(source.readers);
  const lookAtMirrors = countMirrors(source.mirrors, registers);
  const build = new Gauge({
    name: 'lookaside_build_info',
    help: 'Always 1',
    labelNames: ['version', 'node'],
    registers,
  });
  build.set({ version: source.version, node: process.version }, 1);

  function gauge(name: string, help: string, value: () => number): void {
    new Gauge({
      name,
      help,
      registers,
      collect() {
        this.set(value());
      },
    });
  }

  function countReaders(readers: ReadersSource | undefined): void {
    if (readers === undefined) return;
    gauge('lookaside_readers', 'Reader processes that answer', () => readers.counts().serving);
    counter(
      'lookaside_readers_ended_total',
      'Reader processes that ended unasked, and were replaced',
      () => readers.counts().ended,
    );
  }

  /** Null: the last value stands. */
  function siteGauge(
    name: string,
    help: string,
    measure: (site: SiteSource) => number | null | Promise<number | null>,
  ): void {
    new Gauge({
      name,
      help,
      labelNames: ['site'],
      registers,
      async collect() {
        for (const site of source.sites) {
          const now = await measure(site);
          if (now !== null) this.set({ site: site.name }, now);
        }
      },
    });
  }

  /** `value` only grows, or starts again at 0. */
  function counter(name: string, help: string, value: () => number): void {
    new Counter({
      name,
      help,
      registers,
      collect() {
        this.reset();
        this.inc(value());
      },
    });
  }

  return {
    request: counts.request,
    read: counts.read,
    add: counts.add,
    upload(uploaded) {
      uploads.inc({ result: uploaded.result, code: uploaded.result === 'refused' ? uploaded.code : '' });
    },
    uploadTook: (durationMs) => uploadSeconds.observe(durationMs / 1000),
    async render() {
      await source.readers?.gather();
      await lookAtMirrors();
      return { contentType: registry.contentType, text: await registry.metrics() };
    },
  };
}

function countExpiringKeys({ expiringKeys }: MetricsSource, registers: Registry[]): void {
  new Gauge({
    name: 'lookaside_keys_expiring',
    help: 'Keys that expire within so many days, by themselves or by a subkey that signs; expired ones are not counted',
    labelNames: ['days'],
    registers,
    async collect() {
      // STORE_UNAVAILABLE: the last known numbers stay
      for (const { days, count } of await expiringKeys().catch(() => [])) this.set({ days }, count);
    },
  });
}

function countWalks(source: MetricsSource, registers: Registry[]): void {
  new Counter({
    name: 'lookaside_mirror_walks_total',
    help: 'Walks through the upstreams of a mirror: set = signatures, empty = none, all others are faults',
    labelNames: ['site', 'result'],
    registers,
    collect() {
      this.reset();
      for (const { name: site, walks } of source.sites) {
        for (const [result, count] of walks?.() ?? []) this.inc({ site, result }, count);
      }
    },
  });
}
