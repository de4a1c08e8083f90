// What each state means to the one who looks, and what to do about it.
import type { StoredSignature } from '../../domain/stored-signature.ts';
import type { ShownState } from '../show.ts';

const MEANINGS: Readonly<Record<ShownState, string>> = {
  verified: 'Good, by a registered key that is valid now.',
  unverified: 'Not verified yet. Load the page again in a moment.',
  'unknown-key':
    'The key that made it is not registered here, so nothing is known about it. A client that has the key may accept it.',
  unsupported: 'This server does not verify signatures of this kind.',
  bad: 'It does not verify: clients refuse it.',
  unreadable: 'It is not exactly one signed message: most clients refuse it, and stop there.',
  expired: 'It was good, and has expired: clients refuse it.',
  'key-expired':
    'It was good, but its key has expired: clients refuse it until the key is extended, or the image is signed by another key.',
  'key-revoked':
    'It was good, but its key was revoked: clients that have the revocation refuse it. Sign the image with another key.',
  withdrawn: 'It was withdrawn: clients do not get it.',
};

/** A sentence or two for one signature. */
export function whyOf({
  state,
  reason,
  expiresAt,
}: Pick<StoredSignature, 'state' | 'reason' | 'expiresAt'>): string {
  // of an unknown key there is one reason alone, which the sentence says already
  const because = reason === null || state === 'unknown-key' ? '' : ` Reason: ${reason}.`;
  const until =
    state === 'expired' && expiresAt !== null ? ` It ended ${expiresAt.toISOString().slice(0, 10)}.` : '';
  return `${MEANINGS[state]}${because}${until}`;
}

export interface Verdict {
  readonly kind: 'good' | 'wrong' | 'open';
  readonly title: string;
  readonly advice: string;
}

/** What the signatures together mean for somebody who pulls the image. */
export function verdictOn(signatures: readonly StoredSignature[]): Verdict {
  const states = new Set(signatures.map(({ state }) => state));
  const good = signatures.filter(({ state }) => state === 'verified');
  if (good.length > 0) {
    const names = [...new Set(good.flatMap(({ dockerReference }) => dockerReference ?? []))];
    return {
      kind: 'good',
      title: 'A client that trusts one of the verified keys below accepts this image.',
      advice: `It must be pulled under a name that a signature says: ${names.join(', ')}. A client that still refuses it trusts other keys, or looks elsewhere: run lookaside doctor on it.`,
    };
  }
  if (states.size === 0) {
    return {
      kind: 'wrong',
      title: 'Clients that want a signature refuse this image: none is stored.',
      advice:
        'Sign it, and send the signature with lookaside push. If it was withdrawn, the reason stands below.',
    };
  }
  const isOpen = [...states].every(
    (one) => one === 'unverified' || one === 'unknown-key' || one === 'unsupported',
  );
  return {
    kind: isOpen ? 'open' : 'wrong',
    title: isOpen
      ? 'This server vouches for none of the signatures: a client decides by the keys that it has.'
      : states.has('key-revoked')
        ? 'Clients that know of the revocation refuse this image: none of its signatures is good today.'
        : 'Clients refuse this image: none of its signatures is good today.',
    advice: adviceFor(states),
  };
}

function adviceFor(states: ReadonlySet<string>): string {
  if (states.has('key-revoked'))
    return 'The signing key was revoked: sign the image again with a key that is in force, and push that signature. Clients learn of a revocation with the key’s file: give them the new one, or take the key out of their policies.';
  if (states.has('key-expired'))
    return 'The signing key has expired: extend it and add it here again (lookaside key add), or sign the image with another key.';
  if (states.has('expired')) return 'The signature itself has expired: sign the image again.';
  if (states.has('unknown-key'))
    return 'If the key below is one of yours, register it with: lookaside key add FILE. Its signatures are then verified within seconds.';
  if (states.has('unverified')) return 'Verification is under way: load this page again in a moment.';
  return 'Withdraw what is wrong, and sign the image again.';
}
