// Clients that take as long as they can over head, body or answer: they are let go, and nobody else notices.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readdir, readlink } from 'node:fs/promises';
import { connect, type Socket } from 'node:net';
import path from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { needs } from '../clients/available.ts';
import { run } from '../clients/command.ts';
import { eventually } from '../clients/eventually.ts';
import { startServer } from '../clients/server.ts';
import { enrol, makeSigner, type Signer } from '../clients/signer.ts';
import { openTempFolder } from '../clients/temp-folder.ts';
import { takenAs, uploadsTo } from '../clients/uploads.ts';
import { folderOf, layFile, layImage, signatureBytes } from '../store/lay.ts';
import { type Asking, startAsking } from './asking.ts';
import { percentile } from './percentile.ts';
import { count, isFull, promise } from './promise.ts';

const CONNECTIONS = count(500, 60);
const BEGUN_A_SECOND = 200;
/** After the last began. */
const CLOSED_MS = 15_000;
const HEALTH_MS = 100;
const HEALTH_PAUSE_MS = count(50, 250);
const DRIP_MS = 1000;
const UPLOADS = count(50, 6);

/** As fast as before: what two cores with 500 more connections to look after may add. */
const mostMs = (beforeMs: number) => 2 * beforeMs + 50;
const AS_BEFORE = 'median and p99 of /livez, median and p90 of uploads ≤ 2 × before + 50 ms';

/** How long each question and each upload took for a while, in milliseconds. */
interface Pace {
  readonly health: readonly number[];
  readonly uploads: readonly number[];
}

interface Uploading {
  readonly port: number;
  readonly token: string;
  readonly signer: Signer;
  /** The name of its repositories. */
  readonly name: string;
}

/** Uploads one after the other; the time each took. */
async function upload({ port, token, signer, name }: Uploading): Promise<readonly number[]> {
  const uploads = uploadsTo(port, token);
  const took: number[] = [];
  for (let k = 0; k < UPLOADS; k += 1) {
    const repository = `${name}/app-${k}`;
    const bytes = signer.sign({ repository, tag: 'v1' });
    const begunMs = performance.now();
    takenAs(await uploads.post(folderOf(repository), bytes), 201);
    took.push(performance.now() - begunMs);
  }
  return took;
}

/** With nobody else there. */
async function paceBefore(uploading: Omit<Uploading, 'name'>): Promise<Pace> {
  await upload({ ...uploading, name: 'warm' });
  await using asking = startHealth(uploading.port);
  const uploads = await upload({ ...uploading, name: 'before' });
  return { uploads, health: await healthOf(asking) };
}

const startHealth = (port: number) => startAsking({ port, target: '/livez', pauseMs: HEALTH_PAUSE_MS });

async function healthOf(asking: Asking): Promise<readonly number[]> {
  const all = await asking.end();
  assert.deepEqual([...new Set(all.map(({ status }) => status))], [200]);
  return all.map(({ tookMs }) => tookMs);
}

/** The slowest of some fifty uploads is the disk's. */
const PERCENTS = { health: [50, 99], uploads: [50, 90] } as const;

/** The figures of both, and those that are too slow. */
function compare(before: Pace, during: Pace): { readonly said: string; readonly slow: readonly string[] } {
  const slow: string[] = [];
  const said = (['health', 'uploads'] as const).map((what) => {
    const figures = PERCENTS[what].map((percent) => {
      const [then, now] = [percentile(before[what], percent), percentile(during[what], percent)];
      const figure = `${percent === 50 ? 'median' : `p${percent}`} ${Math.round(then)} → ${Math.round(now)} ms`;
      if (now > mostMs(then)) slow.push(`${what}: ${figure}`);
      return figure;
    });
    return `${what === 'health' ? '/livez' : 'uploads'} ${figures.join(', ')} of ${during[what].length}`;
  });
  return { said: said.join('; '), slow };
}

/** What holds a connection: the head of a request, and what follows it a byte at a time. */
interface Slowness {
  readonly what: string;
  readonly head: (scene: { readonly token: string; readonly large: string }) => string;
  readonly drip: string;
  readonly isReading: boolean;
}

const post = `POST /${folderOf('slow/app')} HTTP/1.1\r\nHost: a\r\nContent-Length: 8192\r\n`;

const KINDS: readonly Slowness[] = [
  { what: 'head', head: () => 'GET /livez HTTP/1.1\r\nHost: a\r\nX-A: ', drip: 'x', isReading: true },
  { what: "stranger's body", head: () => `${post}\r\n`, drip: 'x', isReading: true },
  {
    what: "uploader's body",
    head: ({ token }) => `${post}Authorization: Bearer ${token}\r\n\r\n`,
    drip: 'x',
    isReading: true,
  },
  {
    what: 'reading',
    head: ({ large }) => `GET /${large} HTTP/1.1\r\nHost: a\r\n\r\n`.repeat(20),
    drip: '',
    isReading: false,
  },
  { what: 'nothing at all', head: () => '', drip: '', isReading: true },
];

