// Imports signatures. A signature that clients could read is stored with the result of its verification, whoever made it. A
// signature that they could never read is refused. See the column "record" of the table in docs/importing.md.
import { type ErrorCode, isLookasideError, LookasideError } from '../domain/errors.ts';
import { type Digest, type ImageId, imageKey, imageName, parseDigest } from '../domain/image.ts';
import { MAX_SIGNATURES_PER_IMAGE } from '../domain/limits.ts';
import { claimedImage, tooLongClaim } from '../domain/placement.ts';
import type { Clock, KeyStore, SignatureAppender, UploadStore, Verifier } from '../domain/ports.ts';
import { type Unreadable, whyUnreadable } from '../domain/readable.ts';
import type { BatchPart, ImportOptions, ImportResult } from '../domain/receipt.ts';
import { type State, stateOf } from '../domain/state.ts';
import type { Judgement, Refusal } from '../domain/verdict.ts';
import type { Actor, MakeEvent } from './audit.ts';
import { type BatchBounds, createBatchBounds } from './batch-bounds.ts';
import { judgedInPlace } from './judge.ts';
import type { Reader } from './read.ts';
import { imageOfName, type PartName, partNames } from './whole-images.ts';

export interface ImporterOptions {
  /** The tree of a site. A shared tree takes nothing: it is served as it is. */
  readonly treeOf: (site: string) => 'owned' | 'shared';
  readonly verifier: Pick<Verifier, 'examine'>;
  readonly keys: Pick<KeyStore, 'find'>;
  readonly appender: Pick<SignatureAppender, 'append'>;
  readonly uploads: Pick<UploadStore, 'ofImage'>;
  readonly reader: Pick<Reader, 'readSet'>;
  readonly makeEvent: MakeEvent;
  readonly clock: Pick<Clock, 'now'>;
  /** Lower-case hex. */
  readonly sha256: (bytes: Uint8Array) => string;
  /** The number changes whenever the verifier gets another keyring. */
  readonly keyringChanges: () => number;
  /** As VerifiedUpload; left out for one process. */
  readonly keyringNumber?: () => number;
  /** As UploaderOptions. */
  readonly imagesOfBatch?: number;
  /** Marks the signatures that name these fingerprints or key IDs to be verified again, in the background. */
  readonly verifyAgain: (issuers: readonly string[]) => Promise<void>;
}

export interface Importer {
  /**
   * In the order of the parts, which is that of the numbers in each image; a refused one never stops the others. A
   * part's file name is a full lookaside path, `sha256:<hex>` of its manifest, or anything: then its verified claim
   * says where it belongs. What is answered as created survives a power cut.
   * @throws LookasideError REQUEST_INVALID for a site with a shared tree; STORE_UNAVAILABLE, DISK_FULL, READ_ONLY when nothing more
   * can be stored: the same parts again go on
   */
  importBatch(
    parts: readonly BatchPart[],
    options: ImportOptions & { readonly site: string },
    actor: Actor,
  ): Promise<readonly ImportResult[]>;
}

interface Judged {
  readonly part: number;
  readonly image: ImageId;
  readonly bytes: Uint8Array;
  readonly sha256: string;
  readonly judgement: Judgement;
  /** keyringChanges() before it was judged. */
  readonly keyring: number;
  /** As VerifiedUpload. */
  readonly sharedKeyring: number | null;
}

/** Failures of the store, which would hit every other part too. */
const STOPS_ALL: ReadonlySet<ErrorCode> = new Set(['STORE_UNAVAILABLE', 'DISK_FULL', 'READ_ONLY']);

