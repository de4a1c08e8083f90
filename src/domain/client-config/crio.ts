// CRI-O: a policy for each namespace, which it takes for the pods of that namespace in place of policy.json (crio.conf(5),
// signature_policy_dir). It begins as what decided there before: a policy of its own would forget all that the node refuses.
import { LookasideError } from '../errors.ts';
import type { KindOptions, KindPlan } from './kind.ts';
import { type PlannedFile, type PlannedFiles, type PlanOptions, planPodmanFiles } from './podman-files.ts';
import type { Note } from './policy-merge.ts';

/** CRI-O's default. */
export const CRIO_POLICIES = '/etc/crio/policies';

export interface NamespacePolicy {
  readonly namespace: string;
  /** The policy that decides there now: its own, else that of the node; null: neither is there. */
  readonly inForce: Uint8Array | null;
}

/** @throws as planPodmanFiles() */
export function planNamespaces(options: PlanOptions, policies: readonly NamespacePolicy[]): PlannedFiles {
  const files = new Map<string, PlannedFile>();
  const notes = new Map<string, Note>();
  const plans = new Map<Uint8Array | null, PlannedFiles>(); // most namespaces begin with the policy of the node
  for (const { namespace, inForce } of policies) {
    const planned =
      plans.get(inForce) ??
      planPodmanFiles({ ...options, installed: { ...options.installed, policy: inForce } });
    plans.set(inForce, planned);
    for (const file of planned.files) {
      const isPolicy = file.path === `${options.paths.folder}/policy.json`;
      const path = isPolicy ? `${CRIO_POLICIES}/${namespace}.json` : file.path;
      files.set(path, { ...file, path });
    }
    for (const note of planned.notes) notes.set(JSON.stringify(note), note);
  }
  return { files: [...files.values()], notes: [...notes.values()] };
}

/** Where the node is elsewhere. @throws as planNamespaces(), and CONFIG_INVALID without its policy */
export function planCrio({ wanted, policy, namespaces, mayWiden, sha256 }: KindOptions): KindPlan {
  if (namespaces.length === 0)
    throw new LookasideError(
      'CONFIG_INVALID',
      'no namespace is named, and --kind crio writes the policies of namespaces; name them with --namespace. For the policy of all of a node: --kind podman',
    );
  if (policy === null)
    throw new LookasideError(
      'CONFIG_INVALID',
      'the policy of a namespace counts in place of the one of the node, and it is not known what that refuses; give the policy.json of a node (--policy, or by POST), or run the command with --install on the node',
    );
  const planned = planNamespaces(
    {
      ...{ wanted, mayWiden, sha256 },
      isStagingChosen: true, // nodes sign nothing: without a choice none is named
      paths: { folder: '/etc/containers', builtInStaging: '' },
      installed: { policy, registriesD: [] },
      editYaml: (text) => text, // there is no file to edit
    },
    namespaces.map((namespace) => ({ namespace, inForce: policy })),
  );
  return {
    files: planned.files.map((file) => ({ ...file, path: file.path.slice(1) })),
    commands: [],
    notes: planned.notes,
  };
}
