// Two sites over one index, which any of them may find unusable.
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { createTurns } from '../../src/domain/concurrency.ts';
import { isLookasideError, LookasideError } from '../../src/domain/errors.ts';
import type { SignatureIndex } from '../../src/domain/ports.ts';
import type { Problem } from '../../src/domain/tree.ts';
import { createSitesUpkeep, type SitesUpkeep } from '../../src/service/sites-upkeep.ts';
import { createUpkeep, type SiteUpkeep } from '../../src/service/upkeep.ts';
import { createClock, createLog } from './hand-driven.ts';

const NAMES = ['default', 'rh'] as const;
const COUNTS = {
  default: { images: 2, signatures: 3, problems: 0 },
  rh: { images: 10, signatures: 20, problems: 0 },
};
const SUM = { images: 12, signatures: 23, problems: 0 };

interface Scene {
  /** Thrown by the next scan of that site. */
  fails?: { readonly site: string; readonly error: Error } | null;
  problems?: readonly (Problem & { readonly site: string; readonly isDamage: boolean })[];
}

function open(t: TestContext, scene: Scene = {}) {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const acts: string[] = [];
  const turns = createTurns();
  let underWay = 0;

  async function alone<T>(name: string, act: () => Promise<T>): Promise<T> {
    assert.equal(underWay, 0, `${name} while another is under way`);
    underWay += 1;
    acts.push(name);
    await Promise.resolve();
    return act().finally(() => {
      underWay -= 1;
    });
  }

  const unused = () => assert.fail('upkeep has no business here');
  const index: SignatureIndex = {
    recorded: unused,
    listFolder: unused,
    hasChild: unused,
    images: unused,
    counts: unused,
    treeOf: unused,
    bind: unused,
    record: unused,
    forgetFolder: unused,
    markComplete: unused,
    peekWrites: unused,
    isComplete: async () => true,
    reset: () => alone('reset', async () => undefined),
  };
  const sites = new Map<string, SiteUpkeep>();
  for (const name of NAMES) {
    sites.set(
      name,
      createUpkeep({
        site: name,
        scanner: {
          scan: (site, { onProgress }) =>
            alone(`scan ${site}`, async () => {
              const { fails } = scene;
              if (fails?.site === site) {
                scene.fails = null;
                throw fails.error;
              }
              onProgress?.(COUNTS[name]);
              return COUNTS[name];
            }),
          async *findProblems(site, { onProgress }) {
            acts.push(`look ${site}`);
            onProgress?.(COUNTS[name]);
            yield* (scene.problems ?? []).filter((problem) => problem.site === site);
          },
          repair: async () => true,
        },
        index,
        whenIndexChecked: async () => undefined,
        clock: createClock(),
        log: createLog(),
        scanIntervalMs: () => null,
        takeTurn: (walk) => turns.take('walk', walk),
        onReset: () => upkeep.indexWasReset(name),
      }),
    );
  }
  const upkeep: SitesUpkeep = createSitesUpkeep(sites);
  t.after(() => upkeep.stop());
  async function pass(ms: number): Promise<void> {
    t.mock.timers.tick(ms);
    await setImmediate();
  }
  return { upkeep, acts, pass };
}

test('an index that is unusable at the start is made anew once, and every site is in it afterwards', async (t) => {
  const { upkeep, acts, pass } = open(t);
  upkeep.rebuild();
  upkeep.start();
  await pass(0);
  assert.deepEqual(
    acts.filter((act) => act === 'reset'),
    ['reset'],
  );
  for (const name of NAMES) assert.ok(acts.lastIndexOf(`scan ${name}`) > acts.indexOf('reset'), acts.join());
});

test('what one site has made anew is filled again with the other, which waits for its turn', async (t) => {
  const scene: Scene = { fails: { site: 'rh', error: new LookasideError('INDEX_UNUSABLE', 'damaged') } };
  const { upkeep, acts, pass } = open(t, scene);
  upkeep.start();
  await pass(0);
  assert.deepEqual(acts.splice(0), ['scan default', 'scan rh']);
  await pass(10_000);
  assert.deepEqual(acts, ['reset', 'scan rh', 'scan default']);
});

test('reindex makes the index anew once, from all trees, and counts them all', async (t) => {
  const { upkeep, acts } = open(t);
  const reported: number[] = [];
  const onProgress = ({ images }: { readonly images: number }) => void reported.push(images);
  assert.deepEqual(await upkeep.reindex({ acceptDamage: false, onProgress }), SUM);
  assert.deepEqual(acts, ['look rh', 'look default', 'reset', 'scan default', 'scan rh']);
  assert.deepEqual(reported, [2, 12]);
});

test('reindex fails when another site could not be scanned, and that is tried again', async (t) => {
  const scene: Scene = { fails: { site: 'rh', error: new LookasideError('STORE_UNAVAILABLE', 'closed') } };
  const { upkeep, acts, pass } = open(t, scene);
  await assert.rejects(upkeep.reindex({ acceptDamage: true }), /closed/);
  assert.deepEqual(acts.splice(0), ['reset', 'scan default', 'scan rh']);
  await pass(10_000);
  assert.deepEqual(acts, ['scan rh']);
});

test('damage in any tree stops reindex before anything is forgotten', async (t) => {
  for (const site of NAMES) {
    await t.test(site, async (each) => {
      const problems = [{ site, kind: 'missing', path: 'a/signature-1', isDamage: true }] as const;
      const { upkeep, acts } = open(each, { problems });
      await assert.rejects(upkeep.reindex({ acceptDamage: false }), (error) =>
        isLookasideError(error, 'DAMAGE_FOUND'),
      );
      assert.ok(!acts.includes('reset'), acts.join());
    });
  }
});

test('fsck looks at every tree and tells in which one it found something', async (t) => {
  const problems = NAMES.map((site) => {
    return { site, kind: 'empty', path: 'team/app/signature-1', isDamage: false } as const;
  });
  const { upkeep } = open(t, { problems });
  const { findings, images, isCompared } = await upkeep.fsck({ repair: false });
  assert.deepEqual(
    findings.map(({ site, path }) => [site, path]),
    problems.map(({ site, path }) => [site, path]),
  );
  assert.deepEqual([images, isCompared], [12, true]);
});
