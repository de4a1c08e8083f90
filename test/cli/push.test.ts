// lookaside push as signers run it: what it prints, the code that it ends with, and what the server has then.
import assert from 'node:assert/strict';
import { mkdir, symlink, truncate, utimes, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { after, before, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { type Background, describeOutcome, type Outcome, startBackground } from '../clients/command.ts';
import { eventually } from '../clients/eventually.ts';
import { createToken, type LookasideServer, runLookaside, startServer } from '../clients/server.ts';
import { enrol, makeSigner } from '../clients/signer.ts';
import { openTempFolder, type TempFolder } from '../clients/temp-folder.ts';
import { folderOf } from '../store/lay.ts';

const MAIN = fileURLToPath(new URL('../../src/main.js', import.meta.url));

let temp: TempFolder;
let server: LookasideServer;
let settings: { readonly LOOKASIDE_URL: string; readonly LOOKASIDE_TOKEN: string };
const alice = makeSigner('alice');
const stranger = makeSigner('stranger');

before(async () => {
  temp = await openTempFolder();
  const data = path.join(temp.path, 'data');
  await mkdir(data);
  const token = await enrol(data, alice);
  server = await startServer({ data });
  settings = { LOOKASIDE_URL: server.url, LOOKASIDE_TOKEN: token };
});
after(async () => {
  await server?.[Symbol.asyncDispose]();
  await temp?.[Symbol.asyncDispose]();
});

let folders = 0;

async function newStaging(): Promise<string> {
  folders += 1;
  const folder = path.join(temp.path, `staging-${folders}`);
  await mkdir(folder);
  return folder;
}

/** Writes signature-N of the repository's image. */
async function stage(staging: string, repository: string, number: number, bytes?: Uint8Array) {
  const folder = path.join(staging, folderOf(repository));
  await mkdir(folder, { recursive: true });
  const file = path.join(folder, `signature-${number}`);
  await writeFile(file, bytes ?? alice.sign({ repository, tag: `v${number}` }));
  return file;
}

function push(...args: readonly string[]): Promise<Outcome> {
  return runLookaside(['push', ...args], settings, temp.path);
}

function assertOutcome(outcome: Outcome, status: number, ...patterns: readonly RegExp[]): void {
  assert.equal(outcome.status, status, describeOutcome(outcome));
  for (const pattern of patterns) assert.match(outcome.stdout + outcome.stderr, pattern);
}

async function statusOf(repository: string, number: number): Promise<number> {
  return (await fetch(`${server.url}/${folderOf(repository)}/signature-${number}`)).status;
}

function pushInBackground(args: readonly string[], ready: RegExp): Promise<Background> {
  const env = { PATH: process.env.PATH ?? '', ...settings };
  return startBackground([process.execPath, MAIN, 'push', ...args], { env }, ready);
}

describe('push', () => {
  it('sends all that a signer has, says what stands behind a gap, and finds it there the next time', async () => {
    const staging = await newStaging();
    await stage(staging, 'team/app', 1);
    await stage(staging, 'team/app', 3);
    await stage(staging, 'other', 1);
    const blob = path.join(staging, 'blob.signature');
    await writeFile(blob, alice.sign({ repository: 'team/blob', tag: 'v1' }));
    const asked = await push('--dry-run', staging);
    assertOutcome(asked, 0, /team\/app@sha256:[0-9a-f]{64} 2 would be sent\n/, /nothing was sent/);
    assert.equal(await statusOf('team/app', 1), 404);

    const sent = await push(staging, blob);
    assertOutcome(
      sent,
      0,
      /^team\/app@sha256:[0-9a-f]{64} 2 sent as signature-1, signature-2$/m,
      /signature-3 stands behind a gap .* is signature-2 on the server/,
      /^team\/blob@sha256:[0-9a-f]{64} 1 sent as signature-1 from .*blob\.signature$/m,
      /^4 signatures of 3 images: 4 sent; [0-9.]+ (?:B|KiB) to http/m,
    );
    assert.equal(await statusOf('team/app', 2), 200);
    assert.equal(await statusOf('team/app', 3), 404);
    assertOutcome(await push(staging, blob), 0, /^4 signatures of 3 images: 4 there already; 0 B/m);
  });

  it('ends with 1 when something was refused, names it, and sends the rest', async () => {
    const staging = await newStaging();
    await stage(staging, 'refused/app', 1);
    await stage(staging, 'refused/app', 2, stranger.sign({ repository: 'refused/app', tag: 'v2' }));
    const file = await stage(staging, 'refused/other', 1);
    await symlink(file, path.join(path.dirname(file), 'signature-2'));
    const { status, stdout } = await push('--json', staging);
    assert.equal(status, 1);
    const { images, problems, summary } = JSON.parse(stdout);
    assert.deepEqual(
      images.map(({ files }: { files: { result: string; code?: string }[] }) =>
        files.map(({ result, code }) => code ?? result),
      ),
      [['sent', 'KEY_UNKNOWN'], ['sent']],
    );
    assert.deepEqual([problems.length, problems[0].kind], [1, 'link']);
    const { sent, refused, problem, failure } = summary;
    assert.deepEqual({ sent, refused, problem, failure }, { sent: 2, refused: 1, problem: 1, failure: null });
    const again = await push(staging);
    assertOutcome(again, 1, /signature-2: refused \(KEY_UNKNOWN\): /, /signature-2: .*symbolic link/);
  });

  it('of a folder below, or above, the one that lookaside-staging names sends what is clear, and says which it should be', async () => {
    const staging = path.join(await newStaging(), 'inner');
    await stage(staging, 'deep/team/app', 1);
    assertOutcome(await push(path.join(staging, 'deep')), 0, /^deep\/team\/app@sha256:.* 1 sent/m);
    const outcome = await push(path.dirname(staging));
    assertOutcome(
      outcome,
      1,
      /refused \(REPOSITORY_MISMATCH\)/,
      /the very folder that lookaside-staging names/,
    );
  });

  it('has nothing to do in an empty folder', async () => {
    const staging = await newStaging();
    await writeFile(path.join(staging, 'README'), 'no signature');
    assertOutcome(
      await push(staging),
      0,
      /nothing to push: no signature was found/,
      /looked for files named signature-N in folders named REPOSITORY@sha256=<hex>/,
      /1 file not named like a signature left out: .*README/,
    );
    assertOutcome(await push('--require-some', staging), 1, /nothing to push/);
    await stage(staging, 'team/some', 1);
    assertOutcome(await push('--require-some', staging), 0, /1 sent/);
  });

  it('ends with 2 when it could not try', async () => {
    const staging = await newStaging();
    await stage(staging, 'team/untried', 1);
    const wrong = { ...settings, LOOKASIDE_TOKEN: 'wrong' };
    const [gone, contradictory, once, watching] = await Promise.all([
      push(path.join(staging, 'gone')),
      push('--watch', '--dry-run', staging),
      runLookaside(['push', staging], wrong),
      runLookaside(['push', '--watch', staging], wrong),
    ]);
    assertOutcome(gone, 2, /gone/);
    assertOutcome(contradictory, 2, /--dry-run/);
    assertOutcome(once, 2, /does not know the token/, /^1 signature: 1 not sent;/m);
    assertOutcome(watching, 2, /does not know the token/);
    assert.equal(await statusOf('team/untried', 1), 404);
  });

  it('tells why it waits for a server, and ends as Ctrl-C demands', async () => {
    const staging = await newStaging();
    await stage(staging, 'team/app', 1);
    const nowhere = ['--server', 'http://127.0.0.1:1', staging];
    const running = await pushInBackground(nowhere, /ECONNREFUSED.*; trying again\n/);
    process.kill(running.pid, 'SIGINT');
    assert.equal(await running.ended, 130);
    assert.match(running.output(), /^1 signature: 1 not sent; 0 B to http:\/\/127\.0\.0\.1:1/m);
    assert.match(running.output(), /1 signature not sent: run the same push again, which sends what/);
  });
});

describe('push --watch', () => {
  it('pushes what appears, never what is half written, and ends well', async () => {
    const staging = await newStaging();
    const before = await stage(staging, 'watch/before', 1);
    const aMinuteAgo = new Date(Date.now() - 60_000);
    await utimes(before, aMinuteAgo, aMinuteAgo); // what changed a moment ago is sent behind the first line
    await using running = await pushInBackground(
      ['--watch', staging],
      /watching .*; 1 signature sent, 0 there already/,
    );
    const whole = alice.sign({ repository: 'watch/half', tag: 'v1' });
    await stage(staging, 'watch/half', 1, whole.subarray(0, -20));
    await stage(staging, 'watch/after', 1);
    await eventually(() => assert.match(running.output(), /watch\/after@sha256:\S+ 1 sent as signature-1/));
    assert.equal(await statusOf('watch/after', 1), 200);
    assert.doesNotMatch(running.output(), /watch\/half/);
    await stage(staging, 'watch/half', 1, whole);
    await eventually(() => assert.match(running.output(), /watch\/half@sha256:\S+ 1 sent as signature-1/));
    assert.equal(await running.stop(), 0);
  });
});

describe('push of a tree out of a hostile archive', () => {
  it('sends what are signatures, names the rest, and reads nothing outside of it', async () => {
    const outside = await newStaging();
    const secret = alice.sign({ repository: 'hostile/secret', tag: 'v1' });
    await writeFile(path.join(outside, 'secret'), secret);
    await stage(outside, 'hostile/elsewhere', 1);
    const staging = await newStaging();
    await stage(staging, 'hostile/good', 1);
    await stage(staging, 'hostile/junk', 1, Buffer.from('<html>not found</html>'));
    const folder = path.join(staging, folderOf('hostile/good'));
    await symlink(path.join(outside, 'secret'), path.join(folder, 'signature-2'));
    await symlink('../../../../../../etc/passwd', path.join(folder, 'signature-3'));
    await symlink(outside, path.join(staging, 'team'));
    await symlink(
      path.join(outside, folderOf('hostile/elsewhere')),
      path.join(staging, folderOf('hostile/linked')),
    );
    await writeFile(path.join(folder, 'signature-4'), '');
    await truncate(path.join(folder, 'signature-4'), 2 ** 40);
    await writeFile(path.join(folder, '\u001b[2Jsignature-5\n'), secret);
    await mkdir(path.join(staging, `..${path.sep}${path.basename(staging)}`, 'a@sha256=..'), {
      recursive: true,
    });

    const outcome = await push(staging);
    assertOutcome(
      outcome,
      1,
      /hostile\/good@sha256:\S+ 1 sent as signature-1/,
      /hostile\/junk@sha256:\S+ 1 refused[\s\S]*FIRST_BYTE/,
      /signature-2: .*link/,
      /signature-3: .*link/,
      /signature-4: .*4194304/,
    );
    assert.ok(!(outcome.stdout + outcome.stderr).includes('\u001b'), describeOutcome(outcome));
    for (const repository of ['hostile/secret', 'hostile/elsewhere', 'hostile/linked', 'hostile/junk']) {
      assert.equal(await statusOf(repository, 1), 404, repository);
    }
  });
});

describe('a signature that was withdrawn', () => {
  it('is no failure of a push, which says why it is not taken, and only an administrator may withdraw', async () => {
    const staging = await newStaging();
    const repository = 'push/withdrawn';
    for (const number of [1, 2]) await stage(staging, repository, number);
    assertOutcome(await push(staging), 0, /2 sent/);
    const at = `${server.url}/${folderOf(repository)}/signature-1`;
    const remove = (secret: string, query = '') =>
      fetch(`${at}${query}`, { method: 'DELETE', headers: { Authorization: `Bearer ${secret}` } });
    const denied = await remove(settings.LOOKASIDE_TOKEN, '?reason=leaked');
    assert.deepEqual([denied.status, JSON.parse(await denied.text()).errors[0].code], [403, 'DENIED']);
    const admin = await createToken(path.join(temp.path, 'data'), 'withdrawer', 'admin');
    assert.equal((await remove(admin)).status, 400);
    const done = await remove(admin, '?reason=leaked');
    assert.deepEqual([done.status, JSON.parse(await done.text()).withdrawnBy], [200, 'withdrawer']);
    const [first, second] = await Promise.all([1, 2].map((n) => fetch(at.replace(/1$/, `${n}`))));
    assert.deepEqual(await first?.text(), await second?.text());
    const answer = await fetch(`${server.url}/api/v1/images/${folderOf(repository).replace('=', ':')}`, {
      headers: { Authorization: `Bearer ${admin}` },
    });
    const { signatures, withdrawn } = JSON.parse(await answer.text());
    assert.deepEqual([signatures.length, signatures[0].number, withdrawn[0].reason], [1, 2, 'leaked']);
    const image = folderOf(repository).replace('=', ':');
    const outcome = await runLookaside(['show', image], settings, temp.path);
    assertOutcome(outcome, 0, /^state +withdrawn:/m, /^by +withdrawer$/m, /^because +leaked$/m);
    assertOutcome(
      await push(staging),
      0,
      /1 there already, 1 withdrawn on the server/,
      /not taken \(WITHDRAWN\): this was signature-1 of .*"leaked"/,
    );
  });
});

describe('a server that is killed in the middle of a push and started again', () => {
  it('has every signature once in the end', async () => {
    const staging = await newStaging();
    const repositories = Array.from({ length: 400 }, (_, number) => `killed/image-${number}`);
    for (const repository of repositories) await stage(staging, repository, 1);
    await using running = await pushInBackground([staging], /1 sent as signature-1/);
    process.kill(server.pid, 'SIGKILL');
    await server.ended;
    const data = path.join(temp.path, 'data');
    server = await startServer({ data, listen: server.host });
    assert.equal(await running.ended, 0, running.output());
    for (const repository of repositories) {
      assert.equal(await statusOf(repository, 1), 200, repository);
      assert.equal(await statusOf(repository, 2), 404, repository);
    }
  });
});
