// Questions for all addresses of a network: few of them are looked up in the index, of more each row is looked at.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { AuditAction } from '../../src/domain/audit.ts';
import { ANY_RECORD } from '../../src/domain/records.ts';
import { PostgresAccessLog } from '../../src/postgres/access-log.ts';
import { addressesIn } from '../../src/postgres/conditions.ts';
import { connect } from '../../src/postgres/connect.ts';
import { PostgresQuestions } from '../../src/postgres/questions.ts';
import { read } from '../contract/access-log.ts';
import type { Postgres } from './postgres.ts';

const ODD = [
  '203.0.113.9',
  '203.0.113.200',
  '0.0.0.0',
  '255.255.255.255',
  '10.1.2.3',
  '2001:db8:1::7',
].concat([
  ...[
    '2001:0db8:0002:0000::/64',
    '::ffff:203.0.113.9',
    '::1',
    'fe80::1%eth0',
    'local',
    'cafe',
    'odd',
    '::/64',
  ],
]);
const NETWORKS = ['0.0.0.0/0', '203.0.113.0/25', '203.0.113.9', '10.0.0.0/8', '128.0.0.0/1', '::/0'].concat([
  ...['2001:db8::/32', '2001:DB8:2::5', '2001:db8:1:0::/63', '::ffff:0:0/96', 'local', '::', '10.9.8.7/8'],
]);
/** More than are listed one by one. */
const MANY = Array.from({ length: 1200 }, (_, n) => [
  `198.18.${n >> 8}.${n & 255}`,
  `2001:db8:ffff:${n.toString(16)}::1`,
]).flat();

export function postgresNetworks(postgres: () => Postgres): void {
  test('a question for a network has all of its addresses, however many there are', async () => {
    const url = await postgres().migratedDatabase();
    const connections = connect({ url, poolSize: 2 });
    const questions = new PostgresQuestions(url);
    try {
      await using session = await questions.open(new AbortController().signal);
      const rowsOf = async (record: 'audit' | 'access', address: string) => {
        const action: AuditAction | null = record === 'audit' ? 'withdraw' : null;
        return (await session.sums({ record, filter: { ...ANY_RECORD, address, action } }, [], 1)).total.rows;
      };
      const addEvents = (addresses: readonly string[]) =>
        connections.query(
          `
          INSERT INTO audit_event (seq, at_ms, leaf, private, salt)
          SELECT (SELECT coalesce(max(seq), 0) FROM audit_event) + n, 1, '{"action":"withdraw"}',
            '{"actor":"odd","address":"' || odd || '","reason":null}', sha256('')
          FROM unnest($1::text[]) WITH ORDINALITY AS added (odd, n)`,
          [addresses],
        );
      const access = new PostgresAccessLog(connections, () => false);
      await access.write({ reads: ODD.map((address) => read({ address })), missing: [] });
      await addEvents(ODD);
      const wanted = (asked: string, all: readonly string[]) => addressesIn(all, asked).length;
      for (const asked of NETWORKS) {
        assert.equal(await rowsOf('access', asked), wanted(asked, ODD), `reads of ${asked}`);
        assert.equal(await rowsOf('audit', asked), wanted(asked, ODD), `events of ${asked}`);
      }
      await addEvents(MANY);
      for (const asked of NETWORKS)
        assert.equal(await rowsOf('audit', asked), wanted(asked, [...ODD, ...MANY]), `events of ${asked}`);
    } finally {
      await questions.close();
      await connections.close();
    }
  });
}
