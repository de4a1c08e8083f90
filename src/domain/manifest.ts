// What a manifest must be so that all clients read it alike. Its digest is then the digest of its bytes, as
// containers/image computes it (manifest.Digest).
import { LookasideError } from './errors.ts';
import { type JsonValue, readJson } from './strict-json.ts';
import { quoted } from './text.ts';

/** These are never schema 1, whatever else they say. Source: containers/image manifest.GuessMIMEType */
const LATER_TYPES: ReadonlySet<string> = new Set([
  'application/vnd.docker.distribution.manifest.v2+json',
  'application/vnd.docker.distribution.manifest.list.v2+json',
  'application/vnd.oci.image.manifest.v1+json',
  'application/vnd.oci.image.index.v1+json',
]);

/**
 * Refuses what readers could understand differently: text that is not JSON, and an important member that stands twice
 * or in other case (Go ignores case). Also refuses Docker's schema 1, whose digest covers only a part of the manifest.
 * @throws LookasideError CONFIG_INVALID
 */
export function requireManifest(manifest: Uint8Array): void {
  if (!isSchema1(manifest)) return;
  throw new LookasideError(
    'CONFIG_INVALID',
    'this is a manifest of Docker’s schema 1, which registries have given up and lookaside does not verify; expected schema 2 or OCI. Convert the image (skopeo copy --format v2s2 docker://REFERENCE docker://REFERENCE), sign the new one, and verify that',
  );
}

/**
 * Whether it is a manifest of Docker's schema 1, signed or not. @throws LookasideError CONFIG_INVALID when clients do
 * not agree on that
 */
export function isSchema1(manifest: Uint8Array): boolean {
  const document = objectOf(manifest);
  memberOf(document, 'signatures'); // containers/image recognises a signed one by this
  const type = memberOf(document, 'mediaType');
  const version = memberOf(document, 'schemaVersion');
  if (type !== null && type.kind !== 'string') return refuse('mediaType is not a string');
  if (version !== null && version.kind !== 'number') return refuse('schemaVersion is not a number');
  return version?.value === 1 && !(type !== null && LATER_TYPES.has(type.value));
}

type JsonObject = Extract<JsonValue, { kind: 'object' }>;

function objectOf(content: Uint8Array): JsonObject {
  try {
    const value = readJson(content);
    return value.kind === 'object' ? value : refuse('it is not a JSON object');
  } catch (error) {
    if (error instanceof SyntaxError) return refuse(`it is not strict JSON: ${error.message}`, error);
    throw error;
  }
}

/** Null when it is absent or null. */
function memberOf({ members }: JsonObject, name: string): JsonValue | null {
  const wanted = folded(name);
  const [first, second] = members.filter((member) => folded(member.name) === wanted);
  if (first === undefined) return null;
  if (second !== undefined) return refuse(`it has the member ${quoted(name)} twice`);
  if (first.name !== name) return refuse(`it has the member ${quoted(first.name)}, meaning ${quoted(name)}`);
  return first.value.kind === 'null' ? null : first.value;
}

/** Equal for names that Go treats as the same; Go takes U+017F for s and U+212A for k. */
function folded(name: string): string {
  return name.toUpperCase().toLowerCase();
}

function refuse(what: string, cause?: unknown): never {
  const message = `this is not a manifest that all clients read alike: ${what}; expected what this writes, unchanged: skopeo inspect --raw docker://REFERENCE`;
  throw new LookasideError('CONFIG_INVALID', message, { cause });
}
