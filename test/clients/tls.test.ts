// Clients trust the lookaside's certificate by what they were told about the registry: its certs.d folder, or
// --src-cert-dir. Source: containers/image, docker/docker_client.go.
import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { copyFile, mkdir } from 'node:fs/promises';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { isFull } from '../faults/promise.ts';
import { needs } from './available.ts';
import { makeServerCertificate, type ServerCertificate } from './certificate.ts';
import { assertAccepted, assertRefused } from './client-home.ts';
import { eventually } from './eventually.ts';
import { writeImage } from './image.ts';
import { openScene, type Scene } from './scene.ts';
import { isByNodes } from './served-by.ts';
import { type LookasideServer, runLookaside, startServer } from './server.ts';
import { openTempFolder, type TempFolder } from './temp-folder.ts';

const IMAGE = 'team/app:v1';
const UNKNOWN_AUTHORITY = 'x509: certificate signed by unknown authority';

describe('a server with TLS', needs('podman', 'skopeo', 'docker-registry', 'gpg', 'openssl'), () => {
  let certificates: TempFolder;
  let ours: ServerCertificate;
  let theirs: ServerCertificate;
  let scene: Scene;
  let server: LookasideServer;
  let readers = 0;

  before(async () => {
    certificates = await openTempFolder();
    ours = await makeServerCertificate(certificates.path, 'ours');
    theirs = await makeServerCertificate(certificates.path, 'theirs');
    scene = await openScene({ certificate: theirs });
    server = await startServer({
      root: scene.tree,
      data: path.join(scene.folder, 'data'),
      settings: { LOOKASIDE_TLS_CERT: ours.certificateFile, LOOKASIDE_TLS_KEY: ours.keyFile },
      on: scene.on,
    });
    const publisher = await scene.publisher('publisher', server.url);
    const layout = await writeImage(path.join(scene.folder, 'layout'), 'served over TLS');
    await scene.push(publisher, layout, IMAGE, '--sign-by', scene.alice.email);
  });

  after(async () => {
    await server?.[Symbol.asyncDispose]();
    await scene?.[Symbol.asyncDispose]();
    await certificates?.[Symbol.asyncDispose]();
  });

  for (const host of isFull ? ['127.0.0.1', 'localhost'] : ['localhost']) {
    test(`a certificate for ${host} by an authority in the registry's certs.d is trusted`, async () => {
      const reader = await newReader(host);
      const folder = path.join(reader.folder, '.config/containers/certs.d', scene.registry);
      await makeCertificateFolder(folder, theirs, ours);
      assertAccepted(await scene.pull(reader, IMAGE));
      assertAccepted(await scene.copy(reader, IMAGE));
    });

    test(`a certificate for ${host} by an authority in --cert-dir or --src-cert-dir is trusted`, async () => {
      const reader = await newReader(host);
      const folder = path.join(reader.folder, 'certificates');
      await makeCertificateFolder(folder, theirs, ours);
      assertAccepted(await scene.pull(reader, IMAGE, '--cert-dir', folder));
      assertAccepted(await scene.copy(reader, IMAGE, '--src-cert-dir', folder));
    });
  }

  test('a server whose authority the client does not know is refused', async () => {
    const reader = await newReader('127.0.0.1');
    const folder = path.join(reader.folder, 'certificates');
    await makeCertificateFolder(folder, theirs);
    const request = `Source image rejected: Get "${server.url}/team/app@sha256=`;
    assertRefused(await scene.pull(reader, IMAGE, '--cert-dir', folder), 125, request, UNKNOWN_AUTHORITY);
    assertRefused(await scene.copy(reader, IMAGE, '--src-cert-dir', folder), 1, request, UNKNOWN_AUTHORITY);
  });

  test('a client that does not verify the registry does not verify the lookaside either', async () => {
    const reader = await newReader('127.0.0.1');
    assertAccepted(await scene.pull(reader, IMAGE, '--tls-verify=false'));
    assertAccepted(await scene.copy(reader, IMAGE, '--src-tls-verify=false'));
  });

  const newReader = (host: string) => {
    readers += 1;
    const base = server.url.replace('127.0.0.1', host);
    return scene.reader(`reader-${readers}`, base, scene.alice);
  };
});

describe('a port for TLS', needs('openssl'), () => {
  test('answers plain HTTP with a sentence, and says once in its log who sends it', async () => {
    await using folder = await openTempFolder();
    const { certificateFile, keyFile } = await makeServerCertificate(folder.path, 'ours');
    await using server = await startServer({
      data: path.join(folder.path, 'data'),
      settings: { LOOKASIDE_TLS_CERT: certificateFile, LOOKASIDE_TLS_KEY: keyFile },
    });
    for (let time = 1; time <= 2; time += 1) {
      const answer = await fetch(`http://${server.host}/healthz`);
      assert.equal(answer.status, 400);
      assert.equal(answer.headers.get('connection'), 'close');
      const { errors } = (await answer.json()) as { errors: readonly { message: string }[] };
      assert.match(errors[0]?.message ?? '', /this port expects TLS, .* https:\/\//);
    }
    await server.stop();
    // each node says so once, and HAProxy has given the two connections to two of them
    const times = isByNodes ? 2 : 1;
    assert.equal(
      server.output().match(/sent plain HTTP to the port for TLS/g)?.length,
      times,
      server.output(),
    );
  });

  test('records the certificate of a start and of each renewal as an audit event, and none when it stays', async () => {
    await using folder = await openTempFolder();
    const [first, renewed] = [
      await makeServerCertificate(folder.path, 'first'),
      await makeServerCertificate(folder.path, 'renewed'),
    ];
    const sha256s = [first, renewed].map(({ certificateFile }) =>
      new X509Certificate(readFileSync(certificateFile)).fingerprint256.replaceAll(':', '').toLowerCase(),
    );
    const data = path.join(folder.path, 'data');
    await using server = await startServer({
      data,
      settings: { LOOKASIDE_TLS_CERT: first.certificateFile, LOOKASIDE_TLS_KEY: first.keyFile },
    });
    const reload = async (times: number) => {
      process.kill(server.pid, 'SIGHUP');
      await eventually(async () =>
        assert.equal(server.output().match(/the configuration was read again/g)?.length, times),
      );
    };
    await reload(1);
    await copyFile(renewed.certificateFile, first.certificateFile);
    await copyFile(renewed.keyFile, first.keyFile);
    await reload(2);
    await server.stop();
    const query = ['audit', 'query', '--action', 'certificate', '--json', '--data', data];
    const { rows } = JSON.parse((await runLookaside(query)).stdout) as {
      rows: readonly { reason: string }[];
    };
    const recorded = rows.map(({ reason }) => JSON.parse(reason));
    assert.deepEqual(
      recorded.map(({ sha256 }) => sha256),
      sha256s.toReversed(),
    );
    assert.equal(recorded[0].names, 'IP Address:127.0.0.1, DNS:localhost');
    assert.ok(new Date(recorded[0].notAfter) > new Date());
  });
});

/** A folder of authorities, as certs.d has one for each registry: every `*.crt` counts. */
async function makeCertificateFolder(
  folder: string,
  ...trusted: readonly ServerCertificate[]
): Promise<void> {
  await mkdir(folder, { recursive: true });
  for (const [index, { authorityFile }] of trusted.entries()) {
    await copyFile(authorityFile, path.join(folder, `authority-${index}.crt`));
  }
}
