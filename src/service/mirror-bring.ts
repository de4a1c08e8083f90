// Brings the set of one image from a mirror's upstream: walked whole, judged, stored behind what is there. Nothing that was ever
// served under a number loses it.
import { LRUCache } from 'lru-cache';
import { isLookasideError } from '../domain/errors.ts';
import { type ImageId, imageFolder, imageKey } from '../domain/image.ts';
import { MAX_INDEXED_BYTES, MAX_SIGNATURES_PER_IMAGE } from '../domain/limits.ts';
import type {
  Clock,
  Log,
  MirrorSetRow,
  MirrorStore,
  SetEntry,
  SetPublisher,
  SignatureSet,
  SignatureStore,
  TombstoneStore,
  Verifier,
} from '../domain/ports.ts';
import { whyUnreadable } from '../domain/readable.ts';
import { withdrawnOf } from '../domain/tombstone.ts';
import type { Judgement } from '../domain/verdict.ts';
import type { WalkFault } from '../domain/walk.ts';
import { judgedInPlace } from './judge.ts';
import type { Walker } from './walk.ts';

export interface BringerOptions {
  /** URLs of the upstreams, in the walker's order. */
  readonly upstreams: readonly string[];
  readonly walker: Pick<Walker, 'walk'>;
  readonly store: Pick<SignatureStore, 'readSet'>;
  readonly publisher: SetPublisher;
  readonly mirrors: Pick<MirrorStore, 'setOf' | 'checked'>;
  readonly tombstones: Pick<TombstoneStore, 'ofImage'>;
  readonly verifier: Pick<Verifier, 'examine'>;
  /** The number changes whenever the verifier gets another keyring. */
  readonly keyringChanges: () => number;
  readonly sha256: (bytes: Uint8Array) => string;
  readonly clock: Clock;
  readonly wait: (ms: number) => Promise<unknown>;
  /** Told when a set that was there has grown. */
  readonly onGrown: (image: ImageId, added: number) => void;
  readonly log: Log;
}

export type Brought =
  | {
      readonly kind: 'set';
      readonly set: SignatureSet;
      readonly added: number;
      readonly leftOut: MirrorSetRow['leftOut'];
      /** Why it is held in memory alone; null: it is stored. */
      readonly unstored: string | null;
    }
  /** `leftOut`: what the upstream has instead. */
  | { readonly kind: 'empty'; readonly leftOut: MirrorSetRow['leftOut'] }
  | WalkFault;

export interface Bringer {
  /** @throws LookasideError BUSY when nothing can be verified now; STORE_UNAVAILABLE when the image cannot be read */
  bring(image: ImageId, purpose: 'read' | 'sync'): Promise<Brought>;
  /** A set that could not be stored, under the numbers at which it was served; undefined for all others. */
  held(image: ImageId): SignatureSet | undefined;
  heldBlob(image: ImageId, sha256: string): Uint8Array | null;
}

interface Judged {
  readonly bytes: Uint8Array;
  readonly sha256: string;
  readonly judgement: Judgement;
  readonly keyring: number;
}

interface Held {
  readonly set: SignatureSet;
  readonly blobs: ReadonlyMap<string, Uint8Array>;
}

const MAX_HELD_BYTES = 64 * 1024 * 1024;
const TRIES_WHEN_BUSY = 10;
const BUSY_PAUSE_MS = 200;

