// An upstream that fails in every way that was ever seen, under many readers and a sync, with the server killed in between: who reads
// gets a true set from its beginning on, or 503; what lies on the disk is what the upstream has; and no secret is told.
import assert from 'node:assert/strict';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import type { IncomingMessage, ServerResponse } from 'node:http';
import path from 'node:path';
import { gzipSync } from 'node:zlib';
import { forEachConcurrently } from '../../src/domain/concurrency.ts';
import { describeOutcome } from '../clients/command.ts';
import { runLookaside, startServer } from '../clients/server.ts';
import { addKey, makeSigner } from '../clients/signer.ts';
import { openTempFolder } from '../clients/temp-folder.ts';
import { folderOf } from '../store/lay.ts';
import { openHostileSite } from '../upstream/hostile-site.ts';
import { longTest } from './promise.ts';

const VENDOR = makeSigner('vendor');
const IMAGES = 100;
const ROUNDS = 3;
const READERS = 24;
const SECRET = 'SuperSecretQuery';
const REDIRECTED = 'SuperSecretLink';

type Faulty = (bytes: Buffer, res: ServerResponse, req: IncomingMessage) => void;

const status =
  (code: number, headers: Readonly<Record<string, string>> = {}): Faulty =>
  (_, res) =>
    void res.writeHead(code, headers).end('<html>');

const redirect = (location: string) => status(307, { Location: `${location}?X-Amz-Signature=${REDIRECTED}` });

/** `bytes`: what a site without faults would send; empty when the file is missing. */
const FAULTS: readonly Faulty[] = [
  ...[201, 204, 206, 301, 304, 400, 401, 403, 410, 500, 502].map((code) => status(code)),
  redirect('http://169.254.169.254/latest'),
  redirect('http://localhost:1/x'),
  redirect('file:///etc/passwd'),
  (_, res) => void res.writeHead(200, { 'Content-Type': 'text/html' }).end('<html>no such page</html>'),
  (_, res) => void res.writeHead(200).end('{"errors":[]}'),
  (_, res) => void res.writeHead(200).end(),
  (bytes, res) => void res.writeHead(200).end(bytes.subarray(0, bytes.length >> 1)),
  (bytes, res) => void res.writeHead(200, { 'Content-Length': '7' }).end(bytes.subarray(0, 7)),
  (bytes, res) => void res.writeHead(200, { 'Content-Encoding': 'br' }).end(bytes),
  (bytes, res) => {
    const packed = gzipSync(bytes);
    res.writeHead(200, { 'Content-Encoding': 'gzip' }).end(packed.subarray(0, packed.length - 9));
  },
  (bytes, res, req) => {
    res.writeHead(200, { 'Content-Length': String(bytes.length + 100) });
    res.write(bytes, () => req.socket.destroy());
  },
  (_, __, req) => req.socket.destroy(),
  (_, res) => void res.writeHead(200).end(Buffer.alloc(5 * 1024 * 1024, 0x89)),
];

/** The same numbers in each run. */
function createChance(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}

function createUpstream() {
  const chance = createChance(16);
  const names = Array.from({ length: IMAGES }, (_, number) => `team-${number % 5}/app-${number}`);
  /** All signatures that the image ever gets, and how many of them the upstream has. */
  const sets = new Map(
    names.map((name, number) => [
      folderOf(name),
      {
        blobs: Array.from({ length: 4 }, (_, tag) => VENDOR.sign({ repository: name, tag: `v${tag}` })),
        sizes: [number % 6 === 0 ? 0 : 1 + (number % 3)],
      },
    ]),
  );
  let doom = 0;
  const doomed = new Set<string>();

  return {
    sets,
    /** From now on so many requests fail, and of so many images every one. */
    fail(share: number): void {
      doom = share;
      doomed.clear();
      for (const folder of sets.keys()) if (chance() < share / 4) doomed.add(folder);
    },
    grow(): void {
      for (const { blobs, sizes } of sets.values()) {
        const now = sizes.at(-1) ?? 0;
        // an end is remembered for minutes, so what has none gets none
        if (now > 0 && now < blobs.length && chance() < 0.3) sizes.push(now + 1);
      }
    },
    answer(req: IncomingMessage, res: ServerResponse): void {
      const [, folder = '', number = ''] = /^\/s\/(.*)\/signature-(\d+)\?/.exec(req.url ?? '') ?? [];
      const set = sets.get(folder);
      const has = set?.sizes.at(-1) ?? 0;
      const bytes = Number(number) <= has ? set?.blobs[Number(number) - 1] : undefined;
      const fault = FAULTS[Math.floor(chance() * FAULTS.length)];
      if (fault !== undefined && (doomed.has(folder) || chance() < doom))
        fault(bytes ?? Buffer.alloc(0), res, req);
      else if (bytes === undefined) res.writeHead(404, { 'Content-Type': 'text/html' }).end('<html>');
      else res.end(bytes);
    },
  };
}

