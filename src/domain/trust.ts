// Who signed the images of a repository, and who may: what `docker trust inspect` told of Docker Content Trust.
import type { Grant, Signer } from './grant.ts';
import type { KeyState, ShownKey } from './key.ts';
import { matchesRepository } from './pattern.ts';
import { parseReference } from './reference.ts';
import type { State } from './state.ts';
import type { StoredSignature } from './stored-signature.ts';

export interface TrustKey {
  /** 40 upper-case hex digits, of the primary key. */
  readonly fingerprint: string;
  /** The last 16 digits of the fingerprint. */
  readonly keyId: string;
  /** The first one. Hostile text: escape where shown. Null: it has none, or the key is no longer registered. */
  readonly userId: string | null;
}

export interface TrustedSignature extends TrustKey {
  readonly state: State;
  /** Names of the signers that have a grant for the repository and this key. */
  readonly signers: readonly string[];
}

/** One image under one claimed tag. */
export interface SignedTag {
  readonly site: string;
  /** What the signatures claim; null: their reference has no tag. */
  readonly tag: string | null;
  readonly digest: string;
  readonly signatures: readonly TrustedSignature[];
}

export interface TrustedSigner {
  readonly name: string;
  readonly isDisabled: boolean;
  /** Null: the key of the grant is no longer registered. */
  readonly keys: readonly (TrustKey & { readonly state: KeyState | null })[];
}

export interface Trust {
  readonly repository: string;
  readonly signed: readonly SignedTag[];
  readonly signers: readonly TrustedSigner[];
}

export interface TrustFacts {
  readonly repository: string;
  readonly signatures: readonly StoredSignature[];
  readonly keys: readonly ShownKey[];
  readonly signers: readonly Signer[];
  readonly grants: readonly Grant[];
}

/** Signatures that nobody vouches for, as they did not verify, are left out: they claim nothing. */
export function trustOf({ repository, signatures, keys, signers, grants }: TrustFacts): Trust {
  const known = new Map(keys.map((key) => [key.fingerprint, key]));
  const covering = grants.filter(({ repositories }) =>
    repositories.some((pattern) => matchesRepository(pattern, repository)),
  );
  const tags = new Map<string, SignedTag & { signatures: TrustedSignature[] }>();
  for (const { site, fingerprint, manifestDigest: digest, dockerReference, state } of signatures) {
    if (fingerprint === null || digest === null) continue;
    const tag = dockerReference === null ? null : (parseReference(dockerReference)?.tag ?? null);
    const id = `${site} ${digest} ${tag ?? ''}`;
    const one = tags.get(id) ?? { site, tag, digest, signatures: [] };
    tags.set(id, one);
    const by = covering.filter(({ fingerprints }) => fingerprints.includes(fingerprint));
    const names = [...new Set(by.map(({ signer }) => signer))].sort();
    one.signatures.push({ ...keyOf(fingerprint, known), state, signers: names });
  }
  return { repository, signed: [...tags.values()], signers: signers.flatMap(trustedSigner) };

  function trustedSigner({ name, disabledAt }: Signer): readonly TrustedSigner[] {
    const own = covering.filter(({ signer }) => signer === name);
    if (own.length === 0) return [];
    const fingerprints = [...new Set(own.flatMap((grant) => grant.fingerprints))].sort();
    const ofSigner = fingerprints.map((fingerprint) => {
      return { ...keyOf(fingerprint, known), state: known.get(fingerprint)?.state ?? null };
    });
    return [{ name, isDisabled: disabledAt !== null, keys: ofSigner }];
  }
}

function keyOf(fingerprint: string, known: ReadonlyMap<string, ShownKey>): TrustKey {
  const userId = known.get(fingerprint)?.userIds[0] ?? null;
  return { fingerprint, keyId: fingerprint.slice(-16), userId };
}
