// How `npm test` installs the clients that the tests need: scripts/clients.mjs against an apt-get of our own.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
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

test("an administrator's own service policy is neither overwritten nor removed", (t) => {
  const { policyFile, install } = fakeApt(t, { exits: [0] });
  writeFileSync(policyFile, '#!/bin/sh\nexit 0\n');
  install(['curl']);
  assert.equal(readFileSync(policyFile, 'utf8'), '#!/bin/sh\nexit 0\n');
});
