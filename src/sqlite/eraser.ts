// Takes people out of both records, through the writer thread.
import type { NewAuditEvent } from '../domain/audit.ts';
import type { RecordEraser } from '../domain/ports.ts';
import type { Person } from '../domain/records.ts';
import type { SqliteAccessLog } from './access-log.ts';
import { EVENT_BYTES } from './audit-log.ts';
import { daysIn } from './close-day.ts';
import type { Writer } from './writer.ts';

const FORGET_BYTES = 200;

export class SqliteEraser implements RecordEraser {
  readonly #writer: Writer;
  readonly #dataDir: string;
  readonly #access: Pick<SqliteAccessLog, 'changing'>;

  constructor(writer: Writer, dataDir: string, access: Pick<SqliteAccessLog, 'changing'>) {
    this.#writer = writer;
    this.#dataDir = dataDir;
    this.#access = access;
  }

  /** Day by day, so that other writes have their turn in between. */
  async forgetReads(person: Person, before: Date): Promise<number> {
    const beforeMs = before.getTime();
    let reads = 0;
    for (const day of daysIn(this.#dataDir)) {
      if (Date.parse(day) >= beforeMs) break;
      reads += await this.#access.changing(day, () =>
        this.#writer.run('access.forget', { day, person, beforeMs }, FORGET_BYTES),
      );
    }
    return reads;
  }

  forgetEvents(person: Person, before: Date, event: NewAuditEvent): Promise<number> {
    return this.#writer.run('state.forget', { person, beforeMs: before.getTime(), event }, EVENT_BYTES);
  }
}
