// lookaside serve: opens the data directory, listens, and ends without losing a request.
import { existsSync, readFileSync, rmSync } from 'node:fs';
import { setTimeout as wait } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';
import { shownCertificate } from '../compose/certificate.ts';
import { systemClock } from '../compose/clock.ts';
import type { Composed, ComposeOptions } from '../compose/composed.ts';
import { createLineWriter, createLog } from '../compose/log.ts';
import { compose } from '../compose/server.ts';
import { sitesOf } from '../compose/site.ts';
import {
  type Config,
  MASK,
  MOST_READERS,
  readersSocketPathOf,
  type Setting,
  shownDatabase,
  socketPathOf,
  whyUnread,
} from '../config.ts';
import { isLookasideError, LookasideError, systemCode } from '../domain/errors.ts';
import { DEFAULT_SITE } from '../domain/image.ts';
import { countEnding } from '../domain/key-expiry.ts';
import { siteOf } from '../domain/site.ts';
import { createHandler } from '../http/app.ts';
import { createIntake } from '../http/intake.ts';
import {
  adopt,
  type Listener,
  type ListenOptions,
  listen,
  listenOnSocket,
  type SocketListener,
  type TlsFiles,
} from '../http/listener.ts';
import { createMetrics } from '../http/metrics.ts';
import type { Services } from '../http/services.ts';
import { createFleet, type Fleet } from '../readers/fleet.ts';
import type { ReaderState } from '../readers/messages.ts';
import { keepAccessLog } from '../service/access.ts';
import { createAdministration } from '../service/administration.ts';
import type { Mirror } from '../service/mirror.ts';
import { createSyncJobs } from '../service/sync-jobs.ts';
import { createPages } from '../ui/site.ts';
import { type BannerInput, formatBanner } from './banner.ts';
import { memoryShortage, setBytesOfEach } from './memory.ts';
import { usableProcessors } from './processors.ts';
import type { ServerSignals } from './server-signals.ts';
import { EXIT, print } from './terminal.ts';
import { thisCommand } from './this-command.ts';
import { VERSION } from './version.ts';

/** Batches are given this long after SIGTERM: what is stored of one by then is answered, and the rest is to be sent again. */
const BATCHES_MS = 3000;
/** Other requests under way are given this long. */
const DRAIN_MS = 8000;
/** The process is gone within ten seconds. */
const END_MS = 9500;

export interface ServeOptions {
  /** Reads the configuration anew at each call. */
  readonly load: () => Config;
  /** What `load` was given, without secrets. */
  readonly settings: () => readonly Setting[];
  /** Sockets to listen on instead of the configured address; empty when none was passed. */
  readonly passedSockets: readonly number[];
  readonly signals: ServerSignals;
  /** To go on although the log of audit events is not what was signed before. */
  readonly acceptRollback: boolean;
  /** To go on with a database that was moved back to a data directory. */
  readonly acceptMovedBack: boolean;
}

