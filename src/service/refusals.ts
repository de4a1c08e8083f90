// Records refused uploads and log-ins in the audit log, which is kept for ever. The first refusals of an uploader are events of their
// own; further ones are counted and summed up in one event for each code. See docs/decisions/audit-events.md.
import type { NewAuditEvent } from '../domain/audit.ts';
import type { AuditLog, Clock, Log } from '../domain/ports.ts';
import type { Actor, Deed, MakeEvent } from './audit.ts';

export interface RefusalRecorder {
  /** Resolves once it is durable or counted. Never throws: the uploader gets the refusal anyway, and nothing is stored. */
  record(refused: Deed, actor: Actor): Promise<void>;
  /** Begins to write the counted refusals every ten minutes. */
  start(): void;
  /** Writes the counted refusals. Those that cannot be written stay counted. */
  flush(): Promise<void>;
  /** The last flush; from then on each refusal is an event of its own. */
  stop(): Promise<void>;
}

export interface RefusalRecorderOptions {
  readonly audit: AuditLog;
  readonly makeEvent: MakeEvent;
  readonly clock: Clock;
  readonly log: Log;
}

/**
 * How many refusals of one uploader get events of their own. The uploader regains one in each period, and all of them in 17
 * hours.
 */
const TOLD_EACH = 100;
const REGAIN_MS = 10 * 60_000;

/** A kill of the process may lose the counts of this period. */
const FLUSH_EVERY_MS = 10 * 60_000;

interface Allowance {
  readonly left: number;
  /** The time from which the next one is being regained. */
  readonly sinceMs: number;
}

export function createRefusalRecorder({
  audit,
  makeEvent,
  clock,
  log,
}: RefusalRecorderOptions): RefusalRecorder {
  // by uploader, so at most one for each token
  const allowances = new Map<string, Allowance>();
  let counted = new Map<string, NewAuditEvent>();
  let timer: NodeJS.Timeout | null = null;
  let isStopped = false;

  /** Whether the uploader's next refusal gets an event of its own. */
  function allow(uploader: string): boolean {
    const nowMs = clock.monotonicMs();
    const { left, sinceMs } = allowances.get(uploader) ?? { left: TOLD_EACH, sinceMs: nowMs };
    const regained = Math.floor((nowMs - sinceMs) / REGAIN_MS);
    const now = Math.min(TOLD_EACH, left + regained);
    if (now === 0) return false;
    // a full allowance regains nothing
    const since = now === TOLD_EACH ? nowMs : sinceMs + regained * REGAIN_MS;
    allowances.set(uploader, { left: now - 1, sinceMs: since });
    return true;
  }

  function count(event: NewAuditEvent): void {
    const key = [event.private.actor, event.action, event.site, event.result].join('\n');
    const before = counted.get(key);
    counted.set(key, before === undefined ? event : merge(before, event));
  }

  async function write(event: NewAuditEvent): Promise<void> {
    try {
      await audit.append(tell(event));
    } catch (failure) {
      const refused = countOf(event);
      log.error({ err: failure, code: event.result, refused }, 'a refusal could not be recorded');
      // a writer that died may have written the event before: one too many is better than one too few
      count(event);
    }
  }

  async function flush(): Promise<void> {
    const events = [...counted.values()];
    counted = new Map();
    await Promise.all(events.map(write));
  }

  return {
    async record(refused, actor) {
      const event = makeEvent(refused, actor);
      // a signer with many OIDC subjects has no more than one with one
      if (isStopped || allow(actor.signer == null ? actor.name : `signer ${actor.signer}`))
        await write(event);
      else count(event);
    },
    start() {
      timer ??= setInterval(() => void flush(), FLUSH_EVERY_MS).unref();
    },
    flush,
    async stop() {
      isStopped = true;
      if (timer !== null) clearInterval(timer);
      await flush();
    },
  };
}

const countOf = ({ merged }: NewAuditEvent) => merged?.count ?? 1;

/** Both events as one: fields that differ become null. */
function merge(before: NewAuditEvent, after: NewAuditEvent): NewAuditEvent {
  const shared = <T>(one: T, other: T): T | null => (one === other ? one : null);
  return {
    ...before,
    at: after.at,
    image: shared(before.image, after.image),
    signatureSha256: shared(before.signatureSha256, after.signatureSha256),
    fingerprint: shared(before.fingerprint, after.fingerprint),
    private: {
      ...before.private,
      address: shared(before.private.address, after.private.address),
      requestId: shared(before.private.requestId, after.private.requestId),
    },
    merged: { count: countOf(before) + countOf(after), since: before.merged?.since ?? before.at },
  };
}

/** The event with its sentence for people. */
function tell(event: NewAuditEvent): NewAuditEvent {
  const { merged, at } = event;
  if (merged === undefined) return event;
  const { count, since } = merged;
  const reason = `${count} ${event.action === 'log-in' ? 'log-ins' : 'uploads'} were refused with this code from ${since.toISOString()} to ${at.toISOString()}, more than are recorded one by one; the first: ${event.private.reason}`;
  return { ...event, private: { ...event.private, reason } };
}
