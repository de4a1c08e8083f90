// The systemd units in docs/: understood by systemd, locked down, and at one with each other and with the server.
import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { needs } from './clients/available.ts';
import { describeOutcome, run } from './clients/command.ts';
import { openTempFolder, type TempFolder } from './clients/temp-folder.ts';

const DOCS = fileURLToPath(new URL('../../docs', import.meta.url));
const UNITS = readdirSync(DOCS).filter((name) => /\.(?:service|socket)$/.test(name));
const SERVICES = UNITS.filter((name) => name.endsWith('.service'));
const SURROUNDINGS = { env: { PATH: process.env.PATH ?? '' } };

/** systemd's own figure times ten; 100 is a service without any restriction. What is left is the network. */
const MAX_EXPOSURE = 15;

/** The units with the node of this machine: systemd looks whether it is there. */
async function copyUnits(): Promise<TempFolder> {
  const folder = await openTempFolder();
  for (const name of UNITS) {
    const unit = await readFile(path.join(DOCS, name), 'utf8');
    await writeFile(path.join(folder.path, name), unit.replaceAll('/usr/bin/node', process.execPath));
  }
  return folder;
}

/** Every value of the setting, in their order. */
async function valuesOf(unit: string, setting: string): Promise<readonly string[]> {
  const text = await readFile(path.join(DOCS, unit), 'utf8');
  return [...text.matchAll(new RegExp(`^${setting}=(.*)$`, 'gm'))].map(([, value = '']) => value);
}

describe('the systemd units', () => {
  test('have nothing that systemd does not understand', needs('systemd-analyze'), async () => {
    await using folder = await copyUnits();
    const paths = UNITS.map((name) => path.join(folder.path, name));
    const outcome = await run(['systemd-analyze', 'verify', ...paths], SURROUNDINGS);
    const said = `${outcome.stdout}${outcome.stderr}`;
    assert.equal(outcome.status, 0, describeOutcome(outcome));
    // what it says of units of the machine is not ours
    for (const name of UNITS) assert.ok(!said.includes(path.join(folder.path, name)), said);
  });

  for (const service of SERVICES) {
    test(`lock ${service} down`, needs('systemd-analyze'), async () => {
      await using folder = await copyUnits();
      const outcome = await run(
        [
          ...(['systemd-analyze', 'security', '--offline=yes', '--no-pager'] as const),
          `--threshold=${MAX_EXPOSURE}`,
          path.join(folder.path, service),
        ],
        SURROUNDINGS,
      );
      assert.match(outcome.stdout, /Overall exposure level/, describeOutcome(outcome));
      assert.equal(outcome.status, 0, describeOutcome(outcome));
    });

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
