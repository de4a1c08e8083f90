// Whoever writes into a shared tree swaps what is in it with links that lead out of it, while it is read and uploaded to:
// nothing outside is ever read, made, linked, unlinked or synced.
import assert from 'node:assert/strict';
import { mkdir, readdir, stat } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { isLookasideError } from '../../src/domain/errors.ts';
import { readIntents } from '../../src/files/intents.ts';
import { openThreadedLooks } from '../../src/files/threaded-looks.ts';
import { openTree } from '../../src/files/tree.ts';
import { openTreeWriter } from '../../src/files/tree-writer.ts';
import { isWholeSignature } from '../../src/openpgp/packets.ts';
import { needs } from '../clients/available.ts';
import { eventually } from '../clients/eventually.ts';
import { startServer } from '../clients/server.ts';
import { enrol, makeSigner } from '../clients/signer.ts';
import { openTempFolder } from '../clients/temp-folder.ts';
import { takenAs, uploadsTo } from '../clients/uploads.ts';
import { folderOf, layFile, layImage, sha256Hex, signatureBytes } from '../store/lay.ts';
import { count, promise } from './promise.ts';
import { startSwapper, traceOf, watchSyncs } from './swapper.ts';

const LASTING_MS = count(10_000, 2000);

// no set in memory and no row of the index holds the bytes: each read asks the disk
const LARGE_BYTES = 9000;
const INSIDE = signatureBytes('inside ', LARGE_BYTES);
const OUTSIDE = signatureBytes('outside ', LARGE_BYTES);

/** An image at each depth, and what of its path is swapped. */
const SWAPPED: readonly { readonly repository: string; readonly name: (folder: string) => string }[] = [
  { repository: 'file/app', name: (folder) => `${folder}/signature-1` },
  { repository: 'image/app', name: (folder) => folder },
  { repository: 'parent/sub/app', name: () => 'parent/sub' },
  { repository: 'top/sub/app', name: () => 'top' },
];
const FOLDERS = SWAPPED.map(({ repository }) => folderOf(repository));
const LEAKED = 'leaked';

/** Below folders that are swapped: a set in memory is answered for a second, so those of the server must be many. */
const OTHERS = ['parent/sub', 'top/sub'].flatMap((above) =>
  Array.from({ length: 60 }, (_, number) => `${above}/app-${number}`),
);

const PREPARED = '.lookaside/tmp';
const FORGED = '00000000-0000-4000-8000-000000000000';
const FORGED_INTENT = '{"forged":true}';

interface Scene extends AsyncDisposable {
  readonly folder: string;
  readonly root: string;
  readonly outside: string;
  /** What is to be swapped. */
  readonly names: readonly string[];
}

/** A tree, and outside of it the same names with other bytes, and others besides. */
async function openScene(): Promise<Scene> {
  const temp = await openTempFolder();
  const [root, outside] = [path.join(temp.path, 'tree'), path.join(temp.path, 'outside')];
  for (const repository of OTHERS) {
    await layImage(root, repository, INSIDE);
    await layImage(outside, repository, OUTSIDE);
  }
  for (const { repository } of SWAPPED) {
    await layImage(root, repository, INSIDE);
    const folder = await layImage(outside, repository, OUTSIDE, OUTSIDE);
    await layFile(outside, `${path.dirname(folder)}/${folderOf(LEAKED)}/signature-1`, OUTSIDE);
  }
  await mkdir(path.join(root, PREPARED), { recursive: true, mode: 0o700 });
  await layFile(outside, `${PREPARED}/${FORGED}.intent`, FORGED_INTENT);
  await layFile(outside, `${PREPARED}/${FORGED}.signature`, OUTSIDE);
  return {
    folder: temp.path,
    root,
    outside,
    names: [
      ...SWAPPED.map(({ name }, position) => name(FOLDERS[position] ?? '')),
      ...[PREPARED, path.dirname(PREPARED)],
    ],
    [Symbol.asyncDispose]: () => temp[Symbol.asyncDispose](),
  };
}

interface Counts {
  /** Answers that are true of the tree. */
  right: number;
  /** Nothing was there, or the store could not say. */
  refused: number;
  outside: number;
}

const newCounts = (): Counts => ({ right: 0, refused: 0, outside: 0 });
const describe = ({ right, refused, outside }: Counts) =>
  `${right} right, ${refused} refused, ${outside} outside`;

/** Does each of these again and again, all of them at once, and counts what comes of it. */
async function keepDoing(
  counts: Counts,
  isOver: () => boolean,
  acts: readonly (() => Promise<keyof Counts>)[],
): Promise<void> {
  const loop = async (act: () => Promise<keyof Counts>) => {
    while (!isOver()) {
      counts[await act()] += 1;
    }
  };
  await Promise.all(acts.map(loop));
}

/** What a failure is that a caller may meet; all others are thrown. */
function refusedBy(error: unknown): 'refused' {
  if (!isLookasideError(error, 'STORE_UNAVAILABLE')) throw error;
  return 'refused';
}

