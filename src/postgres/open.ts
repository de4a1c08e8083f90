// All that a node has in PostgreSQL: checked, migrated, opened together, closed in order.
import type { NewAuditEvent } from '../domain/audit.ts';
import { LookasideError } from '../domain/errors.ts';
import type { ImageId } from '../domain/image.ts';
import type { Tombstone, WithdrawnFilter, WithdrawnPlace } from '../domain/tombstone.ts';
import { PostgresAccessLog } from './access-log.ts';
import { PostgresAccess } from './access-steps.ts';
import { PostgresAuditLog } from './audit-log.ts';
import { type Connections, connect, type Query, SESSION } from './connect.ts';
import { PostgresEraser } from './eraser.ts';
import type { WhileAnswering } from './in-time.ts';
import { PostgresKeys } from './keys.ts';
import { Leader } from './leader.ts';
import { PostgresLog } from './log-store.ts';
import { isEmpty, migrate, requireSchema } from './migrate.ts';
import { PostgresMirrors } from './mirrors.ts';
import { acceptMovedBack, refuseMovedBack } from './moved-back.ts';
import { PostgresQuestions } from './questions.ts';
import { PostgresRepositories } from './repositories.ts';
import { PostgresSessions } from './sessions.ts';
import { PostgresSignatures } from './signatures.ts';
import { PostgresGrants, PostgresSigners } from './signers.ts';
import { PostgresSubjects } from './subjects.ts';
import { PostgresTokens } from './tokens.ts';
import { endedTombstones, tombstonesOf, withdrawnPage } from './tombstone-rows.ts';
import { PostgresUploads } from './uploads.ts';
import { PostgresVerdicts } from './verdicts.ts';
import { PostgresWriter, refuseHalfMoved } from './writer.ts';

export interface OpenPostgresOptions {
  readonly url: string;
  readonly poolSize: number;
  /**
   * `migrate`, the default: as this release wants them. `make`: only where there are none yet, because nodes of another release may
   * run. `keep`: they stay as they are.
   */
  readonly tables?: 'migrate' | 'make' | 'keep';
  /** Goes on with a database that was moved back to a data directory; `read`: only looks at it. */
  readonly movedBack?: 'refuse' | 'accept' | 'read';
  readonly staleMs: number;
  readonly monotonicMs: () => number;
  readonly keyringNumber: () => number;
  /** The database cannot be asked, as far as is known. */
  readonly isLost?: () => boolean;
  readonly whileAnswering?: WhileAnswering;
  readonly onChanged: (image: ImageId) => void;
  readonly onElected: () => void;
  readonly makeLiftEvent: (tombstone: Tombstone) => NewAuditEvent;
  /** What an operator is to know. */
  readonly warn: (message: string) => void;
}

export type OpenedPostgres = Awaited<ReturnType<typeof openPostgres>>;

/** @throws LookasideError STATE_UNUSABLE when the database is newer, or older than a command needs, or forgets commits; STORE_UNAVAILABLE */
export async function openPostgres(options: OpenPostgresOptions) {
  const { url, poolSize, staleMs, monotonicMs, keyringNumber } = options;
  // the leader keeps one for itself
  const connections = connect({ url, poolSize: poolSize + 1 });
  try {
    await checkServer(connections, options.warn);
    await bringTables(connections, options);
    await refuseHalfMoved(connections.query);
    await checkMovedBack(connections.query, options);
    const writer = new PostgresWriter(connections);
    const leader = new Leader(connections, options.onElected);
    const isLeader = () => leader.isLeading;
    const questions = new PostgresQuestions(url, options.whileAnswering === undefined ? {} : options);
    const tokens = new PostgresTokens({ connections, writer, monotonicMs, staleMs });
    await tokens.reload();
    const reload = () => tokens.reload().catch(() => undefined); // read again within a second
    return {
      connections,
      writer,
      leader,
      tokens,
      sessions: new PostgresSessions(connections, writer),
      signatures: new PostgresSignatures({ ...options, connections, writer }),
      verdicts: new PostgresVerdicts({ connections, writer, keyringNumber, isLeader }),
      keys: new PostgresKeys(connections, writer),
      signers: new PostgresSigners(connections, writer, reload),
      grants: new PostgresGrants(connections, writer),
      subjects: new PostgresSubjects(connections, writer),
      rules: new PostgresAccess(writer, reload),
      mirrors: new PostgresMirrors(connections, writer),
      uploads: new PostgresUploads(connections, writer),
      audit: new PostgresAuditLog(connections, writer),
      log: new PostgresLog(connections, writer, leader.fence),
      access: new PostgresAccessLog(connections, isLeader),
      questions,
      eraser: new PostgresEraser(() => connect({ url, poolSize: 1, isPatient: true }), writer),
      repositories: new PostgresRepositories(connections),
      tombstones: {
        ofImage: (image: ImageId) => tombstonesOf(connections.query, image),
        ended: (now: Date, limit: number, after?: Tombstone) =>
          endedTombstones(connections.query, now, limit, after),
        page: (site: string, filter: WithdrawnFilter, after: WithdrawnPlace | null, limit: number) =>
          withdrawnPage(connections.query, { site, filter, after, limit }),
      },
      async close() {
        await writer.drain();
        await leader.stop();
        await questions.close();
        await connections.close();
      },
    };
  } catch (error) {
    await connections.close();
    throw error;
  }
}

