// Keys, tokens, signers, uploads and audit events in a real PostgreSQL: the contracts that every store is held to.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { after } from 'node:test';
import { foldHashes, leafHash, type Sha256, TILE_WIDTH } from '../../src/domain/merkle.ts';
import { PostgresAccess } from '../../src/postgres/access-steps.ts';
import { PostgresAuditLog } from '../../src/postgres/audit-log.ts';
import { type Connections, connect } from '../../src/postgres/connect.ts';
import { PostgresKeys } from '../../src/postgres/keys.ts';
import { PostgresLog } from '../../src/postgres/log-store.ts';
import { migrate } from '../../src/postgres/migrate.ts';
import { PostgresMirrors } from '../../src/postgres/mirrors.ts';
import { PostgresSessions } from '../../src/postgres/sessions.ts';
import { PostgresGrants, PostgresSigners } from '../../src/postgres/signers.ts';
import { PostgresSubjects } from '../../src/postgres/subjects.ts';
import { PostgresTokens } from '../../src/postgres/tokens.ts';
import { PostgresUploads } from '../../src/postgres/uploads.ts';
import { PostgresWriter } from '../../src/postgres/writer.ts';
import { accessStoreContract } from '../contract/access-store.ts';
import { auditLogContract, type KeptEvent } from '../contract/audit-log.ts';
import { keyStoreContract } from '../contract/key-store.ts';
import { mirrorStoreContract } from '../contract/mirror-store.ts';
import { sessionStoreContract } from '../contract/session-store.ts';
import { signerStoresContract } from '../contract/signer-store.ts';
import { tokenStoreContract } from '../contract/token-store.ts';
import { uploadStoreContract } from '../contract/upload-store.ts';
import { witnessStoreContract } from '../contract/witness-store.ts';
import type { Postgres } from './postgres.ts';

/** The stores of one node. */
export async function openStores(url: string) {
  const connections = connect({ url, poolSize: 3 });
  await migrate(connections);
  // contracts have hundreds of changes at once, on a machine that does other work: when a node refuses is not theirs
  const writer = new PostgresWriter(connections, 60_000);
  const tokens = new PostgresTokens({
    connections,
    writer,
    monotonicMs: () => performance.now(),
    staleMs: 60_000,
  });
  await tokens.reload();
  return {
    connections,
    writer,
    tokens,
    keys: new PostgresKeys(connections, writer),
    signers: new PostgresSigners(connections, writer, () => tokens.reload()),
    grants: new PostgresGrants(connections, writer),
    subjects: new PostgresSubjects(connections, writer),
    rules: new PostgresAccess(writer, () => tokens.reload()),
    sessions: new PostgresSessions(connections, writer),
    uploads: new PostgresUploads(connections, writer),
    mirrors: new PostgresMirrors(connections, writer),
    audit: new PostgresAuditLog(connections, writer),
    log: new PostgresLog(connections, writer, () => Promise.reject(new Error('nothing here leads'))),
    async close() {
      await writer.drain();
      await connections.close();
    },
  };
}

type Stores = Awaited<ReturnType<typeof openStores>>;

/** Two nodes over one database, which is emptied before each test: a database for each would take most of the time. */
function createScene(postgres: () => Postgres) {
  let opened: Promise<readonly [Stores, Stores]> | null = null;
  const openBoth = async (): Promise<readonly [Stores, Stores]> => {
    const url = await postgres().newDatabase();
    return [await openStores(url), await openStores(url)];
  };
  return {
    async open() {
      opened ??= openBoth();
      const [stores, other] = await opened;
      await empty(stores.connections);
      await stores.tokens.reload();
      return {
        stores,
        other,
        async reopen() {
          await other.tokens.reload();
          return other;
        },
        close: async () => undefined,
      };
    },
    async end() {
      for (const one of (await opened) ?? []) await one.close();
    },
  };
}

/** As migrations leave it; the triggers that keep rows for ever are off meanwhile. */
async function empty({ query }: Connections): Promise<void> {
  await query(`
    BEGIN;
    SET LOCAL session_replication_role = replica;
    DELETE FROM openpgp_key;
    DELETE FROM page_session;
    DELETE FROM token;
    DELETE FROM signer_grant;
    DELETE FROM oidc_subject;
    DELETE FROM signer;
    DELETE FROM upload;
    DELETE FROM witnessed;
    DELETE FROM mirror;
    DELETE FROM mirror_set;
    DELETE FROM mirror_run;
    DELETE FROM mirror_release;
    DELETE FROM mirror_release_channel;
    DELETE FROM log_hash;
    DELETE FROM audit_event;
    UPDATE log_head SET size = 0;
    COMMIT`);
}

