// lookaside doctor: why a pull is refused, step by step, and what to change.
import { runDiagnosis } from '../compose/doctor.ts';
import type { ClientGeneration } from '../domain/client-machine.ts';
import { LookasideError } from '../domain/errors.ts';
import { type DockerReference, parseReference } from '../domain/reference.ts';
import { escapeTerminal, quoted } from '../domain/text.ts';
import type { Diagnosis } from '../service/doctor.ts';
import { EXIT, errorsJson, exitCodeOf, print, printJson } from './terminal.ts';

export interface DoctorCommand {
  readonly image: string;
  readonly generation: ClientGeneration;
  readonly policy: string | null;
  readonly registriesD: string | null;
  readonly registriesConf: string | null;
  readonly isInsecure: boolean;
  readonly home: string;
  readonly environment: Parameters<typeof runDiagnosis>[0]['environment'];
  readonly explain: boolean;
  readonly json: boolean;
}

/** EXIT.done: the image is pulled; EXIT.failed: it is refused; EXIT.usage: that could not be judged. */
export async function runDoctor(command: DoctorCommand): Promise<number> {
  try {
    const diagnosis = await runDiagnosis({ ...command, image: requireImage(command.image) });
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

/** As clients complete it: with the tag `latest`, and without a tag beside a digest. */
function requireImage(text: string): DockerReference {
  const reference = parseReference(text.replace(/^docker:\/\//, ''));
  if (reference === null)
    throw new LookasideError(
      'CONFIG_INVALID',
      `${quoted(text)} is no image; expected the name that is pulled: HOST/REPOSITORY:TAG or HOST/REPOSITORY@sha256:…`,
    );
  const { tag, digest } = reference;
  return { ...reference, tag: digest === null ? (tag ?? 'latest') : null };
}

const MARKS = { ok: 'ok  ', bad: 'BAD ', note: 'note' } as const;

/** A line for each step; the last one says what to change. */
export function formatDiagnosis({ image, verdict, steps, complaint }: Diagnosis, explain: boolean): string {
  const lines = steps.flatMap(({ step, outcome, text, source }) => [
    `${MARKS[outcome]} ${step}: ${text}`,
    ...(explain ? [`       by ${source}`] : []),
  ]);
  const outcome = {
    pulled: `${image} is pulled`,
    refused: `${image} is refused: ${complaint?.message ?? ''}`,
    unknown: `${image} could not be judged: ${complaint?.message ?? ''}`,
  }[verdict];
  const change = complaint === null ? 'Nothing has to be changed.' : `To change: ${complaint.remedy}.`;
  return [...lines, outcome, change].map(escapeTerminal).join('\n');
}
