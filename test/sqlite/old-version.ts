// Database files as an older version of lookaside left them.
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { RecordedImage } from '../../src/domain/ports.ts';
import { connect as connectDatabase } from '../../src/sqlite/connect.ts';

const MIGRATIONS = fileURLToPath(new URL('../../../migrations', import.meta.url));
const APPLICATION_IDS = { state: 0x6c6b5354, index: 0x6c6b4958 };

/** Makes the file at that version, with what `fill` adds. */
export function makeVersion(version: number, file: string, kind: 'state' | 'index', fill: string): void {
  const folder = join(MIGRATIONS, kind);
  const names = readdirSync(folder).sort().slice(0, version);
  const db = connectDatabase(file);
  try {
    db.pragma('journal_mode = WAL');
    for (const name of names) db.exec(readFileSync(join(folder, name), 'utf8'));
    db.exec(fill);
    db.pragma(`application_id = ${APPLICATION_IDS[kind]}`);
    db.pragma(`user_version = ${version}`);
  } finally {
    db.close();
  }
}

/** Statements that put the images' signatures into an index of version 1 or 2, the last image first. */
export function signatureInserts(images: readonly RecordedImage[], verdict: string): string {
  return images
    .toReversed()
    .flatMap(({ image, signatures }) =>
      signatures.map(({ number, sha256, sizeBytes, storedAt, bytes }) => {
        const text = [image.site, image.path, image.layout, image.algorithm].map((part) => `'${part}'`);
        const kept = bytes === null ? 'NULL' : `x'${Buffer.from(bytes).toString('hex')}'`;
        const values = [
          ...text,
          `x'${image.hex}'`,
          number,
          `x'${sha256}'`,
          sizeBytes,
          storedAt.getTime(),
          kept,
        ];
        return `
          INSERT INTO signature
            (site, path, layout, algorithm, digest, number, sha256, size_bytes, stored_at_ms, bytes, verdict)
          VALUES (${values.join(', ')}, '${verdict}');`;
      }),
    )
    .join('');
}
