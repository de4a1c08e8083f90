// A whole document of who may sign what, in one transaction: all of its steps, or none. What comes in thousands takes one statement
// for all, because changes of all nodes wait meanwhile.
import { LookasideError } from '../domain/errors.ts';
import type { AccessStep, AccessStore } from '../domain/ports.ts';
import { raise } from './changes.ts';
import type { Query } from './connect.ts';
import { storable } from './image-rows.ts';
import { putKey, removeKey, retireKey } from './keys.ts';
import type { Change, PostgresWriter } from './writer.ts';

export class PostgresAccess implements AccessStore {
  readonly #writer: PostgresWriter;
  readonly #onChanged: () => Promise<void>;

  /** `onChanged` is awaited, also after a failure: tokens may be others now. */
  constructor(writer: PostgresWriter, onChanged: () => Promise<void>) {
    this.#writer = writer;
    this.#onChanged = onChanged;
  }

  async apply(steps: readonly AccessStep[]): Promise<void> {
    if (steps.length === 0) return;
    const sizeBytes = steps.reduce(
      (sum, step) => sum + 1000 + (step.kind === 'put-key' ? step.key.certificate.length : 0),
      0,
    );
    try {
      await this.#writer.run((change) => applySteps(change, steps), sizeBytes);
    } finally {
      await this.#onChanged();
    }
  }
}

type StepOf<Kind extends AccessStep['kind']> = Extract<AccessStep, { kind: Kind }>;

/** What comes later may need what is before it: a grant needs its signer. */
const ORDER = [
  ...(['put-key', 'retire-key', 'add-signer', 'describe-signer', 'disable-signer'] as const),
  ...(['add-subject', 'add-grant', 'remove-subject', 'remove-grant', 'revoke-token'] as const),
  ...(['remove-signer', 'remove-key'] as const),
];

/** Kinds that change the state of tokens, which is also that of their signers. */
const OF_TOKENS: readonly AccessStep['kind'][] = ['disable-signer', 'remove-signer', 'revoke-token'];

/** The events are in the order of the steps. */
async function applySteps(change: Change, steps: readonly AccessStep[]): Promise<void> {
  for (const kind of ORDER) {
    const same = steps.filter((step) => step.kind === kind);
    if (same.length > 0 && !(await makeAll(change, same))) throw changedMeanwhile();
  }
  await change.addEvents(steps.map(({ event }) => event));
  if (steps.some(({ kind }) => OF_TOKENS.includes(kind))) await raise(change, 'tokens');
}

/** Makes all steps of one kind; false when one of them finds nothing to change. */
async function makeAll(change: Change, same: readonly AccessStep[]): Promise<boolean> {
  const { query } = change;
  const of = <Kind extends AccessStep['kind']>(kind: Kind) =>
    same.filter((step): step is StepOf<Kind> => step.kind === kind);
  switch (same[0]?.kind) {
    case undefined:
      return true;
    case 'put-key':
    case 'retire-key':
    case 'remove-key':
      return changeKeys(change, same);
    case 'add-signer':
      return addSigners(query, of('add-signer'));
    case 'describe-signer':
      return describeSigners(query, of('describe-signer'));
    case 'disable-signer':
      return disableSigners(query, of('disable-signer'));
    case 'remove-signer':
      return removeSigners(query, of('remove-signer'));
    case 'add-grant':
      return addGrants(query, of('add-grant'));
    case 'add-subject':
      return addSubjects(query, of('add-subject'));
    case 'remove-grant':
      return removeByIds(query, 'signer_grant', same);
    case 'remove-subject':
      return removeByIds(query, 'oidc_subject', same);
    case 'revoke-token':
      return revokeTokens(query, of('revoke-token'));
  }
}

/** One by one: certificates are large, and few. */
async function changeKeys(change: Change, steps: readonly AccessStep[]): Promise<boolean> {
  // their events are added with all others
  const quiet: Change = { ...change, addEvent: async () => 0 };
  for (const step of steps) {
    if (step.kind === 'put-key') await putKey(quiet, step.key, step.event);
    else if (step.kind === 'retire-key') {
      if (!(await retireKey(quiet, step.fingerprint, step.isRetired, step.event))) return false;
    } else if (step.kind === 'remove-key') {
      if (!(await removeKey(quiet, step.fingerprint, step.event))) return false;
    }
  }
  return true;
}

/** Whether so many rows came back as there are steps. */
async function all(rows: Promise<readonly object[]>, steps: readonly AccessStep[]): Promise<boolean> {
  return (await rows).length === steps.length;
}

function addSigners(query: Query, steps: readonly StepOf<'add-signer'>[]): Promise<boolean> {
  const signers = steps.map(({ signer }) => signer);
  const rows = query(
    `
    INSERT INTO signer (name, description, created_at_ms)
    SELECT name, description, created_at_ms
    FROM unnest($1::text[], $2::text[], $3::bigint[]) AS given (name, description, created_at_ms)
    ON CONFLICT (name) DO NOTHING
    RETURNING id`,
    [
      signers.map(({ name }) => name),
      signers.map(({ description }) => storable(description)),
      signers.map(({ createdAt }) => createdAt.getTime()),
    ],
  );
  return all(rows, steps);
}

