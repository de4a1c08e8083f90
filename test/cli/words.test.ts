// What commands say when something is wrong: one whole JSON value with --json, equal exit codes for equal causes, and who named what.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { formatBanner } from '../../src/cli/banner.ts';
import { loadConfig } from '../../src/config.ts';
import { describeOutcome } from '../clients/command.ts';
import { type LookasideServer, lookaside, runLookaside, startServer } from '../clients/server.ts';
import { makeSigner } from '../clients/signer.ts';
import { openTempFolder, type TempFolder } from '../clients/temp-folder.ts';
import { folderOf, layFile } from '../store/lay.ts';
import { json, refusal, serveActs } from '../upstream/scripted-server.ts';
import { storedSignature } from './stored.ts';

const FINGERPRINT = 'AB'.repeat(20);

let temp: TempFolder;
let server: LookasideServer;
let key: string;
let staged: string;
let manifest: string;

before(async () => {
  temp = await openTempFolder();
  const alice = makeSigner('alice');
  key = path.join(temp.path, 'alice.gpg');
  staged = path.join(temp.path, 'staged');
  manifest = path.join(temp.path, 'manifest.json');
  await writeFile(manifest, '{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json"}');
  await writeFile(key, alice.certificate);
  await writeFile(path.join(temp.path, 'wrong'), `lookaside_${'0'.repeat(64)}\n`);
  await layFile(
    staged,
    `${folderOf('team/app')}/signature-1`,
    alice.sign({ repository: 'team/app', tag: 'v1' }),
  );
  server = await startServer({ data: path.join(temp.path, 'data') });
});
after(async () => {
  await server?.[Symbol.asyncDispose]();
  await temp?.[Symbol.asyncDispose]();
});

const ASKING: Readonly<Record<string, () => readonly string[]>> = {
  list: () => ['list'],
  'show an image': () => ['show', `team/app@sha256:${'0'.repeat(64)}`],
  'show a tag': () => ['show', 'team/app:v1'],
  push: () => ['push', staged],
  import: () => ['import', staged],
  fsck: () => ['fsck'],
  reindex: () => ['reindex'],
  'key add': () => ['key', 'add', key],
  'key list': () => ['key', 'list'],
  'key show': () => ['key', 'show', FINGERPRINT],
  'key export': () => ['key', 'export'],
  'key remove': () => ['key', 'remove', FINGERPRINT],
  'token create': () => ['token', 'create', '--name', 'x'],
  'token list': () => ['token', 'list'],
  'token revoke': () => ['token', 'revoke', 'x'],
  verify: () => ['verify', manifest, 'registry.example/team/app:v1'],
};

describe('without a token that is in force', () => {
  for (const [name, args] of Object.entries(ASKING)) {
    test(`${name} ends with 2, one JSON value, and a line that says so`, async () => {
      const sent = ['--json', '--server', server.url, '--token-file', path.join(temp.path, 'wrong')];
      const outcome = await runLookaside([...args(), ...sent]);
      assert.equal(outcome.status, 2, describeOutcome(outcome));
      assert.equal(outcome.stderr.match(/does not know the token that was sent/g)?.length, 1, outcome.stderr);
      const value = JSON.parse(outcome.stdout);
      // push tells of each file as well
      const [{ code }] = value.errors ?? [value.summary.failure];
      assert.equal(code, 'UNAUTHORIZED');
    });
  }
});

describe('JSON', () => {
  test('is one whole value too when the options are wrong', async () => {
    for (const [args, message] of [
      [['list', '--json', '--state', 'good'], /^option '--state <state>' argument 'good' is invalid/],
      [['show', '--json', 'a//b', '--server', server.url], /names no repository and no image/],
      [['fsck', '--json', '--data', '/nowhere/at/all'], /nowhere/],
      [['token', 'create', '--json'], /^required option '--name <name>' not specified/],
    ] as const) {
      const { status, stdout } = await runLookaside(args);
      const { errors } = JSON.parse(stdout);
      assert.deepEqual([status, errors.length, errors[0].code], [2, 1, 'CONFIG_INVALID'], stdout);
      assert.match(errors[0].message, message);
    }
    assert.doesNotMatch((await runLookaside(['list', '--help', '--json'])).stdout, /errors/);
  });

  test('has what came of a list that breaks off, and why no more did', async () => {
    const page = json({ signatures: [storedSignature()], next: 'c', cursor: null });
    await using scripted = await serveActs([page, refusal(401, 'UNAUTHORIZED')]);
    const { status, stdout } = await runLookaside(['list', '--json', '--server', scripted.url]);
    const { signatures, errors } = JSON.parse(stdout);
    assert.deepEqual([status, signatures.length, errors[0].code], [2, 1, 'UNAUTHORIZED']);
  });
});

test('a server that is away is told in one line, and at the end how often it was tried', async () => {
  const outcome = await runLookaside(['list', '--server', 'http://127.0.0.1:1']);
  assert.equal(outcome.status, 2);
  const [first = '', last = '', ...more] = outcome.stderr.trimEnd().split('\n');
  assert.match(first, /ECONNREFUSED.*; trying again$/);
  assert.match(
    last,
    /ECONNREFUSED.* \(tried [0-9]+ times\); does the server run, and is its address right\?$/,
  );
  assert.deepEqual(more, []);
});

test('a report into a folder that is not there says so', async () => {
  const report = [
    'audit',
    'report',
    '--month',
    '2026-11',
    '--output',
    '/nowhere',
    '--data',
    path.join(temp.path, 'data'),
  ];
  const { status, stderr } = await runLookaside(report);
  assert.equal(status, 1);
  assert.match(
    stderr,
    /cannot write \/nowhere\/lookaside-2026-11\.html: there is no such folder; make it, or name another folder with --output$/m,
  );
});

