// The judgement of one signature: structure, signature, then payload; the first thing that is wrong decides.
import { isLookasideError, type RefusalCode } from '../domain/errors.ts';
import { CLOCK_LEAD_MS } from '../domain/limits.ts';
import { parseReference } from '../domain/reference.ts';
import { type Payload, parsePayload } from '../domain/simple-signing.ts';
import { quoted } from '../domain/text.ts';
import type { Judgement, Obstacle, Refusal, SignatureForm, Traits, Verdict } from '../domain/verdict.ts';
import { refuseAlgorithms, refuseShortRsa, refuseUnusableKey, unsupported } from './algorithms.ts';
import { type CertificateFacts, isHard, type Statement, type Subkey } from './certificate-facts.ts';
import { type KeyState, laterBy, primaryStateAt, subkeyStateAt } from './key-state.ts';
import type { Candidate, Keyring } from './keyring.ts';
import type { PublicKey } from './public-key.ts';
import { isConfirmed } from './second-opinion.ts';
import { digestBitsOf, isLongEnough, isMadeBy, signedContent, signedSha256 } from './signature-check.ts';
import { type ReadSignature, SIGNATURE_TYPE } from './signature-packet.ts';
import { examineStructure, type UntrustedMessage } from './structure.ts';

/** `untrusted` may be any bytes; never throws for what is in them. */
export async function examineMessage(untrusted: Uint8Array, keyring: Keyring, now: Date): Promise<Judgement> {
  const structure = examineStructure(untrusted);
  if (structure.kind === 'refused') return judgement(structure);
  const { form, signature, issuer } = structure;
  const unfit = refuseAlgorithms(signature);
  if (unfit !== null) return judgement({ ...unfit, form, issuer });
  if (signature.kind === 'unsupported' || issuer === null) throw new Error('it was to be refused');
  const outcome = await verify(signature, issuer, structure.content, { keyring, now });
  if (outcome.verdict !== 'good') return judgement({ ...outcome, form, issuer });
  return judgeClaim(structure, { ...outcome, form, issuer });
}

type Findings = Partial<Judgement> & Pick<Judgement, 'verdict' | 'form'>;

function judgement(findings: Findings): Judgement {
  return {
    verdict: findings.verdict,
    refusal: findings.refusal ?? null,
    form: findings.form,
    issuer: findings.issuer ?? null,
    fingerprint: findings.fingerprint ?? null,
    ...(findings.refusedSigner === undefined ? {} : { refusedSigner: findings.refusedSigner }),
    signingFingerprint: findings.signingFingerprint ?? null,
    signedAt: findings.signedAt ?? null,
    expiresAt: findings.expiresAt ?? null,
    claim: findings.claim ?? null,
    traits: findings.traits ?? null,
    judgeAgainAt: findings.judgeAgainAt ?? null,
  };
}

// --- the payload

function judgeClaim(message: UntrustedMessage, findings: Findings): Judgement {
  const { form, issuer } = findings;
  const bad = (refusal: Refusal) => judgement({ verdict: 'bad', refusal, form, issuer: issuer ?? null });
  const payload = readPayload(message.content);
  if ('code' in payload) return bad(payload);
  const { claim } = payload;
  if (parseReference(claim.dockerReference) === null) {
    return bad({
      code: 'REFERENCE_INVALID',
      message: `the docker-reference ${quoted(claim.dockerReference)} cannot be parsed by any policy; expected HOST/REPOSITORY:TAG. Sign again with the reference that is pulled`,
    });
  }
  const traits = findings.traits == null ? null : completed(findings.traits, message, payload);
  return judgement({ ...findings, claim, traits, refusal: refuseForm(form) ?? findings.refusal ?? null });
}

/** Adds the obstacles that lie outside the signature packet. */
function completed(traits: Traits, { isBzipped }: UntrustedMessage, { isReadByAll }: Payload): Traits {
  const obstacles = new Set(traits.obstacles);
  if (isBzipped) obstacles.add('wrapping');
  if (!isReadByAll) obstacles.add('payload');
  return { ...traits, obstacles: [...obstacles] };
}

