// OpenID providers through which people log in to the web pages: as an administrator names them, and what their claims allow.
import { LookasideError } from './errors.ts';
import { checkClaim, checkIssuer, identityName, matchesClaim, type TokenClaims } from './oidc.ts';
import { ROLES, type Role } from './ports.ts';
import { quoted } from './text.ts';
import { isTokenName } from './token.ts';

export interface LogInProvider {
  /** In the address that the provider leads back to: `PUBLIC_URL/ui/log-in/ID`. */
  readonly id: string;
  /** On the button. */
  readonly name: string;
  /** Exactly as its tokens name it in `iss`. */
  readonly issuer: string;
  readonly clientId: string;
  /** Null: a public client, for which PKCE alone stands. */
  readonly clientSecret: string | null;
  /** Scopes with blanks between; `openid` is one of them. */
  readonly scope: string;
  /** Whether an address counts when the provider does not say that it has checked it. */
  readonly trustsEmail: boolean;
  /** The first that fits counts; at least one. */
  readonly roles: readonly RoleRule[];
}

/** Whoever meets all claims gets the role. */
export interface RoleRule {
  readonly role: Role;
  /** Whose grants bind the uploads; null: none. Only with the role `uploader`. */
  readonly signer: string | null;
  /** Patterns by the names of claims; at least one. */
  readonly claims: Readonly<Record<string, string>>;
}

/** Who has logged in. */
export interface LogInIdentity {
  readonly issuer: string;
  /** For audit events: issuer and subject, with the signer in front where there is one. No token has such a name. */
  readonly name: string;
  /** For people; the provider may let them choose it. */
  readonly shownName: string;
  readonly role: Role;
  readonly signer: string | null;
}

/** One log-in under way: its secrets are known to the browser that began it, and to nobody else. */
export interface LogInAttempt {
  /** Where the provider leads back to. */
  readonly redirectUri: string;
  readonly state: string;
  readonly nonce: string;
  /** The code verifier of PKCE (RFC 7636). */
  readonly verifier: string;
}

export interface LogInClient {
  /** Where the browser is sent. @throws LookasideError ISSUER_UNAVAILABLE */
  begin(provider: LogInProvider, attempt: LogInAttempt): Promise<URL>;
  /**
   * Who has logged in, as the provider says it in a token that it has signed for this attempt. `answer`: what it has sent along with
   * the browser. @throws LookasideError UNAUTHORIZED, saying why; ISSUER_UNAVAILABLE
   */
  redeem(provider: LogInProvider, attempt: LogInAttempt, answer: URLSearchParams): Promise<TokenClaims>;
}

const MAX_SHOWN_CHARACTERS = 80;

/** Null: no rule fits. */
export function identityOf(provider: LogInProvider, { subject, all }: TokenClaims): LogInIdentity | null {
  const rule = provider.roles.find(({ claims }) => meets(claims, all, provider));
  if (rule === undefined) return null;
  const { issuer } = provider;
  const { role, signer } = rule;
  const name = signer === null ? `${issuer} ${subject}` : identityName(signer, issuer, subject);
  return { issuer, name, shownName: shownNameOf(all) ?? subject, role, signer };
}

/** Whether a rule of the provider gives this role, with this signer or none; whom it fits is not asked. */
export function hasRuleFor(
  providers: readonly LogInProvider[],
  { issuer, role, signer }: Pick<LogInIdentity, 'issuer' | 'role' | 'signer'>,
): boolean {
  const rules = providers.find((one) => one.issuer === issuer)?.roles ?? [];
  return rules.some((rule) => rule.role === role && rule.signer === signer);
}

function meets(
  patterns: RoleRule['claims'],
  claims: Readonly<Record<string, unknown>>,
  { trustsEmail }: Pick<LogInProvider, 'trustsEmail'>,
): boolean {
  return Object.entries(patterns).every(([name, pattern]) => {
    // an address that its provider has not checked may be anybody's
    if (name === 'email' && !isChecked(claims.email_verified, trustsEmail)) return false;
    const value = Object.hasOwn(claims, name) ? claims[name] : undefined;
    return [value].flat().some((one) => isSimple(one) && matchesClaim(pattern, String(one)));
  });
}

/** Some providers write the claim as a text. */
function isChecked(verified: unknown, trustsEmail: boolean): boolean {
  return verified === true || verified === 'true' || (verified === undefined && trustsEmail);
}

function isSimple(value: unknown): boolean {
  return typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean';
}

function shownNameOf({ preferred_username, email, name }: Readonly<Record<string, unknown>>): string | null {
  for (const text of [preferred_username, email, name]) {
    if (typeof text !== 'string' || text.trim() === '' || /\p{C}/u.test(text)) continue;
    return [...text.trim()].slice(0, MAX_SHOWN_CHARACTERS).join('');
  }
  return null;
}

/**
 * What the file of providers says. `secretIn` reads the file of a secret. @throws LookasideError CONFIG_INVALID saying where, what was
 * found and what is wanted
 */
export function parseLogInProviders(
  value: unknown,
  secretIn: (file: string) => string,
): readonly LogInProvider[] {
  const list = fieldsOf(value, 'the file', ['providers']).providers;
  if (!Array.isArray(list) || list.length === 0 || list.length > MAX_PROVIDERS)
    refuse(`wanted providers: and a list of 1 to ${MAX_PROVIDERS} of them`);
  const providers = list.map((one, at) => parseProvider(one, `provider ${at + 1}`, secretIn));
  for (const [what, of] of [
    ['id', ({ id }: LogInProvider) => id],
    ['issuer', ({ issuer }: LogInProvider) => issuer],
  ] as const) {
    const all = providers.map(of);
    const twice = all.find((one, at) => all.indexOf(one) !== at);
    if (twice !== undefined) refuse(`two providers have the ${what} ${quoted(twice)}; each needs its own`);
  }
  return providers;
}

