// Who may sign what as one document, to be kept in git: signers with their OIDC subjects and grants, keys, names of tokens. The plan
// says what differs from it.
import { LookasideError } from './errors.ts';
import { type Grant, grantLists, type Signer } from './grant.ts';
import { parseKeyName, type RegisteredKey } from './key.ts';
import { checkSubject, type OidcSubject } from './oidc.ts';
import { ROLES, type Role, type Token } from './ports.ts';
import { checkSigner } from './signer.ts';
import { quoted } from './text.ts';
import { isTokenName, TOKEN_NAME_FORM } from './token.ts';

/** A section or member that is null says nothing: it stays as it is, also with prune. */
export interface AccessRules {
  readonly keys: readonly RuledKey[] | null;
  readonly signers: readonly RuledSigner[] | null;
  readonly tokens: readonly RuledToken[] | null;
}

export interface RuledKey {
  /** 40 upper-case hex digits. */
  readonly fingerprint: string;
  /** Armoured; null: it is registered already. */
  readonly certificate: string | null;
  /** Whether no new upload by it is taken. */
  readonly retired: boolean | null;
}

export type GrantLists = Pick<Grant, 'repositories' | 'fingerprints' | 'tags'>;
export type SubjectClaims = Pick<OidcSubject, 'issuer' | 'claims'>;

export interface RuledSigner {
  readonly name: string;
  readonly description: string | null;
  readonly disabled: boolean | null;
  readonly oidc: readonly SubjectClaims[] | null;
  readonly grants: readonly GrantLists[] | null;
}

/** Its text is told once, to whoever makes it, so a document can only name it. */
export interface RuledToken {
  readonly name: string;
  readonly role: Role;
  readonly signer: string | null;
}

export type AccessChange =
  | { readonly kind: 'add-key' | 'update-key' | 'remove-key'; readonly fingerprint: string }
  | { readonly kind: 'retire-key' | 'unretire-key'; readonly fingerprint: string }
  | { readonly kind: 'add-signer' | 'describe-signer'; readonly signer: string; readonly description: string }
  | { readonly kind: 'disable-signer' | 'enable-signer' | 'remove-signer'; readonly signer: string }
  | ({ readonly kind: 'add-grant'; readonly signer: string } & GrantLists)
  | ({ readonly kind: 'remove-grant'; readonly signer: string; readonly id: number } & GrantLists)
  | ({ readonly kind: 'add-subject'; readonly signer: string } & SubjectClaims)
  | ({ readonly kind: 'remove-subject'; readonly signer: string; readonly id: number } & SubjectClaims)
  | { readonly kind: 'revoke-token'; readonly token: string };

export interface AccessPlan {
  /** Names exactly these changes: apply takes no others. */
  readonly id: string;
  /** In the order in which they are made. */
  readonly changes: readonly AccessChange[];
  /** What is here and not in the document, and stays; for people. */
  readonly left: readonly string[];
  /** What an administrator has to do by hand; for people. */
  readonly todo: readonly string[];
}

/** What is here now. */
export interface AccessState {
  readonly signers: readonly Signer[];
  readonly grants: readonly Grant[];
  readonly subjects: readonly OidcSubject[];
  /** Revoked ones too. */
  readonly tokens: readonly Token[];
  readonly keys: readonly Pick<RegisteredKey, 'fingerprint' | 'retiredAt'>[];
}

export interface PlanOptions {
  /** Whether what the document does not name is removed. */
  readonly prune: boolean;
}

const MAX_ENTRIES = 10_000;

/** One entry of a document, checked, in the form in which it is kept. @throws LookasideError REQUEST_INVALID */
export function checkRuledSigner(signer: RuledSigner): RuledSigner {
  checkSigner({ name: signer.name, description: signer.description ?? '' }, []);
  return {
    ...signer,
    description: signer.description === null ? null : keepable(signer.description),
    oidc: signer.oidc?.map(checkSubject) ?? null,
    grants: signer.grants?.map(checkRuledGrant) ?? null,
  };
}

/** As databases keep it: what they would change is a change in each further plan. */
function keepable(description: string): string {
  return description.replaceAll('\0', '\ufffd').replace(/\p{Surrogate}/gu, '\ufffd');
}

/** @throws LookasideError REQUEST_INVALID */
export function checkRuledGrant({ repositories, fingerprints, tags }: GrantLists): GrantLists {
  return grantLists({ repositories, fingerprints: fingerprints.map(fingerprintOf), tags });
}

/** @throws LookasideError REQUEST_INVALID */
export function checkRuledKey({ fingerprint, certificate, retired }: RuledKey): RuledKey {
  return { fingerprint: fingerprintOf(fingerprint), certificate, retired };
}

/** @throws LookasideError REQUEST_INVALID */
export function checkRuledToken(token: RuledToken): RuledToken {
  const { name, role, signer } = token;
  if (!isTokenName(name)) refuse(`${quoted(name)} is not a name for a token; wanted ${TOKEN_NAME_FORM}`);
  if (!ROLES.includes(role)) refuse(`the role of ${name} is ${quoted(role)}; wanted ${ROLES.join(', ')}`);
  if (signer !== null && role !== 'uploader')
    refuse(`${name} is a token of a signer, so its role is uploader`);
  return token;
}

