// Cleans the certificates that come in: only what their own primary key vouches for is kept.
//
// Kept: the primary key with its revocation and newest direct-key signature; each user ID with its newest
// self-certification and the revocation of that; each subkey whose algorithm can sign, with its newest binding and its
// revocation. Dropped: user attributes, certifications by others, parts that nobody has bound, subkeys of algorithms that
// only encrypt. A subkey that could sign but may not is kept: else an older copy could give it that right back.
// A revocation counts when the key itself made it. Revocations by other keys are dropped like all that others certify,
// even when the key names those keys for this. The result does not depend on the order in which copies came: when
// signatures exclude each other, their content alone decides which one wins, and there is only one way to write it.
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
import { quoted } from '../domain/text.ts';
import { displacedArmor, type UntrustedBlock, untrustedBlocks } from './armor.ts';
import { describe } from './certificate-details.ts';
import {
  type CertificateFacts,
  doubtOfCertifications,
  namesKey,
  readFacts,
  saysSign,
} from './certificate-facts.ts';
import {
  type MergedCertificate,
  merge,
  takeApart,
  type UntrustedCertificate,
  type UntrustedRevocation,
} from './certificate-parts.ts';
import { hex } from './fields.ts';
import { isRevoked } from './key-state.ts';
import { fileWarnings, warningsOf } from './key-warnings.ts';
import {
  fingerprintOf,
  fingerprintOfSecretKey,
  HASHES,
  type PublicKey,
  parsePublicKey,
} from './public-key.ts';
import { type Budget, createBudget, isMadeBy, signedKey } from './signature-check.ts';
import { type ReadSignature, readSignaturePacket } from './signature-packet.ts';
import { writeCertificate } from './written-certificate.ts';

/**
 * The most that all public-key checks of one file may cost, in microseconds of a slow machine. The rest of a second is for
 * reading and hashing. A file of 64 keys on P-521, the slowest curve, each with a subkey, needs 400,000.
 */
const CHECKS_US = 450_000;

/**
 * One result for each certificate of the file, cleaned and merged with the keyring's certificate of the same primary key,
 * so that a revocation is never lost. `keyring`: cleaned binary certificates by primary fingerprint (upper-case hex). A
 * certificate is also merged with earlier ones of the same key in the file, so the caller stores results in their order. A
 * bare revocation is applied to the keyring's certificate. @throws LookasideError REQUEST_INVALID when the file holds neither,
 * TOO_LARGE
 */
export function cleanCertificates(
  untrusted: Uint8Array,
  keyring: ReadonlyMap<string, Uint8Array>,
  now: Date,
): readonly CleanedCertificate[] {
  const blocks = readBlocks(untrusted);
  const entries = readEntries(blocks);
  if (entries.length === 0) throw new LookasideError('REQUEST_INVALID', whyNone(untrusted));
  const ofFile = fileWarnings(blocks);
  const known = new Map(keyring);
  const results: CleanedCertificate[] = [];
  let leftUs = CHECKS_US;
  for (const [index, entry] of entries.entries()) {
    // each gets an even share of what is left, so a poisoned certificate cannot use up what the others need
    const share = leftUs / (entries.length - index);
    const budget = createBudget(share);
    const result = answer(entry, { known, now, budget });
    leftUs -= share - budget.left;
    if (result.kind === 'clean') known.set(result.details.fingerprint, result.certificate);
    results.push(result.kind === 'clean' ? { ...result, warnings: [...result.warnings, ...ofFile] } : result);
  }
  return results;
}

/** A string says why the armour of a block cannot be removed. */
type Entry = UntrustedCertificate | UntrustedRevocation | string;

function readBlocks(untrusted: Uint8Array): readonly UntrustedBlock[] {
  if (untrusted.length > MAX_CERTIFICATES_BYTES) {
    throw new LookasideError(
      'TOO_LARGE',
      `the file has ${untrusted.length} bytes; wanted at most ${MAX_CERTIFICATES_BYTES}: send fewer certificates at once`,
    );
  }
  return untrustedBlocks(untrusted);
}

function readEntries(blocks: readonly UntrustedBlock[]): readonly Entry[] {
  const entries: Entry[] = [];
  for (const block of blocks) {
    entries.push(...(typeof block === 'string' ? [block] : takeApart(block)));
    if (entries.length > MAX_CERTIFICATES) {
      throw new LookasideError(
        'TOO_LARGE',
        `the file has over ${MAX_CERTIFICATES} certificates; send at most so many at once`,
      );
    }
  }
  return entries;
}

