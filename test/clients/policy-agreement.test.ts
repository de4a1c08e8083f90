// Policies judged by us and by skopeo: whatever one pulls the other pulls, and a refusal names the same reason.
import assert from 'node:assert/strict';
import { mkdir } from 'node:fs/promises';
import path from 'node:path';
import process from 'node:process';
import { after, before, describe, test } from 'node:test';
import { formatDiagnosis } from '../../src/cli/doctor.ts';
import { DIGEST, type Machine, openMachine, SIGNATURES } from '../service/broken-machine.ts';
import { needs } from './available.ts';
import { describeOutcome, run } from './command.ts';

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
};

interface Case {
  readonly name: string;
  readonly policy: unknown;
  readonly tag?: string;
  /** False: by nobody; a list: the tags that alice and mallory have signed, in turn. */
  readonly unsigned?: boolean;
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
      const difference = await compare(machine, one, index);
      if (difference !== null) differences.push(`${one.name}: ${difference}`);
    }
    assert.deepEqual(differences, []);
  });
});

/** Null: both find the same. */
async function compare(
  machine: Machine,
  { policy, tag = 'v1', unsigned = false }: Case,
  index: number,
): Promise<string | null> {
  await machine.heal();
  if (unsigned) machine.answers.delete(`${SIGNATURES}/signature-1`);
  const file = await machine.write('etc/containers/policy.json', JSON.stringify(policy));
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
