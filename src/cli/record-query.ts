// lookaside audit query, lookaside access query.
import { systemClock } from '../compose/clock.ts';
import type { Config } from '../config.ts';
import { LookasideError } from '../domain/errors.ts';
import { type FilterName, parseFilter } from '../domain/record-question.ts';
import {
  type Completeness,
  DIMENSIONS,
  type Grouping,
  type RecordName,
  type RecordPage,
  type RecordQuestion,
  type RecordRow,
  type RecordSums,
} from '../domain/records.ts';
import { quoted } from '../domain/text.ts';
import { administer } from './administer.ts';
import { nameIn } from './image-name.ts';
import { EXIT, formatTable, plural, print, printJson, tell } from './terminal.ts';

export interface RecordQuery {
  readonly record: RecordName;
  /** As given on the command line. */
  readonly texts: Readonly<Partial<Record<FilterName, string | undefined>>>;
  readonly limit: number;
  readonly cursor: string | null;
  readonly isCount: boolean;
  /** Dimensions with commas between; null: none. */
  readonly by: string | null;
  readonly form: 'table' | 'json' | 'jsonl' | 'csv';
}

export async function runRecordQuery(config: Config, query: RecordQuery): Promise<number> {
  const { record, form, limit, cursor, isCount } = query;
  const question: RecordQuestion = { record, filter: parseTexts(query.texts) };
  const by = query.by === null ? null : parseBy(record, query.by);
  if (form === 'csv' || form === 'jsonl') return exportRows(config, question, form);
  if (isCount || by !== null) {
    const sums = await administer(config, ({ records }) => records.sums(question, by ?? [], limit));
    if (form === 'json') printJson(sums);
    else printSums(sums);
    return EXIT.done;
  }
  const { page, total } = await administer(config, async ({ records }) => {
    const page = await records.page(question, { cursor, limit });
    // one page says itself how much there is
    const isWhole = cursor === null && page.next === null;
    const all = isWhole || form === 'json' ? null : await records.sums(question, [], 1);
    return { page, total: all?.total.count ?? sumOf(page) };
  });
  if (form === 'json') printJson(page);
  else printPage(page, total);
  return EXIT.done;
}

/** @throws LookasideError CONFIG_INVALID */
function parseTexts(texts: RecordQuery['texts']) {
  const parsed = parseFilter(texts, systemClock.now());
  if ('filter' in parsed) return parsed.filter;
  const given = quoted(texts[parsed.wrong as FilterName] ?? '');
  throw new LookasideError('CONFIG_INVALID', `--${parsed.wrong} is ${given}; wanted ${parsed.wanted}`);
}

/** @throws LookasideError CONFIG_INVALID */
function parseBy(record: RecordName, text: string): Grouping {
  const known: Grouping = DIMENSIONS[record];
  const names = text.split(',');
  const by = names.flatMap((name) => known.find((one) => one === name) ?? []);
  if (by.length === names.length && names.length <= 3 && new Set(names).size === names.length) return by;
  throw new LookasideError(
    'CONFIG_INVALID',
    `--by is ${quoted(text)}; wanted one to three of: ${known.join(', ')}`,
  );
}

async function exportRows(
  config: Config,
  question: RecordQuestion,
  format: 'jsonl' | 'csv',
): Promise<number> {
  await administer(config, async ({ records }) => {
    for await (const piece of records.export(question, format)) {
      if (!process.stdout.writable) return; // who read our output has seen enough
      // no faster than it is read: an export of any length must fit into memory
      if (!process.stdout.write(piece)) await drained();
    }
  });
  return EXIT.done;
}

function drained(): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      process.stdout.off('drain', done).off('close', done);
      resolve();
    };
    process.stdout.once('drain', done).once('close', done);
  });
}

function sumOf({ rows }: RecordPage): number {
  return rows.reduce((sum, { count }) => sum + count, 0);
}

function printPage(page: RecordPage, total: number): void {
  const { record, rows, next } = page;
  if (rows.length > 0) print(formatTable([TITLES[record], ...rows.map(cellsOf)]));
  const noun = record === 'audit' ? 'event' : 'request';
  const rowCount = rows.length === 1 ? '1 row' : `${rows.length} rows`;
  print(rows.length === 0 ? `No ${noun}s were found.` : `${rowCount} of ${plural(total, noun)} in all`);
  if (next !== null) print(`More: the same command with --cursor ${next}`);
  tellGaps(page);
}

const TITLES = {
  audit: ['SEQ', 'AT', 'ACTION', 'RESULT', 'IMAGE OR KEY', 'BY', 'FROM'],
  access: ['LAST', 'REQUESTS', 'STATUS', 'IMAGE', 'N', 'FROM', 'TOKEN', 'AGENT'],
} as const;

const SHOWN_OF_REASON = 200;

/** What is longer than a line is in the other formats. */
function beginning(reason: string | null): string | null {
  if (reason === null || reason.length <= SHOWN_OF_REASON) return reason;
  return `${reason.slice(0, SHOWN_OF_REASON)}… (whole with --json)`;
}

/** All settings of a server are no cell of a table. The text is as service/settings-record.ts writes it; another one is shown as it is. */
function countOf(reason: string | null): string | null {
  try {
    const settings: unknown = JSON.parse(reason ?? '');
    if (typeof settings === 'object' && settings !== null)
      return `${plural(Object.keys(settings).length, 'setting')} (whole with --json)`;
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
  }
  return beginning(reason);
}

function cellsOf(row: RecordRow): readonly string[] {
  if ('seq' in row) {
    const { seq, at, action, result, site, image, fingerprint, actor, address, reason, count } = row;
    const said = action === 'settings' ? countOf(reason) : beginning(reason);
    const what = image === null ? (fingerprint ?? said ?? '-') : nameIn(site, image);
    const times = count === 1 ? result : `${result} ×${count}`;
    return [String(seq), timeOf(at), action, times, what, actor ?? 'forgotten', address ?? '-'];
  }
  const { lastAt, count, status, site, image, number, address, token, agent } = row;
  return [
    timeOf(lastAt),
    String(count),
    String(status),
    nameIn(site, image),
    String(number ?? '-'),
    address,
    token ?? '-',
    shortAgent(agent ?? '-'),
  ];
}

function printSums(sums: RecordSums): void {
  const { record, by, groups, found, total } = sums;
  const noun = record === 'audit' ? 'event' : 'request';
  if (groups.length > 0) {
    const titles = [...by.map((one) => one.toUpperCase()), `${noun.toUpperCase()}S`, 'FIRST', 'LAST'];
    const rows = groups.map(({ of, count, firstAt, lastAt }) => {
      return [...of.map((value) => value ?? '-'), String(count), timeOf(firstAt), timeOf(lastAt)];
    });
    print(formatTable([titles, ...rows]));
  }
  if (found > groups.length) print(`The first ${groups.length} of ${found} groups; more with --limit`);
  print(`${plural(total.count, noun)} in all`);
  tellGaps(sums);
}

/** What the answer lacks, beside it. */
export function tellGaps({ dropped, gaps }: Completeness): void {
  if (dropped > 0)
    tell(`${plural(dropped, 'read')} of that time could not be recorded, and are in no answer`);
  for (const gap of gaps) tell(gap);
}

/** A User-Agent has up to 256 characters, and a client chooses them. JSON and CSV have all. */
export function shortAgent(agent: string): string {
  return agent.length > 60 ? `${agent.slice(0, 59)}…` : agent;
}

function timeOf(at: Date): string {
  return at.toISOString().replace(/\.\d+Z$/, 'Z');
}
