// Started by scratch.ts as another process: takes the lock that it is told to and keeps it until its input ends.
import { connect as connectDatabase } from '../../src/sqlite/connect.ts';
import { takeLock } from '../../src/sqlite/lock.ts';

const [, , lock, path = ''] = process.argv;
const release = lock === 'data' ? holdData() : holdWrite();
process.stdout.write('held\n');
process.stdin.resume();
process.stdin.on('end', release);

function holdData(): () => void {
  const taken = takeLock(path, { command: 'import /srv/old', host: 'other-box' });
  return () => taken.release();
}

function holdWrite(): () => void {
  const db = connectDatabase(path);
  db.exec('BEGIN IMMEDIATE');
  return () => void db.close();
}
