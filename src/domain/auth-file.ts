// Logins of registries as podman, skopeo and docker keep them: containers-auth.json(5). Source of places and keys:
// containers/container-libs image/pkg/docker/config/config.go.
import { z } from 'zod';

export interface Login {
  readonly user: string;
  readonly password: string;
}

export interface AuthPlaces {
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** The user's home folder. */
  readonly home: string;
  readonly userId: number;
}

/** Where logins may be, in the order in which they are looked for; files that are not there are passed over. */
export function authFilePlaces({ environment, home, userId }: AuthPlaces): readonly string[] {
  const runtime = environment.XDG_RUNTIME_DIR || `/run/containers/${userId}`;
  const configuration = environment.XDG_CONFIG_HOME || `${home}/.config`;
  const docker = environment.DOCKER_CONFIG || `${home}/.docker`;
  return [
    // under XDG_RUNTIME_DIR there is a folder of containers, and without it the folder is theirs
    environment.XDG_RUNTIME_DIR ? `${runtime}/containers/auth.json` : `${runtime}/auth.json`,
    `${configuration}/containers/auth.json`,
    `${docker}/config.json`,
  ];
}

const file = z.looseObject({
  auths: z.record(z.string(), z.looseObject({ auth: z.string().optional() }).nullable()).optional(),
});

/**
 * The login for a registry and path like `registry.example:5000/team/app`, of the longest entry that covers it; null: none does.
 * @throws SyntaxError, ZodError when the text is no such file
 */
export function loginIn(text: string, place: string): Login | null {
  const { auths = {} } = file.parse(JSON.parse(text));
  const byPlace = new Map(Object.entries(auths).map(([key, entry]) => [placeOf(key), entry?.auth ?? '']));
  for (
    let covered = place;
    covered !== '';
    covered = covered.slice(0, Math.max(covered.lastIndexOf('/'), 0))
  ) {
    const login = loginOf(byPlace.get(covered) ?? '');
    if (login !== null) return login;
  }
  return null;
}

/** docker writes whole URLs, like https://index.docker.io/v1/. */
function placeOf(key: string): string {
  const isUrl = /^https?:\/\//.test(key);
  const place = key.replace(/^https?:\/\//, '').replace(/\/+$/, '');
  return isUrl ? (place.split('/', 1)[0] ?? '') : place;
}

function loginOf(base64: string): Login | null {
  const pair = new TextDecoder().decode(Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0)));
  const colon = pair.indexOf(':');
  if (colon < 1) return null;
  return { user: pair.slice(0, colon), password: pair.slice(colon + 1).replace(/\0+$/, '') };
}
