// index.db is a cache: whatever happens to it, the server starts, serves at once, and has it whole again later.
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { copyFile, cp, open, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { after, afterEach, before, beforeEach, describe, it } from 'node:test';
import { connect as connectDatabase } from '../../src/sqlite/connect.ts';
import { describeOutcome } from '../clients/command.ts';
import { eventually } from '../clients/eventually.ts';
import { type LookasideServer, runLookaside, startServer } from '../clients/server.ts';
import { enrol, makeSigner } from '../clients/signer.ts';
import { openTempFolder, type TempFolder } from '../clients/temp-folder.ts';
import { takenAs, uploadsTo } from '../clients/uploads.ts';
import { requestRaw } from '../http/raw-request.ts';
import { folderOf, layImage, signatureBytes } from '../store/lay.ts';
import { count, longTest, promise } from './promise.ts';

const IMAGES = count(2000, 120);
const UPLOADS = count(200, 6);
const LARGE = signatureBytes('large', 20_000);
const bytesOf = (image: number) => signatureBytes(`image ${image}`, 400);

let temp: TempFolder;
let data: string;
let indexFile: string;
let folders: string[];
let server: LookasideServer | null;

const TREES = { owned: 'data/sigstore', shared: 'tree' } as const;

async function start(kind: keyof typeof TREES): Promise<LookasideServer> {
  server = await startServer(kind === 'owned' ? { data } : { data, root: path.join(temp.path, TREES[kind]) });
  return server;
}

async function checksOf({ port }: LookasideServer) {
  const { status, body } = await requestRaw(port, 'GET /readyz');
  return { code: status, ...JSON.parse(body.toString()) };
}

const whole = (running: LookasideServer) =>
  eventually(async () => assert.equal((await checksOf(running)).checks.index.state, 'ok'));

async function overwrite(from: number, length: number, fill: string): Promise<void> {
  const handle = await open(indexFile, 'r+');
  await handle.write(Buffer.alloc(length, fill), 0, length, from);
  await handle.close();
}

const LOSSES: readonly [string, () => Promise<unknown>][] = [
  ['deleted', () => rm(indexFile)],
  [
    'overwritten where it names its tree',
    async () => {
      const db = connectDatabase(indexFile, { readonly: true });
      const page = db.prepare<[], number>("SELECT rootpage FROM sqlite_schema WHERE name = 'site'").pluck();
      const from = (Number(page.get()) - 1) * 4096;
      db.close();
      await overwrite(from, 4096, 'x');
    },
  ],
  ['empty', () => truncate(indexFile, 0)],
  ['cut in half', async () => truncate(indexFile, Math.floor((await readFile(indexFile)).length / 2))],
  [
    'overwritten in the middle',
    async () => {
      const { length } = await readFile(indexFile);
      await overwrite(Math.floor(length / 2), 3 * 4096, 'x');
    },
  ],
  ['overwritten behind its head', () => overwrite(100, 8192, '\0')],
  ['garbage', () => writeFile(indexFile, Buffer.alloc(100_000, 'no database '))],
  [
    'the database of another application',
    async () => {
      await rm(indexFile);
      const db = connectDatabase(indexFile);
      db.exec('CREATE TABLE theirs (x); INSERT INTO theirs VALUES (1)');
      db.close();
    },
  ],
];

for (const kind of ['owned', 'shared'] as const) {
  describe(`the index of a tree that is ${kind}`, () => {
    before(async () => {
      temp = await openTempFolder();
      data = path.join(temp.path, 'data');
      indexFile = path.join(data, 'index.db');
      const root = path.join(temp.path, TREES[kind]);
      folders = [];
      for (let image = 0; image < IMAGES; image += 1) {
        folders.push(await layImage(root, `team/app-${image}`, bytesOf(image)));
      }
      folders.push(await layImage(root, 'team/large', LARGE));
      await whole(await start(kind));
      await server?.stop();
      server = null;
      for (const name of ['data', 'tree']) await copy(name, `${name}.kept`);
    });
    after(() => temp?.[Symbol.asyncDispose]());

    // in their place, which the index knows
    beforeEach(async () => {
      for (const name of ['data', 'tree']) await copy(`${name}.kept`, name);
    });
    afterEach(async () => {
      await server?.[Symbol.asyncDispose]();
      server = null;
    });

    const copy = async (from: string, to: string) => {
      const [source, target] = [from, to].map((name) => path.join(temp.path, name));
      assert.ok(source !== undefined && target !== undefined);
      await rm(target, { recursive: true, force: true });
      if (existsSync(source)) await cp(source, target, { recursive: true, preserveTimestamps: true });
    };

    // how the file is lost is the same to both: one way shows that the other kind of tree is made anew as well
    for (const [loss, inflict] of LOSSES.slice(0, kind === 'owned' ? LOSSES.length : 1)) {
      const what = `index.db of a tree that is ${kind}, ${loss}, keeps no request waiting and is made anew`;
      const isLong = loss !== 'deleted';
      promise(
        { id: 'P5', what, isLong, wanted: `all of ${IMAGES} images served at once and again` },
        async (see) => {
          await inflict();
          const running = await start(kind);
          // the very first requests, before anything can have been rebuilt
          for (const image of [IMAGES - 1, 0, Math.floor(IMAGES / 2)]) {
            const { status, body } = await requestRaw(running.port, `GET /${folders[image]}/signature-1`);
            assert.equal(status, 200, running.output());
            assert.deepEqual(body, bytesOf(image));
            const end = await requestRaw(running.port, `GET /${folders[image]}/signature-2`);
            assert.equal(end.status, 404);
          }
          assert.deepEqual(
            (await requestRaw(running.port, `GET /${folders[IMAGES]}/signature-1`)).body,
            LARGE,
          );
          assert.equal((await checksOf(running)).code, 200);
          await whole(running);
          for (const [image, folder] of folders.slice(0, IMAGES).entries()) {
            const { status, body } = await requestRaw(running.port, `GET /${folder}/signature-1`);
            assert.equal(status, 200);
            assert.deepEqual(body, bytesOf(image));
          }
          const { body } = await requestRaw(running.port, 'GET /metrics');
          assert.match(
            body.toString(),
            new RegExp(`^lookaside_signatures\\{site="default"\\} ${IMAGES + 1}$`, 'm'),
          );
          await running.stop();
          server = null;
          const args = kind === 'owned' ? [] : ['--root', path.join(temp.path, TREES.shared)];
          const fsck = await runLookaside(['fsck', '--data', data, ...args]);
          assert.equal(fsck.status, 0, describeOutcome(fsck));
          see(`all of ${IMAGES} images served at once and again`);
        },
      );
    }

    const oldCopy = `index.db of a tree that is ${kind}, in the place of which an older copy was put, hides no upload`;
    promise(
      {
        id: 'P5',
        what: oldCopy,
        wanted: `all of ${2 * UPLOADS} later uploads served, from the start on`,
        isLong: kind === 'shared', // where the tree itself is asked
      },
      async (see) => {
        const signer = makeSigner('alice');
        const token = await enrol(data, signer);
        await copyFile(indexFile, `${indexFile}.yesterday`);
        const before = await start(kind);
        const uploads = uploadsTo(before.port, token);
        const served = new Map<string, Buffer>();
        const upload = async (repository: string) => {
          const bytes = signer.sign({ repository, tag: 'v1' });
          const { number } = takenAs(await uploads.post(folderOf(repository), bytes), 201);
          served.set(`/${folderOf(repository)}/signature-${number}`, bytes);
        };
        for (let made = 0; made < UPLOADS; made += 1) {
          await upload(`team/app-${made}`);
          await upload(`new/app-${made}`);
        }
        await before.stop();
        await copyFile(`${indexFile}.yesterday`, indexFile);

        const running = await start(kind);
        const assertServed = async () => {
          for (const [target, bytes] of served) {
            const { status, body } = await requestRaw(running.port, `GET ${target}`);
            assert.equal(status, 200, target);
            assert.ok(body.equals(bytes), target);
          }
        };
        let isScanned = false;
        while (!isScanned) {
          isScanned = running.output().includes('the tree was scanned');
          await assertServed();
        }
        await running.stop();
        server = null;
        const args = kind === 'owned' ? [] : ['--root', path.join(temp.path, TREES.shared)];
        const fsck = await runLookaside(['fsck', '--data', data, ...args]);
        assert.equal(fsck.status, 0, describeOutcome(fsck));
        see(`all of ${served.size} later uploads served, from the start on`);
      },
    );

    const reindexed = kind === 'owned' ? it : longTest;
    reindexed('is made anew by reindex, with the server running and stopped', async () => {
      const args = kind === 'owned' ? [] : ['--root', path.join(temp.path, TREES.shared)];
      const reindex = async () => {
        const outcome = await runLookaside(['reindex', '--data', data, ...args]);
        assert.equal(outcome.status, 0, describeOutcome(outcome));
        assert.match(
          outcome.stdout,
          new RegExp(`: ${IMAGES + 1} images, ${IMAGES + 1} signatures, 0 problems`),
        );
      };
      await rm(indexFile);
      await reindex();
      const running = await start(kind);
      await whole(running);
      let isDone = false;
      const reindexing = reindex().finally(() => {
        isDone = true;
      });
      while (!isDone) {
        const { status, body } = await requestRaw(running.port, `GET /${folders[7]}/signature-1`);
        assert.equal(status, 200);
        assert.deepEqual(body, bytesOf(7));
      }
      await reindexing;
    });
  });
}
