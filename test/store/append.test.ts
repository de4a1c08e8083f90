// Uploads between all that can come between: a crash after each step, failing ports, older looks, other programs.
import assert from 'node:assert/strict';
import { mkdir, readdir, rm, symlink, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { beforeEach, describe, it } from 'node:test';
import fc from 'fast-check';
import { isLookasideError, LookasideError } from '../../src/domain/errors.ts';
import { imageFolder, imageKey } from '../../src/domain/image.ts';
import { intentText } from '../../src/domain/intent.ts';
import type { IndexedSignature } from '../../src/domain/ports.ts';
import { PlaceUnknown } from '../../src/domain/tree.ts';
import { openTempFolder } from '../clients/temp-folder.ts';
import { distant } from '../contract/distant.ts';
import { count, type Promised, promise } from '../faults/promise.ts';
import { createGate } from '../gate.ts';
import {
  append,
  appendUntil,
  assertServes,
  earlier,
  FOLDER,
  file,
  IMAGE,
  MOMENTS,
  never,
  ONE,
  open,
  opened,
  prepared,
  problemsFound,
  reopen,
  THREE,
  TWO,
  temp,
  uploaded,
  uploads,
} from './append-scene.ts';
import { folderOf, layFile, sha256Hex, signatureBytes } from './lay.ts';
import { imageIn, kindsOf, openStore, type Ports, SITE, uploadOf } from './open-store.ts';
import { createUploads } from './uploads.ts';

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
    assert.equal(looks, 0);
    await assertServes(ONE);
  });

  it('begins together with those of other images, and one file of intents goes with the last of them', async () => {
    const images = Array.from({ length: 5 }, (_, position) => imageIn(folderOf(`team/app-${position}`)));
    const appended = await Promise.all(images.map((image) => opened.appender.append(uploadOf(image, ONE))));
    assert.deepEqual(
      appended.map(({ outcome, number }) => [outcome, number]),
      images.map(() => ['created', 1]),
    );
    assert.equal(looks, 0);
    assert.deepEqual(await prepared(), []);
    assert.equal(uploads.events.length, images.length);
  });
});

