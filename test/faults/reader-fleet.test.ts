// What the owner of the data directory does about reader processes that do not start or do not answer, and about its own pauses.
import assert from 'node:assert/strict';
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { after, afterEach, describe, it } from 'node:test';
import { setTimeout as wait } from 'node:timers/promises';
import { createFleet, type Fleet, type FleetStart } from '../../src/readers/fleet.ts';
import type { FromReader, ReaderState, ToReader } from '../../src/readers/messages.ts';
import { eventually } from '../clients/eventually.ts';
import { createLog, imageOf } from '../service/hand-driven.ts';

const STATE: ReaderState = {
  places: [],
  prefix: '',
  read: 'anonymous',
  accessLog: 'off',
  trustedProxies: '',
  tls: null,
};

const START: FleetStart = {
  state: () => STATE,
  listeners: [],
  passOnPath: '/nowhere',
  readHeld: () => Promise.reject(new Error('nothing is asked here')),
  writeRows: () => Promise.resolve(),
  onCounted: () => undefined,
  writeAccessLine: () => undefined,
  onPlainHttp: () => undefined,
};

/** This process, as whatever keeps its event loop would have it. */
function standStill(ms: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
}

describe('a fleet of reader processes', () => {
  let fleet: Fleet | null = null;

  function create(): Fleet {
    const script = new URL('./reader-child.js', import.meta.url);
    const nowMs = () => performance.now();
    return createFleet({ size: 1, setBytes: 1024 * 1024, log: createLog(), nowMs, script });
  }

  function start(): Fleet {
    fleet = create();
    fleet.start(START);
    return fleet;
  }
  const serving = (started: Fleet) => eventually(() => assert.equal(started.counts.serving, 1));

  afterEach(async () => {
    delete process.env.READER_CHILD;
    await fleet?.abort();
  });

  it('does not hold a pause of its own against readers that have answered meanwhile', async () => {
    const started = start();
    await serving(started);
    started.forgotten(imageOf('team/app'));
    const seen = started.untilSeen();
    assert.notEqual(seen, null);
    standStill(2500);
    await seen;
    assert.deepEqual(started.counts, { serving: 1, ended: 0 });
  });

  it('ends a reader that does not say that it has forgotten, and then says that all have', async () => {
    process.env.READER_CHILD = 'deaf';
    const started = start();
    await serving(started);
    started.forgotten(imageOf('team/app'));
    await started.untilSeen();
    assert.deepEqual(started.counts, { serving: 0, ended: 1 });
  });

  it('has the one that answers everything end half of its connections', async () => {
    process.env.READER_CHILD = 'busy';
    const log = createLog();
    const script = new URL('./reader-child.js', import.meta.url);
    fleet = createFleet({ size: 1, setBytes: 1024 * 1024, log, nowMs: () => performance.now(), script });
    const ownLetGo: number[] = [];
    const listener = {
      fd: 2,
      traffic: { requests: 0, connections: 0 },
      letGo: (connections: number) => void ownLetGo.push(connections),
    };
    fleet.start({ ...START, listeners: [listener] });
    await eventually(() => {
      const told = log.lines.find(({ message }) => message === 'let go');
      assert.equal(told?.fields.connections, 8);
    });
    assert.ok(ownLetGo.every((connections) => connections === 0));
  });

  it('ends half of the connections of its owner when that answers everything', async () => {
    fleet = create();
    const ownLetGo: number[] = [];
    let requests = 0;
    const listener = {
      fd: 2,
      get traffic() {
        requests += 5000; // asked twice a second
        return { requests, connections: 12 };
      },
      letGo: (connections: number) => void ownLetGo.push(connections),
    };
    fleet.start({ ...START, listeners: [listener] });
    await eventually(() => assert.ok(ownLetGo.includes(6), ownLetGo.join()));
  });

  it('tries again when the system cannot start one, and goes on itself', async () => {
    process.env.READER_CHILD = 'x'.repeat(200_000); // a longer text than the system passes to a process: E2BIG
    const started = start();
    await eventually(() => assert.ok(started.counts.ended >= 2));
    assert.match(started.fault ?? '', /^0 of 1 reader processes answer/);
    delete process.env.READER_CHILD;
    await serving(started);
    assert.equal(started.fault, null);
  });
});

describe('a reader process', () => {
  const server = createServer();
  after(() => server.close());

  it('listens only once its owner waits for it, so that it serves nothing that was changed while it started', async () => {
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { fd } = (server as typeof server & { readonly _handle: { readonly fd: number } })._handle;
    const reader = fork(new URL('../../src/readers/process.js', import.meta.url), [String(1024 * 1024)], {
      serialization: 'advanced',
      stdio: ['ignore', 'ignore', 'inherit', 'ipc', fd],
    });
    const said: FromReader['kind'][] = [];
    reader.on('message', ({ kind }: FromReader) => said.push(kind));
    const tell = (message: ToReader) => reader.send(message);
    try {
      tell({ kind: 'begin', sockets: [4], passOnPath: '/nowhere' });
      await eventually(() => assert.deepEqual(said, ['begun']));
      await wait(300);
      assert.deepEqual(said, ['begun']);
      tell({ kind: 'listen', state: STATE });
      await eventually(() => assert.ok(said.includes('listening')));
    } finally {
      reader.kill('SIGKILL');
    }
  });
});
