// What push prints: a line for each image, below it the problems of single files, and a line of counts.
import { imageFolder, imageName } from '../domain/image.ts';
import type { Staged } from '../domain/staged.ts';
import { escapeTerminal } from '../domain/text.ts';
import type { PushedFile, PushedImage, PushOutcome } from '../service/push.ts';
import { formatBytes } from './progress.ts';
import { LOOKED_FOR } from './staged-report.ts';
import { plural } from './terminal.ts';

type Result = PushOutcome['result'];

export type PushCounts = Readonly<Record<Result, number>> & {
  readonly images: number;
  readonly files: number;
};

export interface Tally {
  add(pushed: PushedImage): void;
  /** Files about which no line was printed. */
  addUnsent(files: number): void;
  addProblems(count: number): void;
  counts(): PushCounts;
}

const NONE: Readonly<Record<Result, number>> = {
  sent: 0,
  there: 0,
  equivalent: 0,
  missing: 0,
  withdrawn: 0,
  refused: 0,
  problem: 0,
  unsent: 0,
};

export function createTally(): Tally {
  const counts = { ...NONE, images: 0, files: 0 };
  return {
    add({ image, files }) {
      if (image !== null) counts.images += 1;
      counts.files += files.length;
      for (const { outcome } of files) counts[outcome.result] += 1;
    },
    addUnsent(files) {
      counts.files += files;
      counts.unsent += files;
    },
    addProblems(count) {
      counts.problem += count;
    },
    counts: () => ({ ...counts }),
  };
}

const WORDS: readonly (readonly [Result, string])[] = [
  ['sent', 'sent'],
  ['missing', 'would be sent'],
  ['there', 'there already'],
  ['equivalent', 'there as an equivalent'],
  ['withdrawn', 'withdrawn on the server'],
  ['refused', 'refused'],
  ['problem', 'unreadable'],
  ['unsent', 'not sent'],
];

function formatCounts(counts: Readonly<Record<Result, number>>, afterSent = ''): string {
  return WORDS.flatMap(([result, words]) =>
    counts[result] === 0 ? [] : [`${counts[result]} ${words}${result === 'sent' ? afterSent : ''}`],
  ).join(', ');
}

/** The source of each file behind a gap. */
export function behindGaps(gaps: Staged['gaps']): ReadonlySet<string> {
  return new Set(
    gaps.flatMap(({ source, hidden }) =>
      // in a dir: image the gap is among the files of one digest
      hidden.flatMap((number) => [`${source}/signature-${number}`, `${source}.signature-${number}`]),
    ),
  );
}

/** The image's line, and below it the lines about single files. */
export function formatImage(pushed: PushedImage, hidden: ReadonlySet<string>): string {
  const { image, files } = pushed;
  const counts = { ...NONE };
  for (const { outcome } of files) counts[outcome.result] += 1;
  const name = image === null ? 'image unknown' : imageName(image);
  const lines = [`${name} ${formatCounts(counts, numbersOf(files))}${sourcesOf(pushed)}`];
  for (const file of files) {
    lines.push(...remarksOn(file.outcome).map((remark) => `  ${file.source}: ${remark}`));
    if (hidden.has(file.source)) lines.push(`  ${file.source} ${formatGap(file)}`);
  }
  return lines.map(escapeTerminal).join('\n');
}

const MAX_NUMBERS = 3;

/** The names that the server gave to the sent files, unless there are many. */
function numbersOf(files: readonly PushedFile[]): string {
  const names = files.flatMap(({ outcome }) =>
    outcome.result === 'sent' ? [`signature-${outcome.number}`] : [],
  );
  return names.length === 0 || names.length > MAX_NUMBERS ? '' : ` as ${names.join(', ')}`;
}

const MAX_SOURCES = 3;

/** Where the files came from, unless their folder bears the image's name or they are named below. */
function sourcesOf({ image, files }: PushedImage): string {
  const folder = image === null ? null : `${imageFolder(image)}/`;
  const elsewhere = files.filter(
    ({ source, outcome }) =>
      remarksOn(outcome).length === 0 && (folder === null || !`/${source}`.includes(`/${folder}`)),
  );
  if (elsewhere.length === 0) return '';
  const sources = elsewhere.slice(0, MAX_SOURCES).map(({ source }) => source);
  const more = elsewhere.length > sources.length ? ` and ${elsewhere.length - sources.length} more` : '';
  return ` from ${sources.join(', ')}${more}`;
}

function remarksOn(outcome: PushOutcome): readonly string[] {
  switch (outcome.result) {
    case 'sent':
      return outcome.warnings.map(({ message }) => `warning: ${message}`);
    case 'equivalent':
      return [
        `signature-${outcome.number} on the server says the same by the same key; --force sends this one too`,
      ];
    case 'refused':
      return [`refused (${outcome.code}): ${outcome.message}`];
    case 'withdrawn':
      return [`not taken (WITHDRAWN): ${outcome.message}`];
    case 'problem':
      return [outcome.message];
    case 'there':
    case 'missing':
    case 'unsent':
      return [];
  }
}

function formatGap({ outcome }: PushedFile): string {
  const behindGap = 'stands behind a gap in the numbers, where no client would find it';
  switch (outcome.result) {
    case 'sent':
      return `${behindGap}; it was sent too and is signature-${outcome.number} on the server`;
    case 'equivalent':
    case 'there':
      return `${behindGap}; the server has it`;
    case 'missing':
      return `${behindGap}; it would be sent too`;
    case 'withdrawn':
    case 'refused':
    case 'problem':
    case 'unsent':
      return behindGap;
  }
}

export interface Summary {
  readonly counts: PushCounts;
  readonly sentBytes: number;
  readonly tookMs: number;
  readonly server: string;
}

/** `12 signatures of 10 images: 2 sent, 10 there already; 1.4 KiB to https://… in 0.4 s`; of which images the rest are is not known. */
export function formatSummary({ counts, sentBytes, tookMs, server }: Summary): string {
  const { files, images } = counts;
  const what = plural(files, 'signature') + (counts.unsent > 0 ? '' : ` of ${plural(images, 'image')}`);
  const seconds = (tookMs / 1000).toFixed(1);
  return escapeTerminal(
    `${what}: ${formatCounts(counts) || 'nothing to do'}; ${formatBytes(sentBytes)} to ${server} in ${seconds} s`,
  );
}

/** What to do about the ones that this push did not get to. */
export function formatUnsent(unsent: number): string {
  return `${plural(unsent, 'signature')} not sent: run the same push again, which sends what the server lacks`;
}

export const NOTHING_FOUND = `nothing to push: no signature was found; ${LOOKED_FOR}. podman and skopeo leave them in the folder that lookaside-staging names in registries.d, as team/app@sha256=<hex>/signature-1`;

/** Whether the wrong folder seems to have been named. */
export function isMisrooted({ files }: PushedImage): boolean {
  return files.some(({ outcome }) => outcome.result === 'refused' && outcome.isMisrooted);
}

export const MISROOTED =
  'the folders above some images are more than the repository that was signed: give push the very folder that lookaside-staging names in registries.d. If they are those of a mirror, whose clients map its name to the signed one, the refusal says how to push it';

/** An image with its files, as --json shows it. */
export function toJson({ image, files }: PushedImage): object {
  return {
    image: image === null ? null : imageName(image),
    files: files.map(({ source, sha256, sizeBytes, outcome }) => ({ source, sha256, sizeBytes, ...outcome })),
  };
}
