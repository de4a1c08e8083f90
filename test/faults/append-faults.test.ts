// The disk fails, fills up, or the server is killed at each system call of an upload: whole or absent, never half; and
// after a lost write nothing is acknowledged any more. Most of it is uploads.test.ts over the tree alone, with every call;
// so `npm test` has no more of it than what kinds of failure are told as what, and `npm run faults` has it all.
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { needs } from '../clients/available.ts';
import { openTempFolder, type TempFolder } from '../clients/temp-folder.ts';
import { folderOf, signatureBytes } from '../store/lay.ts';
import { imageIn } from '../store/open-store.ts';
import { createUploads } from '../store/uploads.ts';
import { count, isFull, type Promised, promise } from './promise.ts';

const CHILD = fileURLToPath(new URL('./append-child.js', import.meta.url));

/** Repository and content of each upload. */
const UPLOADS = ['deep/team/app one', 'deep/team/app two'] as const;

interface Answer {
  readonly outcome: string;
  readonly number: number;
}

let temp: TempFolder;
let folder: string;
let made = 0;

beforeEach(async () => {
  temp = await openTempFolder();
});

afterEach(() => temp[Symbol.asyncDispose]());

async function freshFolder(): Promise<void> {
  made += 1;
  folder = path.join(temp.path, `${made}`);
  await mkdir(path.join(folder, 'root'), { recursive: true });
}

interface Run {
  readonly answers: readonly Answer[];
  readonly signal: string | null;
  readonly wasTouched: boolean;
}

/** As the child takes it: whether the image's first upload makes its folder with the file in it. */
type First = 'scanned' | 'unscanned';

