// What clients log in to a registry with: the programs and files that registries.conf names, one after the other. No program is run.
import { LoginFault, type MachineLogin } from '../domain/client-auth.ts';
import type { ClientMachine } from '../domain/client-machine.ts';
import { AUTH_FILES_HELPER, type RegistriesConf } from '../domain/policy/registries-conf.ts';
import type { DockerReference } from '../domain/reference.ts';
import { type Step, step } from './doctor-step.ts';
import type { Complaint } from './policy-judge.ts';

/** `program`: one that credential-helpers of registries.conf names, which may have a login. */
export type DoctorLogin =
  | MachineLogin
  | {
      readonly kind: 'program';
      readonly file: string;
      readonly program: string;
      readonly readsFiles: boolean;
    };

type ReadLogin = { readonly login: DoctorLogin } | { readonly complaint: Complaint };

export interface LoginQuestion {
  readonly image: DockerReference;
  readonly conf: Pick<RegistriesConf, 'credentialHelpers'>;
  /** Gets those of the login. */
  readonly steps: Step[];
}

/** As clients do: what cannot be asked is passed over, and ends the pull only when nobody else has a login. */
export async function readLogin(
  machine: Pick<ClientMachine, 'login' | 'credentialProgram'>,
  { image, conf, steps }: LoginQuestion,
): Promise<ReadLogin> {
  const { credentialHelpers } = conf;
  const names = credentialHelpers?.names ?? [];
  const file = credentialHelpers?.file ?? '';
  let complaint: Complaint | null = null;
  let other: DoctorLogin | null = null;
  const passedOver: Step[] = [];
  // clients take an empty list for none
  for (const name of names.length === 0 ? [AUTH_FILES_HELPER] : names) {
    if (name === AUTH_FILES_HELPER) {
      const read = await readFiles(machine, image, steps);
      if ('complaint' in read) {
        const { message, remedy } = read.complaint;
        passedOver.push(
          step(
            'login',
            'note',
            `${message}. Clients pass it over only when a program has a login; ${remedy}`,
          ),
        );
        complaint ??= read.complaint;
      } else if (read.login.kind !== 'none') {
        steps.push(...passedOver);
        return read;
      } else other ??= read.login;
      continue;
    }
    const program = await machine.credentialProgram(name);
    if (program === null) {
      const missing = missingProgram(`credential-helpers of ${file} names`, name, image);
      passedOver.push(step('login', 'note', missing.message));
      complaint ??= {
        ...missing,
        remedy: `install docker-credential-${name}; or take ${name} out of credential-helpers in ${file}`,
      };
      continue;
    }
    steps.push(
      step(
        'login',
        'note',
        `clients ask the program ${program} for a login of ${image.domain}, as credential-helpers of ${file} says. It is not run here`,
      ),
    );
    other = { kind: 'program', file, program, readsFiles: names.includes(AUTH_FILES_HELPER) };
  }
  if (names.length > 0 && !names.includes(AUTH_FILES_HELPER))
    steps.push(
      step(
        'login',
        'note',
        `auth.json is not read, nor any other file of logins: credential-helpers of ${file} does not name ${AUTH_FILES_HELPER}`,
      ),
    );
  // a program may have what the others lack
  if (complaint !== null && other?.kind !== 'program') {
    steps.push(step('login', 'bad', complaint.message));
    return { complaint };
  }
  steps.push(...passedOver);
  return { login: other ?? { kind: 'none', stores: [] } };
}

async function readFiles(
  { login }: Pick<ClientMachine, 'login'>,
  image: DockerReference,
  steps: Step[],
): Promise<{ readonly login: MachineLogin } | { readonly complaint: Complaint }> {
  try {
    const ours = await login(image);
    if (ours.kind === 'helper' && ours.program === null) {
      const { file, helper } = ours;
      const missing = missingProgram(
        `credHelpers of ${file} leaves the login of ${image.domain} to`,
        helper,
        image,
      );
      const remedy = `install docker-credential-${helper}; or take ${image.domain} out of credHelpers in ${file}, and log in: podman login ${image.domain}`;
      return { complaint: { ...missing, remedy } };
    }
    steps.push(...loginSteps(ours, image));
    return { login: ours };
  } catch (error) {
    if (!(error instanceof LoginFault)) throw error;
    const message = `${error.file}: ${error.message}`;
    const remedy = `mend or remove ${error.file}, and log in again: podman login ${image.domain}`;
    return { complaint: { code: 'AUTH_FILE_INVALID', message, remedy } };
  }
}

function loginSteps(login: MachineLogin, { domain }: DockerReference): readonly Step[] {
  switch (login.kind) {
    case 'found':
      return [step('login', 'ok', `${login.user} of ${login.entry} in ${login.file}`)];
    case 'helper':
      return [
        step(
          'login',
          'note',
          `clients have the login of ${domain} from the program ${login.program}, which credHelpers of ${login.file} names. It is not run here: the registry is asked without a login`,
        ),
      ];
    case 'none':
      return login.stores.map(({ file, helper }) =>
        step(
          'login',
          'note',
          `credsStore of ${file} names docker-credential-${helper}: docker has its logins from there, and podman, skopeo and CRI-O do not`,
        ),
      );
  }
}

function missingProgram(who: string, helper: string, { domain }: DockerReference) {
  return {
    code: 'AUTH_HELPER_MISSING',
    message: `${who} the program docker-credential-${helper}, which is not on the PATH: clients refuse the registry ${domain}`,
  };
}

export function loginRemedy(login: DoctorLogin, { domain }: DockerReference): string {
  const logIn = `podman login ${domain}`;
  switch (login.kind) {
    case 'found':
      return `log in as who may pull it: ${logIn}; ${login.entry} in ${login.file} is what is sent now`;
    case 'helper':
      return `see whether this prints a login that may pull it: echo ${domain} | ${login.program} get; if not, have the program keep one, or take ${domain} out of credHelpers in ${login.file} and log in: ${logIn}`;
    case 'program': {
      const files = login.readsFiles
        ? ''
        : `, or add ${AUTH_FILES_HELPER} to credential-helpers in ${login.file}`;
      return `see whether this prints a login that may pull it: echo ${domain} | ${login.program} get; if not, have the program keep one${files}: ${logIn}`;
    }
    case 'none':
      return login.stores.length === 0
        ? `log in: ${logIn}`
        : `log in for these clients too: ${logIn}; that of docker lies with docker-credential-${login.stores[0]?.helper}, which they do not ask`;
  }
}