type Upstream = ReturnType<typeof createUpstream>;

/** What one client reads, up to 404; null: it was told to come again. */
async function walk(url: string, folder: string): Promise<readonly Buffer[] | null> {
  const blobs: Buffer[] = [];
  for (let number = 1; ; number += 1) {
    const answer = await fetch(`${url}/m/${folder}/signature-${number}`);
    const body = Buffer.from(await answer.arrayBuffer());
    if (answer.status === 404) return blobs;
    if (answer.status === 503) {
      assert.ok(Number(answer.headers.get('retry-after')) > 0);
      return null;
    }
    assert.equal(answer.status, 200, folder);
    blobs.push(body);
  }
}

function assertTrue(read: readonly Buffer[], { blobs, sizes }: { blobs: Buffer[]; sizes: number[] }): void {
  assert.ok(sizes.includes(read.length), `${read.length} signatures, and there were only ever ${sizes}`);
  for (const [position, bytes] of read.entries()) assert.ok(bytes.equals(blobs[position] ?? Buffer.alloc(0)));
}

/** All that is stored is true, and each set is whole. How many sets there are. */
async function demandTrueTree(tree: string, { sets }: Upstream): Promise<number> {
  let stored = 0;
  for (const [folder, set] of sets) {
    const files = await readdir(path.join(tree, folder)).catch(() => []);
    if (files.length === 0) continue;
    stored += 1;
    const read: Buffer[] = [];
    for (const position of files.keys())
      read.push(await readFile(path.join(tree, folder, `signature-${position + 1}`)));
    assertTrue(read, set);
  }
  return stored;
}

longTest(
  'an upstream that fails in every way, under readers and a sync, with kills in between, leaves nothing wrong',
  async () => {
    await using temp = await openTempFolder();
    const [data, list] = [path.join(temp.path, 'data'), path.join(temp.path, 'images.txt')];
    const upstream = createUpstream();
    await using site = await openHostileSite(upstream.answer);
    await addKey(data, VENDOR);
    const url = `${site.url}/s?token=${SECRET}`;
    const adding = ['mirror', 'add', 'm', '--upstream', url, '--prefix', '/m', '--max-age', '1s'];
    const added = await runLookaside([...adding, '--data', data]);
    assert.equal(added.status, 0, describeOutcome(added));
    const folders = [...upstream.sets.keys()];
    await writeFile(list, folders.map((folder) => `${folder.replace('=', ':')}\n`).join(''));
    const outputs: string[] = [added.stdout];
    let [whole, later] = [0, 0];
    for (let round = 0; round < ROUNDS; round += 1) {
      upstream.fail(0.1);
      const server = await startServer({ data });
      const sync = runLookaside(['mirror', 'sync', 'm', list, '--json', '--data', data]);
      const asked = [...folders, ...folders, ...folders];
      let left = asked.length;
      await forEachConcurrently(asked, READERS, async (folder) => {
        left -= 1;
        if (left === IMAGES) upstream.grow();
        const read = await walk(server.url, folder);
        if (read === null) later += 1;
        else {
          whole += 1;
          assertTrue(read, upstream.sets.get(folder) ?? assert.fail());
        }
      });
      outputs.push(await (await fetch(`${server.url}/metrics`)).text());
      for (const question of ['status', 'show'])
        outputs.push(
          (await runLookaside(['mirror', question, ...(question === 'show' ? ['m'] : []), '--data', data]))
            .stdout,
        );
      process.kill(server.pid, 'SIGKILL');
      await server.ended;
      const { stdout, stderr } = await sync;
      outputs.push(stdout, stderr, server.output());
      await demandTrueTree(path.join(data, 'mirrors/m'), upstream);
    }
    assert.ok(whole > 0 && later > 0, `${whole} whole, ${later} told to come again`);
    upstream.fail(0);
    await using server = await startServer({ data });
    const last = await runLookaside(['mirror', 'sync', 'm', list, '--json', '--data', data]);
    assert.equal(last.status, 0, describeOutcome(last));
    for (const [folder, set] of upstream.sets) {
      const read = await walk(server.url, folder);
      assert.equal(read?.length, set.sizes.at(-1), folder);
      assertTrue(read ?? [], set);
    }
    const signed = [...upstream.sets.values()].filter(({ sizes }) => (sizes.at(-1) ?? 0) > 0).length;
    assert.equal(await demandTrueTree(path.join(data, 'mirrors/m'), upstream), signed);
    outputs.push(server.output(), last.stdout);
    for (const text of outputs) assert.doesNotMatch(text, new RegExp(`${SECRET}|${REDIRECTED}`));
  },
);
