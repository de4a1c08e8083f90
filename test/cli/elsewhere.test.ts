// Commands that administer, asked of a server by its URL: what they print, who is told to have done it, and which of a URL
// and a folder counts.
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { after, before, describe, it } from 'node:test';
import { describeOutcome, type Outcome, run } from '../clients/command.ts';
import { makeDataDirectory } from '../clients/data-directory.ts';
import { eventually } from '../clients/eventually.ts';
import {
  createToken,
  type LookasideServer,
  lookaside,
  runLookaside,
  startServer,
} from '../clients/server.ts';
import { addKey, makeSigner } from '../clients/signer.ts';
import { openTempFolder, type TempFolder } from '../clients/temp-folder.ts';
import { events } from '../sqlite/scratch.ts';
import { folderOf, layFile, sha256Hex } from '../store/lay.ts';
import { type Act, json, serveActs } from '../upstream/scripted-server.ts';

const alice = makeSigner('alice');
const bob = makeSigner('bob');

let temp: TempFolder;
let data: string;
let server: LookasideServer;
let remote: readonly string[];
/** A staging folder with one signature of each: by alice, by bob, and what is none. */
let staged: string;

before(async () => {
  temp = await openTempFolder();
  data = path.join(temp.path, 'data');
  staged = path.join(temp.path, 'staged');
  await mkdir(data);
  await addKey(data, alice);
  for (const role of ['admin', 'uploader'] as const) {
    await writeFile(tokenFile(role), await createToken(data, role, role));
  }
  server = await startServer({ data });
  remote = ['--server', server.url, '--token-file', tokenFile('admin')];
  for (const signer of [alice, bob]) {
    const bytes = signer.sign({ repository: `team/${signer.name}`, tag: 'v1' });
    await layFile(staged, `${folderOf(`team/${signer.name}`)}/signature-1`, bytes);
  }
  await layFile(staged, `${folderOf('team/none')}/signature-1`, '');
});
after(async () => {
  await server?.[Symbol.asyncDispose]();
  await temp?.[Symbol.asyncDispose]();
});

function tokenFile(role: 'admin' | 'uploader'): string {
  return path.join(temp.path, `${role}.token`);
}

async function printed(args: readonly string[], status = 0): Promise<Outcome> {
  const outcome = await runLookaside(args);
  assert.equal(outcome.status, status, describeOutcome(outcome));
  return outcome;
}

