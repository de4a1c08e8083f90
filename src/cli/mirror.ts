// lookaside mirror add, list, show, status, edit, remove, sync.
import { resolve } from 'node:path';
import type { Config } from '../config.ts';
import { loadMirrorParsers } from '../config.ts';
import type { MirrorAdministration } from '../domain/administration.ts';
import { durationText } from '../domain/duration.ts';
import { LookasideError } from '../domain/errors.ts';
import { MAX_CERTIFICATES_BYTES } from '../domain/limits.ts';
import {
  DEFAULT_MIRROR,
  MAX_NOTED_IMAGES,
  type MirrorDetails,
  type MirrorSettings,
  type MirrorStatus,
  upstreamState,
} from '../domain/mirror.ts';
import { PRESETS } from '../domain/mirror-presets.ts';
import { mirroredSources, type Proposal, proposeMirrors } from '../domain/mirror-sets.ts';
import { escapeTerminal } from '../domain/text.ts';
import { administerByServer } from './administer.ts';
import { readInput } from './input.ts';
import { countsText, MAX_SOURCE_BYTES } from './mirror-sync.ts';
import { formatBytes } from './progress.ts';
import { EXIT, formatTable, plural, print, printJson, tell } from './terminal.ts';

/** As given on the command line; what is left out stays as it is, or is the default. */
export interface MirrorFlags {
  readonly preset?: string;
  readonly upstream?: readonly string[];
  readonly prefix?: readonly string[];
  readonly strip?: string;
  readonly rewrite?: readonly string[];
  readonly layout?: MirrorSettings['layout'];
  readonly missing?: readonly number[];
  readonly redirect?: readonly string[];
  /** False: --no-on-demand. */
  readonly onDemand?: readonly string[] | boolean;
  readonly onUpstreamFailure?: MirrorSettings['onUpstreamFailure'];
  readonly maxAge?: number;
  readonly maxSize?: number | null;
  readonly upstreamCa?: string;
  readonly clientCert?: string;
  readonly clientKey?: string;
  readonly credentials?: string;
  readonly keyring?: readonly string[];
}

export async function runMirrorAdd(
  config: Config,
  { name, flags, json }: { readonly name: string; readonly flags: MirrorFlags; readonly json: boolean },
): Promise<number> {
  const preset = flags.preset === undefined ? {} : PRESETS[flags.preset];
  const changes = changesOf(flags, config);
  const settings = { ...DEFAULT_MIRROR, missing: [404], redirects: [], ...preset, ...changes };
  const { upstreams, views } = settings;
  if (upstreams === undefined) throw lacking('--upstream URL, or --preset NAME');
  if (views === undefined) throw lacking('--prefix /PATH, below which the mirror is served');
  const keyrings = await readKeyrings(flags.keyring ?? []);
  const added = await administerByServer(config, async ({ mirrors, keys }) => {
    for (const keyring of keyrings) await keys.add(keyring);
    return mirrors.add(name, { ...settings, upstreams, views });
  });
  if (json) printJson(added);
  else {
    const known = config.remote.url ?? config.publicUrl;
    const base = (known ?? UNKNOWN_URL).replace(/\/+$/, '');
    const [first = ''] = added.views.map(({ prefix }) => prefix);
    print(
      [
        `The mirror "${name}" is served below ${prefixesOf(added)}.`,
        `Clients find it by this line in registries.d, for the registry that they pull from: lookaside: ${base}${first}`,
        ...(known === null ? [REPLACE_UNKNOWN_URL] : []),
        `Fetch ahead of demand with: lookaside mirror sync ${name} FILE`,
      ].join('\n'),
    );
  }
  return EXIT.done;
}

export interface FromOptions {
  readonly file: string;
  readonly apply: boolean;
  /** The options that name the server or the data directory, as they were given: ` --data DIR`. */
  readonly where: string;
  readonly json: boolean;
}

/** Proposes mirrors for the registries that a file mirrors; with `apply` adds them, or their views to those that are there. */
export async function runMirrorFrom(
  config: Config,
  { file, apply, where, json }: FromOptions,
): Promise<number> {
  const remedy = 'name a file with an ImageDigestMirrorSet or a registries.conf, or - for standard input';
  const bytes = await readInput(file, { maxBytes: MAX_SOURCE_BYTES, remedy });
  const proposal = proposeMirrors(
    mirroredSources(Buffer.from(bytes).toString('utf8'), await loadMirrorParsers()),
  );
  if (apply) await administerByServer(config, async ({ mirrors }) => applyAll(proposal, mirrors));
  if (json) printJson({ ...proposal, applied: apply });
  else print(proposalText(proposal, config, { apply, where }));
  return EXIT.done;
}

