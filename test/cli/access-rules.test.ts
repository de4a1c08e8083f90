// `lookaside apply` and `access export` as an administrator meets them.
import assert from 'node:assert/strict';
import { readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { test } from 'node:test';
import { describeOutcome, run as runProgram } from '../clients/command.ts';
import { makeDataDirectory } from '../clients/data-directory.ts';
import { lookaside, runLookaside, startServer } from '../clients/server.ts';
import { addKey, makeSigner } from '../clients/signer.ts';
import { openTempFolder } from '../clients/temp-folder.ts';

test('a file is applied only when it is meant, as a whole, and what was exported changes nothing', async () => {
  await using temp = await openTempFolder();
  const data = path.join(temp.path, 'data');
  await makeDataDirectory(data);
  const alice = makeSigner('alice');
  await addKey(data, alice);
  const file = path.join(temp.path, 'access.yaml');
  await using _server = await startServer({ data });
  const run = async (status: number, ...args: readonly string[]) => {
    const outcome = await runLookaside([...args, '--data', data], {}, temp.path);
    assert.equal(outcome.status, status, describeOutcome(outcome));
    return outcome;
  };
  const rules = `version: 1
signers:
  - name: ci
    grants:
      - {repositories: ['team/*'], keys: [${alice.fingerprint}]}
`;
  await writeFile(file, rules);
  const unasked = await run(2, 'apply', '-f', file);
  assert.match(unasked.stdout, /^\+ add signer ci$/m);
  assert.match(unasked.stderr, /give --yes to apply the plan, or --dry-run/);
  // what stderr is redirected into shows the question to nobody
  const [program, ...args] = lookaside('apply', '-f', file, '--data', data);
  const isTerminal = 'data:text/javascript,process.stdin.isTTY=true';
  const env = { PATH: process.env.PATH ?? '' };
  const unseen = await runProgram([program, '--import', isTerminal, ...args], { env, input: 'y\n' });
  assert.equal(unseen.status, 2, describeOutcome(unseen));
  assert.match(unseen.stderr, /nothing was applied, because nobody can be asked here/);
  assert.match((await run(0, 'apply', '-f', file, '--dry-run')).stdout, /^Nothing was changed\.$/m);
  assert.deepEqual(JSON.parse((await run(0, 'signer', 'list', '--json')).stdout), { signers: [] });
  assert.match((await run(0, 'apply', '-f', file, '--yes')).stdout, /^2 changes applied\.$/m);

  await writeFile(file, (await run(0, 'access', 'export')).stdout);
  assert.match(await readFile(file, 'utf8'), /-----BEGIN PGP PUBLIC KEY BLOCK-----/);
  const again = JSON.parse((await run(0, 'apply', '-f', file, '--prune', '--yes', '--json')).stdout);
  assert.deepEqual([again.changes, again.applied], [[], false]);

  await writeFile(file, rules.replace('team/*', 'Team/*'));
  const wrong = await run(2, 'apply', '-f', file, '--yes', '--json');
  assert.match(
    JSON.parse(wrong.stdout).errors[0].message,
    /access\.yaml, line 5, column 9: "Team\/\*" is not a pattern/,
  );
});
