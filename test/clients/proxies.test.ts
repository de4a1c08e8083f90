// lookaside behind the proxies of docs/proxies.md, configured word for word as there but for ports and files.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { type IncomingHttpHeaders, type RequestOptions, request } from 'node:http';
import { request as requestTls } from 'node:https';
import { createServer } from 'node:net';
import path from 'node:path';
import { buffer } from 'node:stream/consumers';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { folderOf } from '../store/lay.ts';
import { type Need, needs, programFile } from './available.ts';
import { makeServerCertificate, type ServerCertificate } from './certificate.ts';
import { type Argv, type Background, startBackground } from './command.ts';
import { eventually } from './eventually.ts';
import { createToken, type LookasideServer, startServer } from './server.ts';
import { makeSigner } from './signer.ts';
import { openTempFolder, type TempFolder } from './temp-folder.ts';

const DOCS = fileURLToPath(new URL('../../../docs/proxies.md', import.meta.url));
const FOLDER = folderOf('team/app');
const ONE = makeSigner('alice').sign({ repository: 'team/app', tag: 'v1' });

interface Laid {
  /** The block of the docs. */
  readonly block: string;
  readonly folder: string;
  readonly port: number;
  readonly upstream: string;
  readonly certificate: ServerCertificate;
}

interface Proxy {
  readonly program: Need;
  readonly language: string;
  /** By which it serves here: Caddy would ask an authority for its certificate. */
  readonly scheme: 'http' | 'https';
  /** The same configuration with the prefix cut off. */
  readonly strip: (block: string) => string;
  /** Writes its files, and tells how it is run in the foreground. */
  readonly lay: (laid: Laid) => Promise<Argv>;
}

const PROXIES: readonly Proxy[] = [
  {
    program: 'nginx',
    language: 'nginx',
    scheme: 'https',
    strip: (block) =>
      replaced(block, 'proxy_pass http://127.0.0.1:8000;', 'proxy_pass http://127.0.0.1:8000/;'),
    async lay({ block, folder, port, upstream, certificate }) {
      const server = [
        ['listen 443 ssl;', `listen 127.0.0.1:${port} ssl;`],
        ['127.0.0.1:8000', upstream],
        ['/etc/ssl/signatures.pem', certificate.certificateFile],
        ['/etc/ssl/signatures.key', certificate.keyFile],
      ].reduce((text, [from = '', to = '']) => replaced(text, from, to), block);
      const folders = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi']
        .map((name) => `${name}_temp_path ${folder}/${name};`)
        .join('\n');
      const file = path.join(folder, 'nginx.conf');
      await writeFile(
        file,
        `daemon off; master_process off; pid ${folder}/pid; error_log stderr notice; events {}
http { access_log off; ${folders}\n${server} }`,
      );
      return ['nginx', '-p', folder, '-e', 'stderr', '-c', file];
    },
  },
  {
    program: 'haproxy',
    language: 'haproxy',
    scheme: 'https',
    strip: (block) =>
      replaced(
        replaced(
          block,
          '  option httpchk GET /sigstore/readyz',
          '  http-request replace-path ^/sigstore(.*) \\1',
        ),
        'server one',
        'option httpchk GET /readyz\n  server one',
      ),
    async lay({ block, folder, port, upstream, certificate }) {
      const pem = path.join(folder, 'both.pem');
      const [certificateText, key] = await Promise.all(
        [certificate.certificateFile, certificate.keyFile].map((name) => readFile(name)),
      );
      await writeFile(pem, Buffer.concat([certificateText ?? Buffer.of(), key ?? Buffer.of()]));
      const text = [
        ['bind :443', `bind 127.0.0.1:${port}`],
        ['127.0.0.1:8000', upstream],
        ['/etc/ssl/signatures-and-key.pem', pem],
      ].reduce((before, [from = '', to = '']) => replaced(before, from, to), block);
      const file = path.join(folder, 'haproxy.cfg');
      await writeFile(file, `${text}\n`);
      return ['haproxy', '-db', '-f', file];
    },
  },
  {
    program: 'caddy',
    language: 'caddyfile',
    scheme: 'http',
    strip: (block) => replaced(block, 'handle /sigstore/*', 'handle_path /sigstore/*'),
    async lay({ block, folder, port, upstream }) {
      const text = replaced(
        replaced(block, 'signatures.example.com {', `http://127.0.0.1:${port} {`),
        '127.0.0.1:8000',
        upstream,
      );
      const file = path.join(folder, 'Caddyfile');
      await writeFile(file, `{\n\tadmin off\n}\n${text}\n`);
      return ['caddy', 'run', '--adapter', 'caddyfile', '--config', file];
    },
  },
];

