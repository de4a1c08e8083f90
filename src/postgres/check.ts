// Looks for what should never be in the tables that are served: bytes that are not those of their hash, holes in the numbers, uploads
// without their signature.
import type { Problem } from '../domain/tree.ts';
import { connect, type Query } from './connect.ts';

const IMAGES_AT_ONCE = 500;

export interface CheckCounts {
  readonly images: number;
  readonly signatures: number;
}

export interface FoundInDatabase extends Problem {
  readonly site: string;
}

interface SignatureRow {
  readonly image_id: number;
  readonly site: string;
  readonly folder: string;
  readonly number: number;
  readonly filler: boolean;
  readonly is_right: boolean;
}

/** On a connection of its own; every image is read. @throws LookasideError STORE_UNAVAILABLE */
export async function* checkDatabase(
  url: string,
  onProgress: (counts: CheckCounts) => void,
): AsyncGenerator<FoundInDatabase> {
  const connections = connect({ url, poolSize: 1, isPatient: true });
  try {
    yield* checkSignatures(connections.query, onProgress);
    yield* findLost(connections.query);
  } finally {
    await connections.close();
  }
}

async function* checkSignatures(
  query: Query,
  onProgress: (counts: CheckCounts) => void,
): AsyncGenerator<FoundInDatabase> {
  const counts = { images: 0, signatures: 0 };
  for (let after = 0; ; ) {
    const images = await query<{ id: number }>('SELECT id FROM image WHERE id > $1 ORDER BY id LIMIT $2', [
      after,
      IMAGES_AT_ONCE,
    ]);
    const last = images.at(-1)?.id;
    if (last === undefined) return;
    const rows = await query<SignatureRow>(
      `
      SELECT i.id AS image_id, i.site, i.folder, s.number, s.filler,
        b.sha256 = sha256(b.bytes) AND s.size_bytes = length(b.bytes) AS is_right
      FROM image AS i
      JOIN signature AS s ON s.image_id = i.id
      JOIN blob AS b ON b.image_id = s.image_id AND b.sha256 = s.sha256
      WHERE i.id > $1 AND i.id <= $2
      ORDER BY i.id, s.number`,
      [after, last],
    );
    yield* faultsIn(rows);
    counts.images += new Set(rows.map(({ image_id }) => image_id)).size;
    counts.signatures += rows.filter(({ filler }) => !filler).length;
    onProgress({ ...counts });
    after = last;
  }
}

function* faultsIn(rows: readonly SignatureRow[]): Generator<FoundInDatabase> {
  let expected = 0;
  let imageId = 0;
  for (const { image_id, site, folder, number, is_right } of rows) {
    expected = image_id === imageId ? expected + 1 : 1;
    imageId = image_id;
    const path = `${folder}/signature-${number}`;
    if (!is_right) yield { site, kind: 'changed', path };
    if (number === expected) continue;
    yield { site, kind: 'behind-gap', path };
    expected = number;
  }
}

/** Uploads in force of which no signature is there. */
async function* findLost(query: Query): AsyncGenerator<FoundInDatabase> {
  const rows = await query<{
    site: string;
    folder: string;
    sha256: string;
    uploader: string;
    stored_at_ms: number;
  }>(`
    SELECT u.site, u.image AS folder, encode(u.sha256, 'hex') AS sha256, u.uploader, u.stored_at_ms
    FROM upload AS u
    WHERE NOT EXISTS (
        SELECT 1
        FROM image AS i
        JOIN signature AS s ON s.image_id = i.id
        WHERE i.site = u.site AND i.folder = u.image AND s.sha256 = u.sha256 AND NOT s.filler
      )
      AND NOT EXISTS (
        SELECT 1
        FROM tombstone AS t
        WHERE t.site = u.site AND t.image = u.image AND t.sha256 = u.sha256 AND t.lifted_at_ms IS NULL
      )
    ORDER BY u.audit_seq
    LIMIT 10001`);
  for (const { site, folder, sha256, uploader, stored_at_ms } of rows) {
    const upload = { sha256, uploader, storedAt: new Date(stored_at_ms) };
    yield { site, kind: 'lost', path: folder, upload };
  }
}
