// lookaside verify: whether a manifest is signed under a name, as skopeo standalone-verify tells it.

import { connectServer } from '../compose/client.ts';
import { systemClock } from '../compose/clock.ts';
import { digestOfManifest, openSignatureVerifier } from '../compose/verify.ts';
import type { Config } from '../config.ts';
import { LookasideError } from '../domain/errors.ts';
import { DEFAULT_SITE, type Digest } from '../domain/image.ts';
import { isKeyName, parseKeyName } from '../domain/key.ts';
import { MAX_CERTIFICATES_BYTES, MAX_MANIFEST_BYTES, MAX_SIGNATURE_BYTES } from '../domain/limits.ts';
import {
  type DockerReference,
  formatReference,
  parseReference,
  whyReferenceTooLong,
} from '../domain/reference.ts';
import { escapeTerminal } from '../domain/text.ts';
import {
  type CheckedSignature,
  namedSigners,
  type RefusedKey,
  type SourceWarning,
  signaturesOf,
  trustKeys,
  type UntrustedKeys,
  type UntrustedSignature,
  verifySignatures,
} from '../service/verify.ts';
import { type InputOptions, readInput } from './input.ts';
import {
  EXIT,
  errorsJson,
  exitCodeOf,
  print,
  printJson,
  QUESTION_PATIENCE_MS,
  tellRetry,
} from './terminal.ts';

export interface VerifyOptions {
  /** `-` is standard input. */
  readonly manifest: string;
  readonly reference: string;
  /** A file; null: all that the server has. */
  readonly signature: string | null;
  /** Files; empty: the server's keys. */
  readonly keyrings: readonly string[];
  /** As they were given; empty: any of the keys. */
  readonly fingerprints: readonly string[];
  readonly json: boolean;
}

/**
 * EXIT.done: one signature is accepted; EXIT.failed: none is; EXIT.usage: no signature could be checked. Signatures and keys
 * without a named file come from the server.
 */
export async function runVerify(config: Config, options: VerifyOptions): Promise<number> {
  try {
    const result = await verify(config, options);
    if (options.json) printJson(result);
    else print(formatVerification(result));
    return exitCodeFor(result);
  } catch (error) {
    if (options.json) printJson(errorsJson(error));
    exitCodeOf(error);
    return EXIT.usage;
  }
}

export function exitCodeFor({ accepted, signatures }: Pick<Verification, 'accepted' | 'signatures'>): number {
  if (accepted) return EXIT.done;
  const isUnknown = signatures.length > 0 && signatures.every(({ refusal }) => refusal?.code === 'BUSY');
  return isUnknown ? EXIT.usage : EXIT.failed;
}

export interface Verification {
  readonly accepted: boolean;
  /** The full name that was looked for, with its host. */
  readonly dockerReference: string;
  /** `sha256:<hex>`. */
  readonly manifestDigest: string;
  readonly signatures: readonly CheckedSignature[];
  readonly refusedKeys: readonly RefusedKey[];
  readonly keyWarnings: readonly SourceWarning[];
}

async function verify(config: Config, options: VerifyOptions): Promise<Verification> {
  const reference = requireReference(options.reference);
  const names = parseFingerprints(options);
  const digest = await readManifest(options.manifest);
  await using inputs = openInputs(config, options);
  await using verifier = openSignatureVerifier();
  const tools = { verifier, clock: systemClock };
  const keys = await trustKeys(tools, await inputs.keys());
  const fingerprints = names === null ? null : namedSigners(names, keys);
  const keysFrom = options.keyrings.length === 0 ? 'server' : 'keyring';
  const question = { digest, reference, fingerprints, keysFrom } as const;
  const signatures = await verifySignatures(tools, question, await inputs.signatures(reference, digest));
  return {
    accepted: signatures.some(({ refusal }) => refusal === null),
    dockerReference: formatReference(reference),
    manifestDigest: `${digest.algorithm}:${digest.hex}`,
    signatures,
    refusedKeys: keys.refused,
    keyWarnings: keys.warnings,
  };
}

interface Inputs extends AsyncDisposable {
  keys(): Promise<readonly UntrustedKeys[]>;
  signatures(
    reference: DockerReference,
    digest: Digest,
  ): Promise<AsyncIterable<UntrustedSignature> | readonly UntrustedSignature[]>;
}

