// A command in the wrong folder: it finds the service's data, or says where it looked; it never makes another server.
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import path from 'node:path';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { requireDataDirectory } from '../../src/cli/data-directory.ts';
import { loadConfig } from '../../src/config.ts';
import { makeDataDirectory } from '../clients/data-directory.ts';
import { runLookaside } from '../clients/server.ts';
import { openTempFolder, type TempFolder } from '../clients/temp-folder.ts';

let temp: TempFolder;

beforeEach(async () => {
  temp = await openTempFolder();
});

afterEach(() => temp[Symbol.asyncDispose]());

const inFolder = (name: string) => path.join(temp.path, name);

describe('a command where no server has its data', () => {
  for (const command of [
    ['token', 'create', '--name', 'ci'],
    ['token', 'list'],
    ['token', 'revoke', 'ci'],
    ['key', 'add', '/dev/null'],
    ['key', 'list'],
    ['key', 'show', 'AAAAAAAAAAAAAAAA'],
    ['fsck'],
    ['reindex'],
    ['backup', 'backup'],
  ]) {
    test(`${command.slice(0, 2).join(' ')} ends with 2, says where it looked, and makes nothing`, async () => {
      for (const data of ['typo', 'empty']) {
        await mkdir(inFolder('empty'), { recursive: true });
        // a server that is named elsewhere does not count beside a folder on the command line
        const settings = { LOOKASIDE_URL: 'http://nowhere.invalid' };
        const { status, stdout, stderr } = await runLookaside(
          [...command, '--data', data],
          settings,
          temp.path,
        );
        assert.equal(status, 2, stderr);
        assert.equal(stdout, '');
        const complaint = data === 'typo' ? 'does not exist' : 'holds no state.db that you may see';
        assert.ok(
          stderr.includes(`${inFolder(data)} is not a data directory of lookaside: it ${complaint}; wanted`),
          stderr,
        );
      }
      assert.ok(!existsSync(inFolder('typo')) && !existsSync(inFolder('backup')));
    });
  }

  test('a backup is of this machine, whatever server is named in the environment', async () => {
    const settings = { LOOKASIDE_URL: 'http://nowhere.invalid', LOOKASIDE_DATA: inFolder('typo') };
    const { status, stderr } = await runLookaside(['backup', 'backup'], settings, temp.path);
    assert.equal(status, 2, stderr);
    assert.ok(stderr.includes(`${inFolder('typo')} is not a data directory`), stderr);
    assert.ok(!existsSync(inFolder('backup')));
  });

  test('is told of the one that the service of this machine has', async () => {
    await makeDataDirectory(inFolder('system'));
    assert.throws(() => requireDataDirectory(inFolder('typo'), inFolder('system')), {
      code: 'CONFIG_INVALID',
      message: new RegExp(`There is one in ${inFolder('system')}\\. Name it by --data`),
    });
    requireDataDirectory(inFolder('system'), inFolder('nowhere'));
  });
});

describe('the data directory of the service', () => {
  const dataIn = (folder: string, flags = {}) =>
    loadConfig({
      flags,
      environment: {},
      workingFolder: inFolder(folder),
      systemData: inFolder('system'),
      parseYaml: null,
    }).config.data;

  test('is that of a command where none is named and the folder has none', async () => {
    assert.equal(dataIn('elsewhere'), inFolder('elsewhere/data'), 'there is none');
    await makeDataDirectory(inFolder('system'));
    assert.equal(dataIn('elsewhere'), inFolder('system'));
    assert.equal(dataIn('elsewhere', { data: 'data' }), inFolder('elsewhere/data'), 'one is named');
    await mkdir(inFolder('elsewhere/data'), { recursive: true });
    assert.equal(dataIn('elsewhere'), inFolder('elsewhere/data'), 'the folder has one');
  });
});
