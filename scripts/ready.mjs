// Makes a checkout ready to run: dependencies installed, dist/ built. Does nothing, fast, when nothing changed.
// The reasons are in docs/decisions/start-makes-ready.md.
import { createHash } from 'node:crypto';
import {
  chmodSync,
  cpSync,
  existsSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join, relative } from 'node:path';
import process from 'node:process';
import { fileURLToPath } from 'node:url';
import { Refusal, run } from './run.mjs';

export const ROOT = dirname(dirname(fileURLToPath(import.meta.url)));

/** Installs and builds what is missing or old. @throws Refusal when npm or the compiler failed. */
export async function makeReady() {
  if (!(await isInstalled(ROOT))) await install(ROOT);
  if (!isBuilt(ROOT)) await build(ROOT);
}

export function say(line) {
  process.stderr.write(`${line}\n`);
}

// Both stamps are written last, and the folder that holds one is removed first: no interrupted run leaves one behind.

const installStamp = (root) => join(root, 'node_modules', '.lookaside-installed');
const buildStamp = (root) => join(root, 'dist', '.lookaside-built');

/** Whether node_modules holds what package-lock.json asks for, with a better-sqlite3 that this Node.js can load. */
export async function isInstalled(root) {
  const wanted = installHash(root);
  const isStamped = readOrEmpty(installStamp(root)) === wanted;
  if (!isStamped && !holdsLockedPackages(root)) return false;
  if (!(await loadsDatabase(root))) return false;
  if (!isStamped) writeStamp(installStamp(root), wanted); // somebody ran `npm ci` or `npm install`
  return true;
}

/** Whether dist/ was built from these sources. */
export function isBuilt(root) {
  return readOrEmpty(buildStamp(root)) === buildHash(root);
}

async function install(root) {
  say('installing dependencies (once; better-sqlite3 is compiled: one to five minutes) …');
  // Overrides what a person's npm settings may say: without dev dependencies there is no compiler, without
  // scripts no database.
  const args = [
    'ci',
    '--include=dev',
    '--ignore-scripts=false',
    '--no-audit',
    '--no-fund',
    '--loglevel=error',
  ];
  const npm = process.env.npm_execpath;
  const isNpm = npm?.endsWith('npm-cli.js') ?? false;
  const command = isNpm ? process.execPath : 'npm';
  const options = { cwd: root, env: installEnvironment(), detached: true };
  const status = await run(command, isNpm ? [npm, ...args] : args, options);
  if (status !== 0) {
    throw new Refusal(
      `npm ci failed (exit status ${status}, see above); it needs the network, and make, g++ and python3 to compile`,
    );
  }
  if (!(await loadsDatabase(root))) throw new Refusal('better-sqlite3 was installed but does not load');
  writeStamp(installStamp(root), installHash(root));
}

/** Our environment, with the headers beside the node program for node-gyp, which otherwise fetches them. */
function installEnvironment() {
  const env = { JOBS: 'max', ...process.env };
  const prefix = dirname(dirname(process.execPath));
  const header = readOrEmpty(join(prefix, 'include/node/node_version.h'));
  const version = ['MAJOR', 'MINOR', 'PATCH'].map((part) => {
    const version = new RegExp(`#define NODE_${part}_VERSION (\\d+)`).exec(header);
    return version === null ? '' : version[1];
  });
  if (version.join('.') !== process.versions.node) return env;
  // The first is read by the node-gyp of newer npm releases, the second by that of older ones.
  return { npm_package_config_node_gyp_nodedir: prefix, npm_config_nodedir: prefix, ...env };
}

/** What browsers get as it is, relative to the root; keep in sync with the Dockerfile. */
function assetsOf(root) {
  return filesBelow(join(root, 'src'), '')
    .filter((file) => !file.endsWith('.ts'))
    .map((file) => relative(root, file));
}

async function build(root) {
  say('building …');
  // Whole, so that the output of a removed source goes too: a deleted test must not run on.
  rmSync(join(root, 'dist'), { recursive: true, force: true });
  const hash = buildHash(root); // before the compiler reads: a file edited meanwhile is built again next time
  const tsc = join(root, 'node_modules/typescript/bin/tsc');
  const status = await run(process.execPath, [tsc, '-p', root]);
  if (status !== 0) throw new Refusal(`tsc failed (exit status ${status})`);
  chmodSync(join(root, 'dist/src/main.js'), 0o755); // package.json names it as a program
  for (const asset of assetsOf(root)) cpSync(join(root, asset), join(root, 'dist', asset));
  writeStamp(buildStamp(root), hash);
}

function installHash(root) {
  const { modules } = process.versions; // the ABI that native packages are compiled for
  return hashOf([readFileSync(join(root, 'package-lock.json')), modules, process.platform, process.arch]);
}

function buildHash(root) {
  const parts = [];
  for (const folder of ['src', 'test']) {
    for (const file of filesBelow(join(root, folder), '.ts'))
      parts.push(relative(root, file), readFileSync(file));
  }
  for (const asset of assetsOf(root)) parts.push(asset, readFileSync(join(root, asset)));
  const settings = ['tsconfig.json', 'package.json', 'package-lock.json', 'scripts/ready.mjs'];
  for (const file of settings) parts.push(readFileSync(join(root, file)));
  return hashOf(parts);
}

/** Paths of the files below `folder` with this ending, sorted; none when there is no such folder. */
export function filesBelow(folder, ending) {
  if (!existsSync(folder)) return [];
  const paths = [];
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) paths.push(...filesBelow(path, ending));
    if (entry.isFile() && entry.name.endsWith(ending)) paths.push(path);
  }
  return paths.sort();
}

/** Whether npm's own record of what it finished installing has every package of the lock file, in its version. */
function holdsLockedPackages(root) {
  const record = readOrEmpty(join(root, 'node_modules/.package-lock.json'));
  if (record === '') return false;
  const installed = JSON.parse(record).packages;
  const wanted = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8')).packages;
  return Object.keys(wanted).every((path) => {
    if (path === '') return true; // the project itself
    const entry = installed[path];
    if (entry === undefined) return wanted[path].optional === true; // for another platform
    return entry.version === wanted[path].version && entry.integrity === wanted[path].integrity;
  });
}

/** In a process of its own, because a half-written binary may crash the one that loads it. */
async function loadsDatabase(root) {
  const script = "new (require('better-sqlite3'))(':memory:').close()";
  return (await run(process.execPath, ['-e', script], { cwd: root, stdio: 'ignore' })) === 0;
}

/** Each part is hashed on its own first, so that no two lists of parts read the same. */
function hashOf(parts) {
  const sha256 = (part) => createHash('sha256').update(part).digest('hex');
  return sha256(parts.map(sha256).join('\n'));
}

function readOrEmpty(path) {
  return existsSync(path) ? readFileSync(path, 'utf8') : '';
}

function writeStamp(path, text) {
  writeFileSync(`${path}.new`, text);
  renameSync(`${path}.new`, path);
}