async function applyAll({ sites }: Proposal, mirrors: MirrorAdministration): Promise<void> {
  const there = new Map((await mirrors.list()).map((mirror) => [mirror.name, mirror]));
  for (const { preset, views } of sites) {
    const before = there.get(preset);
    if (before === undefined) {
      const settings = PRESETS[preset];
      if (settings === undefined) throw new Error(`there is no preset ${preset}`);
      await mirrors.add(preset, { ...DEFAULT_MIRROR, missing: [404], ...settings, views: [...views] });
      continue;
    }
    const all = new Map([...before.views, ...views].map((view) => [JSON.stringify(view), view]));
    await mirrors.edit(preset, { views: [...all.values()] });
  }
}

const UNKNOWN_URL = 'http://SERVER:8000';
const REPLACE_UNKNOWN_URL = `Replace ${UNKNOWN_URL} by the URL of the server.`;

export function proposalText(
  { sites, lookasides, unknown }: Proposal,
  config: Pick<Config, 'remote' | 'publicUrl'>,
  { apply: applied, where }: Pick<FromOptions, 'apply' | 'where'>,
): string {
  const lines: string[] = [];
  for (const { preset, views } of sites) {
    const rewrites = views
      .filter(({ strip, add }) => strip !== '' || add !== '')
      .map(({ strip, add }) => ` --rewrite ${strip}=${add}`)
      .join('');
    const command = `lookaside mirror add ${preset} --preset ${preset} --prefix /${preset}${rewrites}${where}`;
    lines.push(applied ? `The mirror "${preset}" is served below /${preset}.` : command);
  }
  if (!applied && sites.length > 0) lines.push('', 'Run these, or this command again with --apply.');
  if (lookasides.length > 0) {
    const known = config.remote.url ?? config.publicUrl;
    const base = (known ?? UNKNOWN_URL).replace(/\/+$/, '');
    if (lines.length > 0) lines.push('');
    lines.push('Lines for the clients, in /etc/containers/registries.d/mirrors.yaml:', '', 'docker:');
    for (const { registry, path } of lookasides) {
      lines.push(`  ${registry}:`, `    lookaside: ${base}${path}`, `    sigstore: ${base}${path}`);
    }
    if (known === null) lines.push('', REPLACE_UNKNOWN_URL);
  }
  if (unknown.length > 0) {
    if (lines.length > 0) lines.push('');
    lines.push(
      `No signature site is known for: ${unknown.join(', ')}. Where there is one, add it with: lookaside mirror add NAME --upstream URL --prefix /PATH${where}`,
    );
  }
  return lines.map(escapeTerminal).join('\n');
}

export async function runMirrorEdit(
  config: Config,
  { name, flags, json }: { readonly name: string; readonly flags: MirrorFlags; readonly json: boolean },
): Promise<number> {
  const changes = changesOf(flags, config);
  const keyrings = await readKeyrings(flags.keyring ?? []);
  if (Object.keys(changes).length + keyrings.length === 0) {
    const message = `no setting of the mirror ${name} is named, so nothing is changed; name one, like --max-age 1h. lookaside mirror edit --help lists them`;
    throw new LookasideError('CONFIG_INVALID', message);
  }
  const edited = await administerByServer(config, async ({ mirrors, keys }) => {
    for (const keyring of keyrings) await keys.add(keyring);
    return mirrors.edit(name, changes);
  });
  if (json) printJson(edited);
  else print(`The mirror "${name}" is changed; it is served below ${prefixesOf(edited)}.`);
  return EXIT.done;
}

export async function runMirrorList(config: Config, json: boolean): Promise<number> {
  const mirrors = await administerByServer(config, (administration) => administration.mirrors.list());
  if (json) printJson({ mirrors });
  else if (mirrors.length === 0)
    print('No mirrors yet; make one like this: lookaside mirror add red-hat --preset red-hat --prefix /rh');
  else print(table(mirrors));
  return EXIT.done;
}

export async function runMirrorShow(
  config: Config,
  { name, json }: { readonly name: string; readonly json: boolean },
): Promise<number> {
  const mirror = await administerByServer(config, ({ mirrors }) => mirrors.show(name));
  if (json) printJson(mirror);
  else print([...linesOf(mirror), ...notedLines(mirror)].map(escapeTerminal).join('\n'));
  tellWhoCounts(config);
  return EXIT.done;
}

/**
 * Exit code 1 when the newest walk of a mirror has failed, its upstreams rest, images of its last sync have failed, or sets cannot be
 * stored.
 */
