// Many changes of signers, grants, OIDC subjects, tokens and keys in one transaction: all of them, or none.
import type { Database } from 'better-sqlite3';
import { isLookasideError, LookasideError } from '../domain/errors.ts';
import type { AccessStep } from '../domain/ports.ts';
import type { KeyRows } from './key-rows.ts';
import { inTransaction } from './open.ts';
import type { SignerRows } from './signer-rows.ts';
import type { SubjectRows } from './subject-rows.ts';
import type { TokenRows } from './token-rows.ts';

export interface AccessRows {
  readonly signers: SignerRows;
  readonly subjects: SubjectRows;
  readonly tokens: TokenRows;
  readonly keys: KeyRows;
}

/** In the writer thread. @throws LookasideError CHANGED_MEANWHILE when one of them finds nothing to change */
export function applySteps(db: Database, rows: AccessRows, steps: readonly AccessStep[]): void {
  try {
    inTransaction(db, () => {
      for (const step of steps) if (!applyStep(rows, step)) throw changedMeanwhile();
    });
  } catch (error) {
    // a signer of that name has come, or the signer has gone
    if (isLookasideError(error, 'NAME_TAKEN') || isLookasideError(error, 'NOT_FOUND'))
      throw changedMeanwhile();
    throw error;
  }
}

function applyStep({ signers, subjects, tokens, keys }: AccessRows, step: AccessStep): boolean {
  const { event } = step;
  switch (step.kind) {
    case 'put-key':
      keys.put(step.key, event);
      return true;
    case 'remove-key':
      return keys.remove(step.fingerprint, event);
    case 'retire-key':
      return keys.setRetired(step.fingerprint, step.isRetired, event);
    case 'add-signer':
      signers.insert(step.signer, event, []);
      return true;
    case 'describe-signer':
      return signers.describe(step.signer, step.description, event);
    case 'disable-signer':
      return signers.setDisabled(step.signer, step.disabledAt, event);
    case 'remove-signer':
      return signers.remove(step.signer, step.at, event);
    case 'add-grant':
      return signers.addGrant(step.grant, event).created;
    case 'remove-grant':
      return signers.removeGrant(step.id, event);
    case 'add-subject':
      return subjects.add(step.subject, event).created;
    case 'remove-subject':
      return subjects.remove(step.id, event);
    case 'revoke-token':
      return tokens.revoke(step.token, step.at, event);
  }
}

function changedMeanwhile(): LookasideError {
  return new LookasideError(
    'CHANGED_MEANWHILE',
    'somebody has changed signers, grants, keys or tokens meanwhile, and nothing was applied; see the new plan, and apply that',
  );
}
