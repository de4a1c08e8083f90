// docs/installing.md for somebody who signs: the package of this checkout, installed without a compiler.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { openTempFolder, type TempFolder } from '../clients/temp-folder.ts';

const ROOT = fileURLToPath(new URL('../../..', import.meta.url));
const { version } = JSON.parse(readFileSync(path.join(ROOT, 'package.json'), 'utf8'));

/** What npm has downloaded on this machine before. */
const DOWNLOADED = {
  npm_config_cache: process.env.npm_config_cache ?? path.join(homedir(), '.npm'),
};

describe('the package', () => {
  let temp: TempFolder;
  let packed: readonly string[];

  const inFolder = (name: string) => path.join(temp.path, name);

  /** Standard output; a failure shows both. */
  const npm = (cwd: string, ...args: readonly string[]) => {
    const { status, stdout, stderr } = spawnSync('npm', [...args, '--loglevel=error'], {
      cwd,
      env: { PATH: process.env.PATH, HOME: inFolder('home'), ...DOWNLOADED },
      encoding: 'utf8',
    });
    assert.equal(status, 0, stdout + stderr);
    return stdout;
  };

  const lookaside = (...args: readonly string[]) =>
    spawnSync(inFolder('home/node_modules/.bin/lookaside'), args, {
      cwd: inFolder('home'),
      env: { PATH: process.env.PATH },
      encoding: 'utf8',
    });

  before(async () => {
    temp = await openTempFolder();
    mkdirSync(inFolder('home'));
    const [{ filename, files }] = JSON.parse(npm(ROOT, 'pack', '--json', '--pack-destination', temp.path));
    packed = files.map((file: { path: string }) => file.path);
    // not --global with a prefix: npm would look there for the settings of this machine, which may name its registry
    npm(inFolder('home'), 'install', '--ignore-scripts', '--no-audit', '--no-fund', inFolder(filename));
  });
  after(() => temp?.[Symbol.asyncDispose]());

  test('holds the built command, and no test', () => {
    assert.ok(packed.includes('dist/src/main.js'));
    assert.ok(packed.includes('migrations/state/0001_token.sql'));
    assert.deepEqual(
      packed.filter((file) => file.startsWith('dist/test')),
      [],
    );
  });

  test('pushes, lists, shows and verifies without a database', () => {
    assert.equal(lookaside('--version').stdout, `${version}\n`);
    const nowhere = ['--server', 'http://nowhere.invalid', '--token-file', '/dev/null'];
    for (const command of [['list'], ['show', `team/app@sha256:${'a'.repeat(64)}`], ['key', 'list']]) {
      const { status, stderr } = lookaside(...command, '--server', 'http://nowhere.invalid');
      assert.equal(status, 2);
      assert.match(stderr, /nowhere\.invalid/, `${command[0]}: ${stderr}`);
    }
    const { status, stderr } = lookaside('push', inFolder('home'), ...nowhere);
    assert.equal(status, 2);
    assert.match(stderr, /\/dev\/null/, stderr);
  });

  test('says what is missing where a command needs the database', () => {
    const { status, stderr } = lookaside('serve', '--data', inFolder('data'), '--listen', '127.0.0.1:0');
    assert.equal(status, 1);
    assert.match(stderr, /the database is missing: .* install lookaside again without --ignore-scripts/);
    assert.doesNotMatch(stderr, /Tried:|cannot lock/);
  });
});