/** One thread of the pool makes every call, so that strace's count, which is each thread's own, is that of all. */
async function run(inject: string | null, calls = '', first: First = 'unscanned'): Promise<Run> {
  const trace = path.join(folder, 'trace');
  const names = calls.replace(/(^|,)/g, '$1?'); // a call that this processor has not is no mistake
  const strace =
    inject === null
      ? []
      : ['strace', '-f', '-qq', '-o', trace, '-e', `trace=${names}`, '-e', `inject=${names}:${inject}`];
  const [program = '', ...args] = [...strace, process.execPath, CHILD, folder];
  if (first === 'scanned') args.push(first);
  const child = spawn(program, args, {
    env: { ...process.env, UV_THREADPOOL_SIZE: '1' },
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  child.stdin.on('error', () => undefined); // EPIPE: it was killed before it had read
  child.stdin.end(`${UPLOADS.join('\n')}\n`);
  let output = '';
  child.stdout.on('data', (chunk) => {
    output += chunk;
  });
  const [, signal] = await once(child, 'close');
  const lines = output.split('\n').slice(0, -1);
  const answers = lines.map((line): Answer => JSON.parse(line));
  const text = inject === null ? '' : await readFile(trace, 'utf8');
  return { answers, signal, wasTouched: /INJECTED|killed by SIGKILL/.test(text) };
}

/** Acknowledged: there; else: whole or absent. Nothing half-done is left, and a second try ends with one copy. */
async function assertWholeOrAbsent(before: readonly Answer[], what: string, first: First): Promise<void> {
  const { answers } = await run(null, '', first);
  assert.equal(answers.length, UPLOADS.length, what);
  for (const [position, { outcome }] of answers.entries()) {
    assert.ok(['created', 'exists'].includes(outcome), `${what}: ${outcome}`);
    if (['created', 'exists'].includes(before[position]?.outcome ?? ''))
      assert.equal(outcome, 'exists', what);
  }
  const numbers = answers.map(({ number }) => number);
  assert.deepEqual([...numbers].sort(), [1, 2], `${what}: ${numbers}`);
  for (const [position, { number }] of answers.entries()) {
    const [repository = '', text = ''] = UPLOADS[position]?.split(' ') ?? [];
    const file = path.join(folder, 'root', folderOf(repository), `signature-${number}`);
    assert.deepEqual(await readFile(file), signatureBytes(text), what);
    const acknowledged = before[position];
    if (acknowledged?.outcome === 'created') assert.equal(number, acknowledged.number, what);
  }
  const repository = 'deep/team/app';
  const there = await readdir(path.join(folder, 'root', folderOf(repository)));
  assert.equal(there.length, UPLOADS.length, `${what}: ${there}`);
  const kept = await createUploads(path.join(folder, 'uploads')).ofImage(imageIn(folderOf(repository)));
  assert.equal(kept.length, UPLOADS.length, what);
  assert.deepEqual(await readdir(path.join(folder, 'root/.lookaside/tmp')), [], what);
  assert.deepEqual(await leftAside(), [], what);
}

/** Folders of new images that have come to no place. */
const leftAside = () => readdir(path.join(folder, 'root/.lookaside/batch')).catch(() => []);

/** Once for the first call of these (in `npm test` that is all), the second, and so on until the child makes no more. */
async function atEach(
  [calls, first]: readonly [calls: string, first: First],
  inject: string,
  check: (run: Run, what: string) => Promise<void>,
) {
  for (let nth = 1; nth <= count(Number.POSITIVE_INFINITY, 1); nth += 1) {
    await freshFolder();
    const injection = `${inject}:when=${nth}`;
    const result = await run(injection, calls, first);
    if (!result.wasTouched) {
      // the first of a new image is named into its place without a link, and no other is
      const least = first === 'scanned' ? 1 : UPLOADS.length;
      assert.ok(nth > least, `${calls}: ${nth - 1} calls are too few to be all`);
      assert.deepEqual(
        result.answers.map(({ outcome }) => outcome),
        UPLOADS.map(() => 'created'),
      );
      return;
    }
    await check(result, `${calls} ${injection}`);
  }
}

/** Kinds of failure, and what the upload is refused with. */
const REFUSALS = [
  ['link,linkat', 'ENOSPC', 'DISK_FULL'],
  ['link,linkat', 'EDQUOT', 'DISK_FULL'],
  ['link,linkat', 'EROFS', 'READ_ONLY'],
  ['link,linkat', 'EPERM', 'STORE_UNAVAILABLE'],
  ['link,linkat', 'EMLINK', 'STORE_UNAVAILABLE'],
  ['mkdir,mkdirat', 'ENOSPC', 'DISK_FULL'],
  ['rename,renameat,renameat2', 'ENOSPC', 'DISK_FULL', 'scanned'],
  ['rename,renameat,renameat2', 'EROFS', 'READ_ONLY', 'scanned'],
  ['mkdir,mkdirat', 'ENOSPC', 'DISK_FULL', 'scanned'],
] as const;

/** uploads.test.ts has a disk without space in `npm test` too. */
const TOLD = REFUSALS.filter(([, error]) => isFull || error !== 'ENOSPC');

describe('an upload', needs('strace'), () => {
  it('into a tree without hard links is refused, also the first of an image, which needs none', async () => {
    await freshFolder();
    const { answers } = await run('error=EPERM', 'link,linkat', 'scanned');
    assert.deepEqual(
      answers.map(({ outcome }) => outcome),
      UPLOADS.map(() => 'STORE_UNAVAILABLE'),
    );
    await assertWholeOrAbsent(answers, 'EPERM', 'scanned');
  });

  for (const error of isFull ? ['EBUSY', 'EXDEV'] : ['EBUSY']) {
    it(`whose folder cannot be named into its place, as ${error} tells, is stored by a link`, async () => {
      await freshFolder();
      const { answers, wasTouched } = await run(
        `error=${error}:when=1`,
        'rename,renameat,renameat2',
        'scanned',
      );
      assert.ok(wasTouched);
      assert.deepEqual(answers, [
        { outcome: 'created', number: 1 },
        { outcome: 'created', number: 2 },
      ]);
      await assertWholeOrAbsent(answers, error, 'scanned');
    });
  }

  for (const [calls, error, code, first = 'unscanned'] of TOLD) {
    it(`whose ${calls} fails with ${error}${first === 'scanned' ? ' in a scanned tree' : ''} is refused with ${code}, and the next one is taken`, async () => {
      await atEach([calls, first], `error=${error}`, async ({ answers }, what) => {
        const outcomes = answers.map(({ outcome }) => outcome);
        assert.equal(outcomes.filter((outcome) => outcome !== 'created').length, 1, `${what}: ${outcomes}`);
        assert.ok(outcomes.includes(code), `${what}: ${outcomes}`);
        assert.deepEqual(await readdir(path.join(folder, 'root/.lookaside/tmp')).catch(() => []), [], what);
        await assertWholeOrAbsent(answers, what, first);
      });
    });
  }
});

const CALLS = [
  ...['mkdir,mkdirat', 'fsync,fdatasync', 'link,linkat', 'unlink,unlinkat'].map(
    (calls) => [calls, 'unscanned'] as const,
  ),
  ...['mkdir,mkdirat', 'fsync,fdatasync', 'rename,renameat,renameat2', 'unlink,unlinkat'].map(
    (calls) => [calls, 'scanned'] as const,
  ),
];

if (isFull) describe('an upload', needs('strace'), atEachOfItsCalls);

function atEachOfItsCalls(): void {
  for (const [calls, first] of CALLS) {
    it(`that is cut short by kill -9 at any ${calls} of a tree that is ${first} is whole or absent`, async () => {
      await atEach([calls, first], 'signal=KILL', async ({ answers }, what) => {
        await assertWholeOrAbsent(answers, what, first);
      });
    });
  }

  const failedSync: Promised = {
    id: 'P3',
    what: 'an upload whose fsync fails is refused, its name not taken, and so is all that follows until a restart',
    wanted: '0 acknowledged after EIO, at each fsync',
    ...needs('strace'),
  };
  promise(failedSync, async (see) => {
    let acknowledged = 0;
    let syncs = 0;
    const check =
      (first: First) =>
      async ({ answers }: Run, what: string) => {
        const failed = answers.findIndex(({ outcome }) => outcome !== 'created');
        assert.notEqual(failed, -1, what);
        syncs += 1;
        acknowledged += answers.slice(failed).filter(({ outcome }) => outcome === 'created').length;
        see(`${acknowledged} acknowledged after EIO, at ${syncs} fsyncs`);
        for (const { outcome } of answers.slice(failed)) assert.equal(outcome, 'STORE_UNAVAILABLE', what);
        for (const [position, { number }] of answers.entries()) {
          const [repository = ''] = UPLOADS[position]?.split(' ') ?? [];
          const there = await readdir(path.join(folder, 'root', folderOf(repository))).catch(() => []);
          assert.ok(there.length <= (number === 0 ? failed : 2), `${what}: ${there}`);
        }
        assert.deepEqual(await readdir(path.join(folder, 'root/.lookaside/tmp')).catch(() => []), [], what);
        assert.deepEqual(await leftAside(), [], what);
        await assertWholeOrAbsent(answers, what, first);
      };
    for (const first of ['unscanned', 'scanned'] as const)
      await atEach(['fsync,fdatasync', first], 'error=EIO', check(first));
  });

  it(
    'to a full disk is refused with DISK_FULL and leaves nothing, and is taken once there is room',
    needs('private host'),
    async () => {
      await freshFolder();
      const root = path.join(folder, 'root');
      const child = `'${process.execPath}' '${CHILD}' '${folder}' < '${folder}/wanted'`;
      await writeFile(path.join(folder, 'wanted'), `${UPLOADS.join('\n')}\n`);
      const script = [
        `mount -t tmpfs -o size=256k tmpfs '${root}'`,
        `dd if=/dev/zero of='${root}/filler' bs=4k 2>/dev/null || true`,
        child,
        `find '${root}' -type f ! -name filler`,
        `rm '${root}/filler'`,
        child,
        `find '${root}' -type f | wc -l`,
      ];
      const argv = ['--mount', '--propagation', 'private', 'sh', '-ec', script.join('\n')];
      const { stdout, stderr, status } = spawnSync('unshare', argv, { encoding: 'utf8' });
      assert.equal(status, 0, stderr);
      const outcomes = ['DISK_FULL', 'created'].flatMap((outcome) => UPLOADS.map(() => outcome));
      const lines = stdout.trim().split('\n');
      assert.deepEqual(
        lines.slice(0, -1).map((line) => JSON.parse(line).outcome),
        outcomes,
      );
      assert.equal(lines.at(-1)?.trim(), String(UPLOADS.length));
    },
  );
}
