// Compares an image's folder with its record: what clients see, what is wrong, what the index should say.
import { type ImageId, imageFolder } from '../domain/image.ts';
import { MAX_FILE_NUMBER } from '../domain/limits.ts';
import type { RecordedSignature, SetEntry, Upload } from '../domain/ports.ts';
import { type Beyond, withinLimit } from '../domain/signature-names.ts';
import { type Tombstone, withdrawnOf, withFillers } from '../domain/tombstone.ts';
import type { ImageFolder, Problem, ProblemKind, SignatureFile } from '../domain/tree.ts';

export interface ImageState {
  /** What should be served and recorded, by file number. */
  readonly signatures: readonly RecordedSignature[];
  readonly problems: readonly Problem[];
}

/** A shared tree: the disk is the truth, without what no client could read, and without what is withdrawn. */
export function sharedState(
  image: ImageId,
  onDisk: ImageFolder | null,
  tombstones: readonly Tombstone[],
): ImageState {
  if (onDisk === null) return { signatures: [], problems: [] };
  const readable = recordable(onDisk);
  return {
    signatures: withinLimit(withFillers(readable, tombstones)),
    problems: [...cameBack(image, onDisk, withdrawnOf(tombstones)), ...diskProblems(image, onDisk)],
  };
}

/** Identifies the file of an upload. */
export type UploadedBytes = Pick<Upload, 'sha256' | 'storedAt'>;

export interface Takes {
  /** Files under unrecorded numbers are recorded: the index is being built, or does not know the image. */
  readonly takesNew: boolean;
  /** May be left empty when every file is recorded: see hasUnrecorded(). */
  readonly uploads: readonly UploadedBytes[];
  /** All tombstones of the image. */
  readonly tombstones: readonly Tombstone[];
}

/**
 * An owned tree: the record is the truth, whatever the disk says. An unrecorded file that was uploaded to us is recorded,
 * because the index does not have its row yet, or has lost it. Any other file is recorded, or reported as `extra`.
 */
export function ownedState(
  image: ImageId,
  onDisk: ImageFolder | null,
  recorded: readonly RecordedSignature[],
  takes: Takes,
): ImageState {
  const files = new Map((onDisk?.files ?? []).map((file) => [file.number, file]));
  const known = new Set(recorded.map(({ number }) => number));
  const unknown = [...files.values()].filter(({ number }) => !known.has(number));
  const { added, extra } = takeIn(unknown, recorded, takes);
  const inLine = [...recorded, ...added].sort((a, b) => a.number - b.number);
  const signatures = withFillers(inLine, takes.tombstones);
  const gone = withdrawnOf(takes.tombstones);
  const damage = signatures.flatMap(({ number, sha256 }): Problem[] => {
    const file = files.get(number);
    if (file === undefined) return [problem(image, number, 'missing')];
    const isRight = file.sha256 === sha256 || (file.sha256 !== null && gone.has(file.sha256));
    return isRight ? [] : [problem(image, number, 'changed')];
  });
  // a file that no client could read is reported as that alone
  const cut = new Set(cutOff(onDisk?.files ?? []));
  const others = onDisk === null ? [] : diskProblems(image, onDisk, known);
  return {
    signatures: withinLimit(signatures),
    problems: [
      ...damage,
      ...(onDisk === null ? [] : cameBack(image, onDisk, gone)),
      ...extra.filter((file) => !cut.has(file)).map(({ number }) => problem(image, number, 'extra')),
      ...others,
    ],
  };
}

function takeIn(
  unknown: readonly SignatureFile[],
  recorded: readonly RecordedSignature[],
  { takesNew, uploads, tombstones }: Takes,
): { readonly added: readonly RecordedSignature[]; readonly extra: readonly SignatureFile[] } {
  if (unknown.length === 0) return { added: [], extra: [] };
  const lacking = new Map<string, UploadedBytes | null>(uploads.map((upload) => [upload.sha256, upload]));
  // put back when their withdrawal ended: nobody need have uploaded them
  for (const { isInForce, sha256 } of tombstones)
    if (!isInForce && !lacking.has(sha256)) lacking.set(sha256, null);
  for (const { sha256 } of recorded) lacking.delete(sha256);
  const gone = withdrawnOf(tombstones);
  const fillers = new Set(tombstones.flatMap((one) => one.fillers));
  const known = new Set([...recorded, ...uploads].map(({ sha256 }) => sha256));
  const added: RecordedSignature[] = [];
  const extra: SignatureFile[] = [];
  for (const file of unknown) {
    const upload = file.sha256 === null ? undefined : lacking.get(file.sha256);
    // a second file with the same bytes is not an upload of its own
    if (upload !== undefined && file.sha256 !== null) lacking.delete(file.sha256);
    const isFiller = fillers.has(file.number) && file.sha256 !== null && known.has(file.sha256);
    if (upload === undefined && !takesNew && !isFiller) {
      // told as what came back
      if (file.sha256 === null || !gone.has(file.sha256)) extra.push(file);
    } else
      added.push(...toRecorded(file).map((one) => ({ ...one, storedAt: upload?.storedAt ?? one.storedAt })));
  }
  return { added, extra };
}

