// What a certificate says about its key, in the form that people and the store get.
import type { KeyDetails, KeyPart } from '../domain/key.ts';
import type { CertificateFacts, Subkey, UserId } from './certificate-facts.ts';
import { saysSign } from './certificate-facts.ts';
import { describedState, endOf, isOver, isRevoked, type KeyState, laterBy } from './key-state.ts';
import type { PublicKey } from './public-key.ts';

export function describe(facts: CertificateFacts, now: Date): KeyDetails {
  return {
    ...describePart(facts.key, describedState(facts, now), revokedAt(facts)),
    userIds: shownUserIds(facts, now).map(({ body }) => decode(body)),
    subkeys: facts.subkeys.flatMap((subkey) => describeSubkey(subkey) ?? []),
  };
}

/** The user IDs that are in force now; when there are none, all that ever were, because a key needs a name. */
function shownUserIds({ userIds }: CertificateFacts, now: Date): readonly UserId[] {
  const certified = inOrder(userIds).filter(({ certification }) => certification !== null);
  const holding = certified.filter(
    (userId) => userId.certification !== null && !isRevoked(userId) && !isOver(userId.certification, now),
  );
  return holding.length === 0 ? certified : holding;
}

/** The primary user ID comes first. As in gpg, it is the newest of those marked as primary, or else the newest of all. */
export function inOrder(userIds: readonly UserId[]): readonly UserId[] {
  return [...userIds].sort(
    (one, other) =>
      Number(isPrimary(other)) - Number(isPrimary(one)) ||
      certifiedAt(other) - certifiedAt(one) ||
      Buffer.compare(one.body, other.body),
  );
}

function isPrimary(userId: UserId): boolean {
  return userId.certification?.signature.isPrimaryUserId === true && !isRevoked(userId);
}

function certifiedAt(userId: UserId): number {
  return isRevoked(userId) ? 0 : (userId.certification?.signature.createdAt.getTime() ?? 0);
}

/** A key whose user IDs are all revoked is as good as revoked: gpg no longer verifies with it. */
function revokedAt({ revocation, userIds }: CertificateFacts): Date | null {
  if (revocation !== null) return revocation.signature.createdAt;
  const certified = userIds.filter(({ certification }) => certification !== null);
  if (!certified.every(isRevoked)) return null;
  const times = certified.map((userId) => userId.revocation?.signature.createdAt.getTime() ?? 0);
  return new Date(Math.max(...times));
}

/** Null for a subkey that is revoked but not bound: nobody knows what it was for. */
function describeSubkey({ key, binding, revocation }: Subkey): KeyPart | null {
  if (binding === null) return null;
  const { signature } = binding;
  const expiresAt = earliest(laterBy(key.createdAt, signature.keyExpiresSeconds), endOf(binding));
  const state = { expiresAt, maySign: saysSign(signature) };
  return describePart(key, state, revocation?.signature.createdAt ?? null);
}

function describePart(
  { fingerprint, algorithm, createdAt }: PublicKey,
  { expiresAt, maySign }: KeyState,
  revokedAt: Date | null,
): KeyPart {
  return { fingerprint, algorithm, canSign: maySign, createdAt, expiresAt, revokedAt };
}

/** The bytes may be hostile: whatever is not UTF-8 becomes U+FFFD. */
function decode(body: Uint8Array): string {
  return new TextDecoder('utf-8', { ignoreBOM: true }).decode(body);
}

function earliest(one: Date | null, other: Date | null): Date | null {
  if (one === null || other === null) return one ?? other;
  return one < other ? one : other;
}
