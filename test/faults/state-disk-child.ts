// Started by state-disk.test.ts as another process, on a disk or as a user of which the test makes trouble: tries to write
// to the state in the data directory, and prints what came of each try as one line of JSON.
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { systemCode } from '../../src/domain/errors.ts';
import { openDatabases } from '../../src/sqlite/databases.ts';
import { auditEvent } from '../contract/audit-event.ts';
import { imageAt, recordedImage, sha256 } from '../contract/signature-index.ts';
import { uploadOf } from '../contract/upload-store.ts';
import { fill } from './fill.ts';

const [, , isFilling, dataDir = ''] = process.argv;
const filler = join(dataDir, 'filler');
const image = imageAt('team/app', 'a');
const bytes = Buffer.alloc(256 * 1024, 'x');
const upload = uploadOf(image, '', { sha256: sha256(bytes), sizeBytes: bytes.length, bytes });

const databases = await openDatabases({ dataDir, onUnusable: () => undefined });
if (isFilling === 'fill') await fill(filler);
await attempt();
rmSync(filler, { force: true });
await attempt();
await databases.close();

async function attempt(): Promise<void> {
  const outcome = await databases.uploads.add(upload, auditEvent()).then(
    ({ auditSeq }) => ({ code: null, auditSeq }),
    (error: unknown) => ({ code: systemCode(error), message: String(error) }),
  );
  const index = await databases.index.record([recordedImage(image, 'one')]).then(() => null, String);
  const stored = (await databases.uploads.ofImage(image)).length;
  const { lastWriteSucceeded } = databases.health().state;
  process.stdout.write(`${JSON.stringify({ ...outcome, index, stored, lastWriteSucceeded })}\n`);
}
