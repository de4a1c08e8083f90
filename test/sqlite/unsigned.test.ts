// Images that were asked for and never had a signature: the sums that are kept say what a plain list says, whatever comes after them.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import fc from 'fast-check';
import { type ImageId, imageKey, imageName } from '../../src/domain/image.ts';
import type { MissingCount } from '../../src/domain/ports.ts';
import { ANY_RECORD, type RecordFilter, repositoryOf } from '../../src/domain/records.ts';
import { createEventMaker } from '../../src/service/audit.ts';
import type { Databases } from '../../src/sqlite/databases.ts';
import { filesOf, openForReading, openForWriting } from '../../src/sqlite/open.ts';
import { QuestionSession } from '../../src/sqlite/question-session.ts';
import { type PackerLimits, UnsignedPacker } from '../../src/sqlite/unsigned-packer.ts';
import { unsignedFileOf } from '../../src/sqlite/unsigned-store.ts';
import { later, missing, NOON } from '../contract/access-log.ts';
import { count } from '../faults/promise.ts';
import { createClock } from '../service/hand-driven.ts';
import { type Cleanup, open, temporaryFolder } from './scratch.ts';

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
const ALWAYS = Number.MAX_SAFE_INTEGER;
const never = () => undefined;

const eventMaker = createEventMaker({
  clock: createClock(),
  randomBytes: (length) => new Uint8Array(length),
});

async function filled(t: Cleanup) {
  const dataDir = temporaryFolder(t);
  const { databases } = await open(dataDir);
  const session = new QuestionSession(dataDir, never);
  t.after(async () => {
    session.close();
    await databases.close();
  });
  return { databases, session, dataDir };
}

function imageOf(k: number): ImageId {
  const hex = createHash('sha256').update(`${k}`).digest('hex');
  const path = ['team/app', 'team', 'teams/app', 'other'][k % 4] ?? '';
  return {
    site: k % 5 === 0 ? 'rh' : 'default',
    layout: k % 3 === 0 ? 'release' : 'repository',
    path,
    algorithm: 'sha256',
    hex,
  };
}

async function upload(databases: Databases, image: ImageId): Promise<void> {
  const by = { name: 'ci', address: null, requestId: null };
  const event = eventMaker({ action: 'upload', image, result: 'created' }, by);
  const about = { image, sha256: 'a'.repeat(64), sizeBytes: 1, uploader: 'ci', storedAt: NOON };
  await databases.uploads.add({ ...about, bytes: null, remap: null }, event);
}

/** The question, over a plain list of requests. */
class Model {
  readonly days = new Map<string, Map<string, MissingCount>>();
  readonly signed = new Set<string>();

  ask(one: MissingCount): void {
    const day = one.firstAt.toISOString().slice(0, 10);
    const rows = this.days.get(day) ?? new Map<string, MissingCount>();
    this.days.set(day, rows);
    const key = imageKey(one.image);
    const known = rows.get(key);
    rows.set(key, {
      ...one,
      count: (known?.count ?? 0) + one.count,
      firstAt: new Date(Math.min(known?.firstAt.getTime() ?? ALWAYS, one.firstAt.getTime())),
      lastAt: new Date(Math.max(known?.lastAt.getTime() ?? 0, one.lastAt.getTime())),
    });
  }

  answer({ since, until, site, repository }: RecordFilter) {
    const images = new Map<string, MissingCount>();
    for (const rows of this.days.values()) {
      for (const [key, one] of rows) {
        const { image, count, firstAt, lastAt, lastAddress } = one;
        const { path } = image;
        if (this.signed.has(key) || (site !== null && image.site !== site)) continue;
        if (repository !== null && path !== repository && !path.startsWith(`${repository}/`)) continue;
        if ((since !== null && lastAt < since) || (until !== null && firstAt >= until)) continue;
        const known = images.get(key) ?? { ...one, count: 0 };
        const isLast = lastAt >= known.lastAt;
        images.set(key, {
          image,
          count: known.count + count,
          firstAt: firstAt < known.firstAt ? firstAt : known.firstAt,
          lastAt: isLast ? lastAt : known.lastAt,
          lastAddress: isLast ? lastAddress : known.lastAddress,
        });
      }
    }
    return images;
  }
}

