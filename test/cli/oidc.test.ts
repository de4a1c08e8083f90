// A pipeline that has no secret of the server: `push --oidc` in a job of GitHub Actions and one of GitLab.
import assert from 'node:assert/strict';
import { mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { test } from 'node:test';
import { describeOutcome } from '../clients/command.ts';
import { makeDataDirectory } from '../clients/data-directory.ts';
import { runLookaside, startServer } from '../clients/server.ts';
import { addKey, makeSigner } from '../clients/signer.ts';
import { openTempFolder } from '../clients/temp-folder.ts';
import { AUDIENCE, json, openIssuer } from '../identity/issuer.ts';
import { folderOf } from '../store/lay.ts';

const REQUEST = '/request?api-version=2.0';

test('a pipeline with an OIDC token uploads for its own repository with its own key, and for nothing else', async () => {
  await using temp = await openTempFolder();
  await using issuer = await openIssuer();
  const data = path.join(temp.path, 'data');
  await mkdir(data);
  await makeDataDirectory(data);
  const [own, other] = [makeSigner('own'), makeSigner('other')];
  await addKey(data, own);
  await addKey(data, other);
  const settings = { LOOKASIDE_OIDC_AUDIENCE: AUDIENCE, LOOKASIDE_REQUIRE_GRANTS: 'true' };
  await using server = await startServer({ data, settings });
  const run = async (status: number, args: readonly string[], environment: Record<string, string> = {}) => {
    const outcome = await runLookaside(args, environment, temp.path);
    assert.equal(outcome.status, status, describeOutcome(outcome));
    return outcome;
  };
  const claims = ['--oidc-claim', 'repository=team/*', '--oidc-claim', 'ref=refs/heads/main'];
  await run(0, ['signer', 'add', 'ci', '--oidc-issuer', issuer.url, ...claims, '--data', data]);
  await run(0, [
    'grant',
    'add',
    '--signer',
    'ci',
    '--repository',
    'team/*',
    '--key',
    own.fingerprint,
    '--data',
    data,
  ]);
  const listed = await run(0, ['signer', 'oidc', 'list', '--data', data]);
  assert.match(
    listed.stdout,
    /^1 +ci +http:\/\/127\.0\.0\.1:\d+ +ref=refs\/heads\/main repository=team\/\*$/m,
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

  // as GitHub's: a token for the audience that is asked for
  const job = { sub: 'repo:team/app:ref:refs/heads/main', repository: 'team/app', ref: 'refs/heads/main' };
  const given: string[] = [];
  issuer.answers.set(`${REQUEST}&audience=${encodeURIComponent(AUDIENCE)}`, async (req, res) => {
    assert.equal(req.headers.authorization, 'Bearer of-the-job');
    const value = await issuer.token(job);
    given.push(value);
    json(res, { value });
  });
  const github = {
    LOOKASIDE_URL: server.url,
    LOOKASIDE_OIDC_AUDIENCE: AUDIENCE,
    ACTIONS_ID_TOKEN_REQUEST_URL: issuer.url + REQUEST,
    ACTIONS_ID_TOKEN_REQUEST_TOKEN: 'of-the-job',
  };
  const pushed = await run(1, ['push', staging, '--oidc', '--json'], github);
  const { images, summary } = JSON.parse(pushed.stdout);
  const results = new Map(
    images.map(({ image, files: [file] }: { image: string; files: { result: string; code?: string }[] }) => [
      image.replace(/@.*/, ''),
      file?.code ?? file?.result,
    ]),
  );
  assert.deepEqual(Object.fromEntries(results), {
    'team/app': 'sent',
    'team-evil/app': 'NOT_GRANTED',
    'team/other': 'NOT_GRANTED',
  });
  // it says what it has sent, and never the token
  const { expiresAt, ...grant } = summary.oidc;
  assert.deepEqual(grant, { issuer: issuer.url, subject: job.sub, audience: AUDIENCE });
  assert.ok(Date.parse(expiresAt) > Date.now());
  assert.match(
    pushed.stderr,
    /sending the OIDC token of http:\/\/127\.\S+ for "repo:team\/app:ref:refs\/heads\/main", made for the audience/,
  );
  assert.equal(given.length, 1);
  for (const text of [pushed.stdout, pushed.stderr, server.output()])
    assert.ok(!text.includes(given[0]?.split('.')[1] ?? ''));

  const events = JSON.parse(
    (await run(0, ['audit', 'query', '--action', 'upload', '--json', '--data', data])).stdout,
  );
  const uploads = events.rows.map(({ actor, image, result }: Record<string, string>) => [
    actor,
    image?.replace(/@.*/, ''),
    result,
  ]);
  const actor = `ci ${issuer.url} ${job.sub}`;
  assert.deepEqual(uploads.sort(), [
    [actor, 'team-evil/app', 'NOT_GRANTED'],
    [actor, 'team/app', 'created'],
    [actor, 'team/other', 'NOT_GRANTED'],
  ]);

  // GitLab has the token in a variable; another branch is nobody here
  const gitlab = (token: string) => ({ LOOKASIDE_URL: server.url, LOOKASIDE_ID_TOKEN: token });
  const app = path.join(staging, folderOf('team/app'));
  await run(0, ['push', app, '--oidc'], gitlab(await issuer.token(job)));
  const branch = await run(
    2,
    ['push', app, '--oidc'],
    gitlab(await issuer.token({ ...job, ref: 'refs/heads/x' })),
  );
  assert.match(
    branch.stderr,
    /the OIDC token that was sent is refused: no signer has a subject that the token of .* meets/,
  );
  await run(0, ['signer', 'disable', 'ci', '--data', data]);
  const disabled = await run(2, ['push', app, '--oidc'], gitlab(await issuer.token(job)));
  assert.match(disabled.stderr, /the signer "ci", which is disabled/);
  const none = await run(2, ['push', app, '--oidc'], { LOOKASIDE_URL: server.url });
  assert.match(none.stderr, /in GitHub Actions, give the job the permission id-token: write/);
});
