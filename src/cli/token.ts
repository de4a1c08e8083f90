// lookaside token create, list, revoke.
import type { Config } from '../config.ts';
import type { Role } from '../domain/ports.ts';
import type { ShownToken } from '../domain/token.ts';
import { administer } from './administer.ts';
import { EXIT, formatTable, print, printJson } from './terminal.ts';

export interface TokenCreateOptions {
  readonly name: string;
  readonly role: Role;
  /** Null: until it is revoked. */
  readonly lifeMs: number | null;
  readonly json: boolean;
}

/** Prints the token alone, so that it can be piped into a secret. */
export async function runTokenCreate(
  config: Config,
  { name, role, lifeMs, json }: TokenCreateOptions,
): Promise<number> {
  const { text, expiresAt } = await administer(config, ({ tokens }) => tokens.create({ name, role, lifeMs }));
  if (json) printJson({ name, role, expiresAt, token: text });
  else print(text);
  return EXIT.done;
}

export async function runTokenList(config: Config, json: boolean): Promise<number> {
  const tokens = await administer(config, (administration) => administration.tokens.list());
  if (json) {
    printJson({ tokens });
    return EXIT.done;
  }
  print(
    tokens.length === 0 ? 'No tokens yet; make one with: lookaside token create --name NAME' : table(tokens),
  );
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

function table(tokens: readonly ShownToken[]): string {
  const rows = tokens.map(({ name, role, state, createdAt, expiresAt, revokedAt }) => [
    name,
    role,
    state,
    createdAt.toISOString(),
    expiresAt?.toISOString() ?? '-',
    revokedAt?.toISOString() ?? '-',
  ]);
  return formatTable([['NAME', 'ROLE', 'STATE', 'CREATED', 'EXPIRES', 'REVOKED'], ...rows]);
}
