// Walks through trees of every shape: what they cost, how they end, and where they do not go.
import assert from 'node:assert/strict';
import { mkdir, rm, symlink } from 'node:fs/promises';
import path from 'node:path';
import { describe, it } from 'node:test';
import { LookasideError } from '../../src/domain/errors.ts';
import type { Tree } from '../../src/domain/tree.ts';
import { createWalker, rethrow } from '../../src/store/walk.ts';
import { folderOf, layFile, layImage, signatureBytes } from './lay.ts';
import { imageIn, type OpenedStore, openStore, SITE } from './open-store.ts';

const ONE = signatureBytes('one');
const RELEASE = `sha256=${'a'.repeat(64)}`;

/** What a walk asked the tree for. */
interface Asked {
  /** Folders, in order. */
  readonly folders: string[];
  calls: number;
  /** Called ahead of each folder. */
  onFolder: () => void;
}

function counted(tree: Tree, asked: Asked): Tree {
  return {
    ...tree,
    statFolder(folder) {
      asked.calls += 1;
      return tree.statFolder(folder);
    },
    children(folder) {
      asked.calls += 1;
      asked.folders.push(folder);
      asked.onFolder();
      return tree.children(folder);
    },
  };
}

async function open(kind: 'owned' | 'shared' = 'owned'): Promise<OpenedStore & { asked: Asked }> {
  const asked: Asked = { folders: [], calls: 0, onFolder: () => undefined };
  const opened = await openStore({
    kind,
    between: (ports) => ({ ...ports, tree: counted(ports.tree, asked) }),
  });
  return Object.assign(opened, { asked });
}

const LEVELS = 200;

/** Folders of one letter in each other, with an image of the release layout in the last one. */
const layDeep = (root: string, levels = LEVELS) =>
  layFile(root, `${'c/'.repeat(levels)}${RELEASE}/signature-1`, ONE);

async function layWide(root: string, folders: number): Promise<void> {
  for (let k = 0; k < folders; k += 1)
    await mkdir(path.join(root, `wide-${k % 10}`, `f${k}`), { recursive: true });
}

describe('what a scan costs', () => {
  it('is a fixed number of calls for each folder, of paths that are no longer than one may be', async () => {
    const shapes: readonly (readonly [(root: string) => Promise<unknown>, folders: number])[] = [
      [(root) => layWide(root, 100), 1 + 10 + 100],
      // the top, and as many as fit into 255 bytes
      [(root) => layDeep(root), 1 + 128],
    ];
    for (const [lay, folders] of shapes) {
      await using opened = await open();
      const { asked, root, scanner } = opened;
      await lay(root);
      await scanner.scan(SITE);
      assert.equal(new Set(asked.folders).size, asked.folders.length, 'none is looked into twice');
      assert.equal(asked.folders.length, folders);
      assert.ok(asked.calls <= 2 * folders, `${asked.calls} calls for ${folders} folders`);
      assert.ok(asked.folders.every((folder) => folder.length <= 255));
    }
  });

  it('hands on each image once, however deep it stands', async () => {
    await using opened = await open();
    const { root, tree, databases } = opened;
    await layDeep(root, 128);
    for (const repository of ['app', 'c/app', 'c/c/app', 'team/app', 'team/sub/app'])
      await layImage(root, repository, ONE);
    const paths: string[] = [];
    const { images } = createWalker(tree, databases.index, async () => undefined);
    for await (const { path: at } of images({ site: SITE, folder: '', onFailure: rethrow })) paths.push(at);
    const deepest = 'c/'.repeat(128).slice(0, -1);
    assert.deepEqual(paths.sort(), ['app', 'c/app', deepest, 'c/c/app', 'team/app', 'team/sub/app'].sort());
  });
});

