// What the mirrors of a registry mean for its signatures: proposals from what OpenShift and podman are configured with.
import { LookasideError } from './errors.ts';
import type { View } from './site.ts';

/** Images of `source` are pulled from one of the mirrors: each a registry, perhaps with a path. */
export interface MirroredSource {
  readonly source: string;
  readonly mirrors: readonly string[];
}

export interface ProposedSite {
  /** The name of one of PRESETS, and of the mirror. */
  readonly preset: string;
  readonly views: readonly (Pick<View, 'strip' | 'add'> & { readonly prefix: string })[];
}

export interface Proposal {
  readonly sites: readonly ProposedSite[];
  /** Lines of registries.d: below each registry the path of this server. */
  readonly lookasides: readonly { readonly registry: string; readonly path: string }[];
  /** Sources of which no signature site is known. */
  readonly unknown: readonly string[];
}

const KNOWN: readonly (readonly [RegExp, string])[] = [
  [/^registry\.(?:access\.)?redhat\.(?:io|com)(?:\/|$)/, 'red-hat'],
  [/^quay\.io\/openshift-release-dev(?:\/|$)/, 'openshift'],
  [/^quay\.io\/(?:openshift\/okd|okd)(?:\/|$)/, 'okd'],
];

/** Each throws an error whose message begins with a line that says what is wrong and where. */
export interface MirrorParsers {
  readonly parseYaml: (text: string) => unknown;
  readonly parseToml: (text: string) => unknown;
}

/**
 * Reads ImageDigestMirrorSet, ImageTagMirrorSet and ImageContentSourcePolicy (YAML, several documents too), and registries.conf (TOML).
 * @throws LookasideError REQUEST_INVALID when the text holds none of them
 */
export function mirroredSources(
  text: string,
  { parseYaml, parseToml }: MirrorParsers,
): readonly MirroredSource[] {
  const sources = isToml(text)
    ? fromRegistriesConf(reading('TOML', parseToml, text))
    : text.split(/^---[ \t]*$/m).flatMap((document) => fromDocument(reading('YAML', parseYaml, document)));
  if (sources.length > 0) return sources;
  const wanted = 'ImageDigestMirrorSet, ImageTagMirrorSet, ImageContentSourcePolicy or a registries.conf';
  throw new LookasideError('REQUEST_INVALID', `the file holds no mirror of a registry; wanted ${wanted}`);
}

/** By the first line that says something: a table of TOML, or a name with `=`. */
function isToml(text: string): boolean {
  const line = /^[ \t]*([^#\s].*)$/m.exec(text.replace(/^\ufeff/, ''))?.[1] ?? '';
  return /^\[{1,2}[ \t]*["'\w]/.test(line) || /^["'\w.-]+[ \t]*=/.test(line);
}

function reading(kind: 'TOML' | 'YAML', parse: (text: string) => unknown, text: string): unknown {
  try {
    return parse(text);
  } catch (error) {
    const [first = ''] = String(error instanceof Error ? error.message : error).split('\n');
    const what = `the file is not ${kind} that clients read: ${first.replace(/:$/, '')}`;
    throw new LookasideError('REQUEST_INVALID', `${what}; mend it, then run the command again`, {
      cause: error,
    });
  }
}

function fromDocument(value: unknown): MirroredSource[] {
  const items = membersOf(value).items;
  if (Array.isArray(items)) return items.flatMap(fromDocument); // as oc get -o yaml lists them
  const spec = membersOf(membersOf(value).spec);
  return ['imageDigestMirrors', 'imageTagMirrors', 'repositoryDigestMirrors'].flatMap((name) => {
    const sets = spec[name];
    if (!Array.isArray(sets)) return [];
    return sets.map(membersOf).flatMap(({ source, mirrors }) => {
      if (typeof source !== 'string' || !Array.isArray(mirrors)) return [];
      return [{ source, mirrors: mirrors.map(String) }];
    });
  });
}

function membersOf(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
}

/** As clients have it: what people type is the prefix where there is one, else the location. */
function fromRegistriesConf(value: unknown): MirroredSource[] {
  return tablesOf(value, 'registry').flatMap((table) => {
    const source = nameIn(table, 'prefix') ?? nameIn(table, 'location');
    const mirrors = tablesOf(table, 'mirror').flatMap((mirror) => nameIn(mirror, 'location') ?? []);
    return source === null || mirrors.length === 0 ? [] : [{ source, mirrors }];
  });
}

function tablesOf(value: unknown, name: string): readonly unknown[] {
  const tables = membersOf(value)[name];
  return Array.isArray(tables) ? tables : [];
}

function nameIn(value: unknown, name: string): string | null {
  const member = membersOf(value)[name];
  return typeof member === 'string' && member !== '' ? member : null;
}

export function proposeMirrors(sources: readonly MirroredSource[]): Proposal {
  const views = new Map<string, Map<string, ProposedSite['views'][number]>>();
  const lookasides = new Map<string, string>();
  const unknown = new Set<string>();
  for (const { source, mirrors } of sources) {
    const preset = KNOWN.find(([pattern]) => pattern.test(source))?.[1];
    if (preset === undefined) {
      unknown.add(source);
      continue;
    }
    const prefix = `/${preset}`;
    for (const mirror of mirrors) {
      const [asked, upstream] = [pathOf(mirror), pathOf(source)];
      // of a release the digest alone counts
      const isSame = preset !== 'red-hat' || asked === upstream;
      const view = isSame ? { prefix, strip: '', add: '' } : { prefix, strip: asked, add: upstream };
      const ofSite = views.get(preset) ?? new Map();
      ofSite.set(`${view.strip}=${view.add}`, view);
      views.set(preset, ofSite);
      lookasides.set(mirror, prefix);
    }
  }
  return {
    sites: [...views].map(([preset, ofSite]) => ({ preset, views: [...ofSite.values()] })),
    lookasides: [...lookasides].map(([registry, path]) => ({ registry, path })),
    unknown: [...unknown],
  };
}

function pathOf(name: string): string {
  const slash = name.indexOf('/');
  return slash === -1 ? '' : name.slice(slash + 1).replace(/\/+$/, '');
}
