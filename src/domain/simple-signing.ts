// The payload of a simple signature (containers-signature.5.md), read as strictly as containers/image reads it
// (signature/simple.go, signature/internal/json.go), and as strictly as other clients where they are stricter.
import { LookasideError } from './errors.ts';
import { type Digest, parseDigest } from './image.ts';
import { MAX_CREATOR_BYTES, MAX_REFERENCE_BYTES } from './limits.ts';
import { type JsonValue, readJson } from './strict-json.ts';
import { quoted } from './text.ts';
import type { Claim } from './verdict.ts';

const TYPE = 'atomic container signature';
const COSIGN_TYPE = 'cosign container image signature';

const REMEDY =
  'sign again with podman, skopeo standalone-sign or another tool that writes containers-signature(5) payloads';

export interface Payload {
  readonly claim: Claim;
  /** False when OpenShift or Pulp refuse it for members beside the claim. */
  readonly isReadByAll: boolean;
}

/**
 * What the payload claims. Top level, `critical`, `image` and `identity` have exactly the members of the format; `optional`
 * may have others, which are ignored. @throws LookasideError PAYLOAD_INVALID saying what is wrong
 */
export function parsePayload(content: Uint8Array): Payload {
  const { critical, optional } = exactMembers(jsonOf(content), 'the payload', ['critical', 'optional']);
  const { type, image, identity } = exactMembers(critical, 'critical', ['type', 'image', 'identity']);
  requireType(textOf(type, 'critical.type'));
  const { 'docker-manifest-digest': digest } = exactMembers(image, 'critical.image', [
    'docker-manifest-digest',
  ]);
  const { 'docker-reference': reference } = exactMembers(identity, 'critical.identity', ['docker-reference']);
  const others = membersOf(optional, 'optional');
  const claim = {
    ...digestOf(textOf(digest, 'critical.image.docker-manifest-digest')),
    dockerReference: boundedTextOf(reference, 'critical.identity.docker-reference', MAX_REFERENCE_BYTES),
    creator: creatorOf(others),
  };
  return { claim, isReadByAll: isReadByAll(others) };
}

function jsonOf(content: Uint8Array): JsonValue {
  try {
    return readJson(content);
  } catch (error) {
    if (error instanceof SyntaxError)
      return refuse(`the payload is not strict JSON: ${error.message}`, error);
    throw error;
  }
}

function exactMembers<Name extends string>(
  value: JsonValue,
  where: string,
  names: readonly Name[],
): Record<Name, JsonValue> {
  const members = membersOf(value, where);
  const unknown = [...members.keys()].find((name) => !names.some((known) => known === name));
  if (unknown !== undefined)
    refuse(`${where} has the member ${quoted(unknown)}, expected ${list(names)} alone`);
  const entries = names.map((name) => {
    const member = members.get(name);
    return [name, member ?? refuse(`${where} has no member ${quoted(name)}, expected ${list(names)}`)];
  });
  return Object.fromEntries(entries) as Record<Name, JsonValue>; // one entry for each name
}

/** The members by unescaped name. */
function membersOf(value: JsonValue, where: string): ReadonlyMap<string, JsonValue> {
  if (value.kind !== 'object') return refuse(`${where} is ${describe(value)}, expected an object`);
  const members = new Map<string, JsonValue>();
  for (const { name, value: content } of value.members) {
    if (members.has(name)) refuse(`${where} has the member ${quoted(name)} twice, expected once`);
    members.set(name, content);
  }
  return members;
}

function requireType(type: string): void {
  if (type === TYPE) return;
  if (type === COSIGN_TYPE)
    refuse(
      `critical.type is ${quoted(COSIGN_TYPE)}, a payload of cosign, which signedBy policies refuse; expected ${quoted(TYPE)}`,
    );
  refuse(`critical.type is ${quoted(type)}, expected ${quoted(TYPE)}`);
}

function digestOf(text: string): Digest {
  return (
    parseDigest(text) ??
    refuse(
      `critical.image.docker-manifest-digest is ${quoted(text)}, expected sha256:, sha384: or sha512: with 64, 96 or 128 lower-case hex digits`,
    )
  );
}

function creatorOf(optional: ReadonlyMap<string, JsonValue>): string | null {
  requireWholeSeconds(optional.get('timestamp'));
  const creator = optional.get('creator');
  return creator === undefined ? null : boundedTextOf(creator, 'optional.creator', MAX_CREATOR_BYTES);
}

/**
 * OpenShift (library-go) refuses unknown members and a timestamp that is not an integer literal. Pulp refuses a timestamp
 * below zero.
 */
function isReadByAll(optional: ReadonlyMap<string, JsonValue>): boolean {
  const timestamp = optional.get('timestamp');
  return (
    [...optional.keys()].every((name) => name === 'creator' || name === 'timestamp') &&
    (timestamp === undefined || (timestamp.kind === 'number' && /^\d+$/.test(timestamp.text)))
  );
}

// containers/image reads a double and converts it to an int64, which must be equal: 1.5e9 passes, 0.5 does not
function requireWholeSeconds(timestamp: JsonValue | undefined): void {
  if (timestamp === undefined || (timestamp.kind === 'number' && isInt64(timestamp.value))) return;
  refuse(`optional.timestamp is ${describe(timestamp)}, expected a whole number of seconds within 64 bits`);
}

// 2^63 itself overflows on amd64 and passes on arm64
function isInt64(value: number): boolean {
  return Number.isInteger(value) && value >= -(2 ** 63) && value < 2 ** 63;
}

function boundedTextOf(value: JsonValue, where: string, maxBytes: number): string {
  const text = textOf(value, where);
  const sizeBytes = new TextEncoder().encode(text).length;
  if (sizeBytes > maxBytes) refuse(`${where} has ${sizeBytes} bytes, expected at most ${maxBytes}`);
  return text;
}

function textOf(value: JsonValue, where: string): string {
  return value.kind === 'string' ? value.value : refuse(`${where} is ${describe(value)}, expected a string`);
}

function describe(value: JsonValue): string {
  switch (value.kind) {
    case 'object':
      return 'an object';
    case 'array':
      return 'an array';
    case 'string':
      return `the string ${quoted(value.value)}`;
    case 'number':
    case 'boolean':
      return `${value.value}`;
    case 'null':
      return 'null';
  }
}

function list(names: readonly string[]): string {
  return names.map(quoted).join(', ');
}

function refuse(message: string, cause?: unknown): never {
  throw new LookasideError('PAYLOAD_INVALID', `${message}; ${REMEDY}`, { cause });
}