function assertAgree(session: QuestionSession, model: Model, filter: RecordFilter, what: string): void {
  session.begin();
  const answer = session.unsigned(filter, 1000);
  const wanted = model.answer(filter);
  assert.equal(answer.found, wanted.size, what);
  const byKey = new Map(answer.rows.map((row) => [`${row.site} ${row.image}`, row]));
  const repositories = new Map<string, { count: number; images: number; lastMs: number }>();
  for (const { image, count, firstAt, lastAt, lastAddress } of wanted.values()) {
    const name = imageName(image);
    const row = byKey.get(`${image.site} ${name}`);
    assert.deepEqual(row, { site: image.site, image: name, count, firstAt, lastAt, lastAddress }, what);
    const known = repositories.get(repositoryOf(name)) ?? { count: 0, images: 0, lastMs: 0 };
    repositories.set(repositoryOf(name), {
      count: known.count + count,
      images: known.images + 1,
      lastMs: Math.max(known.lastMs, lastAt.getTime()),
    });
  }
  const counts = answer.rows.map(({ count }) => count);
  assert.deepEqual(
    counts,
    [...counts].sort((one, other) => other - one),
    what,
  );
  assert.equal(answer.repositoriesFound, repositories.size, what);
  assert.deepEqual(
    new Map(
      answer.repositories.map(({ repository, count, images, lastAt }) => [
        repository,
        { count, images, lastMs: lastAt.getTime() },
      ]),
    ),
    repositories,
    what,
  );
  // the first ones alone
  const { rows, repositories: most } = session.unsigned(filter, 2);
  assert.deepEqual(
    rows.map(({ count }) => count),
    counts.slice(0, 2),
    what,
  );
  assert.deepEqual(most, answer.repositories.slice(0, 2), what);
}

type Step =
  | {
      readonly kind: 'ask';
      readonly day: number;
      readonly requests: readonly {
        readonly image: number;
        readonly minute: number;
        readonly count: number;
      }[];
    }
  | { readonly kind: 'upload' | 'index'; readonly image: number }
  | { readonly kind: 'pack'; readonly mostImages: number; readonly mostBytes: number }
  | { readonly kind: 'close' | 'drop' | 'damage' };

const STEP: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      kind: fc.constant('ask' as const),
      day: fc.nat(3),
      requests: fc.array(
        fc.record({ image: fc.nat(30), minute: fc.nat(600), count: fc.integer({ min: 1, max: 5 }) }),
        { maxLength: 20 },
      ),
    }),
  },
  { weight: 2, arbitrary: fc.constant<Step>({ kind: 'close' }) },
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constant('pack' as const),
      mostImages: fc.constantFrom(5, 100),
      mostBytes: fc.constantFrom(ALWAYS, 0, 69_632),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({ kind: fc.constantFrom('upload' as const, 'index' as const), image: fc.nat(30) }),
  },
  { weight: 1, arbitrary: fc.constantFrom<Step>({ kind: 'drop' }, { kind: 'damage' }) },
);

const FILTERS: readonly RecordFilter[] = [
  ANY_RECORD,
  { ...ANY_RECORD, since: later(DAY_MS), until: later(2 * DAY_MS + 4 * HOUR_MS) },
  { ...ANY_RECORD, repository: 'team' },
  { ...ANY_RECORD, site: 'rh', since: later(2 * HOUR_MS) },
];

/** As the thread does it, with days that go on. */
function pack(dataDir: string, limits: Omit<PackerLimits, 'fewRows'>): void {
  const file = unsignedFileOf(dataDir);
  if (!existsSync(join(dataDir, 'access'))) return;
  try {
    if (readFileSync(file, 'latin1').startsWith('no database')) removeUnsigned(dataDir);
  } catch {
    // there is none yet
  }
  if (!packOnce(dataDir, limits)) return;
  removeUnsigned(dataDir);
  packOnce(dataDir, limits);
}

function removeUnsigned(dataDir: string): void {
  for (const name of filesOf(unsignedFileOf(dataDir))) rmSync(name, { force: true });
}

