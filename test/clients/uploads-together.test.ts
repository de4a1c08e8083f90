// Many uploads at once to the server as it runs: one winner for each number, numbers without gaps, one copy of the same
// bytes.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import {
  MAX_BATCH_PARTS,
  MAX_SIGNATURES_PER_CLAIM,
  MAX_SIGNATURES_PER_IMAGE,
} from '../../src/domain/limits.ts';
import { count, promise } from '../faults/promise.ts';
import { folderOf, sha256Hex } from '../store/lay.ts';
import { summaryOf, takenAs, tally } from './uploads.ts';
import { openUploadsScene, type UploadsScene } from './uploads-scene.ts';

const AT_ONCE = 50;
const READERS = count(20, 5);

let scene: UploadsScene;

before(async () => {
  scene = await openUploadsScene();
});

after(() => scene?.[Symbol.asyncDispose]());

const times = <T>(count: number, make: (index: number) => T): T[] =>
  Array.from({ length: count }, (_, index) => make(index));

/** Statements of different names about one image. */
const differentSignatures = (repository: string, count: number): Buffer[] =>
  times(count, (index) => scene.signer.sign({ repository, tag: `v${index}` }));

/** What readers of the target are answered, each in order, until `uploading` settles: an error, or what was read. */
async function watch(target: string, uploading: Promise<unknown>): Promise<readonly string[][]> {
  let isOver = false;
  const over = uploading.finally(() => {
    isOver = true;
  });
  const readers = times(READERS, async () => {
    const answers: string[] = [];
    while (!isOver) {
      const { status, body } = await scene.uploads.get(target);
      answers.push(status === 200 ? sha256Hex(body) : `${status}`);
    }
    return answers;
  });
  const [seen] = await Promise.all([Promise.all(readers), over]);
  return seen;
}

const withoutRepeats = (answers: readonly string[]) =>
  answers.filter((answer, position) => answer !== answers[position - 1]);

/** Different signatures race for the number; every reader meets nothing or the winner. */
async function race(repository: string, number: number): Promise<void> {
  const folder = folderOf(repository);
  const earlier = times(number - 1, (index) => scene.signer.sign({ repository, tag: `earlier-${index}` }));
  for (const bytes of earlier) takenAs(await scene.uploads.post(folder, bytes), 201);

  const signatures = differentSignatures(repository, AT_ONCE);
  const racing = Promise.all(
    signatures.map((bytes) => scene.uploads.put(`${folder}/signature-${number}`, bytes)),
  );
  const seen = await watch(`${folder}/signature-${number}`, racing);
  const answers = await racing;

  assert.deepEqual(tally(answers), { '201': 1, '409 NUMBER_TAKEN': AT_ONCE - 1 });
  const winner = signatures[answers.findIndex(({ status }) => status === 201)];
  assert.ok(winner !== undefined);
  for (const { status, detail } of answers) {
    if (status === 409) assert.deepEqual(detail, { next: number + 1 });
  }
  for (const answered of seen) {
    const changes = withoutRepeats(answered);
    assert.ok(
      [[], ['404'], ['404', sha256Hex(winner)], [sha256Hex(winner)]].some(
        (allowed) => allowed.join() === changes.join(),
      ),
      `a reader saw ${changes.join(', ')}`,
    );
  }
  await scene.assertHolds(folder, [...earlier, winner]);
}

/** 49 refusals each; after 1,000 within a minute the server tells the token to slow down. */
const ROUNDS = count(10, 1);

