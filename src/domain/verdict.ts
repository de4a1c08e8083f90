// What verification finds of a signature's bytes, once and for ever.
import type { RefusalCode } from './errors.ts';
import type { Algorithm } from './image.ts';

/** `unverified`: not verified yet, or signed in the future. `unreadable`: no client could verify its structure. */
export const VERDICTS = ['good', 'bad', 'no-key', 'unsupported', 'unreadable', 'unverified'] as const;
export type Verdict = (typeof VERDICTS)[number];

/** How the bytes are wrapped. `tagged…`: NUL, `simple-signing`, line feed, then the message; `cosign`: NUL, `sigstore-json`. */
export const FORMS = ['binary', 'tagged', 'tagged-cleartext', 'cosign'] as const;
export type SignatureForm = (typeof FORMS)[number];

export interface Refusal {
  readonly code: RefusalCode;
  /** What was found, what was expected, what to do. */
  readonly message: string;
}

/** What the payload says. Believed only beside the verdict `good`. */
export interface Claim {
  readonly algorithm: Algorithm;
  /** Lower case. */
  readonly hex: string;
  /** As written. */
  readonly dockerReference: string;
  readonly creator: string | null;
}

/**
 * What keeps some readers from a good signature: `version-3` (Go after July 2026 reads version 4 alone), `text` (line
 * endings are converted by some), `wrapping` (unsigned parts that gpg does not write, at which Go's reader stops), `payload`
 * (members that OpenShift or Pulp refuse).
 */
export const OBSTACLES = ['version-3', 'text', 'wrapping', 'payload'] as const;
export type Obstacle = (typeof OBSTACLES)[number];

/** What tells good signatures of one claim apart for their readers. */
export interface Traits {
  /** SHA-256, in hex, over the key and what it has signed. Anybody can change the other bytes of a signature. */
  readonly signedSha256: string;
  /** Of the hash that was signed. */
  readonly digestBits: number;
  readonly obstacles: readonly Obstacle[];
}

export interface Judgement {
  readonly verdict: Verdict;
  /**
   * Why an upload of it is refused now; null when nothing stands against it. Not null beside `good` too: a key or a
   * signature that has expired since, a form that some clients cannot read.
   */
  readonly refusal: Refusal | null;
  /** Null when the bytes are of none. */
  readonly form: SignatureForm | null;
  /** Which key the signature names: a fingerprint (40 or 64) or key ID (16), upper-case hex; nobody vouches for it. */
  readonly issuer: string | null;
  /** Of the primary key that made it, 40 upper-case hex digits; null unless `good`. */
  readonly fingerprint: string | null;
  /** Of the key or subkey that made it; null unless `good`. */
  readonly signingFingerprint: string | null;
  /** Null unless `good`. */
  readonly signedAt: Date | null;
  /** When the signature itself expires; null = never, or not `good`. */
  readonly expiresAt: Date | null;
  /** Null unless `good`. */
  readonly claim: Claim | null;
  /** Null unless `good`. */
  readonly traits: Traits | null;
  /** When an `unverified` one is worth another look: it was signed in the future. Null for all others. */
  readonly judgeAgainAt: Date | null;
}
