// The judgement of one signature: structure, signature, then payload; the first thing that is wrong decides.
import { constants, createHash, createPublicKey, verify as verifyByNode } from 'node:crypto';
import { createMessage } from 'openpgp';
import { isLookasideError, type RefusalCode } from '../domain/errors.ts';
import { CLOCK_LEAD_MS } from '../domain/limits.ts';
import { parseReference } from '../domain/reference.ts';
import { parsePayload } from '../domain/simple-signing.ts';
import { quoted } from '../domain/text.ts';
import type { Claim, Judgement, Refusal, SignatureForm, Verdict } from '../domain/verdict.ts';
import {
  HASHES,
  refuseAlgorithms,
  refuseKeyAlgorithm,
  refuseShortHash,
  refuseShortRsa,
  unsupported,
} from './algorithms.ts';
import {
  type CertificateFacts,
  isMadeBy,
  type KeyFacts,
  type KeyState,
  laterBy,
  primaryStateAt,
  subkeyStateAt,
} from './certificate-facts.ts';
import type { Candidate, Keyring } from './keyring.ts';
import { type ReadSignature, SIGNATURE_TYPE } from './signature-packet.ts';
import { examineStructure, type UntrustedMessage } from './structure.ts';

/** `untrusted` may be any bytes; never throws for what is in them. */
export async function examineMessage(untrusted: Uint8Array, keyring: Keyring, now: Date): Promise<Judgement> {
  const structure = examineStructure(untrusted);
  if (structure.kind === 'refused') return judgement(structure);
  const { form, signature } = structure;
  const issuer = 'unsupportedVersion' in signature ? signature.issuer : issuerOf(signature);
  const unfit = refuseAlgorithms(signature);
  if (unfit !== null) return judgement({ ...unfit, form, issuer });
  if ('unsupportedVersion' in signature) throw new Error('a version without algorithms was not refused');
  const outcome = await verify(signature, structure.content, keyring, now);
  if (outcome.verdict !== 'good') return judgement({ ...outcome, form, issuer });
  return judgeClaim(structure, { ...outcome, form, issuer });
}

function issuerOf({ issuerFingerprint, issuerKeyId }: ReadSignature): string {
  return issuerFingerprint ?? issuerKeyId;
}

type Findings = Partial<Judgement> & Pick<Judgement, 'verdict' | 'form'>;

function judgement(findings: Findings): Judgement {
  return {
    verdict: findings.verdict,
    refusal: findings.refusal ?? null,
    form: findings.form,
    issuer: findings.issuer ?? null,
    fingerprint: findings.fingerprint ?? null,
    signingFingerprint: findings.signingFingerprint ?? null,
    signedAt: findings.signedAt ?? null,
    expiresAt: findings.expiresAt ?? null,
    claim: findings.claim ?? null,
    judgeAgainAt: findings.judgeAgainAt ?? null,
  };
}

// --- the payload

function judgeClaim({ content }: UntrustedMessage, findings: Findings): Judgement {
  const { form, issuer } = findings;
  const bad = (refusal: Refusal) => judgement({ verdict: 'bad', refusal, form, issuer: issuer ?? null });
  const claim = readClaim(content);
  if ('code' in claim) return bad(claim);
  if (parseReference(claim.dockerReference) === null) {
    return bad({
      code: 'REFERENCE_INVALID',
      message: `the docker-reference ${quoted(claim.dockerReference)} is none that a policy could parse; expected HOST/REPOSITORY:TAG. Sign again with the reference that is pulled`,
    });
  }
  return judgement({ ...findings, claim, refusal: refuseForm(form) ?? findings.refusal ?? null });
}

function readClaim(content: Uint8Array): Claim | Refusal {
  try {
    return parsePayload(content);
  } catch (error) {
    if (!isLookasideError(error, 'PAYLOAD_INVALID')) throw error;
    return { code: 'PAYLOAD_INVALID', message: error.message };
  }
}

function refuseForm(form: SignatureForm | null): Refusal | null {
  if (form !== 'tagged-cleartext') return null;
  return {
    code: 'NOT_INLINE_SIGNED',
    message:
      'the signature is a clear-signed text behind the tag simple-signing. Clients that do not verify with gpg or Sequoia, OpenShift, oc-mirror, Pulp and everything older than containers/image 5.22 cannot read it. Sign with gpg --sign or skopeo standalone-sign instead',
  };
}

// --- the signature

type Outcome = Omit<Findings, 'form' | 'issuer' | 'claim'>;

