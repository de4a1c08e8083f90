// The store's own code over a disk in memory: what an image's readers may see while it is uploaded to, withdrawn from and put back, and
// what must be there after a crash at any step.
import assert from 'node:assert/strict';
import { isLookasideError } from '../../src/domain/errors.ts';
import { type ImageId, imageFolder } from '../../src/domain/image.ts';
import type { TombstoneStore } from '../../src/domain/ports.ts';
import { createReader, type Reader } from '../../src/service/read.ts';
import { type Appender, createAppender } from '../../src/store/append.ts';
import { createImageChanges } from '../../src/store/image-changes.ts';
import { createTreeStore } from '../../src/store/tree-store.ts';
import { uploadsInForce } from '../../src/store/uploads-in-force.ts';
import { createLog } from '../service/hand-driven.ts';
import { folderOf, sha256Hex, signatureBytes } from './lay.ts';
import {
  copyDisk,
  type Disk,
  emptyDisk,
  type ModelPorts,
  openPorts,
  type Step,
  textOfDisk,
} from './model-disk.ts';
import { eventOf, GOOD, imageIn, openStore, SITE, uploadOf } from './open-store.ts';
import { eachSchedule, inOrder, type OneRun, type Scheduler } from './schedules.ts';

const IMAGE: ImageId = imageIn(folderOf('model/app'));
export const NAMES = ['A', 'B', 'C', 'X', 'Y'] as const;
type Name = (typeof NAMES)[number];
const BYTES = new Map(NAMES.map((name) => [name, signatureBytes(name)]));
const NAME_OF = new Map([...BYTES].map(([name, bytes]) => [sha256Hex(bytes), name]));

const bytesNamed = (name: Name): Buffer => BYTES.get(name) ?? assert.fail(name);
const nameOf = (sha256: string): Name => NAME_OF.get(sha256) ?? assert.fail(`${sha256} is nobody's`);
const shaOf = (name: Name): string => sha256Hex(bytesNamed(name));

/** What somebody asks of the server. */
export type Act =
  | { readonly does: 'upload'; readonly name: Name }
  /** Who is to stand at that number. */
  | { readonly does: 'withdraw'; readonly name: Name; readonly number: number; readonly until?: Date }
  | { readonly does: 'order'; readonly names: readonly Name[] }
  | { readonly does: 'put back'; readonly name: Name }
  /** So many requests, one after the other. */
  | { readonly does: 'read'; readonly times: number };

type Change = Exclude<Act, { does: 'read' }>;

/** What had been answered by some moment; an act that had not is not in it. */
type Answers = ReadonlyMap<number, Answer>;
/** An upload's number; null for what was refused because it is withdrawn, or has no number. */
type Answer = number | null;

/** A store that can be asked, of the model or a real one. */
interface Asked {
  readonly appender: Appender;
  readonly reader: Reader;
  readonly tombstones: Pick<TombstoneStore, 'ended'>;
}

interface Process extends Asked {
  readonly log: ReturnType<typeof createLog>;
}

/** Makes the ports wrong in some order, to show that the check fails then. */
export type Mutate = (ports: ModelPorts, disk: Disk) => ModelPorts;

const asItIs: Mutate = (ports) => ports;

function boot(disk: Disk, step: Step, mutate: Mutate, isScanned: boolean): Process {
  const readers: Reader[] = [];
  const forget = () => {
    for (const reader of readers) reader.forget(IMAGE);
  };
  const bytesOf = (sha256: string) => bytesNamed(nameOf(sha256));
  const ports = mutate(openPorts(disk, step, bytesOf, forget), disk);
  const log = createLog();
  const changes = createImageChanges();
  if (isScanned) changes.scanned();
  const shared = {
    ...({ kind: 'owned', tree: ports.tree, writer: ports.writer, index: ports.index } as const),
    ...{ tombstones: ports.tombstones, changes, report: () => undefined, sha256: sha256Hex },
    uploads: { ...ports.uploads, ...uploadsInForce(ports.uploads, ports.tombstones) },
    wait: () => step('wait', false, () => undefined),
    onRecorded: () => undefined,
  };
  const appender = createAppender({
    ...shared,
    verdicts: { ofImage: async () => [] },
    audit: ports.audit,
    site: SITE,
    makeLiftEvent: ({ image, sha256 }) => eventOf(image, sha256, 'withdraw-end'),
    makeRestoreEvent: (image, sha256) => eventOf(image, sha256, 'restore'),
    dataFreeBytes: async () => Number.MAX_SAFE_INTEGER,
    minFreeBytes: 0,
    monotonicMs: () => performance.now(),
    onChanged: forget,
    log,
  });
  const store = createTreeStore({
    ...shared,
    tend: appender.tend,
    hasProblems: () => false,
    syncFolder: async () => undefined,
  });
  const clock = { now: () => new Date(), monotonicMs: () => 0 };
  const reader = createReader({ store, clock, cacheBytes: 1024 * 1024 });
  readers.push(reader);
  return { appender, reader, tombstones: ports.tombstones, log };
}

