// Databases that a contract suite may look at again as after another start.
import { rmSync } from 'node:fs';
import type { Databases } from '../../src/sqlite/databases.ts';
import { open } from './scratch.ts';

export interface Reopenable {
  readonly databases: Databases;
  /** Closes them and opens them again. */
  reopen(): Promise<Databases>;
  /** Closes them and deletes the folder. */
  close(): Promise<void>;
}

export async function reopenable(dataDir: string): Promise<Reopenable> {
  const { databases } = await open(dataDir);
  let current = databases;
  return {
    databases,
    async reopen() {
      await current.close();
      current = (await open(dataDir)).databases;
      return current;
    },
    async close() {
      await current.close();
      rmSync(dataDir, { recursive: true });
    },
  };
}
