// policy.json as containers/image parses it (signature/policy_config.go): what it refuses whole, we refuse with line and column.

import { parseReference } from '../reference.ts';
import { JsonError, type JsonMember, type JsonValue, lineOf, readJson } from '../strict-json.ts';
import { quoted } from '../text.ts';
import { scopeFault } from './scope-fault.ts';

/** Which name a signature must carry (containers-policy.json.5, "signedIdentity"). */
export type IdentityRule =
  | { readonly type: 'matchExact' | 'matchRepoDigestOrExact' | 'matchRepository' }
  | { readonly type: 'exactReference'; readonly dockerReference: string }
  | { readonly type: 'exactRepository'; readonly dockerRepository: string }
  | { readonly type: 'remapIdentity'; readonly prefix: string; readonly signedPrefix: string };

/** Where the keys of a `signedBy` lie: files, of which each is read, or the bytes themselves. */
export type KeySource =
  | { readonly kind: 'paths'; readonly paths: readonly string[] }
  | { readonly kind: 'data'; readonly bytes: Uint8Array };

export type Requirement =
  | { readonly type: 'insecureAcceptAnything' | 'reject' | 'signedBaseLayer' | 'sigstoreSigned' }
  | {
      readonly type: 'signedBy';
      readonly keyType: string;
      readonly keys: KeySource;
      readonly identity: IdentityRule;
    };

export interface Policy {
  readonly default: readonly Requirement[];
  /** Requirements by scope, by transport. */
  readonly transports: ReadonlyMap<string, ReadonlyMap<string, readonly Requirement[]>>;
}

/** Why clients refuse the whole file, and with it every image. */
export class PolicyFault extends Error {
  /** From 1. */
  readonly line: number;
  /** From 1. */
  readonly column: number;

  constructor(message: string, { line, column }: { readonly line: number; readonly column: number }) {
    super(message);
    this.name = 'PolicyFault';
    this.line = line;
    this.column = column;
  }
}

/** Scopes of one transport. A policy of 10 MiB has fewer. */
const MAX_POLICY_MEMBERS = 100_000;

/** @throws PolicyFault where containers/image refuses the file */
export function parsePolicy(content: Uint8Array): Policy {
  const places = new Map<JsonMember, number>();
  const locate = (at: number) => lineOf(content, at);
  try {
    const value = readJson(content, {
      maxMembers: MAX_POLICY_MEMBERS,
      onMember: (member, at) => places.set(member, at),
    });
    return new PolicyReader(places).policy(value);
  } catch (error) {
    if (error instanceof JsonError) throw new PolicyFault(`is not JSON: ${error.message}`, locate(error.at));
    if (error instanceof Misplaced) throw new PolicyFault(error.message, locate(error.at));
    throw error;
  }
}

class Misplaced extends Error {
  readonly at: number;

  constructor(message: string, at: number) {
    super(message);
    this.at = at;
  }
}

type Members = ReadonlyMap<string, JsonMember>;

const KEY_TYPES = ['GPGKeys', 'signedByGPGKeys', 'X509Certificates', 'signedByX509CAs'];
const KEY_SOURCES = ['keyPath', 'keyPaths', 'keyData'];
const SIGSTORE_SOURCES = ['keyPath', 'keyPaths', 'keyData', 'keyDatas', 'fulcio', 'pki'];
const REKOR = [
  'rekorPublicKeyPath',
  'rekorPublicKeyPaths',
  'rekorPublicKeyData',
  'rekorPublicKeyDatas',
  'signedIdentity',
];

/** `at` is the place of the member that a value stands in. */
class PolicyReader {
  readonly #places: ReadonlyMap<JsonMember, number>;

  constructor(places: ReadonlyMap<JsonMember, number>) {
    this.#places = places;
  }

  policy(value: JsonValue): Policy {
    const members = this.#members(value, 0, 'the policy', ['default', 'transports']);
    const standard = members.get('default');
    if (standard === undefined) throw new Misplaced('has no "default", which every policy must have', 0);
    const transports = members.get('transports');
    return {
      default: this.#requirements(standard),
      transports: transports === undefined ? new Map() : this.#transports(transports),
    };
  }

