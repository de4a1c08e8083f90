// Starting, stopping and reloading under load: nobody who was being served notices.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { copyFile, writeFile } from 'node:fs/promises';
import { Agent } from 'node:http';
import { connect, type Socket } from 'node:net';
import path from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { connect as connectTls } from 'node:tls';
import { connect as connectDatabase } from '../../src/sqlite/connect.ts';
import { needs } from '../clients/available.ts';
import { makeServerCertificate } from '../clients/certificate.ts';
import { describeOutcome, run } from '../clients/command.ts';
import { eventually } from '../clients/eventually.ts';
import { type LookasideServer, lookaside, startServer } from '../clients/server.ts';
import { openTempFolder, type TempFolder } from '../clients/temp-folder.ts';
import { parseAnswer, requestRaw } from '../http/raw-request.ts';
import { layImage, signatureBytes } from '../store/lay.ts';
import { ask, Lost } from './ask.ts';
import { count, isFull } from './promise.ts';

const ONE = signatureBytes('one', 3000);
const IMAGES = 20;
const CLIENTS = 16;
const RESTARTS = count(4, 1);
/** What has just been made when the start is ended: what is made last has all before it. */
const BEGUN = isFull ? ['lock', 'state.db', 'index.db'] : ['index.db'];

let temp: TempFolder;
let root: string;
let data: string;
let folders: string[];
let server: LookasideServer;

beforeEach(async () => {
  temp = await openTempFolder();
  root = path.join(temp.path, 'tree');
  data = path.join(temp.path, 'data');
  folders = [];
  for (let image = 0; image < IMAGES; image += 1)
    folders.push(await layImage(root, `team/app-${image}`, ONE));
});

afterEach(async () => {
  await server?.[Symbol.asyncDispose]();
  await temp[Symbol.asyncDispose]();
});

