// The record of reads when its server is killed: what was answered earlier than the last moment before is there, and nothing twice.
import assert from 'node:assert/strict';
import { Agent, get } from 'node:http';
import path from 'node:path';
import { test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { createToken, startServer } from '../clients/server.ts';
import { openTempFolder } from '../clients/temp-folder.ts';
import { layImage, signatureBytes } from '../store/lay.ts';
import { count } from './promise.ts';

const KILLS = count(20, 1);
/** A second is promised; in `npm test` other tests keep the writer from the processor. */
const LOST_MS = count(1000, 3000);
const READS_MS = LOST_MS + 500;

test(`reads before the last ${LOST_MS / 1000} s are recorded once over ${KILLS} kills`, async () => {
  await using temp = await openTempFolder();
  const [data, root] = [path.join(temp.path, 'data'), path.join(temp.path, 'tree')];
  const folder = await layImage(root, 'team/app', signatureBytes('one'));
  const token = await createToken(data, 'anna', 'auditor');
  const rounds: { readonly agent: string; readonly answeredMs: number[]; killedMs: number }[] = [];
  for (let kill = 1; kill <= KILLS; kill += 1) {
    const server = await startServer({ data, root });
    const round = { agent: `round-${kill}`, answeredMs: [] as number[], killedMs: 0 };
    rounds.push(round);
    const target = `${server.url}/${folder}/signature-1`;
    const client = new Agent({ keepAlive: true });
    const read = () =>
      new Promise<boolean>((resolve) => {
        get(target, { agent: client, headers: { 'user-agent': round.agent } }, (answer) => {
          answer.resume();
          answer.on('error', () => resolve(false));
          answer.on('end', () => {
            round.answeredMs.push(performance.now());
            resolve(answer.statusCode === 200);
          });
        }).on('error', () => resolve(false));
      });
    // a server that was just started may take long to answer first, and reads before that moment are what this is about
    assert.ok(await read(), 'the first read is answered');
    const reading = (async () => {
      while (await read()) await pause(2);
    })();
    await pause(READS_MS + Math.random() * 500);
    round.killedMs = performance.now();
    process.kill(server.pid, 'SIGKILL');
    await server.ended;
    await reading;
    client.destroy();
  }
  await using server = await startServer({ data, root });
  const headers = { authorization: `Bearer ${token}` };
  const answer = await fetch(`${server.url}/api/v1/access?by=agent&limit=1000`, { headers });
  const { groups } = (await answer.json()) as { groups: { of: string[]; count: number }[] };
  for (const { agent, answeredMs, killedMs } of rounds) {
    const recorded = groups.find(({ of }) => of[0] === agent)?.count ?? 0;
    const before = answeredMs.filter((at) => at < killedMs - LOST_MS).length;
    assert.ok(before > 0, 'the first was read early enough');
    // the answer of one more may have been cut off
    const seen = `${agent}: ${recorded} of ${answeredMs.length} recorded, ${before} of them must be`;
    assert.ok(recorded >= before && recorded <= answeredMs.length + 1, seen);
  }
});
