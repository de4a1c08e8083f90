// Set up a client that is no machine of ours: what client-config --kind writes, and what to do with it.
import { BUTANE_COMMANDS } from '../../domain/client-config/butane.ts';
import { CRIO_POLICIES } from '../../domain/client-config/crio.ts';
import { type HandedKind, KINDS_WITH_NAMESPACE, type KindPlan } from '../../domain/client-config/kind.ts';
import { requireNamespaces } from '../../domain/client-config/kinds.ts';
import type { WantedConfig } from '../../domain/client-config/wanted.ts';
import { LookasideError } from '../../domain/errors.ts';
import { handedFiles } from '../../service/client-config.ts';
import { type Html, html } from '../html.ts';
import type { PageContext } from '../page.ts';
import { block } from '../show.ts';

interface HandedChoice {
  readonly kind: HandedKind;
  readonly title: string;
  /** What the files are, and what becomes of them. */
  readonly about: string;
  /** The line that fetches the policy.json that is merged into; null: none is. */
  readonly fetchPolicy: string | null;
}

export const HANDED: readonly HandedChoice[] = [
  {
    kind: 'openshift',
    title: 'OpenShift: MachineConfigs for its nodes',
    about: 'Nodes get keys, registries.d and policy.json by MachineConfigs, and restart for it.',
    fetchPolicy: 'oc debug node/NODE -- chroot /host cat /etc/containers/policy.json > policy.json',
  },
  {
    kind: 'crio',
    title: 'CRI-O: the pods of single namespaces',
    about: `Run it on each node. CRI-O takes a file in ${CRIO_POLICIES} in place of the policy.json of the node, so that it begins as a copy of that one.`,
    fetchPolicy: null,
  },
  {
    kind: 'kubernetes',
    title: 'Kubernetes: a DaemonSet that sets up nodes with CRI-O',
    about:
      'A pod on each node merges the policy that the node has, by way of this server. Nodes with containerd are not helped.',
    fetchPolicy: null,
  },
  {
    kind: 'ansible',
    title: 'Ansible: a role for many machines',
    about: 'The role merges the policy that each machine has, by way of this server.',
    fetchPolicy: null,
  },
  {
    kind: 'butane',
    title: 'Fedora CoreOS: Butane and Ignition',
    about: 'A machine gets the files at its first boot. The policy is that of a machine of the same image.',
    fetchPolicy: 'ssh core@MACHINE cat /etc/containers/policy.json > policy.json',
  },
  {
    kind: 'flatpak',
    title: 'Flatpak: a remote',
    about: 'Flatpak 1.17.1 and newer look for signatures there. A remote is a whole registry.',
    fetchPolicy: null,
  },
  {
    kind: 'pulp',
    title: 'Pulp: a remote',
    about: 'Pulp takes the signatures along when it syncs. Name one repository.',
    fetchPolicy: null,
  },
  {
    kind: 'portieris',
    title: 'Portieris: an ImagePolicy',
    about: 'Portieris then admits only what these keys have signed.',
    fetchPolicy: null,
  },
];

/** A form has no more; the command takes any number. */
const MAX_NAMESPACES = 10;

export function namespacesIn(text: string): readonly string[] {
  return [...new Set(text.split(/[\s,]+/).filter((one) => one !== ''))];
}

export interface HandedAsked {
  readonly choice: HandedChoice;
  readonly wanted: WantedConfig;
  readonly namespaces: readonly string[];
  /** `lookaside client-config` with server, registry and keys. */
  readonly command: string;
}

export interface HandedAnswer {
  readonly body: Html;
  readonly notes: KindPlan['notes'];
}

/** @throws LookasideError REQUEST_INVALID, CONFIG_INVALID for what this kind cannot say */
export function handedAnswer(
  context: PageContext,
  asked: HandedAsked,
  showFile: (file: KindPlan['files'][number]) => Html,
): HandedAnswer {
  const { choice, namespaces } = asked;
  const { kind, about, fetchPolicy } = choice;
  requireFitting(kind, namespaces);
  // what is merged into must be known: only the command has it
  const plan = kind === 'crio' || kind === 'butane' ? null : planFor(context, asked);
  const lines = commandLines(asked, plan);
  return {
    notes: plan?.notes ?? [],
    body: html`<section class="card"><h2>By command</h2><p>${about}</p>${block(lines.join('\n'))}</section>
${plan !== null && filesCard(plan, fetchPolicy !== null, showFile)}`,
  };
}

function requireFitting(kind: HandedKind, namespaces: readonly string[]): void {
  requireNamespaces(namespaces);
  if (namespaces.length > MAX_NAMESPACES)
    throw new LookasideError(
      'REQUEST_INVALID',
      `${namespaces.length} namespaces are named, and a page takes ${MAX_NAMESPACES}; name the others by command, with --namespace`,
    );
  if (kind === 'crio' && namespaces.length === 0)
    throw new LookasideError('REQUEST_INVALID', 'no namespace is named: whose pods it is about');
  if (namespaces.length > 0 && !KINDS_WITH_NAMESPACE.includes(kind))
    throw new LookasideError('REQUEST_INVALID', `what ${kind} reads belongs to no namespace`);
}

function planFor({ services, request }: PageContext, { choice, wanted, namespaces }: HandedAsked): KindPlan {
  const server = { url: request.url, isClosed: services.settings().read === 'token' };
  const rest = { policy: null, mayWiden: false, image: null };
  return handedFiles(services.keys, choice.kind, { wanted, namespaces, server, ...rest });
}

function commandLines(
  { choice, namespaces, command }: HandedAsked,
  plan: KindPlan | null,
): readonly string[] {
  const { kind, fetchPolicy } = choice;
  const names = namespaces.length === 0 ? '' : ` --namespace ${namespaces.join(' ')}`;
  const base = `${command} --kind ${kind}${names}`;
  if (kind === 'crio') return [`${base} --install`];
  const policy = fetchPolicy === null ? '' : ' --policy policy.json';
  // with a policy of a node they count after what the cluster makes
  const commands = (plan?.commands ?? BUTANE_COMMANDS).map((line) =>
    kind === 'openshift' ? line.replace(/\b02-/, '99-') : line,
  );
  return [
    ...(fetchPolicy === null ? [] : [fetchPolicy]),
    `${base}${policy} -o ${kind}`,
    ...(commands.length === 0 ? [] : [`cd ${kind}`, ...commands]),
  ];
}

function filesCard(
  { files, commands }: KindPlan,
  isWithoutPolicy: boolean,
  showFile: (file: KindPlan['files'][number]) => Html,
): Html {
  return html`<section class="card"><h2>By hand</h2>
${isWithoutPolicy && html`<p>Without the policy of a node, these are weaker than what the command above writes; see the note below.</p>`}
${files.map((file) => html`<details><summary><code>${file.path}</code></summary>${showFile(file)}</details>`)}
${commands.length > 0 && html`<p>To use them:</p>${block(commands.join('\n'))}`}</section>`;
}
