// A mirror that is filled and read while it is changed and removed, and while its upstream or its server stands still: readers get a true
// set from its beginning on, 503, or 404 once there is no such mirror; and the next sync has all.
import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { describeOutcome } from '../clients/command.ts';
import { runLookaside, startServer } from '../clients/server.ts';
import { addKey, makeSigner } from '../clients/signer.ts';
import { openTempFolder } from '../clients/temp-folder.ts';
import { folderOf } from '../store/lay.ts';
import { openHostileSite } from '../upstream/hostile-site.ts';
import { longTest } from './promise.ts';

const VENDOR = makeSigner('vendor');
const READERS = 8;
/** Longer than a walk may take. */
const FROZEN_MS = 6000;

async function openScene(images: number) {
  const temp = await openTempFolder();
  const data = path.join(temp.path, 'data');
  const folders = Array.from({ length: images }, (_, k) => folderOf(`team-${k % 3}/app-${k}`));
  const signed = new Map<string, Buffer>(
    folders.flatMap((folder, k) =>
      [1, 2].map((number) => {
        const bytes = VENDOR.sign({ repository: `team-${k % 3}/app-${k}`, tag: `v${number}` });
        return [`/${folder}/signature-${number}`, bytes] as const;
      }),
    ),
  );
  let [asked, frozen, held] = [0, false, [] as (() => void)[]];
  let onAsked = (_: number) => {};
  const site = await openHostileSite((req, res) => {
    asked += 1;
    onAsked(asked);
    const bytes = signed.get(req.url ?? '');
    const answer = () => void (bytes === undefined ? res.writeHead(404).end() : res.end(bytes));
    if (frozen) held.push(answer);
    else setTimeout(answer, 5);
  });
  await addKey(data, VENDOR);
  const server = await startServer({ data, settings: { LOOKASIDE_MIN_FREE: '1KiB' } });
  const list = path.join(temp.path, 'images.txt');
  await writeFile(list, folders.map((folder) => `${folder.replace('=', ':')}\n`).join(''));
  const run = (...args: readonly string[]) => runLookaside([...args, '--data', data]);
  const add = async () => {
    const added = await run('mirror', 'add', 'm', '--upstream', site.url, '--prefix', '/m');
    assert.equal(added.status, 0, describeOutcome(added));
  };
  await add();

  async function read(folder: string): Promise<number> {
    for (let number = 1; ; number += 1) {
      const file = `/${folder}/signature-${number}`;
      const answer = await fetch(`${server.url}/m${file}`);
      const bytes = Buffer.from(await answer.arrayBuffer());
      if (answer.status !== 200) return answer.status === 404 ? number - 1 : -1;
      assert.ok(signed.get(file)?.equals(bytes) === true, file);
    }
  }

  return {
    ...{ folders, server, run, add, read },
    sync: (...more: readonly string[]) => run('mirror', 'sync', 'm', list, '--json', ...more),
    /** Resolves at that request, counted from now on. */
    whenAsked: (more: number) =>
      new Promise<void>((resolve) => {
        const at = asked + more;
        onAsked = (now) => {
          if (now >= at) resolve();
        };
      }),
    freeze(): void {
      frozen = true;
    },
    thaw(): void {
      frozen = false;
      for (const answer of held) answer();
      held = [];
    },
    async isWhole(): Promise<void> {
      for (const folder of folders) assert.equal(await read(folder), 2, folder);
    },
    async [Symbol.asyncDispose]() {
      await server[Symbol.asyncDispose]();
      await site[Symbol.asyncDispose]();
      await temp[Symbol.asyncDispose]();
    },
  };
}

longTest(
  'a mirror that is changed and removed while it is filled and read tells nothing false, and is filled later',
  async () => {
    await using scene = await openScene(300);
    const { folders, run } = scene;
    let [isThere, isOver] = [true, false];
    const reading = Array.from({ length: READERS }, async (_, reader) => {
      for (let turn = reader; !isOver; turn += READERS) {
        const wasThere = isThere;
        const signatures = await scene.read(folders[(turn * 7) % folders.length] ?? '');
        // no answer from before the removal says that an image has none, or one
        if (wasThere && isThere) assert.ok(signatures === 2 || signatures === -1, `${signatures}`);
      }
    });
    const begun = scene.whenAsked(folders.length);
    const syncing = scene.sync();
    await begun;
    for (const age of ['2h', '3h']) {
      const edited = await run('mirror', 'edit', 'm', '--max-age', age);
      assert.equal(edited.status, 0, describeOutcome(edited));
    }
    isThere = false;
    const removed = await run('mirror', 'remove', 'm');
    assert.equal(removed.status, 0, describeOutcome(removed));
    const report = JSON.parse((await syncing).stdout);
    assert.equal(report.images.length, folders.length);
    assert.equal(await scene.read(folders[0] ?? ''), 0);
    await scene.add();
    isThere = true;
    const again = await scene.sync('--max-age', '1d');
    assert.equal(again.status, 0, describeOutcome(again));
    isOver = true;
    await Promise.all(reading);
    await scene.isWhole();
  },
);

longTest('a sync outlasts an upstream and a server that stand still for a while', async () => {
  await using scene = await openScene(300);
  const { server } = scene;
  for (const stop of ['upstream', 'server']) {
    // only an upstream that has answered in this run is waited for: more than the first walks ask before one of them ends
    const begun = scene.whenAsked(400);
    const syncing = scene.sync();
    await begun;
    if (stop === 'upstream') scene.freeze();
    else process.kill(server.pid, 'SIGSTOP');
    await wait(FROZEN_MS);
    if (stop === 'upstream') scene.thaw();
    else process.kill(server.pid, 'SIGCONT');
    const { images } = JSON.parse((await syncing).stdout);
    const failed = images.filter(({ result }: { readonly result: string }) => result === 'failed');
    // those whose walks were under way
    assert.ok(failed.length <= 40, `${stop}: ${failed.length} have failed, like ${failed[0]?.message}`);
  }
  const last = await scene.sync('--max-age', '1d');
  assert.equal(last.status, 0, describeOutcome(last));
  await scene.isWhole();
});
