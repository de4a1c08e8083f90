// Which real clients this machine has. Tests that need a missing one are skipped with the reason; where CI is
// true nothing may be missing, so that a green run has really asked podman.
import { spawnSync } from 'node:child_process';
import { accessSync, constants, existsSync, readdirSync } from 'node:fs';
import path from 'node:path';

export type Need =
  | 'podman'
  | 'skopeo'
  | 'docker-registry'
  | 'gpg'
  | 'curl'
  | 'openssl'
  | 'python3'
  | 'prlimit'
  | 'strace'
  | 'bzip2'
  | 'buildah'
  | 'mmdebstrap'
  | 'docker-compose'
  | 'systemd-socket-activate'
  | 'systemd-analyze'
  | 'faketime'
  | 'shellcheck'
  | 'slowhttptest'
  | 'wrk'
  | 'gcc'
  | 'mkfs.ext4'
  | 'mkfs.xfs'
  | 'xfs_io'
  | 'chromium'
  | 'promtool'
  | 'nginx'
  | 'haproxy'
  | 'caddy'
  | 'postgres'
  | 'flatpak'
  | 'ignition-validate'
  | 'ansible-playbook'
  /** A mount and network namespace of one's own: Linux, root, unshare and nsenter, ip. */
  | 'private host';

/**
 * The option for node:test that skips a test or suite while something it needs is missing.
 * @throws Error instead of a skip when the environment has CI=true
 */
export function needs(...wanted: readonly Need[]): { readonly skip: string | false } {
  const missing = wanted.map(whyMissing).filter((reason) => reason !== null);
  if (missing.length === 0) return { skip: false };
  const reason = missing.join(', ');
  if (process.env.CI === 'true') throw new Error(`CI=true allows no missing client: ${reason}`);
  return { skip: reason };
}

/** Whether `needs('private host')` is met. */
export function hasPrivateHost(): boolean {
  return whyMissing('private host') === null;
}

const reasons = new Map<Need, string | null>();

function whyMissing(need: Need): string | null {
  const known = reasons.get(need);
  if (known !== undefined) return known;
  const reason = need === 'private host' ? whyNoPrivateHost() : whyNotInstalled(need);
  reasons.set(need, reason);
  return reason;
}

function whyNoPrivateHost(): string | null {
  if (process.platform !== 'linux') return 'a private host needs Linux';
  if (process.getuid?.() !== 0) return 'a private host needs root';
  const absent = ['unshare', 'nsenter', 'ip', 'mount']
    .map(whyNotInstalled)
    .filter((reason) => reason !== null);
  if (absent.length > 0) return absent.join(', ');
  // a container without CAP_SYS_ADMIN has root and the tools, and still may not
  const attempt = spawnSync('unshare', [
    '--mount',
    '--net',
    '--propagation',
    'private',
    'ip',
    'link',
    'set',
    'lo',
    'up',
  ]);
  return attempt.status === 0 ? null : 'root may not make namespaces here';
}

function whyNotInstalled(program: string): string | null {
  return findOnPath(program) === undefined ? `${program} is not installed` : null;
}

/** Where the program is, for who does not look at the PATH. @throws Error when it is nowhere */
export function programFile(program: Need): string {
  const file = findOnPath(program);
  if (file === undefined) throw new Error(`${program} is not installed`);
  return file;
}

function findOnPath(program: string): string | undefined {
  const folders = (process.env.PATH ?? '').split(path.delimiter);
  if (program === 'postgres') folders.push(...postgresFolders());
  return folders.map((folder) => path.join(folder, program)).find(isExecutable);
}

const DEBIANS_POSTGRES = '/usr/lib/postgresql';

/** Debian keeps PostgreSQL's programs off the PATH, one folder for each major version. */
function postgresFolders(): readonly string[] {
  if (!existsSync(DEBIANS_POSTGRES)) return [];
  return readdirSync(DEBIANS_POSTGRES).map((major) => path.join(DEBIANS_POSTGRES, major, 'bin'));
}

function isExecutable(file: string): boolean {
  try {
    accessSync(file, constants.X_OK);
    return true;
  } catch {
    return false; // absent or not ours to run: both mean that it cannot be used
  }
}
