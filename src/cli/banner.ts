// What serve prints when it is ready: its addresses, its tree, and the lines that clients need.
import { type Config, shownDatabase } from '../config.ts';

/** Stands for the registry when none is configured. */
const PLACEHOLDER = 'registry.example.com';

export interface BannerInput {
  readonly version: string;
  /** At least one. */
  readonly urls: readonly string[];
  /** Whether another program bound the sockets and passed them to this process, whatever the settings say. */
  readonly arePassed: boolean;
  readonly config: Config;
  readonly isWritable: boolean;
  /** Whether the folder of the tree was not there before this start. */
  readonly isNew: boolean;
}

export function formatBanner(input: BannerInput): string {
  const { version, urls, config } = input;
  return `lookaside ${version} listening on ${urls.join(', ')}${describeSockets(input)}
${describePlace(input)}
${config.ui ? `pages ${clientBase(input)}/ui/\n` : ''}
${adviceFor(config)}:

${indent(registriesD(input))}
${closedAdvice(config)}`;
}

function describePlace({ config, isWritable, isNew }: BannerInput): string {
  const database = shownDatabase(config);
  if (database !== null) return `data  ${database} (shared with other nodes)`;
  return `data  ${config.data}\ntree  ${config.root} (${describeTree(config, isWritable)})${isNew ? newTree(config) : ''}`;
}

/** The lines name the registry: default-docker would hold for every other, and twice it makes all pulls fail. */
function adviceFor({ registries }: Config): string {
  const where = '/etc/containers/registries.d/lookaside.yaml';
  return registries.length === 0
    ? `Clients find the signatures with these lines in ${where}. Put the name of
your registry in place of ${PLACEHOLDER}, or start with --registry NAME. Nothing changes for other registries`
    : `Clients find the signatures of images of ${registries.join(', ')} with these lines in
${where}. Nothing changes for other registries`;
}

function describeSockets({ arePassed, config }: BannerInput): string {
  if (arePassed) return ' (passed by who started this server)';
  return config.listen.host === null ? ' (all addresses, IPv6 and IPv4)' : '';
}

/** On a closed site the lines above alone read nothing. */
function closedAdvice({ read }: Config): string {
  if (read !== 'token') return '';
  return `
Reads need a token here (LOOKASIDE_READ=token). Clients send it when it stands in the URL, as in
https://NAME:TOKEN@HOST, and this makes one: lookaside token create --name NAME --role reader
`;
}

/** Both spellings: \`lookaside\` wins where it is known, clients before 2022 know only \`sigstore\`. */
function registriesD(input: BannerInput): string {
  const { config } = input;
  const base = clientBase(input);
  const staging = config.tree === 'shared' ? `file://${config.root}` : null;
  const places = [
    `    lookaside: ${base}`,
    `    sigstore: ${base}`,
    ...(staging === null ? [] : [`    lookaside-staging: ${staging}`, `    sigstore-staging: ${staging}`]),
  ];
  const names = config.registries.length === 0 ? [PLACEHOLDER] : config.registries;
  return ['docker:', ...names.flatMap((name) => [`  ${yamlKey(name)}:`, ...places])].join('\n');
}

/** A name that begins with a wildcard would be an alias. */
function yamlKey(name: string): string {
  return name.startsWith('*') ? `'${name}'` : name;
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

/** A wrong --root would otherwise look like a tree in which nothing is signed. */
function newTree({ tree, root }: Config): string {
  if (tree === 'owned') return '';
  return `\n      ${root} was not there, and is made: if it should hold signatures, another --root is meant`;
}

function indent(text: string): string {
  return text.replace(/^/gm, '  ');
}
