// Images whose signed name is not the one that they are pushed or pulled by: mirrors, whose clients map names, and
// --sign-identity.
import assert from 'node:assert/strict';
import { mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { needs } from './available.ts';
import { assertAccepted, assertRefused, type ClientHome, makeClientHome } from './client-home.ts';
import { describeOutcome } from './command.ts';
import { writeImage } from './image.ts';
import { openScene, type Scene } from './scene.ts';
import { createToken, type LookasideServer, runLookaside, startServer } from './server.ts';

const UNSIGNED = 'A signature was required, but no signature exists';

describe('what is signed for another name', needs('podman', 'skopeo', 'docker-registry', 'gpg'), () => {
  let scene: Scene;
  let data: string;
  let token: string;
  let server: LookasideServer;
  /** As the refusal writes it. */
  let remap: string;

  before(async () => {
    scene = await openScene();
    data = path.join(scene.folder, 'data');
    remap = `mirror/quay=${scene.registry}`;
    token = await createToken(data, 'mirrorer', 'uploader');
    const added = await runLookaside(['key', 'add', scene.alice.publicKeyFile, '--data', data]);
    assert.equal(added.status, 0, describeOutcome(added));
    server = await startServer({ data, on: scene.on });
  });

  after(async () => {
    await server?.[Symbol.asyncDispose]();
    await scene?.[Symbol.asyncDispose]();
  });

  async function restart(settings: Readonly<Record<string, string>>): Promise<void> {
    const { host } = server;
    await server.stop();
    server = await startServer({ data, listen: host, settings, on: scene.on });
  }

  /** Somebody who copies images, with a staging folder of his own. */
  async function openCopier(name: string): Promise<{ home: ClientHome; staging: string }> {
    const staging = path.join(scene.folder, `${name}-staging`);
    await mkdir(staging);
    const registriesD = {
      'default-docker': { lookaside: server.url, 'lookaside-staging': `file://${staging}` },
    };
    const home = await makeClientHome(path.join(scene.folder, name), {
      registriesD,
      gnupgHome: scene.gnupg.folder,
      on: scene.on,
    });
    return { home, staging };
  }

  const push = (...args: readonly string[]) =>
    runLookaside(['push', ...args, '--server', server.url], { LOOKASIDE_TOKEN: token });

  /** Who demands alice's signature for the name that `prefix` is mapped to. */
  async function openMappingReader(name: string, prefix: string, signedPrefix: string): Promise<ClientHome> {
    const home = await scene.reader(name, server.url, scene.alice);
    const signedBy = {
      type: 'signedBy',
      keyType: 'GPGKeys',
      keyPath: scene.alice.publicKeyFile,
      signedIdentity: { type: 'remapIdentity', prefix, signedPrefix },
    };
    const policy = {
      default: [{ type: 'reject' }],
      transports: { docker: { [scene.registry]: [signedBy] } },
    };
    await writeFile(path.join(home.folder, '.config/containers/policy.json'), JSON.stringify(policy));
    return home;
  }

  test("a mirror's signatures are stored below its name when that is asked for and allowed, and pulled with remapIdentity", async () => {
    const source = await writeImage(path.join(scene.folder, 'image'), 'mirrored');
    const origin = await openCopier('origin');
    await scene.push(origin.home, source, 'team/app:v1', '--sign-by', scene.alice.email);
    const first = await push(origin.staging);
    assert.equal(first.status, 0, describeOutcome(first));

    const { home, staging } = await openCopier('mirrorer');
    await scene.push(home, `docker://${scene.registry}/team/app:v1`, 'mirror/quay/team/app:v1');
    const mapping = await openMappingReader('maps', `${scene.registry}/mirror/quay`, scene.registry);
    assertRefused(await scene.copy(mapping, 'mirror/quay/team/app:v1'), 1, UNSIGNED);

    const unasked = await push(staging);
    assert.equal(unasked.status, 1, describeOutcome(unasked));
    assert.ok(unasked.stdout.includes(`--signed-for ${remap}`), describeOutcome(unasked));
    const unallowed = await push(staging, '--signed-for', remap);
    assert.equal(unallowed.status, 1, describeOutcome(unallowed));
    assert.match(unallowed.stdout, /REMAP_NOT_ALLOWED/);
    assert.ok(unallowed.stdout.includes(`LOOKASIDE_REMAP=${remap}`), describeOutcome(unallowed));

    await restart({ LOOKASIDE_REMAP: remap });
    const allowed = await push(staging, '--signed-for', remap);
    assert.equal(allowed.status, 0, describeOutcome(allowed));
    assert.match(allowed.stdout, /1 sent/);
    assertAccepted(await scene.copy(mapping, 'mirror/quay/team/app:v1'));
    assertAccepted(await scene.pull(mapping, 'mirror/quay/team/app:v1'));

    const plain = await scene.reader('maps-nothing', server.url, scene.alice);
    assertRefused(await scene.copy(plain, 'mirror/quay/team/app:v1'), 1, 'is not accepted');

    const listed = await runLookaside(['list', 'mirror/quay/team/app', '--server', server.url, '--json'], {
      LOOKASIDE_TOKEN: token,
    });
    const [signature] = JSON.parse(listed.stdout).signatures;
    assert.deepEqual([signature.remap, signature.state], [remap, 'verified']);
    const answer = await runLookaside(['show', signature.image, '--server', server.url], {
      LOOKASIDE_TOKEN: token,
    });
    assert.ok(answer.stdout.includes(remap) && answer.stdout.includes('REMAPPED: '), answer.stdout);
  });

  test('what --sign-identity has named otherwise is sent below that name', async () => {
    const source = await writeImage(path.join(scene.folder, 'identity'), 'named otherwise');
    const { home, staging } = await openCopier('names-otherwise');
    const identity = `${scene.registry}/prod/app:v1`;
    const signing = ['--sign-by', scene.alice.email, '--sign-identity', identity];
    await scene.push(home, source, 'build/x:v1', ...signing);
    await scene.push(home, source, 'prod/app:v1', '--remove-signatures');
    const reader = await scene.reader('pulls-prod', server.url, scene.alice);
    assertRefused(await scene.copy(reader, 'prod/app:v1'), 1, UNSIGNED);

    const asItLies = await push(staging);
    assert.equal(asItLies.status, 1, describeOutcome(asItLies));
    assert.match(asItLies.stdout, /REPOSITORY_MISMATCH.*--as-signed/);
    const asSigned = await push('--as-signed', staging);
    assert.equal(asSigned.status, 0, describeOutcome(asSigned));
    assertAccepted(await scene.copy(reader, 'prod/app:v1'));
    assertAccepted(await scene.pull(reader, 'prod/app:v1'));
  });
});
