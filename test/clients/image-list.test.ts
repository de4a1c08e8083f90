// Image lists: the list and each of its images are signed on their own.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readFile, rm } from 'node:fs/promises';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { needs } from './available.ts';
import { assertAccepted, assertRefused, type ClientHome } from './client-home.ts';
import { writeImageList } from './image.ts';
import { openScene, type Scene } from './scene.ts';
import { type LookasideServer, startServer } from './server.ts';

const UNSIGNED = 'A signature was required, but no signature exists';

describe('an image list', needs('podman', 'skopeo', 'docker-registry', 'gpg'), () => {
  let scene: Scene;
  let server: LookasideServer;
  let reader: ClientHome;

  before(async () => {
    scene = await openScene();
    server = await startServer({ root: scene.tree, data: path.join(scene.folder, 'data'), on: scene.on });
    reader = await scene.reader('reader', server.url, scene.alice);
    const publisher = await scene.publisher('publisher', server.url);
    const push = async (layout: string, image: string, ...flags: readonly string[]) =>
      assertAccepted(
        await publisher.skopeo(
          'copy',
          '--all',
          '--dest-tls-verify=false',
          ...flags,
          layout,
          `docker://${scene.registry}/${image}`,
        ),
      );
    const signed = await writeImageList(path.join(scene.folder, 'signed'), 'signed');
    await push(signed, 'lists/signed:v1', '--sign-by', scene.alice.email);
    const partly = await writeImageList(path.join(scene.folder, 'partly'), 'partly signed');
    await push(partly, 'lists/partly:v1', '--sign-by', scene.alice.email);
    const unsigned = await writeImageList(path.join(scene.folder, 'unsigned'), 'unsigned');
    await push(unsigned, 'lists/unsigned:v1');
  });

  after(async () => {
    await server?.[Symbol.asyncDispose]();
    await scene?.[Symbol.asyncDispose]();
  });

  test('signing a list of two images writes three signatures', async () => {
    assert.equal((await scene.signatureFiles('lists/signed')).size, 3);
  });

  test('skopeo copy --all verifies the list and every image, and copies their signatures', async () => {
    assertAccepted(await copyAll('lists/signed:v1', 'all'));
    const listHex = (await list('lists/signed:v1')).hex;
    for (const [name, bytes] of await scene.signatureFiles('lists/signed')) {
      const hex = /@sha256=([0-9a-f]{64})/.exec(name)?.[1];
      const copyName = hex === listHex ? 'signature-1' : `${hex}.signature-1`;
      assert.deepEqual(await readFile(path.join(reader.folder, 'all', copyName)), bytes, copyName);
    }
  });

  for (const architecture of ['amd64', 'arm64']) {
    test(`podman and skopeo verify the image for ${architecture} alone`, async () => {
      assertAccepted(await pull('lists/signed:v1', architecture));
      assertAccepted(await copyOne('lists/signed:v1', architecture, `one-${architecture}`));
    });

    test(`an unsigned list is refused for ${architecture}`, async () => {
      assertRefused(await pull('lists/unsigned:v1', architecture), 125, UNSIGNED);
      assertRefused(
        await copyOne('lists/unsigned:v1', architecture, `unsigned-${architecture}`),
        1,
        UNSIGNED,
      );
    });
  }

  test('skopeo copy --all refuses an unsigned list', async () => {
    assertRefused(await copyAll('lists/unsigned:v1', 'all-unsigned'), 1, UNSIGNED);
  });

  test('one image without a signature fails --all, and leaves the other image its own', async () => {
    const { manifests } = await list('lists/partly:v1');
    const arm64 = manifests.find(({ platform }) => platform.architecture === 'arm64');
    assert.ok(arm64 !== undefined);
    await rm(path.join(scene.tree, `lists/partly@${arm64.digest.replace(':', '=')}`), { recursive: true });
    assertRefused(await copyAll('lists/partly:v1', 'all-partly'), 1, UNSIGNED);
    assertRefused(await pull('lists/partly:v1', 'arm64'), 125, UNSIGNED);
    assertAccepted(await pull('lists/partly:v1', 'amd64'));
    assertAccepted(await copyOne('lists/partly:v1', 'amd64', 'partly-amd64'));
  });

  const pull = (image: string, architecture: string) =>
    reader.podman('pull', '--tls-verify=false', '--arch', architecture, `${scene.registry}/${image}`);

  const copyAll = (image: string, copyName: string) =>
    reader.skopeo(
      'copy',
      '--all',
      '--src-tls-verify=false',
      `docker://${scene.registry}/${image}`,
      `dir:${path.join(reader.folder, copyName)}`,
    );

  const copyOne = (image: string, architecture: string, copyName: string) =>
    reader.skopeo(
      '--override-arch',
      architecture,
      'copy',
      '--src-tls-verify=false',
      `docker://${scene.registry}/${image}`,
      `dir:${path.join(reader.folder, copyName)}`,
    );

  /** The list as the registry has it, with its digest in hex. */
  async function list(image: string): Promise<{ hex: string; manifests: readonly Entry[] }> {
    const [repository, tag] = image.split(':');
    const response = await fetch(`http://${scene.registry}/v2/${repository}/manifests/${tag}`, {
      headers: { accept: 'application/vnd.oci.image.index.v1+json' },
    });
    const bytes = Buffer.from(await response.arrayBuffer());
    assert.equal(response.status, 200, bytes.toString());
    const { manifests } = JSON.parse(bytes.toString()) as { manifests: Entry[] }; // written by image.ts
    return { hex: createHash('sha256').update(bytes).digest('hex'), manifests };
  }
});

interface Entry {
  readonly digest: string;
  readonly platform: { readonly architecture: string };
}