/** Also that nothing is named twice. @throws LookasideError REQUEST_INVALID */
export function checkRules({ keys, signers, tokens }: AccessRules): AccessRules {
  for (const [what, names] of [
    ['key', keys?.map(({ fingerprint }) => fingerprintOf(fingerprint))],
    ['signer', signers?.map(({ name }) => name)],
    ['token', tokens?.map(({ name }) => name)],
  ] as const) {
    if (names === undefined) continue;
    if (names.length > MAX_ENTRIES)
      refuse(`there are ${names.length} ${what}s; at most ${MAX_ENTRIES} are taken`);
    const seen = new Set<string>();
    for (const name of names) {
      if (seen.has(name)) refuse(`the ${what} ${quoted(name)} stands there twice; keep one`);
      seen.add(name);
    }
  }
  return {
    keys: keys?.map(checkRuledKey) ?? null,
    signers: signers?.map(checkRuledSigner) ?? null,
    tokens: tokens?.map(checkRuledToken) ?? null,
  };
}

function fingerprintOf(name: string): string {
  const parsed = parseKeyName(name);
  if (parsed.length === 40) return parsed;
  return refuse(
    `${quoted(name)} is a key ID, which several keys may have; wanted a fingerprint of 40 hex digits`,
  );
}

/** The document that says what is here. `certificates`: of the keys, armoured, by fingerprint. */
export function rulesOf(
  { signers, grants, subjects, tokens, keys }: AccessState,
  certificates: ReadonlyMap<string, string>,
): AccessRules {
  return {
    keys: keys.map(({ fingerprint, retiredAt }) => ({
      fingerprint,
      certificate: certificates.get(fingerprint) ?? null,
      retired: retiredAt !== null,
    })),
    signers: signers.map(({ name, description, disabledAt }) => ({
      name,
      description,
      disabled: disabledAt !== null,
      oidc: subjects.filter(({ signer }) => signer === name).map(claimsOf),
      grants: grants.filter(({ signer }) => signer === name).map(listsOf),
    })),
    tokens: tokens.filter(isInForce).map(({ name, role, signer }) => ({ name, role, signer })),
  };
}

/**
 * What makes `state` what the checked document says, without its id. `keyChanges`: what its certificates change.
 * @throws LookasideError REQUEST_INVALID when a grant names a key that is in neither
 */
export function planAccess(
  state: AccessState,
  rules: AccessRules,
  { prune, keyChanges }: PlanOptions & { readonly keyChanges: readonly AccessChange[] },
): Omit<AccessPlan, 'id'> {
  const added: AccessChange[] = [...keyChanges];
  const removed: AccessChange[] = [];
  const left: string[] = [];
  const known = new Set([
    ...state.keys.map(({ fingerprint }) => fingerprint),
    ...keyChanges.flatMap((one) => ('fingerprint' in one ? [one.fingerprint] : [])),
  ]);
  const keyNames = new Set(rules.keys?.map(({ fingerprint }) => fingerprint));

  const drop = (change: AccessChange) => {
    if (prune) removed.push(change);
    else left.push(textOfChange(change).replace(/^(?:remove|revoke) /, ''));
  };

  for (const { fingerprint, retired } of rules.keys ?? []) {
    const isRetired = state.keys.some((key) => key.fingerprint === fingerprint && key.retiredAt !== null);
    if (retired !== null && retired !== isRetired)
      added.push({ kind: retired ? 'retire-key' : 'unretire-key', fingerprint });
  }
  for (const signer of rules.signers ?? []) planSigner(signer);
  const signerNames = new Set(rules.signers?.map(({ name }) => name));
  planTokens();
  if (rules.signers !== null) {
    for (const { name } of state.signers)
      if (!signerNames.has(name)) drop({ kind: 'remove-signer', signer: name });
  }
  if (rules.keys !== null) {
    for (const { fingerprint } of state.keys)
      if (!keyNames.has(fingerprint)) drop({ kind: 'remove-key', fingerprint });
  }
  return { changes: [...added, ...removed], left, todo: todoOf(state, rules) };

  function planSigner({ name, description, disabled, oidc, grants }: RuledSigner): void {
    const present = state.signers.find((one) => one.name === name);
    if (present === undefined)
      added.push({ kind: 'add-signer', signer: name, description: description ?? '' });
    else if (description !== null && description !== present.description)
      added.push({ kind: 'describe-signer', signer: name, description });
    const isDisabled = present !== undefined && present.disabledAt !== null;
    if (disabled !== null && disabled !== isDisabled)
      added.push({ kind: disabled ? 'disable-signer' : 'enable-signer', signer: name });
    if (oidc !== null) planSubjects(name, oidc);
    if (grants !== null) planGrants(name, grants);
  }

  function planSubjects(signer: string, wanted: readonly SubjectClaims[]): void {
    const here = state.subjects.filter((one) => one.signer === signer);
    for (const [key, subject] of byText(wanted.map(claimsOf)))
      if (!here.some((one) => textOf(claimsOf(one)) === key))
        added.push({ kind: 'add-subject', signer, ...subject });
    const names = byText(wanted.map(claimsOf));
    for (const one of here)
      if (!names.has(textOf(claimsOf(one))))
        drop({ kind: 'remove-subject', signer, id: one.id, ...claimsOf(one) });
  }

  function planGrants(signer: string, wanted: readonly GrantLists[]): void {
    const here = state.grants.filter((one) => one.signer === signer);
    const names = byText(wanted.map(listsOf));
    for (const [key, grant] of names) {
      if (here.some((one) => textOf(listsOf(one)) === key)) continue;
      const missing = grant.fingerprints.find((fingerprint) => !known.has(fingerprint));
      if (missing !== undefined)
        refuse(
          `a grant of the signer ${quoted(signer)} names the key ${missing}, which is neither registered nor below keys with its certificate`,
        );
      added.push({ kind: 'add-grant', signer, ...grant });
    }
    for (const one of here)
      if (!names.has(textOf(listsOf(one))))
        drop({ kind: 'remove-grant', signer, id: one.id, ...listsOf(one) });
  }

  function planTokens(): void {
    if (rules.tokens === null) return;
    const names = new Set(rules.tokens.map(({ name }) => name));
    const isEnding = (signer: string | null) =>
      prune && signer !== null && rules.signers !== null && !signerNames.has(signer);
    for (const { name, role, signer } of state.tokens.filter(isInForce)) {
      if (names.has(name) || isEnding(signer)) continue; // a signer that is removed takes its tokens with it
      // who applies the document may be using it
      if (role === 'admin') left.push(`token ${name}, of the role admin: it is revoked by name alone`);
      else drop({ kind: 'revoke-token', token: name });
    }
  }
}

