// What doctor reads before it asks anybody: policy.json, registries.d and registries.conf of this machine.
import type {
  ClientGeneration,
  ClientMachine,
  ClientUser,
  FoundFile,
  UnreadableFile,
} from '../domain/client-machine.ts';
import { type Policy, PolicyFault, parsePolicy } from '../domain/policy/policy.ts';
import {
  mergeRegistriesConf,
  type RegistriesConf,
  RegistriesConfFault,
} from '../domain/policy/registries-conf.ts';
import {
  type Base,
  baseFor,
  mergeRegistriesD,
  type RegistriesD,
  RegistriesDFault,
} from '../domain/policy/registries-d.ts';
import type { Selected } from '../domain/policy/scopes.ts';
import { withoutPassword } from './doctor-lookaside.ts';
import { type Step, step } from './doctor-step.ts';
import type { Complaint } from './policy-judge.ts';

export type ReadPolicy = { readonly path: string; readonly policy: Policy };

/** Whose files are read: root and every user have their own. */
export function tellUser(steps: Step[], { uid, name, home, ownHome, caller }: ClientUser): void {
  const who = `${name ?? 'a user without a name'} (uid ${uid})`;
  steps.push(step('user', 'ok', `as ${who}, whose own files lie below ${home}`));
  if (caller !== null && caller !== name)
    steps.push(
      step(
        'user',
        'note',
        `sudo runs this as ${name ?? uid}, for pulls by sudo; what ${caller} pulls without sudo goes by the files of ${caller}: run it as ${caller} for that`,
      ),
    );
  else if (ownHome !== null && ownHome !== home)
    steps.push(step('user', 'note', `HOME says so, and clients go by it; the home of ${who} is ${ownHome}`));
}

export async function readPolicy(
  machine: ClientMachine,
  steps: Step[],
): Promise<ReadPolicy | { readonly complaint: Complaint }> {
  const file = await machine.policy().catch((error: unknown): FoundFile => {
    if (!(error instanceof RegistriesConfFault)) throw error;
    return { kind: 'unreadable', path: error.file, why: error.message, closed: null };
  });
  const passedOver = await machine.passedOver();
  if (passedOver.length > 0)
    steps.push(
      step(
        'policy',
        'note',
        `${passedOver.join(', ')} ${passedOver.length === 1 ? 'is' : 'are'} not read: before podman 6 clients look below ~/.config, whatever XDG_CONFIG_HOME says`,
      ),
    );
  const bad = (code: string, message: string, remedy: string) => {
    steps.push(step('policy', 'bad', message));
    return { complaint: { code, message, remedy } };
  };
  if (file.kind === 'missing')
    return bad(
      'POLICY_MISSING',
      `there is no policy.json: ${file.why}`,
      'write one: lookaside client-config --help',
    );
  if (file.kind === 'unreadable')
    return bad('POLICY_UNREADABLE', `${file.path} cannot be read: ${file.why}`, policyRemedy(file));
  try {
    const policy = parsePolicy(file.bytes);
    steps.push(
      step(
        'policy',
        'ok',
        `${file.path} is read${machine.user.uid === 0 ? '' : ' as a user who is not root'}`,
      ),
    );
    return { path: file.path, policy };
  } catch (error) {
    if (!(error instanceof PolicyFault)) throw error;
    const at = `${file.path}, line ${error.line}, column ${error.column}`;
    return bad('POLICY_INVALID', `${at}: ${error.message}`, `mend ${at}: until then every image is refused`);
  }
}

function policyRemedy({ path, closed }: UnreadableFile): string {
  if (closed === null) return `put a policy there that clients read: ${path}`;
  return closed === path
    ? `make it readable for every user: chmod a+r ${path}`
    : `let every user enter the folder: chmod a+x ${closed}`;
}

export function tellSelected(
  steps: Step[],
  { section, requirements, narrower }: Selected,
  { path }: ReadPolicy,
): void {
  const types = requirements.map(({ type }) => type).join(', ');
  steps.push(step('policy', 'ok', `${section} of ${path} decides: ${types}`));
  if (narrower.length > 0)
    steps.push(step('policy', 'note', `there is no section for ${narrower.join(', ')}`));
}

export async function readRegistriesD(
  machine: ClientMachine,
  steps: Step[],
): Promise<RegistriesD | { readonly complaint: Complaint }> {
  try {
    const { folders, files } = await machine.registriesD();
    const config = mergeRegistriesD(files);
    const read = files.length === 0 ? 'no file' : files.map(({ path }) => path).join(', ');
    steps.push(step('registries.d', 'ok', `${read} in ${folders.join(', ') || 'any folder'}`));
    return config;
  } catch (error) {
    if (!(error instanceof RegistriesDFault)) throw error;
    const message = `${error.file}: ${error.message}`;
    steps.push(step('registries.d', 'bad', message));
    const remedy = `mend ${error.file}: until then every image is refused`;
    return { complaint: { code: 'REGISTRIES_D_INVALID', message, remedy } };
  }
}

/** `names`: dockerScopes() of the name that the image is asked for under. */
export function chooseBase(
  config: RegistriesD,
  names: readonly string[],
  { generation, builtIn }: { readonly generation: ClientGeneration; readonly builtIn: string },
): Base {
  return baseFor(config, { names, generation: generation === 'old' ? 'old' : 'new', builtIn });
}

export function tellBase(steps: Step[], { url, section }: Base): void {
  const from =
    section === null
      ? 'nothing is configured; the built-in folder'
      : `${section.spelling} of ${section.name} in ${section.file}`;
  steps.push(step('registries.d', section === null ? 'note' : 'ok', `${from}: ${withoutPassword(url)}`));
}

export interface ReadConf {
  readonly conf: RegistriesConf;
  readonly recorded: RegistriesConf['aliases'];
}

export async function readConf(
  machine: ClientMachine,
  generation: ClientGeneration,
  steps: Step[],
): Promise<ReadConf | { readonly complaint: Complaint }> {
  try {
    const files = await machine.registriesConf();
    const conf = mergeRegistriesConf(files, { takesVersion1: generation !== 'podman-6' });
    const read = files.map(({ path }) => path).join(', ');
    if (files.length > 0)
      steps.push(step('registries.conf', 'ok', `${read} ${files.length === 1 ? 'is' : 'are'} read`));
    return { conf, recorded: await machine.recordedAliases() };
  } catch (error) {
    if (!(error instanceof RegistriesConfFault)) throw error;
    return { complaint: tellConfFault(steps, error) };
  }
}

export function tellConfFault(steps: Step[], { file, message: why }: RegistriesConfFault): Complaint {
  const message = `${file}: ${why}`;
  steps.push(step('registries.conf', 'bad', message));
  return {
    code: 'REGISTRIES_CONF_INVALID',
    message,
    remedy: `mend ${file}: until then every image is refused`,
  };
}
