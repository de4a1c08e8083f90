// Policies, references, identities and signatures, judged by us as `doctor` does, and by real skopeo of one release or more.
import process from 'node:process';
import { run } from '../clients/command.ts';
import {
  casesFor,
  compare,
  generatedCases,
  mirrorCasesFor,
  OWN_SKOPEO,
  type Skopeo,
  skopeoBelow,
} from '../clients/policy-cases.ts';
import { openMachine } from '../service/broken-machine.ts';
import type { Difference, Row } from './report.ts';

export interface PolicyQuestion {
  /** Where debootstrap has laid other systems, which have a skopeo. */
  readonly roots: readonly string[];
  /** How many cases are made at random, beside one of each kind. */
  readonly generated: number;
}

/** What newer clients decide otherwise, by the name of the case. */
const NEWER: readonly (readonly [name: RegExp, says: RegExp, why: string])[] = [
  [
    /^atomic a\/b\/c\/d$/,
    /Unknown key \\?"a\/b\/c\/d/,
    "clients of 2026 refuse a policy with a scope of atomic, OpenShift's own registry, that is longer than any image's name there; older ones pass it over, and so do we",
  ],
];

/** One row for each skopeo, by its version. */
export async function comparePolicies({ roots, generated }: PolicyQuestion): Promise<readonly Row[]> {
  await using machine = await openMachine();
  const cases = [...mirrorCasesFor(machine), ...casesFor(machine), ...generatedCases(machine, generated)];
  const rows: Row[] = [];
  for (const skopeo of [OWN_SKOPEO, ...roots.map((root) => skopeoBelow(root, machine))]) {
    const differences: Difference[] = [];
    let accepted = 0;
    for (const one of cases) {
      const { isPulled, difference } = await compare(machine, one, skopeo);
      if (isPulled) accepted += 1;
      if (difference === null) continue;
      const explanation =
        NEWER.find(([name, says]) => name.test(one.name) && says.test(difference))?.[2] ?? null;
      differences.push({ about: one.name, what: explanation === null ? difference : '', explanation });
    }
    rows.push({ name: await versionOf(skopeo), compared: cases.length, accepted, differences });
  }
  return rows;
}

async function versionOf({ argv }: Skopeo): Promise<string> {
  const { stdout } = await run([...argv, '--version'], { env: { PATH: process.env.PATH ?? '' } });
  return stdout
    .trim()
    .replace(' version ', ' ')
    .replace(/ commit:.*/, '');
}
