// lookaside import, from real folders into real trees: alone, through a server, killed in the middle.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync } from 'node:fs';
import { mkdir, readFile, symlink, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { after, before, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { describeOutcome, type Outcome } from '../clients/command.ts';
import { eventually } from '../clients/eventually.ts';
import { runLookaside, startServer } from '../clients/server.ts';
import { addKey, makeSigner } from '../clients/signer.ts';
import { openTempFolder, type TempFolder } from '../clients/temp-folder.ts';
import { isFull } from '../faults/promise.ts';
import { requestRaw } from '../http/raw-request.ts';
import { events } from '../sqlite/scratch.ts';
import { folderOf, linkSignatures } from '../store/lay.ts';

const MAIN = fileURLToPath(new URL('../../src/main.js', import.meta.url));

let temp: TempFolder;
const alice = makeSigner('alice');
const stranger = makeSigner('stranger');

before(async () => {
  temp = await openTempFolder();
});
after(() => temp?.[Symbol.asyncDispose]());

let count = 0;

/** A data directory that knows alice's key, and an empty folder beside it. */
async function open(): Promise<{ readonly data: string; readonly source: string; readonly tree: string }> {
  count += 1;
  const [data, source] = ['data', 'source'].map((name) => path.join(temp.path, `${name}-${count}`));
  assert.ok(data !== undefined && source !== undefined);
  for (const folder of [data, source]) await mkdir(folder);
  await addKey(data, alice);
  return { data, source, tree: path.join(data, 'sigstore') };
}

async function lay(source: string, name: string, bytes: Uint8Array | string): Promise<void> {
  const file = path.join(source, name);
  await mkdir(path.dirname(file), { recursive: true });
  await writeFile(file, bytes);
}

function signed(repository: string, tag: string, signer = alice): Buffer {
  return signer.sign({ repository, tag });
}

interface ImportReport {
  readonly images: number;
  readonly created: number;
  readonly exists: number;
  readonly refused: number;
  readonly states: Readonly<Record<string, number>>;
  readonly results: readonly { readonly source: string; readonly result: string; readonly code?: string }[];
  readonly gaps: readonly unknown[];
}

function reportOf(outcome: Outcome): ImportReport {
  return JSON.parse(outcome.stdout) as ImportReport;
}

const TEAM = folderOf('team/app');

/** Three that are taken and four that are not. */
async function layMixture(source: string): Promise<readonly Buffer[]> {
  const kept = [signed('team/app', 'v1'), signed('team/app', 'v2', stranger), signed('team/app', 'v3')];
  const [first, second, third] = kept;
  assert.ok(first && second && third);
  await lay(source, `${TEAM}/signature-1`, first);
  await lay(
    source,
    `${TEAM}/signature-2`,
    '-----BEGIN PGP MESSAGE-----\n\nowGb\n-----END PGP MESSAGE-----\n',
  );
  await lay(source, `${TEAM}/signature-3`, second);
  await lay(source, `${TEAM}/signature-5`, third);
  await lay(source, `${folderOf('team/other')}/signature-1`, first);
  await lay(source, `${folderOf('team/empty')}/signature-1`, '');
  await lay(source, `${TEAM}/README`, 'no signature');
  await symlink('/etc/hostname', path.join(source, TEAM, 'signature-6'));
  return kept;
}

async function assertTree(tree: string, folder: string, signatures: readonly Buffer[]): Promise<void> {
  const expected = signatures.map((_, position) => `signature-${position + 1}`);
  assert.deepEqual(readdirSync(path.join(tree, folder)).sort(), expected.sort());
  for (const [position, bytes] of signatures.entries()) {
    const there = await readFile(path.join(tree, folder, `signature-${position + 1}`));
    assert.ok(there.equals(bytes), `signature-${position + 1} has other bytes`);
  }
}

describe('an import', () => {
  it('takes what clients could read in its order, names what it refuses, and changes nothing the next time', async () => {
    const { data, source, tree } = await open();
    const kept = await layMixture(source);

    const dry = await runLookaside(['import', source, '--dry-run', '--json', '--data', data]);
    assert.equal(dry.status, 1, describeOutcome(dry));
    assert.equal(reportOf(dry).created, 3);
    assert.ok(!existsSync(path.join(tree, TEAM)), 'a dry run stores nothing');

    const outcome = await runLookaside(['import', source, '--data', data]);
    assert.equal(outcome.status, 1, describeOutcome(outcome));
    for (const pattern of [
      /refused {2}.*app@sha256=[0-9a-f]+\/signature-2 {2}ARMORED {2}\S/,
      /refused {2}.*team\/empty@.*\/signature-1 {2}EMPTY {2}\S/,
      /refused {2}.*team\/other@.*\/signature-1 {2}DIGEST_MISMATCH {2}\S/,
      /refused {2}.*\/signature-6 {2}link {2}\S/,
      /signature-5.* behind a gap/,
      /1 file not named like a signature left out/,
      /^unknown-key: by keys that are not registered here. Add them: lookaside key add FILE$/m,
      /1 image, 3 signatures stored \(2 verified, 1 unknown-key\), 0 there already, 4 refused/,
    ]) {
      assert.match(outcome.stdout, pattern);
    }
    await assertTree(tree, TEAM, kept);
    const imports = events(data).filter(({ leaf }) => JSON.parse(leaf).action === 'import');
    assert.equal(imports.length, 3);
    assert.ok(imports.every((event) => JSON.parse(event.private ?? '').actor === 'administrator'));

    const again = reportOf(await runLookaside(['import', source, '--json', '--data', data]));
    assert.deepEqual([again.created, again.exists, again.refused], [0, 3, 4]);
    await assertTree(tree, TEAM, kept);
    assert.equal(events(data).length, imports.length + 1, 'beside the event of the key');
  });

  it('of a folder with 20,000 files takes 127 at most, and tells of the others in one line', async () => {
    const { data, source, tree } = await open();
    const kept = [signed('team/app', 'v1'), signed('team/app', 'v2')];
    for (const [position, bytes] of kept.entries())
      await lay(source, `${TEAM}/signature-${position + 1}`, bytes);
    linkSignatures(source, TEAM, 3, 20_000);
    const long = `${'l'.repeat(200)}/${'m'.repeat(60)}@${TEAM.split('@')[1]}`;
    await lay(source, `${long}/signature-1`, kept[0] ?? '');
    const outcome = await runLookaside(['import', source, '--data', data]);
    assert.equal(outcome.status, 1, describeOutcome(outcome));
    const refusals = outcome.stdout.split('\n').filter((line) => line.startsWith('refused'));
    assert.equal(refusals.length, 2, outcome.stdout);
    assert.match(
      refusals.join('\n'),
      /team\/app@sha256=[0-9a-f]+ {2}too-many {2}holds 20000 .* the other 19873 left out/,
    );
    assert.match(
      refusals.join('\n'),
      /no-image-name {2}the path "lll.* has 261 bytes, and registries take 255/,
    );
    assert.match(outcome.stdout, /2 signatures stored \(2 verified\), 125 there already, 2 refused/);
    await assertTree(tree, TEAM, kept);
  });

  it('goes through the server that runs, whose clients see it at once', async () => {
    const { data, source, tree } = await open();
    const kept = await layMixture(source);
    const server = await startServer({ data });
    try {
      assert.equal((await requestRaw(server.port, `GET /${TEAM}/signature-1`)).status, 404);
      // as on the host of a container, where the same tree lies at another path
      const link = `${data}-link`;
      await symlink(data, link);
      const outcome = await runLookaside(['import', source, '--json', '--data', link]);
      assert.equal(outcome.status, 1, describeOutcome(outcome));
      const { created, refused, states } = reportOf(outcome);
      assert.deepEqual({ created, refused, states }, { created: 3, refused: 4, states: STATES });
      for (const [position, bytes] of kept.entries()) {
        const { status, body } = await requestRaw(server.port, `GET /${TEAM}/signature-${position + 1}`);
        assert.ok(status === 200 && body.equals(bytes));
      }
      await assertTree(tree, TEAM, kept);
      const unasked = await requestRaw(
        server.port,
        'POST /api/v1/import',
        ['Content-Type: text/plain'],
        Buffer.from('x'),
      );
      assert.equal(unasked.status, 401);
    } finally {
      await server.stop();
    }
  });

  it('puts signatures of dir: images and single files where their claim says', async () => {
    const { data, source, tree } = await open();
    const [first, second] = [signed('team/app', 'v1'), signed('team/app', 'v2')];
    await lay(source, 'dir/version', 'Directory Transport Version: 1.1\n');
    await lay(source, 'dir/manifest.json', 'team/app'); // whose digest folderOf() makes
    await lay(source, 'dir/signature-1', first);
    await lay(source, 'dir/signature-2', signed('team/other', 'v1'));
    const images = await runLookaside(['import', path.join(source, 'dir'), '--data', data]);
    assert.equal(images.status, 1, describeOutcome(images));
    assert.match(images.stdout, /signature-2 {2}DIGEST_MISMATCH/);
    await lay(source, 'app.signature', second);
    const single = await runLookaside(['import', path.join(source, 'app.signature'), '--data', data]);
    assert.equal(single.status, 0, describeOutcome(single));
    await assertTree(tree, TEAM, [first, second]);
  });

  it('of the folder of one image, renamed or not, keeps the order of its files', async () => {
    const kept = Array.from({ length: 60 }, (_, n) => signed('team/app', `v${n}`));
    for (const name of [TEAM, 'renamed']) {
      const { data, source, tree } = await open();
      const folder = path.join(source, name);
      for (const [position, bytes] of kept.entries()) await lay(folder, `signature-${position + 1}`, bytes);
      const outcome = await runLookaside(['import', folder, '--json', '--data', data]);
      assert.equal(outcome.status, 0, describeOutcome(outcome));
      await assertTree(tree, TEAM, kept);
    }
  });

  it('that the disk has no room for says so below what it found until then', async () => {
    const { data, source } = await open();
    await lay(source, `${TEAM}/signature-1`, signed('team/app', 'v1'));
    await symlink('/etc/hostname', path.join(source, TEAM, 'signature-2'));
    const full = { LOOKASIDE_MIN_FREE: '9999TiB' };
    const outcome = await runLookaside(['import', source, '--data', data], full);
    assert.equal(outcome.status, 1, describeOutcome(outcome));
    assert.match(outcome.stdout, /^refused .*signature-2 .*symbolic link[\s\S]*0 signatures stored/m);
    assert.match(outcome.stderr, /^lookaside: .*LOOKASIDE_MIN_FREE/m);
    const report = JSON.parse(
      (await runLookaside(['import', source, '--json', '--data', data], full)).stdout,
    );
    assert.deepEqual([report.failure.code, report.problems.length], ['DISK_FULL', 1]);
  });

  it('that is killed stores the rest when it runs again, and nothing twice', async () => {
    const { data, source, tree } = await open();
    const repositories = Array.from({ length: 150 }, (_, n) => `many/app${n}`);
    for (const repository of repositories) {
      await lay(source, `${folderOf(repository)}/signature-1`, signed(repository, 'v1'));
    }
    const many = path.join(tree, 'many');
    const child = spawn(process.execPath, [MAIN, 'import', source, '--data', data], { stdio: 'ignore' });
    // folders are made ahead of their signatures, of many images at once
    const isThere = (folder: string) => existsSync(path.join(many, folder, 'signature-1'));
    await eventually(() => assert.ok(readdirSync(many).some(isThere)));
    child.kill('SIGKILL');
    await once(child, 'exit');
    const before = readdirSync(many).length;

    const outcome = await runLookaside(['import', source, '--json', '--data', data]);
    assert.equal(outcome.status, 0, describeOutcome(outcome));
    const { created, exists } = reportOf(outcome);
    assert.equal(created + exists, 150);
    assert.ok(exists > 0 && exists <= before, `${exists} were there, ${before} folders`);
    for (const repository of repositories) {
      assert.deepEqual(readdirSync(path.join(tree, folderOf(repository))), ['signature-1']);
    }
    const recorded = events(data).map(({ leaf }) => JSON.parse(leaf));
    const images = recorded.filter(({ action }) => action === 'import').map(({ image }) => image);
    assert.deepEqual(images.sort(), repositories.map((repository) => folderOf(repository)).sort());
    assert.deepEqual(readdirSync(path.join(tree, '.lookaside/tmp')), []);
  });
});

const STATES = { verified: 2, 'unknown-key': 1 };

describe('an import that cannot be tried ends with 2 and says why', () => {
  it('of the tree itself, of a part of it, or of a folder around it', async () => {
    const { data, source, tree } = await open();
    await lay(source, `${TEAM}/signature-1`, signed('team/app', 'v1'));
    await runLookaside(['import', source, '--data', data]);
    await symlink(tree, path.join(temp.path, `link-${count}`));
    const more = isFull ? [path.join(tree, 'team'), tree] : [];
    for (const folder of [data, path.join(temp.path, `link-${count}`), ...more]) {
      const outcome = await runLookaside(['import', folder, '--data', data]);
      assert.equal(outcome.status, 2, describeOutcome(outcome));
      assert.match(outcome.stderr, /the tree that is to be imported into/);
    }
    await assertTree(tree, TEAM, [signed('team/app', 'v1')]);
  });

  it('into a shared tree, also when only the server knows that it is one', async () => {
    const { data, source } = await open();
    const shared = await runLookaside(['import', source, '--data', data, '--root', `${source}-shared`]);
    assert.equal(shared.status, 2, describeOutcome(shared));
    assert.match(shared.stderr, /shared tree/);
    const server = await startServer({ data, root: `${source}-shared` });
    const outcome = await runLookaside(['import', source, '--data', data]);
    await server.stop();
    assert.equal(outcome.status, 2, describeOutcome(outcome));
    assert.match(outcome.stderr, /another tree/);
  });

  it('of a folder that is not there', async () => {
    const { data, source } = await open();
    const outcome = await runLookaside(['import', path.join(source, 'nowhere'), '--data', data]);
    assert.equal(outcome.status, 2, describeOutcome(outcome));
  });
});
