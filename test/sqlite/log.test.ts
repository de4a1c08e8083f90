import assert from 'node:assert/strict';
import { copyFileSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { before, describe, it } from 'node:test';
import fc from 'fast-check';
import { parseEntryBundle } from '../../src/domain/checkpoint.ts';
import type { LogReaderStore } from '../../src/domain/log.ts';
import { findDisagreement } from '../../src/service/log-check.ts';
import type { CheckpointFile } from '../../src/service/log-keeper.ts';
import { type LogFault, verifyLog } from '../../src/service/log-verify.ts';
import { makePrivateKey } from '../../src/service/note-keys.ts';
import { connect } from '../../src/sqlite/connect.ts';
import { auditEvent } from '../contract/audit-event.ts';
import { witnessStoreContract } from '../contract/witness-store.ts';
import { hashOfLeaf, isSignedBy, merkleTreeHash } from '../domain/independent-log.ts';
import { makeLog, openLogScene, tamper, verifyAt, withLog } from './log-scene.ts';
import { reopenable } from './reopenable.ts';
import { type Cleanup, change, events, open, temporaryFolder } from './scratch.ts';

witnessStoreContract('heads of other logs in SQLite', async () => {
  const { databases, reopen, close } = await reopenable(mkdtempSync(join(tmpdir(), 'lookaside-sqlite-')));
  return { log: databases.log, all: [databases.log], reopen: async () => (await reopen()).log, close };
});

function fileAt(path: string): CheckpointFile {
  return {
    path,
    read: async () => (existsSync(path) ? readFileSync(path, 'utf8') : null),
    write: async (note) => writeFileSync(path, note),
  };
}

const first = (faults: readonly LogFault[]) => {
  const [fault] = faults;
  return fault === undefined ? null : { kind: fault.kind, seq: fault.seq };
};

const refused = { code: 'LOG_MISMATCH' };

/** Eight events with checkpoints behind the third, fifth, sixth and last. */
let pristine: Buffer;
before(async () => {
  const folder = mkdtempSync(join(tmpdir(), 'lookaside-sqlite-'));
  await makeLog(folder, [3, 2, 1, 2]);
  pristine = readFileSync(join(folder, 'state.db'));
  rmSync(folder, { recursive: true });
});

function copyOfLog(t: Cleanup): string {
  const dataDir = temporaryFolder(t);
  writeFileSync(join(dataDir, 'state.db'), pristine);
  return dataDir;
}

describe('the log over audit events', () => {
  it('is verified without a fault while a server goes on adding to it and signing it', async (t) => {
    const scene = await openLogScene(temporaryFolder(t));
    t.after(() => scene.close());
    await scene.add(5);
    await scene.keeper.publish();
    const { log } = scene.databases;
    let isAdded = false;
    const growing: LogReaderStore = {
      ...log,
      async hashes(level, from, count) {
        const hashes = await log.hashes(level, from, count);
        if (!isAdded) {
          isAdded = true;
          await scene.add(3);
          await scene.keeper.publish();
        }
        return hashes;
      },
    };
    const verified = await verifyLog(growing, { vkey: null, from: null, onProgress: () => undefined });
    assert.ok(isAdded);
    assert.deepEqual(verified.faults, []);
    assert.equal(verified.size, 5);
  });

  it('is verified without a fault while heads are signed between the last of its pages of heads', async (t) => {
    const scene = await openLogScene(temporaryFolder(t));
    t.after(() => scene.close());
    await scene.add(5);
    await scene.keeper.publish();
    const { log } = scene.databases;
    let pages = 0;
    const growing: LogReaderStore = {
      ...log,
      async checkpoints(after, limit) {
        pages += 1;
        await scene.add(3);
        await scene.keeper.publish();
        const checkpoints = await log.checkpoints(after, limit);
        const [head] = checkpoints;
        // a first page that is full, so that another one is read at the end
        return pages > 1 || head === undefined
          ? checkpoints
          : [...Array.from({ length: limit - checkpoints.length }, () => head), ...checkpoints];
      },
    };
    const verified = await verifyLog(growing, { vkey: null, from: null, onProgress: () => undefined });
    assert.equal(pages, 2);
    assert.equal(verified.size, 5);
    assert.deepEqual(verified.faults, []);
  });

  it('opens beside a process that holds the lock of state.db, with what was signed before', async (t) => {
    const dataDir = copyOfLog(t);
    const { databases } = await open(dataDir, { lockedLimitMs: 30_000 });
    await databases.audit.append(auditEvent());
    const other = connect(join(dataDir, 'state.db'), { readonly: false });
    other.exec('BEGIN IMMEDIATE');
    // a start that waits for the lock never comes to its release
    const scene = await openLogScene(dataDir, { databases });
    assert.equal(scene.keeper.peekPublished()?.size, 8);
    other.exec('COMMIT');
    other.close();
    await scene.keeper.publish();
    assert.equal(scene.keeper.peekPublished()?.size, 9);
    await scene.close();
  });

  it('has the stored leaves from index 0, and heads that another verifier confirms', async (t) => {
    const dataDir = temporaryFolder(t);
    const scene = await openLogScene(dataDir);
    assert.equal((await scene.keeper.checkpoint())?.size, 0);
    await scene.add(300);
    await scene.keeper.publish();
    const checkpoint = await scene.keeper.checkpoint();
    assert.ok(checkpoint !== null);
    const leaves = events(dataDir).map(({ leaf }) => Buffer.from(leaf));
    const hashes = leaves.map(hashOfLeaf);
    const [origin, size, root] = checkpoint.note.split('\n');
    assert.deepEqual([origin, size], ['log.example/test', '300']);
    assert.equal(root, merkleTreeHash(hashes).toString('base64'));
    assert.ok(isSignedBy(checkpoint.note, scene.keeper.identity.vkey));
    const tile = (level: number | null, number: number, width: number) =>
      scene.keeper.tile({ level, number, width });
    assert.deepEqual(Buffer.from((await tile(0, 0, 256)) ?? []), Buffer.concat(hashes.slice(0, 256)));
    assert.deepEqual(Buffer.from((await tile(0, 1, 44)) ?? []), Buffer.concat(hashes.slice(256)));
    assert.deepEqual(Buffer.from((await tile(1, 0, 1)) ?? []), merkleTreeHash(hashes.slice(0, 256)));
    const entries = [...(parseEntryBundle((await tile(null, 1, 44)) ?? new Uint8Array(1)) ?? [])];
    assert.deepEqual(
      entries.map((entry) => Buffer.from(entry)),
      leaves.slice(256),
    );
    assert.deepEqual([await tile(0, 1, 45), await tile(1, 0, 2), await tile(2, 0, 1)], [null, null, null]);
    await scene.close();
  });

  it('shows nothing that no checkpoint covers', async (t) => {
    const scene = await openLogScene(temporaryFolder(t));
    await scene.add(2);
    assert.equal(await scene.keeper.tile({ level: 0, number: 0, width: 1 }), null);
    await scene.keeper.publish();
    assert.equal((await scene.keeper.tile({ level: 0, number: 0, width: 2 }))?.length, 64);
    await scene.close();
  });

  it('takes in the events of a version that had none', async (t) => {
    const dataDir = temporaryFolder(t);
    const { databases } = await open(dataDir);
    await databases.audit.append(auditEvent());
    await databases.close();
    tamper(dataDir, 'DELETE FROM log_hash');
    await makeLog(dataDir, [1]);
    const { faults, size } = await verifyAt(dataDir);
    assert.deepEqual([faults, size], [[], 2]);
  });

  it('goes on under another name or key, and says so in an event', async (t) => {
    const dataDir = temporaryFolder(t);
    await makeLog(dataDir, [2]);
    const renamed = await openLogScene(dataDir, { origin: 'log.example/new', key: makePrivateKey() });
    assert.match((await renamed.keeper.checkpoint())?.note ?? '', /^log\.example\/new\n3\n/);
    await renamed.close();
    assert.equal(JSON.parse(events(dataDir).at(-1)?.leaf ?? '').action, 'log-identity');
    assert.deepEqual((await verifyAt(dataDir)).faults, []);
  });
});

describe('lookaside audit verify', () => {
  const cases: readonly (readonly [string, string, { kind: string; seq: number }])[] = [
    [
      'an event is changed',
      `UPDATE audit_event SET leaf = replace(leaf, 'created', 'removed') WHERE seq = 4`,
      { kind: 'changed', seq: 4 },
    ],
    ['an event is removed', 'DELETE FROM audit_event WHERE seq = 5', { kind: 'removed', seq: 5 }],
    ['the last event is removed', 'DELETE FROM audit_event WHERE seq = 8', { kind: 'removed', seq: 8 }],
    [
      'an event is added',
      `INSERT INTO audit_event (seq, at_ms, leaf) VALUES (9, 1, '{"seq":9}')`,
      { kind: 'inserted', seq: 9 },
    ],
    [
      'two events change places',
      'CREATE TEMP TABLE other AS SELECT seq, leaf FROM audit_event; UPDATE audit_event SET leaf = (SELECT leaf FROM other WHERE other.seq = 9 - audit_event.seq) WHERE seq IN (3, 6)',
      { kind: 'reordered', seq: 3 },
    ],
    [
      'an event is put between others',
      `UPDATE audit_event SET seq = -seq WHERE seq > 4; UPDATE audit_event SET seq = 1 - seq WHERE seq < 0; INSERT INTO audit_event (seq, at_ms, leaf) VALUES (5, 1, '{"seq":5}')`,
      { kind: 'inserted', seq: 5 },
    ],
    [
      'an event is taken from between others',
      'DELETE FROM audit_event WHERE seq = 4; UPDATE audit_event SET seq = -seq WHERE seq > 4; UPDATE audit_event SET seq = -seq - 1 WHERE seq < 0',
      { kind: 'removed', seq: 4 },
    ],
    [
      'who it was is changed',
      `UPDATE audit_event SET private = replace(private, '"actor":"', '"actor":"x') WHERE seq = 2`,
      { kind: 'private-changed', seq: 2 },
    ],
    [
      'the time that questions go by is changed',
      'UPDATE audit_event SET at_ms = at_ms - 86400000 WHERE seq = 5',
      { kind: 'time-changed', seq: 5 },
    ],
    [
      'an event is changed and its hash with it',
      `UPDATE audit_event SET leaf = '{}' WHERE seq = 6; UPDATE log_hash SET hash = x'${hashOfLeaf(Buffer.from('{}')).toString('hex')}' WHERE level = 0 AND n = 5`,
      { kind: 'changed', seq: 6 },
    ],
    [
      'events and all that is known of them are cut off',
      'DELETE FROM audit_event WHERE seq > 6; DELETE FROM log_hash WHERE n > 5; DELETE FROM log_checkpoint WHERE size > 6',
      { kind: 'removed', seq: 7 },
    ],
  ];
  for (const [what, sql, wanted] of cases) {
    it(`names the first event where ${what}`, async (t) => {
      const dataDir = copyOfLog(t);
      tamper(dataDir, sql);
      assert.deepEqual(first((await verifyAt(dataDir)).faults), wanted);
    });
  }

  it('counts who was forgotten, and finds nothing wrong with that', async (t) => {
    const dataDir = copyOfLog(t);
    change(join(dataDir, 'state.db'), 'UPDATE audit_event SET private = NULL, salt = NULL WHERE seq = 2');
    const { faults, privateParts, forgotten } = await verifyAt(dataDir);
    assert.deepEqual({ faults, privateParts, forgotten }, { faults: [], privateParts: 7, forgotten: 1 });
  });

  it('tells whether the log goes on from an older checkpoint', async (t) => {
    const dataDir = temporaryFolder(t);
    await makeLog(dataDir, [3]);
    const old = await withLog(dataDir, async (store) => (await store.lastCheckpoint())?.note ?? '');
    copyFileSync(join(dataDir, 'state.db'), join(dataDir, 'then'));
    await makeLog(dataDir, [4]);
    assert.deepEqual(await verifyAt(dataDir, old).then(({ continues, faults }) => ({ continues, faults })), {
      continues: 3,
      faults: [],
    });
    const newer = await withLog(dataDir, async (store) => (await store.lastCheckpoint())?.note ?? '');
    copyFileSync(join(dataDir, 'then'), join(dataDir, 'state.db'));
    await makeLog(dataDir, []);
    assert.deepEqual(first((await verifyAt(dataDir, newer)).faults), { kind: 'removed', seq: 4 });
    const other = await verifyAt(dataDir, newer.replace(/\n7\n/, '\n6\n'));
    assert.deepEqual(first(other.faults), { kind: 'checkpoint', seq: null });
  });

  it('finds any one byte of any event, hash or checkpoint that is another', async (t) => {
    const dataDir = temporaryFolder(t);
    await makeLog(dataDir, [3, 260, 2]);
    const whole = readFileSync(join(dataDir, 'state.db'));
    const columns = [
      ['audit_event', 'leaf', 'seq'],
      ['audit_event', 'private', 'seq'],
      ['audit_event', 'salt', 'seq'],
      ['log_hash', 'hash', 'level * 1000000 + n'],
      ['log_checkpoint', 'root', 'id'],
      ['log_checkpoint', 'note', 'id'],
    ] as const;
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(...columns),
        fc.nat(),
        fc.nat(),
        async ([table, column, key], row, bit) => {
          const copy = temporaryFolder(t);
          writeFileSync(join(copy, 'state.db'), whole);
          turnBit(copy, { table, column, key, row, bit });
          assert.notDeepEqual((await verifyAt(copy)).faults, []);
        },
      ),
      { numRuns: 60 },
    );
  });
});

