// lookaside import: copies an existing tree into the tree that a server owns.
import { realpathSync } from 'node:fs';
import { dirname, join, sep } from 'node:path';
import type { OpenedAdministration } from '../compose/administration.ts';
import { openStaging } from '../compose/push.ts';
import type { Config } from '../config.ts';
import type { AboutTree } from '../domain/administration.ts';
import { forEachConcurrently, mapInOrder } from '../domain/concurrency.ts';
import { isLookasideError, LookasideError, systemCode } from '../domain/errors.ts';
import { imageFolder } from '../domain/image.ts';
import { MAX_BATCH_PARTS, PACKED_BATCH_BYTES } from '../domain/limits.ts';
import type { BatchPart, ImportResult } from '../domain/receipt.ts';
import type {
  Staged,
  StagedBytes,
  StagedFile,
  StagedPlace,
  StagedProblem,
  Staging,
} from '../domain/staged.ts';
import type { State } from '../domain/state.ts';
import { escapeTerminal } from '../domain/text.ts';
import type { TreeCounts } from '../domain/upkeep.ts';
import { sharedTree } from '../service/import.ts';
import { administer } from './administer.ts';
import { countsLine, type ProgressLine } from './progress.ts';
import { formatStrangers } from './staged-report.ts';
import { catchStopSignals } from './stop-signals.ts';
import { EXIT, exitCodeOf, plural, print, printJson } from './terminal.ts';

export interface ImportOptions {
  readonly folder: string;
  readonly dryRun: boolean;
  readonly json: boolean;
}

/** What became of one file. */
type FileResult = OfFile<ImportResult>;
type OfFile<Result> = Result extends unknown ? Omit<Result, 'part'> & { readonly source: string } : never;

interface Report {
  readonly dryRun: boolean;
  readonly isInterrupted: boolean;
  /** Why it could not go on; null when it came to its end or was interrupted. */
  readonly failure: LookasideError | null;
  readonly images: number;
  readonly created: number;
  readonly exists: number;
  /** Problems count too. */
  readonly refused: number;
  /** How many of the created signatures are in each state. */
  readonly states: Readonly<Partial<Record<State, number>>>;
  readonly seconds: number;
  readonly results: readonly FileResult[];
  readonly problems: readonly StagedProblem[];
  readonly gaps: Staged['gaps'];
  readonly strangers: Staged['strangers'];
}

type SendBatch = (parts: readonly BatchPart[]) => Promise<readonly ImportResult[]>;

/** Long enough for a server that restarts between two batches. */
const PATIENCE_MS = 60_000;

/** EXIT.failed when anything was refused; 130 or 143 when it was stopped by SIGINT or SIGTERM. */
export async function runImport(config: Config, options: ImportOptions): Promise<number> {
  const { folder, dryRun, json } = options;
  const line = countsLine(dryRun ? 'judging' : 'importing');
  const { signal, exitCode } = catchStopSignals();
  const run = async (administration: OpenedAdministration) => {
    if (administration.here !== null) refuseHere(config, administration.here, folder);
    const staging = openStaging();
    const staged = await staging.find([folder], () => undefined);
    await refuseSharedTree(administration);
    const send: SendBatch = (parts) => administration.importBatch(parts, { dryRun });
    return importAll({ staging, staged, send, line, signal, dryRun });
  };
  try {
    const report = await administer(config, run, PATIENCE_MS);
    line.end();
    const { failure, refused } = report;
    if (json) printJson({ ...report, failure: failure && { code: failure.code, message: failure.message } });
    else printReport(report, folder);
    if (failure !== null) return exitCodeOf(failure);
    return exitCode() ?? (refused > 0 ? EXIT.failed : EXIT.done);
  } finally {
    line.end();
  }
}

/** The checks that need no server. @throws LookasideError CONFIG_INVALID */
function refuseHere(config: Config, { tree, root }: AboutTree, folder: string): void {
  if (tree === 'shared') {
    const otherTree = root === config.root ? '' : `${config.data} is served with another tree, ${root}. `;
    throw cannotTry(otherTree + sharedTree().message);
  }
  refuseOwnTree(root, folder);
}

