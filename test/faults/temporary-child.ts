// Started by state-disk.test.ts where the data directory is all that can be written: does what SQLite has no room for in memory,
// and prints what came of it as one line of JSON.
import { join } from 'node:path';
import { openDatabases } from '../../src/sqlite/databases.ts';
import { openForReading } from '../../src/sqlite/open.ts';
import { auditEvent } from '../contract/audit-event.ts';
import { imageAt, sha256 } from '../contract/signature-index.ts';
import { uploadOf } from '../contract/upload-store.ts';

const [, , dataDir = ''] = process.argv;
const bytes = Buffer.alloc(20 * 1024, 'x');
const uploads = Array.from({ length: 60 }, (_, k) =>
  uploadOf(imageAt(`team/app-${k}`, 'a'), '', { sha256: sha256(bytes), sizeBytes: bytes.length, bytes }),
);

const databases = await openDatabases({ dataDir, onUnusable: () => undefined });
// at once, so that they share a transaction
const outcomes = await Promise.allSettled(uploads.map((one) => databases.uploads.add(one, auditEvent())));
const refused = outcomes.flatMap((one) => (one.status === 'rejected' ? [String(one.reason)] : []));

const reader = openForReading(join(dataDir, 'state.db'), 'state');
const sorted = reader
  .prepare(
    `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100000)
     SELECT hex(randomblob(100)) AS a FROM n ORDER BY a`,
  )
  .all().length;
reader.close();
await databases.close();
process.stdout.write(`${JSON.stringify({ refused, sorted })}\n`);