/** Who stands at 1, 2, 3 … */
async function served({ reader }: Asked): Promise<readonly Name[]> {
  return (await reader.readSet(IMAGE)).entries.map(({ sha256 }) => nameOf(sha256));
}

/** Whether it was answered, and with what. Refusals that such an act may meet are an answer too. */
async function perform({ appender, tombstones }: Asked, act: Change): Promise<Answer> {
  try {
    switch (act.does) {
      case 'upload': {
        const upload = { ...uploadOf(IMAGE, bytesNamed(act.name)), judgement: GOOD };
        return (await appender.append(upload)).number;
      }
      case 'withdraw': {
        const event = (sha256: string) => eventOf(IMAGE, sha256, 'withdraw');
        const { number, until = null } = act;
        const done = await appender.withdraw({
          ...{ image: IMAGE, number, until, event, by: 'administrator', reason: 'leaked' },
        });
        assert.equal(nameOf(done.sha256), act.name);
        return null;
      }
      case 'order': {
        const at = new Date('2026-11-29T00:00:00Z');
        await appender.withdrawOrdered({
          ...{ image: IMAGE, by: 'carol', reason: 'key leaked', at, auditSeq: 1 },
          sha256s: new Set(act.names.map(shaOf)),
        });
        return null;
      }
      case 'put back': {
        const ended = await tombstones.ended(new Date(), 10);
        const tombstone = ended.find(({ sha256 }) => sha256 === shaOf(act.name));
        return tombstone === undefined ? null : await appender.lift(tombstone);
      }
    }
  } catch (error) {
    if (isLookasideError(error, 'WITHDRAWN') || isLookasideError(error, 'NOT_FOUND')) return null;
    throw error;
  }
}

export interface Scenario {
  readonly name: string;
  /** Uploaded before, one after the other. */
  readonly before: readonly Name[];
  /** Withdrawn before, with an end that has come. */
  readonly ended?: readonly Name[];
  readonly acts: readonly Act[];
}

export const YESTERDAY = new Date('2026-11-02T00:00:00Z');

async function prepared({ before, ended = [] }: Scenario): Promise<Disk> {
  const disk = emptyDisk();
  await inOrder({
    begin({ step, start }) {
      const process = boot(disk, step, asItIs, true);
      start(async () => {
        for (const name of before) await perform(process, { does: 'upload', name });
        for (const name of ended) {
          const number = before.indexOf(name) + 1;
          await perform(process, { does: 'withdraw', name, number, until: YESTERDAY });
        }
      });
    },
    onEnd: () => undefined,
  });
  return disk;
}

interface Read {
  readonly began: number;
  readonly ended: number;
  readonly names: readonly Name[];
}

/** What has happened so far in a run, by a clock that only counts. */
class History {
  #now = 0;
  readonly reads: Read[] = [];
  readonly answers = new Map<number, Answer>();
  /** When the acts were answered. */
  readonly answeredAt = new Map<number, number>();
  /** Numbers at which each was placed. */
  readonly homes = new Map<Name, Set<number>>();
  readonly disks: (readonly Name[])[] = [];
  readonly scenario: Scenario;

  constructor(scenario: Scenario, disk: Disk) {
    this.scenario = scenario;
    for (const [at, name] of scenario.before.entries()) this.homes.set(name, new Set([at + 1]));
    this.see(disk);
  }

  now(): number {
    this.#now += 1;
    return this.#now;
  }

  answer(at: number, answer: Answer): void {
    this.answers.set(at, answer);
    this.answeredAt.set(at, this.now());
  }

  /** What a static server over the tree would answer at this moment. */
  see(disk: Disk): void {
    const numbers = [...disk.files.keys()].sort((a, b) => a - b);
    assert.deepEqual(
      numbers,
      numbers.map((_, at) => at + 1),
      'a number is missing on the disk',
    );
    const names = numbers.map((number) => nameOf(disk.files.get(number) ?? ''));
    for (const [at, name] of names.entries()) {
      const homes = this.homes.get(name) ?? new Set();
      // what is at a number of its own was put there; anything else is a copy of such a one
      if (!names.some((other, k) => other === name && homes.has(k + 1)))
        this.homes.set(name, new Set([...homes, at + 1]));
    }
    this.disks.push(names);
  }

