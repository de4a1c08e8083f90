// The releases that an update graph of OpenShift names: their versions, architectures and channels. Source: openshift/cincinnati
// docs/design/openshift.md, and the answers of api.openshift.com.
import { LookasideError } from './errors.ts';
import { parseDigest } from './image.ts';
import { MAX_MIRROR_RELEASE_CHANNELS, MAX_MIRROR_RELEASES } from './limits.ts';
import { quoted } from './text.ts';

export interface Release {
  /** `sha256:<hex>` of its list or manifest. */
  readonly digest: string;
  /** `4.18.3` */
  readonly version: string;
  /** `amd64`, `multi`; null: the graph does not say. */
  readonly arch: string | null;
  /** `stable-4.18`, each once. */
  readonly channels: readonly string[];
  /** The graph has listed all of them: it is in no other any more. */
  readonly hasAllChannels?: boolean | undefined;
}

/** What is kept of one, without its channels. */
export type KnownRelease = Pick<Release, 'digest' | 'version' | 'arch'>;

/** A channel of which a graph names all releases of an architecture. */
export interface WholeChannel {
  readonly channel: string;
  readonly arch: string;
}

export interface GraphsTold {
  readonly releases: readonly Release[];
  /** Releases of these that are not among them have left the channel. */
  readonly wholeChannels: readonly WholeChannel[];
}

const RELEASE_BYTES = 300;
const CHANNEL_BYTES = 50;

/** The room that they take while they wait to be written, about. */
export function graphsBytes({ releases }: GraphsTold): number {
  return releases.reduce((sum, { channels }) => sum + RELEASE_BYTES + channels.length * CHANNEL_BYTES, 0);
}

/** What somebody may call a release, or several. */
export type ReleaseName =
  | { readonly kind: 'digest'; readonly hex: string }
  | { readonly kind: 'version' | 'channel'; readonly name: string };

export const RELEASE_VERSION = /^\d{1,4}\.\d{1,4}\.\d{1,4}(?:[-+][0-9A-Za-z.+-]{1,80})?$/;
export const RELEASE_CHANNEL = /^[a-z][a-z0-9.-]{0,62}$/;
/** One that has been in every channel of OpenShift 4 has some 100. */
export const MAX_RELEASE_CHANNELS = 200;
/** In one answer; a channel of OpenShift has some hundred for each architecture. */
const MAX_RELEASES_TOLD = 2000;
export const RELEASE_ARCH = /^[a-z0-9_]{1,20}$/;

/** The architecture that Cincinnati takes when a graph names none. */
const DEFAULT_ARCH = 'amd64';
const CHANNELS = 'io.openshift.upgrades.graph.release.channels';
const ARCHITECTURE = 'release.openshift.io/architecture';

/** The first of these releases, as many as one sync may name. */
export function releasesAtOnce(releases: readonly Release[]): readonly Release[] {
  let channels = 0;
  const end = releases.findIndex((release, at) => {
    channels += release.channels.length;
    return at === MAX_MIRROR_RELEASES || channels > MAX_MIRROR_RELEASE_CHANNELS;
  });
  return end === -1 ? releases : releases.slice(0, end);
}

/** @throws LookasideError REQUEST_INVALID */
export function parseReleaseName(text: string): ReleaseName {
  const digest = parseDigest(text);
  if (digest?.algorithm === 'sha256') return { kind: 'digest', hex: digest.hex };
  if (RELEASE_VERSION.test(text)) return { kind: 'version', name: text };
  if (digest === null && RELEASE_CHANNEL.test(text)) return { kind: 'channel', name: text };
  throw new LookasideError(
    'REQUEST_INVALID',
    `${quoted(text)} names no release; wanted a digest like sha256:0c8f…, a version like 4.18.3, or a channel like stable-4.18`,
  );
}

/**
 * The releases of a graph; none for other texts. `url`: where it came from, whose query says what was asked for: a graph
 * names only other channels and architectures than those. Null: a file.
 */
