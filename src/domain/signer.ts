// Signers: people and pipelines that may upload. Their grants say what they may sign; their tokens let them in.
import { LookasideError } from './errors.ts';
import type { Grant, Signer } from './grant.ts';
import type { OidcSubject } from './oidc.ts';
import { quoted } from './text.ts';
import { isTokenName, type ShownToken, TOKEN_NAME_FORM } from './token.ts';

export interface WantedSigner extends Pick<Signer, 'name' | 'description'> {
  /** The OIDC subjects that it has from the beginning; left out: none. */
  readonly subjects?: readonly Pick<OidcSubject, 'issuer' | 'claims'>[];
}

/** A signer with all that hangs on it. */
export interface SignerDetails extends Signer {
  readonly grants: readonly Grant[];
  readonly subjects: readonly OidcSubject[];
  /** Revoked and expired ones too. */
  readonly tokens: readonly ShownToken[];
}

const MAX_DESCRIPTION = 500;

/** @throws LookasideError REQUEST_INVALID */
export function checkSigner({ name, description }: WantedSigner, reserved: readonly string[]): void {
  if (!isTokenName(name)) refuse(`${quoted(name)} is not a name for a signer; wanted ${TOKEN_NAME_FORM}`);
  if (reserved.includes(name.toLowerCase())) {
    refuse(`${quoted(name)} stands for another in the audit log; choose another name for the signer`);
  }
  if (description.length > MAX_DESCRIPTION) {
    refuse(`the description has ${description.length} characters; at most ${MAX_DESCRIPTION} are taken`);
  }
}

function refuse(message: string): never {
  throw new LookasideError('REQUEST_INVALID', message);
}
