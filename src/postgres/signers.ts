// Tables signer and signer_grant: each change comes with its audit event, in one transaction.
import type { NewAuditEvent } from '../domain/audit.ts';
import { LookasideError } from '../domain/errors.ts';
import { type AddedGrant, type Grant, type NewGrant, type Signer, unknownSigner } from '../domain/grant.ts';
import type { NewOidcSubject } from '../domain/oidc.ts';
import type { GrantStore, SignerStore } from '../domain/ports.ts';
import { raise } from './changes.ts';
import { type Connections, isTaken, type Query } from './connect.ts';
import { storable } from './image-rows.ts';
import { dateOf } from './indexed.ts';
import { addSubject } from './subjects.ts';
import type { Change, PostgresWriter } from './writer.ts';

type NewSigner = Omit<Signer, 'disabledAt'>;
type NewSubjects = readonly { readonly subject: NewOidcSubject; readonly event: NewAuditEvent }[];

const PAGE_ROWS = 1000;

interface SignerRow {
  readonly id: number;
  readonly name: string;
  readonly description: string;
  readonly created_at_ms: number;
  readonly disabled_at_ms: number | null;
}

const SIGNERS = 'SELECT id, name, description, created_at_ms, disabled_at_ms FROM signer';

export class PostgresSigners implements SignerStore {
  readonly #query: Query;
  readonly #writer: PostgresWriter;
  readonly #onChanged: () => Promise<void>;

  /** `onChanged` is awaited after a change by this node: tokens may have another state now. */
  constructor({ query }: Pick<Connections, 'query'>, writer: PostgresWriter, onChanged: () => Promise<void>) {
    this.#query = query;
    this.#writer = writer;
    this.#onChanged = onChanged;
  }

  async list(): Promise<readonly Signer[]> {
    const rows = await allPages((after) =>
      this.#query<SignerRow>(`${SIGNERS} WHERE id > $1 ORDER BY id LIMIT ${PAGE_ROWS}`, [after]),
    );
    return rows.map(signerOf);
  }

  async find(name: string): Promise<Signer | null> {
    return signerNamed(this.#query, name);
  }

  add(signer: NewSigner, event: NewAuditEvent, subjects: NewSubjects = []): Promise<Signer> {
    return this.#writer.run((change) => addSigner(change, signer, event, subjects));
  }

  setDisabled(name: string, disabledAt: Date | null, event: NewAuditEvent): Promise<Signer | null> {
    return this.#change(async (change) => {
      await disableSigner(change, name, disabledAt, event);
      return signerNamed(change.query, name);
    });
  }

  remove(name: string, removedAt: Date, event: NewAuditEvent): Promise<boolean> {
    return this.#change((change) => removeSigner(change, name, removedAt, event));
  }

  async #change<T>(act: (change: Change) => Promise<T>): Promise<T> {
    try {
      return await this.#writer.run(act);
    } finally {
      // also after a failure: it may have been committed all the same
      await this.#onChanged();
    }
  }
}

/** @throws LookasideError NAME_TAKEN */
async function addSigner(
  change: Change,
  { name, description, createdAt }: NewSigner,
  event: NewAuditEvent,
  subjects: NewSubjects = [],
): Promise<Signer> {
  const stored = storable(description);
  try {
    await change.query('INSERT INTO signer (name, description, created_at_ms) VALUES ($1, $2, $3)', [
      name,
      stored,
      createdAt.getTime(),
    ]);
  } catch (error) {
    if (!isTaken(error, 'signer_name_taken')) throw error;
    throw new LookasideError('NAME_TAKEN', `a signer named ${name} exists already`);
  }
  await change.addEvent(event);
  for (const { subject, event: added } of subjects) await addSubject(change, subject, added);
  return { name, description: stored, createdAt, disabledAt: null };
}

/** False, without an event, when it is so already or there is no such signer. */
async function disableSigner(
  change: Change,
  name: string,
  disabledAt: Date | null,
  event: NewAuditEvent,
): Promise<boolean> {
  const changed = await change.query(
    `
    UPDATE signer
    SET disabled_at_ms = $2::bigint
    WHERE name = $1 AND (disabled_at_ms IS NULL) = ($2::bigint IS NOT NULL)
    RETURNING id`,
    [name, disabledAt?.getTime() ?? null],
  );
  return recordChange(change, changed, event);
}

/** Its grants and OIDC subjects go and its tokens are revoked. False, without an event, when there is no such signer. */
async function removeSigner(
  change: Change,
  name: string,
  removedAt: Date,
  event: NewAuditEvent,
): Promise<boolean> {
  const gone = await change.query('DELETE FROM signer WHERE name = $1 RETURNING id', [name]);
  if (gone.length > 0) {
    await change.query('UPDATE token SET revoked_at_ms = $2 WHERE signer = $1 AND revoked_at_ms IS NULL', [
      name,
      removedAt.getTime(),
    ]);
  }
  return recordChange(change, gone, event);
}

