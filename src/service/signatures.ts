// What is stored, who signed it and who uploaded it: queries for one image, for all images, and for what is missing.
import { forEachConcurrently } from '../domain/concurrency.ts';
import { LookasideError } from '../domain/errors.ts';
import { type ImageId, imageFolder, imageKey, imageName } from '../domain/image.ts';
import { isFingerprint, type RegisteredKey } from '../domain/key.ts';
import type {
  Clock,
  IndexedSignature,
  KeyStore,
  SetEntry,
  SignatureFilter,
  SignaturePage,
  Upload,
  UploadStore,
  VerdictIndex,
  Verifier,
} from '../domain/ports.ts';
import { readerWarnings } from '../domain/release-readers.ts';
import { remapWarning } from '../domain/remap.ts';
import { type AboutKey, readerDifferences } from '../domain/signature-readers.ts';
import { type State, stateOf, verdictOf } from '../domain/state.ts';
import type { StoredSignature } from '../domain/stored-signature.ts';
import { formatCursor, parseCursor } from './cursor.ts';
import { findKey } from './keys.ts';
import type { Reader } from './read.ts';

export interface SignatureQuery {
  /** Null: of all sites. */
  readonly site: string | null;
  /** Its fingerprint may also be the key ID of a registered key. */
  readonly filter: Omit<SignatureFilter, 'verdict'>;
  /** Name of the token, or `administrator`; null: whoever. */
  readonly uploader: string | null;
  /** Null: any. */
  readonly state: State | null;
  readonly order: SignaturePage['order'];
  /** 1 to MAX_PAGE_ROWS. */
  readonly limit: number;
  readonly cursor: string | null;
}

export interface FoundSignatures {
  /** There may be fewer than the limit, even none, although more follow: see `next`. */
  readonly signatures: readonly StoredSignature[];
  /** The cursor of the next page; null only at the end. */
  readonly next: string | null;
  /**
   * With order=oldest, the position where this page ends, set on the last page too. Keep it to ask later for signatures that
   * have come since. Null with order=newest.
   */
  readonly cursor: string | null;
}

export interface AskedSignature {
  readonly image: ImageId;
  /** 64 lower-case hex digits, of the blob. */
  readonly sha256: string;
}

export interface SignatureQueries {
  /**
   * The image's signatures in served order: those that clients get now, with what the index knows about their bytes
   * (`unverified` when it knows nothing yet). Empty = nothing stored. @throws STORE_UNAVAILABLE, INDEX_UNUSABLE
   */
  ofImage(image: ImageId): Promise<readonly StoredSignature[]>;
  /**
   * One page in the order in which the index learned of the signatures. Walking with order=oldest and the same
   * filter misses none. `state`, `fingerprint` and `uploader` are as they are when a row is passed: one that is
   * verified later is not shown again.
   * @throws REQUEST_INVALID: the cursor, or a key ID of several keys; NOT_FOUND: a key ID of none; INDEX_UNUSABLE, STORE_UNAVAILABLE
   */
  search(query: SignatureQuery): Promise<FoundSignatures>;
  /**
   * The positions in `asked`, ascending, of blobs that clients cannot get under any number of that image. Asks the store, not
   * the index: in a shared tree the disk is the truth, and the index follows later. @throws STORE_UNAVAILABLE
   */
  missing(asked: readonly AskedSignature[]): Promise<readonly number[]>;
}

export interface SignatureQueriesOptions {
  /** Names of all sites, as they are now. */
  readonly sites: readonly string[];
  readonly index: Pick<VerdictIndex, 'generation' | 'ofImage' | 'search'>;
  readonly keys: Pick<KeyStore, 'find' | 'list'>;
  readonly uploads: Pick<UploadStore, 'ofImage'>;
  readonly reader: Pick<Reader, 'readSet'>;
  readonly verifier: Pick<Verifier, 'warningsOf' | 'usesOf'>;
  readonly clock: Pick<Clock, 'now'>;
  /** Resolves after other requests have had a turn. */
  readonly breathe: () => Promise<void>;
  /**
   * Rows of one look-up. An index in this process looks them up in one turn of the event loop, 50 µs each with all that belongs
   * to them, so the default is 101. Across a network each look-up costs a way there and back.
   */
  readonly rowsAtOnce?: number;
}

/** A page of 100, and the row that shows whether others follow. */
const ROWS_AT_ONCE = 101;
const MAX_WALKED_ROWS = 10_000;
const IMAGES_AT_ONCE = 8;
const IMAGES_A_BREATH = 100;

/** Data from beside the index rows: one query looks up each image and each key only once. */
interface Beside {
  uploadsOf(image: ImageId): Promise<readonly Upload[]>;
  keyOf(fingerprint: string): Promise<RegisteredKey | null>;
  about(key: RegisteredKey | null): AboutKey;
}

