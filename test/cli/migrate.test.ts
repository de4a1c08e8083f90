// lookaside migrate as far as it comes without a database.
import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { describe, test } from 'node:test';
import Database from 'better-sqlite3';
import { createLog } from '../../src/compose/log.ts';
import { migrateDirectory } from '../../src/compose/moving.ts';
import { loadConfig } from '../../src/config.ts';
import { makeDataDirectory } from '../clients/data-directory.ts';
import { runLookaside } from '../clients/server.ts';
import { openTempFolder } from '../clients/temp-folder.ts';
import { layImage, signatureBytes } from '../store/lay.ts';

/** Nobody listens there. */
const NOWHERE = 'postgres://127.0.0.1:1/nowhere';

async function openDirectory() {
  const temp = await openTempFolder();
  const [data, root] = [path.join(temp.path, 'data'), path.join(temp.path, 'tree')];
  await makeDataDirectory(data);
  await layImage(root, 'team/laid', signatureBytes('laid', 100));
  const migrate = (onScan: () => void, isDryRun = false) => {
    const { config } = loadConfig({
      flags: { data, root },
      environment: {},
      workingFolder: '/',
      parseYaml: null,
    });
    return migrateDirectory({
      ...{ config, url: NOWHERE, isDryRun, withoutMirrors: false, taker: { command: 'test', host: 'here' } },
      ...{ log: createLog('error', () => undefined), onScan, onProgress: () => undefined },
    });
  };
  return { temp, data, root, migrate };
}

const timers = () => process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length;

describe('lookaside migrate', () => {
  test('leaves nothing running after a scan that failed', async () => {
    const { temp, migrate } = await openDirectory();
    await using _ = temp;
    const before = timers();
    const run = migrate(() => {
      throw new Error('halted');
    });
    await assert.rejects(run, { message: 'halted' });
    assert.equal(timers(), before);
  });

  test('changes no schema in a dry run', async () => {
    const { temp, data, migrate } = await openDirectory();
    await using _ = temp;
    const state = new Database(path.join(data, 'state.db'));
    state.pragma('user_version = 1');
    await assert.rejects(
      migrate(() => undefined, true),
      { code: 'STATE_UNUSABLE', message: /start the server once.*a dry run/ },
    );
    assert.equal(state.pragma('user_version', { simple: true }), 1);
    state.close();
  });

  test('takes the tree and the database that the settings name, wherever they are named', async () => {
    const { temp, data, root } = await openDirectory();
    await using _ = temp;
    const file = path.join(temp.path, 'settings.yaml');
    await writeFile(file, `root: ${root}\n`);
    for (const [args, settings] of [
      [['--to', NOWHERE], { LOOKASIDE_ROOT: root }],
      [[], { LOOKASIDE_CONFIG: file, LOOKASIDE_DATABASE: NOWHERE }],
    ] as const) {
      const { status, stderr } = await runLookaside(['migrate', '--data', data, ...args], settings);
      assert.equal(status, 1, stderr);
      assert.match(
        stderr,
        /PostgreSQL cannot be reached: connect ECONNREFUSED .*; is it running, and is LOOKASIDE_DATABASE right\?/,
      );
    }
  });
});
