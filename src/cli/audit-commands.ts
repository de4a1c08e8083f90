// The words and options of `lookaside audit …` and `lookaside access …`, the questions to the records.
import { type Command, InvalidArgumentError, Option } from 'commander';
import { AUDIT_ACTIONS } from '../domain/audit.ts';
import { LookasideError } from '../domain/errors.ts';
import { MAX_PAGE_ROWS } from '../domain/limits.ts';
import type { ReadyKind } from '../domain/ready-question.ts';
import { FILTERS, type FilterName } from '../domain/record-question.ts';
import { DIMENSIONS, type RecordName } from '../domain/records.ts';
import { type CommandTools, type ServerOrDataOptions, withServerOrData } from './command-tools.ts';
import { loadExisting } from './load-config.ts';
import { month } from './option-values.ts';

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
  since: ['time', 'only from that time on: 2026-11-22, 2026-11-22T10:00:00Z, or how long ago: 7d, 12h'],
  until: ['time', 'only before that time, written as --since'],
  site: ['name', 'only in that site'],
  repository: ['path', 'only that repository and what lies below it, like team or team/app'],
  image: ['image', 'only that image: team/app@sha256:0123…, or the digest alone'],
  signature: ['sha256', 'only the signature with that SHA-256'],
  fingerprint: ['fingerprint', 'only by that key, 40 hex digits or the key ID of 16'],
  actor: ['name', 'only by the token of that name, by administrator or by server'],
  address: ['address', 'only from that address or network, like 192.0.2.0/24'],
  action: ['action', `only one of these actions: ${AUDIT_ACTIONS.join(', ')}`],
  result: ['result', 'only events with that result: created, or the code of a refusal'],
  agent: ['text', 'only by clients whose User-Agent has that text'],
  status: ['status', 'only answers with that status, like 200'],
};

export function addAuditCommands(audit: Command, tools: CommandTools): void {
  addQuery(audit, 'audit', 'list what somebody changed: uploads, refusals, keys, tokens', tools);
  const add = (kind: ReadyKind, argument: string, description: string, isTimed = true) =>
    addReady(audit, { kind, argument, description, isTimed }, tools);
  add('key', '<fingerprint>', 'show what a key signed, who uploaded it and who fetched it since');
  add('image', '<image>', 'show the life of an image, from its first upload to its last fetch');
  add('signature', '<sha256>', 'show the life of one signature');
  add('unsigned', '', 'list images that clients ask for and that never had a signature');
  add('stale', '', 'list stored images that nobody has fetched for a number of days', false);
  add('who', '<address|token>', 'show what one client or token asked for and changed');
  add(
    'exposure',
    '<image|fingerprint|sha256>',
    'list every client that got an image or signature between two times: the question after a leak',
    false,
  );
  addReport(audit, tools);
  addForget(audit, tools);
}

export function addAccessCommands(access: Command, tools: CommandTools): void {
  addQuery(access, 'access', 'list who fetched which signature, and with which answer', tools);
}

function addQuery(group: Command, record: RecordName, description: string, tools: CommandTools): void {
  const command = withServerOrData(group.command('query')).description(description);
  for (const name of FILTERS[record]) {
    const [placeholder, help] = FILTER_HELP[name];
    command.option(`--${name} <${placeholder}>`, help);
  }
  command
    .option('--limit <number>', `how many rows or groups, at most ${MAX_PAGE_ROWS}; by default 100`, rowCount)
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
      tools.finish(await runRecordQuery(loadExisting(options), what));
    });
}

type ReadyFlags = ServerOrDataOptions & {
  readonly since?: string;
  readonly until?: string;
  readonly between?: readonly string[];
  readonly days?: number;
  readonly repository?: string;
  readonly limit?: number;
  readonly json?: boolean;
  readonly csv?: boolean;
};

interface Ready {
  readonly kind: ReadyKind;
  /** Empty: none. */
  readonly argument: string;
  readonly description: string;
  /** Whether it takes --since and --until. */
  readonly isTimed: boolean;
}

