import assert from 'node:assert/strict';
import { test } from 'node:test';
import { openPages } from '../../src/upstream/ask-pages.ts';
import { createAskWeb } from '../../src/upstream/ask-web.ts';
import { openHostileSite } from './hostile-site.ts';

test('a password with a percent sign that encodes nothing is sent as it is', async () => {
  await using site = await openHostileSite((_, res) => void res.end('{}'));
  const pages = openPages({ ca: null, maxBytes: 1000, patienceMs: 10_000 });
  const askWeb = createAskWeb({ ca: null, isInsecure: false, patienceMs: 10_000 });
  for (const [login, wanted] of [
    ['user:100%', 'user:100%'],
    ['user:a%40b', 'user:a@b'],
  ]) {
    for (const ask of [pages.ask, askWeb]) {
      const answer = await ask(`http://${login}@${site.host}/`);
      assert.equal(answer.kind, 'answer');
      const sent = site.headers.at(-1)?.authorization ?? '';
      assert.equal(Buffer.from(sent.replace('Basic ', ''), 'base64').toString(), wanted);
    }
  }
  await pages.close();
});
