// Table oidc_subject: each change comes with its audit event, in one transaction.
import type { NewAuditEvent } from '../domain/audit.ts';
import { unknownSigner } from '../domain/grant.ts';
import type { AddedSubject, BoundSubject, NewOidcSubject, OidcSubject } from '../domain/oidc.ts';
import type { SubjectStore } from '../domain/ports.ts';
import type { Connections, Query } from './connect.ts';
import { dateOf } from './indexed.ts';
import type { Change, PostgresWriter } from './writer.ts';

interface SubjectRow {
  readonly id: number;
  readonly signer: string;
  readonly issuer: string;
  readonly claims: string;
  readonly created_at_ms: number;
  readonly disabled_at_ms: number | null;
}

const PAGE_ROWS = 1000;

const SUBJECTS = `
  SELECT o.id, s.name AS signer, o.issuer, o.claims, o.created_at_ms, s.disabled_at_ms
  FROM oidc_subject AS o
  JOIN signer AS s ON s.id = o.signer_id`;

export class PostgresSubjects implements SubjectStore {
  readonly #query: Query;
  readonly #writer: PostgresWriter;

  constructor({ query }: Pick<Connections, 'query'>, writer: PostgresWriter) {
    this.#query = query;
    this.#writer = writer;
  }

  async list(signer: string | null): Promise<readonly OidcSubject[]> {
    return (await this.#all('($1::text IS NULL OR s.name = $1)', signer)).map(subjectOf);
  }

  async ofIssuer(issuer: string): Promise<readonly BoundSubject[]> {
    const rows = await this.#all('o.issuer = $1', issuer);
    return rows.map((row) => ({ subject: subjectOf(row), disabledAt: dateOf(row.disabled_at_ms) }));
  }

  async find(id: number): Promise<OidcSubject | null> {
    const [row] = await this.#query<SubjectRow>(`${SUBJECTS} WHERE o.id = $1`, [id]);
    return row === undefined ? null : subjectOf(row);
  }

  add(subject: NewOidcSubject, event: NewAuditEvent): Promise<AddedSubject> {
    return this.#writer.run((change) => addSubject(change, subject, event));
  }

  remove(id: number, event: NewAuditEvent): Promise<boolean> {
    return this.#writer.run((change) => removeSubject(change, id, event));
  }

  async #all(condition: string, value: string | null): Promise<readonly SubjectRow[]> {
    const all: SubjectRow[] = [];
    for (let after = 0; ; ) {
      const rows = await this.#query<SubjectRow>(
        `${SUBJECTS} WHERE ${condition} AND o.id > $2 ORDER BY o.id LIMIT ${PAGE_ROWS}`,
        [value, after],
      );
      all.push(...rows);
      const last = rows.at(-1);
      if (last === undefined || rows.length < PAGE_ROWS) return all;
      after = last.id;
    }
  }
}

/** @throws LookasideError NOT_FOUND when there is no such signer */
export async function addSubject(
  change: Change,
  subject: NewOidcSubject,
  event: NewAuditEvent,
): Promise<AddedSubject> {
  const { query } = change;
  const [signer] = await query<{ id: number }>('SELECT id FROM signer WHERE name = $1', [subject.signer]);
  if (signer === undefined) throw unknownSigner(subject.signer);
  const row = [signer.id, subject.issuer, JSON.stringify(subject.claims)];
  const [known] = await query<SubjectRow>(
    `${SUBJECTS} WHERE o.signer_id = $1 AND o.issuer = $2 AND o.claims = $3`,
    row,
  );
  if (known !== undefined) return { ...subjectOf(known), created: false };
  const [added] = await query<{ id: number }>(
    `
    INSERT INTO oidc_subject (signer_id, issuer, claims, created_at_ms)
    VALUES ($1, $2, $3, $4)
    RETURNING id`,
    [...row, subject.createdAt.getTime()],
  );
  if (added === undefined) throw new Error('an INSERT has returned no row');
  await change.addEvent(event);
  return { ...subject, id: added.id, created: true };
}

/** False, without an event, when there is no such subject. */
async function removeSubject(change: Change, id: number, event: NewAuditEvent): Promise<boolean> {
  const gone = await change.query('DELETE FROM oidc_subject WHERE id = $1 RETURNING id', [id]);
  if (gone.length > 0) await change.addEvent(event);
  return gone.length > 0;
}

function subjectOf({ id, signer, issuer, claims, created_at_ms }: SubjectRow): OidcSubject {
  // only addSubject() writes the claims
  return { id, signer, issuer, claims: JSON.parse(claims), createdAt: new Date(created_at_ms) };
}
