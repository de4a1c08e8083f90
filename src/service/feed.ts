// The feed of audit events for other programs: every event once, in order, from any number on.
import type { AuditLog, AuditReader, Clock } from '../domain/ports.ts';
import type { FedEvent } from '../domain/records.ts';
import { ANY_RECORD } from '../domain/records.ts';
import type { Actor, MakeEvent } from './audit.ts';

export interface FeedWanted {
  /** The number of the last event that the caller has; 0: none. */
  readonly after: number;
  /** Whether to wait for further events once all are told. */
  readonly isFollowed: boolean;
  readonly actor: Actor;
  /** Asked before each wait: false ends the feed. */
  readonly isWanted: () => boolean;
}

export interface Feed {
  /** False: the log has no event of that number, so whoever names it as the last read another log, or one that was set back. */
  has(seq: number): Promise<boolean>;
  /** Null is a sign of life: nothing has happened for a while. */
  events(wanted: FeedWanted): AsyncGenerator<readonly FedEvent[] | null>;
}

export interface FeedOptions {
  readonly audit: Pick<AuditLog, 'append'> & Pick<AuditReader, 'after'>;
  readonly makeEvent: MakeEvent;
  readonly clock: Pick<Clock, 'monotonicMs'>;
  readonly wait: (ms: number) => Promise<unknown>;
}

const PAGE_EVENTS = 500;
const POLL_MS = 500;
const SIGN_OF_LIFE_MS = 15_000;
const TOLD_EVERY_MS = 3_600_000;
const MOST_READERS = 1000;

export function createFeed({ audit, makeEvent, clock, wait }: FeedOptions): Feed {
  const toldAtMs = new Map<string, number>();

  /** Once an hour for each reader: one that asks every minute must not fill the log that it reads. */
  async function tell(actor: Actor, after: number): Promise<void> {
    const nowMs = clock.monotonicMs();
    const lastRecordedAtMs = toldAtMs.get(actor.name);
    if (lastRecordedAtMs !== undefined && nowMs - lastRecordedAtMs < TOLD_EVERY_MS) return;
    if (toldAtMs.size >= MOST_READERS) toldAtMs.clear();
    toldAtMs.set(actor.name, nowMs);
    const { signature, fingerprint } = ANY_RECORD;
    const deed = { action: 'export', signatureSha256: signature, fingerprint, result: 'answered' } as const;
    await audit.append(makeEvent({ ...deed, reason: `events after=${after}` }, actor));
  }

  return {
    has: async (seq) => (await audit.after(seq - 1, 1)).at(0)?.seq === seq,
    async *events({ after, isFollowed, actor, isWanted }) {
      await tell(actor, after);
      let last = after;
      let aliveAtMs = clock.monotonicMs();
      for (;;) {
        // numbers are dense and in the order of commits, so none comes later below this one
        const events = await audit.after(last, PAGE_EVENTS);
        const newest = events.at(-1);
        if (newest !== undefined) {
          yield events;
          last = newest.seq;
          aliveAtMs = clock.monotonicMs();
          if (events.length === PAGE_EVENTS) continue;
        }
        if (!isFollowed || !isWanted()) return;
        if (clock.monotonicMs() - aliveAtMs >= SIGN_OF_LIFE_MS) {
          yield null;
          aliveAtMs = clock.monotonicMs();
        }
        await wait(POLL_MS);
        if (!isWanted()) return;
      }
    },
  };
}