describe('SIGTERM', () => {
  it('under 16 clients loses no request, and each restart ends with 0', async () => {
    server = await startServer({ root, data });
    const { host, port } = server;
    const totals = { answered: 0, refused: 0 };
    let isOver = false;
    const client = async (agent: Agent) => {
      for (let round = 0; !isOver; round += 1) {
        const [number, status] = round % 2 === 0 ? [1, 200] : [2, 404];
        try {
          const answer = await ask(port, `/${folders[round % IMAGES]}/signature-${number}`, agent);
          assert.equal(answer.status, status);
          if (status === 200) assert.deepEqual(answer.body, ONE);
          totals.answered += 1;
        } catch (error) {
          if (!(error instanceof Lost)) throw error;
          // Between two processes nobody listens, and what waits in the listening socket's queue when it closes is
          // reset by the kernel: the server never had it. What it has had once is never lost.
          assert.ok(
            !error.isReused && ['ECONNREFUSED', 'ECONNRESET'].includes(error.code ?? ''),
            error.message,
          );
          totals.refused += 1;
          await new Promise((resolve) => setImmediate(resolve));
        }
      }
    };
    const kept = new Agent({ keepAlive: true, maxSockets: CLIENTS });
    const fresh = new Agent({ keepAlive: false });
    const clients = Promise.all([
      ...Array.from({ length: CLIENTS / 2 }, () => client(kept)),
      ...Array.from({ length: CLIENTS / 2 }, () => client(fresh)),
    ]);
    // a failure of a client is met at the end; until then it must not count as unhandled
    clients.catch(() => undefined);
    for (let restart = 0; restart < RESTARTS; restart += 1) {
      const before = totals.answered;
      await eventually(() => assert.ok(totals.answered > before + 200));
      await server.stop();
      server = await startServer({ root, data, listen: host });
    }
    const before = totals.answered;
    await eventually(() => assert.ok(totals.answered > before + 200));
    isOver = true;
    await clients;
    kept.destroy();
    fresh.destroy();
  });

  it('lets a request that is under way come to its end, and closes the connection after it', async () => {
    server = await startServer({ root, data });
    const socket = connect({ host: '127.0.0.1', port: server.port });
    await once(socket, 'connect');
    const idle = connect({ host: '127.0.0.1', port: server.port });
    await once(idle, 'connect');
    socket.write(`GET /${folders[0]}/signature-1 HTTP/1.1\r\nHost: a\r\n`);
    idle.write('GET /livez HTTP/1.1\r\nHost: a\r\n\r\n');
    await once(idle, 'data');
    process.kill(server.pid, 'SIGTERM');
    await eventually(() => assert.match(server.output(), /stopping/));
    socket.write('\r\n');
    const answer = parseAnswer(await readToEnd(socket));
    assert.equal(answer.status, 200);
    assert.deepEqual(answer.body, ONE);
    assert.equal(answer.headers.get('connection'), 'close');
    assert.equal(await server.ended, 0);
  });

  it('during a start ends it at once with 0, and the next one serves', async () => {
    for (const file of BEGUN) {
      const folder = path.join(temp.path, `began-${file}`);
      const stop = async (pid: number) => {
        await eventually(() => assert.ok(existsSync(path.join(folder, file))));
        process.kill(pid, 'SIGTERM');
      };
      let stopping = Promise.resolve();
      const outcome = await run(
        lookaside('serve', '--listen', '127.0.0.1:0', '--data', folder, '--root', root),
        {
          env: { PATH: process.env.PATH ?? '' },
          onSpawn: (pid) => {
            stopping = stop(pid);
          },
        },
      );
      await stopping;
      assert.equal(outcome.status, 0, describeOutcome(outcome));
      server = await startServer({ root, data: folder });
      assert.equal((await requestRaw(server.port, `GET /${folders[0]}/signature-1`)).status, 200);
      await server.stop();
    }
  });

  it('keeps the access events of the last moment', async () => {
    server = await startServer({ root, data });
    const requests = 57;
    await eventually(async () => {
      // not across midnight UTC: all of them in one day's file
      assert.equal(new Date(Date.now() + 5000).getUTCDate(), new Date().getUTCDate());
    });
    for (let request = 0; request < requests; request += 1) {
      await requestRaw(server.port, `GET /${folders[request % 3]}/signature-1`, ['User-Agent: podman/5.0']);
    }
    for (let request = 0; request < 5; request += 1) {
      await requestRaw(server.port, `GET /${folders[0]}/signature-2`, ['User-Agent: skopeo/1']);
      await requestRaw(server.port, `GET /none@sha256=${'a'.repeat(64)}/signature-1`);
    }
    await server.stop();
    const day = new Date().toISOString().slice(0, 10);
    const db = connectDatabase(path.join(data, 'access', `${day}.db`), { readonly: true });
    try {
      const rows = db
        .prepare(
          `SELECT agent.text AS agent, read.status AS status, sum(read.count) AS count, sum(read.bytes) AS bytes
           FROM read JOIN agent ON agent.id = read.agent
           GROUP BY agent.text, read.status ORDER BY agent.text`,
        )
        .all();
      assert.deepEqual(rows, [
        { agent: 'podman/5.0', status: 200, count: requests, bytes: requests * ONE.length },
        { agent: 'skopeo/1', status: 404, count: 5, bytes: 0 },
      ]);
      assert.deepEqual(db.prepare('SELECT path, count FROM missing').all(), [{ path: 'none', count: 5 }]);
    } finally {
      db.close();
    }
  });
});