  #transports(member: JsonMember): Policy['transports'] {
    const transports = new Map<string, ReadonlyMap<string, readonly Requirement[]>>();
    for (const [name, scopes] of this.#members(member.value, this.#at(member), '"transports"', null)) {
      transports.set(name, this.#scopes(name, scopes));
    }
    return transports;
  }

  #scopes(transport: string, member: JsonMember): ReadonlyMap<string, readonly Requirement[]> {
    const requirementsOf = new Map<string, readonly Requirement[]>();
    const members = this.#members(member.value, this.#at(member), `transports.${transport}`, null);
    for (const [scope, requirements] of members) {
      const fault = scope === '' ? null : scopeFault(transport, scope);
      if (fault !== null)
        throw new Misplaced(
          `${quoted(scope)} is not a scope of ${transport}: ${fault}`,
          this.#at(requirements),
        );
      requirementsOf.set(scope, this.#requirements(requirements));
    }
    return requirementsOf;
  }

  #requirements(member: JsonMember): readonly Requirement[] {
    const at = this.#at(member);
    const { value } = member;
    if (value.kind !== 'array' || value.items.length === 0)
      throw new Misplaced(`${quoted(member.name)} must be a list of at least one requirement`, at);
    return value.items.map((item) => this.#requirement(item, at));
  }