/** Resolves when the server has stopped. */
export async function runServe({
  load,
  settings,
  passedSockets,
  signals,
  acceptRollback,
  acceptMovedBack,
}: ServeOptions): Promise<number> {
  const started = load();
  let config = started;
  let isDraining = false;
  const log = createLog(config.logLevel);
  const processes = readingProcesses(config, log);
  const setBytes = setBytesOfEach(processes);
  const shortage = memoryShortage();
  if (shortage !== null) log.warn(shortage, LITTLE_MEMORY);
  const fleet =
    processes < 2
      ? null
      : createFleet({ size: processes - 1, setBytes, log, nowMs: systemClock.monotonicMs });
  const isNew = config.database === null && !existsSync(config.root);
  const composed = await open({
    ...(fleet === null ? {} : { readers: fleet }),
    setBytes,
    config,
    current: () => config,
    sites: sitesOf(config),
    log,
    taker: thisCommand(),
    acceptRollback,
    acceptMovedBack,
  });
  const ending = createEnding();
  const stopping = signals.stop(); // from the first request on, SIGTERM has it answered
  try {
    const services = toServices({
      composed,
      config: () => config,
      isDraining: () => isDraining,
      shownSettings: () => settings().map(withoutSecret),
      log,
      fleet,
    });
    const listeners =
      passedSockets.length === 0
        ? [await openListener(config, services)]
        : await adoptSockets(passedSockets, config, services);
    const readers =
      fleet === null
        ? null
        : await startReaders(fleet, { composed, services, listeners, config: () => config });
    // a node has no data directory: commands beside it open the database themselves
    const local = config.database === null ? await openLocalListener(config, services, log) : null;
    composed.upkeep.start();
    composed.judge.start();
    composed.refusals.start();
    void composed.recordSettings(settings().map(withoutSecret)); // reads do not wait for the disk
    if (config.tls !== null) void composed.recordCertificate(shownCertificate(readTls(config.tls).cert));
    const access = keepAccessLog({
      ...composed,
      recorder: fleet === null ? composed.recorder : withReaders(composed.recorder, fleet),
      log,
      clock: systemClock,
      limits: () => accessLimits(config),
    });
    const isWritable = await siteOf(composed.sites, DEFAULT_SITE).files.isWritable();

    signals.onReload(() => {
      const onCertificate = composed.recordCertificate;
      const withTls = [...listeners, ...(readers === null ? [] : [readers])];
      const next = reloaded({ load, before: config, listeners: withTls, log, onCertificate });
      if (next === config) return; // what was read cannot be used, nor told
      const isSameView = isDeepStrictEqual(next.releases, config.releases);
      config = next;
      if (!isSameView) composed.reader.forgetAll();
      log.level = config.logLevel;
      fleet?.stateChanged();
      if (fleet !== null && config.read === 'token') log.warn({ readers: config.readers }, READERS_IN_VAIN);
      void composed.recordSettings(settings().map(withoutSecret));
    });
    printBanner(config, {
      version: VERSION,
      urls: listeners.map(({ url }) => url),
      arePassed: passedSockets.length > 0,
      config,
      isWritable,
      isNew,
    });
    await stopping;
    isDraining = true;
    log.info({}, 'stopping: no new connections are taken, requests under way are finished');
    const awaited = ending.begin();
    composed.hurry();
    setTimeout(composed.endBatches, BATCHES_MS).unref();
    await Promise.race([
      Promise.all([
        ...[...listeners, local].map((listener) => listener?.drain()),
        fleet?.drain().then(() => readers?.passedOn.drain()),
      ]),
      wait(DRAIN_MS, undefined, { ref: false }),
    ]);
    for (const listener of [...listeners, local]) listener?.abort();
    await fleet?.abort();
    readers?.passedOn.abort();
    awaited('the record of the last reads');
    await access.stop();
    awaited('the databases, and what still writes to them');
  } finally {
    await fleet?.abort();
    await composed[Symbol.asyncDispose]();
    ending.over();
  }
  return EXIT.done;
}

/** The data directory, or the database that several nodes share; its code is loaded for it alone. */
async function open(options: ComposeOptions): Promise<Composed> {
  const serving = { ...options, offersLogIns: true };
  if (options.config.database === null) return compose(serving);
  const { composeNode } = await import('../compose/node.ts');
  return composeNode(serving);
}

/** What stands before the host of a URL is left out whole, because the user may be a token too. */
function withoutSecret({ name, value, source }: Setting): Setting {
  return { name, source, value: value === MASK ? 'set' : value.replace(/:\/\/[^/]*@/, '://set@') };
}

/** Access lines are for programs, which would stumble over it. */
function printBanner({ accessLog }: Config, input: BannerInput): void {
  const text = formatBanner(input);
  if (accessLog === 'off') print(text);
  else process.stderr.write(`${text}\n`);
}

/** Ends the process when stopping takes too long, as on a disk that is slow or does not answer. */
function createEnding() {
  let awaited = 'requests under way';
  let timer: NodeJS.Timeout | undefined;
  const end = () => {
    // not by way of the threads that wait for the disk
    const log = createLog('error', (line) => void process.stderr.write(`${line}\n`));
    log.error(
      { awaited },
      'stopping takes too long, so the process ends now; everything that was acknowledged is stored',
    );
    process.kill(process.pid, 'SIGKILL');
    // process 1 of a container cannot be killed from within, and this waits for the threads
    process.exit(EXIT.failed);
  };
  return {
    /** Call the result to say which wait has begun. */
    begin(): (what: string) => void {
      // not unref: most pauses of a server keep no process alive, and Node.js would end in the middle of the stop while one is waited for
      timer = setTimeout(end, END_MS);
      return (what) => {
        awaited = what;
      };
    },
    over: () => clearTimeout(timer),
  };
}

