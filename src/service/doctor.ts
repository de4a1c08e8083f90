// Replays what podman, skopeo or CRI-O do at a pull up to the policy's verdict, and says what to change. It changes nothing.
import { isLookasideError } from '../domain/errors.ts';
import { type Candidates, isShortName, resolveShortName } from '../domain/policy/registries-conf.ts';
import { type DockerReference, parseReference } from '../domain/reference.ts';
import type { Diagnosis, DoctorPorts, DoctorQuestion } from './doctor-diagnosis.ts';
import { diagnosePull } from './doctor-pull.ts';
import { type ReadConf, readConf, tellUser } from './doctor-setup.ts';
import { type Step, step } from './doctor-step.ts';
import type { Complaint } from './policy-judge.ts';

/** Null: nothing can be pulled under that name. As clients complete it: with the tag `latest`, and without a tag beside a digest. */
export function pulledName(text: string): DockerReference | null {
  const reference = parseReference(text.replace(/^docker:\/\//, ''));
  if (reference === null) return null;
  const { tag, digest } = reference;
  return { ...reference, tag: digest === null ? (tag ?? 'latest') : null };
}

export async function diagnose(ports: DoctorPorts, question: DoctorQuestion): Promise<Diagnosis> {
  const diagnosis = await diagnoseHere(ports, question);
  return ports.server === null ? diagnosis : withServer(diagnosis, ports.server);
}

/** What explains that there is no signature where clients look. */
const WHY_NONE = ['WITHDRAWN', 'OTHER_PATH', 'NEVER_SIGNED'];

/** Adds what the server knows, and lets that decide where clients find no signature. */
async function withServer(diagnosis: Diagnosis, ask: NonNullable<DoctorPorts['server']>): Promise<Diagnosis> {
  const { asksFor, complaint } = diagnosis;
  const answer = await ask(asksFor ?? diagnosis.image).catch((error: unknown) => {
    if (!isLookasideError(error)) throw error;
    return error;
  });
  if (isLookasideError(answer))
    return {
      ...diagnosis,
      steps: [...diagnosis.steps, step('server', 'note', `it was not asked: ${answer.message}`)],
    };
  const findings = answer;
  const ofServer = findings.map(({ code, message }) =>
    step('server', code === 'SERVED' ? 'ok' : 'note', message),
  );
  const steps = [...diagnosis.steps, ...ofServer];
  const [first] = findings;
  if (complaint?.code !== 'NO_SIGNATURE' || first === undefined || !WHY_NONE.includes(first.code))
    return { ...diagnosis, steps };
  const { code, message } = first;
  return { ...diagnosis, steps, complaint: { code, message, remedy: first.remedy ?? complaint.remedy } };
}

async function diagnoseHere(ports: DoctorPorts, question: DoctorQuestion): Promise<Diagnosis> {
  const steps: Step[] = [];
  const { image } = question;
  const refused = (complaint: Complaint): Diagnosis => {
    return {
      image,
      verdict: 'refused',
      steps,
      asksFor: null,
      asked: [],
      requirements: [],
      complaint,
      caveat: null,
    };
  };
  tellUser(steps, ports.machine.user);
  const read = await readConf(ports.machine, question.generation, steps);
  if ('complaint' in read) return refused(read.complaint);
  const candidates = resolve(image, read, steps);
  if ('complaint' in candidates) return refused(candidates.complaint);
  const failed: Diagnosis[] = [];
  for (const name of candidates.images) {
    const whole = pulledName(name);
    if (whole === null) continue;
    const diagnosis = await diagnosePull(ports, question, { image: whole, conf: read.conf, steps });
    if (diagnosis.verdict === 'pulled') return diagnosis;
    failed.push(diagnosis);
  }
  // where the image is, and refused, tells more than where it is not
  const [first] = [...failed.filter(({ verdict }) => verdict === 'refused'), ...failed];
  if (first === undefined) throw new Error(`${image} is not a name that is pulled`); // pulledName() was not asked
  return candidates.file === null ? first : { ...first, complaint: ofShortName(image, candidates, first) };
}

type Named = Omit<Candidates, 'file'> & { readonly file: string | null };

function resolve(
  image: string,
  { conf, recorded }: ReadConf,
  steps: Step[],
): Named | { readonly complaint: Complaint } {
  if (!isShortName(image)) return { images: [image], file: null, from: 'alias' };
  const named = resolveShortName(conf, recorded, image);
  if (typeof named !== 'string') {
    const { images, file, from } = named;
    const how = from === 'alias' ? `an alias in ${file}` : `unqualified-search-registries of ${file}`;
    steps.push(step('short name', 'ok', `${image} stands for ${images.join(', then ')}, by ${how}`));
    steps.push(step('short name', 'note', `skopeo, and podman with docker://, take it for docker.io`));
    return named;
  }
  const complaint = {
    'no-host': {
      code: 'SHORT_NAME',
      message: `${image} has no host, and neither an alias nor unqualified-search-registries in registries.conf says where to look`,
      remedy: 'pull it by its whole name: HOST/REPOSITORY:TAG',
    },
    ambiguous: {
      code: 'SHORT_NAME',
      message: `${image} has no host, and short-name-mode = "enforcing" refuses to choose one of ${conf.search?.hosts.join(', ') ?? ''} where nobody can be asked`,
      remedy: 'pull it by its whole name: HOST/REPOSITORY:TAG',
    },
  }[named];
  steps.push(step('short name', 'bad', complaint.message));
  return { complaint };
}

/** Where nothing in the policy is about that registry, the name probably stands for another image than somebody meant. */
function ofShortName(
  typed: string,
  { file, from }: Named,
  { image, complaint, steps }: Diagnosis,
): Complaint | null {
  if (complaint === null) return null;
  const how = from === 'alias' ? `the alias in ${file}` : `unqualified-search-registries of ${file}`;
  const message = `${complaint.message} (${typed} stands for ${image}, by ${how})`;
  const isUnnamed = steps.some(
    ({ step: name, text }) => name === 'policy' && /^(?:default|transports\.docker\[""\]) of /.test(text),
  );
  const isOfPolicy = ['POLICY_REJECT', 'NO_SIGNATURE', 'NOT_CONFIGURED'].includes(complaint.code);
  if (!isUnnamed || !isOfPolicy) return { ...complaint, message };
  return {
    code: 'SHORT_NAME',
    message,
    remedy: `if another image is meant, pull it by its whole name, HOST/REPOSITORY:TAG, or let ${how} name the right host`,
  };
}
