// Who is let through and who is refused, by podman and by skopeo; once more when the server is gone, and again when
// it is back.
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { isFull } from '../faults/promise.ts';
import { needs } from './available.ts';
import { assertAccepted, assertRefused, type ClientHome } from './client-home.ts';
import { writeImage } from './image.ts';
import { openScene, type Scene } from './scene.ts';
import { type LookasideServer, startServer } from './server.ts';

type ReaderName = 'alice' | 'bob' | 'carol';

interface Case {
  readonly title: string;
  /** Repository and tag. */
  readonly image: string;
  /** Whose key the reader's policy names. */
  readonly reader: ReaderName;
  /** Null: accepted. Else what the client says, all of it. */
  readonly refusal: null | ((scene: Scene) => readonly [string, ...string[]]);
}

const UNSIGNED = 'Source image rejected: A signature was required, but no signature exists';
const unacceptable = (fingerprint: string) =>
  `Invalid GPG signature: gpgme.Signature{Summary:128, Fingerprint:"${fingerprint}", Status:gpgme.Error{err:0x9}`;

const CASES: readonly Case[] = [
  {
    title: 'an image signed by the trusted key is accepted',
    image: 'team/app:v1',
    reader: 'alice',
    refusal: null,
  },
  {
    title: 'an image signed by another key is refused',
    image: 'team/app:v1',
    reader: 'bob',
    refusal: (scene) => [`Source image rejected: ${unacceptable(scene.alice.fingerprint)}`],
  },
  {
    title: 'an unsigned image is refused',
    image: 'team/unsigned:v1',
    reader: 'alice',
    refusal: () => [UNSIGNED],
  },
  {
    title: 'a signature for one tag does not cover another tag of the same digest',
    image: 'team/app:v9',
    reader: 'alice',
    refusal: (scene) => [
      `Source image rejected: Signature for identity ${scene.registry}/team/app:v1 is not accepted`,
    ],
  },
  {
    title: 'an image deep in nested repositories is accepted',
    image: 'a/b/c/d:v1',
    reader: 'alice',
    refusal: null,
  },
  {
    title: 'the first of two signers is accepted',
    image: 'team/both:v1',
    reader: 'alice',
    refusal: null,
  },
  {
    title: 'the second of two signers is accepted',
    image: 'team/both:v1',
    reader: 'bob',
    refusal: null,
  },
  {
    title: 'two signatures by other keys are refused, each with its reason',
    image: 'team/both:v1',
    reader: 'carol',
    refusal: (scene) => [
      `Source image rejected: None of the signatures were accepted, reasons: ${unacceptable(scene.alice.fingerprint)}`,
      `; ${unacceptable(scene.bob.fingerprint)}`,
    ],
  },
];

describe('podman and skopeo', needs('podman', 'skopeo', 'docker-registry', 'gpg'), () => {
  let scene: Scene;
  let server: LookasideServer;
  let readers: Readonly<Record<ReaderName, ClientHome>>;
  let firstOfBoth: Buffer;
  const startOn = (listen: string) =>
    startServer({ root: scene.tree, data: path.join(scene.folder, 'data'), listen, on: scene.on });

  before(async () => {
    scene = await openScene();
    // one server for the publishers, another for the readers: what the first has in memory is not tested here
    const publishersServer = await startOn('127.0.0.1:0');
    firstOfBoth = await publish(scene, publishersServer.url);
    await publishersServer.stop();
    server = await startOn('127.0.0.1:0');
    const carol = await scene.gnupg.makeKey('carol', { algorithm: 'rsa2048' });
    readers = {
      alice: await scene.reader('alice', server.url, scene.alice),
      bob: await scene.reader('bob', server.url, scene.bob),
      carol: await scene.reader('carol', server.url, carol),
    };
  });

  after(async () => {
    await server?.[Symbol.asyncDispose]();
    await scene?.[Symbol.asyncDispose]();
  });

  test('a second signer finds the first signature on the server and adds his own after it', async () => {
    const files = [...(await scene.signatureFiles('team/both'))];
    assert.deepEqual(
      files.map(([name]) => path.basename(name)),
      ['signature-1', 'signature-2'],
    );
    assert.deepEqual(files[0]?.[1], firstOfBoth);
  });

  describe('when the server has started', () => runCases(CASES));

  test('a server that is stopped fails every pull, signed or not', async () => {
    await server.stop();
    const request = `Source image rejected: Get "${server.url}/team/`;
    const answer = `dial tcp ${server.host}: connect: connection refused`;
    assertRefused(await scene.pull(readers.alice, 'team/app:v1'), 125, request, answer);
    assertRefused(await scene.copy(readers.alice, 'team/app:v1'), 1, request, answer);
    assertRefused(await scene.copy(readers.alice, 'team/unsigned:v1'), 1, request, answer);
  });

  test('the server starts again on its data and its port', async () => {
    const { host } = server;
    server = await startOn(host);
    assert.equal(server.host, host);
  });

  // the index answers then, and not the tree: one who is let through and one who is not show that it has the same
  describe('when the server has been restarted', () => runCases(isFull ? CASES : CASES.slice(0, 2)));

  function runCases(cases: readonly Case[]): void {
    for (const { title, image, reader, refusal } of cases) {
      test(`podman pull: ${title}`, async () => {
        const outcome = await scene.pull(readers[reader], image);
        if (refusal === null) assertAccepted(outcome);
        else assertRefused(outcome, 125, ...refusal(scene));
      });

      test(`skopeo copy: ${title}`, async () => {
        const outcome = await scene.copy(readers[reader], image);
        if (refusal !== null) return assertRefused(outcome, 1, ...refusal(scene));
        assertAccepted(outcome);
        await assertCopiedSignatures(outcome.folder, image);
      });
    }
  }

  /** Byte for byte what stands in the tree, and all of it. */
  async function assertCopiedSignatures(folder: string, image: string): Promise<void> {
    const files = await scene.signatureFiles(image.slice(0, image.indexOf(':')));
    assert.ok(files.size > 0);
    for (const [name, bytes] of files) {
      const copied = await readFile(path.join(folder, path.basename(name)));
      assert.deepEqual(copied, bytes, name);
    }
  }
});

/** Fills the registry and the tree. Returns alice's signature of the image that bob signs after her. */
async function publish(scene: Scene, base: string): Promise<Buffer> {
  const { alice, bob, registry } = scene;
  const publisher = await scene.publisher('publisher', base);
  const app = await writeImage(path.join(scene.folder, 'app'), 'an app');
  await scene.push(publisher, app, 'team/app:v9');
  await scene.push(publisher, app, 'team/app:v1', '--sign-by', alice.email);
  await scene.push(publisher, app, 'a/b/c/d:v1', '--sign-by', alice.email);

  const unsigned = await writeImage(path.join(scene.folder, 'unsigned'), 'unsigned');
  await scene.push(publisher, unsigned, 'team/unsigned:v1');

  const both = await writeImage(path.join(scene.folder, 'both'), 'signed twice');
  await scene.push(publisher, both, 'team/both:v1', '--sign-by', alice.email);
  const [first] = (await scene.signatureFiles('team/both')).values();
  assert.ok(first !== undefined);
  // reads alice's signature from the server and writes both into the tree
  await scene.push(publisher, `docker://${registry}/team/both:v1`, 'team/both:v1', '--sign-by', bob.email);
  return first;
}
