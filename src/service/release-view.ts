// The release layout over repositories: who asks for `sha256=<hex>` without a repository, as OpenShift does, gets the signatures of the
// first configured repository that has any of that digest, those by a preferred key ahead.
import { DEFAULT_SITE, type ImageId } from '../domain/image.ts';
import type { SetEntry, SignatureSet, SignatureStore, VerdictIndex } from '../domain/ports.ts';

export interface ReleaseViewSettings {
  /** Their paths, in the order in which they are asked; none: there is no view. */
  readonly repositories: readonly string[];
  /** A fingerprint or key ID, in upper-case hex; null: signatures stand as in the repository. */
  readonly preferredKey: string | null;
}

export interface ReleaseViewOptions {
  readonly store: SignatureStore;
  readonly index: Pick<VerdictIndex, 'ofImage'>;
  /** A reload may change them. */
  readonly settings: () => ReleaseViewSettings;
}

export interface ReleaseView {
  /** For readers. */
  readonly store: SignatureStore;
  /** What the index knows of the signatures that are served for the image; each row names the image that it is stored for. */
  readonly ofImage: VerdictIndex['ofImage'];
}

export function createReleaseView({ store, index, settings }: ReleaseViewOptions): ReleaseView {
  /** Where signatures of the release may lie beside its own place. */
  function sourcesOf(image: ImageId): readonly ImageId[] {
    const { site, layout, path } = image;
    if (layout !== 'release' || path !== '' || site !== DEFAULT_SITE) return [];
    const { algorithm, hex } = image;
    return settings().repositories.map((repository) => {
      return { site, layout: 'repository', path: repository, algorithm, hex };
    });
  }

  async function firstSigned(sources: readonly ImageId[]) {
    for (const source of sources) {
      const set = await store.readSet(source);
      if (set.entries.length > 0) return { source, set };
    }
    return null;
  }

  /** oc-mirror reads the first signature alone, and OpenShift the first nine. */
  async function inOrder(source: ImageId, { entries }: SignatureSet): Promise<readonly SetEntry[]> {
    const { preferredKey } = settings();
    if (preferredKey === null) return entries;
    const rows = await index.ofImage(source);
    const byKey = new Set(
      rows.flatMap(({ sha256, fingerprint }) => (fingerprint?.endsWith(preferredKey) ? [sha256] : [])),
    );
    const isPreferred = ({ sha256 }: SetEntry) => byKey.has(sha256);
    return [...entries.filter(isPreferred), ...entries.filter((entry) => !isPreferred(entry))];
  }

  async function readSet(image: ImageId, known?: SignatureSet): Promise<SignatureSet> {
    const own = await store.readSet(image, known);
    const sources = own.entries.length > 0 ? [] : sourcesOf(image);
    if (sources.length === 0) return own;
    const signed = await firstSigned(sources);
    // nobody tells a reader of the release that a repository has changed: it is looked at again after a second
    if (signed === null) return { ...own, isSettled: false };
    const { source, set } = signed;
    return { generation: set.generation, entries: await inOrder(source, set), isSettled: false };
  }

  async function readBlob(image: ImageId, sha256: string): Promise<Uint8Array | null> {
    for (const place of [image, ...sourcesOf(image)]) {
      const bytes = await store.readBlob(place, sha256);
      if (bytes !== null) return bytes;
    }
    return null;
  }

  return {
    store: {
      readSet,
      readBlob,
      // it knows its own sets again, and none that was made here
      peekHolds: (image, known) => store.peekHolds?.(image, known) ?? false,
      listFolder: (...page) => store.listFolder(...page),
    },
    async ofImage(image) {
      const own = await index.ofImage(image);
      if (own.length > 0) return own;
      const signed = await firstSigned(sourcesOf(image));
      return signed === null ? own : index.ofImage(signed.source);
    },
  };
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
