// Policies made at random, for references, signatures and registries.d made at random, judged by us and by skopeo: the same verdict for
// the same reason. Each takes some 60 ms of CPU, and waits longer for gpg's agents: several machines judge a part each.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdir } from 'node:fs/promises';
import path from 'node:path';
import { describe, test } from 'node:test';
import { openMachine } from '../service/broken-machine.ts';
import { agentsBelow, endAgents } from './agents.ts';
import { needs } from './available.ts';
import { generatedCases, SEED } from './generated-policies.ts';
import { compare } from './policy-cases.ts';
import { openTempFolder } from './temp-folder.ts';

/** `npm run agreement` judges 10,000. */
const GENERATED = 200;
const PARTS = 4;

test('an agent below a folder is found and ended', needs('gpg'), async () => {
  await using temp = await openTempFolder();
  const home = path.join(temp.path, 'home');
  await mkdir(home, { mode: 0o700 });
  // it keeps what it inherits open
  spawnSync('gpg-agent', ['--homedir', home, '--daemon'], { stdio: 'ignore' });
  assert.equal((await agentsBelow(temp.path)).length, 1);
  await endAgents(temp.path);
  assert.deepEqual(await agentsBelow(temp.path), []);
});

describe('policies made at random', { ...needs('skopeo', 'gpg'), concurrency: PARTS }, () => {
  for (let part = 0; part < PARTS; part += 1) {
    test(`are judged as by skopeo, and for the same reason: part ${part + 1} of ${PARTS}`, async () => {
      let [folder, pulled] = ['', 0];
      const differences: string[] = [];
      {
        await using machine = await openMachine();
        folder = machine.folder;
        for (const one of generatedCases(machine, GENERATED).filter((_, at) => at % PARTS === part)) {
          const { isPulled, difference, explanation } = await compare(machine, one);
          if (isPulled) pulled += 1;
          if (difference !== null && explanation === null)
            differences.push(`${one.name} of the seed ${SEED}: ${JSON.stringify(one.policy)}\n${difference}`);
        }
      }
      assert.deepEqual(differences, []);
      assert.ok(pulled > 0, 'some of them are pulled');
      assert.deepEqual(await agentsBelow(folder), [], 'no agent is left behind');
    });
  }
});
