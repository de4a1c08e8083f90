// Who vouches for what in a certificate: only this code believes statements in it, for cleaning and for verifying. When
// statements exclude each other, their content alone decides which one wins, never their order or what else is there.
import type { MergedCertificate, MergedPart } from './certificate-parts.ts';
import { bitLength, uint16 } from './fields.ts';
import { type PublicKey, parsePublicKey, type UnusableKey } from './public-key.ts';
import {
  type Budget,
  isLongEnough,
  isMadeBy,
  mayBeMadeBy,
  type SignedData,
  signedKey,
  signedSubkey,
  signedUserId,
} from './signature-check.ts';
import {
  type EmbeddedSignature,
  type ReadSignature,
  readSignaturePacket,
  SIGNATURE_TYPE,
} from './signature-packet.ts';

/** A signature that the key has made. */
export interface Statement {
  readonly signature: ReadSignature;
  /** The body without its unhashed part and with its numbers in normal form: the same for every copy of the signature. */
  readonly core: Uint8Array;
}

export interface CertificateFacts {
  readonly key: PublicKey;
  /** The most serious one: see byGravity(). */
  readonly revocation: Statement | null;
  /** The newest direct-key signature. */
  readonly direct: Statement | null;
  readonly userIds: readonly UserId[];
  /** The oldest first. */
  readonly subkeys: readonly Subkey[];
  /** Subkeys that the key lets sign, but whose kind is not accepted. */
  readonly unusable: readonly UnusableKey[];
  readonly unbound: UnboundParts;
}

/**
 * How many parts no signature of the key that counts binds or revokes. Subkeys of other versions than 4 are not among them:
 * we do not read what binds them.
 */
export interface UnboundParts {
  readonly userIds: number;
  readonly subkeys: number;
}

/** A user ID that the key has certified or revoked. */
export interface UserId {
  readonly body: Uint8Array;
  /** The newest. */
  readonly certification: Statement | null;
  /** The newest. */
  readonly revocation: Statement | null;
}

/** A subkey that the key has bound or revoked, and whose kind can sign. */
export interface Subkey {
  readonly key: PublicKey;
  readonly binding: Binding | null;
  readonly revocation: Statement | null;
}

export interface Binding extends Statement {
  /** The subkey's own signature that it belongs to the key. Never null when the binding lets the subkey sign. */
  readonly backSignature: BackSignature | null;
}

export interface BackSignature extends Statement {
  /** It stands in the hashed part of the binding. */
  readonly isHashed: boolean;
}

export interface Limits {
  /** A statement that was signed after this time is not believed yet, unless it is already registered. */
  readonly latest: Date;
  readonly budget: Budget;
}

/** @throws LookasideError TOO_LARGE when the budget is not enough */
export function readFacts(key: PublicKey, parts: MergedCertificate, limits: Limits): CertificateFacts {
  const maker = { key, data: signedKey(key.body), limits };
  const own = candidatesOf(parts.primary, maker);
  const userIds = parts.userIds.flatMap((part) => readUserId(part, key, limits) ?? []);
  const read = parts.subkeys.map((part) => readSubkey(part, key, limits));
  const subkeys = read.filter((subkey) => typeof subkey !== 'string');
  return {
    key,
    revocation: find(ofType(own, SIGNATURE_TYPE.keyRevocation), maker, byGravity),
    direct: find(believable(ofType(own, SIGNATURE_TYPE.directKey), maker), maker, byAge),
    userIds,
    subkeys: subkeys.filter((subkey): subkey is Subkey => 'binding' in subkey).sort(byMaking),
    unusable: subkeys.filter((subkey): subkey is UnusableKey => 'why' in subkey),
    unbound: {
      userIds: parts.userIds.length - userIds.length + parts.unsigned.userIds,
      subkeys: read.filter((subkey) => subkey === 'unbound').length + parts.unsigned.subkeys,
    },
  };
}

function readUserId(part: MergedPart, key: PublicKey, limits: Limits): UserId | null {
  const maker = { key, data: signedUserId(key.body, part.body), limits };
  const own = candidatesOf(part, maker);
  const certification = find(believable(ofType(own, ...SIGNATURE_TYPE.certification), maker), maker, byAge);
  const revocation = find(ofType(own, SIGNATURE_TYPE.certificationRevocation), maker, byAge);
  if (certification === null && revocation === null) return null;
  return { body: part.body, certification, revocation };
}

