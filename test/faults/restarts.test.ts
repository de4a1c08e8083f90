// Restarts behind a socket that is kept open, signals at any moment, and stopping in the middle of all there is to do: who was
// being served is served, and the end comes soon.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { Agent } from 'node:http';
import { connect } from 'node:net';
import path from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { forEachConcurrently } from '../../src/domain/concurrency.ts';
import { isLookasideError, systemCode } from '../../src/domain/errors.ts';
import { connectAdministration } from '../../src/upstream/administration.ts';
import { writeForm } from '../../src/upstream/form.ts';
import { startActivated } from '../clients/activated.ts';
import { needs } from '../clients/available.ts';
import { startBackground } from '../clients/command.ts';
import { eventually } from '../clients/eventually.ts';
import { startServer } from '../clients/server.ts';
import { enrol, makeSigner } from '../clients/signer.ts';
import { openTempFolder } from '../clients/temp-folder.ts';
import { createGate } from '../gate.ts';
import { parseAnswer, requestRaw } from '../http/raw-request.ts';
import { folderOf, layFile, layImage, signatureBytes } from '../store/lay.ts';
import { ask } from './ask.ts';
import { lockDatabases, todaysLog } from './locked.ts';
import { count, isFull, promise } from './promise.ts';

const ONE = signatureBytes('one', 3000);
const IMAGES = 20;
const CLIENTS = 16;

const RESTARTS = count(5, 1);
const REQUESTS = count(20_000, 500);

promise(
  {
    id: 'P10',
    what: 'restarts behind a passed socket lose no request, and SIGHUP none either',
    wanted: `0 failed of ${REQUESTS} by ${CLIENTS} clients, ${RESTARTS} restarts`,
  },
  async (see) => {
    await using temp = await openTempFolder();
    const folders: string[] = [];
    for (let image = 0; image < IMAGES; image += 1) {
      folders.push(await layImage(path.join(temp.path, 'sigstore'), `team/app-${image}`, ONE));
    }
    await using server = await startActivated(temp.path);
    const kept = new Agent({ keepAlive: true, maxSockets: CLIENTS });
    const fresh = new Agent({ keepAlive: false });
    const failed: string[] = [];
    let answered = 0;
    let isOver = false;
    const client = async (agent: Agent) => {
      for (let round = 0; !isOver; round += 1) {
        const [number, wanted] = round % 2 === 0 ? [1, 200] : [2, 404];
        try {
          const { status, body } = await ask(
            server.port,
            `/${folders[round % IMAGES]}/signature-${number}`,
            agent,
          );
          if (status !== wanted || (status === 200 && !body.equals(ONE))) failed.push(`answered ${status}`);
          else answered += 1;
        } catch (error) {
          failed.push(String(error));
        }
        // so few that their number says nothing end it as well
        if (failed.length > 100) isOver = true;
      }
    };
    const clients = Promise.all(
      Array.from({ length: CLIENTS }, (_, position) => client(position % 2 === 0 ? kept : fresh)),
    );
    const until = (wanted: number) => eventually(() => assert.ok(isOver || answered >= wanted));
    for (let restart = 1; restart <= RESTARTS; restart += 1) {
      await until(((restart - 0.5) * REQUESTS) / (RESTARTS + 1));
      process.kill(server.pid, 'SIGHUP');
      await until((restart * REQUESTS) / (RESTARTS + 1));
      await server.restart();
    }
    await until(REQUESTS);
    isOver = true;
    await clients;
    kept.destroy();
    fresh.destroy();
    see(`${failed.length} failed of ${answered + failed.length}, ${RESTARTS} restarts`);
    assert.deepEqual(failed, []);
    assert.equal(server.output().match(/the configuration was read again/g)?.length, RESTARTS);
  },
);

const STARTS = count(20, 1);

