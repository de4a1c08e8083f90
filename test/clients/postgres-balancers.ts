// The balancers of docs/scaling.md, configured word for word as there but for addresses and files, in front of three nodes of which
// one goes.
import assert from 'node:assert/strict';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { request } from 'node:https';
import path from 'node:path';
import { buffer } from 'node:stream/consumers';
import { it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { folderOf } from '../store/lay.ts';
import { type Need, needs, programFile } from './available.ts';
import { makeServerCertificate, type ServerCertificate } from './certificate.ts';
import { type Argv, startBackground } from './command.ts';
import { eventually } from './eventually.ts';
import { freePort } from './free-port.ts';
import type { Signer } from './signer.ts';
import { openTempFolder } from './temp-folder.ts';

const DOCS = fileURLToPath(new URL('../../../docs/scaling.md', import.meta.url));

export interface BalancedNode {
  readonly port: number;
  close(): Promise<void>;
}

export interface BalancerTests {
  openNode(): Promise<BalancedNode>;
  readonly signer: Signer;
  token(): string;
}

interface Laid {
  readonly block: string;
  readonly folder: string;
  readonly certificate: ServerCertificate;
}

interface Balancer {
  readonly program: Need;
  readonly listens: readonly [from: string, to: (port: number) => string];
  readonly lay: (laid: Laid) => Promise<Argv>;
}

const BALANCERS: readonly Balancer[] = [
  {
    program: 'haproxy',
    listens: ['bind :443', (port) => `bind 127.0.0.1:${port}`],
    async lay({ block, folder, certificate: { certificateFile, keyFile } }) {
      const [pem, file] = [path.join(folder, 'both.pem'), path.join(folder, 'haproxy.cfg')];
      await writeFile(pem, Buffer.concat([await readFile(certificateFile), await readFile(keyFile)]));
      await writeFile(file, replaced(block, '/etc/haproxy/signatures.pem', pem));
      return ['haproxy', '-db', '-f', file];
    },
  },
  {
    program: 'nginx',
    listens: ['listen 443 ssl;', (port) => `listen 127.0.0.1:${port} ssl;`],
    async lay({ block, folder, certificate: { certificateFile, keyFile } }) {
      const certified = replaced(block, '/etc/nginx/signatures.crt', certificateFile);
      const text = replaced(certified, '/etc/nginx/signatures.key', keyFile);
      const folders = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi']
        .map((name) => `${name}_temp_path ${folder}/${name};`)
        .join('\n');
      const file = path.join(folder, 'nginx.conf');
      const around = `daemon off; master_process off; pid ${folder}/pid; error_log stderr notice; events {}`;
      await writeFile(file, `${around}\nhttp { access_log off; ${folders}\n${text} }`);
      return ['nginx', '-p', folder, '-e', 'stderr', '-c', file];
    },
  },
];

export function balancerTests({ openNode, signer, token }: BalancerTests): void {
  for (const balancer of BALANCERS) {
    const { program } = balancer;
    it(
      `answer each read through ${program}, also while one of them goes`,
      needs(program, 'openssl'),
      async () => {
        await using temp = await openTempFolder();
        const certificate = await makeServerCertificate(temp.path, 'ca');
        const [going, ...kept] = [await openNode(), await openNode(), await openNode()];
        let isGone = false;
        const ports = [going, ...kept].map((node) => node.port);
        const port = await freePort();
        await using _running = await start(balancer, { folder: temp.path, certificate, ports, port });
        try {
          const folder = folderOf(`team/${program}`);
          const bytes = signer.sign({ repository: `team/${program}`, tag: 'v1' });
          const headers = { Authorization: `Bearer ${token()}` };
          const post = { method: 'POST', headers } as const;
          // as its clients do, which send it again
          await eventually(async () =>
            assert.ok([200, 201].includes((await ask(port, folder, post, bytes)).status)),
          );
          const read = async () => (await ask(port, `${folder}/signature-1`)).status;
          const statuses: number[] = [];
          const reading = Array.from({ length: 4 }, async () => {
            for (let after = 0; after < 5; after += isGone ? 1 : 0) statuses.push(await read());
          });
          await eventually(() => assert.ok(statuses.length > 20));
          await going.close();
          isGone = true;
          await Promise.all(reading);
          assert.deepEqual([...new Set(statuses)], [200]);
          assert.equal((await ask(port, `${folder}/signature-2`)).status, 404);
        } finally {
          if (!isGone) await going.close();
          for (const node of kept) await node.close();
        }
      },
    );
  }
}

interface Started {
  readonly folder: string;
  readonly certificate: ServerCertificate;
  /** The ports of the nodes, in the order of the docs. */
  readonly ports: readonly number[];
  readonly port: number;
}

async function start(
  { program, listens: [from, to], lay }: Balancer,
  { folder: parent, certificate, ports, port }: Started,
): Promise<AsyncDisposable> {
  const folder = path.join(parent, program);
  await mkdir(folder);
  const listening = replaced(await blockOf(program), from, to(port));
  const block = ports.reduce(
    (text, one, n) => replaced(text, `10.0.0.1${n + 1}:8000`, `127.0.0.1:${one}`),
    listening,
  );
  const [, ...args] = await lay({ block, folder, certificate });
  const env = { PATH: process.env.PATH ?? '', HOME: folder };
  const argv: Argv = ['sh', '-c', 'echo begun; exec "$@"', 'sh', programFile(program), ...args];
  const running = await startBackground(argv, { env, cwd: folder }, /begun/);
  await eventually(async () => assert.equal((await ask(port, 'livez')).status, 200));
  return { [Symbol.asyncDispose]: async () => void (await running.stop()) };
}

/** The block that begins with a line of that program alone, or has its language. */
async function blockOf(program: string): Promise<string> {
  const name = program === 'haproxy' ? 'HAProxy' : 'nginx';
  const match = new RegExp(`^${name}:\\n\\n\`\`\`[a-z]*\\n(?<block>[\\s\\S]*?)^\`\`\`$`, 'm').exec(
    await readFile(DOCS, 'utf8'),
  );
  return match?.groups?.block ?? assert.fail(`docs/scaling.md has a block of ${name}`);
}

/** So that a line that the docs no longer have is no test of nothing. */
function replaced(text: string, from: string, to: string): string {
  assert.ok(text.includes(from), `${from} stands in the configuration:\n${text}`);
  return text.replaceAll(from, to);
}

function ask(
  port: number,
  target: string,
  options: { readonly method?: string; readonly headers?: Record<string, string> } = {},
  body?: Buffer,
): Promise<{ readonly status: number; readonly body: Buffer }> {
  return new Promise((resolve, reject) => {
    const where = { host: '127.0.0.1', port, path: `/${target}`, agent: false, rejectUnauthorized: false };
    const req = request({ ...where, ...options });
    req.once('error', reject);
    req.once('response', (res) => {
      buffer(res).then((bytes) => resolve({ status: res.statusCode ?? 0, body: bytes }), reject);
    });
    req.end(body);
  });
}