export async function runMirrorStatus(
  config: Config,
  { name, json }: { readonly name: string | null; readonly json: boolean },
): Promise<number> {
  const mirrors = await administerByServer(config, async (administration) =>
    name === null ? administration.mirrors.list() : [await administration.mirrors.show(name)],
  );
  if (json) printJson({ mirrors });
  else {
    const rows = mirrors.map((mirror) => [
      mirror.name,
      String(mirror.images ?? '-'),
      String(mirror.signatures ?? '-'),
      String(mirror.walks.set + mirror.walks.empty),
      faultsText(mirror),
      stateText(mirror),
      String(mirror.goneUpstream),
      String(mirror.leftOut),
      String(mirror.unstored),
      syncText(mirror),
      mirror.lastFault === null ? '-' : `${mirror.lastFault.at.toISOString()} ${mirror.lastFault.message}`,
    ]);
    const head = [
      'NAME',
      'IMAGES',
      'SIGNATURES',
      'WALKS',
      'FAULTS',
      'UPSTREAM',
      'GONE',
      'LEFT OUT',
      'UNSTORED',
      'SYNCED',
      'LAST FAULT',
    ];
    print(formatTable([head, ...rows]));
  }
  tellWhoCounts(config);
  return mirrors.every(isWell) ? EXIT.done : EXIT.failed;
}

/** A command on the database of nodes has asked no upstream, and cannot know of their faults. */
function tellWhoCounts({ remote, database }: Config): void {
  if (remote.url !== null || database === null) return;
  tell(
    'each node counts its own walks and faults, and the database has none of them; ask one node with --server URL',
  );
}

export async function runMirrorRemove(
  config: Config,
  { name, json }: { readonly name: string; readonly json: boolean },
): Promise<number> {
  await administerByServer(config, ({ mirrors }) => mirrors.remove(name));
  if (json) printJson({ name });
  else
    print(
      `The mirror "${name}" is served no longer. Its signatures stay stored, in mirrors/${name} of the data directory or in the database of the nodes.`,
    );
  return EXIT.done;
}

function changesOf(flags: MirrorFlags, config: Config): Partial<MirrorSettings> {
  const { upstream, prefix, strip, rewrite, layout, missing, redirect, onDemand, onUpstreamFailure } = flags;
  const file = (path: string | undefined) => {
    if (path === undefined) return undefined;
    // the server reads it, and its paths are not ours
    return config.remote.url === null ? resolve(path) : path;
  };
  const rewrites = [...(strip === undefined ? [] : [`${strip}=`]), ...(rewrite ?? [])].map(parseRewrite);
  if (rewrites.length > 0 && prefix === undefined) {
    const message = '--strip and --rewrite belong to a prefix: name it too, like --prefix /rh';
    throw new LookasideError('CONFIG_INVALID', message);
  }
  const views = prefix?.flatMap((one) =>
    rewrites.length === 0
      ? [{ prefix: one, strip: '', add: '' }]
      : rewrites.map((view) => ({ prefix: one, ...view })),
  );
  const changes = {
    upstreams: upstream === undefined ? undefined : [...upstream],
    views,
    layout,
    missing: missing === undefined ? undefined : [...new Set([404, ...missing])],
    redirects: redirect === undefined ? undefined : [...redirect],
    onDemand:
      onDemand === undefined || onDemand === true ? undefined : onDemand === false ? [] : [...onDemand],
    onUpstreamFailure,
    maxAgeMs: flags.maxAge,
    maxBytes: flags.maxSize,
    ca: file(flags.upstreamCa),
    certificate: file(flags.clientCert),
    key: file(flags.clientKey),
    credentials: file(flags.credentials),
  };
  return Object.fromEntries(Object.entries(changes).filter(([, value]) => value !== undefined));
}

function notedLines({ noted }: MirrorDetails): readonly string[] {
  const lines = noted.flatMap(({ image, goneUpstream, leftOut }) => [
    ...goneUpstream.map((sha256) => `  ${image} ${sha256} gone-upstream`),
    ...leftOut.map(({ sha256, code }) => `  ${image} ${sha256} left out: ${code}`),
  ]);
  if (lines.length === 0) return [];
  const more = noted.length === MAX_NOTED_IMAGES ? ['  and perhaps more images'] : [];
  return ['', 'What differs from the upstream, by SHA-256:', ...lines, ...more];
}

function parseRewrite(text: string): { readonly strip: string; readonly add: string } {
  const [strip = '', add, ...rest] = text.split('=');
  if (add !== undefined && rest.length === 0) return { strip, add };
  throw new LookasideError(
    'CONFIG_INVALID',
    `--rewrite is ${text}; wanted ASKED=UPSTREAM, like mirror/ubi9=ubi9: clients ask below the first, and the upstream has the second`,
  );
}

function lacking(what: string): LookasideError {
  return new LookasideError('CONFIG_INVALID', `the mirror lacks ${what}; add it to the command`);
}