export function graphReleases(text: string, url: string | null): readonly Release[] {
  const nodes = nodesOf(text);
  const asked = url === null ? null : new URL(url).searchParams;
  const askedArch = asked === null ? null : (asked.get('arch') ?? DEFAULT_ARCH);
  const askedChannel = asked?.get('channel') ?? null;
  return nodes.flatMap((node): Release[] => {
    const { version, payload, metadata } = membersOf(node);
    const digest = typeof payload === 'string' ? payload.split('@').at(-1) : undefined;
    if (typeof version !== 'string' || !RELEASE_VERSION.test(version)) return [];
    if (digest === undefined || parseDigest(digest)?.algorithm !== 'sha256') return [];
    const details = membersOf(metadata);
    const listed = typeof details[CHANNELS] === 'string' ? details[CHANNELS].split(',') : [];
    const channels = listed.map((name) => name.trim()).filter((name) => RELEASE_CHANNEL.test(name));
    const isAsked = askedChannel !== null && RELEASE_CHANNEL.test(askedChannel);
    const named = [...new Set([...channels, ...(isAsked ? [askedChannel] : [])])];
    const arch = typeof details[ARCHITECTURE] === 'string' ? details[ARCHITECTURE] : askedArch;
    return [
      {
        digest,
        version,
        arch: arch !== null && RELEASE_ARCH.test(arch) ? arch : null,
        channels: named.slice(0, MAX_RELEASE_CHANNELS),
        ...(channels.length > 0 && named.length <= MAX_RELEASE_CHANNELS ? { hasAllChannels: true } : {}),
      },
    ];
  });
}

/**
 * The channel that was asked for, when the graph names at least one release: an empty one is rather a mistake of its server.
 * `releases`: those of the graph from that address.
 */
export function graphChannels(releases: readonly Release[], url: string): readonly WholeChannel[] {
  const { searchParams: asked } = new URL(url);
  const channel = asked.get('channel') ?? '';
  const arch = asked.get('arch') ?? DEFAULT_ARCH;
  const isNamed = RELEASE_CHANNEL.test(channel) && RELEASE_ARCH.test(arch);
  return isNamed && releases.length > 0 ? [{ channel, arch }] : [];
}

function nodesOf(text: string): readonly unknown[] {
  if (!text.trimStart().startsWith('{') || !text.includes('"nodes"')) return [];
  try {
    const { nodes } = membersOf(JSON.parse(text));
    return Array.isArray(nodes) ? nodes : [];
  } catch {
    return []; // only SyntaxError: JSON lines are no graph
  }
}

function membersOf(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
}

/**
 * Those of the architecture; of a version without any, those that do not say. Without one all, which must be of one architecture.
 * @throws LookasideError REQUEST_INVALID when it has to be told, and for more than MAX_RELEASES_TOLD
 */
export function ofArchitecture(
  releases: readonly KnownRelease[],
  arch: string | null,
): readonly KnownRelease[] {
  const chosen = allOfArchitecture(releases, arch);
  if (chosen.length <= MAX_RELEASES_TOLD) return chosen;
  throw new LookasideError(
    'REQUEST_INVALID',
    `there are ${chosen.length} releases, and ${MAX_RELEASES_TOLD} are told at most; name a version in place of the channel`,
  );
}

function allOfArchitecture(releases: readonly KnownRelease[], arch: string | null): readonly KnownRelease[] {
  const versions = new Map<string, KnownRelease[]>();
  for (const release of releases)
    versions.set(release.version, [...(versions.get(release.version) ?? []), release]);
  if (arch !== null) {
    return [...versions.values()].flatMap((ones) => {
      const exact = ones.filter((release) => release.arch === arch);
      return exact.length > 0 ? exact : ones.filter((release) => release.arch === null);
    });
  }
  const named = new Set(releases.flatMap((release) => release.arch ?? []));
  const isMixed = [...versions.values()].some((ones) => new Set(ones.map((one) => one.arch)).size > 1);
  if (named.size <= 1 && !isMixed) return releases;
  const names = new Set(releases.map((release) => release.arch ?? 'unknown'));
  throw new LookasideError(
    'REQUEST_INVALID',
    `there are releases of several architectures (${[...names].sort().join(', ')}); name one with ?arch=`,
  );
}