promise(
  {
    id: 'P10',
    what: 'SIGHUP every few milliseconds, from when a start has begun until the end: it serves with the new settings and ends with 0',
    wanted: `0 of ${STARTS} starts otherwise`,
  },
  async (see) => {
    await using temp = await openTempFolder();
    const file = path.join(temp.path, 'lookaside.yaml');
    let otherwise = 0;
    let sent = 0;
    for (let start = 0; start < STARTS; start += 1) {
      await writeFile(file, 'access_log: off\n');
      const data = path.join(temp.path, `data-${start}`);
      let hangUps: Promise<number> | null = null;
      const server = await startServer({
        data,
        settings: { LOOKASIDE_CONFIG: file },
        onSpawn: (pid) => {
          hangUps = hangUp(pid, { file, data });
        },
      });
      await eventually(async () => {
        await requestRaw(server.port, 'GET /none/signature-1');
        assert.ok(
          server.output().includes('"GET /none/signature-1 HTTP/1.1" 404'),
          'the old settings are in force',
        );
      });
      process.kill(server.pid, 'SIGTERM');
      if ((await server.ended) !== 0) otherwise += 1;
      sent += (await hangUps) ?? 0;
    }
    see(`${otherwise} of ${STARTS} starts otherwise, ${sent} signals`);
    assert.equal(otherwise, 0);
  },
);

interface Started {
  /** The file of the settings that are to be read again. */
  readonly file: string;
  readonly data: string;
}

/** Changes the settings once they were read, and sends SIGHUP until the process has ended; how often. */
async function hangUp(pid: number, { file, data }: Started): Promise<number> {
  // ahead of our first line nobody can catch it; the lock is taken after the settings were read
  await eventually(async () => assert.ok((await isCaught(pid)) || existsSync(path.join(data, 'lock'))));
  let sent = 0;
  let isChanged = false;
  try {
    for (;;) {
      process.kill(pid, 'SIGHUP');
      sent += 1;
      if (!isChanged && existsSync(path.join(data, 'lock'))) {
        isChanged = true;
        await writeFile(file, 'access_log: combined\n');
      }
      await pause(5);
    }
  } catch (error) {
    if (systemCode(error) !== 'ESRCH') throw error;
    return sent;
  }
}

/** Whether the process has a handler for SIGHUP (signal 1): proc_pid_status(5). */
async function isCaught(pid: number): Promise<boolean> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8');
  return /^SigCgt:\t[0-9a-f]*[13579bdf]$/m.test(status);
}

const UPLOADS = count(100, 24);
const PIECE_PAUSE_MS = 100;
const EXIT_MS = 10_000;

promise(
  {
    id: 'P11',
    what: 'SIGTERM in the middle of slow uploads has each stored and answered, or not answered at all',
    wanted: `0 of ${UPLOADS} otherwise, exit status 0 in ≤ ${EXIT_MS / 1000} s`,
  },
  async (see) => {
    await using temp = await openTempFolder();
    const signer = makeSigner('alice');
    const token = await enrol(temp.path, signer);
    await using server = await startServer({ data: temp.path });
    const uploads = Array.from({ length: UPLOADS }, (_, position) => {
      const repository = `slow/app-${position}`;
      const bytes = signer.sign({ repository, tag: 'v1' });
      return { folder: folderOf(repository), bytes, isEnded: position % 3 !== 0 };
    });
    const sent = await Promise.all(uploads.map((upload) => begin(server.port, token, upload)));
    await requestRaw(server.port, 'GET /livez'); // connections are taken in turn: by now all before it are the server's
    const startedMs = performance.now();
    process.kill(server.pid, 'SIGTERM');
    await eventually(() => assert.match(server.output(), /stopping/));
    const answers = await Promise.all(sent.map((upload) => upload.end()));
    assert.equal(await server.ended, 0, server.output());
    const tookMs = performance.now() - startedMs;

    const wrong: string[] = [];
    let stored = 0;
    for (const [position, { folder, bytes, isEnded }] of uploads.entries()) {
      const answer = answers[position] ?? Buffer.alloc(0);
      const file = path.join(temp.path, 'sigstore', folder, 'signature-1');
      const onDisk = await readFile(file).catch(() => null);
      if (onDisk?.equals(bytes) === false) wrong.push(`${folder} is stored torn`);
      if (answer.length === 0) {
        if (isEnded) wrong.push(`${folder} came whole and was not answered`);
        continue;
      }
      if (parseAnswer(answer).status !== 201) wrong.push(`${folder} was answered ${answer}`);
      else if (onDisk === null) wrong.push(`${folder} was acknowledged and is lost`);
      else stored += 1;
    }
    see(
      `${wrong.length} of ${UPLOADS} otherwise, ${stored} stored, exit status 0 in ${(tookMs / 1000).toFixed(1)} s`,
    );
    assert.deepEqual(wrong, []);
    assert.equal(stored, uploads.filter(({ isEnded }) => isEnded).length);
    if (isFull) assert.ok(tookMs <= EXIT_MS);
  },
);

