// From the signer's machine to the reader's: skopeo standalone-sign makes the signature, curl uploads it as
// docs/uploading.md says, and podman and skopeo, which demand it, pull by it.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { needs } from './available.ts';
import { assertAccepted, assertRefused, type ClientHome } from './client-home.ts';
import { describeOutcome, run, succeed } from './command.ts';
import { writeImage } from './image.ts';
import { openScene, type Scene } from './scene.ts';
import { createToken, type LookasideServer, runLookaside, startServer } from './server.ts';

const UNSIGNED = 'Source image rejected: A signature was required, but no signature exists';
const PATH = { PATH: process.env.PATH ?? '' };

/** An image in the registry and alice's signature of it, in a file that the server has not seen. */
interface Signed {
  /** Repository and tag. */
  readonly image: string;
  readonly repository: string;
  readonly reference: string;
  readonly hex: string;
  readonly file: string;
}

describe(
  'a signature by skopeo standalone-sign',
  needs('podman', 'skopeo', 'docker-registry', 'gpg', 'curl'),
  () => {
    let scene: Scene;
    let server: LookasideServer;
    let token: string;
    let publisher: ClientHome;
    let reader: ClientHome;
    let trustsBob: ClientHome;

    before(async () => {
      scene = await openScene();
      const data = path.join(scene.folder, 'data');
      server = await startServer({ data, on: scene.on });
      token = await createToken(data, 'pipeline', 'uploader');
      const added = await runLookaside(['key', 'add', scene.alice.publicKeyFile, '--data', data]);
      assert.equal(added.status, 0, describeOutcome(added));
      publisher = await scene.publisher('publisher', server.url);
      reader = await scene.reader('reader', server.url, scene.alice);
      trustsBob = await scene.reader('trusts-bob', server.url, scene.bob);
    });

    after(async () => {
      await server?.[Symbol.asyncDispose]();
      await scene?.[Symbol.asyncDispose]();
    });

    /** Pushed without a signature, then signed on the side. */
    async function sign(image: string): Promise<Signed> {
      const [repository = '', tag = ''] = image.split(':');
      const name = `${repository.replaceAll('/', '-')}-${tag}`;
      await scene.push(publisher, await writeImage(path.join(scene.folder, name), repository), image);
      const reference = `${scene.registry}/${image}`;
      const raw = await publisher.skopeo('inspect', '--raw', '--tls-verify=false', `docker://${reference}`);
      assertAccepted(raw);
      const manifest = path.join(scene.folder, `${name}.manifest`);
      await writeFile(manifest, raw.stdout);
      const file = path.join(scene.folder, `${name}.signature`);
      const { fingerprint } = scene.alice;
      assertAccepted(
        await publisher.skopeo('standalone-sign', manifest, reference, fingerprint, '--output', file),
      );
      const hex = createHash('sha256').update(raw.stdout).digest('hex');
      return { image, repository, reference, hex, file };
    }

    /** The answer to what curl sends with the signer's token; curl fails when the status is 400 or more. */
    async function curl(target: string, ...args: readonly string[]) {
      const flags = ['--silent', '--show-error', '--fail-with-body', '--write-out', '\n%{http_code}'];
      const authorized = ['--header', `Authorization: Bearer ${token}`];
      const output = await succeed(['curl', ...flags, ...authorized, ...args, server.url + target], {
        env: PATH,
      });
      const [, body = '', status] = /^(.*)\n([0-9]{3})$/s.exec(output) ?? [];
      return { status: Number(status), answer: JSON.parse(body) };
    }

    async function assertServedAndPulled({ image, repository, hex, file }: Signed) {
      const served = await fetch(`${server.url}/${repository}@sha256=${hex}/signature-1`);
      assert.equal(served.status, 200);
      const bytes = await readFile(file);
      assert.deepEqual(Buffer.from(await served.arrayBuffer()), bytes);
      assertAccepted(await scene.pull(reader, image));
      const copied = await scene.copy(reader, image);
      assertAccepted(copied);
      assert.deepEqual(await readFile(path.join(copied.folder, 'signature-1')), bytes);
    }

    async function assertNotPulled({ image }: Signed) {
      assertRefused(await scene.pull(reader, image), 125, UNSIGNED);
      assertRefused(await scene.copy(reader, image), 1, UNSIGNED);
    }

    test('uploaded by PUT lets podman and skopeo pull the image, which they refused before', async () => {
      const signed = await sign('team/put:v1');
      await assertNotPulled(signed);
      const target = `/team/put@sha256=${signed.hex}/signature-1`;
      const { status, answer } = await curl(target, '--upload-file', signed.file);
      assert.equal(status, 201);
      assert.deepEqual([answer.path, answer.number, answer.state], [target, 1, 'verified']);
      assert.equal(answer.fingerprint, scene.alice.fingerprint);
      assert.equal(answer.dockerReference, signed.reference);
      await assertServedAndPulled(signed);
    });

    test('uploaded by POST lets podman and skopeo pull the image', async () => {
      const signed = await sign('team/deep/post:v1');
      const target = `/team/deep/post@sha256=${signed.hex}`;
      const { status, answer } = await curl(target, '--data-binary', `@${signed.file}`);
      assert.equal(status, 201);
      assert.deepEqual([answer.path, answer.number], [`${target}/signature-1`, 1]);
      await assertServedAndPulled(signed);
    });

    test('uploaded with others in one form lets podman and skopeo pull their images', async () => {
      const all = [await sign('team/form:v1'), await sign('team/form-too:v1')];
      const parts = all.flatMap(({ file }) => ['--form', `signature=@${file}`]);
      const { status, answer } = await curl('/api/v1/signatures', ...parts);
      assert.equal(status, 200);
      const results: readonly { readonly result: string; readonly path: string }[] = answer.results;
      assert.deepEqual(
        results.map((result) => [result.result, result.path]),
        all.map(({ repository, hex }) => ['created', `/${repository}@sha256=${hex}/signature-1`]),
      );
      for (const signed of all) await assertServedAndPulled(signed);
    });

    test('that was never uploaded leaves its image refused', async () => {
      await assertNotPulled(await sign('team/kept-back:v1'));
    });

    test('does not let through who trusts another key', async () => {
      const signed = await sign('team/not-for-bob:v1');
      await curl(`/team/not-for-bob@sha256=${signed.hex}`, '--data-binary', `@${signed.file}`);
      const why = `Source image rejected: Invalid GPG signature: gpgme.Signature{Summary:128, Fingerprint:"${scene.alice.fingerprint}"`;
      assertRefused(await scene.pull(trustsBob, signed.image), 125, why);
      assertRefused(await scene.copy(trustsBob, signed.image), 1, why);
    });

    test('by a key that is not registered is refused with the code, and its image with it', async () => {
      const signed = await sign('team/by-bob:v1');
      const manifest = path.join(scene.folder, 'team-by-bob-v1.manifest');
      const byBob = ['standalone-sign', manifest, signed.reference, scene.bob.fingerprint];
      assertAccepted(await publisher.skopeo(...byBob, '--output', signed.file));
      const target = `${server.url}/team/by-bob@sha256=${signed.hex}`;
      const args = ['--silent', '--header', `Authorization: Bearer ${token}`, '--fail-with-body'] as const;
      const outcome = await run(['curl', ...args, '--data-binary', `@${signed.file}`, target], { env: PATH });
      assert.equal(outcome.status, 22, describeOutcome(outcome));
      assert.equal(JSON.parse(outcome.stdout).errors[0].code, 'KEY_UNKNOWN');
      assertRefused(await scene.pull(trustsBob, signed.image), 125, UNSIGNED);
    });
  },
);
