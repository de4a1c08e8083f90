// Fuzzing led by coverage: an input that runs code which never ran before is kept, and others are made of it.
import { watchCoverage } from './coverage.ts';
import { mutate } from './mutate.ts';
import { createRandom } from './random.ts';

export interface Target {
  readonly name: string;
  /** Parts of the URLs of the files whose code counts. */
  readonly watched: readonly string[];
  readonly seeds: readonly Uint8Array[];
  /** Pieces that mean something in the format. */
  readonly words: readonly Uint8Array[];
  /** Throws when what must hold for any bytes does not. */
  run(input: Uint8Array): void | Promise<void>;
}

export interface Fuzzing {
  readonly target: Target;
  /** Beside the seeds. */
  readonly corpus: readonly Uint8Array[];
  readonly seed: number;
  /** Asked between inputs. */
  readonly isEnough: (executions: number) => boolean;
  /** An input that ran new code. */
  readonly onKept?: (input: Uint8Array) => void;
}

export interface Crash {
  readonly input: Uint8Array;
  readonly error: unknown;
}

export interface Fuzzed {
  readonly executions: number;
  /** Characters of code that the seeds and the corpus ran. */
  readonly charactersBefore: number;
  readonly charactersAfter: number;
  readonly kept: number;
  readonly slowestMs: number;
  /** Null when there was none; it ends the run. */
  readonly crash: Crash | null;
}

/** What one input may take. A verdict has two seconds, of inputs that are a hundred times as large. */
const LIMIT_MS = 1000;

/** V8 is asked, which takes milliseconds, after so many inputs; a batch that ran new code is halved until it is known which. */
const BATCH = 512;

export async function fuzz({ target, corpus: kept, seed, isEnough, onKept }: Fuzzing): Promise<Fuzzed> {
  const random = createRandom(seed);
  const corpus = [...target.seeds, ...kept];
  let executions = 0;
  let slowestMs = 0;
  let crash: Crash | null = null;

  async function execute(input: Uint8Array): Promise<void> {
    executions += 1;
    const startMs = performance.now();
    try {
      await target.run(input);
      const tookMs = performance.now() - startMs;
      slowestMs = Math.max(slowestMs, tookMs);
      if (tookMs > LIMIT_MS) throw new Error(`took ${Math.round(tookMs)} ms, expected at most ${LIMIT_MS}`);
    } catch (error) {
      crash ??= { input, error };
    }
  }

  using coverage = watchCoverage(target.watched);
  for (const input of corpus) await execute(input);
  coverage.take();
  const charactersBefore = coverage.characters;
  const corpusBefore = corpus.length;

  async function keepNew(batch: readonly Uint8Array[]): Promise<void> {
    for (const input of batch) await execute(input);
    const [only] = batch;
    if (only === undefined || !(batch.length === 1 ? coverage.take() : coverage.isNew())) return;
    if (batch.length === 1) {
      corpus.push(only);
      onKept?.(only);
      return;
    }
    const half = batch.length / 2;
    await keepNew(batch.slice(0, half));
    await keepNew(batch.slice(half));
  }

  while (crash === null && !isEnough(executions)) {
    const batch = Array.from({ length: BATCH }, () => mutate({ corpus, words: target.words }, random));
    await keepNew(batch);
  }
  return {
    executions,
    charactersBefore,
    charactersAfter: coverage.characters,
    kept: corpus.length - corpusBefore,
    slowestMs,
    crash,
  };
}
