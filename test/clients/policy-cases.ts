// Policies, images and registries.conf to be judged by us and by a skopeo: whatever one pulls the other pulls, and a refusal names the
// same reason.
import { mkdir, rm } from 'node:fs/promises';
import path from 'node:path';
import process from 'node:process';
import fc from 'fast-check';
import { formatDiagnosis } from '../../src/cli/doctor.ts';
import { DIGEST, MANIFEST, type Machine, SIGNATURES } from '../service/broken-machine.ts';
import { type Argv, describeOutcome, run } from './command.ts';

const ACCEPT = { type: 'insecureAcceptAnything' };
const REJECT = { type: 'reject' };

/** What skopeo says at a refusal, by our code. */
const SAYS: Readonly<Record<string, RegExp>> = {
  POLICY_REJECT: /rejected by policy/,
  SCOPE_NEVER_MATCHES: /rejected by policy/,
  IDENTITY: /Signature for identity .* is not accepted/,
  NO_SIGNATURE: /A signature was required, but no signature exists/,
  KEY_FILE_MISSING: /no such file or directory/,
  KEY_UNKNOWN: /Invalid GPG signature/,
  NOT_IMPLEMENTED: /not implemented|Unimplemented/i,
  POLICY_INVALID: /invalid policy|Error loading trust policy/i,
  NO_KEYS: /No public keys imported|No data|Invalid/,
  KEY_FILE_EMPTY: /No public keys imported|No data/,
  MIRROR_UNSIGNED: /A signature was required, but no signature exists/,
  NOT_CONFIGURED: /A signature was required, but no signature exists/,
  REGISTRIES_CONF_INVALID: /loading registries configuration|rewriting reference|invalid/i,
  AUTH_HELPER_MISSING: /error getting credentials.*docker-credential-not-there/,
  REGISTRY_BLOCKED: /is blocked in/,
  REGISTRY_MISSING: /manifest unknown|404|not found/i,
  REGISTRY_UNREACHABLE: /connection refused/,
};

/** The mirror is the same stub under another name, whose images lie below `copy`. */
function confsFor({ host }: Machine): readonly (readonly [string, string])[] {
  const other = host.replace('127.0.0.1', 'localhost');
  const registry = (settings: string) => `[[registry]]\nlocation = "${host}"\n${settings}\n`;
  const at = (location: string, settings = '') =>
    `[[registry.mirror]]\nlocation = "${location}"\ninsecure = true\n${settings}\n`;
  return [
    ['mirror', registry('') + at(`${other}/copy`)],
    ['mirror by digest', registry('mirror-by-digest-only = true') + at(`${other}/copy`)],
    ['mirror by tag', registry('') + at(`${other}/copy`, 'pull-from-mirror = "tag-only"')],
    ['mirror that has nothing', registry('') + at(`${other}/none`)],
    ['mirror that is down, then one', registry('') + at('127.0.0.1:1') + at(`${other}/copy`)],
    ['blocked', registry('blocked = true')],
    ['blocked, with a mirror', registry('blocked = true') + at(`${other}/copy`)],
    [
      'blocked mirror',
      `${registry('')}${at(`${other}/copy`)}[[registry]]\nlocation = "${other}"\nblocked = true`,
    ],
    [
      'narrower prefix',
      `${registry('blocked = true')}[[registry]]\nprefix = "${host}/team"\nlocation = "${other}/copy/team"`,
    ],
    [
      'prefix with the tag',
      `[[registry]]\nprefix = "${host}/team/app:v1"\nlocation = "${other}/none/app:v1"`,
    ],
    ['prefix without the port', '[[registry]]\nprefix = "127.0.0.1"\nlocation = "localhost"'],
    ['wildcard', `[[registry]]\nprefix = "*.0.0.1"\n${at(`${other}/copy`)}`],
    ['capitals', `[[registry]]\nPrefix = "${host}"\nLocation = "${host}"\nBlocked = true`],
    ['unknown setting', registry('unheard = 1')],
    ['no TOML', '[[registry'],
    ['location twice', '[[registry]]\nlocation = "a.example"\nlocation = "b.example"'],
    ['number', '[[registry]]\nlocation = 5'],
    ['scheme', `[[registry]]\nlocation = "http://${host}"`],
    [
      'one location, two minds',
      `${registry('')}[[registry]]\nprefix = "x.example"\nlocation = "${host}"\ninsecure = true`,
    ],
    ['wrong mirror', registry('') + at('Not A Name')],
    ['version 1', `[registries.block]\nregistries = ["${host}"]`],
    ['helper that is missing', 'credential-helpers = ["not-there"]'],
    ['helper that is missing, beside files', 'credential-helpers = ["not-there", "containers-auth.json"]'],
    ['files as the helper', 'credential-helpers = ["containers-auth.json"]'],
    ['no helper', 'credential-helpers = []'],
    ['helpers that are no list', 'credential-helpers = "containers-auth.json"'],
    ['both versions', `${registry('')}[registries.block]\nregistries = ["a.example"]`],
  ];
}

