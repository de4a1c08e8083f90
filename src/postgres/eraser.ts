// Takes people out of both records.

import pg from 'pg';
import type { NewAuditEvent } from '../domain/audit.ts';
import { LookasideError } from '../domain/errors.ts';
import { isAddressOf, isNamedIn } from '../domain/person.ts';
import type { RecordEraser } from '../domain/ports.ts';
import type { Person } from '../domain/records.ts';
import type { Connections, Query } from './connect.ts';
import type { Change, PostgresWriter } from './writer.ts';

const EVENTS_AT_ONCE = 5000;

interface EventRow {
  readonly seq: number;
  readonly leaf: string;
  readonly private: string;
}

export class PostgresEraser implements RecordEraser {
  readonly #connectPatiently: () => Connections;
  readonly #writer: PostgresWriter;

  /** `connectPatiently`: to look through tables of any size; each act makes connections of its own, and closes them. */
  constructor(connectPatiently: () => Connections, writer: PostgresWriter) {
    this.#connectPatiently = connectPatiently;
    this.#writer = writer;
  }

  forgetReads(person: Person, before: Date): Promise<number> {
    return this.#patiently(async (query) => {
      const partitions = await query<{ name: string }>(
        "SELECT inhrelid::regclass::text AS name FROM pg_inherits WHERE inhparent = 'access_read'::regclass ORDER BY 1",
      );
      let reads = 0;
      for (const { name } of partitions) reads += await forgetReadsIn(name, query, person, before);
      return reads;
    });
  }

  async #patiently<Result>(act: (query: Query) => Promise<Result>): Promise<Result> {
    const connections = this.#connectPatiently();
    try {
      return await act(connections.query);
    } finally {
      await connections.close();
    }
  }

  /** Their events are forgotten part after part, the event with the first: who is cut short does it again. */
  forgetEvents(person: Person, before: Date, event: NewAuditEvent): Promise<number> {
    return this.#patiently((query) => this.#forgetEvents(query, person, before, event));
  }

  async #forgetEvents(query: Query, person: Person, before: Date, event: NewAuditEvent): Promise<number> {
    const seqs: number[] = [];
    for (let after = 0; ; ) {
      const rows = await query<EventRow>(
        `
        SELECT seq, leaf, private
        FROM audit_event
        WHERE seq > $1 AND private IS NOT NULL AND at_ms < $2
        ORDER BY seq
        LIMIT ${EVENTS_AT_ONCE}`,
        [after, before.getTime()],
      );
      for (const row of rows) if (isOf(person, row)) seqs.push(row.seq);
      after = rows.at(-1)?.seq ?? after;
      if (rows.length < EVENTS_AT_ONCE) break;
    }
    await this.#writer.run(async (change) => {
      await change.addEvent(event);
      await forget(change, seqs.slice(0, EVENTS_AT_ONCE));
    });
    for (let at = EVENTS_AT_ONCE; at < seqs.length; at += EVENTS_AT_ONCE) {
      await this.#writer.run((change) => forget(change, seqs.slice(at, at + EVENTS_AT_ONCE)));
    }
    // outside of the writer's transaction, which keeps all other changes waiting
    if (person.kind === 'actor') await forgetUploader(query, person.text, before.getTime());
    return seqs.length;
  }
}

async function forgetReadsIn(partition: string, query: Query, person: Person, before: Date): Promise<number> {
  try {
    const [column, texts] = await textsIn(partition, query, person);
    if (texts.length === 0) return 0;
    const [gone] = await query<{ count: number }>(
      `
      WITH gone AS (
        DELETE FROM ${partition}
        WHERE ${column} = ANY ($1::text[]) AND first_at_ms < $2
        RETURNING 1
      )
      SELECT count(*) AS count FROM gone`,
      [texts, before.getTime()],
    );
    return gone?.count ?? 0;
  } catch (error) {
    if (isDropped(error)) return 0;
    throw error;
  }
}

async function textsIn(
  partition: string,
  query: Query,
  { kind, text }: Person,
): Promise<readonly [column: string, texts: readonly string[]]> {
  if (kind === 'actor') return ['token', [text]];
  const rows = await query<{ address: string }>(`SELECT DISTINCT address FROM ${partition}`);
  return ['address', rows.flatMap(({ address }) => (isAddressOf(text, address) ? [address] : []))];
}

/** The day became too old meanwhile. */
function isDropped(error: unknown): boolean {
  const cause = error instanceof LookasideError ? error.cause : error;
  return cause instanceof pg.DatabaseError && cause.code === '42P01';
}

function isOf(person: Person, row: EventRow): boolean {
  const { actor, address, reason } = JSON.parse(row.private) as Record<string, string | null>;
  const { action } = JSON.parse(row.leaf) as { readonly action: string };
  const { kind, text: asked } = person;
  const made = kind === 'actor' ? actor === asked : address != null && isAddressOf(asked, address);
  return made || isNamedIn({ action, reason }, person);
}

async function forget({ query }: Change, seqs: readonly number[]): Promise<void> {
  await query('UPDATE audit_event SET private = NULL, salt = NULL WHERE seq = ANY ($1::bigint[])', [seqs]);
}

async function forgetUploader(query: Query, name: string, beforeMs: number): Promise<void> {
  const values = [name, beforeMs];
  await query('DELETE FROM page_session WHERE identity_name = $1 AND created_at_ms < $2', values);
  await query(`UPDATE upload SET uploader = 'forgotten' WHERE uploader = $1 AND stored_at_ms < $2`, values);
  await query('UPDATE openpgp_key SET added_by = NULL WHERE added_by = $1 AND added_at_ms < $2', values);
  await query(
    `UPDATE openpgp_key SET revoked_by = 'forgotten' WHERE revoked_by = $1 AND revoked_at_ms < $2`,
    values,
  );
  await query(
    `UPDATE tombstone SET withdrawn_by = 'forgotten' WHERE withdrawn_by = $1 AND withdrawn_at_ms < $2`,
    values,
  );
}
