// Checks one database file for damage and reports what it found. It only reads. It has its own thread because the check of a
// large index takes seconds, and uploads must not wait for it.
import { parentPort, workerData } from 'node:worker_threads';
import { giveWay } from '../low-priority.ts';
import { findDamage, messageOf, openForReading } from './open.ts';

const port = parentPort;
if (port === null) throw new Error('check-thread is started by signatures.ts');
// only signatures.ts sets it
const { file } = workerData as { readonly file: string };
giveWay();

port.postMessage(damageOf(file));

function damageOf(file: string): string | null {
  try {
    const db = openForReading(file, 'index');
    try {
      return findDamage(db);
    } finally {
      db.close();
    }
  } catch (error) {
    return messageOf(error);
  }
}
