// Policies, references, identities and signatures, judged by us as `doctor` does, and by real skopeo of one release or more.
import process from 'node:process';
import { run } from '../clients/command.ts';
import { generatedCases } from '../clients/generated-policies.ts';
import {
  casesFor,
  compare,
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

/** A case is mostly waiting for gpg and its agent, so several are judged at a time, each on a machine of its own. */
const AT_A_TIME = 4;

/** One row for each skopeo, by its version. */
export async function comparePolicies({ roots, generated }: PolicyQuestion): Promise<readonly Row[]> {
  const parts = await Promise.all(
    Array.from({ length: AT_A_TIME }, (_, part) => comparePart({ roots, generated }, part)),
  );
  const [first = []] = parts;
  return first.map(({ name }, at) => {
    const rows = parts.flatMap((part) => part[at] ?? []);
    const sum = (of: 'compared' | 'accepted') => rows.reduce((total, row) => total + row[of], 0);
    const differences = rows.flatMap((row) => row.differences);
    return { name, compared: sum('compared'), accepted: sum('accepted'), differences };
  });
}

async function comparePart({ roots, generated }: PolicyQuestion, part: number): Promise<readonly Row[]> {
  await using machine = await openMachine();
  const all = [...mirrorCasesFor(machine), ...casesFor(machine), ...generatedCases(machine, generated)];
  const cases = all.filter((_, at) => at % AT_A_TIME === part);
  const rows: Row[] = [];
  for (const skopeo of [OWN_SKOPEO, ...roots.map((root) => skopeoBelow(root, machine))]) {
    const differences: Difference[] = [];
    let accepted = 0;
    for (const one of cases) {
      const { isPulled, difference, explanation } = await compare(machine, one, skopeo);
      if (isPulled) accepted += 1;
      if (difference === null) continue;
      const why =
        explanation ??
        NEWER.find(([name, says]) => name.test(one.name) && says.test(difference))?.[2] ??
        null;
      differences.push({ about: one.name, what: why === null ? difference : '', explanation: why });
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
