// What serve says when it is ready: where, what, and the lines that clients need.
import type { Config } from '../config.ts';

export interface BannerInput {
  readonly version: string;
  readonly url: string;
  readonly config: Config;
  readonly isWritable: boolean;
}

export function formatBanner({ version, url, config, isWritable }: BannerInput): string {
  const everywhere = config.listen.host === null ? ' (all addresses, IPv6 and IPv4)' : '';
  return `lookaside ${version} listening on ${url}${everywhere}
data  ${config.data}
tree  ${config.root} (${describeTree(config, isWritable)})

Clients find the signatures with these lines in /etc/containers/registries.d/lookaside.yaml:

${indent(registriesD(config, url))}
`;
}

/** Both spellings: \`lookaside\` wins where it is known, clients before 2022 know only \`sigstore\`. */
function registriesD(config: Config, url: string): string {
  const base = clientBase(config, url);
  const staging = config.tree === 'shared' ? `file://${config.root}` : null;
  return [
    'default-docker:',
    `  lookaside: ${base}`,
    `  sigstore: ${base}`,
    ...(staging === null ? [] : [`  lookaside-staging: ${staging}`, `  sigstore-staging: ${staging}`]),
  ].join('\n');
}

function clientBase(config: Config, url: string): string {
  if (config.publicUrl !== null) return config.publicUrl;
  const reachable =
    config.listen.host === null ? url.replace(/\/\/\[?[:.0]+\]?:(?=\d+$)/, '//localhost:') : url;
  return `${reachable}${config.prefix}`;
}

function describeTree({ tree }: Config, isWritable: boolean): string {
  if (tree === 'owned')
    return isWritable
      ? 'owned: only lookaside writes here'
      : 'owned, but we cannot write here: served read-only';
  return isWritable
    ? 'shared: podman, skopeo and rsync may write here too'
    : 'shared; we cannot write here: served read-only';
}

function indent(text: string): string {
  return text.replace(/^/gm, '  ');
}
