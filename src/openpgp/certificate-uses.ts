// What the parts of a certificate are for, and why they were revoked, as their key says.
import { type KeyPartUse, type KeyUse, REVOCATION_REASONS } from '../domain/key.ts';
import { inOrder } from './certificate-details.ts';
import type { CertificateFacts, Statement } from './certificate-facts.ts';
import { readCertificate } from './keyring.ts';

const FLAGS: readonly (readonly [bit: number, use: KeyUse])[] = [
  [0x01, 'certify'],
  [0x02, 'sign'],
  [0x0c, 'encrypt'],
  [0x20, 'authenticate'],
];

/** The primary key first. `certificate`: binary, cleaned; empty when it cannot be read. */
export function usesOfCertificate(certificate: Uint8Array): readonly KeyPartUse[] {
  const facts = readCertificate(certificate);
  if ('why' in facts) return [];
  return [
    {
      fingerprint: facts.key.fingerprint,
      uses: usesOf(primaryFlags(facts)) ?? ['certify', 'sign'],
      revocationReason: reasonOf(facts.revocation),
    },
    ...facts.subkeys.map(({ key, binding, revocation }) => ({
      fingerprint: key.fingerprint,
      uses: usesOf(binding?.signature.keyFlags ?? null) ?? [],
      revocationReason: reasonOf(revocation),
    })),
  ];
}

/** The newest user ID that says something; then the key itself, as gpg has it. */
function primaryFlags({ direct, userIds }: CertificateFacts): number | null {
  const said = inOrder(userIds).map(({ certification }) => certification?.signature.keyFlags ?? null);
  return said.find((flags) => flags !== null) ?? direct?.signature.keyFlags ?? null;
}

/** Null: the key does not say. */
function usesOf(flags: number | null): readonly KeyUse[] | null {
  return flags === null ? null : FLAGS.flatMap(([bit, use]) => ((flags & bit) === 0 ? [] : [use]));
}

/** Null: it is not revoked. RFC 9580, section 5.2.3.31. */
function reasonOf(revocation: Statement | null): string | null {
  if (revocation === null) return null;
  const { revocationReason: code } = revocation.signature;
  if (code === null) return 'none given';
  return REVOCATION_REASONS[code] ?? `code ${code}`;
}
