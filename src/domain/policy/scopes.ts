// Which names of a policy an image is looked up by (containers/image docker/policyconfiguration/naming.go).
import type { DockerReference } from '../reference.ts';
import type { Policy, Requirement } from './policy.ts';

/**
 * From the narrowest: the image, its repository, each namespace above, host and port, `*.` above the host. The same names
 * select sections of registries.d. A reference without tag and digest has the tag `latest`.
 */
export function dockerScopes({ domain, path, tag, digest }: DockerReference): readonly string[] {
  const name = `${domain}/${path}`;
  // a reference with both is looked up by its digest: clients drop the tag
  const image = digest === null ? `${name}:${tag ?? 'latest'}` : `${name}@${digest}`;
  const parts = name.split('/');
  const namespaces = parts.map((_, index) => parts.slice(0, parts.length - index).join('/'));
  return [image, ...namespaces, ...wildcards(domain)];
}

function wildcards(domain: string): readonly string[] {
  const labels = (domain.split(':', 1)[0] ?? '').split('.');
  return labels.slice(1).map((_, index) => `*.${labels.slice(index + 1).join('.')}`);
}

export interface Selected {
  /** As people find it in the file: `transports.docker["registry.example/team"]`, `default`. */
  readonly section: string;
  readonly requirements: readonly Requirement[];
  /** Narrower scopes that the file has nothing for. */
  readonly narrower: readonly string[];
}

/** The only section that counts: the first of the transport that is found, else the transport's `""`, else `default`. */
export function selectRequirements(policy: Policy, transport: string, names: readonly string[]): Selected {
  const scopes = policy.transports.get(transport);
  for (const [index, name] of [...names, ''].entries()) {
    const requirements = scopes?.get(name);
    if (requirements === undefined) continue;
    const section = `transports.${transport}[${JSON.stringify(name)}]`;
    return { section, requirements, narrower: names.slice(0, index) };
  }
  return { section: 'default', requirements: policy.default, narrower: names };
}

/**
 * The sections that decide for everything below a registry or a part of it which has no narrower section: its own, each above,
 * `*.` above the host. `*.example.com` has no host: it gets itself and each `*.` above.
 */
export function scopesFrom(scope: string): readonly string[] {
  if (scope.startsWith('*.')) return wildcards(`x${scope.slice(1)}`);
  const parts = scope.split('/');
  const namespaces = parts.map((_, index) => parts.slice(0, parts.length - index).join('/'));
  return [...namespaces, ...wildcards(parts[0] ?? '')];
}
