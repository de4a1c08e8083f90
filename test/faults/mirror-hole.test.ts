// The upstream of a mirror takes connections and never answers: what is stored is served as ever, and who asks for what is not is told
// so before clients give up.
import assert from 'node:assert/strict';
import path from 'node:path';
import { describeOutcome } from '../clients/command.ts';
import { runLookaside, startServer } from '../clients/server.ts';
import { addKey, makeSigner } from '../clients/signer.ts';
import { openTempFolder } from '../clients/temp-folder.ts';
import { folderOf } from '../store/lay.ts';
import { openHostileSite, serving } from '../upstream/hostile-site.ts';
import { longTest } from './promise.ts';

const VENDOR = makeSigner('vendor');
const IMAGES = 40;

longTest(
  'with an upstream that never answers, each stored set is served at once, and a cold ask gets 503 within 5.5 s',
  async () => {
    await using temp = await openTempFolder();
    const data = path.join(temp.path, 'data');
    const names = Array.from({ length: IMAGES }, (_, number) => `team/app-${number}`);
    const bytesOf = new Map(names.map((name) => [name, VENDOR.sign({ repository: name, tag: 'v1' })]));
    const files = new Map([...bytesOf].map(([name, bytes]) => [`/${folderOf(name)}/signature-1`, bytes]));
    await using site = await openHostileSite(serving(files));
    await addKey(data, VENDOR);
    const settings = ['--upstream', site.url, '--prefix', '/m', '--max-age', '1s'];
    const added = await runLookaside(['mirror', 'add', 'm', ...settings, '--data', data]);
    assert.equal(added.status, 0, describeOutcome(added));
    await using server = await startServer({ data });
    const read = async (name: string) => {
      const startedMs = performance.now();
      const answer = await fetch(`${server.url}/m/${folderOf(name)}/signature-1`);
      const body = Buffer.from(await answer.arrayBuffer());
      return { status: answer.status, headers: answer.headers, body, ms: performance.now() - startedMs };
    };
    for (const name of names) assert.equal((await read(name)).status, 200);
    site.answer = () => undefined;
    // all are due for a refresh after a second: cold asks come beside those
    const until = performance.now() + 7000;
    const cold = Array.from({ length: 3 }, (_, number) => read(`cold/app-${number}`));
    for (let slowestMs = 0; performance.now() < until; ) {
      for (const name of names) {
        const { status, body, ms } = await read(name);
        assert.equal(status, 200);
        assert.ok(body.equals(bytesOf.get(name) ?? Buffer.alloc(0)), name);
        slowestMs = Math.max(slowestMs, ms);
      }
      assert.ok(slowestMs < 2000, `${Math.round(slowestMs)} ms`);
    }
    for (const { status, headers, ms } of await Promise.all(cold)) {
      assert.equal(status, 503);
      assert.ok(Number(headers.get('retry-after')) > 0);
      assert.ok(ms <= 5500, `${Math.round(ms)} ms`);
    }
  },
);
