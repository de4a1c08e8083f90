// The digests of all images that have rows in index.db, in memory: a flood of names that are not there asks the database nothing.
import type { ImageId } from '../domain/image.ts';
import { NumberSet } from './number-set.ts';

type Digested = Pick<ImageId, 'hex'>;

export interface RecordedDigestsOptions {
  /** How many images have rows, about. */
  readonly count: () => number;
  /** The next first bytes of digests, at least four of each, in order. */
  readonly page: (after: Uint8Array, limit: number) => readonly Buffer[];
  readonly most?: number;
}

/** As many questions about images without rows as a quarter of the images: reading them all costs no more than these did. */
const QUESTIONS_AN_IMAGE = 1 / 4;
const FEWEST_QUESTIONS = 64;
/** They are read in turns of the event loop, each shorter than a millisecond. */
const PAGE_DIGESTS = 500;
/** They take 32 MiB. With more images, this tells nothing. */
const MOST_DIGESTS = 4_000_000;

export class RecordedDigests {
  readonly #options: RecordedDigestsOptions;
  #questions = 0;
  #wanted = FEWEST_QUESTIONS;
  #starts: NumberSet | null = null;
  #isWhole = false;
  /** What is being written: it may be in none of the pages, or in one. */
  readonly #underWay = new Set<readonly Digested[]>();

  constructor(options: RecordedDigestsOptions) {
    this.#options = options;
  }

  /** True: the image certainly has no row. False tells nothing. */
  lacks({ hex }: Digested): boolean {
    if (this.#isWhole) return this.#starts?.has(startOf(hex)) === false;
    this.#questions += 1;
    if (this.#starts === null && this.#questions >= this.#wanted) this.#begin();
    return false;
  }

  /** Call it before rows of the images are written, and what it returns when that has ended in any way. */
  recording(images: readonly Digested[]): () => void {
    this.#underWay.add(images);
    this.#add(images);
    return () => void this.#underWay.delete(images);
  }

  /** Call it when other rows may be there than those that were told. */
  forget(): void {
    this.#starts = null;
    this.#isWhole = false;
    this.#questions = 0;
    this.#wanted = FEWEST_QUESTIONS;
  }

  #giveUp(): void {
    this.forget();
    this.#wanted = Number.POSITIVE_INFINITY;
  }

  #begin(): void {
    try {
      this.#wanted = Math.max(FEWEST_QUESTIONS, this.#options.count() * QUESTIONS_AN_IMAGE);
    } catch {
      return; // the look-up that follows tells what is wrong
    }
    if (this.#questions < this.#wanted) return;
    const starts = new NumberSet();
    this.#starts = starts;
    for (const images of this.#underWay) this.#add(images);
    this.#readOn(starts, Buffer.alloc(0));
  }

  #readOn(starts: NumberSet, after: Uint8Array): void {
    setImmediate(() => {
      if (this.#starts !== starts) return;
      try {
        const page = this.#options.page(after, PAGE_DIGESTS);
        for (const digest of page) starts.add(digest.readUInt32BE(0));
        const last = page.at(-1);
        if (last === undefined) this.#isWhole = true;
        else if (this.#isTooLarge(starts)) this.#giveUp();
        else this.#readOn(starts, last);
      } catch {
        this.forget(); // likewise
      }
    });
  }

  #add(images: readonly Digested[]): void {
    const starts = this.#starts;
    if (starts === null) return;
    for (const { hex } of images) starts.add(startOf(hex));
    if (this.#isTooLarge(starts)) this.#giveUp();
  }

  #isTooLarge({ size }: NumberSet): boolean {
    return size > (this.#options.most ?? MOST_DIGESTS);
  }
}

/** The first four bytes. */
function startOf(hex: string): number {
  return Number.parseInt(hex.slice(0, 8), 16);
}
