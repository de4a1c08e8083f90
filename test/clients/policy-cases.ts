// Policies, images and registries.conf to be judged by us and by a skopeo: whatever one pulls the other pulls, and a refusal names the
// same reason.
import { createHash } from 'node:crypto';
import { mkdir, rm } from 'node:fs/promises';
import path from 'node:path';
import process from 'node:process';
import { formatDiagnosis } from '../../src/cli/doctor.ts';
import type { Diagnosis } from '../../src/service/doctor-diagnosis.ts';
import type { JudgedSignature } from '../../src/service/policy-judge.ts';
import { DIGEST, LIST, MANIFEST, type Machine } from '../service/broken-machine.ts';
import { type Argv, describeOutcome, run } from './command.ts';

export const ACCEPT = { type: 'insecureAcceptAnything' };
export const REJECT = { type: 'reject' };

/** What skopeo says at a refusal, by our code. */
const SAYS: Readonly<Record<string, RegExp>> = {
  POLICY_REJECT: /rejected by policy/,
  SCOPE_NEVER_MATCHES: /rejected by policy/,
  IDENTITY: /Signature for identity .* is not accepted/,
  NO_SIGNATURE: /A signature was required, but no signature exists/,
  KEY_FILE_MISSING: /no such file or directory/,
  KEY_UNKNOWN: /Invalid GPG signature: gpgme\.Signature\{Summary:128,/,
  KEY_EXPIRED: /Invalid GPG signature: gpgme\.Signature\{Summary:32,/,
  KEY_REVOKED: /Invalid GPG signature: gpgme\.Signature\{Summary:16,/,
  SIGNATURE_BAD: /Invalid GPG signature: gpgme\.Signature\{Summary:4,/,
  STRUCTURE_INVALID: /No data|Unexpected GPG signature count 0|Unknown compression algorithm/,
  REFERENCE_INVALID: /Signature for identity .* is not accepted/,
  DIGEST_MISMATCH: /Signature for digest .* does not match/,
  FORMAT_UNSUPPORTED: /A signature was required, but no signature exists/,
  FIRST_MISSING: /A signature was required, but no signature exists/,
  LOOKASIDE_STATUS: /reading signature from .*status 403|unexpected HTTP status: 403/,
  LOOKASIDE_HTML: /unrecognized signature format, starting with binary 0x3c/,
  SIGNATURE_UNREADABLE: /empty signature blob|unrecognized signature format, starting with binary 0x2d/,
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
export function confsFor({ host }: Machine): readonly (readonly [string, string])[] {
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
  /** team/app unless told. */
  readonly repository?: string;
  /** Or a digest, or nothing. */
  readonly tag?: string;
  /** In the order of their numbers; one by alice for v1 when it is left out. */
  readonly signatures?: readonly CaseSignature[];
  /** What registries.conf holds. */
  readonly conf?: string;
  /** The part `docker` of registries.d; unless told, the lookaside of the machine for its registry. */
  readonly registriesD?: object;
}

export interface CaseSignature {
  readonly by: 'alice' | 'mallory' | 'a subkey of alice';
  /** The name that it is for, as `nameOf` takes it; by a subkey, a tag. */
  readonly says: string;
  readonly form?: keyof typeof FORMS;
}

/** What the lookaside answers in place of a whole signature. */
const FORMS = {
  whole: (bytes: Buffer) => bytes,
  cut: (bytes: Buffer) => bytes.subarray(0, -20),
  changed: (bytes: Buffer) => Buffer.concat([bytes.subarray(0, -1), Buffer.of((bytes.at(-1) ?? 0) ^ 1)]),
  noise: () => Buffer.concat([Buffer.of(0xa3), Buffer.alloc(300, 'noise')]),
  page: () => Buffer.from('<html>'),
  empty: () => Buffer.alloc(0),
  armour: (bytes: Buffer) =>
    Buffer.from(`-----BEGIN PGP MESSAGE-----\n\n${bytes.toString('base64')}\n-----END PGP MESSAGE-----\n`),
  tagged: (bytes: Buffer) => Buffer.concat([Buffer.from('\0simple-signing\n'), bytes]),
  cosign: () => Buffer.from('\0sigstore-json\n{}'),
  gap: () => 404,
  forbidden: () => 403,
  'for another manifest': (bytes: Buffer) => bytes, // what it says is another
} as const satisfies Readonly<Record<string, (bytes: Buffer) => Buffer | number>>;

/** A tag, a digest, nothing, or behind `=` the whole name. */
function nameOf({ host }: Machine, repository: string, says: string): string {
  if (says.startsWith('=')) return says.slice(1);
  const name = `${host}/${repository}`;
  if (says === '') return name;
  return `${name}${says.startsWith('sha256:') ? '@' : ':'}${says}`;
}

function makeSignature(
  m: Machine,
  repository: string,
  { by, says, form = 'whole' }: CaseSignature,
): Buffer | number {
  const manifest = form === 'for another manifest' ? LIST : MANIFEST;
  if (by === 'a subkey of alice')
    return FORMS[form](m.alice.bySubkey.sign({ registry: m.host, repository, manifest, tag: says }));
  const payload = {
    critical: {
      type: 'atomic container signature',
      image: { 'docker-manifest-digest': form === 'for another manifest' ? LIST_DIGEST : DIGEST },
      identity: { 'docker-reference': nameOf(m, repository, says) },
    },
    optional: {},
  };
  return FORMS[form](m[by].signPayload(Buffer.from(JSON.stringify(payload))));
}

const LIST_DIGEST = `sha256:${createHash('sha256').update(LIST).digest('hex')}`;
const SPARE_NAMES = ['v1', 'v2', 'latest', DIGEST];

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
    ...(['v1', 'v2', '', '=No Name'] as const).flatMap((says) =>
      (Object.keys(FORMS) as (keyof typeof FORMS)[]).map((form) => ({
        name: `${form} for ${says}`,
        policy: docker(m.host, signed()),
        signatures: [{ by: 'alice' as const, says, form }],
      })),
    ),
    ...Object.keys(certificatesOf(m)).flatMap((name) =>
      (['alice', 'a subkey of alice'] as const).map((by) => ({
        name: `${by} by ${name}`,
        policy: docker(m.host, m.signedBy({ keyPath: path.join(m.folder, name) })),
        signatures: [{ by, says: 'v1' }],
      })),
    ),
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
export function wordsFor(m: Machine) {
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
  /** Why that is as it should be; null: nothing explains it. */
  readonly explanation: string | null;
}

export async function compare(
  machine: Machine,
  { repository = 'team/app', tag = 'v1', signatures = [{ by: 'alice', says: 'v1' }], ...given }: PolicyCase,
  { argv }: Skopeo = OWN_SKOPEO,
): Promise<Compared> {
  const { policy, conf = '', registriesD = null } = given;
  await machine.heal();
  await layKeys(machine);
  if (registriesD !== null)
    await machine.write('etc/containers/registries.d/lookaside.yaml', JSON.stringify(registriesD));
  serveImage(machine, repository);
  const folder = `/sigstore/${repository}@${DIGEST.replace(':', '=')}`;
  machine.answers.delete(`${folder}/signature-1`);
  for (const [at, signature] of signatures.entries())
    machine.answers.set(`${folder}/signature-${at + 1}`, makeSignature(machine, repository, signature));
  const file = await machine.write('etc/containers/policy.json', JSON.stringify(policy));
  const registriesConf = await machine.write('etc/containers/registries.conf', conf);
  const name = nameOf(machine, repository, tag);
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
  if ((outcome.status === 0) !== isPulled) {
    const isOldRefusal = isPulled && diagnosis.caveat?.code === 'SUBKEY' && BY_KEY.test(outcome.stderr);
    return { isPulled, difference: both, explanation: isOldRefusal ? OLD_SUBKEY : null };
  }
  const explanation = isPulled ? SAME : compareRefusals(diagnosis, outcome.stderr);
  return explanation === SAME
    ? { isPulled, difference: null, explanation: null }
    : { isPulled, difference: both, explanation };
}

const BY_KEY = /Signature by key \S+ is not accepted/;
const OLD_SUBKEY =
  'clients before August 2025 refuse a signature by a subkey, and `doctor` judges as newer ones do: it says so beside its verdict, or names the next fault of that signature';
const TWO_FAULTS =
  'a signature has a name that no policy can take, and another fault: we name the first, and skopeo the second';

const SAME = 'same';

/** SAME, what explains the difference, or null. */
function compareRefusals({ complaint, requirements }: Diagnosis, stderr: string): string | null {
  const isBySubkey = requirements.some(
    ({ verdict, signatures }) => verdict === 'allowed' && signatures.some(({ subkey }) => subkey !== null),
  );
  if (isBySubkey && BY_KEY.test(stderr)) return OLD_SUBKEY; // at a requirement that newer clients allow
  const signatures = requirements.find(({ verdict }) => verdict === 'denied')?.signatures ?? [];
  const judged = signatures.filter(({ complaint: why }) => why !== null && why.code !== COSIGN);
  if (judged.length === 0) return SAYS[complaint?.code ?? '']?.test(stderr) === true ? SAME : null;
  const theirs = /None of the signatures were accepted, reasons: (.*)/.exec(stderr)?.[1]?.split('; ') ?? [
    stderr,
  ];
  if (judged.length !== theirs.length) return null;
  const all = judged.map((one, at) => compareReasons(one, theirs[at] ?? ''));
  return all.find((one) => one === null) === undefined ? (all.find((one) => one !== SAME) ?? SAME) : null;
}

/** The same for the reasons against one signature. */
function compareReasons({ complaint, subkey }: JudgedSignature, text: string): string | null {
  if (SAYS[complaint?.code ?? '']?.test(text) === true) return SAME;
  if (subkey !== null && BY_KEY.test(text)) return OLD_SUBKEY;
  const isOther = /Signature for digest .* does not match|Summary:(?:16|32),/.test(text);
  return complaint?.code === 'REFERENCE_INVALID' && isOther ? TWO_FAULTS : null;
}

/** What clients pass over where signedBy is asked for. */
const COSIGN = 'FORMAT_UNSUPPORTED';

/** Under that name and as its copy below `copy`, where mirrors have it. */
function serveImage({ answers }: Machine, repository: string): void {
  const blobs = [...answers].filter(([at]) => at.startsWith('/v2/team/app/blobs/'));
  for (const place of [repository, `copy/${repository}`]) {
    for (const name of SPARE_NAMES) answers.set(`/v2/${place}/manifests/${name}`, Buffer.from(MANIFEST));
    for (const [at, blob] of blobs) answers.set(at.replace('team/app', place), blob);
  }
}

async function layKeys(m: Machine): Promise<void> {
  for (const [name, bytes] of Object.entries(certificatesOf(m))) await m.write(name, bytes);
}

/** Files of keys that policies name, by their names below the folder of the machine. */
export function certificatesOf({ alice, mallory }: Machine): Readonly<Record<string, Uint8Array>> {
  return {
    'alice.gpg': alice.certificate,
    'mallory.gpg': mallory.certificate,
    'both.gpg': Buffer.concat([alice.certificate, mallory.certificate]),
    'expired.gpg': alice.certifiedAs({ expiresAt: new Date('2026-01-01') }),
    'revoked.gpg': alice.certifiedAs({ revoked: { at: new Date('2026-01-01'), reason: null } }),
    'subkey.gpg': alice.bySubkey.certificate,
  };
}
