// The store itself fails: 503 and Retry-After for what it hides, never a 404; everything else goes on.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { chmod, mkdir, readdir, rename, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import path from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { needs } from '../clients/available.ts';
import { succeed } from '../clients/command.ts';
import { eventually } from '../clients/eventually.ts';
import { type LookasideServer, startServer } from '../clients/server.ts';
import { openTempFolder, type TempFolder } from '../clients/temp-folder.ts';
import { parseAnswer, type RawAnswer, requestRaw } from '../http/raw-request.ts';
import { otherProcess } from '../sqlite/scratch.ts';
import { folderOf, layImage, signatureBytes } from '../store/lay.ts';
import { asNobody, giveToNobody, needsNobody } from './unprivileged.ts';

const ONE = signatureBytes('one');
const TWO = signatureBytes('two');

let temp: TempFolder;
let data: string;
let root: string;
let server: LookasideServer;

beforeEach(async () => {
  temp = await openTempFolder();
  data = path.join(temp.path, 'data');
  root = path.join(temp.path, 'tree');
  await mkdir(data);
  await mkdir(root);
});

afterEach(async () => {
  await server?.[Symbol.asyncDispose]();
  await temp[Symbol.asyncDispose]();
});

const get = (target: string): Promise<RawAnswer> => requestRaw(server.port, `GET ${target}`);

async function readiness(query = '') {
  const { status, body } = await get(`/readyz${query}`);
  return { code: status, ...JSON.parse(body.toString()) };
}

const whole = () => eventually(async () => assert.equal((await readiness()).checks.index.state, 'ok'));

async function assertUnavailable(target: string): Promise<void> {
  const { status, headers, body } = await get(target);
  assert.equal(status, 503, target);
  assert.match(headers.get('retry-after') ?? '', /^[1-9][0-9]*$/);
  assert.match(headers.get('content-type') ?? '', /^text\/plain/);
  assert.doesNotMatch(body.toString(), /EACCES|ENOENT|\/tmp/);
}

async function assertServes(target: string, bytes: Uint8Array): Promise<void> {
  const answer = await get(target);
  assert.equal(answer.status, 200, target);
  assert.deepEqual(answer.body, bytes);
}

describe('a shared tree of which a part may not be read', needsNobody(), () => {
  it('is 503 there and in listings of it, and served and indexed elsewhere', async () => {
    const readable = await layImage(root, 'team/readable', ONE, TWO);
    const file = await layImage(root, 'team/file', ONE, TWO);
    const folder = await layImage(root, 'team/folder', ONE);
    const above = await layImage(root, 'closed/app', ONE);
    const last = await layImage(root, 'zz/app', TWO);
    // nobody asks for these: only the scan can find them
    for (const repository of ['aa/app', 'mm/app', 'team/app', 'zz/other'])
      await layImage(root, repository, ONE);
    await giveToNobody(temp.path);
    await chmod(path.join(root, file, 'signature-2'), 0);
    await chmod(path.join(root, folder), 0);
    await chmod(path.join(root, 'closed'), 0);
    server = await startServer({ root, data, on: asNobody });

    for (const target of [`/${file}/signature-1`, `/${file}/signature-2`, `/${file}/signature-3`]) {
      await assertUnavailable(target);
    }
    for (const target of [`/${folder}/signature-1`, `/${above}/signature-1`]) await assertUnavailable(target);
    await assertServes(`/${readable}/signature-1`, ONE);
    await assertServes(`/${readable}/signature-2`, TWO);
    await assertServes(`/${last}/signature-1`, TWO);
    assert.equal((await get(`/${readable}/signature-3`)).status, 404);
    assert.equal((await get(`/${folderOf('team/none')}/signature-1`)).status, 404);
    await eventually(async () => {
      const { code, reads, status, checks } = await readiness();
      assert.deepEqual([code, reads, status], [200, 'ok', 'degraded']);
      assert.match(checks.index.message, /the last scan of the tree failed/);
    });
    // one closed folder must not keep the others out of the index
    const { body } = await get('/metrics');
    assert.match(body.toString(), /^lookaside_images\{site="default"\} 6$/m);
    for (const page of ['/aa/', '/mm/', '/zz/']) assert.equal((await get(page)).status, 200, page);
    // a page without what is closed would be a false "not there"
    for (const page of ['/', '/team/', '/closed/']) assert.equal((await get(page)).status, 503, page);

    for (const closed of [path.join(file, 'signature-2'), folder, 'closed']) {
      await chmod(path.join(root, closed), 0o700);
    }
    await eventually(() => assertServes(`/${file}/signature-2`, TWO));
    await assertServes(`/${folder}/signature-1`, ONE);
    await assertServes(`/${above}/signature-1`, ONE);
  });

  it('that may not be written is served read-only, as is said at start', async () => {
    const folder = await layImage(root, 'team/app', ONE);
    await giveToNobody(temp.path);
    await chmod(root, 0o500);
    server = await startServer({ root, data, on: asNobody });
    assert.match(server.output(), /shared; we cannot write here: served read-only/);
    await assertServes(`/${folder}/signature-1`, ONE);
    await whole();
    assert.deepEqual((await readiness()).code, 200);
  });
});

