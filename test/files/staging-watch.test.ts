// Watching real folders: every change is told, however quickly it comes after the folder that it is in.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, readlinkSync } from 'node:fs';
import { appendFile, mkdir, readdir, rename, rm, symlink, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import type { Staging } from '../../src/domain/staged.ts';
import { createStaging } from '../../src/files/staging.ts';
import { DEFAULT_WATCHING, type Watching } from '../../src/files/staging-watch.ts';
import { openTempFolder, type TempFolder } from '../clients/temp-folder.ts';
import { folderOf, layFile } from '../store/lay.ts';

const APP = folderOf('team/app');
const NEVER_MS = 60 * 60 * 1000;

/** By events alone: what is told because of the time would hide what events miss. */
const BY_EVENTS: Watching = { ...DEFAULT_WATCHING, gatherMs: 10, pollMs: NEVER_MS, everythingMs: NEVER_MS };

let temp: TempFolder;
let root: string;

beforeEach(async () => {
  temp = await openTempFolder();
  root = path.join(temp.path, 'staging');
  await mkdir(root);
});

afterEach(() => temp[Symbol.asyncDispose]());

interface Ears extends AsyncDisposable {
  readonly staging: Staging;
  /** Every folder told so far. */
  readonly changed: string[];
  /** Why not only events are relied on. */
  readonly doubts: string[];
  /** Resolves once what was told since the last call is enough. */
  until(isEnough: (changed: ReadonlySet<string>) => boolean): Promise<void>;
}

async function listen(watching: Watching = BY_EVENTS): Promise<Ears> {
  const staging = createStaging(watching);
  const changed: string[] = [];
  let since = new Set<string>();
  let onTold: () => void = () => undefined;
  const doubts: string[] = [];
  const watcher = await staging.watch(root, {
    onChange(folder) {
      changed.push(folder);
      since.add(folder);
      onTold();
    },
    onPolling: (why) => void doubts.push(why),
  });
  return {
    staging,
    changed,
    doubts,
    until: (isEnough) =>
      new Promise((resolve) => {
        onTold = () => {
          if (!isEnough(since)) return;
          since = new Set();
          onTold = () => undefined;
          resolve();
        };
        onTold();
      }),
    [Symbol.asyncDispose]: () => watcher[Symbol.asyncDispose](),
  };
}

function lay(name: string, bytes = name): Promise<void> {
  return layFile(root, name, bytes);
}

describe('a watched folder', () => {
  it('tells of a signature that comes, changes in place, grows, or is renamed to its name', async () => {
    await lay(`${APP}/signature-1`);
    await using ears = await listen();
    const file = path.join(root, APP, 'signature-1');
    const changes = [
      () => writeFile(file, 'overwritten in place, as podman does'),
      () => appendFile(file, 'more'),
      () => writeFile(path.join(root, APP, 'signature-2'), 'new'),
      () => rename(path.join(root, APP, 'signature-2'), path.join(root, APP, 'signature-3')),
      () => rm(file),
    ];
    for (const change of changes) {
      await change();
      await ears.until((changed) => changed.has(APP));
    }
    assert.deepEqual([...new Set(ears.changed)], [APP]);
  });

  it('says nothing of files that are no signatures, and tells a folder once for many changes', async () => {
    await lay(`${APP}/signature-1`);
    await using ears = await listen({ ...BY_EVENTS, gatherMs: 100 });
    await lay('team/readme');
    await lay(`${APP}/.signature-1.Xy12`);
    await lay('.hidden/signature-1');
    for (let i = 0; i < 20; i += 1) await lay(`${APP}/signature-1`, String(i));
    await ears.until((changed) => changed.has(APP));
    assert.ok(ears.changed.length < 20, ears.changed.join());
    assert.deepEqual([...new Set(ears.changed)], [APP]);
  });

  it('misses no file in folders that are made with it in one go, whenever it comes', async () => {
    await using ears = await listen();
    const wanted = new Set<string>();
    const folders = new Set<string>();
    for (let round = 0; round < 60; round += 1) {
      const folder = folderOf(`team${round}/deep/app`);
      await mkdir(path.join(root, folder), { recursive: true });
      // another moment of the watcher's work each time
      for (let turn = 0; turn < round; turn += 1) await new Promise(setImmediate);
      await writeFile(path.join(root, folder, 'signature-1'), 'x');
      wanted.add(path.join(root, folder, 'signature-1'));
    }
    const pushed = async () => {
      const staged = await ears.staging.findBelow(root, [...new Set(ears.changed.splice(0))]);
      for (const { source } of staged.files) folders.add(source);
    };
    while (folders.size < wanted.size) {
      if (ears.changed.length === 0) await ears.until((changed) => changed.size > 0);
      await pushed();
    }
    assert.deepEqual(folders, wanted);
  });

  it('misses no folder that is made while the one above it begins to be watched', async () => {
    const watch: Watching['watch'] = (folder, onEvent) => {
      const isTeam = readlinkSync(folder) === path.join(root, 'team');
      if (isTeam) mkdirSync(`${folder}/before`);
      const watcher = DEFAULT_WATCHING.watch(folder, onEvent);
      if (isTeam) mkdirSync(`${folder}/after`);
      return watcher;
    };
    await using ears = await listen({ ...BY_EVENTS, watch });
    await mkdir(path.join(root, 'team'));
    const both = new Set<string>();
    await ears.until((changed) => {
      for (const folder of changed) both.add(folder);
      return both.has('team/before') && both.has('team/after');
    });
    await lay('team/before/signature-1');
    await ears.until((changed) => changed.has('team/before'));
  });

  it('still tells of a folder that was deleted and made again at once, or moved here with all that it holds', async () => {
    await lay(`${APP}/signature-1`);
    await using ears = await listen();
    const folder = path.join(root, APP);
    // one process without a pause: the folder made anew often has the inode of the one that went
    for (let round = 0; round < 5; round += 1) {
      execFileSync('sh', ['-c', 'rm -r "$1" && mkdir "$1"', 'sh', folder]);
      await ears.until((changed) => changed.has(APP));
      await writeFile(path.join(folder, 'signature-1'), 'again');
      await ears.until((changed) => changed.has(APP));
    }
    await rename(path.join(root, 'team'), path.join(root, 'moved'));
    const moved = APP.replace('team', 'moved');
    await ears.until((changed) => changed.has(moved));
    await appendFile(path.join(root, moved, 'signature-1'), 'x');
    await ears.until((changed) => changed.has(moved));
  });

  it('does not look where links lead', async () => {
    const outside = path.join(temp.path, 'outside');
    await layFile(outside, `${APP}/signature-1`, 'x');
    await using ears = await listen();
    await symlink(outside, path.join(root, 'link'));
    await layFile(outside, `${APP}/signature-2`, 'x');
    await lay(`${APP}/signature-1`);
    await ears.until((changed) => changed.has(APP));
    assert.ok(!ears.changed.some((folder) => folder.startsWith('link')), ears.changed.join());
  });
});

describe('when events are not enough', () => {
  it('all is told once the root that went has come back, and its folders are watched again', async () => {
    await lay(`${APP}/signature-1`);
    await using ears = await listen({ ...BY_EVENTS, pollMs: 20 });
    await rename(root, `${root}-away`);
    await mkdir(root);
    await ears.until((changed) => changed.has(''));
    await rm(root, { recursive: true });
    await rename(`${root}-away`, root);
    await ears.until((changed) => changed.has(''));
    await lay(`${APP}/signature-1`, 'again');
    await ears.until((changed) => changed.has(APP) || changed.has(''));
  });

  it('all is told again and again while the system grants no more watches, and that once', async () => {
    let granted = 1;
    const scarce: Watching['watch'] = (folder, onEvent) => {
      granted -= 1;
      if (granted >= 0) return DEFAULT_WATCHING.watch(folder, onEvent);
      throw Object.assign(new Error('no space left on device'), { code: 'ENOSPC' });
    };
    await lay(`${APP}/signature-1`);
    await using ears = await listen({ ...BY_EVENTS, pollMs: 20, everythingMs: 50, watch: scarce });
    for (let round = 0; round < 3; round += 1) await ears.until((changed) => changed.has(''));
    assert.equal((await ears.staging.findBelow(root, [''])).files.length, 1);
    assert.equal(ears.doubts.length, 1);
    assert.match(ears.doubts[0] ?? '', /raise fs\.inotify\.max_user_watches/);
  });

  it('all is told from time to time in any case', async () => {
    await using ears = await listen({ ...BY_EVENTS, everythingMs: 20 });
    for (let round = 0; round < 2; round += 1) await ears.until((changed) => changed.has(''));
  });

  it('all is told when so much happened at once that the system may have dropped events', async () => {
    const limit = Number(
      execFileSync('cat', ['/proc/sys/fs/inotify/max_queued_events'], { encoding: 'utf8' }),
    );
    await using ears = await listen({ ...BY_EVENTS, gatherMs: 100 });
    // held up, we read nothing meanwhile, and the queue runs over
    execFileSync('sh', [
      '-c',
      `seq -f "${root}/x%g" ${limit + 1000} | xargs touch; mkdir -p "$1"`,
      'sh',
      `${root}/${APP}`,
    ]);
    await ears.until((changed) => changed.has(''));
    await writeFile(path.join(root, APP, 'signature-1'), 'x');
    await ears.until((changed) => changed.has(APP));
  });
});

it('what was watched is let go', async () => {
  await lay(`${APP}/signature-1`);
  const open = async () => (await readdir('/proc/self/fd')).length;
  const watches = () =>
    execFileSync('sh', ['-c', `cat /proc/${process.pid}/fdinfo/* 2>/dev/null | grep -c ^inotify || true`], {
      encoding: 'utf8',
    });
  const ears = await listen();
  assert.ok(Number(watches()) >= 3);
  const before = await open();
  await ears[Symbol.asyncDispose]();
  assert.equal(Number(watches()), 0);
  assert.ok((await open()) <= before);
  await lay(`${APP}/signature-1`, 'again');
  assert.deepEqual(ears.changed, []);
});
