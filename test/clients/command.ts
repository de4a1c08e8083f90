// Running programs: to their end, or in the background until stopped. Only processes started here are ever signalled.
import { type ChildProcess, spawn } from 'node:child_process';

/** What came of a program that ended; `status` is null when it was killed by a signal. */
export interface Outcome {
  readonly commandLine: string;
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface Surroundings {
  /** The whole environment: nothing is inherited. */
  readonly env: Readonly<Record<string, string>>;
  readonly cwd?: string;
  /** A program that still runs then hangs; 60,000 unless told. */
  readonly deadlineMs?: number;
  /** File descriptors that it has as 3, 4, … */
  readonly passed?: readonly number[];
  /** What it reads from its standard input, which ends there; unless told, nothing comes and it stays open. */
  readonly input?: string;
  /** Told the process id at once. */
  readonly onSpawn?: (pid: number) => void;
}

export type Argv = readonly [program: string, ...args: string[]];

const DEADLINE_MS = 60_000;

// a run that is cut short still ends what it has started: the listeners of 'exit' do that
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, () => process.exit(1));
process.stdout.once('error', () => process.exit(1)); // the reader of our report has gone

/** The outcome of the program, whatever its exit status. @throws Error when it cannot be started or hangs */
export async function run(argv: Argv, surroundings: Surroundings): Promise<Outcome> {
  const child = start(argv, surroundings);
  const output = collect(child);
  const timer = setTimeout(() => child.kill('SIGKILL'), surroundings.deadlineMs ?? DEADLINE_MS);
  const status = await ended(child);
  clearTimeout(timer);
  const outcome = { commandLine: argv.join(' '), status, stdout: output.stdout(), stderr: output.stderr() };
  if (status === null) throw new Error(`killed or hung: ${describeOutcome(outcome)}`);
  return outcome;
}

/** The standard output of a program that must succeed. @throws Error with its output otherwise */
export async function succeed(argv: Argv, surroundings: Surroundings): Promise<string> {
  const outcome = await run(argv, surroundings);
  if (outcome.status !== 0) throw new Error(describeOutcome(outcome));
  return outcome.stdout;
}

/** Command line, status and output in full, for the messages of failed assertions. */
export function describeOutcome(outcome: Outcome): string {
  return `${outcome.commandLine}\nexit status ${outcome.status}\n${outcome.stdout}${outcome.stderr}`;
}

/** A program that keeps running; `ready` is the match of the pattern that its output was awaited for. */
export interface Background extends AsyncDisposable {
  readonly pid: number;
  readonly ready: RegExpExecArray;
  output(): string;
  /** Its exit status when it has ended by itself or by a signal, which is null. */
  readonly ended: Promise<number | null>;
  /** Its exit status after SIGTERM; null when a signal ended it. Stopping twice is the same as once. */
  stop(): Promise<number | null>;
}

/** The running program, once its output matches `ready`. @throws Error with its output when it ends or dawdles before that */
export async function startBackground(
  argv: Argv,
  surroundings: Surroundings,
  ready: RegExp,
): Promise<Background> {
  const child = start(argv, surroundings);
  const output = collect(child);
  const both = () => output.stdout() + output.stderr();
  const end = ended(child);

  const stop = async () => {
    child.kill('SIGTERM');
    const timer = setTimeout(() => child.kill('SIGKILL'), DEADLINE_MS);
    const status = await end;
    clearTimeout(timer);
    return status;
  };

  const match = await new Promise<RegExpExecArray>((resolve, reject) => {
    const timer = setTimeout(() => {
      child.kill('SIGKILL');
      reject(new Error(`not ready in time: ${argv.join(' ')}\n${both()}`));
    }, DEADLINE_MS);
    const look = () => {
      const match = ready.exec(both());
      if (match === null) return;
      clearTimeout(timer);
      resolve(match);
    };
    child.stdout?.on('data', look);
    child.stderr?.on('data', look);
    end
      .then((status) =>
        reject(new Error(`ended with ${status} before it was ready: ${argv.join(' ')}\n${both()}`)),
      )
      .catch(reject)
      .finally(() => clearTimeout(timer));
  });

  if (child.pid === undefined) throw new Error(`no process: ${argv.join(' ')}`);
  return {
    pid: child.pid,
    ready: match,
    output: both,
    ended: end,
    stop,
    async [Symbol.asyncDispose]() {
      await stop();
    },
  };
}

function start([program, ...args]: Argv, surroundings: Surroundings): ChildProcess {
  const { env, cwd, passed = [], input, onSpawn } = surroundings;
  // stdin is a pipe that we hold: a program that reads it ends with us
  const child = spawn(program, args, { env, cwd, stdio: ['pipe', 'pipe', 'pipe', ...passed] });
  if (input !== undefined) child.stdin?.on('error', () => undefined).end(input); // it may not want it
  const killWithUs = () => child.kill('SIGKILL');
  process.prependOnceListener('exit', killWithUs); // before the listener that removes its folder
  child.once('close', () => process.off('exit', killWithUs));
  if (child.pid !== undefined) onSpawn?.(child.pid);
  return child;
}

function collect(child: ChildProcess): { stdout(): string; stderr(): string } {
  let stdout = '';
  let stderr = '';
  child.stdout?.setEncoding('utf8').on('data', (text: string) => {
    stdout += text;
  });
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    stderr += text;
  });
  return { stdout: () => stdout, stderr: () => stderr };
}

function ended(child: ChildProcess): Promise<number | null> {
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', resolve);
  });
}