async function verify(
  signature: ReadSignature,
  content: Uint8Array,
  keyring: Keyring,
  now: Date,
): Promise<Outcome> {
  const issuer = issuerOf(signature);
  const candidates = keyring.find(issuer);
  if (candidates.length === 0) {
    const unfit = refuseShortRsa(signature);
    if (unfit !== null) return unfit;
    return refusedAs(
      'no-key',
      'KEY_UNKNOWN',
      `the signature is by the key ${issuer}, which is not registered. Check that it is the signer's, then register it with: lookaside key add FILE`,
    );
  }
  let best: Outcome | null = null;
  for (const candidate of candidates) {
    const outcome = await verifyBy(candidate, signature, content, now);
    if (best === null || rank(outcome) < rank(best)) best = outcome;
  }
  if (best === null) throw new Error('no candidate was tried');
  return best;
}

/** Lower is better: of several certificates with the key, the one that speaks for the signature most decides. */
function rank({ verdict, refusal }: Outcome): number {
  if (verdict === 'good') return refusal == null ? 0 : 1;
  if (verdict === 'unverified') return 2;
  return refusal?.code === 'SIGNATURE_BAD' ? 4 : 3;
}

async function verifyBy(
  { fingerprint, certificate }: Candidate,
  signature: ReadSignature,
  content: Uint8Array,
  now: Date,
): Promise<Outcome> {
  const primary = await certificate();
  const key = [primary, ...(primary?.subkeys ?? [])].find((each) => each?.fingerprint === fingerprint);
  if (primary == null || key == null) throw new Error(`no key ${fingerprint} in its own certificate`);
  if (key.packet === null)
    return unsupported(`the key ${fingerprint} is of an algorithm or curve that is not taken`);
  const algorithm = key.packet.getAlgorithmInfo();
  const unfit = refuseKeyAlgorithm(algorithm) ?? refuseShortHash(signature, algorithm);
  if (unfit !== null) return unfit;
  if (!(await isOver(content, signature, key.packet))) {
    return refusedAs(
      'bad',
      'SIGNATURE_BAD',
      `the signature is not what the key ${fingerprint} makes over this content: one of them was changed. Sign again`,
    );
  }
  const refused = refuseSignature(signature) ?? refuseKey(primary, key, signature.createdAt, now);
  if (refused !== null && refused.verdict !== 'good') return refused;
  const expiresAt = laterBy(signature.createdAt, signature.expiresSeconds);
  return {
    verdict: 'good',
    refusal: refused?.refusal ?? refuseExpired(expiresAt, now),
    fingerprint: primary.fingerprint,
    signingFingerprint: key.fingerprint,
    signedAt: signature.createdAt,
    expiresAt,
  };
}

/** Whether the key has made the signature over the content: cryptography alone. */
async function isOver(
  content: Uint8Array,
  signature: ReadSignature,
  key: NonNullable<KeyFacts['packet']>,
): Promise<boolean> {
  if (signature.type === SIGNATURE_TYPE.text && !hasCanonicalLines(content)) return false;
  if (signature.version === 3) return isVersion3Over(content, signature, key.publicParams);
  const message = await createMessage({ binary: content });
  const [literal] = message.packets;
  return literal !== undefined && isMadeBy(key, signature, literal);
}

/**
 * A text signature is over lines that end in CR LF. gpg hashes what is there, other clients convert it first: they
 * agree on what needs no conversion, which is what gpg makes.
 */
function hasCanonicalLines(content: Uint8Array): boolean {
  return !/(?<!\r)\n|\r(?!\n)/.test(Buffer.from(content).toString('latin1'));
}

/** RFC 4880, section 5.2.2: hashed are the content, the type and the time, nothing else. OpenPGP.js reads no version 3. */
function isVersion3Over(content: Uint8Array, signature: ReadSignature, publicParams: object): boolean {
  const hash = HASHES.get(signature.hashAlgorithm);
  const [value] = signature.mpis ?? [];
  // the cast: of an RSA key, which refuseKeyAlgorithm has seen to
  const { n, e } = publicParams as { readonly n?: Uint8Array; readonly e?: Uint8Array };
  if (hash === undefined || value === undefined || n === undefined || e === undefined) return false;
  if (value.length > n.length) return false;
  const data = Buffer.concat([content, signature.hashedPart]);
  const digest = createHash(hash).update(data).digest();
  if (!digest.subarray(0, 2).equals(signature.leftHashBytes)) return false;
  const key = createPublicKey({ key: { kty: 'RSA', n: base64Url(n), e: base64Url(e) }, format: 'jwk' });
  const padded = Buffer.concat([Buffer.alloc(n.length - value.length), value]);
  return verifyByNode(hash, data, { key, padding: constants.RSA_PKCS1_PADDING }, padded);
}

function base64Url(number: Uint8Array): string {
  return Buffer.from(number).toString('base64url');
}