function packOnce(dataDir: string, limits: Omit<PackerLimits, 'fewRows'>): boolean {
  const db = openForWriting(unsignedFileOf(dataDir), 'unsigned');
  const packer = new UnsignedPacker(db, dataDir, { ...limits, fewRows: 0 });
  const isTooLarge = packer.pack();
  packer.close();
  db.close();
  return isTooLarge;
}

async function run(steps: readonly Step[]): Promise<void> {
  const cleanups: (() => unknown)[] = [];
  const { databases, session, dataDir } = await filled({
    after: (act) => void cleanups.push(act as () => unknown),
  });
  try {
    const model = new Model();
    let today = 0;
    for (const [position, step] of steps.entries()) {
      switch (step.kind) {
        case 'ask': {
          today = Math.max(today, step.day);
          // one time each: of two at the same time, either client is the last
          const requests = step.requests.map(({ image, minute, count }, k) =>
            missing({
              image: imageOf(image),
              count,
              firstAt: later(step.day * DAY_MS + minute * 60_000 + position * 100 + k),
              lastAt: later(step.day * DAY_MS + minute * 60_000 + position * 100 + k),
              lastAddress: `192.0.2.${(k % 9) + 1}`,
            }),
          );
          requests.sort((one, other) => one.firstAt.getTime() - other.firstAt.getTime());
          const written: MissingCount[] = [];
          for (const one of requests) {
            // the record keeps the client that was written last, so each is later than those before
            const known = model.days.get(one.firstAt.toISOString().slice(0, 10))?.get(imageKey(one.image));
            const at = new Date(Math.max(one.firstAt.getTime(), (known?.lastAt.getTime() ?? 0) + 1));
            const next = { ...one, firstAt: at, lastAt: at };
            model.ask(next);
            written.push(next);
          }
          await databases.access.write({ reads: [], missing: written });
          break;
        }
        case 'upload':
          model.signed.add(imageKey(imageOf(step.image)));
          await upload(databases, imageOf(step.image));
          break;
        case 'index':
          model.signed.add(imageKey(imageOf(step.image)));
          await databases.index.record([
            {
              image: imageOf(step.image),
              signatures: [
                {
                  number: 1,
                  sha256: 'b'.repeat(64),
                  sizeBytes: 1,
                  storedAt: NOON,
                  bytes: new Uint8Array(1),
                },
              ],
            },
          ]);
          break;
        case 'close':
          // an hour later each time, so that what is kept of today is made anew too
          await databases.access.closeDays(later(today * DAY_MS + position * 600_000));
          break;
        case 'pack':
          pack(dataDir, step);
          break;
        case 'drop': {
          const oldest = [...model.days.keys()].sort()[0];
          if (oldest === undefined || model.days.size < 2) break;
          model.days.delete(oldest);
          const now = new Date(Date.parse(oldest) + 3 * DAY_MS);
          await databases.access.prune({ now, steadyMs: DAY_MS, retentionMs: 2 * DAY_MS, maxBytes: ALWAYS });
          break;
        }
        case 'damage':
          if (existsSync(unsignedFileOf(dataDir))) writeFileSync(unsignedFileOf(dataDir), 'no database');
          break;
      }
      for (const filter of FILTERS) assertAgree(session, model, filter, `step ${position}: ${step.kind}`);
    }
  } finally {
    for (const act of cleanups.reverse()) await act();
  }
}

test('images that were never signed are those of a plain list, whatever is kept of the days', async () => {
  await fc.assert(fc.asyncProperty(fc.array(STEP, { minLength: 3, maxLength: 14 }), run), {
    numRuns: count(40, 4),
  });
});

test('one image that is asked for is the only one of the answer, on each of its sites', async (t) => {
  const { databases, session } = await filled(t);
  const wanted = imageOf(3);
  const asked = [wanted, { ...wanted, site: 'rh' }, { ...wanted, path: 'elsewhere' }, imageOf(2)];
  await databases.access.write({ reads: [], missing: asked.map((image) => missing({ image, count: 2 })) });
  const { layout, path, algorithm, hex } = wanted;
  const digest = { algorithm, hex };
  const of = (filter: Partial<RecordFilter>) =>
    session
      .unsigned({ ...ANY_RECORD, ...filter }, 10)
      .rows.map(({ site, image }) => `${site} ${image}`)
      .sort();
  const name = imageName(wanted);
  assert.deepEqual(of({ image: { digest, place: { layout, path } } }), [`default ${name}`, `rh ${name}`]);
  assert.deepEqual(of({ image: { digest, place: { layout, path } }, site: 'rh' }), [`rh ${name}`]);
  assert.equal(of({ image: { digest, place: null } }).length, 3, 'below any path');
  assert.equal(of({}).length, 4);
});

