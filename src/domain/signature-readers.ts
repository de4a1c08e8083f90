// Which clients decide otherwise about a signature than its state says. The state is what podman, skopeo and CRI-O that verify by
// GnuPG decide now; how the others decide was tried: docs/clients-and-keys.md, keep in sync.
import type { ImageId } from './image.ts';
import type { KeyPart, KeyPartUse, KeyWarning, RegisteredKey } from './key.ts';
import type { IndexedSignature } from './ports.ts';
import { tagOf } from './reference.ts';
import { readerWarnings } from './release-readers.ts';
import type { State } from './state.ts';

/**
 * `sequoia`: built with Sequoia, as in Fedora 43 and newer. `go-before-2026-07`: pure Go, over golang.org/x/crypto;
 * `go-since-2026-07`: over ProtonMail's go-crypto. `before-2025-08`: every podman, skopeo and CRI-O from before August 2025.
 * `openshift`: the cluster-version operator and oc-mirror, of the release layout alone. `flatpak`: 1.17.1 and newer, of the
 * repository layout alone.
 */
export const SIGNATURE_READERS = [
  'sequoia',
  'go-before-2026-07',
  'go-since-2026-07',
  'before-2025-08',
  'openshift',
  'flatpak',
] as const;
export type SignatureReaderName = (typeof SIGNATURE_READERS)[number];

export interface ReaderDifference {
  readonly reader: SignatureReaderName;
  /** Null: it may be either. */
  readonly accepts: boolean | null;
  /** In words, to be read behind "because". */
  readonly because: string;
}

export interface JudgedSignature
  extends Pick<
    IndexedSignature,
    'verdict' | 'form' | 'signedAt' | 'signingFingerprint' | 'dockerReference' | 'traits'
  > {
  readonly image: Pick<ImageId, 'layout'>;
  /** The number under which clients get it. */
  readonly number: number;
  readonly state: State;
  /** Null when it is not registered. */
  readonly key: RegisteredKey | null;
}

/** What the key's certificate says; each costs a reading of it. */
export interface AboutKey {
  warnings(): readonly KeyWarning[];
  uses(): readonly KeyPartUse[];
}

type Decision = Omit<ReaderDifference, 'reader'> | null;

/** Empty when all decide as the state says. */
export function readerDifferences(signature: JudgedSignature, about: AboutKey): readonly ReaderDifference[] {
  const { verdict, state, form, key } = signature;
  if (state === 'unsupported' && form !== 'cosign')
    return (['sequoia', 'go-since-2026-07'] as const).map(newer);
  if (verdict !== 'good' || key === null || state === 'expired') return [];
  // what an administrator alone has said changes no client: each has the certificate that it has
  if (state === 'key-revoked' && key.revocation?.isInCertificate === false) return [];
  const accepted = state === 'verified';
  return SIGNATURE_READERS.flatMap((reader) => {
    const decision = decide(reader, { ...signature, key }, about);
    if (decision === null || decision.accepts === accepted) return [];
    return [{ reader, ...decision }];
  });
}

function newer(reader: SignatureReaderName): ReaderDifference {
  return {
    reader,
    accepts: null,
    because: 'newer ones read version 6 and post-quantum signatures, which nothing here can verify',
  };
}

type Known = JudgedSignature & { readonly key: RegisteredKey };

/** Null: as GnuPG decides. */
function decide(reader: SignatureReaderName, signature: Known, about: AboutKey): Decision {
  switch (reader) {
    case 'sequoia':
      return bySequoia(signature, about);
    case 'go-before-2026-07':
      return byOldGo(signature);
    case 'go-since-2026-07':
      return byNewGo(signature);
    case 'before-2025-08':
      return isBySubkey(signature)
        ? refuses('a subkey has made it, and they accept the primary key alone')
        : null;
    case 'openshift':
      return byOpenshift(signature);
    case 'flatpak':
      return byFlatpak(signature);
  }
}

/** Sequoia judges the key as it was when it signed. A key that was given up for no fault of its own counts until then. */
function bySequoia(signature: Known, about: AboutKey): Decision {
  const { state, signedAt } = signature;
  const sha1 = about.warnings().find(({ code }) => code === 'BOUND_BY_SHA1');
  if (sha1 !== undefined) return refuses(sha1.message);
  if (signedAt === null || state === 'verified') return null;
  const parts = partsOf(signature);
  const isBefore = (end: Date | null) => end === null || signedAt < end;
  if (!parts.every(({ expiresAt, revokedAt }) => isBefore(expiresAt) && isBefore(revokedAt))) return null;
  const revoked = parts.filter(({ revokedAt }) => revokedAt !== null);
  if (revoked.length === 0)
    return accepts('the key had not expired when it signed, and that is what they look at');
  const reasons = about.uses();
  const isSoft = ({ fingerprint }: KeyPart) =>
    SOFT_REASONS.includes(reasons.find((use) => use.fingerprint === fingerprint)?.revocationReason ?? '');
  return revoked.every(isSoft)
    ? accepts('the key was revoked later than it signed, and not as compromised')
    : null;
}