const WALKS = 10;
const WALKED = count(20_000, 1000);

promise(
  {
    id: 'P11',
    what: `SIGTERM during an fsck of ${WALKED} images, with reindex and others waiting, ends them and says so`,
    wanted: `exit status 0 in ≤ ${EXIT_MS / 1000} s`,
  },
  async (see) => {
    await using temp = await openTempFolder();
    const root = path.join(temp.path, 'sigstore');
    const numbers = Array.from({ length: WALKED }, (_, number) => number);
    await forEachConcurrently(numbers, 16, async (number) => {
      await layImage(root, `team-${number % 100}/app-${number}`, ONE);
    });
    await using server = await startServer({ data: temp.path });
    await using administration = connectAdministration({
      at: { socketPath: path.join(temp.path, 'lookaside.sock') },
      onRetry: () => undefined,
      patienceMs: 0,
      wait: async () => undefined,
      random: () => 0,
    });
    const begun = createGate();
    const onProgress = () => begun.open();
    const walks = Array.from({ length: WALKS }, (_, position) => {
      const walk: Promise<unknown> =
        position % 2 === 0
          ? administration.fsck({ repair: position % 4 === 0, onProgress })
          : administration.reindex({ acceptDamage: position % 4 === 1, onProgress });
      return walk.finally(begun.open);
    });
    const outcomes = Promise.allSettled(walks);
    await begun.promise;
    const startedMs = performance.now();
    process.kill(server.pid, 'SIGTERM');
    assert.equal(await server.ended, 0, server.output());
    const tookMs = performance.now() - startedMs;
    const refused = (await outcomes).filter(
      (outcome) =>
        outcome.status === 'rejected' &&
        isLookasideError(outcome.reason, 'BUSY') &&
        outcome.reason.message.includes('the server is stopping'),
    );
    see(`exit status 0 in ${(tookMs / 1000).toFixed(1)} s, ${refused.length} of ${WALKS} told so`);
    // one may have ended ahead of the signal, and one with it
    assert.ok(refused.length >= WALKS - 2, `${refused.length} of ${WALKS} were told that the server stops`);
    assert.ok(tookMs <= EXIT_MS);
  },
);

const DEEP = 1900;
const WIDE = count(50_000, 2000);

promise(
  {
    id: 'P11',
    what: `SIGTERM during the scan of ${DEEP} folders in each other and ${WIDE} beside each other, none an image's, ends it`,
    wanted: `exit status 0 in ≤ ${EXIT_MS / 1000} s`,
  },
  async (see) => {
    await using temp = await openTempFolder();
    const root = path.join(temp.path, 'sigstore');
    const numbers = Array.from({ length: WIDE }, (_, number) => number);
    await forEachConcurrently(numbers, 16, async (number) => {
      await mkdir(path.join(root, `wide-${number % 100}`, `folder-${number}`), { recursive: true });
    });
    await layFile(root, `${'c/'.repeat(DEEP)}sha256=${'a'.repeat(64)}/signature-1`, ONE);
    try {
      await using server = await startServer({ data: temp.path });
      await requestRaw(server.port, 'GET /'); // whose page has another walk go on behind it
      const startedMs = performance.now();
      process.kill(server.pid, 'SIGTERM');
      assert.equal(await server.ended, 0, server.output());
      const tookMs = performance.now() - startedMs;
      see(`exit status 0 in ${(tookMs / 1000).toFixed(1)} s`);
      if (isFull) assert.doesNotMatch(server.output(), /the tree was scanned/, 'it was under way');
      assert.ok(tookMs <= EXIT_MS);
    } finally {
      execFileSync('rm', ['-rf', root]); // deeper than what removes the rest can go
    }
  },
);

