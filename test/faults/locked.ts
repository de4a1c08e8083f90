// Databases whose write lock another process has taken.
import path from 'node:path';
import { eventually } from '../clients/eventually.ts';
import { type OtherProcess, otherProcess } from '../sqlite/scratch.ts';

export interface Locks extends AsyncDisposable {
  /** Lets them go and waits for the ends of the processes. */
  release(): Promise<void>;
}

/** The day's access log, which a server makes soon after the first read of the day. */
export function todaysLog(): string {
  return `access/${new Date().toISOString().slice(0, 10)}.db`;
}

/** Takes the write lock of each of these files of the data directory, once it is there and free. */
export async function lockDatabases(data: string, names: readonly string[]): Promise<Locks> {
  const cleanup: (() => void)[] = [];
  const t = { after: (act: () => void) => void cleanup.push(act) };
  const kill = () => {
    for (const act of cleanup) act();
  };
  const holders: OtherProcess[] = [];
  try {
    for (const name of names) {
      holders.push(await eventually(() => otherProcess(t, 'write', path.join(data, name))));
    }
  } catch (error) {
    kill();
    throw error;
  }
  return {
    async release() {
      for (const holder of holders) await holder.end();
    },
    async [Symbol.asyncDispose]() {
      kill();
    },
  };
}
