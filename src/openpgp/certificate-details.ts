// What a cleaned certificate says of its key, read as gpg reads it.
import type { KeyDetails, KeyPart } from '../domain/key.ts';
import { byAge, type Kept, maySign, type UserId } from './kept-parts.ts';
import type { PublicKey } from './public-key.ts';
import type { UntrustedSignature } from './self-signatures.ts';

export function describe(kept: Kept, now: Date): KeyDetails {
  const { primary, subkeys } = kept;
  return {
    ...describePart(primary, {
      expiresAt: primaryExpiry(kept),
      revokedAt: primaryRevocation(kept),
      canSign: primaryMaySign(kept),
    }),
    userIds: shownUserIds(kept, now).map(({ body }) => decode(body)),
    subkeys: subkeys.flatMap(({ key, binding, revocation }) =>
      binding === null
        ? []
        : describePart(key, {
            expiresAt: earliest(keyExpiry(key, binding.signature), signatureExpiry(binding.signature)),
            revokedAt: revocation?.signature.createdAt ?? null,
            canSign: binding.canSign,
          }),
    ),
  };
}

interface PartState {
  /** Seconds since 1970. */
  readonly expiresAt: number | null;
  readonly revokedAt: number | null;
  readonly canSign: boolean;
}

function describePart(
  { fingerprint, algorithm, createdAt }: PublicKey,
  { expiresAt, revokedAt, canSign }: PartState,
): KeyPart {
  return {
    fingerprint,
    algorithm,
    canSign,
    createdAt: toDate(createdAt),
    expiresAt: expiresAt === null ? null : toDate(expiresAt),
    revokedAt: revokedAt === null ? null : toDate(revokedAt),
  };
}

/** Hostile bytes as they come: what is no UTF-8 becomes U+FFFD. */
function decode(body: Uint8Array): string {
  return new TextDecoder('utf-8', { ignoreBOM: true }).decode(body);
}

/** The primary user ID first, as gpg picks it: the newest of those that are marked so, else the newest. */
export function inOrder(userIds: readonly UserId[]): readonly UserId[] {
  return [...userIds].sort(
    (one, other) =>
      Number(isPrimary(other)) - Number(isPrimary(one)) ||
      certifiedAt(other) - certifiedAt(one) ||
      Buffer.compare(one.body, other.body),
  );
}

function isPrimary(userId: UserId): boolean {
  return userId.certification?.signature.facts.isPrimaryUserId === true && !isRevoked(userId);
}

function certifiedAt(userId: UserId): number {
  return isRevoked(userId) ? 0 : (userId.certification?.signature.createdAt ?? 0);
}

/** A certification that is newer than the revocation takes it back. */
function isRevoked({ certification, revocation }: UserId): boolean {
  if (certification === null) return true;
  return revocation !== null && revocation.signature.createdAt >= certification.signature.createdAt;
}

/** Those that hold now; those that held once when none does, because a key needs a name. */
function shownUserIds({ userIds }: Kept, now: Date): readonly UserId[] {
  const nowSeconds = now.getTime() / 1000;
  const certified = inOrder(userIds).filter(({ certification }) => certification !== null);
  const holding = certified.filter((userId) => {
    const expiry = userId.certification === null ? null : signatureExpiry(userId.certification.signature);
    return !isRevoked(userId) && (expiry === null || expiry > nowSeconds);
  });
  return holding.length === 0 ? certified : holding;
}

/** The signatures that speak for the primary key, in the order in which gpg asks them for any one fact. */
function speakers({ direct, userIds }: Kept): readonly UntrustedSignature[] {
  const certifications = userIds
    .filter((userId) => !isRevoked(userId))
    .flatMap(({ certification }) => (certification === null ? [] : [certification.signature]))
    .sort(byAge);
  return direct === null ? certifications : [direct.signature, ...certifications];
}

export function primaryMaySign(kept: Kept): boolean {
  const flags = speakers(kept).map(({ facts }) => facts.keyFlags);
  return maySign(flags.find((keyFlags) => keyFlags !== null) ?? null);
}

function primaryExpiry(kept: Kept): number | null {
  const expiries = speakers(kept).map((signature) => keyExpiry(kept.primary, signature));
  const said = expiries.find((expiry) => expiry !== null) ?? null;
  return earliest(said, lastUserIdExpiry(kept));
}

/** When the last user ID that is not revoked is no longer vouched for, which ends the key too; null = never. */
function lastUserIdExpiry({ userIds }: Kept): number | null {
  const certifications = userIds
    .filter((userId) => !isRevoked(userId))
    .flatMap(({ certification }) => (certification === null ? [] : [certification.signature]));
  const expiries = certifications.map(signatureExpiry).filter((expiry) => expiry !== null);
  return expiries.length === 0 || expiries.length < certifications.length ? null : Math.max(...expiries);
}

/** A key whose user IDs are all revoked is as good as revoked: gpg no longer verifies with it. */
function primaryRevocation({ revocation, userIds }: Kept): number | null {
  if (revocation !== null) return revocation.signature.createdAt;
  const certified = userIds.filter(({ certification }) => certification !== null);
  if (!certified.every(isRevoked)) return null;
  return Math.max(...certified.map((userId) => userId.revocation?.signature.createdAt ?? 0));
}

function keyExpiry({ createdAt }: PublicKey, { facts }: UntrustedSignature): number | null {
  const { keyExpiresAfter } = facts;
  return keyExpiresAfter === null || keyExpiresAfter === 0 ? null : createdAt + keyExpiresAfter;
}

function signatureExpiry({ createdAt, facts }: UntrustedSignature): number | null {
  const { expiresAfter } = facts;
  return expiresAfter === null || expiresAfter === 0 ? null : createdAt + expiresAfter;
}

function earliest(one: number | null, other: number | null): number | null {
  if (one === null) return other;
  return other === null ? one : Math.min(one, other);
}

function toDate(seconds: number): Date {
  return new Date(seconds * 1000);
}
