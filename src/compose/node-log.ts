// The log in a database that nodes share, for commands that look at it beside the nodes.
import { type ImageId, imageFolder } from '../domain/image.ts';
import type { LogReaderStore } from '../domain/log.ts';
import { connect } from '../postgres/connect.ts';
import { readOnlyLog } from '../postgres/log-store.ts';
import { checkServer } from '../postgres/open.ts';

export interface DatabaseLog extends LogReaderStore, AsyncDisposable {
  /** SHA-256 of what is served as signature-N; null when there is none. */
  servedSha256(image: ImageId, number: number): Promise<string | null>;
}

/** @throws LookasideError STATE_UNUSABLE, STORE_UNAVAILABLE */
export async function openDatabaseLog(url: string): Promise<DatabaseLog> {
  const connections = connect({ url, poolSize: 1, isPatient: true });
  try {
    await checkServer(connections, () => undefined, false);
  } catch (error) {
    await connections.close();
    throw error;
  }
  const log = readOnlyLog(connections);
  return {
    ...log,
    async servedSha256(image, number) {
      const [row] = await connections.query<{ sha256: string }>(
        `
        SELECT encode(s.sha256, 'hex') AS sha256
        FROM image AS i
        JOIN signature AS s ON s.image_id = i.id
        WHERE i.site = $1 AND i.folder = $2 AND s.number = $3`,
        [image.site, imageFolder(image), number],
      );
      return row?.sha256 ?? null;
    },
    [Symbol.asyncDispose]: () => connections.close(),
  };
}
