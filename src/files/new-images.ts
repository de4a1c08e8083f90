// New images that begin to be stored at the same time. One file holds the intents of all of them. Each image's folder is made out
// of sight with its file in it, then named into its place: docs/decisions/joined-writes.md
import { randomUUID } from 'node:crypto';
import { promises as fs } from 'node:fs';
import { basename, dirname } from 'node:path';
import { forEachConcurrently } from '../domain/concurrency.ts';
import { isLookasideError } from '../domain/errors.ts';
import type { TreeWriter } from '../domain/tree.ts';
import { calls } from './calls.ts';
import type { DurableFolders, NewFile } from './durable-folders.ts';
import { INTENTS_SUFFIX, MAX_INTENT_BYTES } from './intents.ts';
import { demandLinks, signatureIn } from './linking.ts';
import { BATCH_FOLDER, inParent, named, throwAway } from './new-folders.ts';
import { type Entry, entryIn } from './opened.ts';
import { attempt } from './refusal.ts';
import { demandInPlace, isTooLong, type WayFolder } from './way.ts';

export interface NewImagesOptions {
  readonly root: string;
  readonly durable: DurableFolders;
  /** @throws LookasideError STORE_UNAVAILABLE */
  readonly checkRoot: () => Promise<string>;
  /** Runs `act` in the folder of prepared pairs. */
  readonly inPrepared: <T>(act: (folder: WayFolder) => Promise<T>) => Promise<T>;
}

/** What is open at once of a group stays far below the least that a process may open. */
const IMAGES_OF_GROUP = 64;
const PARENTS_AT_ONCE = 16;

interface Wanted {
  readonly folder: string;
  readonly intent: string;
  readonly bytes: Uint8Array;
  readonly resolve: (prepared: string | null) => void;
  readonly reject: (error: unknown) => void;
}

type Outcome = 'placed' | 'not placed' | { readonly error: unknown };

interface Made {
  readonly wanted: Wanted;
  readonly aside: Entry;
  /** Open until the folder has its place: tells it from what others may put there. */
  readonly file: NewFile;
}

export function createNewImages(options: NewImagesOptions): Pick<TreeWriter, 'addNew'> {
  let waiting: Wanted[] = [];
  let hasLinks = false;

  /** Tried once: every later file of an image needs one. */
  async function demandLinksOnce(source: Entry, folder: WayFolder): Promise<void> {
    if (hasLinks) return;
    await demandLinks(options.root, source, folder);
    hasLinks = true;
  }

  function begin(): void {
    const all = waiting;
    waiting = [];
    for (const group of inGroups(all)) void addGroup({ ...options, demandLinksOnce }, group);
  }

  return {
    addNew: (folder, intent, bytes) =>
      new Promise((resolve, reject) => {
        waiting.push({ folder, intent, bytes, resolve, reject });
        // those that are asked for in the same turn of the event loop are one group
        if (waiting.length === 1) setImmediate(begin);
      }),
  };
}

/** So that the file of each group's intents can be read again. */
function* inGroups(all: readonly Wanted[]): Generator<readonly Wanted[]> {
  let group: Wanted[] = [];
  let bytes = 0;
  for (const wanted of all) {
    const more = Buffer.byteLength(wanted.intent) + 1;
    if (group.length > 0 && (group.length === IMAGES_OF_GROUP || bytes + more > MAX_INTENT_BYTES)) {
      yield group;
      [group, bytes] = [[], 0];
    }
    group.push(wanted);
    bytes += more;
  }
  if (group.length > 0) yield group;
}

interface GroupOptions extends NewImagesOptions {
  readonly demandLinksOnce: (source: Entry, folder: WayFolder) => Promise<void>;
}

async function addGroup(options: GroupOptions, group: readonly Wanted[]): Promise<void> {
  const { durable, checkRoot, inPrepared } = options;
  const name = randomUUID();
  const outcomes = new Map<Wanted, Outcome>();
  try {
    durable.refuseFault();
    // a missing root must not be made again: it may be a disk that is not mounted
    await checkRoot();
    await inPrepared((tmp) =>
      durable.inOwnFolder(BATCH_FOLDER, 0o755, async (batch) => {
        try {
          await makeAndPlace({ ...options, tmp, batch, name, outcomes }, group);
        } finally {
          if (![...outcomes.values()].includes('placed'))
            await calls.unlink(entryIn(tmp, name + INTENTS_SUFFIX).path).catch(() => undefined);
        }
      }),
    );
  } catch (error) {
    for (const wanted of group) if (!outcomes.has(wanted)) outcomes.set(wanted, { error });
  }
  answer(name, group, outcomes, durable.fault !== null);
}

function answer(
  name: string,
  group: readonly Wanted[],
  outcomes: ReadonlyMap<Wanted, Outcome>,
  hasFault: boolean,
): void {
  const placed = group.filter((wanted) => outcomes.get(wanted) === 'placed').length;
  let position = 0;
  for (const wanted of group) {
    const outcome = outcomes.get(wanted) ?? 'not placed';
    if (outcome === 'placed') {
      position += 1;
      wanted.resolve(memberOf(name, position, placed));
    } else if (outcome === 'not placed') wanted.resolve(null);
    // what one of them met must not refuse the others: each is tried by itself
    else if (group.length > 1 && !hasFault && isLookasideError(outcome.error)) wanted.resolve(null);
    else wanted.reject(outcome.error);
  }
}

interface Group extends GroupOptions {
  readonly tmp: WayFolder;
  readonly batch: WayFolder;
  readonly name: string;
  readonly outcomes: Map<Wanted, Outcome>;
}

