// Table oidc_subject of state.db as the main thread sees it: look-ups on a read-only connection, changes through the writer thread.
import type { Database, Statement } from 'better-sqlite3';
import type { NewAuditEvent } from '../domain/audit.ts';
import { LookasideError } from '../domain/errors.ts';
import type { AddedSubject, BoundSubject, NewOidcSubject, OidcSubject } from '../domain/oidc.ts';
import type { SubjectStore } from '../domain/ports.ts';
import { EVENT_BYTES } from './audit-log.ts';
import { messageOf } from './open.ts';
import type { Writer } from './writer.ts';

interface SubjectRow {
  readonly id: number;
  readonly signer: string;
  readonly issuer: string;
  readonly claims: string;
  readonly created_at_ms: number;
  readonly disabled_at_ms: number | null;
}

const PAGE_ROWS = 1000;

/** The look-ups on one connection. */
export class SubjectTable {
  readonly #page: Statement<[number, number], SubjectRow>;
  readonly #pageOf: Statement<[string, number, number], SubjectRow>;
  readonly #ofIssuer: Statement<[string, number, number], SubjectRow>;
  readonly #one: Statement<[number], SubjectRow>;

  constructor(db: Database) {
    const subject = `
      SELECT oidc_subject.id, signer.name AS signer, issuer, claims, oidc_subject.created_at_ms, disabled_at_ms
      FROM oidc_subject
      JOIN signer ON signer.id = signer_id`;
    const inOrder = `
      ORDER BY oidc_subject.id
      LIMIT ?`;
    this.#page = db.prepare(`${subject} WHERE oidc_subject.id > ? ${inOrder}`);
    this.#pageOf = db.prepare(`${subject} WHERE signer.name = ? AND oidc_subject.id > ? ${inOrder}`);
    this.#ofIssuer = db.prepare(`${subject} WHERE issuer = ? AND oidc_subject.id > ? ${inOrder}`);
    this.#one = db.prepare(`${subject} WHERE oidc_subject.id = ?`);
  }

  list(signer: string | null): readonly OidcSubject[] {
    return asLookUp(() =>
      allPages((after) =>
        signer === null ? this.#page.all(after, PAGE_ROWS) : this.#pageOf.all(signer, after, PAGE_ROWS),
      ).map(subjectOf),
    );
  }

  ofIssuer(issuer: string): readonly BoundSubject[] {
    return asLookUp(() =>
      allPages((after) => this.#ofIssuer.all(issuer, after, PAGE_ROWS)).map((row) => ({
        subject: subjectOf(row),
        disabledAt: row.disabled_at_ms === null ? null : new Date(row.disabled_at_ms),
      })),
    );
  }

  find(id: number): OidcSubject | null {
    return asLookUp(() => {
      const row = this.#one.get(id);
      return row === undefined ? null : subjectOf(row);
    });
  }
}

export class SqliteSubjectStore implements SubjectStore {
  readonly #writer: Writer;
  readonly #table: SubjectTable;

  constructor(table: SubjectTable, writer: Writer) {
    this.#table = table;
    this.#writer = writer;
  }

  async list(signer: string | null): Promise<readonly OidcSubject[]> {
    return this.#table.list(signer);
  }

  async ofIssuer(issuer: string): Promise<readonly BoundSubject[]> {
    return this.#table.ofIssuer(issuer);
  }

  async find(id: number): Promise<OidcSubject | null> {
    return this.#table.find(id);
  }

  async add(subject: NewOidcSubject, event: NewAuditEvent): Promise<AddedSubject> {
    const sizeBytes = EVENT_BYTES + JSON.stringify(subject).length;
    const { id, created } = await this.#writer.run('state.add-subject', { subject, event }, sizeBytes);
    return { ...(this.#table.find(id) ?? { ...subject, id }), created };
  }

  async remove(id: number, event: NewAuditEvent): Promise<boolean> {
    return this.#writer.run('state.remove-subject', { id, event }, EVENT_BYTES);
  }
}

function allPages(page: (after: number) => readonly SubjectRow[]): SubjectRow[] {
  const all: SubjectRow[] = [];
  for (let rows = page(0); rows.length > 0; rows = page(rows.at(-1)?.id ?? 0)) all.push(...rows);
  return all;
}

function subjectOf({ id, signer, issuer, claims, created_at_ms }: SubjectRow): OidcSubject {
  // only SubjectRows writes the claims
  return { id, signer, issuer, claims: JSON.parse(claims), createdAt: new Date(created_at_ms) };
}

function asLookUp<T>(query: () => T): T {
  try {
    return query();
  } catch (error) {
    throw new LookasideError('STORE_UNAVAILABLE', `OIDC subjects cannot be read: ${messageOf(error)}`, {
      cause: error,
    });
  }
}