export interface PolicyCase {
  readonly name: string;
  readonly policy: unknown;
  /** Or a digest. */
  readonly tag?: string;
  /** In the order of their numbers; one by alice for v1 when it is left out. */
  readonly signatures?: readonly (readonly [signer: 'alice' | 'mallory', tag: string])[];
  /** What registries.conf holds. */
  readonly conf?: string;
}

/** One of each kind that registries.conf decides. */
export function mirrorCasesFor(machine: Machine): readonly PolicyCase[] {
  const policy = { default: [REJECT], transports: { docker: { [machine.host]: [machine.signedBy()] } } };
  return confsFor(machine).flatMap(([name, conf]) =>
    (/ by (?:digest|tag)$/.test(name) ? ['v1', DIGEST] : ['v1']).map((tag) => ({
      ...{ name: `${name} of ${tag}`, policy, tag, conf },
    })),
  );
}

/** One of each kind. */
export function casesFor(m: Machine): readonly PolicyCase[] {
  const { scopes, identities, requirements } = wordsFor(m);
  const signed = (identity?: object) => ({ ...m.signedBy(), ...(identity && { signedIdentity: identity }) });
  const docker = (scope: string, ...requirements: readonly object[]) => ({
    default: [REJECT],
    transports: { docker: { [scope]: requirements } },
  });
  const badScopes: readonly (readonly [string, string])[] = [
    ['dir', 'relative'],
    ['dir', '/'],
    ['dir', '/a//b'],
    ['dir', '/a'],
    ['oci', '/a/../b'],
    ['docker-archive', '/a'],
    ['docker-daemon', DIGEST],
    ['docker-daemon', 'a/b'],
    ['atomic', 'a/b/c/d'],
    ['atomic', 'a/b/c:d'],
    ['containers-storage', '/x'],
    ['containers-storage', '[overlay@/x]'],
    ['unheard', 'x'],
  ];
  return [
    ...scopes.map((scope) => ({ name: `scope ${scope}`, policy: docker(scope, signed()) })),
    ...identities.flatMap((identity) =>
      ['v1', 'v2', DIGEST].map((tag) => ({
        name: `${JSON.stringify(identity)} of ${tag}`,
        policy: docker(m.host, signed(identity)),
        tag,
      })),
    ),
    ...requirements.map((requirement) => ({
      name: JSON.stringify(requirement).slice(0, 80),
      policy: docker(m.host, requirement),
    })),
    ...badScopes.map(([transport, scope]) => ({
      name: `${transport} ${scope}`,
      policy: { default: [ACCEPT], transports: { [transport]: { [scope]: [ACCEPT] } } },
    })),
    { name: 'both', policy: docker(m.host, ACCEPT, signed()) },
    { name: 'signed, then rejected', policy: docker(m.host, signed(), REJECT) },
    { name: 'unsigned', policy: docker(m.host, signed()), signatures: [] },
    { name: 'unsigned, anything', policy: { default: [ACCEPT] }, signatures: [] },
    { name: 'no requirement', policy: docker(m.host) },
    { name: 'no default', policy: { transports: {} } },
    { name: 'null default', policy: { default: null } },
    { name: 'null transports', policy: { default: [ACCEPT], transports: null } },
    { name: 'a list', policy: [] },
    { name: 'unknown field', policy: { default: [ACCEPT], other: 1 } },
  ];
}

