// lookaside token create, list, revoke.
import { type FileHandle, open, unlink } from 'node:fs/promises';
import type { Config } from '../config.ts';
import { LookasideError, systemCode } from '../domain/errors.ts';
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
  /** The new file that takes the token; null: standard output. */
  readonly output: string | null;
  readonly json: boolean;
}

/**
 * Prints the token alone, so that it can be piped into a secret, or writes it into a file. People are told when it never
 * expires; JSON says it.
 */
export async function runTokenCreate(
  config: Config,
  { name, role, lifeMs, signer, output, json }: TokenCreateOptions,
): Promise<number> {
  const wanted = { name, role, lifeMs, signer };
  const create = () => administer(config, ({ tokens }) => tokens.create(wanted));
  const { text, expiresAt } = output === null ? await create() : await createInto(output, { name, create });
  if (json) printJson({ name, role, signer, expiresAt, ...(output === null ? { token: text } : { output }) });
  else print(output === null ? text : escapeTerminal(`The token "${name}" is in ${output}.`));
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

interface IntoFile<Made> {
  readonly name: string;
  readonly create: () => Promise<Made>;
}

/** The file is made first: there must be no token that nobody has. When no token is made, the file goes again. */
async function createInto<Made extends { readonly text: string }>(
  file: string,
  { name, create }: IntoFile<Made>,
): Promise<Made> {
  await using handle = await openNew(file);
  const made = await create().catch(async (error: unknown) => {
    await unlink(file);
    throw error;
  });
  try {
    await handle.writeFile(`${made.text}\n`);
    await handle.sync();
  } catch (error) {
    const code = systemCode(error);
    if (code === null) throw error;
    throw new LookasideError(
      'STORE_UNAVAILABLE',
      `the token "${name}" was made, but cannot be written into ${file}: ${code}; revoke it (lookaside token revoke ${name}), and make one under another name`,
      { cause: error },
    );
  }
  return made;
}

/** @throws LookasideError CONFIG_INVALID, also when the file is there: it may hold a token that is in use */
async function openNew(file: string): Promise<FileHandle> {
  try {
    return await open(file, 'wx', 0o600);
  } catch (error) {
    const code = systemCode(error);
    if (code === null) throw error;
    const message =
      code === 'EEXIST'
        ? `${file} is there already, and is not overwritten; no token was made; name a new file with --output`
        : `cannot write ${file}: ${code}; no token was made; name another file with --output`;
    throw new LookasideError('CONFIG_INVALID', message, { cause: error });
  }
}
