// A day's batch of the record of reads on its way to the writer's thread: columns of numbers, and each image and text once. As
// objects, each row would be written out and read back property by property.
import type { ImageId } from '../domain/image.ts';
import type { DroppedCount, MissingCount, ReadCount } from '../domain/ports.ts';

export interface PackedBatch {
  readonly images: PackedImages;
  /** Addresses, agents, names of tokens. */
  readonly texts: readonly string[];
  /** SHA256_BYTES for each signature that was sent; one may stand here several times. */
  readonly signatures: Uint8Array;
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

/** The memory for an image's digest; those of SHA-256 fill half of it. */
export const DIGEST_BYTES = 64;
export const SHA256_BYTES = 32;
/** The memory for digests, and for rows, begins with so many, and doubles. */
const FIRST_DIGESTS = 64;
const FIRST_ROWS = 64;
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
  readonly #signatures = new Digests(SHA256_BYTES);
  readonly #reads = new Numbers(READ_WIDTH);
  readonly #missing = new Numbers(MISSING_WIDTH);
  /** Most rows follow one of the same client. */
  #last: PackedClient | null = null;
  #dropped: DroppedCount | undefined;

  addRead(read: ReadCount): void {
    const { image, number, status, address, agent, token, signatureSha256 } = read;
    const client = this.#clientOf(address, agent, token);
    const { numbers, from } = this.#reads.next();
    numbers[from] = this.#images.of(image);
    numbers[from + 1] = number ?? NONE;
    numbers[from + 2] = status;
    numbers[from + 3] = client.addressAt;
    numbers[from + 4] = client.agentAt;
    numbers[from + 5] = client.tokenAt;
    numbers[from + 6] = signatureSha256 === null ? NONE : this.#signatures.add(signatureSha256);
    numbers[from + 7] = read.firstAt.getTime();
    numbers[from + 8] = read.lastAt.getTime();
    numbers[from + 9] = read.count;
    numbers[from + 10] = read.bytes;
  }

  addMissing({ image, firstAt, lastAt, lastAddress, count }: MissingCount): void {
    const { numbers, from } = this.#missing.next();
    numbers[from] = this.#images.add(image);
    numbers[from + 1] = firstAt.getTime();
    numbers[from + 2] = lastAt.getTime();
    numbers[from + 3] = this.#texts.of(lastAddress);
    numbers[from + 4] = count;
  }

  setDropped(dropped: DroppedCount): void {
    this.#dropped = dropped;
  }

  batch(): PackedBatch {
    return {
      images: this.#images.packed(),
      texts: this.#texts.texts,
      signatures: this.#signatures.packed(),
      reads: this.#reads.packed(),
      missing: this.#missing.packed(),
      ...(this.#dropped === undefined ? {} : { dropped: this.#dropped }),
    };
  }

  #clientOf(address: string, agent: string | null, token: string | null): PackedClient {
    const last = this.#last;
    if (last !== null && last.address === address && last.agent === agent && last.token === token)
      return last;
    this.#last = {
      address,
      agent,
      token,
      addressAt: this.#texts.of(address),
      agentAt: this.#optional(agent),
      tokenAt: this.#optional(token),
    };
    return this.#last;
  }

  #optional(text: string | null): number {
    return text === null ? NONE : this.#texts.of(text);
  }
}

/** A client's texts, and their positions. */
interface PackedClient {
  readonly address: string;
  readonly agent: string | null;
  readonly token: string | null;
  readonly addressAt: number;
  readonly agentAt: number;
  readonly tokenAt: number;
}

/** The bytes of memory that it takes, about. */
export function sizeOf({ images, texts, signatures, reads, missing }: PackedBatch): number {
  const lengths = [...texts, ...images.paths].reduce((sum, text) => sum + text.length + 16, 0);
  const arrays = [images.parts, images.digests, signatures, reads, missing];
  return arrays.reduce((sum, { byteLength }) => sum + byteLength, lengths);
}

class ImagePacker {
  readonly #parts: number[] = [];
  readonly #digests = new Digests(DIGEST_BYTES);
  readonly #positions = new Map<ImageId, number>();
  /** Most reads of an image follow each other. */
  #last: ImageId | null = null;
  #lastPosition = 0;
  readonly #sites = new Positions();
  readonly #paths = new Positions();

