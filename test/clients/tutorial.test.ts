// podman's own tutorial for signed images (podman, docs/tutorials/image_signing.md), word for word but for three
// things: our server in the place of `python3 -m http.server`, an image made here in the place of alpine's, and the
// key's file in /etc/containers instead of /tmp. It has a host of its own, so that ports 5000 and 8000 are free and
// /etc/containers and /var/lib/containers are the test's.
import assert from 'node:assert/strict';
import { mkdir, readdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { needs } from './available.ts';
import { assertAccepted, assertRefused, podmanStorage } from './client-home.ts';
import { type Outcome, run } from './command.ts';
import { writeImage } from './image.ts';
import { type GnupgHome, openGnupgHome, type SigningKey } from './keys.ts';
import { openPrivateHost, type PrivateHost } from './private-host.ts';
import { openRegistry, type Registry } from './registry.ts';
import { type LookasideServer, startServer } from './server.ts';
import { openTempFolder, type TempFolder } from './temp-folder.ts';

const REGISTRIES_D = `default-docker:
  sigstore: http://localhost:8000 # Added by us
  sigstore-staging: file:///var/lib/containers/sigstore
`;

const POLICY = `{
  "default": [{ "type": "insecureAcceptAnything" }],
  "transports": {
    "docker": {
      "localhost:5000": [
        {
          "type": "signedBy",
          "keyType": "GPGKeys",
          "keyPath": "/etc/containers/key.gpg"
        }
      ]
    }
  }
}
`;

const ACCEPT_ANYTHING = '{"default": [{"type": "insecureAcceptAnything"}]}\n';

describe('the podman tutorial', needs('podman', 'docker-registry', 'gpg', 'private host'), () => {
  let folder: TempFolder;
  let host: PrivateHost;
  let gnupg: GnupgHome;
  let registry: Registry;
  let server: LookasideServer;
  let signer: SigningKey;
  let stranger: SigningKey;

  const etc = (name: string) => path.join(folder.path, 'etc', name);
  const podman = (...args: readonly string[]): Promise<Outcome> =>
    run(host.on(['podman', ...podmanStorage(folder.path), ...args]), {
      env: {
        PATH: process.env.PATH ?? '',
        LC_ALL: 'C',
        HOME: path.join(folder.path, 'home'),
        TMPDIR: path.join(folder.path, 'tmp'),
        GNUPGHOME: gnupg.folder,
        PODMAN_IGNORE_CGROUPSV1_WARNING: '1',
      },
    });

  /** Brings an image made here into podman's storage, as a pull from the internet would. */
  const pullTinyImage = async (name: string) => {
    const layout = await writeImage(path.join(folder.path, 'layouts', name.replace(/[^a-z]+/g, '-')), name);
    const outcome = await podman('pull', layout);
    assertAccepted(outcome);
    assertAccepted(await podman('tag', outcome.stdout.trim(), name));
  };

  before(async () => {
    folder = await openTempFolder();
    host = await openPrivateHost(folder.path, { network: true });
    gnupg = await openGnupgHome(folder.path);
    signer = await gnupg.makeKey('signer', { algorithm: 'rsa2048' });
    stranger = await gnupg.makeKey('stranger', { algorithm: 'rsa2048' });
    registry = await openRegistry(folder.path, { listen: '127.0.0.1:5000', on: host.on });
    for (const name of ['home', 'tmp', 'etc/registries.d']) await mkdir(path.join(folder.path, name));
    await writeFile(etc('policy.json'), ACCEPT_ANYTHING);
    await writeFile(etc('registries.d/default.yaml'), REGISTRIES_D);

    await pullTinyImage('docker.io/library/alpine:latest');
    assertAccepted(await podman('tag', 'alpine', 'localhost:5000/alpine'));
  });

  after(async () => {
    for (const resource of [server, registry, gnupg, host, folder]) await resource?.[Symbol.asyncDispose]();
  });

  test('podman push --sign-by writes a signature into /var/lib/containers/sigstore', async () => {
    const outcome = await podman(
      'push',
      '--tls-verify=false',
      '--sign-by',
      signer.email,
      'localhost:5000/alpine',
    );
    assertAccepted(outcome);
    assert.match(outcome.stderr, /Storing signatures/);
    const images = await readdir(path.join(folder.path, 'var-lib/containers/sigstore'));
    assert.equal(images.length, 1);
    assert.match(images[0] ?? '', /^alpine@sha256=[0-9a-f]{64}$/);
  });

  test('the server serves /var/lib/containers/sigstore on port 8000', async () => {
    server = await startServer({
      root: '/var/lib/containers/sigstore',
      data: path.join(folder.path, 'data'),
      listen: '127.0.0.1:8000',
      on: host.on,
    });
    assert.equal(server.url, 'http://127.0.0.1:8000');
  });

  test('podman pull accepts the signed image under signedBy', async () => {
    assertAccepted(await podman('rmi', 'docker.io/alpine', 'localhost:5000/alpine'));
    await writeFile(etc('policy.json'), POLICY);
    await gnupg.gpg('--output', etc('key.gpg'), '--armor', '--export', signer.email);
    const outcome = await podman('pull', '--tls-verify=false', 'localhost:5000/alpine');
    assertAccepted(outcome);
    assert.match(outcome.stderr, /Storing signatures/);
    assert.match(outcome.stdout, /^[0-9a-f]{64}$/m);
  });

  test('podman image trust show prints the URL of the server', async () => {
    const outcome = await podman('image', 'trust', 'show');
    assertAccepted(outcome);
    assert.match(outcome.stdout, /^\S+ +default +accept +http:\/\/localhost:8000 *$/m);
    // the column of e-mail addresses is empty where gnupg has no program called gpg2
    assert.match(outcome.stdout, /^\S+ +localhost:5000 +signed(By)? .*http:\/\/localhost:8000 *$/m);
  });

  test('podman pull refuses the image when the policy names the wrong key', async () => {
    await gnupg.gpg('--output', etc('key.gpg'), '--armor', '--export', stranger.email);
    assertRefused(
      await podman('pull', '--tls-verify=false', 'localhost:5000/alpine'),
      125,
      `Source image rejected: Invalid GPG signature: gpgme.Signature{Summary:128, Fingerprint:"${signer.fingerprint}", Status:gpgme.Error{err:0x9}`,
    );
  });

  test('podman pull refuses an image that was pushed without a signature', async () => {
    await gnupg.gpg('--output', etc('key.gpg'), '--armor', '--export', signer.email);
    await pullTinyImage('localhost:5000/unsigned');
    assertAccepted(await podman('push', '--tls-verify=false', 'localhost:5000/unsigned'));
    assertRefused(
      await podman('pull', '--tls-verify=false', 'localhost:5000/unsigned'),
      125,
      'Source image rejected: A signature was required, but no signature exists',
    );
  });
});
