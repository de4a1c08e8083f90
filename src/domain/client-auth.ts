// Logins that clients send to a registry: auth.json as containers/image reads it (pkg/docker/config/config.go).
import { fromBase64 } from './base64.ts';
import type { DockerReference } from './reference.ts';

export type Login =
  | {
      readonly kind: 'found';
      readonly file: string;
      /** The entry of the file: `registry.example/team`, `registry.example`. */
      readonly entry: string;
      readonly user: string;
      readonly password: string;
    }
  /** The program docker-credential-HELPER keeps it, which is not run here. */
  | { readonly kind: 'helper'; readonly file: string; readonly helper: string }
  /** `stores`: programs that docker would ask, and these clients do not. */
  | { readonly kind: 'none'; readonly stores: readonly CredentialStore[] };

/** `credsStore` of a file of docker. */
export interface CredentialStore {
  readonly file: string;
  readonly helper: string;
}

/** `program`: where the helper is; null: nowhere on the PATH, so that clients refuse the registry. */
export type MachineLogin =
  | Exclude<Login, { readonly kind: 'helper' }>
  | (Extract<Login, { readonly kind: 'helper' }> & { readonly program: string | null });

/** Why clients refuse every pull that needs a login. */
export class LoginFault extends Error {
  readonly file: string;

  constructor(file: string, message: string) {
    super(message);
    this.name = 'LoginFault';
    this.file = file;
  }
}

export interface AuthFile {
  readonly path: string;
  readonly bytes: Uint8Array;
}

/** The login in the first file that has an entry for it; in that file the narrowest entry. @throws LoginFault */
export function findLogin(files: readonly AuthFile[], { domain, path }: DockerReference): Login {
  const stores: CredentialStore[] = [];
  for (const file of files) {
    const { auths, helpers, store } = readAuthFile(file);
    if (store !== null) stores.push({ file: file.path, helper: store });
    const helper = helpers.get(domain);
    if (helper !== undefined) return { kind: 'helper', file: file.path, helper };
    for (const entry of entriesFor(`${domain}/${path}`, domain, [...auths.keys()])) {
      const login = loginOf(file.path, entry, auths.get(entry));
      if (login !== null) return login;
    }
  }
  return { kind: 'none', stores };
}

function entriesFor(name: string, domain: string, keys: readonly string[]): readonly string[] {
  const parts = name.split('/');
  const narrow = parts.map((_, index) => parts.slice(0, parts.length - index).join('/'));
  // docker login writes URLs, and one registry has three names
  const hub = ['docker.io', 'index.docker.io', 'registry-1.docker.io'];
  const hostOf = (key: string) => key.replace(/^https?:\/\//, '').replace(/\/.*$/, '');
  const legacy = keys.filter((key) => {
    const isUrl = /^https?:\/\//.test(key) || hub.includes(key);
    return isUrl && (hostOf(key) === domain || (hub.includes(domain) && hub.includes(hostOf(key))));
  });
  return [...narrow.filter((key) => keys.includes(key)), ...legacy];
}

function loginOf(file: string, entry: string, value: unknown): Login | null {
  const auth = membersOf(value).auth;
  if (typeof auth !== 'string' || auth === '') return null;
  const bytes = fromBase64(auth);
  const text = bytes === null ? '' : new TextDecoder().decode(bytes);
  const colon = text.indexOf(':');
  if (colon === -1) throw new LoginFault(file, `auth of ${entry} is not base64 of USER:PASSWORD`);
  const password = text.slice(colon + 1).replace(/\0+$/, '');
  return { kind: 'found', file, entry, user: text.slice(0, colon), password };
}

function readAuthFile({ path, bytes }: AuthFile) {
  const text = new TextDecoder().decode(bytes);
  let value: unknown;
  try {
    value = text === '' ? {} : JSON.parse(text);
  } catch (error) {
    throw new LoginFault(path, `is not JSON: ${error instanceof Error ? error.message : String(error)}`);
  }
  const { auths, credHelpers, credsStore } = membersOf(value);
  const helpers = Object.entries(membersOf(credHelpers)).map(
    ([host, helper]) => [host, String(helper)] as const,
  );
  const store = typeof credsStore === 'string' && credsStore !== '' ? credsStore : null;
  return { auths: new Map(Object.entries(membersOf(auths))), helpers: new Map(helpers), store };
}

function membersOf(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
}
