// What each transport takes for a scope of a policy (containers/image, ValidatePolicyConfigurationScope of each).
import { parseDigest } from '../image.ts';

/** Why the transport refuses the scope, which refuses the whole policy; null when it does not. Unknown transports take all. */
export function scopeFault(transport: string, scope: string): string | null {
  switch (transport) {
    case 'dir':
    case 'oci':
    case 'oci-archive':
      return pathFault(scope);
    case 'docker-archive':
    case 'tarball':
      return 'it takes no scope but ""';
    case 'docker-daemon':
      return parseDigest(scope) === null ? null : 'a digest is not a name';
    case 'containers-storage':
      return STORAGE.test(scope) ? null : 'expected [DRIVER@/ROOT], and a name after it';
    // skopeo 1.9 takes every scope of atomic
    default:
      return null;
  }
}

const STORAGE = /^\[(?:[^@\]]+@)?\/[^\]]*\]/;

function pathFault(scope: string): string | null {
  if (!scope.startsWith('/')) return 'expected an absolute path';
  if (scope === '/') return 'expected "" for all paths';
  return scope ===
    `/${scope
      .split('/')
      .filter((part) => part !== '' && part !== '.')
      .join('/')}` && !/\/\.\.(?:\/|$)/.test(scope)
    ? null
    : 'expected a path without "//", "." and ".."';
}
