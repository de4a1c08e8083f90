// The release layout over repositories: who asks for `sha256=<hex>` without a repository, as OpenShift does, gets what is stored there,
// and then the signatures of that digest in each configured repository. One by a preferred key is number 1.
import { isLookasideError } from '../domain/errors.ts';
import { DEFAULT_SITE, type ImageId, imageKey } from '../domain/image.ts';
import type {
  IndexedSignature,
  SetEntry,
  SignatureSet,
  SignatureStore,
  TombstoneStore,
  VerdictIndex,
} from '../domain/ports.ts';

export interface ReleaseViewSettings {
  /** Their paths, in the order in which they are asked; none: there is no view. */
  readonly repositories: readonly string[];
  /** A fingerprint or key ID, in upper-case hex; null: nothing is put ahead. */
  readonly preferredKey: string | null;
}

export interface ReleaseViewOptions {
  readonly store: SignatureStore;
  readonly index: Pick<VerdictIndex, 'ofImage'>;
  readonly tombstones: Pick<TombstoneStore, 'ofImage'>;
  /** A reload may change them; call Reader.forgetAll then. */
  readonly settings: () => ReleaseViewSettings;
}

export interface ReleaseView {
  /** For readers: it tells at once all that the other one tells so. */
  readonly store: Required<Omit<SignatureStore, 'areStored'>>;
  /** What the index knows of the signatures that are served for the image; each row names the image that it is stored for. */
  readonly ofImage: VerdictIndex['ofImage'];
  /** The release in whose view the image is; null: in none. */
  readonly releaseOf: (image: ImageId) => ImageId | null;
}

/** The sets that a view was made of, by imageKey. */
type Parts = ReadonlyMap<string, SignatureSet>;

export function createReleaseView({ store, index, tombstones, settings }: ReleaseViewOptions): ReleaseView {
  const partsOf = new WeakMap<SignatureSet, Parts>();

  /** Where signatures of the image lie, its own place first; only releases have more than that. */
  function placesOf(image: ImageId): readonly ImageId[] {
    if (!isRelease(image)) return [image];
    const { site, algorithm, hex } = image;
    const repositories = settings().repositories.map((repository): ImageId => {
      return { site, layout: 'repository', path: repository, algorithm, hex };
    });
    return [image, ...repositories];
  }

  /** A store may be given only its own sets again: it would take a view for one of them. */
  function readPart(place: ImageId, known: SignatureSet | undefined, parts: Parts | undefined) {
    return store.readSet(place, parts === undefined ? known : parts.get(imageKey(place)));
  }

  async function readSet(image: ImageId, known?: SignatureSet): Promise<SignatureSet> {
    const places = placesOf(image);
    const before = known === undefined ? undefined : partsOf.get(known);
    if (places.length === 1) return readPart(image, known, before);
    const sets = await Promise.all(
      places.map((place) => readPart(place, place === image ? known : undefined, before)),
    );
    const last = sets.findLastIndex(({ entries }) => entries.length > 0);
    // behind the sets: a tombstone is written before its set becomes shorter. Nothing follows the last place that has any
    const widths = await Promise.all(places.slice(0, Math.max(0, last)).map(widthOf));
    const all = inOneRow(places, sets, widths);
    const ahead = await aheadOf(places, all);
    const view: SignatureSet = {
      generation: sets.reduce((sum, { generation }) => sum + generation, 0),
      entries: [...ahead, ...all],
      isSettled: false, // a reader of the release is told of changed sets, but not of verdicts, which decide what stands ahead
    };
    const parts = new Map(places.map((place, at) => [imageKey(place), sets[at] ?? view]));
    if (known !== undefined && before !== undefined && isSame({ known, before }, { view, parts }))
      return known;
    partsOf.set(view, parts);
    return view;
  }

  /** Numbers that signatures of the place have had in a view, as far as withdrawals tell. */
  async function widthOf(place: ImageId): Promise<number> {
    const withdrawn = await tombstones.ofImage(place);
    return withdrawn.reduce((width, { number }) => Math.max(width, number), 0);
  }

  /**
   * The signature that is served as number 1 too: the first by the preferred key, or the first of all. oc-mirror reads no other. It
   * stays in its place as well, and something always stands ahead of the others, so that their numbers never move. Otherwise a
   * client between two numbers would miss one whenever a signature is verified later, or withdrawn.
   */
  async function aheadOf(
    places: readonly ImageId[],
    entries: readonly SetEntry[],
  ): Promise<readonly SetEntry[]> {
    const { preferredKey } = settings();
    const first = entries.find(({ isFiller }) => isFiller !== true);
    if (preferredKey === null || first === undefined) return [];
    const rows = (await Promise.all(places.map(knownOf))).flat();
    const byKey = new Set(
      rows.flatMap(({ sha256, verdict, fingerprint, signingFingerprint }) => {
        const keys = verdict === 'good' ? [fingerprint, signingFingerprint] : [];
        return keys.some((key) => key?.endsWith(preferredKey)) ? [sha256] : [];
      }),
    );
    const preferred = entries.find(({ sha256, isFiller }) => isFiller !== true && byKey.has(sha256));
    return [{ ...(preferred ?? first), isRepeated: true }];
  }

  /** What the index knows; nothing while it is rebuilt, as before anything was verified: reads need no index. */
  async function knownOf(image: ImageId): Promise<readonly IndexedSignature[]> {
    try {
      return await index.ofImage(image);
    } catch (error) {
      if (isLookasideError(error, 'INDEX_UNUSABLE')) return [];
      throw error;
    }
  }

  /** It is a set of the store, and nothing else stands beside it. */
  function isStored(image: ImageId, known: SignatureSet): boolean {
    return (!isRelease(image) || placesOf(image).length === 1) && !partsOf.has(known);
  }

  async function readBlob(image: ImageId, sha256: string): Promise<Uint8Array | null> {
    for (const place of placesOf(image)) {
      const bytes = await store.readBlob(place, sha256);
      if (bytes !== null) return bytes;
    }
    return null;
  }

  return {
    store: {
      readSet,
      readBlob,
      peekHolds: (image, known) => isStored(image, known) && store.peekHolds?.(image, known) === true,
      peekHeldAtMs: (image, known) =>
        isStored(image, known) ? (store.peekHeldAtMs?.(image, known) ?? null) : null,
      // each read asks it: nearly all are of repositories, and need no list of places
      peekEmpty: (image, round) => {
        if (!isRelease(image)) return store.peekEmpty?.(image, round) === true;
        return placesOf(image).every((place) => store.peekEmpty?.(place, round) === true);
      },
      peekSettled: (image) => (isRelease(image) ? null : (store.peekSettled?.(image) ?? null)),
      listFolder: (...page) => store.listFolder(...page),
    },
    async ofImage(image) {
      const rows = await Promise.all(placesOf(image).map((place) => index.ofImage(place)));
      const [own = [], ...others] = rows;
      const known = new Set(own.map(({ sha256 }) => sha256));
      // the same signature in two places is told of once, in the first of them
      return [...own, ...others.flat().filter(({ sha256 }) => known.size < known.add(sha256).size)];
    },
    releaseOf({ site, layout, path, algorithm, hex }) {
      const isShown =
        layout === 'repository' && site === DEFAULT_SITE && settings().repositories.includes(path);
      return isShown ? { site, layout: 'release', path: '', algorithm, hex } : null;
    },
  };
}