async function makeAndPlace(of: Group, group: readonly Wanted[]): Promise<void> {
  const made: Made[] = [];
  const open: number[] = [];
  try {
    await makeAll(of, group, made, open);
    await forEachConcurrently(byParent(made), PARENTS_AT_ONCE, ([parent, ones]) => placeIn(of, parent, ones));
  } finally {
    for (const descriptor of open) await calls.close(descriptor);
    const left = made.filter(({ wanted }) => of.outcomes.get(wanted) !== 'placed');
    await forEachConcurrently(left, PARENTS_AT_ONCE, ({ aside }) => throwAway(aside));
  }
}

/** The folders with their files, and the intents: everything is written first, and then synced. */
async function makeAll(
  { durable, tmp, batch, name, demandLinksOnce }: Group,
  group: readonly Wanted[],
  made: Made[],
  open: number[],
): Promise<void> {
  const syncs: (() => Promise<unknown>)[] = [];
  demandInPlace(batch);
  for (const wanted of group) {
    const aside = entryIn(batch, randomUUID());
    await attempt(() => calls.mkdir(aside.path, 0o755), aside.name);
    const folder = { ...batch, ...aside };
    try {
      const file = await durable.beginNew(folder, 'signature-1', wanted.bytes, 0o644);
      open.push(file.descriptor);
      made.push({ wanted, aside, file });
      syncs.push(() => durable.finishNew(file));
    } catch (error) {
      await throwAway(aside);
      throw error;
    }
    const descriptor = await attempt(() => calls.open(aside.path, 'r'), aside.name);
    open.push(descriptor);
    syncs.push(() => durable.sync(descriptor, aside.name));
  }
  const intents = await durable.beginNew(tmp, name + INTENTS_SUFFIX, textOf(group), 0o600);
  open.push(intents.descriptor);
  await demandLinksOnce(entryIn(tmp, name + INTENTS_SUFFIX), tmp);
  syncs.push(
    () => durable.finishNew(intents),
    () => durable.syncFolder(tmp),
  );
  await allEnded(syncs.map((sync) => sync()));
}

function textOf(group: readonly Wanted[]): string {
  return group.map(({ intent }) => intent).join('\n');
}

/** @throws the first failure, once all have ended */
async function allEnded(running: readonly Promise<unknown>[]): Promise<void> {
  for (const outcome of await Promise.allSettled(running))
    if (outcome.status === 'rejected') throw outcome.reason;
}

function byParent(made: readonly Made[]): ReadonlyMap<string, readonly Made[]> {
  const parents = new Map<string, Made[]>();
  for (const one of made) {
    const parent = dirname(one.wanted.folder);
    const ones = parents.get(parent);
    if (ones === undefined) parents.set(parent, [one]);
    else ones.push(one);
  }
  return parents;
}

async function placeIn({ root, durable, batch, outcomes }: Group, parent: string, ones: readonly Made[]) {
  try {
    await inParent({ root, durable, parent }, async (above) => {
      const placed: Made[] = [];
      try {
        for (const one of ones) {
          const name = basename(one.wanted.folder);
          durable.refuseFault(); // another one may have failed meanwhile
          // the way to a single one refuses it
          if (isTooLong(above, name)) continue;
          if (await named(one.aside, above, entryIn(above, name))) placed.push(one);
        }
        if (placed.length === 0) return;
        // the name where it was must not come back either: a start throws away what is there
        await allEnded([durable.syncFolder(above), durable.syncFolder(batch)]);
        demandInPlace(above);
        durable.refuseFault();
      } catch (error) {
        for (const one of placed) await takeBack(durable, above, one);
        throw error;
      }
      for (const { wanted } of placed) outcomes.set(wanted, 'placed');
    });
    for (const { wanted } of ones) if (!outcomes.has(wanted)) outcomes.set(wanted, 'not placed');
  } catch (error) {
    for (const { wanted } of ones) outcomes.set(wanted, { error });
  }
}

/** Removes the file and its folder again, unless somebody has put something else there meanwhile. */
async function takeBack(durable: DurableFolders, above: WayFolder, { wanted, file }: Made): Promise<void> {
  const target = entryIn(above, basename(wanted.folder));
  const ours = signatureIn({ ...above, ...target }, 1);
  try {
    const [made, there] = [await calls.fstat(file.descriptor), await fs.lstat(ours.path, { bigint: true })];
    if (made.ino !== there.ino || made.dev !== there.dev) return;
    await fs.unlink(ours.path);
    await fs.rmdir(target.path);
  } catch {
    // the error that made us remove it is about to be thrown, and says more
  } finally {
    durable.removed(target.name);
  }
}

const MEMBER = /^(?<name>[0-9a-f-]{36})\.(?<position>\d+)\.(?<count>\d+)$/;
const WHOLE = /^(?<name>[0-9a-f-]{36})\.all$/;

/** One of `count` images of the group whose intents are in that file: what TreeWriter.discard() takes. */
export function memberOf(name: string, position: number, count: number): string {
  return `${name}.${position}.${count}`;
}

/** The name of the group that is to be discarded as a whole; null: it is something else. */
export function wholeGroup(prepared: string): string | null {
  return WHOLE.exec(prepared)?.groups?.name ?? null;
}

/** What is to be discarded once `prepared` has ended: itself, or its group when it is the last of that; null: nothing yet. */
export type Ended = (prepared: string) => string | null;

export function createEnded(): Ended {
  const ended = new Map<string, Set<string>>();
  return (prepared) => {
    const { name, position, count } = MEMBER.exec(prepared)?.groups ?? {};
    if (name === undefined || position === undefined) return prepared;
    const positions = ended.get(name) ?? new Set();
    positions.add(position);
    if (positions.size < Number(count)) {
      ended.set(name, positions);
      return null;
    }
    ended.delete(name);
    return `${name}.all`;
  };
}
