// lookaside show: all about each signature of one image.
import { connectServer } from '../compose/client.ts';
import type { Config } from '../config.ts';
import { LookasideError } from '../domain/errors.ts';
import { DEFAULT_SITE, type ImageId, imageName, parseImageName } from '../domain/image.ts';
import { ANY_SIGNATURE, type SignatureServer } from '../domain/remote.ts';
import type { StoredSignature } from '../domain/stored-signature.ts';
import { quoted } from '../domain/text.ts';
import { parseNamed } from './image-name.ts';
import { EXIT, formatTable, print, printJson, QUESTION_PATIENCE_MS, tell, tellRetry } from './terminal.ts';

export interface ShowOptions {
  /** As it was written. */
  readonly image: string;
  readonly json: boolean;
}

/** @throws LookasideError NOT_FOUND when nothing is stored for the image, or for the tag */
export async function runShow(config: Config, { image, json }: ShowOptions): Promise<number> {
  const { names, tag } = parseNamed(image);
  if (tag !== null) return showTag(config, { names, tag, json });
  const images = imagesOf(image, names);
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

interface TagOptions {
  /** Of the repository, likeliest first. */
  readonly names: readonly string[];
  readonly tag: string;
  readonly json: boolean;
}

/** Each image of which a signature claims the tag, that of the newest signature first. */
async function showTag(config: Config, { names, tag, json }: TagOptions): Promise<number> {
  await using server = connectServer(config, { onRetry: tellRetry, patienceMs: QUESTION_PATIENCE_MS });
  for (const repository of names) {
    const images = await imagesWithTag(server, repository, tag);
    if (images.length === 0) continue;
    if (json) printJson({ images });
    else {
      const userIds = await server.userIds();
      print(images.map(({ image, signatures }) => formatSignatures(image, signatures, userIds)).join('\n\n'));
      if (images.length > 1) tell(`${images.length} images were signed as ${repository}:${tag}`);
    }
    return EXIT.done;
  }
  throw new LookasideError(
    'NOT_FOUND',
    `${server.name} has no verified signature that is for ${names.map((name) => `${name}:${tag}`).join(' or ')}; lookaside list ${names.at(-1)} shows what it has of that repository`,
  );
}

async function imagesWithTag(server: SignatureServer, repository: string, tag: string) {
  const found = new Set<string>();
  for await (const { image } of server.search({ ...ANY_SIGNATURE, repository, tag })) found.add(image);
  const images: { readonly image: string; readonly signatures: readonly StoredSignature[] }[] = [];
  for (const name of found) {
    const image = parseImageName(DEFAULT_SITE, name);
    if (image !== null) images.push({ image: name, signatures: await server.ofImage(image) });
  }
  return images;
}

/** The names that are an image's. @throws LookasideError CONFIG_INVALID when none is */
function imagesOf(argument: string, names: readonly string[]): readonly ImageId[] {
  const images = names.flatMap((name) => parseImageName(DEFAULT_SITE, name) ?? []);
  if (images.length > 0) return images;
  const message = `${quoted(argument)} is a repository; wanted one of its images, by a tag like team/app:v1, or by digest as lookaside list names them`;
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