/** A row with all that decides whether it is wanted. */
interface Judged {
  readonly row: IndexedSignature;
  /** The registered key that made it. */
  readonly key: RegisteredKey | null;
  readonly state: State;
  /** Undefined: it came another way, or this is not known. */
  readonly upload: Upload | undefined;
}

const ANY = { state: null, uploader: null } as const;

export function createSignatureQueries(options: SignatureQueriesOptions): SignatureQueries {
  const { index, keys, uploads, reader, verifier, clock, breathe, rowsAtOnce = ROWS_AT_ONCE } = options;

  async function ofImage(image: ImageId): Promise<readonly StoredSignature[]> {
    const { entries } = await reader.readSet(image);
    if (entries.length === 0) return [];
    const known = new Map((await index.ofImage(image)).map((row) => [row.sha256, row]));
    const beside = createBeside();
    const signatures: StoredSignature[] = [];
    for (const [position, entry] of entries.entries()) {
      if (entry.isFiller === true || entry.isRepeated === true) continue;
      // a view's number means another signature where this one is stored
      const { image: storedFor, number } = entry.stored ?? { image, number: position + 1 };
      const row = known.get(entry.sha256) ?? unlooked(storedFor, entry);
      const served = { ...row, servedNumber: number, storedAt: entry.storedAt };
      const signature = await wantedSignature(served, beside, ANY);
      if (signature !== null) signatures.push(signature);
    }
    return signatures;
  }

  async function search(query: SignatureQuery): Promise<FoundSignatures> {
    const { site, order, limit, cursor } = query;
    const searched = site === null ? options.sites : [site];
    const filter = await filterOf(query);
    const generation = await index.generation();
    const beside = createBeside();
    const signatures: StoredSignature[] = [];
    let after = cursor === null ? null : parseCursor(cursor, { generation, order });
    const page = (isEnd: boolean): FoundSignatures => {
      const here = formatCursor({ generation, order, id: after ?? 0 });
      return { signatures, next: isEnd ? null : here, cursor: order === 'oldest' ? here : null };
    };

    for (let walked = 0; walked < MAX_WALKED_ROWS; ) {
      const asked = rowsToAsk(
        query,
        limit - signatures.length,
        Math.min(rowsAtOnce, MAX_WALKED_ROWS - walked),
      );
      const rows = await searchAll(searched, { filter, order, after, limit: asked });
      // after every page: the rows of another index have the same ids for other signatures
      if ((await index.generation()) !== generation)
        throw new LookasideError('INDEX_UNUSABLE', 'the index was rebuilt during the search; search again');
      for (const row of rows) {
        if (signatures.length === limit) return page(false);
        after = row.id;
        const signature = await wantedSignature(row, beside, query);
        if (signature !== null) signatures.push(signature);
      }
      if (rows.length < asked) return page(true);
      walked += rows.length;
      await breathe();
    }
    return page(false);
  }

  /** As a search of one site: an id is that of one signature in all of them. */
  async function searchAll(
    searched: readonly string[],
    page: SignaturePage,
  ): Promise<readonly IndexedSignature[]> {
    const pages = await Promise.all(searched.map((site) => index.search(site, page)));
    const direction = page.order === 'oldest' ? 1 : -1;
    return pages
      .flat()
      .sort((one, other) => direction * (one.id - other.id))
      .slice(0, page.limit);
  }

  async function filterOf({ filter, state }: SignatureQuery): Promise<SignatureFilter> {
    const { fingerprint: name } = filter;
    const isId = name !== null && !isFingerprint(name);
    const fingerprint = isId ? (await findKey(keys, name)).fingerprint : name;
    return { ...filter, fingerprint, verdict: state === null ? null : verdictOf(state) };
  }

  async function missing(asked: readonly AskedSignature[]): Promise<readonly number[]> {
    const absent: number[] = [];
    await forEachConcurrently(inBreaths(byImage(asked)), IMAGES_AT_ONCE, async ({ image, positions }) => {
      const { entries } = await reader.readSet(image);
      const stored = new Set(entries.map(({ sha256 }) => sha256));
      for (const { position, sha256 } of positions) if (!stored.has(sha256)) absent.push(position);
    });
    return absent.sort((a, b) => a - b);
  }

  /** Null: it is not wanted. A walk passes over thousands of another state, and looks up no upload for them. */
  async function wantedSignature(
    row: IndexedSignature,
    beside: Beside,
    wanted: Pick<SignatureQuery, 'uploader' | 'state'>,
  ): Promise<StoredSignature | null> {
    const key = row.fingerprint === null ? null : await beside.keyOf(row.fingerprint);
    const state = stateOf(row, key, clock.now());
    if (wanted.state !== null && state !== wanted.state) return null;
    const upload = (await beside.uploadsOf(row.image)).find(({ sha256 }) => sha256 === row.sha256);
    if (wanted.uploader !== null && upload?.uploader !== wanted.uploader) return null;
    return signatureOf({ row, key, state, upload }, beside);
  }

  async function* inBreaths<T>(items: Iterable<T>): AsyncGenerator<T> {
    let since = 0;
    for (const item of items) {
      since += 1;
      if (since % IMAGES_A_BREATH === 0) await breathe();
      yield item;
    }
  }

  function createBeside(): Beside {
    const uploadsAsked = new Map<string, Promise<readonly Upload[]>>();
    const keysAsked = new Map<string, Promise<RegisteredKey | null>>();
    const warnings = readOnce((certificate) => verifier.warningsOf(certificate));
    const uses = readOnce((certificate) => verifier.usesOf(certificate));
    return {
      about: (key) => ({ warnings: () => warnings(key), uses: () => uses(key) }),
      uploadsOf(image) {
        const asked = uploadsAsked.get(imageKey(image)) ?? uploads.ofImage(image);
        uploadsAsked.set(imageKey(image), asked);
        return asked;
      },
      keyOf(fingerprint) {
        const asked = keysAsked.get(fingerprint) ?? keys.find(fingerprint);
        keysAsked.set(fingerprint, asked);
        return asked;
      },
    };
  }

  return { ofImage, search, missing };
}