/** Whether a file has an unrecorded number: only then do the uploads matter. */
export function hasUnrecorded(onDisk: ImageFolder | null, recorded: readonly RecordedSignature[]): boolean {
  const known = new Set(recorded.map(({ number }) => number));
  return onDisk?.files.some(({ number }) => !known.has(number)) ?? false;
}

/** Whether two lists hold the same bytes under the same numbers. */
export function sameSignatures(a: readonly RecordedSignature[], b: readonly RecordedSignature[]): boolean {
  return (
    a.length === b.length &&
    a.every(({ number, sha256, storedAt, isFiller = false }, position) => {
      const other = b[position];
      return (
        other?.number === number &&
        other.sha256 === sha256 &&
        other.storedAt.getTime() === storedAt.getTime() &&
        (other.isFiller ?? false) === isFiller
      );
    })
  );
}

export function toEntries(signatures: readonly RecordedSignature[]): readonly SetEntry[] {
  return signatures.map(({ sha256, sizeBytes, storedAt, bytes, isFiller = false }) => {
    return { sha256, sizeBytes, storedAt, bytes, ...(isFiller ? { isFiller } : {}) };
  });
}

/** The files that could be served, as they would be recorded. */
export function recordable({ files }: ImageFolder): readonly RecordedSignature[] {
  return files.flatMap(toRecorded);
}

function toRecorded(file: SignatureFile): RecordedSignature[] {
  if (file.fault !== null || file.sha256 === null) return [];
  const { number, sha256, sizeBytes, modifiedAt: storedAt, bytes } = file;
  return [{ number, sha256, sizeBytes, storedAt, bytes }];
}

/** Files with bytes that are withdrawn. */
function cameBack(image: ImageId, { files }: ImageFolder, gone: ReadonlySet<string>): Problem[] {
  return files.flatMap(({ number, sha256 }) =>
    sha256 !== null && gone.has(sha256) ? [problem(image, number, 'withdrawn')] : [],
  );
}

/** Without those of files whose numbers are `known`, of which the record tells. */
function diskProblems(
  image: ImageId,
  { files, hidden, beyond, strangers }: ImageFolder,
  known: ReadonlySet<number> = new Set(),
): Problem[] {
  const faults = files.flatMap(({ number, fault }) =>
    fault === null || known.has(number) ? [] : [problem(image, number, fault)],
  );
  const cut = cutOff(files).filter(({ number }) => !known.has(number));
  // if the line ends before that number, files above it are behind a gap, and not cut off
  const isLineFull = files[MAX_FILE_NUMBER - 1]?.number === MAX_FILE_NUMBER;
  const [above, hiddenAbove] = isLineFull ? [beyond, null] : [null, beyond];
  return [
    ...faults,
    ...many(
      image,
      'over-limit',
      cut.map(({ number }) => number),
      above,
    ),
    ...hidden.map((number) => problem(image, number, 'behind-gap')),
    ...many(image, 'behind-gap', [], hiddenAbove),
    ...strangers.map(
      (name): Problem => ({ kind: 'no-signature-name', path: `${imageFolder(image)}/${name}` }),
    ),
  ];
}

/** Readable files beyond the number of signatures that clients accept. */
function cutOff(files: readonly SignatureFile[]): readonly SignatureFile[] {
  const readable = files.filter(({ fault }) => fault === null);
  return readable.slice(withinLimit(readable).length);
}

/** One problem of all these files, or none. */
function many(
  image: ImageId,
  kind: ProblemKind,
  numbers: readonly number[],
  beyond: Beyond | null,
): Problem[] {
  const first = numbers[0] ?? beyond?.lowest;
  if (first === undefined) return [];
  const count = numbers.length + (beyond?.count ?? 0);
  const one = problem(image, first, kind);
  return [count === 1 ? one : { ...one, count }];
}

function problem(image: ImageId, number: number, kind: ProblemKind): Problem {
  return { kind, path: `${imageFolder(image)}/signature-${number}` };
}