describe('a server elsewhere', () => {
  for (const command of [['key', 'show', alice.fingerprint], ['token', 'list'], ['fsck']]) {
    it(`answers ${command.slice(0, 2).join(' ')} as the data directory does`, async () => {
      const there = await printed([...command, '--json', ...remote]);
      const here = await printed([...command, '--json', '--data', data]);
      assert.deepEqual(JSON.parse(there.stdout), JSON.parse(here.stdout));
    });
  }

  it('revokes a tag and a key, which nobody is asked about here, and lists what is withdrawn', async () => {
    const lost = makeSigner('lost');
    const file = path.join(temp.path, 'lost.gpg');
    await writeFile(file, lost.certificate);
    await printed(['key', 'add', file, ...remote]);
    const stage = path.join(temp.path, 'lost');
    for (const tag of ['v1', 'v2']) {
      const bytes = lost.sign({ repository: 'team/lost', manifest: tag, tag });
      await layFile(stage, `${folderOf('team/lost', tag)}/signature-1`, bytes);
    }
    await printed(['import', stage, ...remote]);
    const tag = ['trust', 'revoke', 'team/lost:v1', '--reason', 'wrong build', ...remote];
    const refused = await printed(tag, 2);
    assert.match(
      refused.stdout,
      new RegExp(`^team/lost@sha256:[0-9a-f]{64} +1 +verified +${lost.fingerprint}$`, 'm'),
    );
    assert.match(refused.stderr, /nothing was withdrawn, because nobody can be asked here; give --yes/);
    assert.match(
      (await printed([...tag, '--yes'])).stdout,
      /^1 signature withdrawn; clients do not get them/m,
    );
    await printed([...tag, '--yes'], 1);

    const key = ['key', 'revoke', lost.fingerprint, '--reason', 'stolen', '--withdraw', ...remote];
    const asked = await printed(key, 2);
    assert.match(asked.stdout, /^No other verified signature: 1 image, /m);
    assert.match(asked.stderr, /nothing was revoked, because nobody can be asked here; give --yes/);
    const { brokenImages } = JSON.parse((await printed([...key, '--dry-run', '--json'])).stdout);
    assert.deepEqual(brokenImages.length, 1);
    const {
      changed,
      withdrawn,
      key: details,
    } = JSON.parse((await printed([...key, '--yes', '--json'])).stdout);
    assert.deepEqual(
      [changed, withdrawn, details.state, details.revocation.by],
      [true, 1, 'revoked', 'admin'],
    );
    const url = `${server.url}/keys/${lost.fingerprint}.asc`;
    assert.equal((await fetch(url)).status, 404, 'clients that got it would trust it');
    assert.equal((await fetch(`${server.url}/pks/lookup?op=get&search=0x${lost.fingerprint}`)).status, 404);

    const list = ['list', 'team/lost', '--state', 'withdrawn', ...remote];
    const { stdout } = await printed(list);
    assert.match(stdout, /^IMAGE +N +WITHDRAWN +BY +UNTIL +REASON$/m);
    assert.match(stdout, / admin +- +wrong build$/m);
    assert.match(stdout, / admin +- +stolen$/m);
    const listed = JSON.parse((await printed([...list, '--json'])).stdout);
    assert.deepEqual(listed.withdrawn.length, 2);
    await printed([...list, '--tag', 'v1'], 2);
  });

  it('asks at a terminal before a key is revoked: y goes on, and no answer leaves all as it was', async () => {
    const doubted = makeSigner('doubted');
    const file = path.join(temp.path, 'doubted.gpg');
    await writeFile(file, doubted.certificate);
    await printed(['key', 'add', file, ...remote]);
    const [program, ...args] = lookaside('key', 'revoke', doubted.fingerprint, '--reason', 'lost', ...remote);
    const isTerminal = 'data:text/javascript,process.stdin.isTTY=process.stderr.isTTY=true';
    const answered = (input: string) =>
      run([program, '--import', isTerminal, ...args], { env: { PATH: process.env.PATH ?? '' }, input });
    const stateNow = async () =>
      JSON.parse((await printed(['key', 'show', doubted.fingerprint, '--json', ...remote])).stdout).state;
    // the second is the end of the input, as by Ctrl-D
    for (const input of ['n\n', '']) {
      const outcome = await answered(input);
      assert.equal(outcome.status, 1, describeOutcome(outcome));
      assert.match(outcome.stderr, /Revoke the key\? \[y\/N\] /);
      assert.match(outcome.stdout, /^Nothing was changed\.$/m);
      assert.equal(await stateNow(), 'valid');
    }
    const outcome = await answered('y\n');
    assert.equal(outcome.status, 0, describeOutcome(outcome));
    assert.match(outcome.stdout, new RegExp(`^The key ${doubted.fingerprint} is revoked\\.`, 'm'));
    assert.equal(await stateNow(), 'revoked');
  });

  it('is named where the tree is named on its own machine', async () => {
    for (const command of [['fsck', '--repair'], ['reindex']]) {
      const { stdout } = await printed([...command, ...remote]);
      assert.match(stdout, /: [0-9]+ images, [0-9]+ signatures, 0 problems/);
      assert.ok(stdout.startsWith(`${server.url}: `), stdout);
    }
  });

  it('takes keys, tokens and whole trees, and knows whose token it was', async () => {
    const file = path.join(temp.path, 'bob.gpg');
    await writeFile(file, bob.certificate);
    const added = JSON.parse((await printed(['key', 'add', file, '--json', ...remote])).stdout);
    assert.deepEqual(
      added.results.map((one: { file: string; result: string }) => [one.file, one.result]),
      [[file, 'added']],
    );

    const imported = ['import', staged, '--json', ...remote];
    const dry = JSON.parse((await printed([...imported, '--dry-run'], 1)).stdout);
    assert.deepEqual([dry.created, dry.refused], [2, 1]);
    assert.ok(!existsSync(path.join(data, 'sigstore', folderOf('team/alice'))));
    const report = JSON.parse((await printed(imported, 1)).stdout);
    assert.deepEqual([report.created, report.states, report.refused], [2, { verified: 2 }, 1]);

    const create = ['token', 'create', '--name', 'made', '--role', 'reader'];
    const created = JSON.parse((await printed([...create, '--json', ...remote])).stdout);
    assert.match(created.token, /^lookaside_[0-9a-f]{64}$/);
    const revoked = JSON.parse((await printed(['token', 'revoke', 'made', '--json', ...remote])).stdout);
    assert.deepEqual([revoked.name, typeof revoked.revokedAt], ['made', 'string']);

    const recorded = events(data).map(({ leaf, private: who }) => [
      JSON.parse(leaf).action,
      JSON.parse(who ?? '{}').actor,
    ]);
    assert.deepEqual(recorded.slice(-5), [
      ['key-add', 'admin'],
      ['import', 'admin'],
      ['import', 'admin'],
      ['token-create', 'admin'],
      ['token-revoke', 'admin'],
    ]);
  });

  it('exports and removes keys; what was signed with a removed one is of an unknown key and served as before', async () => {
    const carol = makeSigner('carol');
    const [file, folder] = [path.join(temp.path, 'carol.gpg'), path.join(temp.path, 'by-carol')];
    await writeFile(file, carol.certificate);
    await printed(['key', 'add', file, ...remote]);
    const bytes = carol.sign({ repository: 'team/carol', tag: 'v1' });
    await layFile(folder, `${folderOf('team/carol')}/signature-1`, bytes);
    await printed(['import', folder, ...remote]);
    const id = carol.fingerprint.slice(-16);
    const exported = await printed(['key', 'export', id, ...remote]);
    assert.match(exported.stdout, /^-----BEGIN PGP PUBLIC KEY BLOCK-----\r?\n/);
    assert.equal(exported.stderr, '');
    const forOpenShift = await printed(['key', 'export', id, '--for', 'openshift', ...remote], 1);
    assert.equal(forOpenShift.stdout, '');
    assert.match(
      forOpenShift.stderr,
      new RegExp(`^lookaside: ${carol.fingerprint} is left out: it holds ed25519`),
    );

    const retired = await printed(['key', 'retire', id, ...remote]);
    assert.match(retired.stdout, /is retired since .*\. New signatures by it are refused from now on\.$/m);
    assert.match(retired.stdout, new RegExp(`lookaside key retire ${carol.fingerprint} --undo$`, 'm'));
    const undone = await printed(['key', 'retire', id, '--undo', '--json', '--data', data]);
    assert.equal(JSON.parse(undone.stdout).retiredAt, null);

    const { stdout } = await printed(['key', 'remove', id, ...remote]);
    assert.match(stdout, new RegExp(`^The key ${carol.fingerprint} \\(carol <.*>\\) is removed\\.`));
    assert.match(stdout, /^1 stored signature verified by it; it goes on being served/m);
    const listed = JSON.parse((await printed(['list', 'team/carol', '--json', ...remote])).stdout);
    assert.deepEqual(
      listed.signatures.map(({ state }: { state: string }) => state),
      ['unknown-key'],
    );
    const hint =
      /^lookaside: none of these is verified, .*; add the keys of your signers: lookaside key add FILE$/m;
    assert.match((await printed(['list', 'team/carol', ...remote])).stderr, hint);
    const served = await fetch(`${server.url}/${folderOf('team/carol')}/signature-1`);
    assert.deepEqual(Buffer.from(await served.arrayBuffer()), bytes);
    const { action, fingerprint } = JSON.parse(events(data).at(-1)?.leaf ?? '{}');
    assert.deepEqual([action, fingerprint], ['key-remove', carol.fingerprint]);

    await writeFile(file, exported.stdout);
    await printed(['key', 'add', file, ...remote]);
    await eventually(async () => {
      const again = JSON.parse((await printed(['list', 'team/carol', '--json', ...remote])).stdout);
      assert.equal(again.signatures[0].state, 'verified');
    });
    assert.doesNotMatch((await printed(['list', 'team/carol', ...remote])).stderr, hint);
    const missing = await printed(['key', 'remove', 'AB'.repeat(20), ...remote], 1);
    assert.match(missing.stderr, /no key (AB){20} is registered; see: lookaside key list/);
  });

  it('lists what the next key has to sign, for people and as one JSON value, also when nothing is left', async () => {
    const [old, next] = [makeSigner('old'), makeSigner('next')];
    const stage = path.join(temp.path, 'rotation');
    for (const signer of [old, next]) {
      const file = path.join(temp.path, `${signer.name}.gpg`);
      await writeFile(file, signer.certificate);
      await printed(['key', 'add', file, ...remote]);
    }
    for (const [name, ...signers] of [
      ['a', old],
      ['b', old],
      ['both', old, next],
    ] as const) {
      const repository = `rotation/${name}`;
      for (const [position, signer] of signers.entries()) {
        const bytes = signer.sign({ repository, tag: 'v1' });
        await layFile(stage, `${folderOf(repository)}/signature-${position + 1}`, bytes);
      }
    }
    await printed(['import', stage, ...remote]);
    const rotation = ['key', 'rotation', old.fingerprint, next.fingerprint, ...remote];
    const images = ['a', 'b'].map((name) => folderOf(`rotation/${name}`).replace('=', ':'));
    const reference = (image: string) => `registry.example/${image.replace(/@.*/, '')}:v1`;

    const outcome = await printed(rotation);
    const [, twoAlone, one, none, ...work] = outcome.stdout.trimEnd().split('\n');
    assert.deepEqual(
      [twoAlone, one, none],
      [
        `2       ${old.fingerprint}, the old key, alone`,
        '1       both',
        `0       ${next.fingerprint}, the new key, alone`,
      ],
    );
    assert.deepEqual(work.toSorted(), ['', ...images.map((image) => `${image}  ${reference(image)}`)]);
    assert.match(
      outcome.stderr,
      /^lookaside: 2 signatures left to make: sign each image again with the new key/,
    );

    const { work: listed, ...rest } = JSON.parse((await printed([...rotation, '--json'])).stdout);
    const names = { old: old.fingerprint, new: next.fingerprint };
    assert.deepEqual(rest, { ...names, images: { old: 2, both: 1, new: 0 }, gaps: [] });
    assert.deepEqual(
      listed.toSorted((a: { image: string }, b: { image: string }) => (a.image < b.image ? -1 : 1)),
      images.map((image) => {
        const digest = image.replace(/^.*@/, '');
        return { site: 'default', image, digest, reference: reference(image) };
      }),
    );

    const back = ['key', 'rotation', next.fingerprint, old.fingerprint, ...remote];
    const nothing = await printed(back);
    assert.match(nothing.stdout, /^Nothing is left: what the old key signed, the new key has signed too\.$/m);
    assert.equal(nothing.stderr, '');
    const { work: left, images: counts } = JSON.parse((await printed([...back, '--json'])).stdout);
    assert.deepEqual([left, counts], [[], { old: 0, both: 1, new: 2 }]);
  });

  it('lists what is left to sign in many pieces as one JSON value, also when the answer is cut off by a failure', async () => {
    const [OLD, NEXT] = ['A', 'B'].map((digit) => digit.repeat(40));
    const digest = `sha256:${'0'.repeat(64)}`;
    const workOf = (name: string) => {
      return { site: 'default', image: `${name}@${digest}`, digest, reference: `r.example/${name}:v1` };
    };
    const first = { old: OLD, new: NEXT, images: { old: 3, both: 0, new: 0 }, gaps: [] };
    const pieces = [{ work: [workOf('a'), workOf('b')] }, { work: [workOf('c')] }];
    const failure = { errors: [{ code: 'BUSY', message: 'the index is busy', detail: {} }] };
    const answer =
      (...lines: readonly object[]): Act =>
      (res) =>
        res
          .writeHead(200, { 'Content-Type': 'application/x-ndjson' })
          .end(lines.map((line) => `${JSON.stringify(line)}\n`).join(''));
    await using scripted = await serveActs([
      answer(first, ...pieces, { end: { work: 3 } }),
      answer(first, ...pieces, failure),
    ]);
    const args = ['key', 'rotation', `${OLD}`, `${NEXT}`, '--json', '--server', scripted.url];
    const work = pieces.flatMap((piece) => piece.work);
    assert.deepEqual(JSON.parse((await printed(args)).stdout), { ...first, work });
    const { errors, ...rest } = JSON.parse((await printed(args, 1)).stdout);
    assert.deepEqual(rest, { ...first, work });
    assert.equal(errors[0].code, 'BUSY');
  });

  it('withdraws one signature by its path, which needs a reason, and says until when', async () => {
    const stage = path.join(temp.path, 'withdrawn');
    const folder = folderOf('team/withdrawn');
    for (const number of [1, 2]) {
      const bytes = alice.sign({ repository: 'team/withdrawn', tag: `v${number}` });
      await layFile(stage, `${folder}/signature-${number}`, bytes);
    }
    await printed(['import', stage, ...remote]);
    const [first, second] = [`${folder}/signature-1`, `${folder}/signature-2`];
    const unreasoned = await printed(['withdraw', second, ...remote], 2);
    assert.match(unreasoned.stderr, /required option '--reason <text>' not specified/);
    await printed(['withdraw', second, '--reason', ' ', ...remote], 1);
    assert.equal((await fetch(`${server.url}/${second}`)).status, 200);

    const { stdout } = await printed(['withdraw', second, '--reason', 'leaked', ...remote]);
    const [line, hash] = stdout.split('\n');
    assert.equal(line, `/${second} is withdrawn; clients do not get it, and its bytes are refused.`);
    const bytes = alice.sign({ repository: 'team/withdrawn', tag: 'v2' });
    assert.equal(hash, `sha256 ${sha256Hex(bytes)}`);
    assert.equal((await fetch(`${server.url}/${second}`)).status, 404);

    const until = ['--until', '2999-12-24', '--reason', 'for a while', ...remote];
    const { reason, until: end } = JSON.parse(
      (await printed(['withdraw', `/${first}`, '--json', ...until])).stdout,
    );
    assert.deepEqual([reason, end], ['for a while', '2999-12-24T00:00:00.000Z']);
    assert.equal((await fetch(`${server.url}/${first}`)).status, 404);
    const again = await printed(['withdraw', first, ...until], 1);
    assert.match(again.stderr, /^lookaside: there is no team\/withdrawn@sha256=[0-9a-f]{64}\/signature-1; /);
  });

  it('refreshes registered keys from a file, all or the one that is named, and takes no other key', async () => {
    const [dora, emil, stranger] = [makeSigner('dora'), makeSigner('emil'), makeSigner('stranger')];
    const file = path.join(temp.path, 'refresh.gpg');
    await writeFile(file, Buffer.concat([dora.certificate, emil.certificate]));
    await printed(['key', 'add', file, ...remote]);
    const newer = [dora, emil].map(({ bySubkey }) => bySubkey.certificate);
    await writeFile(file, Buffer.concat([...newer, stranger.certificate]));
    const refresh = ['key', 'refresh', '--from', file, ...remote];

    const one = await printed([...refresh.slice(0, 2), dora.fingerprint, ...refresh.slice(2)]);
    assert.match(
      one.stdout,
      new RegExp(`^updated +${dora.fingerprint} +valid +\\S*refresh.gpg +dora <`, 'm'),
    );
    assert.doesNotMatch(one.stdout, new RegExp(emil.fingerprint));
    assert.match(
      one.stderr,
      /^lookaside: 2 certificates of keys that are not registered, or not meant, left out$/m,
    );

    const { results, ignored, failed } = JSON.parse((await printed([...refresh, '--json'])).stdout);
    const ofEach = results.map((each: { fingerprint: string; result: string; from: string }) => [
      each.fingerprint,
      each.result,
      each.from,
    ]);
    assert.deepEqual(ofEach, [
      [dora.fingerprint, 'unchanged', file],
      [emil.fingerprint, 'updated', file],
    ]);
    assert.deepEqual([ignored, failed], [1, []]);
    await printed(['key', 'show', stranger.fingerprint, ...remote], 1);
    const event = JSON.parse(events(data).at(-1)?.leaf ?? '{}');
    assert.deepEqual([event.action, event.fingerprint], ['key-refresh', emil.fingerprint]);
  });

  it('shows, lists and removes signers with their grants, OIDC subjects and tokens', async () => {
    const { fingerprint } = alice;
    const textOf = async (...args: readonly string[]) =>
      (await printed([...args, ...remote])).stdout.trimEnd();
    const rows = (text: string) => text.split('\n').map((line) => line.split(/ {2,}/));
    assert.match(await textOf('signer', 'list'), /^No signers yet; add one with: lookaside signer add NAME$/);
    assert.match(await textOf('grant', 'list'), /^No grants; add one with: lookaside grant add /);
    await textOf('signer', 'add', 'ci', '--description', 'builds\u202eteam');
    await textOf('signer', 'add', 'nightly');
    await textOf('signer', 'disable', 'nightly');
    const bare = await textOf('signer', 'show', 'ci');
    assert.match(bare, /^No grants, so it may sign nothing; add one with: lookaside grant add --signer ci /m);
    assert.match(bare, /^No tokens; make one with: lookaside token create --name NAME --signer ci$/m);

    const listed = rows(await textOf('signer', 'list'));
    assert.deepEqual(
      listed.map(([name, state, , description]) => [name, state, description]),
      [
        ['NAME', 'STATE', 'DESCRIPTION'],
        ['ci', 'enabled', 'builds\\u202eteam'],
        ['nightly', 'disabled', undefined],
      ],
    );

    const grant = ['grant', 'add', '--key', fingerprint, '--repository'];
    await textOf(...grant, 'team/*', '--signer', 'ci', '--tag', 'v*');
    await textOf(...grant, 'night/**', '--signer', 'nightly');
    const [titles, ...grants] = rows(await textOf('grant', 'list'));
    assert.deepEqual(titles, ['GRANT', 'SIGNER', 'REPOSITORIES', 'TAGS', 'KEYS']);
    assert.deepEqual(
      grants.map(([, ...rest]) => rest),
      [
        ['ci', 'team/*', 'v*', fingerprint],
        ['nightly', 'night/**', '(any)', fingerprint],
      ],
    );
    assert.deepEqual(rows(await textOf('grant', 'list', '--signer', 'nightly')), [titles, grants[1]]);

    const oidc = ['signer', 'oidc', 'add', 'ci', '--issuer', 'https://issuer.example', '--claim'];
    const added = await textOf(...oidc, 'repository=team/app');
    const [, subject = ''] = /^OIDC subject (\d+): such tokens act as the signer "ci": /.exec(added) ?? [];
    assert.equal(
      await textOf(...oidc, 'repository=team/app'),
      `OIDC subject ${subject} says so already; nothing was changed.`,
    );
    await textOf('token', 'create', '--name', 'ci-elsewhere', '--signer', 'ci');
    const details = await textOf('signer', 'show', 'ci');
    assert.match(details, /^ci: builds\\u202eteam\nadded \S+Z, enabled$/m);
    assert.match(details, new RegExp(`^\\d+ +ci +team/\\* +v\\* +${fingerprint}$`, 'm'));
    assert.match(details, new RegExp(`^${subject} +ci +https://issuer\\.example +repository=team/app$`, 'm'));
    assert.match(details, /^ci-elsewhere +uploader +valid +ci /m);
    assert.match(await textOf('signer', 'show', 'nightly'), /, disabled since \S+Z$/m);

    const removed = await textOf('signer', 'oidc', 'remove', subject);
    assert.match(
      removed,
      new RegExp(`^OIDC subject ${subject} of the signer "ci" was removed: https://issuer\\.example `),
    );
    await printed(['signer', 'oidc', 'remove', subject, ...remote], 1);
    assert.match(await textOf('signer', 'oidc', 'list'), /^No OIDC subjects; /);
    const number = grants[1]?.[0] ?? '';
    assert.match(
      await textOf('grant', 'remove', number),
      new RegExp(`^Grant ${number} of the signer "nightly" was removed: night/\\*\\* by ${fingerprint}\\.$`),
    );
    assert.match(await textOf('grant', 'list', '--signer', 'nightly'), /^No grants; /);
    assert.equal(
      await textOf('signer', 'remove', 'ci'),
      'The signer "ci" was removed with 1 grant, and 1 token of it revoked.',
    );
    await printed(['signer', 'show', 'ci', ...remote], 1);
    assert.match(await textOf('grant', 'list'), /^No grants; /);
    assert.match(await textOf('token', 'list'), /^ci-elsewhere +uploader +revoked +ci /m);
    const done = events(data)
      .slice(-3)
      .map(({ leaf }) => JSON.parse(leaf).action);
    assert.deepEqual(done, ['oidc-remove', 'grant-remove', 'signer-remove']);
  });

  it('is sent forms that a proxy lets through which takes 1 MiB, as nginx does', async () => {
    const large = path.join(temp.path, 'large');
    for (const name of ['a', 'b', 'c']) {
      const bytes = alice.sign({ repository: name, tag: 'v1', filling: 'x'.repeat(400 * 1024) });
      await layFile(large, `${folderOf(name)}/signature-1`, bytes);
    }
    const about = json({ root: '/srv', tree: 'owned' });
    const refuseAll: Act = (res, req, body) => {
      const parts = body.toString('latin1').split('; name="signature"').slice(1);
      const refused = { result: 'refused', code: 'EMPTY', message: 'm' };
      json({ results: parts.map((_, part) => ({ part, ...refused })) })(res, req, body);
    };
    await using scripted = await serveActs([about, refuseAll]);
    const { stdout } = await printed(['import', large, '--json', '--server', scripted.url], 1);
    assert.equal(JSON.parse(stdout).refused, 3);
    const sizes = scripted.seen.map(({ body }) => body.length);
    assert.deepEqual([sizes.length, sizes.every((size) => size < 1024 * 1024)], [3, true], String(sizes));
  });

  it('that serves a shared tree takes no import, which is told before a file is sent', async () => {
    const [root, other] = ['shared', 'other'].map((name) => path.join(temp.path, name));
    assert.ok(root !== undefined && other !== undefined);
    await mkdir(other);
    const token = path.join(temp.path, 'other.token');
    await writeFile(token, await createToken(other, 'admin', 'admin'));
    await using shared = await startServer({ data: other, root });
    const args = ['import', staged, '--json', '--server', shared.url, '--token-file', token];
    const { stdout, stderr } = await printed(args, 2);
    const [{ code }] = JSON.parse(stdout).errors;
    assert.deepEqual([code, /shared tree/.test(stderr)], ['CONFIG_INVALID', true], stderr);
  });

  it('tells a token that may not which role it has to have, and what to do', async () => {
    const uploader = ['--server', server.url, '--token-file', tokenFile('uploader')];
    const { stdout, stderr } = await printed(['fsck', '--repair', ...uploader], 1);
    assert.equal(stdout, '');
    assert.match(
      stderr,
      /^lookaside: the token "uploader" has the role uploader; wanted admin; .*token create --name NAME --role admin; or run this on the server's machine, .*--data\n$/,
    );
  });
});

