// Warnings about a certificate that is accepted: what was left out of it, and which clients fail with it or with the file
// that it came in. The behaviour of each client was tried: docs/clients-and-keys.md, keep in sync.
import type { KeyWarning } from '../domain/key.ts';
import type { UntrustedBlock } from './armor.ts';
import type { CertificateFacts, Statement } from './certificate-facts.ts';
import { isRevoked } from './key-state.ts';
import { readCertificate } from './keyring.ts';
import { readPacket, TAG } from './packets.ts';

/** `certificate`: binary, cleaned. */
export function warningsOfCertificate(certificate: Uint8Array): readonly KeyWarning[] {
  const facts = readCertificate(certificate);
  return 'why' in facts ? [] : warningsOf(facts);
}

/** Warnings about the certificate itself, not about its file. */
export function warningsOf(facts: CertificateFacts): readonly KeyWarning[] {
  return [...leftOut(facts), ...unboundParts(facts), ...boundBySha1(facts)];
}

function leftOut({ unusable }: CertificateFacts): readonly KeyWarning[] {
  return unusable.map(({ fingerprint, why }) => ({
    code: 'SUBKEY_LEFT_OUT',
    message: `the subkey ${fingerprint ?? 'without a fingerprint'} was left out, though the key lets it sign: it ${why}. Its signatures are refused`,
  }));
}

/** One warning with counts: a poisoned certificate may have thousands. Certifications by others are no parts, and not told of. */
function unboundParts({ key, unbound: { userIds, subkeys } }: CertificateFacts): readonly KeyWarning[] {
  if (userIds + subkeys === 0) return [];
  const parts = [
    ...(userIds > 0 ? [`${userIds} user ${userIds === 1 ? 'ID' : 'IDs'}`] : []),
    ...(subkeys > 0 ? [`${subkeys} ${subkeys === 1 ? 'subkey' : 'subkeys'}`] : []),
  ].join(' and ');
  const [were, them] = userIds + subkeys === 1 ? ['was', 'it'] : ['were', 'them'];
  return [
    {
      code: 'PARTS_LEFT_OUT',
      message: `${parts} ${were} left out: the key ${key.fingerprint} has not bound ${them} by a valid signature, so anybody may have added ${them}. What belongs to the key is in what its owner exports: gpg --export ${key.fingerprint}`,
    },
  ];
}

/** Red Hat's release keys of 2009 to 2022 are bound by SHA-1; gpg and Go accept them. */
function boundBySha1({ key, userIds, subkeys }: CertificateFacts): readonly KeyWarning[] {
  const names = userIds.filter((userId) => !isRevoked(userId)).map(({ certification }) => certification);
  const boundParts = [
    ...(names.length > 0 && names.every(isBySha1) ? ['its user IDs'] : []),
    ...subkeys
      .filter(({ binding }) => isBySha1(binding))
      .map(({ key: { fingerprint } }) => `its subkey ${fingerprint}`),
  ];
  if (boundParts.length === 0) return [];
  return [
    {
      code: 'BOUND_BY_SHA1',
      message: `the key ${key.fingerprint} binds ${boundParts.join(' and ')} by SHA-1, and clients that verify with Sequoia, as new builds of podman and skopeo do, refuse that. Whoever has the key can renew that: gpg --cert-digest-algo SHA512 --quick-set-expire ${key.fingerprint} PERIOD, and for the subkeys the same with '*' behind it`,
    },
  ];
}

const SHA1 = 2;

function isBySha1(statement: Statement | null): boolean {
  return statement?.signature.hashAlgorithm === SHA1;
}

/**
 * Warnings about the whole file. GnuPG stops at some packets and forgets what it has read. Clients built with it then
 * have no key at all.
 */
export function fileWarnings(blocks: readonly UntrustedBlock[]): readonly KeyWarning[] {
  const obstacles = new Map<string, 'GnuPG 2.2' | 'GnuPG up to 2.4'>();
  for (const block of blocks) {
    if (typeof block !== 'string') for (const [what, who] of obstaclesIn(block)) obstacles.set(what, who);
  }
  return [...obstacles].map(([what, who]) => ({
    code: 'GPG_CANNOT_IMPORT',
    message: `${who} stops at ${what} in the file, and imports no key of it, or only those ahead of that: podman and skopeo that are built with it then say that there is no public key. Give clients what this writes: lookaside key export --for gpg-2.2 FINGERPRINT`,
  }));
}

function* obstaclesIn(block: Uint8Array): Generator<readonly [string, 'GnuPG 2.2' | 'GnuPG up to 2.4']> {
  for (let at = 0, packets = 0; at < block.length && packets < MAX_PACKETS; packets += 1) {
    const packet = readPacket(block, at);
    if (packet === null) return;
    at = packet.end;
    const what = STOPS.get(packet.tag);
    const version = packet.body[0] ?? 0;
    if (what === undefined || version === 4 || version === 0) continue;
    if (version < 4 && packet.tag !== TAG.publicSubkey) continue; // every GnuPG skips these
    yield [`${what} of version ${version}`, version === 5 ? 'GnuPG 2.2' : 'GnuPG up to 2.4'];
  }
}

/** GnuPG skips primary keys of other versions, but not the signatures on them. */
const STOPS: ReadonlyMap<number, string> = new Map([
  [TAG.publicSubkey, 'a subkey'],
  [TAG.signature, 'a signature'],
]);

/** As many as certificate-parts.ts reads of a block. */
const MAX_PACKETS = 500_000;