promise(
  {
    id: 'P11',
    what: 'SIGTERM while another process holds the write lock of every database: nobody waits for it for long',
    wanted: `exit status 0 in ≤ ${EXIT_MS / 1000} s`,
  },
  async (see) => {
    await using temp = await openTempFolder();
    const signer = makeSigner('alice');
    const token = await enrol(temp.path, signer);
    const folder = await layImage(path.join(temp.path, 'sigstore'), 'team/app', ONE);
    await using server = await startServer({ data: temp.path });
    const read = () => requestRaw(server.port, `GET /${folder}/signature-1`);
    await read(); // the day's access log is there soon after
    await using _ = await lockDatabases(temp.path, ['index.db', 'state.db', todaysLog()]);
    assert.equal((await read()).status, 200);
    const bytes = signer.sign({ repository: 'team/new', tag: 'v1' });
    const target = `POST /${folderOf('team/new')}`;
    const uploading = requestRaw(server.port, target, [`Authorization: Bearer ${token}`], bytes);
    await eventually(async () => {
      const { body } = await requestRaw(server.port, 'GET /readyz?for=writes');
      assert.match(body.toString(), /state\.db is locked by another process/);
    });
    const startedMs = performance.now();
    process.kill(server.pid, 'SIGTERM');
    const { status, body } = await uploading;
    assert.equal(await server.ended, 0, server.output());
    const tookMs = performance.now() - startedMs;
    see(`exit status 0 in ${(tookMs / 1000).toFixed(1)} s`);
    assert.equal(status, 503);
    assert.match(body.toString(), /"BUSY".*another process keeps the state database locked/);
    assert.match(server.output(), /access events were not written/);
    assert.ok(tookMs <= EXIT_MS);
  },
);

const SLOW_DISK = {
  id: 'P11',
  what: 'SIGTERM with a disk too slow for what is under way: the process ends all the same, by SIGKILL, and says so',
  wanted: `0 acknowledged lost, ended in ≤ ${EXIT_MS / 1000} s`,
  ...needs('strace'),
} as const;

// 100 uploads with five of these calls each, on four threads
const SLOW_SYNC = 'inject=fsync,fdatasync:delay_enter=200ms';

for (const promised of isFull ? [SLOW_DISK] : [])
  promise(promised, async (see) => {
    await using temp = await openTempFolder();
    const signer = makeSigner('alice');
    const token = await enrol(temp.path, signer);
    await using server = await startServer({ data: temp.path });
    await using _strace = await startBackground(
      [
        'strace',
        '-f',
        '-p',
        String(server.pid),
        '-o',
        '/dev/null',
        '-e',
        'trace=fsync,fdatasync',
        '-e',
        SLOW_SYNC,
      ],
      { env: { PATH: process.env.PATH ?? '' } },
      /attached/,
    );
    const lines = [`Authorization: Bearer ${token}`];
    const upload = async (position: number) => {
      const repository = `slow/app-${position}`;
      const bytes = signer.sign({ repository, tag: 'v1' });
      const answer = await requestRaw(server.port, `POST /${folderOf(repository)}`, lines, bytes).catch(
        () => null,
      );
      return { answer, file: path.join(temp.path, 'sigstore', folderOf(repository), 'signature-1'), bytes };
    };
    const first = [await upload(0), await upload(1)];
    const uploads = Array.from({ length: UPLOADS - 2 }, (_, position) => upload(position + 2));
    await requestRaw(server.port, 'GET /livez'); // connections are taken in turn: by now all before it are the server's
    const startedMs = performance.now();
    process.kill(server.pid, 'SIGTERM');
    await server.ended;
    const tookMs = performance.now() - startedMs;
    let acknowledged = 0;
    let lost = 0;
    for (const { answer, file, bytes } of [...first, ...(await Promise.all(uploads))]) {
      if (answer === null) continue;
      assert.equal(answer.status, 201);
      acknowledged += 1;
      const onDisk = await readFile(file).catch(() => null);
      if (onDisk?.equals(bytes) !== true) lost += 1;
    }
    see(`${lost} of ${acknowledged} acknowledged lost, ended in ${(tookMs / 1000).toFixed(1)} s`);
    assert.equal(lost, 0);
    assert.match(server.output(), /"awaited":"[^"]+".*stopping takes too long/);
    assert.ok(tookMs <= EXIT_MS);
  });

