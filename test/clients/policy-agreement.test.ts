// Policies judged by us and by skopeo: whatever one pulls the other pulls, and a refusal names the same reason.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { count } from '../faults/promise.ts';
import { type Machine, openMachine } from '../service/broken-machine.ts';
import { needs } from './available.ts';
import { casesFor, compare, mirrorCasesFor, type PolicyCase } from './policy-cases.ts';

/** In `npm test` some of each kind: with skopeo, one of them takes half a second. */
const ONE_IN = count(1, 5);

describe('a policy', needs('skopeo', 'gpg'), () => {
  let machine: Machine;
  before(async () => {
    machine = await openMachine();
  });
  after(() => machine?.[Symbol.asyncDispose]());

  async function assertSame(cases: readonly PolicyCase[]): Promise<void> {
    const differences: string[] = [];
    for (const one of cases) {
      const { difference, explanation } = await compare(machine, one);
      if (difference !== null && explanation === null)
        differences.push(`${one.name}: ${JSON.stringify(one.policy)}\n${difference}`);
    }
    assert.deepEqual(differences, []);
  }

  test('is judged as by skopeo, and for the same reason', async () => {
    await assertSame(casesFor(machine).filter((_, index) => index % ONE_IN === 0));
  });

  test('of an image that registries.conf sends elsewhere is judged as by skopeo', async () => {
    await assertSame(mirrorCasesFor(machine).filter((_, index) => index % ONE_IN === 0));
  });
});
