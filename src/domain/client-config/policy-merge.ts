// Merges trust in keys into a policy.json that is there, so that no image is accepted that was refused before.
// How that is decided: docs/decisions/client-config.md.
import { toBase64 } from '../base64.ts';
import { LookasideError } from '../errors.ts';
import { type IdentityRule, type Policy, parsePolicy, type Requirement } from '../policy/policy.ts';
import { scopesFrom, selectRequirements } from '../policy/scopes.ts';
import { type JsonValue, readJson } from '../strict-json.ts';
import { indentOf, jsonArray, jsonObject, jsonText, memberOf, withMember, writeJson } from './policy-json.ts';
import type { TrustedScope } from './wanted.ts';

export interface Note {
  readonly code:
    | 'POLICY_NEW'
    | 'STILL_REFUSED'
    | 'ALSO_WANTED'
    | 'KEYS_NOT_ADDED'
    | 'NARROWER_SECTION'
    | 'WIDENED'
    | 'LOOKASIDE_CHANGED'
    | 'HIDDEN_FILES'
    | 'KEY_LEFT_OUT'
    | 'MIRROR_PATHS'
    | 'POLICY_OF_PLATFORM'
    | 'POLICY_PINNED'
    | 'WHOLE_REGISTRY'
    | 'DOTTED_TAGS'
    | 'NOT_VERIFIED'
    | 'OTHERS_DENIED'
    | 'IMAGE_OF_NODES'
    | 'FIRST_BOOT';
  readonly message: string;
}

export interface MergedPolicy {
  /** As it was when nothing had to be changed. */
  readonly text: string;
  readonly notes: readonly Note[];
}

export interface PolicyToMerge {
  /** Null: there is none, and clients refuse everything. */
  readonly existing: Uint8Array | null;
  readonly scopes: readonly TrustedScope[];
  /** Where clients find the keys of a scope, each an absolute path; null: in the policy itself. */
  readonly keyPathsOf: (scope: TrustedScope) => readonly string[] | null;
  /** Whether what was refused may be accepted afterwards. */
  readonly mayWiden: boolean;
}

/** Scopes of one transport, as parsePolicy() has it. */
const MAX_POLICY_MEMBERS = 100_000;

/**
 * @throws PolicyFault where clients refuse the existing file
 * @throws LookasideError CONFIG_INVALID for a scope that the policy rejects, unless it may be widened
 */
export function mergePolicy({ existing, scopes, keyPathsOf, mayWiden }: PolicyToMerge): MergedPolicy {
  const content = existing ?? EMPTY;
  const before = parsePolicy(content);
  const text = new TextDecoder().decode(content);
  const notes: Note[] = existing === null ? [NEW_POLICY] : [];
  const original = readJson(content, { maxMembers: MAX_POLICY_MEMBERS });
  let value = original;
  let isChanged = existing === null;
  for (const scope of scopes) {
    const ours = requirementFor(scope, keyPathsOf(scope));
    // each is decided by the policy as it was found: one scope of ours gives no leave to another
    const merged = mergeScope({
      before,
      original,
      scope: scope.registry,
      ours,
      isNew: existing === null,
      mayWiden,
    });
    notes.push(...merged.notes, ...narrowerNotes(before, scope.registry, scopes));
    if (merged.requirements === null) continue;
    isChanged = true;
    const transports = memberOf(value, 'transports');
    const docker = withMember(memberOf(transports, 'docker'), scope.registry, jsonArray(merged.requirements));
    value = withMember(value, 'transports', withMember(transports, 'docker', docker));
  }
  if (!isChanged) return { text, notes };
  const written = writeJson(value, indentOf(text));
  parsePolicy(new TextEncoder().encode(written)); // clients read what we write, or nothing is written
  return { text: written, notes };
}

const EMPTY = new TextEncoder().encode('{"default": [{"type": "reject"}]}');

const NEW_POLICY: Note = {
  code: 'POLICY_NEW',
  message:
    'this policy.json is for a machine that has none; it accepts what these keys have signed, and refuses everything else: images of other registries and of files too. Give those sections of their own. Where a machine has a policy.json, --install there or --policy FILE merges into it',
};

