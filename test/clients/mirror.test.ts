// podman in a disconnected network: the registry is mirrored, and so are the signatures, by lookaside. The policy is the vendor's, on
// the vendor's name, and the vendor's site is switched off.
import assert from 'node:assert/strict';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { type Answering, type HostileSite, openHostileSite, serving } from '../upstream/hostile-site.ts';
import { needs } from './available.ts';
import { assertAccepted, assertRefused, type ClientHome, makeClientHome } from './client-home.ts';
import { describeOutcome } from './command.ts';
import { writeImage, writeImageList } from './image.ts';
import { openScene, type Scene } from './scene.ts';
import { isByNodes } from './served-by.ts';
import { type LookasideServer, runLookaside, startServer } from './server.ts';

const VENDOR = 'registry.vendor.example';

describe('a mirrored signature site', needs('podman', 'skopeo', 'docker-registry', 'gpg'), () => {
  let scene: Scene;
  let site: HostileSite;
  let serve: Answering;
  let data: string;
  let server: LookasideServer;
  let reader: ClientHome;
  let signed: string;
  let unsigned: string;

  before(async () => {
    scene = await openScene();
    data = path.join(scene.folder, 'data');
    signed = await pushed('app', '--sign-by', scene.alice.email, '--sign-identity', `${VENDOR}/base/app:v1`);
    unsigned = await pushed('plain');
    const files = [...(await scene.signatureFiles('redhat/base/app'))];
    serve = serving(new Map(files.map(([name, bytes]) => [`/sigs/${name.replace(/^redhat\//, '')}`, bytes])));
    site = await openHostileSite(serve);
    server = await startServer({ data, on: scene.on });
    reader = await makeClientHome(path.join(scene.folder, 'reader'), {
      registriesD: { docker: { [scene.registry]: { lookaside: `${server.url}/vendor` } } },
      on: scene.on,
    });
    const configuration = path.join(reader.folder, '.config/containers');
    const conf = `[[registry]]\nlocation = "${VENDOR}"\n[[registry.mirror]]\nlocation = "${scene.registry}/redhat"\ninsecure = true\n`;
    await writeFile(path.join(configuration, 'registries.conf'), conf);
    const signedBy = { type: 'signedBy', keyType: 'GPGKeys', keyPath: scene.alice.publicKeyFile };
    const policy = { default: [{ type: 'reject' }], transports: { docker: { [VENDOR]: [signedBy] } } };
    await writeFile(path.join(configuration, 'policy.json'), JSON.stringify(policy));
  });
  after(async () => {
    await server?.[Symbol.asyncDispose]();
    await site?.[Symbol.asyncDispose]();
    await scene?.[Symbol.asyncDispose]();
  });

  /** Puts an image into the mirror registry. Its digest. */
  async function pushed(name: string, ...flags: readonly string[]): Promise<string> {
    const source = await writeImage(path.join(scene.folder, name), name);
    const publisher = await scene.publisher(`pushes-${name}`, 'http://127.0.0.1:1');
    await scene.push(publisher, source, `redhat/base/${name}:v1`, ...flags);
    const image = `docker://${scene.registry}/redhat/base/${name}:v1`;
    const inspected = await publisher.skopeo(
      'inspect',
      '--tls-verify=false',
      '--format',
      '{{.Digest}}',
      image,
    );
    assertAccepted(inspected);
    return inspected.stdout.trim();
  }

  test('podman pulls what the vendor signed and refuses what nobody signed, with the vendor’s site switched off', async () => {
    const upstream = `${site.url}/sigs`;
    const adding = ['mirror', 'add', 'vendor', '--upstream', upstream, '--prefix', '/vendor'];
    const keyring = ['--keyring', scene.alice.publicKeyFile];
    const added = await runLookaside([...adding, '--strip', 'redhat', ...keyring, '--data', data]);
    assert.equal(added.status, 0, describeOutcome(added));
    const list = path.join(scene.folder, 'mapping.txt');
    const lines = [`${VENDOR}/base/app@${signed}`, `${VENDOR}/base/plain@${unsigned}`].map(
      (name) => `docker://${name}=docker://${name.replace(VENDOR, `${scene.registry}/redhat`)}\n`,
    );
    await writeFile(list, lines.join(''));
    const synced = await runLookaside(['mirror', 'sync', 'vendor', list, '--data', data, '--json']);
    assert.equal(synced.status, 0, describeOutcome(synced));
    const { counts } = JSON.parse(synced.stdout);
    assert.deepEqual(counts, { new: 1, unchanged: 0, missing: 1, refused: 0, failed: 0 });

    site.answer = (req) => req.socket.destroy();
    const asked = site.asked.length;
    assertAccepted(await reader.podman('pull', `${VENDOR}/base/app@${signed}`));
    assertAccepted(await reader.podman('pull', `${VENDOR}/base/app:v1`));
    // that the vendor has no signature, only the node that has asked him knows; the others cannot ask any more, and say no "404"
    const why = isByNodes ? '503 (Service Unavailable)' : 'A signature was required, but no signature exists';
    assertRefused(await reader.podman('pull', `${VENDOR}/base/plain@${unsigned}`), 125, why);
    if (!isByNodes) assert.equal(site.asked.length, asked);
  });

  test('one sync.yaml names the images to skopeo sync and to the mirror, and the copy has the signature', async () => {
    site.answer = serve;
    const sync = async (name: string, digest: string) => {
      const file = path.join(scene.folder, `${name}.yaml`);
      await writeFile(file, `${VENDOR}:\n  images:\n    base/${name}:\n      - ${digest}\n`);
      const synced = await runLookaside(['mirror', 'sync', 'vendor', file, '--data', data, '--json']);
      assert.equal(synced.status, 0, describeOutcome(synced));
      const copy = path.join(scene.folder, `${name}-copy`);
      const copied = await reader.skopeo('sync', '--src', 'yaml', '--dest', 'dir', '--scoped', file, copy);
      return { counts: JSON.parse(synced.stdout).counts, copied, copy };
    };
    const app = await sync('app', signed);
    assert.equal(app.counts.unchanged, 1);
    assertAccepted(app.copied);
    const files = await readdir(app.copy, { recursive: true });
    const copies = files.filter((file) => path.basename(file) === 'signature-1');
    assert.equal(copies.length, 1);
    const [, original] = [...(await scene.signatureFiles('redhat/base/app'))][0] ?? [];
    assert.deepEqual(await readFile(path.join(app.copy, copies[0] ?? '')), original);
    const plain = await sync('plain', unsigned);
    assert.equal(plain.counts.missing, 1);
    assertRefused(plain.copied, 1, 'A signature was required, but no signature exists');
  });

  test('for a tag the mirror asks the registry for its list and its platforms, and podman pulls one of them', async () => {
    const source = await writeImageList(path.join(scene.folder, 'many'), 'many');
    const publisher = await scene.publisher('pushes-many', 'http://127.0.0.1:1');
    const flags = ['--all', '--sign-by', scene.alice.email, '--sign-identity', `${VENDOR}/base/many:v1`];
    await scene.push(publisher, source, 'redhat/base/many:v1', ...flags);
    const files = [...(await scene.signatureFiles('redhat/base/many'))];
    assert.equal(files.length, 3);
    site.answer = serving(
      new Map(files.map(([name, bytes]) => [`/sigs/${name.replace(/^redhat\//, '')}`, bytes])),
    );
    const file = path.join(scene.folder, 'tags.yaml');
    await writeFile(file, `${VENDOR}:\n  images:\n    base/many:\n      - v1\n`);
    const sync = ['mirror', 'sync', 'vendor', file, '--data', data, '--json'];

    const without = await runLookaside(sync);
    assert.equal(without.status, 1, describeOutcome(without));
    assert.match(
      without.stderr,
      /1 name with a tag and without a digest is passed over, like registry\.vendor\.example\/base\/many:v1: .* add --resolve registry\.vendor\.example\n/,
    );
    const synced = await runLookaside([...sync, '--resolve', `${VENDOR}=http://${scene.registry}/redhat`]);
    assert.equal(synced.status, 0, describeOutcome(synced));
    const { counts, images, unresolved } = JSON.parse(synced.stdout);
    assert.deepEqual([counts.new, images.length, unresolved], [3, 3, []], describeOutcome(synced));
    // by its digest alone the list is one image, and by its manifest it has platforms
    const list = path.join(scene.folder, 'list.txt');
    await writeFile(list, `${VENDOR}/${images[0].image}\n`);
    const byDigest = [...sync.with(3, list), '--resolve', `all=http://${scene.registry}/redhat`];
    assert.equal(JSON.parse((await runLookaside(byDigest)).stdout).counts.unchanged, 3);
    site.answer = (req) => req.socket.destroy();
    assertAccepted(await reader.podman('pull', '--arch', 'arm64', `${VENDOR}/base/many:v1`));
  });
});
