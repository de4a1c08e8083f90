// lookaside mirror sync from what is no file: a site's own listing, a graph, a registry.
import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { test } from 'node:test';
import { makeDataDirectory } from '../clients/data-directory.ts';
import { runLookaside } from '../clients/server.ts';
import { openTempFolder } from '../clients/temp-folder.ts';
import { openHostileSite, serving } from '../upstream/hostile-site.ts';

test('images come from a listing, a graph and a registry, under the names that the upstream has', async () => {
  const [a, b, c] = ['a', 'b', 'c'].map((digit) => digit.repeat(64)) as [string, string, string];
  const page = (value: unknown) => Buffer.from(JSON.stringify(value));
  await using site = await openHostileSite(
    serving(
      new Map([
        ['/sigs/', Buffer.from(`<a href="ubi9/one@sha256%3D${a}/">x</a>`)],
        ['/api/v1/signatures', page({ signatures: [{ image: `ubi9/three@sha256:${c}` }], next: null })],
        [
          '/graph',
          page({ nodes: [{ version: '4.18.1', payload: `quay.io/release/rel@sha256:${b}` }], edges: [] }),
        ],
        ['/v2/redhat/ubi9/two/tags/list', page({ tags: ['v1'] })],
        ['/v2/redhat/ubi9/two/manifests/v1', page({ manifests: [{ digest: `sha256:${c}` }] })],
      ]),
    ),
  );
  await using temp = await openTempFolder();
  const data = path.join(temp.path, 'data');
  await makeDataDirectory(data);
  const settings = ['--upstream', `${site.url}/sigs`, '--prefix', '/rh', '--strip', 'redhat'];
  const added = await runLookaside(['mirror', 'add', 'rh', ...settings, '--data', data]);
  assert.equal(added.status, 0, added.stderr);
  assert.match(
    added.stdout,
    /registries\.d, for the registry that they pull from: lookaside: http:\/\/SERVER:8000\/rh\nReplace http:\/\/SERVER:8000 by the URL of the server\.\n/,
  );
  const status = await runLookaside(['mirror', 'status', '--data', data]);
  assert.match(status.stdout, /^rh .* not asked yet /m);
  const unchanged = await runLookaside(['mirror', 'edit', 'rh', '--data', data]);
  assert.equal(unchanged.status, 2, unchanged.stderr);
  assert.match(
    unchanged.stderr,
    /no setting of the mirror rh is named, so nothing is changed; name one, like/,
  );
  const empty = path.join(temp.path, 'empty.txt');
  await writeFile(empty, '\n');
  const without = await runLookaside(['mirror', 'sync', 'rh', empty, '--data', data]);
  assert.deepEqual([without.status, without.stdout], [1, '']);
  assert.match(without.stderr, /no image with a digest is named, so nothing is fetched; name a file/);
  const edit = ['mirror', 'edit', 'rh', '--strip', 'redhat', '--data', data];
  const unnamed = await runLookaside(edit);
  assert.equal(unnamed.status, 2, unnamed.stderr);
  assert.match(
    unnamed.stderr,
    /--strip and --rewrite belong to a prefix: name it too, like --prefix \/rh\n$/,
  );
  const edited = await runLookaside([...edit, '--prefix', '/rh']);
  assert.equal(edited.status, 0, edited.stderr);
  const sources = [
    '--listing',
    `${site.url}/sigs`,
    '--listing',
    `${site.url}/api/v1/signatures`,
    '--graph',
    `${site.url}/graph`,
    '--registry',
    `${site.url}/redhat/ubi9/two`,
  ];
  const named = await runLookaside(['mirror', 'sync', 'rh', ...sources, '--list', '--data', data]);
  assert.equal(named.status, 0, named.stderr);
  const lines = named.stdout.trim().split('\n');
  assert.equal(lines.length, 5);
  assert.ok(lines.includes(`ubi9/three@sha256:${c}`));
  for (const name of [`ubi9/one@sha256:${a}`, `release/rel@sha256:${b}`, `ubi9/two@sha256:${c}`]) {
    assert.ok(lines.includes(name), name);
  }
  const mirrored = path.join(temp.path, 'registries.conf');
  await writeFile(
    mirrored,
    '[[registry]]\nlocation="registry.redhat.io"\n[[registry.mirror]]\nlocation="m.example/redhat"\n',
  );
  for (const [env, said] of [
    [
      {},
      /lookaside: http:\/\/SERVER:8000\/[\s\S]*\nReplace http:\/\/SERVER:8000 by the URL of the server\.\n$/,
    ],
    [{ LOOKASIDE_PUBLIC_URL: 'https://sig.example' }, /sigstore: https:\/\/sig\.example\/red-hat\n$/],
  ] as const) {
    const proposed = await runLookaside(['mirror', 'add', '--from', mirrored, '--data', data], env);
    assert.match(proposed.stdout, said);
  }
  const missed = await runLookaside(['mirror', 'sync', 'rh', '--from-misses', '7d', '--data', data]);
  assert.deepEqual([missed.status, missed.stdout], [0, '']);
  assert.match(missed.stderr, /missed nothing/);
});

