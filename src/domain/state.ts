// State: the verdict combined with the key as it is now. It is computed at each request and never stored.
import type { RegisteredKey } from './key.ts';
import type { Judgement, Verdict } from './verdict.ts';

export const STATES = [
  'verified',
  'unverified',
  'unknown-key',
  'unsupported',
  'bad',
  'unreadable',
  'expired',
  'key-expired',
  'key-revoked',
] as const;
export type State = (typeof STATES)[number];

type Judged = Pick<Judgement, 'verdict' | 'signingFingerprint' | 'expiresAt'>;

/** `key`: the registered key that made it; null when it is no longer registered. Clients judge by the key as it is now. */
export function stateOf(judged: Judged, key: RegisteredKey | null, now: Date): State {
  if (judged.verdict === 'no-key') return 'unknown-key';
  if (judged.verdict !== 'good') return judged.verdict;
  if (key === null) return 'unknown-key';
  const parts = [key, ...key.subkeys.filter(({ fingerprint }) => fingerprint === judged.signingFingerprint)];
  if (parts.some(({ revokedAt }) => revokedAt !== null)) return 'key-revoked';
  if (parts.some(({ expiresAt }) => isPast(expiresAt, now))) return 'key-expired';
  return isPast(judged.expiresAt, now) ? 'expired' : 'verified';
}

/** The verdict that all signatures of that state have; null when they have one of several. */
export function verdictOf(state: State): Verdict | null {
  switch (state) {
    case 'unverified':
    case 'unsupported':
    case 'bad':
    case 'unreadable':
      return state;
    case 'unknown-key': // also good ones whose key was removed, until they are judged again
      return null;
    default:
      return 'good';
  }
}

function isPast(at: Date | null, now: Date): boolean {
  return at !== null && at.getTime() <= now.getTime();
}