/** Ours as parsePolicy() reads it, and as it is written. */
interface Ours {
  readonly requirement: Extract<Requirement, { readonly type: 'signedBy' }>;
  readonly json: JsonValue;
}

function requirementFor({ keys, identity }: TrustedScope, paths: readonly string[] | null): Ours {
  const bytes = concat(keys.map(({ certificate }) => certificate));
  const [only, second] = paths ?? [];
  const source: Record<string, JsonValue> =
    paths === null
      ? { keyData: jsonText(toBase64(bytes)) }
      : only !== undefined && second === undefined
        ? { keyPath: jsonText(only) }
        : { keyPaths: jsonArray(paths.map(jsonText)) };
  const json = jsonObject({
    type: jsonText('signedBy'),
    keyType: jsonText('GPGKeys'),
    ...source,
    ...(identity === null ? {} : { signedIdentity: identityJson(identity) }),
  });
  return {
    json,
    requirement: {
      type: 'signedBy',
      keyType: 'GPGKeys',
      keys: paths === null ? { kind: 'data', bytes } : { kind: 'paths', paths },
      identity: identity ?? { type: 'matchRepoDigestOrExact' },
    },
  };
}

function identityJson(identity: IdentityRule): JsonValue {
  return jsonObject(
    Object.fromEntries(Object.entries(identity).map(([name, text]) => [name, jsonText(String(text))])),
  );
}

interface ScopeToMerge {
  readonly before: Policy;
  /** What `before` was parsed from. */
  readonly original: JsonValue;
  readonly scope: string;
  readonly ours: Ours;
  readonly isNew: boolean;
  readonly mayWiden: boolean;
}

/** `requirements` null: the section in force stays. */
interface MergedScope {
  readonly requirements: readonly JsonValue[] | null;
  readonly notes: readonly Note[];
}

/**
 * A list of requirements means all of them. The new list has every one of the old that still says something, and ours, so that
 * it accepts no image that the old one refuses.
 */
function mergeScope({ before, original, scope, ours, isNew, mayWiden }: ScopeToMerge): MergedScope {
  const { section, requirements } = selectRequirements(before, 'docker', scopesFrom(scope));
  if (isNew) return { requirements: [ours.json], notes: [] };
  const written = itemsOf(original, section);
  const old = requirements.flatMap((requirement, index) => {
    const json = written[index];
    return json === undefined || requirement.type === 'insecureAcceptAnything' ? [] : [{ requirement, json }];
  });
  const isAsWanted = old.length === 1 && old.some((one) => compare(one.requirement, ours) === 'same');
  if (isAsWanted && requirements.length === 1) return { requirements: null, notes: [] };
  if (old.length === 0 || isAsWanted) return { requirements: [ours.json], notes: [] };
  if (mayWiden) return { requirements: [ours.json], notes: [widened(scope, section, old.length)] };
  if (old.some(({ requirement }) => NEVER.includes(requirement.type))) throw wouldWiden(scope, section);
  const narrower = old.find(({ requirement }) => NARROWER.includes(compare(requirement, ours)));
  if (narrower !== undefined) {
    const isSame = compare(narrower.requirement, ours) === 'same';
    const others = old.length > 1 ? [alsoWanted(scope, section)] : [];
    return { requirements: null, notes: isSame ? others : [keysNotAdded(scope, section), ...others] };
  }
  const kept = old.filter(({ requirement }) => compare(requirement, ours) !== 'wider');
  return {
    requirements: [...kept.map(({ json }) => json), ours.json],
    notes: kept.length > 0 ? [alsoWanted(scope, section)] : [],
  };
}

const NEVER: readonly Requirement['type'][] = ['reject', 'signedBaseLayer'];
const NARROWER: readonly Relation[] = ['same', 'narrower'];

/** How much `requirement` accepts beside ours. Files are compared by name: names say which key they hold. */
type Relation = 'same' | 'narrower' | 'wider' | 'other';

