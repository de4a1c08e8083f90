// Certificates as they come in, and what is kept of them: only what their own primary key vouches for.
//
// Kept of each: the primary key with its revocation and newest direct-key signature; each user ID with its newest
// self-certification and the revocation of that; each subkey that could sign with its newest binding and its
// revocation. Dropped: user attributes, what others certified, what is bound by nobody, subkeys of algorithms that
// only encrypt. A subkey that could sign but may not is kept: an older copy must not give it back the right to.
// A revocation counts when the key itself made it; those by other keys that it names for this are dropped with what
// else others certified. What is kept does not depend on the order in which copies came: of signatures that exclude
// each other one wins by its own content alone, and is written in one way alone.
import { readKey } from 'openpgp';
import { isLookasideError, LookasideError } from '../domain/errors.ts';
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
import { describe, inOrder, primaryMaySign } from './certificate-details.ts';
import { takeApart, type UntrustedCertificate, type UntrustedRevocation } from './certificate-parts.ts';
import { type Kept, keep, merge, type Vouched } from './kept-parts.ts';
import { fingerprintOf, fingerprintOfSecretKey, type PublicKey, parsePublicKey } from './public-key.ts';
import {
  type Budget,
  createBudget,
  glanceAt,
  hashedKey,
  isMadeBy,
  issuersOf,
  mayBeMadeBy,
  namesKey,
  parseSignature,
  signedPart,
  type UntrustedSignature,
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
