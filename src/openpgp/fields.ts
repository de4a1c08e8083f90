// Reads bytes field by field from the start. Bytes missing at the end read as nothing, and `isCut` remembers that: ten
// thousand hostile packets must not cost an exception each.

export class Fields {
  readonly #bytes: Uint8Array;
  #position = 0;
  #isCut = false;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  get position(): number {
    return this.#position;
  }

  get isAtEnd(): boolean {
    return this.#position === this.#bytes.length;
  }

  /** A read went past the end. Whatever was read since then means nothing. */
  get isCut(): boolean {
    return this.#isCut;
  }

  skip(count: number): void {
    const end = this.#position + count;
    this.#isCut ||= end > this.#bytes.length;
    this.#position = Math.min(end, this.#bytes.length);
  }

  take(count: number): Uint8Array {
    const from = this.#position;
    this.skip(count);
    return this.#bytes.subarray(from, this.#position);
  }

  /** Big-endian. */
  number(octets: number): number {
    const from = this.#position;
    this.skip(octets);
    let value = 0;
    for (let at = from; at < this.#position; at += 1) value = value * 256 + (this.#bytes[at] ?? 0);
    return value;
  }

  octet(): number {
    return this.number(1);
  }

  rest(): Uint8Array {
    return this.take(this.#bytes.length - this.#position);
  }

  /** A multiprecision integer (RFC 9580, section 3.2): all octets that its bit count covers, leading zeros included. */
  mpi(): Uint8Array {
    return this.take(Math.ceil(this.number(2) / 8));
  }
}

/** Upper case. */
export function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('hex').toUpperCase();
}

export function uint16(value: number): Uint8Array {
  return Uint8Array.of(value >> 8, value & 0xff);
}

export function withoutLeadingZeros(number: Uint8Array): Uint8Array {
  const first = number.findIndex((octet) => octet !== 0);
  return number.subarray(first === -1 ? number.length : first);
}

/** `number`: without leading zeros. */
export function bitLength(number: Uint8Array): number {
  return number.length === 0 ? 0 : number.length * 8 - Math.clz32(number[0] ?? 0) + 24;
}
