// Every spelling of the base URL that people put into registries.d.
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { needs } from './available.ts';
import { assertAccepted, assertRefused, type ClientHome, makeClientHome } from './client-home.ts';
import { writeImage } from './image.ts';
import { openScene, type Scene } from './scene.ts';
import { type LookasideServer, startServer } from './server.ts';

const IMAGE = 'a/b/c/d:v1';

describe('base URLs in registries.d', needs('podman', 'skopeo', 'docker-registry', 'gpg'), () => {
  let scene: Scene;
  let readers = 0;

  before(async () => {
    scene = await openScene();
    const publisher = await scene.publisher('publisher', 'http://127.0.0.1:1');
    const layout = await writeImage(path.join(scene.folder, 'layout'), 'nested');
    assertAccepted(
      await publisher.skopeo(
        'copy',
        '--dest-tls-verify=false',
        '--sign-by',
        scene.alice.email,
        layout,
        `docker://${scene.registry}/${IMAGE}`,
      ),
    );
  });
  after(() => scene?.[Symbol.asyncDispose]());

  for (const prefix of ['', '/sig', '/containers/sigstore']) {
    describe(prefix === '' ? 'without a prefix' : `with LOOKASIDE_PREFIX=${prefix}`, () => {
      let server: LookasideServer;
      before(async () => {
        server = await startServer({
          root: scene.tree,
          data: path.join(scene.folder, `data${prefix.replaceAll('/', '-')}`),
          settings: prefix === '' ? {} : { LOOKASIDE_PREFIX: prefix },
          on: scene.on,
        });
      });
      after(() => server?.[Symbol.asyncDispose]());

      for (const key of ['lookaside', 'sigstore'] as const) {
        for (const end of ['', '/']) {
          test(`podman and skopeo verify with ${key}: http://server${prefix}${end}`, async () => {
            const user = await readerOf({ [key]: `${server.url}${prefix}${end}` });
            assertAccepted(await pull(user));
            assertAccepted(await copy(user));
          });
        }
      }

      test(`nothing is found below http://server${prefix}/elsewhere`, async () => {
        const user = await readerOf({ lookaside: `${server.url}${prefix}/elsewhere` });
        const refusal = 'Source image rejected: A signature was required, but no signature exists';
        assertRefused(await pull(user), 125, refusal);
        assertRefused(await copy(user), 1, refusal);
      });
    });
  }

  test('the section of a namespace in registries.d only selects the base URL', async () => {
    const server = await startServer({
      root: scene.tree,
      data: path.join(scene.folder, 'data-namespace'),
      on: scene.on,
    });
    try {
      const user = await makeClientHome(path.join(scene.folder, 'namespace'), {
        trusts: scene.alice,
        registriesD: {
          'default-docker': { lookaside: 'http://127.0.0.1:1' },
          docker: { [`${scene.registry}/a/b`]: { lookaside: server.url } },
        },
        on: scene.on,
      });
      assertAccepted(await pull(user));
      assertAccepted(await copy(user));
    } finally {
      await server.stop();
    }
  });

  const readerOf = (section: Readonly<Record<string, string>>) => {
    readers += 1;
    return makeClientHome(path.join(scene.folder, `reader-${readers}`), {
      trusts: scene.alice,
      registriesD: { 'default-docker': section },
      on: scene.on,
    });
  };

  const pull = (user: ClientHome) => user.podman('pull', '--tls-verify=false', `${scene.registry}/${IMAGE}`);

  const copy = (user: ClientHome) =>
    user.skopeo(
      'copy',
      '--src-tls-verify=false',
      `docker://${scene.registry}/${IMAGE}`,
      `dir:${path.join(user.folder, 'copy')}`,
    );
});
