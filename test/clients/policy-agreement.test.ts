// Policies judged by us and by skopeo: whatever one pulls the other pulls, and a refusal names the same reason.
import assert from 'node:assert/strict';
import { mkdir } from 'node:fs/promises';
import path from 'node:path';
import process from 'node:process';
import { after, before, describe, test } from 'node:test';
import { formatDiagnosis } from '../../src/cli/doctor.ts';
import { count } from '../faults/promise.ts';
import { DIGEST, MANIFEST, type Machine, openMachine, SIGNATURES } from '../service/broken-machine.ts';
import { needs } from './available.ts';
import { describeOutcome, run } from './command.ts';

/** In `npm test` some of each kind: with skopeo, one of them takes half a second. */
const ONE_IN = count(1, 5);

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
  AUTH_HELPER_MISSING: /docker-credential-not-there.*executable file not found/,
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

interface Case {
  readonly name: string;
  readonly policy: unknown;
  readonly tag?: string;
  /** False: by nobody; a list: the tags that alice and mallory have signed, in turn. */
  readonly unsigned?: boolean;
  /** What registries.conf holds. */
  readonly conf?: string;
}

function casesFor(m: Machine): readonly Case[] {
  const repository = `${m.host}/team/app`;
  const signed = (identity?: object) => ({ ...m.signedBy(), ...(identity && { signedIdentity: identity }) });
  const docker = (scope: string, ...requirements: readonly object[]) => ({
    default: [REJECT],
    transports: { docker: { [scope]: requirements } },
  });
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
    { name: 'unsigned', policy: docker(m.host, signed()), unsigned: true },
    { name: 'unsigned, anything', policy: { default: [ACCEPT] }, unsigned: true },
    { name: 'no requirement', policy: docker(m.host) },
    { name: 'no default', policy: { transports: {} } },
    { name: 'null default', policy: { default: null } },
    { name: 'null transports', policy: { default: [ACCEPT], transports: null } },
    { name: 'a list', policy: [] },
    { name: 'unknown field', policy: { default: [ACCEPT], other: 1 } },
  ];
}

describe('a policy', needs('skopeo', 'gpg'), () => {
  let machine: Machine;
  before(async () => {
    machine = await openMachine();
  });
  after(() => machine?.[Symbol.asyncDispose]());

  test('is judged as by skopeo, and for the same reason', async () => {
    const cases = casesFor(machine);
    const differences: string[] = [];
    for (const [index, one] of cases.entries()) {
      if (index % ONE_IN !== 0) continue;
      const difference = await compare(machine, one, index);
      if (difference !== null) differences.push(`${one.name}: ${difference}`);
    }
    assert.deepEqual(differences, []);
  });

  test('of an image that registries.conf sends elsewhere is judged as by skopeo', async () => {
    const differences: string[] = [];
    for (const [index, [name, conf]] of confsFor(machine).entries()) {
      if (index % ONE_IN !== 0) continue;
      const tags = / by (?:digest|tag)$/.test(name) ? ['v1', DIGEST] : ['v1'];
      for (const [at, tag] of tags.entries()) {
        const policy = {
          default: [REJECT],
          transports: { docker: { [machine.host]: [machine.signedBy()] } },
        };
        const difference = await compare(machine, { name, policy, tag, conf }, 1000 + index * 2 + at);
        if (difference !== null) differences.push(`${name} of ${tag}: ${difference}`);
      }
    }
    assert.deepEqual(differences, []);
  });
});

/** Null: both find the same. */
async function compare(
  machine: Machine,
  { policy, tag = 'v1', unsigned = false, conf = '' }: Case,
  index: number,
): Promise<string | null> {
  await machine.heal();
  if (unsigned) machine.answers.delete(`${SIGNATURES}/signature-1`);
  const file = await machine.write('etc/containers/policy.json', JSON.stringify(policy));
  const registriesConf = await machine.write('etc/containers/registries.conf', conf);
  for (const one of ['v1', DIGEST])
    machine.answers.set(`/v2/copy/team/app/manifests/${one}`, Buffer.from(MANIFEST));
  for (const one of [...machine.answers.keys()].filter((path) => path.startsWith('/v2/team/app/blobs/')))
    machine.answers.set(one.replace('/v2/', '/v2/copy/'), machine.answers.get(one) ?? 404);
  const name = `${machine.host}/team/app${tag.startsWith('sha256:') ? '@' : ':'}${tag}`;
  const diagnosis = await machine.diagnose({ image: name });
  const temporary = path.join(machine.folder, 'tmp');
  await mkdir(temporary, { recursive: true });
  const outcome = await run(
    [
      ...([
        'skopeo',
        '--policy',
        file,
        '--registries.d',
        path.join(machine.folder, 'etc/containers/registries.d'),
        '--registries-conf',
        registriesConf,
      ] as const),
      ...[
        'copy',
        '--src-tls-verify=false',
        `docker://${name}`,
        `dir:${path.join(machine.folder, `copy-${index}`)}`,
      ],
    ],
    { env: { PATH: process.env.PATH ?? '', HOME: machine.folder, TMPDIR: temporary } },
  );
  const shown = `${formatDiagnosis(diagnosis, false)}\n${describeOutcome(outcome)}`;
  if ((outcome.status === 0) !== (diagnosis.verdict === 'pulled')) return shown;
  if (outcome.status === 0) return null;
  const says = SAYS[diagnosis.complaint?.code ?? ''];
  return says?.test(outcome.stderr) === true ? null : shown;
}
