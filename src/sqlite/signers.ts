// Tables signer and signer_grant of state.db as the main thread sees them: look-ups on a read-only connection, changes
// through the writer thread.
import type { Database, Statement } from 'better-sqlite3';
import type { NewAuditEvent } from '../domain/audit.ts';
import { LookasideError } from '../domain/errors.ts';
import type { AddedGrant, Grant, NewGrant, Signer } from '../domain/grant.ts';
import type { NewOidcSubject } from '../domain/oidc.ts';
import type { GrantStore, SignerStore } from '../domain/ports.ts';
import { EVENT_BYTES } from './audit-log.ts';
import { messageOf } from './open.ts';
import type { NewSigner } from './signer-rows.ts';
import type { Writer } from './writer.ts';

const COMMAND_BYTES = EVENT_BYTES + 1500;
const PAGE_ROWS = 1000;

interface SignerRow {
  readonly id: number;
  readonly name: string;
  readonly description: string;
  readonly created_at_ms: number;
  readonly disabled_at_ms: number | null;
}

interface GrantRow {
  readonly id: number;
  readonly signer: string;
  readonly repositories: string;
  readonly fingerprints: string;
  readonly tags: string;
  readonly created_at_ms: number;
}

/** The look-ups on one connection. */
export class SignerTable {
  readonly #page: Statement<[number, number], SignerRow>;
  readonly #named: Statement<[string], SignerRow>;
  readonly #grants: Statement<[number, number], GrantRow>;
  readonly #grantsOf: Statement<[string, number, number], GrantRow>;
  readonly #grant: Statement<[number], GrantRow>;

  constructor(db: Database) {
    const signer = `
      SELECT id, name, description, created_at_ms, disabled_at_ms
      FROM signer`;
    const grant = `
      SELECT signer_grant.id, signer.name AS signer, repositories, fingerprints, tags, signer_grant.created_at_ms
      FROM signer_grant
      JOIN signer ON signer.id = signer_id`;
    this.#page = db.prepare(`${signer}
      WHERE id > ?
      ORDER BY id
      LIMIT ?`);
    this.#named = db.prepare(`${signer}
      WHERE name = ?`);
    this.#grants = db.prepare(`${grant}
      WHERE signer_grant.id > ?
      ORDER BY signer_grant.id
      LIMIT ?`);
    this.#grantsOf = db.prepare(`${grant}
      WHERE signer.name = ? AND signer_grant.id > ?
      ORDER BY signer_grant.id
      LIMIT ?`);
    this.#grant = db.prepare(`${grant}
      WHERE signer_grant.id = ?`);
  }

  signers(): readonly Signer[] {
    return asLookUp(() => allPages((after) => this.#page.all(after, PAGE_ROWS)).map(signerOf));
  }

  signer(name: string): Signer | null {
    return asLookUp(() => {
      const row = this.#named.get(name);
      return row === undefined ? null : signerOf(row);
    });
  }

  grants(signer: string | null): readonly Grant[] {
    return asLookUp(() =>
      allPages((after) =>
        signer === null ? this.#grants.all(after, PAGE_ROWS) : this.#grantsOf.all(signer, after, PAGE_ROWS),
      ).map(grantOf),
    );
  }

  grant(id: number): Grant | null {
    return asLookUp(() => {
      const row = this.#grant.get(id);
      return row === undefined ? null : grantOf(row);
    });
  }
}

export class SqliteSignerStore implements SignerStore {
  readonly #writer: Writer;
  readonly #table: SignerTable;
  readonly #onChanged: () => void;

  /** Calls `onChanged` when tokens may have another state. */
  constructor(table: SignerTable, writer: Writer, onChanged: () => void) {
    this.#table = table;
    this.#writer = writer;
    this.#onChanged = onChanged;
  }

  async list(): Promise<readonly Signer[]> {
    return this.#table.signers();
  }

  async find(name: string): Promise<Signer | null> {
    return this.#table.signer(name);
  }

  async add(
    signer: NewSigner,
    event: NewAuditEvent,
    subjects: readonly { readonly subject: NewOidcSubject; readonly event: NewAuditEvent }[] = [],
  ): Promise<Signer> {
    const sizeBytes = COMMAND_BYTES + JSON.stringify(subjects).length;
    await this.#writer.run('state.add-signer', { signer, event, subjects }, sizeBytes);
    return { ...signer, disabledAt: null };
  }

  async setDisabled(name: string, disabledAt: Date | null, event: NewAuditEvent): Promise<Signer | null> {
    await this.#change(() =>
      this.#writer.run('state.disable-signer', { name, disabledAt, event }, COMMAND_BYTES),
    );
    return this.#table.signer(name);
  }

  async remove(name: string, removedAt: Date, event: NewAuditEvent): Promise<boolean> {
    return this.#change(() =>
      this.#writer.run('state.remove-signer', { name, removedAt, event }, COMMAND_BYTES),
    );
  }

  // Tells also of a failure: a thread may have committed and died before it could answer.
  async #change<T>(act: () => Promise<T>): Promise<T> {
    try {
      return await act();
    } finally {
      this.#onChanged();
    }
  }
}

export class SqliteGrantStore implements GrantStore {
  readonly #writer: Writer;
  readonly #table: SignerTable;

  constructor(table: SignerTable, writer: Writer) {
    this.#table = table;
    this.#writer = writer;
  }

  async list(signer: string | null): Promise<readonly Grant[]> {
    return this.#table.grants(signer);
  }

  async find(id: number): Promise<Grant | null> {
    return this.#table.grant(id);
  }

  async add(grant: NewGrant, event: NewAuditEvent): Promise<AddedGrant> {
    const sizeBytes = COMMAND_BYTES + JSON.stringify(grant).length;
    const { id, created } = await this.#writer.run('state.add-grant', { grant, event }, sizeBytes);
    return { ...(this.#table.grant(id) ?? { ...grant, id }), created };
  }

  async remove(id: number, event: NewAuditEvent): Promise<boolean> {
    return this.#writer.run('state.remove-grant', { id, event }, COMMAND_BYTES);
  }
}

function allPages<Row extends { readonly id: number }>(page: (after: number) => readonly Row[]): Row[] {
  const all: Row[] = [];
  for (let rows = page(0); rows.length > 0; rows = page(rows.at(-1)?.id ?? 0)) all.push(...rows);
  return all;
}

function signerOf({ name, description, created_at_ms, disabled_at_ms }: SignerRow): Signer {
  const disabledAt = disabled_at_ms === null ? null : new Date(disabled_at_ms);
  return { name, description, createdAt: new Date(created_at_ms), disabledAt };
}

function grantOf({ id, signer, repositories, fingerprints, tags, created_at_ms }: GrantRow): Grant {
  return {
    id,
    signer,
    repositories: listOf(repositories),
    fingerprints: listOf(fingerprints),
    tags: listOf(tags),
    createdAt: new Date(created_at_ms),
  };
}

function listOf(text: string): readonly string[] {
  return JSON.parse(text); // only SignerRows writes it
}

function asLookUp<T>(query: () => T): T {
  try {
    return query();
  } catch (error) {
    throw new LookasideError('STORE_UNAVAILABLE', `signers cannot be read: ${messageOf(error)}`, {
      cause: error,
    });
  }
}
