import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { type LookasideServer, startServer } from '../clients/server.ts';
import { openTempFolder, type TempFolder } from '../clients/temp-folder.ts';
import { requestRaw } from './raw-request.ts';
import { assertAnswer, parseScript } from './script.ts';
import { layScene, SCENE_VALUES, sceneFile } from './script-scene.ts';

// the scripts stay in the sources: they are no code that is built
const SCRIPTS = join(import.meta.dirname, '../../../test/scripts');

for (const name of (await readdir(SCRIPTS)).filter((file) => file.endsWith('.txt')).sort()) {
  const exchanges = parseScript(await readFile(join(SCRIPTS, name), 'utf8'), SCENE_VALUES);

  describe(`requests of ${name}`, () => {
    let folder: TempFolder;
    let server: LookasideServer;

    before(async () => {
      folder = await openTempFolder();
      const root = join(folder.path, 'tree');
      await layScene(root);
      server = await startServer({ root, data: join(folder.path, 'data') });
    });

    after(async () => {
      await server.stop();
      await folder[Symbol.asyncDispose]();
    });

    for (const exchange of exchanges) {
      it(`${exchange.title} (line ${exchange.line})`, async () => {
        const port = Number(new URL(server.url).port);
        // twice: once from the disk, once from memory, with one answer
        for (const _ of ['first', 'second']) {
          const answer = await requestRaw(port, exchange.request, exchange.requestHeaders);
          assertAnswer(answer, exchange, sceneFile);
        }
      });
    }
  });
}
