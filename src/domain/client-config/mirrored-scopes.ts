// What mirrors of a registry mean for its clients. Policies judge by the name that was typed. Signatures are looked for by the name
// of the mirror that answered (containers/image: logical and physical reference). If the mirror's name is typed, it is remapped.
import type { MirroredSource } from '../mirror-sets.ts';
import type { Note } from './policy-merge.ts';
import { isRegistryScope, type TrustedScope } from './wanted.ts';

export interface MirroredScopes {
  /** Those given, and one for each of their mirrors. */
  readonly scopes: readonly TrustedScope[];
  readonly notes: readonly Note[];
}

/** A scope that was asked for by name stays as it is, even if it is a mirror too. */
export function withMirrors(
  scopes: readonly TrustedScope[],
  sources: readonly MirroredSource[],
): MirroredScopes {
  const ofMirrors = new Map<string, TrustedScope>();
  for (const scope of scopes) {
    for (const { source, mirrors } of sources) {
      const below = partBelow(scope.registry, source);
      // what is asked for, or a part of it; all of the source's mirrors hold it
      const signed =
        below !== null ? scope.registry : partBelow(source, scope.registry) !== null ? source : null;
      if (signed === null || !isPlain(signed)) continue;
      for (const mirror of mirrors.map((text) => `${text.replace(/\/+$/, '')}${below ?? ''}`)) {
        if (!isPlain(mirror) || mirror === signed || scopes.some(({ registry }) => registry === mirror))
          continue;
        const identity = { type: 'remapIdentity', prefix: mirror, signedPrefix: signed } as const;
        ofMirrors.set(mirror, { registry: mirror, keys: scope.keys, identity });
      }
    }
  }
  return {
    scopes: [...scopes, ...ofMirrors.values()],
    notes: ofMirrors.size === 0 ? [] : [noteOf([...ofMirrors.keys()])],
  };
}

/** The registries of the sources, where none is asked for. */
export function sourcesOf(sources: readonly MirroredSource[]): readonly string[] {
  return [...new Set(sources.map(({ source }) => source).filter(isRegistryScope))];
}

/** What stands behind `above` in `name`; null when that lies elsewhere. */
function partBelow(name: string, above: string): string | null {
  return name === above || name.startsWith(`${above}/`) ? name.slice(above.length) : null;
}

// remapIdentity takes no wildcard
function isPlain(scope: string): boolean {
  return isRegistryScope(scope) && !scope.startsWith('*');
}

function noteOf(mirrors: readonly string[]): Note {
  return {
    code: 'MIRROR_PATHS',
    message: `clients that pull from ${mirrors.join(', ')} ask for signatures by the path that the image has there. Have the server serve them by that path too: lookaside mirror add --from FILE, or push --signed-for. Where a mirror serves them below a prefix, name it: --lookaside https://SERVER/PREFIX`,
  };
}
