// lookaside show: all about each signature of one image.
import { openAskedSignatures } from '../compose/asked-signatures.ts';
import type { Config } from '../config.ts';
import { LookasideError } from '../domain/errors.ts';
import { DEFAULT_SITE, type ImageId, imageName, parseImageName } from '../domain/image.ts';
import type { MirroredImage } from '../domain/mirror.ts';
import { ANY_SIGNATURE, type ImageNotes, type SignatureServer } from '../domain/remote.ts';
import { textOfDifference } from '../domain/signature-readers.ts';
import type { StoredSignature } from '../domain/stored-signature.ts';
import { quoted } from '../domain/text.ts';
import type { Withdrawn } from '../domain/tombstone.ts';
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
  const options = { onRetry: tellRetry, patienceMs: QUESTION_PATIENCE_MS };
  await using server = await openAskedSignatures(config, options);
  const stored = await firstStored(server, images);
  if (stored === null) {
    const names = images.map(imageName).join(' or ');
    throw new LookasideError(
      'NOT_FOUND',
      `${server.name} has no signatures of ${names}; lookaside list shows what it has`,
    );
  }
  const name = imageName(stored.image);
  const { signatures, withdrawn, mirror } = stored;
  if (json) printJson({ image: name, signatures, withdrawn, mirror });
  else print(formatSignatures(name, signatures, { userIds: await server.userIds(), withdrawn, mirror }));
  return EXIT.done;
}

interface TagOptions {
  /** The names that the repository may have, likeliest first. */
  readonly names: readonly string[];
  readonly tag: string;
  readonly json: boolean;
}

/** Each image of which a signature claims the tag, that of the newest signature first. */
async function showTag(config: Config, { names, tag, json }: TagOptions): Promise<number> {
  const options = { onRetry: tellRetry, patienceMs: QUESTION_PATIENCE_MS };
  await using server = await openAskedSignatures(config, options);
  for (const repository of names) {
    const images = await imagesWithTag(server, repository, tag);
    if (images.length === 0) continue;
    if (json) printJson({ images });
    else {
      const userIds = await server.userIds();
      const texts = images.map(({ image, signatures, ...beside }) =>
        formatSignatures(image, signatures, { userIds, ...beside }),
      );
      print(texts.join('\n\n'));
      if (images.length > 1) tell(`${images.length} images were signed as ${repository}:${tag}`);
    }
    return EXIT.done;
  }
  throw new LookasideError(
    'NOT_FOUND',
    `${server.name} has no verified signature that is for ${names.map((name) => `${name}:${tag}`).join(' or ')}; lookaside list ${names.at(-1)} shows what it has of that repository, and with --state withdrawn what was taken away`,
  );
}

async function imagesWithTag(
  server: Pick<SignatureServer, 'search'> & ImageNotes,
  repository: string,
  tag: string,
) {
  const imagesByName = new Map<string, ImageId | null>();
  for await (const { image, site } of server.search({ ...ANY_SIGNATURE, repository, tag })) {
    imagesByName.set(`${site}/${image}`, parseImageName(site, image));
  }
  const images: ({ readonly image: string } & ImageDetails)[] = [];
  for (const image of imagesByName.values()) {
    if (image !== null) images.push({ image: imageName(image), ...(await server.details(image)) });
  }
  return images;
}

type ImageDetails = Awaited<ReturnType<ImageNotes['details']>>;

/** The names that are an image's. @throws LookasideError CONFIG_INVALID when none is */
function imagesOf(argument: string, names: readonly string[]): readonly ImageId[] {
  const images = names.flatMap((name) => parseImageName(DEFAULT_SITE, name) ?? []);
  if (images.length > 0) return images;
  const message = `${quoted(argument)} is a repository; wanted one of its images, by a tag like team/app:v1, or by digest as lookaside list names them`;
  throw new LookasideError('CONFIG_INVALID', message);
}

