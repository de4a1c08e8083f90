// What a certificate's own statements mean for its keys over time, read as gpg reads them: may they sign, and until when.
import { CLOCK_LEAD_MS } from '../domain/limits.ts';
import {
  byAge,
  type CertificateFacts,
  type Statement,
  type Subkey,
  saysSign,
  type UserId,
} from './certificate-facts.ts';
import type { PublicKey } from './public-key.ts';
import type { ReadSignature } from './signature-packet.ts';

export interface KeyState {
  /** Null = never. */
  readonly expiresAt: Date | null;
  readonly maySign: boolean;
}

/** Null when no user ID vouches for the key at that time: gpg then does not verify with it. */
export function primaryStateAt(facts: CertificateFacts, now: Date): KeyState | null {
  return stateBy(
    facts.key,
    speakersOf(facts, (statement) => holdsAt(statement, now)),
  );
}

/**
 * The state now; when nothing vouches for the key any more, the last state that its statements gave. The key expires at
 * the earlier of two times: when its statements say so, or when the certification of its last user ID ends.
 */
export function describedState(facts: CertificateFacts, now: Date): KeyState {
  const start = primaryStateAt(facts, now) === null ? new Date(0) : now;
  const lasting = (at: Date) => speakersOf(facts, (statement) => !isOver(statement, at));
  return {
    expiresAt: firstExpiry(facts, start, lasting),
    maySign: stateBy(facts.key, lasting(start))?.maySign ?? true,
  };
}

/** When a statement ends, others decide, so each stretch of time between two ends is looked at by itself. */
function firstExpiry(facts: CertificateFacts, start: Date, lasting: (at: Date) => Speakers): Date | null {
  const ends = [facts.direct, ...certificationsOf(facts)]
    .map((statement) => (statement === null ? null : endOf(statement)))
    .filter((end) => end !== null && end > start)
    .sort((one, other) => Number(one) - Number(other));
  let from = start;
  for (const to of [...ends, null]) {
    const state = stateBy(facts.key, lasting(from));
    if (state === null) return from === start ? null : from;
    const { expiresAt } = state;
    if (expiresAt !== null && (to === null || expiresAt <= to)) {
      return from === start || expiresAt > from ? expiresAt : from;
    }
    from = to ?? from;
  }
  return null;
}

/** The state that its newest binding gives; null when that binding is not in force at that time. */
export function subkeyStateAt({ key, binding }: Subkey, now: Date): KeyState | null {
  if (binding === null || !holdsAt(binding, now)) return null;
  const { signature } = binding;
  return { expiresAt: laterBy(key.createdAt, signature.keyExpiresSeconds), maySign: saysSign(signature) };
}

/** A certification that is newer than the revocation takes it back. */
export function isRevoked({ certification, revocation }: UserId): boolean {
  if (certification === null) return true;
  return revocation !== null && revocation.signature.createdAt >= certification.signature.createdAt;
}

/** Whether the signature itself has expired, so that the statement no longer holds. */
export function isOver(statement: Statement, at: Date): boolean {
  const end = endOf(statement);
  return end !== null && end <= at;
}

/** When the signature itself expires; null = never. */
export function endOf({ signature: { createdAt, expiresSeconds } }: Statement): Date | null {
  return laterBy(createdAt, expiresSeconds);
}

/** The end of a period of `seconds`; null = never. */
export function laterBy(start: Date, seconds: number | null): Date | null {
  return seconds === null ? null : new Date(start.getTime() + seconds * 1000);
}

function holdsAt(statement: Statement, now: Date): boolean {
  return statement.signature.createdAt.getTime() <= now.getTime() + CLOCK_LEAD_MS && !isOver(statement, now);
}

/** The statements that decide about the primary key. */
interface Speakers {
  readonly direct: Statement | null;
  /** The certifications of user IDs that are not revoked, the newest first. */
  readonly certifications: readonly Statement[];
}

function speakersOf(facts: CertificateFacts, isHeard: (statement: Statement) => boolean): Speakers {
  const { direct } = facts;
  return {
    direct: direct !== null && isHeard(direct) ? direct : null,
    certifications: certificationsOf(facts).filter(isHeard),
  };
}

function certificationsOf({ userIds }: CertificateFacts): readonly Statement[] {
  return userIds
    .filter((userId) => !isRevoked(userId))
    .flatMap(({ certification }) => certification ?? [])
    .sort(byAge);
}

/**
 * The first statement that mentions a property decides it: the direct-key signature, then the certifications, newest
 * first. When several were made in the same second, the strictest decides. Null without user IDs.
 */
function stateBy({ createdAt }: PublicKey, { direct, certifications }: Speakers): KeyState | null {
  if (certifications.length === 0) return null;
  const ranks = [...(direct === null ? [] : [[direct]]), ...bySecond(certifications)];
  const first = <Said>(say: (signature: ReadSignature) => Said | null): readonly Said[] =>
    ranks
      .map((rank) => rank.map(({ signature }) => say(signature)).filter((said) => said !== null))
      .find(({ length }) => length > 0) ?? [];
  const lives = first(({ keyExpiresSeconds }) => keyExpiresSeconds);
  return {
    expiresAt: lives.length === 0 ? null : laterBy(createdAt, Math.min(...lives)),
    // without flags a primary key may do everything
    maySign: first((signature) => (signature.keyFlags === null ? null : saysSign(signature))).every(Boolean),
  };
}

/** Statements of the same second together; their order is kept. */
function bySecond(statements: readonly Statement[]): readonly (readonly Statement[])[] {
  const seconds = new Map<number, Statement[]>();
  for (const statement of statements) {
    const second = statement.signature.createdAt.getTime();
    seconds.set(second, [...(seconds.get(second) ?? []), statement]);
  }
  return [...seconds.values()];
}
