// Images with their files in few pieces of memory, which threads hand on as they are. A message with an object for each file would
// cost either thread more than all else that is done with it.

export interface PackedImages {
  readonly count: number;
  readonly signatures: number;
  /** Their folders, with a line feed between them: no folder of an image has one. */
  readonly folders: string;
  /** The stamp of each image and the number of its files, which are signature-1 and so on; the size of each file, and when it changed. */
  readonly numbers: Float64Array;
  /** The SHA-256 and the bytes of each file. All threads see the same memory: it is read until the batch was gone through, and no longer. */
  readonly memory: Uint8Array;
}

export interface PackedImage {
  readonly folder: string;
  /** A QuickStamp of tree-walk.ts. */
  readonly stamp: number;
  readonly files: readonly PackedFile[];
}

export interface PackedFile {
  readonly number: number;
  readonly modifiedMs: number;
  /** Views of the common memory. */
  readonly sha256: Uint8Array;
  readonly bytes: Uint8Array;
}

const SHA256_BYTES = 32;

/** In their order. */
export function* unpackImages(packed: PackedImages): Generator<PackedImage> {
  const { numbers, memory } = packed;
  let at = 0;
  let from = 0;
  const next = () => numbers[at++] ?? 0;
  const take = (length: number) => {
    from += length;
    return memory.subarray(from - length, from);
  };
  for (const folder of foldersOf(packed)) {
    const stamp = next();
    const files: PackedFile[] = [];
    for (let number = 1, many = next(); number <= many; number += 1) {
      const [sizeBytes, modifiedMs] = [next(), next()];
      files.push({ number, modifiedMs, sha256: take(SHA256_BYTES), bytes: take(sizeBytes) });
    }
    yield { folder, stamp, files };
  }
}

export function foldersOf({ folders, count }: PackedImages): readonly string[] {
  return count === 0 ? [] : folders.split('\n');
}

/** Takes one image after another, as far as there is room. */
export class ImagePacker {
  readonly #memory: Uint8Array;
  readonly #folders: string[] = [];
  readonly #numbers: number[] = [];
  #end = 0;
  #signatures = 0;
  /** Where the image that is being taken begins. */
  #begun = { end: 0, numbers: 0 };

  constructor(memory: Uint8Array) {
    this.#memory = memory;
  }

  get count(): number {
    return this.#folders.length;
  }

  get bytes(): number {
    return this.#end;
  }

  begin(): void {
    this.#begun = { end: this.#end, numbers: this.#numbers.length };
    this.#numbers.push(0, 0);
  }

  /** Where the bytes of the image's next file are to be put, and its SHA-256 in front of them. Null: there is no room for them. */
  room(
    sizeBytes: number,
    modifiedMs: number,
  ): { readonly sha256: Uint8Array; readonly bytes: Uint8Array } | null {
    const [start, end] = [this.#end + SHA256_BYTES, this.#end + SHA256_BYTES + sizeBytes];
    if (end > this.#memory.length) return null;
    const sha256 = this.#memory.subarray(this.#end, start);
    this.#end = end;
    this.#numbers.push(sizeBytes, modifiedMs);
    return { sha256, bytes: this.#memory.subarray(start, end) };
  }

  /** What was put since begin() are the files of this image. */
  end(folder: string, stamp: number): void {
    const { numbers } = this.#begun;
    const files = (this.#numbers.length - numbers - 2) / 2;
    this.#numbers[numbers] = stamp;
    this.#numbers[numbers + 1] = files;
    this.#folders.push(folder);
    this.#signatures += files;
  }

  /** What was put since begin() is of no use. */
  drop(): void {
    this.#end = this.#begun.end;
    this.#numbers.length = this.#begun.numbers;
  }

  /** Leaves nothing; the folders that there were. */
  empty(): readonly string[] {
    const folders = this.#folders.splice(0);
    this.#numbers.length = 0;
    this.#end = 0;
    this.#signatures = 0;
    return folders;
  }

  whole(): PackedImages {
    return {
      count: this.#folders.length,
      signatures: this.#signatures,
      folders: this.#folders.join('\n'),
      numbers: Float64Array.from(this.#numbers),
      memory: this.#memory.subarray(0, this.#end),
    };
  }
}
