// Every spelling of the base URL that people put into registries.d.
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { isFull } from '../faults/promise.ts';
import { needs } from './available.ts';
import { assertAccepted, assertRefused, makeClientHome } from './client-home.ts';
import { writeImage } from './image.ts';
import { openScene, type Scene } from './scene.ts';
import { type LookasideServer, startServer } from './server.ts';

const IMAGE = 'a/b/c/d:v1';
const PREFIXES = isFull ? ['', '/sig', '/containers/sigstore'] : ['', '/containers/sigstore'];

describe('base URLs in registries.d', needs('podman', 'skopeo', 'docker-registry', 'gpg'), () => {
  let scene: Scene;
  let users = 0;

  before(async () => {
    scene = await openScene();
    const publisher = await scene.publisher('publisher', 'http://127.0.0.1:1');
    const layout = await writeImage(path.join(scene.folder, 'layout'), 'nested');
    await scene.push(publisher, layout, IMAGE, '--sign-by', scene.alice.email);
  });
  after(() => scene?.[Symbol.asyncDispose]());

  for (const prefix of PREFIXES) {
    describe(prefix === '' ? 'without a prefix' : `with LOOKASIDE_PREFIX=${prefix}`, () => {
      let server: LookasideServer;
      before(async () => {
        server = await startServer({
          root: scene.tree,
          data: path.join(scene.folder, `data${prefix.replaceAll('/', '-')}`),
          settings: {
            LOOKASIDE_REGISTRY: scene.registry,
            ...(prefix !== '' && { LOOKASIDE_PREFIX: prefix }),
          },
          on: scene.on,
        });
      });
      after(() => server?.[Symbol.asyncDispose]());

      // in all of them each prefix, key and end meets each other
      const ends = prefix === '' ? { lookaside: '', sigstore: '/' } : { lookaside: '/', sigstore: '' };
      for (const [key, end] of Object.entries(ends)) {
        test(`podman and skopeo verify with ${key}: http://server${prefix}${end}`, async () => {
          const user = await newUser({ 'default-docker': { [key]: `${server.url}${prefix}${end}` } });
          assertAccepted(await scene.pull(user, IMAGE));
          assertAccepted(await scene.copy(user, IMAGE));
        });
      }

      test('the lines that the server prints are all that podman and skopeo need to sign and verify', async () => {
        const user = await newUser(server.registriesD);
        const distribution = 'default-docker:\n  sigstore-staging: file:///var/lib/containers/sigstore\n';
        await writeFile(
          path.join(user.folder, '.config/containers/registries.d/distribution.yaml'),
          distribution,
        );
        const image = `printed${prefix}:v1`;
        const layout = await writeImage(path.join(scene.folder, `printed${prefix}`), image);
        await scene.push(user, layout, image, '--sign-by', scene.alice.email);
        assertAccepted(await scene.pull(user, image));
        assertAccepted(await scene.copy(user, image));
      });

      test(`nothing is found below http://server${prefix}/elsewhere`, async () => {
        const user = await newUser({ 'default-docker': { lookaside: `${server.url}${prefix}/elsewhere` } });
        const refusal = 'Source image rejected: A signature was required, but no signature exists';
        assertRefused(await scene.pull(user, IMAGE), 125, refusal);
        assertRefused(await scene.copy(user, IMAGE), 1, refusal);
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
      const user = await newUser({
        'default-docker': { lookaside: 'http://127.0.0.1:1' },
        docker: { [`${scene.registry}/a/b`]: { lookaside: server.url } },
      });
      assertAccepted(await scene.pull(user, IMAGE));
      assertAccepted(await scene.copy(user, IMAGE));
    } finally {
      await server.stop();
    }
  });

  const newUser = (registriesD: object | string) => {
    users += 1;
    return makeClientHome(path.join(scene.folder, `user-${users}`), {
      trusts: scene.alice,
      registriesD,
      gnupgHome: scene.gnupg.folder,
      on: scene.on,
    });
  };
});