/** The parts that policies are made of. */
function wordsFor(m: Machine) {
  const repository = `${m.host}/team/app`;
  const scopes = [
    `${repository}:v1`,
    repository,
    `${m.host}/team`,
    m.host,
    '',
    '127.0.0.1',
    `${m.host}/tea`,
    `${m.host}/team/`,
    '*.0.0.1',
    '*.1',
    '*.127.0.0.1',
  ];
  const identities: readonly object[] = [
    ...['matchExact', 'matchRepoDigestOrExact', 'matchRepository', 'matchNothing'].map((type) => ({ type })),
    { type: 'exactReference', dockerReference: `${repository}:v1` },
    { type: 'exactReference', dockerReference: `${repository}:v2` },
    { type: 'exactReference', dockerReference: repository },
    { type: 'exactRepository', dockerRepository: repository },
    { type: 'exactRepository', dockerRepository: `${repository}/other` },
    { type: 'remapIdentity', prefix: m.host, signedPrefix: m.host },
    { type: 'remapIdentity', prefix: `${m.host}/team`, signedPrefix: `${m.host}/elsewhere` },
    { type: 'remapIdentity', prefix: '', signedPrefix: m.host },
    { type: 'remapIdentity', prefix: m.host },
  ];
  const key = path.join(m.folder, 'alice.gpg');
  const requirements: readonly object[] = [
    m.signedBy({ keyPaths: [key] }),
    m.signedBy({ keyPaths: [] }),
    m.signedBy({ keyPaths: [key, '/nowhere'] }),
    m.signedBy({ keyData: Buffer.from(m.alice.certificate).toString('base64') }),
    m.signedBy({ keyData: 'not base64!' }),
    m.signedBy({ keyData: Buffer.from(m.mallory.certificate).toString('base64') }),
    m.signedBy({ keyPath: '/nowhere' }),
    m.signedBy({}),
    m.signedBy({ keyPath: key, keyData: 'AAAA' }),
    m.signedBy({ keyPath: key, keyType: 'X509Certificates' }),
    m.signedBy({ keyPath: key, keyType: 'Unheard' }),
    m.signedBy({ keyPath: key, unheard: 1 }),
    { type: 'signedBaseLayer', baseLayerIdentity: { type: 'matchExact' } },
    { type: 'signedBaseLayer' },
    { type: 'unheard' },
    { type: null },
    { Type: 'reject' },
  ];
  return { scopes, identities, requirements };
}

/** So many others, always the same ones. */
export function generatedCases(m: Machine, count: number): readonly PolicyCase[] {
  const { scopes, identities, requirements } = wordsFor(m);
  const key = (name: string, bytes: Uint8Array) =>
    fc.constantFrom<object>(
      { keyPath: path.join(m.folder, name) },
      { keyData: Buffer.from(bytes).toString('base64') },
    );
  const signedBy = fc
    .tuple(
      fc.oneof(key('alice.gpg', m.alice.certificate), key('mallory.gpg', m.mallory.certificate)),
      fc.option(fc.constantFrom(...identities)),
    )
    .map(([where, identity]) => ({
      ...m.signedBy(where),
      ...(identity === null ? {} : { signedIdentity: identity }),
    }));
  const requirement = fc.oneof(
    { weight: 8, arbitrary: signedBy },
    { weight: 1, arbitrary: fc.constantFrom<object>(ACCEPT, REJECT) },
    { weight: 1, arbitrary: fc.constantFrom(...requirements) },
  );
  const some = fc.array(requirement, { minLength: 1, maxLength: 2 });
  const one = fc.record({
    scopes: fc.array(fc.tuple(fc.constantFrom(...scopes), some), { maxLength: 3 }),
    fallback: fc.oneof(fc.constant([ACCEPT]), fc.constant([REJECT]), some),
    tag: fc.constantFrom('v1', 'v2', DIGEST),
    signatures: fc.array(
      fc.tuple(fc.constantFrom('alice' as const, 'mallory' as const), fc.constantFrom('v1', 'v2')),
      { maxLength: 3 },
    ),
  });
  return fc.sample(one, { numRuns: count, seed: 17 }).map(({ scopes: docker, fallback, ...rest }, at) => ({
    ...rest,
    name: `generated ${at}`,
    policy: { default: fallback, transports: { docker: Object.fromEntries(docker) } },
  }));
}

