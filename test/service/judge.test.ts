import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { setImmediate as othersHaveTheirTurn } from 'node:timers/promises';
import { LookasideError } from '../../src/domain/errors.ts';
import { type ImageId, imageFolder, imageKey } from '../../src/domain/image.ts';
import type { IndexedSignature, VerdictIndex } from '../../src/domain/ports.ts';
import type { Judgement } from '../../src/domain/verdict.ts';
import { createJudge } from '../../src/service/judge.ts';
import { createGate } from '../gate.ts';
import { createClock, createLog, imageOf } from './hand-driven.ts';
import { goodFor, indexed, refusedWith } from './judgements.ts';

const UNVERIFIED = { ...refusedWith('SIGNATURE_BAD', 'unverified'), refusal: null };

/** A judge over rows in memory; `find` says what verification finds of a row's bytes. Ids in `again` are judged again. */
function open(
  images: readonly ImageId[],
  find: (image: ImageId, sha256: string) => Promise<Judgement>,
  lost: ReadonlySet<string> = new Set(),
) {
  const rows: IndexedSignature[] = images.map((image, position) => {
    return indexed(image, 1, UNVERIFIED, { id: position + 1, sha256: `${position}`.padStart(64, '0') });
  });
  const examined: string[] = [];
  const again = new Set<number>();
  const isToBeJudged = ({ verdict, id }: IndexedSignature) => verdict === 'unverified' || again.has(id);
  const walks: number[] = [];
  const allDone = createGate();
  const ofImage = (image: ImageId) => rows.filter((row) => imageKey(row.image) === imageKey(image));
  const index: VerdictIndex = {
    generation: async () => 'g',
    search: async () => [],
    countByKey: async () => 0,
    imagesByKey: async () => [],
    async judgeAgain() {
      for (const { id } of rows) again.add(id);
    },
    ofImage: async (image) => ofImage(image),
    unjudgedOf: async (image) => ofImage(image).filter(isToBeJudged),
    unjudged: async (_site, _now, after, limit) => {
      walks.push(after);
      const rowsToJudge = rows.filter((row) => isToBeJudged(row) && row.id > after).slice(0, limit);
      if (rowsToJudge.length === 0) allDone.open();
      return rowsToJudge;
    },
    async judge(judged) {
      for (const { image, sha256, judgement } of judged) {
        const at = rows.findIndex((row) => row.sha256 === sha256 && imageKey(row.image) === imageKey(image));
        const { id = 0, number = 0 } = rows[at] ?? {};
        again.delete(id);
        rows[at] = indexed(image, number, judgement, { id, sha256 });
      }
    },
  };
  const log = createLog();
  const clock = createClock();
  const judge = createJudge({
    site: 'default',
    index,
    store: { readBlob: async (_image, sha256) => (lost.has(sha256) ? null : Buffer.from(sha256)) },
    verifier: {
      examine: async (bytes) => {
        const sha256 = Buffer.from(bytes).toString();
        const row = rows.find((candidate) => candidate.sha256 === sha256) ?? assert.fail();
        examined.push(row.image.path);
        return find(row.image, sha256);
      },
    },
    clock,
    log,
    badLog: log,
  });
  return { judge, index, rows, examined, walks, log, clock, allDone: allDone.promise };
}

const paths = (count: number) =>
  Array.from({ length: count }, (_, position) => imageOf(`team/app${position}`));

