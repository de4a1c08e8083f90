// A day's batch of the record of reads on its way to the writer's thread: columns of numbers, and each image and text once. As
// objects, each row would be written out and read back property by property.
import type { ImageId } from '../domain/image.ts';
import type { DroppedCount, MissingCount, ReadCount } from '../domain/ports.ts';

export interface PackedBatch {
  readonly images: PackedImages;
  /** Addresses, agents, names of tokens, signatures. */
  readonly texts: readonly string[];
  /** READ_WIDTH numbers for each row. */
  readonly reads: Float64Array;
  /** MISSING_WIDTH numbers for each row. */
  readonly missing: Float64Array;
  readonly dropped?: DroppedCount;
}

interface PackedImages {
  readonly sites: readonly string[];
  readonly paths: readonly string[];
  /** For each image its site's and its path's position, and its kind's in KINDS. */
  readonly parts: Uint32Array;
  /** DIGEST_BYTES for each image. */
  readonly digests: Uint8Array;
}

/** Site, path, layout, algorithm, digest. */
export type ImageParts = [site: string, path: string, layout: string, algorithm: string, digest: Uint8Array];

const DIGEST_BYTES = 64;
/** The memory for digests begins with so many, and doubles. */
const FIRST_IMAGES = 64;
const KINDS = (['repository', 'release'] as const).flatMap((layout) =>
  (
    [
      ['sha256', 32],
      ['sha384', 48],
      ['sha512', 64],
    ] as const
  ).map(([algorithm, bytes]) => ({ layout, algorithm, bytes })),
);
const IMAGE_WIDTH = 3;

/** Image, number, status, address, agent, token, signature, first and last ms, count, bytes. */
const READ_WIDTH = 11;
/** Image, first and last ms, last address, count. */
const MISSING_WIDTH = 5;

/** Stands for a text or number that is not there. */
const NONE = -1;

/** Takes rows one by one. */
export class BatchPacker {
  readonly #images = new ImagePacker();
  readonly #texts = new Positions();
  readonly #reads: number[] = [];
  readonly #missing: number[] = [];
  #dropped: DroppedCount | undefined;