async function readKeyrings(files: readonly string[]): Promise<readonly Uint8Array[]> {
  const remedy = 'name a file with public keys, as gpg --export writes it';
  return Promise.all(files.map((file) => readInput(file, { maxBytes: MAX_CERTIFICATES_BYTES, remedy })));
}

function prefixesOf({ views }: Pick<MirrorSettings, 'views'>): string {
  return [...new Set(views.map(({ prefix }) => prefix))].join(', ');
}

function isWell(mirror: MirrorStatus): boolean {
  const isAnswering = ['ok', 'idle'].includes(upstreamState(mirror));
  return isAnswering && mirror.unstored === 0 && (mirror.lastSync?.counts.failed ?? 0) === 0;
}

function stateText(mirror: MirrorStatus): string {
  const state = upstreamState(mirror);
  if (state === 'resting') return `resting ${Math.ceil(mirror.restingMs / 1000)} s`;
  return state === 'idle' ? 'not asked yet' : state;
}

/** Those since the start: `3 (status 2, cut 1)`. */
function faultsText({ faults }: MirrorStatus): string {
  const kinds = Object.entries(faults).filter(([, count]) => count > 0);
  if (kinds.length === 0) return '0';
  const sum = kinds.reduce((all, [, count]) => all + count, 0);
  return `${sum} (${kinds.map(([kind, count]) => `${kind} ${count}`).join(', ')})`;
}

function syncText({ lastSync }: MirrorStatus): string {
  if (lastSync === null) return '-';
  const { finishedAt, counts } = lastSync;
  return counts.failed === 0
    ? finishedAt.toISOString()
    : `${finishedAt.toISOString()} (${counts.failed} failed)`;
}

function table(mirrors: readonly MirrorStatus[]): string {
  const rows = mirrors.map((mirror) => [
    mirror.name,
    prefixesOf(mirror),
    mirror.layout,
    String(mirror.images ?? '-'),
    String(mirror.signatures ?? '-'),
    mirror.upstreams.join(' '),
  ]);
  return formatTable([['NAME', 'PREFIX', 'LAYOUT', 'IMAGES', 'SIGNATURES', 'UPSTREAM'], ...rows]);
}

function linesOf(mirror: MirrorStatus): readonly string[] {
  const views = mirror.views.map(({ prefix, strip, add }) =>
    strip === '' && add === '' ? prefix : `${prefix} (${strip || '/'} becomes ${add || '/'})`,
  );
  const lines: readonly (readonly [string, string | null])[] = [
    ['Name', mirror.name],
    ['Upstreams', mirror.upstreams.join(', ')],
    ['Served below', views.join(', ')],
    ['Layout', mirror.layout],
    ['Means missing', mirror.missing.join(', ')],
    ['Redirects to', mirror.redirects.join(', ') || 'the same origin and public addresses'],
    ['On demand', mirror.onDemand === null ? 'all' : mirror.onDemand.join(', ') || 'nothing'],
    ['When it fails', mirror.onUpstreamFailure],
    ['Asked again after', durationText(mirror.maxAgeMs)],
    ['Fetched by readers', mirror.maxBytes === null ? null : `at most ${formatBytes(mirror.maxBytes)}`],
    ['CA', mirror.ca],
    ['Client certificate', mirror.certificate],
    ['Credentials', mirror.credentials],
    ['Added', mirror.addedAt.toISOString()],
    ['Images', String(mirror.images ?? 'being counted')],
    ['Signatures', String(mirror.signatures ?? 'being counted')],
    [
      'Walks',
      `${mirror.walks.set} with signatures, ${mirror.walks.empty} without, faults: ${faultsText(mirror)}`,
    ],
    ['Upstream', stateText(mirror)],
    ['Last answer', mirror.lastAnswerAt?.toISOString() ?? null],
    ['Last fault', mirror.lastFault && `${mirror.lastFault.at.toISOString()} ${mirror.lastFault.message}`],
    [
      'Last sync',
      mirror.lastSync && `${mirror.lastSync.finishedAt.toISOString()}: ${countsText(mirror.lastSync.counts)}`,
    ],
    ['Last whole sync', mirror.completeAt?.toISOString() ?? null],
    ['Gone upstream', `${plural(mirror.goneUpstream, 'signature')}, served here all the same`],
    ['Left out', `${plural(mirror.leftOut, 'signature')} that no client could use`],
    [
      'Not stored',
      mirror.unstored === 0
        ? null
        : `${plural(mirror.unstored, 'image')}, served from memory; make room on the disk before the server stops, or their numbers may change`,
    ],
  ];
  return lines.flatMap(([name, value]) => (value === null ? [] : [`${`${name}:`.padEnd(20)}${value}`]));
}
