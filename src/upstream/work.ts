// Long work of a server, whose answer is lines: progress, and the result at the end.
import { z } from 'zod/v3';
import { readValue, strange } from './answers.ts';
import type { Asker } from './asker.ts';
import type { HttpRequest } from './connection.ts';
import { readRefusal, type SchemaOf } from './refusal.ts';
import { throwWithRemedy } from './remedy.ts';

interface Work<Result extends SchemaOf<unknown>, Progress extends SchemaOf<unknown>> {
  readonly result: Result;
  readonly progress: Progress;
  readonly onProgress: ((progress: z.output<Progress>) => void) | undefined;
}

/** The result, which the last line of the answer holds; the lines before it are progress. */
export async function work<Result extends SchemaOf<unknown>, Progress extends SchemaOf<unknown>>(
  asker: Asker,
  request: HttpRequest,
  { result, progress, onProgress }: Work<Result, Progress>,
): Promise<z.output<Result>> {
  const { name: server } = asker;
  const workLine = z.record(z.string(), z.unknown());
  try {
    for await (const value of asker.follow({ ...request, isLong: true })) {
      const refusal = readRefusal(value);
      if (refusal !== null) throw refusal;
      const line = readValue(workLine, { server, value });
      if ('result' in line) return readValue(result, { server, value: line.result });
      if ('progress' in line) onProgress?.(readValue(progress, { server, value: line.progress }));
      else throw strange(server, 'a line without progress and result');
    }
  } catch (error) {
    return throwWithRemedy(error);
  }
  throw strange(server, 'the answer ended without a result');
}
