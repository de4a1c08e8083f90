// What the mirrors of a registry mean for its signatures: proposals from what OpenShift and podman are configured with.
import { LookasideError } from './errors.ts';
import type { View } from './site.ts';

/** Images of `source` are pulled from one of the mirrors: each a registry, perhaps with a path. */
export interface MirroredSource {
  readonly source: string;
  readonly mirrors: readonly string[];
}

export interface ProposedSite {
  /** Of PRESETS, and the name of the mirror. */
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

/**
 * Reads ImageDigestMirrorSet, ImageTagMirrorSet and ImageContentSourcePolicy (YAML, several documents too), and registries.conf.
 * @throws LookasideError REQUEST_INVALID when the text holds none of them
 */
export function mirroredSources(
  text: string,
  parseYaml: (text: string) => unknown,
): readonly MirroredSource[] {
  const found = /^\s*\[\[\s*registry\s*\]\]/m.test(text)
    ? fromRegistriesConf(text)
    : text.split(/^---[ \t]*$/m).flatMap((document) => fromDocument(parseYaml(document)));
  if (found.length > 0) return found;
  const wanted = 'ImageDigestMirrorSet, ImageTagMirrorSet, ImageContentSourcePolicy or a registries.conf';
  throw new LookasideError('REQUEST_INVALID', `the file holds no mirror of a registry; wanted ${wanted}`);
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

/** Of TOML only the tables that registries.conf has, with one value a line, as every tool writes them. */
function fromRegistriesConf(text: string): MirroredSource[] {
  const found: { source: string; mirrors: string[] }[] = [];
  let table = '';
  for (const line of text.split('\n')) {
    table = /^\s*\[{1,2}\s*([\w.-]+)\s*\]{1,2}/.exec(line)?.[1] ?? table;
    if (/^\s*\[\[\s*registry\s*\]\]/.test(line)) found.push({ source: '', mirrors: [] });
    const [, name, value] = /^\s*(location|prefix)\s*=\s*["']([^"']+)["']/.exec(line) ?? [];
    const last = found.at(-1);
    if (last === undefined || value === undefined) continue;
    if (table === 'registry.mirror' && name === 'location') last.mirrors.push(value);
    // what people type is the prefix, where there is one
    else if (table === 'registry' && (name === 'prefix' || last.source === '')) last.source = value;
  }
  return found.filter(({ source, mirrors }) => source !== '' && mirrors.length > 0);
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
