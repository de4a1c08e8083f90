import assert from 'node:assert/strict';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { ROLES, type Role } from '../../src/domain/ports.ts';
import { eventually } from '../clients/eventually.ts';
import { createToken, type LookasideServer, startServer } from '../clients/server.ts';
import { openTempFolder, type TempFolder } from '../clients/temp-folder.ts';
import { requestRaw } from './raw-request.ts';
import { assertAnswer, parseScript, requestBytes } from './script.ts';
import { layScene, SCENE_VALUES, sceneFile } from './script-scene.ts';

// the scripts stay in the sources: they are no code that is built
const SCRIPTS = join(import.meta.dirname, '../../../test/scripts');

/** What a server answers, whether one process answers reads or several. */
async function answersOf(readers: '1' | '3'): Promise<void> {
  let folder: TempFolder;
  let server: LookasideServer;
  const tokens = new Map<Role, string>();

  // one for all scripts: what they change is theirs alone
  before(async () => {
    folder = await openTempFolder();
    const root = join(folder.path, 'tree');
    await layScene(root);
    const data = join(folder.path, 'data');
    server = await startServer({ root, data, settings: { LOOKASIDE_READERS: readers } });
    for (const role of ROLES) tokens.set(role, await createToken(data, role, role));
    await allJudged(server, tokens.get('reader') ?? assert.fail());
    const wanted = Number(readers) - 1;
    await eventually(() =>
      assert.equal(server.output().match(/a reader process answers/g)?.length ?? 0, wanted),
    );
  });

  after(async () => {
    await server?.stop();
    await folder?.[Symbol.asyncDispose]();
  });

  for (const name of (await readdir(SCRIPTS)).filter((file) => file.endsWith('.txt')).sort()) {
    const exchanges = parseScript(await readFile(join(SCRIPTS, name), 'utf8'), SCENE_VALUES);

    describe(`requests of ${name}`, () => {
      for (const exchange of exchanges) {
        it(`${exchange.title} (line ${exchange.line})`, async () => {
          const { request, requestHeaders, as } = exchange;
          const authorization = as === null ? [] : [`Authorization: Bearer ${tokens.get(as)}`];
          const headers = [...requestHeaders, ...authorization];
          // twice: once from the disk, once from memory, with one answer; on connections of several processes
          for (const _ of ['first', 'second']) {
            const answer = await requestRaw(server.port, request, headers, requestBytes(exchange, sceneFile));
            assertAnswer(answer, exchange, sceneFile);
          }
        });
      }
    });
  }
}

describe('a server of one process', async () => answersOf('1'));
describe('a server whose reads several processes answer', async () => answersOf('3'));

/** Once the whole tree is in the index and every signature has its verdict, answers are the same in every run. */
async function allJudged({ url }: LookasideServer, token: string): Promise<void> {
  const headers = { Authorization: `Bearer ${token}` };
  await eventually(async () => {
    const ready = await fetch(`${url}/readyz`);
    assert.match(await ready.text(), /"index":\{"state":"ok"/);
    const unverified = await fetch(`${url}/api/v1/signatures?state=unverified`, { headers });
    assert.match(await unverified.text(), /^\{"signatures":\[\],/);
  });
}
