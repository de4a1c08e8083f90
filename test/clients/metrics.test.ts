// What Prometheus' own checker says of the metrics of a server that has done some of everything.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import path from 'node:path';
import { after, before, describe, it } from 'node:test';
import { requestRaw } from '../http/raw-request.ts';
import { folderOf } from '../store/lay.ts';
import { needs, programFile } from './available.ts';
import { createToken, type LookasideServer, startServer } from './server.ts';
import { addKey, makeSigner } from './signer.ts';
import { openTempFolder, type TempFolder } from './temp-folder.ts';

describe('metrics', needs('promtool'), () => {
  let temp: TempFolder;
  let server: LookasideServer;
  let text: string;

  before(async () => {
    temp = await openTempFolder();
    const data = path.join(temp.path, 'data');
    server = await startServer({ data });
    const alice = makeSigner('alice');
    await addKey(data, alice);
    const token = await createToken(data, 'ci', 'uploader');
    const folder = folderOf('team/app');
    const signature = alice.sign({ repository: 'team/app', tag: 'v1' });
    const lines = [`Authorization: Bearer ${token}`];
    const answers = [
      await requestRaw(server.port, `PUT /${folder}/signature-1`, lines, signature),
      await requestRaw(server.port, `PUT /${folder}/signature-1`, lines, Buffer.from('no signature')),
      await requestRaw(server.port, `GET /${folder}/signature-1`),
      await requestRaw(server.port, `GET /${folder}/signature-2`),
      await requestRaw(server.port, 'GET /livez'),
    ];
    assert.deepEqual(
      answers.map(({ status }) => status),
      [201, 422, 200, 404, 200],
    );
    text = (await requestRaw(server.port, 'GET /metrics')).body.toString();
  });

  after(async () => {
    await server?.[Symbol.asyncDispose]();
    await temp?.[Symbol.asyncDispose]();
  });

  it('are as Prometheus wants them', () => {
    const promtool = programFile('promtool');
    const { status, stdout, stderr } = spawnSync(promtool, ['check', 'metrics'], { input: text });
    assert.deepEqual([status, `${stdout}${stderr}`], [0, '']);
  });

  it('say how long the requests of each route took', () => {
    const name = 'lookaside_http_request_duration_seconds';
    for (const [route, count] of [
      ['upload', 2],
      ['signature', 2],
      ['livez', 1],
    ] as const) {
      assert.match(text, new RegExp(`^${name}_count\\{route="${route}"\\} ${count}$`, 'm'));
      assert.match(text, new RegExp(`^${name}_bucket\\{le="10",route="${route}"\\} ${count}$`, 'm'));
      const [, sum] = new RegExp(`^${name}_sum\\{route="${route}"\\} (\\S+)$`, 'm').exec(text) ?? [];
      assert.ok(Number(sum) > 0 && Number(sum) < 60, `${route}: ${sum} s`);
    }
  });
});