test('what is kept has a size, beyond which days are read from their own files, and a smaller size makes it smaller', async (t) => {
  const { databases, session, dataDir } = await filled(t);
  const model = new Model();
  for (let day = 0; day < 4; day += 1) {
    const asked = Array.from({ length: 1500 }, (_, k) => {
      const at = later(day * DAY_MS + k);
      return missing({ image: imageOf(day * 1000 + k), firstAt: at, lastAt: at });
    });
    for (const one of asked) model.ask(one);
    await databases.access.write({ reads: [], missing: asked });
  }
  const images = ['2026-11-22', '2026-11-23', '2026-11-24', '2026-11-25'];
  const kept = () => {
    const db = openForReading(unsignedFileOf(dataDir), 'unsigned');
    const days = db.prepare<[], string>('SELECT day FROM day ORDER BY day').pluck().all();
    db.close();
    return days;
  };
  const size = () => statSync(unsignedFileOf(dataDir)).size;
  const filter = { ...ANY_RECORD, repository: 'team/app', site: 'rh' };
  const sizes: number[] = [];
  for (const [mostBytes, days] of [
    [ALWAYS, images],
    [500_000, images.slice(0, 2)],
    [300_000, images.slice(0, 1)],
    [10, []],
    [ALWAYS, images],
  ] as const) {
    pack(dataDir, { mostBytes });
    assert.deepEqual(kept(), days, `${mostBytes}: ${size()}`);
    sizes.push(size());
    if (mostBytes > 10) assert.ok(size() <= mostBytes, `${size()} of ${mostBytes}`);
    assertAgree(session, model, filter, `${mostBytes}`);
  }
  assert.ok((sizes[0] ?? 0) > 500_000, 'all of it is larger than the sizes that were tried');
  removeUnsigned(dataDir);
  const db = openForWriting(unsignedFileOf(dataDir), 'unsigned');
  const packer = new UnsignedPacker(db, dataDir, { fewRows: 0, mostBytes: 150_000 });
  packer.pack();
  packer.close();
  const written = Number(db.prepare<[], number>('SELECT total_changes()').pluck().get());
  db.close();
  assert.deepEqual(kept(), []);
  assert.ok(written > 1500 && written < 2500, `${written} rows: of four days without room, one was tried`);
});

test('what is kept counts to the size of the record, of which it may have a quarter', async (t) => {
  const { databases, dataDir } = await filled(t);
  for (let day = 0; day < 3; day += 1) {
    const asked = Array.from({ length: 2500 }, (_, k) => {
      const at = later(day * DAY_MS + k);
      return missing({ image: imageOf(day * 10_000 + k), firstAt: at, lastAt: at });
    });
    await databases.access.write({ reads: [], missing: asked });
  }
  const now = later(3 * DAY_MS);
  const folder = join(dataDir, 'access');
  const days = () => readdirSync(folder).filter((name) => /^2026-..-..\.db$/.test(name));
  const prune = (maxBytes: number) =>
    databases.access.prune({ now, steadyMs: DAY_MS, retentionMs: 90 * DAY_MS, maxBytes });
  await databases.access.closeDays(now);
  const sums = statSync(unsignedFileOf(dataDir)).size;
  const ofDays = readdirSync(folder)
    .filter((name) => name.startsWith('2026-'))
    .reduce((sum, name) => sum + statSync(join(folder, name)).size, 0);
  await prune(ofDays + sums);
  assert.equal(days().length, 3);
  await prune(ofDays + sums - 1);
  assert.equal(days().length, 2, 'the oldest made room');
  assert.ok(sums > (ofDays + sums - 1) / 4);
  await databases.access.closeDays(later(3 * DAY_MS + HOUR_MS));
  const after = statSync(unsignedFileOf(dataDir)).size;
  assert.ok(after <= (ofDays + sums - 1) / 4, `${after} of ${ofDays + sums - 1}`);
});
