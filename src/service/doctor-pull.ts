// One pull of one whole name, replayed: registries.conf, the registry or its mirror, the lookaside, the policy's verdict.
import type { AskWeb } from '../domain/client-machine.ts';
import type { Requirement } from '../domain/policy/policy.ts';
import {
  findSection,
  type PullSource,
  pullSources,
  RegistriesConfFault,
} from '../domain/policy/registries-conf.ts';
import type { Base } from '../domain/policy/registries-d.ts';
import { dockerScopes, selectRequirements } from '../domain/policy/scopes.ts';
import { type DockerReference, formatReference } from '../domain/reference.ts';
import type { Diagnosis, DoctorPorts, DoctorQuestion } from './doctor-diagnosis.ts';
import { type DoctorLogin, loginRemedy, readLogin } from './doctor-login.ts';
import {
  type AskedUrl,
  type FetchedSignatures,
  fetchSignatures,
  type LookasideQuestion,
  withoutPassword,
} from './doctor-lookaside.ts';
import { refine } from './doctor-reasons.ts';
import { type FoundManifest, findManifest, type RegistryFailure } from './doctor-registry.ts';
import {
  chooseBase,
  type ReadConf,
  readPolicy,
  readRegistriesD,
  tellBase,
  tellConfFault,
  tellSelected,
} from './doctor-setup.ts';
import { type Step, step } from './doctor-step.ts';
import { type Complaint, type JudgedRequirement, judgeRequirements } from './policy-judge.ts';