/** Words of REVOCATION_REASONS. */
const SOFT_REASONS: readonly string[] = ['superseded', 'no longer used'];

function byOldGo(signature: Known): Decision {
  const { state, key, form } = signature;
  const unknown = [key, ...key.subkeys].find(({ algorithm }) => !/^(?:rsa|dsa|elg|nistp)/.test(algorithm));
  if (unknown !== undefined)
    return refuses(`the key is or holds ${unknown.algorithm}, which they do not know`);
  return (
    goDecision(signature) ??
    (state === 'key-expired' && form !== 'tagged-cleartext'
      ? accepts('they do not look at when a key expires')
      : null)
  );
}

function byNewGo(signature: Known): Decision {
  if (signature.traits?.obstacles.includes('version-3') === true)
    return refuses('it is of version 3, and they read version 4 alone');
  return goDecision(signature);
}

/** What both have in common. */
function goDecision({ state, form, traits }: Known): Decision {
  if (form === 'tagged-cleartext') return refuses('it is clear-signed, which they do not read');
  if (state !== 'verified' || traits?.obstacles.includes('wrapping') !== true) return null;
  return {
    accepts: null,
    because: 'it has parts around the signature that gpg does not write, at which some of them stop',
  };
}

function byOpenshift(signature: Known): Decision {
  const { image, number, state, key, form, traits, signingFingerprint } = signature;
  if (image.layout !== 'release') return null;
  if (form !== 'binary') return refuses('they read binary signatures alone');
  if (traits?.obstacles.includes('payload') === true)
    return refuses('its payload has members that they do not take');
  const warnings = readerWarnings({ image, number, signingFingerprint, key });
  const unread = warnings.find(({ code }) => code !== 'NOT_THE_FIRST') ?? warnings[0];
  if (unread !== undefined) {
    return unread.code === 'NOT_THE_FIRST'
      ? { accepts: state === 'key-revoked' ? false : null, because: unread.message }
      : refuses(unread.message);
  }
  return state === 'key-expired' ? accepts('they do not look at when a key expires') : null;
}

/** Flatpak compares names without their tags, and its pattern of a tag has no dot (common/flatpak-oci-signatures.c, TAG). */
function byFlatpak({ image, dockerReference }: Known): Decision {
  const tag = image.layout === 'repository' && dockerReference !== null ? tagOf(dockerReference) : null;
  if (tag === null || !tag.includes('.')) return null;
  return refuses(
    `it takes the tag ${tag}, which has a dot, for a part of the name. For Flatpak, sign a name without a tag or with one without a dot`,
  );
}

function isBySubkey({ key, signingFingerprint }: Known): boolean {
  return signingFingerprint !== null && signingFingerprint !== key.fingerprint;
}

/** The key, and the subkey that signed. */
function partsOf({ key, signingFingerprint }: Known): readonly KeyPart[] {
  return [key, ...key.subkeys.filter(({ fingerprint }) => fingerprint === signingFingerprint)];
}

function accepts(because: string): Decision {
  return { accepts: true, because };
}

function refuses(because: string): Decision {
  return { accepts: false, because };
}

/** For people. */
export function textOfDifference({ reader, accepts: isAccepted, because }: ReaderDifference): string {
  const readers = READERS_TEXT[reader] ?? reader;
  const isOne = readers === 'Flatpak';
  const does =
    isAccepted === null
      ? 'may decide otherwise'
      : `${isAccepted ? 'accept' : 'refuse'}${isOne ? 's' : ''} it`;
  return `${readers} ${does}, because ${because}`;
}

const READERS_TEXT: Readonly<Partial<Record<string, string>>> = {
  sequoia: 'clients built with Sequoia',
  'go-before-2026-07': 'clients of pure Go from before July 2026',
  'go-since-2026-07': 'clients of pure Go since July 2026',
  'before-2025-08': 'clients from before August 2025',
  openshift: "OpenShift's readers",
  flatpak: 'Flatpak',
} satisfies Record<SignatureReaderName, string>;
