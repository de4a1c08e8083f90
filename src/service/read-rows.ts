// The rows of reads until the next write, in columns of numbers. As objects, those of half a second outlive the young generation, and
// the garbage collector copies and marks them for longer than it takes to count them.
import { type ImageId, imageKey } from '../domain/image.ts';
import type { ReadCount } from '../domain/ports.ts';

/** What is counted in one row with others like it. */
export type ReadPart = Pick<ReadCount, 'image' | 'status' | 'token' | 'signatureSha256' | 'bytes'>;

/** The values that a client can invent. */
export type Reader = Pick<ReadCount, 'number' | 'address' | 'agent'>;

type Client = Pick<ReadCount, 'address' | 'agent' | 'token'>;
type Answer = Pick<ReadCount, 'number' | 'status' | 'signatureSha256'>;

const MINUTE_MS = 60_000;

/** Numbers for values, from 1. A value has one from the first row that has it. */
class Numbers<Value> {
  readonly #numbers = new Map<Value, number>();

  get size(): number {
    return this.#numbers.size;
  }

  /** 0 when no row has the value. */
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
  readonly images = new Numbers<string>();
  readonly addresses = new Numbers<string>();
  readonly agents = new PairNumbers<string | null>();
  readonly tokens = new PairNumbers<string | null>();
  /** Pairs of the number with the status, and of the signature that was sent. */
  readonly answers = new PairNumbers<string | null>();
  /** By their numbers. */
  readonly clientsByNumber: Client[] = [];
  readonly answersByNumber: Answer[] = [];

  get size(): number {
    return this.images.size + this.addresses.size + this.agents.size + this.tokens.size + this.answers.size;
  }
}

/** Iterates over its rows as they are at that moment; clear() ends them. */
export class ReadRows implements Iterable<ReadCount> {
  readonly #most: number;
  #size = 0;
  #values = new Values();
  readonly #imageOf: ImageId[] = [];
  readonly #image: Uint32Array;
  readonly #client: Uint32Array;
  readonly #answer: Uint32Array;
  readonly #count: Float64Array;
  readonly #bytes: Float64Array;
  readonly #firstMs: Float64Array;
  readonly #lastMs: Float64Array;
  /** Where a row is found: its position from 1, at the hash of its three numbers or in the next free slot behind. */
  readonly #slots: Uint32Array;
  readonly #byNetwork = new Map<string, number>();
  #minute = 0;

  /** For at most so many rows. */
  constructor(most: number) {
    this.#most = most;
    [this.#image, this.#client, this.#answer] = [0, 0, 0].map(() => new Uint32Array(most)) as Three;
    [this.#count, this.#bytes, this.#firstMs, this.#lastMs] = [0, 0, 0, 0].map(
      () => new Float64Array(most),
    ) as Four;
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
  count({ image, status, token, bytes, signatureSha256 }: ReadPart, reader: Reader, nowMs: number): boolean {
    this.#begin(nowMs);
    const { images, addresses, agents, tokens, answers } = this.#values;
    const client = tokens.find(agents.find(addresses.find(reader.address), reader.agent), token);
    const answer = answers.find(answerOf(reader.number, status), signatureSha256);
    const imageNumber = images.find(imageKey(image));
    if (client === 0 || answer === 0 || imageNumber === 0) return false;
    const row = (this.#slots[this.#slotOf(imageNumber, client, answer)] ?? 0) - 1;
    if (row === -1) return false;
    this.#count[row] = (this.#count[row] ?? 0) + 1;
    this.#bytes[row] = (this.#bytes[row] ?? 0) + bytes;
    this.#lastMs[row] = nowMs;
    return true;
  }

  /** A row that count() has not found. */
  add(read: ReadPart, reader: Reader, nowMs: number, network: string): void {
    if (this.#size === this.#most) throw new Error(`there are more than ${this.#most} rows`);
    this.#begin(nowMs);
    const row = this.#size;
    const image = this.#values.images.give(imageKey(read.image));
    const client = this.#giveClient(reader, read.token);
    const answer = this.#giveAnswer(read, reader.number);
    this.#imageOf.push(read.image);
    this.#image[row] = image;
    this.#client[row] = client;
    this.#answer[row] = answer;
    this.#count[row] = 1;
    this.#bytes[row] = read.bytes;
    this.#firstMs[row] = nowMs;
    this.#lastMs[row] = nowMs;
    this.#size += 1;
    this.#slots[this.#slotOf(image, client, answer)] = this.#size;
    this.#byNetwork.set(network, this.ofNetwork(network) + 1);
  }

  *[Symbol.iterator](): Generator<ReadCount> {
    const { clientsByNumber, answersByNumber } = this.#values;
    for (let row = 0; row < this.#size; row += 1) {
      const { address, agent, token } = clientsByNumber[this.#client[row] ?? 0] as Client; // given by add()
      const { number, status, signatureSha256 } = answersByNumber[this.#answer[row] ?? 0] as Answer; // likewise
      yield {
        image: this.#imageOf[row] as ImageId, // likewise
        number,
        signatureSha256,
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
  #slotOf(image: number, client: number, answer: number): number {
    const last = this.#slots.length - 1;
    let hash = Math.imul(image, 0x9e3779b1) ^ Math.imul(client, 0x85ebca77) ^ Math.imul(answer, 0xc2b2ae3d);
    hash = Math.imul(hash ^ (hash >>> 15), 0x2c1b3c6d);
    for (let slot = (hash ^ (hash >>> 13)) & last; ; slot = (slot + 1) & last) {
      const row = (this.#slots[slot] ?? 0) - 1;
      if (row === -1) return slot;
      if (this.#image[row] === image && this.#client[row] === client && this.#answer[row] === answer)
        return slot;
    }
  }

  #giveClient({ address, agent }: Reader, token: string | null): number {
    const { addresses, agents, tokens, clientsByNumber } = this.#values;
    const client = tokens.give(agents.give(addresses.give(address), agent), token);
    clientsByNumber[client] ??= { address, agent, token };
    return client;
  }

  #giveAnswer({ status, signatureSha256 }: ReadPart, number: number | null): number {
    const { answers, answersByNumber } = this.#values;
    const answer = answers.give(answerOf(number, status), signatureSha256);
    answersByNumber[answer] ??= { number, status, signatureSha256 };
    return answer;
  }
}

type Three = [Uint32Array, Uint32Array, Uint32Array];
type Four = [Float64Array, Float64Array, Float64Array, Float64Array];

/** Different for all numbers and statuses: a number has nine digits at most. */
function answerOf(number: number | null, status: number): number {
  return ((number ?? -1) + 1) * 1024 + status;
}
