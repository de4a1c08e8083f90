// lookaside audit key, image, signature, unsigned, stale, who, exposure, report.
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { systemClock } from '../compose/clock.ts';
import type { Config } from '../config.ts';
import { answerCsv, answerHtml } from '../domain/answer-text.ts';
import { LookasideError, systemCode } from '../domain/errors.ts';
import { DEFAULT_SITE } from '../domain/image.ts';
import type { AnswerTable, ReadyAnswer, ReadyKind, ReadyQuestion } from '../domain/ready-question.ts';
import { parseFilter } from '../domain/record-question.ts';
import { quoted } from '../domain/text.ts';
import { administer } from './administer.ts';
import { namesOf } from './image-name.ts';
import { shortAgent, tellGaps } from './record-query.ts';
import { EXIT, formatTable, print, printJson } from './terminal.ts';

export interface AskedReady {
  readonly kind: ReadyKind;
  readonly subject: string | null;
  /** As given on the command line. */
  readonly times: { readonly since?: string | undefined; readonly until?: string | undefined };
  readonly repository: string | null;
  readonly limit: number;
  readonly form: 'table' | 'json' | 'csv';
  /** The folder that takes the files of the report. */
  readonly output: string | null;
}

export async function runReadyQuestion(config: Config, asked: AskedReady): Promise<number> {
  const { kind, form, output } = asked;
  const question: ReadyQuestion = {
    kind,
    subject: kind === 'image' || kind === 'exposure' ? nameOf(asked.subject ?? '') : asked.subject,
    ...timesOf(asked.times),
    repository: asked.repository,
    limit: asked.limit,
  };
  const answer = await administer(config, ({ records }) => records.ready(question));
  if (form === 'json') printJson(answer);
  else if (form === 'csv') process.stdout.write(answerCsv(answer));
  else if (output !== null) writeReport(answer, output);
  else printAnswer(answer);
  return EXIT.done;
}

/** An image may also be written with the registry's host, or as a folder. */
function nameOf(text: string): string {
  if (!/[@/]sha|^sha|=/.test(text)) return text;
  try {
    return namesOf(text).at(-1) ?? text;
  } catch (error) {
    if (error instanceof LookasideError) return text; // a fingerprint or a signature; else who answers says what is wrong
    throw error;
  }
}

/** @throws LookasideError CONFIG_INVALID */
function timesOf(texts: AskedReady['times']): Pick<ReadyQuestion, 'since' | 'until'> {
  const parsed = parseFilter(texts, systemClock.now());
  if ('filter' in parsed) return { since: parsed.filter.since, until: parsed.filter.until };
  const given = quoted(parsed.wrong === 'since' ? (texts.since ?? '') : (texts.until ?? ''));
  throw new LookasideError('CONFIG_INVALID', `the time ${given} is wrong; wanted ${parsed.wanted}`);
}

/** @throws LookasideError STORE_UNAVAILABLE */
function writeReport(answer: ReadyAnswer, folder: string): void {
  for (const [ending, text] of [
    ['html', answerHtml(answer)],
    ['csv', answerCsv(answer)],
  ] as const) {
    const file = path.join(folder, `lookaside-${answer.subject ?? ''}.${ending}`);
    try {
      writeFileSync(file, text, { mode: 0o600 }); // it names people
    } catch (error) {
      const code = systemCode(error);
      if (code === null) throw error;
      const [why, todo] = code === 'ENOENT' ? ['there is no such folder', 'make it, or'] : [code, ''];
      throw new LookasideError(
        'STORE_UNAVAILABLE',
        `cannot write ${file}: ${why}; ${todo} name another folder with --output`.replace(/ {2,}/, ' '),
        {
          cause: error,
        },
      );
    }
    print(file);
  }
  tellGaps(answer);
}

function printAnswer(answer: ReadyAnswer): void {
  const { facts, tables } = answer;
  print(formatTable(facts.map(({ name, value }) => [`${name}:`, String(value ?? '-')])));
  for (const table of tables) print(`\n${tableText(table, answer.subject)}`);
  tellGaps(answer);
}

export function tableText({ title, columns, rows, found }: AnswerTable, subject: string | null): string {
  if (rows.length === 0) return `${title}: none`;
  const heading = found > rows.length ? `${title}, the first ${rows.length} of ${found}` : title;
  // a column that only repeats what was asked about, or names the one site that most servers have, makes lines long and says nothing
  const isShown = columns.map((column, at) =>
    rows.some(
      (row) => row[at] != null && row[at] !== subject && !(column === 'site' && row[at] === DEFAULT_SITE),
    ),
  );
  const kept = <Value>(cells: readonly Value[]) => cells.filter((_, at) => isShown[at]);
  const isAgent = kept(columns).map((column) => column === 'agent');
  const cells = rows.map((row) =>
    kept(row).map((cell, at) => (isAgent[at] ? shortAgent : shorter)(String(cell ?? '') || '-')),
  );
  return `${heading}\n${formatTable([kept(columns).map((column) => column.toUpperCase()), ...cells])}`;
}

/** Times without their milliseconds. */
function shorter(text: string): string {
  return text.replace(/^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)\.\d{3}Z$/, '$1Z');
}