describe('the judge', () => {
  test('gives every signature its verdict, each once', async () => {
    const { judge, rows, examined, allDone } = open(paths(250), async (image) => goodFor(image));
    judge.start();
    await allDone;
    await judge.stop();
    assert.equal(rows.filter(({ verdict }) => verdict === 'good').length, 250);
    assert.equal(examined.length, 250);
  });

  test('takes the image that somebody asked for first', async () => {
    const gate = createGate();
    const images = paths(20);
    const { judge, examined, allDone } = open(images, async (image) => {
      await gate.promise;
      return goodFor(image);
    });
    await judge.prefer(images[19] ?? assert.fail());
    judge.start();
    gate.open();
    await allDone;
    await judge.stop();
    assert.equal(examined[0], 'team/app19');
    assert.equal(examined.length, 20, 'and not a second time');
  });

  test('goes on at once when the scan that it makes way for ends', async () => {
    const { judge, examined, allDone } = open(paths(3), async (image) => goodFor(image));
    judge.makeWay();
    judge.start();
    judge.goOn();
    await allDone;
    await judge.stop();
    assert.equal(examined.length, 3);
  });

  test('makes way for a scan that takes in images, for ten seconds also what somebody asks for', async () => {
    const images = paths(20);
    const [asked, askedLater] = [images[19] ?? assert.fail(), images[18] ?? assert.fail()];
    const isAskedFound = createGate();
    const { judge, examined, clock, walks, allDone } = open(images, async (image) => {
      if (image === asked) isAskedFound.open();
      return goodFor(image);
    });
    const passOneSecond = async () => {
      clock.pass(1000);
      judge.makeWay();
      judge.wake();
      await othersHaveTheirTurn();
    };
    judge.makeWay();
    await judge.prefer(asked);
    judge.start();
    for (let second = 1; second < 10; second += 1) await passOneSecond();
    assert.deepEqual(examined, []);
    await passOneSecond();
    await isAskedFound.promise;
    await judge.prefer(askedLater);
    assert.deepEqual(walks, []);
    clock.pass(2000);
    judge.wake();
    await allDone;
    await judge.stop();
    assert.deepEqual(examined.slice(0, 2), ['team/app19', 'team/app18']);
    assert.equal(examined.length, 20);
  });

  test('takes what somebody asks for once the scan has ended', async () => {
    const images = paths(20);
    const { judge, examined, allDone } = open(images, async (image) => goodFor(image));
    judge.makeWay();
    await judge.prefer(images[19] ?? assert.fail());
    judge.start();
    judge.goOn();
    await allDone;
    await judge.stop();
    assert.equal(examined[0], 'team/app19');
  });

  test('does not make way for more than five minutes of a scan that has no end', async () => {
    const { judge, examined, clock, walks, allDone } = open(paths(3), async (image) => goodFor(image));
    judge.makeWay();
    judge.start();
    for (let second = 0; second < 299; second += 1) {
      clock.pass(1000);
      judge.makeWay();
      judge.wake();
      await othersHaveTheirTurn();
    }
    assert.deepEqual(walks, []);
    clock.pass(1000);
    judge.makeWay();
    judge.wake();
    await allDone;
    await judge.stop();
    assert.equal(examined.length, 3);
  });

  test('makes way for each scan anew', async () => {
    const { judge, examined, clock, walks, allDone } = open(paths(3), async (image) => goodFor(image));
    judge.makeWay();
    clock.pass(300_000);
    judge.goOn();
    judge.makeWay();
    judge.start();
    await othersHaveTheirTurn();
    assert.deepEqual(walks, []);
    judge.goOn();
    await allDone;
    await judge.stop();
    assert.equal(examined.length, 3);
  });

  test('calls a good signature of another manifest bad where it stands', async () => {
    const image = imageOf('team/app');
    const { judge, rows, log } = open([image], async () => goodFor(imageOf('team/app', 'b')));
    await judge.judgeImage(image);
    assert.deepEqual([rows[0]?.verdict, rows[0]?.reason], ['bad', 'DIGEST_MISMATCH']);
    const [line] = log.lines;
    assert.equal(line?.level, 'warn');
    assert.equal(line?.fields.path, `/${imageFolder(image)}/signature-1`);
  });

  test('lets a copy under another repository stand: mirrors keep the names of their source', async () => {
    const image = imageOf('mirror/app');
    const { judge, rows } = open([image], async () => goodFor(imageOf('team/app')));
    await judge.judgeImage(image);
    assert.equal(rows[0]?.verdict, 'good');
  });

  test('asks for no rows of an image that certainly has none', async () => {
    const image = imageOf('team/app');
    const { judge, index, examined } = open([image], async () => goodFor(image));
    const asked: ImageId[] = [];
    const { unjudgedOf } = index;
    Object.assign(index, {
      peekLacks: ({ path }: ImageId) => path === 'team/new',
      unjudgedOf: (one: ImageId) => {
        asked.push(one);
        return unjudgedOf(one);
      },
    });
    await judge.judgeImage(imageOf('team/new'));
    assert.deepEqual(asked, []);
    await judge.judgeImage(image);
    assert.equal(examined.length, 1);
  });

  test('keeps nothing of the key’s present state beside a good verdict', async () => {
    const image = imageOf('team/app');
    const refusal = { code: 'KEY_EXPIRED', message: 'since yesterday' } as const;
    const { judge, rows } = open([image], async () => goodFor(image, { refusal }));
    await judge.judgeImage(image);
    assert.deepEqual([rows[0]?.verdict, rows[0]?.reason], ['good', null]);
  });

  test('has settled when all that was there has its verdict, and at once when it does not run', async () => {
    const { judge, rows } = open(paths(250), async (image) => goodFor(image));
    await judge.settled();
    assert.equal(rows[0]?.verdict, 'unverified');
    judge.start();
    await judge.settled();
    assert.equal(rows.filter(({ verdict }) => verdict === 'good').length, 250);
    const late = judge.settled();
    await judge.stop();
    await late;
    await judge.settled();
  });

  test('is not stopped by bytes that are gone, or by one that it cannot examine', async () => {
    const [gone, failing, fine] = paths(3);
    assert.ok(gone !== undefined && failing !== undefined && fine !== undefined);
    const { judge, rows, log, allDone } = open(
      [gone, failing, fine],
      async (image) => {
        if (image === failing) throw new Error('a bug of ours');
        return goodFor(image);
      },
      new Set(['0'.padStart(64, '0')]),
    );
    judge.start();
    await allDone;
    await judge.stop();
    assert.deepEqual(
      rows.map(({ verdict }) => verdict),
      ['unverified', 'unverified', 'good'],
    );
    assert.deepEqual(
      log.lines.map(({ level }) => level),
      ['error'],
    );
  });

  test('does not fail an upload whose neighbours cannot be judged now', async () => {
    const image = imageOf('team/app');
    const { judge, rows } = open([image], async () => {
      throw new LookasideError('BUSY', 'too much waits');
    });
    await judge.judgeImage(image);
    assert.equal(rows[0]?.verdict, 'unverified');
  });

  test('stops while it waits for something to do', async () => {
    const { judge, allDone, rows } = open([], async (image) => goodFor(image));
    judge.start();
    await allDone;
    await judge.stop();
    rows.push(indexed(imageOf('team/app'), 1, UNVERIFIED));
    judge.wake();
    await new Promise((resolve) => setImmediate(resolve));
    assert.equal(rows[0]?.verdict, 'unverified', 'after the end it does nothing');
  });

  test('stops without waiting for the verdict under way, and writes those before it', async () => {
    const images = paths(3);
    const isSecond = createGate();
    const gate = createGate();
    const { judge, rows, examined } = open(images, async (image) => {
      if (image !== images[0]) {
        isSecond.open();
        await gate.promise;
      }
      return goodFor(image);
    });
    judge.start();
    await isSecond.promise;
    await judge.stop();
    gate.open();
    await new Promise((resolve) => setImmediate(resolve));
    assert.deepEqual(
      rows.map(({ verdict }) => verdict),
      ['good', 'unverified', 'unverified'],
    );
    assert.equal(examined.length, 2);
  });

  test('writes nothing that it found with a keyring that is no longer in force', async () => {
    const image = imageOf('team/app');
    const gate = createGate();
    const asked = createGate();
    let finds = refusedWith('KEY_UNKNOWN', 'no-key');
    const { judge, rows } = open([image], async () => {
      const judgement = finds;
      asked.open();
      await gate.promise;
      return judgement;
    });
    const first = judge.judgeImage(image);
    await asked.promise;
    judge.keysChanged();
    finds = goodFor(image);
    gate.open();
    await first;
    assert.equal(rows[0]?.verdict, 'unverified');
    await judge.judgeImage(image);
    assert.equal(rows[0]?.verdict, 'good');
  });

  test('judges again what a new key concerns, and its verdict stands until then', async () => {
    const image = imageOf('team/app');
    const judgements = [goodFor(image), refusedWith('KEY_REVOKED')];
    const gate = createGate();
    const { judge, index, rows } = open([image], async () => {
      const judgement = judgements.shift() ?? assert.fail();
      if (judgements.length === 0) await gate.promise;
      return judgement;
    });
    await judge.judgeImage(image);
    await index.judgeAgain('default', []);
    const again = judge.judgeImage(image);
    assert.equal(rows[0]?.verdict, 'good');
    gate.open();
    await again;
    assert.deepEqual([rows[0]?.verdict, rows[0]?.reason], ['bad', 'KEY_REVOKED']);
    await judge.judgeImage(image);
    assert.equal(judgements.length, 0, 'and not a third time');
  });

  test('goes through nothing for an image of which nothing is to be judged', async () => {
    const image = imageOf('team/app');
    const { judge, walks, allDone } = open([image], async () => goodFor(image));
    judge.start();
    await allDone;
    const before = walks.length;
    await judge.prefer(image);
    await judge.prefer(imageOf('never/there'));
    await new Promise((resolve) => setImmediate(resolve));
    await judge.stop();
    assert.equal(walks.length, before);
  });

  test('lets nobody who asks for an image meet an index that cannot be used', async () => {
    const image = imageOf('team/app');
    const { judge, index, rows } = open([image], async () => goodFor(image));
    index.unjudgedOf = async () => {
      throw new LookasideError('INDEX_UNUSABLE', 'it is made anew');
    };
    await judge.prefer(image);
    await judge.judgeImage(image);
    assert.equal(rows[0]?.verdict, 'unverified');
  });

  test('looks again when it is woken', async () => {
    const { judge, rows, allDone } = open([], async (image) => goodFor(image));
    judge.start();
    await allDone;
    const image = imageOf('late/app');
    rows.push(indexed(image, 1, UNVERIFIED));
    await judge.prefer(image);
    while (rows[0]?.verdict !== 'good') await new Promise((resolve) => setImmediate(resolve));
    await judge.stop();
    assert.equal(rows[0].verdict, 'good');
  });
});
