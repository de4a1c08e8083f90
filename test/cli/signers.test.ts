// Signers and grants as an administrator and a pipeline meet them: commands on both sides of a running server.
import assert from 'node:assert/strict';
import { mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { describe, test } from 'node:test';
import { grantTable } from '../../src/cli/grant.ts';
import { table } from '../../src/cli/token.ts';
import type { ShownToken } from '../../src/domain/token.ts';
import { describeOutcome } from '../clients/command.ts';
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