/** Adds its steps to `steps`, and gives them back in the diagnosis. */
export async function diagnosePull(
  ports: DoctorPorts,
  question: DoctorQuestion,
  pull: { readonly image: DockerReference; readonly conf: ReadConf['conf']; readonly steps: Step[] },
): Promise<Diagnosis> {
  const { image, steps } = pull;
  const asked: AskedUrl[] = [];
  let asksFor: string | null = null;
  let requirements: readonly JudgedRequirement[] = [];
  let passedOver: FetchedSignatures['passedOver'] = null;
  const end = (verdict: Diagnosis['verdict'], complaint: Complaint | null): Diagnosis => {
    const name = formatReference(image);
    const caveat =
      verdict === 'pulled'
        ? (caveatOf(requirements) ?? (passedOver?.form === 'tagged' ? null : passedOver))
        : null;
    return { image: name, verdict, steps, asksFor, asked, requirements, complaint, caveat };
  };

  const names = dockerScopes(image);
  const policy = await readPolicy(ports.machine, steps);
  if ('complaint' in policy) return end('refused', policy.complaint);
  const selected = selectRequirements(policy.policy, 'docker', names);
  tellSelected(steps, selected, policy);
  const config = await readRegistriesD(ports.machine, steps);
  if ('complaint' in config) return end('refused', config.complaint);
  const sources = chooseSources(pull);
  if ('complaint' in sources) return end('refused', sources.complaint);

  const answered = await askSources(ports, question, { ...pull, sources });
  if (answered.kind === 'failed') return end(answered.isRefusal ? 'refused' : 'unknown', answered.complaint);
  const { source, manifest, ask } = answered;
  const physical = source.image;
  asksFor = `${physical.path}@${manifest.digest}`;
  tellManifest(steps, manifest);
  if (manifest.hasExtension) {
    const complaint = extensionComplaint(physical);
    steps.push(step('registry', 'bad', complaint.message));
    const isFree = selected.requirements.every(({ type }) => type === 'insecureAcceptAnything');
    return end(isFree ? 'pulled' : 'unknown', complaint);
  }

  const { generation } = question;
  const chosen = { generation, builtIn: ports.machine.builtInBase };
  const base = chooseBase(config, dockerScopes(physical), chosen);
  tellBase(steps, base);
  const place = placeOf(ports, { ask, base, path: physical.path, digest: manifest.digest });
  const fetched = await fetchSignatures(place, generation === 'old');
  passedOver = fetched.passedOver;
  asked.push(...fetched.asked);
  for (const one of fetched.asked) steps.push(step('lookaside', 'ok', describeAsked(one)));
  if (fetched.fault !== null && !isDeniedUnread(selected.requirements)) {
    steps.push(step('lookaside', 'bad', fetched.fault.message));
    const host = URL.canParse(base.url) ? [new URL(base.url).host, new URL(base.url).hostname] : [];
    return end('refused', await misplaced(ports, fetched.fault, physical.domain, host));
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
  // GnuPG reads armour where old clients hand it over, and nothing here verifies it
  if (passedOver?.form === 'armour') return end('unknown', passedOver);
  if (passedOver !== null && failing.code === 'NO_SIGNATURE') return end('refused', passedOver);
  const logical = chooseBase(config, names, chosen);
  const circumstances = { place, base, config, manifest, selected, policy, image, physical };
  return end('refused', await refine(failing, { ...circumstances, logical }));
}

/** Whether a requirement refuses before clients have read a signature: they go through them in order. */
function isDeniedUnread(requirements: readonly Requirement[]): boolean {
  const first = requirements.find(({ type }) => type !== 'insecureAcceptAnything');
  return first?.type === 'reject' || first?.type === 'signedBaseLayer';
}

/** Where some clients read no key, or every signature that satisfies a requirement is by a subkey. */
function caveatOf(requirements: readonly JudgedRequirement[]): Complaint | null {
  for (const { signatures, unchecked } of requirements) {
    if (unchecked !== undefined)
      return {
        code: 'KEY_ARMOUR',
        message: `clients with GnuPG 2.2, as in Debian 12, take no key from ${unchecked}: its ASCII armour has no checksum line`,
        remedy: `write the key there without armour: gpg --export FINGERPRINT > ${unchecked}`,
      };
    const accepted = signatures.filter(({ complaint }) => complaint === null);
    const [first] = accepted;
    if (first === undefined) continue;
    if (accepted.every(({ subkey }) => subkey !== null))
      return {
        code: 'SUBKEY',
        message: `clients before August 2025 refuse it: it is signed by ${first.subkey}, a subkey of ${first.key}`,
        remedy: `sign with the primary key (gpg: --local-user ${first.key}!), or update the clients`,
      };
    if (accepted.every(({ early }) => early !== null))
      return {
        code: 'SIGNED_IN_FUTURE',
        message: `clients with GnuPG accept it, and others may refuse it: ${first.early}`,
        remedy: 'set the clock of this machine, or of the one that signs',
      };
  }
  return null;
}

function placeOf(
  { machine }: DoctorPorts,
  {
    ask,
    base,
    path,
    digest,
  }: { readonly ask: AskWeb; readonly base: Base; readonly path: string; readonly digest: string },
): LookasideQuestion {
  return { ask, file: machine.file, base: base.url, path, digest };
}

interface Pull {
  readonly image: DockerReference;
  readonly conf: ReadConf['conf'];
  readonly steps: Step[];
}

function chooseSources({
  image,
  conf,
  steps,
}: Pull): readonly PullSource[] | { readonly complaint: Complaint } {
  const section = findSection(conf, image);
  try {
    const sources = pullSources(section, image);
    if (section !== null)
      steps.push(
        step(
          'registries.conf',
          'ok',
          `the [[registry]] with the prefix ${section.prefix} of ${section.file} counts: asked is ${sources.map((one) => formatReference(one.image)).join(', then ')}`,
        ),
      );
    const left = section === null ? 0 : section.mirrors.length + 1 - sources.length;
    if (left > 0)
      steps.push(
        step(
          'registries.conf',
          'note',
          `${left} of its mirrors ${left === 1 ? 'is' : 'are'} not asked for a ${image.digest === null ? 'tag' : 'digest'}`,
        ),
      );
    return sources;
  } catch (error) {
    if (!(error instanceof RegistriesConfFault)) throw error;
    return { complaint: tellConfFault(steps, error) };
  }
}

type Answered =
  | {
      readonly kind: 'found';
      readonly source: PullSource;
      readonly manifest: FoundManifest;
      readonly ask: AskWeb;
    }
  | { readonly kind: 'failed'; readonly complaint: Complaint; readonly isRefusal: boolean };

/** The first that has the image counts, for its signatures too; why the others do not is told. */
async function askSources(
  ports: DoctorPorts,
  { isInsecure }: DoctorQuestion,
  { sources, conf, steps }: Pull & { readonly sources: readonly PullSource[] },
): Promise<Answered> {
  const failures: string[] = [];
  let last: Answered = { kind: 'failed', complaint: NOT_BY_US, isRefusal: false };
  for (const source of sources) {
    const { image } = source;
    // clients look up whether the name is blocked under which they ask
    const blocking = findSection(conf, image);
    if (blocking?.isBlocked === true) {
      const complaint = blockedComplaint(blocking.prefix, blocking.file);
      failures.push(complaint.message);
      steps.push(step('registries.conf', 'bad', complaint.message));
      last = { kind: 'failed', complaint, isRefusal: true };
      continue;
    }
    const certificates = await ports.machine.certificates(image.domain);
    if (certificates.withoutKey !== null) {
      const complaint = withoutKeyComplaint(certificates.withoutKey);
      failures.push(complaint.message);
      steps.push(step('registry', 'bad', complaint.message));
      last = { kind: 'failed', complaint, isRefusal: true };
      continue;
    }
    if (certificates.ca !== null)
      steps.push(step('registry', 'ok', `the certificates in ${certificates.folder} are trusted too`));
    const readResult = await readLogin(ports.machine, { image, conf, steps });
    if ('complaint' in readResult)
      return { kind: 'failed', complaint: readResult.complaint, isRefusal: true };
    const registry = { host: image.domain, certificates, isInsecure: isInsecure ?? source.isInsecure };
    const ask = ports.web(registry);
    const login = readResult.login.kind === 'found' ? readResult.login : null;
    const manifest = await findManifest({ ...registry, ask, image, login, platform: ports.machine.platform });
    if (manifest.kind === 'found') {
      if (sources.length > 1)
        steps.push(
          step(
            'registry',
            'ok',
            `${source.isMirror ? 'the mirror' : 'the registry itself'} answers: signatures are asked for under ${image.domain}/${image.path}`,
          ),
        );
      return { kind: 'found', source, manifest, ask };
    }
    failures.push(manifest.message);
    steps.push(step('registry', source.isMirror ? 'note' : 'bad', manifest.message));
    const complaint = await misplaced(
      ports,
      registryComplaint(manifest, image, readResult.login),
      image.domain,
      [],
    );
    last = { kind: 'failed', complaint, isRefusal: manifest.code === 'tls' };
  }
  if (last.kind === 'failed' && failures.length > 1) {
    const message = `none of its places has the image: ${failures.join('; ')}`;
    return { ...last, complaint: { ...last.complaint, message } };
  }
  return last;
}

/** Whose certificate is not trusted: perhaps its authority lies beside the folder that clients read. */
async function misplaced(
  { machine }: DoctorPorts,
  complaint: Complaint,
  registry: string,
  others: readonly string[],
): Promise<Complaint> {
  if (!/_TLS$/.test(complaint.code) || /plain HTTP/.test(complaint.message)) return complaint;
  const [stray] = await machine.strayCertificates(registry, others);
  if (stray === undefined) return complaint;
  const { file, rightFile } = stray;
  return {
    ...complaint,
    message: `${complaint.message}; ${file} is not read for it`,
    remedy: `move ${file} to ${rightFile}: clients read the .crt files in the folder of the registry, with its port, for its lookaside too`,
  };
}

function withoutKeyComplaint(file: string): Complaint {
  return {
    code: 'CERTIFICATE_WITHOUT_KEY',
    message: `${file} is taken for a certificate of this client, and its .key is missing: clients refuse the registry`,
    remedy: `if it is the certificate of an authority, rename it to ${file.replace(/\.cert$/, '.crt')}; else lay its key beside it`,
  };
}

function blockedComplaint(prefix: string, file: string): Complaint {
  return {
    code: 'REGISTRY_BLOCKED',
    message: `${prefix} is blocked in ${file}`,
    remedy: `take blocked = true out of the [[registry]] with the prefix ${prefix} in ${file}, if the image may be pulled from there`,
  };
}

const NOT_BY_US: Complaint = {
  code: 'SIGSTORE',
  message: 'the policy wants a sigstore signature, which lookaside does not judge',
  remedy: 'ask cosign verify',
};

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

/** As the web says it, in each message about a host without an address. */
const NAME_NOT_FOUND = 'the name is not found';

function registryComplaint(
  { code, message }: RegistryFailure,
  image: DockerReference,
  login: DoctorLogin,
): Complaint {
  const remedies: Readonly<Record<RegistryFailure['code'], string>> = {
    unreachable: message.endsWith(NAME_NOT_FOUND)
      ? 'correct the name of the registry if it is misspelt; else have the DNS of this machine find it'
      : `start the registry ${image.domain}, or pull from where it is`,
    tls: /plain HTTP/.test(message)
      ? `if plain HTTP is meant, write insecure = true into its [[registry]] in registries.conf, or pull with --tls-verify=false, and ask doctor with it too; else have ${image.domain} speak TLS`
      : `have clients trust ${image.domain}: lay its authority into /etc/containers/certs.d/${image.domain}/ca.crt; or pull with --tls-verify=false, which trusts anybody, and ask doctor with it too`,
    denied: loginRemedy(login, image),
    missing: `push the image, or pull a name that is there`,
    strange: `mend the registry`,
  };
  return { code: `REGISTRY_${code.toUpperCase()}`, message, remedy: remedies[code] };
}

function extensionComplaint({ domain }: DockerReference): Complaint {
  return {
    code: 'EXTENSION_SHADOWS',
    message: `the registry ${domain} announces signatures of its own (X-Registry-Supports-Signatures), so clients ask no lookaside`,
    remedy: `have the proxy before the registry leave out X-Registry-Supports-Signatures, or sign into the registry`,
  };
}