describe(`${AT_ONCE} uploads at once`, () => {
  promise(
    {
      id: 'P4',
      what: `of ${AT_ONCE} different signatures to one number one is taken, and no reader meets another`,
      wanted: `1 winner of ${AT_ONCE}, ${ROUNDS} rounds`,
    },
    async (see) => {
      for (let round = 0; round < ROUNDS; round += 1) {
        await race(`race/number-${round}`, ((round + 1) % 3) + 1);
        see(`1 winner of ${AT_ONCE}, ${round + 1} rounds`);
      }
    },
  );

  test('of different signatures behind the last take numbers without a gap', async () => {
    const repository = 'race/append';
    const folder = folderOf(repository);
    const signatures = differentSignatures(repository, AT_ONCE);
    const answers = await Promise.all(signatures.map((bytes) => scene.uploads.post(folder, bytes)));
    const receipts = answers.map((answer) => takenAs(answer, 201));
    const numbers = receipts.map(({ number }) => number);
    assert.deepEqual(
      [...numbers].sort((a, b) => a - b),
      times(AT_ONCE, (index) => index + 1),
    );
    assert.equal(new Set(receipts.map(({ auditSeq }) => auditSeq)).size, AT_ONCE);
    const byNumber = times(AT_ONCE, (index) => signatures[numbers.indexOf(index + 1)] ?? Buffer.alloc(0));
    await scene.assertHolds(folder, byNumber);
  });

  for (const how of ['put', 'post'] as const) {
    test(`of the same bytes by ${how.toUpperCase()} store one copy`, async () => {
      const repository = `race/same-${how}`;
      const folder = folderOf(repository);
      const bytes = scene.signer.sign({ repository, tag: 'v1' });
      const target = how === 'put' ? `${folder}/signature-1` : folder;
      const answers = await Promise.all(times(AT_ONCE, () => scene.uploads[how](target, bytes)));
      assert.deepEqual(tally(answers), { '200': AT_ONCE - 1, '201': 1 });
      const sequences = new Set(answers.map(({ receipt }) => receipt?.auditSeq));
      assert.equal(sequences.size, 1, 'all are told of the one event');
      for (const { receipt } of answers) assert.equal(receipt?.number, 1);
      await scene.assertHolds(folder, [bytes]);
    });
  }

  test('of equivalent signatures store one, and the other answers say so', async () => {
    const repository = 'race/equivalent';
    const folder = folderOf(repository);
    const signatures = times(AT_ONCE, (timestamp) => scene.signer.sign({ repository, tag: 'v1', timestamp }));
    const answers = await Promise.all(signatures.map((bytes) => scene.uploads.post(folder, bytes)));
    assert.deepEqual(tally(answers), { '200': AT_ONCE - 1, '201': 1 });
    const winner = signatures[answers.findIndex(({ status }) => status === 201)];
    assert.ok(winner !== undefined);
    for (const { status, receipt } of answers) {
      assert.equal(receipt?.signatureSha256, sha256Hex(winner));
      const codes = receipt?.warnings.map(({ code }) => code);
      assert.deepEqual(codes, status === 200 ? ['EQUIVALENT_EXISTS'] : []);
    }
    await scene.assertHolds(folder, [winner]);
  });

  test('of equivalent signatures that are forced are stored up to a few, and other names have room', async () => {
    const repository = 'race/forced';
    const folder = folderOf(repository);
    const signatures = times(AT_ONCE, (timestamp) => scene.signer.sign({ repository, tag: 'v1', timestamp }));
    const answers = await Promise.all(
      signatures.map((bytes) => scene.uploads.post(`${folder}?force=1`, bytes)),
    );
    assert.deepEqual(tally(answers), {
      '201': MAX_SIGNATURES_PER_CLAIM,
      '409 TOO_MANY_SIGNATURES': AT_ONCE - MAX_SIGNATURES_PER_CLAIM,
    });
    const other = scene.signer.sign({ repository, tag: 'v2' });
    takenAs(await scene.uploads.post(folder, other), 201);
    const numbers = answers.map(({ receipt }) => receipt?.number ?? 0);
    const stored = times(
      MAX_SIGNATURES_PER_CLAIM,
      (index) => signatures[numbers.indexOf(index + 1)] ?? Buffer.alloc(0),
    );
    await scene.assertHolds(folder, [...stored, other]);
  });

  test('of one signature in other bytes take one number, by every door and with force', async () => {
    const repository = 'race/dresses';
    const folder = folderOf(repository);
    const [plain = Buffer.alloc(0), ...dresses] = scene.signer.dresses({ repository, tag: 'v1' });
    takenAs(await scene.uploads.post(folder, plain), 201);
    const answers = await Promise.all(
      dresses.flatMap((bytes) => [
        scene.uploads.post(`${folder}?force=1`, bytes),
        scene.uploads.put(`${folder}/signature-2`, bytes),
      ]),
    );
    assert.deepEqual(tally(answers), { '200': 2 * dresses.length });
    const { results } = await scene.uploads.batch(dresses.map((bytes) => ({ bytes })));
    assert.deepEqual(new Set(results.map(summaryOf)), new Set(['exists']));
    await scene.assertHolds(folder, [plain]);
  });

  test('of one signature whose strangest form came first leave every reader one that it can read', async () => {
    const repository = 'race/strange-first';
    const folder = folderOf(repository);
    const [plain = Buffer.alloc(0), ...dresses] = scene.signer.dresses({ repository, tag: 'v1' });
    const tagged = (bytes: Uint8Array) => Buffer.concat([Buffer.from('\0simple-signing\n'), bytes]);
    const odd = dresses.find((bytes) => bytes.includes('for nobody')) ?? assert.fail();
    const all = [tagged(odd), odd, tagged(plain), plain, ...dresses, ...dresses.map(tagged)];
    for (const bytes of all) await scene.uploads.post(folder, bytes);
    await scene.assertHolds(folder, [tagged(odd), odd, tagged(plain), plain]);
  });

  test('to as many images are all first, and the audit log has no hole', async () => {
    const repositories = times(AT_ONCE, (index) => `race/many-${index % 7}/deep-${index}`);
    const signatures = repositories.map((repository) => scene.signer.sign({ repository, tag: 'v1' }));
    const answers = await Promise.all(
      repositories.map((repository, index) =>
        scene.uploads.put(`${folderOf(repository)}/signature-1`, signatures[index] ?? Buffer.alloc(0)),
      ),
    );
    const receipts = answers.map((answer) => takenAs(answer, 201));
    const sequences = receipts.map(({ auditSeq }) => auditSeq ?? 0).sort((a, b) => a - b);
    const first = sequences[0] ?? 0;
    assert.deepEqual(
      sequences,
      times(AT_ONCE, (index) => first + index),
    );
    for (const [index, repository] of repositories.entries()) {
      await scene.assertHolds(folderOf(repository), [signatures[index] ?? Buffer.alloc(0)]);
    }
  });

  test('leave nothing behind', () => scene.assertNoDebris());
});

