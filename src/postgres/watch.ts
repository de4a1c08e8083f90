// What other nodes change: told by NOTIFY, and seen within a second by asking for numbers and for changed sets, so that a lost
// notification costs a second.
import { setTimeout as wait } from 'node:timers/promises';
import { type ChangeNumbers, changedSets, numbersOf } from './changes.ts';
import { type Connections, listenOn, type Notifications, type Query } from './connect.ts';
import type { HeldSets } from './held-sets.ts';
import { CHANNEL } from './writer.ts';

const EVERY_MS = 1000;
/** Half of the time for which readers serve a set that nobody has confirmed. */
const SETS_EVERY_MS = 500;

export interface WatchOptions {
  readonly connections: Connections;
  readonly monotonicMs: () => number;
  readonly held: HeldSets;
  /** A set of this image has changed: as imageKey() has it. `generation`: of the set that it has since, where that is known. */
  readonly onImage: (key: string, generation?: number) => void;
  /** The database has answered, whatever comes of the answer. */
  readonly onAnswer: () => void;
  /** Called with the numbers and the time at which they were asked for, whether they have changed or not; awaited. */
  readonly onNumbers: (numbers: ChangeNumbers, askedAtMs: number) => Promise<void>;
  /** There are signatures to judge. */
  readonly onJudge: () => void;
  /** There are new audit events, or a new checkpoint. */
  readonly onLog: () => void;
  /** Whether it takes changes; it may be a standby. `oldest`: of nodes with this schema and newer ones. */
  readonly onWritable: (isWritable: boolean, oldest: number) => void;
  /** The database cannot be asked, or can be asked again. */
  readonly onReachable: (isReachable: boolean, error: unknown) => void;
}

export class Watch {
  readonly #options: WatchOptions;
  readonly #stopping = new AbortController();
  #running: Promise<void> | null = null;
  #listening: Notifications | null = null;
  #size = -1;
  /** Whether the database took changes when its numbers were last asked for. */
  #isWritable = false;
  #asking: Promise<void> | null = null;

  constructor(options: WatchOptions) {
    this.#options = options;
  }

  /** Resolves when the numbers were asked for once. */
  async start(): Promise<void> {
    const { connections, held } = this.#options;
    this.#listening = listenOn(connections, CHANNEL, (payload) => this.#notice(payload), {
      everyMs: SETS_EVERY_MS,
      ask: (query) => this.#askSets(query),
      onEnd: () => held.end(),
    });
    await this.ask();
    this.#running ??= this.#rounds();
  }

  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#listening?.close();
    await this.#running;
  }

  #notice(payload: string): void {
    const [what = '', ...key] = payload.split(' ');
    if (what === 'image') this.#options.onImage(key.join(' '));
    else if (what === 'log') this.#options.onLog();
    else if (what === 'judge') this.#options.onJudge();
    else void this.ask();
  }

  async #askSets(query: Query): Promise<{ readonly isStandby: boolean }> {
    const { held, monotonicMs, onImage } = this.#options;
    const askedAtMs = monotonicMs();
    const changed = await changedSets(query, held.newest);
    // a balancer leads new sessions elsewhere since, and this one would learn of each change as late as the standby does
    if (changed.isStandby && this.#isWritable)
      throw new Error('this session is at a standby, and others are at the primary');
    for (const { key, generation } of changed.images ?? []) onImage(key, generation);
    held.take(changed, askedAtMs);
    return changed;
  }

  async #rounds(): Promise<void> {
    const { signal } = this.#stopping;
    while (!signal.aborted) {
      await wait(EVERY_MS, undefined, { signal, ref: false }).catch(() => undefined);
      if (!signal.aborted) await this.ask();
    }
  }

  /** Never throws. */
  async ask(): Promise<void> {
    // who asks while an answer is under way may be about a change that it does not have
    const before = this.#asking;
    const mine = (async () => {
      await before;
      await this.#ask();
    })();
    this.#asking = mine;
    await mine;
    if (this.#asking === mine) this.#asking = null;
  }

  async #ask(): Promise<void> {
    const { connections, onAnswer, onNumbers, onLog, onReachable } = this.#options;
    const askedAtMs = this.#options.monotonicMs();
    try {
      const { size, writable, oldest, ...numbers } = await numbersOf(connections.query);
      this.#isWritable = writable;
      onAnswer();
      await onNumbers(numbers, askedAtMs);
      if (size !== this.#size) onLog();
      this.#size = size;
      this.#options.onWritable(writable, oldest);
      onReachable(true, null);
    } catch (error) {
      this.#isWritable = false;
      onReachable(false, error);
    }
  }
}
