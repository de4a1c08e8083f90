// lookaside token create, list, revoke.
import type { Config } from '../config.ts';
import type { Role } from '../domain/ports.ts';
import type { ShownSession } from '../domain/session.ts';
import { escapeTerminal } from '../domain/text.ts';
import type { ShownToken } from '../domain/token.ts';
import { administer } from './administer.ts';
import { EXIT, formatTable, print, printJson, tell } from './terminal.ts';

export interface TokenCreateOptions {
  readonly name: string;
  readonly role: Role;
  /** Null: until it is revoked. */
  readonly lifeMs: number | null;
  /** Null: bound by no grants. */
  readonly signer: string | null;
  readonly json: boolean;
}

/** Prints the token alone, so that it can be piped into a secret. People are told when it never expires; JSON says it. */
export async function runTokenCreate(
  config: Config,
  { name, role, lifeMs, signer, json }: TokenCreateOptions,
): Promise<number> {
  const wanted = { name, role, lifeMs, signer };
  const { text, expiresAt } = await administer(config, ({ tokens }) => tokens.create(wanted));
  if (json) printJson({ name, role, signer, expiresAt, token: text });
  else print(text);
  if (!json && expiresAt === null) {
    tell(`the token "${name}" never expires; to make one that ends by itself: token create --expires 90d`);
  }
  return EXIT.done;
}

export async function runTokenList(config: Config, json: boolean): Promise<number> {
  const { tokens, sessions } = await administer(config, async ({ tokens: asked }) => ({
    tokens: await asked.list(),
    sessions: await asked.sessions(),
  }));
  if (json) {
    printJson({ tokens, sessions });
    return EXIT.done;
  }
  print(
    tokens.length === 0 ? 'No tokens yet; make one with: lookaside token create --name NAME' : table(tokens),
  );
  if (sessions.length > 0) print(`\nLogged in to the web pages:\n${sessionTable(sessions)}`);
  return EXIT.done;
}

export async function runEndSession(
  config: Config,
  { id, json }: { id: number; json: boolean },
): Promise<number> {
  const session = await administer(config, ({ tokens }) => tokens.endSession(id));
  if (json) printJson(session);
  else print(escapeTerminal(`Session ${id} of ${session.token} is over: that browser has to log in again.`));
  return EXIT.done;
}

export async function runTokenRevoke(
  config: Config,
  { name, json }: { name: string; json: boolean },
): Promise<number> {
  const token = await administer(config, ({ tokens }) => tokens.revoke(name));
  if (json) printJson(token);
  else print(`The token "${name}" no longer opens anything.`);
  return EXIT.done;
}

export function table(tokens: readonly ShownToken[]): string {
  const rows = tokens.map((token) => [
    token.name,
    token.role,
    token.state,
    token.signer ?? (token.role === 'uploader' ? UNBOUND : '-'),
    token.createdAt.toISOString(),
    token.expiresAt?.toISOString() ?? '-',
    token.revokedAt?.toISOString() ?? '-',
    token.lastUsedAt?.toISOString() ?? '-',
  ]);
  const head = ['NAME', 'ROLE', 'STATE', 'SIGNER', 'CREATED', 'EXPIRES', 'REVOKED', 'LAST USED'];
  return formatTable([head, ...rows]);
}

/** Who logged in through an OpenID provider is named by issuer and subject. */
function sessionTable(sessions: readonly ShownSession[]): string {
  const rows = sessions.map(({ id, token, shownName, role, createdAt, expiresAt }) => [
    String(id),
    escapeTerminal(shownName === null ? token : `${shownName} (${token})`),
    role,
    createdAt.toISOString(),
    expiresAt.toISOString(),
  ]);
  return formatTable([['SESSION', 'WHO', 'ROLE', 'SINCE', 'UNTIL'], ...rows]);
}

/** It uploads by any registered key, for every repository; refused once LOOKASIDE_REQUIRE_GRANTS is true. */
const UNBOUND = '(unbound)';
