// A question to the person at the terminal before something is done.
import { createInterface } from 'node:readline/promises';

export interface QuestionStreams {
  readonly input: NodeJS.ReadableStream;
  readonly output: NodeJS.WritableStream;
}

/** Whether somebody is there who could answer: both the question and the answer go through a terminal. */
export function canConfirm(): boolean {
  return process.stdin.isTTY === true && process.stderr.isTTY === true;
}

/** Anything but y or yes is a no, also Ctrl-C, Ctrl-D and the end of the input. */
export async function isConfirmed(
  question: string,
  { input, output }: QuestionStreams = { input: process.stdin, output: process.stderr },
): Promise<boolean> {
  const terminal = createInterface({ input, output });
  // a question whose terminal closes is never answered: Node.js would end with status 13
  const closed = new AbortController();
  terminal.once('close', () => closed.abort());
  try {
    const answer = await terminal.question(`${question} [y/N] `, { signal: closed.signal });
    return /^y(?:es)?$/i.test(answer.trim());
  } catch (error) {
    if (closed.signal.aborted) return false;
    throw error;
  } finally {
    terminal.close();
  }
}
