// lookaside doctor: why a pull is refused, step by step, and what to change.
import { runDiagnosis } from '../compose/doctor.ts';
import type { Config } from '../config.ts';
import type { ClientGeneration } from '../domain/client-machine.ts';
import { LookasideError } from '../domain/errors.ts';
import { whyReferenceTooLong } from '../domain/reference.ts';
import { escapeTerminal, quoted } from '../domain/text.ts';
import { pulledName } from '../service/doctor.ts';
import type { Diagnosis } from '../service/doctor-diagnosis.ts';
import {
  EXIT,
  errorsJson,
  exitCodeOf,
  print,
  printJson,
  QUESTION_PATIENCE_MS,
  tellRetry,
} from './terminal.ts';

const ASKING = { onRetry: tellRetry, patienceMs: QUESTION_PATIENCE_MS };

export interface DoctorCommand {
  readonly image: string;
  readonly generation: ClientGeneration;
  readonly policy: string | null;
  readonly crioNamespace: string | null;
  readonly registriesD: string | null;
  readonly registriesConf: string | null;
  readonly isInsecure: boolean | null;
  readonly home: string;
  readonly environment: Parameters<typeof runDiagnosis>[0]['environment'];
  /** Settings that name the lookaside server which is asked too; null: none is. */
  readonly server: (() => Config) | null;
  readonly explain: boolean;
  readonly json: boolean;
}

/** EXIT.done: the image is pulled; EXIT.failed: it is refused; EXIT.usage: that could not be judged. */
export async function runDoctor(command: DoctorCommand): Promise<number> {
  try {
    const diagnosis = await runDiagnosis({
      ...command,
      image: requireName(command.image),
      server: command.server === null ? null : { config: command.server(), ...ASKING },
    });
    if (command.json) printJson(diagnosis);
    else print(formatDiagnosis(diagnosis, command.explain));
    return EXITS[diagnosis.verdict];
  } catch (error) {
    if (command.json) printJson(errorsJson(error));
    exitCodeOf(error);
    return EXIT.usage;
  }
}

const EXITS = { pulled: EXIT.done, refused: EXIT.failed, unknown: EXIT.usage } as const;

function requireName(text: string): string {
  if (pulledName(text) !== null) return text;
  throw new LookasideError(
    'CONFIG_INVALID',
    whyReferenceTooLong(text.replace(/^docker:\/\//, '')) ??
      `${quoted(text)} is not an image; expected the name that is pulled: HOST/REPOSITORY:TAG or HOST/REPOSITORY@sha256:…`,
  );
}

const MARKS = { ok: 'ok  ', bad: 'BAD ', note: 'note' } as const;

/** A line for each step; the last one says what to change. */
export function formatDiagnosis(
  { image, verdict, steps, complaint, caveat }: Diagnosis,
  explain: boolean,
): string {
  const lines = steps.flatMap(({ step, outcome, text, source }) => [
    `${MARKS[outcome]} ${step}: ${text}`,
    ...(explain ? [`       by ${source}`] : []),
  ]);
  const outcome = {
    pulled: `${image} is pulled${caveat === null ? '' : `; ${caveat.message}`}`,
    refused: `${image} is refused: ${complaint?.message ?? ''}`,
    unknown: `${image} could not be judged: ${complaint?.message ?? ''}`,
  }[verdict];
  const advice = complaint ?? caveat;
  const change = advice === null ? 'Nothing has to be changed.' : `To change: ${advice.remedy}.`;
  return [...lines, outcome, change].map(escapeTerminal).join('\n');
}
