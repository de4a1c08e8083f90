// What verification finds about a signature's bytes, once and for ever.
import type { RefusalCode } from './errors.ts';
import type { Algorithm } from './image.ts';

/** `unverified`: not verified yet, or signed in the future. `unreadable`: no client could verify its structure. */
const VERDICTS = ['good', 'bad', 'no-key', 'unsupported', 'unreadable', 'unverified'] as const;
export type Verdict = (typeof VERDICTS)[number];

/** How the bytes are wrapped. `tagged…`: NUL, `simple-signing`, line feed, then the message; `cosign`: NUL, `sigstore-json`. */
export const FORMS = ['binary', 'tagged', 'tagged-cleartext', 'cosign'] as const;
export type SignatureForm = (typeof FORMS)[number];

export interface Refusal {
  readonly code: RefusalCode;
  /** What was found, what was expected, what to do. */
  readonly message: string;
}

/** What the payload says. Trust it only with the verdict `good`. */
export interface Claim {
  readonly algorithm: Algorithm;
  /** Lower case. */
  readonly hex: string;
  /** As written. */
  readonly dockerReference: string;
  readonly creator: string | null;
}

/**
 * What keeps some readers from a good signature:
 * - `version-3`: Go after July 2026 reads only version 4
 * - `text`: some readers convert line endings
 * - `wrapping`: unsigned parts that gpg does not write, at which Go's reader stops
 * - `payload`: members that OpenShift or Pulp refuse
 */
export const OBSTACLES = ['version-3', 'text', 'wrapping', 'payload'] as const;
export type Obstacle = (typeof OBSTACLES)[number];

/** How good signatures of one claim differ for their readers. */
export interface Traits {
  /** SHA-256, in hex, over the key and the signed content. Anybody can change the other bytes of a signature. */
  readonly signedSha256: string;
  /** Length of the signed hash. */
  readonly digestBits: number;
  readonly obstacles: readonly Obstacle[];
}

export interface Judgement {
  readonly verdict: Verdict;
  /**
   * Why an upload of it is refused now; null when there is no reason. It can be set with `good` too: for a key or a signature
   * that has expired since, or a form that some clients cannot read.
   */
  readonly refusal: Refusal | null;
  /** Null when the bytes have no known form. */
  readonly form: SignatureForm | null;
  /** Which key the signature names: a fingerprint (40 or 64) or key ID (16), upper-case hex. Nothing proves it. */
  readonly issuer: string | null;
  /** Fingerprint of the primary key that made it, 40 upper-case hex digits; null unless `good`. */
  readonly fingerprint: string | null;
  /**
   * Fingerprint of the primary key that made a signature which is `bad` for what the key is now: revoked, expired or without
   * the right to sign. Left out of all others; it is not stored.
   */
  readonly refusedSigner?: string;
  /** Fingerprint of the key or subkey that made it; null unless `good`. */
  readonly signingFingerprint: string | null;
  /** Null unless `good`. */
  readonly signedAt: Date | null;
  /** When the signature itself expires; null = never, or not `good`. */
  readonly expiresAt: Date | null;
  /** Null unless `good`. */
  readonly claim: Claim | null;
  /** Null unless `good`. */
  readonly traits: Traits | null;
  /** When to judge an `unverified` signature again that was signed in the future. Null for all others. */
  readonly judgeAgainAt: Date | null;
}
