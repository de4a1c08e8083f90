// lookaside list and show, asked of a running server over the network and through its socket.
import assert from 'node:assert/strict';
import { mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import type { StoredSignature } from '../../src/domain/stored-signature.ts';
import { type LookasideServer, runLookaside, startServer } from '../clients/server.ts';
import { enrol, makeSigner, type Signer } from '../clients/signer.ts';
import { openTempFolder, type TempFolder } from '../clients/temp-folder.ts';
import { uploadsTo } from '../clients/uploads.ts';
import { folderOf } from '../store/lay.ts';

const APP = folderOf('team/app').replace('=', ':');
const TOOL = folderOf('team/tool').replace('=', ':');

describe('list and show', () => {
  let temp: TempFolder;
  let server: LookasideServer;
  let alice: Signer;
  let remote: readonly string[];

  before(async () => {
    temp = await openTempFolder();
    alice = makeSigner('alice');
    const token = await enrol(temp.path, alice);
    await writeFile(path.join(temp.path, 'token'), `${token}\n`);
    server = await startServer({ data: temp.path });
    const uploads = uploadsTo(server.port, token);
    for (const [repository, tag] of [
      ['team/app', 'v1'],
      ['team/app', 'v2'],
      ['team/tool', 'latest'],
    ] as const) {
      await uploads.post(folderOf(repository), alice.sign({ repository, tag }));
    }
    remote = ['--server', server.url, '--token-file', path.join(temp.path, 'token')];
  });
  after(async () => {
    await server?.[Symbol.asyncDispose]();
    await temp?.[Symbol.asyncDispose]();
  });

  test('list prints the newest first, over the network as through the socket', async () => {
    const network = await runLookaside(['list', ...remote]);
    const local = await runLookaside(['list', '--data', temp.path]);
    for (const { status, stdout, stderr } of [network, local]) {
      assert.equal(status, 0, stderr);
      const [titles, ...rows] = stdout
        .trimEnd()
        .split('\n')
        .map((line) => line.split(/ {2,}/));
      assert.deepEqual(titles, ['IMAGE', 'N', 'STATE', 'SIGNED BY', 'TAG', 'STORED']);
      assert.deepEqual(
        rows.map((cells) => cells.slice(0, 5)),
        [
          [TOOL, '1', 'verified', 'alice <alice@example.invalid>', 'registry.example/team/tool:latest'],
          [APP, '2', 'verified', 'alice <alice@example.invalid>', 'registry.example/team/app:v2'],
          [APP, '1', 'verified', 'alice <alice@example.invalid>', 'registry.example/team/app:v1'],
        ],
      );
    }
    assert.equal(network.stdout, local.stdout);
  });

  test('list prints one JSON document of what was asked for', async () => {
    const settings = { LOOKASIDE_URL: server.url, LOOKASIDE_TOKEN_FILE: path.join(temp.path, 'token') };
    const imagesOf = async (...what: readonly string[]) => {
      const { stdout } = await runLookaside(['list', '--json', ...what], settings);
      const { signatures }: { signatures: readonly StoredSignature[] } = JSON.parse(stdout);
      return signatures.map(({ image, number }) => `${image} ${number}`);
    };
    assert.deepEqual(await imagesOf(), [`${TOOL} 1`, `${APP} 2`, `${APP} 1`]);
    assert.deepEqual(await imagesOf('team/tool'), [`${TOOL} 1`]);
    assert.deepEqual(await imagesOf(APP.replace(':', '=')), [`${APP} 2`, `${APP} 1`]);
    assert.deepEqual(await imagesOf('team/none'), []);
  });

  test('list without a hit says so, and how repositories are named', async () => {
    const { status, stdout, stderr } = await runLookaside(['list', 'registry.example/team/app', ...remote]);
    assert.deepEqual([status, stdout], [0, '']);
    assert.match(
      stderr,
      /has no signatures of registry\.example\/team\/app; .* without the registry's host: lookaside list team\/app\n$/,
    );
  });

  test('list without a hit names the data directory where that was asked', async () => {
    const { stderr } = await runLookaside(['list', 'team/none', '--data', temp.path]);
    assert.ok(stderr.startsWith(`lookaside: ${temp.path} has no signatures of team/none; `));
  });

  test('show tells of each signature of an image, also with the registry in front', async () => {
    const { status, stdout, stderr } = await runLookaside(['show', `registry.example/${APP}`, ...remote]);
    assert.equal(status, 0, stderr);
    assert.match(stdout, new RegExp(`^image +${APP}$`, 'm'));
    assert.deepEqual(
      stdout.match(/^reference.*$/gm)?.map((line) => line.split(/ +/)[1]),
      ['registry.example/team/app:v1', 'registry.example/team/app:v2'],
    );
    assert.match(stdout, new RegExp(`^signed by +${alice.fingerprint}$`, 'm'));

    const json = await runLookaside(['show', '--json', APP, ...remote]);
    const { image, signatures } = JSON.parse(json.stdout);
    assert.equal(image, APP);
    assert.deepEqual(
      signatures.map(({ number, uploader }: StoredSignature) => [number, uploader]),
      [
        [1, 'alice'],
        [2, 'alice'],
      ],
    );
  });

  test('list and show take a tag, with and without the registry in front, and list all other questions too', async () => {
    const listed = async (...what: readonly string[]) => {
      const { status, stdout, stderr } = await runLookaside(['list', '--json', ...what, ...remote]);
      assert.equal(status, 0, stderr);
      const { signatures }: { signatures: readonly StoredSignature[] } = JSON.parse(stdout);
      return signatures.map(({ image, number }) => `${image} ${number}`);
    };
    const id = alice.fingerprint.slice(-16);
    assert.deepEqual(await listed('team/app:v2'), [`${APP} 2`]);
    assert.deepEqual(await listed('localhost:5000/team/app:v1'), [`${APP} 1`]);
    assert.deepEqual(await listed('--tag', 'latest'), [`${TOOL} 1`]);
    assert.deepEqual(await listed('team/app', '--tag', 'latest'), []);
    assert.deepEqual(
      await listed('--fingerprint', `0x${id.toLowerCase()}`, '--uploader', 'alice', '--state', 'verified'),
      [`${TOOL} 1`, `${APP} 2`, `${APP} 1`],
    );
    assert.deepEqual(await listed('--uploader', 'bob'), []);
    assert.deepEqual(await listed('--state', 'bad'), []);
    assert.deepEqual(await listed('--since', '2999-01-01'), []);
    assert.equal((await listed('--since', '2020-01-01T00:00:00+02:00')).length, 3);

    for (const name of ['team/app:v2', 'registry.example/team/app:v2']) {
      const outcome = await runLookaside(['show', name, ...remote]);
      assert.equal(outcome.status, 0, outcome.stderr);
      assert.match(outcome.stdout, new RegExp(`^image +${APP}$`, 'm'));
      assert.match(outcome.stdout, /^reference +registry\.example\/team\/app:v2$/m);
    }
    const { images } = JSON.parse((await runLookaside(['show', 'team/app:v2', '--json', ...remote])).stdout);
    assert.deepEqual(
      images.map(({ image, signatures }: { image: string; signatures: unknown[] }) => [
        image,
        signatures.length,
      ]),
      [[APP, 2]],
    );
    const none = await runLookaside(['show', 'team/app:v9', ...remote]);
    assert.deepEqual([none.status, none.stdout], [1, '']);
    assert.match(
      none.stderr,
      /has no verified signature that is for team\/app:v9; lookaside list team\/app shows/,
    );
  });

  test('list --csv prints a line for each, that spreadsheets read', async () => {
    const { stdout } = await runLookaside(['list', 'team/app', '--csv', ...remote]);
    const [titles, second, first, rest] = stdout.split('\r\n');
    assert.match(
      titles ?? '',
      /^site,image,path,number,state,.*,userId,.*,uploader,auditSeq,remap,warnings,readers$/,
    );
    assert.match(
      second ?? '',
      new RegExp(`^default,${APP},/team/app@sha256=.*,2,verified,.*,alice <alice@example.invalid>,`),
    );
    assert.match(first ?? '', /,1,verified,/);
    assert.equal(rest, '');
    const none = await runLookaside(['list', 'team/none', '--csv', ...remote]);
    assert.equal(none.stdout, `${titles}\r\n`);
    assert.match(none.stderr, /has no signatures of team\/none; a repository is named whole/);
  });

  for (const [args, said] of [
    [['--fingerprint', '0123'], /Wanted a fingerprint of 40 hex digits or a key ID of 16/],
    [['--state', 'good'], /Allowed choices are verified, unverified/],
    [['--since', 'yesterday'], /Wanted a day like 2026-11-22, or a time/],
    [['--since', '2026-13-01'], /Wanted a day like/],
    [['--tag', 'a b'], /Wanted letters, digits/],
    [['--csv', '--json'], /'--csv' cannot be used with option '--json'/],
    [['team/app:v1', '--tag', 'v2'], /the tag is v1 in what is listed, and v2 in --tag; give one of them/],
  ] as const) {
    test(`list ${args.join(' ')} is refused with 2, and what is wanted`, async () => {
      const { status, stdout, stderr } = await runLookaside(['list', ...args, ...remote]);
      assert.equal(status, 2, stderr);
      assert.doesNotMatch(stdout, /signatures|image,path/);
      assert.match(stderr, said);
    });
  }

  test('a key ID of no key is told as that', async () => {
    const { status, stderr } = await runLookaside(['list', '--fingerprint', '0123456789abcdef', ...remote]);
    assert.equal(status, 1);
    assert.match(
      stderr,
      /^lookaside: no key with the ID 0123456789ABCDEF is registered; see: lookaside key list\n$/,
    );
  });

  test('show of an image without signatures ends with 1, of no image with 2', async () => {
    const none = await runLookaside(['show', APP.replace('team', 'other'), ...remote]);
    assert.deepEqual([none.status, none.stdout], [1, '']);
    assert.match(none.stderr, /has no signatures of other\/app@sha256:/);
    const wrong = await runLookaside(['show', 'team/app', ...remote]);
    assert.equal(wrong.status, 2);
    assert.match(wrong.stderr, /"team\/app" is a repository; wanted one of its images/);
  });

  test('a token file that is missing stops those who ask a server, and nobody else', async () => {
    const settings = {
      LOOKASIDE_URL: server.url,
      LOOKASIDE_TOKEN_FILE: '/nowhere',
      LOOKASIDE_CA: '/nowhere',
    };
    const list = await runLookaside(['list'], settings);
    assert.equal(list.status, 2);
    assert.match(
      list.stderr,
      /^lookaside: LOOKASIDE_TOKEN_FILE: cannot read \/nowhere: ENOENT, there is no such file; name one that is there\n$/,
    );
    assert.equal((await runLookaside(['key', 'list', '--data', temp.path], settings)).status, 0);
  });

  test('a token that others can read on its way is warned of, once', async () => {
    const settings = {
      LOOKASIDE_URL: 'http://sig.example',
      LOOKASIDE_TOKEN_FILE: path.join(temp.path, 'token'),
      http_proxy: server.url, // which takes requests for other hosts as its own
    };
    const { status, stdout, stderr } = await runLookaside(['show', APP], settings);
    assert.equal(status, 0, stderr);
    assert.match(stdout, /^image /);
    assert.match(stderr, /^lookaside: warning: the token goes to sig\.example over plain http, [^\n]*\n$/);
    assert.equal((await runLookaside(['show', APP, ...remote])).stderr, '');
  });

  test('without a server that is named or runs here, it is told how to name one', async () => {
    const empty = path.join(temp.path, 'empty');
    await mkdir(empty);
    const { status, stderr } = await runLookaside(['list', '--data', empty]);
    assert.equal(status, 2);
    assert.match(
      stderr,
      /^lookaside: no server is named, .* give --server URL or set LOOKASIDE_URL; .* start the server/,
    );
  });

  test('where nodes share a database, a command that asks a server wants the URL of one', async () => {
    const settings = {
      LOOKASIDE_DATABASE: 'postgres://127.0.0.1:1/none',
      LOOKASIDE_PUBLIC_URL: 'https://s.example',
    };
    for (const command of [
      ['push', temp.path],
      ['client-config', '--registry', 'r.example', '--all-keys'],
    ]) {
      const { status, stderr } = await runLookaside(command, settings);
      assert.equal(status, 2);
      assert.match(stderr, /^lookaside: this command asks a server, .* URL of a node with --server/);
    }
  });
});
