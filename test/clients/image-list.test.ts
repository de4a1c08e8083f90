// Image lists: the list and each of its images are signed on their own.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readFile, rm } from 'node:fs/promises';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { isFull } from '../faults/promise.ts';
import { needs } from './available.ts';
import { assertAccepted, assertRefused, type ClientHome } from './client-home.ts';
import { describeOutcome } from './command.ts';
import { writeImageList } from './image.ts';
import { openScene, type Scene } from './scene.ts';
import { isByNodes } from './served-by.ts';
import { type LookasideServer, runLookaside, startServer } from './server.ts';

const UNSIGNED = 'A signature was required, but no signature exists';

describe('an image list', needs('podman', 'skopeo', 'docker-registry', 'gpg'), () => {
  let scene: Scene;
  let data: string;
  let server: LookasideServer;
  let reader: ClientHome;

  before(async () => {
    scene = await openScene();
    data = path.join(scene.folder, 'data');
    server = await startServer({ root: scene.tree, data, on: scene.on });
    reader = await scene.reader('reader', server.url, scene.alice);
    const publisher = await scene.publisher('publisher', server.url);
    const signed = await writeImageList(path.join(scene.folder, 'signed'), 'signed');
    await scene.push(publisher, signed, 'lists/signed:v1', '--all', '--sign-by', scene.alice.email);
    const partly = await writeImageList(path.join(scene.folder, 'partly'), 'partly signed');
    await scene.push(publisher, partly, 'lists/partly:v1', '--all', '--sign-by', scene.alice.email);
    const unsigned = await writeImageList(path.join(scene.folder, 'unsigned'), 'unsigned');
    await scene.push(publisher, unsigned, 'lists/unsigned:v1', '--all');
  });

  after(async () => {
    await server?.[Symbol.asyncDispose]();
    await scene?.[Symbol.asyncDispose]();
  });

  test('signing a list of two images writes three signatures', async () => {
    assert.equal((await scene.signatureFiles('lists/signed')).size, 3);
  });

  test('skopeo copy --all verifies the list and every image, and copies their signatures', async () => {
    const copied = await scene.copy(reader, 'lists/signed:v1', '--all');
    assertAccepted(copied);
    const listHex = (await list('lists/signed')).hex;
    for (const [name, bytes] of await scene.signatureFiles('lists/signed')) {
      const hex = /@sha256=([0-9a-f]{64})/.exec(name)?.[1];
      const copyName = hex === listHex ? 'signature-1' : `${hex}.signature-1`;
      assert.deepEqual(await readFile(path.join(copied.folder, copyName)), bytes, copyName);
    }
  });

  for (const architecture of isFull ? ['amd64', 'arm64'] : ['arm64']) {
    test(`podman and skopeo verify the image for ${architecture} alone`, async () => {
      assertAccepted(await scene.pull(reader, 'lists/signed:v1', '--arch', architecture));
      const copied = await scene.copy(reader, 'lists/signed:v1', '--override-arch', architecture);
      assertAccepted(copied);
      const name = path.join(await imageFolder('lists/signed', architecture), 'signature-1');
      const bytes = (await scene.signatureFiles('lists/signed')).get(name);
      assert.deepEqual(await readFile(path.join(copied.folder, 'signature-1')), bytes, name);
    });

    test(`an unsigned list is refused for ${architecture}`, async () => {
      assertRefused(await scene.pull(reader, 'lists/unsigned:v1', '--arch', architecture), 125, UNSIGNED);
      assertRefused(
        await scene.copy(reader, 'lists/unsigned:v1', '--override-arch', architecture),
        1,
        UNSIGNED,
      );
    });
  }

  test('skopeo copy --all refuses an unsigned list', async () => {
    assertRefused(await scene.copy(reader, 'lists/unsigned:v1', '--all'), 1, UNSIGNED);
  });

  test('one image without a signature fails --all, and leaves the other image its own', async () => {
    await takeAway(await imageFolder('lists/partly', 'arm64'));
    assertRefused(await scene.copy(reader, 'lists/partly:v1', '--all'), 1, UNSIGNED);
    assertRefused(await scene.pull(reader, 'lists/partly:v1', '--arch', 'arm64'), 125, UNSIGNED);
    assertAccepted(await scene.pull(reader, 'lists/partly:v1', '--arch', 'amd64'));
    assertAccepted(await scene.copy(reader, 'lists/partly:v1', '--override-arch', 'amd64'));
  });

  /** From the tree, or, where nodes have none, by a withdrawal. */
  async function takeAway(folder: string): Promise<void> {
    if (!isByNodes) return rm(path.join(scene.tree, folder), { recursive: true });
    const args = ['withdraw', `${folder}/signature-1`, '--reason', 'a test', '--data', data];
    const outcome = await runLookaside(args);
    assert.equal(outcome.status, 0, describeOutcome(outcome));
  }

  /** The folder in the tree of the list's image for that architecture. */
  async function imageFolder(repository: string, architecture: string): Promise<string> {
    const { manifests } = await list(repository);
    const digest = manifests.find(({ platform }) => platform.architecture === architecture)?.digest;
    assert.ok(digest !== undefined, `${repository} has no image for ${architecture}`);
    return `${repository}@${digest.replace(':', '=')}`;
  }

  /** The list tagged `v1` as the registry has it, with its digest in hex. */
  async function list(repository: string): Promise<{ hex: string; manifests: readonly Entry[] }> {
    const response = await fetch(`http://${scene.registry}/v2/${repository}/manifests/v1`, {
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
