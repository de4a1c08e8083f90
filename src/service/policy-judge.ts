// Whether a policy's requirements accept an image with these signatures (containers/image signature/policy_eval*.go).
import { createHash } from 'node:crypto';
import type { ClientMachine, UnreadableFile } from '../domain/client-machine.ts';
import { isLookasideError } from '../domain/errors.ts';
import { matchesIdentity } from '../domain/policy/identity.ts';
import { lacksChecksum } from '../domain/policy/key-armour.ts';
import type { KeySource, Requirement } from '../domain/policy/policy.ts';
import type { Clock, Verifier } from '../domain/ports.ts';
import { type DockerReference, formatReference } from '../domain/reference.ts';
import type { Judgement, Obstacle } from '../domain/verdict.ts';
import { trustKeys, type UntrustedKeys } from './verify.ts';

export interface JudgePorts {
  readonly verifier: Pick<Verifier, 'examine' | 'cleanCertificates' | 'setKeyring'>;
  readonly clock: Pick<Clock, 'now'>;
  readonly file: ClientMachine['file'];
}

/** A pull, as far as a policy sees it. */
export interface Pulled {
  /** The name that was typed, with a tag or a digest but not both. */
  readonly image: DockerReference;
  readonly manifest: Uint8Array;
  readonly signatures: readonly { readonly source: string; readonly bytes: Uint8Array }[];
}

export interface Complaint {
  readonly code: string;
  /** What was found and what was expected. */
  readonly message: string;
  /** What to change. */
  readonly remedy: string;
}

export interface JudgedSignature {
  readonly source: string;
  /** Null: accepted. */
  readonly complaint: Complaint | null;
  /** Primary key, of a good signature; for others the issuer that it names, which nothing proves. */
  readonly key: string | null;
  /** Set when a subkey made it, which clients before August 2025 refuse. */
  readonly subkey: string | null;
  /** Set when it was made later than now, which clients with GnuPG accept and others may not: what is said of it. */
  readonly early: string | null;
  readonly dockerReference: string | null;
  readonly obstacles: readonly Obstacle[];
}

export interface JudgedRequirement {
  readonly type: string;
  readonly verdict: 'allowed' | 'denied' | 'not-by-us';
  readonly complaint: Complaint | null;
  readonly signatures: readonly JudgedSignature[];
  /** A file of keys that GnuPG 2.2 does not read. */
  readonly unchecked?: string;
}

/** All of them up to the first that denies: clients stop there too. */
export async function judgeRequirements(
  ports: JudgePorts,
  requirements: readonly Requirement[],
  pulled: Pulled,
): Promise<readonly JudgedRequirement[]> {
  const judged: JudgedRequirement[] = [];
  for (const [index, requirement] of requirements.entries()) {
    const one = await judge(ports, requirement, pulled);
    const isOneOfSeveral = one.verdict === 'denied' && requirements.length > 1;
    judged.push(
      isOneOfSeveral ? among(one, requirement, { number: index + 1, of: requirements.length }) : one,
    );
    if (one.verdict === 'denied') break;
  }
  return judged;
}

/** Whoever reads the policy finds the key perhaps in another requirement, and each of them must be satisfied. */
function among(
  judged: JudgedRequirement,
  requirement: Requirement,
  place: { readonly number: number; readonly of: number },
): JudgedRequirement {
  const { complaint } = judged;
  if (complaint === null) return judged;
  const keys =
    requirement.type === 'signedBy' && requirement.keys.kind === 'paths' ? requirement.keys.paths : [];
  const which = keys.length === 0 ? '' : `, which takes the keys of ${keys.join(', ')} alone`;
  const remedy = `${complaint.remedy}. The section asks for ${place.of} things, and an image must satisfy all: this is number ${place.number}${which}`;
  return { ...judged, complaint: { ...complaint, remedy } };
}

async function judge(
  ports: JudgePorts,
  requirement: Requirement,
  pulled: Pulled,
): Promise<JudgedRequirement> {
  const { type } = requirement;
  switch (requirement.type) {
    case 'insecureAcceptAnything':
      return { type, verdict: 'allowed', complaint: null, signatures: [] };
    case 'reject':
      return denied(
        type,
        'POLICY_REJECT',
        'the policy rejects this image, signed or not',
        'give its registry or repository a section of its own in policy.json, with signedBy',
      );
    case 'signedBaseLayer':
      return denied(
        type,
        'NOT_IMPLEMENTED',
        'signedBaseLayer is not implemented in clients, which always refuse it',
        'take signedBaseLayer out of policy.json',
      );
    case 'sigstoreSigned':
      return { type, verdict: 'not-by-us', complaint: null, signatures: [] };
    case 'signedBy':
      return judgeSignedBy(ports, requirement, pulled);
  }
}