/** @throws LookasideError CONFIG_INVALID */
function refuseOwnTree(root: string, folder: string): void {
  const [source, own] = [realPath(folder), realPath(root)];
  if (source === null || own === null) return; // find() refuses a missing source, and a missing tree holds nothing yet
  if (isWithin(own, source)) {
    throw cannotTry(
      `${folder} is the tree that is to be imported into, ${root}, or a part of it; name another folder`,
    );
  }
  if (!isWithin(source, own)) return;
  throw cannotTry(
    `${folder} holds the tree that is to be imported into, ${root}; name the folder in which the other signatures lie`,
  );
}

function isWithin(folder: string, path: string): boolean {
  return path === folder || path.startsWith(folder.endsWith(sep) ? folder : folder + sep);
}

function realPath(path: string): string | null {
  try {
    return realpathSync(path);
  } catch (error) {
    if (['ENOENT', 'ENOTDIR', 'EACCES'].includes(systemCode(error) ?? '')) return null;
    throw error;
  }
}

/** @throws LookasideError CONFIG_INVALID */
async function refuseSharedTree({ about }: OpenedAdministration): Promise<void> {
  const { tree } = await about();
  if (tree === 'shared') throw cannotTry(sharedTree().message);
}

function cannotTry(message: string): LookasideError {
  return new LookasideError('CONFIG_INVALID', message);
}

interface Import {
  readonly staging: Staging;
  readonly staged: Staged;
  readonly send: SendBatch;
  readonly line: ProgressLine<TreeCounts>;
  readonly signal: AbortSignal;
  readonly dryRun: boolean;
}

interface ReadFile {
  readonly file: StagedFile;
  readonly content: StagedBytes | StagedProblem;
}

interface Batch {
  /** From 0, in the order of the files. */
  readonly number: number;
  readonly files: readonly { readonly source: string; readonly part: BatchPart }[];
  /** Its first file may belong to the image with which the batch before ended. */
  readonly continues: boolean;
}

const READ_AHEAD = 16;
/** One is verified while others are stored and one is on its way. */
const BATCHES_AT_ONCE = 4;
/** From here on a batch ends with its set: see setOf(). */
const ENOUGH_PARTS = MAX_BATCH_PARTS / 2;

async function importAll({ staging, staged, send, line, signal, dryRun }: Import): Promise<Report> {
  const startedMs = performance.now();
  const images = new Set<string>();
  const counts = { created: 0, exists: 0, refused: 0 };
  const states: Partial<Record<State, number>> = {};
  // batches end in another order than they begin
  const resultsOf: FileResult[][] = [];
  const problems = [...staged.problems];
  const underWay = new Set<Promise<void>>();

  function take(source: string, { part: _, ...result }: ImportResult): FileResult {
    counts[result.result] += 1;
    if ('image' in result) images.add(result.image);
    if ('state' in result) states[result.state] = (states[result.state] ?? 0) + 1;
    return { source, ...result };
  }

  async function sendBatch({ number, files }: Batch): Promise<void> {
    const answers = await send(files.map(({ part }) => part));
    resultsOf[number] = answers.map((answer) => take(files[answer.part]?.source ?? '', answer));
    line.show({
      images: images.size,
      signatures: counts.created + counts.exists + counts.refused,
      problems: counts.refused + problems.length,
    });
  }

  async function* batches(): AsyncGenerator<Batch> {
    const read = readAll(staging, staged.files, signal);
    for await (const batch of toBatches(read, (problem) => problems.push(problem))) {
      if (signal.aborted) return;
      // the numbers of an image go by the order of its files
      if (batch.continues) await Promise.all(underWay);
      yield batch;
    }
  }

  async function sendAll(): Promise<LookasideError | null> {
    try {
      await forEachConcurrently(batches(), BATCHES_AT_ONCE, (batch) => {
        const job = sendBatch(batch).finally(() => underWay.delete(job));
        underWay.add(job);
        return job;
      });
      return null;
    } catch (error) {
      if (isLookasideError(error)) return error;
      throw error;
    }
  }

  const failure = await sendAll();
  return {
    dryRun,
    isInterrupted: failure === null && signal.aborted,
    failure,
    images: images.size,
    ...counts,
    refused: counts.refused + problems.length,
    states,
    seconds: Math.round(performance.now() - startedMs) / 1000,
    results: resultsOf.flat(),
    problems,
    gaps: staged.gaps,
    strangers: staged.strangers,
  };
}

