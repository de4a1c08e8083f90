// Every order in which tasks that wait for steps can go on, one run each: the next step is always of a task that could make it. Orders
// in which a task is cut off more than `preemptions` times by another one are left out.
import assert from 'node:assert/strict';
import { setImmediate } from 'node:timers/promises';
import type { Step } from './model-disk.ts';

export interface Scheduler {
  readonly step: Step;
  /** It must begin with a step. */
  start(task: () => Promise<void>): void;
}

interface Waiting {
  readonly task: number;
  readonly name: string;
  readonly isWrite: boolean;
  readonly go: () => void;
}

export interface Made {
  /** The steps in their order, as `2 tombstones.put`. */
  readonly trace: readonly string[];
}

/** `onWrite` is called after each step that has changed something. */
export interface OneRun {
  readonly begin: (scheduler: Scheduler) => void;
  readonly onWrite?: (made: Made) => void;
  readonly onEnd: (made: Made) => Promise<void> | void;
}

/** How many runs there were. `open` makes each anew; a failure is thrown with the steps that led to it. */
export async function eachSchedule(preemptions: number, open: () => OneRun): Promise<number> {
  let runs = 0;
  for (let choices: readonly number[] | null = []; choices !== null; ) {
    const taken = await runOnce(open(), choices, preemptions);
    runs += 1;
    choices = nextOf(taken);
  }
  return runs;
}

/** In the order in which the tasks come, without any cut. */
export async function inOrder(run: OneRun): Promise<void> {
  await runOnce(run, [], 0);
}

interface Choice {
  readonly at: number;
  readonly of: number;
}

function nextOf(taken: readonly Choice[]): readonly number[] | null {
  const last = taken.findLastIndex(({ at, of }) => at + 1 < of);
  if (last === -1) return null;
  return taken.slice(0, last + 1).map(({ at }, k) => (k === last ? at + 1 : at));
}

async function runOnce(
  run: OneRun,
  choices: readonly number[],
  preemptions: number,
): Promise<readonly Choice[]> {
  const waiting: Waiting[] = [];
  /** Whose step was the last: what follows from it is taken for its own, even where it has made way for another's. */
  let current = -1;
  const trace: string[] = [];
  const failures: unknown[] = [];
  const taken: Choice[] = [];
  let open = 0;
  let started = 0;
  const scheduler: Scheduler = {
    step: (name, isWrite, act) =>
      new Promise((resolve, reject) => {
        const go = () => {
          try {
            resolve(act());
          } catch (error) {
            reject(error);
          }
        };
        waiting.push({ task: current, name, isWrite, go });
      }),
    start(task) {
      open += 1;
      const id = started;
      started += 1;
      current = id;
      void task()
        .catch((error: unknown) => void failures.push(error))
        .finally(() => {
          open -= 1;
        });
      current = -1;
    },
  };
  try {
    run.begin(scheduler);
    let cuts = 0;
    for (let last = -1; ; ) {
      await setImmediate(); // all that follows from the last step has happened by then
      if (failures.length > 0) throw failures[0];
      if (waiting.length === 0) break;
      const [own, others] = [
        waiting.filter(({ task }) => task === last),
        waiting.filter(({ task }) => task !== last),
      ];
      const mayCut = own.length === 0 || cuts < preemptions;
      const choosable = mayCut ? [...own, ...others] : own;
      const at = choices[taken.length] ?? 0;
      const next =
        choosable[at] ?? assert.fail(`step ${taken.length} has no choice ${at}: not the same twice`);
      taken.push({ at, of: choosable.length });
      if (own.length > 0 && next.task !== last) cuts += 1;
      waiting.splice(waiting.indexOf(next), 1);
      last = next.task;
      current = last;
      trace.push(`${next.task} ${next.name}`);
      next.go();
      if (next.isWrite) run.onWrite?.({ trace });
    }
    assert.equal(open, 0, 'a task waits for what never comes');
    await run.onEnd({ trace });
  } catch (error) {
    const message = error instanceof Error ? (error.stack ?? error.message) : String(error);
    throw new Error(`${message}\nafter:\n${trace.join('\n')}`, { cause: error });
  }
  return taken;
}
