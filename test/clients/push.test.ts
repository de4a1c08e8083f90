// From `podman push --sign-by` to another machine's `podman pull`: what podman and skopeo leave in a staging folder is
// brought to the server by lookaside push, by hand and by its watch.
import assert from 'node:assert/strict';
import { mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import { needs } from './available.ts';
import { assertAccepted, assertRefused, type ClientHome, makeClientHome } from './client-home.ts';
import { type Background, describeOutcome, startBackground, succeed } from './command.ts';
import { eventually } from './eventually.ts';
import { writeImage, writeImageList } from './image.ts';
import type { SigningKey } from './keys.ts';
import { openScene, type Scene } from './scene.ts';
import { createToken, type LookasideServer, lookaside, runLookaside, startServer } from './server.ts';

const UNSIGNED = 'A signature was required, but no signature exists';

/** What is looked at here of `push --json`. */
interface Report {
  readonly images: readonly {
    readonly image: string | null;
    readonly files: readonly { readonly result: string; readonly number?: number; readonly code?: string }[];
  }[];
  readonly summary: { readonly sent: number; readonly there: number; readonly equivalent: number };
}

describe(
  'signatures that podman and skopeo leave in a staging folder',
  needs('podman', 'skopeo', 'docker-registry', 'gpg'),
  () => {
    let scene: Scene;
    let server: LookasideServer;
    let reader: ClientHome;
    let tokenFile: string;

    before(async () => {
      scene = await openScene();
      const data = path.join(scene.folder, 'data');
      server = await startServer({ data, on: scene.on });
      tokenFile = path.join(scene.folder, 'token');
      await writeFile(tokenFile, `${await createToken(data, 'pipeline', 'uploader')}\n`);
      const keys = [scene.alice.publicKeyFile, scene.bob.publicKeyFile];
      const added = await runLookaside(['key', 'add', ...keys, '--data', data]);
      assert.equal(added.status, 0, describeOutcome(added));
      reader = await scene.reader('reader', server.url, scene.alice);
    });

    after(async () => {
      await server?.[Symbol.asyncDispose]();
      await scene?.[Symbol.asyncDispose]();
    });

    /** Somebody who signs into a staging folder of his own. */
    async function openSigner(name: string): Promise<{ home: ClientHome; staging: string }> {
      const staging = path.join(scene.folder, `${name}-staging`);
      await mkdir(staging);
      const home = await makeClientHome(path.join(scene.folder, name), {
        registriesD: {
          'default-docker': { lookaside: server.url, 'lookaside-staging': `file://${staging}` },
        },
        gnupgHome: scene.gnupg.folder,
        on: scene.on,
      });
      return { home, staging };
    }

    function remote(): readonly string[] {
      return ['--server', server.url, '--token-file', tokenFile];
    }

    async function push(...args: readonly string[]): Promise<Report> {
      const outcome = await runLookaside(['push', ...args, ...remote(), '--json']);
      assert.equal(outcome.status, 0, describeOutcome(outcome));
      return JSON.parse(outcome.stdout);
    }

    function outcomes({ images }: Report): readonly string[] {
      return images.flatMap(({ files }) => files.map(({ result }) => result));
    }

    /** The fingerprints that `lookaside list` names for a repository, in served order. */
    async function signersOf(repository: string): Promise<readonly string[]> {
      const outcome = await runLookaside(['list', repository, ...remote(), '--json']);
      assert.equal(outcome.status, 0, describeOutcome(outcome));
      const { signatures } = JSON.parse(outcome.stdout);
      for (const { state } of signatures) assert.equal(state, 'verified');
      return signatures
        .toSorted((a: { number: number }, b: { number: number }) => a.number - b.number)
        .map(({ fingerprint }: { fingerprint: string }) => fingerprint);
    }

    function signInto(home: ClientHome, source: string, image: string, key: SigningKey) {
      return scene.push(home, source, image, '--sign-by', key.email);
    }

    test('of two signers of one image, both of whom wrote signature-1, both stay', async () => {
      const image = await writeImage(path.join(scene.folder, 'two'), 'two signers');
      const alice = await openSigner('alice-signs');
      const bob = await openSigner('bob-signs');
      await signInto(alice.home, image, 'team/two:v1', scene.alice);
      await signInto(bob.home, image, 'team/two:v1', scene.bob);
      await push(alice.staging);
      await push(bob.staging);
      assert.deepEqual(await signersOf('team/two'), [scene.alice.fingerprint, scene.bob.fingerprint]);
      const trustsBob = await scene.reader('trusts-bob', server.url, scene.bob);
      for (const user of [reader, trustsBob]) {
        assertAccepted(await scene.pull(user, 'team/two:v1'));
        assertAccepted(await scene.copy(user, 'team/two:v1'));
      }
    });

    test('a signature that the next signer has overwritten in the folder is kept by the server', async () => {
      const image = await writeImage(path.join(scene.folder, 'over'), 'overwritten');
      const { home, staging } = await openSigner('shared-folder');
      await signInto(home, image, 'team/over:v1', scene.alice);
      await push(staging);
      await signInto(home, image, 'team/over:v1', scene.bob);
      assert.equal((await push(staging)).images[0]?.files[0]?.number, 2);
      assert.deepEqual(await signersOf('team/over'), [scene.alice.fingerprint, scene.bob.fingerprint]);
    });

    test('the same image signed again adds nothing, unless told to', async () => {
      const image = await writeImage(path.join(scene.folder, 'again'), 'signed again');
      const { home, staging } = await openSigner('signs-again');
      await signInto(home, image, 'team/again:v1', scene.alice);
      assert.deepEqual(outcomes(await push(staging)), ['sent']);
      assert.deepEqual(outcomes(await push(staging)), ['there']);
      // Two signatures that one key makes within one second are the same bytes.
      await setTimeout(1000 - (Date.now() % 1000));
      await signInto(home, image, 'team/again:v1', scene.alice);
      assert.deepEqual(outcomes(await push(staging)), ['equivalent']);
      assert.equal((await signersOf('team/again')).length, 1);
      assert.deepEqual(outcomes(await push('--force', staging)), ['sent']);
      assert.equal((await signersOf('team/again')).length, 2);
    });

    test('an image list and all its images are pulled by what one push has sent', async () => {
      const list = await writeImageList(path.join(scene.folder, 'list'), 'a list');
      const { home, staging } = await openSigner('signs-lists');
      await scene.push(home, list, 'team/list:v1', '--all', '--sign-by', scene.alice.email);
      assertRefused(await scene.copy(reader, 'team/list:v1', '--all'), 1, UNSIGNED);
      assert.deepEqual(outcomes(await push(staging)), ['sent', 'sent', 'sent']);
      assertAccepted(await scene.copy(reader, 'team/list:v1', '--all'));
      assertAccepted(await scene.pull(reader, 'team/list:v1', '--arch', 'arm64'));
    });

    test('the signatures of a dir: image, and one by standalone-sign, find their places by themselves', async () => {
      const list = await writeImageList(path.join(scene.folder, 'dir'), 'kept in a folder');
      const { home, staging } = await openSigner('signs-folders');
      await scene.push(home, list, 'team/dir:v1', '--all', '--sign-by', scene.alice.email);
      await push(staging);
      const copied = await scene.copy(reader, 'team/dir:v1', '--all');
      assertAccepted(copied);

      const reference = `${scene.registry}/team/dir:v2`;
      const single = path.join(scene.folder, 'single.signature');
      const manifest = path.join(copied.folder, 'manifest.json');
      const { fingerprint } = scene.alice;
      assertAccepted(
        await home.skopeo('standalone-sign', manifest, reference, fingerprint, '--output', single),
      );
      const elsewhere = path.join(scene.folder, 'elsewhere');
      await using other = await startServer({ data: elsewhere, on: scene.on });
      const token = await createToken(elsewhere, 'pipeline', 'uploader');
      await runLookaside(['key', 'add', scene.alice.publicKeyFile, '--data', elsewhere]);
      const outcome = await runLookaside(['push', copied.folder, single, '--server', other.url, '--json'], {
        LOOKASIDE_TOKEN: token,
      });
      assert.equal(outcome.status, 0, describeOutcome(outcome));
      const report: Report = JSON.parse(outcome.stdout);
      assert.equal(report.summary.sent, 4);
      assert.equal(new Set(report.images.map(({ image }) => image)).size, 3);
      const readsThere = await scene.reader('reads-there', other.url, scene.alice);
      assertAccepted(await scene.copy(readsThere, 'team/dir:v1', '--all'));
    });

    test('six pushes of one folder at once store each signature once', async () => {
      const { home, staging } = await openSigner('pushes-together');
      const names = ['a', 'b', 'c'];
      for (const name of names) {
        const image = await writeImage(path.join(scene.folder, `together-${name}`), name);
        await signInto(home, image, `together/${name}:v1`, scene.alice);
      }
      const reports = await Promise.all(Array.from({ length: 6 }, () => push(staging)));
      assert.equal(
        reports.reduce((sum, { summary }) => sum + summary.sent, 0),
        names.length,
      );
      for (const name of names) assert.equal((await signersOf(`together/${name}`)).length, 1);
    });

    describe('with push --watch running', () => {
      let signer: { home: ClientHome; staging: string };
      let watch: Background;

      before(async () => {
        signer = await openSigner('types-podman');
        watch = await startBackground(
          lookaside('push', '--watch', signer.staging, ...remote()),
          { env: { PATH: process.env.PATH ?? '' } },
          /^watching /m,
        );
      });

      after(async () => {
        await watch?.[Symbol.asyncDispose]();
      });

      test('podman push --sign-by is all that is typed, and another machine pulls', async () => {
        const tar = path.join(scene.folder, 'typed.tar');
        await succeed(['tar', '-c', '-f', tar, '-C', '/etc', 'os-release'], {
          env: { PATH: process.env.PATH ?? '' },
        });
        const name = `${scene.registry}/team/typed:v1`;
        assertAccepted(await signer.home.podman('import', tar, name));
        const email = scene.alice.email;
        assertAccepted(await signer.home.podman('push', '--tls-verify=false', '--sign-by', email, name));
        await eventually(async () => assertAccepted(await scene.pull(reader, 'team/typed:v1')));
      });

      test('it goes on when the server has been away', async () => {
        const { port } = server;
        await server.stop();
        const image = await writeImage(path.join(scene.folder, 'away'), 'away');
        await signInto(signer.home, image, 'team/away:v1', scene.alice);
        await eventually(() => assert.match(watch.output(), /trying again/));
        const data = path.join(scene.folder, 'data');
        server = await startServer({ data, listen: `127.0.0.1:${port}`, on: scene.on });
        await eventually(async () => assert.equal((await signersOf('team/away')).length, 1));
        assertAccepted(await scene.pull(reader, 'team/away:v1'));
      });

      test('SIGTERM ends it with 0', async () => {
        assert.equal(await watch.stop(), 0, watch.output());
      });
    });
  },
);
