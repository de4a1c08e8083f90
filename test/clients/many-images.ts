// A data directory and a tree with many images, whose rows are written straight into the index: signing and verifying them would take minutes.
import { mkdirSync, utimesSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import type { ImageId } from '../../src/domain/image.ts';
import type { RecordedImage } from '../../src/domain/ports.ts';
import { openDatabases } from '../../src/sqlite/databases.ts';
import { sha256Hex, signatureBytes } from '../store/lay.ts';
import { isByNodes } from './served-by.ts';

const BATCH = 2000;
const STORED_AT = new Date();

export interface ManyImages {
  readonly data: string;
  /** The shared tree: the server forgets rows whose files are not there. */
  readonly root: string;
  readonly images: number;
  readonly repositories: number;
  /** They count as verified by it, until their bytes are judged again. */
  readonly fingerprint: string;
  /** A real signature of the k-th image; null: bytes that are none. */
  readonly signed: (k: number, repository: string) => Buffer | null;
}

/** Every fifth image, and more than a page has, is in this repository. */
export const LARGE = 'many-0/large';

/** The repository of the k-th image, which has the tag `vK`. */
export function repositoryOf(k: number, { repositories }: Pick<ManyImages, 'repositories'>): string {
  if (k % 5 === 0) return LARGE;
  return `many-${(k % repositories) % 50}/app-${k % repositories}`;
}

export async function fillMany(many: ManyImages): Promise<void> {
  if (isByNodes) return (await import('./by-nodes.ts')).adoptInsteadOf(many.data, rowsOf(many));
  const databases = await openDatabases({ dataDir: many.data, onUnusable: () => undefined });
  for (let from = 0; from < many.images; from += BATCH) {
    const length = Math.min(BATCH, many.images - from);
    await databases.index.record(Array.from({ length }, (_, k) => laid(from + k, many)));
  }
  await databases.index.markComplete('default');
  await databases.close();
}

function laid(k: number, many: ManyImages): RecordedImage {
  const row = rowOf(k, many);
  const { path: repository, hex } = row.image;
  const file = path.join(many.root, `${repository}@sha256=${hex}`, 'signature-1');
  mkdirSync(path.dirname(file), { recursive: true });
  for (const { bytes } of row.signatures) writeFileSync(file, bytes);
  utimesSync(file, STORED_AT, STORED_AT);
  return row;
}

function* rowsOf(many: ManyImages) {
  for (let k = 0; k < many.images; k += 1) yield rowOf(k, many);
}

function rowOf(k: number, many: ManyImages) {
  const repository = repositoryOf(k, many);
  const hex = sha256Hex(Buffer.from(`image ${k}`));
  const image: ImageId = {
    site: 'default',
    layout: 'repository',
    path: repository,
    algorithm: 'sha256',
    hex,
  };
  const bytes = many.signed(k, repository) ?? signatureBytes(`signature ${k}`);
  const { fingerprint } = many;
  return {
    image,
    signatures: [
      {
        ...{ number: 1, sha256: sha256Hex(bytes), sizeBytes: bytes.length, bytes },
        storedAt: STORED_AT,
        judgement: {
          verdict: 'good' as const,
          refusal: null,
          form: 'binary' as const,
          issuer: fingerprint,
          fingerprint,
          judgeAgainAt: null,
          signingFingerprint: fingerprint,
          signedAt: new Date(0),
          expiresAt: null,
          claim: {
            algorithm: 'sha256' as const,
            hex,
            dockerReference: `registry.example/${repository}:v${k}`,
            creator: 'many',
          },
          traits: { signedSha256: sha256Hex(Buffer.from(`${k}`)), digestBits: 512, obstacles: [] },
        },
      },
    ],
  };
}