/** How many processes answer reads, with this one. */
function readingProcesses({ readers, read }: Config, log: Services['log']): number {
  const wanted = readers === 'auto' ? usefulReaders(read) : readers;
  if (wanted > 1 && read === 'token') log.warn({ readers: wanted }, READERS_IN_VAIN);
  return wanted;
}

const LITTLE_MEMORY =
  'the memory that this machine, container or service gives is less than the server is tested with: many large uploads at once may have the kernel end it, and clients then have to try again; give it more (--memory, resources.limits.memory or MemoryMax=)';

const READERS_IN_VAIN =
  'LOOKASIDE_READERS helps nothing while LOOKASIDE_READ is token: one process knows the tokens, and answers all reads; leave it out, or set it to auto';

function usefulReaders(read: Config['read']): number {
  return read === 'token' ? 1 : Math.min(usableProcessors(), MOST_READERS);
}

interface ReaderParts {
  readonly composed: Composed;
  readonly services: Services;
  readonly listeners: readonly Listener[];
  readonly config: () => Config;
}

interface StartedReaders extends Pick<Listener, 'setTls'> {
  /** Where they pass requests on. */
  readonly passedOn: SocketListener;
}

async function startReaders(
  fleet: Fleet,
  { composed, services, listeners, config }: ReaderParts,
): Promise<StartedReaders> {
  const { writePackedRows } = composed;
  if (writePackedRows === null) throw new Error('a node has no reader processes');
  const passOnPath = readersSocketPathOf(config());
  rmSync(passOnPath, { force: true }); // as the other socket
  const handler = createHandler({ services, isLocal: false, isForReaders: true });
  let passedOn: SocketListener;
  try {
    passedOn = await listenForReaders(handler, passOnPath);
  } catch (error) {
    await Promise.all(listeners.map((listener) => listener.drain())); // else they would keep the process
    throw error;
  }
  const { tls: files } = config();
  let tls = files === null ? null : readTls(files);
  fleet.start({
    state: () => ({ ...readerSettings(config()), places: composed.places(), tls }),
    listeners,
    passOnPath,
    readHeld: composed.reader.readHeld,
    writeRows: writePackedRows,
    onCounted: services.metrics.add,
    writeAccessLine: services.writeAccessLine,
    onPlainHttp: tellPlainHttp(services.log),
  });
  return {
    passedOn,
    setTls(next) {
      tls = next;
    },
  };
}

/** @throws LookasideError LISTEN_FAILED */
async function listenForReaders(handler: ListenOptions['handler'], path: string): Promise<SocketListener> {
  try {
    return await listenOnSocket(handler, path, true);
  } catch (error) {
    throw new LookasideError(
      'LISTEN_FAILED',
      `cannot listen on ${path}, by which reader processes reach this one: ${systemCode(error)}; its path may have 107 bytes: choose a shorter LOOKASIDE_DATA, or leave LOOKASIDE_READERS out`,
      { cause: error },
    );
  }
}

function readerSettings({
  prefix,
  read,
  accessLog,
  trustedProxies,
}: Config): Omit<ReaderState, 'places' | 'tls'> {
  return { prefix, read, accessLog, trustedProxies: trustedProxies.text };
}

/** Reads are recorded nowhere while the record has no room. */
function withReaders(recorder: Composed['recorder'], fleet: Fleet): Composed['recorder'] {
  return {
    ...recorder,
    setFull(isFull) {
      recorder.setFull(isFull);
      fleet.setFull(isFull);
    },
    get buffer() {
      return recorder.buffer;
    },
  };
}

interface ServiceParts {
  readonly composed: Composed;
  readonly config: () => Config;
  readonly isDraining: () => boolean;
  /** For the web page; none are shown when it is left out. */
  readonly shownSettings?: () => readonly Setting[];
  readonly log: Services['log'];
  /** Null: this process alone answers reads. */
  readonly fleet?: Fleet | null;
}

