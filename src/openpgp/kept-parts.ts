// What is kept of a certificate and the keyring's copy of it: of signatures that exclude each other one wins by its
// own content alone, so that the order in which copies came makes no difference.
import { takeApart, type UntrustedCertificate, type UntrustedPart } from './certificate-parts.ts';
import { type PublicKey, parsePublicKey } from './public-key.ts';
import {
  BACK_SIGNATURE,
  type Budget,
  CERTIFICATION_REVOCATION,
  CERTIFICATIONS,
  DIRECT_KEY,
  type Glance,
  glanceAt,
  hashedKey,
  hashedUserId,
  isMadeBy,
  KEY_REVOCATION,
  mayBeMadeBy,
  namesKey,
  parseSignature,
  type SignedPart,
  SUBKEY_BINDING,
  SUBKEY_REVOCATION,
  signedPart,
  type UntrustedSignature,
  writeSignature,
} from './self-signatures.ts';

interface MergedPart extends Signatures {
  readonly body: Uint8Array;
}

export interface Merged {
  readonly primary: MergedPart;
  readonly userIds: readonly MergedPart[];
  readonly subkeys: readonly MergedPart[];
}

export function merge(untrusted: UntrustedCertificate, registered: Uint8Array | undefined): Merged {
  const [copy] = registered === undefined ? [] : takeApart(registered);
  const known = copy?.kind === 'certificate' ? copy : null;
  return {
    primary: mergePart(untrusted.primary, known?.primary),
    userIds: mergeParts(untrusted.userIds, known?.userIds),
    subkeys: mergeParts(untrusted.subkeys, known?.subkeys),
  };
}

type Parts = ReadonlyMap<string, UntrustedPart>;

function mergeParts(fresh: Parts, known: Parts = new Map()): readonly MergedPart[] {
  const names = new Set([...known.keys(), ...fresh.keys()]);
  return [...names].flatMap((name) => {
    const part = fresh.get(name) ?? known.get(name);
    return part === undefined ? [] : [mergePart(fresh.get(name), known.get(name), part.body)];
  });
}

function mergePart(
  fresh: UntrustedPart | undefined,
  known: UntrustedPart | undefined,
  body = fresh?.body ?? new Uint8Array(),
): MergedPart {
  return { body, fresh: fresh?.signatures ?? [], known: known?.signatures ?? [] };
}

export interface Vouched {
  readonly signature: UntrustedSignature;
  /** As it is written. */
  readonly bytes: Uint8Array;
}

export interface UserId {
  readonly body: Uint8Array;
  /** Null beside a revocation alone, which is kept for the day when its certification turns up. */
  readonly certification: Vouched | null;
  readonly revocation: Vouched | null;
}

export interface Subkey {
  readonly key: PublicKey;
  readonly binding: Binding | null;
  readonly revocation: Vouched | null;
}

export interface Binding extends Vouched {
  readonly canSign: boolean;
}

export interface Kept {
  readonly primary: PublicKey;
  readonly revocation: Vouched | null;
  readonly direct: Vouched | null;
  readonly userIds: readonly UserId[];
  readonly subkeys: readonly Subkey[];
}

export interface Limits {
  /** Seconds since 1970; what was signed after it is not believed yet. */
  readonly latest: number;
  readonly budget: Budget;
}

export function keep(primary: PublicKey, merged: Merged, limits: Limits): Kept {
  const { budget } = limits;
  const key = signedPart(hashedKey(primary.body));
  const own = candidates(merged.primary, { key: primary, part: key, budget });
  return {
    primary,
    revocation: find(own, { types: KEY_REVOCATIONS, order: byGravity, key: primary, part: key, budget }),
    direct: find(believable(own, primary, limits), {
      types: DIRECT,
      order: byAge,
      key: primary,
      part: key,
      budget,
    }),
    userIds: merged.userIds.flatMap((part) => keepUserId(primary, part, limits) ?? []),
    subkeys: merged.subkeys
      .flatMap((part) => keepSubkey(primary, part, limits) ?? [])
      .sort((one, other) => compareText(one.key.fingerprint, other.key.fingerprint))
      .sort((one, other) => one.key.createdAt - other.key.createdAt),
  };
}

