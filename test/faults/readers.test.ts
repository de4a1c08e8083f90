// A server whose reads are answered by several processes: the promises of reads hold on every connection, whichever of them has it.
import assert from 'node:assert/strict';
import { existsSync, readdirSync, readlinkSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { Agent } from 'node:http';
import path from 'node:path';
import { after, before, describe, it } from 'node:test';
import { startActivated } from '../clients/activated.ts';
import { eventually } from '../clients/eventually.ts';
import { createToken, type LookasideServer, startServer } from '../clients/server.ts';
import { enrol, makeSigner } from '../clients/signer.ts';
import { openTempFolder, type TempFolder } from '../clients/temp-folder.ts';
import { uploadsTo } from '../clients/uploads.ts';
import { requestRaw } from '../http/raw-request.ts';
import { folderOf, layImage, signatureBytes } from '../store/lay.ts';
import { ask } from './ask.ts';
import { count } from './promise.ts';

const READERS = 3;
const CONNECTIONS = 12;
const IMAGES = count(200, 8);
const ONE = signatureBytes('one');

const READY = /"pid":([0-9]+),"msg":"a reader process answers"/g;

/** Process ids of all readers so far, in the order in which they were ready. */
function readersOf(server: Pick<LookasideServer, 'output'>): number[] {
  return [...server.output().matchAll(READY)].map(([, pid]) => Number(pid));
}

const ready = (server: Pick<LookasideServer, 'output'>, readers = READERS - 1) =>
  eventually(() => assert.equal(readersOf(server).length, readers, server.output()));

const isAlive = (pid: number) => existsSync(`/proc/${pid}`);

function socketsOf(pid: number): number {
  const folder = `/proc/${pid}/fd`;
  return readdirSync(folder).filter((fd) => isSocket(path.join(folder, fd))).length;
}

function isSocket(fd: string): boolean {
  try {
    return readlinkSync(fd).startsWith('socket:');
  } catch {
    return false; // closed meanwhile
  }
}

interface Connections extends Disposable {
  /** The answer on each. */
  ask(target: string): Promise<readonly { readonly status: number; readonly body: Buffer }[]>;
}

/** Kept connections, so many that each process has some. */
function connectTo(port: number): Connections {
  const agents = Array.from({ length: CONNECTIONS }, () => new Agent({ keepAlive: true, maxSockets: 1 }));
  return {
    ask: (target) => Promise.all(agents.map((agent) => ask(port, target, agent))),
    [Symbol.dispose]() {
      for (const agent of agents) agent.destroy();
    },
  };
}

/** Once each process has a connection. */
async function connectToAll(server: LookasideServer): Promise<Connections> {
  const readers = readersOf(server).filter(isAlive);
  const before = readers.map(socketsOf);
  return eventually(async () => {
    const connections = connectTo(server.port);
    await connections.ask('/livez');
    const opened = readers.map((pid, position) => socketsOf(pid) - (before[position] ?? 0));
    // what a reader has open towards the owner comes and goes, so that several are wanted
    if (opened.every((more) => more >= 2)) return connections;
    connections[Symbol.dispose]();
    throw new Error(`connections of the readers: ${opened}`);
  });
}

async function metric(port: number, name: string): Promise<number> {
  const { body } = await requestRaw(port, 'GET /metrics');
  const line = body
    .toString()
    .split('\n')
    .filter((text) => text.startsWith(name));
  return line.reduce((sum, text) => sum + Number(text.split(' ').at(-1)), 0);
}

describe('several processes that answer reads', () => {
  const signer = makeSigner('alice');
  let temp: TempFolder;
  let data: string;
  let settings: string;
  let server: LookasideServer;
  let token: string;
  let admin: string;

  before(async () => {
    temp = await openTempFolder();
    data = path.join(temp.path, 'data');
    settings = path.join(temp.path, 'lookaside.yaml');
    await writeFile(settings, 'read: anonymous\n');
    token = await enrol(data, signer);
    admin = await createToken(data, 'admin', 'admin');
    server = await startServer({
      data,
      settings: { LOOKASIDE_READERS: String(READERS), LOOKASIDE_CONFIG: settings },
    });
    await ready(server);
    await eventually(async () => {
      const { body } = await requestRaw(server.port, 'GET /readyz');
      assert.equal(JSON.parse(body.toString()).status, 'ok');
    });
  });

  after(async () => {
    await server?.[Symbol.asyncDispose]();
    await temp?.[Symbol.asyncDispose]();
  });

  it('show an acknowledged upload and an acknowledged withdrawal at once on every connection', async () => {
    using connections = await connectToAll(server);
    const { put } = uploadsTo(server.port, token);
    const wrong: string[] = [];
    for (let image = 0; image < IMAGES; image += 1) {
      const repository = `team/seen-${image}`;
      const folder = folderOf(repository);
      const signatures = [1, 2].map((timestamp) => signer.sign({ repository, tag: 'v1', timestamp }));
      for (const [position, bytes] of signatures.entries()) {
        const target = `/${folder}/signature-${position + 1}`;
        const earlier = await connections.ask(target);
        if (earlier.some(({ status }) => status !== 404)) wrong.push(`${target} before its upload`);
        const { status } = await put(target.slice(1), bytes);
        assert.equal(status, 201);
        for (const answer of await connections.ask(target)) {
          if (answer.status !== 200 || !answer.body.equals(bytes)) wrong.push(`${target}: ${answer.status}`);
        }
      }
      const last = `/${folder}/signature-2`;
      const lines = [`Authorization: Bearer ${admin}`];
      const { status } = await requestRaw(server.port, `DELETE ${last}?reason=test`, lines);
      assert.equal(status, 200);
      for (const answer of await connections.ask(last)) {
        if (answer.status !== 404) wrong.push(`${last} after its withdrawal: ${answer.status}`);
      }
    }
    assert.deepEqual(wrong, []);
  });

  it('record and count each of their reads once', async () => {
    const repository = 'team/counted';
    const folder = folderOf(repository);
    const { put } = uploadsTo(server.port, token);
    assert.equal((await put(`${folder}/signature-1`, signer.sign({ repository, tag: 'v1' }))).status, 201);
    using connections = await connectToAll(server);
    const counted = await metric(server.port, 'lookaside_http_requests_total{route="signature",method="GET"');
    for (let round = 0; round < 20; round += 1) {
      await connections.ask(`/${folder}/signature-1`);
      await connections.ask(`/${folder}/signature-2`);
    }
    const reads = 2 * 20 * CONNECTIONS;
    // a reader that has no processor for a second is not waited for
    await eventually(async () => {
      const now = await metric(server.port, 'lookaside_http_requests_total{route="signature",method="GET"');
      assert.equal(now - counted, reads);
    });
    const lines = [`Authorization: Bearer ${admin}`];
    const question = `GET /api/v1/access?repository=${repository}&limit=1000`;
    await eventually(async () => {
      const { body } = await requestRaw(server.port, question, lines);
      const { rows } = JSON.parse(body.toString()) as {
        readonly rows: readonly { readonly count: number; readonly status: number }[];
      };
      const sum = (wanted: number) =>
        rows.filter(({ status }) => status === wanted).reduce((total, row) => total + row.count, 0);
      assert.deepEqual([sum(200), sum(404)], [reads / 2, reads / 2], body.toString());
    });
  });

  it('go on when one of them is killed, and another one takes its place', async () => {
    const repository = 'team/killed';
    const folder = folderOf(repository);
    const { put } = uploadsTo(server.port, token);
    assert.equal((await put(`${folder}/signature-1`, signer.sign({ repository, tag: 'v1' }))).status, 201);
    const [victim] = readersOf(server);
    assert.ok(victim !== undefined);
    process.kill(victim, 'SIGKILL');
    for (let round = 0; round < 30; round += 1) {
      const { status } = await requestRaw(server.port, `GET /${folder}/signature-1`);
      assert.equal(status, 200);
    }
    await ready(server, READERS);
    assert.match(server.output(), new RegExp(`"pid":${victim},"how":"SIGKILL"`));
    assert.equal(await metric(server.port, 'lookaside_readers_ended_total'), 1);
    assert.equal(await metric(server.port, 'lookaside_readers '), READERS - 1);
    const { body } = await requestRaw(server.port, 'GET /readyz');
    assert.deepEqual(JSON.parse(body.toString()).checks.readers, { state: 'ok', message: null });
  });

  it('do not keep an upload waiting for one of them that hangs: it is ended first, and cannot show what is old', async () => {
    const repository = 'team/hanging';
    const folder = folderOf(repository);
    const victim = readersOf(server).at(-1);
    assert.ok(victim !== undefined);
    process.kill(victim, 'SIGSTOP');
    try {
      const bytes = signer.sign({ repository, tag: 'v1' });
      // again while the one that hangs has taken the connection
      await eventually(async () => {
        const answered = await Promise.race([
          uploadsTo(server.port, token).put(`${folder}/signature-1`, bytes),
          new Promise<null>((resolve) => setTimeout(resolve, 4000, null)),
        ]);
        assert.ok(answered?.status === 201 || answered?.status === 200);
      });
      // at the time of the answer: later it would have been ended for its silence in any case
      assert.equal(isAlive(victim), false);
      await eventually(() => assert.match(server.output(), new RegExp(`"pid":${victim},"how":"SIGKILL"`)));
    } finally {
      if (isAlive(victim)) process.kill(victim, 'SIGCONT');
    }
  });

  it('take new settings at SIGHUP, on connections that stay open', async () => {
    const folder = await layImage(path.join(data, 'sigstore'), 'team/closed', ONE);
    await eventually(async () => assert.equal(await metric(server.port, 'lookaside_readers '), READERS - 1));
    using connections = await connectToAll(server);
    const statuses = async () =>
      (await connections.ask(`/${folder}/signature-1`)).map(({ status }) => status);
    assert.deepEqual(await statuses(), Array(CONNECTIONS).fill(200));
    await writeFile(settings, 'read: token\n');
    process.kill(server.pid, 'SIGHUP');
    await eventually(async () => assert.deepEqual(await statuses(), Array(CONNECTIONS).fill(401)));
    await eventually(() =>
      assert.match(server.output(), /LOOKASIDE_READERS helps nothing while LOOKASIDE_READ is token/),
    );
  });

  it('end with the process that started them, however it ends', async () => {
    const readers = readersOf(server).filter(isAlive);
    assert.equal(readers.length, READERS - 1);
    process.kill(server.pid, 'SIGKILL');
    await eventually(() => assert.deepEqual(readers.filter(isAlive), []));
    await assert.rejects(requestRaw(server.port, 'GET /livez'), { code: 'ECONNREFUSED' });
  });
});

it('a restart behind a passed socket loses no request of several processes', async () => {
  await using temp = await openTempFolder();
  const folder = await layImage(path.join(temp.path, 'sigstore'), 'team/app', ONE);
  await using server = await startActivated(temp.path, { LOOKASIDE_READERS: '2' });
  await ready(server, 1);
  const kept = new Agent({ keepAlive: true, maxSockets: 8 });
  const fresh = new Agent({ keepAlive: false });
  const failed: string[] = [];
  let isOver = false;
  let answered = 0;
  const client = async (agent: Agent) => {
    for (let round = 1; !isOver; round += 1) {
      const [number, wanted] = round % 2 === 0 ? [1, 200] : [2, 404];
      try {
        const { status } = await ask(server.port, `/${folder}/signature-${number}`, agent);
        if (status !== wanted) failed.push(`answered ${status}`);
        else answered += 1;
      } catch (error) {
        failed.push(String(error));
      }
    }
  };
  const clients = Promise.all(Array.from({ length: 16 }, (_, at) => client(at % 2 === 0 ? kept : fresh)));
  const until = (wanted: number) => eventually(() => assert.ok(answered >= wanted));
  for (let restart = 1; restart <= count(5, 1); restart += 1) {
    await until(restart * count(2000, 200));
    await server.restart();
    await ready(server, 1 + restart);
  }
  await until(count(12_000, 600));
  isOver = true;
  await clients;
  kept.destroy();
  fresh.destroy();
  assert.deepEqual(failed, []);
});