function whyNone(untrusted: Uint8Array): string {
  const displaced = displacedArmor(untrusted);
  if (displaced?.trim() === ':') {
    return 'a colon stands ahead of the armour: gpg puts it there so that nobody revokes a key by mistake. If the key is to be revoked, delete the colon and send the file again';
  }
  if (displaced !== null) {
    return `the line -----BEGIN PGP PUBLIC KEY BLOCK----- begins with something else (${quoted(displaced)}), so that no program looks for a key behind it; delete that and send the file again`;
  }
  return 'no OpenPGP certificate was found; wanted what this writes, armoured or not: gpg --export FINGERPRINT';
}

interface Surroundings {
  readonly known: ReadonlyMap<string, Uint8Array>;
  readonly now: Date;
  readonly budget: Budget;
}

function answer(entry: Entry, surroundings: Surroundings): CleanedCertificate {
  if (typeof entry === 'string') return refused(null, damaged(entry));
  let fingerprint: string | null = null;
  try {
    if (entry.kind === 'revocation') return applyRevocation(entry, surroundings);
    fingerprint = entry.isSecret
      ? fingerprintOfSecretKey(entry.primary.body)
      : fingerprintOf(entry.primary.body);
    return clean(entry, surroundings);
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
    `this is a secret key, and nothing of it was kept; send the public key, which this writes: gpg --export ${fingerprint ?? 'FINGERPRINT'}`,
  );
}

function clean(entry: UntrustedCertificate, { known, now, budget }: Surroundings): CleanedCertificate {
  refuseSecret(entry);
  const primary = parsePublicKey(entry.primary.body);
  if ('why' in primary) throw new LookasideError(primary.code, `the key ${primary.why}`);
  if (!entry.isWhole) throw damaged(`the certificate of ${primary.fingerprint} breaks off or is damaged`);
  const latest = new Date(now.getTime() + CLOCK_LEAD_MS);
  if (primary.createdAt > latest) {
    throw new LookasideError(
      'KEY_UNUSABLE',
      `the key ${primary.fingerprint} was made at ${primary.createdAt.toISOString()}, which is yet to come; compare the clocks`,
    );
  }
  const registered = registeredCopy(known, primary.fingerprint);
  const merged = merge(entry, registered);
  const facts = readFacts(primary, merged, { latest, budget });
  const details = describe(facts, now);
  refuseUncertified(facts, merged, { entry, latest });
  refuseTooMany(facts);
  if (![details, ...details.subkeys].some(({ canSign }) => canSign)) throw cannotSign(primary);
  const certificate = writeCertificate(facts);
  if (certificate.length > MAX_CERTIFICATE_BYTES) {
    throw new LookasideError(
      'TOO_LARGE',
      `cleaned, the certificate still has ${certificate.length} bytes; wanted at most ${MAX_CERTIFICATE_BYTES}: ${TRIM}`,
    );
  }
  return { kind: 'clean', details, certificate, warnings: warningsOf(facts) };
}

function registeredCopy(
  known: ReadonlyMap<string, Uint8Array>,
  fingerprint: string,
): UntrustedCertificate | null {
  const certificate = known.get(fingerprint);
  if (certificate === undefined) return null;
  const [copy] = takeApart(certificate);
  if (copy?.kind !== 'certificate')
    throw new Error(`what is registered as ${fingerprint} is not a certificate`);
  return copy;
}

function applyRevocation(
  { signature: body }: UntrustedRevocation,
  surroundings: Surroundings,
): CleanedCertificate {
  const signature = readSignaturePacket(body);
  if (signature.kind !== 'read') throw damaged('a revocation was found that cannot be read');
  const issuers = signature.issuers.filter(({ length }) => length > 0).map(hex);
  const { known, budget } = surroundings;
  const named = [...known.keys()].filter((fingerprint) =>
    issuers.some((issuer) => fingerprint.endsWith(issuer)),
  );
  for (const fingerprint of named) {
    const copy = registeredCopy(known, fingerprint);
    if (copy === null || !isRevocationOf(copy, signature, budget)) continue;
    return clean({ ...copy, primary: { ...copy.primary, signatures: [body] } }, surroundings);
  }
  const [first] = named;
  if (first !== undefined) {
    throw new LookasideError('SIGNATURE_BAD', `the revocation was not made by the key ${first}`);
  }
  throw new LookasideError(
    'KEY_UNKNOWN',
    `a revocation of the key ${issuers[0] ?? 'that it does not name'} was found without the key; add the key first`,
  );
}