/** The first of them of which the server has something, under that name, or as a mirror serves it. */
export async function firstStored(
  server: Pick<SignatureServer, 'search'> & ImageNotes,
  images: readonly ImageId[],
) {
  for (const image of images) {
    const details = await server.details(image);
    if (hasAny(details)) return { image, ...details };
  }
  for (const image of images) {
    for (const site of await sitesWith(server, image)) {
      const there = { ...image, site };
      const details = await server.details(there);
      if (hasAny(details)) return { image: there, ...details };
    }
  }
  return servedElsewhere(server, images);
}

/** Below the prefix of a mirror's view the same image has another name: the one that clients ask for. */
async function servedElsewhere(
  server: Pick<SignatureServer, 'search'> & ImageNotes,
  images: readonly ImageId[],
) {
  const asked = new Set(images.map((image) => `/${imageName(image)}`));
  const looked = new Set<string>();
  for (const { algorithm, hex } of images) {
    for await (const { site, image: name } of server.search({
      ...ANY_SIGNATURE,
      digest: `${algorithm}:${hex}`,
    })) {
      const image = parseImageName(site, name);
      if (site === DEFAULT_SITE || image === null || looked.has(`${site}/${name}`)) continue;
      looked.add(`${site}/${name}`);
      const details = await server.details(image);
      if (details.mirror?.servedAs.some((served) => asked.has(served))) return { image, ...details };
    }
  }
  return null;
}

function hasAny({ signatures, withdrawn }: ImageDetails): boolean {
  return signatures.length + withdrawn.length > 0;
}

/** Mirrors keep theirs beside the signatures that were uploaded. */
async function sitesWith(server: Pick<SignatureServer, 'search'>, { path, algorithm, hex }: ImageId) {
  const sites = new Set<string>();
  const filter = { ...ANY_SIGNATURE, repository: path === '' ? null : path, digest: `${algorithm}:${hex}` };
  for await (const { site } of server.search(filter)) sites.add(site);
  sites.delete(DEFAULT_SITE);
  return sites;
}

export function formatSignatures(
  name: string,
  signatures: readonly StoredSignature[],
  beside: {
    readonly userIds: ReadonlyMap<string, string>;
    readonly withdrawn: readonly Withdrawn[];
    readonly mirror: MirroredImage | null;
  },
): string {
  const { userIds, withdrawn, mirror } = beside;
  const gone = new Set(mirror?.goneUpstream);
  const blocks = signatures.map((signature) => {
    const isGone = gone.has(signature.signatureSha256);
    const facts = factsOf(signature, userIds);
    return formatTable(isGone ? [...facts, ['upstream', 'gone-upstream: the mirror keeps it']] : facts);
  });
  return [
    formatTable([['image', name], ...mirrorFacts(mirror)]),
    ...blocks,
    ...withdrawn.map(formatWithdrawn),
  ].join('\n\n');
}

function formatWithdrawn({ path, until, ...withdrawn }: Withdrawn): string {
  return formatTable([
    ['path', path],
    ['state', 'withdrawn: clients do not get it, and its bytes are refused'],
    ['withdrawn', withdrawn.withdrawnAt.toISOString()],
    ['by', withdrawn.withdrawnBy],
    ['because', withdrawn.reason],
    ['until', until === null ? 'for good' : until.toISOString()],
    ['audit event', String(withdrawn.auditSeq)],
    ['sha256', withdrawn.signatureSha256],
  ]);
}

function mirrorFacts(mirror: MirroredImage | null): readonly (readonly [string, string])[] {
  if (mirror === null) return [];
  const { upstream, checkedAt, servedAs, leftOut } = mirror;
  return [
    ...servedAs.map((name) => ['served as', name] as const),
    ['mirrored from', upstream ?? '-'],
    ['asked there', checkedAt.toISOString()],
    ...leftOut.map(({ sha256, code }) => ['left out', `${sha256}: ${code}`] as const),
  ];
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
    ...signature.readers.map((difference) => ['differs', textOfDifference(difference)] as const),
  ];
  return facts.flatMap(([label, value]) => (value === null ? [] : [[label, value] as const]));
}

function timeOf(at: Date | null): string | null {
  return at?.toISOString() ?? null;
}
