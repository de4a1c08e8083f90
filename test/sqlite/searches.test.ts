// By which index a search goes: it must read no more rows than it answers.
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import Database from 'better-sqlite3';
import type { SignatureFilter } from '../../src/domain/ports.ts';
import { Verdicts } from '../../src/sqlite/verdicts.ts';
import { open, temporaryFolder } from './scratch.ts';

const ANY: SignatureFilter = {
  path: null,
  digest: null,
  fingerprint: null,
  tag: null,
  verdict: null,
  since: null,
  until: null,
};

describe('a search', () => {
  it('goes by an index in which every row of what was asked for stands together', async (t) => {
    const folder = temporaryFolder(t);
    await (await open(folder)).databases.close();
    const run: string[] = [];
    const db = new Database(join(folder, 'index.db'), { verbose: (sql) => run.push(String(sql)) });
    t.after(() => void db.close());
    const verdicts = new Verdicts(db);
    const planOf = (filter: Partial<SignatureFilter>): string => {
      run.length = 0;
      verdicts.search('default', { filter: { ...ANY, ...filter }, order: 'newest', after: null, limit: 1 });
      const sql = run.find((one) => one.includes('INDEXED BY')) ?? '';
      const plan = db.prepare<[], { detail: string }>(`EXPLAIN QUERY PLAN ${sql}`).all();
      return plan[0]?.detail ?? '';
    };
    const searchBy = (index: string, columns: string) =>
      `SEARCH signature USING INDEX ${index} (${columns} AND id<?)`;
    assert.equal(
      planOf({ path: 'team/app', tag: 'latest' }),
      searchBy('signature_by_path_and_tag', 'site=? AND path=? AND tag=?'),
    );
    assert.equal(planOf({ tag: 'latest' }), searchBy('signature_by_tag', 'site=? AND tag=?'));
    assert.equal(planOf({ path: 'team/app' }), searchBy('signature_by_path', 'site=? AND path=?'));
  });
});
