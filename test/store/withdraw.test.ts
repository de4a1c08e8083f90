// Withdrawing over a real tree, index and state.db: numbers never move, no walk misses a survivor, and nothing comes back.
import assert from 'node:assert/strict';
import { readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { isLookasideError, LookasideError } from '../../src/domain/errors.ts';
import { type ImageId, imageFolder } from '../../src/domain/image.ts';
import type { Withdrawal } from '../../src/domain/ports.ts';
import type { Tombstone } from '../../src/domain/tombstone.ts';
import { openTempFolder } from '../clients/temp-folder.ts';
import { folderOf, LONG_AGO, layImage, sha256Hex, signatureBytes } from './lay.ts';
import { eventOf, imageIn, kindsOf, type OpenedStore, openStore, SITE, uploadOf } from './open-store.ts';

function withdrawalOf(image: ImageId, number: number, until: Date | null = null): Withdrawal {
  return {
    image,
    number,
    by: 'administrator',
    reason: 'leaked',
    until,
    event: (sha256) => eventOf(image, sha256, 'withdraw'),
  };
}

const A = signatureBytes('a');
const B = signatureBytes('b');
const C = signatureBytes('c');
const NAMES = new Map([A, B, C].map((bytes, at) => [sha256Hex(bytes), 'ABC'[at]]));

const nameOf = (sha256: string) => NAMES.get(sha256) ?? sha256.slice(0, 8);

async function filled(
  opened: OpenedStore,
  name: string,
  blobs: readonly Buffer[] = [A, B, C],
): Promise<ImageId> {
  const image = imageIn(folderOf(name));
  for (const bytes of blobs) await opened.appender.append(uploadOf(image, bytes));
  return image;
}

/** What clients get under each number: by the reader, whose sets others keep. */
async function served({ reader, store }: OpenedStore, image: ImageId): Promise<string> {
  const { entries } = await reader.readSet(image);
  assert.deepEqual((await store.readSet(image)).entries, entries);
  return entries.map(({ sha256, isFiller }) => nameOf(sha256) + (isFiller === true ? '*' : '')).join(' ');
}

/** What a static server or rsync sees. */
async function onDisk({ root }: OpenedStore, image: ImageId): Promise<string> {
  const folder = path.join(root, imageFolder(image));
  const names = (await readdir(folder)).sort();
  const files = names.map(async (name) => nameOf(sha256Hex(await readFile(path.join(folder, name)))));
  return (await Promise.all(files)).join(' ');
}

/** Files of uploads, and of what is put back. */
const pairs = ({ root }: OpenedStore) => readdir(path.join(root, '.lookaside/tmp'));

test('what left no file and no row is withdrawn all the same, also after a start, when uploads ask memory alone', async () => {
  await using temp = await openTempFolder();
  let image: ImageId;
  {
    await using opened = await openStore({ kind: 'owned', folder: temp.path });
    image = await filled(opened, 'team/app', [A]);
    await opened.appender.withdraw(withdrawalOf(image, 1));
    await rm(path.join(opened.root, imageFolder(image)), { recursive: true });
  }
  await using opened = await openStore({ kind: 'owned', folder: temp.path });
  const { appender, scanner, databases } = opened;
  await databases.index.whenChecked();
  await scanner.scan(SITE);
  for (let asked = 0; !databases.index.peekLacks(image); asked += 1) {
    assert.ok(asked < 1000, 'never told');
    await new Promise((resolve) => setImmediate(resolve));
  }
  // of another image first: what is remembered is of the whole site
  assert.equal((await appender.append(uploadOf(imageIn(folderOf('team/other')), A))).outcome, 'created');
  await assert.rejects(appender.append(uploadOf(image, A)), { code: 'WITHDRAWN' });
  assert.deepEqual(await served(opened, image), '');
  assert.equal((await appender.append(uploadOf(image, B))).number, 1);
  assert.deepEqual([await served(opened, image), await onDisk(opened, image)], ['B', 'B']);
});

for (const kind of ['owned', 'shared'] as const) {
  describe(`withdrawing from a tree that is ${kind}`, () => {
    test('puts a hard link to the lowest survivor in the place, and the numbers of the others stay', async () => {
      await using opened = await openStore({ kind });
      const image = await filled(opened, 'team/app');
      await opened.scanner.scan(SITE);
      const tombstone = await opened.appender.withdraw(withdrawalOf(image, 2));
      assert.deepEqual([tombstone.sha256, tombstone.number, tombstone.fillers], [sha256Hex(B), 2, [2]]);
      assert.deepEqual([await served(opened, image), await onDisk(opened, image)], ['A A* C', 'A A C']);
      const inode = async (n: number) =>
        (await stat(path.join(opened.root, imageFolder(image), `signature-${n}`))).ino;
      assert.equal(await inode(2), await inode(1));
      // the lowest itself: what stood for another goes too
      await opened.appender.withdraw(withdrawalOf(image, 1));
      assert.deepEqual([await served(opened, image), await onDisk(opened, image)], ['C* C* C', 'C C C']);
      assert.equal((await opened.databases.index.counts(SITE)).signatures, 1);
      const { outcome, number } = await opened.appender.append(uploadOf(image, C));
      assert.deepEqual([outcome, number], ['exists', 3]);
      // the last: nothing is left, and the next one is the first
      await opened.appender.withdraw(withdrawalOf(image, 3));
      assert.deepEqual([await served(opened, image), await onDisk(opened, image)], ['', '']);
      const again = signatureBytes('again');
      assert.equal((await opened.appender.append(uploadOf(image, again))).number, 1);
      assert.deepEqual(await opened.databases.index.counts(SITE), { images: 1, signatures: 1 });
    });

    test('of the last signature leaves its number to the next upload', async () => {
      await using opened = await openStore({ kind });
      const image = await filled(opened, 'team/app', [A, B]);
      await opened.appender.withdraw(withdrawalOf(image, 2));
      assert.deepEqual([await served(opened, image), await onDisk(opened, image)], ['A', 'A']);
      assert.equal((await opened.appender.append(uploadOf(image, C))).number, 2);
      assert.equal(await served(opened, image), 'A C');
    });

    test('refuses its bytes from then on, and what is not there, or a filler', async () => {
      await using opened = await openStore({ kind });
      const image = await filled(opened, 'team/app');
      await opened.appender.withdraw(withdrawalOf(image, 2));
      await assert.rejects(opened.appender.append(uploadOf(image, B)), (error) => {
        assert.ok(isLookasideError(error, 'WITHDRAWN'));
        assert.match(
          error.message,
          /this was signature-2 of .*, and was withdrawn at .*: "leaked"; the same bytes/,
        );
        return true;
      });
      for (const [number, message] of [
        [2, /was withdrawn already/],
        [4, /there is no/],
      ] as const) {
        await assert.rejects(
          opened.appender.withdraw(withdrawalOf(image, number)),
          (error) => isLookasideError(error, 'NOT_FOUND') && message.test(error.message),
        );
      }
      assert.equal(await served(opened, image), 'A A* C');
      const other = await filled(opened, 'team/other', [B]);
      assert.equal(await served(opened, other), 'B');
    });

    test('holds after another start, with the index lost, and when the bytes are copied back', async () => {
      await using temp = await openTempFolder();
      const image = imageIn(folderOf('team/app'));
      const file = (opened: OpenedStore) => path.join(opened.root, imageFolder(image), 'signature-2');
      {
        await using opened = await openStore({ kind, folder: temp.path });
        await filled(opened, 'team/app');
        await opened.appender.withdraw(withdrawalOf(image, 2));
      }
      {
        await using opened = await openStore({ kind, folder: temp.path });
        assert.equal(await served(opened, image), 'A A* C');
        await rm(file(opened));
        await writeFile(file(opened), B);
      }
      await rm(path.join(temp.path, 'data', 'index.db'));
      {
        let nowMs = Date.now();
        await using opened = await openStore({ kind, folder: temp.path, nowMs: () => nowMs });
        nowMs += 60_000;
        assert.equal(await served(opened, image), 'A A* C');
        assert.deepEqual(kindsOf(opened, imageFolder(image)), ['withdrawn signature-2']);
        await opened.scanner.scan(SITE);
        await opened.appender.idle();
        assert.deepEqual([await served(opened, image), await onDisk(opened, image)], ['A A* C', 'A A C']);
        assert.deepEqual(await opened.databases.tombstones.unsettled(SITE), []);
      }
    });

    test('that is cut short is ended by the next start, before the first read', async () => {
      for (const failing of ['fill', 'record', 'settle'] as const) {
        await using temp = await openTempFolder();
        const image = imageIn(folderOf('team/app'));
        const broken = async () => {
          throw new LookasideError('STORE_UNAVAILABLE', 'the process ends here');
        };
        {
          let isBroken = false;
          await using opened = await openStore({
            kind,
            folder: temp.path,
            between: (ports) => ({
              ...ports,
              writer: Object.assign(Object.create(ports.writer), {
                fill: (...of: [string, number, number]) =>
                  isBroken && failing === 'fill' ? broken() : ports.writer.fill(...of),
              }),
              index: new Proxy(ports.index, {
                get(index, name) {
                  if (name === 'record' && isBroken && failing === 'record') return broken;
                  const member: unknown = Reflect.get(index, name, index);
                  return typeof member === 'function' ? member.bind(index) : member;
                },
              }),
            }),
          });
          await filled(opened, 'team/app');
          isBroken = true;
          if (failing === 'settle') opened.databases.tombstones.settle = broken;
          await assert.rejects(opened.appender.withdraw(withdrawalOf(image, 2)));
          // in force all the same: what is served is what the tombstone says
          assert.equal(await served(opened, image), 'A A* C', failing);
        }
        await using opened = await openStore({ kind, folder: temp.path });
        assert.equal((await opened.databases.tombstones.unsettled(SITE)).length, 1, failing);
        await opened.appender.recover();
        assert.deepEqual(await opened.databases.tombstones.unsettled(SITE), [], failing);
        assert.deepEqual(
          [await served(opened, image), await onDisk(opened, image)],
          ['A A* C', 'A A C'],
          failing,
        );
      }
    });

    test('that one event orders of several takes those that stand there at once, and a second time finds none', async () => {
      await using opened = await openStore({ kind });
      const image = await filled(opened, 'team/app');
      const { auditSeq } = await opened.appender.withdraw(
        withdrawalOf(await filled(opened, 'team/first'), 3),
      );
      const order = {
        image,
        by: 'carol',
        reason: 'key leaked',
        at: new Date('2026-11-29T00:00:00Z'),
        auditSeq,
        sha256s: new Set([A, B, signatureBytes('elsewhere')].map(sha256Hex)),
      };
      assert.equal(await opened.appender.withdrawOrdered(order), 2);
      assert.deepEqual([await served(opened, image), await onDisk(opened, image)], ['C* C* C', 'C C C']);
      const buried = await opened.databases.tombstones.ofImage(image);
      assert.deepEqual(
        buried.map((one) => [
          nameOf(one.sha256),
          one.number,
          one.fillers,
          one.auditSeq,
          one.withdrawnBy,
          one.reason,
        ]),
        [
          ['A', 1, [1], auditSeq, 'carol', 'key leaked'],
          ['B', 2, [2], auditSeq, 'carol', 'key leaked'],
        ],
      );
      assert.deepEqual(await opened.databases.tombstones.unsettled(SITE), []);
      assert.equal(await opened.appender.withdrawOrdered(order), 0);
      await assert.rejects(opened.appender.append(uploadOf(image, A)), { code: 'WITHDRAWN' });
      assert.equal(await opened.appender.withdrawOrdered({ ...order, sha256s: new Set([sha256Hex(C)]) }), 1);
      assert.deepEqual([await served(opened, image), await onDisk(opened, image)], ['', '']);
    });

    test('until some day keeps the bytes, and puts them back behind the others', async () => {
      await using opened = await openStore({ kind });
      const { tombstones } = opened.databases;
      const image = await filled(opened, 'team/app');
      const until = new Date(Date.now() - 1000);
      await opened.appender.withdraw(withdrawalOf(image, 2, until));
      assert.deepEqual(await tombstones.ended(new Date(until.getTime() - 1), 10), []);
      const [ended] = await tombstones.ended(until, 10);
      assert.ok(ended !== undefined);
      assert.equal(await opened.appender.lift(ended), 4);
      assert.deepEqual([await served(opened, image), await onDisk(opened, image)], ['A A* C B', 'A A C B']);
      assert.deepEqual(await tombstones.ended(until, 10), []);
      assert.equal((await opened.appender.append(uploadOf(image, B))).outcome, 'exists');
      // and may be withdrawn again
      await opened.appender.withdraw(withdrawalOf(image, 4));
      assert.equal(await served(opened, image), 'A A* C');
    });

    test('until some day ends once, after a try that failed, and leaves nothing that could end a later one', async () => {
      await using opened = await openStore({ kind });
      const { tombstones } = opened.databases;
      const lift = tombstones.lift.bind(tombstones);
      const image = await filled(opened, 'team/app');
      const ended = await opened.appender.withdraw(withdrawalOf(image, 2, LONG_AGO));
      tombstones.lift = async () => {
        throw new LookasideError('BUSY', 'state.db is locked');
      };
      await assert.rejects(opened.appender.lift(ended), { code: 'BUSY' });
      assert.notDeepEqual(await pairs(opened), []);
      tombstones.lift = lift;
      assert.equal(await opened.appender.lift(ended), 4);
      assert.deepEqual([await served(opened, image), await onDisk(opened, image)], ['A A* C B', 'A A C B']);
      assert.deepEqual(await pairs(opened), []);
      // as by a pair that could not be deleted
      await opened.appender.withdraw(withdrawalOf(image, 4));
      assert.equal(await lift(image, sha256Hex(B), eventOf(image, sha256Hex(B), 'withdraw-end')), false);
      await opened.appender.withdraw(withdrawalOf(image, 3, new Date(Date.now() + 60_000)));
      assert.equal(await lift(image, sha256Hex(C), eventOf(image, sha256Hex(C), 'withdraw-end')), false);
      await assert.rejects(opened.appender.append(uploadOf(image, B)), { code: 'WITHDRAWN' });
    });

    test('until some day is ended by itself alone, not by an earlier one of the same bytes that was to end too', async () => {
      await using opened = await openStore({ kind });
      const image = await filled(opened, 'team/app');
      const first = await opened.appender.withdraw(withdrawalOf(image, 2, LONG_AGO));
      assert.equal(await opened.appender.lift(first), 4);
      const second = await opened.appender.withdraw(withdrawalOf(image, 4, LONG_AGO));
      const events = opened.uploads.events.length;
      assert.equal(await opened.appender.lift(first), null);
      assert.equal(opened.uploads.events.length, events);
      assert.equal(await served(opened, image), 'A A* C');
      assert.equal(await opened.appender.lift(second), 4);
    });
  });
}

test('what a scan has found comes back when its withdrawal ends, though nobody uploaded it', async () => {
  await using opened = await openStore({ kind: 'owned' });
  const image = imageIn(await layImage(opened.root, 'team/laid', A, B, C));
  await opened.scanner.scan(SITE);
  const ended = await opened.appender.withdraw(withdrawalOf(image, 2, LONG_AGO));
  assert.equal(await opened.appender.lift(ended), 4);
  assert.deepEqual([await served(opened, image), await onDisk(opened, image)], ['A A* C B', 'A A C B']);
  await opened.scanner.scan(SITE);
  assert.deepEqual(kindsOf(opened, imageFolder(image)), []);
  assert.equal(await served(opened, image), 'A A* C B');
});

test('those that have ended come in pages, the earliest first and each once', async () => {
  await using opened = await openStore({ kind: 'owned' });
  const { tombstones } = opened.databases;
  const image = await filled(opened, 'team/app');
  const other = await filled(opened, 'team/other');
  const later = new Date(LONG_AGO.getTime() + 1);
  await opened.appender.withdraw(withdrawalOf(image, 1, later));
  await opened.appender.withdraw(withdrawalOf(image, 2, LONG_AGO));
  await opened.appender.withdraw(withdrawalOf(image, 3, LONG_AGO));
  await opened.appender.withdraw(withdrawalOf(other, 1, LONG_AGO));
  const whole = await tombstones.ended(later, 10);
  assert.deepEqual(
    whole.map(({ until, image: { path: repository } }) => [until, repository]),
    [
      [LONG_AGO, 'team/app'],
      [LONG_AGO, 'team/app'],
      [LONG_AGO, 'team/other'],
      [later, 'team/app'],
    ],
  );
  const one: Tombstone[] = [];
  for (let next = await tombstones.ended(later, 1); next.length > 0; ) {
    one.push(...next);
    next = await tombstones.ended(later, 1, next[0]);
  }
  assert.deepEqual(one, whole);
});

test('a withdrawal does not end before its time, though the clock was set back since it was listed', async () => {
  await using opened = await openStore({ kind: 'owned' });
  const image = await filled(opened, 'team/app');
  const early = await opened.appender.withdraw(withdrawalOf(image, 2, new Date(Date.now() + 60_000)));
  assert.equal(await opened.appender.lift(early), null);
  assert.deepEqual([await served(opened, image), await onDisk(opened, image)], ['A A* C', 'A A C']);
});

test('a withdrawal from a full image ends once there is a number for the signature, and keeps its bytes until then', async () => {
  await using opened = await openStore({ kind: 'owned' });
  const all = Array.from({ length: 127 }, (_, at) => signatureBytes(`of many ${at}`));
  const image = imageIn(await layImage(opened.root, 'team/full', ...all));
  await opened.scanner.scan(SITE);
  const sha256 = sha256Hex(all[4] ?? Buffer.alloc(0));
  const ended = await opened.appender.withdraw(withdrawalOf(image, 5, LONG_AGO));
  await assert.rejects(opened.appender.lift(ended), { code: 'TOO_MANY_SIGNATURES' });
  assert.deepEqual(await opened.databases.tombstones.bytesOf(image, sha256), all[4]);
  assert.equal((await opened.databases.tombstones.ended(LONG_AGO, 10)).length, 1);
  assert.equal((await readdir(path.join(opened.root, imageFolder(image)))).length, 127);
  await opened.appender.withdraw(withdrawalOf(image, 127));
  assert.equal(await opened.appender.lift(ended), 127);
  assert.equal((await opened.reader.readSet(image)).entries[126]?.sha256, sha256);
});

describe('fsck --repair', () => {
  /** What it put back where; `remove` takes the place of the writer's. */
  async function openRepaired(remove: (act: () => Promise<void>) => Promise<void>) {
    const restored: string[] = [];
    const opened = await openStore({
      kind: 'owned',
      between: (ports) => ({
        ...ports,
        writer: Object.assign(Object.create(ports.writer), {
          remove: (...of: [string, number]) => remove(() => ports.writer.remove(...of)),
          async restore(folder: string, number: number, bytes: Uint8Array) {
            restored.push(`${nameOf(sha256Hex(bytes))} at ${number}`);
            return ports.writer.restore(folder, number, bytes);
          },
        }),
      }),
    });
    const image = await filled(opened, 'team/app', [A, B]);
    await opened.scanner.scan(SITE);
    const path = `${imageFolder(image)}/signature-2`;
    const repair = () => opened.scanner.repair({ kind: 'missing', path, image, isDamage: true });
    return { opened, image, restored, repair };
  }

  test('waits for a withdrawal that is under way, and puts back nothing of it', async () => {
    let open = () => {};
    const gate = new Promise<void>((resolve) => {
      open = resolve;
    });
    let reach = () => {};
    const reached = new Promise<void>((resolve) => {
      reach = resolve;
    });
    const { opened, image, restored, repair } = await openRepaired(async (act) => {
      reach();
      await gate;
      await act();
    });
    await using _ = opened;
    assert.equal(await repair(), true);
    assert.deepEqual(restored.splice(0), ['B at 2']);
    const withdrawing = opened.appender.withdraw(withdrawalOf(image, 2));
    const uploading = opened.appender.append(uploadOf(image, C));
    await reached;
    const repairing = repair();
    await new Promise((resolve) => setImmediate(resolve));
    open();
    await withdrawing;
    assert.equal((await uploading).number, 2);
    // what stands there by then is another one's
    assert.equal(await repairing, true);
    assert.deepEqual(restored, ['C at 2']);
    assert.deepEqual([await served(opened, image), await onDisk(opened, image)], ['A C', 'A C']);
  });

  test('puts back nothing of an image whose withdrawal was cut short', async () => {
    const { opened, image, restored, repair } = await openRepaired(async () => {
      throw new LookasideError('STORE_UNAVAILABLE', 'the process ends here');
    });
    await using _ = opened;
    await assert.rejects(opened.appender.withdraw(withdrawalOf(image, 2)), { code: 'STORE_UNAVAILABLE' });
    assert.equal(await repair(), false);
    assert.deepEqual(restored, []);
  });
});

/** One state of an image, as some server, cache or disk has it: what stands at 1, 2, 3 … */
type Version = readonly string[];

/**
 * Whether a walk 1, 2, 3 … until nothing is there sees `survivor`, whichever version answers each of its requests: all
 * mixtures at once.
 */
function everyWalkSees(survivor: string, versions: readonly Version[]): boolean {
  for (let at = 0; ; at += 1) {
    const answers = versions.map((version) => version[at]);
    if (answers.every((answer) => answer === survivor)) return true;
    if (answers.includes(undefined)) return false;
  }
}

/**
 * Survivors that some walk misses, while it sees any mixture of the versions from one to another. `gone`: from which version on
 * a signature is withdrawn, though a version may still have it.
 */
function missed(versions: readonly Version[], gone: ReadonlyMap<string, number> = new Map()): string[] {
  const paths: string[] = [];
  for (let from = 0; from < versions.length; from += 1) {
    for (let to = from; to < versions.length; to += 1) {
      const during = versions.slice(from, to + 1);
      const [first = [], ...others] = during;
      const throughout = new Set(
        first.filter(
          (one) =>
            others.every((version) => version.includes(one)) && (gone.get(one) ?? versions.length) > to,
        ),
      );
      for (const one of throughout)
        if (!everyWalkSees(one, during)) paths.push(`${one} from ${from} to ${to}`);
    }
  }
  return paths;
}

/** Appends (true) and withdrawals (the position among the survivors), in this order. */
type Acts = readonly (true | number)[];

const ACTS = fc.array(fc.oneof(fc.constant<true>(true), fc.nat({ max: 5 })), { maxLength: 9 });

describe('a walk 1, 2, 3 … while signatures are appended and withdrawn', () => {
  test('sees every signature that was there throughout, and no empty one, in every mixture of old and new', async () => {
    /** Taken after each step on the disk. */
    let look: () => Promise<void> = async () => undefined;
    await using opened = await openStore({
      kind: 'owned',
      between: (ports) => {
        const { writer } = ports;
        const seen = <T>(act: Promise<T>) =>
          act.then(async (done) => {
            await look();
            return done;
          });
        return {
          ...ports,
          writer: Object.assign(Object.create(writer), {
            place: (...of: Parameters<typeof writer.place>) => seen(writer.place(...of)),
            fill: (...of: Parameters<typeof writer.fill>) => seen(writer.fill(...of)),
            remove: (...of: Parameters<typeof writer.remove>) => seen(writer.remove(...of)),
          }),
        };
      },
    });
    const { tombstones } = opened.databases;
    const put = tombstones.put.bind(tombstones);
    let images = 0;
    await fc.assert(
      fc.asyncProperty(ACTS, fc.boolean(), async (acts: Acts, atOnce) => {
        images += 1;
        const image = imageIn(folderOf(`walk/image-${images}`));
        const versions: Version[] = [];
        const gone = new Map<string, number>();
        tombstones.put = (tombstone, event) => {
          gone.set(tombstone.sha256, versions.length);
          return put(tombstone, event);
        };
        const take = (version: Version) => {
          assert.ok(!version.includes(''));
          versions.push(version);
        };
        const disk = async (): Promise<Version> => {
          const bytes: string[] = [];
          for (let number = 1; ; number += 1) {
            const file = await opened.tree.readFile(imageFolder(image), number);
            if (file === null) return bytes;
            bytes.push(file.length === 0 ? '' : sha256Hex(file));
          }
        };
        look = async () => take(await disk());
        const memory = async () =>
          take((await opened.reader.readSet(image)).entries.map(({ sha256 }) => sha256));
        let appended = 0;
        const act = async (what: true | number) => {
          if (what === true) {
            appended += 1;
            await opened.appender.append(uploadOf(image, signatureBytes(`${images} ${appended}`)));
          } else {
            const { entries } = await opened.reader.readSet(image);
            const real = entries.flatMap(({ isFiller }, at) => (isFiller === true ? [] : [at + 1]));
            const number = real[what % Math.max(real.length, 1)];
            if (number === undefined) return;
            await opened.appender.withdraw(withdrawalOf(image, number)).catch((error: unknown) => {
              // another one has withdrawn it, or what stood there
              if (!isLookasideError(error, 'NOT_FOUND')) throw error;
            });
          }
          await memory();
        };
        await Promise.all([act(true), act(true), act(true)]);
        if (atOnce) await Promise.all(acts.map(act));
        else for (const what of acts) await act(what);
        take(await disk());
        const missing = missed(versions, gone);
        assert.deepEqual(
          missing,
          [],
          JSON.stringify(versions.map((version) => version.map((one) => one.slice(0, 4)))),
        );
      }),
      { numRuns: 40 },
    );
  });

  test('would miss one if the numbers behind a withdrawn one moved: this check fails then', () => {
    assert.deepEqual(
      missed([
        ['a', 'b', 'c'],
        ['a', 'c'],
      ]),
      ['c from 0 to 1'],
    );
    assert.deepEqual(
      missed([
        ['a', 'b', 'c'],
        ['a', 'a', 'c'],
      ]),
      [],
    );
    assert.deepEqual(missed([['a', 'b'], ['a']]), []);
    const shift = (acts: Acts): readonly Version[] => {
      let appended = 0;
      const versions: string[][] = [[]];
      for (const act of acts) {
        const last = versions.at(-1) ?? [];
        appended += 1;
        versions.push(act === true ? [...last, `${appended}`] : last.filter((_, at) => at !== act));
      }
      return versions;
    };
    const { failed } = fc.check(
      fc.property(ACTS, (acts) => missed(shift(acts)).length === 0),
      { numRuns: 2000 },
    );
    assert.ok(failed);
  });
});
