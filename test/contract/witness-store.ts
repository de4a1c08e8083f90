// What every LogStore promises of the heads of other logs, run over each implementation.
import assert from 'node:assert/strict';
import { describe } from 'node:test';
import type { LogStore, Witnessed } from '../../src/domain/log.ts';
import { testOver } from './under-test.ts';

type WitnessStore = Pick<LogStore, 'witness' | 'witnessed'>;

export interface WitnessStoreUnderTest {
  readonly log: WitnessStore;
  /** All that may be open over the same heads at once. */
  readonly all: readonly WitnessStore[];
  /** The same heads as another start, or another node, finds them. */
  reopen(): Promise<WitnessStore>;
  close(): Promise<void>;
}

function headOf(size: number, byte = size): Witnessed {
  const at = new Date('2026-11-22T10:00:00.123Z');
  return { size, root: Buffer.alloc(32, byte), note: `log\n${size}\n— log ${byte}\n`, at };
}

export function witnessStoreContract(name: string, open: () => Promise<WitnessStoreUnderTest>): void {
  const test = testOver(open);

  describe(name, () => {
    test('the last head of each log is there, also after another start', async (under) => {
      assert.equal(await under.log.witnessed('one'), null);
      assert.deepEqual(await under.log.witness('one', 0, headOf(3)), { isRecorded: true, size: 3 });
      assert.deepEqual(await under.log.witness('two', 0, headOf(5)), { isRecorded: true, size: 5 });
      assert.deepEqual(await under.log.witness('one', 3, headOf(7)), { isRecorded: true, size: 7 });
      const reopened = await under.reopen();
      for (const [origin, size] of [
        ['one', 7],
        ['two', 5],
      ] as const) {
        const { root, ...rest } = (await reopened.witnessed(origin)) ?? assert.fail();
        const { note, at } = headOf(size);
        assert.deepEqual({ size: rest.size, note: rest.note, at: rest.at }, { size, note, at });
        assert.deepEqual(Buffer.from(root), Buffer.alloc(32, size));
      }
    });

    test('a head that goes on from another than the last one is not recorded', async ({ log }) => {
      assert.deepEqual(await log.witness('one', 3, headOf(4)), { isRecorded: false, size: 0 });
      await log.witness('one', 0, headOf(3));
      assert.deepEqual(await log.witness('one', 0, headOf(9)), { isRecorded: false, size: 3 });
      assert.deepEqual(await log.witness('one', 4, headOf(9)), { isRecorded: false, size: 3 });
      assert.equal((await log.witnessed('one'))?.size, 3);
    });

    test('of heads that come at once from one size, through all that are open, one is recorded', async ({
      log,
      all,
    }) => {
      await log.witness('one', 0, headOf(3));
      const heads = Array.from({ length: 40 }, (_, n) => headOf(4 + n));
      const answers = await Promise.all(
        heads.map((head, n) => (all[n % all.length] ?? log).witness('one', 3, head)),
      );
      const recorded = answers.flatMap((answer, n) => (answer.isRecorded ? [4 + n] : []));
      assert.equal(recorded.length, 1);
      assert.ok(answers.every((answer) => answer.size === recorded[0]));
      assert.equal((await log.witnessed('one'))?.size, recorded[0]);
    });
  });
}
