// When a key ends by itself: the day from which clients refuse what it, or one of its signing subkeys, has signed.
import type { KeyPart, KeyState } from './key.ts';

const DAY_MS = 86_400_000;

/** How many days ahead people are warned. */
export const WARNED_DAYS = [30, 7, 1] as const;

/** The part of a key that ends first: the primary key or a subkey that signs. */
export interface NextEnd {
  /** 40 upper-case hex digits, of the part. */
  readonly fingerprint: string;
  readonly isSubkey: boolean;
  readonly at: Date;
}

interface KeyWithSubkeys extends KeyPart {
  readonly subkeys: readonly KeyPart[];
}

/** Null: it never ends by itself, or it is expired or revoked already. */
export function nextEnd(key: KeyWithSubkeys, now: Date): NextEnd | null {
  if (keyState(key, now) !== 'valid') return null;
  const parts = [key, ...key.subkeys.filter(({ canSign }) => canSign)];
  const [first] = parts
    .filter((part) => keyState(part, now) === 'valid')
    .flatMap((part) => (part.expiresAt === null ? [] : [{ ...part, at: part.expiresAt }]))
    .sort((one, other) => one.at.getTime() - other.at.getTime());
  if (first === undefined) return null;
  const { fingerprint, at } = first;
  return { fingerprint, isSubkey: fingerprint !== key.fingerprint, at };
}

/** Those of which a part ends within that time, in their order. Keys that have ended already are not among them. */
export function endingWithin<Key extends KeyWithSubkeys>(
  keys: readonly Key[],
  { withinMs, now }: { readonly withinMs: number; readonly now: Date },
): readonly Key[] {
  return keys.filter((key) => {
    const end = nextEnd(key, now);
    return end !== null && end.at.getTime() - now.getTime() <= withinMs;
  });
}

/** For each of WARNED_DAYS: how many keys end within it. A key that ends within 1 day is counted three times. */
export function countEnding(keys: readonly KeyWithSubkeys[], now: Date) {
  return WARNED_DAYS.map((days) => {
    return { days, count: endingWithin(keys, { withinMs: days * DAY_MS, now }).length };
  });
}

/** Whole days until then, rounded down. */
export function daysUntil(at: Date, now: Date): number {
  return Math.floor((at.getTime() - now.getTime()) / DAY_MS);
}

/** For people, of the part alone. */
export function keyState({ revokedAt, expiresAt }: KeyPart, now: Date): KeyState {
  if (revokedAt !== null) return 'revoked';
  return expiresAt !== null && expiresAt.getTime() <= now.getTime() ? 'expired' : 'valid';
}
