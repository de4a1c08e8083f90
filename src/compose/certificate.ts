// What the audit log says of the certificate for TLS.
import { X509Certificate } from 'node:crypto';
import type { ShownCertificate } from '../service/settings-record.ts';

/** The first certificate of the file, which is the server's own. `pem`: it has been in use, so it is one. */
export function shownCertificate(pem: Uint8Array): ShownCertificate {
  const { fingerprint256, subjectAltName, issuer, validFrom, validTo } = new X509Certificate(pem);
  return {
    sha256: fingerprint256.replaceAll(':', '').toLowerCase(),
    names: subjectAltName ?? null,
    issuer: issuer.replaceAll('\n', ', '),
    notBefore: new Date(validFrom),
    notAfter: new Date(validTo),
  };
}