function todoOf({ tokens }: AccessState, { tokens: wanted }: AccessRules): readonly string[] {
  return (wanted ?? []).flatMap(({ name, role, signer }) => {
    const present = tokens.find((token) => token.name === name);
    const options = signer === null ? `--role ${role}` : `--signer ${signer}`;
    if (present === undefined)
      return [`make the token ${name}: lookaside token create --name ${name} ${options}`];
    if (present.revokedAt !== null)
      return [`the token ${name} was revoked, and its name is taken for ever: make one under another name`];
    if (present.role === role && present.signer === signer) return [];
    const is = present.signer === null ? `the role ${present.role}` : `the signer ${present.signer}`;
    return [
      `the token ${name} has ${is} here, which cannot be changed: revoke it, and make one under another name`,
    ];
  });
}

/** For people and the audit log. */
export function textOfChange(change: AccessChange): string {
  switch (change.kind) {
    case 'add-key':
    case 'update-key':
    case 'remove-key':
    case 'retire-key':
      return `${change.kind.replace('-', ' ')} ${change.fingerprint}`;
    case 'unretire-key':
      return `take uploads by key ${change.fingerprint} again`;
    case 'add-signer':
    case 'disable-signer':
    case 'enable-signer':
    case 'remove-signer':
      return `${change.kind.replace('-', ' ')} ${change.signer}`;
    case 'describe-signer':
      return `change the description of signer ${change.signer} to ${quoted(change.description)}`;
    case 'add-grant':
    case 'remove-grant': {
      const { repositories, fingerprints, tags } = change;
      const bound = tags.length === 0 ? '' : ` for ${tags.join(', ')}`;
      return `${change.kind.replace('-', ' ')} of ${change.signer}: ${repositories.join(', ')} by ${fingerprints.join(', ')}${bound}`;
    }
    case 'add-subject':
    case 'remove-subject': {
      const claims = Object.entries(change.claims).map(([name, pattern]) => `${name}=${pattern}`);
      return `${change.kind === 'add-subject' ? 'add' : 'remove'} OIDC subject of ${change.signer}: ${[change.issuer, ...claims].join(' ')}`;
    }
    case 'revoke-token':
      return `revoke token ${change.token}`;
  }
}

function isInForce({ revokedAt }: Token): boolean {
  return revokedAt === null;
}

function claimsOf({ issuer, claims }: SubjectClaims): SubjectClaims {
  return { issuer, claims };
}

function listsOf({ repositories, fingerprints, tags }: GrantLists): GrantLists {
  return { repositories, fingerprints, tags };
}

// both are kept sorted, so equal ones have equal texts
function textOf(value: SubjectClaims | GrantLists): string {
  return JSON.stringify(value);
}

function byText<T extends SubjectClaims | GrantLists>(list: readonly T[]): ReadonlyMap<string, T> {
  return new Map(list.map((one) => [textOf(one), one]));
}

function refuse(message: string): never {
  throw new LookasideError('REQUEST_INVALID', message);
}
