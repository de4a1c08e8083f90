// System calls of a server that fail by the path of their file, whatever it is called: strace tells files by whole paths
// alone, and those that an upload makes have a new name each. A library that is loaded before libc does it.
import { rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { succeed } from '../clients/command.ts';
import { openTempFolder } from '../clients/temp-folder.ts';

// The plan is a file: call, number of calls until it comes, errno or 0 for a kill, pattern. It goes when it is carried out.
const SOURCE = `
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

static int is_to_fail(const char *call, const char *path) {
  char planned[16], pattern[4096];
  int left, error;
  const char *name = getenv("FAILING_CALLS");
  FILE *plan = name == NULL ? NULL : fopen(name, "r+");
  if (plan == NULL) return 0;
  int fields = fscanf(plan, "%15s %d %d %4095[^\\n]", planned, &left, &error, pattern);
  if (fields != 4 || strcmp(call, planned) != 0 || fnmatch(pattern, path, 0) != 0) {
    fclose(plan);
    return 0;
  }
  if (left > 1) {
    rewind(plan);
    fprintf(plan, "%s %09d %d %s\\n", planned, left - 1, error, pattern);
    fclose(plan);
    return 0;
  }
  fclose(plan);
  unlink(name);
  if (error == 0) kill(getpid(), SIGKILL);
  errno = error;
  return 1;
}

ssize_t write(int fd, const void *bytes, size_t count) {
  char link[64], path[4096];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t length = readlink(link, path, sizeof path - 1);
  if (length > 0) {
    path[length] = 0;
    if (is_to_fail("write", path)) return -1;
  }
  return ((ssize_t (*)(int, const void *, size_t))dlsym(RTLD_NEXT, "write"))(fd, bytes, count);
}

int open64(const char *path, int flags, ...) {
  va_list rest;
  va_start(rest, flags);
  mode_t mode = (flags & (O_CREAT | O_TMPFILE)) != 0 ? va_arg(rest, mode_t) : 0;
  va_end(rest);
  // a name in a folder that is held: /proc/self/fd/N/name
  char link[64], whole[8192] = "";
  int at = 0;
  if (sscanf(path, "/proc/self/fd/%*d%n", &at) == 0 && at > 0) {
    snprintf(link, sizeof link, "%.*s", at, path);
    ssize_t length = readlink(link, whole, 4096);
    whole[length > 0 ? length : 0] = 0;
    strncat(whole, path + at, 4000);
  }
  if (is_to_fail("open", whole[0] == 0 ? path : whole)) return -1;
  return ((int (*)(const char *, int, ...))dlsym(RTLD_NEXT, "open64"))(path, flags, mode);
}
`;

/** What happens at a call. */
export type Effect = 'KILL' | 'EIO' | 'ENOSPC' | 'EMFILE';

export interface Plan {
  readonly call: 'open' | 'write';
  /** Paths, as fnmatch(3) has it: a star takes slashes too. */
  readonly pattern: string;
  readonly nth: number;
  readonly effect: Effect;
}

export interface FailingCalls extends AsyncDisposable {
  /** Variables for the server's environment. */
  readonly settings: Readonly<Record<string, string>>;
  /** From now on it is counted. Only for a server that makes such calls in one thread. */
  plan(plan: Plan): Promise<void>;
  /** Whether it came to the planned call; if not, it is no longer planned. */
  end(): Promise<boolean>;
}

export async function openFailingCalls(): Promise<FailingCalls> {
  const temp = await openTempFolder();
  const [source, library] = [path.join(temp.path, 'failing.c'), path.join(temp.path, 'failing.so')];
  const planned = path.join(temp.path, 'plan');
  await writeFile(source, SOURCE);
  const env = { PATH: process.env.PATH ?? '' };
  await succeed(['gcc', '-shared', '-fPIC', '-o', library, source, '-ldl'], { env });
  return {
    settings: { LD_PRELOAD: library, FAILING_CALLS: planned },
    async plan({ call, pattern, nth, effect }) {
      const errno = effect === 'KILL' ? 0 : os.constants.errno[effect];
      await writeFile(planned, `${call} ${String(nth).padStart(9, '0')} ${errno} ${pattern}\n`);
    },
    async end() {
      const isLeft = await rm(planned).then(
        () => true,
        () => false,
      );
      return !isLeft;
    },
    [Symbol.asyncDispose]: () => temp[Symbol.asyncDispose](),
  };
}
