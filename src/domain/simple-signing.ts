// The payload of a simple signature (containers-signature.5.md), read as strictly as containers/image reads it.
import { LookasideError } from './errors.ts';
import type { Claim } from './verdict.ts';

/** @throws LookasideError PAYLOAD_INVALID saying what is wrong */
export function parsePayload(_content: Uint8Array): Claim {
  throw new LookasideError('PAYLOAD_INVALID', 'not written yet');
}
