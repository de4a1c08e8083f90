// lookaside trust inspect: what it prints, and what it asks the server.
import assert from 'node:assert/strict';
import { mkdir } from 'node:fs/promises';
import path from 'node:path';
import { test } from 'node:test';
import { formatTrust } from '../../src/cli/trust.ts';
import { createToken, runLookaside, startServer } from '../clients/server.ts';
import { enrol, makeSigner } from '../clients/signer.ts';
import { openTempFolder } from '../clients/temp-folder.ts';
import { folderOf } from '../store/lay.ts';

test('a repository without signatures and grants says so, and what to do', () => {
  const text = formatTrust({ repository: 'team/app', signed: [], signers: [] });
  assert.match(text, /^No verified signatures for team\/app$/m);
  assert.match(text, /^No signer has a grant for team\/app; add one with: lookaside grant add$/m);
});

test('trust inspect tells who signed what in a repository, and who may', async () => {
  await using temp = await openTempFolder();
  const data = path.join(temp.path, 'data');
  await mkdir(data);
  const alice = makeSigner('alice');
  const token = await enrol(data, alice);
  const admin = await createToken(data, 'root', 'admin');
  await using server = await startServer({ data });
  const ask = async (secret: string, method: string, at: string, body: string | Uint8Array) => {
    const headers = {
      Authorization: `Bearer ${secret}`,
      'Content-Type': typeof body === 'string' ? 'application/json' : 'application/octet-stream',
    };
    const answer = await fetch(`${server.url}${at}`, { method, headers, body });
    assert.equal(answer.status, 201, await answer.text());
  };
  for (const repository of ['team/app', 'team/app/below']) {
    await ask(token, 'PUT', `/${folderOf(repository)}/signature-1`, alice.sign({ repository, tag: 'v1' }));
  }
  await ask(admin, 'POST', '/api/v1/signers', JSON.stringify({ name: 'ci', description: '' }));
  const grant = { signer: 'ci', repositories: ['team/*'], keys: [alice.fingerprint], tags: [] };
  await ask(admin, 'POST', '/api/v1/grants', JSON.stringify(grant));

  const environment = { LOOKASIDE_URL: server.url, LOOKASIDE_TOKEN: token };
  const outcome = await runLookaside(['trust', 'inspect', 'team/app'], environment, temp.path);
  const keyId = alice.fingerprint.slice(-16);
  const lines = outcome.stdout.split('\n').map((line) => line.split(/ {2,}/));
  const digest = folderOf('team/app').replace(/^.*@sha256=/, 'sha256:');
  assert.deepEqual(lines, [
    ['Signatures for team/app'],
    [''],
    ['TAG', 'DIGEST', 'SIGNERS', 'KEY', 'STATE'],
    ['v1', digest, 'ci', keyId, 'verified'],
    [''],
    ['Signers and keys with a grant for team/app'],
    [''],
    ['SIGNER', 'KEY', 'STATE', 'USER ID'],
    ['ci', keyId, 'valid', 'alice <alice@example.invalid>'],
    [''],
  ]);
  const asJson = await runLookaside(
    ['trust', 'inspect', `team/app@${digest}`, '--json'],
    environment,
    temp.path,
  );
  const { repository, signed, signers } = JSON.parse(asJson.stdout);
  assert.deepEqual([repository, signed.length, signed[0].tag, signers[0].name], ['team/app', 1, 'v1', 'ci']);
});
