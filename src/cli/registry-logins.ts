// The logins of registries that this user has: from the file that is named, or from where podman and docker keep them.
import { existsSync } from 'node:fs';
import { homedir } from 'node:os';
import { authFilePlaces, type Login, loginIn } from '../domain/auth-file.ts';
import { LookasideError } from '../domain/errors.ts';
import { toUrl } from '../domain/url.ts';
import { readInput } from './input.ts';

export interface LoginOptions {
  /** The file named by --authfile; null: the usual places. */
  readonly authFile: string | null;
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** The user's home; left out: the one that the system names. */
  readonly home?: string;
}

const MAX_FILE_BYTES = 16 * 1024 * 1024;

/**
 * `HOST/REPOSITORY` with USER:PASSWORD@ in front where a login is known, and unchanged where one stands there already.
 * @throws LookasideError CONFIG_INVALID for a file that was named and is none
 */
export async function withLogin(registry: string, options: LoginOptions): Promise<string> {
  const url = toUrl(/^https?:\/\//.test(registry) ? registry : `https://${registry}`);
  if (url === null || url.username !== '') return registry;
  const place = `${url.host}${url.pathname}`.replace(/\/+$/, '');
  const login = await findLogin(place, options);
  if (login === null) return registry;
  url.username = encodeURIComponent(login.user);
  url.password = encodeURIComponent(login.password);
  return url.href;
}

async function findLogin(
  place: string,
  { authFile, environment, home }: LoginOptions,
): Promise<Login | null> {
  // one that is named is the only one, and must be there; as podman has it
  const named = authFile ?? environment.REGISTRY_AUTH_FILE ?? '';
  if (named !== '') return loginFrom(named, place);
  const userId = process.getuid?.() ?? 0;
  for (const usual of authFilePlaces({ environment, home: home ?? homedir(), userId })) {
    if (!existsSync(usual)) continue;
    const login = await loginFrom(usual, place);
    if (login !== null) return login;
  }
  return null;
}

async function loginFrom(path: string, place: string): Promise<Login | null> {
  const remedy = 'name a file as podman login writes it, with --authfile';
  const bytes = await readInput(path, { maxBytes: MAX_FILE_BYTES, remedy });
  try {
    return loginIn(Buffer.from(bytes).toString('utf8'), place);
  } catch (error) {
    // without the cause's text, which may hold a part of the file: passwords
    const message = `${path} is not a file of logins: wanted JSON with "auths"; ${remedy}`;
    throw new LookasideError('CONFIG_INVALID', message, {
      cause: new Error(error instanceof Error ? error.name : ''),
    });
  }
}
