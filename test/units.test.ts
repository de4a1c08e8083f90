// The systemd units in docs/: at one with each other and with the server. test/clients/systemd.test.ts asks systemd.
import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';

const DOCS = fileURLToPath(new URL('../../docs', import.meta.url));
const UNITS = readdirSync(DOCS).filter((name) => /\.(?:service|socket)$/.test(name));
const SERVICES = UNITS.filter((name) => name.endsWith('.service'));

/** Every value of the setting, in their order. */
async function valuesOf(unit: string, setting: string): Promise<readonly string[]> {
  const text = await readFile(path.join(DOCS, unit), 'utf8');
  return [...text.matchAll(new RegExp(`^${setting}=(.*)$`, 'gm'))].map(([, value = '']) => value);
}

describe('the systemd units', () => {
  for (const service of SERVICES) {
    test(`let ${service} write nothing but its own state`, async () => {
      const strict = { ProtectSystem: 'strict', ProtectHome: 'yes', PrivateTmp: 'yes', DynamicUser: 'yes' };
      for (const [setting, value] of Object.entries(strict)) {
        assert.deepEqual(await valuesOf(service, setting), [value], setting);
      }
      for (const setting of ['ReadWritePaths', 'BindPaths', 'CacheDirectory', 'LogsDirectory']) {
        assert.deepEqual(await valuesOf(service, setting), [], setting);
      }
    });
  }

  // systemd takes death by SIGHUP for a clean end, and Node.js takes a moment until it runs our first line
  test('start the server again when a reload comes ahead of its first line', async () => {
    assert.deepEqual(await valuesOf('lookaside.service', 'ExecReload'), ['/bin/kill -HUP $MAINPID']);
    assert.deepEqual(await valuesOf('lookaside.service', 'RestartForceExitStatus'), ['SIGHUP']);
  });

  test('keep the data where the server looks for it', async () => {
    const [state] = await valuesOf('lookaside.service', 'StateDirectory');
    const environment = await valuesOf('lookaside.service', 'Environment');
    assert.ok(environment.includes(`LOOKASIDE_DATA=/var/lib/${state}`));
  });

  test('listen on the same port with and without the socket unit', async () => {
    const [port] = await valuesOf('lookaside.socket', 'ListenStream');
    const environment = await valuesOf('lookaside.service', 'Environment');
    assert.ok(environment.includes(`LOOKASIDE_LISTEN=:${port}`));
    assert.deepEqual(await valuesOf('lookaside.socket', 'Accept'), []);
    for (const setting of ['Requires', 'Sockets', 'BindsTo']) {
      assert.deepEqual(await valuesOf('lookaside.service', setting), [], 'it runs without as well');
    }
  });
});