promise(
  {
    id: 'P11',
    what: 'SIGTERM with 40 batches of 50 uploads under way: each upload is acknowledged, or refused as BUSY and not there',
    wanted: `0 of 2000 otherwise, exit status 0 in ≤ ${EXIT_MS / 1000} s`,
    isLong: true, // test/service/upload-batch.test.ts has the short form
  },
  async (see) => {
    await using temp = await openTempFolder();
    const signer = makeSigner('alice');
    const token = await enrol(temp.path, signer);
    await using server = await startServer({ data: temp.path });
    const repositoriesOf = (batch: number) =>
      Array.from({ length: 50 }, (_, part) => `batch-${batch}/app-${part}`);
    const batches = Array.from({ length: 40 }, (_, batch) =>
      writeForm(
        repositoriesOf(batch).map((repository) => ({
          bytes: signer.sign({ repository, tag: 'v1' }),
          fileName: `${folderOf(repository)}/signature-1`,
        })),
      ),
    );
    const isUnderWay = createGate();
    const sent = batches.map(async ({ contentType, body }, batch) => {
      const lines = [`Authorization: Bearer ${token}`, `Content-Type: ${contentType}`];
      const answer = await requestRaw(server.port, 'POST /api/v1/signatures', lines, body);
      isUnderWay.open();
      assert.equal(answer.status, 200);
      // the server's own answer
      const { results } = JSON.parse(answer.body.toString()) as { readonly results: readonly UploadAnswer[] };
      return repositoriesOf(batch).map((repository, part) => ({ repository, answer: results[part] }));
    });
    await isUnderWay.promise;
    const startedMs = performance.now();
    process.kill(server.pid, 'SIGTERM');
    const answers = (await Promise.all(sent)).flat();
    assert.equal(await server.ended, 0, server.output());
    const tookMs = performance.now() - startedMs;
    const otherwise = answers.filter(({ repository, answer }) => {
      const isThere = existsSync(path.join(temp.path, 'sigstore', folderOf(repository), 'signature-1'));
      return isThere ? answer?.result !== 'created' : answer?.code !== 'BUSY';
    });
    const stored = answers.filter(({ answer }) => answer?.result === 'created').length;
    see(
      `${otherwise.length} of ${answers.length} otherwise, ${stored} stored, exit status 0 in ${(tookMs / 1000).toFixed(1)} s`,
    );
    assert.deepEqual(otherwise, []);
    assert.ok(tookMs <= EXIT_MS);
  },
);

interface UploadAnswer {
  readonly result: string;
  readonly code?: string;
}

promise(
  {
    id: 'P11',
    what: 'a second SIGTERM ends it at once, whoever is still being served',
    wanted: 'exit status 1 in ≤ 1 s',
  },
  async (see) => {
    await using temp = await openTempFolder();
    await using server = await startServer({ data: temp.path });
    const socket = connect({ host: '127.0.0.1', port: server.port });
    await once(socket, 'connect');
    socket.on('error', () => undefined); // it will be cut
    socket.write('GET /livez HTTP/1.1\r\nHost: a\r\n');
    await requestRaw(server.port, 'GET /livez'); // by now the first connection is the server's
    process.kill(server.pid, 'SIGTERM');
    await eventually(() => assert.match(server.output(), /stopping/));
    const startedMs = performance.now();
    process.kill(server.pid, 'SIGTERM');
    const status = await server.ended;
    const tookMs = performance.now() - startedMs;
    socket.destroy();
    see(`exit status ${status} in ${(tookMs / 1000).toFixed(1)} s`);
    assert.equal(status, 1);
    if (isFull) assert.ok(tookMs <= 1000);
  },
);

interface SlowUpload {
  readonly folder: string;
  readonly bytes: Buffer;
  /** False: its last byte is never sent. */
  readonly isEnded: boolean;
}

/** Sends head and half of the body; end() sends the rest in pieces, and gives all that was answered. */
async function begin(port: number, token: string, { folder, bytes, isEnded }: SlowUpload) {
  const socket = connect({ host: '127.0.0.1', port });
  await once(socket, 'connect');
  const chunks: Buffer[] = [];
  socket.on('data', (chunk) => chunks.push(chunk));
  socket.on('error', () => undefined); // a reset is one of the ways to be closed
  const closed = new Promise((resolve) => socket.once('close', resolve));
  const head = `POST /${folder} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer ${token}\r\nContent-Length: ${bytes.length}\r\n\r\n`;
  const half = Math.floor(bytes.length / 2);
  socket.write(Buffer.concat([Buffer.from(head), bytes.subarray(0, half)]));
  return {
    async end(): Promise<Buffer> {
      const rest = bytes.subarray(half, isEnded ? bytes.length : bytes.length - 1);
      for (let at = 0; at < rest.length && !socket.destroyed; at += 30) {
        socket.write(rest.subarray(at, at + 30));
        await pause(PIECE_PAUSE_MS);
      }
      await closed;
      return Buffer.concat(chunks);
    },
  };
}