  /** The same image may come in several objects, and then stands here several times. */
  of(image: ImageId): number {
    if (image === this.#last) return this.#lastPosition;
    const known = this.#positions.get(image);
    const position = known ?? this.add(image);
    if (known === undefined) this.#positions.set(image, position);
    this.#last = image;
    this.#lastPosition = position;
    return position;
  }

  /** As of(), for one that comes once. */
  add({ site, path, layout, algorithm, hex }: ImageId): number {
    const kind = KINDS.findIndex((one) => one.layout === layout && one.algorithm === algorithm);
    this.#parts.push(this.#sites.of(site), this.#paths.of(path), kind);
    return this.#digests.add(hex);
  }

  packed(): PackedImages {
    const parts = new Uint32Array(this.#parts);
    return { sites: this.#sites.texts, paths: this.#paths.texts, parts, digests: this.#digests.packed() };
  }
}

/** Rows of so many numbers each, behind each other. */
class Numbers {
  readonly #width: number;
  #numbers: Float64Array;
  #end = 0;

  constructor(width: number) {
    this.#width = width;
    this.#numbers = new Float64Array(width * FIRST_ROWS);
  }

  /** Where the next row is to be put. */
  next(): { readonly numbers: Float64Array; readonly from: number } {
    const from = this.#end;
    if (from === this.#numbers.length) {
      const larger = new Float64Array(2 * from);
      larger.set(this.#numbers);
      this.#numbers = larger;
    }
    this.#end += this.#width;
    return { numbers: this.#numbers, from };
  }

  /** In memory of its own: a message holds the whole memory behind a view. */
  packed(): Float64Array {
    return this.#numbers.slice(0, this.#end);
  }
}

/** Digests behind each other, each in as many bytes. */
class Digests {
  readonly #width: number;
  #bytes: Buffer;
  #size = 0;

  constructor(width: number) {
    this.#width = width;
    this.#bytes = Buffer.alloc(width * FIRST_DIGESTS);
  }

  /** Its position. */
  add(hex: string): number {
    const from = this.#width * this.#size;
    if (from === this.#bytes.length) this.#bytes = Buffer.concat([this.#bytes], 2 * from);
    this.#bytes.write(hex, from, 'hex');
    this.#size += 1;
    return this.#size - 1;
  }

  /** In memory of its own: a message holds the whole memory behind a view. */
  packed(): Uint8Array {
    return Uint8Array.prototype.slice.call(this.#bytes, 0, this.#width * this.#size);
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
  /** Its position in the batch. */
  readonly signature: number | null;
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

/** Whether its digest has SHA256_BYTES. */
export function isShortDigest({ images }: PackedBatch, position: number): boolean {
  return knownAt(KINDS, images.parts[IMAGE_WIDTH * position + 2]).bytes === SHA256_BYTES;
}

/** A number for its site, path, layout and algorithm, which no other has in this batch. */
export function placeIn({ images: { sites, paths, parts } }: PackedBatch, position: number): number {
  const at = IMAGE_WIDTH * position;
  return ((parts[at + 2] ?? 0) * sites.length + (parts[at] ?? 0)) * paths.length + (parts[at + 1] ?? 0);
}

export function signatureIn({ signatures }: PackedBatch, position: number): Uint8Array {
  const from = SHA256_BYTES * position;
  if (from + SHA256_BYTES > signatures.length) throw new Error('a packed batch names what it does not hold');
  return signatures.subarray(from, from + SHA256_BYTES);
}

export function* readsIn({ texts, reads }: PackedBatch): Generator<PackedRead> {
  const column = (at: number) => reads[at] ?? NONE;
  const number = (at: number) => (column(at) === NONE ? null : column(at));
  const text = (at: number) => (column(at) === NONE ? null : knownAt(texts, reads[at]));
  for (let at = 0; at < reads.length; at += READ_WIDTH) {
    yield {
      image: column(at),
      number: number(at + 1),
      status: column(at + 2),
      address: knownAt(texts, reads[at + 3]),
      agent: text(at + 4),
      token: text(at + 5),
      signature: number(at + 6),
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
