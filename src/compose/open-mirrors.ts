// Mirrors: what the database keeps of them, connected to the sites that are open.
import { setTimeout as wait } from 'node:timers/promises';
import { DEFAULT_SITE } from '../domain/image.ts';
import type { SignatureStore } from '../domain/ports.ts';
import type { MakeEvent } from '../service/audit.ts';
import { createMirrors, type MirrorService } from '../service/mirrors.ts';
import { missedImages } from '../service/missed-images.ts';
import type { Reader } from '../service/read.ts';
import type { Records } from '../service/records.ts';
import type { Databases } from '../sqlite/databases.ts';
import { systemClock } from './clock.ts';
import { isMirror, type OpenSites, siteOfMirror } from './open-sites.ts';

interface MirrorParts {
  readonly open: OpenSites;
  readonly data: string;
  readonly databases: Databases;
  readonly store: Pick<SignatureStore, 'listFolder'>;
  readonly reader: Reader;
  readonly makeEvent: MakeEvent;
  readonly records: Records;
}

export function openMirrors(parts: MirrorParts): MirrorService {
  const { open, data, databases, store, reader, makeEvent, records } = parts;
  return createMirrors({
    store: databases.mirrors,
    open: () =>
      open.all.filter(isMirror).map(({ name, mirror: stored, filling: { mirror, walker } }) => ({
        stored,
        mirror,
        restingMs: () => walker.restingMs(null),
        counts: () => databases.index.counts(name).catch(() => null), // INDEX_UNUSABLE: being rebuilt
      })),
    async put(mirror) {
      await open.putMirror(siteOfMirror(data, mirror));
      // until when a set in memory holds was said by the mirror as it was before
      reader.forgetAll();
    },
    take: (name) => open.take(name),
    missed: (site, since, asker) => missedImages(records, { site, since }, asker),
    listHosted: (folder) => store.listFolder(DEFAULT_SITE, folder, null, 1),
    makeEvent,
    appendEvent: (event) => databases.audit.append(event),
    clock: systemClock,
    wait: (ms) => wait(ms),
  });
}
