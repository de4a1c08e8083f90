// `npm run agreement`: gpg and lookaside judge every key of Debian's keyrings, and signatures that gpg makes with all its options;
// skopeo and lookaside judge policies. Writes docs/agreement.md; ends with 1 when a difference has no explanation. Needs Debian's apt-get,
// dpkg-deb, gpg and skopeo. `-- --policies N` makes N policies at random in place of 10,000; `--skopeo-root FOLDER`, as often as wanted,
// asks the skopeo of the system below that folder too: debootstrap --variant=minbase sid FOLDER, and skopeo and gnupg installed in it.
import './node-version.mjs';
import { spawnSync } from 'node:child_process';
import { chmodSync, cpSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import { join } from 'node:path';
import process from 'node:process';
import { makeReady, ROOT, say } from './ready.mjs';
import { Refusal, run, runMain, whereIs } from './run.mjs';

/** Debian packages of keyrings: it has no package of distribution-gpg-keys, as Fedora has. */
const PACKAGES = ['debian-keyring', 'debian-archive-keyring'];

const HEAD = `# Where gpg, skopeo and lookaside differ

Written by \`npm run agreement\`. All judge the same keys, signatures and policies; each difference has an explanation here, or fails the run.
lookaside is meant to be stricter where a key or digest can be forged, and never laxer.

`;

runMain(async () => {
  for (const program of ['apt-get', 'dpkg-deb', 'gpg', 'skopeo']) {
    if (whereIs(program) === null)
      throw new Refusal(`${program} is not here; run this on Debian with gnupg and skopeo installed`);
  }
  await makeReady();
  const folder = mkdtempSync(join(os.tmpdir(), 'lookaside-agreement-'));
  process.once('exit', () => rmSync(folder, { recursive: true, force: true })); // run() ends the process on a signal
  chmodSync(folder, 0o755); // apt-get downloads as a user of its own
  say(`fetching ${PACKAGES.join(' and ')} …`);
  if ((await run('apt-get', ['download', ...PACKAGES], { cwd: folder })) !== 0) {
    throw new Refusal('apt-get could not download the keyrings (see above)');
  }
  const keyrings = join(folder, 'keyrings');
  mkdirSync(keyrings);
  for (const name of readdirSync(folder).filter((one) => one.endsWith('.deb'))) {
    if ((await run('dpkg-deb', ['-x', name, 'unpacked'], { cwd: folder })) !== 0)
      throw new Refusal(`${name} cannot be unpacked`);
  }
  cpSync(join(folder, 'unpacked/usr/share/keyrings'), keyrings, { recursive: true, dereference: true });
  const main = join(ROOT, 'dist/test/agreement/main.js');
  const { stdout, status } = spawnSync(process.execPath, [main, keyrings, ...process.argv.slice(2)], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  if (!stdout.includes('## Policies')) throw new Refusal(`the comparison ended with ${status} (see above)`);
  writeFileSync(join(ROOT, 'docs/agreement.md'), HEAD + stdout);
  process.stdout.write(stdout);
  process.exitCode = status;
});
