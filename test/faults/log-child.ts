// Writes audit events and heads of the log as fast as it can, until it is killed; prints the number of each acknowledged event.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { readSmallFile, writeSmallFile } from '../../src/files/key-file.ts';
import { auditEvent } from '../contract/audit-event.ts';
import { openLogScene } from '../sqlite/log-scene.ts';

const [dataDir = '', key = ''] = process.argv.slice(2);
const kept = join(dataDir, 'kept');
const scene = await openLogScene(dataDir, {
  key: readFileSync(key, 'utf8'),
  file: { path: kept, read: () => readSmallFile(kept), write: (note) => writeSmallFile(kept, note, 0o644) },
});
process.stdout.write('0\n');
for (;;) {
  const seqs = await Promise.all(Array.from({ length: 3 }, () => scene.databases.audit.append(auditEvent())));
  process.stdout.write(`${seqs.at(-1)}\n`);
  await scene.keeper.publish();
}