interface Bit {
  readonly table: string;
  readonly column: string;
  readonly key: string;
  readonly row: number;
  readonly bit: number;
}

/** Turns one bit of one cell, as text where it was text. */
function turnBit(dataDir: string, { table, column, key, row, bit }: Bit): void {
  const db = connect(join(dataDir, 'state.db'), { readonly: true });
  const rows = db
    .prepare<[], { id: number; cell: Buffer | string }>(
      `SELECT ${key} AS id, ${column} AS cell FROM ${table}`,
    )
    .all();
  db.close();
  const chosen = rows[row % rows.length];
  assert.ok(chosen !== undefined);
  const bytes = Buffer.from(chosen.cell as string);
  const at = bit % bytes.length;
  bytes[at] = (bytes[at] ?? 0) ^ (1 << (bit % 7));
  const type = typeof chosen.cell === 'string' ? 'TEXT' : 'BLOB';
  tamper(
    dataDir,
    `UPDATE ${table} SET ${column} = CAST(x'${bytes.toString('hex')}' AS ${type}) WHERE ${key} = ${chosen.id}`,
  );
}

describe('a start on a log', () => {
  const cases: readonly (readonly [string, string])[] = [
    ['the last event is gone', 'DELETE FROM audit_event WHERE seq = 8'],
    [
      'an event is there that no hash knows',
      `INSERT INTO audit_event (seq, at_ms, leaf) VALUES (9, 1, '{"seq":9}')`,
    ],
    [
      'one of the newest events is another',
      `UPDATE audit_event SET leaf = replace(leaf, 'created', 'x') WHERE seq = 7`,
    ],
    ['a hash of the tree is another', 'UPDATE log_hash SET hash = zeroblob(32) WHERE n = 1'],
    ['the last checkpoint is another', 'UPDATE log_checkpoint SET root = zeroblob(32) WHERE size = 8'],
    [
      'events were cut off with all that is known of them',
      'DELETE FROM audit_event WHERE seq > 6; DELETE FROM log_hash WHERE n > 5; DELETE FROM log_checkpoint WHERE size > 6',
    ],
  ];
  for (const [what, sql] of cases) {
    it(`is refused where ${what}, and goes on where that is accepted, which is an event`, async (t) => {
      const dataDir = copyOfLog(t);
      tamper(dataDir, sql);
      const unchanged = events(dataDir);
      await assert.rejects(openLogScene(dataDir), refused);
      assert.deepEqual(events(dataDir), unchanged);
      const accepted = await openLogScene(dataDir, { acceptRollback: true });
      await accepted.close();
      assert.equal(JSON.parse(events(dataDir).at(-1)?.leaf ?? '').action, 'log-rollback');
      assert.equal(await withLog(dataDir, (store) => findDisagreement(store, null)), null);
    });
  }

  it('is refused where the checkpoint that was kept elsewhere is of a larger tree or of another one', async (t) => {
    const dataDir = temporaryFolder(t);
    const file = fileAt(join(dataDir, 'kept'));
    const scene = await openLogScene(dataDir, { file });
    await scene.add(2);
    await scene.close();
    copyFileSync(join(dataDir, 'state.db'), join(dataDir, 'then'));
    const later = await openLogScene(dataDir, { file });
    await later.add(2);
    await later.close();
    assert.match(readFileSync(file.path, 'utf8'), /^log\.example\/test\n4\n/);
    copyFileSync(join(dataDir, 'then'), join(dataDir, 'state.db'));
    await assert.rejects(openLogScene(dataDir, { file }), (error: Error) => {
      assert.match(error.message, /kept holds a checkpoint of 4 events, and the log here has 2/);
      assert.match(error.message, /--accept-rollback/);
      return true;
    });
    // another history of the same length
    const fork = await openLogScene(dataDir);
    await fork.add(1);
    await fork.add(1);
    await fork.close();
    tamper(dataDir, `UPDATE log_checkpoint SET void_ms = 1`);
    writeFileSync(
      file.path,
      readFileSync(file.path, 'utf8').replace(/\n4\n.*\n/, `\n4\n${Buffer.alloc(32).toString('base64')}\n`),
    );
    await assert.rejects(openLogScene(dataDir, { file }), /another root/);
    const accepted = await openLogScene(dataDir, { file, acceptRollback: true });
    await accepted.close();
    assert.match(readFileSync(file.path, 'utf8'), /^log\.example\/test\n5\n/);
    await (await openLogScene(dataDir, { file })).close();
  });

  it('signs what a killed one has left unsigned', async (t) => {
    const dataDir = temporaryFolder(t);
    const scene = await openLogScene(dataDir);
    await scene.add(3);
    await scene.databases.close(); // no last checkpoint
    const next = await openLogScene(dataDir);
    // a start waits for no write, and nobody asks for it here
    if (next.keeper.peekPublished()?.size !== 3) await new Promise(next.keeper.onPublished);
    assert.equal((await next.keeper.checkpoint())?.size, 3);
    await next.close();
  });
});
