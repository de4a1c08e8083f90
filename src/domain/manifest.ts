// A manifest's digest as containers/image computes it (manifest.Digest): over the bytes as they are, but for Docker's
// signed schema 1 over the payload that its own signatures (JWS, of libtrust) are for.
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
 * The bytes whose SHA-256 is the manifest's digest. Stricter than containers/image in what readers could take for
 * different things: no strict JSON, a member that matters twice or in other letters (Go ignores case), and a schema 1
 * that says other things than the payload in its signatures, which containers/image never compares.
 * @throws LookasideError CONFIG_INVALID saying what was found
 */
export function digestedBytes(manifest: Uint8Array): Uint8Array {
  const document = objectOf(manifest, 'the manifest');
  const signatures = signaturesOf(document);
  if (signatures === null) return manifest;
  const payload = payloadOf(manifest, signatures);
  if (!saysTheSame(document, objectOf(payload, 'what the manifest has signed of itself'))) {
    refuse('the manifest says other things than what it has signed of itself');
  }
  return payload;
}

type JsonObject = Extract<JsonValue, { kind: 'object' }>;

/** Those of a signed schema 1; null for every other manifest. */
function signaturesOf(document: JsonObject): JsonValue | null {
  const signatures = memberOf(document, 'signatures');
  const type = memberOf(document, 'mediaType');
  const version = memberOf(document, 'schemaVersion');
  if (type !== null && type.kind !== 'string') return refuse('mediaType is not a string');
  if (version !== null && version.kind !== 'number') return refuse('schemaVersion is not a number');
  if (type !== null && LATER_TYPES.has(type.value)) return null;
  return version?.value === 1 ? signatures : null;
}

/** The manifest as it was before its signatures were put in: its beginning, and an end that each signature holds. */
function payloadOf(manifest: Uint8Array, signatures: JsonValue): Uint8Array {
  if (signatures.kind !== 'array') return refuse('signatures is not a list');
  const [first, ...others] = signatures.items.map(readProtected);
  if (first === undefined) return refuse('it is of schema 1 and its list of signatures is empty');
  const isOne = others.every(({ length, tail }) => length === first.length && equal(tail, first.tail));
  if (!isOne) refuse('its signatures are for different payloads');
  if (first.length > manifest.length) refuse(`formatLength is ${first.length}, more than the manifest has`);
  const payload = new Uint8Array(first.length + first.tail.length);
  payload.set(manifest.subarray(0, first.length));
  payload.set(first.tail, first.length);
  return payload;
}

interface ProtectedHeader {
  /** How many bytes of the manifest the payload begins with. */
  readonly length: number;
  /** What follows them in the payload. */
  readonly tail: Uint8Array;
}

function readProtected(signature: JsonValue): ProtectedHeader {
  const block = requireObject(signature, 'an entry of its signatures');
  const encoded = memberOf(block, 'protected');
  const header = objectOf(bytesOf(encoded, 'protected'), 'the protected header of a signature');
  const length = memberOf(header, 'formatLength');
  if (length?.kind !== 'number' || !Number.isSafeInteger(length.value) || length.value < 1) {
    return refuse('a signature has no formatLength that is a number of bytes');
  }
  return { length: length.value, tail: bytesOf(memberOf(header, 'formatTail'), 'formatTail') };
}

/** Base64url, as JWS has it; padding may be there. */
function bytesOf(value: JsonValue | null, name: string): Uint8Array {
  const text = value?.kind === 'string' ? value.value.replace(/={1,2}$/, '') : '';
  if (!/^[A-Za-z0-9_-]+$/.test(text) || text.length % 4 === 1) {
    return refuse(`a signature has no ${name} in base64url`);
  }
  const binary = atob(text.replaceAll('-', '+').replaceAll('_', '/'));
  return Uint8Array.from(binary, (character) => character.charCodeAt(0));
}

function equal(one: Uint8Array, other: Uint8Array): boolean {
  return one.length === other.length && one.every((octet, i) => octet === other[i]);
}

function saysTheSame(document: JsonObject, payload: JsonObject): boolean {
  const members = document.members.filter(({ name }) => name !== 'signatures');
  return JSON.stringify(members) === JSON.stringify(payload.members);
}

// --- JSON

function objectOf(content: Uint8Array, what: string): JsonObject {
  try {
    return requireObject(readJson(content), what);
  } catch (error) {
    if (error instanceof SyntaxError) return refuse(`${what} is not strict JSON: ${error.message}`, error);
    throw error;
  }
}

function requireObject(value: JsonValue, what: string): JsonObject {
  return value.kind === 'object' ? value : refuse(`${what} is not a JSON object`);
}

/** Null when it is absent or null. */
function memberOf({ members }: JsonObject, name: string): JsonValue | null {
  const wanted = folded(name);
  const [found, second] = members.filter((member) => folded(member.name) === wanted);
  if (found === undefined) return null;
  if (second !== undefined) return refuse(`it has the member ${quoted(name)} twice`);
  if (found.name !== name) return refuse(`it has the member ${quoted(found.name)}, meaning ${quoted(name)}`);
  return found.value.kind === 'null' ? null : found.value;
}

/** Equal for names that Go takes for each other, as U+017F for s and U+212A for k. */
function folded(name: string): string {
  return name.toUpperCase().toLowerCase();
}

function refuse(found: string, cause?: unknown): never {
  const message = `this is no manifest that all clients read alike: ${found}; expected what this writes, unchanged: skopeo inspect --raw docker://REFERENCE`;
  throw new LookasideError('CONFIG_INVALID', message, { cause });
}
