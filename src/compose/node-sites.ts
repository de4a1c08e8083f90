// The sites of a node over PostgreSQL: the first one, which takes uploads, and the mirrors that the database names. Mirrors come and go
// while the node runs, because another node may change them.
import { setTimeout as wait } from 'node:timers/promises';
import { createBatches, createTurns } from '../domain/concurrency.ts';
import { isLookasideError } from '../domain/errors.ts';
import { DEFAULT_SITE, type ImageId } from '../domain/image.ts';
import type { StoredMirror } from '../domain/mirror.ts';
import type {
  BatchPublisher,
  Clock,
  Published,
  SignatureAppender,
  SignatureStore,
  Verifier,
} from '../domain/ports.ts';
import { placesOf, type Site, type SitePlace } from '../domain/site.ts';
import { numbersOf } from '../postgres/changes.ts';
import type { OpenedPostgres } from '../postgres/open.ts';
import type { MakeEvent } from '../service/audit.ts';
import type { FewLines } from '../service/few-lines.ts';
import type { GivingWay } from '../service/giving-way.ts';
import { createJudge, type Judge } from '../service/judge.ts';
import { createMirrors, type MirrorService } from '../service/mirrors.ts';
import { missedImages } from '../service/missed-images.ts';
import { createProblemRegister } from '../service/problems.ts';
import type { Records } from '../service/records.ts';
import { createSitesJudge } from '../service/sites-judge.ts';
import { createSitesStore, type SiteStore } from '../store/sites.ts';
import type { ServedSite } from './composed.ts';
import { type Filling, openFilling } from './filling.ts';
import { refuseUpload, sha256Hex } from './site.ts';

export interface NodeSitesOptions {
  readonly stores: OpenedPostgres;
  readonly verifier: Verifier;
  /** The number of `change` with which the verifier's keyring was read. */
  readonly keyringNumber: () => number;
  readonly makeEvent: MakeEvent;
  readonly hasProxies: boolean;
  /** False: a command, for which it does not matter whether it could ask upstreams. */
  readonly isServing: boolean;
  /** Earlier reads of the image, or of all images, are no longer right. */
  readonly onChanged: (image: ImageId | null) => void;
  readonly records: () => Pick<Records, 'session'>;
  readonly givingWay: GivingWay;
  readonly clock: Clock;
  readonly log: FewLines;
}

interface NodeSite extends ServedSite, SiteStore {}

type NodeMirror = NodeSite & { readonly mirror: StoredMirror; readonly filling: Filling };

export interface NodeSites {
  /** The same array for ever, whose content changes. */
  readonly all: readonly NodeSite[];
  readonly names: () => readonly string[];
  readonly places: () => readonly SitePlace[];
  readonly store: ReturnType<typeof createSitesStore>;
  readonly judge: Judge;
  readonly mirrors: MirrorService;
  /** Opens and closes mirrors as the database has them now. `number`: that of `change`, where it is known. @throws STORE_UNAVAILABLE */
  follow(number?: number): Promise<void>;
  /** Ends all walks. */
  stop(): Promise<void>;
}

/** Sets of a sync that are written together, at most: acts of other nodes wait for the end of the transaction. */
const SETS_AT_ONCE = { items: 32, bytes: 8 * 1024 * 1024 };

