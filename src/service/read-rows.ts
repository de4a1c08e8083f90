// The rows of reads until the next write, in columns of numbers. As objects, those of half a second outlive the young generation, and
// the garbage collector copies and marks them for longer than it takes to count them.
import { type ImageId, imageKey } from '../domain/image.ts';
import type { ReadCount } from '../domain/ports.ts';

/** What is counted in one row with others like it. */
export type ReadPart = Pick<ReadCount, 'image' | 'status' | 'token' | 'signatureSha256' | 'bytes'>;

/** The values that a client can invent. */
export type Reader = Pick<ReadCount, 'number' | 'address' | 'agent'>;

type Client = Pick<ReadCount, 'address' | 'agent' | 'token'>;
type Answer = Pick<ReadCount, 'number' | 'status'>;

const MINUTE_MS = 60_000;

/** Numbers for values, from 1. A value has one from the first row that has it. */
class Numbers<Value> {
  readonly #numbers = new Map<Value, number>();

  get size(): number {
    return this.#numbers.size;
  }

  /** NO_NUMBER when no row has the value. */
  find(value: Value): number {
    return this.#numbers.get(value) ?? 0;
  }

  give(value: Value): number {
    const known = this.find(value);
    if (known !== 0) return known;
    this.#numbers.set(value, this.#numbers.size + 1);
    return this.#numbers.size;
  }
}

/** Numbers for pairs: the first value's number stands for it. */
class PairNumbers<Value> {
  readonly #numbers = new Map<number, Map<Value, number>>();
  #last = 0;

  get size(): number {
    return this.#last;
  }

  find(first: number, second: Value): number {
    return this.#numbers.get(first)?.get(second) ?? 0;
  }

  give(first: number, second: Value): number {
    const known = this.find(first, second);
    if (known !== 0) return known;
    this.#last += 1;
    const seconds = this.#numbers.get(first);
    if (seconds === undefined) this.#numbers.set(first, new Map([[second, this.#last]]));
    else seconds.set(second, this.#last);
    return this.#last;
  }
}

/** What the numbers in the columns stand for. It is kept over several writes: most are asked for again. */
class Values {
  readonly #images = new Numbers<string>();
  readonly #addresses = new Numbers<string>();
  readonly #agents = new PairNumbers<string | null>();
  readonly #tokens = new PairNumbers<string | null>();
  readonly #signatures = new Numbers<string | null>();
  /** By their numbers. */
  readonly #clients: Client[] = [];
  readonly #signaturesByNumber: (string | null)[] = [];
  /** Most reads follow one of the same client; one that has too many rows is looked for without its agent too. */
  #lastNamed = NOBODY;
  #lastMerged = NOBODY;
  /** Likewise: it is looked for a second time then. */
  #lastImage: ImageId | null = null;
  #lastImageNumber = NO_NUMBER;

  constructor() {
    this.giveSignature(null);
  }

  get size(): number {
    return (
      this.#images.size + this.#addresses.size + this.#agents.size + this.#tokens.size + this.#signatures.size
    );
  }

  findImage(image: ImageId): number {
    if (image === this.#lastImage) return this.#lastImageNumber;
    const number = this.#images.find(imageKey(image));
    if (number !== NO_NUMBER) this.#rememberImage(image, number);
    return number;
  }

  giveImage(image: ImageId): number {
    const number = this.#images.give(imageKey(image));
    this.#rememberImage(image, number);
    return number;
  }

  #rememberImage(image: ImageId, number: number): void {
    this.#lastImage = image;
    this.#lastImageNumber = number;
  }

  findClient({ address, agent }: Reader, token: string | null): number {
    const last = agent === null ? this.#lastMerged : this.#lastNamed;
    if (last.address === address && last.agent === agent && last.token === token) return last.number;
    const number = this.#tokens.find(this.#agents.find(this.#addresses.find(address), agent), token);
    if (number !== NO_NUMBER) this.#rememberClient({ address, agent, token, number });
    return number;
  }

  giveClient({ address, agent }: Reader, token: string | null): number {
    const number = this.#tokens.give(this.#agents.give(this.#addresses.give(address), agent), token);
    this.#clients[number] ??= { address, agent, token };
    this.#rememberClient({ address, agent, token, number });
    return number;
  }

  #rememberClient(client: NumberedClient): void {
    if (client.agent === null) this.#lastMerged = client;
    else this.#lastNamed = client;
  }

  clientOf(number: number): Client {
    return this.#clients[number] as Client; // given by giveClient()
  }

  findSignature(sha256: string | null): number {
    return sha256 === null ? NO_SIGNATURE : this.#signatures.find(sha256);
  }

  giveSignature(sha256: string | null): number {
    const number = this.#signatures.give(sha256);
    this.#signaturesByNumber[number] ??= sha256;
    return number;
  }

  signatureOf(number: number): string | null {
    return this.#signaturesByNumber[number] ?? null;
  }
}

interface NumberedClient extends Client {
  readonly number: number;
}

/** No row has the value. */
const NO_NUMBER = 0;
/** The number of null, which is given first. */
const NO_SIGNATURE = 1;
/** No client has this address. */
const NOBODY: NumberedClient = { address: '', agent: '', token: '', number: NO_NUMBER };

/** Iterates over its rows as they are at that moment; clear() ends them. */
export class ReadRows implements Iterable<ReadCount> {
  readonly #most: number;
  #size = 0;
  #values = new Values();
  readonly #imageOf: ImageId[] = [];
  readonly #image: Uint32Array;
  readonly #client: Uint32Array;
  readonly #signature: Uint32Array;
  readonly #answer: Float64Array;
  readonly #count: Float64Array;
  readonly #bytes: Float64Array;
  readonly #firstMs: Float64Array;
  readonly #lastMs: Float64Array;
  /** Where a row is found: its position from 1, at the hash of its four numbers or in the next free slot behind. */
  readonly #slots: Uint32Array;
  readonly #byNetwork = new Map<string, number>();
  #minute = 0;