/** `no use`: of a kind or version that we do not accept, and the key does not let it sign. */
function readSubkey(
  part: MergedPart,
  primary: PublicKey,
  limits: Limits,
): Subkey | UnusableKey | 'no use' | 'unbound' {
  const unbound = part.body[0] === 4 ? 'unbound' : 'no use';
  const maker = { key: primary, data: signedSubkey(primary.body, part.body), limits };
  const own = candidatesOf(part, maker);
  if (own.length === 0) return unbound;
  const key = parsePublicKey(part.body);
  const bindings = believable(ofType(own, SIGNATURE_TYPE.subkeyBinding), maker);
  const revocations = ofType(own, SIGNATURE_TYPE.subkeyRevocation);
  if ('why' in key) {
    // its back-signature is not checked: we cannot check one by a key of its kind
    const newest = find(bindings, maker, byAge);
    if (newest !== null) return saysSign(newest.signature) ? key : 'no use';
    return find(revocations, maker, byGravity) === null ? unbound : 'no use';
  }
  const binding = findBinding(bindings, maker, { ...maker, key });
  const revocation = find(revocations, maker, byGravity);
  return binding === null && revocation === null ? 'unbound' : { key, binding, revocation };
}

/**
 * The newest. A binding that lets the subkey sign counts only when the subkey has agreed: else anybody could bind
 * somebody else's subkey and pass off its signatures as their own (RFC 9580, section 5.2.1.9).
 */
function findBinding(bindings: readonly Candidate[], maker: Maker, subkey: Maker): Binding | null {
  for (const binding of [...bindings].sort(byAge)) {
    const { signature, core } = binding;
    if (!isVouched(binding, maker)) continue;
    if (!saysSign(signature)) return { signature, core, backSignature: null };
    const backSignature = findBackSignature(binding, subkey);
    if (backSignature !== null) return { signature, core, backSignature };
  }
  return null;
}

function findBackSignature({ embedded, isKnown }: Candidate, subkey: Maker): BackSignature | null {
  const bodies = embedded.map(({ body }) => body);
  const own = candidatesOf(isKnown ? { known: bodies, fresh: [] } : { known: [], fresh: bodies }, subkey);
  const backSignature = find(believable(ofType(own, SIGNATURE_TYPE.backSignature), subkey), subkey, byAge);
  if (backSignature === null) return null;
  const isHashed = embedded.some(({ body, isHashed }) => isHashed && body === backSignature.signature.body);
  return { ...backSignature, isHashed };
}

/** Key flag 0x02 (RFC 9580, section 5.2.3.29). Subkeys need it to sign; a primary key may also sign without any flags. */
export function saysSign({ keyFlags }: ReadSignature): boolean {
  return ((keyFlags ?? 0) & 0x02) !== 0;
}

/**
 * Whether the reason is another than that the key is replaced or retired (RFC 9580, section 5.2.3.31): then everything
 * that the key has signed is in doubt.
 */
export function isHard({ signature: { revocationReason, repeated } }: Statement): boolean {
  return repeated !== null || (revocationReason !== 1 && revocationReason !== 3);
}

/** Whether the issuers that the signature names allow this key. A signature that names none may be by any key. */
export function namesKey({ issuers }: ReadSignature, { fingerprintBytes }: PublicKey): boolean {
  return issuers.every(
    (issuer) =>
      issuer.length > 0 && issuer.every((octet, at) => octet === fingerprintBytes.at(at - issuer.length)),
  );
}

// --- candidates: signatures that the key may have made, before their numbers are checked

interface Maker {
  readonly key: PublicKey;
  readonly data: SignedData;
  readonly limits: Limits;
}

interface Candidate extends Statement {
  /** It was registered before. */
  readonly isKnown: boolean;
  /** From all copies of the signature: their unhashed parts may differ. */
  readonly embedded: EmbeddedSignature[];
}

/** Each signature that the key may have made, once. One hash of each decides. */
function candidatesOf(
  { known, fresh }: Pick<MergedPart, 'known' | 'fresh'>,
  maker: Maker,
): readonly Candidate[] {
  const candidates = new Map<string, Candidate>();
  for (const body of known) addCandidate(candidates, body, true, maker);
  for (const body of fresh) addCandidate(candidates, body, false, maker);
  return [...candidates.values()];
}

function addCandidate(
  candidates: Map<string, Candidate>,
  body: Uint8Array,
  isKnown: boolean,
  { key, data, limits }: Maker,
): void {
  const signature = readSignaturePacket(body);
  if (signature.kind !== 'read' || !namesKey(signature, key) || !mayBeMadeBy(key, data, signature)) return;
  const core = coreOf(signature);
  if (core.length > MAX_CORE_BYTES) return;
  const name = core.toString('latin1');
  const copy = candidates.get(name);
  if (copy !== undefined) {
    copy.embedded.push(...signature.embedded);
    return;
  }
  limits.budget.consider();
  candidates.set(name, { signature, core, isKnown, embedded: [...signature.embedded] });
}