async function* readAll(
  staging: Staging,
  files: readonly StagedFile[],
  signal: AbortSignal,
): AsyncGenerator<ReadFile> {
  async function* wanted() {
    for (const file of files) {
      if (signal.aborted) return;
      yield file;
    }
  }
  yield* mapInOrder(wanted(), READ_AHEAD, async (file) => ({ file, content: await staging.read(file) }));
}

async function* toBatches(
  read: AsyncIterable<ReadFile>,
  onProblem: (problem: StagedProblem) => void,
): AsyncGenerator<Batch> {
  let files: { source: string; part: BatchPart }[] = [];
  let sizeBytes = 0;
  let last: string | null = null;
  let [number, continues] = [0, false];
  for await (const { file, content } of read) {
    if ('kind' in content) {
      onProblem(content);
      continue;
    }
    const { bytes } = content;
    const set = setOf(file);
    const isSameSet = set === last;
    const isFull = files.length >= MAX_BATCH_PARTS || sizeBytes + sizeOf(bytes) > PACKED_BATCH_BYTES;
    if (files.length > 0 && (isFull || (files.length >= ENOUGH_PARTS && !isSameSet))) {
      yield { number, files, continues };
      [number, files, sizeBytes, continues] = [number + 1, [], 0, isSameSet];
    }
    files.push({ source: file.source, part: { bytes, fileName: fileNameOf(file.place) } });
    sizeBytes += sizeOf(bytes);
    last = set;
  }
  if (files.length > 0) yield { number, files, continues };
}

/** The same for all files that may belong to one image and have numbers among each other. */
function setOf({ source, place }: StagedFile): string {
  switch (place.kind) {
    case 'image':
      return imageFolder(place.image);
    case 'manifest':
      return `${dirname(source)} ${place.digest.algorithm}:${place.digest.hex}`;
    case 'payload':
      return dirname(source);
  }
}

/** With the lines of its part in the form. */
function sizeOf({ length }: Uint8Array): number {
  return length + 1024;
}

function fileNameOf(place: StagedPlace): string | null {
  switch (place.kind) {
    case 'image':
      return join(imageFolder(place.image), `signature-${place.number}`);
    case 'manifest':
      return `${place.digest.algorithm}:${place.digest.hex}`;
    case 'payload':
      return null;
  }
}

function printReport(report: Report, folder: string): void {
  const { results, problems, gaps, strangers } = report;
  for (const result of results) {
    if (result.result === 'refused') printRefusal(result.source, result.code, result.message);
  }
  for (const { source, kind, message } of problems) printRefusal(source, kind, message);
  for (const { source, hidden } of gaps) {
    const names = hidden.map((number) => `signature-${number}`).join(', ');
    print(escapeTerminal(`${source}: ${names} behind a gap, where no client found them; they are taken too`));
  }
  const others = formatStrangers(strangers);
  if (others !== null) print(others);
  print(escapeTerminal(`${folder}: ${summary(report)}`));
  if ((report.states['unknown-key'] ?? 0) > 0)
    print('unknown-key: by keys that are not registered here. Add them: lookaside key add FILE');
  if (report.isInterrupted) print('Interrupted. Run it again to go on: what is stored already is skipped.');
  if (report.failure !== null)
    print(
      'The import stopped; some signatures of the last batches may be stored as well. Run it again once the cause is mended.',
    );
}

function printRefusal(source: string, code: string, message: string): void {
  print(escapeTerminal(`refused  ${source}  ${code}  ${message}`));
}

function summary({ dryRun, images, created, exists, refused, states, seconds }: Report): string {
  const byState = Object.entries(states).map(([state, count]) => `${count} ${state}`);
  const detail = byState.length === 0 ? '' : ` (${byState.join(', ')})`;
  const taken = `${created} signatures ${dryRun ? 'would be stored' : 'stored'}${detail}`;
  return `${plural(images, 'image')}, ${taken}, ${exists} there already, ${refused} refused, ${seconds.toFixed(1)} s`;
}
