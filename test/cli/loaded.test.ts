// Which code a command loads: that of signers' commands has no database and no log behind it, as it is started again and
// again on other machines. `npm run bench -- start` tells what that costs.
import assert from 'node:assert/strict';
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { describeOutcome } from '../clients/command.ts';
import { createToken, type LookasideServer, runLookasideAlone, startServer } from '../clients/server.ts';
import { enrol, makeSigner } from '../clients/signer.ts';
import { openTempFolder, type TempFolder } from '../clients/temp-folder.ts';
import { uploadsTo } from '../clients/uploads.ts';
import { isFull } from '../faults/promise.ts';
import { folderOf, layFile } from '../store/lay.ts';

const MANIFEST = '{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json"}';
const APP = { repository: 'team/app', tag: 'v1', manifest: MANIFEST } as const;
const IMAGE = folderOf('team/app', MANIFEST);
const REFERENCE = 'registry.example/team/app:v1';

interface Loaded {
  /** Names of packages. */
  readonly packages: readonly string[];
  /** Folders of src, files directly in it, and those of `compose`. */
  readonly layers: readonly string[];
}

describe('a command', () => {
  let temp: TempFolder;
  let server: LookasideServer;
  let keyFile: string;
  let remote: readonly string[];
  const inFolder = (name: string) => path.join(temp.path, name);

  before(async () => {
    temp = await openTempFolder();
    await mkdir(inFolder('data'));
    await mkdir(inFolder('empty'));
    const alice = makeSigner('alice');
    const token = await enrol(inFolder('data'), alice);
    keyFile = path.join(inFolder('data'), 'alice.gpg');
    await writeFile(inFolder('token'), token);
    await writeFile(inFolder('admin'), await createToken(inFolder('data'), 'admin', 'admin'));
    await writeFile(inFolder('manifest.json'), MANIFEST);
    server = await startServer({ data: inFolder('data') });
    await layFile(inFolder('staging'), `${IMAGE}/signature-1`, alice.sign(APP));
    const { status } = await uploadsTo(server.port, token).post(IMAGE, alice.sign({ ...APP, tag: 'v2' }));
    assert.equal(status, 201);
    remote = ['--server', server.url, '--token-file', inFolder('token')];
  });
  after(async () => {
    await server?.[Symbol.asyncDispose]();
    await temp?.[Symbol.asyncDispose]();
  });

  /** All that its threads have run, as V8 tells it at their ends. */
  async function loadedBy(status: number, ...args: readonly string[]): Promise<Loaded> {
    await using coverage = await openTempFolder();
    // doctor must not look into the folder of this machine's log-ins, which this user may not be allowed to read
    const environment = { NODE_V8_COVERAGE: coverage.path, XDG_RUNTIME_DIR: inFolder('no-log-ins') };
    const outcome = await runLookasideAlone(args, environment);
    assert.equal(outcome.status, status, describeOutcome(outcome));
    return await loadedIn(coverage.path);
  }

  async function loadedIn(coverage: string): Promise<Loaded> {
    const files = await readdir(coverage);
    assert.ok(files.length > 0);
    const [packages, layers] = [new Set<string>(), new Set<string>()];
    for (const file of files) {
      const { result } = JSON.parse(await readFile(path.join(coverage, file), 'utf8'));
      for (const { url } of result as readonly { readonly url: string }[]) {
        const name = /^file:.*\/node_modules\/(zod\/v\d|(?:@[^/]+\/)?[^/]+)\//.exec(url)?.[1];
        const layer = /^file:.*\/dist\/src\/(compose\/[^/]+|[^/]+)/.exec(url)?.[1];
        if (name !== undefined) packages.add(name);
        else if (layer !== undefined) layers.add(layer.replace(/\.js$/, '.ts'));
      }
    }
    return { packages: [...packages].sort(), layers: [...layers].sort() };
  }

  const SERVER_LAYERS = [
    'compose/connect.ts',
    'compose/log.ts',
    'compose/offline.ts',
    'compose/server.ts',
    'compose/site.ts',
    'http',
    'sqlite',
    'store',
    'ui',
  ];

  function assertLight({ packages, layers }: Loaded, wanted: readonly string[]): void {
    assert.deepEqual(packages, wanted);
    assert.deepEqual(
      layers.filter((layer) => SERVER_LAYERS.includes(layer)),
      [],
    );
  }

  test('that asks for help loads nothing but the command line', async () => {
    // each of these commands is a process of its own
    for (const args of [['push', '--help'], ...(isFull ? [['--help'], ['--version']] : [])]) {
      const loaded = await loadedBy(0, ...args);
      assert.deepEqual(loaded, {
        packages: ['commander'],
        layers: ['cli', 'config.ts', 'domain', 'main.ts'],
      });
    }
  });

  test('push has no database, no log, no OpenPGP.js, and no client before it has something to send', async () => {
    assertLight(await loadedBy(0, 'push', inFolder('empty'), ...remote), ['commander', 'lru-cache']);
    const loaded = await loadedBy(0, 'push', inFolder('staging'), ...remote);
    assertLight(loaded, ['commander', 'lru-cache', 'zod/v3']);
  });

  test('list and show have no database, no log, and nothing of files and OpenPGP', async () => {
    for (const args of [['list'], ['show', IMAGE.replace('=', ':')]]) {
      const loaded = await loadedBy(0, ...args, ...remote);
      assertLight(loaded, ['commander', 'zod/v3']);
      assert.deepEqual(loaded.layers, [
        'cli',
        'compose/asked-signatures.ts',
        'compose/client.ts',
        'compose/remote.ts',
        'config.ts',
        'domain',
        'main.ts',
        'upstream',
      ]);
    }
  });

  test('verify has no database and no log', async () => {
    const signature = path.join(inFolder('staging'), IMAGE, 'signature-1');
    const ofFiles = [inFolder('manifest.json'), REFERENCE, signature, '--keyring', keyFile];
    const byServer = [inFolder('manifest.json'), REFERENCE.replace('v1', 'v2'), ...remote];
    assertLight(await loadedBy(0, 'verify', ...ofFiles), ['commander', 'openpgp']);
    assertLight(await loadedBy(0, 'verify', ...byServer), ['commander', 'openpgp', 'zod/v3']);
  });

  test('doctor and client-config have no database and no log, and no client of the web before they need one', async () => {
    // what reads this machine's own files depends on the machine; OpenPGP.js is in a thread, as for verify
    const lasting = ({ packages, layers }: Loaded): Loaded => ({
      layers,
      packages: packages.filter((name) => !['openpgp', 'smol-toml', 'yaml'].includes(name)),
    });
    await writeFile(inFolder('policy.json'), '{"default":[{"type":"insecureAcceptAnything"}]}');
    const judged = await loadedBy(
      2,
      'doctor',
      '127.0.0.1:1/team/app:v1',
      '--policy',
      inFolder('policy.json'),
    );
    assertLight(lasting(judged), ['commander']);
    const named = [
      'client-config',
      '--registry',
      'registry.example',
      '--lookaside',
      'https://signatures.example',
    ];
    for (const args of [
      ['--keyring', keyFile],
      ['--all-keys', ...remote],
    ]) {
      assertLight(lasting(await loadedBy(0, ...named, ...args)), ['commander', 'zod/v3']);
    }
  });

  test('for administrators has no database and no log where it asks a server elsewhere', async () => {
    const admin = ['--server', server.url, '--token-file', inFolder('admin')];
    const more = isFull ? [['token', 'list'], ['reindex']] : [];
    for (const args of [['key', 'list'], ['fsck'], ...more]) {
      assertLight(await loadedBy(0, ...args, ...admin), ['commander', 'zod/v3']);
    }
    const loaded = await loadedBy(0, 'import', inFolder('staging'), ...admin);
    assertLight(loaded, ['commander', 'lru-cache', 'zod/v3']);
  });

  test('for mirrors has no database and no log beside the server that runs on its data directory', async () => {
    assertLight(await loadedBy(0, 'mirror', 'list', '--data', inFolder('data')), ['commander', 'zod/v3']);
  });

  test('for administrators on the server’s machine shows that this test would see a database and a log', async () => {
    const { packages, layers } = await loadedBy(0, 'token', 'list', '--data', inFolder('data'));
    assert.ok(packages.includes('better-sqlite3') && packages.includes('pino'), packages.join());
    assert.ok(layers.includes('sqlite'), layers.join());
  });

  test('that serves has no client of the web before a mirror needs one, and nothing of what is only sometimes asked', async () => {
    await using coverage = await openTempFolder();
    const serving = await startServer({
      data: inFolder('serving'),
      settings: { NODE_V8_COVERAGE: coverage.path },
    });
    await serving.stop();
    const { packages } = await loadedIn(coverage.path);
    assert.ok(packages.includes('express') && packages.includes('better-sqlite3'), packages.join());
    for (const name of ['undici', 'jose', 'yaml', 'pg', 'openpgp']) assert.ok(!packages.includes(name), name);
  });
});
