// Who stands for the leader, over sessions that a test answers for.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Connections, Query } from '../../src/postgres/connect.ts';
import { Leader } from '../../src/postgres/leader.ts';
import { eventually } from '../clients/eventually.ts';

test('who stands by a session to a standby gives it up, and is elected by a later one to the primary', async () => {
  const given: string[] = [];
  const take: Connections['take'] = async () => {
    // where it leads is decided when it is opened, and never again
    const where = given.length === 0 ? 'standby' : 'primary';
    const query = (async (sql: string) => {
      if (sql.includes('advisory')) return [{ got: where === 'primary' ? true : null }];
      return [{ number: 1 }];
    }) as unknown as Query;
    return {
      query,
      copyIn: () => assert.fail('nothing is copied'),
      release: (isBroken) => void given.push(`${where} ${isBroken === true ? 'closed' : 'kept'}`),
    };
  };
  const leader = new Leader({ take }, () => undefined, 1);
  await leader.start();
  assert.deepEqual(given, ['standby closed']);
  await eventually(() => assert.ok(leader.isLeading));
  await leader.stop();
  assert.deepEqual(given, ['standby closed', 'primary closed']);
});
