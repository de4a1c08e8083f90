// `npm run agreement`: our verdicts beside gpg's and skopeo's. FOLDER holds Debian's keyrings; the report goes to standard output.
import process from 'node:process';
import { parseArgs } from 'node:util';
import { run } from '../clients/command.ts';
import { openTempFolder } from '../clients/temp-folder.ts';
import { compareKeyrings } from './keys.ts';
import { comparePolicies } from './policies.ts';
import { formatRows } from './report.ts';
import { compareSignatures } from './signatures.ts';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    policies: { type: 'string', default: '10000' },
    'skopeo-root': { type: 'string', multiple: true, default: [] },
  },
});
const [folder] = positionals;
if (folder === undefined) throw new Error('usage: main.js FOLDER [--policies N] [--skopeo-root ROOT]…');

await using temp = await openTempFolder();
const { stdout } = await run(['gpg', '--version'], {
  env: { PATH: process.env.PATH ?? '', HOME: temp.path },
});
const version = stdout.split('\n')[0] ?? 'gpg';

process.stderr.write('comparing keyrings …\n');
const keys = (await compareKeyrings(folder, temp.path)).map(({ keyring: name, keys: compared, ...row }) => ({
  name,
  compared,
  ...row,
}));
process.stderr.write('comparing signatures …\n');
const signatures = (await compareSignatures(temp.path)).map(
  ({ key: name, signatures: compared, ...row }) => ({ name, compared, ...row }),
);
process.stderr.write('comparing policies …\n');
const policies = await comparePolicies({
  roots: values['skopeo-root'],
  generated: Number(values.policies),
});

const unexplained = [...keys, ...signatures, ...policies]
  .flatMap(({ differences }) => differences)
  .filter(({ explanation }) => explanation === null);
process.stdout.write(`Beside ${version}, ${new Date().toISOString().slice(0, 10)}.

## Keys of Debian's keyrings

${formatRows('certificates', keys)}

## Signatures by gpg

${formatRows('signatures', signatures)}

## Policies beside skopeo

Each case is a policy.json, a registries.conf, a registries.d, an image by tag, by digest or by neither, and what the lookaside answers for its
signatures: one of each kind, and ${values.policies} made at random from these. \`lookaside doctor\` and skopeo agree when both take the image, or when both refuse
it for the same reason; of several signatures, each for the same reason.

${formatRows('cases', policies)}
`);
process.exitCode = unexplained.length === 0 ? 0 : 1;
