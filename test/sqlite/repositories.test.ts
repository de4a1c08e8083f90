// The list of repositories over a real index: order, folders, filters, pages and numbers.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { createRepositoryList, type RepositoryQuery } from '../../src/service/repositories.ts';
import { imageAt, recordedImage } from '../contract/signature-index.ts';
import { type Opened, open } from './scratch.ts';

const ALL: RepositoryQuery = { site: 'default', below: '', contains: '', limit: 100, after: null };
const PATHS = ['team/app', 'team/app-old', 'team/app/part', 'team', 'teams/other', 'zoo'];

describe('the list of repositories', () => {
  const folder = mkdtempSync(join(tmpdir(), 'lookaside-repositories-'));
  let opened: Opened;
  let breaths = 0;
  const breathe = async () => {
    breaths += 1;
  };
  const list = () => createRepositoryList({ index: opened.databases.index, breathe });
  const pathsOf = async (query: Partial<RepositoryQuery>) =>
    (await list().page({ ...ALL, ...query })).repositories.map(({ path }) => path);

  before(async () => {
    opened = await open(folder);
    const { index } = opened.databases;
    await index.record(
      PATHS.map((path) => recordedImage(imageAt(path, path), `by one ${path}`, `by two ${path}`)),
    );
    await index.record([
      recordedImage(imageAt('team/app', 'second'), 'second'),
      recordedImage(imageAt('', 'top'), 'top'),
    ]);
    await index.record(
      Array.from({ length: 1100 }, (_, n) =>
        recordedImage(imageAt(`many/r${String(n).padStart(4, '0')}`, 'm'), `m${n}`),
      ),
    );
  });
  after(async () => {
    await opened.databases.close();
    rmSync(folder, { recursive: true });
  });

  it('a folder has what lies below it, and not its neighbours', async () => {
    assert.deepEqual(await pathsOf({ below: 'team' }), ['team/app', 'team/app-old', 'team/app/part']);
    assert.deepEqual(await pathsOf({ below: 'team/app' }), ['team/app/part']);
    assert.deepEqual(await pathsOf({ below: 'nothing' }), []);
    assert.deepEqual((await pathsOf({ limit: 2 })).at(0), '', 'the top comes first');
  });

  it('images are counted, not signatures', async () => {
    const { repositories, isComplete } = await list().page({ ...ALL, below: 'team', limit: 1 });
    assert.deepEqual(
      repositories.map(({ path, images }) => [path, images]),
      [['team/app', 2]],
    );
    assert.ok(repositories[0]?.newestAt instanceof Date);
    assert.equal(isComplete, false, 'no scan of the tree has ended');
  });

  it('pages meet every repository once, and others have their turn between', async () => {
    const met: string[] = [];
    let after: string | null = null;
    do {
      const page = await list().page({ ...ALL, after });
      met.push(...page.repositories.map(({ path }) => path));
      after = page.next;
    } while (after !== null);
    assert.equal(met.length, PATHS.length + 1 + 1100);
    assert.deepEqual([...new Set(met)].sort(), met);
    assert.ok(breaths > 0);
  });

  it('a text finds the paths that hold it, in any case', async () => {
    assert.deepEqual(await pathsOf({ contains: 'APP' }), ['team/app', 'team/app-old', 'team/app/part']);
    assert.deepEqual(await pathsOf({ contains: 'r1099' }), ['many/r1099']);
    assert.deepEqual(await pathsOf({ contains: '%' }), []);
  });
});
