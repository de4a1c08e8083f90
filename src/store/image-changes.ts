// Which images are being changed, which reads of them are too old to be recorded, which uploads are unfinished, and whether
// the index has been compared with the tree since the start.
import { createTurns, createVersions } from '../domain/concurrency.ts';
import { type ImageId, imageKey } from '../domain/image.ts';
import type { Intent } from '../domain/intent.ts';
import type { Judgement } from '../domain/verdict.ts';

/** A prepared pair whose file is in its place, or was before a crash, and which is not recorded everywhere yet. */
export interface Unfinished {
  readonly prepared: string;
  readonly intent: Intent;
  /** Provenance and audit event are written; only the index lacks it. */
  readonly isKept: boolean;
  /** Null after a crash: it is verified again. */
  readonly judgement: Judgement | null;
}

/** One for each tree: its readers, scans and writers share it. */
export interface ImageChanges {
  /** One change of an image at a time; different images do not wait for each other. */
  inTurn<T>(image: ImageId, act: () => Promise<T>): Promise<T>;
  /** Changes with each change of the image: a read that began before a change must not answer a request that came after it. */
  versionOf(image: ImageId): number;
  changed(image: ImageId): void;
  /** Whether what was read at that version may be recorded: the image is not being changed, and has not changed since. */
  mayRecord(image: ImageId, version: number): boolean;
  /** Now, for isUntouchedSince(). */
  readonly moment: number;
  /** Whether the image has not changed since that moment, and is not being changed. False proves nothing. */
  isUntouchedSince(image: ImageId, moment: number): boolean;
  /** The same of all images, and that nothing of any is pending. */
  isQuietSince(moment: number): boolean;
  unfinishedOf(image: ImageId): readonly Unfinished[];
  leaveUnfinished(unfinished: Unfinished): void;
  finished(unfinished: Unfinished): void;
  /** Whether files of the image are in the tree and could not be recorded: until they are, reads look at the disk. */
  isUnrecorded(image: ImageId): boolean;
  setUnrecorded(image: ImageId, isUnrecorded: boolean): void;
  /** Whether something of the image is withdrawn, and index or files may not say so yet. */
  isUnsettled(image: ImageId): boolean;
  leaveUnsettled(image: ImageId): void;
  settled(image: ImageId): void;
  /** Whether anything of the image is unfinished, unrecorded or unsettled. */
  isPending(image: ImageId): boolean;
  /**
   * Whether the tree was scanned since the start. Before that, even a complete index may be an older copy, which lacks
   * later uploads.
   */
  readonly isScanned: boolean;
  scanned(): void;
}

export function createImageChanges(): ImageChanges {
  const turns = createTurns();
  const versions = createVersions();
  const unfinished = new Map<string, readonly Unfinished[]>();
  const unrecorded = new Set<string>();
  const unsettled = new Set<string>();
  let isScanned = false;

  const unfinishedOf = (image: ImageId) => unfinished.get(imageKey(image)) ?? [];

  function without(left: Unfinished): readonly Unfinished[] {
    return unfinishedOf(left.intent.image).filter(({ prepared }) => prepared !== left.prepared);
  }

  return {
    inTurn: (image, act) => turns.take(imageKey(image), act),
    versionOf: (image) => versions.of(imageKey(image)),
    changed: (image) => versions.change(imageKey(image)),
    mayRecord(image, version) {
      const key = imageKey(image);
      return !turns.isTaken(key) && versions.of(key) === version;
    },
    get moment() {
      return versions.last;
    },
    isUntouchedSince(image, moment) {
      const key = imageKey(image);
      return !turns.isTaken(key) && versions.of(key) <= moment;
    },
    isQuietSince(moment) {
      const pending = unfinished.size + unrecorded.size + unsettled.size;
      return turns.size + pending === 0 && versions.last <= moment;
    },
    unfinishedOf,
    leaveUnfinished(left) {
      unfinished.set(imageKey(left.intent.image), [...without(left), left]);
    },
    finished(left) {
      const others = without(left);
      if (others.length > 0) unfinished.set(imageKey(left.intent.image), others);
      else unfinished.delete(imageKey(left.intent.image));
    },
    isUnrecorded: (image) => unrecorded.has(imageKey(image)),
    setUnrecorded(image, isUnrecorded) {
      if (isUnrecorded) unrecorded.add(imageKey(image));
      else unrecorded.delete(imageKey(image));
    },
    isUnsettled: (image) => unsettled.has(imageKey(image)),
    leaveUnsettled: (image) => void unsettled.add(imageKey(image)),
    settled: (image) => void unsettled.delete(imageKey(image)),
    isPending(image) {
      if (unfinished.size + unrecorded.size + unsettled.size === 0) return false;
      const key = imageKey(image);
      return unfinished.has(key) || unrecorded.has(key) || unsettled.has(key);
    },
    get isScanned() {
      return isScanned;
    },
    scanned() {
      isScanned = true;
    },
  };
}
