// Portieris: an ImagePolicy that demands signatures at admission, and the Secrets with the keys. Sources: IBM/portieris, POLICIES.md,
// helm/portieris/crds/crds.yaml, helpers/wildcard.

import type { KindOptions, KindPlan } from './kind.ts';
import { certificatesOf, nameOf, requireWebUrl, textFile } from './kind-text.ts';
import type { TrustedScope } from './wanted.ts';

/** @throws LookasideError CONFIG_INVALID for what a policy cannot say */
export function planPortieris({ wanted, namespaces, sha256, armor }: KindOptions): KindPlan {
  const { scopes, lookaside } = wanted;
  requireWebUrl('portieris', lookaside);
  const secretOf = ({ registry }: TrustedScope) => `lookaside-${nameOf(registry, sha256)}`;
  const objects = (namespaces.length === 0 ? [null] : namespaces).flatMap((namespace) => [
    ...scopes.map((scope) => ({
      apiVersion: 'v1',
      kind: 'Secret',
      metadata: metadata(secretOf(scope), namespace),
      type: 'Opaque',
      stringData: { key: armor(certificatesOf(scope.keys)) },
    })),
    {
      apiVersion: 'portieris.cloud.ibm.com/v1',
      kind: 'ImagePolicy',
      metadata: metadata('lookaside', namespace),
      spec: {
        repositories: scopes.flatMap((scope) =>
          patternsOf(scope.registry).map((name) => ({
            name,
            policy: {
              simple: {
                storeURL: lookaside,
                requirements: [
                  {
                    type: 'signedBy',
                    keySecret: secretOf(scope),
                    ...(scope.identity === null ? {} : { signedIdentity: scope.identity }),
                  },
                ],
              },
            },
          })),
        ),
      },
    },
  ]);
  // JSON is YAML, and each object is a document of its own
  const text = objects.map((object) => `---\n${JSON.stringify(object, null, 2)}\n`).join('');
  const where = namespaces.length === 0 ? ' -n NAMESPACE' : '';
  return {
    files: [textFile('portieris.yaml', `# Written by lookaside client-config.\n${text}`)],
    commands: [`kubectl apply${where} -f portieris.yaml`],
    notes: [
      {
        code: 'OTHERS_DENIED',
        message:
          'once a namespace has an ImagePolicy, portieris denies there every image that none of them names, those that a ClusterImagePolicy admits too. Add repositories for the other images of the namespace to an ImagePolicy first',
      },
    ],
  };
}

function metadata(name: string, namespace: string | null) {
  return namespace === null ? { name } : { name, namespace };
}

/** All that a section of policy.json of that name decides for. `*` is any text there; a tag is added by portieris, a digest is not. */
function patternsOf(registry: string): readonly string[] {
  if (!registry.includes('/')) return [`${registry}/*`];
  return [registry, `${registry}@*`, `${registry}/*`];
}