function compare(requirement: Requirement, { requirement: ours }: Ours): Relation {
  if (requirement.type !== 'signedBy' || requirement.keyType !== ours.keyType) return 'other';
  if (JSON.stringify(sorted(requirement.identity)) !== JSON.stringify(sorted(ours.identity))) return 'other';
  const [theirs, mine] = [requirement.keys, ours.keys];
  if (theirs.kind === 'data' || mine.kind === 'data') {
    const isEqual =
      theirs.kind === 'data' && mine.kind === 'data' && toBase64(theirs.bytes) === toBase64(mine.bytes);
    return isEqual ? 'same' : 'other';
  }
  const isWithin = theirs.paths.every((path) => mine.paths.includes(path));
  const holdsOurs = mine.paths.every((path) => theirs.paths.includes(path));
  if (isWithin) return holdsOurs ? 'same' : 'narrower';
  return holdsOurs ? 'wider' : 'other';
}

function sorted(identity: IdentityRule): readonly (readonly [string, string])[] {
  return Object.entries(identity).sort(([a], [b]) => (a < b ? -1 : 1));
}

/** The requirements of the section as they are written. */
function itemsOf(value: JsonValue, section: string): readonly JsonValue[] {
  const name = /^transports\.docker\[(.*)\]$/s.exec(section)?.[1];
  const requirements =
    name === undefined
      ? memberOf(value, 'default')
      : memberOf(memberOf(memberOf(value, 'transports'), 'docker'), String(JSON.parse(name)));
  return requirements?.kind === 'array' ? requirements.items : [];
}

function narrowerNotes(policy: Policy, registry: string, wanted: readonly TrustedScope[]): readonly Note[] {
  const notes: Note[] = [];
  for (const [scope, requirements] of policy.transports.get('docker') ?? []) {
    if (!isBelow(scope, registry)) continue;
    if (wanted.some((one) => one.registry === scope)) continue;
    const types = requirements.map(({ type }) => type).join(', ');
    notes.push({
      code: 'NARROWER_SECTION',
      message: `transports.docker[${JSON.stringify(scope)}] is narrower than ${registry} and decides for what it names, as before (${types}). Name it with --registry too if these keys are to be asked for there`,
    });
  }
  return notes;
}

/** Whether the section decides for a part of what the registry names. */
function isBelow(scope: string, registry: string): boolean {
  if (registry.startsWith('*.')) {
    const host = /^(?:\*\.)?([^/:@]*)/.exec(scope)?.[1] ?? '';
    return scope !== registry && host.endsWith(registry.slice(1));
  }
  // of a host alone, what follows a colon is the port of another one
  const separators = registry.includes('/') ? ['/', ':', '@'] : ['/'];
  return separators.some((separator) => scope.startsWith(registry + separator));
}

function wouldWiden(scope: string, section: string): LookasideError {
  return new LookasideError(
    'CONFIG_INVALID',
    `policy.json refuses every image of ${scope} now (${section}), and a merge never lets in what was refused. If what these keys have signed there is to be accepted from now on, say so with --widen`,
    { detail: { reason: 'would-widen', scope, section } },
  );
}

function widened(scope: string, section: string, count: number): Note {
  return {
    code: 'WIDENED',
    message: `for ${scope} the keys named now decide alone; ${section} asked for ${count === 1 ? 'something else' : `${count} things`} before`,
  };
}

function alsoWanted(scope: string, section: string): Note {
  return {
    code: 'ALSO_WANTED',
    message: `images of ${scope} must go on satisfying what ${section} asked for before. If these keys alone are to decide from now on, say so with --widen`,
  };
}

function keysNotAdded(scope: string, section: string): Note {
  return {
    code: 'KEYS_NOT_ADDED',
    message: `${section} trusts fewer keys for ${scope} than you name, and a merge never lets in what was refused. To add the others, say so with --widen`,
  };
}

function concat(parts: readonly Uint8Array[]): Uint8Array {
  const all = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}