  addRead(read: ReadCount): void {
    const { image, number, status, address, agent, token, signatureSha256 } = read;
    this.#reads.push(
      this.#images.of(image),
      number ?? NONE,
      status,
      this.#texts.of(address),
      this.#optional(agent),
      this.#optional(token),
      this.#optional(signatureSha256),
      read.firstAt.getTime(),
      read.lastAt.getTime(),
      read.count,
      read.bytes,
    );
  }

  addMissing({ image, firstAt, lastAt, lastAddress, count }: MissingCount): void {
    const address = this.#texts.of(lastAddress);
    this.#missing.push(this.#images.add(image), firstAt.getTime(), lastAt.getTime(), address, count);
  }

  setDropped(dropped: DroppedCount): void {
    this.#dropped = dropped;
  }

  batch(): PackedBatch {
    return {
      images: this.#images.packed(),
      texts: this.#texts.texts,
      reads: new Float64Array(this.#reads),
      missing: new Float64Array(this.#missing),
      ...(this.#dropped === undefined ? {} : { dropped: this.#dropped }),
    };
  }

  #optional(text: string | null): number {
    return text === null ? NONE : this.#texts.of(text);
  }
}

/** The bytes of memory that it takes, about. */
export function sizeOf({ images, texts, reads, missing }: PackedBatch): number {
  const lengths = [...texts, ...images.paths].reduce((sum, text) => sum + text.length + 16, 0);
  return (
    lengths + reads.byteLength + missing.byteLength + images.parts.byteLength + images.digests.byteLength
  );
}

class ImagePacker {
  readonly #parts: number[] = [];
  #digests = Buffer.alloc(DIGEST_BYTES * FIRST_IMAGES);
  readonly #positions = new Map<ImageId, number>();
  readonly #sites = new Positions();
  readonly #paths = new Positions();

  /** The same image may come in several objects, and then stands here several times. */
  of(image: ImageId): number {
    const known = this.#positions.get(image);
    if (known !== undefined) return known;
    const position = this.add(image);
    this.#positions.set(image, position);
    return position;
  }

  /** As of(), for one that comes once. */
  add({ site, path, layout, algorithm, hex }: ImageId): number {
    const position = this.#parts.length / IMAGE_WIDTH;
    const kind = KINDS.findIndex((one) => one.layout === layout && one.algorithm === algorithm);
    this.#parts.push(this.#sites.of(site), this.#paths.of(path), kind);
    const from = DIGEST_BYTES * position;
    if (from === this.#digests.length) this.#digests = Buffer.concat([this.#digests], 2 * from);
    this.#digests.write(hex, from, 'hex');
    return position;
  }

  packed(): PackedImages {
    const parts = new Uint32Array(this.#parts);
    // of its own: a message holds the whole memory behind a view
    const digests = Uint8Array.prototype.slice.call(
      this.#digests,
      0,
      (DIGEST_BYTES * parts.length) / IMAGE_WIDTH,
    );
    return { sites: this.#sites.texts, paths: this.#paths.texts, parts, digests };
  }
}

/** Texts, each once, by their positions. */
class Positions {
  readonly texts: string[] = [];
  readonly #positions = new Map<string, number>();

  of(text: string): number {
    const known = this.#positions.get(text);
    if (known !== undefined) return known;
    this.#positions.set(text, this.texts.length);
    return this.texts.push(text) - 1;
  }
}

export interface PackedRead {
  /** Its position in the batch. */
  readonly image: number;
  readonly number: number | null;
  readonly status: number;
  readonly address: string;
  readonly agent: string | null;
  readonly token: string | null;
  readonly signatureSha256: string | null;
  readonly firstAtMs: number;
  readonly lastAtMs: number;
  readonly count: number;
  readonly bytes: number;
}

export interface PackedMissing {
  readonly image: number;
  readonly firstAtMs: number;
  readonly lastAtMs: number;
  readonly lastAddress: string;
  readonly count: number;
}

export function countImages({ images }: PackedBatch): number {
  return images.parts.length / IMAGE_WIDTH;
}

export function imageIn({ images }: PackedBatch, position: number): ImageParts {
  const { sites, paths, parts, digests } = images;
  const at = IMAGE_WIDTH * position;
  const { layout, algorithm, bytes } = knownAt(KINDS, parts[at + 2]);
  const digest = digests.subarray(DIGEST_BYTES * position, DIGEST_BYTES * position + bytes);
  return [knownAt(sites, parts[at]), knownAt(paths, parts[at + 1]), layout, algorithm, digest];
}

export function* readsIn({ texts, reads }: PackedBatch): Generator<PackedRead> {
  const column = (at: number) => reads[at] ?? NONE;
  const text = (at: number) => (column(at) === NONE ? null : knownAt(texts, reads[at]));
  for (let at = 0; at < reads.length; at += READ_WIDTH) {
    const number = column(at + 1);
    yield {
      image: column(at),
      number: number === NONE ? null : number,
      status: column(at + 2),
      address: knownAt(texts, reads[at + 3]),
      agent: text(at + 4),
      token: text(at + 5),
      signatureSha256: text(at + 6),
      firstAtMs: column(at + 7),
      lastAtMs: column(at + 8),
      count: column(at + 9),
      bytes: column(at + 10),
    };
  }
}

export function* missingIn({ texts, missing }: PackedBatch): Generator<PackedMissing> {
  const column = (at: number) => missing[at] ?? NONE;
  for (let at = 0; at < missing.length; at += MISSING_WIDTH) {
    yield {
      image: column(at),
      firstAtMs: column(at + 1),
      lastAtMs: column(at + 2),
      lastAddress: knownAt(texts, missing[at + 3]),
      count: column(at + 4),
    };
  }
}

function knownAt<Value>(values: readonly Value[], position: number | undefined): Value {
  const value = position === undefined ? undefined : values[position];
  if (value === undefined) throw new Error('a packed batch names what it does not hold');
  return value;
}