function describeSigners(query: Query, steps: readonly StepOf<'describe-signer'>[]): Promise<boolean> {
  const rows = query(
    `
    UPDATE signer
    SET description = given.description
    FROM unnest($1::text[], $2::text[]) AS given (name, description)
    WHERE signer.name = given.name AND signer.description <> given.description
    RETURNING signer.id`,
    [steps.map(({ signer }) => signer), steps.map(({ description }) => storable(description))],
  );
  return all(rows, steps);
}

function disableSigners(query: Query, steps: readonly StepOf<'disable-signer'>[]): Promise<boolean> {
  const rows = query(
    `
    UPDATE signer
    SET disabled_at_ms = given.at_ms
    FROM unnest($1::text[], $2::bigint[]) AS given (name, at_ms)
    WHERE signer.name = given.name AND (signer.disabled_at_ms IS NULL) = (given.at_ms IS NOT NULL)
    RETURNING signer.id`,
    [steps.map(({ signer }) => signer), steps.map(({ disabledAt }) => disabledAt?.getTime() ?? null)],
  );
  return all(rows, steps);
}

/** Their grants and OIDC subjects go with them, and their tokens are revoked. */
async function removeSigners(query: Query, steps: readonly StepOf<'remove-signer'>[]): Promise<boolean> {
  const names = steps.map(({ signer }) => signer);
  const gone = query('DELETE FROM signer WHERE name = ANY ($1) RETURNING id', [names]);
  if (!(await all(gone, steps))) return false;
  await query(
    `
    UPDATE token
    SET revoked_at_ms = given.at_ms
    FROM unnest($1::text[], $2::bigint[]) AS given (signer, at_ms)
    WHERE token.signer = given.signer AND token.revoked_at_ms IS NULL`,
    [names, steps.map(({ at }) => at.getTime())],
  );
  return true;
}

function addGrants(query: Query, steps: readonly StepOf<'add-grant'>[]): Promise<boolean> {
  const grants = steps.map(({ grant }) => grant);
  const rows = query(
    `
    INSERT INTO signer_grant (signer_id, repositories, fingerprints, tags, created_at_ms)
    SELECT s.id, given.repositories, given.fingerprints, given.tags, given.created_at_ms
    FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bigint[]) WITH ORDINALITY
      AS given (signer, repositories, fingerprints, tags, created_at_ms, position)
    JOIN signer AS s ON s.name = given.signer
    WHERE NOT EXISTS (
      SELECT 1
      FROM signer_grant AS g
      WHERE g.signer_id = s.id AND g.repositories = given.repositories AND g.fingerprints = given.fingerprints
        AND g.tags = given.tags
    )
    ORDER BY given.position
    RETURNING id`,
    [
      grants.map(({ signer }) => signer),
      grants.map(({ repositories }) => JSON.stringify(repositories)),
      grants.map(({ fingerprints }) => JSON.stringify(fingerprints)),
      grants.map(({ tags }) => JSON.stringify(tags)),
      grants.map(({ createdAt }) => createdAt.getTime()),
    ],
  );
  return all(rows, steps);
}

function addSubjects(query: Query, steps: readonly StepOf<'add-subject'>[]): Promise<boolean> {
  const subjects = steps.map(({ subject }) => subject);
  const rows = query(
    `
    INSERT INTO oidc_subject (signer_id, issuer, claims, created_at_ms)
    SELECT s.id, given.issuer, given.claims, given.created_at_ms
    FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[]) WITH ORDINALITY
      AS given (signer, issuer, claims, created_at_ms, position)
    JOIN signer AS s ON s.name = given.signer
    WHERE NOT EXISTS (
      SELECT 1
      FROM oidc_subject AS o
      WHERE o.signer_id = s.id AND o.issuer = given.issuer AND o.claims = given.claims
    )
    ORDER BY given.position
    RETURNING id`,
    [
      subjects.map(({ signer }) => signer),
      subjects.map(({ issuer }) => issuer),
      subjects.map(({ claims }) => JSON.stringify(claims)),
      subjects.map(({ createdAt }) => createdAt.getTime()),
    ],
  );
  return all(rows, steps);
}

function removeByIds(
  query: Query,
  table: 'signer_grant' | 'oidc_subject',
  steps: readonly AccessStep[],
): Promise<boolean> {
  const ids = steps.flatMap((step) => ('id' in step ? [step.id] : []));
  return all(query(`DELETE FROM ${table} WHERE id = ANY ($1) RETURNING id`, [ids]), steps);
}

function revokeTokens(query: Query, steps: readonly StepOf<'revoke-token'>[]): Promise<boolean> {
  const rows = query(
    `
    UPDATE token
    SET revoked_at_ms = given.at_ms
    FROM unnest($1::text[], $2::bigint[]) AS given (name, at_ms)
    WHERE token.name = given.name AND token.revoked_at_ms IS NULL
    RETURNING token.id`,
    [steps.map(({ token }) => token), steps.map(({ at }) => at.getTime())],
  );
  return all(rows, steps);
}

function changedMeanwhile(): LookasideError {
  return new LookasideError(
    'CHANGED_MEANWHILE',
    'somebody has changed signers, grants, keys or tokens meanwhile, and nothing was applied; see the new plan, and apply that',
  );
}
