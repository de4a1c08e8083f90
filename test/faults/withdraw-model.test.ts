// The protocol of withdrawals, checked exhaustively for small sizes: the store's own code over a disk in memory, in every order of its
// steps up to some number of cuts, with a crash after each step of each, and after each step of what mends the crash.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import type { TombstoneStore } from '../../src/domain/ports.ts';
import type { TreeWriter } from '../../src/domain/tree.ts';
import type { Disk, ModelPorts } from '../store/model-disk.ts';
import {
  explore,
  type Mutate,
  NAMES,
  onBothDisks,
  type RandomAct,
  type Scenario,
  YESTERDAY,
} from '../store/withdraw-model.ts';
import { count, isFull } from './promise.ts';

/** How often one task may be cut off by another in one run: in `npm test` the first two scenarios alone have a cut. */
const CUTS = count(2, 1);
const CUTS_OF_OTHERS = count(2, 0);

const READ = { does: 'read', times: 2 } as const;
const SCENARIOS: readonly Scenario[] = [
  {
    name: 'one in the middle is withdrawn',
    before: ['A', 'B', 'C'],
    acts: [{ does: 'withdraw', name: 'B', number: 2 }, READ],
  },
  {
    name: 'the first is withdrawn while another is uploaded',
    before: ['A', 'B'],
    acts: [{ does: 'withdraw', name: 'A', number: 1 }, { does: 'upload', name: 'X' }, READ],
  },
  {
    name: 'the last is withdrawn, and an upload may take its number',
    before: ['A', 'B'],
    acts: [{ does: 'withdraw', name: 'B', number: 2 }, { does: 'upload', name: 'X' }, READ],
  },
  {
    name: 'the only one is withdrawn while another is uploaded',
    before: ['A'],
    acts: [{ does: 'withdraw', name: 'A', number: 1 }, { does: 'upload', name: 'X' }, READ],
  },
  {
    name: 'two are withdrawn at once',
    before: ['A', 'B', 'C'],
    acts: [{ does: 'withdraw', name: 'A', number: 1 }, { does: 'withdraw', name: 'C', number: 3 }, READ],
  },
  {
    name: 'one order takes two, while another is uploaded',
    before: ['A', 'B', 'C'],
    acts: [{ does: 'order', names: ['B', 'C'] }, { does: 'upload', name: 'X' }, READ],
  },
  {
    name: 'the same bytes are uploaded while they are withdrawn',
    before: ['A', 'B'],
    acts: [{ does: 'withdraw', name: 'A', number: 1 }, { does: 'upload', name: 'A' }, READ],
  },
  {
    name: 'one is put back while another is withdrawn',
    before: ['A', 'B', 'C'],
    ended: ['B'],
    acts: [{ does: 'put back', name: 'B' }, { does: 'withdraw', name: 'A', number: 1 }, READ],
  },
  {
    name: 'one is put back while its bytes are uploaded',
    before: ['A', 'B'],
    ended: ['B'],
    acts: [{ does: 'put back', name: 'B' }, { does: 'upload', name: 'B' }, READ],
  },
];

describe('withdrawals, uploads and ends of withdrawals beside readers', () => {
  for (const [at, scenario] of SCENARIOS.entries()) {
    test(`${scenario.name}: no reader misses or gets one wrongly, and a crash at any step is mended`, async (t) => {
      for (const isScanned of isFull ? [true, false] : [true]) {
        const most = at < 2 ? CUTS : CUTS_OF_OTHERS;
        const preemptions = isScanned ? most : 1;
        const { runs, crashes } = await explore(scenario, { preemptions, isScanned });
        t.diagnostic(`${runs} orders, ${crashes} crashes${isScanned ? '' : ', before the scan'}`);
        const orders = preemptions === 0 ? 6 : 20;
        assert.ok(runs >= orders && crashes > 5, `${runs} orders, ${crashes} crashes are too few`);
      }
    });
  }
});

const someName = fc.constantFrom(...NAMES);
const someActs: fc.Arbitrary<readonly RandomAct[]> = fc.array(
  fc.oneof(
    { weight: 3, arbitrary: someName.map((name) => ({ does: 'upload', name }) as const) },
    {
      weight: 2,
      arbitrary: fc.integer({ min: 1, max: 5 }).map((number) => ({ does: 'withdraw', number }) as const),
    },
    {
      weight: 2,
      arbitrary: fc
        .integer({ min: 1, max: 5 })
        .map((number) => ({ does: 'withdraw', number, until: YESTERDAY }) as const),
    },
    { weight: 2, arbitrary: someName.map((name) => ({ does: 'put back', name }) as const) },
  ),
  { minLength: 6, maxLength: 14 },
);

