// Uploads between all that can come between: a crash after each step, failing ports, older looks, other programs.
import assert from 'node:assert/strict';
import { copyFile, mkdir, readdir, readFile, rm, symlink, unlink, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import fc from 'fast-check';
import { isLookasideError, LookasideError } from '../../src/domain/errors.ts';
import { imageFolder, imageKey } from '../../src/domain/image.ts';
import type { IndexedSignature } from '../../src/domain/ports.ts';
import { PlaceUnknown } from '../../src/domain/tree.ts';
import { openTempFolder, type TempFolder } from '../clients/temp-folder.ts';
import { distant } from '../contract/distant.ts';
import { count, isFull, type Promised, promise } from '../faults/promise.ts';
import { createGate } from '../gate.ts';
import { folderOf, layFile, layImage, linkSignatures, sha256Hex, signatureBytes } from './lay.ts';
import {
  imageIn,
  kindsOf,
  type OpenedStore,
  openStore,
  type Ports,
  SITE,
  type StoreOptions,
  uploadOf,
} from './open-store.ts';
import { createUploads, type KeptUploads } from './uploads.ts';

const ONE = signatureBytes('one');
const TWO = signatureBytes('two');
const THREE = signatureBytes('three');
const FOLDER = folderOf('team/app');
const IMAGE = imageIn(FOLDER);

let temp: TempFolder;
let uploads: KeptUploads;
let opened: OpenedStore;

beforeEach(async () => {
  temp = await openTempFolder();
  uploads = createUploads();
});

afterEach(async () => {
  await opened?.[Symbol.asyncDispose]();
  await temp[Symbol.asyncDispose]();
});

/** A store on the test's folder, over what an earlier one left there. */
async function open(kind: 'owned' | 'shared', options: Partial<StoreOptions> = {}): Promise<OpenedStore> {
  opened = await openStore({ kind, folder: temp.path, uploads, ...options });
  return opened;
}

async function reopen(kind: 'owned' | 'shared', options: Partial<StoreOptions> = {}): Promise<void> {
  await opened[Symbol.asyncDispose]();
  await open(kind, options);
  await opened.appender.recover();
}

const append = (bytes: Uint8Array, more = {}) => opened.appender.append(uploadOf(IMAGE, bytes, more));
const file = (number: number) => path.join(opened.root, FOLDER, `signature-${number}`);
const prepared = () => readdir(path.join(opened.root, '.lookaside/tmp')).catch(() => []);

async function served(): Promise<string[]> {
  return (await opened.reader.readSet(IMAGE)).entries.map(({ sha256 }) => sha256);
}

async function assertServes(...signatures: readonly Uint8Array[]): Promise<void> {
  assert.deepEqual(await served(), signatures.map(sha256Hex));
}

async function problemsFound(): Promise<readonly string[]> {
  const paths: string[] = [];
  for await (const { kind, path: file } of opened.scanner.findProblems(SITE)) paths.push(`${kind} ${file}`);
  return paths;
}

const uploaded = async () => (await uploads.ofImage(IMAGE)).map(({ sha256 }) => sha256);
const never = () => new Promise<never>(() => undefined);

interface Moment {
  readonly what: string;
  /** Whether the bytes are there after the restart; null: either. */
  readonly isThere: boolean;
  /** The file has its place, and something of the account of it is missing. */
  readonly isHalfDone?: boolean;
  between(ports: Ports, stop: () => Promise<never>): Ports;
}

/** Between each two steps of an upload, in their order. */
const MOMENTS: readonly Moment[] = [
  {
    what: 'before anything is written',
    isThere: false,
    between: (ports, stop) => ({ ...ports, writer: { ...ports.writer, prepare: stop } }),
  },
  {
    what: 'after the intent',
    isThere: false,
    between: (ports, stop) => ({ ...ports, writer: { ...ports.writer, place: stop } }),
  },
  {
    what: 'after the link',
    isThere: true,
    isHalfDone: true,
    between: (ports, stop) => ({
      ...ports,
      writer: {
        ...ports.writer,
        async place(...place) {
          await ports.writer.place(...place);
          return stop();
        },
      },
    }),
  },
  {
    what: 'after provenance and event',
    isThere: true,
    isHalfDone: true,
    between: (ports, stop) => ({
      ...ports,
      uploads: {
        ...ports.uploads,
        async add(...upload) {
          await ports.uploads.add(...upload);
          return stop();
        },
      },
    }),
  },
  {
    what: 'after the index',
    isThere: true,
    isHalfDone: true,
    between: (ports, stop) => ({ ...ports, writer: { ...ports.writer, discard: stop } }),
  },
  {
    what: 'after the cleaning up, before the answer',
    isThere: true,
    between: (ports, stop) => ({
      ...ports,
      writer: {
        ...ports.writer,
        async discard(pair) {
          await ports.writer.discard(pair);
          return stop();
        },
      },
    }),
  },
];

/**
 * How many are uploaded in peace: in `npm test` none or one in turns, so that an owned and a shared tree together have both. There a
 * shared tree has only the moments at which an upload is half done: each restart starts two threads.
 */
function earlier(kind: 'owned' | 'shared', moment: number): readonly (readonly Uint8Array[])[] {
  if (isFull) return [[], [ONE]];
  if (kind === 'shared' && MOMENTS[moment]?.isHalfDone !== true) return [];
  return (moment % 2 === 0) === (kind === 'owned') ? [[]] : [[ONE]];
}

/** Opens the store, does what comes `first`, and uploads to it until then. */
async function appendUntil(
  { between }: Moment,
  kind: 'owned' | 'shared',
  bytes: Uint8Array,
  first: () => Promise<void>,
) {
  const stopped = createGate();
  const stop = () => {
    stopped.open();
    return never();
  };
  let isLast = false;
  await open(kind, { between: (ports) => switched(ports, between(ports, stop), () => isLast) });
  await first();
  isLast = true;
  void append(bytes);
  await stopped.promise;
}

/** What a moment may stop, from when on it `isOn`. */
function switched(ports: Ports, stopping: Ports, isOn: () => boolean): Ports {
  const now = () => (isOn() ? stopping : ports);
  return {
    ...ports,
    writer: {
      ...ports.writer,
      prepare: (...args) => now().writer.prepare(...args),
      place: (...args) => now().writer.place(...args),
      discard: (pair) => now().writer.discard(pair),
    },
    uploads: { ...ports.uploads, add: (...upload) => now().uploads.add(...upload) },
  };
}

describe('the record of an upload to an owned tree', () => {
  it('is what a look at the folder finds when the index is made again', async () => {
    await open('owned');
    for (const bytes of [ONE, TWO]) await append(bytes);
    const rows = await opened.databases.index.recorded(IMAGE);
    assert.deepEqual(
      rows.map(({ sha256 }) => sha256),
      [ONE, TWO].map(sha256Hex),
    );
    await opened[Symbol.asyncDispose]();
    await rm(path.join(opened.data, 'index.db'));
    await open('owned');
    await opened.scanner.scan(SITE);
    assert.deepEqual(await opened.databases.index.recorded(IMAGE), rows);
  });

  it('holds the file of another program that has taken the number meanwhile', async () => {
    await open('owned', {
      between: (ports) => ({
        ...ports,
        writer: {
          ...ports.writer,
          async place(...place) {
            await layFile(opened.root, `${FOLDER}/signature-1`, TWO);
            return ports.writer.place(...place);
          },
        },
      }),
    });
    assert.equal((await append(ONE)).number, 2);
    await assertServes(TWO, ONE);
  });
});

describe('the first upload to an image of a scanned owned tree', () => {
  let looks = 0;

  beforeEach(async () => {
    looks = 0;
    await open('owned', {
      between: (ports) => ({
        ...ports,
        tree: {
          ...ports.tree,
          readImage(...asked) {
            looks += 1;
            return ports.tree.readImage(...asked);
          },
        },
      }),
    });
    await opened.scanner.scan(SITE);
  });

  it('is stored without a look for its folder', async () => {
    const { outcome, number } = await append(ONE);
    assert.deepEqual([outcome, number, looks], ['created', 1, 0]);
    await assertServes(ONE);
    assert.deepEqual(await prepared(), []);
  });

  it('looks where a folder is there: it may hold these bytes, or others at the wanted number', async () => {
    await layFile(opened.root, `${FOLDER}/signature-1`, ONE);
    const { outcome, number } = await append(ONE);
    assert.deepEqual([outcome, number], ['exists', 1]);
    await assert.rejects(append(TWO, { number: 1 }), { code: 'NUMBER_TAKEN' });
    assert.equal((await append(TWO)).number, 2);
    await assertServes(ONE, TWO);
    assert.deepEqual(await prepared(), []);
    assert.equal(uploads.events.length, 1);
  });

  it('takes an empty folder that a crash has left', async () => {
    await mkdir(path.join(opened.root, FOLDER), { recursive: true });
    assert.equal((await append(ONE)).number, 1);
    assert.ok(looks > 0);
    await assertServes(ONE);
  });
});

describe('an upload whose file was being placed when the thread that did it died', () => {
  for (const isPlaced of [true, false]) {
    it(`is ${isPlaced ? 'whole' : 'absent'} at the next one, as its file ${isPlaced ? 'has' : 'has not'} come to its place`, async () => {
      let died = false;
      await open('owned', {
        between: (ports) => ({
          ...ports,
          writer: {
            ...ports.writer,
            async place(...place) {
              if (died) return ports.writer.place(...place);
              died = true;
              if (isPlaced) await ports.writer.place(...place);
              throw new PlaceUnknown('the thread that writes died');
            },
          },
        }),
      });
      await assert.rejects(append(ONE), (error) => isLookasideError(error, 'STORE_UNAVAILABLE'));
      await append(TWO);
      const wanted = isPlaced ? [ONE, TWO] : [TWO];
      await assertServes(...wanted);
      assert.deepEqual(await uploaded(), wanted.map(sha256Hex));
      assert.deepEqual(await prepared(), []);
    });
  }
});

/** Of recoveries that end in the middle. */
const RESTARTS = count(3, 1);

for (const kind of ['owned', 'shared'] as const) {
  describe(`an upload to a tree that is ${kind}, cut short by a crash`, () => {
    for (const [position, moment] of MOMENTS.entries()) {
      const { what, isThere } = moment;
      for (const before of earlier(kind, position)) {
        it(`${what}, with ${before.length} before it, is ${isThere ? 'whole' : 'absent'} after the restart`, async () => {
          await appendUntil(moment, kind, TWO, async () => {
            for (const bytes of before) await append(bytes);
          });
          await reopen(kind);
          await assertServes(...before, ...(isThere ? [TWO] : []));
          assert.deepEqual(await uploaded(), [...before, ...(isThere ? [TWO] : [])].map(sha256Hex));
          assert.deepEqual(await prepared(), []);
          const again = await append(TWO);
          assert.deepEqual(
            [again.outcome, again.number],
            [isThere ? 'exists' : 'created', before.length + 1],
          );
          assert.equal(uploads.events.length, before.length + 1);
          await append(THREE);
          await opened.scanner.scan(SITE);
          await assertServes(...before, TWO, THREE);
          assert.deepEqual(kindsOf(opened, FOLDER), []);
          assert.deepEqual(await prepared(), []);
        });
      }
    }

    it('in the middle of a recovery is recovered by the next', async () => {
      const stopped = createGate();
      const stop = () => {
        stopped.open();
        return never();
      };
      const between = (ports: Ports): Ports => ({ ...ports, uploads: { ...ports.uploads, add: stop } });
      await open(kind, { between });
      void append(ONE);
      await stopped.promise;
      await opened[Symbol.asyncDispose]();
      for (let restart = 0; restart < RESTARTS; restart += 1) {
        const again = createGate();
        await open(kind, {
          between: (ports) => ({
            ...ports,
            uploads: {
              ...ports.uploads,
              add: () => {
                again.open();
                return never();
              },
            },
          }),
        });
        void opened.appender.recover();
        await again.promise;
        await opened[Symbol.asyncDispose]();
      }
      await open(kind);
      await opened.appender.recover();
      await opened.appender.recover();
      await assertServes(ONE);
      assert.deepEqual(await prepared(), []);
      assert.equal(uploads.events.length, 1);
    });
  });

  describe(`an upload to a tree that is ${kind}`, () => {
    it('whose provenance cannot be written is refused, and ended by the next one', async () => {
      let isFull = true;
      await open(kind, {
        between: (ports) => ({
          ...ports,
          uploads: {
            ...ports.uploads,
            async add(...upload) {
              if (isFull) throw new LookasideError('DISK_FULL', 'no space for state.db');
              return ports.uploads.add(...upload);
            },
          },
        }),
      });
      await assert.rejects(append(ONE), { code: 'DISK_FULL' });
      await assert.rejects(append(TWO), { code: 'DISK_FULL' });
      assert.deepEqual(await uploaded(), []);
      isFull = false;
      const second = await append(TWO);
      assert.equal(second.number, 2);
      assert.equal((await append(ONE)).outcome, 'exists');
      await assertServes(ONE, TWO);
      assert.deepEqual(await uploaded(), [ONE, TWO].map(sha256Hex));
      assert.deepEqual(await prepared(), []);
    });

    it('that the index could not take counts all the same, is read at once and after a restart', async () => {
      let isBusy = true;
      const between = (ports: Ports): Ports => {
        const record: Ports['index']['record'] = async (images) => {
          if (isBusy) throw new LookasideError('BUSY', 'the queue is full');
          await ports.index.record(images);
        };
        // a database hides its methods from a spread
        const index = new Proxy(ports.index, {
          get(target, name) {
            if (name === 'record') return record;
            const member: unknown = Reflect.get(target, name);
            return typeof member === 'function' ? member.bind(target) : member;
          },
        });
        return { ...ports, index };
      };
      await open(kind);
      await append(ONE);
      await opened.scanner.scan(SITE);
      await opened[Symbol.asyncDispose]();
      await open(kind, { between });
      await opened.databases.index.whenChecked();
      const { outcome, number } = await append(TWO);
      assert.deepEqual([outcome, number], ['created', 2]);
      await assertServes(ONE, TWO);
      assert.equal((await append(TWO)).outcome, 'exists');
      assert.equal((await append(THREE)).number, 3);
      await assertServes(ONE, TWO, THREE);
      await opened.appender.idle();
      await reopen(kind, { between });
      await assertServes(ONE, TWO, THREE);
      isBusy = false;
      await opened.databases.index.whenChecked();
      opened.reader.forget(IMAGE);
      await opened.store.readSet(IMAGE);
      await opened.appender.idle();
      await assertServes(ONE, TWO, THREE);
      assert.deepEqual(await prepared(), []);
      const recorded = await opened.databases.index.recorded(IMAGE);
      assert.deepEqual(
        recorded.map(({ sha256 }) => sha256),
        [ONE, TWO, THREE].map(sha256Hex),
      );
      assert.equal(uploads.events.length, 3);
    });

    it('is refused below the reserve of either disk, which is told, and nothing is kept', async () => {
      await open(kind, { minFreeBytes: Number.MAX_SAFE_INTEGER });
      await assert.rejects(append(ONE), { code: 'DISK_FULL', message: /LOOKASIDE_MIN_FREE/ });
      await open(kind, { minFreeBytes: 1, dataFreeBytes: async () => 0 });
      await assert.rejects(append(ONE), { code: 'DISK_FULL', message: /^0 bytes.*the data directory/ });
      assert.deepEqual(await readdir(opened.root), []);
      assert.deepEqual(uploads.events, []);
    });

    it('that fails 20 times leaks no descriptor and leaves nothing', async () => {
      await open(kind);
      const outside = path.join(temp.path, 'outside');
      await mkdir(outside);
      await symlink(outside, path.join(opened.root, 'team'));
      await assert.rejects(append(ONE));
      const before = (await readdir('/proc/self/fd')).length;
      for (let round = 0; round < 20; round += 1) await assert.rejects(append(ONE));
      assert.equal((await readdir('/proc/self/fd')).length, before);
      assert.deepEqual(await prepared(), []);
      assert.deepEqual(await readdir(outside), []);
      assert.deepEqual(uploads.events, []);
    });

    it('is seen by a read that comes after it, though an older look is still under way', async () => {
      const before = createGate();
      const go = createGate();
      let isHeld = false;
      await open(kind, {
        wait: async () => {
          if (!isHeld) return;
          before.open();
          await go.promise;
        },
        nowMs: Date.now,
        beingWrittenMs: 60_000,
      });
      // half of a signature: whoever looks now waits for the rest
      await mkdir(path.dirname(file(1)), { recursive: true });
      await writeFile(file(1), ONE.subarray(0, 100));
      isHeld = true;
      const older = opened.reader.readSet(IMAGE);
      await before.promise;
      isHeld = false;
      await writeFile(file(1), ONE);
      await append(TWO);
      await assertServes(ONE, TWO);
      await writeFile(path.join(opened.root, FOLDER, 'note'), 'x');
      go.open();
      await older;
      await assertServes(ONE, TWO);
    });

    it('to a folder that another program is writing to is asked to come again', async () => {
      await open(kind, { beingWrittenMs: 60_000 });
      await mkdir(path.dirname(file(1)), { recursive: true });
      await writeFile(file(1), ONE.subarray(0, 100));
      await assert.rejects(append(TWO), { code: 'BUSY', message: /another program is writing/ });
      await writeFile(file(1), ONE);
      assert.equal((await append(TWO)).number, 2);
    });

    it('that is equivalent to one that is there stores nothing, unless that one is not served', async () => {
      await open(kind);
      const { auditSeq } = await append(ONE);
      const judged = { sha256: sha256Hex(ONE), servedNumber: 1 } as IndexedSignature; // all that matters here
      opened.verdicts.set(imageKey(IMAGE), [judged]);
      for (const outcome of ['equivalent', 'same'] as const) {
        const review = async ([standIn]: readonly IndexedSignature[]) => ({
          standIn: standIn ?? null,
          outcome,
          needless: [],
        });
        const answer = await append(TWO, { review });
        assert.deepEqual(answer, { outcome, number: 1, sha256: sha256Hex(ONE), auditSeq });
      }
      const none = async () => ({ standIn: null, outcome: 'same', needless: [] }) as const;
      assert.equal((await append(TWO, { review: none })).outcome, 'created');
      opened.verdicts.set(imageKey(IMAGE), [{ ...judged, sha256: sha256Hex(signatureBytes('gone')) }]);
      let seen: readonly IndexedSignature[] | null = null;
      const review = (served: readonly IndexedSignature[]) => {
        seen = served;
        return none();
      };
      assert.equal((await append(THREE, { review })).outcome, 'created');
      assert.deepEqual(seen, []);
    });

    it('that is being reviewed keeps the turn of its image: the next one is reviewed beside what it has left', async () => {
      await open(kind);
      opened.verdicts.set(imageKey(IMAGE), [{ sha256: sha256Hex(ONE) } as IndexedSignature]);
      const asked = createGate();
      const go = createGate();
      const first = append(ONE, {
        async review() {
          asked.open();
          await go.promise;
          return { standIn: null, outcome: 'same', needless: [] };
        },
      });
      const second = append(TWO, {
        review: async ([standIn]: readonly IndexedSignature[]) => {
          return { standIn: standIn ?? null, outcome: 'equivalent', needless: [] };
        },
      });
      await asked.promise;
      go.open();
      assert.deepEqual([(await first).outcome, (await second).outcome], ['created', 'equivalent']);
      await assertServes(ONE);
    });
  });
}

describe('an upload to an owned tree, under way or cut short', () => {
  for (const [position, moment] of MOMENTS.filter(({ isThere }) => isThere).entries()) {
    for (const before of earlier('owned', position)) {
      it(`${moment.what}, with ${before.length} before it, is nothing that fsck names`, async () => {
        await appendUntil(moment, 'owned', TWO, async () => {
          for (const bytes of before) await append(bytes);
          await opened.scanner.scan(SITE);
        });
        await opened.databases.index.whenChecked();
        assert.deepEqual(await problemsFound(), []);
      });
    }
  }
});

describe('the numbers of an owned tree', () => {
  it('do not move when a file that was passed over goes away', async () => {
    await open('owned');
    await layImage(opened.root, 'team/app', ONE, Buffer.from('<html>'));
    await opened.scanner.scan(SITE);
    assert.equal((await append(TWO)).number, 2);
    await unlink(file(2));
    assert.equal((await append(THREE)).number, 3);
    await assertServes(ONE, TWO, THREE);
    assert.deepEqual(await readFile(file(4)), THREE);
  });

  it('pass over a file that somebody put there, and never give it out', async () => {
    await open('owned');
    await append(ONE);
    await opened.scanner.scan(SITE);
    await layFile(opened.root, `${FOLDER}/signature-2`, TWO);
    assert.equal((await append(THREE)).number, 2);
    await assertServes(ONE, THREE);
    await opened.scanner.scan(SITE);
    await assertServes(ONE, THREE);
    assert.deepEqual(kindsOf(opened, FOLDER), ['extra signature-2']);
  });

  it('are not decided while the index is unchecked and such a file is there', async () => {
    await open('owned');
    await append(ONE);
    await layFile(opened.root, `${FOLDER}/signature-2`, TWO);
    await assert.rejects(append(THREE), { code: 'BUSY', message: /the index is being checked/ });
    await opened.databases.index.markComplete(SITE);
    assert.equal((await append(THREE)).number, 2);
  });

  it('end with 128, the last file that is looked at, however few are served of those before', async () => {
    for (const kind of ['shared', 'owned'] as const) {
      await open(kind, { folder: path.join(temp.path, kind) });
      await layImage(opened.root, 'team/app', ONE);
      for (const number of [2, 3])
        await layFile(opened.root, `${FOLDER}/signature-${number}`, 'no signature');
      linkSignatures(opened.root, FOLDER, 4, 126);
      const last = signatureBytes('last');
      await opened.scanner.scan(SITE);
      assert.equal((await served()).length, 124);
      assert.equal((await append(last)).number, 125, kind);
      assert.equal((await served()).at(-1), sha256Hex(last));
      linkSignatures(opened.root, FOLDER, 128, 300);
      opened.reader.forget(IMAGE);
      assert.equal((await append(last)).outcome, 'exists');
      await assert.rejects(append(TWO), {
        code: 'TOO_MANY_SIGNATURES',
        message: /has files up to signature-128, the last that is looked at, and 12[56] of them are served/,
      });
      assert.deepEqual(await prepared(), []);
      assert.equal((await readdir(path.join(opened.root, FOLDER))).length, 300);
      await opened[Symbol.asyncDispose]();
    }
  });

  it('of uploads that another program overwrote are not taken above it', async () => {
    await open('shared');
    await append(ONE);
    await append(TWO);
    await writeFile(file(2), THREE);
    for (const number of [3, 4, 5])
      await layFile(opened.root, `${FOLDER}/signature-${number}`, 'no signature');
    linkSignatures(opened.root, FOLDER, 6, 200);
    opened.reader.forget(IMAGE);
    assert.equal((await served()).length, 125);
    await opened.appender.idle();
    assert.equal((await readdir(path.join(opened.root, FOLDER))).length, 200);
    assert.deepEqual(opened.log, []);
  });

  it('go on behind a recorded file that is lost', async () => {
    await open('owned');
    await append(ONE);
    await append(TWO);
    await unlink(file(2));
    assert.equal((await append(THREE)).number, 3);
    await assertServes(ONE, TWO, THREE);
  });
});

describe('an owned tree', () => {
  it('gets a damaged file back from an upload of the same bytes', async () => {
    await open('owned');
    const large = signatureBytes('large', 20_000);
    await append(large);
    await opened.scanner.scan(SITE);
    await writeFile(file(1), TWO);
    await assert.rejects(opened.store.readBlob(IMAGE, sha256Hex(large)), { code: 'STORE_UNAVAILABLE' });
    assert.equal((await append(large)).outcome, 'exists');
    assert.deepEqual(Buffer.from((await opened.store.readBlob(IMAGE, sha256Hex(large))) ?? []), large);
    assert.deepEqual(kindsOf(opened, FOLDER), []);
  });

  it('knows an upload again by its bytes when its index is lost, with the time of its upload', async () => {
    await open('owned');
    await append(ONE);
    const before = await opened.databases.index.recorded(IMAGE);
    await opened.databases.index.reset();
    await opened.scanner.scan(SITE);
    assert.deepEqual(await opened.databases.index.recorded(IMAGE), before);
  });

  it('whose index is lost finds an upload behind a gap, by a look at no more than 128 files each time', async () => {
    const looks: number[] = [];
    await open('owned', {
      between: (ports) => ({
        ...ports,
        tree: {
          ...ports.tree,
          async readImage(...asked) {
            const image = await ports.tree.readImage(...asked);
            looks.push(image?.files.length ?? 0);
            return image;
          },
        },
      }),
    });
    await append(ONE);
    await append(TWO);
    await layFile(opened.root, `${FOLDER}/signature-3`, THREE);
    linkSignatures(opened.root, FOLDER, 4, 1000, 3);
    await unlink(file(1));
    await opened.databases.index.reset();
    opened.reader.forget(IMAGE);
    looks.length = 0;
    await assertServes(TWO);
    assert.deepEqual(looks, [0, 127, 1]);
    await opened.scanner.scan(SITE);
    await assertServes(TWO);
    assert.ok(looks.every((files) => files <= 128));
    assert.deepEqual(kindsOf(opened, FOLDER).slice(-2), [
      'behind-gap signature-128',
      'behind-gap signature-129',
    ]);
  });

  it('given an older copy of its index serves all uploads before a scan has been through', async () => {
    await open('owned');
    await append(ONE);
    await opened.scanner.scan(SITE);
    await opened[Symbol.asyncDispose]();
    const index = path.join(opened.data, 'index.db');
    await copyFile(index, `${index}.old`);
    await open('owned');
    await append(TWO);
    await opened[Symbol.asyncDispose]();
    await copyFile(`${index}.old`, index);
    await open('owned');
    await opened.databases.index.whenChecked();
    assert.ok(await opened.databases.index.isComplete(SITE));
    await assertServes(ONE, TWO);
    assert.equal((await append(THREE)).number, 3);
    await assertServes(ONE, TWO, THREE);
    await opened.scanner.scan(SITE);
    opened.reader.forget(IMAGE);
    await assertServes(ONE, TWO, THREE);
  });

  it('shows an upload from when it is kept, though the database has not answered yet', async () => {
    const [kept, answer] = [createGate(), createGate()];
    let isLast = false;
    const between = (ports: Ports): Ports => ({
      ...ports,
      uploads: {
        ...ports.uploads,
        async add(...upload) {
          const added = await ports.uploads.add(...upload);
          if (!isLast) return added;
          kept.open();
          await answer.promise;
          return added;
        },
      },
    });
    await open('owned', { between });
    await append(ONE);
    await opened.scanner.scan(SITE);
    isLast = true;
    const appending = append(TWO);
    await kept.promise;
    opened.reader.forget(IMAGE);
    // a look that was under way for another reason has shown it already
    await assertServes(ONE, TWO);
    answer.open();
    assert.equal((await appending).outcome, 'created');
    await assertServes(ONE, TWO);
  });

  it('shows an upload to a read that began before it and ends after it', async () => {
    await open('owned');
    await append(ONE);
    await opened.scanner.scan(SITE);
    await opened[Symbol.asyncDispose]();
    const go = createGate();
    const asked = createGate();
    let isFirst = true;
    await open('owned', {
      between: (ports) => ({
        ...ports,
        uploads: {
          ...ports.uploads,
          async ofImage(image) {
            const uploads = await ports.uploads.ofImage(image);
            if (isFirst) {
              isFirst = false;
              asked.open();
              await go.promise;
            }
            return uploads;
          },
        },
      }),
    });
    await opened.databases.index.whenChecked();
    const reading = opened.store.readSet(IMAGE);
    await asked.promise;
    await append(TWO);
    go.open();
    assert.equal((await reading).entries.length, 2);
    await assertServes(ONE, TWO);
  });

  for (const nth of [1, 2, 3]) {
    it(`shows all its files to a read while a scan ends behind its look-up ${nth}`, async () => {
      await open('owned');
      await layImage(opened.root, 'team/app', ONE);
      await opened.scanner.syncFolder(SITE, 'team');
      await layFile(opened.root, `${FOLDER}/signature-2`, TWO);
      await opened[Symbol.asyncDispose]();
      let lookUps = 0;
      const between = (ports: Ports): Ports => {
        const index = new Proxy(ports.index, {
          get(target, name) {
            const member: unknown = Reflect.get(target, name);
            if (typeof member !== 'function') return member;
            if (String(name).startsWith('peek')) return member.bind(target);
            return async (...asked: readonly unknown[]) => {
              const answer: unknown = await member.apply(target, asked);
              lookUps += 1;
              if (lookUps === nth) await opened.scanner.scan(SITE);
              return answer;
            };
          },
        });
        return { ...ports, index };
      };
      await open('owned', { between });
      await opened.databases.index.whenChecked();
      await assertServes(ONE, TWO);
      assert.deepEqual(await problemsFound(), []);
      assert.ok(lookUps >= nth);
    });
  }

  it('that is scanned while uploads come loses none of them', async () => {
    await open('owned');
    for (let round = 0; round < 5; round += 1) {
      const scanning = opened.scanner.scan(SITE);
      const appending = Promise.all(
        Array.from({ length: 8 }, (_, k) => append(signatureBytes(`${round}.${k} `))),
      );
      await Promise.all([scanning, appending]);
      assert.equal((await served()).length, (round + 1) * 8);
    }
    assert.equal((await opened.databases.index.recorded(IMAGE)).length, 40);
  });

  it('tells when a read took in something that has no verdict', async () => {
    await open('owned');
    await layImage(opened.root, 'team/app', ONE);
    await opened.reader.readSet(IMAGE);
    await opened.databases.index.record([]); // the queue is in order
    assert.deepEqual(opened.unjudged, [FOLDER]);
    await append(TWO);
    assert.deepEqual(opened.unjudged, [FOLDER]);
  });
});

describe('an upload that another program took from a shared tree', () => {
  beforeEach(async () => {
    await open('shared', { nowMs: () => Date.now() + 60_000 });
  });

  const look = async () => {
    opened.reader.forget(IMAGE);
    await opened.reader.readSet(IMAGE);
    await opened.appender.idle();
  };
  const restored = () => uploads.events.filter(({ action }) => action === 'restore');

  it('by writing over signature-1 in its place, as podman does, is put back at the next number', async () => {
    await append(ONE);
    await writeFile(file(1), TWO);
    await look();
    await assertServes(TWO, ONE);
    assert.deepEqual(await readFile(file(2)), ONE);
    assert.deepEqual(
      restored().map(({ signatureSha256 }) => signatureSha256),
      [sha256Hex(ONE)],
    );
    assert.match(opened.log.at(-1)?.message ?? '', /was put back/);
    await look();
    await assertServes(TWO, ONE);
    assert.equal(restored().length, 1);
  });

  it('by deleting what followed its own is put back, all of it, in the order of uploading', async () => {
    for (const bytes of [ONE, TWO, THREE]) await append(bytes);
    const theirs = signatureBytes('podman');
    await writeFile(file(1), theirs);
    await unlink(file(2));
    await unlink(file(3));
    await look();
    await assertServes(theirs, ONE, TWO, THREE);
    assert.equal(restored().length, 3);
    assert.deepEqual(await prepared(), []);
  });

  it('by deleting what stood before it is put in front again', async () => {
    await layImage(opened.root, 'team/app', ONE);
    await append(TWO);
    await unlink(file(1));
    await look();
    assert.ok((await served()).includes(sha256Hex(TWO)));
  });

  it('is found by a scan too', async () => {
    await append(ONE);
    await writeFile(file(1), TWO);
    await opened.scanner.scan(SITE);
    await opened.appender.idle();
    await assertServes(TWO, ONE);
  });

  it('with the whole folder, or all that was in it, is left alone', async () => {
    await append(ONE);
    await unlink(file(1));
    await look();
    await rm(path.dirname(file(1)), { recursive: true });
    await look();
    await opened.scanner.scan(SITE);
    await opened.appender.idle();
    await assertServes();
    assert.equal(restored().length, 0);
  });

  it('is left alone while that program is still writing', async () => {
    await opened[Symbol.asyncDispose]();
    await open('shared', { beingWrittenMs: 60_000 });
    await append(ONE);
    await writeFile(file(1), TWO.subarray(0, 50));
    await look();
    assert.deepEqual(await readdir(path.dirname(file(1))), ['signature-1']);
    await writeFile(file(1), TWO);
    await look();
    await assertServes(TWO, ONE);
  });

  it('is put back though the bytes that were linked into the tree were overwritten in place at once', async () => {
    await opened[Symbol.asyncDispose]();
    await open('shared', {
      nowMs: () => Date.now() + 60_000,
      between: (ports) => ({
        ...ports,
        writer: {
          ...ports.writer,
          async place(...place) {
            const number = await ports.writer.place(...place);
            // the prepared file is the same inode
            if (uploads.events.length === 0) await writeFile(file(1), TWO);
            return number;
          },
        },
      }),
    });
    assert.equal((await append(ONE)).number, 1);
    await look();
    await assertServes(TWO, ONE);
  });

  it('is put back once, whatever asks for it at the same time', async () => {
    for (const bytes of [ONE, TWO]) await append(bytes);
    await writeFile(file(1), THREE);
    opened.reader.forget(IMAGE);
    await Promise.all([look(), look(), opened.scanner.scan(SITE), append(signatureBytes('new'))]);
    await opened.appender.idle();
    const all = await served();
    assert.equal(new Set(all).size, all.length);
    assert.equal(all.length, 4);
    assert.equal(restored().length, 1);
  });

  it('is put back once although the server died in the middle of it', async () => {
    await append(ONE);
    await writeFile(file(1), TWO);
    await opened[Symbol.asyncDispose]();
    const stopped = createGate();
    await open('shared', {
      nowMs: () => Date.now() + 60_000,
      between: (ports) => ({
        ...ports,
        writer: {
          ...ports.writer,
          async place(...place) {
            await ports.writer.place(...place);
            stopped.open();
            return never();
          },
        },
      }),
    });
    void opened.reader.readSet(IMAGE);
    await stopped.promise;
    await reopen('shared', { nowMs: () => Date.now() + 60_000 });
    await look();
    await assertServes(TWO, ONE);
    assert.equal(restored().length, 1);
    assert.deepEqual(await prepared(), []);
  });

  it('is put back though it went while an earlier look was still asking what was uploaded', async () => {
    await append(ONE);
    await append(TWO);
    await opened[Symbol.asyncDispose]();
    const go = createGate();
    const asked = createGate();
    await open('shared', {
      nowMs: () => Date.now() + 60_000,
      between: (ports) => ({
        ...ports,
        uploads: {
          ...ports.uploads,
          async ofImage(image) {
            asked.open();
            await go.promise;
            return ports.uploads.ofImage(image);
          },
        },
      }),
    });
    await assertServes(ONE, TWO);
    await asked.promise;
    await unlink(file(2));
    opened.reader.forget(IMAGE);
    await assertServes(ONE);
    go.open();
    await opened.appender.idle();
    await assertServes(ONE, TWO);
    assert.equal(restored().length, 1);
  });

  it('does not hold up the read that noticed it', async () => {
    await append(ONE);
    await opened[Symbol.asyncDispose]();
    const go = createGate();
    await open('shared', { nowMs: () => Date.now() + 60_000, wait: () => go.promise });
    await writeFile(file(1), TWO);
    await assertServes(TWO);
    go.open();
    await opened.appender.idle();
    await assertServes(TWO, ONE);
  });
});

describe('recovery', () => {
  for (const moment of MOMENTS) {
    it(`of an upload that was cut short ${moment.what}, and whose folder the disk has lost, ends; what is recorded is served and told`, async () => {
      await appendUntil(moment, 'owned', TWO, async () => {});
      const isRecorded = (await opened.databases.index.recorded(IMAGE)).length > 0;
      await rm(path.join(opened.root, FOLDER), { recursive: true, force: true });
      await reopen('owned');
      assert.deepEqual(await prepared(), []);
      await opened.databases.index.whenChecked();
      await opened.scanner.scan(SITE);
      await assertServes(...(isRecorded ? [TWO] : []));
      assert.deepEqual(kindsOf(opened, FOLDER), isRecorded ? ['missing signature-1'] : []);
      assert.equal((await append(THREE)).outcome, 'created');
    });
  }

  it('removes what is no whole intent, and nothing that is not ours', async () => {
    await open('owned');
    const id = '00000000-0000-4000-8000-00000000000';
    const tmp = '.lookaside/tmp';
    await layFile(opened.root, `${tmp}/${id}1.intent`, '{"v":1,"kind":"upl');
    await layFile(opened.root, `${tmp}/${id}1.signature`, ONE);
    await layFile(opened.root, `${tmp}/${id}2.intent`, '{"v":1}');
    await layFile(opened.root, `${tmp}/${id}3.signature`, ONE);
    await layFile(opened.root, `${tmp}/theirs`, ONE);
    await opened.appender.recover();
    assert.deepEqual(await prepared(), ['theirs']);
    assert.deepEqual(uploads.events, []);
  });

  it('that meets a failure leaves the upload to be ended later, and goes on with the next', async () => {
    let isFull = true;
    const between = (ports: Ports): Ports => ({
      ...ports,
      uploads: {
        ...ports.uploads,
        async add(upload, event) {
          if (isFull && upload.image.path === 'team/app') throw new LookasideError('DISK_FULL', 'full');
          return ports.uploads.add(upload, event);
        },
      },
    });
    await open('owned', { between });
    await assert.rejects(append(ONE), { code: 'DISK_FULL' });
    const other = imageIn(folderOf('team/other'));
    await opened.appender.append(uploadOf(other, TWO));
    await reopen('owned', { between });
    assert.equal(opened.log.filter(({ level }) => level === 'error').length, 1);
    assert.equal((await opened.reader.readSet(other)).entries.length, 1);
    isFull = false;
    opened.reader.forget(IMAGE);
    await opened.reader.readSet(IMAGE);
    await opened.appender.idle();
    assert.deepEqual(await uploaded(), [sha256Hex(ONE)]);
    assert.deepEqual(await prepared(), []);
  });
});

/** What happens to an owned tree, one after the other. */
type Step =
  | {
      readonly act: 'append';
      readonly image: number;
      readonly content: number;
      readonly number: number | null;
    }
  | { readonly act: 'overwrite' | 'delete'; readonly image: number; readonly number: number }
  | { readonly act: 'kill'; readonly image: number; readonly content: number; readonly at: number }
  | { readonly act: 'restart' | 'scan' | 'lose the index' };

const imageNumber = fc.nat({ max: 1 });
const content = fc.nat({ max: 6 });
const step: fc.Arbitrary<Step> = fc.oneof(
  fc.record({
    act: fc.constant('append' as const),
    image: imageNumber,
    content,
    number: fc.option(fc.integer({ min: 1, max: 4 })),
  }),
  fc.record({
    act: fc.constantFrom('overwrite' as const, 'delete' as const),
    image: imageNumber,
    number: fc.integer({ min: 1, max: 3 }),
  }),
  fc.record({
    act: fc.constant('kill' as const),
    image: imageNumber,
    content,
    at: fc.nat({ max: MOMENTS.length - 1 }),
  }),
  fc.record({ act: fc.constantFrom('restart' as const, 'scan' as const, 'lose the index' as const) }),
);

/** Most of their time is that of disks and threads which start. */
const AT_ONCE = count(5, 2);
const HISTORIES = AT_ONCE * count(24, 1);
const STEPS = count(24, 12);

const model: Promised = {
  id: 'P5',
  what: 'an owned tree serves what a list would, whatever is uploaded, overwritten, deleted, killed, started again and forgotten by the index',
  wanted: `0 of ${HISTORIES} histories of up to ${STEPS} steps otherwise`,
};
promise(model, async (see) => {
  let [histories, taken] = [0, 0];
  const property = fc.asyncProperty(fc.array(step, { maxLength: STEPS, size: 'max' }), async (steps) => {
    histories += 1;
    await using scene = await openTempFolder();
    const kept = createUploads();
    // in every other history the databases are far away
    const isFar = histories % 2 === 0;
    const far = (ports: Ports): Ports =>
      isFar ? { ...ports, index: distant(ports.index), uploads: distant(ports.uploads) } : ports;
    const options = { kind: 'owned', folder: scene.path, uploads: kept, between: far } as const;
    let store = await openStore(options);
    const images = ['model/a', 'model/b'].map((repository) => imageIn(folderOf(repository)));
    const model: Uint8Array[][] = [[], []];
    /** Files that others have changed, with what was in them. */
    const damaged = new Map<string, Uint8Array>();
    const restart = async () => {
      await store[Symbol.asyncDispose]();
      store = await openStore(options);
      await store.appender.recover();
    };
    const put = async (image: number, bytes: Buffer, number: number | null) => {
      const [at, list] = [images[image], model[image]];
      assert.ok(at !== undefined && list !== undefined);
      const known = list.findIndex((other) => bytes.equals(other));
      const appending = store.appender.append(uploadOf(at, bytes, { number }));
      if (known !== -1) {
        const { outcome, number: there } = await appending;
        assert.deepEqual([outcome, there], ['exists', known + 1]);
      } else if (number === null || number === list.length + 1) {
        const { outcome, number: given } = await appending;
        assert.deepEqual([outcome, given], ['created', list.length + 1]);
        list.push(bytes);
      } else {
        const code = number <= list.length ? 'NUMBER_TAKEN' : 'NUMBER_NOT_NEXT';
        await assert.rejects(appending, { code, detail: { next: list.length + 1 } });
      }
    };
    try {
      for (const one of steps) {
        if (one.act === 'append') {
          await put(one.image, signatureBytes(`${one.content}`), one.number);
        } else if (one.act === 'overwrite' || one.act === 'delete') {
          const at = images[one.image];
          // what was never there would be taken in, or be extra: other tests have that
          if (at === undefined || one.number > (model[one.image]?.length ?? 0)) continue;
          const name = path.join(store.root, imageFolder(at), `signature-${one.number}`);
          damaged.set(name, model[one.image]?.[one.number - 1] ?? assert.fail());
          if (one.act === 'delete') await rm(name, { force: true });
          else await writeFile(name, signatureBytes('podman'));
        } else if (one.act === 'kill') {
          const [at, list, moment] = [images[one.image], model[one.image], MOMENTS[one.at]];
          assert.ok(at !== undefined && list !== undefined && moment !== undefined);
          const bytes = signatureBytes(`${one.content}`);
          if (list.some((other) => bytes.equals(other))) continue;
          await store[Symbol.asyncDispose]();
          const stopped = createGate();
          const stop = () => {
            stopped.open();
            return never();
          };
          store = await openStore({ ...options, between: (ports) => moment.between(far(ports), stop) });
          await store.appender.recover();
          void store.appender.append(uploadOf(at, bytes));
          await stopped.promise;
          await restart();
          if (moment.isThere) list.push(bytes);
        } else if (one.act === 'restart') {
          await restart();
        } else if (one.act === 'lose the index') {
          // the index alone had the bytes of what was changed: first they come back from a backup
          for (const [name, bytes] of damaged) await writeFile(name, bytes);
          damaged.clear();
          await store[Symbol.asyncDispose]();
          for (const end of ['', '-wal', '-shm']) {
            await rm(path.join(store.data, `index.db${end}`), { force: true });
          }
          store = await openStore(options);
          await store.appender.recover();
          await store.scanner.scan(SITE); // as the server does
        } else {
          await store.databases.index.whenChecked();
          await store.scanner.scan(SITE);
        }
        taken += 1;
        for (const [position, at] of images.entries()) {
          store.reader.forget(at);
          const { entries } = await store.reader.readSet(at);
          assert.deepEqual(
            entries.map(({ sha256 }) => sha256),
            model[position]?.map(sha256Hex),
          );
        }
      }
    } finally {
      await store[Symbol.asyncDispose]();
    }
  });
  const some = { numRuns: HISTORIES / AT_ONCE };
  await Promise.all(Array.from({ length: AT_ONCE }, () => fc.assert(property, some)));
  see(`0 of ${histories} otherwise, ${taken} steps`);
});
