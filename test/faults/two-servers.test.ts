// Two processes that want one data directory by mistake: the second one is refused and told of the first.
import assert from 'node:assert/strict';
import { hostname } from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import { describeOutcome } from '../clients/command.ts';
import { makeDataDirectory } from '../clients/data-directory.ts';
import { runLookaside, startServer } from '../clients/server.ts';
import { openTempFolder } from '../clients/temp-folder.ts';
import { uploadsTo } from '../clients/uploads.ts';
import { otherProcess } from '../sqlite/scratch.ts';
import { layImage, signatureBytes } from '../store/lay.ts';
import { count, promise } from './promise.ts';

const ROUNDS = count(20, 2);

const TWO_SERVERS = {
  id: 'P1',
  what: 'a second server on the data directory is refused by name, and after kill -9 a new one starts at once',
  wanted: `${ROUNDS} of ${ROUNDS} refused with process, host and command; ${ROUNDS} of ${ROUNDS} started after kill -9`,
} as const;

promise(TWO_SERVERS, async (see) => {
  await using temp = await openTempFolder();
  const data = path.join(temp.path, 'data');
  const bytes = signatureBytes('one', 3000);
  const folder = await layImage(path.join(data, 'sigstore'), 'team/app', bytes);
  let refused = 0;
  let started = 0;
  for (let round = 0; round < ROUNDS; round += 1) {
    const server = await startServer({ data });
    started += 1;
    const second = await runLookaside(['serve', '--data', data, '--listen', '127.0.0.1:0']);
    assert.equal(second.status, 1, describeOutcome(second));
    const who = `in use by lookaside serve (process ${server.pid} on host ${hostname()}, since 2`;
    assert.ok(second.stderr.includes(who), describeOutcome(second));
    refused += 1;
    const { status, body } = await uploadsTo(server.port, '').get(`${folder}/signature-1`);
    assert.ok(status === 200 && body.equals(bytes), 'the first one serves as before');
    process.kill(server.pid, 'SIGKILL');
    assert.equal(await server.ended, null);
  }
  see(`${refused} refused, ${started} started`);
});

test('a command that finds another command at work says so, and not that a server is to be restarted', async (t) => {
  await using temp = await openTempFolder();
  await makeDataDirectory(temp.path);
  const { child, end } = await otherProcess(t, 'data', temp.path);
  const outcome = await runLookaside(['token', 'create', '--name', 'ci', '--data', temp.path]);
  assert.equal(outcome.status, 1, describeOutcome(outcome));
  assert.match(outcome.stderr, /in use by lookaside import \/srv\/old/);
  assert.ok(outcome.stderr.includes(`process ${child.pid} `), outcome.stderr);
  assert.doesNotMatch(outcome.stderr, /restart|socket/);
  await end();
  const after = await runLookaside(['token', 'create', '--name', 'ci', '--data', temp.path]);
  assert.equal(after.status, 0, describeOutcome(after));
});
