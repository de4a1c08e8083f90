// The kinds of clients that client-config writes for, and what the files of each are made from. Commands list the names before anything
// else of client-config is loaded.
import type { Note } from './policy-merge.ts';
import type { WantedConfig } from './wanted.ts';

/** `podman`: podman, skopeo, buildah and CRI-O, which read the same files. */
export const CLIENT_KINDS = [
  'podman',
  'openshift',
  'butane',
  'flatpak',
  'pulp',
  'portieris',
  'crio',
  'kubernetes',
  'ansible',
] as const;
export type ClientKind = (typeof CLIENT_KINDS)[number];
export type HandedKind = Exclude<ClientKind, 'podman'>;

/** The kinds whose policy is made from one that is there. */
export const KINDS_WITH_POLICY: readonly ClientKind[] = ['podman', 'openshift', 'butane', 'crio'];
/** These are put into namespaces of a cluster. */
export const KINDS_WITH_NAMESPACE: readonly ClientKind[] = ['portieris', 'crio', 'kubernetes'];

export interface KindFile {
  /** Relative, with slashes. */
  readonly path: string;
  readonly content: Uint8Array;
  /** The primary fingerprints in a file of keys; null for text. */
  readonly keys: readonly string[] | null;
}

export interface KindPlan {
  readonly files: readonly KindFile[];
  /** What to run where the files are. */
  readonly commands: readonly string[];
  readonly notes: readonly Note[];
}

export interface KindOptions {
  readonly wanted: WantedConfig;
  /** The policy that is merged into; null: none was given. */
  readonly policy: Uint8Array | null;
  readonly mayWiden: boolean;
  readonly namespaces: readonly string[];
  /** The server that machines ask: its URL without a slash at the end, and whether it answers only with a token; null: none knows the keys. */
  readonly server: { readonly url: string; readonly isClosed: boolean } | null;
  /** The image of the pods; null: the default one. */
  readonly image: string | null;
  /** Lower-case hex. */
  readonly sha256: (bytes: Uint8Array) => string;
  /** Certificates as a PGP PUBLIC KEY BLOCK. */
  readonly armor: (certificates: Uint8Array) => string;
}
