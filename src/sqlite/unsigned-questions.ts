// Images that were asked for and never had a signature: from unsigned.db where it is up to a day, else from the day itself.
import { existsSync } from 'node:fs';
import { type ImageId, imageFolder, imageKey, imageName } from '../domain/image.ts';
import type { RecordFilter, UnsignedImage, UnsignedImages, UnsignedRepository } from '../domain/records.ts';
import type { AccessQuestions, DayOfMissing } from './access-questions.ts';
import type { Missing } from './missing-rows.ts';
import { closedOnError, type HeldFile, hold, isCorruption, isReachable, openForReading } from './open.ts';
import type { Pause } from './question-parts.ts';
import {
  columnsOf,
  type ImageColumns,
  indexedSince,
  isOrWasSigned,
  type KeptDay,
  KeptUnsigned,
  type KnownImages,
  type SignedSource,
  unsignedFileOf,
  uploadedSince,
} from './unsigned-store.ts';
import { type Tallied, Tally } from './unsigned-tally.ts';

/** Images that memory holds beside those of unsigned.db. */
const MAX_IMAGES = 1_000_000;

/** What says whether an image has had a signature. */
export interface SignedSources {
  readonly state: SignedSource | null;
  readonly index: SignedSource | null;
}

/** unsigned.db, as long as it is in its place. */
export class UnsignedQuestions {
  readonly #file: string;
  readonly #pause: Pause;
  #open: { readonly held: HeldFile; readonly kept: KeptUnsigned } | null = null;

  constructor(dataDir: string, pause: Pause) {
    this.#file = unsignedFileOf(dataDir);
    this.#pause = pause;
  }

