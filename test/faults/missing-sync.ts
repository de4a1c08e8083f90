// One fsync taken away from a server that knows nothing of it: a library that is loaded before libc answers success for
// files of certain names, and does nothing.
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { succeed } from '../clients/command.ts';

const SOURCE = `
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static int is_left_out(int fd) {
  const char *pattern = getenv("UNSYNCED");
  char link[64], file[4096];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t length = readlink(link, file, sizeof file - 1);
  if (pattern == NULL || length < 0) return 0;
  file[length] = 0;
  return fnmatch(pattern, file, 0) == 0;
}

int fsync(int fd) {
  if (is_left_out(fd)) return 0;
  return ((int (*)(int))dlsym(RTLD_NEXT, "fsync"))(fd);
}

int fdatasync(int fd) {
  if (is_left_out(fd)) return 0;
  return ((int (*)(int))dlsym(RTLD_NEXT, "fdatasync"))(fd);
}
`;

/** The environment of a server that syncs no file or folder whose path matches, as fnmatch(3) has it. Made in `folder`. */
export async function withoutSyncOf(
  pattern: string,
  folder: string,
): Promise<Readonly<Record<string, string>>> {
  const source = path.join(folder, 'unsynced.c');
  const library = path.join(folder, 'unsynced.so');
  await writeFile(source, SOURCE);
  const env = { PATH: process.env.PATH ?? '' };
  await succeed(['gcc', '-shared', '-fPIC', '-o', library, source, '-ldl'], { env });
  return { LD_PRELOAD: library, UNSYNCED: pattern };
}