describe('SIGHUP', () => {
  let file: string;

  const write = (yaml: string) => writeFile(file, yaml);

  const reload = async (said: RegExp) => {
    const before = server.output().length;
    process.kill(server.pid, 'SIGHUP');
    await eventually(() => assert.match(server.output().slice(before), said));
  };

  const start = async (yaml: string) => {
    file = path.join(temp.path, 'lookaside.yaml');
    await write(yaml);
    server = await startServer({ root, data, settings: { LOOKASIDE_CONFIG: file } });
  };

  const READ_AGAIN = /the configuration was read again/;
  const line = () => new RegExp(`"GET /${folders[0]}/signature-1 HTTP/1.1" 200`);

  it('changes the access log and who may read, on connections that stay open', async () => {
    await start('access_log: off\n');
    const socket = connect({ host: '127.0.0.1', port: server.port });
    const over = async () => {
      socket.write(`GET /${folders[0]}/signature-1 HTTP/1.1\r\nHost: a\r\n\r\n`);
      const [first] = await once(socket, 'data');
      return Number(/^HTTP\/1.1 ([0-9]+)/.exec(String(first))?.[1]);
    };
    assert.equal(await over(), 200);
    await write('access_log: combined\n');
    await reload(READ_AGAIN);
    assert.equal(await over(), 200);
    await eventually(() => assert.match(server.output(), line()));
    await write('read: token\n');
    await reload(READ_AGAIN);
    assert.equal(await over(), 401);
    assert.equal(socket.destroyed, false);
    socket.destroy();
    // what came into force is recorded as what was in force at the start is
    const db = connectDatabase(path.join(data, 'state.db'), { readonly: true });
    const count = db.prepare(
      `SELECT count(*) AS count FROM audit_event WHERE json_extract(leaf, '$.action') = 'settings'`,
    );
    try {
      await eventually(() => assert.deepEqual(count.get(), { count: 3 }));
    } finally {
      db.close();
    }
  });

  it('with settings that cannot be used keeps those before', async () => {
    await start('access_log: combined\n');
    for (const bad of ['{', 'access_log: maybe\n', 'colour: red\n']) {
      await write(bad);
      await reload(/the configuration cannot be used; the one before stays in force/);
    }
    assert.equal((await requestRaw(server.port, `GET /${folders[0]}/signature-1`)).status, 200);
    await eventually(() => assert.match(server.output(), line()));
    await write('access_log: off\nlog_level: warn\n');
    await reload(/./).catch(() => undefined); // at level warn nothing is said
    await eventually(async () => {
      const before = server.output().length;
      await requestRaw(server.port, `GET /${folders[1]}/signature-1`);
      assert.equal(server.output().slice(before), '');
    });
  });

  it('cannot move the server or switch TLS on, says so, and goes on taking the rest', async () => {
    await start('access_log: off\n');
    const fixed = `listen: ':1'\nprefix: /other\ntls_cert: ${file}\ntls_key: ${file}\n`;
    await write(fixed);
    await reload(READ_AGAIN);
    for (const setting of ['LOOKASIDE_PREFIX', 'LOOKASIDE_TLS_CERT']) {
      assert.match(server.output(), new RegExp(`"setting":"${setting}".*only by a restart`));
    }
    await write(`${fixed}access_log: combined\n`);
    await reload(READ_AGAIN);
    assert.equal((await requestRaw(server.port, `GET /${folders[0]}/signature-1`)).status, 200);
    await eventually(() => assert.match(server.output(), line()));
  });

  it('takes a new certificate, and connections stay open', needs('openssl'), async () => {
    const ours = await makeServerCertificate(temp.path, 'ours');
    const next = await makeServerCertificate(temp.path, 'next');
    const cert = path.join(temp.path, 'server.crt');
    const key = path.join(temp.path, 'server.key');
    const put = async (from: typeof ours) => {
      await copyFile(from.certificateFile, cert);
      await copyFile(from.keyFile, key);
    };
    await put(ours);
    await start(`tls_cert: ${cert}\ntls_key: ${key}\n`);
    const open = async () => {
      const socket = connectTls({ host: '127.0.0.1', port: server.port, rejectUnauthorized: false });
      await once(socket, 'secureConnect');
      return socket;
    };
    const issuerOf = async () => {
      const socket = await open();
      const issuer = socket.getPeerCertificate().issuer.CN;
      socket.destroy();
      return issuer;
    };
    const kept = await open();
    assert.equal(await issuerOf(), 'ours');
    await put(next);
    await reload(READ_AGAIN);
    assert.equal(await issuerOf(), 'next');
    await writeFile(key, 'no key');
    await reload(/the configuration cannot be used/);
    assert.equal(await issuerOf(), 'next');
    kept.write(`GET /${folders[0]}/signature-1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`);
    assert.equal(parseAnswer(await readToEnd(kept)).status, 200);
  });
});

async function readToEnd(socket: Socket): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of socket) chunks.push(chunk);
  return Buffer.concat(chunks);
}
