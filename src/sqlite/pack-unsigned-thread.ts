// Writes unsigned.db from the days of the access record, once. Nobody else writes it.
import { rmSync } from 'node:fs';
import { parentPort, workerData } from 'node:worker_threads';
import { giveWay } from '../low-priority.ts';
import { closeInItsFile, filesOf, isCorruption, messageOf, openForWriting } from './open.ts';
import { UnsignedPacker } from './unsigned-packer.ts';
import { type PackOutcome, unsignedFileOf } from './unsigned-store.ts';

const port = parentPort;
if (port === null) throw new Error('pack-unsigned-thread is started by pack-unsigned.ts');
// only pack-unsigned.ts sets it
const { dataDir, mostBytes } = workerData as { readonly dataDir: string; readonly mostBytes: number };
giveWay();
port.postMessage(outcomeOf());

function outcomeOf(): PackOutcome {
  const file = unsignedFileOf(dataDir);
  try {
    try {
      if (!pack(file)) return { failed: null };
    } catch (error) {
      if (!isCorruption(error)) throw error;
    }
    // damaged, of a newer version, too large, or most of it is of days that are gone: it is made anew
    for (const name of filesOf(file)) rmSync(name, { force: true });
    pack(file);
    return { failed: null };
  } catch (error) {
    return { failed: messageOf(error) };
  }
}

/** Whether another file would be smaller. */
function pack(file: string): boolean {
  const db = openForWriting(file, 'unsigned');
  const packer = new UnsignedPacker(db, dataDir, { mostBytes });
  try {
    return packer.pack();
  } finally {
    packer.close();
    closeInItsFile(db);
  }
}
