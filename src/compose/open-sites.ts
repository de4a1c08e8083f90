// The sites of a process as they are now: those of the configuration, and mirrors, which come and go while it runs.
import { join } from 'node:path';
import type { StoredMirror } from '../domain/mirror.ts';
import { placesOf, type Site, type SitePlace } from '../domain/site.ts';
import type { Judge } from '../service/judge.ts';
import type { SiteUpkeep } from '../service/upkeep.ts';
import type { Filling } from './filling.ts';
import { type OpenSite, openSite, type SharedParts } from './site.ts';

export interface OpenSites {
  /** The same array for ever, whose content changes. */
  readonly all: readonly OpenSite[];
  readonly judges: ReadonlyMap<string, Judge>;
  readonly upkeeps: ReadonlyMap<string, SiteUpkeep>;
  /** Another array after each change. */
  readonly places: () => readonly SitePlace[];
  open(site: Site): Promise<void>;
  /** Opens the mirror in place of the one of its name, whose walks have ended by then. */
  putMirror(site: Site): Promise<void>;
  take(name: string): Promise<void>;
  /** What is opened from now on begins its work at once. */
  start(): void;
  /** Ends the walks of all mirrors. */
  stop(): Promise<void>;
}

export interface OpenMirrorSite extends OpenSite {
  readonly mirror: StoredMirror;
  readonly filling: Filling;
}

/** `data`: the data directory. */
export function rootOfMirror(data: string, name: string): string {
  return join(data, 'mirrors', name);
}

export function siteOfMirror(data: string, mirror: StoredMirror): Site {
  const prefix = mirror.settings.views[0]?.prefix ?? '';
  return { name: mirror.name, prefix, root: rootOfMirror(data, mirror.name), tree: 'owned', mirror };
}

export function isMirror(site: OpenSite): site is OpenMirrorSite {
  return site.mirror !== undefined && site.filling !== null;
}

export function createOpenSites(shared: SharedParts): OpenSites {
  const all: OpenSite[] = [];
  const judges = new Map<string, Judge>();
  const upkeeps = new Map<string, SiteUpkeep>();
  let places: readonly SitePlace[] = [];
  let isStarted = false;

  function putIn(site: OpenSite): void {
    const position = all.findIndex(({ name }) => name === site.name);
    if (position === -1) all.push(site);
    else all[position] = site;
    judges.set(site.name, site.judge);
    upkeeps.set(site.name, site.upkeep);
    places = placesOf(all);
  }

  async function putMirror(site: Site): Promise<void> {
    const before = all.find(({ name }) => name === site.name);
    const opened = await openSite(site, shared);
    // two that fill one tree would not know of each other
    await before?.filling?.mirror.stop();
    // readers were given sets that the disk does not take: they go on to get them
    if (before?.filling) opened.filling?.bringer.takeOver(before.filling.bringer);
    putIn(opened);
    if (before !== undefined) await end(before);
    if (!isStarted) return;
    opened.upkeep.start();
    opened.judge.start();
  }

  async function end({ upkeep, judge, filling, appender }: OpenSite): Promise<void> {
    await filling?.mirror.stop();
    await Promise.all([upkeep.stop(), judge.stop()]);
    await appender.idle();
    await filling?.walker.close();
  }

  return {
    all,
    judges,
    upkeeps,
    places: () => places,
    async open(site) {
      putIn(await openSite(site, shared));
    },
    putMirror,
    async take(name) {
      const position = all.findIndex((site) => site.name === name);
      const [site] = position === -1 ? [] : all.splice(position, 1);
      if (site === undefined) return;
      judges.delete(name);
      upkeeps.delete(name);
      places = placesOf(all);
      await end(site);
    },
    start() {
      isStarted = true;
    },
    async stop() {
      await Promise.all(all.map(({ filling }) => filling?.mirror.stop()));
      await Promise.all(all.map(({ filling }) => filling?.walker.close()));
    },
  };
}