test('the disk of the model answers as a real one does', async () => {
  await fc.assert(
    fc.asyncProperty(someActs, async (acts) => {
      const [model, real] = await onBothDisks(acts);
      assert.deepEqual(model, real);
    }),
    { numRuns: count(30, 4) },
  );
});

/** The ports with some of the writer's or of the tombstones' steps made otherwise. */
function otherwise(
  ports: ModelPorts,
  writer: Partial<TreeWriter>,
  tombstones: Partial<TombstoneStore> = {},
): ModelPorts {
  return {
    ...ports,
    writer: { ...ports.writer, ...writer },
    tombstones: { ...ports.tombstones, ...tombstones },
  };
}

const lowestOther = ({ files }: Disk, sha256: string) =>
  [...files].sort(([a], [b]) => a - b).find(([, other]) => other !== sha256)?.[0];

interface Wrong {
  readonly name: string;
  readonly scenario: string;
  readonly mutate: Mutate;
  readonly complaint: RegExp;
}

const WRONG: readonly Wrong[] = [
  {
    name: 'the files come before the tombstone',
    scenario: 'one in the middle is withdrawn',
    mutate: (ports, disk) =>
      otherwise(
        ports,
        {},
        {
          async put(tombstone, event) {
            const { sha256, number } = tombstone;
            const from = lowestOther(disk, sha256);
            if (from !== undefined) await ports.writer.fill('', number, from);
            return ports.tombstones.put(tombstone, event);
          },
        },
      ),
    complaint: /B is missed|the index has something else/,
  },
  {
    name: 'it counts as settled before the files are',
    scenario: 'one in the middle is withdrawn',
    mutate: (ports) =>
      otherwise(
        ports,
        {},
        {
          async put(tombstone, event) {
            const done = await ports.tombstones.put(tombstone, event);
            await ports.tombstones.settle(tombstone.image, [tombstone.sha256], false);
            return done;
          },
        },
      ),
    complaint: /B is withdrawn, and on the disk/,
  },
  {
    name: 'numbers move up',
    scenario: 'one in the middle is withdrawn',
    mutate: (ports, disk) =>
      otherwise(ports, {
        async fill(folder, number) {
          const behind = [...disk.files.keys()].filter((one) => one > number).sort((a, b) => a - b);
          for (const one of behind) await ports.writer.fill(folder, one - 1, one);
          await ports.writer.remove(folder, Math.max(number, ...behind));
        },
      }),
    complaint: /C is missed on disk/,
  },
  {
    name: 'the number is left empty',
    scenario: 'one in the middle is withdrawn',
    mutate: (ports) => otherwise(ports, { fill: (folder, number) => ports.writer.remove(folder, number) }),
    complaint: /a number is missing on the disk/,
  },
  {
    name: 'files behind the last one go from the lowest up',
    scenario: 'one order takes two, while another is uploaded',
    mutate(ports) {
      const put: [string, number][] = [];
      return otherwise(
        {
          ...ports,
          index: Object.assign(Object.create(ports.index), {
            async record(...images: Parameters<typeof ports.index.record>) {
              for (const [folder, number] of put.splice(0).reverse())
                await ports.writer.remove(folder, number);
              return ports.index.record(...images);
            },
          }),
        },
        { remove: async (...one) => void put.push(one) },
      );
    },
    complaint: /a number is missing on the disk/,
  },
  {
    name: 'it is in force again before its bytes are there',
    scenario: 'one is put back while another is withdrawn',
    mutate(ports) {
      const late: (() => Promise<unknown>)[] = [];
      return otherwise(
        ports,
        {
          async place(prepared, folder, from) {
            late.push(() => ports.writer.place(prepared, folder, from));
            return from;
          },
        },
        {
          async lift(...of) {
            const isLifted = await ports.tombstones.lift(...of);
            for (const act of late.splice(0)) await act();
            return isLifted;
          },
        },
      );
    },
    complaint: /B was put back, and is missed|the index has something else/,
  },
];

describe('the same check', () => {
  for (const { name, scenario: wanted, mutate, complaint } of WRONG) {
    test(`fails when ${name}`, async () => {
      const scenario = SCENARIOS.find((one) => one.name === wanted) ?? assert.fail(wanted);
      await assert.rejects(explore(scenario, { preemptions: 0, mutate }), complaint);
    });
  }
});