  /** Whom nobody withdraws, before or in this run. */
  survivors(): readonly Name[] {
    const gone = new Set([
      ...(this.scenario.ended ?? []),
      ...this.scenario.acts.flatMap((act) =>
        act.does === 'withdraw' ? [act.name] : act.does === 'order' ? act.names : [],
      ),
    ]);
    return this.scenario.before.filter((name) => !gone.has(name));
  }

  /** Withdrawn, and acknowledged before that moment. */
  goneBy(moment: number): readonly Name[] {
    return this.scenario.acts.flatMap((act, at) => {
      const names = act.does === 'withdraw' ? [act.name] : act.does === 'order' ? act.names : [];
      return (this.answeredAt.get(at) ?? Number.POSITIVE_INFINITY) < moment ? names : [];
    });
  }

  assertReads(): void {
    for (const { began, names } of this.reads) {
      for (const name of this.survivors())
        assert.equal(names[this.scenario.before.indexOf(name)], name, `${name} is missed: ${names}`);
      const back = this.scenario.acts.flatMap((act) => (act.does === 'put back' ? [act.name] : []));
      for (const name of this.goneBy(began))
        assert.ok(back.includes(name) || !names.includes(name), `${name} is withdrawn, and served: ${names}`);
      for (const [at, act] of this.scenario.acts.entries()) {
        const number = this.answers.get(at) ?? null;
        const isAnswered = (this.answeredAt.get(at) ?? Number.POSITIVE_INFINITY) < began;
        if ((act.does !== 'upload' && act.does !== 'put back') || number === null || !isAnswered) continue;
        if (this.mayGo(act.name)) continue;
        assert.equal(names[number - 1], act.name, `${act.name} was stored as ${number}: ${names}`);
      }
      for (const [at, name] of names.entries()) {
        const homes = this.homes.get(name) ?? new Set();
        const isOwn = homes.has(at + 1) || names.some((other, k) => other === name && homes.has(k + 1));
        assert.ok(isOwn, `${name} at ${at + 1} is a copy of none: ${names}`);
      }
    }
    for (const earlier of this.reads)
      for (const later of this.reads) {
        if (earlier.ended >= later.began) continue;
        for (const name of earlier.names)
          if (!this.mayGo(name)) assert.ok(later.names.includes(name), `${name} was served, and is not`);
        for (const name of this.scenario.before)
          if (!earlier.names.includes(name) && !this.mayCome(name))
            assert.ok(!later.names.includes(name), `${name} was withdrawn, and came back`);
      }
  }

  assertDisks(): void {
    for (const names of this.disks)
      for (const name of this.survivors())
        assert.equal(names[this.scenario.before.indexOf(name)], name, `${name} is missed on disk: ${names}`);
  }

  mayGo(name: Name): boolean {
    return this.scenario.acts.some(
      (act) =>
        (act.does === 'withdraw' && act.name === name) || (act.does === 'order' && act.names.includes(name)),
    );
  }

  mayCome(name: Name): boolean {
    return this.scenario.acts.some(
      (act) => (act.does === 'upload' || act.does === 'put back') && act.name === name,
    );
  }
}

/** A disk after a crash, and what had been acknowledged. */
interface Crashed {
  readonly disk: Disk;
  readonly answers: Answers;
  readonly trace: readonly string[];
}

export interface Explored {
  readonly runs: number;
  /** Different states of disk and acknowledgements in which the process may have died, those of recoveries included. */
  readonly crashes: number;
}

export interface Exploring {
  readonly preemptions: number;
  readonly mutate?: Mutate;
  /** Whether the tree was scanned since the start. Default true. */
  readonly isScanned?: boolean;
}

