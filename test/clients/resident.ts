// Commands of lookaside in a process that stays: it loads Node.js and our code once, and a command then takes a tenth of the CPU.
// docs/decisions/two-parts-of-the-tests.md says what this shows less than a process for each command.
import { type ChildProcess, spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import type { Socket } from 'node:net';
import { fileURLToPath } from 'node:url';
import { describeOutcome, type Outcome } from './command.ts';
import type { Order } from './resident-host.ts';

const HOST = fileURLToPath(new URL('./resident-host.js', import.meta.url));
const DEADLINE_MS = 60_000;

/** The program counts its attempts from its start on, and reads these settings of Node.js only then. */
const ONLY_AT_START = /^(?:NODE_|SSL_|TZ$)/;
const COUNTS_ATTEMPTS = 'trying again';

let host: ChildProcess | null = null;
let isBusy = false;

/** Whether `commandLine` may run in the process that stays, and nothing else runs there. */
export function canReside(args: readonly string[], env: Readonly<Record<string, string>>): boolean {
  if (isBusy || args[0] === 'serve' || args.includes('-')) return false;
  return !Object.keys(env).some((name) => ONLY_AT_START.test(name));
}

/** @throws Error when the command hangs, or is killed */
export async function runInResident(order: Omit<Order, 'mark'>, commandLine: string): Promise<Outcome> {
  isBusy = true;
  try {
    host ??= startHost();
    const { status, stdout, stderr } = await carryOut(host, { ...order, mark: `\u0000${randomUUID()}\n` });
    const outcome = { commandLine, status, stdout, stderr };
    if (status === null) throw new Error(`killed or hung: ${describeOutcome(outcome)}`);
    if (stderr.includes(COUNTS_ATTEMPTS)) endHost();
    return outcome;
  } finally {
    isBusy = false;
  }
}

function startHost(): ChildProcess {
  const child = spawn(process.execPath, [HOST], { env: {}, stdio: ['ignore', 'pipe', 'pipe', 'ipc'] });
  process.prependOnceListener('exit', () => child.kill('SIGKILL'));
  for (const stream of [child.stdout, child.stderr]) stream?.setEncoding('utf8');
  child.once('close', () => {
    if (host === child) host = null;
  });
  setHold(child, false);
  return child;
}

function endHost(): void {
  host?.disconnect();
  host = null;
}

/** Between commands, it does not keep the tests' process. */
function setHold(child: ChildProcess, isHeld: boolean): void {
  // pipes of child processes are sockets
  const handles = [child, child.channel, child.stdout as Socket, child.stderr as Socket];
  for (const handle of handles) {
    if (isHeld) handle?.ref();
    else handle?.unref();
  }
}

function carryOut(child: ChildProcess, order: Order): Promise<Omit<Outcome, 'commandLine'>> {
  setHold(child, true);
  return new Promise((resolve) => {
    const outputs = [child.stdout, child.stderr].map(() => '') as [string, string];
    let status: number | null = null;
    const timer = setTimeout(() => child.kill('SIGKILL'), DEADLINE_MS);
    const done = (exitCode: number | null) => {
      clearTimeout(timer);
      child.off('close', done).off('message', onMessage);
      for (const stream of [child.stdout, child.stderr]) stream?.removeAllListeners('data');
      setHold(child, false);
      const [stdout, stderr] = outputs.map((text) => text.replace(order.mark, '')) as [string, string];
      resolve({ status: exitCode, stdout, stderr });
    };
    const look = () => {
      if (status !== null && outputs.every((text) => text.endsWith(order.mark))) done(status);
    };
    const onMessage = (message: unknown) => {
      status = (message as { readonly exitCode: number }).exitCode;
      look();
    };
    for (const [i, stream] of [child.stdout, child.stderr].entries()) {
      stream?.on('data', (text: string) => {
        outputs[i as 0 | 1] += text;
        look();
      });
    }
    child.on('message', onMessage);
    child.once('close', done); // it ended itself, or failed: its status is the command's
    child.send(order);
  });
}
