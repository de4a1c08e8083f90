// The words and options of `lookaside audit …` and `lookaside access …`, the questions to the records.
import { type Command, InvalidArgumentError, Option } from 'commander';
import { AUDIT_ACTIONS } from '../domain/audit.ts';
import { MAX_PAGE_ROWS } from '../domain/limits.ts';
import { FILTERS, type FilterName } from '../domain/record-question.ts';
import { DIMENSIONS, type RecordName } from '../domain/records.ts';
import type { CommandTools, ServerOrDataOptions } from './command-tools.ts';

type QueryFlags = ServerOrDataOptions &
  Readonly<Partial<Record<FilterName, string>>> & {
    readonly limit?: number;
    readonly cursor?: string;
    readonly count?: boolean;
    readonly by?: string;
    readonly json?: boolean;
    readonly jsonl?: boolean;
    readonly csv?: boolean;
  };

const FILTER_HELP: Readonly<Record<FilterName, readonly [placeholder: string, help: string]>> = {
  since: ['time', 'from then on: 2026-11-22, 2026-11-22T10:00:00Z, or how long ago: 7d, 12h'],
  until: ['time', 'before then, written as --since'],
  site: ['name', 'only in that site'],
  repository: ['path', 'only that repository and what lies below it, like team or team/app'],
  image: ['image', 'only that image: team/app@sha256:0123…, or the digest alone'],
  signature: ['sha256', 'only the signature with that SHA-256'],
  fingerprint: ['fingerprint', 'only by that key, 40 hex digits'],
  actor: ['name', 'only by the token of that name, by administrator or by server'],
  address: ['address', 'only from that address or network, like 192.0.2.0/24'],
  action: ['action', `only what is one of: ${AUDIT_ACTIONS.join(', ')}`],
  result: ['result', 'only what ended so: created, or the code of a refusal'],
  agent: ['text', 'only by clients whose User-Agent has that text'],
  status: ['status', 'only what was answered with that status, like 200'],
};

export function addAuditCommands(audit: Command, tools: CommandTools): void {
  addQuery(audit, 'audit', 'list what somebody changed: uploads, refusals, keys, tokens', tools);
}

export function addAccessCommands(access: Command, tools: CommandTools): void {
  addQuery(access, 'access', 'list who fetched which signature, and with which answer', tools);
}

function addQuery(group: Command, record: RecordName, description: string, tools: CommandTools): void {
  const command = tools.withServerOrData(group.command('query')).description(description);
  for (const name of FILTERS[record]) {
    const [placeholder, help] = FILTER_HELP[name];
    command.option(`--${name} <${placeholder}>`, help);
  }
  command
    .option(
      '--limit <number>',
      `how many rows or groups, at most ${MAX_PAGE_ROWS}; 100 unless told`,
      rowCount,
    )
    .option('--cursor <cursor>', 'go on where the page before ended')
    .option('--count', 'print how many there are, and no rows')
    .option(
      '--by <what>',
      `print sums by one to three of: ${DIMENSIONS[record].join(', ')}; with commas between`,
    )
    .option('--json', 'print JSON')
    .addOption(
      new Option('--jsonl', 'print all rows, a line of JSON each').conflicts([
        'json',
        'csv',
        'by',
        'count',
        'limit',
        'cursor',
      ]),
    )
    .addOption(
      new Option('--csv', 'print all rows as CSV, for spreadsheets').conflicts([
        'json',
        'by',
        'count',
        'limit',
        'cursor',
      ]),
    )
    .action(async (options: QueryFlags) => {
      const { runRecordQuery } = await import('./record-query.ts');
      const { limit = 100, cursor = null, count = false, by = null } = options;
      const texts = Object.fromEntries(FILTERS[record].map((name) => [name, options[name]]));
      const form = options.csv ? 'csv' : options.jsonl ? 'jsonl' : options.json ? 'json' : 'table';
      const what = { record, texts, limit, cursor, isCount: count, by, form } as const;
      tools.finish(await runRecordQuery(tools.loadExisting(options), what));
    });
}

function rowCount(text: string): number {
  if (/^[0-9]{1,9}$/.test(text) && Number(text) >= 1 && Number(text) <= MAX_PAGE_ROWS) return Number(text);
  throw new InvalidArgumentError(
    `Wanted a number from 1 to ${MAX_PAGE_ROWS}; all rows come with --jsonl or --csv.`,
  );
}
