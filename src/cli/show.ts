// lookaside show: all about each signature of one image.
import { connectServer } from '../compose/client.ts';
import type { Config } from '../config.ts';
import { LookasideError } from '../domain/errors.ts';
import { DEFAULT_SITE, type ImageId, imageName, parseImageName } from '../domain/image.ts';
import type { SignatureServer } from '../domain/remote.ts';
import type { StoredSignature } from '../domain/stored-signature.ts';
import { quoted } from '../domain/text.ts';
import { namesOf } from './image-name.ts';
import { EXIT, formatTable, print, printJson, QUESTION_PATIENCE_MS, tellRetry } from './terminal.ts';

export interface ShowOptions {
  /** As it was written. */
  readonly image: string;
  readonly json: boolean;
}

/** @throws LookasideError NOT_FOUND when nothing is stored for the image */
export async function runShow(config: Config, { image, json }: ShowOptions): Promise<number> {
  const images = imagesOf(image);
  await using server = connectServer(config, { onRetry: tellRetry, patienceMs: QUESTION_PATIENCE_MS });
  const found = await firstStored(server, images);
  if (found === null) {
    const names = images.map(imageName).join(' or ');
    throw new LookasideError(
      'NOT_FOUND',
      `${server.name} has no signatures of ${names}; lookaside list shows what it has`,
    );
  }
  const name = imageName(found.image);
  if (json) printJson({ image: name, signatures: found.signatures });
  else print(formatSignatures(name, found.signatures, await server.userIds()));
  return EXIT.done;
}

/** What the argument may mean, likeliest first. @throws LookasideError CONFIG_INVALID */
function imagesOf(argument: string): readonly ImageId[] {
  const images = namesOf(argument).flatMap((name) => parseImageName(DEFAULT_SITE, name) ?? []);
  if (images.length > 0) return images;
  const message = `${quoted(argument)} is a repository; wanted one of its images, like team/app@sha256:<64 hex digits>, as lookaside list --json names them`;
  throw new LookasideError('CONFIG_INVALID', message);
}

async function firstStored(server: SignatureServer, images: readonly ImageId[]) {
  for (const image of images) {
    const signatures = await server.ofImage(image);
    if (signatures.length > 0) return { image, signatures };
  }
  return null;
}

export function formatSignatures(
  name: string,
  signatures: readonly StoredSignature[],
  userIds: ReadonlyMap<string, string>,
): string {
  const blocks = signatures.map((signature) => formatTable(factsOf(signature, userIds)));
  return [formatTable([['image', name]]), ...blocks].join('\n\n');
}

function factsOf(
  signature: StoredSignature,
  userIds: ReadonlyMap<string, string>,
): readonly (readonly [string, string])[] {
  const { fingerprint, signingFingerprint, reason, issuer, sizeBytes, auditSeq } = signature;
  const facts: readonly (readonly [string, string | null])[] = [
    ['path', signature.path],
    ['state', reason === null ? signature.state : `${signature.state} (${reason})`],
    ['signed by', fingerprint],
    ['user ID', fingerprint === null ? null : (userIds.get(fingerprint) ?? null)],
    ['by its subkey', signingFingerprint === fingerprint ? null : signingFingerprint],
    ['names the key', issuer === null ? null : `${issuer}, which nothing vouches for`],
    ['reference', signature.dockerReference],
    ['digest', signature.manifestDigest],
    ['creator', signature.creator],
    ['signed', timeOf(signature.signedAt)],
    ['expires', timeOf(signature.expiresAt)],
    ['stored', timeOf(signature.storedAt)],
    ['uploaded by', signature.uploader],
    ['by the remap', signature.remap],
    ['audit event', auditSeq === null ? null : String(auditSeq)],
    ['form', signature.form],
    ['size', `${sizeBytes} bytes`],
    ['sha256', signature.signatureSha256],
    ...signature.warnings.map(({ code, message }) => ['warning', `${code}: ${message}`] as const),
  ];
  return facts.flatMap(([label, value]) => (value === null ? [] : [[label, value] as const]));
}

function timeOf(at: Date | null): string | null {
  return at?.toISOString() ?? null;
}
