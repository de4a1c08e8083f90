// Somebody who writes into a tree and, as fast as the system allows, swaps what is in it with links that lead out of it; and
// a folder outside that tells when anything was done in it.
import { lstat, mkdir, readdir, readFile, symlink, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { startBackground, succeed } from '../clients/command.ts';
import { sha256Hex } from '../store/lay.ts';

// Arguments: pairs of names. One pair after the other, in any order, is exchanged and after some microseconds changed
// back, until SIGTERM; all are as they were then.
const SOURCE = `
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static volatile sig_atomic_t is_over = 0;
static void end(int signal) { (void)signal; is_over = 1; }

static long micros(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1000000L + now.tv_nsec / 1000;
}

static void dawdle(long most) {
  long until = micros() + random() % most;
  while (micros() < until);
}

int main(int argc, char **argv) {
  int pairs = (argc - 1) / 2;
  long swaps = 0;
  signal(SIGTERM, end);
  puts("swapping");
  fflush(stdout);
  while (!is_over) {
    char **pair = argv + 1 + 2 * (random() % pairs);
    for (int turn = 0; turn < 2; turn++) {
      // RENAME_EXCHANGE
      if (syscall(SYS_renameat2, AT_FDCWD, pair[0], AT_FDCWD, pair[1], 2) == 0) swaps++;
      else if (turn == 1 || errno != ENOENT) { perror(pair[0]); return 1; }
      else break;
      dawdle(turn == 0 ? 300 : 600);
    }
  }
  printf("%ld swaps\\n", swaps);
  return 0;
}
`;

// Loaded before libc: each fsync of a file or folder below OUTSIDE is written down.
const SYNCS = `
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void note(int fd) {
  const char *outside = getenv("OUTSIDE"), *log = getenv("OUTSIDE_SYNCS");
  char link[64], file[4097];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t length = readlink(link, file, sizeof file - 1);
  if (outside == NULL || log == NULL || length < 0) return;
  file[length] = 0;
  if (strncmp(file, outside, strlen(outside)) != 0) return;
  FILE *out = fopen(log, "a");
  fprintf(out, "%s\\n", file);
  fclose(out);
}

int fsync(int fd) {
  note(fd);
  return ((int (*)(int))dlsym(RTLD_NEXT, "fsync"))(fd);
}

int fdatasync(int fd) {
  note(fd);
  return ((int (*)(int))dlsym(RTLD_NEXT, "fdatasync"))(fd);
}
`;

const ENV = { env: { PATH: process.env.PATH ?? '' } };

export interface Swapper extends AsyncDisposable {
  /** Ends it, all in its place again; how often it swapped. */
  stop(): Promise<number>;
}

export interface SwapperOptions {
  readonly root: string;
  readonly outside: string;
  /** What is swapped, below the root: each with a link to the same name below `outside`. */
  readonly names: readonly string[];
  /** For the program. */
  readonly folder: string;
}

export async function startSwapper({ root, outside, names, folder }: SwapperOptions): Promise<Swapper> {
  const pairs: string[] = [];
  for (const name of names) {
    const [file, link] = [
      path.join(root, name),
      path.join(root, path.dirname(name), `.swap-${path.basename(name)}`),
    ];
    await symlink(path.join(outside, name), link);
    pairs.push(file, link);
  }
  const program = path.join(folder, 'swapper');
  await writeFile(`${program}.c`, SOURCE);
  await succeed(['gcc', '-O1', '-o', program, `${program}.c`], ENV);
  const swapper = await startBackground([program, ...pairs], ENV, /swapping/);
  return {
    async stop() {
      const status = await swapper.stop();
      const swaps = Number(/(\d+) swaps/.exec(swapper.output())?.[1] ?? 0);
      if (status !== 0 || swaps === 0) throw new Error(`the swapper failed: ${swapper.output()}`);
      return swaps;
    },
    [Symbol.asyncDispose]: () => swapper[Symbol.asyncDispose](),
  };
}

/** All that is below the folder: with times to the nanosecond, which tell of an entry that came and went too. */
export async function traceOf(folder: string): Promise<readonly string[]> {
  const names = ['', ...(await readdir(folder, { recursive: true }))];
  const all = names.map(async (name) => {
    const file = path.join(folder, name);
    const stats = await lstat(file, { bigint: true });
    const content = stats.isFile() ? sha256Hex(await readFile(file)) : '';
    return [name, stats.ino, stats.nlink, stats.mtimeNs, stats.ctimeNs, content].join(' ');
  });
  return (await Promise.all(all)).sort();
}

export interface OutsideSyncs {
  /** Variables for the environment of the process that is watched. */
  readonly settings: Readonly<Record<string, string>>;
  /** Paths, each as often as it was synced. */
  syncedPaths(): Promise<readonly string[]>;
}

/** Watches a process that is started with these settings for syncs of what is below `outside`. Made in `folder`. */
export async function watchSyncs(outside: string, folder: string): Promise<OutsideSyncs> {
  const [library, log] = [path.join(folder, 'syncs.so'), path.join(folder, 'syncs')];
  await mkdir(folder, { recursive: true });
  await writeFile(path.join(folder, 'syncs.c'), SYNCS);
  await writeFile(log, '');
  await succeed(['gcc', '-shared', '-fPIC', '-o', library, path.join(folder, 'syncs.c'), '-ldl'], ENV);
  return {
    settings: { LD_PRELOAD: library, OUTSIDE: outside, OUTSIDE_SYNCS: log },
    syncedPaths: async () => (await readFile(log, 'utf8')).split('\n').filter((line) => line !== ''),
  };
}