/** The services that the handler of requests uses. */
export function toServices({
  composed,
  config,
  isDraining,
  shownSettings,
  log,
  fleet = null,
}: ServiceParts): Services {
  const { sites, reader, recorder, index } = composed;
  const database = shownDatabase(config());
  const { data, root, tree } =
    database === null ? config() : ({ data: database, root: database, tree: 'owned' } as const);
  const about = { version: VERSION, pid: process.pid, startedAt: systemClock.now(), data, root, tree };
  const health = composed.health(isDraining);
  return {
    ...composed,
    pages: createPages({
      ...composed,
      health,
      isDraining,
      shownSettings: shownSettings ?? (() => []),
      syncJobs: createSyncJobs({ mirrors: composed.mirrors, clock: systemClock, log }),
      about,
      clock: systemClock,
      settings: config,
      countByKey: (fingerprint) => unlessRebuilding(() => composed.countByKey(fingerprint)),
      administration: (actor) => createAdministration({ ...composed, clock: systemClock, about }, actor),
    }),
    intake: createIntake(systemClock),
    health,
    metrics: createMetrics({
      version: VERSION,
      cache: () => (fleet === null ? reader.cache : sums(reader.cache, fleet.cache)),
      accessBuffer: () => (fleet === null ? recorder.buffer : sums(recorder.buffer, fleet.buffer)),
      ...(fleet === null ? {} : { readers: { gather: () => fleet.flush(), counts: () => fleet.counts } }),
      get sites() {
        return sites.map(({ name, problems, filling }) => ({
          name,
          ...(filling === null ? {} : { walks: () => walksOf(filling.mirror) }),
          problems: problems.counts,
          damaged: () => problems.damaged,
          counts: () => countsOrNull(index, name),
        }));
      },
      expiringKeys: async () => countEnding(await composed.keys.list(), systemClock.now()),
      async mirrors() {
        const nowMs = systemClock.now().getTime();
        return (await composed.mirrors.list()).map((mirror) => {
          const { completeAt } = mirror;
          return { ...mirror, lagMs: completeAt === null ? null : Math.max(0, nowMs - completeAt.getTime()) };
        });
      },
    }),
    log,
    clock: systemClock,
    about,
    settings: config,
    isDraining,
    untilSeen: () => fleet?.untilSeen() ?? null,
    writeAccessLine: createLineWriter(1),
  };
}

/** Adds to each number of `one` the number of the same name in `other`. */
function sums<Counts extends object>(
  one: Counts,
  other: { readonly [Name in keyof Counts]: number },
): Counts {
  const names = Object.keys(other) as (keyof Counts)[]; // literals of this process
  return Object.fromEntries(names.map((name) => [name, Number(one[name]) + other[name]])) as Counts;
}

function walksOf({ walks, faults }: Mirror): ReadonlyMap<string, number> {
  return new Map<string, number>([...Object.entries(walks), ...faults]);
}

function countsOrNull(index: Composed['index'], site: string) {
  return unlessRebuilding(() => index.counts(site));
}

async function unlessRebuilding<T>(count: () => Promise<T>): Promise<T | null> {
  try {
    return await count();
  } catch (error) {
    if (isLookasideError(error, 'INDEX_UNUSABLE')) return null; // being rebuilt
    throw error;
  }
}

function handling(services: Services): Pick<ListenOptions, 'handler' | 'onPlainHttp'> {
  return {
    handler: createHandler({ services, isLocal: false }),
    onPlainHttp: tellPlainHttp(services.log),
  };
}

const PLAIN_HTTP_TOLD_EVERY_MS = 60_000;

/** At most once a minute: otherwise any client could fill the disk with lines. */
function tellPlainHttp(log: Services['log']): (address: string) => void {
  let toldAtMs = Number.NEGATIVE_INFINITY;
  return (address) => {
    if (performance.now() - toldAtMs < PLAIN_HTTP_TOLD_EVERY_MS) return;
    toldAtMs = performance.now();
    log.warn(
      { client: address },
      'a client sent plain HTTP to the port for TLS, and was refused; give it an address that begins with https://',
    );
  };
}

const LISTEN_FAULTS: Readonly<Record<string, string>> = {
  EADDRINUSE: 'something else listens there; stop it',
  EADDRNOTAVAIL: 'this machine does not have that address; give it the address',
  EACCES: 'this user may not use that port; for one below 1024 give it CAP_NET_BIND_SERVICE',
};

async function openListener(config: Config, services: Services): Promise<Listener> {
  const { host, port } = config.listen;
  const tls = config.tls === null ? null : readTls(config.tls);
  try {
    return await listen({ ...handling(services), host, port, tls });
  } catch (error) {
    const code = systemCode(error);
    if (code === null) throw error;
    const why = LISTEN_FAULTS[code] ?? code;
    throw new LookasideError(
      'LISTEN_FAILED',
      `cannot listen on ${host ?? ''}:${port}: ${why}, or choose another with --listen or LOOKASIDE_LISTEN`,
      { cause: error },
    );
  }
}

