// Docker references, normalised as containers/image does (docker/reference of distribution).

export interface DockerReference {
  /** `docker.io` when none is written. */
  readonly domain: string;
  /** The repository path without the domain: `library/busybox`, `team/app`. */
  readonly path: string;
  readonly tag: string | null;
  /** `sha256:<hex>`. */
  readonly digest: string | null;
}

/** Null when a policy could not parse it. */
export function parseReference(_text: string): DockerReference | null {
  return null;
}