test('mirror status exits 1 while the last sync has images that failed, and says how many', async () => {
  let status = 500;
  await using site = await openHostileSite((_, res) => void res.writeHead(status).end());
  await using temp = await openTempFolder();
  const data = path.join(temp.path, 'data');
  await makeDataDirectory(data);
  await runLookaside(['mirror', 'add', 'rh', '--upstream', site.url, '--prefix', '/rh', '--data', data]);
  const list = path.join(temp.path, 'images.txt');
  await writeFile(list, `ubi9/one@sha256:${'a'.repeat(64)}\n`);
  const sync = ['mirror', 'sync', 'rh', list, '--data', data];
  assert.equal((await runLookaside(sync)).status, 1);
  const failed = await runLookaside(['mirror', 'status', '--data', data]);
  assert.equal(failed.status, 1, failed.stderr);
  assert.match(failed.stdout, /^rh .*Z \(1 failed\)/m);
  status = 404;
  assert.equal((await runLookaside(sync)).status, 0);
  const well = await runLookaside(['mirror', 'status', '--data', data]);
  assert.equal(well.status, 0, well.stdout);
});

test('names with a tag are told with what to do, and what a registry does not tell makes the sync fail', async () => {
  const hex = 'c'.repeat(64);
  const page = (value: unknown) => Buffer.from(JSON.stringify(value));
  await using site = await openHostileSite(
    serving(new Map([['/v2/team/app/manifests/v1', page({ manifests: [{ digest: `sha256:${hex}` }] })]])),
  );
  await using temp = await openTempFolder();
  const data = path.join(temp.path, 'data');
  await makeDataDirectory(data);
  await runLookaside(['mirror', 'add', 'rh', '--upstream', site.url, '--prefix', '/rh', '--data', data]);
  const host = new URL(site.url).host;
  const pods = path.join(temp.path, 'pods.json');
  await writeFile(
    pods,
    JSON.stringify({ items: [{ image: `${host}/team/app:v1` }, { image: 'quay.io/x:1' }] }),
  );
  const list = ['mirror', 'sync', 'rh', pods, '--list', '--data', data];
  const without = await runLookaside(list);
  assert.equal(without.status, 1);
  assert.match(without.stderr, /2 names with a tag and without a digest are passed over, like /m);
  assert.ok(without.stderr.includes(`add --resolve ${host} --resolve quay.io\n`), without.stderr);
  const typed = await runLookaside([...list, '--resolve', `http://${host}`]);
  assert.equal(typed.status, 0, typed.stderr);
  assert.equal(typed.stdout.trim().split('\n').at(-1), `team/app@sha256:${hex}`);
  assert.match(typed.stderr, /1 name with a tag .* add --resolve quay\.io$/m);

  const asked = site.asked.length;
  const all = await runLookaside([
    ...list,
    '--resolve',
    'all',
    '--resolve',
    'quay.io=http://127.0.0.1:1',
    '--json',
  ]);
  assert.equal(all.status, 1, all.stderr);
  assert.match(all.stderr, /NOT_PUBLIC; .* --resolve HOST$/m);
  assert.match(all.stderr, /quay\.io\/x:1: http:\/\/127\.0\.0\.1:1\/.* nothing listens there/);
  assert.equal(site.asked.length, asked);
});
