// Which programs of others a row needs, and how to get them.
import { spawnSync } from 'node:child_process';

const PACKAGES = {
  wrk: 'wrk',
  nginx: 'nginx',
  taskset: 'util-linux',
  openssl: 'openssl',
  gpgv: 'gpgv',
  curl: 'curl',
  psql: 'postgresql',
};

/** @throws when one of them is not there */
export function requirePrograms(names) {
  const missing = names.filter((name) => !isThere(name));
  if (missing.length === 0) return;
  const packages = [...new Set(missing.map((name) => PACKAGES[name]))];
  throw new Error(
    `not on this machine: ${missing.join(', ')}. On Debian and Ubuntu: apt-get install ${packages.join(' ')}; on Fedora: dnf install ${packages.map((name) => (name === 'gpgv' ? 'gnupg2' : name)).join(' ')}. --rows leaves out the rows that need them.`,
  );
}

function isThere(name) {
  const { status } = spawnSync('sh', ['-c', 'command -v "$1"', 'sh', name], {
    env: { ...process.env, PATH: `${process.env.PATH}:/usr/sbin:/sbin` },
  });
  return status === 0;
}
