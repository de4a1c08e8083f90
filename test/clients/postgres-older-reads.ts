// Records as versions before migration 0006 wrote them: pages of them, questions over a NUL, and people taken out of them.
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { NewAuditEvent } from '../../src/domain/audit.ts';
import { type AccessRow, ANY_RECORD, type Position } from '../../src/domain/records.ts';
import { connect } from '../../src/postgres/connect.ts';
import { PostgresEraser } from '../../src/postgres/eraser.ts';
import { migrate } from '../../src/postgres/migrate.ts';
import { PostgresQuestions } from '../../src/postgres/questions.ts';
import { PostgresWriter } from '../../src/postgres/writer.ts';
import type { Postgres } from './postgres.ts';

const OLDER = 5;
const DAY = Date.UTC(2026, 0, 1);

/** Seven of the same millisecond each; those of a second call are the same rows once more. */
const reads = (count: number) => `
  INSERT INTO access_read
    (day, first_at_ms, last_at_ms, site, folder, number, status, address, token, count, bytes)
  SELECT '2026-01-01', ${DAY} + n / 7, ${DAY} + n, 'default', 'team/app@sha256=${'a'.repeat(64)}', 1, 200,
    '192.0.2.' || n % 5, 'ci', 1, n
  FROM generate_series(1, ${count}) AS n`;

export function postgresOlderReads(postgres: () => Postgres): void {
  test('records of older versions are walked page by page, asked and forgotten', async () => {
    const url = await postgres().newDatabase();
    const ask = (sql: string) => postgres().query(url, sql);
    await olderSchema(ask);
    await ask(
      "CREATE TABLE access_read_20260101 PARTITION OF access_read FOR VALUES FROM ('2026-01-01') TO ('2026-01-02')",
    );
    await ask(reads(20));
    await ask(reads(5));
    await ask(String.raw`
      INSERT INTO audit_event (seq, at_ms, leaf, private, salt)
      VALUES (1, 1, '{"action":"withdraw"}', '{"actor":"alice","address":null,"reason":"a\u0000b"}', sha256(''))`);
    const connections = connect({ url, poolSize: 2 });
    await migrate(connections);
    await ask(reads(20));

    const questions = new PostgresQuestions(url);
    const session = await questions.open(new AbortController().signal);
    const all = await session.page({ record: 'access', filter: ANY_RECORD }, null, 100);
    assert.equal(all.rows.length, 45);
    for (const size of [1, 2, 3]) {
      const rows: AccessRow[] = [];
      let after: Position | null = null;
      do {
        const page = await session.page({ record: 'access', filter: ANY_RECORD }, after, size);
        rows.push(...(page.rows as readonly AccessRow[]));
        after = page.next;
      } while (after !== null);
      assert.deepEqual(rows, all.rows, `by ${size}`);
    }
    const filter = { ...ANY_RECORD, actor: 'alice' };
    assert.equal((await session.page({ record: 'audit', filter }, null, 10)).rows.length, 1);
    await session[Symbol.asyncDispose]();
    await questions.close();

    const writer = new PostgresWriter(connections);
    const eraser = new PostgresEraser(() => connect({ url, poolSize: 1, isPatient: true }), writer);
    const later = new Date('2026-06-01');
    assert.equal(await eraser.forgetReads({ kind: 'address', text: '192.0.2.3' }, later), 9);
    assert.equal(await eraser.forgetReads({ kind: 'actor', text: 'ci' }, new Date(DAY)), 0);
    assert.equal(await eraser.forgetReads({ kind: 'actor', text: 'ci' }, later), 36);
    const who = { actor: 'administrator', address: null, requestId: null, reason: null };
    const event: NewAuditEvent = {
      ...{ at: later, site: 'default', image: null, signatureSha256: null, fingerprint: null },
      ...{ action: 'forget', result: 'forgotten', private: who, salt: '0'.repeat(64) },
    };
    await ask('UPDATE log_head SET size = 1');
    assert.equal(await eraser.forgetEvents({ kind: 'actor', text: 'alice' }, later, event), 1);
    const events = await ask('SELECT private IS NULL AS is_gone FROM audit_event ORDER BY seq');
    assert.deepEqual(events, [{ is_gone: true }, { is_gone: false }]);
    await writer.drain();
    await connections.close();
  });
}

async function olderSchema(ask: (sql: string) => Promise<unknown>): Promise<void> {
  const folder = fileURLToPath(new URL('../../../migrations/postgres', import.meta.url));
  await ask('CREATE TABLE lookaside_schema (version integer PRIMARY KEY, at timestamptz NOT NULL)');
  for (const name of readdirSync(folder).sort().slice(0, OLDER))
    await ask(readFileSync(path.join(folder, name), 'utf8'));
  await ask(`INSERT INTO lookaside_schema SELECT n, now() FROM generate_series(1, ${OLDER}) AS n`);
}