/** @throws the first failure, with the steps that led to it */
export async function explore(scenario: Scenario, exploring: Exploring): Promise<Explored> {
  const { preemptions, mutate = asItIs, isScanned = true } = exploring;
  const start = await prepared(scenario);
  const crashes = new Map<string, Crashed>();
  const noteCrash = (disk: Disk, answers: Answers, trace: readonly string[]) => {
    const key = `${textOfDisk(disk)} ${JSON.stringify([...answers])}`;
    if (!crashes.has(key))
      crashes.set(key, { disk: copyDisk(disk), answers: new Map(answers), trace: [...trace] });
  };
  noteCrash(start, new Map(), []);
  const runs = await eachSchedule(preemptions, () => {
    const disk = copyDisk(start);
    const history = new History(scenario, disk);
    let process: Process | null = null;
    return {
      begin({ step, start: startTask }: Scheduler) {
        const booted = boot(disk, step, mutate, isScanned);
        process = booted;
        for (const [at, act] of scenario.acts.entries()) {
          startTask(async () => {
            if (act.does !== 'read') {
              await step(act.does, false, () => undefined);
              history.answer(at, await perform(booted, act));
              noteCrash(disk, history.answers, [`${act.does} is answered`]);
              return;
            }
            for (let time = 0; time < act.times; time += 1) {
              await step('read', false, () => undefined);
              const began = history.now();
              const names = await served(booted);
              history.reads.push({ began, ended: history.now(), names });
            }
          });
        }
      },
      onWrite({ trace }) {
        history.see(disk);
        noteCrash(disk, history.answers, trace);
      },
      async onEnd() {
        history.assertReads();
        history.assertDisks();
        const { log } = process ?? assert.fail();
        assert.deepEqual(
          log.lines.filter(({ level }) => level === 'error' || level === 'warn'),
          [],
        );
        assertSettled(scenario, disk, history.answers);
      },
    } satisfies OneRun;
  });
  for (const crashed of crashes.values()) await recover(scenario, crashed, { mutate, noteCrash });
  return { runs, crashes: crashes.size };
}

interface Recovering {
  readonly mutate: Mutate;
  readonly noteCrash: (disk: Disk, answers: Answers, trace: readonly string[]) => void;
}

/** Starts on what the crash left: once read before all is mended, then mended, then asked again for what was never answered. */
async function recover(
  scenario: Scenario,
  crashed: Crashed,
  { mutate, noteCrash }: Recovering,
): Promise<void> {
  const { answers, trace } = crashed;
  const looked = copyDisk(crashed.disk);
  const after = (error: unknown): never => {
    throw new Error(`after a crash behind:\n${trace.join('\n')}\n${error}`, { cause: error });
  };
  await inOrder({
    begin({ step, start }) {
      const process = boot(looked, step, mutate, false);
      start(async () => assertServed(scenario, looked, answers, await served(process)));
    },
    onEnd: () => undefined,
  }).catch(after);
  const disk = copyDisk(crashed.disk);
  const all = new Map(answers);
  await inOrder({
    begin({ step, start }) {
      const process = boot(disk, step, mutate, false);
      start(async () => {
        await process.appender.recover();
        assertSettled(scenario, disk, answers);
        assertServed(scenario, disk, answers, await served(process));
        for (const [at, act] of scenario.acts.entries()) {
          if (act.does === 'read' || all.has(at)) continue;
          // by its number somebody else may stand there by now
          const standing = act.does === 'withdraw' ? (await served(process))[act.number - 1] : null;
          if (act.does !== 'withdraw' || standing === act.name) all.set(at, await perform(process, act));
        }
        assertServed(scenario, disk, all, await served(process));
      });
    },
    onWrite: (made) => noteCrash(disk, all, [...trace, 'crash', ...made.trace]),
    onEnd: () => assertSettled(scenario, disk, all),
  }).catch(after);
}

function inForce(disk: Disk): ReadonlySet<Name> {
  return new Set(disk.tombstones.flatMap((one) => (one.isInForce ? [nameOf(one.sha256)] : [])));
}

/** What readers get, whatever of the acts has happened. */
function assertServed(
  { before, ended = [], acts }: Scenario,
  disk: Disk,
  answers: Answers,
  names: readonly Name[],
): void {
  const gone = inForce(disk);
  for (const name of names) assert.ok(!gone.has(name), `${name} is withdrawn, and served: ${names}`);
  for (const [at, name] of before.entries())
    if (!gone.has(name) && !ended.includes(name))
      assert.equal(names[at], name, `${name} is missed: ${names}`);
  for (const [at, act] of acts.entries()) {
    if (!answers.has(at)) continue;
    const number = answers.get(at) ?? null;
    if ((act.does === 'upload' || act.does === 'put back') && number !== null && !gone.has(act.name))
      assert.equal(names[number - 1], act.name, `${act.name} was stored as ${number}: ${names}`);
    const isBack = acts.some(
      (other) => other.does === 'put back' && 'name' in act && other.name === act.name,
    );
    if (act.does === 'withdraw' && !isBack) assert.ok(gone.has(act.name), `${act.name} is in force again`);
    if (act.does === 'order')
      for (const name of act.names) assert.ok(gone.has(name), `${name} is in force again`);
  }
  // what is withdrawn no longer is there again, once
  for (const one of disk.tombstones)
    if (!one.isInForce) {
      const name = nameOf(one.sha256);
      assert.ok(names.includes(name), `${name} was put back, and is missed: ${names}`);
    }
}

