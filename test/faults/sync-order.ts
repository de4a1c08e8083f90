// The order of system calls in a log of strace: whatever was written or named below a folder must be synced before an
// answer leaves that says it was stored.

/** An answer 201, and what of the paths watched was not on the disk when it was written to the socket. */
export interface Answered {
  readonly unsynced: readonly string[];
  /** How many files and folders were written or changed since the answer before, and synced. */
  readonly syncedCount: number;
}

export interface SyncOrder {
  /** The output of strace -f -y. */
  readonly log: string;
  /** Whether what happens to this path must survive. */
  readonly counts: (path: string) => boolean;
  /** Whether more may be written to this path behind the sync that an answer waits for, of which nothing must survive. */
  readonly goesOn: (path: string) => boolean;
}

/** What strace is to write down; a call that this processor has not is no mistake. */
export const TRACED = [
  ...['?fsync', '?fdatasync', '?write', '?writev', '?pwrite64', '?pwritev', '?sendto', '?sendmsg'],
  ...['?open', '?openat', '?mkdir', '?mkdirat', '?link', '?linkat', '?rename', '?renameat', '?renameat2'],
  ...['?unlink', '?unlinkat', '?ftruncate'],
].join();

/** All answers 201 of the log, in their order. @throws Error for a line that is no system call */
export function answersIn({ log, counts, goesOn }: SyncOrder): readonly Answered[] {
  const answers: Answered[] = [];
  /** Path -> when it was last changed, as long as that is not known to be on the disk. */
  const dirty = new Map<string, number>();
  const synced = new Set<string>();

  const touch = (path: string, at: number) => {
    if (counts(path) && !(goesOn(path) && synced.has(path))) dirty.set(path, at);
  };
  const rename = (from: string, to: string) => {
    const at = dirty.get(from);
    if (at !== undefined) touch(to, at); // another name of bytes that are not synced
  };

  /** Descriptor -> path. */
  const opened = new Map<string, string>();
  const resolve = (path: string) =>
    path.replace(/^\/proc\/self\/fd\/(\d+)/, (whole, descriptor) => opened.get(descriptor) ?? whole);

  for (const { name, args, paths, result, begin, end } of callsOf(log)) {
    const [first = '', second = ''] = paths.map(resolve);
    const isOk = /^\d/.test(result);
    if (name === 'fsync' || name === 'fdatasync') {
      const at = dirty.get(first);
      if (!isOk || at === undefined || at > begin) continue;
      dirty.delete(first);
      synced.add(first);
    } else if (/^(p?write|ftruncate)/.test(name) || name.startsWith('send')) {
      if (args.includes('"HTTP/1.1 201 ')) {
        answers.push({ unsynced: [...dirty.keys()], syncedCount: synced.size });
        synced.clear();
      } else touch(first, end);
    } else if (!isOk) {
    } else if (name.startsWith('open')) {
      const [, descriptor = '', path = ''] = /^(\d+)<([^>]*)>/.exec(result) ?? [];
      opened.set(descriptor, path);
      if (args.includes('O_CREAT')) touch(parentOf(first), end);
    } else if (name.startsWith('mkdir')) {
      touch(parentOf(first), end);
    } else if (name.startsWith('unlink')) {
      dirty.delete(first);
    } else {
      touch(parentOf(second), end);
      rename(first, second);
    }
  }
  return answers;
}

interface Call {
  readonly name: string;
  readonly args: string;
  /** Those of its arguments: of open descriptors as well. */
  readonly paths: readonly string[];
  readonly result: string;
  /** Lines at which it began and ended. */
  readonly begin: number;
  readonly end: number;
}

/** Calls in the order of their ends; a write begins to be an answer when it begins. */
function callsOf(log: string): readonly Call[] {
  const calls: Call[] = [];
  const unfinished = new Map<string, { readonly text: string; readonly begin: number }>();
  for (const [at, line] of log.split('\n').entries()) {
    const [, pid = '', text = ''] = /^(\d+) +(.*)$/.exec(line) ?? [];
    if (text === '' || text.startsWith('+++') || text.startsWith('---')) continue;
    const cut = /^(.*?),? <unfinished \.\.\.>$/.exec(text);
    if (cut !== null) {
      const started = cut[1] ?? '';
      if (started.includes('"HTTP/1.1 201 ')) calls.push(callOf(`${started}) = 0`, at, at));
      else unfinished.set(pid, { text: started, begin: at });
      continue;
    }
    const resumed = /^<\.\.\. \w+ resumed>(.*)$/.exec(text);
    if (resumed === null) {
      calls.push(callOf(text, at, at));
      continue;
    }
    const start = unfinished.get(pid);
    unfinished.delete(pid);
    if (start !== undefined) calls.push(callOf(`${start.text}${resumed[1]}`, start.begin, at));
  }
  return calls;
}

function callOf(text: string, begin: number, end: number): Call {
  const parts = /^(\w+)\((.*)\) += (.*)$/.exec(text);
  if (parts === null) throw new Error(`no system call: ${text}`);
  const [, name = '', args = '', result = ''] = parts;
  return { name, args, paths: pathsOf(name, args), result, begin, end };
}

/** The tree and the databases are named by absolute paths, what is in a folder that is held by that one's descriptor. */
function pathsOf(name: string, args: string): readonly string[] {
  const isByDescriptor = /^(f|p?write|send)/.test(name);
  const pattern = isByDescriptor ? /^\d+<([^>]*)>/g : /"(\/[^"]*)"/g;
  return [...args.matchAll(pattern)].map(([, path = '']) => path);
}

function parentOf(path: string): string {
  return path.slice(0, path.lastIndexOf('/'));
}
