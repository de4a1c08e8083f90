// Builds what the commands about the log use: the log of the named server, or of the data directory on this machine.
import { type Config, shownDatabase } from '../config.ts';
import { LookasideError } from '../domain/errors.ts';
import { type ImageId, imageFolder } from '../domain/image.ts';
import type { LogReaderStore } from '../domain/log.ts';
import { openIndexReadOnly, openLogReadOnly } from '../sqlite/databases.ts';
import { type ConnectServerOptions, connectLogOf, remoteOf } from './client.ts';
import { openSiteTree, sha256Hex, sitesOf } from './site.ts';

export interface OpenedLog extends LogReaderStore, AsyncDisposable {
  /** For people. */
  readonly name: string;
  /** SHA-256 of what is served as signature-N; null when there is none. */
  servedSha256(image: ImageId, number: number): Promise<string | null>;
}

/** @throws LookasideError CONFIG_INVALID, STATE_UNUSABLE, STORE_UNAVAILABLE */
export async function openAuditedLog(config: Config, options: ConnectServerOptions): Promise<OpenedLog> {
  if (remoteOf(config) !== null) return connectLogOf(config, options);
  if (config.database === null) return openHere(config);
  const { openDatabaseLog } = await import('./node-log.ts');
  return { ...(await openDatabaseLog(config.database.url)), name: shownDatabase(config) ?? '' };
}

function openHere(config: Config): OpenedLog {
  const store = openLogReadOnly(config.data);
  if (store === null) {
    throw new LookasideError(
      'CONFIG_INVALID',
      `${config.data} has no state.db; name a data directory with --data, or a server with --server`,
    );
  }
  return {
    ...store,
    name: config.data,
    servedSha256: (image, number) => sha256Here(config, image, number),
    async [Symbol.asyncDispose]() {
      store.close();
    },
  };
}

/** The SHA-256 of the file with that number, as the index or else the tree knows it. */
async function sha256Here(config: Config, image: ImageId, number: number): Promise<string | null> {
  using index = openIndexReadOnly(config.data);
  const recorded = (await index?.recorded(image)) ?? [];
  const known = recorded.find((signature) => signature.number === number);
  if (known !== undefined) return known.sha256;
  const [site] = sitesOf(config);
  if (site === undefined) return null;
  const bytes = await openSiteTree(site)
    .readFile(imageFolder(image), number)
    .catch(() => null);
  return bytes === null ? null : sha256Hex(bytes);
}
