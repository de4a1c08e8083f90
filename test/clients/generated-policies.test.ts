// Policies made at random, for references, signatures and registries.d made at random, judged by us and by skopeo: the same verdict for
// the same reason. Each takes some 50 ms of CPU, and waits longer for gpg's agents: four machines judge a part each.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { openMachine } from '../service/broken-machine.ts';
import { needs } from './available.ts';
import { generatedCases } from './generated-policies.ts';
import { compare } from './policy-cases.ts';

/** In every run of the tests; `npm run agreement` judges 10,000. */
const GENERATED = 200;
const PARTS = 4;

describe('policies made at random', { ...needs('skopeo', 'gpg'), concurrency: PARTS }, () => {
  for (let part = 0; part < PARTS; part += 1) {
    test(`are judged as by skopeo, and for the same reason: part ${part + 1} of ${PARTS}`, async () => {
      await using machine = await openMachine();
      let pulled = 0;
      const differences: string[] = [];
      for (const one of generatedCases(machine, GENERATED).filter((_, at) => at % PARTS === part)) {
        const { isPulled, difference, explanation } = await compare(machine, one);
        if (isPulled) pulled += 1;
        if (difference !== null && explanation === null)
          differences.push(`${one.name}: ${JSON.stringify(one.policy)}\n${difference}`);
      }
      assert.deepEqual(differences, []);
      assert.ok(pulled > 0, 'some of them are pulled');
    });
  }
});