test('a wrong path in --server is asked about', async () => {
  const { status, stderr } = await runLookaside(['key', 'list', '--server', `${server.url}/sigstore`]);
  assert.equal(status, 2);
  assert.match(stderr, /; is the path \/sigstore right\? It has to be the LOOKASIDE_PREFIX of the server/);
});

describe('a wrong setting', () => {
  test('is called as who gave it has called it', async () => {
    const file = path.join(temp.path, 'settings.yaml');
    await writeFile(file, 'listen: nonsense\n');
    const said = async (args: readonly string[], settings: Readonly<Record<string, string>> = {}) => {
      const { status, stderr } = await runLookaside(args, settings, temp.path);
      assert.equal(status, 2, stderr);
      return stderr;
    };
    assert.match(await said(['config', '--listen', 'x']), /^lookaside: --listen is "x": wanted/);
    assert.match(
      await said(['config'], { LOOKASIDE_LISTEN: 'x' }),
      /^lookaside: LOOKASIDE_LISTEN is "x": wanted/,
    );
    assert.match(
      await said(['config'], { LOOKASIDE_CONFIG: file }),
      /^lookaside: listen in \S+settings\.yaml is "nonsense": wanted/,
    );
    assert.match(
      await said(['list', '--server', 'nonsense']),
      /^lookaside: --server is "nonsense": wanted a URL/,
    );
    const there = ['list', '--server', server.url];
    assert.match(
      await said([...there, '--token-file', '/no']),
      /^lookaside: --token-file: cannot read \/no: ENOENT, there is no such file; name one that is there/,
    );
    assert.match(await said([...there, '--ca', '/no']), /^lookaside: --ca: cannot read \/no: ENOENT/);
    assert.match(
      await said(there, { LOOKASIDE_CA: '/no' }),
      /^lookaside: LOOKASIDE_CA: cannot read \/no: ENOENT/,
    );
  });

  test('in a file that is no YAML is told in one line, with the place', async () => {
    const file = path.join(temp.path, 'broken.yaml');
    await writeFile(file, 'listen: :8000: x: y\n  data: [\n');
    const { status, stderr } = await runLookaside(['config'], { LOOKASIDE_CONFIG: file });
    assert.equal(status, 2);
    assert.match(
      stderr,
      /^lookaside: LOOKASIDE_CONFIG: cannot read \S+broken\.yaml: it is not YAML: .* at line 1, column [0-9]+; wanted lines like "listen: ':8000'"\n$/,
    );
  });
});

describe('what serve says', () => {
  const bannerOf = (environment: Readonly<Record<string, string>>, more: { readonly isNew?: boolean } = {}) =>
    formatBanner({
      version: '1',
      urls: ['http://[::]:8000'],
      arePassed: false,
      config: loadConfig({ flags: {}, environment, workingFolder: '/srv', parseYaml: null }).config,
      isWritable: true,
      isNew: false,
      ...more,
    });

  test('names on a closed site the form in which clients send a token, and on an open one none', () => {
    assert.match(
      bannerOf({ LOOKASIDE_READ: 'token' }),
      /Reads need a token here.*https:\/\/NAME:TOKEN@HOST.*--role reader\n/s,
    );
    assert.doesNotMatch(bannerOf({}), /token/);
  });

  test('says of a shared tree that was not there that it is made, and of its own nothing', () => {
    const wrong = { LOOKASIDE_ROOT: '/srv/sigstroe' };
    assert.match(bannerOf(wrong, { isNew: true }), /^ +\/srv\/sigstroe was not there, and is made: /m);
    assert.doesNotMatch(bannerOf(wrong), /was not there/);
    assert.doesNotMatch(bannerOf({}, { isNew: true }), /was not there/);
  });

  test('says where its pages for people are, and nothing of them where there are none', () => {
    assert.match(bannerOf({}), /^pages http:\/\/localhost:8000\/ui\/$/m);
    assert.match(
      bannerOf({ LOOKASIDE_PUBLIC_URL: 'https://signatures.example.com/x' }),
      /^pages https:\/\/signatures\.example\.com\/x\/ui\/$/m,
    );
    assert.doesNotMatch(bannerOf({ LOOKASIDE_UI: 'off' }), /pages|\n\n\n/);
  });

  test('goes to standard error where standard output carries access lines', async () => {
    const data = path.join(temp.path, 'logged');
    const [program, ...args] = lookaside('serve', '--listen', '127.0.0.1:0', '--data', data);
    const child = spawn(program, args, {
      env: { PATH: process.env.PATH ?? '', LOOKASIDE_ACCESS_LOG: 'json' },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let [stdout, stderr] = ['', ''];
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      stdout += text;
    });
    const url = await new Promise<string>((resolve, reject) => {
      child.once('close', () => reject(new Error(stderr)));
      child.stderr.setEncoding('utf8').on('data', (text: string) => {
        stderr += text;
        const url = /listening on (http:\S+)/.exec(stderr)?.[1];
        if (url !== undefined) resolve(url);
      });
    });
    await fetch(`${url}/livez`);
    const closed = once(child, 'close');
    child.kill('SIGTERM');
    await closed;
    const lines = stdout.trimEnd().split('\n');
    assert.ok(lines.every((line) => typeof JSON.parse(line) === 'object') && lines.length === 1, stdout);
  });
});