export function createImporter(options: ImporterOptions): Importer & Pick<BatchBounds, 'stop'> {
  const { keys, appender, uploads, reader, clock } = options;
  const bounds = createBatchBounds(options.imagesOfBatch);

  /** The result for a part that is already stored and recorded, which needs no second verification; else null. */
  async function findKept(part: number, image: ImageId, sha256: string): Promise<ImportResult | null> {
    const upload = (await uploads.ofImage(image)).find((one) => one.sha256 === sha256);
    if (upload === undefined) return null;
    const number = (await numbersOf(image)).get(sha256);
    if (number === undefined) return null;
    const { auditSeq } = upload;
    return { part, result: 'exists', image: imageName(image), number, signatureSha256: sha256, auditSeq };
  }

  /** Served numbers by SHA-256. */
  async function numbersOf(image: ImageId): Promise<Map<string, number | null>> {
    const { entries } = await reader.readSet(image);
    return new Map(entries.map(({ sha256 }, position) => [sha256, position + 1]));
  }

  async function judge(
    site: string,
    { bytes, fileName }: BatchPart,
    { part, name }: { readonly part: number; readonly name: PartName | undefined },
  ): Promise<Judged | ImportResult> {
    const sha256 = options.sha256(bytes);
    const named = imageOfName(name);
    const kept = named === null ? null : await findKept(part, named, sha256);
    if (kept !== null) return kept;
    const keyring = options.keyringChanges();
    const sharedKeyring = options.keyringNumber?.() ?? null;
    // in the background, because uploads go first: their signers are waiting
    const examined = await options.verifier.examine(bytes, clock.now(), 'background');
    refuseIf(whyRefused(bytes, examined));
    const image = named ?? placeOf(site, examined, fileName === null ? null : parseDigest(fileName));
    const judgement = judgedInPlace(image, examined);
    refuseIf(whyRefused(bytes, judgement));
    return { part, image, bytes, sha256, judgement, keyring, sharedKeyring };
  }

  /** Where the verified claim says that it belongs. @throws LookasideError REFERENCE_INVALID, PATH_INVALID, DIGEST_MISMATCH */
  function placeOf(site: string, { claim }: Judgement, manifest: Digest | null): ImageId {
    const image = claim === null ? null : claimedImage(site, claim);
    if (image === null) {
      throw (
        (claim === null ? null : tooLongClaim(claim)) ??
        new LookasideError(
          'REFERENCE_INVALID',
          'the file’s path names no image, and what the signature says of itself is not verified; register its key, or put the file at REPOSITORY@ALGORITHM=HEX/signature-1 below the folder',
        )
      );
    }
    if (manifest === null || (manifest.algorithm === image.algorithm && manifest.hex === image.hex))
      return image;
    throw new LookasideError(
      'DIGEST_MISMATCH',
      `the signature is for the manifest ${image.algorithm}:${image.hex}, and lies beside ${manifest.algorithm}:${manifest.hex}; no client accepts it there`,
    );
  }

  async function store(
    { part, image, bytes, sha256, judgement, keyring, sharedKeyring }: Judged,
    actor: Actor,
  ): Promise<ImportResult> {
    const { fingerprint, issuer, verdict } = judgement;
    const { outcome, number, auditSeq } = await appender.append({
      image,
      bytes,
      judgement,
      keyring: sharedKeyring,
      number: null,
      uploader: actor.name,
      remap: null,
      event: options.makeEvent(
        { action: 'import', image, signatureSha256: sha256, fingerprint, result: 'created' },
        actor,
      ),
      review: null,
    });
    // its key may have been registered in between, when the index had no verdict yet that could be marked
    if (verdict === 'no-key' && issuer !== null && keyring !== options.keyringChanges()) {
      await options.verifyAgain([issuer]);
    }
    const what = { part, image: imageName(image), number, signatureSha256: sha256, auditSeq };
    if (outcome !== 'created') return { result: 'exists', ...what };
    return { result: 'created', ...what, state: await stateNow(judgement) };
  }

  async function stateNow(judgement: Judgement): Promise<State> {
    const { fingerprint } = judgement;
    return stateOf(judgement, fingerprint === null ? null : await keys.find(fingerprint), clock.now());
  }

  /** What would happen if these parts of one image were stored. */
  async function foresee(image: ImageId, ofImage: readonly Judged[]): Promise<readonly ImportResult[]> {
    bounds.requireRunning();
    const numbers = await numbersOf(image);
    const results: ImportResult[] = [];
    for (const { part, sha256, judgement } of ofImage) {
      const number = numbers.get(sha256);
      const what = { part, image: imageName(image), signatureSha256: sha256, auditSeq: null };
      if (number !== undefined) results.push({ result: 'exists', ...what, number });
      else if (numbers.size >= MAX_SIGNATURES_PER_IMAGE) results.push(tooMany(part, image));
      else {
        numbers.set(sha256, null);
        results.push({ result: 'created', ...what, number: null, state: await stateNow(judgement) });
      }
    }
    return results;
  }

  async function storeEach(ofImage: readonly Judged[], actor: Actor): Promise<readonly ImportResult[]> {
    const results: ImportResult[] = [];
    for (const judged of ofImage) {
      bounds.requireRunning(); // one image may have a hundred
      results.push(await orRefused(judged.part, () => store(judged, actor)));
    }
    return results;
  }

  return {
    async importBatch(parts, { site, dryRun }, actor) {
      if (options.treeOf(site) === 'shared') throw sharedTree();
      const results: ImportResult[] = [];
      const names = partNames(site, parts);
      await bounds.handle<Judged>(parts, {
        names,
        async examine(content, part) {
          // a refused part is not sent again, and a batch that fails as a whole is: after stop() it fails
          bounds.requireRunning();
          const one = await orRefused(part, () => judge(site, content, { part, name: names[part] }));
          if (!('result' in one)) return { image: imageKey(one.image), item: one };
          results[part] = one;
          return null;
        },
        async store(judged) {
          const image = judged[0]?.image;
          if (image === undefined) return;
          const outcomes = dryRun ? await foresee(image, judged) : await storeEach(judged, actor);
          for (const result of outcomes) results[result.part] = result;
        },
      });
      return results;
    },
    stop: bounds.stop,
  };
}

