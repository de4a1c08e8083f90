// Clients write into the tree while the server runs: what they do there shows at the next pull.
import assert from 'node:assert/strict';
import { readdir, readFile, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { isFull } from '../faults/promise.ts';
import { needs } from './available.ts';
import { assertAccepted, assertRefused, type ClientHome } from './client-home.ts';
import { describeOutcome, type Outcome } from './command.ts';
import { writeImage } from './image.ts';
import type { SigningKey } from './keys.ts';
import { openScene, type Scene } from './scene.ts';
import { type LookasideServer, startServer } from './server.ts';

/** How soon a change in a shared tree must have reached the readers. */
const VISIBLE_MS = 2000;

const UNSIGNED = 'Source image rejected: A signature was required, but no signature exists';

describe('a tree shared with podman and skopeo', needs('podman', 'skopeo', 'docker-registry', 'gpg'), () => {
  let scene: Scene;
  let server: LookasideServer;
  let publisher: ClientHome;
  let trustsAlice: ClientHome;
  let trustsBob: ClientHome;

  before(async () => {
    scene = await openScene();
    server = await startServer({ root: scene.tree, data: path.join(scene.folder, 'data'), on: scene.on });
    publisher = await scene.publisher('publisher', server.url);
    trustsAlice = await scene.reader('trusts-alice', server.url, scene.alice);
    trustsBob = await scene.reader('trusts-bob', server.url, scene.bob);
  });

  after(async () => {
    await server?.[Symbol.asyncDispose]();
    await scene?.[Symbol.asyncDispose]();
  });

  test('a signature that podman adds is served to the next pull', async () => {
    const image = `${scene.registry}/live/podman:v1`;
    const layout = await writeImage(path.join(scene.folder, 'live-podman'), 'pushed by podman');
    const pulled = await publisher.podman('pull', layout);
    assertAccepted(pulled);
    assertAccepted(await publisher.podman('tag', pulled.stdout.trim(), image));
    assertAccepted(await publisher.podman('push', '--tls-verify=false', image));
    assertRefused(await scene.pull(trustsAlice, 'live/podman:v1'), 125, UNSIGNED);

    assertAccepted(
      await publisher.podman('push', '--tls-verify=false', '--sign-by', scene.alice.email, image),
    );
    assertAccepted(await becomes(0, () => scene.pull(trustsAlice, 'live/podman:v1')));
  });

  test('a signature that skopeo writes over another is served in its place', async () => {
    const image = 'live/re-signed:v1';
    const layout = await writeImage(path.join(scene.folder, 'live-re-signed'), 'signed again');
    await push(layout, image, scene.alice);
    assertAccepted(await becomes(0, () => scene.copy(trustsAlice, image)));
    const before = await onlySignatureFile('live/re-signed');

    await push(layout, image, scene.bob);
    const now = await onlySignatureFile('live/re-signed');
    assert.equal(now.name, before.name);
    assert.notDeepEqual(now.bytes, before.bytes);
    assertAccepted(await becomes(0, () => scene.copy(trustsBob, image)));
    assert.deepEqual(await served(now.name), now.bytes);
    assertRefused(
      await scene.copy(trustsAlice, image),
      1,
      `Source image rejected: Invalid GPG signature: gpgme.Signature{Summary:128, Fingerprint:"${scene.bob.fingerprint}"`,
    );
  });

  test('a signature that is deleted from the tree is refused from then on', async () => {
    const image = 'live/deleted:v1';
    const layout = await writeImage(path.join(scene.folder, 'live-deleted'), 'to be deleted');
    await push(layout, image, scene.alice);
    assertAccepted(await becomes(0, () => scene.copy(trustsAlice, image)));
    assertAccepted(await scene.pull(trustsAlice, image));

    const { name } = await onlySignatureFile('live/deleted');
    await rm(path.join(scene.tree, name));
    assertRefused(await becomes(1, () => scene.copy(trustsAlice, image)), 1, UNSIGNED);
    assertRefused(await scene.pull(trustsAlice, image), 125, UNSIGNED);
  });

  const STRAY_FILES = [
    {
      what: 'an HTML page',
      write: (file: string) => writeFile(file, '<!DOCTYPE html><html><title>404 Not Found</title></html>\n'),
    },
    {
      what: 'an empty file',
      write: (file: string) => writeFile(file, ''),
    },
    {
      what: 'plain text',
      write: (file: string) => writeFile(file, 'signed by alice, promise\n'),
    },
    {
      what: 'an ASCII-armoured signature',
      write: async (file: string, scene: Scene) => {
        const message = path.join(scene.folder, 'message');
        await writeFile(message, '{"critical":{}}');
        await scene.gnupg.gpg(
          '--local-user',
          scene.alice.email,
          '--armor',
          '--output',
          file,
          '--sign',
          message,
        );
      },
    },
  ];

  for (const [index, { what, write }] of STRAY_FILES.entries()) {
    // of each kind: what a client cannot read at all, and what it could take for a signature
    if (!isFull && !['an HTML page', 'an ASCII-armoured signature'].includes(what)) continue;
    test(`${what} dropped in as signature-2 breaks no pull`, async () => {
      const { image, folder } = await signedImage(`stray/second-${index}`);
      await write(path.join(folder, 'signature-2'), scene);
      assertAccepted(await scene.pull(trustsAlice, image));
      assertAccepted(await scene.copy(trustsAlice, image));
      assert.deepEqual(
        (await readdir(folder)).sort(),
        ['signature-1', 'signature-2'],
        'the file stays where it is',
      );
    });

    test(`a good signature after ${what} is still found`, async () => {
      const { image, folder } = await signedImage(`stray/first-${index}`);
      const bobs = await signedImage(`stray/first-${index}`, scene.bob);
      assert.equal(bobs.folder, folder);
      // bob's push has overwritten signature-1
      const bytes = await readFile(path.join(folder, 'signature-1'));
      await write(path.join(folder, 'signature-1'), scene);
      await writeFile(path.join(folder, 'signature-2'), bytes);
      assertAccepted(await becomes(0, () => scene.pull(trustsBob, image)));
      assertAccepted(await becomes(0, () => scene.copy(trustsBob, image)));
    });
  }

  /** A signed image that nobody has asked the server for yet, and the folder of its signature. */
  async function signedImage(
    repository: string,
    key = scene.alice,
  ): Promise<{ image: string; folder: string }> {
    const layout = await writeImage(path.join(scene.folder, repository), repository);
    await push(layout, `${repository}:v1`, key);
    const { name } = await onlySignatureFile(repository);
    return { image: `${repository}:v1`, folder: path.dirname(path.join(scene.tree, name)) };
  }

  async function onlySignatureFile(repository: string): Promise<{ name: string; bytes: Buffer }> {
    const files = await scene.signatureFiles(repository);
    const [file] = files;
    assert.ok(file !== undefined && files.size === 1, `${files.size} signatures of ${repository}`);
    return { name: file[0], bytes: file[1] };
  }

  async function served(name: string): Promise<Buffer> {
    const response = await fetch(`${server.url}/${name}`);
    assert.equal(response.status, 200);
    return Buffer.from(await response.arrayBuffer());
  }

  const push = (layout: string, image: string, key: SigningKey) =>
    scene.push(publisher, layout, image, '--sign-by', key.email);
});

/** The first outcome with that exit status; the last attempt begins before VISIBLE_MS have passed. */
async function becomes(status: number, attempt: () => Promise<Outcome>): Promise<Outcome> {
  const deadline = performance.now() + VISIBLE_MS;
  for (;;) {
    const outcome = await attempt();
    if (outcome.status === status) return outcome;
    if (performance.now() > deadline) {
      assert.fail(`not within ${VISIBLE_MS} ms: exit status ${status}\n${describeOutcome(outcome)}`);
    }
  }
}
