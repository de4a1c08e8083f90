// Many changes of signers, grants, OIDC subjects, tokens and keys in one transaction: all of them, or none.
import { isLookasideError, LookasideError } from '../domain/errors.ts';
import type { AccessStep, AccessStore } from '../domain/ports.ts';
import { putKey, removeKey, retireKey } from './keys.ts';
import { addGrant, addSigner, describeSigner, disableSigner, removeGrant, removeSigner } from './signers.ts';
import { addSubject, removeSubject } from './subjects.ts';
import { revokeToken } from './tokens.ts';
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

async function applySteps(change: Change, steps: readonly AccessStep[]): Promise<void> {
  try {
    for (const step of steps) if (!(await applyStep(change, step))) throw changedMeanwhile();
  } catch (error) {
    // a signer of that name has come, or the signer has gone
    if (isLookasideError(error, 'NAME_TAKEN') || isLookasideError(error, 'NOT_FOUND'))
      throw changedMeanwhile();
    throw error;
  }
}

async function applyStep(change: Change, step: AccessStep): Promise<boolean> {
  const { event } = step;
  switch (step.kind) {
    case 'put-key':
      await putKey(change, step.key, event);
      return true;
    case 'remove-key':
      return removeKey(change, step.fingerprint, event);
    case 'retire-key':
      return retireKey(change, step.fingerprint, step.isRetired, event);
    case 'add-signer':
      await addSigner(change, step.signer, event);
      return true;
    case 'describe-signer':
      return describeSigner(change, step.signer, step.description, event);
    case 'disable-signer':
      return disableSigner(change, step.signer, step.disabledAt, event);
    case 'remove-signer':
      return removeSigner(change, step.signer, step.at, event);
    case 'add-grant':
      return (await addGrant(change, step.grant, event)).created;
    case 'remove-grant':
      return removeGrant(change, step.id, event);
    case 'add-subject':
      return (await addSubject(change, step.subject, event)).created;
    case 'remove-subject':
      return removeSubject(change, step.id, event);
    case 'revoke-token':
      return revokeToken(change, step.token, step.at, event);
  }
}

function changedMeanwhile(): LookasideError {
  return new LookasideError(
    'CHANGED_MEANWHILE',
    'somebody has changed signers, grants, keys or tokens meanwhile, and nothing was applied; see the new plan, and apply that',
  );
}
