// What podman makes of a withdrawal and of a revocation: it pulls before, and after as long as one signature by the key
// that it trusts is left.
import assert from 'node:assert/strict';
import { mkdir } from 'node:fs/promises';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { folderOf } from '../store/lay.ts';
import { needs } from './available.ts';
import { assertAccepted, assertRefused, type ClientHome } from './client-home.ts';
import { describeOutcome } from './command.ts';
import { writeImage } from './image.ts';
import { openScene, type Scene } from './scene.ts';
import { type LookasideServer, runLookaside, startServer } from './server.ts';
import { enrol, makeSigner } from './signer.ts';
import { takenAs, type Uploads, uploadsTo } from './uploads.ts';

const UNSIGNED = 'Source image rejected: A signature was required, but no signature exists';

describe('podman', needs('podman', 'skopeo', 'docker-registry', 'gpg'), () => {
  const signer = makeSigner('release');
  let scene: Scene;
  let data: string;
  let server: LookasideServer;
  let uploads: Uploads;
  let reader: ClientHome;
  let source: string;

  before(async () => {
    scene = await openScene();
    data = path.join(scene.folder, 'data');
    await mkdir(data);
    const token = await enrol(data, signer);
    server = await startServer({ data, on: scene.on });
    uploads = uploadsTo(server.port, token);
    reader = await scene.reader('reader', server.url, {
      email: 'release@example.invalid',
      fingerprint: signer.fingerprint,
      publicKeyFile: path.join(data, 'release.gpg'),
    });
    source = await writeImage(path.join(scene.folder, 'layout'), 'withdrawn');
  });

  after(async () => {
    await server?.[Symbol.asyncDispose]();
    await scene?.[Symbol.asyncDispose]();
  });

  /** Pushes the image to that repository and uploads as many signatures of it. Their folder. */
  async function publish(repository: string, signatures: number): Promise<string> {
    const publisher = await scene.publisher(`publishes-${path.basename(repository)}`, server.url);
    await scene.push(publisher, source, `${repository}:v1`);
    const remote = `docker://${scene.registry}/${repository}:v1`;
    const inspected = await publisher.skopeo('inspect', '--tls-verify=false', '--raw', remote);
    assertAccepted(inspected);
    const manifest = inspected.stdout;
    const folder = folderOf(repository, manifest);
    for (let number = 1; number <= signatures; number += 1) {
      const what = { registry: scene.registry, repository, manifest, tag: 'v1', timestamp: number };
      takenAs(await uploads.post(`${folder}?force=1`, signer.sign(what)), 201);
    }
    return folder;
  }

  const pull = (repository: string) => scene.pull(reader, `${repository}:v1`);

  async function done(...args: readonly string[]): Promise<void> {
    const outcome = await runLookaside([...args, '--reason', 'a test', '--data', data]);
    assert.equal(outcome.status, 0, describeOutcome(outcome));
  }

  test('pulls an image until its only signature is withdrawn', async () => {
    const folder = await publish('team/single', 1);
    assertAccepted(await pull('team/single'));
    await done('withdraw', `${folder}/signature-1`);
    assertRefused(await pull('team/single'), 125, UNSIGNED);
  });

  test('pulls an image of which one of two signatures is withdrawn, until the key is revoked with all that it signed', async () => {
    const folder = await publish('team/double', 2);
    assertAccepted(await pull('team/double'));
    await done('withdraw', `${folder}/signature-1`);
    assertAccepted(await pull('team/double'));
    await done('key', 'revoke', signer.fingerprint, '--withdraw', '--yes');
    assertRefused(await pull('team/double'), 125, UNSIGNED);
  });
});
