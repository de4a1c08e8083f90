// The process behind resident.ts: runs one command line of lookaside after another, each as main.ts would, and gives back what a
// process of its own would have left: exit code, output, environment, working folder, listeners.
import type { EventEmitter } from 'node:events';
import { performance } from 'node:perf_hooks';
import { setTimeout as wait } from 'node:timers/promises';
import { runProgram } from '../../src/cli/program.ts';

export interface Order {
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly cwd: string;
  /** Ends both outputs of this command. */
  readonly mark: string;
}

/** What a command may leave open for a moment: the reply of a server that closes, a thread that ends. */
const PATIENCE_MS = 10_000;

const emitters: readonly EventEmitter[] = [process, process.stdout, process.stderr];

process.on('message', (order: Order) => {
  carryOut(order).then(
    (exitCode) => {
      process.stdout.write(order.mark);
      process.stderr.write(order.mark);
      process.send?.({ exitCode });
    },
    (error) => {
      process.stderr.write(`${error instanceof Error ? error.stack : error}\n`);
      process.exit(1);
    },
  );
});
process.once('disconnect', () => process.exit());

async function carryOut({ args, env, cwd }: Order): Promise<number> {
  process.chdir(cwd);
  for (const name of Object.keys(process.env)) delete process.env[name];
  Object.assign(process.env, env);
  process.argv.splice(2, process.argv.length, ...args);
  const atRest = process.getActiveResourcesInfo();
  const before = emitters.map((emitter) => listenersOf(emitter));
  const exitCode = await runProgram(process.argv, null);
  await onlyIsLeft(atRest, args);
  process.chdir('/'); // the folder may be removed now, or unmounted
  for (const [i, emitter] of emitters.entries()) takeBack(emitter, before[i] ?? new Map());
  return exitCode;
}

/** A process of its own ends by itself only when nothing keeps it. */
async function onlyIsLeft(atRest: readonly string[], args: readonly string[]): Promise<void> {
  const deadline = performance.now() + PATIENCE_MS;
  for (;;) {
    const left = process.getActiveResourcesInfo();
    for (const name of atRest) {
      const at = left.indexOf(name);
      if (at !== -1) left.splice(at, 1);
    }
    if (left.length === 0) return;
    if (performance.now() > deadline) throw new Error(`lookaside ${args.join(' ')} leaves ${left} open`);
    await wait(1, undefined, { ref: false });
  }
}

type Listeners = ReadonlyMap<string | symbol, readonly unknown[]>;

function listenersOf(emitter: EventEmitter): Listeners {
  return new Map(emitter.eventNames().map((name) => [name, emitter.rawListeners(name)]));
}

/** Takes back the listeners that a command has left, as the end of its process would. */
function takeBack(emitter: EventEmitter, before: Listeners): void {
  for (const name of emitter.eventNames()) {
    const old = before.get(name) ?? [];
    for (const listener of emitter.rawListeners(name)) {
      if (!old.includes(listener)) emitter.removeListener(name, listener as () => void);
    }
  }
}
