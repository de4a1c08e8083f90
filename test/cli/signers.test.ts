// Signers and grants as an administrator and a pipeline meet them: commands on both sides of a running server.
import assert from 'node:assert/strict';
import { mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { describe, test } from 'node:test';
import { grantTable } from '../../src/cli/grant.ts';
import { table } from '../../src/cli/token.ts';
import type { ShownToken } from '../../src/domain/token.ts';
import { describeOutcome } from '../clients/command.ts';
import { eventually } from '../clients/eventually.ts';
import { runLookaside, startServer } from '../clients/server.ts';
import { enrol, makeSigner } from '../clients/signer.ts';
import { openTempFolder } from '../clients/temp-folder.ts';
import { folderOf } from '../store/lay.ts';

describe('a pipeline', () => {
  test('uploads for its own repository with its own key, and for nothing else', async () => {
    await using temp = await openTempFolder();
    const data = path.join(temp.path, 'data');
    await mkdir(data);
    const [own, other] = [makeSigner('own'), makeSigner('other')];
    const unbound = await enrol(data, own);
    await enrol(data, other);
    await using server = await startServer({ data, settings: { LOOKASIDE_REQUIRE_GRANTS: 'true' } });
    const run = async (status: number, ...args: readonly string[]) => {
      const outcome = await runLookaside(args, {}, temp.path);
      assert.equal(outcome.status, status, describeOutcome(outcome));
      return outcome.stdout;
    };
    await run(0, 'signer', 'add', 'ci', '--description', 'builds team', '--data', data);
    const grant = ['--signer', 'ci', '--key', own.fingerprint, '--repository'];
    assert.match(
      await run(0, 'grant', 'add', ...grant, 'team/*', '--data', data),
      /^Grant 1: the signer "ci" may/,
    );
    const token = (
      await run(0, 'token', 'create', '--name', 'ci-1', '--signer', 'ci', '--data', data)
    ).trim();
    assert.match(
      await run(1, 'grant', 'test', ...grant, 'team-evil/app', '--data', data),
      /^refused: no grant of the signer "ci" covers the repository "team-evil\/app"; an administrator adds one with: lookaside grant add/,
    );

    const staging = path.join(temp.path, 'staging');
    for (const [signer, repository] of [
      [own, 'team/app'],
      [own, 'team-evil/app'],
      [other, 'team/other'],
    ] as const) {
      const folder = path.join(staging, folderOf(repository));
      await mkdir(folder, { recursive: true });
      await writeFile(path.join(folder, 'signature-1'), signer.sign({ repository, tag: 'v1' }));
    }
    const push = (secret: string) =>
      runLookaside(
        ['push', staging, '--json'],
        { LOOKASIDE_URL: server.url, LOOKASIDE_TOKEN: secret },
        temp.path,
      );
    const of = async (secret: string) => {
      const outcome = await push(secret);
      assert.equal(outcome.status, 1, describeOutcome(outcome));
      const { images } = JSON.parse(outcome.stdout);
      return new Map<string, { result: string; code?: string; message?: string }>(
        images.map(({ image, files }: { image: string; files: { outcome?: object; result?: string }[] }) => [
          image.replace(/@.*/, ''),
          files[0],
        ]),
      );
    };
    const bound = await of(token);
    assert.equal(bound.get('team/app')?.result, 'sent');
    for (const [repository, missing] of [
      ['team-evil/app', /covers the repository "team-evil\/app"/],
      ['team/other', new RegExp(`covers the key ${other.fingerprint}`)],
    ] as const) {
      const refused = bound.get(repository);
      assert.deepEqual([refused?.result, refused?.code], ['refused', 'NOT_GRANTED']);
      assert.match(refused?.message ?? '', missing);
    }
    // the token from before grants were required
    const free = await of(unbound);
    assert.equal(free.get('team-evil/app')?.code, 'NOT_GRANTED');
    assert.equal(free.get('team/app')?.result, 'there');
  });
});

describe('a pipeline whose token has ended', () => {
  test('is told what to do, with 401 and with 429, and does not wait for what never comes', async () => {
    await using temp = await openTempFolder();
    const data = path.join(temp.path, 'data');
    await mkdir(data);
    await using server = await startServer({ data });
    const run = (...args: readonly string[]) => runLookaside([...args, '--data', data], {}, temp.path);
    const done = async (...args: readonly string[]) => {
      const outcome = await run(...args);
      assert.equal(outcome.status, 0, describeOutcome(outcome));
      return outcome.stdout.trim();
    };
    await done('signer', 'add', 'ci');
    const disabled = await done('token', 'create', '--name', 'ci-1', '--signer', 'ci');
    await done('signer', 'disable', 'ci');
    await done('signer', 'add', 'nightly');
    const expired = await done('token', 'create', '--name', 'n-1', '--signer', 'nightly', '--expires', '1s');
    const staging = path.join(temp.path, 'staging', folderOf('team/app'));
    await mkdir(staging, { recursive: true });
    await writeFile(
      path.join(staging, 'signature-1'),
      makeSigner('own').sign({ repository: 'team/app', tag: 'v1' }),
    );
    const push = async (secret: string) => {
      const startedMs = performance.now();
      const outcome = await runLookaside(
        ['push', path.join(temp.path, 'staging')],
        { LOOKASIDE_URL: server.url, LOOKASIDE_TOKEN: secret },
        temp.path,
      );
      // the wait that the server names is a minute
      assert.ok(performance.now() - startedMs < 30_000, describeOutcome(outcome));
      assert.equal(outcome.status, 2, describeOutcome(outcome));
      assert.doesNotMatch(outcome.stderr, /trying again|tried/);
      return outcome.stderr;
    };
    const upload = (secret: string) =>
      fetch(`${server.url}/${folderOf('team/app')}`, {
        method: 'POST',
        headers: { Authorization: `Bearer ${secret}` },
        body: 'x',
      });
    /** Uploads until one is too many; the seconds that it is told to wait. */
    const exhaust = async (secret: string) => {
      for (let sent = 1; sent <= 61; sent += 1) {
        const { status, headers } = await upload(secret);
        if (status === 429) return Number(headers.get('retry-after'));
        assert.equal(status, 401);
      }
      return assert.fail('61 were taken');
    };
    assert.match(
      await push(disabled),
      /"ci-1" that was sent belongs to the signer "ci", which is disabled; an administrator allows it again with: lookaside signer enable ci/,
    );
    await eventually(async () => assert.equal((await upload(expired)).status, 401));
    assert.match(await push(expired), /no longer takes the token that was sent: it expired at 20/);
    for (const [secret, signer] of [
      [disabled, 'ci'],
      [expired, 'nightly'],
    ] as const) {
      const retryAfter = await exhaust(secret);
      assert.ok(retryAfter > 0 && retryAfter <= 60, `${retryAfter}`);
      assert.match(
        await push(secret),
        new RegExp(
          `more than 60 requests within a minute came with tokens of the signer "${signer}" that give no access: they have expired, or the signer is disabled; send one that is in force`,
        ),
      );
    }
    // the same signer with a token in force is not kept waiting
    await done('signer', 'enable', 'ci');
    const outcome = await runLookaside(
      ['push', path.join(temp.path, 'staging')],
      { LOOKASIDE_URL: server.url, LOOKASIDE_TOKEN: disabled },
      temp.path,
    );
    assert.equal(outcome.status, 1, describeOutcome(outcome)); // nobody has registered the key
    assert.match(outcome.stdout, /KEY_UNKNOWN|NOT_GRANTED/);
  });
});

test('grants and tokens are listed with whose they are, and unbound uploaders are marked', () => {
  const at = new Date('2026-11-22T10:00:00Z');
  const grant = {
    id: 3,
    signer: 'ci',
    repositories: ['a/*', 'b'],
    fingerprints: ['AB'.repeat(20)],
    createdAt: at,
  };
  const rows = (text: string) => text.split('\n').map((line) => line.replace(/ {2,}/g, '|'));
  assert.deepEqual(
    rows(
      grantTable([
        { ...grant, tags: [] },
        { ...grant, tags: ['v*\u001b'] },
      ]),
    ),
    [
      'GRANT|SIGNER|REPOSITORIES|TAGS|KEYS',
      `3|ci|a/* b|(any)|${'AB'.repeat(20)}`,
      `3|ci|a/* b|v*\\u001b|${'AB'.repeat(20)}`,
    ],
  );
  const token: ShownToken = {
    name: 't',
    role: 'uploader',
    state: 'valid',
    signer: null,
    createdAt: at,
    expiresAt: null,
    revokedAt: null,
    disabledAt: null,
    lastUsedAt: at,
  };
  const [, free, bound, reader] = rows(
    table([token, { ...token, signer: 'ci' }, { ...token, role: 'reader', lastUsedAt: null }]),
  );
  const iso = at.toISOString();
  assert.equal(free, `t|uploader|valid|(unbound)|${iso}|-|-|${iso}`);
  assert.equal(bound, `t|uploader|valid|ci|${iso}|-|-|${iso}`);
  assert.equal(reader, `t|reader|valid|-|${iso}|-|-|-`);
});
