// Replays what podman, skopeo or CRI-O do at a pull up to the policy's verdict, and says what to change. It changes nothing.
import type { AskWeb, ClientGeneration, ClientMachine, FoundFile } from '../domain/client-machine.ts';
import { type Policy, PolicyFault, parsePolicy } from '../domain/policy/policy.ts';
import {
  type Base,
  baseFor,
  mergeRegistriesD,
  type RegistriesD,
  RegistriesDFault,
} from '../domain/policy/registries-d.ts';
import { dockerScopes, type Selected, selectRequirements } from '../domain/policy/scopes.ts';
import { type DockerReference, formatReference } from '../domain/reference.ts';
import { type AskedUrl, fetchSignatures, hasSignature, withoutPassword } from './doctor-lookaside.ts';
import { type FoundManifest, findManifest } from './doctor-registry.ts';
import {
  type Complaint,
  type JudgedRequirement,
  type JudgePorts,
  judgeRequirements,
} from './policy-judge.ts';

export interface DoctorPorts extends Omit<JudgePorts, 'file'> {
  readonly machine: ClientMachine;
  readonly ask: AskWeb;
}

export interface DoctorQuestion {
  /** As it is pulled. */
  readonly image: DockerReference;
  readonly generation: ClientGeneration;
  readonly isInsecure: boolean;
}

export interface Step {
  /** `source`: the rule that clients follow here, for --explain. */
  readonly step:
    | 'policy'
    | 'registries.d'
    | 'registries.conf'
    | 'registry'
    | 'lookaside'
    | 'signature'
    | 'requirement';
  readonly outcome: 'ok' | 'bad' | 'note';
  readonly text: string;
  readonly source: string;
}

export interface Diagnosis {
  readonly image: string;
  /** `unknown`: it could not be judged. */
  readonly verdict: 'pulled' | 'refused' | 'unknown';
  readonly steps: readonly Step[];
  readonly asked: readonly AskedUrl[];
  readonly requirements: readonly JudgedRequirement[];
  /** What decides; null when the image is pulled. */
  readonly complaint: Complaint | null;
}

export async function diagnose(ports: DoctorPorts, question: DoctorQuestion): Promise<Diagnosis> {
  const { image } = question;
  const steps: Step[] = [];
  const asked: AskedUrl[] = [];
  let requirements: readonly JudgedRequirement[] = [];
  const end = (verdict: Diagnosis['verdict'], complaint: Complaint | null): Diagnosis => {
    const shown = formatReference(image);
    return { image: shown, verdict, steps, asked, requirements, complaint };
  };

  const names = dockerScopes(image);
  const policy = await readPolicy(ports.machine, steps);
  if ('complaint' in policy) return end('refused', policy.complaint);
  const selected = selectRequirements(policy.policy, 'docker', names);
  tellSelected(steps, selected, policy);
  const base = await readBase(ports.machine, question, names, steps);
  if ('complaint' in base) return end('refused', base.complaint);
  const mirrors = await mirrorsFor(ports.machine, image);
  if (mirrors !== null) steps.push(mirrors);

  const manifest = await findManifest({ ...question, ask: ports.ask, platform: ports.machine.platform });
  if (manifest.kind === 'failed') {
    steps.push(step('registry', 'bad', manifest.message));
    return end(
      manifest.code === 'tls' ? 'refused' : 'unknown',
      registryComplaint(manifest.code, manifest.message, image),
    );
  }
  tellManifest(steps, manifest);
  if (manifest.hasExtension) {
    const complaint = extensionComplaint(image);
    steps.push(step('registry', 'bad', complaint.message));
    return end(
      selected.requirements.every(({ type }) => type === 'insecureAcceptAnything') ? 'pulled' : 'unknown',
      complaint,
    );
  }

  const place = {
    ask: ports.ask,
    file: ports.machine.file,
    base: base.base.url,
    path: image.path,
    digest: manifest.digest,
  };
  const fetched = await fetchSignatures(place);
  asked.push(...fetched.asked);
  for (const one of fetched.asked) steps.push(step('lookaside', 'ok', describeAsked(one)));
  // clients read the signatures only after a policy that rejects everything
  if (fetched.fault !== null && selected.requirements[0]?.type !== 'reject') {
    steps.push(step('lookaside', 'bad', fetched.fault.message));
    return end('refused', fetched.fault);
  }

  const pulled = { image, manifest: manifest.bytes, signatures: fetched.signatures };
  requirements = await judgeRequirements(
    { ...ports, file: ports.machine.file },
    selected.requirements,
    pulled,
  );
  tellRequirements(steps, requirements);
  const failing = requirements.find(({ verdict }) => verdict === 'denied')?.complaint ?? null;
  if (failing === null) {
    const unjudged = requirements.find(({ verdict }) => verdict === 'not-by-us');
    return unjudged === undefined ? end('pulled', null) : end('unknown', NOT_BY_US);
  }
  return end(
    'refused',
    await refine(failing, {
      place,
      base: base.base,
      config: base.config,
      manifest,
      selected,
      policy,
      image,
      names,
    }),
  );
}

