// How `npm test` installs the clients that the tests need: scripts/clients.mjs against an apt-get of our own.
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';

const clientsUrl = new URL('../../scripts/clients.mjs', import.meta.url).href;

function temporaryFolder(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'lookaside-clients-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** A PATH whose apt-get writes down its arguments and whether the policy file was there, and exits as told. */
function fakeApt(t: TestContext, { exits }: { exits: readonly number[] }) {
  const folder = temporaryFolder(t);
  const policyFile = join(folder, 'policy-rc.d');
  const log = join(folder, 'log');
  mkdirSync(join(folder, 'bin'));
  const script = `#!/bin/sh
[ -x '${policyFile}' ] && policy=yes || policy=no
[ -e '${join(folder, 'is-over')}' ] && set -- "$@" over
echo "$policy $DEBIAN_FRONTEND $*" >> '${log}'
set -- ${exits.join(' ')}
shift $(( $(wc -l < '${log}') - 1 ))
exit $1
`;
  writeFileSync(join(folder, 'bin/apt-get'), script);
  chmodSync(join(folder, 'bin/apt-get'), 0o755);
  const install = (programs: string[]) => {
    const code = `const { installClients } = await import(${JSON.stringify(clientsUrl)});
      await installClients(${JSON.stringify(programs)}, { policyFile: ${JSON.stringify(policyFile)} });`;
    const env = { PATH: `${join(folder, 'bin')}:/usr/bin:/bin` };
    const { status, stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', code], {
      env,
      encoding: 'utf8',
    });
    assert.equal(status, 0, stderr);
    return readFileSync(log, 'utf8').trimEnd().split('\n');
  };
  return { policyFile, install };
}

test('clients are installed without their services, and the policy that stops these goes again', (t) => {
  const { policyFile, install } = fakeApt(t, { exits: [0] });
  const calls = install(['skopeo', 'gpg']);
  assert.equal(calls.length, 1);
  assert.match(calls[0] ?? '', /^yes noninteractive .*install -y --no-install-recommends skopeo gnupg$/);
  assert.equal(existsSync(policyFile), false);
});

test('package lists are fetched only after an installation failed', (t) => {
  const { policyFile, install } = fakeApt(t, { exits: [100, 0, 0] });
  const verbs = install(['curl']).map((call) => /install|update/.exec(call)?.[0]);
  assert.deepEqual(verbs, ['install', 'update', 'install']);
  assert.equal(existsSync(policyFile), false);
});

test('the policy goes again when the installation fails', (t) => {
  const { policyFile, install } = fakeApt(t, { exits: [100, 100] });
  assert.equal(install(['curl']).length, 2);
  assert.equal(existsSync(policyFile), false);
});

test('a policy that a killed run has left is taken over', (t) => {
  const { policyFile, install } = fakeApt(t, { exits: [0] });
  const killed = `const { withoutServices } = await import(${JSON.stringify(clientsUrl)});
    await withoutServices(${JSON.stringify(policyFile)}, () => process.kill(process.pid, 'SIGKILL'));`;
  assert.equal(spawnSync(process.execPath, ['--input-type=module', '-e', killed]).signal, 'SIGKILL');
  assert.ok(existsSync(policyFile));
  assert.match(install(['curl'])[0] ?? '', /^yes /);
  assert.equal(existsSync(policyFile), false);
});

test('a run that installs at the same time is waited for: it takes its policy away when it ends', async (t) => {
  const { policyFile, install } = fakeApt(t, { exits: [0] });
  const isOver = join(policyFile, '../is-over');
  const other = `const { withoutServices } = await import(${JSON.stringify(clientsUrl)});
    const { writeFileSync } = await import('node:fs');
    await withoutServices(${JSON.stringify(policyFile)}, async () => {
      console.log('installing');
      await new Promise((resolve) => setTimeout(resolve, 1000));
      writeFileSync(${JSON.stringify(isOver)}, '');
    });`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', other], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const ended = once(child, 'exit');
  await once(child.stdout, 'data');
  assert.match(install(['curl'])[0] ?? '', /^yes .*curl over$/);
  assert.deepEqual(await ended, [0, null]);
  assert.equal(existsSync(policyFile), false);
});

test("an administrator's own service policy is neither overwritten nor removed", (t) => {
  const { policyFile, install } = fakeApt(t, { exits: [0, 0] });
  for (const text of ['#!/bin/sh\nexit 0\n', '']) {
    writeFileSync(policyFile, text);
    install(['curl']);
    assert.equal(readFileSync(policyFile, 'utf8'), text);
  }
});
