// Which programs of others a row needs, and how to get them; and whether its trees have room.
import { spawnSync } from 'node:child_process';
import { existsSync, statfsSync } from 'node:fs';
import { join } from 'node:path';
import { Refusal } from '../scripts/run.mjs';

const PACKAGES = {
  wrk: 'wrk',
  nginx: 'nginx',
  taskset: 'util-linux',
  openssl: 'openssl',
  gpgv: 'gpgv',
  curl: 'curl',
  psql: 'postgresql',
};

/** A folder and a file of at most 4 KiB each, and its rows in the index. */
const IMAGE_BYTES = 10 * 1024;
const IMAGE_INODES = 2;
/** For databases, logs, and what rows make that have no number of images. */
const MORE_BYTES = 3 * 1024 ** 3;
const MORE_INODES = 400_000;

/**
 * All trees stay until the end of the run, and those that an earlier run has left in the folder have their room already.
 * @throws Refusal when the folder has no room for the others
 */
export function requireRoom(folder, rows) {
  const trees = new Map(rows.map((row) => [treeOf(row), row.images ?? row.count ?? 0]));
  const missing = [...trees].filter(([name]) => !existsSync(join(folder, name)));
  const images = missing.reduce((sum, [, count]) => sum + count, 0);
  const { bavail, bsize, ffree, files } = statfsSync(folder);
  const wantedBytes = images * IMAGE_BYTES + MORE_BYTES;
  const wantedInodes = images * IMAGE_INODES + MORE_INODES;
  const hasInodes = files === 0 || ffree >= wantedInodes; // btrfs and others make them as they are needed
  if (bavail * bsize >= wantedBytes && hasInodes) return;
  const wanted = `${gib(wantedBytes)} GiB and ${wantedInodes} inodes`;
  const there = `${gib(bavail * bsize)} GiB and ${ffree} inodes`;
  throw new Refusal(
    `the trees of these rows may take ${wanted}, and ${folder} has ${there} free. Name another folder by --folder, take smaller trees by --scale 0.1, or fewer rows by --rows.`,
  );
}

/** The folder of its tree, as far as large ones have one. */
function treeOf({ group, name, images, isShared = false }) {
  if (images === undefined) return name;
  if (group === 'nodes') return `served-${images}`;
  return isShared ? `tree-${images}` : `owned-${images}`;
}

function gib(bytes) {
  return (bytes / 1024 ** 3).toFixed(1);
}

/** What rows need and this machine lacks, with how to get it; null: nothing. */
export function missingPrograms(names = Object.keys(PACKAGES)) {
  const missing = names.filter((name) => !isThere(name));
  if (missing.length === 0) return null;
  const packages = [...new Set(missing.map((name) => PACKAGES[name]))];
  return `not on this machine: ${missing.join(', ')}. On Debian and Ubuntu: apt-get install ${packages.join(' ')}; on Fedora: dnf install ${packages.map((name) => (name === 'gpgv' ? 'gnupg2' : name)).join(' ')}. --rows leaves out the rows that need them.`;
}

/** @throws Refusal when one of them is not there */
export function requirePrograms(names) {
  const missing = missingPrograms(names);
  if (missing !== null) throw new Refusal(missing);
}

function isThere(name) {
  const { status } = spawnSync('sh', ['-c', 'command -v "$1"', 'sh', name], {
    env: { ...process.env, PATH: `${process.env.PATH}:/usr/sbin:/sbin` },
  });
  return status === 0;
}