  /** For at most so many rows. */
  constructor(most: number) {
    this.#most = most;
    [this.#image, this.#client, this.#signature] = [0, 0, 0].map(() => new Uint32Array(most)) as Three;
    [this.#answer, this.#count, this.#bytes, this.#firstMs, this.#lastMs] = [0, 0, 0, 0, 0].map(
      () => new Float64Array(most),
    ) as Five;
    // a power of two, of which the rows fill less than half
    this.#slots = new Uint32Array(2 ** Math.ceil(Math.log2(2 * most + 1)));
  }

  get size(): number {
    return this.#size;
  }

  ofNetwork(network: string): number {
    return this.#byNetwork.get(network) ?? 0;
  }

  /** False when there is no such row yet. */
  count(read: ReadPart, reader: Reader, nowMs: number): boolean {
    this.#begin(nowMs);
    const values = this.#values;
    const image = values.findImage(read.image);
    const client = values.findClient(reader, read.token);
    const signature = values.findSignature(read.signatureSha256);
    if (image === NO_NUMBER || client === NO_NUMBER || signature === NO_NUMBER) return false;
    const answer = answerOf(reader.number, read.status);
    const row = (this.#slots[this.#slotOf(image, client, signature, answer)] ?? 0) - 1;
    if (row === -1) return false;
    this.#count[row] = (this.#count[row] ?? 0) + 1;
    this.#bytes[row] = (this.#bytes[row] ?? 0) + read.bytes;
    this.#lastMs[row] = nowMs;
    return true;
  }

  /** A row that count() has not found. */
  add(read: ReadPart, reader: Reader, nowMs: number, network: string): void {
    if (this.#size === this.#most) throw new Error(`there are more than ${this.#most} rows`);
    this.#begin(nowMs);
    const row = this.#size;
    const image = this.#values.giveImage(read.image);
    const client = this.#values.giveClient(reader, read.token);
    const signature = this.#values.giveSignature(read.signatureSha256);
    const answer = answerOf(reader.number, read.status);
    this.#imageOf.push(read.image);
    this.#image[row] = image;
    this.#client[row] = client;
    this.#signature[row] = signature;
    this.#answer[row] = answer;
    this.#count[row] = 1;
    this.#bytes[row] = read.bytes;
    this.#firstMs[row] = nowMs;
    this.#lastMs[row] = nowMs;
    this.#size += 1;
    this.#slots[this.#slotOf(image, client, signature, answer)] = this.#size;
    this.#byNetwork.set(network, this.ofNetwork(network) + 1);
  }

  *[Symbol.iterator](): Generator<ReadCount> {
    const values = this.#values;
    for (let row = 0; row < this.#size; row += 1) {
      const { address, agent, token } = values.clientOf(this.#client[row] ?? 0);
      const { number, status } = answerIn(this.#answer[row] ?? 0);
      yield {
        image: this.#imageOf[row] as ImageId, // given by add()
        number,
        signatureSha256: values.signatureOf(this.#signature[row] ?? 0),
        status,
        address,
        agent,
        token,
        firstAt: new Date(this.#firstMs[row] ?? 0),
        lastAt: new Date(this.#lastMs[row] ?? 0),
        count: this.#count[row] ?? 0,
        bytes: this.#bytes[row] ?? 0,
      };
    }
  }

  clear(): void {
    this.#size = 0;
    this.#imageOf.length = 0;
    this.#slots.fill(0);
    this.#byNetwork.clear();
    if (this.#values.size > 2 * this.#most) this.#values = new Values();
  }

  /** Rows of another minute count no more. If the clock goes back, there are two rows for one, and the log adds them up. */
  #begin(nowMs: number): void {
    const minute = Math.floor(nowMs / MINUTE_MS);
    if (minute === this.#minute) return;
    this.#minute = minute;
    this.#slots.fill(0);
  }

  /** The slot of that row, or the free one where it belongs. */
  #slotOf(image: number, client: number, signature: number, answer: number): number {
    const last = this.#slots.length - 1;
    let hash = Math.imul(image, 0x9e3779b1) ^ Math.imul(client, 0x85ebca77) ^ Math.imul(answer, 0xc2b2ae3d);
    hash = Math.imul(hash ^ Math.imul(signature, 0x27d4eb2f) ^ (hash >>> 15), 0x2c1b3c6d);
    for (let slot = (hash ^ (hash >>> 13)) & last; ; slot = (slot + 1) & last) {
      const row = (this.#slots[slot] ?? 0) - 1;
      if (row === -1) return slot;
      if (this.#image[row] !== image || this.#client[row] !== client) continue;
      if (this.#signature[row] === signature && this.#answer[row] === answer) return slot;
    }
  }
}

type Three = [Uint32Array, Uint32Array, Uint32Array];
type Five = [Float64Array, Float64Array, Float64Array, Float64Array, Float64Array];

/** More than any status. */
const STATUSES = 1024;

/** Different for all numbers and statuses: a number has nine digits at most. */
function answerOf(number: number | null, status: number): number {
  return ((number ?? -1) + 1) * STATUSES + status;
}

function answerIn(answer: number): Answer {
  const next = Math.floor(answer / STATUSES);
  return { number: next === 0 ? null : next - 1, status: answer % STATUSES };
}
