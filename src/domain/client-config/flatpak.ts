// Flatpak: a remote for each registry, with keys and the place of signatures in it. Sources: flatpak/flatpak, doc/flatpakrepo.xml,
// common/flatpak-repo-utils.c (flatpak_parse_repofile); signatures since 1.17.1.
import { toBase64 } from '../base64.ts';
import type { KindOptions, KindPlan } from './kind.ts';
import {
  certificatesOf,
  keyringFile,
  refuseRemapped,
  requireOneHost,
  requireWebUrl,
  shellWord,
  textFile,
  withFileNames,
} from './kind-text.ts';

/** @throws LookasideError CONFIG_INVALID for what a remote cannot say */
export function planFlatpak({ wanted: { scopes, lookaside } }: KindOptions): KindPlan {
  requireWebUrl('flatpak', lookaside);
  // what ostree takes as the name of a remote; characters of registries that it refuses are : / [ ]
  const remotes = withFileNames(scopes, '_').map(({ scope, name }) => {
    refuseRemapped('flatpak', scope);
    const { host } = requireOneHost('flatpak', scope);
    const url = `oci+https://${host}`;
    const repo = [
      '# Written by lookaside client-config. Flatpak since 1.17.1 looks for signatures; older ones ignore SignatureLookaside.',
      `#   flatpak remote-add ${name} ${name}.flatpakrepo`,
      '[Flatpak Repo]',
      'Version=1',
      `Title=${scope.registry}`,
      `Url=${url}`,
      `SignatureLookaside=${lookaside}`,
      `GPGKey=${toBase64(certificatesOf(scope.keys))}`,
      '',
    ].join('\n');
    return {
      files: [textFile(`${name}.flatpakrepo`, repo), keyringFile(`${name}.gpg`, scope.keys)],
      commands: [
        `flatpak remote-add ${name} ${name}.flatpakrepo`,
        `# where the remote is there already: flatpak remote-modify --gpg-verify --gpg-import=${name}.gpg --signature-lookaside=${shellWord(lookaside)} ${name}`,
      ],
      isPart: scope.registry !== host,
    };
  });
  return {
    files: remotes.flatMap(({ files }) => files),
    commands: remotes.flatMap(({ commands }) => commands),
    notes: remotes.some(({ isPart }) => isPart) ? [WHOLE_REGISTRY, DOTTED_TAGS] : [DOTTED_TAGS],
  };
}

const WHOLE_REGISTRY = {
  code: 'WHOLE_REGISTRY',
  message:
    'a remote of flatpak is a whole registry: all that is installed from it must be signed by the keys of its file, not the part alone that was named',
} as const;

/** Its pattern of a tag has no dot (common/flatpak-oci-signatures.c, TAG). */
const DOTTED_TAGS = {
  code: 'DOTTED_TAGS',
  message:
    'Flatpak refuses what was signed for a tag with a dot, such as app:1.0: it takes that tag for a part of the name. Sign the name without a tag, or with one without a dot, as app:stable',
} as const;
