// A reader process: started by fleet.ts, which passes the listening sockets. It answers reads of signatures from its memory, asks
// the owner of the data directory for sets that it has not, and passes all other requests on. It opens no file.
import { systemClock } from '../compose/clock.ts';
import { parseNetworks } from '../config.ts';
import type { AccessLog, Log } from '../domain/ports.ts';
import { adopt, type Listener } from '../http/listener.ts';
import { createPassOn } from '../http/passed-on.ts';
import { createReaderHandler } from '../http/reader-handler.ts';
import { gatherRequestCounts } from '../http/request-counts.ts';
import { createAccessRecorder } from '../service/access.ts';
import { packDays } from '../sqlite/packed-days.ts';
import { createRate, letGo, type Traffic, trafficOf } from './balance.ts';
import { createCopies } from './copies.ts';
import {
  type FromReader,
  REPORT_EVERY_MS,
  type ReaderState,
  type Report,
  type ToReader,
} from './messages.ts';

/** A message that cannot be sent has nobody to read it: the other process has ended, and 'disconnect' ends this one. */
function tell(message: FromReader): void {
  process.send?.(message, () => undefined);
}

const log: Log = {
  debug: (fields, message) => tell({ kind: 'log', level: 'debug', fields, message }),
  info: (fields, message) => tell({ kind: 'log', level: 'info', fields, message }),
  warn: (fields, message) => tell({ kind: 'log', level: 'warn', fields, message }),
  error: (fields, message) => tell({ kind: 'log', level: 'error', fields, message }),
};

const counts = gatherRequestCounts();
const copies = createCopies({
  clock: systemClock,
  cacheBytes: Number(process.argv[2]), // link.ts gives it
  ask: (asks) => tell({ kind: 'asks', asks }),
  later: setImmediate,
});
const writes = new Map<number, { readonly resolve: () => void; readonly reject: (error: Error) => void }>();
let lastWrite = 0;

const accessLog: AccessLog = {
  async write(batch) {
    const days = await packDays(batch);
    lastWrite += 1;
    const id = lastWrite;
    await new Promise<void>((resolve, reject) => {
      writes.set(id, { resolve, reject });
      tell({ kind: 'write', id, days });
    });
  },
  prune: () => Promise.reject(new Error('a reader process prunes nothing')),
  closeDays: () => Promise.reject(new Error('a reader process closes no days')),
};
const recorder = createAccessRecorder({ log, clock: systemClock, accessLog });

let listeners: readonly Listener[] = [];
let isDraining = false;
let lines: string[] = [];

function writeAccessLine(line: string): void {
  lines.push(line);
  if (lines.length === 1) setImmediate(tellLines);
}

function tellLines(): void {
  if (lines.length > 0) tell({ kind: 'lines', lines });
  lines = [];
}

function report(): void {
  tell({ kind: 'report', report: reportNow() });
}

function reportNow(): Report {
  return { counts: counts.take(), buffer: recorder.buffer, cache: copies.counts, traffic };
}

const rateOf = createRate(systemClock.monotonicMs);
let traffic: Traffic = { requestsPerSecond: 0, connections: 0 };

type Begin = Extract<ToReader, { kind: 'begin' }>;
let current: ReaderState | null = null;

let begun: Begin | null = null;

function begin(message: Begin): void {
  begun = message;
  tell({ kind: 'begun' });
}

async function listen(state: ReaderState): Promise<void> {
  if (begun === null) throw new Error('a reader process was told to listen before it was told where');
  const { sockets, passOnPath } = begun;
  let settings = settingsOf(state);
  current = state;
  const services = {
    reader: copies,
    recorder,
    metrics: counts,
    clock: systemClock,
    places: () => (current ?? state).places,
    settings() {
      if (settings.state !== current && current !== null) settings = settingsOf(current);
      return settings;
    },
    isDraining: () => isDraining,
    writeAccessLine,
  };
  const handler = createReaderHandler({ services, passOn: createPassOn(passOnPath), log });
  const onPlainHttp = (address: string) => tell({ kind: 'plain-http', address });
  const tls = tlsOf(state);
  listeners = await Promise.all(sockets.map((fd) => adopt({ handler, onPlainHttp, fd, tls })));
  if (current !== state) change(current); // told meanwhile
  tell({ kind: 'listening' });
  setInterval(() => {
    traffic = trafficOf(listeners, rateOf);
    letGo(listeners, 0); // what the owner has asked for is over
    report();
    void recorder.flush();
  }, REPORT_EVERY_MS);
  if (isDraining) await drain();
}

function settingsOf(state: ReaderState) {
  const { prefix, read, accessLog: lineForm, trustedProxies } = state;
  return { state, prefix, read, accessLog: lineForm, trustedProxies: parseNetworks(trustedProxies) };
}

function tlsOf({ tls }: ReaderState) {
  return tls === null ? null : { cert: Buffer.from(tls.cert), key: Buffer.from(tls.key) };
}

function change(state: ReaderState): void {
  const tls = tlsOf(state);
  if (tls !== null) for (const listener of listeners) listener.setTls(tls);
  current = state;
}

async function drain(): Promise<void> {
  await Promise.all(listeners.map((listener) => listener.drain()));
  await recorder.end();
  tellLines();
  // messages go out in their order
  process.send?.({ kind: 'report', report: reportNow() } satisfies FromReader, () => process.exit(0));
}

function act(message: ToReader): void {
  switch (message.kind) {
    case 'begin':
      begin(message);
      break;
    case 'listen':
      void listen(message.state);
      break;
    case 'state':
      change(message.state);
      break;
    case 'forget':
      copies.forget(message.images);
      tell({ kind: 'forgotten', number: message.number });
      break;
    case 'answers':
      copies.answer(message.answers);
      break;
    case 'full':
      recorder.setFull(message.isFull);
      break;
    case 'written':
      endWrite(message.id, message.fault);
      break;
    case 'flush':
      void flush(message.id);
      break;
    case 'let-go':
      letGo(listeners, message.connections);
      break;
    case 'drain':
      isDraining = true;
      if (listeners.length > 0) void drain();
      break;
    case 'abort':
      for (const listener of listeners) listener.abort();
      break;
  }
}

async function flush(id: number): Promise<void> {
  await recorder.flush();
  report();
  tell({ kind: 'flushed', id });
}

function endWrite(id: number, fault: string | null): void {
  const write = writes.get(id);
  writes.delete(id);
  if (fault === null) write?.resolve();
  else write?.reject(new Error(fault));
}

process.title = 'lookaside reader';
// signals to the whole group or service: the owner says when this process ends
for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.on(signal, () => undefined);
// the owner has ended: nobody says any more what is to be forgotten
process.on('disconnect', () => process.exit(0));
process.on('message', (message) => act(message as ToReader)); // only fleet.ts sends