function readPayload(content: Uint8Array): Payload | Refusal {
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

interface Outcome extends Omit<Findings, 'form' | 'issuer' | 'claim'> {
  /** A revocation by the key itself, or by the key that it belongs to, says that it may be in other hands. */
  readonly isCompromised?: true;
}

async function verify(
  signature: ReadSignature,
  issuer: string,
  content: Uint8Array,
  { keyring, now }: { readonly keyring: Keyring; readonly now: Date },
): Promise<Outcome> {
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
  const outcomes = await Promise.all(
    candidates.map((candidate) => verifyBy(candidate, signature, content, now)),
  );
  return outcomes.reduce((best, outcome) => (rank(outcome) < rank(best) ? outcome : best));
}

/**
 * Lower is better: when several certificates hold the key, the one that speaks most for the signature decides. But a key
 * that one of them gives up as compromised is lost for all: whoever has the key could have bound it to another.
 */
function rank({ verdict, refusal, isCompromised }: Outcome): number {
  if (isCompromised) return -1;
  if (verdict === 'good') return refusal == null ? 0 : 1;
  if (verdict === 'unverified') return 2;
  return refusal?.code === 'SIGNATURE_BAD' ? 4 : 3;
}

/** The key that a signature names, in a certificate that holds it. */
interface Signer {
  readonly facts: CertificateFacts;
  readonly key: PublicKey;
  /** Null when it is the primary key itself. */
  readonly subkey: Subkey | null;
}

async function verifyBy(
  { fingerprint, certificate }: Candidate,
  signature: ReadSignature,
  content: Uint8Array,
  now: Date,
): Promise<Outcome> {
  const facts = certificate();
  if ('why' in facts) return refuseUnusableKey(facts);
  const signer = signerOf(facts, fingerprint);
  if (signer === null) return refusedAs('bad', 'KEY_UNUSABLE', notBound(facts.key, fingerprint));
  const { key } = signer;
  if (!isMadeBy(key, signedContent(content), signature)) {
    return refusedAs(
      'bad',
      'SIGNATURE_BAD',
      `the signature is not what the key ${fingerprint} makes over this content: one of them was changed. Sign again`,
    );
  }
  const unfit =
    refuseSignature(signature) ??
    refuseHash(key, signature) ??
    (await refuseDoubtful(content, signature, signer));
  if (unfit !== null) return unfit;
  const refused = refuseKey(signer, signature.createdAt, now);
  if (refused !== null && refused.verdict !== 'good') {
    return isOwn(signer) ? { ...refused, refusedSigner: facts.key.fingerprint } : refused;
  }
  const expiresAt = laterBy(signature.createdAt, signature.expiresSeconds);
  return {
    verdict: 'good',
    refusal: refused?.refusal ?? refuseExpired(expiresAt, now),
    fingerprint: facts.key.fingerprint,
    signingFingerprint: key.fingerprint,
    signedAt: signature.createdAt,
    expiresAt,
    traits: traitsOf(key, content, signature),
  };
}

function traitsOf(key: PublicKey, content: Uint8Array, signature: ReadSignature): Traits {
  const obstacles: Obstacle[] = [];
  if (signature.version === 3) obstacles.push('version-3');
  if (signature.type === SIGNATURE_TYPE.text) obstacles.push('text');
  if (signature.hasOtherUnhashed) obstacles.push('wrapping');
  return {
    signedSha256: signedSha256(key, content, signature),
    digestBits: digestBitsOf(signature),
    obstacles,
  };
}

function signerOf(facts: CertificateFacts, fingerprint: string): Signer | null {
  if (facts.key.fingerprint === fingerprint) return { facts, key: facts.key, subkey: null };
  const subkey = facts.subkeys.find(({ key }) => key.fingerprint === fingerprint);
  return subkey === undefined ? null : { facts, key: subkey.key, subkey };
}

/** Whether the key has agreed to belong to this certificate: else a stranger could claim what another has signed. */
function isOwn({ subkey }: Signer): boolean {
  return subkey === null || (subkey.binding?.backSignature ?? null) !== null;
}

function notBound(primary: PublicKey, fingerprint: string): string {
  return `the subkey ${fingerprint} is not bound to the key ${primary.fingerprint}, or has not signed that it belongs to it`;
}

function refuseHash(key: PublicKey, signature: ReadSignature): Outcome | null {
  if (isLongEnough(key, signature)) return null;
  return unsupported(
    `the signature is over a hash that is shorter than the curve of the key ${key.fingerprint}`,
  );
}

/** Refuses a signature that the key has made in a form that clients disagree about. OpenPGP.js stands for such clients. */
async function refuseDoubtful(
  content: Uint8Array,
  signature: ReadSignature,
  { key, subkey }: Signer,
): Promise<Outcome | null> {
  if (signature.isPadded) {
    return refusedAs(
      'bad',
      'SIGNATURE_BAD',
      'the numbers of the signature are written with zeros ahead, as no program writes them, and some clients refuse that. Sign again',
    );
  }
  if (signature.type === SIGNATURE_TYPE.text && !hasCanonicalLines(content)) {
    return refusedAs(
      'bad',
      'SIGNATURE_BAD',
      'the signature is over a text, whose lines do not end in CR LF, so that clients differ about what is signed. Sign again without --textmode',
    );
  }
  if (signature.version === 3) return null; // OpenPGP.js does not read version 3
  if (await isConfirmed({ key, isSubkey: subkey !== null, signature, content })) return null;
  return refusedAs(
    'bad',
    'SIGNATURE_BAD',
    `the key ${key.fingerprint} has made the signature, but in a form that OpenPGP.js refuses, and other clients may. Sign again with: gpg --sign`,
  );
}

/**
 * A text signature is over lines that end in CR LF. gpg hashes the text as it is; other clients convert it first. They
 * agree on text that needs no conversion, which is what gpg makes.
 */
function hasCanonicalLines(content: Uint8Array): boolean {
  return !/(?<!\r)\n|\r(?!\n)/.test(Buffer.from(content).toString('latin1'));
}

function refuseSignature({ notUnderstood, notUnderstoodUnhashed }: ReadSignature): Outcome | null {
  const subpacket = notUnderstood ?? notUnderstoodUnhashed;
  if (subpacket === null) return null;
  const message = `the signature has ${subpacket}. Whoever does not understand that must refuse the signature, and gpg does. Sign without it`;
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

/** Null when nothing speaks against the key. Verdict `good` with a refusal: the key was valid when it signed. */
function refuseKey(signer: Signer, signedAt: Date, now: Date): Outcome | null {
  const compromised = refuseCompromised(signer);
  if (compromised !== null) return compromised;
  const states = statesOf(signer, now);
  if (typeof states === 'string') return refusedAs('bad', 'KEY_UNUSABLE', states);
  return (
    refuseTime(signer, signedAt, now) ??
    refuseRevoked(signer, signedAt) ??
    refuseExpiredKey(states, signedAt, now)
  );
}

/** The states of the key that signed, and of the primary key when that is another; or why the key may not sign. */
function statesOf({ facts, key, subkey }: Signer, now: Date): readonly KeyState[] | string {
  const { fingerprint } = facts.key;
  const primaryState = primaryStateAt(facts, now);
  if (primaryState === null) return `nothing that the key ${fingerprint} has signed itself vouches for it`;
  if (subkey === null) {
    return primaryState.maySign
      ? [primaryState]
      : `the key ${fingerprint} may not sign: it lacks the flag for it`;
  }
  const state = subkeyStateAt(subkey, now);
  if (state === null) return notBound(facts.key, key.fingerprint);
  if (!state.maySign) {
    return `the subkey ${key.fingerprint} may not sign for the key ${fingerprint}: it lacks the flag for it`;
  }
  return [primaryState, state];
}

function refuseTime({ facts, key }: Signer, signedAt: Date, now: Date): Outcome | null {
  if (signedAt.getTime() > now.getTime() + CLOCK_LEAD_MS) {
    const message = `the signature says that it was made at ${signedAt.toISOString()}; here it is ${now.toISOString()}. Set the signer's clock and sign again`;
    return { ...refusedAs('unverified', 'SIGNED_IN_FUTURE', message), judgeAgainAt: signedAt };
  }
  if (facts.key.createdAt <= signedAt && key.createdAt <= signedAt) return null;
  return refusedAs(
    'bad',
    'KEY_UNUSABLE',
    `the signature says that it was made at ${signedAt.toISOString()}, before the key ${key.fingerprint} was. Set the signer's clock and sign again`,
  );
}

function revocations({ facts, subkey }: Signer): readonly Statement[] {
  return [facts.revocation, subkey?.revocation ?? null].filter((revocation) => revocation !== null);
}

/** Whoever has the key now could have made a signature of any date. */
function refuseCompromised(signer: Signer): Outcome | null {
  const { facts, key, subkey } = signer;
  const hard = revocations(signer).find(isHard);
  if (hard === undefined) return null;
  const outcome = refusedAs('bad', 'KEY_REVOKED', revoked(key, hard.signature.createdAt));
  const own = subkey === null ? facts.revocation : subkey.revocation;
  return isOwn(signer) && own !== null && isHard(own) ? { ...outcome, isCompromised: true } : outcome;
}

function refuseRevoked(signer: Signer, signedAt: Date): Outcome | null {
  const times = revocations(signer).map(({ signature }) => signature.createdAt.getTime());
  if (times.length === 0) return null;
  const at = new Date(Math.min(...times));
  return refusedAs(at <= signedAt ? 'bad' : 'good', 'KEY_REVOKED', revoked(signer.key, at));
}

function revoked({ fingerprint }: PublicKey, at: Date): string {
  return `the key ${fingerprint} was revoked at ${at.toISOString()}, and clients refuse its signatures whenever they were made. Sign again with another key`;
}

function refuseExpiredKey(states: readonly KeyState[], signedAt: Date, now: Date): Outcome | null {
  const times = states.flatMap(({ expiresAt }) => (expiresAt === null ? [] : [expiresAt.getTime()]));
  const at = new Date(Math.min(...times));
  if (times.length === 0 || at > now) return null;
  return refusedAs(
    at <= signedAt ? 'bad' : 'good',
    'KEY_EXPIRED',
    `the key expired at ${at.toISOString()}. If the signer has prolonged it, take what they export now in its place (lookaside key add FILE, or verify --keyring FILE); else sign again with another key`,
  );
}

function refusedAs(verdict: Verdict, code: RefusalCode, message: string): Outcome {
  return { verdict, refusal: { code, message } };
}
