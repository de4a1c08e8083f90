// Armoured keys without the checksum that RFC 9580 lets programs leave out.
import type { Signer } from '../clients/signer.ts';
import { subpacket } from '../openpgp/packet-writer.ts';

/** The signer's certificate, of a length that leaves this remainder: 0 ends its base64 without padding. */
export function certificateOfLength(signer: Signer, remainder: 0 | 1 | 2): Uint8Array {
  for (const filling of ['', '.', '..']) {
    const policyUrl = subpacket(26, Buffer.from(`https://example.invalid/${filling}`));
    const bytes = signer.certifiedAs({ hashed: [policyUrl] });
    if (bytes.length % 3 === remainder) return bytes;
  }
  throw new Error('no certificate has that length');
}

export function bareArmour(certificate: Uint8Array): string {
  const lines = Buffer.from(certificate).toString('base64').replace(/.{64}/g, '$&\n').trimEnd();
  return `-----BEGIN PGP PUBLIC KEY BLOCK-----\n\n${lines}\n-----END PGP PUBLIC KEY BLOCK-----\n`;
}
