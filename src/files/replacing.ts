// What takes a withdrawn signature's file away: another one's in its place, or none.
import { randomUUID } from 'node:crypto';
import { promises as fs } from 'node:fs';
import type { TreeWriter } from '../domain/tree.ts';
import type { DurableFolders } from './durable-folders.ts';
import { signatureIn } from './linking.ts';
import { entryIn } from './opened.ts';
import { attempt, codeOf } from './refusal.ts';
import { demandInPlace, type WayFolder } from './way.ts';

export interface ReplacingOptions extends Pick<DurableFolders, 'refuseFault' | 'inFolder' | 'syncFolder'> {
  /** Runs `act` in the folder of temporary files. */
  readonly inPrepared: <T>(act: (folder: WayFolder) => Promise<T>) => Promise<T>;
}

export function createReplacing(options: ReplacingOptions): Pick<TreeWriter, 'fill' | 'remove'> {
  const { refuseFault, inPrepared, inFolder, syncFolder } = options;
  return {
    async fill(folder, number, from) {
      refuseFault();
      await inPrepared((tmp) =>
        inFolder(folder, null, async (last) => {
          const [target, temporary] = [signatureIn(last, number), entryIn(tmp, randomUUID())];
          demandInPlace(last);
          await attempt(() => fs.link(signatureIn(last, from).path, temporary.path), target.name);
          try {
            demandInPlace(last);
            await attempt(() => fs.rename(temporary.path, target.path), target.name);
          } finally {
            // rename does nothing when both are names of one file already
            await fs.unlink(temporary.path).catch(() => undefined);
          }
          await syncFolder(last);
        }),
      );
    },
    async remove(folder, number) {
      refuseFault();
      await inFolder(folder, null, async (last) => {
        demandInPlace(last);
        const { path, name } = signatureIn(last, number);
        await attempt(() => fs.unlink(path).catch(unlessGone), name);
        await syncFolder(last);
      });
    },
  };
}

function unlessGone(error: unknown): void {
  if (codeOf(error) !== 'ENOENT') throw error;
}