export function openNodeSites(options: NodeSitesOptions): NodeSites {
  const { stores } = options;
  const all: NodeSite[] = [];
  const judges = new Map<string, Judge>();
  const judge = createStartedJudge(judges);
  let places: readonly SitePlace[] = [];
  let number = -1;
  let isStopped = false;
  const turns = createTurns();
  /** A list that is read while a mirror is added or changed here would undo that. */
  const inTurn = <T>(act: () => Promise<T>) => turns.take('mirrors', act);

  function putIn(site: NodeSite, its: Judge): void {
    const position = all.findIndex(({ name }) => name === site.name);
    if (position === -1) all.push(site);
    else all[position] = site;
    judges.set(site.name, its);
    places = placesOf(all);
  }

  async function put(mirror: StoredMirror, isOurs: boolean): Promise<void> {
    const [before, judgedBefore] = [all.find(({ name }) => name === mirror.name), judges.get(mirror.name)];
    const its = judgeOf(options, mirror.name);
    const site = await openMirrorSite(options, { mirror, judge: its, isOurs });
    putIn(site, its);
    if (judge.isStarted) its.start();
    // until when a set in memory holds was said by the mirror as it was before
    options.onChanged(null);
    if (before !== undefined) await end(before, judgedBefore);
  }

  async function take(name: string): Promise<void> {
    const position = all.findIndex((site) => site.name === name);
    const [site] = position === -1 ? [] : all.splice(position, 1);
    if (site === undefined) return;
    const its = judges.get(name);
    judges.delete(name);
    places = placesOf(all);
    await end(site, its);
  }

  async function followList(known?: number): Promise<void> {
    if (isStopped || (known !== undefined && known === number)) return;
    // first: what changes after it is seen with the next number
    const { mirrors: seen } = await numbersOf(stores.connections.query);
    if (seen === number) return;
    const listed = await stores.mirrors.list();
    const names = new Set(listed.map(({ name }) => name));
    for (const { name } of all.filter(isMirror)) if (!names.has(name)) await take(name);
    for (const mirror of listed) {
      const open = all.filter(isMirror).find(({ name }) => name === mirror.name);
      if (open === undefined || !isSame(open.mirror, mirror)) await put(mirror, false);
    }
    number = seen;
  }

  const store = stores.signatures;
  const first = judgeOf(options, DEFAULT_SITE);
  const appender = appenderOf(options);
  putIn({ ...siteParts(options, { name: DEFAULT_SITE, prefix: '' }), store, appender, filling: null }, first);

  const service = createMirrors({
    store: stores.mirrors,
    open: () =>
      all.filter(isMirror).map(({ name, mirror: stored, filling: { mirror, walker } }) => ({
        ...{ stored, mirror, restingMs: () => walker.restingMs(null) },
        counts: () => stores.verdicts.counts(name),
      })),
    put: (mirror) => put(mirror, true),
    take,
    missed: (site, since, asker) => missedImages(options.records(), { site, since }, asker),
    listHosted: (folder) => store.listFolder(DEFAULT_SITE, folder, null, 1),
    makeEvent: options.makeEvent,
    appendEvent: (event) => stores.audit.append(event),
    clock: options.clock,
    wait: (ms) => wait(ms),
  });
  const follow = (known?: number) => inTurn(() => followList(known));
  /** Another node may have changed it a moment ago. */
  const afterList =
    <A extends readonly unknown[], T>(act: (...args: A) => Promise<T>) =>
    async (...args: A): Promise<T> => {
      await follow();
      return act(...args);
    };
  const changing =
    <A extends readonly unknown[], T>(act: (...args: A) => Promise<T>) =>
    (...args: A): Promise<T> =>
      inTurn(async () => {
        await followList();
        return act(...args);
      });
  return {
    all,
    names: () => all.map(({ name }) => name),
    places: () => places,
    store: createSitesStore(all, () => places),
    judge: judge.judge,
    mirrors: {
      list: service.list,
      show: afterList(service.show),
      missed: service.missed,
      sync: afterList(service.sync),
      ofImage: service.ofImage,
      releases: service.releases,
      add: changing(service.add),
      edit: changing(service.edit),
      remove: changing(service.remove),
    },
    follow,
    async stop() {
      isStopped = true;
      await Promise.all(all.filter(isMirror).map(({ filling }) => filling.mirror.stop()));
      await Promise.all(all.filter(isMirror).map(({ filling }) => filling.walker.close()));
    },
  };
}

function isMirror(site: NodeSite): site is NodeMirror {
  return site.mirror !== undefined && site.filling !== null;
}

function isSame(one: StoredMirror, other: StoredMirror): boolean {
  return (
    one.addedAt.getTime() === other.addedAt.getTime() &&
    JSON.stringify(one.settings) === JSON.stringify(other.settings)
  );
}

async function end({ filling }: NodeSite, judge: Judge | undefined): Promise<void> {
  await filling?.mirror.stop();
  await judge?.stop();
  await filling?.walker.close();
}