/** So that a line that the docs no longer have is no test of nothing. */
function replaced(text: string, from: string, to: string): string {
  assert.ok(text.includes(from), `${from} stands in the configuration:\n${text}`);
  return text.replace(from, to);
}

async function blockOf(language: string): Promise<string> {
  const block = new RegExp(`^\`\`\`${language}\\n(?<block>[\\s\\S]*?)^\`\`\`$`, 'm').exec(
    await readFile(DOCS, 'utf8'),
  );
  assert.ok(block?.groups?.block !== undefined, `docs/proxies.md has a block of ${language}`);
  return block.groups.block;
}

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const address = server.address();
      server.close(() => resolve(typeof address === 'object' && address !== null ? address.port : 0));
    });
  });
}

interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: Buffer;
}

let temp: TempFolder;
let server: LookasideServer;
let stripped: LookasideServer;
let token: string;

// behind all proxies, one after the other
before(async () => {
  temp = await openTempFolder();
  const root = path.join(temp.path, 'tree');
  await mkdir(path.join(root, FOLDER), { recursive: true });
  await writeFile(path.join(root, FOLDER, 'signature-1'), ONE);
  const data = path.join(temp.path, 'data');
  token = await createToken(data, 'ci', 'uploader');
  const settings = { LOOKASIDE_TRUSTED_PROXIES: '127.0.0.1', LOOKASIDE_ACCESS_LOG: 'json' };
  server = await startServer({ data, root, settings: { ...settings, LOOKASIDE_PREFIX: '/sigstore' } });
  stripped = await startServer({ data: path.join(temp.path, 'data-2'), root, settings });
});
after(async () => {
  await server?.[Symbol.asyncDispose]();
  await stripped?.[Symbol.asyncDispose]();
  await temp?.[Symbol.asyncDispose]();
});

