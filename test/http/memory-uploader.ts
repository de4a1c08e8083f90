// An uploader that keeps what it is given in memory and verifies nothing: for what HTTP makes of uploads.
import { isLookasideError, LookasideError, type RefusalCode } from '../../src/domain/errors.ts';
import { type ImageId, imageFolder } from '../../src/domain/image.ts';
import { parseTarget } from '../../src/domain/lookaside-path.ts';
import type { BatchPart, BatchResult, Receipt } from '../../src/domain/receipt.ts';
import type { Actor } from '../../src/service/audit.ts';
import type { Uploader, UploadHow, UploadRequest } from '../../src/service/upload.ts';
import { sha256Hex } from '../store/lay.ts';

export interface MemoryUploader extends Uploader {
  /** By the image's folder, in the order of their numbers. */
  readonly stored: ReadonlyMap<string, readonly Buffer[]>;
  readonly actors: readonly Actor[];
  /** What uploads and batches asked for, in their order. */
  readonly forces: readonly boolean[];
  /** The remaps of each request, as they were written. */
  readonly remaps: readonly (readonly string[])[];
  /** Uploads wait for it. */
  gate: Promise<void>;
  /** How many wait or have waited. */
  readonly arrived: number;
}

const REFUSE = 'refuse ';

/** Bytes that are refused with this code. */
export function refusedWith(code: RefusalCode): Buffer {
  return Buffer.from(`${REFUSE}${code}`);
}

export function createMemoryUploader(site: string): MemoryUploader {
  const stored = new Map<string, Buffer[]>();
  const actors: Actor[] = [];
  const forces: boolean[] = [];
  const remaps: (readonly string[])[] = [];
  const note = ({ force, signedFor = [] }: UploadHow) => {
    forces.push(force);
    remaps.push(signedFor.map(({ text }) => text));
  };
  let arrived = 0;

  function place({ image, bytes, number }: Omit<UploadRequest, keyof UploadHow>): Receipt {
    const text = Buffer.from(bytes).toString('latin1');
    if (text.startsWith(REFUSE)) {
      // the test names a code of the closed set
      throw new LookasideError(text.slice(REFUSE.length) as RefusalCode, 'refused as the test wanted it');
    }
    const folder = imageFolder(image);
    const there = stored.get(folder) ?? [];
    const known = there.findIndex((each) => each.equals(bytes));
    if (known !== -1) return receipt(image, bytes, known + 1, false);
    const next = there.length + 1;
    if (number !== null && number !== next) {
      const code = number < next ? 'NUMBER_TAKEN' : 'NUMBER_NOT_NEXT';
      throw new LookasideError(code, `signature-${number} is not next`, { detail: { next } });
    }
    stored.set(folder, [...there, Buffer.from(bytes)]);
    return receipt(image, bytes, next, true);
  }

  function placePart({ bytes, fileName }: BatchPart, part: number): BatchResult {
    const target = parseTarget(site, '', `/${fileName}`);
    try {
      if (target.kind !== 'signature' || target.number === null) {
        throw new LookasideError('PATH_INVALID', `${fileName} is no path`);
      }
      const made = place({ image: target.image, bytes, number: target.number });
      return { part, result: made.created ? 'created' : 'exists', ...made };
    } catch (error) {
      if (!isLookasideError(error)) throw error;
      const { code, message, detail } = error;
      return { part, result: 'refused', code, message, ...(detail === null ? {} : { detail }) };
    }
  }

  const uploader: MemoryUploader = {
    stored,
    actors,
    forces,
    remaps,
    gate: Promise.resolve(),
    get arrived() {
      return arrived;
    },
    async upload(request, actor) {
      arrived += 1;
      await uploader.gate;
      actors.push(actor);
      note(request);
      return place(request);
    },
    async uploadBatch(parts, how, actor) {
      arrived += 1;
      await uploader.gate;
      actors.push(actor);
      note(how);
      return parts.map(placePart);
    },
  };
  return uploader;
}

function receipt(image: ImageId, bytes: Uint8Array, number: number, created: boolean): Receipt {
  return {
    path: `/${imageFolder(image)}/signature-${number}`,
    number,
    created,
    state: 'verified',
    fingerprint: 'A'.repeat(40),
    signingFingerprint: 'B'.repeat(40),
    manifestDigest: `${image.algorithm}:${image.hex}`,
    dockerReference: `registry.example/${image.path}:1`,
    signedAt: new Date('2026-11-22T09:00:00.000Z'),
    signatureSha256: sha256Hex(bytes),
    auditSeq: created ? number : null,
    warnings: number > 9 ? [{ code: 'OVER_NINE', message: 'OpenShift reads nine' }] : [],
  };
}
