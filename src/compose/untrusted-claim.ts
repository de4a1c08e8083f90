// What a payload claims before anybody has verified it.
import { isLookasideError } from '../domain/errors.ts';
import { parsePayload } from '../domain/simple-signing.ts';
import type { Claim } from '../domain/verdict.ts';
import { untrustedVersion6Content } from '../openpgp/structure.ts';

/** The claim of a payload that nobody has verified. */
export function untrustedVersion6Claim(untrusted: Uint8Array): Claim | null {
  const content = untrustedVersion6Content(untrusted);
  try {
    return content === null ? null : parsePayload(content).claim;
  } catch (error) {
    if (isLookasideError(error, 'PAYLOAD_INVALID')) return null;
    throw error;
  }
}