for (const proxy of PROXIES) {
  describe(`behind ${proxy.program}`, needs(proxy.program, 'openssl'), () => {
    const running: Background[] = [];
    let port: number;
    let strippedPort: number;

    before(async () => {
      const folder = path.join(temp.path, proxy.program);
      await mkdir(folder);
      const certificate = await makeServerCertificate(folder, 'ca');
      const block = await blockOf(proxy.language);
      port = await start('kept', block, server.host, certificate);
      strippedPort = await start('stripped', proxy.strip(block), stripped.host, certificate);
    });
    after(async () => {
      for (const one of running) await one.stop();
    });

    async function start(name: string, block: string, upstream: string, certificate: ServerCertificate) {
      const folder = path.join(temp.path, proxy.program, name);
      await mkdir(folder);
      const free = await freePort();
      const [, ...args] = await proxy.lay({ block, folder, port: free, upstream, certificate });
      const env = {
        PATH: process.env.PATH ?? '',
        HOME: folder,
        XDG_DATA_HOME: folder,
        XDG_CONFIG_HOME: folder,
      };
      // HAProxy says nothing of itself
      const argv: Argv = ['sh', '-c', 'echo begun; exec "$@"', 'sh', programFile(proxy.program), ...args];
      running.push(await startBackground(argv, { env, cwd: folder }, /begun/));
      await eventually(async () => {
        const { status } = await ask(free, '/sigstore/readyz').catch(() => ({ status: 0 }));
        assert.equal(status, 200);
      });
      return free;
    }

    function ask(at: number, target: string, options: RequestOptions = {}, body?: Buffer): Promise<Answer> {
      const send = proxy.scheme === 'https' ? requestTls : request;
      return new Promise((resolve, reject) => {
        const req = send({
          host: '127.0.0.1',
          port: at,
          path: target,
          agent: false,
          rejectUnauthorized: false,
          ...options,
        });
        req.once('error', reject);
        req.once('response', (res) => {
          buffer(res).then(
            (bytes) => resolve({ status: res.statusCode ?? 0, headers: res.headers, body: bytes }),
            reject,
          );
        });
        req.end(body);
      });
    }

    test('every spelling of a path gives the signature, and the number behind it 404 by the server', async () => {
      const spellings = [FOLDER, FOLDER.replace('@', '%40'), FOLDER.replace('=', '%3D'), `/${FOLDER}`];
      for (const spelling of spellings) {
        const { status, body } = await ask(port, `/sigstore/${spelling}/signature-1`);
        assert.deepEqual([status, body], [200, Buffer.from(ONE)], spelling);
        assert.equal((await ask(port, `/sigstore/${spelling}/signature-2`)).status, 404, spelling);
      }
      const own = await fetch(`${server.url}/sigstore/${FOLDER}/signature-2`);
      const { body } = await ask(port, `/sigstore/${FOLDER}/signature-2`);
      assert.equal(body.toString(), await own.text());
    });

    test('the record of reads has the client, and not what it says of itself', async () => {
      const headers = { 'X-Forwarded-For': '203.0.113.9', 'User-Agent': `seen ${proxy.program}` };
      await ask(port, `/sigstore/${FOLDER}/signature-1`, { localAddress: '127.0.0.2', headers });
      await eventually(async () => {
        const line = server
          .output()
          .split('\n')
          .find((one) => one.includes(`seen ${proxy.program}`));
        assert.ok(line !== undefined, 'the read is in the log');
        assert.match(line, /"127\.0\.0\.2"/);
        assert.doesNotMatch(line, /203\.0\.113\.9/);
      });
    });

    test('a body of 2 MiB reaches the server, which says itself that it is too large', async () => {
      const body = Buffer.alloc(2 * 1024 * 1024);
      const headers = { Authorization: `Bearer ${token}`, 'Content-Length': String(body.length) };
      const target = `/sigstore/${FOLDER}/signature-2`;
      const answer = await ask(port, target, { method: 'PUT', headers }, body);
      assert.equal(answer.status, 413);
      assert.match(answer.body.toString(), /"TOO_LARGE"/);
    });

    test('pages lead from one to the other, whether the prefix is kept or cut off', async () => {
      for (const at of [port, strippedPort]) {
        const seen = new Map<string, number>();
        const waiting = ['/sigstore/'];
        for (let target = waiting.pop(); target !== undefined; target = waiting.pop()) {
          const { status, body } = await ask(at, target, { headers: { Accept: 'text/html' } });
          seen.set(target, status);
          for (const [, href = ''] of body.toString().matchAll(/href="([^"]*)"/g)) {
            const { pathname, search } = new URL(href, `http://host${target}`);
            if (!seen.has(pathname + search)) waiting.push(pathname + search);
          }
        }
        const folder = `/sigstore/${FOLDER}/`;
        const expected = ['/sigstore/', '/sigstore/team/', folder, `${folder}signature-1`];
        const ofPeople = [...seen].filter(([target]) => target.startsWith('/sigstore/ui/'));
        assert.ok(ofPeople.length > 3, ofPeople.join('\n'));
        for (const [target, status] of ofPeople) assert.equal(status, 200, target);
        const others = [...seen].filter(([target]) => !target.startsWith('/sigstore/ui/'));
        assert.deepEqual(others.sort(), expected.map((target): [string, number] => [target, 200]).sort());
      }
    });

    test('an ETag comes through, so that a client asks for nothing twice', async () => {
      const tag = `"${createHash('sha256').update(ONE).digest('hex')}"`;
      const headers = { 'If-None-Match': tag };
      assert.equal((await ask(port, `/sigstore/${FOLDER}/signature-1`, { headers })).status, 304);
    });
  });
}
