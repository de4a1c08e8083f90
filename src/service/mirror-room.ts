// Keeps what readers have made a mirror fetch within its size: the sets that were asked for longest ago go. What a sync has brought
// stays, and what the upstream could not give again.
import { LRUCache } from 'lru-cache';
import { forEachConcurrently } from '../domain/concurrency.ts';
import { isLookasideError } from '../domain/errors.ts';
import { type ImageId, imageKey, parseImageFolder } from '../domain/image.ts';
import type { AskedSet, Clock, Log, MirrorStore, SetPlace } from '../domain/ports.ts';

/** Whether the upstream of that URL would give it again, as far as is known; null: it is not known yet which one is asked. */
export type MayGo = (image: ImageId, upstream: string | null) => boolean;

interface LettingGo {
  readonly mayGo: () => Promise<boolean>;
  readonly onGone: () => Promise<void>;
}

export interface MirrorRoomOptions {
  readonly site: string;
  /** Null: they may take what they need. */
  readonly maxBytes: number | null;
  readonly mirrors: Pick<MirrorStore, 'setOf' | 'asked' | 'beyond' | 'onDemand' | 'forget'>;
  /** As LetGo of the store. */
  readonly letGo: (image: ImageId, letting: LettingGo) => Promise<boolean>;
  readonly clock: Pick<Clock, 'now'>;
  readonly wait: (ms: number) => Promise<unknown>;
  readonly log: Log;
}

export interface MirrorRoom {
  /** After which it is to be told again that a stored set is read; null: it need not be told at all. */
  readonly askedEveryMs: number | null;
  /** A reader gets what is stored of the image. */
  asked(image: ImageId): void;
  /** Something may have grown: looked at a moment later. */
  grown(mayGo: MayGo): void;
  /** Looks no more. Resolves when nothing is under way. */
  stop(): Promise<void>;
}

interface Page {
  readonly last: SetPlace;
  readonly places: readonly SetPlace[];
  /** Where the next one begins; null: there is none. */
  readonly next: SetPlace | null;
}

/** Many sets that come together are one look. */
const PAUSE_MS = 10_000;
const IMAGES_AT_ONCE = 500;
const FOLDERS_AT_ONCE = 4;
const ASKED_EVERY_MS = 60_000;
const MAX_ASKED = 100_000;

export function createMirrorRoom(options: MirrorRoomOptions): MirrorRoom {
  const { site, maxBytes, mirrors, letGo, log } = options;
  let isDue = false;
  let isStopped = false;
  /** Told once, until there is room again. */
  let wasTooLarge = false;
  let underWay: Promise<void> = Promise.resolve();
  /** Since they were written. What is left out of them counts as asked for when it was last walked for. */
  const asked = new LRUCache<string, AskedSet>({ max: MAX_ASKED });

  async function writeAsked(): Promise<void> {
    const sets = [...asked.entries()];
    for (let from = 0; from < sets.length; from += IMAGES_AT_ONCE) {
      const some = sets.slice(from, from + IMAGES_AT_ONCE);
      await mirrors.asked(some.map(([, set]) => set));
      // only now, as a write that fails is made up for later; those that were read again meanwhile stay
      for (const [key, set] of some) if (asked.peek(key) === set) asked.delete(key);
    }
  }

  async function makeRoom(limitBytes: number, mayGo: MayGo): Promise<void> {
    const last = await mirrors.beyond(site, limitBytes);
    let [gone, stayed] = [0, 0];
    for (let page: Page | null = last && (await pageUpTo(last, null)); page !== null; ) {
      const went = await letPageGo(page.places, mayGo);
      gone += went;
      stayed += page.places.length - went;
      page = page.next === null || isStopped ? null : await pageUpTo(page.last, page.next);
    }
    if (gone > 0)
      log.info(
        { site, sets: gone, maxBytes: limitBytes },
        'mirrored sets that were asked for longest ago are let go',
      );
    if (isStopped) return;
    // those that stay may have room beside what is left
    const isTooLarge = stayed > 0 && (await mirrors.beyond(site, limitBytes)) !== null;
    if (isTooLarge && !wasTooLarge)
      log.warn(
        { site, sets: stayed, maxBytes: limitBytes },
        'a mirror stays larger than its --max-size, as the upstream does not give these sets now, or something of them is withdrawn',
      );
    wasTooLarge = isTooLarge;
  }

  /** As many as are looked at together. */
  async function pageUpTo(last: SetPlace, after: SetPlace | null): Promise<Page> {
    const places = await mirrors.onDemand(site, { after, last }, IMAGES_AT_ONCE);
    return { last, places, next: places.length < IMAGES_AT_ONCE ? null : (places.at(-1) ?? null) };
  }

  /** How many went. */
  async function letPageGo(places: readonly SetPlace[], mayGo: MayGo): Promise<number> {
    let gone = 0;
    const images = places
      .flatMap((place) => parseImageFolder(site, place.image) ?? [])
      .filter((image) => mayGo(image, null));
    await forEachConcurrently(images, FOLDERS_AT_ONCE, async (image) => {
      const isGone = await letGo(image, {
        mayGo: () => isOnDemand(image, mayGo),
        onGone: () => mirrors.forget([image]),
      });
      if (isGone) gone += 1;
    });
    return gone;
  }

  /** Still: a sync may have asked for it meanwhile. */
  async function isOnDemand(image: ImageId, mayGo: MayGo): Promise<boolean> {
    const row = await mirrors.setOf(image);
    // one whose walks fail may be gone from the upstream
    const isKept = row === null || row.syncedAt !== null || row.failingSince !== null;
    return !isKept && !isStopped && mayGo(image, row.upstream);
  }

  async function look(mayGo: MayGo): Promise<void> {
    if (maxBytes === null || isStopped) return;
    try {
      await writeAsked();
      await makeRoom(maxBytes, mayGo);
    } catch (error) {
      // nobody waits for it
      log[isLookasideError(error) ? 'warn' : 'error'](
        { err: error },
        'a mirror is larger than it should be; its sets are let go later',
      );
    }
  }

  return {
    askedEveryMs: maxBytes === null ? null : ASKED_EVERY_MS,
    asked(image) {
      if (maxBytes !== null) asked.set(imageKey(image), { image, askedAt: options.clock.now() });
    },
    grown(mayGo) {
      if (maxBytes === null || isDue || isStopped) return;
      isDue = true;
      void options.wait(PAUSE_MS).then(() => {
        isDue = false;
        underWay = underWay.then(() => look(mayGo));
      });
    },
    async stop() {
      isStopped = true;
      await underWay;
      try {
        await writeAsked();
      } catch (error) {
        if (!isLookasideError(error)) throw error;
        log.warn({ err: error, site }, 'which sets of a mirror were read last cannot be noted');
      }
    },
  };
}
