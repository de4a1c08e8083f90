// Damage to an owned tree: the recorded bytes go on being served, every tool names it, and a repair undoes it.
import assert from 'node:assert/strict';
import { cp, mkdir, readFile, rename, rm, symlink, truncate, unlink, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { after, afterEach, before, beforeEach, describe, it } from 'node:test';
import type { Outcome } from '../clients/command.ts';
import { describeOutcome } from '../clients/command.ts';
import { eventually } from '../clients/eventually.ts';
import { type LookasideServer, runLookaside, startServer } from '../clients/server.ts';
import { openTempFolder, type TempFolder } from '../clients/temp-folder.ts';
import { type RawAnswer, requestRaw } from '../http/raw-request.ts';
import { layFile, layImage, signatureBytes } from '../store/lay.ts';
import { isFull } from './promise.ts';

const ONE = signatureBytes('one');
const TWO = signatureBytes('two');
const LARGE = signatureBytes('large', 20_000);

let temp: TempFolder;
let data: string;
let root: string;
/** The folder of the image that comes to harm. */
let folder: string;
let sound: string;
let server: LookasideServer | null = null;

const file = (number: number) => path.join(root, folder, `signature-${number}`);

before(async () => {
  temp = await openTempFolder();
  data = path.join(temp.path, 'data');
  root = path.join(data, 'sigstore');
  folder = await layImage(root, 'team/app', ONE, TWO);
  sound = await layImage(root, 'team/sound', TWO);
  await start();
  await whole();
  await stop();
  await cp(data, path.join(temp.path, 'kept'), { recursive: true, preserveTimestamps: true });
});
after(() => temp?.[Symbol.asyncDispose]());

/** The data directory as a server left it that had seen the tree whole; in its place, which the index knows. */
async function layAgain(): Promise<void> {
  await rm(data, { recursive: true, force: true });
  await cp(path.join(temp.path, 'kept'), data, { recursive: true, preserveTimestamps: true });
}

async function start(settings: Readonly<Record<string, string>> = {}): Promise<LookasideServer> {
  server = await startServer({ data, settings });
  return server;
}

async function stop(): Promise<void> {
  await server?.stop();
  server = null;
}

async function clear(): Promise<void> {
  await server?.[Symbol.asyncDispose]();
  server = null;
}

const get = (target: string): Promise<RawAnswer> => {
  assert.ok(server !== null);
  return requestRaw(server.port, `GET ${target}`);
};

interface Readiness {
  readonly status: string;
  readonly reads: string;
  readonly writes: string;
  readonly checks: Record<string, { readonly state: string; readonly message: string | null }>;
}

async function readiness(): Promise<Readiness & { readonly code: number }> {
  const { status, body } = await get('/readyz');
  return { code: status, ...(JSON.parse(body.toString()) as Readiness) }; // the route's own shape
}

/** Until the index is whole and was checked. */
async function whole(): Promise<void> {
  await eventually(async () => assert.equal((await readiness()).checks.index?.state, 'ok'));
}

async function damaged(): Promise<number> {
  const { body } = await get('/metrics');
  return Number(/^lookaside_damaged_signatures\{site="default"\} ([0-9]+)$/m.exec(body.toString())?.[1]);
}

async function assertServes(...signatures: readonly Uint8Array[]): Promise<void> {
  for (const [position, bytes] of signatures.entries()) {
    const { status, body } = await get(`/${folder}/signature-${position + 1}`);
    assert.equal(status, 200);
    assert.deepEqual(body, bytes);
  }
  assert.equal((await get(`/${folder}/signature-${signatures.length + 1}`)).status, 404);
}

const lookaside = (...args: readonly string[]): Promise<Outcome> => runLookaside([...args, '--data', data]);

function assertOutcome(outcome: Outcome, status: number, ...patterns: readonly RegExp[]): void {
  assert.equal(outcome.status, status, describeOutcome(outcome));
  for (const pattern of patterns) assert.match(outcome.stdout + outcome.stderr, pattern);
}

interface Damage {
  readonly what: string;
  readonly kind: 'missing' | 'changed';
  /** The numbers that are hurt. */
  readonly numbers: readonly number[];
  inflict(): Promise<unknown>;
}

const DAMAGES: readonly Damage[] = [
  { what: 'a deleted file', kind: 'missing', numbers: [1], inflict: () => unlink(file(1)) },
  {
    what: 'a deleted folder',
    kind: 'missing',
    numbers: [1, 2],
    inflict: () => rm(path.join(root, folder), { recursive: true }),
  },
  {
    what: 'a flipped bit',
    kind: 'changed',
    numbers: [2],
    async inflict() {
      const bytes = Buffer.from(TWO);
      bytes[100] = (bytes[100] ?? 0) ^ 1;
      await writeFile(file(2), bytes);
    },
  },
  { what: 'a truncated file', kind: 'changed', numbers: [1], inflict: () => truncate(file(1), 100) },
  { what: 'an emptied file', kind: 'changed', numbers: [1], inflict: () => truncate(file(1), 0) },
  {
    what: 'a file replaced by a link out of the tree',
    kind: 'changed',
    numbers: [1],
    async inflict() {
      await writeFile(path.join(temp.path, 'theirs'), TWO);
      await unlink(file(1));
      await symlink(path.join(temp.path, 'theirs'), file(1));
    },
  },
  {
    what: 'a file replaced by a folder',
    kind: 'changed',
    numbers: [2],
    async inflict() {
      await unlink(file(2));
      await mkdir(file(2));
    },
  },
  {
    what: 'a file replaced by another signature',
    kind: 'changed',
    numbers: [1],
    inflict: () => writeFile(file(1), TWO),
  },
];

describe('an owned tree with', () => {
  beforeEach(layAgain);
  afterEach(clear);

  const named = ({ kind, numbers }: Damage) =>
    numbers.map((number) => new RegExp(`${kind} +${folder}/signature-${number}  `));

  async function assertRepaired(): Promise<void> {
    assert.deepEqual(await readFile(file(1)), ONE);
    assert.deepEqual(await readFile(file(2)), TWO);
    assertOutcome(await lookaside('fsck'), 0, / 0 problems, 0 repaired/);
  }

  // each kind of damage in `npm run faults`; in `npm test` one of what is changed, and below one of what is missing
  const some = ['a flipped bit'];
  for (const damage of DAMAGES.filter(({ what }) => isFull || some.includes(what))) {
    const { what, kind, numbers, inflict } = damage;

    it(`${what} is told by the scan at start and by fsck, serves the recorded bytes on, and is repaired beside the server`, async () => {
      await inflict();
      await start();
      await assertServes(ONE, TWO);
      await eventually(async () => assert.equal(await damaged(), numbers.length));
      const { code, status, reads, writes, checks } = await readiness();
      assert.deepEqual([code, status, reads, writes], [200, 'degraded', 'ok', 'ok']);
      assert.equal(checks.damage?.state, 'degraded');
      assert.ok(server !== null);
      for (const number of numbers) {
        assert.match(
          server.output(),
          new RegExp(`"problem":"${kind}","path":"${folder}/signature-${number}"`),
        );
      }
      await assertServes(ONE, TWO);
      const repair = await lookaside('fsck', '--repair');
      assertOutcome(repair, 0, new RegExp(`repaired +${folder}/signature-${numbers[0]} `));
      await assertRepaired();

      await inflict(); // once more, to a server that has seen the tree whole
      await assertServes(ONE, TWO);
      assertOutcome(await lookaside('fsck'), 1, ...named(damage));
      assertOutcome(await lookaside('fsck', '--repair'), 0);
      await assertServes(ONE, TWO);
      assert.deepEqual([await readFile(file(1)), await readFile(file(2))], [ONE, TWO]);
    });
  }

  // what the command does alone is what the server does for it: one kind of damage shows that both do
  for (const damage of DAMAGES.filter(
    ({ what }) => what === 'a deleted folder' || (isFull && what === 'a flipped bit'),
  )) {
    it(`${damage.what} is named and repaired by fsck when no server runs`, async () => {
      await damage.inflict();
      assertOutcome(await lookaside('fsck'), 1, ...named(damage));
      assertOutcome(await lookaside('fsck', '--repair'), 0);
      await assertRepaired();
    });
  }
});

describe('damage to an owned tree', () => {
  beforeEach(layAgain);
  afterEach(clear);

  it('that was repaired is no longer told by the server', async () => {
    await unlink(file(1));
    await start();
    await eventually(async () => assert.equal(await damaged(), 1));
    assertOutcome(await lookaside('fsck', '--repair'), 0);
    assert.equal(await damaged(), 0);
    assert.equal((await readiness()).status, 'ok');
  });

  it('that a scan finds while the server runs is told within the scan interval', async () => {
    await start({ LOOKASIDE_SCAN_INTERVAL: '100ms' });
    await whole();
    await unlink(file(1));
    await eventually(async () => assert.equal(await damaged(), 1));
    assert.equal((await readiness()).code, 200);
    await assertServes(ONE, TWO);
    await writeFile(file(1), ONE);
    await eventually(async () => assert.equal(await damaged(), 0));
    assert.equal((await readiness()).status, 'ok');
  });

  it('is found in JSON with path, kind and what to do', async () => {
    await start();
    await whole();
    await unlink(file(1));
    const outcome = await lookaside('fsck', '--json');
    assert.equal(outcome.status, 1);
    const { findings, problems, repaired, isCompared } = JSON.parse(outcome.stdout);
    assert.deepEqual([problems, repaired, isCompared], [1, 0, true]);
    assert.equal(findings[0].kind, 'missing');
    assert.equal(findings[0].path, `${folder}/signature-1`);
    assert.match(findings[0].message, /fsck --repair/);
  });

  it('keeps reindex from forgetting what is lost, unless the loss is accepted', async () => {
    await start();
    await whole();
    await unlink(file(2));
    const stopped = [false, true];
    for (const isStopped of stopped) {
      if (isStopped) await stop();
      assertOutcome(await lookaside('reindex'), 1, new RegExp(`${folder}/signature-2`), /--accept-damage/);
    }
    await start();
    await assertServes(ONE, TWO);
    assertOutcome(await lookaside('reindex', '--accept-damage'), 0, /2 images, 2 signatures, 0 problems/);
    await eventually(() => assertServes(ONE));
    assertOutcome(await lookaside('fsck'), 0);
  });

  it('of a signature over 8 KiB is a 503 with Retry-After and never other bytes', async () => {
    await start();
    await whole();
    await layFile(root, `${sound}/signature-2`, LARGE);
    assertOutcome(await lookaside('reindex'), 0);
    const target = `/${sound}/signature-2`;
    assert.deepEqual((await get(target)).body, LARGE);
    const place = path.join(root, target);
    const changed = Buffer.from(LARGE);
    changed[9999] = 0;
    const harms: readonly (() => Promise<unknown>)[] = [
      () => writeFile(place, changed),
      () => truncate(place, 9000),
      () => unlink(place),
      () => mkdir(place),
    ];
    for (const harm of harms) {
      await harm();
      const { status, headers, body } = await get(target);
      assert.equal(status, 503, String(harm));
      assert.match(headers.get('retry-after') ?? '', /^[0-9]+$/);
      assert.ok(!body.includes(0x89));
      assert.equal((await get(`/${sound}/signature-1`)).status, 200);
      assert.equal((await get(`/${sound}/signature-3`)).status, 404);
      assert.equal(await damaged(), 1);
    }
    assertOutcome(await lookaside('fsck', '--repair'), 1, new RegExp(`${sound}/signature-2`));
    await rm(place, { recursive: true });
    await writeFile(place, LARGE);
    assert.deepEqual((await get(target)).body, LARGE);
    assertOutcome(await lookaside('fsck'), 0);
  });
});

describe('a file that was put into an owned tree by hand', () => {
  before(layAgain);
  after(clear);

  it('is extra, and served only after a reindex, also across restarts', async () => {
    await start();
    await whole();
    await writeFile(file(3), ONE);
    for (let restart = 0; restart < 2; restart += 1) {
      // until the index is checked, what is on disk is served: it might be the index that lost a row
      assert.equal((await get(`/${folder}/signature-2`)).status, 200);
      assert.ok([200, 404].includes((await get(`/${folder}/signature-3`)).status));
      await whole();
      await eventually(() => assertServes(ONE, TWO));
      // it is nothing that a repair could put right
      assertOutcome(await lookaside('fsck', '--repair'), 1, new RegExp(`extra +${folder}/signature-3  `));
      await stop();
      assertOutcome(await lookaside('fsck'), 1, new RegExp(`extra +${folder}/signature-3  `));
      await start();
    }
    assertOutcome(await lookaside('reindex'), 0, /2 images, 4 signatures, 0 problems/);
    await eventually(() => assertServes(ONE, TWO, ONE));
    assertOutcome(await lookaside('fsck'), 0);
  });

  it('is no withdrawal when it is moved away again', async () => {
    await rename(file(3), `${file(3)}.away`);
    await assertServes(ONE, TWO, ONE);
    assertOutcome(await lookaside('fsck'), 1, new RegExp(`missing +${folder}/signature-3  `));
  });
});