function isRevocationOf(
  { primary: { body } }: UntrustedCertificate,
  signature: ReadSignature,
  budget: Budget,
): boolean {
  const key = parsePublicKey(body);
  if ('why' in key) return false;
  budget.spend(key.cost(body.length));
  return isMadeBy(key, signedKey(body), signature);
}

const TRIM = 'delete what is no longer used with gpg --edit-key, and export the key again';

function refuseUncertified(
  { key, userIds }: CertificateFacts,
  merged: MergedCertificate,
  { entry, latest }: { readonly entry: UntrustedCertificate; readonly latest: Date },
): void {
  if (userIds.some(({ certification }) => certification !== null)) return;
  const { fingerprint } = key;
  if (isBoundByMd5(key, entry)) {
    throw new LookasideError(
      'ALGORITHM_WEAK',
      `the user IDs of the key ${fingerprint} are bound with MD5 or RIPEMD-160; ${RENEW}`,
    );
  }
  const doubt = doubtOfCertifications(key, merged, latest);
  if (doubt === null) {
    throw new LookasideError(
      'KEY_UNUSABLE',
      `the key ${fingerprint} has no user ID that it vouches for itself; export it whole with gpg --export`,
    );
  }
  const code = doubt.doubt === 'short hash' ? 'ALGORITHM_WEAK' : 'KEY_UNUSABLE';
  throw new LookasideError(code, `the user IDs of the key ${fingerprint} ${explain(doubt)}`);
}

const RENEW = 'renew them with gpg --edit-key, or make a new key';

function explain({ doubt, signature }: NonNullable<ReturnType<typeof doubtOfCertifications>>): string {
  switch (doubt) {
    case 'version':
      return `are bound by a signature of version ${signature.version}; wanted version 4: ${RENEW}`;
    case 'critical':
      return `are bound by a signature with ${signature.notUnderstood}, and whoever does not understand that must refuse it; ${RENEW}`;
    case 'repeated':
      return `are bound by a signature that has two subpackets of type ${signature.repeated}, of which clients follow one or the other; ${RENEW}`;
    case 'short hash':
      return `are bound over a hash that is shorter than the curve of the key, as SHA-1 is, and gpg does not believe that; ${RENEW}`;
    case 'early':
      return `are bound by a signature of ${signature.createdAt.toISOString()}, before the key was made; set the clock of its owner, and ${RENEW}`;
    case 'future':
      return `are bound by a signature of ${signature.createdAt.toISOString()}, which is yet to come; compare the clocks, here and where the key was made`;
  }
}

function cannotSign({ fingerprint }: PublicKey): LookasideError {
  return new LookasideError(
    'KEY_UNUSABLE',
    `the key ${fingerprint} can sign nothing: neither it nor a subkey is marked for signing with all that this needs; send a key that signs`,
  );
}

function isBoundByMd5(primary: PublicKey, { userIds }: UntrustedCertificate): boolean {
  return [...userIds.values()]
    .flatMap(({ signatures }) => signatures.map(readSignaturePacket))
    .some(
      (signature) =>
        signature.kind === 'read' && !HASHES.has(signature.hashAlgorithm) && namesKey(signature, primary),
    );
}

/**
 * Limits only user IDs in force and subkeys that may sign, of which few keys have many. The size of the certificate alone
 * bounds revoked user IDs and subkeys that may not sign.
 */
function refuseTooMany({ userIds, subkeys }: CertificateFacts): void {
  const namesInForce = userIds.filter((userId) => !isRevoked(userId)).length;
  if (namesInForce > MAX_USER_IDS) {
    throw new LookasideError(
      'TOO_LARGE',
      `the key has ${namesInForce} user IDs that are not revoked; wanted at most ${MAX_USER_IDS}: ${TRIM}`,
    );
  }
  const largest = Math.max(...userIds.map(({ body }) => body.length));
  if (largest > MAX_USER_ID_BYTES) {
    throw new LookasideError(
      'TOO_LARGE',
      `a user ID of the key has ${largest} bytes; wanted at most ${MAX_USER_ID_BYTES}: ${TRIM}`,
    );
  }
  const signing = subkeys.filter(({ binding }) => binding === null || saysSign(binding.signature)).length;
  if (signing > MAX_SUBKEYS) {
    throw new LookasideError(
      'TOO_LARGE',
      `the key has ${signing} subkeys that may sign; wanted at most ${MAX_SUBKEYS}: ${TRIM}`,
    );
  }
}