  #requirement(value: JsonValue, at: number): Requirement {
    const members = this.#members(value, at, 'the requirement', null);
    const type = this.#text(members, 'type', at);
    switch (type) {
      case 'insecureAcceptAnything':
      case 'reject':
        this.#only(members, type, ['type']);
        return { type };
      case 'signedBaseLayer':
        this.#only(members, type, ['type', 'baseLayerIdentity']);
        this.#identity(this.#member(members, 'baseLayerIdentity', at));
        return { type };
      case 'signedBy':
        return this.#signedBy(members, at);
      case 'sigstoreSigned':
        return this.#sigstoreSigned(members, at);
      default:
        throw new Misplaced(
          `the requirement has the type ${quoted(type)}; expected insecureAcceptAnything, reject, signedBy or sigstoreSigned`,
          this.#at(this.#member(members, 'type', at)),
        );
    }
  }

  #signedBy(members: Members, at: number): Requirement {
    this.#only(members, 'signedBy', ['type', 'keyType', ...KEY_SOURCES, 'signedIdentity']);
    const keyType = this.#text(members, 'keyType', at);
    if (!KEY_TYPES.includes(keyType))
      throw new Misplaced(`unknown keyType ${quoted(keyType)}; expected GPGKeys`, at);
    const source = this.#oneOf(members, KEY_SOURCES, at);
    const identity = members.get('signedIdentity');
    return {
      type: 'signedBy',
      keyType,
      keys: this.#keys(source),
      identity: identity === undefined ? { type: 'matchRepoDigestOrExact' } : this.#identity(identity),
    };
  }

  #keys(member: JsonMember): KeySource {
    const { name, value } = member;
    const at = this.#at(member);
    if (name === 'keyPath') {
      if (value.kind === 'string' && value.value !== '') return { kind: 'paths', paths: [value.value] };
      throw new Misplaced('keyPath must name a file', at);
    }
    if (name === 'keyPaths') {
      if (value.kind !== 'array') throw new Misplaced('keyPaths must be a list of files', at);
      return { kind: 'paths', paths: value.items.map((item) => pathIn(item, at)) };
    }
    const bytes = value.kind === 'string' ? decodeBase64(value.value) : null;
    if (bytes === null) throw new Misplaced('keyData must be base64 of what gpg --export writes', at);
    return { kind: 'data', bytes };
  }

  // Which keys and certificates these name is not ours to judge; the form is, as a fault there refuses the whole file
  #sigstoreSigned(members: Members, at: number): Requirement {
    this.#only(members, 'sigstoreSigned', ['type', ...SIGSTORE_SOURCES, ...REKOR]);
    this.#oneOf(members, SIGSTORE_SOURCES, at);
    const identity = members.get('signedIdentity');
    if (identity !== undefined) this.#identity(identity);
    return { type: 'sigstoreSigned' };
  }

  #identity(member: JsonMember): IdentityRule {
    const at = this.#at(member);
    const members = this.#members(member.value, at, quoted(member.name), null);
    const type = this.#text(members, 'type', at);
    switch (type) {
      case 'matchExact':
      case 'matchRepoDigestOrExact':
      case 'matchRepository':
        this.#only(members, type, ['type']);
        return { type };
      case 'exactReference': {
        this.#only(members, type, ['type', 'dockerReference']);
        const dockerReference = this.#text(members, 'dockerReference', at);
        const parsed = parseReference(dockerReference);
        if (parsed === null || (parsed.tag === null && parsed.digest === null))
          throw new Misplaced(`dockerReference ${quoted(dockerReference)} needs a tag or a digest`, at);
        return { type, dockerReference };
      }
      case 'exactRepository': {
        this.#only(members, type, ['type', 'dockerRepository']);
        const dockerRepository = this.#text(members, 'dockerRepository', at);
        if (parseReference(dockerRepository) === null)
          throw new Misplaced(`dockerRepository ${quoted(dockerRepository)} is not a repository`, at);
        return { type, dockerRepository };
      }
      case 'remapIdentity': {
        this.#only(members, type, ['type', 'prefix', 'signedPrefix']);
        const [prefix, signedPrefix] = [
          this.#prefix(members, 'prefix', at),
          this.#prefix(members, 'signedPrefix', at),
        ];
        return { type, prefix, signedPrefix };
      }
      default:
        throw new Misplaced(`unknown type ${quoted(type)} of ${quoted(member.name)}`, at);
    }
  }

  #prefix(members: Members, name: string, at: number): string {
    const text = this.#text(members, name, at);
    if (PREFIX.test(text)) return text;
    throw new Misplaced(`${name} ${quoted(text)} must be a host or a repository with its host`, at);
  }

  /** @throws Misplaced for a name that stands twice, and for one that is not of `allowed`; null: all are */
  #members(value: JsonValue, at: number, where: string, allowed: readonly string[] | null): Members {
    if (value.kind !== 'object') throw new Misplaced(`${where} must be an object`, at);
    const membersByName = new Map<string, JsonMember>();
    for (const member of value.members) {
      const { name } = member;
      if (membersByName.has(name))
        throw new Misplaced(`${quoted(name)} stands twice in ${where}`, this.#at(member));
      membersByName.set(name, member);
    }
    if (allowed !== null) this.#only(membersByName, where, allowed);
    return membersByName;
  }

  #only(members: Members, where: string, allowed: readonly string[]): void {
    for (const [name, member] of members) {
      if (allowed.includes(name)) continue;
      throw new Misplaced(
        `${where} has the unknown field ${quoted(name)}; known are ${allowed.join(', ')}`,
        this.#at(member),
      );
    }
  }

  #oneOf(members: Members, names: readonly string[], at: number): JsonMember {
    const [one, another] = names.flatMap((name) => members.get(name) ?? []);
    if (one !== undefined && another === undefined) return one;
    throw new Misplaced(`exactly one of ${names.join(', ')} is wanted`, at);
  }

  #member(members: Members, name: string, at: number): JsonMember {
    const member = members.get(name);
    if (member === undefined) throw new Misplaced(`there is no ${quoted(name)}`, at);
    return member;
  }

  #text(members: Members, name: string, at: number): string {
    const member = this.#member(members, name, at);
    if (member.value.kind === 'string') return member.value.value;
    throw new Misplaced(`${quoted(name)} must be a string`, this.#at(member));
  }

  #at(member: JsonMember): number {
    return this.#places.get(member) ?? 0;
  }
}

// Go reads null in a list of strings as an empty one
function pathIn(item: JsonValue, at: number): string {
  if (item.kind === 'string') return item.value;
  if (item.kind === 'null') return '';
  throw new Misplaced('keyPaths must be a list of files', at);
}

// keep in sync with distribution's reference/regexp.go, as domain/reference.ts
const DOMAIN_PART = '(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])';
const PATH_PART = '[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*';
const PREFIX = new RegExp(
  `^(?:${DOMAIN_PART}(?:\\.${DOMAIN_PART})*|\\[[a-fA-F0-9:]+\\])(?::[0-9]+)?(?:/${PATH_PART})*$`,
);

const BASE64 = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/;

/** As Go's standard encoding reads it, which skips line ends. */
function decodeBase64(text: string): Uint8Array | null {
  const packed = text.replace(/[\r\n]/g, '');
  return BASE64.test(packed) ? Uint8Array.from(atob(packed), (character) => character.charCodeAt(0)) : null;
}
