// The lines that the server prints for registries.d, put into a file beside the one that a distribution brings.
import { readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { needs } from './available.ts';
import { assertAccepted, assertRefused, makeClientHome } from './client-home.ts';
import { writeImage } from './image.ts';
import { openScene } from './scene.ts';
import { startServer } from './server.ts';

const DISTRIBUTION = fileURLToPath(new URL('../../../test/field/registriesd/default.yaml', import.meta.url));

describe('the lines that the server prints', needs('skopeo', 'docker-registry', 'gpg'), () => {
  test('stand beside a file with default-docker, and leave other registries alone', async () => {
    await using scene = await openScene();
    const settings = { LOOKASIDE_REGISTRY: scene.registry };
    await using server = await startServer({
      root: scene.tree,
      data: path.join(scene.folder, 'data'),
      settings,
      on: scene.on,
    });
    const publisher = await scene.publisher('publisher', server.url);
    const image = await writeImage(path.join(scene.folder, 'image'), 'beside');
    await scene.push(publisher, image, 'team/app:v1', '--sign-by', scene.alice.email);
    const home = await makeClientHome(path.join(scene.folder, 'reader'), {
      registriesD: await readFile(DISTRIBUTION, 'utf8'),
      trusts: scene.alice,
      on: scene.on,
    });
    assertRefused(await scene.copy(home, 'team/app:v1'), 1, 'A signature was required');
    const folder = path.join(home.folder, '.config/containers/registries.d');
    await writeFile(path.join(folder, 'lookaside.yaml'), server.registriesD);
    assertAccepted(await scene.copy(home, 'team/app:v1'));
  });
});