async function recordChange(
  change: Change,
  changed: readonly object[],
  event: NewAuditEvent,
): Promise<boolean> {
  if (changed.length === 0) return false;
  await change.addEvent(event);
  // a token's state is also that of its signer
  await raise(change, 'tokens');
  return true;
}

async function signerNamed(query: Query, name: string): Promise<Signer | null> {
  const [row] = await query<SignerRow>(`${SIGNERS} WHERE name = $1`, [name]);
  return row === undefined ? null : signerOf(row);
}

function signerOf({ name, description, created_at_ms, disabled_at_ms }: SignerRow): Signer {
  return {
    name,
    description,
    createdAt: new Date(created_at_ms),
    disabledAt: dateOf(disabled_at_ms),
  };
}

interface GrantRow {
  readonly id: number;
  readonly signer: string;
  readonly repositories: string;
  readonly fingerprints: string;
  readonly tags: string;
  readonly created_at_ms: number;
}

const GRANTS = `
  SELECT g.id, s.name AS signer, g.repositories, g.fingerprints, g.tags, g.created_at_ms
  FROM signer_grant AS g
  JOIN signer AS s ON s.id = g.signer_id`;

export class PostgresGrants implements GrantStore {
  readonly #query: Query;
  readonly #writer: PostgresWriter;

  constructor({ query }: Pick<Connections, 'query'>, writer: PostgresWriter) {
    this.#query = query;
    this.#writer = writer;
  }

  async list(signer: string | null): Promise<readonly Grant[]> {
    const rows = await allPages((after) =>
      this.#query<GrantRow>(
        `${GRANTS} WHERE g.id > $1 AND ($2::text IS NULL OR s.name = $2) ORDER BY g.id LIMIT ${PAGE_ROWS}`,
        [after, signer],
      ),
    );
    return rows.map(grantOf);
  }

  async find(id: number): Promise<Grant | null> {
    const [row] = await this.#query<GrantRow>(`${GRANTS} WHERE g.id = $1`, [id]);
    return row === undefined ? null : grantOf(row);
  }

  add(grant: NewGrant, event: NewAuditEvent): Promise<AddedGrant> {
    return this.#writer.run((change) => addGrant(change, grant, event), 1000 + JSON.stringify(grant).length);
  }

  remove(id: number, event: NewAuditEvent): Promise<boolean> {
    return this.#writer.run((change) => removeGrant(change, id, event));
  }
}

/** @throws LookasideError NOT_FOUND when there is no such signer */
async function addGrant(change: Change, grant: NewGrant, event: NewAuditEvent): Promise<AddedGrant> {
  const { query } = change;
  const [signer] = await query<{ id: number }>('SELECT id FROM signer WHERE name = $1', [grant.signer]);
  if (signer === undefined) throw unknownSigner(grant.signer);
  const lists = [grant.repositories, grant.fingerprints, grant.tags].map((list) => JSON.stringify(list));
  const same = `g.signer_id = $1 AND g.repositories = $2 AND g.fingerprints = $3 AND g.tags = $4`;
  const [known] = await query<GrantRow>(`${GRANTS} WHERE ${same}`, [signer.id, ...lists]);
  if (known !== undefined) return { ...grantOf(known), created: false };
  const [added] = await query<{ id: number }>(
    `
    INSERT INTO signer_grant (signer_id, repositories, fingerprints, tags, created_at_ms)
    VALUES ($1, $2, $3, $4, $5)
    RETURNING id`,
    [signer.id, ...lists, grant.createdAt.getTime()],
  );
  if (added === undefined) throw new Error('an INSERT has returned no row');
  await change.addEvent(event);
  return { ...grant, id: added.id, created: true };
}

/** False, without an event, when there is no such grant. */
async function removeGrant(change: Change, id: number, event: NewAuditEvent): Promise<boolean> {
  const gone = await change.query('DELETE FROM signer_grant WHERE id = $1 RETURNING id', [id]);
  if (gone.length > 0) await change.addEvent(event);
  return gone.length > 0;
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
  return JSON.parse(text); // only addGrant() writes it
}

/** The rows of all pages, each of which begins behind the last id. */
export async function allPages<Row extends { readonly id: number }>(
  page: (after: number) => Promise<readonly Row[]>,
): Promise<readonly Row[]> {
  const all: Row[] = [];
  for (let rows = await page(0); rows.length > 0; rows = await page(rows.at(-1)?.id ?? 0)) all.push(...rows);
  return all;
}
