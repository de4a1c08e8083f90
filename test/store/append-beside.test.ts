// Uploads to trees that something else has changed, and what is recovered after a crash.
import assert from 'node:assert/strict';
import { copyFile, readdir, readFile, rm, unlink, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { beforeEach, describe, it } from 'node:test';
import { LookasideError } from '../../src/domain/errors.ts';
import { createGate } from '../gate.ts';
import {
  append,
  appendUntil,
  assertServes,
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
  served,
  THREE,
  TWO,
  temp,
  uploaded,
  uploads,
} from './append-scene.ts';
import { folderOf, layFile, layImage, linkSignatures, sha256Hex, signatureBytes } from './lay.ts';
import { imageIn, kindsOf, type Ports, SITE, uploadOf } from './open-store.ts';

it('a new image is stored without a question to the index, once that certainly has no row of it', async () => {
  await open('owned');
  await opened.scanner.scan(SITE);
  const { index } = opened.databases;
  const newImage = (at: number) => imageIn(folderOf(`team/new-${at}`));
  for (let at = 0; !index.peekLacks(newImage(at)); at += 1) {
    assert.ok(at < 1000, 'never told');
    await new Promise((resolve) => setImmediate(resolve));
  }
  const asked: string[] = [];
  const recorded = index.recorded.bind(index);
  Object.assign(index, {
    recorded: (image: Parameters<typeof recorded>[0]) => {
      asked.push(image.path);
      return recorded(image);
    },
  });
  const { appender } = opened;
  assert.equal((await appender.append(uploadOf(newImage(0), ONE))).outcome, 'created');
  assert.deepEqual(asked, []);
  // what is there all the same keeps its number, and what was just stored is found
  await layImage(opened.root, 'team/new-1', TWO);
  assert.equal((await appender.append(uploadOf(newImage(1), THREE))).number, 2);
  assert.equal((await appender.append(uploadOf(newImage(0), ONE))).outcome, 'exists');
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
