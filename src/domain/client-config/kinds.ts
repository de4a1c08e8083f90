// The files of the kinds of clients that are no machine of ours: handed to a cluster, a fleet or another program.
import { LookasideError } from '../errors.ts';
import { planAnsible } from './ansible.ts';
import { planButane } from './butane.ts';
import { planCrio } from './crio.ts';
import { planFlatpak } from './flatpak.ts';
import {
  type HandedKind,
  KINDS_WITH_NAMESPACE,
  KINDS_WITH_POLICY,
  type KindOptions,
  type KindPlan,
} from './kind.ts';
import { planKubernetes } from './kubernetes.ts';
import { planOpenshift } from './openshift.ts';
import { planPortieris } from './portieris.ts';
import { planPulp } from './pulp.ts';

/** @throws PolicyFault, LookasideError CONFIG_INVALID as the merges do, and for what this kind cannot say */
export function planKind(kind: HandedKind, options: KindOptions): KindPlan {
  requireFitting(kind, options);
  return PLANS[kind](options);
}

const PLANS: Readonly<Record<HandedKind, (options: KindOptions) => KindPlan>> = {
  openshift: planOpenshift,
  butane: planButane,
  flatpak: planFlatpak,
  pulp: planPulp,
  portieris: planPortieris,
  crio: planCrio,
  kubernetes: planKubernetes,
  ansible: planAnsible,
};

function requireFitting(kind: HandedKind, { policy, namespaces, image }: KindOptions): void {
  if (image !== null && (kind !== 'kubernetes' || !/^[A-Za-z0-9][A-Za-z0-9./:@_-]*$/.test(image)))
    throw new LookasideError(
      'CONFIG_INVALID',
      `the image is ${JSON.stringify(image)}; wanted the name of an image for the pods of --kind kubernetes, and nothing for other kinds`,
    );
  if (policy !== null && !KINDS_WITH_POLICY.includes(kind))
    throw new LookasideError(
      'CONFIG_INVALID',
      `${kind} reads no policy.json, and a policy was given; leave it out`,
    );
  if (namespaces.length > 0 && !KINDS_WITH_NAMESPACE.includes(kind))
    throw new LookasideError(
      'CONFIG_INVALID',
      `what ${kind} reads belongs to no namespace, and one was given; leave it out`,
    );
  requireNamespaces(namespaces);
}

/** RFC 1123 label, as Kubernetes names namespaces. */
const NAMESPACE = /^[a-z0-9](?:[a-z0-9-]*[a-z0-9])?$/;

/** They become names of files. @throws LookasideError CONFIG_INVALID */
export function requireNamespaces(names: readonly string[]): void {
  const wrong = names.find((name) => name.length > 63 || !NAMESPACE.test(name));
  if (wrong === undefined) return;
  throw new LookasideError(
    'CONFIG_INVALID',
    `the namespace is ${JSON.stringify(wrong)}; wanted a name of Kubernetes like team-a`,
  );
}