/** Files, index, tombstones and events say the same, and nothing is left to be done. */
function assertSettled({ before }: Scenario, disk: Disk, answers: Answers): void {
  const gone = inForce(disk);
  const files = [...disk.files].sort(([a], [b]) => a - b).map(([, sha256]) => nameOf(sha256));
  assert.deepEqual(
    [...disk.files.keys()].sort((a, b) => a - b),
    files.map((_, at) => at + 1),
    'a number is missing on the disk',
  );
  for (const name of files) assert.ok(!gone.has(name), `${name} is withdrawn, and on the disk: ${files}`);
  assert.deepEqual(
    disk.rows.map(({ sha256 }) => nameOf(sha256)),
    files,
    'the index has something else',
  );
  const real = disk.rows.filter(({ isFiller }) => isFiller !== true).map(({ sha256 }) => sha256);
  assert.equal(new Set(real).size, real.length, `one is there twice: ${files}`);
  assert.ok(
    disk.tombstones.every(({ isSettled }) => isSettled),
    'a withdrawal is unsettled',
  );
  assert.equal(disk.prepared.size, 0, 'a prepared pair is left');
  const count = (action: string, name: Name) =>
    disk.events.filter((one) => one.action === action && one.signatureSha256 === shaOf(name)).length;
  for (const name of NAMES) {
    const isUploaded = disk.uploads.some(({ sha256 }) => sha256 === shaOf(name));
    assert.equal(count('upload', name), isUploaded ? 1 : 0, `events of uploads of ${name}`);
    if (files.includes(name)) assert.ok(isUploaded || before.includes(name), `${name} has no provenance`);
    const tombstone = disk.tombstones.find(({ sha256 }) => sha256 === shaOf(name));
    const ends = tombstone !== undefined && !tombstone.isInForce ? 1 : 0;
    assert.equal(count('withdraw-end', name), ends, `events of the end of ${name}`);
    assert.ok(count('withdraw', name) <= 1, `events of withdrawals of ${name}`);
  }
  for (const [, number] of answers) assert.ok(number === null || number >= 1);
}

/** What acts do one by one: after each its answer, what is served, and what the files are. */
async function afterEach(
  acts: readonly RandomAct[],
  asked: Asked,
  files: () => Promise<readonly Name[]>,
): Promise<string[]> {
  const seen: string[] = [];
  for (const act of acts) {
    const names = await served(asked);
    const number = act.does === 'withdraw' ? act.number : 0;
    const change = act.does === 'withdraw' ? { ...act, name: names[number - 1] ?? 'A' } : act;
    seen.push(`${await perform(asked, change)}: ${await served(asked)} of ${await files()}`);
  }
  return seen;
}

export type RandomAct =
  | Exclude<Change, { does: 'withdraw' }>
  | { readonly does: 'withdraw'; readonly number: number; readonly until?: Date };

/** The same on the disk of the model and on a real one, with real databases. */
export async function onBothDisks(
  acts: readonly RandomAct[],
): Promise<readonly [model: readonly string[], real: readonly string[]]> {
  const model: string[] = [];
  const disk = emptyDisk();
  const sorted = () => [...disk.files].sort(([a], [b]) => a - b).map(([, sha256]) => nameOf(sha256));
  await inOrder({
    begin({ step, start }) {
      const process = boot(disk, step, asItIs, true);
      start(async () => {
        model.push(...(await afterEach(acts, process, async () => sorted())));
      });
    },
    onEnd: () => undefined,
  });
  await using opened = await openStore({ kind: 'owned' });
  await opened.scanner.scan(SITE);
  const { appender, reader, tree } = opened;
  const real = await afterEach(
    acts,
    { appender, reader, tombstones: opened.databases.tombstones },
    async () => {
      const names: Name[] = [];
      for (let number = 1; ; number += 1) {
        const bytes = await tree.readFile(imageFolder(IMAGE), number);
        if (bytes === null) return names;
        names.push(nameOf(sha256Hex(bytes)));
      }
    },
  );
  return [model, real];
}
