// The Dockerfile, built by buildah and run by podman as OpenShift would run it. It takes some minutes, so that `npm test`
// leaves it out; `npm run faults` and `FAULTS=full npm test -- container-image` have it.
import assert from 'node:assert/strict';
import { readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { isFull } from '../faults/promise.ts';
import { folderOf } from '../store/lay.ts';
import { needs } from './available.ts';
import { ANY_USER, type BuiltImage, buildImage, CONFINED, type Container } from './built-image.ts';
import { describeOutcome, type Outcome } from './command.ts';
import { makeSigner } from './signer.ts';
import { openTempFolder, type TempFolder } from './temp-folder.ts';

const ROOT = fileURLToPath(new URL('../../..', import.meta.url));

function outputOf(outcome: Outcome): string {
  assert.equal(outcome.status, 0, describeOutcome(outcome));
  return outcome.stdout.trim();
}

for (const what of isFull ? ['the container image'] : [])
  describe(what, needs('buildah', 'mmdebstrap', 'podman', 'private host'), () => {
    const signer = makeSigner('alice');
    let temp: TempFolder;
    let image: BuiltImage;
    let container: Container;

    before(async () => {
      temp = await openTempFolder();
      await writeFile(path.join(temp.path, 'alice.gpg'), signer.certificate);
      image = await buildImage();
    });
    after(async () => {
      await container?.[Symbol.asyncDispose]();
      await image?.[Symbol.asyncDispose]();
      await temp?.[Symbol.asyncDispose]();
    });

    test('says what it is, and runs as nobody in particular', async () => {
      const { version } = JSON.parse(await readFile(path.join(ROOT, 'package.json'), 'utf8'));
      assert.equal(image.settings.User, '1001');
      assert.equal(image.settings.StopSignal, 'SIGTERM');
      assert.equal(image.settings.Labels['org.opencontainers.image.version'], version);
      assert.equal(outputOf(await image.run([], '--version')), version);
    });

    test('holds what runs and nothing that only built it', async () => {
      const look = `ls /opt/lookaside; find /opt/lookaside -name '*.ts' -o -name '*.map' -o -name sqlite3.c; find /root -path '*/.npm/*'
      command -v g++ make python3; ls /opt/lookaside/node_modules | grep -xE 'typescript|fast-check|@biomejs'; true`;
      const listed = outputOf(await image.run(['--user', '0', '--entrypoint', 'sh'], '-c', look));
      assert.deepEqual(listed.split('\n'), [
        'LICENSE',
        'dist',
        'migrations',
        'node_modules',
        'package.json',
        'scripts',
      ]);
    });

    test('without --read-only, any user can still write nothing of the server', async () => {
      const look = ['/opt', '/usr', '/etc', '/var/lib/lookaside', '-xdev', '-writable', '-not', '-type', 'l'];
      const folders = outputOf(await image.run([...ANY_USER, '--entrypoint', 'find'], ...look));
      assert.equal(folders, '/var/lib/lookaside');
    });

    test('any user in group 0 serves from a read-only root, and is healthy', async () => {
      const key = ['--volume', `${temp.path}/alice.gpg:/alice.gpg:ro`];
      container = await image.serve('data', [...CONFINED, ...ANY_USER, ...key]);
      assert.equal((await fetch(`${container.url}/readyz`)).status, 200);
      assert.equal(
        outputOf(await container.exec('sh', '-c', 'tr "\\0" " " < /proc/1/cmdline')),
        'node /usr/local/bin/lookaside serve',
      );
      outputOf(await container.checkHealth());
    });

    test('its command line and the server share the data: a key and a token made there let a signature in', async () => {
      outputOf(await container.exec('lookaside', 'key', 'add', '/alice.gpg'));
      const token = outputOf(await container.exec('lookaside', 'token', 'create', '--name', 'alice'));
      const signature = signer.sign({ repository: 'team/app', tag: 'v1' });
      const url = `${container.url}/${folderOf('team/app')}/signature-1`;
      const headers = { Authorization: `Bearer ${token}` };
      const put = await fetch(url, { method: 'PUT', headers, body: new Uint8Array(signature) });
      assert.equal(put.status, 201, await put.text());
      const got = await fetch(url);
      assert.equal(got.status, 200);
      assert.ok(Buffer.from(await got.arrayBuffer()).equals(signature));
    });

    test('nothing but its data can be written', async () => {
      const look =
        'find / \\( -path /proc -o -path /dev -o -path /sys \\) -prune -o -writable -not -type l -print 2>&1 | grep -v denied';
      const files = outputOf(await container.exec('sh', '-c', look)).split('\n');
      assert.ok(files.includes('/var/lib/lookaside/state.db'), files.join('\n'));
      assert.deepEqual(
        files.filter((name) => !name.startsWith('/var/lib/lookaside')),
        [],
      );
    });

    test('SIGTERM ends it with 0, and then it is not healthy', async () => {
      assert.equal(await container.stop(), 0);
      const health = await image.run(
        [...CONFINED, ...ANY_USER, '--entrypoint', 'node'],
        '/opt/lookaside/scripts/healthy.mjs',
      );
      assert.equal(health.status, 1, describeOutcome(health));
    });

    test('what stands behind its name is a command, on the data that the server left', async () => {
      const volume = ['--volume', 'data:/var/lib/lookaside'];
      const listed = outputOf(
        await image.run([...CONFINED, ...ANY_USER, ...volume], 'key', 'list', '--json'),
      );
      assert.equal(JSON.parse(listed).keys[0].fingerprint, signer.fingerprint);
    });
  });