const KEY_REVOCATIONS: ReadonlySet<number> = new Set([KEY_REVOCATION]);
const DIRECT: ReadonlySet<number> = new Set([DIRECT_KEY]);
const USER_ID_REVOCATIONS: ReadonlySet<number> = new Set([CERTIFICATION_REVOCATION]);
const SUBKEY_REVOCATIONS: ReadonlySet<number> = new Set([SUBKEY_REVOCATION]);

/** Null when the key does not vouch for it. */
function keepUserId(primary: PublicKey, part: MergedPart, limits: Limits): UserId | null {
  const signed = signedPart([...hashedKey(primary.body), ...hashedUserId(part.body)]);
  const maker = { key: primary, part: signed, budget: limits.budget };
  const own = candidates(part, maker);
  const search = { ...maker, order: byAge };
  const certification = find(believable(own, primary, limits), { ...search, types: CERTIFICATIONS });
  const revocation = find(own, { ...search, types: USER_ID_REVOCATIONS });
  return certification === null && revocation === null
    ? null
    : { body: part.body, certification, revocation };
}

/** Null when the key does not vouch for it, or we do not take its kind. */
function keepSubkey(primary: PublicKey, part: MergedPart, limits: Limits): Subkey | null {
  const signed = signedPart([...hashedKey(primary.body), ...hashedKey(part.body)]);
  const maker = { key: primary, part: signed, budget: limits.budget };
  const own = candidates(part, maker);
  if (own.length === 0) return null;
  const subkey = parsePublicKey(part.body);
  if ('why' in subkey) return null;
  const binding = findBinding(believable(own, primary, limits), { primary, subkey, signed, limits });
  const revocation = find(own, { ...maker, types: SUBKEY_REVOCATIONS, order: byGravity });
  return binding === null && revocation === null ? null : { key: subkey, binding, revocation };
}

interface Candidate {
  readonly signature: UntrustedSignature;
  readonly isKnown: boolean;
}

interface Maker {
  readonly key: PublicKey;
  readonly part: SignedPart;
  readonly budget: Budget;
}

/** What the key may have signed of the part, as far as one hash of each tells. */
function candidates({ known, fresh }: Signatures, maker: Maker): readonly Candidate[] {
  const found: Candidate[] = [];
  for (const body of known) addCandidate(found, glanceAt(body), true);
  const seen = new Set<string>();
  for (const body of fresh) {
    const glance = glanceAt(body);
    if (glance === null || !namesKey(glance, maker.key)) continue;
    if (!mayBeMadeBy(maker.key, maker.part, glance)) continue;
    const name = nameOf(glance);
    if (seen.has(name)) continue;
    seen.add(name);
    maker.budget.consider();
    addCandidate(found, glance, false);
  }
  return found;
}

interface Signatures {
  /** From the keyring: they were checked when they were taken. */
  readonly known: readonly Uint8Array[];
  readonly fresh: readonly Uint8Array[];
}

function addCandidate(found: Candidate[], glance: Glance | null, isKnown: boolean): void {
  const signature = glance === null ? null : parseSignature(glance);
  if (signature !== null) found.push({ signature, isKnown });
}

/** The same for copies that differ only in what nobody signed. Back-signatures stand there: they make a difference. */
function nameOf({ type, body, headBytes, digestStartAt }: Glance): string {
  const bytes = Buffer.from(body.buffer, body.byteOffset, body.length);
  if (type === SUBKEY_BINDING) return bytes.toString('latin1');
  return bytes.toString('latin1', 0, headBytes) + bytes.toString('latin1', digestStartAt);
}

/** Those that a program may believe. Revocations are not asked: whoever can make one can also revoke. */
function believable(
  own: readonly Candidate[],
  { createdAt }: PublicKey,
  { latest }: Limits,
): readonly Candidate[] {
  return own.filter(({ signature, isKnown }) => {
    if (isKnown) return true; // also when our clock has been set back
    const { glance, isBeyondUs, createdAt: signedAt } = signature;
    return glance.version === 4 && !isBeyondUs && signedAt >= createdAt && signedAt <= latest;
  });
}

type Order = (one: UntrustedSignature, other: UntrustedSignature) => number;

/** The newest first. */
export function byAge(one: UntrustedSignature, other: UntrustedSignature): number {
  return other.createdAt - one.createdAt || Buffer.compare(one.core, other.core);
}

