// A server that is stopped while many readers wait for a signature site that does not answer. The short form is in
// test/service/mirror.test.ts: no walk is paced when none begins any more.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { Agent, request } from 'node:http';
import { describeOutcome } from '../clients/command.ts';
import { runLookaside, startServer } from '../clients/server.ts';
import { openTempFolder } from '../clients/temp-folder.ts';
import { openHostileSite } from '../upstream/hostile-site.ts';
import { longTest } from './promise.ts';

longTest('a stop ends whole although many readers wait for a site that does not answer', async () => {
  await using data = await openTempFolder();
  await using site = await openHostileSite(() => undefined);
  const adding = ['mirror', 'add', 'vendor', '--upstream', site.url, '--prefix', '/vendor'];
  const added = await runLookaside([...adding, '--data', data.path]);
  assert.equal(added.status, 0, describeOutcome(added));
  await using server = await startServer({ data: data.path });
  const agent = new Agent();
  const asking = Array.from({ length: 500 }, (_, number) => {
    const url = `${server.url}/vendor/app@sha256=${String(number).padStart(64, '0')}/signature-1`;
    const asked = request(url, { agent });
    const status = new Promise<number | string>((resolve) => {
      asked.on('response', (answer) => resolve(answer.resume().statusCode ?? 0));
      asked.on('error', ({ message }) => resolve(message));
    });
    const isSent = once(asked, 'finish');
    asked.end();
    return { status, isSent };
  });
  await Promise.all(asking.map(({ isSent }) => isSent));
  // what has come before this is read before it too
  assert.equal((await fetch(`${server.url}/readyz`)).status, 200);
  await server.stop(); // demands that it exits with 0
  agent.destroy();
  for (const { status } of asking) assert.notEqual(await status, 404);
});
