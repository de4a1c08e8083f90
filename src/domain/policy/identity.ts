// Whether the name in a signature is one that the policy takes (containers/image signature/policy_reference_match.go).
import { type DockerReference, formatReference, parseReference } from '../reference.ts';
import type { IdentityRule } from './policy.ts';

/** `image` is the name that the user typed, with its tag `latest` if it has none; `signed` is what the signature says. */
export function matchesIdentity(rule: IdentityRule, image: DockerReference, signed: string): boolean {
  const signature = parseReference(signed);
  if (signature === null) return false;
  switch (rule.type) {
    case 'matchExact':
      return isSameExactly(image, signature);
    case 'matchRepoDigestOrExact':
      return matchesRepoDigestOrExact(image, signature);
    case 'matchRepository':
      return nameOf(image) === nameOf(signature);
    case 'exactReference': {
      const wanted = parseReference(rule.dockerReference);
      return wanted !== null && isSameExactly(wanted, signature);
    }
    case 'exactRepository': {
      const wanted = parseReference(rule.dockerRepository);
      return wanted !== null && nameOf(wanted) === nameOf(signature);
    }
    case 'remapIdentity': {
      const remapped = remap(rule, image);
      return remapped !== null && matchesRepoDigestOrExact(remapped, signature);
    }
  }
}

function matchesRepoDigestOrExact(image: DockerReference, signature: DockerReference): boolean {
  if (isNameOnly(signature)) return false;
  if (image.tag !== null) return formatReference(signature) === formatReference(image);
  return image.digest !== null && nameOf(signature) === nameOf(image);
}

function isSameExactly(wanted: DockerReference, signature: DockerReference): boolean {
  if (isNameOnly(wanted) || isNameOnly(signature)) return false;
  return formatReference(signature) === formatReference(wanted);
}

/** Null when the result is no reference with its host, as which clients parse it. */
function remap(
  { prefix, signedPrefix }: Extract<IdentityRule, { readonly type: 'remapIdentity' }>,
  image: DockerReference,
): DockerReference | null {
  const name = nameOf(image);
  if (name !== prefix && !name.startsWith(`${prefix}/`)) return image;
  const text = signedPrefix + formatReference(image).slice(prefix.length);
  const parsed = parseReference(text);
  return parsed !== null && formatReference(parsed) === text ? parsed : null;
}

function nameOf({ domain, path }: DockerReference): string {
  return `${domain}/${path}`;
}

function isNameOnly({ tag, digest }: DockerReference): boolean {
  return tag === null && digest === null;
}