function refuseSignature({ notUnderstood }: ReadSignature): Outcome | null {
  if (notUnderstood === null) return null;
  const message = `the signature has ${notUnderstood}, which says that nobody may take it without understanding it; gpg refuses it too. Sign without`;
  return refusedAs('bad', 'SIGNATURE_BAD', message);
}

function refuseExpired(expiresAt: Date | null, now: Date): Refusal | null {
  if (expiresAt === null || expiresAt > now) return null;
  return {
    code: 'SIGNATURE_EXPIRED',
    message: `the signature expired at ${expiresAt.toISOString()}. Sign again`,
  };
}

// --- the key, as it is now and as it was at signing time

/** Null when nothing stands against it. Verdict `good` beside a refusal: it was right when it signed. */
function refuseKey(primary: CertificateFacts, key: KeyFacts, signedAt: Date, now: Date): Outcome | null {
  const states = statesOf(primary, key, now);
  if (typeof states === 'string') return refusedAs('bad', 'KEY_UNUSABLE', states);
  return (
    refuseCompromised(primary, key) ??
    refuseTime(primary, key, signedAt, now) ??
    refuseRevoked(primary, key, signedAt) ??
    refuseExpiredKey(states, signedAt, now)
  );
}

/** Of the key that signed, and of the primary key when that is another; or why it may not sign. */
function statesOf(primary: CertificateFacts, key: KeyFacts, now: Date): readonly KeyState[] | string {
  const { fingerprint } = primary;
  const primaryState = primaryStateAt(primary, now);
  if (primaryState === null) return `nothing that the key ${fingerprint} has signed itself vouches for it`;
  const subkey = primary.subkeys.find((each) => each === key);
  if (subkey === undefined) {
    return primaryState.maySign
      ? [primaryState]
      : `the key ${fingerprint} may not sign: it lacks the flag for it`;
  }
  const state = subkeyStateAt(subkey, now);
  if (state === null) return `the subkey ${key.fingerprint} is not bound to the key ${fingerprint}`;
  if (!state.maySign) {
    return `the subkey ${key.fingerprint} may not sign for the key ${fingerprint}: it lacks the flag for it or has not signed that it belongs to it`;
  }
  return [primaryState, state];
}

function refuseTime(primary: CertificateFacts, key: KeyFacts, signedAt: Date, now: Date): Outcome | null {
  if (signedAt.getTime() > now.getTime() + CLOCK_LEAD_MS) {
    const message = `the signature says that it was made at ${signedAt.toISOString()}; here it is ${now.toISOString()}. Set the signer's clock and sign again`;
    return { ...refusedAs('unverified', 'SIGNED_IN_FUTURE', message), judgeAgainAt: signedAt };
  }
  if (primary.createdAt <= signedAt && key.createdAt <= signedAt) return null;
  return refusedAs(
    'bad',
    'KEY_UNUSABLE',
    `the signature says that it was made at ${signedAt.toISOString()}, before the key ${key.fingerprint} was. Set the signer's clock and sign again`,
  );
}

function revocations(primary: CertificateFacts, key: KeyFacts) {
  return primary === key ? primary.revocations : [...primary.revocations, ...key.revocations];
}

/** Whoever has the key now could have made a signature of any date. */
function refuseCompromised(primary: CertificateFacts, key: KeyFacts): Outcome | null {
  const hard = revocations(primary, key).find(({ isHard }) => isHard);
  return hard === undefined ? null : refusedAs('bad', 'KEY_REVOKED', revoked(key, hard.at));
}

function refuseRevoked(primary: CertificateFacts, key: KeyFacts, signedAt: Date): Outcome | null {
  const times = revocations(primary, key).map(({ at }) => at.getTime());
  if (times.length === 0) return null;
  const at = new Date(Math.min(...times));
  return refusedAs(at <= signedAt ? 'bad' : 'good', 'KEY_REVOKED', revoked(key, at));
}

function revoked(key: KeyFacts, at: Date): string {
  return `the key ${key.fingerprint} was revoked at ${at.toISOString()}, and clients refuse its signatures whenever they were made. Sign again with another key`;
}

function refuseExpiredKey(states: readonly KeyState[], signedAt: Date, now: Date): Outcome | null {
  const times = states.flatMap(({ expiresAt }) => (expiresAt === null ? [] : [expiresAt.getTime()]));
  const at = new Date(Math.min(...times));
  if (times.length === 0 || at > now) return null;
  return refusedAs(
    at <= signedAt ? 'bad' : 'good',
    'KEY_EXPIRED',
    `the key expired at ${at.toISOString()}. If the signer has prolonged it, register it again with: lookaside key add FILE; else sign again with another key`,
  );
}

function refusedAs(verdict: Verdict, code: RefusalCode, message: string): Outcome {
  return { verdict, refusal: { code, message } };
}