export function createBringer(options: BringerOptions): Bringer {
  const { walker, store, publisher, mirrors, clock, sha256 } = options;
  const heldSets = new LRUCache<string, Held>({
    maxSize: MAX_HELD_BYTES,
    sizeCalculation: ({ set }) => set.entries.reduce((sum, { sizeBytes }) => sum + sizeBytes + 500, 500),
  });
  let generation = 0;

  async function bring(image: ImageId, purpose: 'read' | 'sync'): Promise<Brought> {
    const row = await mirrors.setOf(image);
    const position = row?.upstream == null ? -1 : options.upstreams.indexOf(row.upstream);
    const walk = await walker.walk(imageFolder(image), position === -1 ? null : position);
    if (walk.kind === 'fault') return walk;
    const blobs = walk.kind === 'set' ? walk.blobs : [];
    const { kept, leftOut } = await judgeAll(image, blobs, purpose);
    const brought = await keep(image, kept, leftOut);
    const upstream =
      walk.kind === 'set' ? (options.upstreams[walk.upstream] ?? null) : (row?.upstream ?? null);
    // an image without signatures is remembered only where somebody with a token has named it
    if (brought.kind === 'set' || purpose === 'sync') {
      const there = new Set(blobs.map(sha256));
      const served = brought.kind === 'set' ? brought.set.entries : [];
      await note({
        site: image.site,
        image: imageFolder(image),
        checkedAt: clock.now(),
        upstream: brought.kind === 'set' ? upstream : null,
        gone: served.flatMap((entry) => (there.has(entry.sha256) ? [] : [entry.sha256])),
        leftOut,
        syncedAt: purpose === 'sync' ? clock.now() : null,
      });
    }
    return brought;
  }

  async function judgeAll(image: ImageId, blobs: readonly Uint8Array[], purpose: 'read' | 'sync') {
    const kept: Judged[] = [];
    const leftOut: { readonly sha256: string; readonly code: string }[] = [];
    for (const bytes of blobs) {
      const hash = sha256(bytes);
      const keyring = options.keyringChanges();
      const judgement = judgedInPlace(image, await examine(bytes, purpose));
      const isUseless = judgement.verdict === 'bad' || judgement.verdict === 'unreadable';
      if (isUseless) leftOut.push({ sha256: hash, code: judgement.refusal?.code ?? 'SIGNATURE_BAD' });
      else if (whyUnreadable(bytes) !== null) leftOut.push({ sha256: hash, code: 'FORMAT_UNSUPPORTED' });
      else kept.push({ bytes, sha256: hash, judgement, keyring });
    }
    return { kept, leftOut };
  }

  async function examine(bytes: Uint8Array, purpose: 'read' | 'sync'): Promise<Judgement> {
    const urgency = purpose === 'read' ? 'upload' : 'background';
    for (let tries = 1; ; tries += 1) {
      try {
        return await options.verifier.examine(bytes, clock.now(), urgency);
      } catch (error) {
        if (!isLookasideError(error, 'BUSY') || tries === TRIES_WHEN_BUSY) throw error;
        await options.wait(BUSY_PAUSE_MS);
      }
    }
  }

  /** Stores what is new; where that fails, holds it in memory at the numbers that it would have had. */
  async function keep(
    image: ImageId,
    kept: readonly Judged[],
    leftOut: MirrorSetRow['leftOut'],
  ): Promise<Brought> {
    const before = heldSets.get(imageKey(image));
    try {
      const first = [...(before?.blobs.values() ?? [])].map((bytes) => ({ bytes, judgement: null }));
      const next = kept.map(({ bytes, judgement, keyring }) => {
        return { bytes, judgement: keyring === options.keyringChanges() ? judgement : null };
      });
      const published = await publisher.publish(image, [...first, ...next]);
      heldSets.delete(imageKey(image));
      const { added, entries } = published;
      if (published.before > 0 && added > 0) options.onGrown(image, added);
      if (entries.length === 0) return { kind: 'empty', leftOut };
      return { kind: 'set', set: await store.readSet(image), added, leftOut, unstored: null };
    } catch (error) {
      if (!isLookasideError(error)) throw error;
      options.log.warn(
        { err: error, image: imageFolder(image) },
        'a mirrored set cannot be stored; it is served from memory',
      );
      return hold(image, kept, { leftOut, unstored: error.message });
    }
  }

  async function hold(
    image: ImageId,
    kept: readonly Judged[],
    why: { readonly leftOut: MirrorSetRow['leftOut']; readonly unstored: string },
  ): Promise<Brought> {
    const before = heldSets.get(imageKey(image));
    const stored = before?.set ?? (await store.readSet(image));
    const gone = withdrawnOf(await options.tombstones.ofImage(image));
    // what was withdrawn leaves its number to another, as on the disk
    const filler = stored.entries.find(({ sha256: hash }) => !gone.has(hash));
    const standing = stored.entries.flatMap((entry) => (gone.has(entry.sha256) ? (filler ?? []) : entry));
    const known = new Set([...gone, ...standing.map((entry) => entry.sha256)]);
    const fresh = kept.filter((one) => !known.has(one.sha256) && known.add(one.sha256));
    const entries = [...standing, ...fresh.map(entryOf)].slice(0, MAX_SIGNATURES_PER_IMAGE);
    if (entries.length === 0) return { kind: 'empty', leftOut: why.leftOut };
    const blobs = new Map([
      ...(before?.blobs ?? []),
      ...fresh.map((one) => [one.sha256, one.bytes] as const),
    ]);
    generation += 1;
    const set = { generation, entries };
    heldSets.set(imageKey(image), { set, blobs });
    return { kind: 'set', set, added: fresh.length, ...why };
  }

  function entryOf({ sha256: hash, bytes }: Judged): SetEntry {
    return {
      sha256: hash,
      sizeBytes: bytes.length,
      storedAt: clock.now(),
      bytes: bytes.length <= MAX_INDEXED_BYTES ? bytes : null,
    };
  }

  /** What was found is true without it: at worst the upstream is asked again sooner. */
  async function note(row: MirrorSetRow): Promise<void> {
    try {
      await mirrors.checked(row);
    } catch (error) {
      if (!isLookasideError(error)) throw error;
      options.log.warn({ err: error, image: row.image }, 'what a walk has found cannot be noted');
    }
  }

  return {
    bring,
    held: (image) => heldSets.get(imageKey(image))?.set,
    heldBlob: (image, hash) => heldSets.get(imageKey(image))?.blobs.get(hash) ?? null,
  };
}