  ask(
    access: AccessQuestions,
    sources: SignedSources,
    filter: RecordFilter,
    limit: number,
  ): Omit<UnsignedImages, 'dropped' | 'gaps'> & { readonly left: number } {
    // one image is quickly found in each day
    const kept = filter.image === null ? this.#kept() : null;
    if (kept === null) return new Question(null, access, sources, filter, this.#pause).answer(limit);
    try {
      return kept.atOnce(() => new Question(kept, access, sources, filter, this.#pause).answer(limit));
    } catch (error) {
      if (!isCorruption(error)) throw error;
      // it is made anew, and the days have all that it has
      this.close();
      return new Question(null, access, sources, filter, this.#pause).answer(limit);
    }
  }

  rest(): void {
    this.#open?.held.db.pragma('shrink_memory');
  }

  /** Call it before an asker's first look-up. */
  letGo(): void {
    if (this.#open !== null && !isReachable(this.#open.held)) this.close();
  }

  close(): void {
    this.#open?.held.db.close();
    this.#open = null;
  }

  #kept(): KeptUnsigned | null {
    this.letGo();
    if (this.#open !== null) return this.#open.kept;
    if (!existsSync(this.#file)) return null;
    try {
      const db = openForReading(this.#file, 'unsigned');
      this.#open = closedOnError(db, () => ({ held: hold(db, this.#file), kept: new KeptUnsigned(db) }));
      return this.#open.kept;
    } catch {
      return null; // as above
    }
  }
}

class Question {
  readonly #kept: KeptUnsigned | null;
  readonly #access: AccessQuestions;
  readonly #sources: SignedSources;
  readonly #filter: RecordFilter;
  readonly #pause: Pause;
  /** Images of unsigned.db have the ids up to that. */
  readonly #size: number;
  readonly #images: KnownImages;
  readonly #days: ReadonlyMap<string, KeptDay>;
  readonly #tally: Tally;
  readonly #names: string[];
  /** By the place: 1 where the filter wants it. */
  readonly #isWanted: Uint8Array;
  readonly #ids = new Map<string, number>();
  readonly #others: { readonly image: ImageId; readonly place: number }[] = [];
  readonly #placesOfOthers = new Map<string, number>();
  readonly #asked: string[] = [];
  #left = 0;

  constructor(
    kept: KeptUnsigned | null,
    access: AccessQuestions,
    sources: SignedSources,
    filter: RecordFilter,
    pause: Pause,
  ) {
    this.#kept = kept;
    this.#access = access;
    this.#sources = sources;
    this.#filter = filter;
    this.#pause = pause;
    this.#size = kept?.size ?? 0;
    this.#images = kept?.images(this.#size) ?? { places: new Uint32Array(1), signed: new Uint8Array(1) };
    this.#days = new Map((kept?.days() ?? []).map((one) => [one.day, one]));
    this.#tally = new Tally(this.#size);
    const places = kept?.places() ?? [];
    this.#names = places.map(({ path }) => path);
    this.#isWanted = Uint8Array.from(places, (place) => (isBelow(place, filter) ? 1 : 0));
    if (kept !== null) this.#noteSigned(kept);
  }

  answer(limit: number) {
    this.#access.daysOfMissing(this.#filter, (day) => {
      const known = this.#days.get(day.day);
      const position = this.#asked.push(day.day) - 1;
      if (known === undefined || !this.#addKept(known, day, position)) this.#addAll(day, position);
    });
    const top = this.#tally.top(limit);
    const repositories = this.#tally.repositories((id) => this.#placeOf(id), this.#names);
    const topRepositories = repositories.slice(0, limit);
    const addresses = this.#addressesOf([...top, ...topRepositories.map(({ last }) => last)]);
    return {
      rows: top.map((one) => this.#imageRow(one, addresses)),
      found: this.#tally.found,
      repositories: topRepositories.map(
        ({ repository, count, images, last }): UnsignedRepository => ({
          repository,
          count,
          images,
          lastAt: new Date(last.lastMs),
          lastAddress: addresses.get(last.id) ?? 'other',
        }),
      ),
      repositoriesFound: repositories.length,
      left: this.#left,
    };
  }

  /** What got a signature since unsigned.db was brought up to date. */
  #noteSigned(kept: KeptUnsigned): void {
    const sign = (image: ImageColumns): void => {
      const id = kept.idOf(image);
      if (id !== null) this.#images.signed[id] = 1;
    };
    const { state, index } = this.#sources;
    if (state !== null) uploadedSince(state, kept.noted('upload'), sign);
    if (index !== null) indexedSince(index, kept.noted('signature'), sign);
  }

  /** False: the pieces are not of the day as it is now. */
  #addKept(known: KeptDay, day: DayOfMissing, position: number): boolean {
    const kept = this.#kept;
    if (kept === null) return false;
    if (known.closedAtMs !== null) {
      if (day.closedAtMs !== known.closedAtMs) return false;
      this.#addPieces(kept, known, new Map(), position);
      return true;
    }
    const later: Missing[] = [];
    const before = day.before(known.untilMs ?? 0, (one) => later.push(one));
    const ids = new Map<number, Missing>();
    const others: Missing[] = [];
    for (const one of later) {
      const id = kept.idOf(columnsOf(one.image));
      if (id === null) others.push(one);
      else ids.set(id, one);
    }
    // each request adds to a row, so that equal sums say that no other row has changed
    let counted = before;
    for (const { ids: all, counts } of kept.pieces(known.day)) {
      for (let at = 0; at < all.length; at += 1) if (ids.has(all[at] ?? 0)) counted += counts[at] ?? 0;
    }
    if (counted !== known.requests) return false;
    this.#addPieces(kept, known, ids, position);
    for (const one of [...ids.values(), ...others]) this.#add(one, position);
    return true;
  }

  /** Without these images. */
  #addPieces(
    kept: KeptUnsigned,
    { day }: KeptDay,
    without: ReadonlyMap<number, Missing>,
    position: number,
  ): void {
    const startMs = Date.parse(day);
    const since = (this.#filter.since?.getTime() ?? Number.NEGATIVE_INFINITY) - startMs;
    const until = (this.#filter.until?.getTime() ?? Number.POSITIVE_INFINITY) - startMs;
    const { places, signed } = this.#images;
    const [isWanted, tally, hasWithout] = [this.#isWanted, this.#tally, without.size > 0];
    for (const { ids, counts, firsts, lasts } of kept.pieces(day)) {
      for (let at = 0; at < ids.length; at += 1) {
        const id = ids[at] as number; // the loop ends before the list does
        if (signed[id] === 1 || isWanted[places[id] as number] === 0) continue;
        const [first, last] = [firsts[at] as number, lasts[at] as number];
        if (last < since || first >= until || (hasWithout && without.has(id))) continue;
        tally.add(id, counts[at] as number, startMs + first, startMs + last, position);
      }
      this.#pause();
    }
  }

  #addAll(day: DayOfMissing, position: number): void {
    day.all(this.#filter, (one) => this.#add(one, position));
  }

  #add({ image, count, firstAtMs, lastAtMs }: Missing, position: number): void {
    const { since, until } = this.#filter;
    if (since !== null && lastAtMs < since.getTime()) return;
    if (until !== null && firstAtMs >= until.getTime()) return;
    if (!isBelow(image, this.#filter)) return;
    const id = this.#idOf(image);
    if (id !== null) this.#tally.add(id, count, firstAtMs, lastAtMs, position);
  }

  /** Null: it has had a signature, or there is no room for it. */
  #idOf(image: ImageId): number | null {
    const key = imageKey(image);
    const known = this.#ids.get(key);
    if (known !== undefined) return known < 0 ? null : known;
    const columns = columnsOf(image);
    const kept = this.#kept?.idOf(columns) ?? null;
    if (kept !== null) return this.#images.signed[kept] === 1 ? null : kept;
    if (this.#ids.size >= MAX_IMAGES) {
      this.#left += 1;
      return null;
    }
    const { state, index } = this.#sources;
    if (isOrWasSigned(state, index, columns, imageFolder(image))) {
      this.#ids.set(key, -1);
      return null;
    }
    const id = this.#size + this.#others.push({ image, place: this.#placeOfOther(image) });
    this.#ids.set(key, id);
    return id;
  }

  #placeOfOther({ path }: ImageId): number {
    const known = this.#placesOfOthers.get(path);
    if (known !== undefined) return known;
    const place = this.#names.push(path) - 1;
    this.#placesOfOthers.set(path, place);
    return place;
  }

  #placeOf(id: number): number {
    return id <= this.#size
      ? (this.#images.places[id] ?? 0)
      : (this.#others[id - this.#size - 1]?.place ?? 0);
  }

  #image(id: number): ImageId {
    const other = this.#others[id - this.#size - 1];
    if (other !== undefined) return other.image;
    if (this.#kept === null) throw new Error(`there is no image ${id}`);
    return this.#kept.image(id);
  }

  #imageRow(one: Tallied, addresses: ReadonlyMap<number, string>): UnsignedImage {
    const image = this.#image(one.id);
    return {
      site: image.site,
      image: imageName(image),
      count: one.count,
      firstAt: new Date(one.firstMs),
      lastAt: new Date(one.lastMs),
      lastAddress: addresses.get(one.id) ?? 'other',
    };
  }

  /** By the ids, from the days themselves: a person may have been forgotten since. */
  #addressesOf(all: readonly Tallied[]): ReadonlyMap<number, string> {
    const byDay = new Map<number, Map<number, ImageId>>();
    for (const { id, day } of all) {
      const images = byDay.get(day) ?? new Map<number, ImageId>();
      byDay.set(day, images.set(id, this.#image(id)));
    }
    const addresses = new Map<number, string>();
    for (const [day, images] of byDay) {
      const known = this.#access.lastAddresses(this.#asked[day] ?? '', [...images.values()]);
      for (const [id, image] of images) addresses.set(id, known.get(imageKey(image)) ?? 'other');
    }
    return addresses;
  }
}

function isBelow(
  { site, path }: Pick<ImageId, 'site' | 'path'>,
  filter: Pick<RecordFilter, 'site' | 'repository'>,
): boolean {
  if (filter.site !== null && site !== filter.site) return false;
  const { repository } = filter;
  return repository === null || path === repository || path.startsWith(`${repository}/`);
}