function isRelease({ site, layout, path }: ImageId): boolean {
  return layout === 'release' && path === '' && site === DEFAULT_SITE;
}

/**
 * The second entry of a signature that is stored in two places is marked as repeated. A place whose last signatures were withdrawn has
 * fillers behind it while others follow. Otherwise the numbers of those would fall, and a client between two numbers would miss one.
 */
function inOneRow(
  places: readonly ImageId[],
  sets: readonly SignatureSet[],
  widths: readonly number[],
): readonly SetEntry[] {
  const before = new Set<string>();
  const row = places.flatMap((image, at): (SetEntry | null)[] => {
    const { entries } = sets[at] ?? { entries: [] };
    const own = entries.map((entry, position): SetEntry => {
      const stored = { image, number: position + 1 };
      return before.has(entry.sha256) ? { ...entry, stored, isRepeated: true } : { ...entry, stored };
    });
    for (const { sha256 } of entries) before.add(sha256);
    return [...own, ...Array.from({ length: Math.max(0, (widths[at] ?? 0) - own.length) }, () => null)];
  });
  const first = row.find((entry) => entry !== null);
  if (first === undefined) return [];
  const last = row.findLastIndex((entry) => entry !== null);
  return row.slice(0, last + 1).map((entry) => entry ?? { ...first, isFiller: true });
}

function isSame(
  one: { readonly known: SignatureSet; readonly before: Parts },
  other: { readonly view: SignatureSet; readonly parts: Parts },
): boolean {
  // in their order, which a reload may change
  const parts = [...other.parts];
  const isSameRow =
    one.before.size === parts.length &&
    [...one.before].every(([key, set], at) => parts[at]?.[0] === key && parts[at]?.[1] === set);
  return (
    isSameRow &&
    one.known.entries.length === other.view.entries.length &&
    one.known.entries[0]?.sha256 === other.view.entries[0]?.sha256
  );
}

/** The index as questions about signatures ask it. */
export function showingReleases(
  index: Pick<VerdictIndex, 'generation' | 'search'>,
  { ofImage }: Pick<ReleaseView, 'ofImage'>,
): Pick<VerdictIndex, 'generation' | 'ofImage' | 'search'> {
  return {
    ofImage,
    generation: () => index.generation(),
    search: (...query) => index.search(...query),
  };
}