const NOTHING_OUTSIDE =
  '0 answers with bytes or names from outside, 0 entries made, changed or removed there';

promise(
  {
    id: 'P22',
    what: `a tree whose folders and files are swapped with links out of it for ${LASTING_MS / 1000} s while it is read and written to`,
    wanted: NOTHING_OUTSIDE,
    ...needs('gcc'),
  },
  async (see) => {
    await using scene = await openScene();
    const { root, outside } = scene;
    const tree = openTree({ root, nowMs: Date.now, beingWrittenMs: 100, isWhole: isWholeSignature });
    const writer = openTreeWriter({ root, nowMs: Date.now });
    const outsideIds = new Set<string>();
    for (const name of ['', ...(await readdir(outside, { recursive: true }))]) {
      const { dev, ino } = await stat(path.join(outside, name));
      outsideIds.add(`${dev}:${ino}`);
    }
    const outsideHash = sha256Hex(OUTSIDE);
    const looks = openThreadedLooks({ root, beingWrittenMs: 100, idleMs: 60_000 });
    looks.begin();
    // the thread has files of its own open, so it is there before they are counted
    await eventually(async () => assert.ok(await looks.read(FOLDERS[0] ?? '', [])));
    const before = await traceOf(outside);
    const openedBefore = (await readdir('/proc/self/fd')).length;

    const readers = FOLDERS.flatMap((folder): (() => Promise<keyof Counts>)[] => [
      async () => {
        const image = await tree.readImage(folder);
        if (image?.files.some(({ sha256 }) => sha256 === outsideHash)) return 'outside';
        const isRight = image?.files.length === 1 && image.files[0]?.sha256 === sha256Hex(INSIDE);
        return isRight ? 'right' : 'refused';
      },
      async () => {
        const bytes = await tree.readFile(folder, 1);
        if (bytes === null) return 'refused';
        return INSIDE.equals(bytes) ? 'right' : 'outside';
      },
      async () => {
        const identity = await tree.statFolder(folder);
        if (identity === null) return 'refused';
        return outsideIds.has(identity.id) ? 'outside' : 'right';
      },
      async () => {
        const names: string[] = [];
        for await (const { name } of (await tree.children(path.dirname(folder))) ?? []) names.push(name);
        if (names.includes(path.basename(folderOf(LEAKED)))) return 'outside';
        return names.length > 0 ? 'right' : 'refused';
      },
    ]);
    const byThread = FOLDERS.map((folder) => async (): Promise<keyof Counts> => {
      const asked = looks.read(folder, []);
      // it is late, or leaves the look to the pool
      if (asked === undefined) await new Promise(setImmediate);
      const files = (await asked)?.image.files ?? [];
      if (files.some(({ sha256 }) => sha256 === outsideHash)) return 'outside';
      const isRight = files.length === 1 && files[0]?.sha256 === sha256Hex(INSIDE);
      return isRight ? 'right' : 'refused';
    });
    const intents = async (): Promise<keyof Counts> => {
      const left = await writer.leftOver();
      const texts = [...left.map(({ intent }) => intent), ...(await readIntents(root))];
      return texts.includes(FORGED_INTENT) ? 'outside' : 'right';
    };
    let made = 0;
    // numbers behind a gap, for which no reader opens a file
    const nextNumber = () => 1000 + ++made;
    const writers = FOLDERS.flatMap((folder): (() => Promise<keyof Counts>)[] => [
      async () => {
        const pair = await writer.prepare('{}', INSIDE);
        try {
          await writer.place(pair, folder, 3).catch((error: unknown) => {
            // each number was tried in the folder that is held, and all are taken
            if (!isLookasideError(error, 'TOO_MANY_SIGNATURES')) throw error;
          });
        } finally {
          await writer.discard(pair);
        }
        return 'right';
      },
      async () => {
        const pair = await writer.prepare('{}', INSIDE);
        try {
          await writer.place(pair, `${path.dirname(folder)}/new/${folderOf(`${nextNumber()}`)}`, 1);
        } finally {
          await writer.discard(pair);
        }
        return 'right';
      },
      async () => {
        // `intents` throws away what has no place yet, as a start does
        const image = `${path.dirname(folder)}/added/${folderOf(`${nextNumber()}`)}`;
        const added = await writer.addNew(image, '{}', INSIDE);
        if (added === null) return 'refused';
        await writer.discard(added);
        return 'right';
      },
      async () => {
        await writer.makeDurable(folder, 1);
        return 'right';
      },
      async () => {
        await writer.restore(folder, 1, INSIDE);
        return 'right';
      },
    ]);

    const [read, threaded, written] = [newCounts(), newCounts(), newCounts()];
    const orRefused = (act: () => Promise<keyof Counts>) => () => act().catch(refusedBy);
    let isOver = false;
    await using swapper = await startSwapper({ ...scene });
    const work = Promise.all([
      keepDoing(read, () => isOver, [...readers, intents].map(orRefused)),
      keepDoing(threaded, () => isOver, byThread),
      keepDoing(written, () => isOver, writers.map(orRefused)),
    ]);
    await Promise.race([pause(LASTING_MS), work]);
    isOver = true;
    await work;
    const swaps = await swapper.stop();

    const after = await traceOf(outside);
    const changed = after.filter((line) => !before.includes(line)).length;
    see(
      `${swaps} swaps; reads: ${describe(read)}; by the thread: ${describe(threaded)}; writes: ${describe(written)}; ${changed} entries changed outside`,
    );
    assert.equal(read.outside + threaded.outside, 0);
    assert.deepEqual(after, before);
    assert.ok(read.right > 0 && threaded.right > 0 && written.right > 0);
    await eventually(async () => {
      assert.equal((await readdir('/proc/self/fd')).length, openedBefore, 'no descriptor is left open');
    });
    assert.equal(writer.fault, null);
    for (const act of [...readers, ...writers]) assert.equal(await act(), 'right');
    for (const act of byThread) await eventually(async () => assert.equal(await act(), 'right'));
  },
);