function openInputs(config: Config, { keyrings, signature }: VerifyOptions): Inputs {
  let connected: ReturnType<typeof connectServer> | null = null;
  const server = () => {
    connected ??= connectServer(config, { onRetry: tellRetry, patienceMs: QUESTION_PATIENCE_MS });
    return connected;
  };
  return {
    async keys() {
      if (keyrings.length === 0) {
        return [{ source: server().name, certificates: await server().certificates() }];
      }
      const files = await readAll(keyrings, KEYRING);
      return files.map(({ source, bytes }) => ({ source, certificates: [bytes] }));
    },
    async signatures({ path }, digest) {
      if (signature !== null) return readAll([signature], SIGNATURE);
      const inRepository = { site: DEFAULT_SITE, layout: 'repository', path, ...digest } as const;
      return signaturesOf(server(), [inRepository, { ...inRepository, layout: 'release', path: '' }]);
    },
    async [Symbol.asyncDispose]() {
      await connected?.[Symbol.asyncDispose]();
    },
  };
}

const KEYRING = {
  maxBytes: MAX_CERTIFICATES_BYTES,
  remedy: 'name a file of public keys, which this writes: gpg --export FINGERPRINT > FILE',
};
const SIGNATURE = {
  maxBytes: MAX_SIGNATURE_BYTES,
  remedy:
    'name a signature file, which this writes: skopeo standalone-sign; or none, to verify what the server has',
};
const MANIFEST = {
  maxBytes: MAX_MANIFEST_BYTES,
  remedy: 'name the file of a manifest, which this writes: skopeo inspect --raw docker://REFERENCE > FILE',
};

async function readAll(files: readonly string[], how: InputOptions): Promise<readonly UntrustedSignature[]> {
  return Promise.all(files.map(async (file) => ({ source: file, bytes: await readInput(file, how) })));
}

async function readManifest(file: string): Promise<Digest> {
  const manifest = await readInput(file, MANIFEST);
  if (manifest.length > MAX_MANIFEST_BYTES)
    throw invalid(
      `the manifest ${file} has more than ${MAX_MANIFEST_BYTES} bytes, which no client reads; ${MANIFEST.remedy}`,
    );
  return digestOfManifest(manifest);
}

function requireReference(text: string): DockerReference {
  const reference = parseReference(text);
  if (reference !== null) return reference;
  throw invalid(
    whyReferenceTooLong(text) ??
      `"${text}" is not a docker-reference; expected the name that is pulled, as it was signed: HOST/REPOSITORY:TAG`,
  );
}

/** As gpg prints them, with blanks or without, and lists with commas as skopeo takes them. Null: any, which skopeo calls so. */
function parseFingerprints({ fingerprints }: VerifyOptions): readonly string[] | null {
  const named = fingerprints.flatMap((list) => list.split(',')).map((name) => name.trim());
  if (named.length === 0 || (named.length === 1 && named[0] === 'any')) return null;
  return named.map(parseFingerprint);
}

function parseFingerprint(text: string): string {
  if (isKeyName(text)) return parseKeyName(text);
  throw invalid(
    `"${text}" is not a fingerprint; expected the 40 hex digits that this prints: gpg --fingerprint; or the key ID of 16; or any, alone, for whichever key is trusted`,
  );
}

function invalid(message: string): LookasideError {
  return new LookasideError('CONFIG_INVALID', message);
}

/** A line for each unusable key, a line for each signature, and the result. */
export function formatVerification(verification: Verification): string {
  const { dockerReference, manifestDigest, signatures, refusedKeys, keyWarnings } = verification;
  const accepted = signatures.find(({ refusal }) => refusal === null);
  const outcome =
    accepted === undefined
      ? `Not verified: ${signatures.length === 0 ? 'there is no signature' : 'no signature is accepted'} for ${dockerReference}, digest ${manifestDigest}`
      : `Signature verified using fingerprint ${accepted.fingerprint}, digest ${manifestDigest}`;
  return [
    ...refusedKeys.map(({ source, code, message }) => `key not used: ${source}: ${code}: ${message}`),
    ...keyWarnings.map(({ source, code, message }) => `warning: ${source}: ${code}: ${message}`),
    ...signatures.map(formatSignature),
    outcome,
  ]
    .map(escapeTerminal)
    .join('\n');
}

function formatSignature(signature: CheckedSignature): string {
  const { source, refusal } = signature;
  const answer = refusal === null ? 'accepted' : `${refusal.code}: ${refusal.message}`;
  return [`${source}: ${answer}`, ...vouchedFor(signature)].join('; ');
}

/** Nothing of a signature that is not good. */
function vouchedFor(signature: CheckedSignature): readonly string[] {
  const { fingerprint, signingFingerprint, signedAt, dockerReference } = signature;
  if (fingerprint === null || signedAt === null) return [];
  const subkey = signingFingerprint === fingerprint ? '' : ` (subkey ${signingFingerprint})`;
  return [`by ${fingerprint}${subkey}, signed ${signedAt.toISOString()}, for ${dockerReference}`];
}