function denied(type: string, code: string, message: string, remedy: string): JudgedRequirement {
  return { type, verdict: 'denied', complaint: { code, message, remedy }, signatures: [] };
}

type SignedBy = Extract<Requirement, { readonly type: 'signedBy' }>;

async function judgeSignedBy(
  ports: JudgePorts,
  requirement: SignedBy,
  pulled: Pulled,
): Promise<JudgedRequirement> {
  const { type, keyType } = requirement;
  if (pulled.signatures.length === 0)
    return denied(type, 'NO_SIGNATURE', 'a signature is required, and there is none', 'sign the image');
  if (keyType !== 'GPGKeys')
    return denied(type, 'NOT_IMPLEMENTED', `no client implements the keyType ${keyType}`, 'write GPGKeys');
  const keys = await readKeys(ports, requirement.keys);
  if ('complaint' in keys) return { type, verdict: 'denied', complaint: keys.complaint, signatures: [] };
  const keyComplaint = await trust(ports, keys.sources);
  if (keyComplaint !== null) return { type, verdict: 'denied', complaint: keyComplaint, signatures: [] };
  const signatures: JudgedSignature[] = [];
  for (const signature of pulled.signatures)
    signatures.push(await judgeOne(ports, requirement, pulled, signature));
  const isAccepted = signatures.some(({ complaint }) => complaint === null);
  return {
    type,
    verdict: isAccepted ? 'allowed' : 'denied',
    complaint: isAccepted ? null : mostTelling(signatures),
    signatures,
    ...unchecked(keys.sources),
  };
}

function unchecked(sources: readonly UntrustedKeys[]): { readonly unchecked?: string } {
  const one = sources.find(({ certificates }) => certificates.some(lacksChecksum));
  return one === undefined ? {} : { unchecked: one.source };
}

/**
 * Among several refusals, the one that is nearest to acceptance: by the right key, but something else is wrong. The last choice
 * is a cosign signature, which clients pass over.
 */
function mostTelling(signatures: readonly JudgedSignature[]): Complaint | null {
  const complaints = signatures.flatMap(({ complaint }) => complaint ?? []);
  const order = [
    'IDENTITY',
    'KEY_EXPIRED',
    'KEY_REVOKED',
    'SIGNATURE_EXPIRED',
    'DIGEST_MISMATCH',
    'KEY_UNKNOWN',
  ];
  for (const code of order) {
    const one = complaints.find((complaint) => complaint.code === code);
    if (one !== undefined) return one;
  }
  return complaints.find(({ code }) => code !== 'FORMAT_UNSUPPORTED') ?? complaints[0] ?? null;
}

async function readKeys(
  { file }: JudgePorts,
  source: KeySource,
): Promise<{ readonly sources: readonly UntrustedKeys[] } | { readonly complaint: Complaint }> {
  if (source.kind === 'data') return { sources: [{ source: 'keyData', certificates: [source.bytes] }] };
  const sources: UntrustedKeys[] = [];
  for (const path of source.paths) {
    const content = await file(path);
    if (content.kind === 'missing')
      return complain(
        'KEY_FILE_MISSING',
        `the key file ${path}, which policy.json names, is not there`,
        `lay the signer's public key there: gpg --export FINGERPRINT > ${path}`,
      );
    if (content.kind === 'unreadable')
      return complain(
        'KEY_FILE_UNREADABLE',
        `the key file ${path} cannot be read: ${content.why}`,
        keyFileRemedy(content),
      );
    if (content.bytes.length === 0)
      return complain(
        'KEY_FILE_EMPTY',
        `the key file ${path} is empty`,
        `lay the signer's public key there: gpg --export FINGERPRINT > ${path}`,
      );
    sources.push({ source: path, certificates: [content.bytes] });
  }
  if (sources.length > 0) return { sources };
  return complain('NO_KEYS', 'keyPaths names no file', 'name a file of keys in policy.json');
}

function keyFileRemedy({ path, closed }: UnreadableFile): string {
  if (closed === null)
    return `put a file with the signer's public key there: gpg --export FINGERPRINT > ${path}`;
  if (closed === path) return `make it readable for every user: chmod a+r ${path}`;
  return `move it to a folder that every user may enter, such as /etc/containers/keys, and name it there in policy.json; or open the folder: chmod a+x ${closed}`;
}