/** All judges as one, which knows whether later ones are to be started too. */
function createStartedJudge(judges: ReadonlyMap<string, Judge>) {
  const all = createSitesJudge(judges);
  let isStarted = false;
  const judge: Judge = {
    start() {
      isStarted = true;
      all.start();
    },
    stop: all.stop,
    wake: all.wake,
    keysChanged: all.keysChanged,
    get keyringChanges() {
      return all.keyringChanges;
    },
    settled: all.settled,
    prefer: all.prefer,
    judgeImage: all.judgeImage,
  };
  return {
    judge,
    get isStarted() {
      return isStarted;
    },
  };
}

function judgeOf({ stores, verifier, clock, log }: NodeSitesOptions, site: string): Judge {
  const { verdicts: index, signatures: store } = stores;
  return createJudge({ ...{ site, index, store, verifier, clock, log }, badLog: log });
}

/** There is no tree. */
function siteParts({ log }: NodeSitesOptions, site: Pick<Site, 'name' | 'prefix' | 'mirror'>) {
  return {
    ...site,
    root: '',
    tree: 'owned' as const,
    problems: createProblemRegister(log),
    files: { isWritable: async () => true },
  };
}

function appenderOf({ stores: { signatures } }: NodeSitesOptions): SignatureAppender {
  return {
    append: (...of) => signatures.append(...of),
    withdraw: (...of) => signatures.withdraw(...of),
    withdrawOrdered: (...of) => signatures.withdrawOrdered(...of),
    lift: (...of) => signatures.lift(...of),
    recover: () => signatures.recover(),
  };
}

interface MirrorParts {
  readonly mirror: StoredMirror;
  readonly judge: Judge;
  /** It is added or changed here: files that it names must be here too. Else another node has them, and this one serves what is stored. */
  readonly isOurs: boolean;
}

async function openMirrorSite(
  options: NodeSitesOptions,
  { mirror, judge, isOurs }: MirrorParts,
): Promise<NodeSite> {
  const { stores, verifier, makeEvent, givingWay, clock, log, hasProxies } = options;
  const { name } = mirror;
  const store: SignatureStore = stores.signatures;
  const open = (unusable: string | null) =>
    openFilling(mirror, {
      ...{ store, judge, verifier, makeEvent, givingWay, clock, log, hasProxies, unusable },
      ...{ mirrors: stores.mirrors, tombstones: stores.tombstones, audit: stores.audit },
      isShared: true,
      publisher: publisherOf(options, judge),
      // the row of the set goes with it, in one transaction
      letGo: async (image, { mayGo }) => (await mayGo()) && stores.signatures.letGo(image),
      sha256: sha256Hex,
      onChanged: options.onChanged,
    });
  const filling = await open(null).catch((error: unknown) => {
    if (isOurs || !isLookasideError(error, 'CONFIG_INVALID')) throw error;
    log[options.isServing ? 'error' : 'debug'](
      { err: error, mirror: name },
      'this node cannot ask the upstream of the mirror, and serves of it what is stored; put the file there, and start the node again',
    );
    return open(`this node cannot ask it: ${error.message}`);
  });
  return {
    ...siteParts(options, { name, prefix: mirror.settings.views[0]?.prefix ?? '', mirror }),
    filling,
    store: filling.mirror.store,
    appender: { ...appenderOf(options), append: () => refuseUpload(name) },
  };
}

function publisherOf(
  { stores: { signatures }, keyringNumber }: NodeSitesOptions,
  judge: Pick<Judge, 'prefer'>,
): BatchPublisher {
  type Wanted = Parameters<BatchPublisher['publish']>;
  async function publish(...[image, blobs]: Wanted): Promise<Published> {
    const published = await signatures.publish(image, blobs, keyringNumber());
    if (blobs.some(({ judgement }) => judgement === null)) void judge.prefer(image);
    return published;
  }
  const batches = createBatches<Wanted, PromiseSettledResult<Published>>(SETS_AT_ONCE, (sets) =>
    Promise.allSettled(sets.map((set) => publish(...set))),
  );
  return {
    publish,
    async gather(...set) {
      const sizeBytes = set[1].reduce((sum, { bytes }) => sum + bytes.length, 0);
      const { done } = await batches.add(set, sizeBytes);
      return { done: done.then(resultOf) };
    },
  };
}

function resultOf<T>(outcome: PromiseSettledResult<T>): T {
  if (outcome.status === 'fulfilled') return outcome.value;
  throw outcome.reason;
}