/** Revocations that condemn what was signed before them too first, then the earliest. */
function byGravity(one: UntrustedSignature, other: UntrustedSignature): number {
  return (
    Number(isRetirement(one)) - Number(isRetirement(other)) ||
    one.createdAt - other.createdAt ||
    Buffer.compare(one.core, other.core)
  );
}

/** RFC 9580, section 5.2.3.31: superseded or retired, rather than compromised or without a reason. */
function isRetirement({ facts }: UntrustedSignature): boolean {
  return facts.revocationReason === 1 || facts.revocationReason === 3;
}

interface Search extends Maker {
  readonly types: ReadonlySet<number>;
  readonly order: Order;
}

/** The first in that order that the key did make. */
function find(own: readonly Candidate[], { types, order, key, part, budget }: Search): Vouched | null {
  const inOrder = own
    .filter(({ signature }) => types.has(signature.type))
    .sort((one, other) => order(one.signature, other.signature) || preferKnown(one, other));
  let previous: UntrustedSignature | null = null;
  for (const { signature, isKnown } of inOrder) {
    if (previous?.core.equals(signature.core)) continue;
    if (isKnown || isMadeBy(key, part, signature, budget)) {
      return { signature, bytes: writeSignature(signature, key) };
    }
    previous = signature;
  }
  return null;
}

function preferKnown(one: Candidate, other: Candidate): number {
  return Number(other.isKnown) - Number(one.isKnown);
}

interface BindingSearch {
  readonly primary: PublicKey;
  readonly subkey: PublicKey;
  readonly signed: SignedPart;
  readonly limits: Limits;
}

/**
 * The newest binding of the subkey. One that lets it sign counts only when the subkey has agreed by a back-signature:
 * else anybody could bind the subkey of somebody else and pass off its signatures as his own.
 */
function findBinding(own: readonly Candidate[], search: BindingSearch): Binding | null {
  const { primary, signed, limits } = search;
  for (const variants of variantsOf(own)) {
    const [{ signature }] = variants;
    const isVouched =
      variants.some(({ isKnown }) => isKnown) || isMadeBy(primary, signed, signature, limits.budget);
    if (!isVouched) continue;
    const { keyFlags } = signature.facts;
    const back = maySign(keyFlags) ? findBackSignature(variants, search) : null;
    if (back === null && keyFlags !== null && maySign(keyFlags)) continue;
    return { signature, bytes: writeSignature(signature, primary, back), canSign: back !== null };
  }
  return null;
}

/** Copies of one binding, which may differ in the back-signature that was put beside it; the newest binding first. */
function variantsOf(own: readonly Candidate[]): readonly (readonly [Candidate, ...Candidate[]])[] {
  const groups = new Map<string, [Candidate, ...Candidate[]]>();
  for (const candidate of own) {
    if (candidate.signature.type !== SUBKEY_BINDING) continue;
    const name = candidate.signature.core.toString('latin1');
    const group = groups.get(name);
    if (group === undefined) groups.set(name, [candidate]);
    else group.push(candidate);
  }
  return [...groups.values()].sort(([one], [other]) => byAge(one.signature, other.signature));
}

function findBackSignature(
  variants: readonly Candidate[],
  { subkey, signed, limits }: BindingSearch,
): Uint8Array | null {
  const maker = { key: subkey, part: signed, budget: limits.budget };
  const inside = (isKnown: boolean) =>
    variants.filter((variant) => variant.isKnown === isKnown).flatMap(({ signature }) => signature.embedded);
  const own = candidates({ known: inside(true), fresh: inside(false) }, maker);
  const search = { ...maker, types: BACK_SIGNATURES, order: byAge };
  return find(believable(own, subkey, limits), search)?.bytes ?? null;
}

const BACK_SIGNATURES: ReadonlySet<number> = new Set([BACK_SIGNATURE]);

/** Key flag 0x02 (RFC 9580, section 5.2.3.29). Without flags gpg goes by the algorithm, and all of ours can sign. */
export function maySign(keyFlags: number | null): boolean {
  return keyFlags === null || (keyFlags & 0x02) !== 0;
}

function compareText(one: string, other: string): number {
  if (one === other) return 0;
  return one < other ? -1 : 1;
}