export function sharedTree(): LookasideError {
  return new LookasideError(
    'REQUEST_INVALID',
    'nothing can be imported into a shared tree (--root): others write into it, and all of it is served as it is. Copy the files into it; or start the server without --root, so that it owns the tree of its data directory, and import then',
  );
}

function tooMany(part: number, image: ImageId): ImportResult {
  const message = `${imageName(image)} has ${MAX_SIGNATURES_PER_IMAGE} signatures by then, and clients refuse an image with more; none can be added`;
  return { part, result: 'refused', code: 'TOO_MANY_SIGNATURES', message };
}

/** Why clients could never read or verify it. Null: it is stored, and its state says what is known about it. */
function whyRefused(bytes: Uint8Array, { verdict, refusal }: Judgement): Refusal | null {
  switch (verdict) {
    case 'bad':
    case 'unreadable':
      if (refusal === null) throw new Error(`the verdict ${verdict} lacks its reason`);
      return refusal;
    case 'good':
    case 'no-key':
    case 'unsupported':
    case 'unverified': {
      const fault = whyUnreadable(bytes);
      return fault === null ? null : UNREADABLE[fault];
    }
  }
}

const UNREADABLE: Readonly<Record<Unreadable, Refusal>> = {
  empty: { code: 'EMPTY', message: 'the file is empty, and one such file fails every pull of its image' },
  'too-large': { code: 'TOO_LARGE', message: 'the file is over 4 MiB, which fails every pull of its image' },
  'first-byte': {
    code: 'FIRST_BYTE',
    message:
      'the file does not begin like a signature that clients know, which fails every pull of its image',
  },
  format: {
    code: 'FORMAT_UNSUPPORTED',
    message: 'the tagged form is one that no client knows, which fails every pull of its image',
  },
};

function refuseIf(refusal: Refusal | null): void {
  if (refusal !== null) throw new LookasideError(refusal.code, refusal.message);
}

/** The result of `act`, or the refusal that it throws. */
async function orRefused<T>(part: number, act: () => Promise<T>): Promise<T | ImportResult> {
  try {
    return await act();
  } catch (error) {
    if (!isLookasideError(error) || STOPS_ALL.has(error.code)) throw error;
    return { part, result: 'refused', code: error.code, message: error.message };
  }
}