const NOT_BY_US: Complaint = {
  code: 'SIGSTORE',
  message: 'the policy wants a sigstore signature, which lookaside does not judge',
  remedy: 'ask cosign verify',
};

const SOURCES: Readonly<Record<Step['step'], string>> = {
  policy: 'containers-policy.json(5); containers/image signature/policy_config.go',
  'registries.d': 'containers-registries.d(5); containers/image docker/registries_d.go',
  'registries.conf': 'containers-registries.conf(5)',
  registry: 'containers/image docker/docker_client.go',
  lookaside: 'signature-protocols.md; containers/image docker/docker_image_src.go',
  signature: 'containers-signature(5); containers/image signature/simple.go',
  requirement: 'containers-policy.json(5); containers/image signature/policy_eval_signedby.go',
};

function step(name: Step['step'], outcome: Step['outcome'], text: string): Step {
  return { step: name, outcome, text, source: SOURCES[name] };
}

type ReadPolicy = { readonly path: string; readonly policy: Policy };

async function readPolicy(
  machine: ClientMachine,
  steps: Step[],
): Promise<ReadPolicy | { readonly complaint: Complaint }> {
  const found = await machine.policy();
  const bad = (code: string, message: string, remedy: string) => {
    steps.push(step('policy', 'bad', message));
    return { complaint: { code, message, remedy } };
  };
  if (found.kind === 'missing')
    return bad(
      'POLICY_MISSING',
      `there is no policy.json: ${found.why}`,
      'write one: lookaside client-config --help',
    );
  if (found.kind === 'unreadable')
    return bad(
      'POLICY_UNREADABLE',
      `${found.path} cannot be read: ${found.why}`,
      `make it readable for every user: chmod a+r ${found.path}`,
    );
  try {
    const policy = parsePolicy(found.bytes);
    steps.push(
      step('policy', 'ok', `${found.path} is read${machine.isRoot ? '' : ' as a user who is not root'}`),
    );
    return { path: found.path, policy };
  } catch (error) {
    if (!(error instanceof PolicyFault)) throw error;
    const at = `${found.path}, line ${error.line}, column ${error.column}`;
    return bad('POLICY_INVALID', `${at}: ${error.message}`, `mend ${at}: until then every image is refused`);
  }
}

function tellSelected(
  steps: Step[],
  { section, requirements, narrower }: Selected,
  { path }: ReadPolicy,
): void {
  const types = requirements.map(({ type }) => type).join(', ');
  steps.push(step('policy', 'ok', `${section} of ${path} decides: ${types}`));
  if (narrower.length > 0)
    steps.push(step('policy', 'note', `there is no section for ${narrower.join(', ')}`));
}

type FoundBase = { readonly base: Base; readonly config: RegistriesD };

async function readBase(
  machine: ClientMachine,
  { generation }: DoctorQuestion,
  names: readonly string[],
  steps: Step[],
): Promise<FoundBase | { readonly complaint: Complaint }> {
  try {
    const { folders, files } = await machine.registriesD();
    const config = mergeRegistriesD(files);
    steps.push(
      step(
        'registries.d',
        'ok',
        `${files.length === 0 ? 'no file' : files.map(({ path }) => path).join(', ')} in ${folders.join(', ')}`,
      ),
    );
    const spellings = generation === 'old' ? 'old' : 'new';
    const base = baseFor(config, { names, generation: spellings, builtIn: machine.builtInBase });
    const from =
      base.section === null
        ? 'nothing is configured; the built-in folder'
        : `${base.section.spelling} of ${base.section.name} in ${base.section.file}`;
    steps.push(
      step('registries.d', base.section === null ? 'note' : 'ok', `${from}: ${withoutPassword(base.url)}`),
    );
    return { base, config };
  } catch (error) {
    if (!(error instanceof RegistriesDFault)) throw error;
    const message = `${error.file}: ${error.message}`;
    steps.push(step('registries.d', 'bad', message));
    return {
      complaint: {
        code: 'REGISTRIES_D_INVALID',
        message,
        remedy: `mend ${error.file}: until then every image is refused`,
      },
    };
  }
}