function signatureOf({ row, key, state, upload }: Judged, { about }: Pick<Beside, 'about'>): StoredSignature {
  const { image, servedNumber, reason, form, storedAt, sizeBytes, sha256 } = row;
  return {
    site: image.site,
    image: imageName(image),
    path: `/${imageFolder(image)}/signature-${servedNumber}`,
    number: servedNumber,
    state,
    reason,
    form,
    ...(row.verdict === 'good' ? vouchedFor(row) : nobodyVouches(row)),
    storedAt,
    sizeBytes,
    signatureSha256: sha256,
    uploader: upload?.uploader ?? null,
    auditSeq: upload?.auditSeq ?? null,
    remap: upload?.remap ?? null,
    warnings: [
      ...remapWarning(upload?.remap ?? null),
      ...readerWarnings({
        image,
        number: servedNumber,
        signingFingerprint: row.signingFingerprint,
        key: row.verdict === 'good' ? key : null,
      }),
    ],
    readers: readerDifferences({ ...row, number: servedNumber, state, key }, about(key)),
  };
}

/** Reads each certificate once. */
function readOnce<Detail>(read: (certificate: Uint8Array) => readonly Detail[]) {
  const known = new Map<string, readonly Detail[]>();
  return (key: RegisteredKey | null): readonly Detail[] => {
    if (key === null) return [];
    const keyFacts = known.get(key.fingerprint) ?? read(key.certificate);
    known.set(key.fingerprint, keyFacts);
    return keyFacts;
  };
}

function vouchedFor(row: IndexedSignature) {
  const { fingerprint, signingFingerprint, manifestDigest, dockerReference, creator, signedAt, expiresAt } =
    row;
  return {
    fingerprint,
    signingFingerprint,
    issuer: null,
    manifestDigest,
    dockerReference,
    creator,
    signedAt,
    expiresAt,
  };
}

function nobodyVouches({ issuer }: IndexedSignature) {
  return {
    fingerprint: null,
    signingFingerprint: null,
    issuer,
    manifestDigest: null,
    dockerReference: null,
    creator: null,
    signedAt: null,
    expiresAt: null,
  };
}

/** The row for a served signature that the index does not know yet. */
function unlooked(image: ImageId, { sha256, sizeBytes, storedAt }: SetEntry): IndexedSignature {
  return {
    id: 0,
    image,
    number: 0,
    servedNumber: 0,
    sha256,
    sizeBytes,
    storedAt,
    verdict: 'unverified',
    reason: null,
    form: null,
    issuer: null,
    fingerprint: null,
    signingFingerprint: null,
    signedAt: null,
    expiresAt: null,
    manifestDigest: null,
    dockerReference: null,
    creator: null,
    traits: null,
  };
}

/** One row more than wanted shows whether more follow. A filter that is applied here needs more rows to choose from. */
function rowsToAsk({ uploader, state }: SignatureQuery, wanted: number, allowed: number): number {
  const isFiltered = uploader !== null || state !== null;
  return Math.min(allowed, isFiltered ? allowed : wanted + 1);
}

interface AskedOfImage {
  readonly image: ImageId;
  readonly positions: readonly { readonly position: number; readonly sha256: string }[];
}

function byImage(asked: readonly AskedSignature[]): Iterable<AskedOfImage> {
  const images = new Map<string, { image: ImageId; positions: { position: number; sha256: string }[] }>();
  for (const [position, { image, sha256 }] of asked.entries()) {
    const key = imageKey(image);
    const group = images.get(key) ?? { image, positions: [] };
    group.positions.push({ position, sha256 });
    images.set(key, group);
  }
  return images.values();
}
