// Which of the nodes does what one alone may do: it holds an advisory lock, and the number that its election has raised.
import { setTimeout as wait } from 'node:timers/promises';
import { LookasideError } from '../domain/errors.ts';
import type { Connections, Query } from './connect.ts';

/** The key of the advisory lock: "lookslea" in ASCII. */
export const LEADER_LOCK = '7813586407206544737';

const EVERY_MS = 1000;
/** How many rounds pass after one at a standby: the next session may be at the primary, where a balancer leads it. */
const ROUNDS_OF_STANDBY = 4;
/** The server ends the session of a leader that says nothing for so long: it is paused, and another may be elected. */
const SILENT_MS = 5000;

/** Within a transaction that a leader alone may make: locks out the next election until it ends. @throws BUSY when it leads no more */
export type Fence = (query: Query) => Promise<void>;

type Taken = Awaited<ReturnType<Connections['take']>>;

export class Leader {
  readonly #connections: Pick<Connections, 'take'>;
  readonly #onElected: () => void;
  #held: { readonly taken: Taken; readonly number: number } | null = null;
  /** What it stands by until it is elected, so that no round opens a session. */
  #standing: Taken | null = null;
  #roundsToRest = 0;
  #running: Promise<void> | null = null;
  readonly #everyMs: number;
  readonly #stopping = new AbortController();

  constructor(connections: Pick<Connections, 'take'>, onElected: () => void, everyMs = EVERY_MS) {
    this.#connections = connections;
    this.#onElected = onElected;
    this.#everyMs = everyMs;
  }

  get isLeading(): boolean {
    return this.#held !== null;
  }

  /** Resolves when it is known whether this node leads for now. */
  async start(): Promise<void> {
    await this.#round();
    this.#running ??= this.#rounds();
  }

  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#running;
    this.#release();
    this.#standing?.release();
    this.#standing = null;
  }

  readonly fence: Fence = async (query) => {
    const number = this.#held?.number ?? null;
    const [row] = await query<{ number: number }>('SELECT number FROM leader WHERE id = 1 FOR SHARE');
    if (number !== null && row?.number === number) return;
    throw new LookasideError('BUSY', 'another node leads now, and does this');
  };

  async #rounds(): Promise<void> {
    const { signal } = this.#stopping;
    while (!signal.aborted) {
      await wait(this.#everyMs, undefined, { signal, ref: false }).catch(() => undefined);
      if (!signal.aborted) await this.#round();
    }
  }

  async #round(): Promise<void> {
    try {
      if (this.#roundsToRest > 0) this.#roundsToRest -= 1;
      else if (this.#held === null) await this.#stand();
      else await this.#held.taken.query('SELECT 1');
    } catch {
      // the lock went with the session; the next round stands again
      this.#release();
    }
  }

  async #stand(): Promise<void> {
    const taken = this.#standing ?? (await this.#connections.take());
    // a session that fails may have the lock: it is closed
    this.#standing = null;
    let isOver = true;
    try {
      // a standby gives the lock too, and takes no change
      const [row] = await taken.query<{ got: boolean | null }>(
        `SELECT CASE WHEN NOT pg_is_in_recovery() THEN pg_try_advisory_lock(${LEADER_LOCK}) END AS got`,
      );
      if (row?.got === null) {
        this.#roundsToRest = ROUNDS_OF_STANDBY;
        return;
      }
      if (row?.got === true) {
        await taken.query(`SET idle_session_timeout = ${SILENT_MS}`);
        const [raised] = await taken.query<{ number: number }>(
          'UPDATE leader SET number = number + 1 WHERE id = 1 RETURNING number',
        );
        if (raised === undefined) throw new Error('the row of leader is missing');
        this.#held = { taken, number: raised.number };
      } else this.#standing = taken;
      isOver = false;
    } finally {
      if (isOver) taken.release(true);
    }
    if (this.#held !== null) this.#onElected();
  }

  #release(): void {
    const held = this.#held;
    this.#held = null;
    held?.taken.release(true); // closing the connection gives the lock back
  }
}
