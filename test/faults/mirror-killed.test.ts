// A mirror is filled while its server is killed, or its disk loses its power, time after time: each image is there as a whole or not
// at all, and what was told is not asked for again.
import assert from 'node:assert/strict';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { describeOutcome, run } from '../clients/command.ts';
import { lookaside, runLookaside, startServer } from '../clients/server.ts';
import { addKey, makeSigner } from '../clients/signer.ts';
import { openTempFolder } from '../clients/temp-folder.ts';
import { folderOf } from '../store/lay.ts';
import { openHostileSite } from '../upstream/hostile-site.ts';
import { type CrashDisk, needsPowerDisk, openPowerDisk, openSteadyDisk } from './power-disk.ts';
import { promise } from './promise.ts';

const VENDOR = makeSigner('vendor');
const SIGNATURES = 2;
const CRASHES = 5;
/** Thousands of images, on a machine that does much else. */
const SYNC_DEADLINE_MS = 600_000;

const signedBytes = new Map<string, Buffer>();

function signed(repository: string, number: number): Buffer {
  const key = `${repository} ${number}`;
  const bytes = signedBytes.get(key) ?? VENDOR.sign({ repository, tag: `v${number}` });
  signedBytes.set(key, bytes);
  return bytes;
}

interface Scene {
  readonly images: number;
  readonly openDisk: () => Promise<CrashDisk>;
}

async function fillAndCrash({ images, openDisk }: Scene) {
  await using temp = await openTempFolder();
  await using disk = await openDisk();
  const names = Array.from({ length: images }, (_, number) => `team-${number % 7}/app-${number}`);
  const byFolder = new Map(names.map((name) => [folderOf(name), name]));
  let asked = 0;
  let crashAt = Number.POSITIVE_INFINITY;
  let crash = () => {};
  await using site = await openHostileSite((req, res) => {
    asked += 1;
    if (asked === crashAt) crash();
    const [, folder = '', number = ''] = /^\/(.*)\/signature-(\d+)$/.exec(req.url ?? '') ?? [];
    const name = byFolder.get(folder);
    if (name === undefined || Number(number) > SIGNATURES) res.writeHead(404).end();
    else res.end(signed(name, Number(number)));
  });
  await addKey(disk.data, VENDOR);
  const adding = ['mirror', 'add', 'm', '--upstream', site.url, '--prefix', '/m', '--data', disk.data];
  const added = await runLookaside(adding);
  assert.equal(added.status, 0, describeOutcome(added));
  const list = path.join(temp.path, 'images.txt');
  await writeFile(list, names.map((name) => `${folderOf(name).replace('=', ':')}\n`).join(''));
  const surroundings = { env: { PATH: process.env.PATH ?? '' }, deadlineMs: SYNC_DEADLINE_MS };
  const sync = () =>
    run(
      lookaside('mirror', 'sync', 'm', list, '--max-age', '1d', '--json', '--data', disk.data),
      surroundings,
    );

  let [half, whole] = [0, 0];
  const settings = { LOOKASIDE_MIN_FREE: '1KiB' };
  for (let round = 1; round <= CRASHES; round += 1) {
    const server = await startServer({ data: disk.data, settings });
    crashAt = asked + Math.floor((images * (SIGNATURES + 1)) / (CRASHES + 1));
    const isOver = new Promise<void>((resolve, reject) => {
      crash = () => {
        crashAt = Number.POSITIVE_INFINITY;
        disk
          .cut()
          .then(() => process.kill(server.pid, 'SIGKILL'))
          .then(() => server.ended)
          .then(() => resolve(), reject);
      };
    });
    const syncing = sync();
    await isOver;
    await syncing;
    await disk.restore();
    whole = 0;
    for (const [folder, name] of byFolder) {
      const files = await readdir(path.join(disk.data, 'mirrors/m', folder)).catch(() => []);
      if (files.length === 0) continue;
      const isWhole = await isAsSigned(path.join(disk.data, 'mirrors/m', folder), name, files);
      if (isWhole) whole += 1;
      else half += 1;
    }
  }
  await using server = await startServer({ data: disk.data, settings });
  const before = asked;
  const last = await sync();
  assert.equal(last.status, 0, describeOutcome(last));
  const { counts } = JSON.parse(last.stdout);
  const resumed = (asked - before) / (SIGNATURES + 1);
  for (const [folder, name] of byFolder) {
    for (let number = 1; number <= SIGNATURES; number += 1) {
      const answer = await fetch(`${server.url}/m/${folder}/signature-${number}`);
      assert.ok(Buffer.from(await answer.arrayBuffer()).equals(signed(name, number)), folder);
    }
  }
  assert.deepEqual(await readdir(path.join(disk.data, 'mirrors/m/.lookaside/batch')), []);
  assert.equal(counts.new + counts.unchanged, images);
  return { half, whole, resumed };
}

async function isAsSigned(folder: string, name: string, files: readonly string[]): Promise<boolean> {
  if (files.length !== SIGNATURES) return false;
  for (let number = 1; number <= SIGNATURES; number += 1) {
    const bytes = await readFile(path.join(folder, `signature-${number}`)).catch(() => null);
    if (bytes === null || !bytes.equals(signed(name, number))) return false;
  }
  return true;
}

const SCENES = [
  {
    what: 'killed',
    images: 10_000,
    mostAgain: 5000,
    openDisk: openSteadyDisk,
    skip: false as string | false,
  },
  {
    what: 'cut off from power on ext4',
    images: 600,
    // what is under way at once may be all of them
    mostAgain: 600,
    openDisk: () => openPowerDisk('ext4'),
    skip: needsPowerDisk('ext4').skip,
  },
];

for (const { what, images, mostAgain, openDisk, skip } of SCENES) {
  promise(
    {
      id: 'P1',
      what: `a mirror that is ${what} while it is filled has each set as a whole or not at all, and goes on`,
      wanted: `0 half sets of ${images} in ${CRASHES} crashes, at most ${mostAgain} asked for again at the end`,
      isLong: true,
      skip,
    },
    async (see) => {
      const { half, whole, resumed } = await fillAndCrash({ images, openDisk });
      see(
        `${half} half sets, ${whole} whole after ${CRASHES} crashes, ${Math.round(resumed)} images asked for again`,
      );
      assert.equal(half, 0);
      assert.ok(resumed <= mostAgain);
    },
  );
}