describe('a first upload that is taken back, as another one of its group has failed, and then refused', () => {
  it('is not recorded by a read that has seen its file', async () => {
    const [hasSeen, mayGoOn] = [createGate(), createGate()];
    let reading: Promise<unknown> = Promise.resolve();
    let isRefused = false;
    await open('owned', {
      between: (ports) => ({
        ...ports,
        tree: {
          ...ports.tree,
          async readImage(...asked) {
            if (isRefused) throw new LookasideError('STORE_UNAVAILABLE', 'the disk cannot be read');
            const seen = await ports.tree.readImage(...asked);
            if (seen === null) return null;
            hasSeen.open();
            await mayGoOn.promise;
            return seen;
          },
        },
        writer: {
          ...ports.writer,
          async addNew(folder) {
            await layFile(opened.root, `${folder}/signature-1`, ONE);
            reading = opened.reader.readSet(IMAGE);
            await hasSeen.promise;
            await rm(path.join(opened.root, folder), { recursive: true });
            isRefused = true;
            return null;
          },
        },
      }),
    });
    await opened.scanner.scan(SITE);
    await assert.rejects(append(ONE), { message: 'the disk cannot be read' });
    isRefused = false;
    mayGoOn.open();
    await reading;
    // what the read has sent to the index comes ahead of this
    const other = { image: imageIn(folderOf('team/other')), signatures: [] };
    await opened.databases.index.record([other]);
    assert.deepEqual(await opened.databases.index.recorded(IMAGE), []);
    await assertServes();
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

describe('a first upload during which the thread died that writes the tree', () => {
  for (const isPlaced of [true, false]) {
    it(`is ${isPlaced ? 'whole' : 'absent'} after the restart, as its folder ${isPlaced ? 'has' : 'has not'} come to its place`, async () => {
      await open('owned', {
        between: (ports) => ({
          ...ports,
          writer: {
            ...ports.writer,
            async addNew(folder, intent, bytes) {
              if (isPlaced) await ports.writer.addNew(folder, intent, bytes);
              else await ports.writer.prepare(intent, bytes);
              throw new PlaceUnknown('the thread that writes died');
            },
          },
        }),
      });
      await opened.scanner.scan(SITE);
      await assert.rejects(append(ONE), (error) => isLookasideError(error, 'STORE_UNAVAILABLE'));
      await reopen('owned');
      const wanted = isPlaced ? [ONE] : [];
      await assertServes(...wanted);
      assert.deepEqual(await uploaded(), wanted.map(sha256Hex));
      assert.deepEqual(await prepared(), []);
    });
  }
});

/** How many of three that began together have their account. */
const GROUPS = [
  { what: 'none of them is kept', kept: 0 },
  { what: 'one of three is kept', kept: 1 },
  { what: 'all of them are kept', kept: 3 },
] as const;

describe('first uploads that began together, cut short by a crash', () => {
  const images = ['team/a', 'team/b', 'team/c'].map((name) => imageIn(folderOf(name)));

  for (const { what, kept } of GROUPS) {
    it(`are whole after the restart when ${what}, each with one event, as their files have come to their places`, async () => {
      const isStopped = createGate();
      let begun = 0;
      let ended = 0;
      await open('owned', {
        between: (ports) => ({
          ...ports,
          uploads: {
            ...ports.uploads,
            async add(...upload) {
              begun += 1;
              const isKept = begun <= kept;
              const added = isKept ? ports.uploads.add(...upload) : never();
              if (begun === images.length && kept < images.length) isStopped.open();
              return added;
            },
          },
          writer: {
            ...ports.writer,
            async discard(pair) {
              if (kept < images.length) return ports.writer.discard(pair);
              ended += 1;
              if (ended === images.length) isStopped.open();
              return never();
            },
          },
        }),
      });
      await opened.scanner.scan(SITE);
      const appending = images.map((image) => opened.appender.append(uploadOf(image, ONE)));
      await isStopped.promise;
      if (kept === 1) await Promise.race(appending);
      const names = await prepared();
      assert.ok(names.length > 0);
      // those that began in one turn of the event loop share one
      for (const name of names) assert.match(name, /^[0-9a-f-]{36}\.intents$/);
      await reopen('owned');
      for (const image of images) {
        const { entries } = await opened.reader.readSet(image);
        assert.deepEqual(
          entries.map(({ sha256 }) => sha256),
          [sha256Hex(ONE)],
        );
        assert.equal((await uploads.ofImage(image)).length, 1);
      }
      assert.equal(uploads.events.length, images.length);
      assert.deepEqual(await prepared(), []);
      assert.deepEqual(await problemsFound(), []);
    });
  }
});

describe('a file of intents that a start meets', () => {
  const AT = new Date('2026-01-02T03:04:05.000Z');

  /** A line as an upload of ONE to that image writes it. */
  const lineOf = (name: string) => {
    const { image, uploader, event, remap } = uploadOf(imageIn(folderOf(name)), ONE);
    return intentText({
      kind: 'upload',
      image,
      sha256: sha256Hex(ONE),
      uploader,
      storedAt: AT,
      remap,
      event,
    });
  };
  const nameOf = (digit: number) => `${digit}0000000-0000-4000-8000-000000000000`;
  const layIntents = (name: string, lines: readonly string[]) =>
    layFile(opened.root, `.lookaside/tmp/${name}`, lines.join('\n'));

  it('becomes the uploads whose files have their places, each once, whatever else is in it, and goes', async () => {
    await open('owned');
    const kept = ['team/first', 'team/second', 'team/third', 'team/old'];
    for (const name of kept) await layFile(opened.root, `${folderOf(name)}/signature-1`, ONE);
    await layFile(opened.root, `${folderOf('team/other')}/signature-1`, TWO);
    const whole = lineOf('team/second');
    await layIntents(`${nameOf(1)}.intents`, [
      lineOf('team/first'),
      lineOf('team/absent'),
      lineOf('team/other'),
      'not JSON',
      '',
      lineOf('team/first'),
      whole.slice(0, whole.length / 2),
    ]);
    await layIntents(`${nameOf(2)}.intents`, [whole, lineOf('team/first')]);
    await layIntents(`${nameOf(3)}.intents`, [lineOf('team/third'), ' '.repeat(64 * 1024)]);
    await layIntents(`${nameOf(4)}.intents`, []);
    await layIntents(`${nameOf(5)}.intent`, [lineOf('team/old')]);
    await layIntents(`${nameOf(5)}.signature`, [ONE.toString()]);
    await layIntents('.intents', [lineOf('team/third')]);
    await mkdir(path.join(opened.root, `.lookaside/tmp/${nameOf(6)}.intents`));
    await opened.appender.recover();
    const provenance = await Promise.all(
      [...kept, 'team/absent', 'team/other'].map(async (name) => {
        const rows = await uploads.ofImage(imageIn(folderOf(name)));
        return [name, rows.length];
      }),
    );
    assert.deepEqual(provenance, [
      ['team/first', 1],
      ['team/second', 1],
      ['team/third', 0], // larger than any that we write
      ['team/old', 1],
      ['team/absent', 0],
      ['team/other', 0],
    ]);
    assert.equal(uploads.events.length, 3);
    // what others have put there stays
    assert.deepEqual((await prepared()).sort(), ['.intents', `${nameOf(6)}.intents`]);
  });

  it('brings nothing back that was withdrawn meanwhile', async () => {
    await open('owned');
    await opened.scanner.scan(SITE);
    await append(ONE);
    await opened.appender.withdraw({
      image: IMAGE,
      number: 1,
      by: 'administrator',
      reason: 'a test',
      until: null,
      event: () => uploadOf(IMAGE, ONE).event,
    });
    await layIntents(`${nameOf(1)}.intents`, [lineOf('team/app'), lineOf('team/absent')]);
    const events = uploads.events.length;
    await reopen('owned');
    await assertServes();
    assert.equal(uploads.events.length, events);
    assert.deepEqual(await prepared(), []);
  });
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