/** A skopeo, and what starts it. */
export interface Skopeo {
  /** Before its own arguments. */
  readonly argv: Argv;
}

export const OWN_SKOPEO: Skopeo = { argv: ['skopeo'] };

/** That of a system which debootstrap has made below `root`: in namespaces of its own, with the folder of the machine. */
export function skopeoBelow(root: string, machine: Machine): Skopeo {
  const script =
    'root=$1; folder=$2; shift 2; mkdir -p "$root$folder"; mount --bind "$folder" "$root$folder"; mount -t proc proc "$root/proc"; touch "$root/etc/hosts"; mount --bind /etc/hosts "$root/etc/hosts"; exec chroot "$root" skopeo "$@"';
  return {
    argv: ['unshare', '--mount', '--propagation', 'private', 'sh', '-ec', script, 'sh', root, machine.folder],
  };
}

export interface Compared {
  readonly isPulled: boolean;
  /** Null: both find the same. */
  readonly difference: string | null;
}

export async function compare(
  machine: Machine,
  { policy, tag = 'v1', signatures = [['alice', 'v1']], conf = '' }: PolicyCase,
  { argv }: Skopeo = OWN_SKOPEO,
): Promise<Compared> {
  await machine.heal();
  await machine.write('mallory.gpg', machine.mallory.certificate);
  machine.answers.delete(`${SIGNATURES}/signature-1`);
  for (const [at, [signer, signedTag]] of signatures.entries())
    machine.answers.set(`${SIGNATURES}/signature-${at + 1}`, machine.sign(machine[signer], signedTag));
  const file = await machine.write('etc/containers/policy.json', JSON.stringify(policy));
  const registriesConf = await machine.write('etc/containers/registries.conf', conf);
  for (const one of ['v1', DIGEST])
    machine.answers.set(`/v2/copy/team/app/manifests/${one}`, Buffer.from(MANIFEST));
  for (const one of [...machine.answers.keys()].filter((path) => path.startsWith('/v2/team/app/blobs/')))
    machine.answers.set(one.replace('/v2/', '/v2/copy/'), machine.answers.get(one) ?? 404);
  const name = `${machine.host}/team/app${tag.startsWith('sha256:') ? '@' : ':'}${tag}`;
  const diagnosis = await machine.diagnose({ image: name });
  const temporary = path.join(machine.folder, 'tmp');
  await rm(path.join(machine.folder, 'copy'), { recursive: true, force: true });
  await mkdir(temporary, { recursive: true });
  const outcome = await run(
    [
      ...argv,
      ...([
        '--policy',
        file,
        '--registries.d',
        path.join(machine.folder, 'etc/containers/registries.d'),
        '--registries-conf',
        registriesConf,
      ] as const),
      ...['copy', '--src-tls-verify=false', `docker://${name}`, `dir:${path.join(machine.folder, 'copy')}`],
    ],
    { env: { PATH: process.env.PATH ?? '', HOME: machine.folder, TMPDIR: temporary } },
  );
  const both = `${formatDiagnosis(diagnosis, false)}\n${describeOutcome(outcome)}`;
  const isPulled = diagnosis.verdict === 'pulled';
  if ((outcome.status === 0) !== isPulled) return { isPulled, difference: both };
  if (isPulled) return { isPulled, difference: null };
  const says = SAYS[diagnosis.complaint?.code ?? ''];
  return { isPulled, difference: says?.test(outcome.stderr) === true ? null : both };
}
