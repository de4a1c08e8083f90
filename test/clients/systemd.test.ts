// The units in docs/ as systemd understands them, and the server as systemd starts it.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readdirSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { type AddressInfo, createServer } from 'node:net';
import path from 'node:path';
import { describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { requestRaw } from '../http/raw-request.ts';
import { needs } from './available.ts';
import { describeOutcome, run, startBackground } from './command.ts';
import { lookaside } from './server.ts';
import { openTempFolder, type TempFolder } from './temp-folder.ts';

const DOCS = fileURLToPath(new URL('../../../docs', import.meta.url));
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
  }
});

/** A free port of 127.0.0.1, as far as anybody can know. */
async function freePort(): Promise<number> {
  const server = createServer().listen({ port: 0, host: '127.0.0.1' });
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo; // a TCP server that listens has one
  server.close();
  await once(server, 'close');
  return port;
}

test('systemd starts the server at the first connection', needs('systemd-socket-activate'), async () => {
  await using temp = await openTempFolder();
  const [first, second] = [await freePort(), await freePort()];
  await using _ = await startBackground(
    [
      'systemd-socket-activate',
      ...['-l', `127.0.0.1:${first}`, '-l', `127.0.0.1:${second}`],
      ...lookaside('serve', '--data', temp.path),
    ],
    SURROUNDINGS,
    /Listening on 127\.0\.0\.1:[0-9]+.*Listening on 127\.0\.0\.1:[0-9]+/s,
  );
  for (const port of [first, second]) assert.equal((await requestRaw(port, 'GET /livez')).status, 200);
});
