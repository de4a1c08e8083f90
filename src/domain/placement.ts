// Whether a signature belongs where it is stored: compares its verified claim with the image.
import { LookasideError } from './errors.ts';
import { type ImageId, imageFolder, whyTooLong } from './image.ts';
import { parseTarget } from './lookaside-path.ts';
import { parseReference } from './reference.ts';
import { fittingRemap, isRemapped, type Remap } from './remap.ts';
import { quoted } from './text.ts';
import type { Claim, Refusal } from './verdict.ts';

/** Null when the claim is about this image's manifest. */
export function digestRefusal(image: ImageId, claim: Claim): Refusal | null {
  if (claim.algorithm === image.algorithm && claim.hex === image.hex) return null;
  return {
    code: 'DIGEST_MISMATCH',
    message: `the signature is for the manifest ${claim.algorithm}:${claim.hex}, not for ${image.algorithm}:${image.hex}; store it under the digest that it names`,
  };
}

/**
 * Null when clients that pull by this repository path could accept the claimed name. The release layout has no repository in
 * its path, so there is nothing to compare with.
 */
export function repositoryRefusal(image: ImageId, claim: Claim): Refusal | null {
  if (image.layout === 'release') return null;
  const path = parseReference(claim.dockerReference)?.path;
  if (path === image.path) return null;
  const remap = fittingRemap(image.path, claim.dockerReference);
  const ifMirrored =
    remap === null
      ? ''
      : `; or, if its policy maps the name of a mirror (remapIdentity), --signed-for ${remap}`;
  return {
    code: 'REPOSITORY_MISMATCH',
    message: `the signature names ${claim.dockerReference}, whose repository path is ${path ?? 'none'}, not ${image.path}. If clients pull the image by the signed name, upload the signature below that path (lookaside push --as-signed)${ifMirrored}. Else sign the name that is pulled`,
  };
}

/**
 * The remap of `asked` by which the claimed name is one for the image's path; null when none is needed.
 * @throws LookasideError REPOSITORY_MISMATCH, and REMAP_NOT_ALLOWED when none of `allowed` does the same
 */
export function remapOf(
  image: ImageId,
  claim: Claim,
  { asked, allowed }: { readonly asked: readonly Remap[]; readonly allowed: readonly Remap[] },
): Remap | null {
  const refusal = repositoryRefusal(image, claim);
  if (refusal === null) return null;
  const remap = asked.find((one) => isRemapped(image.path, claim, one));
  if (remap === undefined) throw new LookasideError(refusal.code, refusal.message);
  if (allowed.some((one) => isRemapped(image.path, claim, one))) return remap;
  throw new LookasideError(
    'REMAP_NOT_ALLOWED',
    `this server takes nothing below ${image.path} that was signed for ${claim.dockerReference}: ${remap.text} is not among the names that its operator allows. Ask the operator to set LOOKASIDE_REMAP=${remap.text} (more are separated by commas) and to reload the server with SIGHUP`,
  );
}

/** The image that the claim names; null when its reference names no repository, or one whose name is too long for a tree. */
export function claimedImage(site: string, claim: Claim): ImageId | null {
  const image = namedImage(site, claim);
  return image === null || whyTooLong(imageFolder(image)) !== null ? null : image;
}

/** The error for a claim whose repository name is too long for a tree; else null. */
export function tooLongClaim(claim: Claim): LookasideError | null {
  const image = namedImage('', claim);
  const why = image === null ? null : whyTooLong(imageFolder(image));
  return why === null ? null : new LookasideError('PATH_INVALID', why);
}

function namedImage(site: string, { algorithm, hex, dockerReference }: Claim): ImageId | null {
  const path = parseReference(dockerReference)?.path;
  return path === undefined ? null : { site, layout: 'repository', path, algorithm, hex };
}

/**
 * The image when a file's name is a full lookaside path, with or without `signature-N`; else null.
 * @throws LookasideError PATH_INVALID when only its length keeps it from being one
 */
export function imageNamed(site: string, fileName: string): ImageId | null {
  const target = parseTarget(site, '', `/${fileName.replace(/^\/+/, '')}`);
  if (target.kind === 'nothing' && target.tooLong !== undefined) {
    throw new LookasideError('PATH_INVALID', target.tooLong);
  }
  return 'image' in target ? target.image : null;
}

/** The path of the image's signature-N, as in a URL: `/team/app@sha256=<hex>/signature-2`. */
export function signaturePath(image: ImageId, number: number): string {
  return `/${imageFolder(image)}/signature-${number}`;
}

/** The error PATH_INVALID for what should be the path of a signature. */
export function unknownSignaturePath(path: string): LookasideError {
  return new LookasideError(
    'PATH_INVALID',
    `${quoted(path)} names no signature; wanted its path below the server, like team/app@sha256=<hex>/signature-2, as lookaside show names it`,
  );
}
