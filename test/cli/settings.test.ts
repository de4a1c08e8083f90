// What the settings of a running server change for those who ask.
import assert from 'node:assert/strict';
import { readdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import { after, before, describe, it } from 'node:test';
import { eventually } from '../clients/eventually.ts';
import { createToken, type LookasideServer, startServer } from '../clients/server.ts';
import { openTempFolder, type TempFolder } from '../clients/temp-folder.ts';
import { requestRaw } from '../http/raw-request.ts';
import { layImage, signatureBytes } from '../store/lay.ts';

const ONE = signatureBytes('one');

let temp: TempFolder;
let root: string;
let folder: string;
let servers = 0;

before(async () => {
  temp = await openTempFolder();
  root = path.join(temp.path, 'tree');
  folder = await layImage(root, 'team/app', ONE);
});
after(() => temp?.[Symbol.asyncDispose]());

function start(settings: Readonly<Record<string, string>>): Promise<LookasideServer> {
  servers += 1;
  return startServer({ root, data: path.join(temp.path, `data-${servers}`), settings });
}

const status = async ({ port }: LookasideServer, target: string) =>
  (await requestRaw(port, `GET ${target}`)).status;

describe('LOOKASIDE_PREFIX', () => {
  it('moves every path below it', async () => {
    await using server = await start({ LOOKASIDE_PREFIX: '/sig/store/' });
    assert.match(server.output(), /lookaside: http:\/\/127\.0\.0\.1:[0-9]+\/sig\/store$/m);
    for (const target of [
      `/sig/store/${folder}/signature-1`,
      `/sig/store//${folder}/signature-1`,
      '/sig/store/',
      '/sig/store/team/',
      '/sig/store/livez',
      '/sig/store/readyz',
      '/sig/store/metrics',
    ]) {
      assert.equal(await status(server, target), 200, target);
    }
    for (const target of [`/${folder}/signature-1`, '/', '/team/', '/sig/', '/sig/storeteam/', '/livez']) {
      assert.equal(await status(server, target), 404, target);
    }
    const { body } = await requestRaw(server.port, 'GET /sig/store/');
    assert.match(body.toString(), /href="[^"]*team\/"/);
  });
});

describe('LOOKASIDE_LISTING=off', () => {
  it('shows no names, and leaves signatures as they are', async () => {
    await using server = await start({ LOOKASIDE_LISTING: 'off' });
    const { status: top, body } = await requestRaw(server.port, 'GET /');
    assert.equal(top, 200);
    assert.doesNotMatch(body.toString(), /team/);
    for (const page of ['/team/', `/${folder}/`]) assert.equal(await status(server, page), 404, page);
    assert.equal(await status(server, `/${folder}/signature-1`), 200);
    // without LOOKASIDE_PREFIX all is at the top
    assert.equal(await status(server, '/livez'), 200);
    assert.equal(await status(server, `/sig/store/${folder}/signature-1`), 404);
    const json = await requestRaw(server.port, 'GET /', ['Accept: application/json']);
    assert.deepEqual(JSON.parse(json.body.toString()).entries, []);
  });
});

describe('LOOKASIDE_ACCESS_LOG', () => {
  const HOSTILE = 'x" 200 "\\ \u202e';
  const agent = `User-Agent: ${Buffer.from(HOSTILE).toString('latin1')}`;

  const ask = async ({ port }: LookasideServer) => {
    await requestRaw(port, `GET /${folder}/signature-1?a="b"`, [agent]);
    await requestRaw(port, `HEAD /${folder}/signature-1`, ['User-Agent: podman/5']);
    await requestRaw(port, `GET /${folder}/signature-2`, ['User-Agent: podman/5']);
    await requestRaw(port, 'GET /livez');
  };

  it('combined writes one line for each request, in the form that log tools know', async () => {
    await using server = await start({ LOOKASIDE_ACCESS_LOG: 'combined' });
    await ask(server);
    const LINE =
      /^127\.0\.0\.1 - - \[[^\]]+ \+0000\] "((?:[^"\\]|\\.)*)" ([0-9]+) ([0-9]+) "-" "((?:[^"\\]|\\.)*)"$/;
    const lines = await eventually(() => {
      const levels = server
        .output()
        .split('\n')
        .flatMap((line) => LINE.exec(line) ?? []);
      assert.equal(levels.length, 4 * 5);
      return levels;
    });
    const rows = [0, 5, 10, 15].map((at) => lines.slice(at + 1, at + 4));
    assert.deepEqual(rows, [
      [`GET /${folder}/signature-1?a=\\"b\\" HTTP/1.1`, '200', `${ONE.length}`],
      [`HEAD /${folder}/signature-1 HTTP/1.1`, '200', '0'],
      [`GET /${folder}/signature-2 HTTP/1.1`, '404', rows[2]?.[2]],
      ['GET /livez HTTP/1.1', '200', '3'],
    ]);
    assertNothingRaw(server);
  });

  it('json writes one JSON object for each request', async () => {
    await using server = await start({ LOOKASIDE_ACCESS_LOG: 'json' });
    await ask(server);
    const lines = await eventually(() => {
      const accessLines = server
        .output()
        .split('\n')
        .filter((line) => line.startsWith('{') && line.includes('"agent"'));
      assert.equal(accessLines.length, 4);
      return accessLines.map((line) => JSON.parse(line));
    });
    assert.deepEqual(
      lines.map(({ method, status: code, bytes, token, address }) => [method, code, bytes, token, address]),
      [
        ['GET', 200, ONE.length, null, '127.0.0.1'],
        ['HEAD', 200, 0, null, '127.0.0.1'],
        ['GET', 404, lines[2].bytes, null, '127.0.0.1'],
        ['GET', 200, 3, null, '127.0.0.1'],
      ],
    );
    assert.equal(lines[0].target, `/${folder}/signature-1?a="b"`);
    assert.equal(lines[1].agent, 'podman/5');
    assert.equal(lines[3].agent, null);
    assertNothingRaw(server);
  });

  for (const form of ['combined', 'json']) {
    it(`${form} masks a token in a query string, which is written nowhere else either`, async () => {
      await using server = await start({ LOOKASIDE_ACCESS_LOG: form, LOOKASIDE_LOG_LEVEL: 'debug' });
      const data = path.join(temp.path, `data-${servers}`);
      const token = await createToken(data, 'misplaced', 'reader');
      const requests = [
        `GET /${folder}/signature-1?token=${token}`,
        `GET /${folder}/signature-1?token=${token}`, // from memory
        `GET /${folder}/signature-2?${token}`,
        `GET /none/${folder}/signature-1?token=${token}`,
        `GET /?token=${token}`,
        `PUT /${folder}/signature-2?token=${token}`,
        `GET /api/v1/signatures?token=${token}`,
        `GET /api/v1/nothing?token=${token}`,
      ];
      for (const line of requests) {
        await requestRaw(server.port, line, [`Referer: http://lookaside.example/?token=${token}`]);
      }
      await eventually(() => {
        const masked = server.output().match(/lookaside_\*{4}/g) ?? [];
        assert.equal(masked.length, requests.length * (form === 'combined' ? 2 : 1));
      });
      await server.stop(); // which writes the last reads down
      assert.doesNotMatch(server.output(), /lookaside_[0-9a-f]/);
      const names = await readdir(data, { recursive: true, withFileTypes: true });
      const files = names
        .filter((entry) => entry.isFile())
        .map((each) => path.join(each.parentPath, each.name));
      assert.ok(files.some((file) => /access\/.*\.db$/.test(file)));
      for (const file of files) assert.ok(!(await readFile(file)).includes(token), file);
    });
  }

  it('off writes none', async () => {
    await using server = await start({});
    await ask(server);
    await server.stop();
    assert.doesNotMatch(server.output(), /GET/);
  });
});

// biome-ignore lint/suspicious/noControlCharactersInRegex: that is what must not be there
const RAW = /[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]/;

/** Nothing that steers a terminal has reached the output as it came. */
function assertNothingRaw(server: LookasideServer): void {
  assert.doesNotMatch(server.output(), RAW);
}
