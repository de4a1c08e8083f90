// What is told beside a certificate that is taken: what was left out of it, and which clients will not do with it.
import type { KeyWarning } from '../domain/key.ts';
import type { CertificateFacts } from './certificate-facts.ts';

export function warningsOf(facts: CertificateFacts): readonly KeyWarning[] {
  return facts.unusable.map(({ fingerprint, why }) => ({
    code: 'SUBKEY_LEFT_OUT',
    message: `the subkey ${fingerprint ?? 'without a fingerprint'} was left out, though the key lets it sign: it ${why}. Its signatures are refused`,
  }));
}
