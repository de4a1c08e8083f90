// Staging folders on a real file system: what is found, where it belongs, and that nothing outside is ever read.
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { appendFile, link, mkdir, rename, rm, symlink, truncate, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import path from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { isLookasideError } from '../../src/domain/errors.ts';
import { imageName } from '../../src/domain/image.ts';
import { MAX_SIGNATURE_BYTES } from '../../src/domain/limits.ts';
import type { Staged, StagedFile, Staging } from '../../src/domain/staged.ts';
import { createStaging } from '../../src/files/staging.ts';
import { openTempFolder, type TempFolder } from '../clients/temp-folder.ts';
import { asNobody, giveToNobody, needsNobody } from '../faults/unprivileged.ts';
import { folderOf, LONG_AGO, layFile, linkSignatures, sha256Hex } from '../store/lay.ts';

const APP = folderOf('team/app');
const HEX = sha256Hex(Buffer.from('team/app'));

let temp: TempFolder;
let root: string;
let outside: string;
let staging: Staging;

beforeEach(async () => {
  temp = await openTempFolder();
  root = path.join(temp.path, 'staging');
  outside = path.join(temp.path, 'outside');
  await mkdir(root);
  await mkdir(outside);
  staging = createStaging();
});

afterEach(() => temp[Symbol.asyncDispose]());

function find(...paths: readonly string[]): Promise<Staged> {
  return staging.find(paths.length === 0 ? [root] : paths, () => undefined);
}

function lay(name: string, bytes: Uint8Array | string = name): Promise<void> {
  return layFile(root, name, bytes);
}

/** `team/app@sha256:<hex> 1`, as text. */
function placeText({ place }: StagedFile): string {
  switch (place.kind) {
    case 'image':
      return `${imageName(place.image)} ${place.number}`;
    case 'manifest':
      return `${place.digest.algorithm}:${place.digest.hex} ${place.number}`;
    case 'payload':
      return 'payload';
  }
}

function sources({ files }: Staged): string[] {
  return files.map(({ source }) => path.relative(root, source));
}

function problems(staged: Staged): string[] {
  return staged.problems.map(({ source, kind }) => `${path.relative(root, source)} ${kind}`);
}

async function textOf(file: StagedFile | undefined): Promise<string> {
  assert.ok(file !== undefined, 'the file was found');
  const read = await staging.read(file);
  return 'bytes' in read ? Buffer.from(read.bytes).toString() : `${read.kind}: ${read.message}`;
}

describe('a staging folder', () => {
  it('as podman and skopeo leave it is found image by image in natural order, in each by number', async () => {
    const sha512 = sha256Hex(Buffer.from('a')) + sha256Hex(Buffer.from('b'));
    const names = [
      `${folderOf('library/busybox')}/signature-1`,
      `team/app@sha512=${sha512}/signature-1`,
      ...[1, 2, 10].map((number) => `${APP}/signature-${number}`),
      `release/sha256=${HEX}/signature-1`,
      `sha256=${HEX}/signature-1`,
      `${folderOf('team10/app')}/signature-1`,
      `${folderOf('team9/app')}/signature-1`,
    ];
    for (const name of names) await lay(name);
    const staged = await find();
    assert.deepEqual(
      sources(staged).map((name) => name.split('@')[0]),
      [
        'library/busybox',
        `release/sha256=${HEX}/signature-1`,
        `sha256=${HEX}/signature-1`,
        ...Array<string>(4).fill('team/app'),
        'team9/app',
        'team10/app',
      ],
    );
    const app = staged.files.filter(({ source }) => source.includes(APP));
    assert.deepEqual(
      app.map(placeText),
      [1, 2, 10].map((n) => `team/app@sha256:${HEX} ${n}`),
    );
    assert.ok(staged.files.some((file) => placeText(file) === `release/sha256:${HEX} 1`));
    assert.ok(staged.files.some((file) => placeText(file) === `sha256:${HEX} 1`));
    assert.deepEqual(staged.gaps, [{ source: path.join(root, APP), hidden: [10] }]);
    assert.deepEqual(staged.problems, []);
    assert.deepEqual(staged.strangers, { count: 0, first: [] });
  });

  it('of oc-mirror gives each file as the first signature of its release, and none is a gap', async () => {
    const other = sha256Hex(Buffer.from('other'));
    await lay(`signatures/4.18.1-x86_64-sha256-${HEX}`);
    await lay(`signatures/4.18.1-multi-sha256-${other}`);
    await lay(`${APP}/4.18.1-x86_64-sha256-${HEX}`);
    const staged = await find();
    assert.deepEqual(staged.files.map(placeText).sort(), [`sha256:${HEX} 1`, `sha256:${other} 1`].sort());
    assert.ok(staged.files.every(({ place }) => place.kind === 'image' && place.image.layout === 'release'));
    assert.deepEqual(staged.gaps, []);
    // among signature-1, -2 of an image no client asks for such a name
    assert.deepEqual(staged.strangers, {
      count: 1,
      first: [path.join(root, APP, `4.18.1-x86_64-sha256-${HEX}`)],
    });
  });

  it('with more signatures of an image than that can have gives the first 127, and one line for the others', async () => {
    await lay(`${APP}/signature-1`);
    linkSignatures(root, APP, 3, 20_000);
    await lay(`other@sha256:${HEX}/signature-1`);
    linkSignatures(root, `other@sha256:${HEX}`, 2, 300);
    const staged = await find();
    const numbers = staged.files.map(({ place }) => ('number' in place ? place.number : 0));
    assert.deepEqual(numbers, [1, ...Array.from({ length: 126 }, (_, k) => k + 3)]);
    assert.deepEqual(staged.gaps, [{ source: path.join(root, APP), hidden: numbers.slice(1) }]);
    assert.deepEqual(problems(staged), [`other@sha256:${HEX} no-image-name`, `${APP} too-many`]);
    assert.match(staged.problems[0]?.message ?? '', /Its signatures \(300\) are left out/);
    assert.match(
      staged.problems[1]?.message ?? '',
      /holds 19999 signatures, and an image can have 127: the first 127 by number are taken, the other 19872 left out/,
    );
  });

  it('whose files may each be another image’s gives all of them, of one manifest the first 127', async () => {
    await lay('files/signature-1');
    linkSignatures(root, 'files', 2, 300);
    assert.equal((await find()).files.length, 300);
    const given = path.join(root, 'given', APP);
    await lay(`given/${APP}/signature-1`);
    linkSignatures(root, `given/${APP}`, 2, 300);
    const staged = await find(given);
    assert.equal(staged.files.length, 127);
    assert.ok(staged.files.every(({ place }) => place.kind === 'manifest'));
    assert.deepEqual(
      staged.problems.map(({ source, kind }) => [source, kind]),
      [[given, 'too-many']],
    );
  });

  it('gives bytes and time of each file as they are now', async () => {
    await lay(`${APP}/signature-1`, 'before');
    const [file] = (await find()).files;
    assert.ok(file !== undefined);
    const read = await staging.read(file);
    assert.ok('bytes' in read);
    assert.deepEqual(read.modifiedAt, LONG_AGO);
    await lay(`${APP}/signature-1`, 'after');
    assert.equal(await textOf(file), 'after');
    assert.equal(await textOf({ ...file }), 'after');
    await rm(path.join(root, APP), { recursive: true });
    assert.match(await textOf(file), /^gone: /);
  });

  it('that is given with others holds each file once, in the order given', async () => {
    await lay(`${APP}/signature-1`);
    await lay(`${folderOf('team/b')}/signature-1`);
    await lay('single');
    const single = path.join(root, 'single');
    const staged = await find(single, `${root}/`, path.join(root, 'team'), root, single);
    assert.deepEqual(
      sources(staged).sort(),
      [`${APP}/signature-1`, `${folderOf('team/b')}/signature-1`, 'single'].sort(),
    );
    assert.equal(staged.files[0]?.source, single);
    assert.ok(staged.files[1]?.source.startsWith(`${root}/team`));
    assert.equal(await textOf(staged.files[1]), `${APP}/signature-1`.replace(/.*/, sources(staged)[1] ?? ''));
  });

  it('counts files that are no signatures, names twenty, and does not enter hidden folders', async () => {
    for (let i = 0; i < 30; i += 1) await lay(`${APP}/junk-${i + 10}`);
    await lay(`${APP}/.signature-1.Xy12`);
    await lay(`.lookaside/tmp/${APP}/signature-1`);
    const { files, strangers } = await find();
    assert.deepEqual(files, []);
    assert.equal(strangers.count, 31);
    assert.equal(strangers.first.length, 20);
    assert.equal(strangers.first[1], path.join(root, APP, 'junk-10'));
  });

  it('tells how many files were found so far', async () => {
    for (const name of ['a', 'b', 'c']) await lay(`${folderOf(name)}/signature-1`);
    const counts: number[] = [];
    await staging.find([root], (files) => counts.push(files));
    assert.deepEqual(counts, [1, 2, 3]);
  });

  it('says so where a folder is nearly an image’s, and sends nothing of it', async () => {
    await lay(`team/app@sha256=${HEX.toUpperCase()}/signature-1`);
    await lay(`my team/app@sha256=${HEX}/signature-1`);
    await lay('team/other@sha256=junk/readme');
    const staged = await find();
    assert.deepEqual(staged.files, []);
    assert.deepEqual(
      staged.problems.map(({ kind }) => kind),
      ['no-image-name', 'no-image-name'],
    );
    assert.match(
      staged.problems.map(({ message }) => message).join(),
      /is not a repository path.*lower-case hex/,
    );
  });
});

describe('what cannot be told from the path', () => {
  it('of an image’s own folder is the repository, so the manifest decides', async () => {
    await lay(`${APP}/signature-2`);
    const staged = await find(path.join(root, APP));
    assert.deepEqual(staged.files.map(placeText), [`sha256:${HEX} 2`]);
    assert.deepEqual(
      staged.gaps.map(({ hidden }) => hidden),
      [[2]],
    );
  });

  it('of a file that was named, and of one in any other folder, is in the payload', async () => {
    await lay(`${APP}/signature-1`);
    await lay('mail/signature-7');
    const staged = await find(path.join(root, APP, 'signature-1'), path.join(root, 'mail'));
    assert.deepEqual(staged.files.map(placeText), ['payload', 'payload']);
    assert.deepEqual(staged.gaps, []);
  });
});

describe('a dir: image', () => {
  const MANIFEST = '{"schemaVersion":2}';
  const DIGEST = `sha256:${sha256Hex(Buffer.from(MANIFEST))}`;

  async function layDirImage(folder: string, manifest = MANIFEST): Promise<void> {
    await lay(`${folder}/version`, 'Directory Transport Version: 1.1\n');
    await lay(`${folder}/manifest.json`, manifest);
    await lay(`${folder}/${HEX}`, 'a layer');
    await lay(`${folder}/signature-1`);
  }

  it('gives its signatures the manifest that stands beside them, wherever it lies', async () => {
    await layDirImage('app:v1');
    await layDirImage(`sync/app@sha256:${HEX}`);
    await lay(`app:v1/${HEX}.signature-2`);
    const staged = await find();
    assert.deepEqual(staged.files.map(placeText), [`${DIGEST} 1`, `sha256:${HEX} 2`, `${DIGEST} 1`]);
    assert.deepEqual(staged.gaps, [{ source: path.join(root, 'app:v1', HEX), hidden: [2] }]);
    assert.deepEqual(staged.problems, []);
    assert.equal(staged.strangers.count, 0);
  });

  it('may be what is given', async () => {
    await layDirImage('app');
    assert.deepEqual((await find(path.join(root, 'app'))).files.map(placeText), [`${DIGEST} 1`]);
  });

  it('whose manifest is too large, missing, a link or of schema 1 leaves it to the payload', async () => {
    await layDirImage('large', ' '.repeat(4 * 1024 * 1024 + 1));
    await layDirImage('schema-1', '{"schemaVersion":1,"signatures":[{"protected":"e30"}]}');
    await layDirImage('missing');
    await rm(path.join(root, 'missing/manifest.json'));
    await layDirImage('linked');
    await rename(path.join(root, 'linked/manifest.json'), path.join(outside, 'manifest.json'));
    await symlink(path.join(outside, 'manifest.json'), path.join(root, 'linked/manifest.json'));
    await layDirImage('other');
    await lay('other/version', 'of something else');
    assert.deepEqual((await find()).files.map(placeText), Array<string>(5).fill('payload'));
  });
});

describe('a name that is given', () => {
  it('is followed when it is a link, and nothing below it is', async () => {
    await lay(`${APP}/signature-1`, 'one');
    await layFile(outside, 'secret', 'secret');
    await symlink(root, path.join(temp.path, 'by-link'));
    await symlink(path.join(outside, 'secret'), path.join(root, APP, 'signature-2'));
    await symlink(path.join(root, APP, 'signature-1'), path.join(temp.path, 'file-by-link'));
    const staged = await find(path.join(temp.path, 'by-link'), path.join(temp.path, 'file-by-link'));
    assert.equal(staged.files.length, 1);
    assert.equal(await textOf(staged.files[0]), 'one');
    assert.deepEqual(
      staged.problems.map(({ kind }) => kind),
      ['link'],
    );
  });

  it('and is not there, or is neither folder nor file, is refused before anything else is looked at', async () => {
    execFileSync('mkfifo', [path.join(temp.path, 'pipe')]);
    for (const name of ['nothing', 'pipe']) {
      const given = path.join(temp.path, name);
      await assert.rejects(find(root, given), (error) => {
        assert.ok(isLookasideError(error, 'CONFIG_INVALID'));
        assert.ok(error.message.includes(given), error.message);
        return true;
      });
    }
  });

  it('and is a file is no folder to watch or look below', async () => {
    await lay('file');
    const file = path.join(root, 'file');
    await assert.rejects(
      staging.watch(file, { onChange: () => undefined, onPolling: () => undefined }),
      /is a file; expected a folder/,
    );
    await assert.rejects(staging.findBelow(file, ['']), /is a file; expected a folder/);
  });
});

describe('single folders below a root', () => {
  it('are looked into by themselves; the empty name is all', async () => {
    await lay(`${APP}/signature-1`);
    await lay('team/signature-3');
    assert.deepEqual(sources(await staging.findBelow(root, ['team', 'gone', APP])), [
      'team/signature-3',
      `${APP}/signature-1`,
    ]);
    assert.deepEqual(sources(await staging.findBelow(root, ['team'])), ['team/signature-3']);
    assert.equal((await staging.findBelow(root, [APP, ''])).files.length, 2);
  });

  it('never lead out of it', async () => {
    await layFile(outside, 'signature-1', 'secret');
    await symlink(outside, path.join(root, 'team'));
    assert.deepEqual((await staging.findBelow(root, ['team', '../outside'])).files, []);
    await assert.rejects(staging.findBelow(path.join(temp.path, 'gone'), ['']), /no such file/);
  });
});

describe('a hostile tree', () => {
  it('of links, pipes, sockets and folders under signatures’ names is told of, and the rest is sent', async () => {
    await lay(`${APP}/signature-1`, 'good');
    const at = (number: number) => path.join(root, APP, `signature-${number}`);
    await layFile(outside, 'signature-1', 'secret');
    await symlink(path.join(outside, 'signature-1'), at(2));
    await symlink('signature-1', at(3));
    await symlink('signature-4', at(4));
    execFileSync('mkfifo', [at(5)]);
    await mkdir(at(6));
    const socket = path.join(temp.path, 'socket');
    const server = createServer().listen(socket);
    await once(server, 'listening');
    await rename(socket, at(7));
    await symlink(outside, path.join(root, folderOf('team/linked')));
    try {
      const staged = await find();
      assert.deepEqual(sources(staged), [`${APP}/signature-1`]);
      const kinds = ['link', 'link', 'link', 'no-file', 'no-file', 'no-file'];
      assert.deepEqual(problems(staged).sort(), [
        ...kinds.map((kind, position) => `${APP}/signature-${position + 2} ${kind}`),
        `${folderOf('team/linked')} link`,
      ]);
      for (const number of [2, 4, 5, 6, 7]) {
        const read = await staging.read({ source: at(number), place: { kind: 'payload' } });
        assert.ok('kind' in read && ['link', 'no-file'].includes(read.kind), JSON.stringify(read));
      }
    } finally {
      server.close();
    }
  });

  it('of odd names, invalid UTF-8 among them, is walked to its end', async () => {
    await lay(`${APP}/signature-1`);
    const odd = ['new\nline', 'esc\u001b[31m', 'x'.repeat(255), ' ', '-rf', '\u202esignature-1'];
    for (const name of odd) await lay(`odd/${name}`);
    const raw = (name: string) => Buffer.concat([Buffer.from(`${root}/odd/`), Buffer.from(name, 'latin1')]);
    await writeFile(raw('signature-\xff'), 'x');
    await mkdir(raw('folder-\xff'));
    const staged = await find();
    assert.deepEqual(sources(staged), [`${APP}/signature-1`]);
    assert.equal(staged.strangers.count, odd.length + 1);
    assert.match(staged.problems[0]?.message ?? '', /name is not UTF-8; rename it/);
  });

  it('holds images as deep as a path may be, and names those whose path is too long beside the others', async () => {
    const deep = 'c/'.repeat(127);
    const long = `${'l'.repeat(200)}/${'m'.repeat(55)}`;
    const places = [`${deep}${folderOf('c')}`, `${deep}c/sha256=${HEX}`, `${long}/sha256=${HEX}`, APP];
    for (const place of places) await lay(`${place}/signature-1`);
    const staged = await find();
    assert.deepEqual(
      staged.files.map(placeText).sort(),
      [
        `${deep}${folderOf('c').replace('=', ':')} 1`,
        `${deep}c/sha256:${HEX} 1`,
        `${APP.replace('=', ':')} 1`,
      ].sort(),
    );
    const [problem, ...others] = staged.problems;
    assert.deepEqual(others, []);
    assert.equal(problem?.kind, 'no-image-name');
    assert.equal(problem?.source, path.join(root, long, `sha256=${HEX}`));
    assert.match(problem?.message ?? '', /has 256 bytes, and registries take 255.*left out/);
  });

  it('that is deeper than the longest path, or than a path may be long, is followed no further', async () => {
    await lay(`${'e/'.repeat(129)}signature-1`);
    const dig = `
      const { chdir } = process;
      const { mkdirSync } = require('node:fs');
      for (const [name, levels] of [['deep', 500], ['long'.repeat(60), 30]]) {
        chdir(${JSON.stringify(root)});
        for (let level = 0; level < levels; level += 1) { mkdirSync(name); chdir(name); }
      }`;
    execFileSync(process.execPath, ['-e', dig]);
    const staged = await find();
    assert.equal(staged.files.length, 1);
    const messages = staged.problems.map(({ message }) => message);
    assert.equal(messages.length, 2);
    assert.match(messages.join(), /more than 129 folders deep.*name too long \(ENAMETOOLONG\); move it up/);
    // too long a path for what removes the rest
    execFileSync('rm', ['-rf', root]);
  });

  it('with a huge file where a signature should be never has it read', async () => {
    await lay(`${APP}/signature-1`, 'x');
    await truncate(path.join(root, APP, 'signature-1'), 2 ** 40);
    await lay(`${APP}/signature-2`, Buffer.alloc(MAX_SIGNATURE_BYTES));
    const { files } = await find();
    assert.match(await textOf(files[0]), /^too-large: is over 4194304 bytes/);
    assert.equal((await textOf(files[1])).length, MAX_SIGNATURE_BYTES);
    await appendFile(path.join(root, APP, 'signature-2'), 'x');
    assert.match(await textOf(files[1]), /^too-large/);
  });

  it('of which a folder becomes a link after it was found gives nothing from where that leads', async () => {
    await lay(`${APP}/signature-1`, 'mine');
    const [file] = (await find()).files;
    await layFile(outside, `${APP}/signature-1`, 'secret');
    const team = path.join(root, 'team');
    await rename(team, `${team}-moved`);
    await symlink(path.join(outside, 'team'), team);
    assert.match(await textOf(file), /^link: now leads elsewhere/);
    await rm(team);
    await rename(`${team}-moved`, team);
    assert.equal(await textOf(file), 'mine');
    await rm(path.join(root, APP, 'signature-1'));
    await symlink(path.join(outside, APP, 'signature-1'), path.join(root, APP, 'signature-1'));
    assert.match(await textOf(file), /^link: is a symbolic link/);
  });

  it('gives a file that has several names under each, for that cannot be told', async () => {
    await lay(`${APP}/signature-1`, 'mine');
    await link(path.join(root, APP, 'signature-1'), path.join(root, APP, 'signature-2'));
    assert.equal((await find()).files.length, 2);
  });

  it('never lets a file be read that was not found below what was given', async () => {
    await layFile(outside, 'signature-1', 'secret');
    const place = { kind: 'payload' } as const;
    await lay(`${APP}/signature-1`);
    await find();
    const around = { source: `${root}/../outside/signature-1`, place };
    assert.match(await textOf(around), /^link: now leads elsewhere/);
    await assert.rejects(
      staging.read({ source: path.join(outside, 'signature-1'), place }),
      /never found here/,
    );
  });
});

describe('without permission', () => {
  it('a folder or file is told of, and the rest goes on', { ...needsNobody() }, async () => {
    await lay(`${APP}/signature-1`);
    await lay(`${APP}/signature-2`);
    await lay(`${folderOf('team/closed')}/signature-1`);
    execFileSync('chmod', [
      '000',
      path.join(root, APP, 'signature-2'),
      path.join(root, folderOf('team/closed')),
    ]);
    execFileSync('chmod', ['755', temp.path]);
    await giveToNobody(root);
    const program = `
      const { createStaging } = await import(${JSON.stringify(fileURLToPath(new URL('../../src/files/staging.js', import.meta.url)))});
      const staging = createStaging();
      const staged = await staging.find([${JSON.stringify(root)}], () => undefined);
      const read = [];
      for (const file of staged.files) read.push(await staging.read(file));
      console.log(JSON.stringify({ problems: staged.problems, read }));`;
    const [name, ...args] = asNobody([process.execPath, '--input-type=module', '-e', program]);
    const { stdout, stderr } = spawnSync(name, args, { encoding: 'utf8', cwd: '/' });
    const report = JSON.parse(stdout || JSON.stringify({ stderr }));
    assert.deepEqual(report.problems, [
      {
        source: path.join(root, folderOf('team/closed')),
        kind: 'unreadable',
        message: 'cannot be read: permission denied (EACCES); give yourself permission to read it',
      },
    ]);
    assert.ok('bytes' in report.read[0]);
    assert.equal(report.read[1].kind, 'unreadable');
  });
});