promise(
  {
    id: 'P22',
    isLong: true,
    what: `a server whose shared tree is swapped with links out of it for ${LASTING_MS / 1000} s beside readers and uploaders`,
    wanted: `${NOTHING_OUTSIDE}, 0 syncs of what is there`,
    ...needs('gcc'),
  },
  async (see) => {
    await using scene = await openScene();
    const { root, outside, folder: temp } = scene;
    const data = path.join(temp, 'data');
    await mkdir(data);
    const signer = makeSigner('alice');
    const token = await enrol(data, signer);
    const syncs = await watchSyncs(outside, path.join(temp, 'syncs'));
    await using server = await startServer({ root, data, settings: syncs.settings });
    const uploads = uploadsTo(server.port, token);
    const before = await traceOf(outside);

    const get = async (target: string, isRight: (body: Buffer) => boolean): Promise<keyof Counts> => {
      const { status, body } = await uploads.get(target);
      const said = body.toString('latin1');
      if (said.includes('outside ') || said.includes(LEAKED)) return 'outside';
      assert.ok([200, 404, 503].includes(status), `${status} ${target}`);
      return status === 200 && isRight(body) ? 'right' : 'refused';
    };
    const readers = FOLDERS.flatMap((folder) => [
      () => get(`${folder}/signature-1`, (body) => body.equals(INSIDE)),
      () => get(`${folder}/signature-2`, () => false),
      () => get(`${path.dirname(folder)}/`, () => true),
    ]);
    let asked = 0;
    const next = () => `${folderOf(OTHERS[++asked % OTHERS.length] ?? '')}/signature-1`;
    const others = Array.from({ length: 4 }, () => () => get(next(), (body) => body.equals(INSIDE)));
    let sent = 0;
    const upload = async (repository: string, manifest?: string): Promise<keyof Counts> => {
      const what = { repository, tag: `v${++sent}`, ...(manifest === undefined ? {} : { manifest }) };
      const { status, code } = await uploads.post(folderOf(repository, manifest), signer.sign(what));
      assert.ok([200, 201, 409, 503].includes(status), `${status} ${code}`);
      return status < 300 ? 'right' : 'refused';
    };
    const uploaders = SWAPPED.flatMap(({ repository }) => [
      () => upload(repository),
      () => upload(repository, `new ${sent}`),
      () => upload(`${path.dirname(repository)}/new-${sent}/app`),
    ]);

    const [read, written] = [newCounts(), newCounts()];
    let isOver = false;
    await using swapper = await startSwapper({ ...scene });
    const work = Promise.all([
      keepDoing(read, () => isOver, [...readers, ...others]),
      keepDoing(written, () => isOver, uploaders),
    ]);
    await Promise.race([pause(LASTING_MS), work]);
    isOver = true;
    await work;
    const swaps = await swapper.stop();

    const after = await traceOf(outside);
    const changed = after.filter((line) => !before.includes(line)).length;
    const synced = await syncs.syncedPaths();
    see(
      `${swaps} swaps; answers: ${describe(read)}; uploads: ${describe(written)}; ${changed} entries changed and ${synced.length} synced outside`,
    );
    assert.equal(read.outside, 0);
    assert.deepEqual(after, before);
    assert.deepEqual(synced, []);
    assert.ok(read.right > 0 && written.right > 0);
    for (const folder of FOLDERS) {
      // what is in memory may be a second old
      await eventually(async () => {
        const { status, body } = await uploads.get(`${folder}/signature-1`);
        assert.ok(status === 200 && body.equals(INSIDE), `${status} ${folder}`);
      });
    }
    for (const { repository } of SWAPPED) {
      const repositoryAfter = `${path.dirname(repository)}/after/app`;
      takenAs(
        await uploads.post(
          folderOf(repositoryAfter),
          signer.sign({ repository: repositoryAfter, tag: 'v1' }),
        ),
        201,
      );
    }
  },
);