/** registries.conf is not replayed; what may send the pull elsewhere is named. */
async function mirrorsFor(machine: ClientMachine, { domain }: DockerReference): Promise<Step | null> {
  const files = await machine.registriesConf();
  const naming = files.filter((file) => isAbout(file, domain));
  if (naming.length === 0) return null;
  const where = naming.map(({ path }) => path).join(', ');
  return step(
    'registries.conf',
    'note',
    `${where} has a [[registry]] section about ${domain}, which is not replayed here: if a mirror answers, signatures are asked for under the mirror's path; diagnose the mirror's name too`,
  );
}

function isAbout(file: FoundFile, domain: string): boolean {
  if (file.kind !== 'read') return false;
  const lines = new TextDecoder()
    .decode(file.bytes)
    .split('\n')
    .filter((line) => !/^\s*#/.test(line));
  return lines.some((line) => /^\s*\[\[registry/.test(line)) && lines.some((line) => line.includes(domain));
}

function tellManifest(steps: Step[], { digest, list }: FoundManifest): void {
  steps.push(
    step(
      'registry',
      'ok',
      list === null
        ? `the manifest is ${digest}`
        : `the list ${list} gives this platform the manifest ${digest}, whose signatures count`,
    ),
  );
}

function describeAsked({ url, status, type, sizeBytes, firstByte }: AskedUrl): string {
  const answer =
    status === null
      ? sizeBytes === null
        ? 'not there'
        : 'a file'
      : `${status}${type === null ? '' : ` ${type}`}`;
  return `${url}: ${answer}${sizeBytes === null ? '' : `, ${sizeBytes} bytes`}${firstByte === null ? '' : `, first byte ${firstByte}`}`;
}

function tellRequirements(steps: Step[], requirements: readonly JudgedRequirement[]): void {
  for (const { type, verdict, complaint, signatures } of requirements) {
    for (const { source, complaint: why, key, subkey, dockerReference, obstacles } of signatures) {
      const by = `${key === null ? '' : ` by ${key}`}${dockerReference === null ? '' : ` for ${dockerReference}`}`;
      steps.push(
        step(
          'signature',
          why === null ? 'ok' : 'bad',
          `${withoutPassword(source)}${by}: ${why === null ? 'accepted' : why.message}`,
        ),
      );
      if (why !== null) continue;
      if (subkey !== null)
        steps.push(
          step('signature', 'note', `made by the subkey ${subkey}: clients before August 2025 refuse it`),
        );
      if (obstacles.includes('version-3'))
        steps.push(step('signature', 'note', 'a version 3 signature: Go clients after July 2026 refuse it'));
    }
    const text =
      verdict === 'allowed'
        ? 'allows the pull'
        : verdict === 'denied'
          ? `refuses: ${complaint?.message ?? ''}`
          : 'is not judged here';
    steps.push(
      step(
        'requirement',
        verdict === 'denied' ? 'bad' : verdict === 'allowed' ? 'ok' : 'note',
        `${type} ${text}`,
      ),
    );
  }
}

function registryComplaint(code: string, message: string, image: DockerReference): Complaint {
  const remedies: Readonly<Record<string, string>> = {
    unreachable: `start the registry ${image.domain}, or pull from where it is`,
    tls: `have clients trust ${image.domain}: lay its authority into /etc/containers/certs.d/${image.domain}/ca.crt, or pull with --tls-verify=false where plain HTTP is meant`,
    denied: `log in: podman login ${image.domain}; lookaside asks without a login`,
    missing: `push the image, or pull a name that is there`,
    strange: `mend the registry`,
  };
  return { code: `REGISTRY_${code.toUpperCase()}`, message, remedy: remedies[code] ?? 'mend the registry' };
}

function extensionComplaint({ domain }: DockerReference): Complaint {
  return {
    code: 'EXTENSION_SHADOWS',
    message: `the registry ${domain} announces signatures of its own (X-Registry-Supports-Signatures), so clients ask no lookaside`,
    remedy: `have the proxy before the registry leave out X-Registry-Supports-Signatures, or sign into the registry`,
  };
}

interface Circumstances {
  readonly place: Parameters<typeof fetchSignatures>[0];
  readonly base: Base;
  readonly config: RegistriesD;
  readonly manifest: FoundManifest;
  readonly selected: Selected;
  readonly policy: ReadPolicy;
  readonly image: DockerReference;
  readonly names: readonly string[];
}

/** The reason behind the reason: why there is no signature where clients look. */
async function refine(complaint: Complaint, found: Circumstances): Promise<Complaint> {
  const { selected, policy } = found;
  if (complaint.code === 'POLICY_REJECT') {
    const near = nearScope(policy.policy, found.names);
    if (near === null) return { ...complaint, message: `${complaint.message} (${selected.section})` };
    return {
      code: 'SCOPE_NEVER_MATCHES',
      message: `${selected.section} rejects this image; the section "${near}" of ${policy.path} is never used for it`,
      remedy: `write that section as one of ${found.names.slice(1).join(', ')}`,
    };
  }
  return complaint.code === 'NO_SIGNATURE' ? whyNone(found) : complaint;
}

async function whyNone({ place, base, config, manifest, names }: Circumstances): Promise<Complaint> {
  const where = withoutPassword(base.url);
  if (await hasSignature(place, 2))
    return complaint(
      'FIRST_MISSING',
      `signature-1 is missing and signature-2 is there: clients stop at the first 404`,
      `put the signature there as signature-1: the numbers must have no gap`,
    );
  if (manifest.list !== null && (await hasSignature({ ...place, digest: manifest.list }, 1)))
    return complaint(
      'ONLY_LIST_SIGNED',
      `the image list ${manifest.list} is signed, but not ${manifest.digest}, which this platform pulls`,
      `sign each image of the list: skopeo copy --all --sign-by KEY`,
    );
  if (base.section !== null)
    return complaint(
      'NO_SIGNATURE',
      `${where} has no signature of ${manifest.digest}`,
      `sign the image and bring the signature to ${where}, or write the right place into ${base.section.file}`,
    );
  const other = sectionsOf(config).find(({ name, lookaside }) => names.includes(name) && lookaside !== null);
  if (other !== undefined)
    return complaint(
      'SPELLING',
      `${other.file} has lookaside: alone, which this generation of clients does not read`,
      `write sigstore: with the same URL beside lookaside: in ${other.file}`,
    );
  const near = nearName([...config.namespaces.keys()], names);
  const hint = near === null ? '' : `; the section "${near}" there is never used for it`;
  return complaint(
    'NOT_CONFIGURED',
    `registries.d names no lookaside for this image${hint}, so clients look into ${where}, where there is no signature`,
    `write into a file of registries.d: docker: {${names.at(1 + (names[1]?.split('/').length ?? 1) - 1) ?? ''}: {lookaside: URL, sigstore: URL}}`,
  );
}

function sectionsOf({ standard, namespaces }: RegistriesD) {
  const own = [...namespaces].map(([name, section]) => ({ name, ...section }));
  return standard === null ? own : [...own, { name: 'default-docker', ...standard }];
}

function complaint(code: string, message: string, remedy: string): Complaint {
  return { code, message, remedy };
}

function nearScope(policy: Policy, names: readonly string[]): string | null {
  return nearName([...(policy.transports.get('docker')?.keys() ?? [])], names);
}

/** One that somebody may have meant: the same without its port, or with at most two characters changed. */
function nearName(candidates: readonly string[], names: readonly string[]): string | null {
  const bare = (name: string) =>
    name
      .replace(/:\d+(?=\/|$)/, '')
      .replace(/^https?:\/\//, '')
      .replace(/\/+$/, '')
      .toLowerCase();
  return (
    candidates.find(
      (candidate) =>
        candidate !== '' &&
        !names.includes(candidate) &&
        names.some((name) => bare(name) === bare(candidate) || isNear(name, candidate)),
    ) ?? null
  );
}

const MOST_CHANGES = 2;
const LONGEST_COMPARED = 255;

/** Whether at most two characters are added, left out or changed, of names long enough for that to mean something. */
function isNear(one: string, other: string): boolean {
  if (Math.abs(one.length - other.length) > MOST_CHANGES || one.length < 6 || other.length > LONGEST_COMPARED)
    return false;
  let row = Array.from({ length: other.length + 1 }, (_, column) => column);
  for (const [index, character] of [...one].entries()) {
    const next = [index + 1];
    for (let column = 1; column <= other.length; column += 1) {
      const change = (row[column - 1] ?? 0) + (other[column - 1] === character ? 0 : 1);
      next.push(Math.min(change, (row[column] ?? 0) + 1, (next[column - 1] ?? 0) + 1));
    }
    row = next;
  }
  return (row.at(-1) ?? 0) <= MOST_CHANGES;
}