function addReady(
  audit: Command,
  { kind, argument, description, isTimed }: Ready,
  tools: CommandTools,
): void {
  const command = withServerOrData(audit.command(kind)).description(description);
  if (argument !== '') command.argument(argument);
  if (kind === 'exposure') {
    command.option(
      '--between <times...>',
      'two times, FROM UNTIL, like 2026-11-01 2026-11-08; without it, the whole record',
    );
  }
  if (isTimed) {
    command.option('--since <time>', FILTER_HELP.since[1]).option('--until <time>', FILTER_HELP.until[1]);
  }
  if (kind === 'stale') command.option('--days <number>', 'for how many days (default: 90)', dayCount);
  if (argument === '') command.option('--repository <path>', FILTER_HELP.repository[1]);
  command
    .option(
      '--limit <number>',
      `how many rows of each table, at most ${MAX_PAGE_ROWS}; by default 100`,
      rowCount,
    )
    .option('--json', 'print JSON')
    .addOption(new Option('--csv', 'print CSV, a line for each cell').conflicts('json'))
    .action(async (...given: unknown[]) => {
      // commander gives the arguments, the options and the command
      const options = given.at(-2) as ReadyFlags;
      const words = given.slice(0, -2) as readonly (string | undefined)[];
      const { runReadyQuestion } = await import('./ready-question.ts');
      const { repository = null, limit = 100 } = options;
      const times = timesOf(options);
      const form = options.csv ? 'csv' : options.json ? 'json' : 'table';
      const asked = {
        kind,
        subject: words[0] ?? null,
        times,
        repository,
        limit,
        form,
        output: null,
      } as const;
      tools.finish(await runReadyQuestion(loadExisting(options), asked));
    });
}

/** @throws LookasideError CONFIG_INVALID */
function timesOf({ between, since, until, days }: ReadyFlags) {
  if (between === undefined) return { since: days === undefined ? since : `${days}d`, until };
  const [from, to, ...others] = between;
  if (to !== undefined && others.length === 0) return { since: from, until: to };
  throw new LookasideError(
    'CONFIG_INVALID',
    `--between has ${between.length === 1 ? 'one value' : `${between.length} values`}; wanted two times, FROM UNTIL, behind all other words: --between 2026-11-01 2026-11-08`,
  );
}

function addReport(audit: Command, tools: CommandTools): void {
  withServerOrData(audit.command('report'))
    .description('write the report of a month: one page of HTML with its plots, and CSV')
    .requiredOption('--month <month>', 'the month, like 2026-11', month)
    .option('--output <folder>', 'where lookaside-MONTH.html and lookaside-MONTH.csv go', '.')
    .option('--json', 'print JSON, and write no file')
    .action(async (options: ServerOrDataOptions & { month: string; output: string; json?: boolean }) => {
      const { runReadyQuestion } = await import('./ready-question.ts');
      const form = options.json ? 'json' : 'table';
      const asked = {
        kind: 'report',
        subject: options.month,
        times: {},
        repository: null,
        limit: 100,
        form,
        output: options.output,
      } as const;
      tools.finish(await runReadyQuestion(loadExisting(options), asked));
    });
}

function addForget(audit: Command, tools: CommandTools): void {
  withServerOrData(audit.command('forget'))
    .description(
      'remove from both records who somebody was, for ever; what happened stays, and its proofs stay valid',
    )
    .addOption(new Option('--actor <name>', 'forget the token of that name').conflicts('address'))
    .option('--address <address>', 'forget that address or network')
    .requiredOption(
      '--before <time>',
      'only what is older than that: 2026-11-22, 2026-11-22T10:00:00Z, or how long ago: 90d',
    )
    .option('--json', 'print JSON')
    .action(async (options: ServerOrDataOptions & ForgetFlags) => {
      const { runForget } = await import('./forget.ts');
      const { actor = null, address = null, before, json = false } = options;
      tools.finish(await runForget(loadExisting(options), { actor, address, before, json }));
    });
}

interface ForgetFlags {
  readonly actor?: string;
  readonly address?: string;
  readonly before: string;
  readonly json?: boolean;
}

function dayCount(text: string): number {
  if (/^[0-9]{1,4}$/.test(text) && Number(text) > 0) return Number(text);
  throw new InvalidArgumentError('Wanted a number of days, like 90.');
}

function rowCount(text: string): number {
  if (/^[0-9]{1,9}$/.test(text) && Number(text) >= 1 && Number(text) <= MAX_PAGE_ROWS) return Number(text);
  throw new InvalidArgumentError(
    `Wanted a number from 1 to ${MAX_PAGE_ROWS}; all rows come with --jsonl or --csv.`,
  );
}