describe('an owned tree that may not be written', needsNobody(), () => {
  it('is served read-only, as is said at start, and is ready for reads but not for writes', async () => {
    const owned = path.join(data, 'sigstore');
    const folder = await layImage(owned, 'team/app', ONE);
    await giveToNobody(temp.path);
    await chmod(owned, 0o500);
    server = await startServer({ data, on: asNobody });
    assert.match(server.output(), /owned, but we cannot write here: served read-only/);
    await assertServes(`/${folder}/signature-1`, ONE);
    const { code, reads, writes } = await readiness();
    assert.deepEqual([code, reads, writes], [200, 'ok', 'failed']);
    assert.equal((await readiness('?for=writes')).code, 503);
  });
});

describe('a data directory of another user', needsNobody(), () => {
  it('ends the start, and is called so', async () => {
    await giveToNobody(temp.path);
    await chmod(data, 0o500);
    await assert.rejects(
      startServer({ root, data, on: asNobody }),
      /cannot lock \S+\/lock: this user may not write to \S+; change its owner or mode, or name another folder with --data/,
    );
    await chmod(data, 0o700);
  });
});

describe('an access log that cannot be written', needsNobody(), () => {
  it('leaves reads as they are and is told by /readyz', async () => {
    const folder = await layImage(root, 'team/app', ONE);
    await mkdir(path.join(data, 'access'));
    await giveToNobody(temp.path);
    await chmod(path.join(data, 'access'), 0o500);
    server = await startServer({ root, data, on: asNobody });
    await eventually(async () => {
      await assertServes(`/${folder}/signature-1`, ONE);
      const { code, reads, status, checks } = await readiness();
      assert.deepEqual([code, reads, status], [200, 'ok', 'degraded']);
      assert.match(checks.writer.message, /access log/);
    });
    await chmod(path.join(data, 'access'), 0o700);
    await eventually(async () => {
      await assertServes(`/${folder}/signature-1`, ONE);
      assert.equal((await readiness()).checks.writer.state, 'ok');
    });
  });
});

describe('a root that goes away under the server', () => {
  it('is 503, on /readyz too, until it is back', async () => {
    const folder = await layImage(root, 'team/app', ONE);
    server = await startServer({ root, data });
    await whole();
    await assertServes(`/${folder}/signature-1`, ONE);
    await rename(root, `${root}-away`);
    await eventually(() => assertUnavailable(`/${folder}/signature-1`));
    await assertUnavailable(`/${folder}/signature-2`);
    await assertUnavailable(`/${folderOf('never/was')}/signature-1`);
    const { code, reads, status } = await readiness();
    assert.deepEqual([code, reads, status], [503, 'failed', 'failed']);
    assert.equal((await get('/livez')).status, 200);
    await rename(`${root}-away`, root);
    await assertServes(`/${folder}/signature-1`, ONE);
    assert.equal((await get(`/${folder}/signature-2`)).status, 404);
    assert.equal((await readiness()).code, 200);
  });

  it('of an owned tree leaves what is recorded served, and is damage to no file', async () => {
    root = path.join(data, 'sigstore');
    const folder = await layImage(root, 'team/app', ONE);
    server = await startServer({ data, settings: { LOOKASIDE_SCAN_INTERVAL: '100ms' } });
    await whole();
    await rename(root, `${root}-away`);
    await eventually(async () => {
      assert.match((await readiness()).checks.index.message ?? '', /the last scan of the tree failed/);
    });
    await assertServes(`/${folder}/signature-1`, ONE);
    await assertUnavailable(`/${folderOf('never/was')}/signature-1`);
    assert.equal((await readiness()).checks.damage.state, 'ok');
  });
});

