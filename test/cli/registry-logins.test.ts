import assert from 'node:assert/strict';
import { mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { test } from 'node:test';
import { repeat } from '../../src/cli/mirror-sync.ts';
import { withLogin } from '../../src/cli/registry-logins.ts';
import { openTempFolder } from '../clients/temp-folder.ts';

function authFile(user: string, host = 'r.example'): string {
  return JSON.stringify({ auths: { [host]: { auth: Buffer.from(`${user}:p@ss/word`).toString('base64') } } });
}

test('the login of a registry comes from the named file, from $REGISTRY_AUTH_FILE, or from the usual places', async () => {
  await using temp = await openTempFolder();
  const home = path.join(temp.path, 'home');
  const inTemp = (name: string) => path.join(temp.path, name);
  await mkdir(path.join(home, '.config/containers'), { recursive: true });
  await mkdir(path.join(home, '.docker'));
  await writeFile(inTemp('named'), authFile('named'));
  await writeFile(inTemp('variable'), authFile('variable'));
  await writeFile(path.join(home, '.config/containers/auth.json'), authFile('podman'));
  await writeFile(path.join(home, '.docker/config.json'), authFile('docker', 'd.example'));
  // of this machine's user nothing may count
  const environment = { XDG_RUNTIME_DIR: inTemp('none') };
  const usual = { authFile: null, environment, home };
  const cases = [
    [{ ...usual, authFile: inTemp('named') }, 'r.example/app', 'named'],
    [
      { ...usual, environment: { ...environment, REGISTRY_AUTH_FILE: inTemp('variable') } },
      'r.example/app',
      'variable',
    ],
    [usual, 'r.example/app', 'podman'],
    [usual, 'http://d.example/app', 'docker'],
    [usual, 'other.example/app', ''],
    [usual, 'own:word@r.example/app', 'own'],
  ] as const;
  for (const [options, registry, user] of cases) {
    const login = await withLogin(registry, options);
    const url = new URL(/^https?:/.test(login) ? login : `https://${login}`);
    assert.equal(url.username, user, registry);
    assert.equal(`${url.host}${url.pathname}`, `${registry.replace(/^.*(?:@|\/\/)/, '')}`);
    if (user !== '' && user !== 'own') assert.equal(decodeURIComponent(url.password), 'p@ss/word');
  }
});

test('a file of logins that was named has to be one, and the message tells nothing of it', async () => {
  await using temp = await openTempFolder();
  const file = path.join(temp.path, 'auth.json');
  const named = { authFile: file, environment: {} };
  await assert.rejects(withLogin('r.example/app', named), {
    code: 'CONFIG_INVALID',
    message: /no such file/,
  });
  await writeFile(file, '{"auths": "hunter2"');
  await assert.rejects(withLogin('r.example/app', named), (error: Error) => {
    assert.match(error.message, /is not a file of logins/);
    assert.doesNotMatch(error.message, /hunter2/);
    return true;
  });
});

test('a run comes again and again, a tenth of the time sooner or later at most, until it is told to stop', async () => {
  const chances = [0, 0.5, 0.999];
  const pauses: number[] = [];
  let runs = 0;
  await repeat({
    everyMs: 1000,
    run: async () => {
      runs += 1;
    },
    pause: async (ms) => void pauses.push(ms),
    isOver: () => pauses.length === 3,
    chance: () => chances[pauses.length] ?? 0,
  });
  assert.deepEqual(pauses, [900, 1000, 1100]);
  assert.equal(runs, 3);
});

test('a run that is told to stop while it works begins no pause', async () => {
  let isOver = false;
  const run = async () => {
    isOver = true;
  };
  const pause = () => Promise.reject(new Error('it pauses'));
  await repeat({ everyMs: 1, run, pause, isOver: () => isOver, chance: () => 0 });
  assert.ok(isOver);
});