promise(
  {
    id: 'P14',
    what: 'slow clients cost others nothing: heads, bodies, reading',
    wanted: `${CONNECTIONS} slow connections closed ≤ ${CLOSED_MS / 1000} s after the last began, /livez p99 ≤ ${HEALTH_MS} ms, all uploads taken; ${AS_BEFORE}`,
  },
  async (see) => {
    await using temp = await openTempFolder();
    const signer = makeSigner('alice');
    const token = await enrol(temp.path, signer);
    const folder = await layImage(path.join(temp.path, 'sigstore'), 'large/app', signatureBytes('one'));
    const large = `${folder}/signature-2`;
    await layFile(path.join(temp.path, 'sigstore'), large, largeSignature());
    await using server = await startServer({ data: temp.path });
    const uploading = { port: server.port, token, signer };
    const socketsBefore = await openSockets(server.pid);
    const before = await paceBefore(uploading);

    await using asking = startHealth(server.port);
    const slow: Socket[] = [];
    for (let position = 0; position < CONNECTIONS; position += 1) {
      const kind = KINDS[position % KINDS.length] as Slowness; // within its length
      slow.push(await hold(server.port, kind, kind.head({ token, large })));
      await pause(1000 / BEGUN_A_SECOND);
    }
    const begunMs = performance.now();
    const [uploads, closedMs] = await Promise.all([
      upload({ ...uploading, name: 'fast' }),
      whenClosed(server.pid, socketsBefore, begunMs),
    ]);
    const health = await healthOf(asking);
    for (const socket of slow) socket.destroy();
    const { said, slow: slower } = compare(before, { health, uploads });
    see(`${CONNECTIONS} closed after ${(closedMs / 1000).toFixed(1)} s, ${said}`);
    if (!isFull) return;
    assert.deepEqual(slower, []);
    assert.ok(closedMs <= CLOSED_MS && percentile(health, 99) <= HEALTH_MS);
  },
);

/** A way of slowhttptest. */
interface Attack {
  readonly what: string;
  readonly options: readonly [way: string, ...more: string[]];
  /** The path of the image or of its signature. */
  readonly target: (folder: string) => string;
}

const signatureOf = (folder: string) => `${folder}/signature-1`;

const ATTACKS: readonly Attack[] = [
  { what: 'slow heads', options: ['-H', '-i', '5'], target: signatureOf },
  { what: 'slow bodies', options: ['-B', '-i', '5', '-s', '8192'], target: (folder) => folder },
  {
    what: 'slow reading',
    options: ['-X', '-w', '10', '-y', '20', '-n', '5', '-z', '32', '-k', '3'],
    target: signatureOf,
  },
];
for (const { what, options, target } of isFull ? ATTACKS : []) {
  promise(
    {
      id: 'P14',
      what: `slowhttptest cannot keep the server from answering: ${what}`,
      wanted: `${CONNECTIONS} connections of slowhttptest ${options[0]}: none left ≤ ${CLOSED_MS / 1000} s after the last began, /livez p99 ≤ ${HEALTH_MS} ms; ${AS_BEFORE}`,
      ...needs('slowhttptest'),
    },
    async (see) => {
      await using temp = await openTempFolder();
      const signer = makeSigner('alice');
      const token = await enrol(temp.path, signer);
      const bytes = signatureBytes('one', 8000);
      const folder = await layImage(path.join(temp.path, 'sigstore'), 'team/app', bytes);
      await using server = await startServer({ data: temp.path });
      const uploading = { port: server.port, token, signer };
      const socketsBefore = await openSockets(server.pid);
      const before = await paceBefore(uploading);
      await using asking = startHealth(server.port);
      const attack = run(
        [
          ...(['slowhttptest', ...options, '-c', `${CONNECTIONS}`, '-r', `${BEGUN_A_SECOND}`] as const),
          ...['-u', `${server.url}/${target(folder)}`, '-p', '2', '-l', '30'],
          // a stranger's body is refused before it comes; this header is written as it is given
          ...['-m', `*/*\r\nAuthorization: Bearer ${token}`],
        ],
        { env: { PATH: process.env.PATH ?? '', HOME: temp.path }, cwd: temp.path },
      );
      await eventually(async () => assert.ok((await openSockets(server.pid)) > socketsBefore + 100));
      await pause((CONNECTIONS / BEGUN_A_SECOND) * 1000);
      const begunMs = performance.now();
      const [uploads, closedMs] = await Promise.all([
        upload({ ...uploading, name: 'fast' }),
        whenClosed(server.pid, socketsBefore, begunMs),
      ]);
      const health = await healthOf(asking);
      const { stdout } = await attack;
      assert.doesNotMatch(stdout, /service available: *NO/);
      const { said, slow } = compare(before, { health, uploads });
      see(`none left after ${(closedMs / 1000).toFixed(1)} s, always available, ${said}`);
      assert.deepEqual(slow, []);
      assert.ok(closedMs <= CLOSED_MS && percentile(health, 99) <= HEALTH_MS);
    },
  );
}

/** One signature packet of 1 MiB. */
function largeSignature(): Buffer {
  const body = Buffer.alloc(1024 * 1024, 'x');
  const head = Buffer.alloc(5);
  head[0] = 0x8a;
  head.writeUInt32BE(body.length, 1);
  return Buffer.concat([head, body]);
}

async function hold(port: number, { drip, isReading }: Slowness, head: string): Promise<Socket> {
  const socket = connect({ host: '127.0.0.1', port });
  socket.on('error', () => undefined); // a reset is one of the ways to be closed
  await once(socket, 'connect');
  if (isReading) socket.resume();
  else socket.pause();
  socket.write(head);
  const timer = setInterval(() => socket.write(drip), DRIP_MS);
  if (drip === '') clearInterval(timer);
  socket.once('close', () => clearInterval(timer));
  return socket;
}

/** How long after `begunMs` the server had no more sockets than before, and that of the one who asks. */
async function whenClosed(pid: number, socketsBefore: number, begunMs: number): Promise<number> {
  // those of uploads come and go
  await eventually(async () => assert.ok((await openSockets(pid)) <= socketsBefore + 1));
  return performance.now() - begunMs;
}

/** How many sockets the process has. */
async function openSockets(pid: number): Promise<number> {
  const folder = `/proc/${pid}/fd`;
  const targets = await Promise.all(
    (await readdir(folder)).map((fd) => readlink(path.join(folder, fd)).catch(() => '')), // closed meanwhile
  );
  return targets.filter((target) => target.startsWith('socket:')).length;
}
