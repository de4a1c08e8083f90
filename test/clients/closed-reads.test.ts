// A server that lets only readers in: clients send user and password of the base URL with the first request.
import assert from 'node:assert/strict';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { needs } from './available.ts';
import { assertAccepted, assertRefused } from './client-home.ts';
import { writeImage } from './image.ts';
import { openScene, type Scene } from './scene.ts';
import { createReaderToken, type LookasideServer, startServer } from './server.ts';

const SIGNED = 'team/app:v1';
const UNSIGNED = 'team/unsigned:v1';
const UNAUTHORIZED = 'status 401 (Unauthorized)';

describe('a server with LOOKASIDE_READ=token', needs('podman', 'skopeo', 'docker-registry', 'gpg'), () => {
  let scene: Scene;
  let server: LookasideServer;
  let token: string;
  let readers = 0;

  before(async () => {
    scene = await openScene();
    const data = path.join(scene.folder, 'data');
    token = await createReaderToken(data, 'ci');
    server = await startServer({
      root: scene.tree,
      data,
      settings: { LOOKASIDE_READ: 'token' },
      on: scene.on,
    });
    const publisher = await scene.publisher('publisher', server.url);
    for (const [image, ...flags] of [[SIGNED, '--sign-by', scene.alice.email], [UNSIGNED]] as const) {
      const layout = await writeImage(path.join(scene.folder, image.replace(/\W/g, '-')), image);
      await scene.push(publisher, layout, image, ...flags);
    }
  });

  after(async () => {
    await server?.[Symbol.asyncDispose]();
    await scene?.[Symbol.asyncDispose]();
  });

  test('token create prints the token alone', () => {
    assert.match(token, /^\S{16,}$/);
  });

  test('the token as the password of any user lets podman and skopeo verify', async () => {
    for (const user of ['ci', 'anyone']) {
      const reader = await readerWith(`${user}:${encodeURIComponent(token)}@`);
      assertAccepted(await scene.pull(reader, SIGNED));
      assertAccepted(await scene.copy(reader, SIGNED));
    }
  });

  test('with the token an unsigned image is unsigned', async () => {
    const reader = await readerWith(`ci:${encodeURIComponent(token)}@`);
    const refusal = 'Source image rejected: A signature was required, but no signature exists';
    assertRefused(await scene.pull(reader, UNSIGNED), 125, refusal);
    assertRefused(await scene.copy(reader, UNSIGNED), 1, refusal);
  });

  test('without the token every pull fails with 401', async () => {
    const reader = await readerWith('');
    for (const image of [SIGNED, UNSIGNED]) {
      assertRefused(await scene.pull(reader, image), 125, UNAUTHORIZED);
      assertRefused(await scene.copy(reader, image), 1, UNAUTHORIZED);
    }
  });

  test('with a wrong token every pull fails with 401', async () => {
    const reader = await readerWith('ci:wrong@');
    assertRefused(await scene.pull(reader, SIGNED), 125, UNAUTHORIZED);
    assertRefused(await scene.copy(reader, SIGNED), 1, UNAUTHORIZED);
  });

  const readerWith = (credentials: string) => {
    readers += 1;
    const base = server.url.replace('http://', `http://${credentials}`);
    return scene.reader(`reader-${readers}`, base, scene.alice);
  };
});
