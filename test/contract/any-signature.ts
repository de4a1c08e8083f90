import type { SignatureFilter } from '../../src/domain/ports.ts';

/** Every signature matches it. */
export const ANY_SIGNATURE: SignatureFilter = {
  path: null,
  digest: null,
  fingerprint: null,
  tag: null,
  verdict: null,
  since: null,
  until: null,
};
