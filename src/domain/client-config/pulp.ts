// Pulp: remotes that fetch signatures along with images. Source: pulp/pulp_container, app/serializers.py (ContainerRemoteSerializer).
import { LookasideError } from '../errors.ts';
import type { KindOptions, KindPlan } from './kind.ts';
import { requireOneHost, requireWebUrl, textFile, withFileNames } from './kind-text.ts';

/** @throws LookasideError CONFIG_INVALID for what is no single repository */
export function planPulp({ wanted: { scopes, lookaside } }: KindOptions): KindPlan {
  requireWebUrl('pulp', lookaside);
  const remotes = withFileNames(scopes, '-').map(({ scope, name }) => {
    const { host, repository } = requireOneHost('pulp', scope);
    if (repository === null)
      throw new LookasideError(
        'CONFIG_INVALID',
        `a remote of pulp is one repository, and ${scope.registry} is a whole registry; name one like --registry ${scope.registry}/team/app`,
      );
    const remote = {
      name,
      url: host === 'docker.io' ? 'https://registry-1.docker.io' : `https://${host}`,
      upstream_name: repository,
      sigstore: lookaside,
    };
    return { name, file: textFile(`${name}.json`, `${JSON.stringify(remote, null, 2)}\n`) };
  });
  return {
    files: remotes.map(({ file }) => file),
    // the options of pulp-cli have no sigstore
    commands: remotes.map(
      ({ name }) =>
        `curl -fsS -u admin -H 'Content-Type: application/json' --data @${name}.json https://PULP/pulp/api/v3/remotes/container/container/`,
    ),
    notes: [
      {
        code: 'NOT_VERIFIED',
        message:
          'pulp keeps the signatures and serves them on, and verifies none: clients that pull from it must. --kind podman sets them up',
      },
    ],
  };
}
