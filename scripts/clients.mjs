// The real clients that tests use: which are here, and on Debian as root the installation of the others.
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import process from 'node:process';
import { run, whereIs } from './run.mjs';

/** Program -> Debian package. */
const CLIENTS = {
  podman: 'podman',
  skopeo: 'skopeo',
  'docker-registry': 'docker-registry',
  gpg: 'gnupg',
  curl: 'curl',
  openssl: 'openssl',
  python3: 'python3',
  ip: 'iproute2',
  bzip2: 'bzip2',
  strace: 'strace',
  gcc: 'g++', // with the headers of libc
  buildah: 'buildah',
  mmdebstrap: 'mmdebstrap',
  'docker-compose': 'docker-compose',
  'systemd-socket-activate': 'systemd',
  'systemd-analyze': 'systemd',
  faketime: 'faketime',
  shellcheck: 'shellcheck',
  wrk: 'wrk',
  'mkfs.ext4': 'e2fsprogs',
  'mkfs.xfs': 'xfsprogs',
  xfs_io: 'xfsprogs',
  chromium: 'chromium',
  promtool: 'prometheus',
  nginx: 'nginx',
  haproxy: 'haproxy',
  caddy: 'caddy',
  postgres: 'postgresql',
  flatpak: 'flatpak',
  'ignition-validate': 'ignition',
  'ansible-playbook': 'ansible-core',
};

/** What only `npm run faults` needs. */
const FAULT_CLIENTS = {
  slowhttptest: 'slowhttptest',
};

const PACKAGES = { ...CLIENTS, ...FAULT_CLIENTS };

/** The client programs that are not on the PATH. */
export function missingClients() {
  return Object.keys(CLIENTS).filter(isMissing);
}

/** As missingClients(), with those that only `npm run faults` needs. */
export function missingFaultClients() {
  return Object.keys(PACKAGES).filter(isMissing);
}

function isMissing(program) {
  return whereIs(program) === null && !(program === 'postgres' && isBelowDebiansFolder(program));
}

/** Debian keeps PostgreSQL's programs off the PATH, one folder for each major version. Keep in sync with test/clients/available.ts. */
function isBelowDebiansFolder(program, folder = '/usr/lib/postgresql') {
  return (
    existsSync(folder) && readdirSync(folder).some((major) => existsSync(`${folder}/${major}/bin/${program}`))
  );
}

/** Why this machine's missing clients are not installed by us, or null when they can be. */
export function whyNotInstalled({ osRelease = '/etc/os-release', isRoot = process.getuid?.() === 0 } = {}) {
  if (!isDebian(osRelease) || whereIs('apt-get') === null)
    return 'only on Debian are they installed by themselves';
  if (!isRoot) return 'only root can install them';
  return null;
}

/**
 * Installs the packages of these programs. Their services do not start. Whether it worked is for the caller to see:
 * a program may still be missing.
 */
export async function installClients(programs, { policyFile = '/usr/sbin/policy-rc.d' } = {}) {
  const packages = [...new Set(programs.map((program) => PACKAGES[program]))];
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
  const apt = (...args) => run('apt-get', ['-q', '-o', 'DPkg::Lock::Timeout=300', ...args], { env });
  const install = () => apt('install', '-y', '--no-install-recommends', ...packages);
  await withoutServices(policyFile, async () => {
    if ((await install()) === 0) return;
    // A new machine has no package lists, an old one has lists of packages that are gone.
    if ((await apt('update')) === 0) await install();
  });
}

// invoke-rc.d asks this program whether it may start a service; 101 is no (Debian policy, section 9.3.3).
const POLICY =
  '#!/bin/sh\n# written by scripts/clients.mjs of lookaside while it installs packages\nexit 101\n';
const policyOf = (pid) => `${POLICY}# for process ${pid}\n`;

/**
 * Runs `act` while no package may start a service. A policy that somebody else made is left as it is; while another
 * process is in here, it is waited for: it takes its policy away, which would be ours too.
 */
export async function withoutServices(policyFile, act) {
  if (!(await writePolicy(policyFile))) return act();
  const remove = () => rmSync(policyFile, { force: true });
  process.once('exit', remove); // run() ends the process on a signal
  try {
    return await act();
  } finally {
    process.removeListener('exit', remove);
    remove();
  }
}

const LOOK_AGAIN_MS = 250;

/** False when somebody else's policy stands there. */
async function writePolicy(policyFile) {
  for (let emptyLooks = 0; ; ) {
    try {
      writeFileSync(policyFile, policyOf(process.pid), { mode: 0o755, flag: 'wx' });
      return true;
    } catch (error) {
      if (error.code !== 'EEXIST') throw error;
    }
    const text = readOrEmpty(policyFile);
    if (text === '') emptyLooks += 1;
    const isBegun = text === '' && emptyLooks < 4; // made a moment ago, or gone again
    if (!isBegun && !text.startsWith(POLICY)) return false;
    if (isBegun || isRunning(text.slice(POLICY.length)))
      await new Promise((resolve) => setTimeout(resolve, LOOK_AGAIN_MS));
    else rmSync(policyFile, { force: true }); // left by a run that was killed
  }
}

/** Whether the process that the last line of a policy names is one of Node.js; another may have its number by now. */
function isRunning(line) {
  const pid = /^# for process (\d+)$/m.exec(line);
  return pid !== null && readOrEmpty(`/proc/${pid[1]}/cmdline`).includes('node');
}

function isDebian(osRelease) {
  return /^(?:ID|ID_LIKE)=.*\bdebian\b/m.test(readOrEmpty(osRelease));
}

function readOrEmpty(file) {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    if (error.code === 'ENOENT') return '';
    throw error;
  }
}