function complain(code: string, message: string, remedy: string) {
  return { complaint: { code, message, remedy } };
}

async function trust(ports: JudgePorts, sources: readonly UntrustedKeys[]): Promise<Complaint | null> {
  ports.verifier.setKeyring([]); // what another requirement trusts is nothing here
  try {
    await trustKeys(ports, sources);
    return null;
  } catch (error) {
    if (!isLookasideError(error, 'CONFIG_INVALID')) throw error;
    const names = sources.map(({ source }) => source).join(', ');
    return {
      code: 'NO_KEYS',
      message: `${names} holds no key that clients can use: ${error.message}`,
      remedy: `lay the signer's public key there: gpg --export FINGERPRINT > ${names}; if its time is yet to come, set the clock of this machine`,
    };
  }
}

async function judgeOne(
  { verifier, clock }: JudgePorts,
  { identity }: SignedBy,
  pulled: Pulled,
  { source, bytes }: Pulled['signatures'][number],
): Promise<JudgedSignature> {
  const examined = await verifier.examine(bytes, clock.now(), 'upload');
  // GnuPG says so and goes on, unless the key is from the future too
  const isEarly = examined.refusal?.code === 'SIGNED_IN_FUTURE' && examined.judgeAgainAt !== null;
  const judgement = isEarly ? await verifier.examine(bytes, examined.judgeAgainAt, 'upload') : examined;
  const { fingerprint, signingFingerprint, issuer, claim, traits } = judgement;
  return {
    source,
    complaint: faultOf(judgement) ?? faultOfClaim(judgement, identity, pulled),
    key: fingerprint ?? issuer,
    subkey: signingFingerprint === fingerprint ? null : signingFingerprint,
    early: isEarly ? (examined.refusal?.message ?? null) : null,
    dockerReference: claim?.dockerReference ?? null,
    obstacles: traits?.obstacles ?? [],
  };
}

const REMEDIES: Readonly<Record<string, string>> = {
  KEY_EXPIRED:
    'if the signer has prolonged the key, lay what they export now into the key file; else have the image signed again with another key',
  KEY_REVOKED: 'have the image signed again with another key, and name that key in policy.json',
  SIGNATURE_EXPIRED: 'have the image signed again',
};

/** What a client with GnuPG refuses of a signature that is not about what it says. */
function faultOf({ verdict, refusal, issuer }: Judgement): Complaint | null {
  if (verdict === 'no-key')
    return {
      code: 'KEY_UNKNOWN',
      message: `it is by ${issuer === null ? 'a key that it does not name' : `the key ${issuer}`}, which policy.json does not trust for this image`,
      remedy: `if that key is the signer's, add it to the keys in policy.json; else have the image signed by a trusted key`,
    };
  if (refusal === null) return null;
  const { code, message } = refusal;
  const isFatal = verdict !== 'good' || code in REMEDIES;
  return isFatal ? { code, message, remedy: REMEDIES[code] ?? 'have the image signed again' } : null;
}

function faultOfClaim(
  { claim }: Judgement,
  identity: SignedBy['identity'],
  { image, manifest }: Pulled,
): Complaint | null {
  if (claim === null)
    return { code: 'PAYLOAD_INVALID', message: 'it claims nothing', remedy: 'have the image signed again' };
  const { algorithm, hex, dockerReference } = claim;
  // the digest first, as clients do
  if (createHash(algorithm).update(manifest).digest('hex') !== hex)
    return {
      code: 'DIGEST_MISMATCH',
      message: `it is for the manifest ${algorithm}:${hex}, and another is pulled`,
      remedy: 'sign what is pulled: an image list and each of its images have signatures of their own',
    };
  if (!matchesIdentity(identity, image, dockerReference))
    return {
      code: 'IDENTITY',
      message: `it is for ${dockerReference}, and ${formatReference(image)} is pulled (rule ${identity.type})`,
      remedy: identityRemedy(image, dockerReference),
    };
  return null;
}

function identityRemedy(image: DockerReference, signed: string): string {
  const name = `${image.domain}/${image.path}`;
  if (signed === name || signed.startsWith(`${name}:`) || signed.startsWith(`${name}@`))
    return `sign it for ${formatReference(image)} too: each tag needs a signature of its own; or pull it by its digest`;
  return `pull it as ${signed}, have it signed for ${formatReference(image)}, or let "signedIdentity": {"type": "remapIdentity", …} in policy.json say which name stands for which`;
}
