// Certificates as they come in, and what is kept of them: only what their own primary key vouches for.
//
// Kept of each: the primary key with its revocation and newest direct-key signature; each user ID with its newest
// self-certification and the revocation of that; each subkey that could sign with its newest binding and its
// revocation. Dropped: user attributes, what others certified, what is bound by nobody, subkeys of algorithms that
// only encrypt. A subkey that could sign but may not is kept: an older copy must not give it back the right to.
// What is kept does not depend on the order in which copies came: of signatures that exclude each other one wins by
// its own content alone, and is written in one way alone.
import { readKey } from 'openpgp';
import { isLookasideError, LookasideError } from '../domain/errors.ts';
import type { KeyDetails, KeyPart } from '../domain/key.ts';
import {
  CLOCK_LEAD_MS,
  MAX_CERTIFICATE_BYTES,
  MAX_CERTIFICATES,
  MAX_CERTIFICATES_BYTES,
  MAX_SUBKEYS,
  MAX_USER_ID_BYTES,
  MAX_USER_IDS,
} from '../domain/limits.ts';
import type { CleanedCertificate } from '../domain/ports.ts';
import { armorPublicKey, untrustedBlocks } from './armor.ts';
import {
  takeApart,
  type UntrustedCertificate,
  type UntrustedPart,
  type UntrustedRevocation,
} from './certificate-parts.ts';
import { fingerprintOf, fingerprintOfSecretKey, type PublicKey, parsePublicKey } from './public-key.ts';
import {
  BACK_SIGNATURE,
  type Budget,
  CERTIFICATION_REVOCATION,
  CERTIFICATIONS,
  createBudget,
  DIRECT_KEY,
  type Glance,
  glanceAt,
  hashedKey,
  hashedUserId,
  isMadeBy,
  issuersOf,
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

/**
 * What public-key checks may cost in all, in microseconds of a slow machine: the rest of a second is for reading and
 * hashing. A file of 64 keys on P-521, the slowest, with a subkey each needs 400,000.
 */
const CHECKS_US = 450_000;

/**
 * The certificates of one file, each cleaned, merged with the keyring's of the same primary key (a revocation is never
 * lost), and answered by itself. The keyring is by primary fingerprint (upper-case hex), binary, cleaned; a later one
 * of the file is merged with an earlier one of the same key too, so results are to be stored in their order. A bare
 * revocation is applied to the keyring's certificate. @throws LookasideError REQUEST_INVALID when there is none at all, TOO_LARGE
 */
export async function cleanCertificates(
  untrusted: Uint8Array,
  keyring: ReadonlyMap<string, Uint8Array>,
  now: Date,
): Promise<readonly CleanedCertificate[]> {
  const entries = readEntries(untrusted);
  const known = new Map(keyring);
  const results: CleanedCertificate[] = [];
  let leftUs = CHECKS_US;
  for (const [index, entry] of entries.entries()) {
    // an even share of what is left: a poisoned one cannot use up what the others need
    const share = leftUs / (entries.length - index);
    const budget = createBudget(share);
    const result = await answer(entry, { known, now, budget });
    leftUs -= share - budget.left;
    if (result.kind === 'clean') known.set(result.details.fingerprint, result.certificate);
    results.push(result);
  }
  return results;
}

/** ASCII armour of our own making. */
export function armorCertificate(certificate: Uint8Array): string {
  return armorPublicKey(certificate);
}

type Entry = UntrustedCertificate | UntrustedRevocation | 'damaged armour';

function readEntries(untrusted: Uint8Array): readonly Entry[] {
  if (untrusted.length > MAX_CERTIFICATES_BYTES) {
    throw new LookasideError(
      'TOO_LARGE',
      `the file has ${untrusted.length} bytes; wanted at most ${MAX_CERTIFICATES_BYTES}: send fewer certificates at once`,
    );
  }
  const entries: Entry[] = [];
  for (const block of untrustedBlocks(untrusted)) {
    entries.push(...(block === null ? (['damaged armour'] as const) : takeApart(block)));
    if (entries.length > MAX_CERTIFICATES) {
      throw new LookasideError(
        'TOO_LARGE',
        `the file has over ${MAX_CERTIFICATES} certificates; send at most so many at once`,
      );
    }
  }
  if (entries.length === 0) {
    throw new LookasideError(
      'REQUEST_INVALID',
      'no OpenPGP certificate was found; wanted what this writes, armoured or not: gpg --export FINGERPRINT',
    );
  }
  return entries;
}

interface Surroundings {
  readonly known: ReadonlyMap<string, Uint8Array>;
  readonly now: Date;
  readonly budget: Budget;
}

async function answer(entry: Entry, surroundings: Surroundings): Promise<CleanedCertificate> {
  if (entry === 'damaged armour') {
    return refused(null, damaged('the armour holds characters that are no base64, or too few of them'));
  }
  let fingerprint: string | null = null;
  try {
    if (entry.kind === 'revocation') return await applyRevocation(entry, surroundings);
    fingerprint = entry.isSecret
      ? fingerprintOfSecretKey(entry.primary.body)
      : fingerprintOf(entry.primary.body);
    return await clean(entry, surroundings);
  } catch (error) {
    if (isLookasideError(error)) return refused(fingerprint, error);
    throw error;
  }
}

function refused(fingerprint: string | null, { code, message }: LookasideError): CleanedCertificate {
  return { kind: 'refused', fingerprint, code, message };
}

function damaged(what: string): LookasideError {
  return new LookasideError('STRUCTURE_INVALID', `${what}; export the key anew and send the whole file`);
}

function refuseSecret(entry: UntrustedCertificate): void {
  if (!entry.isSecret && !entry.hasSecretSubkey) return;
  const fingerprint = entry.isSecret
    ? fingerprintOfSecretKey(entry.primary.body)
    : fingerprintOf(entry.primary.body);
  throw new LookasideError(
    'SECRET_KEY',
    `this is a secret key, of which nothing was kept; send the public one, which this writes: gpg --export ${fingerprint ?? 'FINGERPRINT'}`,
  );
}

async function clean(
  entry: UntrustedCertificate,
  { known, now, budget }: Surroundings,
): Promise<CleanedCertificate> {
  refuseSecret(entry);
  const primary = parsePublicKey(entry.primary.body);
  if ('why' in primary) throw new LookasideError(primary.code, `the key ${primary.why}`);
  if (!entry.isWhole) throw damaged(`the certificate of ${primary.fingerprint} breaks off or is damaged`);
  if (primary.createdAt > latest(now)) {
    throw new LookasideError(
      'KEY_UNUSABLE',
      `the key ${primary.fingerprint} was made at ${toDate(primary.createdAt).toISOString()}, which is yet to come; compare the clocks`,
    );
  }
  const registered = known.get(primary.fingerprint);
  const kept = keep(primary, merge(entry, registered), { latest: latest(now), budget });
  refuseUnusable(primary, kept, entry);
  refuseTooMany(kept);
  const certificate = write(kept);
  if (certificate.length > MAX_CERTIFICATE_BYTES) {
    throw new LookasideError(
      'TOO_LARGE',
      `cleaned, the certificate still has ${certificate.length} bytes; wanted at most ${MAX_CERTIFICATE_BYTES}: ${TRIM}`,
    );
  }
  await checkReadable(certificate);
  return { kind: 'clean', details: describe(kept, now), certificate };
}

// What we keep, OpenPGP.js reads whenever a signature is verified: one that it cannot would stop them all.
async function checkReadable(certificate: Uint8Array): Promise<void> {
  try {
    await readKey({ binaryKey: certificate });
  } catch (error) {
    throw new LookasideError('KEY_UNUSABLE', 'the key cannot be used to verify; make a new one with gpg', {
      cause: error,
    });
  }
}

async function applyRevocation(
  { signature: body }: UntrustedRevocation,
  surroundings: Surroundings,
): Promise<CleanedCertificate> {
  const glance = glanceAt(body);
  const signature = glance === null ? null : parseSignature(glance);
  if (signature === null) throw damaged('a revocation was found that cannot be read');
  const issuers = issuersOf(signature.glance);
  const named = [...surroundings.known].filter(([fingerprint]) =>
    issuers.some((issuer) => fingerprint.endsWith(issuer)),
  );
  for (const [fingerprint, certificate] of named) {
    const [copy] = takeApart(certificate);
    if (copy?.kind !== 'certificate')
      throw new Error(`the keyring's copy of ${fingerprint} is no certificate`);
    const key = parsePublicKey(copy.primary.body);
    if ('why' in key || !isRevocationOf(key, signature, surroundings.budget)) continue;
    return await clean({ ...copy, primary: { ...copy.primary, signatures: [body] } }, surroundings);
  }
  if (named.length > 0) {
    throw new LookasideError('SIGNATURE_BAD', `the revocation was not made by the key ${named[0]?.[0]}`);
  }
  throw new LookasideError(
    'KEY_UNKNOWN',
    `a revocation of the key ${issuers[0] ?? 'that it does not name'} was found without the key; add the key first`,
  );
}

function isRevocationOf(key: PublicKey, signature: UntrustedSignature, budget: Budget): boolean {
  const part = signedPart(hashedKey(key.body));
  return mayBeMadeBy(key, part, signature.glance) && isMadeBy(key, part, signature, budget);
}

function latest(now: Date): number {
  return Math.floor((now.getTime() + CLOCK_LEAD_MS) / 1000);
}

function toDate(seconds: number): Date {
  return new Date(seconds * 1000);
}

interface MergedPart extends Signatures {
  readonly body: Uint8Array;
}

interface Merged {
  readonly primary: MergedPart;
  readonly userIds: readonly MergedPart[];
  readonly subkeys: readonly MergedPart[];
}

function merge(untrusted: UntrustedCertificate, registered: Uint8Array | undefined): Merged {
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

interface Vouched {
  readonly signature: UntrustedSignature;
  /** As it is written. */
  readonly bytes: Uint8Array;
}

interface UserId {
  readonly body: Uint8Array;
  /** Null beside a revocation alone, which is kept for the day when its certification turns up. */
  readonly certification: Vouched | null;
  readonly revocation: Vouched | null;
}

interface Subkey {
  readonly key: PublicKey;
  readonly binding: Binding | null;
  readonly revocation: Vouched | null;
}

interface Binding extends Vouched {
  readonly canSign: boolean;
}

interface Kept {
  readonly primary: PublicKey;
  readonly revocation: Vouched | null;
  readonly direct: Vouched | null;
  readonly userIds: readonly UserId[];
  readonly subkeys: readonly Subkey[];
}

interface Limits {
  /** Seconds since 1970; what was signed after it is not believed yet. */
  readonly latest: number;
  readonly budget: Budget;
}

function keep(primary: PublicKey, merged: Merged, limits: Limits): Kept {
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
    userIds: merged.userIds.map((part) => keepUserId(primary, part, limits)).filter(isVouchedFor),
    subkeys: merged.subkeys
      .flatMap((part) => {
        const subkey = parsePublicKey(part.body);
        return 'why' in subkey ? [] : [keepSubkey(primary, subkey, part, limits)];
      })
      .filter(({ binding, revocation }) => binding !== null || revocation !== null)
      .sort((one, other) => compareText(one.key.fingerprint, other.key.fingerprint))
      .sort((one, other) => one.key.createdAt - other.key.createdAt),
  };
}

function isVouchedFor({ certification, revocation }: UserId): boolean {
  return certification !== null || revocation !== null;
}

const KEY_REVOCATIONS: ReadonlySet<number> = new Set([KEY_REVOCATION]);
const DIRECT: ReadonlySet<number> = new Set([DIRECT_KEY]);
const USER_ID_REVOCATIONS: ReadonlySet<number> = new Set([CERTIFICATION_REVOCATION]);
const SUBKEY_REVOCATIONS: ReadonlySet<number> = new Set([SUBKEY_REVOCATION]);

function keepUserId(primary: PublicKey, part: MergedPart, limits: Limits): UserId {
  const signed = signedPart([...hashedKey(primary.body), ...hashedUserId(part.body)]);
  const maker = { key: primary, part: signed, budget: limits.budget };
  const own = candidates(part, maker);
  const search = { ...maker, order: byAge };
  return {
    body: part.body,
    certification: find(believable(own, primary, limits), { ...search, types: CERTIFICATIONS }),
    revocation: find(own, { ...search, types: USER_ID_REVOCATIONS }),
  };
}

function keepSubkey(primary: PublicKey, subkey: PublicKey, part: MergedPart, limits: Limits): Subkey {
  const signed = signedPart([...hashedKey(primary.body), ...hashedKey(subkey.body)]);
  const maker = { key: primary, part: signed, budget: limits.budget };
  const own = candidates(part, maker);
  return {
    key: subkey,
    binding: findBinding(believable(own, primary, limits), { primary, subkey, signed, limits }),
    revocation: find(own, { ...maker, types: SUBKEY_REVOCATIONS, order: byGravity }),
  };
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
function byAge(one: UntrustedSignature, other: UntrustedSignature): number {
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
function maySign(keyFlags: number | null): boolean {
  return keyFlags === null || (keyFlags & 0x02) !== 0;
}

const TRIM = 'delete what is no longer used with gpg --edit-key, and export the key again';

function refuseUnusable(primary: PublicKey, kept: Kept, entry: UntrustedCertificate): void {
  if (!kept.userIds.some(({ certification }) => certification !== null)) {
    throw isBoundByMd5(primary, entry)
      ? new LookasideError(
          'ALGORITHM_WEAK',
          `the user IDs of the key ${primary.fingerprint} are bound with MD5 or RIPEMD-160; renew them with gpg --edit-key, or make a new key`,
        )
      : new LookasideError(
          'KEY_UNUSABLE',
          `the key ${primary.fingerprint} has no user ID that it vouches for itself; export it whole with gpg --export`,
        );
  }
  if (primaryMaySign(kept) || kept.subkeys.some(({ binding }) => binding?.canSign === true)) return;
  throw new LookasideError(
    'KEY_UNUSABLE',
    `the key ${primary.fingerprint} can sign nothing: neither it nor a subkey is marked for signing with all that this needs; send a key that signs`,
  );
}

function isBoundByMd5(primary: PublicKey, { userIds }: UntrustedCertificate): boolean {
  return [...userIds.values()]
    .flatMap(({ signatures }) => signatures.map(glanceAt))
    .some((glance) => glance !== null && glance.hash === null && namesKey(glance, primary));
}

function refuseTooMany({ userIds, subkeys }: Kept): void {
  if (userIds.length > MAX_USER_IDS) {
    throw new LookasideError(
      'TOO_LARGE',
      `the key has ${userIds.length} user IDs; wanted at most ${MAX_USER_IDS}: ${TRIM}`,
    );
  }
  const largest = Math.max(...userIds.map(({ body }) => body.length));
  if (largest > MAX_USER_ID_BYTES) {
    throw new LookasideError(
      'TOO_LARGE',
      `a user ID of the key has ${largest} bytes; wanted at most ${MAX_USER_ID_BYTES}: ${TRIM}`,
    );
  }
  if (subkeys.length > MAX_SUBKEYS) {
    throw new LookasideError(
      'TOO_LARGE',
      `the key has ${subkeys.length} subkeys; wanted at most ${MAX_SUBKEYS}: ${TRIM}`,
    );
  }
}

const TAG_SIGNATURE = 2;
const TAG_PUBLIC_KEY = 6;
const TAG_USER_ID = 13;
const TAG_SUBKEY = 14;

function write(kept: Kept): Uint8Array {
  const { primary, revocation, direct, subkeys } = kept;
  const packets = [
    packet(TAG_PUBLIC_KEY, primary.body),
    ...signatures(revocation, direct),
    ...inOrder(kept.userIds).flatMap(({ body, certification, revocation }) => [
      packet(TAG_USER_ID, body),
      ...signatures(certification, revocation),
    ]),
    ...subkeys.flatMap(({ key, binding, revocation }) => [
      packet(TAG_SUBKEY, key.body),
      ...signatures(revocation, binding),
    ]),
  ];
  return new Uint8Array(Buffer.concat(packets)); // of its own memory: it goes from thread to thread
}

function signatures(...found: readonly (Vouched | null)[]): readonly Uint8Array[] {
  return found.flatMap((signature) => (signature === null ? [] : [packet(TAG_SIGNATURE, signature.bytes)]));
}

/** With the old header and a length of two bytes, which every program reads: none of ours is longer. */
function packet(tag: number, body: Uint8Array): Uint8Array {
  return Buffer.concat([Uint8Array.of(0x81 | (tag << 2), body.length >> 8, body.length & 0xff), body]);
}

function describe(kept: Kept, now: Date): KeyDetails {
  const { primary, subkeys } = kept;
  return {
    ...describePart(primary, {
      expiresAt: primaryExpiry(kept),
      revokedAt: primaryRevocation(kept),
      canSign: primaryMaySign(kept),
    }),
    userIds: shownUserIds(kept, now).map(({ body }) => decode(body)),
    subkeys: subkeys.flatMap(({ key, binding, revocation }) =>
      binding === null
        ? []
        : describePart(key, {
            expiresAt: earliest(keyExpiry(key, binding.signature), signatureExpiry(binding.signature)),
            revokedAt: revocation?.signature.createdAt ?? null,
            canSign: binding.canSign,
          }),
    ),
  };
}

interface PartState {
  /** Seconds since 1970. */
  readonly expiresAt: number | null;
  readonly revokedAt: number | null;
  readonly canSign: boolean;
}

function describePart(
  { fingerprint, algorithm, createdAt }: PublicKey,
  { expiresAt, revokedAt, canSign }: PartState,
): KeyPart {
  return {
    fingerprint,
    algorithm,
    canSign,
    createdAt: toDate(createdAt),
    expiresAt: expiresAt === null ? null : toDate(expiresAt),
    revokedAt: revokedAt === null ? null : toDate(revokedAt),
  };
}

/** Hostile bytes as they come: what is no UTF-8 becomes U+FFFD. */
function decode(body: Uint8Array): string {
  return new TextDecoder('utf-8', { ignoreBOM: true }).decode(body);
}

/** The primary user ID first, as gpg picks it: the newest of those that are marked so, else the newest. */
function inOrder(userIds: readonly UserId[]): readonly UserId[] {
  return [...userIds].sort(
    (one, other) =>
      Number(isPrimary(other)) - Number(isPrimary(one)) ||
      certifiedAt(other) - certifiedAt(one) ||
      Buffer.compare(one.body, other.body),
  );
}

function isPrimary(userId: UserId): boolean {
  return userId.certification?.signature.facts.isPrimaryUserId === true && !isRevoked(userId);
}

function certifiedAt(userId: UserId): number {
  return isRevoked(userId) ? 0 : (userId.certification?.signature.createdAt ?? 0);
}

/** A certification that is newer than the revocation takes it back. */
function isRevoked({ certification, revocation }: UserId): boolean {
  if (certification === null) return true;
  return revocation !== null && revocation.signature.createdAt >= certification.signature.createdAt;
}

/** Those that hold now; those that held once when none does, because a key needs a name. */
function shownUserIds({ userIds }: Kept, now: Date): readonly UserId[] {
  const nowSeconds = now.getTime() / 1000;
  const certified = inOrder(userIds).filter(({ certification }) => certification !== null);
  const holding = certified.filter((userId) => {
    const expiry = userId.certification === null ? null : signatureExpiry(userId.certification.signature);
    return !isRevoked(userId) && (expiry === null || expiry > nowSeconds);
  });
  return holding.length === 0 ? certified : holding;
}

/** The signatures that speak for the primary key, in the order in which gpg asks them for any one fact. */
function speakers({ direct, userIds }: Kept): readonly UntrustedSignature[] {
  const certifications = userIds
    .filter((userId) => !isRevoked(userId))
    .flatMap(({ certification }) => (certification === null ? [] : [certification.signature]))
    .sort(byAge);
  return direct === null ? certifications : [direct.signature, ...certifications];
}

function primaryMaySign(kept: Kept): boolean {
  const flags = speakers(kept).map(({ facts }) => facts.keyFlags);
  return maySign(flags.find((keyFlags) => keyFlags !== null) ?? null);
}

function primaryExpiry(kept: Kept): number | null {
  const expiries = speakers(kept).map((signature) => keyExpiry(kept.primary, signature));
  const said = expiries.find((expiry) => expiry !== null) ?? null;
  return earliest(said, lastUserIdExpiry(kept));
}

/** When the last user ID that is not revoked is no longer vouched for, which ends the key too; null = never. */
function lastUserIdExpiry({ userIds }: Kept): number | null {
  const certifications = userIds
    .filter((userId) => !isRevoked(userId))
    .flatMap(({ certification }) => (certification === null ? [] : [certification.signature]));
  const expiries = certifications.map(signatureExpiry).filter((expiry) => expiry !== null);
  return expiries.length === 0 || expiries.length < certifications.length ? null : Math.max(...expiries);
}

/** A key whose user IDs are all revoked is as good as revoked: gpg no longer verifies with it. */
function primaryRevocation({ revocation, userIds }: Kept): number | null {
  if (revocation !== null) return revocation.signature.createdAt;
  const certified = userIds.filter(({ certification }) => certification !== null);
  if (!certified.every(isRevoked)) return null;
  return Math.max(...certified.map((userId) => userId.revocation?.signature.createdAt ?? 0));
}

function keyExpiry({ createdAt }: PublicKey, { facts }: UntrustedSignature): number | null {
  const { keyExpiresAfter } = facts;
  return keyExpiresAfter === null || keyExpiresAfter === 0 ? null : createdAt + keyExpiresAfter;
}

function signatureExpiry({ createdAt, facts }: UntrustedSignature): number | null {
  const { expiresAfter } = facts;
  return expiresAfter === null || expiresAfter === 0 ? null : createdAt + expiresAfter;
}

function earliest(one: number | null, other: number | null): number | null {
  if (one === null) return other;
  return other === null ? one : Math.min(one, other);
}

function compareText(one: string, other: string): number {
  if (one === other) return 0;
  return one < other ? -1 : 1;
}