const MAX_PROVIDERS = 8;
const MAX_RULES = 64;
const ID = /^[a-z0-9][a-z0-9-]{0,31}$/;
const SCOPE = /^[\x21\x23-\x5b\x5d-\x7e]+(?: [\x21\x23-\x5b\x5d-\x7e]+)*$/; // RFC 6749, section 3.3

function parseProvider(value: unknown, where: string, secretIn: (file: string) => string): LogInProvider {
  const fields = fieldsOf(value, where, [
    'id',
    'name',
    'issuer',
    'client_id',
    'client_secret_file',
    'scope',
    'trust_email',
    'roles',
  ]);
  const id = textOf(fields.id, `${where}: id`);
  if (!ID.test(id))
    refuse(`${where}: id is ${quoted(id)}; wanted up to 32 small letters, digits and -, like sso`);
  const issuer = textOf(fields.issuer, `${where}: issuer`);
  within(where, () => checkIssuer(issuer));
  const scope = fields.scope === undefined ? 'openid profile email' : textOf(fields.scope, `${where}: scope`);
  if (!SCOPE.test(scope) || !scope.split(' ').includes('openid'))
    refuse(
      `${where}: scope is ${quoted(scope)}; wanted names with blanks between, and openid among them, like openid email groups`,
    );
  const { roles, client_secret_file: file } = fields;
  if (!Array.isArray(roles) || roles.length === 0 || roles.length > MAX_RULES)
    refuse(`${where}: wanted roles: and a list of 1 to ${MAX_RULES} rules, or nobody could log in by it`);
  return {
    id,
    name: fields.name === undefined ? new URL(issuer).host : textOf(fields.name, `${where}: name`),
    issuer,
    clientId: textOf(fields.client_id, `${where}: client_id`),
    clientSecret: file === undefined ? null : secretIn(textOf(file, `${where}: client_secret_file`)),
    scope,
    trustsEmail: isTrusting(fields.trust_email, where),
    roles: roles.map((rule, at) => parseRule(rule, `${where}: rule ${at + 1}`)),
  };
}

function isTrusting(value: unknown, where: string): boolean {
  if (value === undefined || typeof value === 'boolean') return value ?? false;
  return refuse(
    `${where}: trust_email is ${quoted(String(value).slice(0, 80))}; wanted true, where the provider checks each address and does not say so in email_verified, or false`,
  );
}

function parseRule(value: unknown, where: string): RoleRule {
  const fields = fieldsOf(value, where, ['role', 'signer', 'claims']);
  const role = ROLES.find((one) => one === fields.role);
  if (role === undefined)
    refuse(`${where}: role is ${quoted(String(fields.role ?? '').slice(0, 80))}; wanted ${ROLES.join(', ')}`);
  const signer = fields.signer === undefined ? null : textOf(fields.signer, `${where}: signer`);
  if (signer !== null && (role !== 'uploader' || !isTokenName(signer)))
    refuse(
      `${where}: signer is ${quoted(signer)} with the role ${role}; wanted the name of a signer, and the role uploader, whose uploads its grants bind`,
    );
  const { claims } = fields;
  const isObject = typeof claims === 'object' && claims !== null && !Array.isArray(claims);
  const entries = Object.entries(isObject ? claims : {}).map(([name, pattern]): [string, string] => [
    name,
    textOf(pattern, `${where}: claim ${name}`),
  ]);
  if (entries.length === 0)
    refuse(
      `${where}: wanted claims: with at least one, like groups: signature-admins, or everybody of the provider would have the role`,
    );
  within(where, () => {
    for (const [name, pattern] of entries) checkRulePattern(name, pattern);
  });
  return { role, signer, claims: Object.fromEntries(entries) };
}

/** Signs alone, like `*@*`, are in every value of a kind. @throws LookasideError */
function checkRulePattern(name: string, pattern: string): void {
  checkClaim(name, pattern);
  if (pattern.includes('*') && !/[\p{L}\p{N}]/u.test(pattern))
    refuse(
      `the pattern of ${name} is ${quoted(pattern)}, which all values of that kind meet; wanted one with a letter or a digit, like *@example.com`,
    );
}

type Fields = Readonly<Record<string, unknown>>;

function fieldsOf(value: unknown, where: string, known: readonly string[]): Fields {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    refuse(`${where} has no fields; wanted ${known.join(', ')}`);
  const unknown = Object.keys(value).find((name) => !known.includes(name));
  if (unknown !== undefined) {
    refuse(`${where} has ${quoted(unknown.slice(0, 80))}, which is not known; known are ${known.join(', ')}`);
  }
  return { ...value };
}

function textOf(value: unknown, where: string): string {
  const text = typeof value === 'number' || typeof value === 'boolean' ? String(value) : value;
  if (typeof text === 'string' && text !== '' && text.length <= 512 && !/\p{C}/u.test(text)) return text;
  return refuse(`${where} is missing or no text; wanted 1 to 512 characters on one line`);
}

/** @throws LookasideError CONFIG_INVALID for what `check` refuses */
function within(where: string, check: () => void): void {
  try {
    check();
  } catch (error) {
    if (error instanceof LookasideError) refuse(`${where}: ${error.message}`);
    throw error;
  }
}

function refuse(message: string): never {
  throw new LookasideError('CONFIG_INVALID', message);
}
