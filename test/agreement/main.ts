// `npm run agreement`: our verdicts beside gpg's. FOLDER holds Debian's keyrings; the report goes to standard output.
import process from 'node:process';
import { run } from '../clients/command.ts';
import { openTempFolder } from '../clients/temp-folder.ts';
import { compareKeyrings } from './keys.ts';
import { formatRows } from './report.ts';
import { compareSignatures } from './signatures.ts';

const [folder] = process.argv.slice(2);
if (folder === undefined) throw new Error('usage: main.js FOLDER');

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

const unexplained = [...keys, ...signatures]
  .flatMap(({ differences }) => differences)
  .filter(({ explanation }) => explanation === null);
process.stdout.write(`Beside ${version}, ${new Date().toISOString().slice(0, 10)}.

## Keys of Debian's keyrings

${formatRows('certificates', keys)}

## Signatures by gpg

${formatRows('signatures', signatures)}
`);
process.exitCode = unexplained.length === 0 ? 0 : 1;
