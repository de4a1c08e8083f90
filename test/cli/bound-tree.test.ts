// Commands on a data directory whose server was started with --root, typed without it: they mean the tree that is served.
import assert from 'node:assert/strict';
import { mkdir, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { type LookasideServer, runLookaside, startServer } from '../clients/server.ts';
import { makeSigner } from '../clients/signer.ts';
import { openTempFolder, type TempFolder } from '../clients/temp-folder.ts';
import { folderOf } from '../store/lay.ts';

const alice = makeSigner('alice');

let temp: TempFolder;
let data: string;
let root: string;
let server: LookasideServer;

beforeEach(async () => {
  temp = await openTempFolder();
  [data, root] = [path.join(temp.path, 'data'), path.join(temp.path, 'tree')];
  const image = path.join(root, folderOf('team/app'));
  await mkdir(image, { recursive: true });
  await writeFile(path.join(image, 'signature-1'), alice.sign({ repository: 'team/app', tag: 'v1' }));
  await writeFile(path.join(image, 'signature-2'), '<html>');
  server = await startServer({ data, root });
});
afterEach(async () => {
  await server[Symbol.asyncDispose]();
  await temp[Symbol.asyncDispose]();
});

const here = (...args: readonly string[]) => runLookaside([...args, '--data', data]);

/** The lines below the table of problems. */
async function fsckSummary(...args: readonly string[]) {
  const { status, stdout, stderr } = await here('fsck', ...args);
  const [, summary = ''] = stdout.split('\n\n');
  return { status, summary, stderr };
}

describe('a data directory whose server has another tree', () => {
  const expected = () => `${root}: 1 image, 1 signature, 1 problem, 0 repaired\n`;
  const byServer = () => `${expected()}The server that is running on ${data} did this check.\n`;

  test('is checked by that server, which says so; when it is frozen or has ended, by the command with the same tree', async () => {
    assert.deepEqual(await fsckSummary(), { status: 1, summary: byServer(), stderr: '' });
    assert.deepEqual(await fsckSummary('--repair'), { status: 1, summary: byServer(), stderr: '' });
    // the command reads the files itself when another tree is named, the server is frozen, or none runs
    const other = path.join(temp.path, 'other');
    await mkdir(other);
    const { stdout } = await here('fsck', '--root', other);
    assert.equal(stdout, `${other}: 0 images, 0 signatures, 0 problems, 0 repaired\n`);
    process.kill(server.pid, 'SIGSTOP');
    try {
      assert.deepEqual(await fsckSummary(), { status: 1, summary: expected(), stderr: '' });
    } finally {
      process.kill(server.pid, 'SIGCONT');
    }
    await server.stop();
    assert.deepEqual(await fsckSummary(), { status: 1, summary: expected(), stderr: '' });
    assert.deepEqual(await fsckSummary('--repair'), { status: 1, summary: expected(), stderr: '' });
  });

  test('is never told to be empty when the index, which names the tree, is gone: its server says what is wrong', async () => {
    for (const end of ['', '-wal', '-shm']) await rm(path.join(data, `index.db${end}`), { force: true });
    const { status, stdout, stderr } = await here('fsck');
    assert.equal(status, 1);
    const isWhole = stdout.endsWith(byServer()); // where the server has noticed, and made another index
    assert.ok(isWhole || /index\.db was removed or replaced while in use/.test(stderr), stdout + stderr);
  });

  test('keeps its tree when a command changes something without a server', async () => {
    await server.stop();
    const made = await here('token', 'create', '--name', 'ci');
    assert.equal(made.status, 0, made.stderr);
    assert.equal((await fsckSummary()).summary, expected());
  });

  test('is backed up as one with a shared tree', async () => {
    const backup = await here('backup', path.join(temp.path, 'backup'), '--json');
    assert.equal(backup.status, 0, backup.stderr);
    assert.equal(JSON.parse(backup.stdout).tree, 'shared');
  });

  test('takes no import, which would go where nobody looks', async () => {
    await server.stop();
    const staged = path.join(temp.path, 'staged');
    await mkdir(staged);
    const outcome = await here('import', staged);
    assert.equal(outcome.status, 2);
    assert.ok(outcome.stderr.includes(`${data} is served with another tree, ${root}. `), outcome.stderr);
  });
});
