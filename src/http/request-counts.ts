// Counts of requests and reads. Each request is counted, so this is plain arithmetic; what Prometheus is told is made from it
// when it asks. prom-client's own counters make a text of the labels and hash it, each time.
import { Counter, type Metric, type Registry } from 'prom-client';

export type ReadResult = 'hit' | 'end' | 'miss' | 'error';

export interface AnsweredRequest {
  readonly route: string;
  readonly method: string | undefined;
  readonly status: number;
  /** From the request's last header line until its answer is known. */
  readonly durationMs: number;
}

export interface RequestCounts {
  request(answered: AnsweredRequest): void;
  read(site: string, result: ReadResult): void;
}

/** What another process has counted. */
export interface CountsElsewhere {
  readonly routes: ReadonlyMap<string, Readonly<RouteCounts>>;
  readonly reads: ReadonlyMap<string, ReadonlyMap<ReadResult, number>>;
}

export interface GatheredCounts extends RequestCounts {
  /** All that was counted since the last take(). */
  take(): CountsElsewhere;
}

const METHODS: ReadonlySet<string> = new Set(['GET', 'HEAD', 'PUT', 'POST', 'DELETE']);
const BOUNDS_SECONDS = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];
const BOUNDS_MS = BOUNDS_SECONDS.map((seconds) => seconds * 1000);
const DURATION = 'lookaside_http_request_duration_seconds';

/** The counts of one route. Labels come from our own lists, so that there are few. */
interface RouteCounts {
  /** By method, then status. */
  readonly answers: Map<string, Map<number, number>>;
  /** How many took up to each bound and longer than the one before; the last: longer than all. */
  readonly inBucket: number[];
  sumMs: number;
  count: number;
}

/** For a process that Prometheus does not ask. */
export function gatherRequestCounts(): GatheredCounts {
  let counting = startCounting();
  return {
    request: (answered) => counting.request(answered),
    read: (site, result) => counting.read(site, result),
    take() {
      const { routes, reads } = counting;
      counting = startCounting();
      return { routes, reads };
    },
  };
}

export function createRequestCounts(
  registry: Registry,
): RequestCounts & { add(counted: CountsElsewhere): void } {
  const { routes, reads, request, read, add } = startCounting();
  const registers = [registry];

  new Counter({
    name: 'lookaside_http_requests_total',
    help: 'Requests answered',
    labelNames: ['route', 'method', 'status'],
    registers,
    collect() {
      this.reset();
      for (const [route, { answers }] of routes) {
        for (const [method, byStatus] of answers) {
          for (const [status, count] of byStatus) this.inc({ route, method, status }, count);
        }
      }
    },
  });
  // a histogram of prom-client can only be told one value at a time
  registry.registerMetric(durationsOf(routes) as unknown as Metric);
  new Counter({
    name: 'lookaside_signature_reads_total',
    help: 'Reads of signatures: hit = served, end = past the last one, miss = the image has none, error = 503',
    labelNames: ['site', 'result'],
    registers,
    collect() {
      this.reset();
      for (const [site, results] of reads) {
        for (const [result, count] of results) this.inc({ site, result }, count);
      }
    },
  });

  return { request, read, add };
}

function startCounting() {
  const routes = new Map<string, RouteCounts>();
  const reads = new Map<string, Map<ReadResult, number>>();

  function request({ route, method = '', status, durationMs }: AnsweredRequest): void {
    const counts = routes.get(route) ?? newRoute(routes, route);
    const named = METHODS.has(method) ? method : 'other';
    const byStatus = counts.answers.get(named) ?? newMap(counts.answers, named);
    byStatus.set(status, (byStatus.get(status) ?? 0) + 1);
    const bucket = bucketOf(durationMs);
    counts.inBucket[bucket] = (counts.inBucket[bucket] ?? 0) + 1;
    counts.sumMs += durationMs;
    counts.count += 1;
  }

  function read(site: string, result: ReadResult): void {
    const results = reads.get(site) ?? newMap(reads, site);
    results.set(result, (results.get(result) ?? 0) + 1);
  }

  function add(counted: CountsElsewhere): void {
    for (const [route, more] of counted.routes) {
      const counts = routes.get(route) ?? newRoute(routes, route);
      for (const [method, byStatus] of more.answers) addTo(counts.answers, method, byStatus);
      more.inBucket.forEach((count, bucket) => {
        counts.inBucket[bucket] = (counts.inBucket[bucket] ?? 0) + count;
      });
      counts.sumMs += more.sumMs;
      counts.count += more.count;
    }
    for (const [site, results] of counted.reads) addTo(reads, site, results);
  }

  return { routes, reads, request, read, add };
}

function addTo<Outer, Inner>(
  maps: Map<Outer, Map<Inner, number>>,
  key: Outer,
  more: ReadonlyMap<Inner, number>,
): void {
  const counts = maps.get(key) ?? newMap(maps, key);
  for (const [inner, count] of more) counts.set(inner, (counts.get(inner) ?? 0) + count);
}

function bucketOf(durationMs: number): number {
  let bucket = 0;
  while (bucket < BOUNDS_MS.length && durationMs > (BOUNDS_MS[bucket] ?? 0)) bucket += 1;
  return bucket;
}

function newRoute(routes: Map<string, RouteCounts>, route: string): RouteCounts {
  const inBucket = Array<number>(BOUNDS_MS.length + 1).fill(0);
  const counts: RouteCounts = { answers: new Map(), inBucket, sumMs: 0, count: 0 };
  routes.set(route, counts);
  return counts;
}

function newMap<Key, Inner>(maps: Map<Key, Map<Inner, number>>, key: Key): Map<Inner, number> {
  const made = new Map<Inner, number>();
  maps.set(key, made);
  return made;
}

/** What prom-client asks of a metric: its name, and `get()`, which gives the values that stand in the text. */
function durationsOf(routes: ReadonlyMap<string, RouteCounts>) {
  return {
    name: DURATION,
    reset: () => undefined,
    async get() {
      return {
        name: DURATION,
        help: 'From the last header line of a request until its answer is known',
        type: 'histogram',
        aggregator: 'sum',
        values: [...routes].flatMap(([route, counts]) => valuesOf(route, counts)),
      };
    },
  };
}

function valuesOf(route: string, { inBucket, sumMs, count }: RouteCounts) {
  let below = 0;
  const buckets = inBucket.map((inThis, position) => {
    below += inThis;
    const le = BOUNDS_SECONDS[position] ?? '+Inf';
    return { metricName: `${DURATION}_bucket`, labels: { le, route }, value: below };
  });
  return [
    ...buckets,
    { metricName: `${DURATION}_sum`, labels: { route }, value: sumMs / 1000 },
    { metricName: `${DURATION}_count`, labels: { route }, value: count },
  ];
}