/** @throws LookasideError STATE_UNUSABLE */
async function checkMovedBack(
  query: Query,
  { movedBack = 'refuse', warn }: Pick<OpenPostgresOptions, 'movedBack' | 'warn'>,
): Promise<void> {
  if (movedBack === 'refuse') await refuseMovedBack(query);
  if (movedBack !== 'accept') return;
  warn(
    (await acceptMovedBack(query))
      ? 'the database was moved back to a data directory, and is served again, as --accept-moved-back asked for'
      : '--accept-moved-back was not needed: the database was not moved to a data directory; leave it out from now on',
  );
}

async function bringTables(
  connections: Connections,
  { url, tables = 'migrate' }: Pick<OpenPostgresOptions, 'url' | 'tables'>,
): Promise<void> {
  const migrates = tables === 'migrate' || (tables === 'make' && (await isEmpty(connections)));
  await (migrates ? migrateAt(url) : requireSchema(connections));
}

/** A migration of large tables takes longer than a node waits for any other answer. */
async function migrateAt(url: string): Promise<void> {
  const connections = connect({ url, poolSize: 1, isPatient: true });
  try {
    await migrate(connections);
  } finally {
    await connections.close();
  }
}

interface ServerSettings {
  readonly version: number;
  readonly commit: string;
  readonly fsync: string;
  readonly encoding: string;
  readonly standbys: number;
}

const OLDEST_VERSION = 140_000;

/** A pooler may drop what a session sets at its start; without it a paused node keeps the lock of all changes. */
async function checkSession(query: Query, refuse: (message: string) => never): Promise<void> {
  const rows = await query<{ name: string; setting: string }>(
    'SELECT name, setting FROM pg_settings WHERE name = ANY ($1)',
    [Object.keys(SESSION)],
  );
  const settings = new Map(rows.map(({ name, setting }) => [name, setting]));
  for (const [name, ms] of Object.entries(SESSION)) {
    const setting = settings.get(name);
    if (setting === String(ms)) continue;
    refuse(
      `${name} is ${setting} in a session of lookaside, which has asked for ${ms}; connect to PostgreSQL without a pooler that drops the startup parameter "options"`,
    );
  }
}

/** What is acknowledged must survive. @throws LookasideError STATE_UNUSABLE */
export async function checkServer(
  { query }: Pick<Connections, 'query'>,
  warn: (message: string) => void,
  isNode = true,
): Promise<void> {
  const [settings] = await query<ServerSettings>(`
    SELECT current_setting('server_version_num')::integer AS version,
      current_setting('synchronous_commit') AS commit,
      current_setting('fsync') AS fsync,
      current_setting('server_encoding') AS encoding,
      (SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'async') AS standbys`);
  if (settings === undefined) throw new Error('a query without FROM has given no row');
  const refuse = (message: string): never => {
    throw new LookasideError('STATE_UNUSABLE', message);
  };
  if (settings.version < OLDEST_VERSION) {
    refuse(
      `PostgreSQL 14 or newer is needed, and this is ${Math.floor(settings.version / 10_000)}; upgrade it first`,
    );
  }
  if (isNode) await checkSession(query, refuse);
  if (settings.encoding !== 'UTF8') {
    refuse(
      `the database has the encoding ${settings.encoding}, and UTF8 is needed; make it with: CREATE DATABASE lookaside ENCODING 'UTF8' TEMPLATE template0`,
    );
  }
  if (settings.commit !== 'on' && settings.commit !== 'remote_apply') {
    refuse(
      `synchronous_commit is ${settings.commit}, so that a crash would lose acknowledged uploads; set it to on or remote_apply, for example with: ALTER ROLE lookaside SET synchronous_commit = on`,
    );
  }
  if (settings.fsync !== 'on') {
    refuse(
      'fsync is off, so that a power cut would damage the database; set fsync = on in postgresql.conf and restart PostgreSQL',
    );
  }
  if (settings.standbys > 0) {
    warn(
      `${settings.standbys} standby servers follow asynchronously: when the primary is lost and one of them is promoted, the uploads that were acknowledged last may be missing; name them in synchronous_standby_names to wait for them`,
    );
  }
}
