// `node scripts/with-node.mjs VERSION [--in FOLDER] [--as-nobody] COMMAND …`: runs a command in a copy of this checkout by
// the newest Node.js of a release line, like 24 or 20.19. Both lie in a temporary folder, which is gone afterwards, or in
// FOLDER, where the next call finds them: native packages are compiled for one Node.js, so the checkout's own would be
// useless to whoever works in it.
import './node-version.mjs';
import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  cpSync,
  existsSync,
  lchownSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import os from 'node:os';
import { delimiter, dirname, join, resolve } from 'node:path';
import process from 'node:process';
import { isInstalled, ROOT, say } from './ready.mjs';
import { Refusal, run, runMain } from './run.mjs';

/** nobody, by number: it needs no account. */
const NOBODY = 65_534;

runMain(async () => {
  const { version, folder, asNobody, command, args } = parse(process.argv.slice(2));
  const node = await provideNode(version, folder);
  say(`Node.js ${answerOf(node, 'process.versions.node')}, in a copy of this checkout`);
  const isSameAbi = answerOf(node, 'process.versions.modules') === process.versions.modules;
  const copy = join(folder, 'lookaside');
  if (!existsSync(copy)) copyCheckout(copy, isSameAbi && (await isInstalled(ROOT)));
  const home = join(folder, 'home');
  mkdirSync(home, { recursive: true });
  const env = { ...process.env, PATH: `${dirname(node)}${delimiter}${process.env.PATH}` };
  // 31 s in place of 74: the compiler takes the last -O, and SQLite is tested, not measured, in this copy
  const buildEnv = { ...env, CFLAGS: [process.env.CFLAGS, '-O1'].filter(Boolean).join(' ') };
  const built = await run(node, ['scripts/build.mjs'], { cwd: copy, env: buildEnv, stdio: 'inherit' });
  if (built !== 0)
    throw new Refusal(`the copy could not be built by ${node} (exit status ${built}, see above)`);
  const options = { cwd: copy, env, stdio: 'inherit' };
  if (asNobody && process.getuid?.() === 0)
    Object.assign(options, nobody([copy, home]), { env: { ...env, HOME: home } });
  process.exitCode = await run(command, args, options);
});

function parse([version = '', ...rest]) {
  const inFolder = rest[0] === '--in' ? rest.splice(0, 2)[1] : null;
  const asNobody = rest[0] === '--as-nobody' && rest.shift() !== undefined;
  const [command, ...args] = rest;
  if (!/^\d+(\.\d+){0,2}$/.test(version) || command === undefined) {
    throw new Refusal(
      'usage: node scripts/with-node.mjs VERSION [--in FOLDER] [--as-nobody] COMMAND …, VERSION like 24 or 20.19',
    );
  }
  const folder = inFolder === null ? temporaryFolder() : resolve(inFolder);
  return { version, folder, asNobody, command, args };
}

function temporaryFolder() {
  const folder = mkdtempSync(join(os.tmpdir(), 'lookaside-node-'));
  process.once('exit', () => rmSync(folder, { recursive: true, force: true })); // run() ends the process on a signal
  chmodSync(folder, 0o755);
  return folder;
}

/** The program of that release line: this one, or what npm has of it. */
async function provideNode(version, folder) {
  if (`${process.versions.node}.`.startsWith(`${version}.`)) return process.execPath;
  const name = `node-${process.platform}-${process.arch}`;
  const prefix = join(folder, 'node_modules', name);
  if (existsSync(prefix)) return join(prefix, 'bin/node');
  // with --prefix alone npm looks for this machine's settings below it
  const where = ['--prefix', folder, '--globalconfig', globalSettings()];
  const args = ['install', ...where, '--no-save', '--no-package-lock', '--ignore-scripts'];
  const quiet = ['--no-audit', '--no-fund', '--loglevel=error'];
  const status = await run('npm', [...args, ...quiet, `${name}@${version}`]);
  if (status !== 0)
    throw new Refusal(`npm has no ${name} of version ${version} for us (exit status ${status}, see above)`);
  takeSettings(prefix);
  return join(prefix, 'bin/node');
}

/** npm looks beside the Node.js that runs it for this machine's settings, like the way to the registry. */
function takeSettings(prefix) {
  const file = globalSettings();
  if (!existsSync(file)) return;
  const lines = readFileSync(file, 'utf8').split('\n');
  mkdirSync(join(prefix, 'etc'));
  // but where the headers of the machine's own Node.js lie
  writeFileSync(join(prefix, 'etc/npmrc'), lines.filter((line) => !/^\s*nodedir\s*=/.test(line)).join('\n'));
}

function globalSettings() {
  return spawnSync('npm', ['config', 'get', 'globalconfig'], { encoding: 'utf8' }).stdout.trim();
}

function answerOf(node, expression) {
  const { stdout, stderr, status } = spawnSync(node, ['-p', expression], { encoding: 'utf8' });
  if (status !== 0) throw new Refusal(`${node} does not run here: ${stderr}`);
  return stdout.trim();
}

/** The checkout as it is, with what is installed and built in it when that is of use. */
function copyCheckout(copy, isOfUse) {
  // by their path here: the packages have folders of these names too
  const left = ['data', ...(isOfUse ? [] : ['node_modules', 'dist'])].map((name) => join(ROOT, name));
  cpSync(ROOT, copy, { recursive: true, filter: (path) => !left.includes(path), verbatimSymlinks: true });
}

/** Gives these folders with all that is in them to nobody; the options of a program that is run by him. */
function nobody(folders) {
  for (const folder of folders) {
    chownSync(folder, NOBODY, NOBODY);
    for (const entry of readdirSync(folder, { recursive: true })) {
      lchownSync(join(folder, entry), NOBODY, NOBODY);
    }
  }
  return { uid: NOBODY, gid: NOBODY };
}
