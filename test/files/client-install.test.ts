// Files of clients in place: all or none, with what was there kept, through no link.
import assert from 'node:assert/strict';
import {
  chmod,
  mkdir,
  readdir,
  readFile,
  stat,
  symlink,
  truncate,
  unlink,
  writeFile,
} from 'node:fs/promises';
import path from 'node:path';
import { test } from 'node:test';
import { isLookasideError } from '../../src/domain/errors.ts';
import { MAX_INSTALLED_BYTES } from '../../src/domain/limits.ts';
import { installFiles, readInstalled, realFolder, undoInstall } from '../../src/files/client-install.ts';
import { openTempFolder } from '../clients/temp-folder.ts';

const POLICY = 'etc/containers/policy.json';
const KEY = 'etc/containers/keys/a.gpg';
const OLD = Buffer.from('old');

async function openBase() {
  const temp = await openTempFolder();
  const base = temp.path;
  const place = { base, backups: 'etc/containers/lookaside-backup' };
  await mkdir(path.join(base, 'etc/containers'), { recursive: true });
  await writeFile(path.join(base, POLICY), OLD);
  await chmod(path.join(base, POLICY), 0o640);
  return {
    base,
    place,
    install: (second = 0, policy = 'new') =>
      installFiles(
        place,
        [
          { path: KEY, before: second === 0 ? null : Buffer.from('key'), after: Buffer.from('key') },
          { path: POLICY, before: second === 0 ? OLD : Buffer.from('new'), after: Buffer.from(policy) },
        ],
        new Date(Date.UTC(2026, 0, 1, 0, 0, second)),
      ),
    read: (file: string) => readFile(path.join(base, file), 'utf8'),
    tree: async () => (await readdir(base, { recursive: true })).sort(),
    [Symbol.asyncDispose]: () => temp[Symbol.asyncDispose](),
  };
}

test('what is installed keeps mode and backup of what was there, and is taken back step by step', async () => {
  await using at = await openBase();
  const before = await at.tree();
  const backup = await at.install();
  assert.equal(await at.read(POLICY), 'new');
  assert.equal((await stat(path.join(at.base, POLICY))).mode & 0o777, 0o640);
  assert.equal((await stat(path.join(at.base, KEY))).mode & 0o777, 0o644);
  assert.equal(await readFile(path.join(backup, '1.before'), 'utf8'), 'old');
  await at.install(1, 'newest');
  await undoInstall(at.place);
  assert.equal(await at.read(POLICY), 'new');
  const undone = await undoInstall(at.place);
  assert.deepEqual(
    undone.map(({ action }) => action),
    ['restored', 'removed'],
  );
  assert.equal(await at.read(POLICY), 'old');
  assert.equal((await stat(path.join(at.base, POLICY))).mode & 0o777, 0o640);
  assert.deepEqual(await at.tree(), before);
  await assert.rejects(undoInstall(at.place), (error) => isLookasideError(error, 'NOT_FOUND'));
});

test('a file that somebody has changed meanwhile is neither replaced nor taken back', async () => {
  await using at = await openBase();
  await writeFile(path.join(at.base, POLICY), 'by another');
  const before = await at.tree();
  await assert.rejects(at.install(), (error) => isLookasideError(error, 'NAME_TAKEN'));
  assert.deepEqual([await at.read(POLICY), await at.tree()], ['by another', before]);
  await writeFile(path.join(at.base, POLICY), OLD);
  await at.install();
  await writeFile(path.join(at.base, POLICY), 'by another');
  await assert.rejects(undoInstall(at.place), (error) => isLookasideError(error, 'NAME_TAKEN'));
  assert.deepEqual([await at.read(POLICY), await at.read(KEY)], ['by another', 'key']);
});

test('an installation that was killed between two files is taken back', async () => {
  await using at = await openBase();
  await at.install();
  await writeFile(path.join(at.base, POLICY), OLD); // as if the second rename had not come
  assert.deepEqual(
    (await undoInstall(at.place)).map(({ action }) => action),
    ['removed'],
  );
  assert.equal(await at.read(POLICY), 'old');
});

test('nothing is read or written through a link, and a failure leaves nothing behind', async () => {
  await using at = await openBase();
  await using elsewhere = await openTempFolder();
  for (const [link, target] of [
    ['etc/containers/keys', elsewhere.path],
    ['etc/containers/keys', 'keys'], // a circle
    ['etc/containers/lookaside-backup', elsewhere.path],
  ] as const) {
    const place = path.join(at.base, link);
    await symlink(target, place);
    const before = await at.tree();
    await assert.rejects(
      at.install(),
      (error) => isLookasideError(error, 'CONFIG_INVALID') && /symbolic link/.test(error.message),
    );
    assert.deepEqual(
      [await at.read(POLICY), await at.tree(), await readdir(elsewhere.path)],
      ['old', before, []],
    );
    await unlink(place);
  }
  // a folder where the key goes: the last step fails for one file
  await mkdir(path.join(at.base, KEY, 'x'), { recursive: true });
  const before = await at.tree();
  await assert.rejects(at.install(), (error) => isLookasideError(error));
  assert.deepEqual([await at.read(POLICY), await at.tree()], ['old', before]);
});

test('a file of more than the limit is refused unread', async () => {
  await using at = await openBase();
  await truncate(path.join(at.base, POLICY), MAX_INSTALLED_BYTES);
  assert.equal((await readInstalled(at.base, POLICY))?.length, MAX_INSTALLED_BYTES);
  await truncate(path.join(at.base, POLICY), 10 * 1024 * 1024);
  await assert.rejects(readInstalled(at.base, POLICY), (error) => isLookasideError(error, 'CONFIG_INVALID'));
});

test('a folder that is not there is called so', async () => {
  await assert.rejects(realFolder('/nowhere/machine'), (error: unknown) => {
    assert.ok(isLookasideError(error, 'CONFIG_INVALID'));
    assert.match(error.message, /^there is no folder \/nowhere\/machine; make it, or /);
    return true;
  });
});