/** With this, a binding with its back-signature inside stays below the MAX_SIGNATURE_PACKET_BYTES that gpg reads. */
const MAX_CORE_BYTES = 8000;
/** The part of a version 3 body that comes before the start of the digest and the numbers. */
const VERSION_3_HEAD_BYTES = 17;

function coreOf({ version, body, hashedPart, digestStart, numbers }: ReadSignature): Buffer {
  const head = version === 3 ? body.subarray(0, VERSION_3_HEAD_BYTES) : hashedPart;
  return Buffer.concat([head, digestStart, ...(numbers ?? []).flatMap(writeMpi)]);
}

function writeMpi(number: Uint8Array): readonly Uint8Array[] {
  return [uint16(bitLength(number)), number];
}

function ofType(candidates: readonly Candidate[], ...types: readonly number[]): readonly Candidate[] {
  return candidates.filter(({ signature }) => isType(signature, ...types));
}

function isType({ type }: ReadSignature, ...types: readonly number[]): boolean {
  return types.includes(type);
}

/** Those that a program may believe. Revocations are not filtered so: whoever can make any can also make a proper one. */
function believable(candidates: readonly Candidate[], { key, limits }: Maker): readonly Candidate[] {
  return candidates.filter(({ signature, isKnown }) => {
    const doubt = doubtOf(signature, key, limits.latest);
    return doubt === null || (doubt === 'future' && isKnown); // known ones count even when our clock was set back
  });
}

export type Doubt = 'version' | 'critical' | 'repeated' | 'short hash' | 'early' | 'future';

/** Why a statement of the key is not believed; null when it is believed. */
function doubtOf(signature: ReadSignature, key: PublicKey, latest: Date): Doubt | null {
  const { version, createdAt, notUnderstood, repeated } = signature;
  if (version !== 4) return 'version';
  if (notUnderstood !== null) return 'critical';
  if (repeated !== null) return 'repeated';
  if (!isLongEnough(key, signature)) return 'short hash';
  if (createdAt < key.createdAt) return 'early';
  return createdAt > latest ? 'future' : null;
}

/**
 * Why the key's own certifications of its user IDs do not count; null when no such certification is found. Hashes are
 * compared; the numbers of the signatures are not checked.
 */
export function doubtOfCertifications(
  key: PublicKey,
  { userIds }: MergedCertificate,
  latest: Date,
): { readonly doubt: Doubt; readonly signature: ReadSignature } | null {
  for (const { body, fresh } of userIds) {
    const data = signedUserId(key.body, body);
    for (const signature of fresh.map(readSignaturePacket)) {
      if (signature.kind !== 'read' || !isType(signature, ...SIGNATURE_TYPE.certification)) continue;
      if (!namesKey(signature, key) || !mayBeMadeBy(key, data, signature)) continue;
      const doubt = doubtOf(signature, key, latest);
      if (doubt !== null) return { doubt, signature };
    }
  }
  return null;
}

type Order = (one: Statement, other: Statement) => number;

/** The first in this order that the key has really made. */
function find(candidates: readonly Candidate[], maker: Maker, order: Order): Statement | null {
  return [...candidates].sort(order).find((candidate) => isVouched(candidate, maker)) ?? null;
}

function isVouched({ signature }: Statement, { key, data, limits }: Maker): boolean {
  limits.budget.spend(key.cost(data.sizeBytes + signature.hashedPart.length));
  return isMadeBy(key, data, signature);
}

/** The newest first. */
export function byAge(one: Statement, other: Statement): number {
  return madeAt(other) - madeAt(one) || Buffer.compare(one.core, other.core);
}

/** Hard ones first, then the earliest. */
function byGravity(one: Statement, other: Statement): number {
  return (
    Number(isHard(other)) - Number(isHard(one)) ||
    madeAt(one) - madeAt(other) ||
    Buffer.compare(one.core, other.core)
  );
}

function madeAt({ signature }: Statement): number {
  return signature.createdAt.getTime();
}

function byMaking({ key: one }: Subkey, { key: other }: Subkey): number {
  const age = one.createdAt.getTime() - other.createdAt.getTime();
  return age || (one.fingerprint < other.fingerprint ? -1 : 1);
}
