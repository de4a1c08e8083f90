// The real clients that tests use: which are here, and on Debian as root the installation of the others.
import { readFileSync, unlinkSync, writeFileSync } from 'node:fs';
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
  wrk: 'wrk',
  'mkfs.ext4': 'e2fsprogs',
  'mkfs.xfs': 'xfsprogs',
  xfs_io: 'xfsprogs',
};

/** What only `npm run faults` needs. */
const FAULT_CLIENTS = {
  slowhttptest: 'slowhttptest',
};

const PACKAGES = { ...CLIENTS, ...FAULT_CLIENTS };

/** The client programs that are not on the PATH. */
export function missingClients() {
  return Object.keys(CLIENTS).filter((program) => whereIs(program) === null);
}

/** As missingClients(), with those that only `npm run faults` needs. */
export function missingFaultClients() {
  return Object.keys(PACKAGES).filter((program) => whereIs(program) === null);
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

/** Runs `act` while no package may start a service. A policy that somebody else made is left as it is. */
export async function withoutServices(policyFile, act) {
  try {
    writeFileSync(policyFile, POLICY, { mode: 0o755, flag: 'wx' });
  } catch (error) {
    if (error.code !== 'EEXIST') throw error;
    if (readFileSync(policyFile, 'utf8') !== POLICY) return act(); // else left by a run that was killed
  }
  const remove = () => unlinkSync(policyFile);
  process.once('exit', remove); // run() ends the process on a signal
  try {
    return await act();
  } finally {
    process.removeListener('exit', remove);
    remove();
  }
}

function isDebian(osRelease) {
  let text;
  try {
    text = readFileSync(osRelease, 'utf8');
  } catch (error) {
    if (error.code === 'ENOENT') return false;
    throw error;
  }
  return /^(?:ID|ID_LIKE)=.*\bdebian\b/m.test(text);
}
