// lookaside token create, list, revoke.
import type { Config } from '../config.ts';
import type { Role } from '../domain/ports.ts';
import { administer } from './administer.ts';
import { EXIT, formatTable, print, printJson } from './terminal.ts';

export interface TokenCreateOptions {
  readonly name: string;
  readonly role: Role;
  readonly json: boolean;
}

/** Prints the token alone, so that it can be piped into a secret. */
export async function runTokenCreate(
  config: Config,
  { name, role, json }: TokenCreateOptions,
): Promise<number> {
  const token = await administer(config, ({ tokens }) => tokens.create(name, role));
  if (json) printJson({ name, role, token });
  else print(token);
  return EXIT.done;
}

export async function runTokenList(config: Config, json: boolean): Promise<number> {
  const tokens = await administer(config, (administration) => administration.tokens.list());
  if (json) {
    printJson({ tokens });
    return EXIT.done;
  }
  const rows = tokens.map(({ name, role, createdAt, revokedAt }) => [
    name,
    role,
    createdAt.toISOString(),
    revokedAt === null ? '-' : revokedAt.toISOString(),
  ]);
  print(rows.length === 0 ? 'No tokens yet; make one with: lookaside token create --name NAME' : table(rows));
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

function table(rows: readonly (readonly string[])[]): string {
  return formatTable([['NAME', 'ROLE', 'CREATED', 'REVOKED'], ...rows]);
}
