// What a signature site gave when it was asked for signature-1, -2, -3 … of one image. Whole, empty or a fault: nothing between.

/**
 * Why nothing can be said of the image. `status`: neither 200 nor the site's status for what is missing. `redirect`: one that may
 * not be followed. `cut`: a body that ends before its packets do. `encoding`: a body that is encoded otherwise than gzip.
 * `number`: signatures without an end. `resting`: the site failed too often, or said when it will answer again. `queue`: too many
 * walks wait.
 */
const WALK_FAULTS = [
  'status',
  'redirect',
  'cut',
  'encoding',
  'too-large',
  'not-openpgp',
  'number',
  'connection',
  'deadline',
  'resting',
  'queue',
] as const;
export type WalkFaultKind = (typeof WALK_FAULTS)[number];

export interface WalkFault {
  readonly kind: 'fault';
  readonly fault: WalkFaultKind;
  /** For people and logs. It names no query and no user of a URL: they may be secrets. */
  readonly message: string;
  /** When the site may be asked again, as it said or as we decided; null: nothing is known. */
  readonly retryAfterMs: number | null;
}

/** One answer for one URL. */
export type Fetched =
  | { readonly kind: 'bytes'; readonly bytes: Uint8Array }
  | { readonly kind: 'missing' }
  | WalkFault;

export type Walk =
  /** In the order of the site's numbers, at least one. `upstream`: the position among the site's upstreams. */
  | { readonly kind: 'set'; readonly upstream: number; readonly blobs: readonly Uint8Array[] }
  | { readonly kind: 'empty' }
  | WalkFault;

/** One place that signatures come from. */
export interface SignatureUpstream {
  /** For people: the URL without user, password and query. */
  readonly name: string;
  /** One try for `team/app@sha256=…/signature-1`. `isFresh`: over a connection that nothing was sent on before. Never throws. */
  get(path: string, options: { readonly signal: AbortSignal; readonly isFresh: boolean }): Promise<Fetched>;
  close(): Promise<void>;
}

export function walkFault(
  fault: WalkFaultKind,
  message: string,
  retryAfterMs: number | null = null,
): WalkFault {
  return { kind: 'fault', fault, message, retryAfterMs };
}