describe('a folder that is too long', () => {
  it('is named once for its place with a count, by a scan and by fsck, and neither listed, served nor backed up', async () => {
    for (const kind of ['owned', 'shared'] as const) {
      await using opened = await open(kind);
      const { root, scanner, store, databases } = opened;
      await layImage(root, 'team/app', ONE);
      await layDeep(root);
      const name = 'n'.repeat(180);
      for (const end of ['a', 'b'])
        await layFile(root, `x/${name}/${name}${end}/${RELEASE}/signature-1`, ONE);
      const deep = 'c/'.repeat(128).slice(0, -1);

      const counts = await scanner.scan(SITE);
      assert.deepEqual(counts, { images: 1, signatures: 1, problems: 2 });
      const named = opened.reportedFolders().toSorted((a, b) => (a.path < b.path ? -1 : 1));
      const [first, second] = named;
      assert.deepEqual(first, { kind: 'too-long', path: `${deep}/c` });
      assert.deepEqual(second, { kind: 'too-long', path: second?.path, count: 2 });
      assert.match(second?.path ?? '', new RegExp(`^x/${name}/${name}[ab]$`));
      assert.deepEqual(opened.reported.get(folderOf('team/app')), []);

      const entries = [];
      for await (const problem of scanner.findProblems(SITE)) entries.push(problem.path);
      assert.deepEqual(
        entries.sort(),
        named.map(({ path: at }) => at),
      );

      assert.deepEqual((await store.listFolder(SITE, '', null, 10)).names, ['team']);
      assert.deepEqual((await store.listFolder(SITE, deep, null, 10)).names, []);
      assert.deepEqual(await databases.index.counts(SITE), { images: 1, signatures: 1 });

      await rm(path.join(root, 'c'), { recursive: true });
      await rm(path.join(root, 'x'), { recursive: true });
      await scanner.scan(SITE);
      assert.deepEqual(opened.reportedFolders(), []);
    }
  });

  it('is forgotten by the index that has it from an older version, on disk or not', async () => {
    await using opened = await open();
    const { root, scanner, store, databases } = opened;
    await layImage(root, 'team/app', ONE);
    await layDeep(root, 200);
    const release = { ...imageIn(RELEASE), path: 'c/'.repeat(200).slice(0, -1) };
    const repository = { ...imageIn(folderOf('app')), path: 'n'.repeat(200) };
    const signatures = [
      { number: 1, sha256: 'b'.repeat(64), sizeBytes: 9, storedAt: new Date(0), bytes: null },
    ];
    await databases.index.record([
      { image: release, signatures },
      { image: repository, signatures },
    ]);
    assert.equal((await databases.index.counts(SITE)).images, 2);
    await scanner.scan(SITE);
    assert.deepEqual(await databases.index.counts(SITE), { images: 1, signatures: 1 });
    assert.deepEqual((await store.listFolder(SITE, '', null, 10)).names, ['team']);
  });
});

describe('links in a circle', () => {
  it('end where a folder stands below itself', async () => {
    await using opened = await open('shared');
    const { root, scanner, asked } = opened;
    await layImage(root, 'a/b/app', ONE);
    await symlink('../..', path.join(root, 'a/b/top'));
    await symlink('.', path.join(root, 'a/self'));
    const counts = await scanner.scan(SITE);
    assert.deepEqual(counts, { images: 1, signatures: 1, problems: 0 });
    assert.deepEqual(asked.folders.sort(), ['', 'a', 'a/b']);
  });
});

describe('a walk that is to end', () => {
  const STOPPED = new LookasideError('BUSY', 'the server is stopping');

  const SHAPES: readonly (readonly [string, (root: string) => Promise<unknown>])[] = [
    ['wide', (root) => layWide(root, 100)],
    ['deep', (root) => layDeep(root, 100)],
  ];
  for (const [shape, lay] of SHAPES) {
    it(`through a ${shape} tree looks into no further folder, wherever it is`, async () => {
      await using opened = await open();
      const { root, scanner, asked } = opened;
      await lay(root);
      const acts = {
        scan: (signal: AbortSignal) => scanner.scan(SITE, { signal }),
        fsck: async (signal: AbortSignal) => {
          for await (const _ of scanner.findProblems(SITE, { signal }));
        },
      };
      for (const [what, act] of Object.entries(acts)) {
        for (const last of [1, 2, 5, 30]) {
          const stopping = new AbortController();
          asked.folders.length = 0;
          asked.onFolder = () => {
            if (asked.folders.length === last) stopping.abort(STOPPED);
          };
          await assert.rejects(act(stopping.signal), STOPPED, what);
          assert.equal(asked.folders.length, last, what);
        }
      }
      assert.equal(await opened.databases.index.isComplete(SITE), false);
    });
  }
});
