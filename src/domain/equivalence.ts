// When one signature makes another needless: it must be at least as good for every reader that clients are built with.
import type { IndexedSignature } from './ports.ts';
import type { Obstacle, SignatureForm } from './verdict.ts';

/** The facts by which readers judge a good signature. */
export type Judged = Pick<
  IndexedSignature,
  'fingerprint' | 'signingFingerprint' | 'dockerReference' | 'form' | 'expiresAt' | 'traits'
>;

/**
 * Whether every reader that accepts `other` accepts `one` as well, now and later. Both are good signatures of the same
 * manifest. A signature whose traits are unknown stands in for no other.
 */
export function standsInFor(one: Judged, other: Judged): boolean {
  return (
    saysTheSame(one, other) &&
    // clients before August 2025 accept only primary keys, and a subkey can be revoked by itself
    one.signingFingerprint === other.signingFingerprint &&
    lastsAsLong(one.expiresAt, other.expiresAt) &&
    isReadAsWidely(one, other)
  );
}

/** Whether the same primary key vouches for the same name. */
export function saysTheSame(one: Judged, other: Judged): boolean {
  return (
    one.fingerprint !== null &&
    one.fingerprint === other.fingerprint &&
    one.dockerReference === other.dockerReference
  );
}

/** Whether both are the same signature, even with different bytes: anybody can change the unsigned bytes. */
export function isSameSignature(one: Judged, other: Judged): boolean {
  return one.traits !== null && one.traits.signedSha256 === other.traits?.signedSha256;
}

/** Null means for ever. */
function lastsAsLong(one: Date | null, other: Date | null): boolean {
  return one === null || (other !== null && one >= other);
}

function isReadAsWidely(one: Judged, other: Judged): boolean {
  if (one.traits === null || other.traits === null) return false;
  const allowed = new Set(obstaclesOf(other.form, other.traits.obstacles));
  return (
    one.traits.digestBits >= other.traits.digestBits &&
    obstaclesOf(one.form, one.traits.obstacles).every((obstacle) => allowed.has(obstacle))
  );
}

function obstaclesOf(form: SignatureForm | null, obstacles: readonly Obstacle[]): readonly string[] {
  return form === null || form === 'binary' ? obstacles : [...obstacles, ...FORM_OBSTACLES[form]];
}

/**
 * What keeps some readers from a form: OpenShift, Pulp and clients before containers/image 5.22 read only binary ones.
 */
const FORM_OBSTACLES: Readonly<Record<Exclude<SignatureForm, 'binary'>, readonly string[]>> = {
  tagged: ['tag'],
  'tagged-cleartext': ['tag', 'cleartext'],
  cosign: ['tag', 'cosign'],
};