describe('the last number that clients read', () => {
  const repository = 'full/app';
  const folder = folderOf(repository);

  test('is given once when many want it, and the 128th signature is refused by every door', async () => {
    const signatures = differentSignatures(repository, MAX_SIGNATURES_PER_IMAGE + 20);
    const room = 7;
    const first = signatures.slice(0, MAX_SIGNATURES_PER_IMAGE - room);
    for (const part of [first.slice(0, MAX_BATCH_PARTS), first.slice(MAX_BATCH_PARTS)]) {
      const { results } = await scene.uploads.batch(part.map((bytes) => ({ bytes })));
      assert.deepEqual(new Set(results.map(({ result }) => result)), new Set(['created']));
    }
    const rest = signatures.slice(first.length);
    const answers = await Promise.all(rest.map((bytes) => scene.uploads.post(folder, bytes)));
    assert.deepEqual(tally(answers), {
      '201': room,
      '409 TOO_MANY_SIGNATURES': rest.length - room,
    });
    const numbers = answers.flatMap(({ receipt }) => (receipt === null ? [] : [receipt.number]));
    assert.deepEqual(
      numbers.sort((a, b) => a - b),
      times(room, (index) => first.length + index + 1),
    );

    const extra = scene.signer.sign({ repository, tag: 'extra' });
    for (const answer of [
      await scene.uploads.put(`${folder}/signature-${MAX_SIGNATURES_PER_IMAGE + 1}`, extra),
      await scene.uploads.post(`${folder}?force=1`, extra),
    ]) {
      assert.deepEqual([answer.status, answer.code], [409, 'TOO_MANY_SIGNATURES']);
    }
    const { results } = await scene.uploads.batch([{ bytes: extra }, { bytes: signatures[0] ?? extra }]);
    assert.deepEqual(results.map(summaryOf), ['TOO_MANY_SIGNATURES', 'exists']);
    assert.equal((await scene.uploads.get(`${folder}/signature-${MAX_SIGNATURES_PER_IMAGE}`)).status, 200);
    assert.equal(
      (await scene.uploads.get(`${folder}/signature-${MAX_SIGNATURES_PER_IMAGE + 1}`)).status,
      404,
    );
  });
});