describe('of a URL and a folder', () => {
  const tokensBy = async (args: readonly string[], settings: Readonly<Record<string, string>>) => {
    const outcome = await runLookaside(['token', 'list', '--json', ...args], settings, temp.path);
    assert.equal(outcome.status, 0, describeOutcome(outcome));
    return JSON.parse(outcome.stdout).tokens.length;
  };

  it('the URL of the environment counts, unless the command line names a folder', async () => {
    const settings = { LOOKASIDE_URL: server.url, LOOKASIDE_TOKEN_FILE: tokenFile('admin') };
    const empty = path.join(temp.path, 'empty');
    await makeDataDirectory(empty);
    assert.ok((await tokensBy([], settings)) > 0);
    assert.ok((await tokensBy([], { ...settings, LOOKASIDE_DATA: empty })) > 0);
    assert.equal(await tokensBy(['--data', empty], settings), 0);
    assert.equal(await tokensBy(['--root', `${empty}-tree`], { ...settings, LOOKASIDE_DATA: empty }), 0);
  });

  it('both on the command line are refused, by every kind of command', async () => {
    for (const command of [
      ['list', '--data', data],
      ['key', 'list', '--data', data],
      ['fsck', '--root', data],
    ]) {
      const { stderr } = await printed([...command, '--server', server.url], 2);
      assert.match(stderr, /^lookaside: --server and --(data|root) are both given: .* give one of them\n$/);
    }
  });
});
