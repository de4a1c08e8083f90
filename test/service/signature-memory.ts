// What signature queries ask, in memory: an index with verdicts, uploads, keys and the sets that clients get.
import { type ImageId, imageKey } from '../../src/domain/image.ts';
import type { RegisteredKey } from '../../src/domain/key.ts';
import type {
  IndexedSignature,
  SetEntry,
  SignaturePage,
  Upload,
  UploadStore,
  VerdictIndex,
} from '../../src/domain/ports.ts';
import type { Reader } from '../../src/service/read.ts';
import { imageOf } from './hand-driven.ts';

export const FINGERPRINT = 'A1'.repeat(20);
export const SUBKEY = 'B2'.repeat(20);

/** The hash of signature number `n` in tests: 64 hex digits. */
export function hashOf(n: number): string {
  return n.toString(16).padStart(64, '0');
}

export function createMemory() {
  const rows: IndexedSignature[] = [];
  const uploaded = new Map<string, Upload[]>();
  const served = new Map<string, SetEntry[]>();
  const keys = new Map<string, RegisteredKey>();
  const asked = { pages: [] as SignaturePage[], images: [] as ImageId[], sets: [] as ImageId[] };
  let generation = 'one';
  let lastId = 0;

  const index: Pick<VerdictIndex, 'generation' | 'ofImage' | 'search'> = {
    async generation() {
      return generation;
    },
    async ofImage(image) {
      asked.images.push(image);
      return rows.filter((row) => imageKey(row.image) === imageKey(image));
    },
    async search(site, page) {
      asked.pages.push(page);
      const { order, after, limit } = page;
      const inOrder = order === 'oldest' ? rows : rows.toReversed();
      const isBehind = ({ id }: IndexedSignature) =>
        after === null || (order === 'oldest' ? id > after : id < after);
      return inOrder
        .filter((row) => row.image.site === site && isBehind(row) && passes(row, page))
        .slice(0, limit);
    },
  };
  const uploads: Pick<UploadStore, 'ofImage'> = {
    ofImage: async (image) => uploaded.get(imageKey(image)) ?? [],
  };
  const reader: Pick<Reader, 'readSet'> = {
    async readSet(image) {
      asked.sets.push(image);
      return { generation: 1, entries: served.get(imageKey(image)) ?? [] };
    },
  };

  return {
    index,
    uploads,
    reader,
    verifier: { warningsOf: () => [], usesOf: () => [] },
    asked,
    rows,
    keys: {
      find: async (fingerprint: string) => keys.get(fingerprint) ?? null,
      list: async () => [...keys.values()],
    },

    /** The index learns of a signature that is good, unless told otherwise. */
    learn(signature: Partial<IndexedSignature> = {}): IndexedSignature {
      lastId += 1;
      const row = { ...goodRow(lastId), ...signature };
      rows.push(row);
      return row;
    },
    /** Clients get these, in this order. */
    serve(image: ImageId, hashes: readonly string[]): void {
      const entries = hashes.map((sha256, position) => ({
        sha256,
        sizeBytes: 500 + position,
        storedAt: new Date(1000 * (position + 1)),
        bytes: null,
      }));
      served.set(imageKey(image), entries);
    },
    upload(
      image: ImageId,
      sha256: string,
      uploader: string,
      auditSeq = 1,
      remap: string | null = null,
    ): void {
      const known = uploaded.get(imageKey(image)) ?? [];
      uploaded.set(imageKey(image), [...known, { sha256, uploader, auditSeq, remap, storedAt: new Date(0) }]);
    },
    register(key: Partial<RegisteredKey> = {}): void {
      const whole = { ...keyOf(FINGERPRINT), ...key };
      keys.set(whole.fingerprint, whole);
    },
    makeAnew(): void {
      generation += '+';
      rows.length = 0;
    },
  };
}

function passes(row: IndexedSignature, { filter }: SignaturePage): boolean {
  const { image, fingerprint, storedAt, verdict, dockerReference } = row;
  if (filter.tag !== null && dockerReference?.endsWith(`:${filter.tag}`) !== true) return false;
  if (filter.verdict !== null && verdict !== filter.verdict) return false;
  if (filter.path !== null && image.path !== filter.path) return false;
  if (filter.digest !== null && image.hex !== filter.digest.hex) return false;
  if (filter.fingerprint !== null && fingerprint !== filter.fingerprint) return false;
  if (filter.since !== null && storedAt < filter.since) return false;
  return filter.until === null || storedAt < filter.until;
}

function goodRow(id: number): IndexedSignature {
  const image = imageOf('team/app');
  return {
    id,
    image,
    number: id,
    servedNumber: id,
    sha256: hashOf(id),
    sizeBytes: 500,
    storedAt: new Date(1000 * id),
    verdict: 'good',
    reason: null,
    form: 'binary',
    issuer: FINGERPRINT,
    fingerprint: FINGERPRINT,
    signingFingerprint: FINGERPRINT,
    signedAt: new Date('2026-11-01T00:00:00Z'),
    expiresAt: null,
    manifestDigest: `${image.algorithm}:${image.hex}`,
    dockerReference: 'registry.example/team/app:v1',
    creator: 'atomic 5.34.2',
    traits: null,
  };
}

export function keyOf(fingerprint: string): RegisteredKey {
  const at = new Date('2026-01-01T00:00:00Z');
  return {
    fingerprint,
    algorithm: 'ed25519',
    createdAt: at,
    expiresAt: null,
    revokedAt: null,
    canSign: true,
    userIds: ['signer@example.invalid'],
    subkeys: [],
    addedAt: at,
    changedAt: at,
    retiredAt: null,
    certificate: new Uint8Array(),
  };
}
