// Uploads to a tree that podman writes to as well: what podman overwrites or deletes there is put back, and an image that
// was deleted stays deleted.
import assert from 'node:assert/strict';
import { mkdir, readdir, readFile, rm } from 'node:fs/promises';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { connect } from '../../src/sqlite/connect.ts';
import { folderOf, sha256Hex } from '../store/lay.ts';
import { needs } from './available.ts';
import { assertAccepted, type ClientHome } from './client-home.ts';
import { eventually } from './eventually.ts';
import { writeImage } from './image.ts';
import type { SigningKey } from './keys.ts';
import { openScene, type Scene } from './scene.ts';
import { type LookasideServer, startServer } from './server.ts';
import { enrol, makeSigner } from './signer.ts';
import { takenAs, type Uploads, uploadsTo } from './uploads.ts';

const REPOSITORY = 'put-back/app';
const NAME = `${REPOSITORY}:v1`;

describe(
  'a signature uploaded to a tree that podman writes to',
  needs('podman', 'skopeo', 'docker-registry', 'gpg'),
  () => {
    let scene: Scene;
    let data: string;
    let server: LookasideServer;
    let uploads: Uploads;
    let publisher: ClientHome;
    let trusts: Readonly<Record<'alice' | 'bob' | 'uploader', ClientHome>>;
    let folder: string;
    let uploaded: Buffer;

    before(async () => {
      scene = await openScene();
      data = path.join(scene.folder, 'data');
      await mkdir(data);
      const signer = makeSigner('uploader');
      const token = await enrol(data, signer);
      server = await startServer({ root: scene.tree, data, on: scene.on });
      uploads = uploadsTo(server.port, token);
      publisher = await scene.publisher('publisher', server.url);
      const uploader: SigningKey = {
        email: 'uploader@example.invalid',
        fingerprint: signer.fingerprint,
        publicKeyFile: path.join(data, 'uploader.gpg'),
      };
      trusts = {
        alice: await scene.reader('trusts-alice', server.url, scene.alice),
        bob: await scene.reader('trusts-bob', server.url, scene.bob),
        uploader: await scene.reader('trusts-uploader', server.url, uploader),
      };

      const layout = await writeImage(path.join(scene.folder, 'layout'), 'signed twice');
      const pulled = await publisher.podman('pull', layout);
      assertAccepted(pulled);
      assertAccepted(await publisher.podman('tag', pulled.stdout.trim(), `${scene.registry}/${NAME}`));
      await push();
      const remote = `docker://${scene.registry}/${NAME}`;
      const inspected = await publisher.skopeo('inspect', '--tls-verify=false', '--raw', remote);
      assertAccepted(inspected);
      const manifest = inspected.stdout;
      folder = folderOf(REPOSITORY, manifest);
      uploaded = signer.sign({ registry: scene.registry, repository: REPOSITORY, manifest, tag: 'v1' });
      takenAs(await uploads.put(`${folder}/signature-1`, uploaded), 201);
    });

    after(async () => {
      await server?.[Symbol.asyncDispose]();
      await scene?.[Symbol.asyncDispose]();
    });

    async function push(...flags: readonly string[]): Promise<void> {
      const image = `${scene.registry}/${NAME}`;
      assertAccepted(await publisher.podman('push', '--tls-verify=false', ...flags, image));
    }

    const inTree = (name: string) => path.join(scene.tree, folder, name);

    /** What is served, from number 1 to the last. */
    async function served(): Promise<readonly Buffer[]> {
      const signatures: Buffer[] = [];
      for (;;) {
        const { status, body } = await uploads.get(`${folder}/signature-${signatures.length + 1}`);
        if (status === 404) return signatures;
        assert.equal(status, 200);
        signatures.push(body);
      }
    }

    /** Results of the audit events about the uploaded signature. */
    function events(): readonly string[] {
      const db = connect(path.join(data, 'state.db'), { readonly: true });
      try {
        const leaves = db.prepare<[], string>('SELECT leaf FROM audit_event ORDER BY seq').pluck().all();
        return leaves
          .map((leaf) => JSON.parse(leaf))
          .filter(({ signatureSha256 }) => signatureSha256 === sha256Hex(uploaded))
          .map(({ action, result, image }) => `${action} ${result} ${image === folder}`);
      } finally {
        db.close();
      }
    }

    const isPutBackBehind = (bytes: Buffer) =>
      eventually(async () => assert.deepEqual(await served(), [bytes, uploaded]));

    test('is there again behind the one with which podman overwrites it, and both are good', async () => {
      assert.deepEqual(await served(), [uploaded]);
      await push('--sign-by', scene.alice.email);
      const alices = await readFile(inTree('signature-1'));
      assert.notDeepEqual(alices, uploaded);
      await isPutBackBehind(alices);
      assert.deepEqual(events(), ['upload created true', 'restore restored true']);
      assertAccepted(await scene.copy(trusts.uploader, NAME));
      assertAccepted(await scene.pull(trusts.alice, NAME));
    });

    test('is put back again when podman signs anew and deletes what is behind its own', async () => {
      const before = events().length;
      await push('--sign-by', scene.bob.email);
      const bobs = await readFile(inTree('signature-1'));
      await isPutBackBehind(bobs);
      assert.equal(events().length, before + 1);
      assertAccepted(await scene.pull(trusts.bob, NAME));
      assertAccepted(await scene.pull(trusts.uploader, NAME));
    });

    test('is put back when it alone is deleted', async () => {
      const bobs = await readFile(inTree('signature-1'));
      await rm(inTree('signature-2'));
      await isPutBackBehind(bobs);
    });

    test('stays away when the image and its folder are deleted', async () => {
      const before = events().length;
      await rm(path.join(scene.tree, folder), { recursive: true });
      await eventually(async () => assert.deepEqual(await served(), []));
      const { port, host } = server;
      // it ends what it has begun before it stops, and looks at the whole tree after it has started
      await server.stop();
      await assert.rejects(readdir(path.join(scene.tree, folder)), { code: 'ENOENT' });
      server = await startServer({ root: scene.tree, data, on: scene.on, listen: host });
      assert.equal(server.port, port);
      await eventually(async () => {
        const { body } = await uploads.get('readyz');
        assert.equal(JSON.parse(body.toString()).checks.index.state, 'ok');
      });
      assert.deepEqual(await served(), []);
      await server.stop();
      await assert.rejects(readdir(path.join(scene.tree, folder)), { code: 'ENOENT' });
      assert.equal(events().length, before);
    });
  },
);
