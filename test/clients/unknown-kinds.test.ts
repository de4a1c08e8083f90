// A file system that tells no kinds with its names, as NFS may and some of FUSE do: Node.js then looks at each name by itself.
import assert from 'node:assert/strict';
import { mkdir, symlink, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { layImage, signatureBytes } from '../store/lay.ts';
import { needs } from './available.ts';
import { succeed } from './command.ts';
import { openTempFolder } from './temp-folder.ts';

// Loaded before libc.
const NO_KINDS = `
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <stddef.h>

struct dirent64 *readdir64(DIR *dir) {
  struct dirent64 *entry = ((struct dirent64 *(*)(DIR *))dlsym(RTLD_NEXT, "readdir64"))(dir);
  if (entry != NULL) entry->d_type = DT_UNKNOWN;
  return entry;
}

struct dirent *readdir(DIR *dir) { return (struct dirent *)readdir64(dir); }
`;

const TREE = fileURLToPath(new URL('../../src/files/tree.js', import.meta.url));

/** Prints the children of the root; the descriptors that are open afterwards and were not before. */
const PROGRAM = `
import { readdirSync } from 'node:fs';
const { openTree } = await import(process.env.TREE);
const tree = openTree({ root: process.env.ROOT, nowMs: Date.now, beingWrittenMs: 100, isWhole: () => true });
const count = () => readdirSync('/proc/self/fd').length;
const before = count();
const seen = [];
for await (const { name, kind } of await tree.children('')) seen.push(name + ' ' + kind);
for await (const _ of await tree.children('')) break;
console.log(JSON.stringify({ seen: seen.sort(), left: count() - before }));
`;

test('children are told apart where the file system tells no kinds', needs('gcc'), async () => {
  await using temp = await openTempFolder();
  const root = path.join(temp.path, 'tree');
  const [source, library] = [path.join(temp.path, 'kinds.c'), path.join(temp.path, 'kinds.so')];
  await writeFile(source, NO_KINDS);
  const env = { PATH: process.env.PATH ?? '' };
  await succeed(['gcc', '-shared', '-fPIC', '-o', library, source, '-ldl'], { env });
  await layImage(root, 'team/app', signatureBytes('one'));
  await mkdir(path.join(root, 'other'));
  await symlink('team', path.join(root, 'link'));
  await writeFile(path.join(root, 'notes.txt'), 'by hand');
  const printed = await succeed([process.execPath, '--input-type=module', '--eval', PROGRAM], {
    env: { ...env, LD_PRELOAD: library, TREE, ROOT: root },
  });
  assert.deepEqual(JSON.parse(printed), {
    seen: ['link folder', 'notes.txt other', 'other folder', 'team folder'],
    left: 0,
  });
});