/** All of them: one service may have several addresses. */
async function adoptSockets(
  fds: readonly number[],
  config: Config,
  services: Services,
): Promise<readonly Listener[]> {
  const { host, port } = config.listen;
  const listeners: Listener[] = [];
  try {
    for (const fd of fds) listeners.push(await adoptSocket(fd, config, services));
  } catch (error) {
    await Promise.all(listeners.map((listener) => listener.drain())); // else they would keep the process
    throw error;
  }
  services.log.info(
    { sockets: listeners.map(({ url }) => url), listen: `${host ?? ''}:${port}` },
    'listening on the sockets that were passed, and not on LOOKASIDE_LISTEN',
  );
  return listeners;
}

/** @throws LookasideError LISTEN_FAILED */
async function adoptSocket(fd: number, config: Config, services: Services): Promise<Listener> {
  const tls = config.tls === null ? null : readTls(config.tls);
  try {
    return await adopt({ ...handling(services), fd, tls });
  } catch (error) {
    const code = systemCode(error);
    if (code === null) throw error;
    throw new LookasideError(
      'LISTEN_FAILED',
      `cannot listen on file descriptor ${fd}, which LISTEN_FDS says is a socket: ${code}; wanted a TCP socket to listen on, as a socket unit with ListenStream=8000 and Accept=no passes it`,
      { cause: error },
    );
  }
}

/** Null when the path is too long for a socket: CLI commands that change something then need the server stopped. */
async function openLocalListener(
  config: Config,
  services: Services,
  log: Services['log'],
): Promise<SocketListener | null> {
  const path = socketPathOf(config);
  rmSync(path, { force: true }); // left by a killed server: we hold the lock, so nobody listens there
  try {
    return await listenOnSocket(createHandler({ services, isLocal: true }), path);
  } catch (error) {
    log.warn(
      { err: error, path },
      'no socket for CLI commands: those that change something need the server stopped',
    );
    return null;
  }
}

/** @throws LookasideError CONFIG_INVALID */
function readTls({ certFile, keyFile }: { certFile: string; keyFile: string }): TlsFiles {
  return {
    cert: readTlsFile('LOOKASIDE_TLS_CERT', certFile),
    key: readTlsFile('LOOKASIDE_TLS_KEY', keyFile),
  };
}

function readTlsFile(setting: string, path: string): Buffer {
  try {
    return readFileSync(path);
  } catch (error) {
    throw new LookasideError('CONFIG_INVALID', `${setting}: cannot read ${path}: ${whyUnread(error)}`, {
      cause: error,
    });
  }
}

function accessLimits({ accessRetentionMs, accessMaxBytes }: Config) {
  return { retentionMs: accessRetentionMs, maxBytes: accessMaxBytes };
}

interface Reload {
  readonly load: () => Config;
  readonly before: Config;
  readonly listeners: readonly Pick<Listener, 'setTls'>[];
  readonly log: Services['log'];
  /** Called with the certificate that new connections get. */
  readonly onCertificate: Composed['recordCertificate'];
}

/** The configuration that is now on disk; the previous one when that is unusable. Connections stay open. */
function reloaded({ load, before, listeners, log, onCertificate }: Reload): Config {
  try {
    const next = load();
    const isTlsSwitched = (next.tls === null) !== (before.tls === null);
    const fixed = {
      tls: isTlsSwitched ? before.tls : next.tls,
      listen: before.listen,
      data: before.data,
      root: before.root,
      tree: before.tree,
      prefix: before.prefix,
      database: before.database,
      readers: before.readers,
    };
    for (const name of ['listen', 'data', 'root', 'prefix', 'database', 'readers'] as const) {
      if (JSON.stringify(next[name]) === JSON.stringify(before[name])) continue;
      log.warn({ setting: `LOOKASIDE_${name.toUpperCase()}` }, 'this setting changes only by a restart');
    }
    if (isTlsSwitched) {
      log.warn({ setting: 'LOOKASIDE_TLS_CERT' }, 'TLS is switched on and off only by a restart');
    } else if (next.tls !== null) {
      const tls = readTls(next.tls);
      for (const listener of listeners) listener.setTls(tls);
      void onCertificate(shownCertificate(tls.cert));
    }
    log.info({}, 'the configuration was read again');
    return { ...next, ...fixed };
  } catch (error) {
    log.error({ err: error }, 'the configuration cannot be used; the one before stays in force');
    return before;
  }
}
