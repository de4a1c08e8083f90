// What serve says when it is ready: where, what, and the lines that clients need.
import type { Config } from '../config.ts';

export interface BannerInput {
  readonly version: string;
  /** At least one. */
  readonly urls: readonly string[];
  /** Whether the sockets were bound by who started this process, and not as configured. */
  readonly arePassed: boolean;
  readonly config: Config;
  readonly isWritable: boolean;
}

export function formatBanner(input: BannerInput): string {
  const { version, urls, config, isWritable } = input;
  return `lookaside ${version} listening on ${urls.join(', ')}${describeSockets(input)}
data  ${config.data}
tree  ${config.root} (${describeTree(config, isWritable)})

Clients find the signatures with these lines in /etc/containers/registries.d/lookaside.yaml:

${indent(registriesD(input))}
`;
}

function describeSockets({ arePassed, config }: BannerInput): string {
  if (arePassed) return ' (passed by who started this server)';
  return config.listen.host === null ? ' (all addresses, IPv6 and IPv4)' : '';
}

/** Both spellings: \`lookaside\` wins where it is known, clients before 2022 know only \`sigstore\`. */
function registriesD(input: BannerInput): string {
  const { config } = input;
  const base = clientBase(input);
  const staging = config.tree === 'shared' ? `file://${config.root}` : null;
  return [
    'default-docker:',
    `  lookaside: ${base}`,
    `  sigstore: ${base}`,
    ...(staging === null ? [] : [`  lookaside-staging: ${staging}`, `  sigstore-staging: ${staging}`]),
  ].join('\n');
}

function clientBase({ config, urls: [url = ''], arePassed }: BannerInput): string {
  if (config.publicUrl !== null) return config.publicUrl;
  const isAnyAddress = arePassed || config.listen.host === null;
  const reachable = isAnyAddress ? url.replace(/\/\/\[?[:.0]+\]?:(?=\d+$)/, '//localhost:') : url;
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
