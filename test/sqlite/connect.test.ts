import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { connect } from '../../src/sqlite/connect.ts';

const SOURCES = join(import.meta.dirname, '../../../src');

function collectGarbage(): void {
  setFlagsFromString('--expose-gc');
  const gc: () => void = runInNewContext('gc');
  gc();
}

describe('a connection', () => {
  test('and its statements are never collected, in use or not, open or closed', async () => {
    // what nobody else holds: only weak references leave this function
    const [control, ...ours] = (() => {
      const db = connect(':memory:');
      const statement = db.prepare('SELECT 1');
      statement.get();
      db.close();
      return [new WeakRef({}), new WeakRef(db), new WeakRef(statement)];
    })();
    await setImmediate();
    collectGarbage();
    assert.equal(control?.deref(), undefined, 'garbage is collected');
    for (const reference of ours) assert.ok(reference.deref() !== undefined);
  });

  test('asks a pragma with one statement, however often', () => {
    const db = connect(':memory:');
    db.pragma('synchronous = FULL');
    for (let time = 0; time < 3; time += 1) assert.equal(db.pragma('synchronous', { simple: true }), 2);
    db.pragma('synchronous = OFF');
    assert.equal(db.pragma('synchronous', { simple: true }), 0);
    assert.deepEqual(db.pragma('user_version'), [{ user_version: 0 }]);
    assert.equal(db.pragma('journal_mode = MEMORY', { simple: true }), 'memory');
    db.close();
  });

  test('is made in one place', () => {
    const makers = readdirSync(SOURCES, { recursive: true, encoding: 'utf8' })
      .filter((name) => name.endsWith('.ts'))
      .filter((name) => /^import SqliteDatabase\b/m.test(readFileSync(join(SOURCES, name), 'utf8')));
    assert.deepEqual(makers, ['sqlite/connect.ts']);
  });
});