async function eventsOf({ query }: Connections): Promise<readonly KeptEvent[]> {
  return query<KeptEvent>('SELECT seq, leaf, private, salt FROM audit_event ORDER BY seq');
}

const sha256: Sha256 = (...pieces) => {
  const hash = createHash('sha256');
  for (const piece of pieces) hash.update(piece);
  return hash.digest();
};

/** Of each event, and of each tile that is full; for fewer events than two levels of tiles have. */
async function checkHashes(connections: Connections): Promise<void> {
  const leaves = (await eventsOf(connections)).map(({ leaf }) => leafHash(sha256, Buffer.from(leaf, 'utf8')));
  const tiles = Array.from({ length: Math.floor(leaves.length / TILE_WIDTH) }, (_, n) =>
    foldHashes(sha256, leaves.slice(n * TILE_WIDTH, (n + 1) * TILE_WIDTH)),
  );
  const rows = await connections.query<{ level: number; n: number; hash: Buffer }>(
    'SELECT level, n, hash FROM log_hash ORDER BY level, n',
  );
  const hex = (hash: Uint8Array) => Buffer.from(hash).toString('hex');
  assert.deepEqual(
    rows.map(({ level, n, hash }) => [level, n, hex(hash)]),
    [leaves, tiles].flatMap((hashes, level) => hashes.map((hash, n) => [level, n, hex(hash)])),
  );
}

export function postgresStoresContracts(postgres: () => Postgres): void {
  const scene = createScene(postgres);
  const { open } = scene;
  after(() => scene.end());

  // a node refuses what could not begin within 4.5 s, and other tests run beside this one
  keyStoreContract(
    'keys in PostgreSQL',
    async () => {
      const { stores, reopen, close } = await open();
      return { keys: stores.keys, reopen: async () => (await reopen()).keys, close };
    },
    50,
  );

  tokenStoreContract('tokens in PostgreSQL', async () => {
    const { stores, reopen, close } = await open();
    return {
      tokens: stores.tokens,
      reopen: async () => (await reopen()).tokens,
      recordedActions: async () =>
        (await eventsOf(stores.connections))
          .map(({ leaf }) => JSON.parse(leaf))
          .map(({ action, result }) => [action, result]),
      close,
    };
  });

  const openSigners = async () => {
    const { stores, reopen, close } = await open();
    return {
      ...stores,
      reopen,
      recordedActions: async () =>
        (await eventsOf(stores.connections)).map(({ leaf }) => JSON.parse(leaf).action),
      checkHashes: () => checkHashes(stores.connections),
      close,
    };
  };

  signerStoresContract('signers in PostgreSQL', openSigners);
  accessStoreContract('who may sign what as a document in PostgreSQL', openSigners);

  sessionStoreContract('sessions in PostgreSQL', async () => {
    const { stores, reopen, close } = await open();
    return {
      ...stores,
      reopen,
      recordedActions: async () =>
        (await eventsOf(stores.connections)).map(({ leaf }) => JSON.parse(leaf).action),
      close,
    };
  });

  uploadStoreContract(
    'uploads in PostgreSQL',
    async () => {
      const { stores, reopen, close } = await open();
      return { uploads: stores.uploads, reopen: async () => (await reopen()).uploads, close };
    },
    200,
  );

  mirrorStoreContract('mirrors in PostgreSQL', async () => {
    const { stores, reopen, close } = await open();
    return {
      mirrors: stores.mirrors,
      reopen: async () => (await reopen()).mirrors,
      recordedActions: async () =>
        (await eventsOf(stores.connections)).map(({ leaf }) => JSON.parse(leaf).action),
      close,
    };
  });

  witnessStoreContract('heads of other logs in PostgreSQL', async () => {
    const { stores, other, reopen, close } = await open();
    return { log: stores.log, all: [stores.log, other.log], reopen: async () => (await reopen()).log, close };
  });

  auditLogContract('audit events in PostgreSQL', async () => {
    const { stores, reopen, close } = await open();
    return {
      audit: stores.audit,
      reopen: async () => (await reopen()).audit,
      kept: () => eventsOf(stores.connections),
      close,
    };
  });
}