describe('a process with few file descriptors', needs('prlimit'), () => {
  it('answers 200, 404 or 503 and nothing else, and is sound afterwards', async () => {
    const images = 60;
    const folders: string[] = [];
    for (let image = 0; image < images; image += 1) {
      folders.push(await layImage(root, `team/app-${image}`, signatureBytes(`${image}`)));
    }
    server = await startServer({ root, data });
    await whole();
    // once it runs: Node itself opens more at start than is left here
    const most = (await readdir(`/proc/${server.pid}/fd`)).length + 12;
    await succeed(['prlimit', `--pid=${server.pid}`, `--nofile=${most}:${most}`], {
      env: { PATH: process.env.PATH ?? '' },
    });
    const statuses = new Map<number | 'cut', number>();
    const ask = async (image: number, number: number) => {
      const answer = await requestRaw(server.port, `GET /${folders[image]}/signature-${number}`).catch(
        () => null,
      );
      const status = answer?.status ?? 'cut'; // a connection for which there is no descriptor
      statuses.set(status, (statuses.get(status) ?? 0) + 1);
      if (status === 200) assert.deepEqual(answer?.body, signatureBytes(`${image}`));
      if (number === 1) assert.notEqual(status, 404, 'a signature that is there is never a 404');
    };
    for (let round = 0; round < 3; round += 1) {
      await Promise.all(Array.from({ length: 2 * images }, (_, k) => ask(k % images, k < images ? 1 : 2)));
    }
    for (const status of statuses.keys()) assert.ok(['cut', 200, 404, 503].includes(status), `${status}`);
    // with as few descriptors as before, one reader at a time is served
    await eventually(async () => {
      for (const [image, folder] of folders.entries()) {
        await assertServes(`/${folder}/signature-1`, signatureBytes(`${image}`));
      }
    });
    assert.equal((await get('/livez')).status, 200);
  });
});

describe('a database that another process has locked', () => {
  it('keeps no read waiting, and is told by /readyz until it is free', async (t) => {
    const folder = await layImage(root, 'team/app', ONE);
    server = await startServer({ root, data });
    await whole();
    await assertServes(`/${folder}/signature-1`, ONE);
    const day = await eventually(async () => {
      const file = path.join(data, 'access', `${new Date().toISOString().slice(0, 10)}.db`);
      const other = await otherProcess(t, 'write', file);
      return other;
    });
    const index = await otherProcess(t, 'write', path.join(data, 'index.db'));
    let isTold = false;
    let later = 0;
    await eventually(async () => {
      later += 1;
      // a new image each time: its set is to be recorded in the index
      const fresh = await layImage(root, `later/app-${later}`, TWO);
      const answers = await Promise.all([
        get(`/${folder}/signature-1`),
        get(`/${fresh}/signature-1`),
        get(`/${fresh}/signature-2`),
      ]);
      assert.deepEqual(
        answers.map(({ status }) => status),
        [200, 200, 404],
      );
      const { code, reads, checks } = await readiness();
      assert.deepEqual([code, reads], [200, 'ok']);
      isTold ||= checks.writer.state === 'degraded';
      assert.ok(isTold && later > 20);
    });
    await index.end();
    await day.end();
    await eventually(async () => assert.equal((await readiness()).checks.writer.state, 'ok'));
  });
});

describe('a client that stops in the middle of its request', () => {
  it('keeps no other waiting', async () => {
    const folder = await layImage(root, 'team/app', ONE);
    server = await startServer({ root, data });
    const slow = Array.from({ length: 50 }, () => connect({ host: '127.0.0.1', port: server.port }));
    try {
      await Promise.all(slow.map((socket) => once(socket, 'connect')));
      for (const socket of slow) socket.write(`GET /${folder}/signature-1 HTTP/1.1\r\nHost: a\r\n`);
      await assertServes(`/${folder}/signature-1`, ONE);
      const [first] = slow;
      assert.ok(first !== undefined);
      first.write('Connection: close\r\n\r\n');
      const [answer] = await once(first, 'data');
      assert.equal(parseAnswer(answer).status, 200);
    } finally {
      for (const socket of slow) socket.destroy();
    }
  });
});

describe('a file in the place of the private folder', () => {
  it('changes nothing for readers', async () => {
    const folder = await layImage(root, 'team/app', ONE);
    await writeFile(path.join(root, '.lookaside'), 'x');
    server = await startServer({ root, data });
    await assertServes(`/${folder}/signature-1`, ONE);
    assert.equal((await get('/.lookaside/')).status, 404);
  });
});
