// Machines on which a pull fails: each is diagnosed by its own code, and the last line says what to change.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { chmod, rm } from 'node:fs/promises';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { formatDiagnosis } from '../../src/cli/doctor.ts';
import {
  DIGEST,
  LIST,
  MANIFEST,
  type Machine,
  type MachineOptions,
  openMachine,
  registriesD,
  SIGNATURES,
} from './broken-machine.ts';

interface Case {
  readonly broken: string;
  readonly breaks: (machine: Machine) => Promise<unknown> | unknown;
  readonly asked?: (machine: Machine) => Partial<MachineOptions>;
  readonly verdict?: 'refused' | 'unknown' | 'pulled';
  readonly code: string;
  /** In the last line. */
  readonly change: RegExp;
}

const base = (machine: Machine, section: string, url: string) =>
  machine.write('etc/containers/registries.d/lookaside.yaml', registriesD(section, url));
const policy = (machine: Machine, docker: object, standard: object = { type: 'reject' }) =>
  machine.write(
    'etc/containers/policy.json',
    JSON.stringify({ default: [standard], transports: { docker } }),
  );
const text = (machine: Machine, content: string) => machine.write('etc/containers/policy.json', content);
const LIST_DIGEST = `sha256:${createHash('sha256').update(LIST).digest('hex')}`;

const CASES: readonly Case[] = [
  {
    broken: 'wrong port',
    breaks: (m) => base(m, m.host, 'http://127.0.0.1:1/sigstore'),
    code: 'LOOKASIDE_DOWN',
    change: /real host and port in registries\.d/,
  },
  {
    broken: 'wrong host',
    breaks: (m) => base(m, m.host, 'http://nowhere.invalid/'),
    code: 'LOOKASIDE_HOST',
    change: /real host/,
  },
  {
    broken: 'https for http',
    breaks: (m) => base(m, m.host, `https://${m.host}/sigstore`),
    code: 'LOOKASIDE_PLAIN_HTTP',
    change: /http:\/\/ in place of https/,
  },
  {
    broken: 'no scheme',
    breaks: (m) => base(m, m.host, 'lookaside.example/sigstore'),
    code: 'LOOKASIDE_SCHEME',
    change: /http:\/\//,
  },
  {
    broken: 'lookaside: alone for an old client',
    breaks: (m) =>
      m.write(
        'etc/containers/registries.d/lookaside.yaml',
        JSON.stringify({ docker: { [m.host]: { lookaside: `http://${m.host}/sigstore` } } }),
      ),
    asked: () => ({ generation: 'old' }),
    code: 'SPELLING',
    change: /write sigstore: with the same URL/,
  },
  {
    broken: 'one section in two files',
    breaks: (m) => m.write('etc/containers/registries.d/z.yaml', registriesD(m.host, 'http://x.example')),
    code: 'REGISTRIES_D_INVALID',
    change: /mend .*z\.yaml/,
  },
  {
    broken: 'registries.d that is no YAML',
    breaks: (m) => m.write('etc/containers/registries.d/z.yaml', 'docker: [}'),
    code: 'REGISTRIES_D_INVALID',
    change: /mend .*z\.yaml/,
  },
  {
    broken: 'a user folder that hides the system’s',
    breaks: (m) => m.write('home/.config/containers/registries.d/other.yaml', '{}'),
    code: 'NOT_CONFIGURED',
    change: /registries\.d/,
  },
  {
    broken: 'a section for another port',
    breaks: (m) => base(m, '127.0.0.1:1', `http://${m.host}/sigstore`),
    code: 'NOT_CONFIGURED',
    change: /registries\.d/,
  },
  {
    broken: 'key file missing',
    breaks: (m) => rm(path.join(m.folder, 'alice.gpg')),
    code: 'KEY_FILE_MISSING',
    change: /gpg --export FINGERPRINT > .*alice\.gpg/,
  },
  {
    broken: 'key file empty',
    breaks: (m) => m.write('alice.gpg', ''),
    code: 'KEY_FILE_EMPTY',
    change: /gpg --export/,
  },
  {
    broken: 'key file of something else',
    breaks: (m) => m.write('alice.gpg', 'ssh-ed25519 AAAA'),
    code: 'NO_KEYS',
    change: /gpg --export/,
  },
  {
    broken: 'another key',
    breaks: (m) => m.write('alice.gpg', m.mallory.certificate),
    code: 'KEY_UNKNOWN',
    change: /add it to the keys in policy\.json/,
  },
  {
    broken: 'revoked key',
    breaks: (m) => m.write('alice.gpg', m.alice.certifiedAs({ revoked: true } as never)),
    code: 'KEY_REVOKED',
    change: /another key/,
  },
  {
    broken: 'another tag of the same digest',
    breaks: () => undefined,
    asked: (m) => ({ image: `${m.host}/team/app:v2` }),
    code: 'IDENTITY',
    change: /each tag needs a signature of its own/,
  },
  {
    broken: 'signed list, platform pulled',
    breaks: (m) => {
      m.answers.set('/v2/team/app/manifests/v1', Buffer.from(LIST));
      m.answers.delete(`${SIGNATURES}/signature-1`);
      m.answers.set(
        `/sigstore/team/app@${LIST_DIGEST.replace(':', '=')}/signature-1`,
        m.sign(m.alice, 'v1', LIST),
      );
    },
    code: 'ONLY_LIST_SIGNED',
    change: /skopeo copy --all/,
  },
  {
    broken: 'registry extension shadowing',
    breaks: (m) => {
      m.announces = true;
    },
    verdict: 'unknown',
    code: 'EXTENSION_SHADOWS',
    change: /X-Registry-Supports-Signatures/,
  },
  {
    broken: 'HTML at 200',
    breaks: (m) => m.answers.set(`${SIGNATURES}/signature-2`, Buffer.from('<html>')),
    code: 'LOOKASIDE_HTML',
    change: /answer 404/,
  },
  {
    broken: '403 for missing',
    breaks: (m) => m.answers.set(`${SIGNATURES}/signature-2`, 403),
    code: 'LOOKASIDE_STATUS',
    change: /answer 404/,
  },
  {
    broken: 'armour in the lookaside',
    breaks: (m) => m.answers.set(`${SIGNATURES}/signature-1`, Buffer.from('-----BEGIN PGP')),
    code: 'SIGNATURE_UNREADABLE',
    change: /binary signature/,
  },
  {
    broken: 'signature-2 without signature-1',
    breaks: (m) => {
      m.answers.delete(`${SIGNATURES}/signature-1`);
      m.answers.set(`${SIGNATURES}/signature-2`, m.sign(m.alice));
    },
    code: 'FIRST_MISSING',
    change: /signature-1/,
  },
  {
    broken: 'no signature',
    breaks: (m) => m.answers.delete(`${SIGNATURES}/signature-1`),
    code: 'NO_SIGNATURE',
    change: /sign the image/,
  },
  {
    broken: 'clock years behind',
    breaks: () => undefined,
    asked: () => ({ now: new Date('2022-01-01') }),
    code: 'SIGNED_IN_FUTURE',
    change: /clock/,
  },
  {
    broken: 'default: reject',
    breaks: (m) => policy(m, {}),
    code: 'POLICY_REJECT',
    change: /section of its own/,
  },
  {
    broken: 'a scope with a typo',
    breaks: (m) => policy(m, { [`${m.host}/teem`]: [m.signedBy()] }),
    code: 'SCOPE_NEVER_MATCHES',
    change: /write that section as/,
  },
  {
    broken: 'a scope with https://',
    breaks: (m) => policy(m, { [`https://${m.host}`]: [m.signedBy()] }),
    code: 'SCOPE_NEVER_MATCHES',
    change: /write that section as/,
  },
  {
    broken: 'a field twice',
    breaks: (m) => text(m, '{\n  "default": [{"type":"reject"}],\n  "default": []\n}'),
    code: 'POLICY_INVALID',
    change: /line 3, column 3/,
  },
  {
    broken: 'an unknown field',
    breaks: (m) => text(m, '{"default":[{"type":"reject","keyPath":"x"}]}'),
    code: 'POLICY_INVALID',
    change: /line 1, column 30/,
  },
  {
    broken: 'a comment',
    breaks: (m) => text(m, '// mine\n{}'),
    code: 'POLICY_INVALID',
    change: /line 1, column 1/,
  },
  {
    broken: 'no policy',
    breaks: (m) => rm(path.join(m.folder, 'etc/containers/policy.json')),
    code: 'POLICY_MISSING',
    change: /write one/,
  },
  {
    broken: 'two signatures, none by the wanted key',
    breaks: (m) => {
      m.answers.set(`${SIGNATURES}/signature-1`, m.sign(m.mallory));
      m.answers.set(`${SIGNATURES}/signature-2`, m.sign(m.mallory, 'v2'));
    },
    code: 'KEY_UNKNOWN',
    change: /trusted key/,
  },
  {
    broken: 'registry down',
    breaks: () => undefined,
    asked: () => ({ image: '127.0.0.1:1/team/app:v1' }),
    verdict: 'unknown',
    code: 'REGISTRY_UNREACHABLE',
    change: /start the registry/,
  },
  {
    broken: 'plain registry without --tls-verify=false',
    breaks: () => undefined,
    asked: () => ({ isInsecure: false }),
    code: 'REGISTRY_TLS',
    change: /--tls-verify=false/,
  },
  {
    broken: 'no such tag',
    breaks: (m) => m.answers.delete('/v2/team/app/manifests/v1'),
    verdict: 'unknown',
    code: 'REGISTRY_MISSING',
    change: /push the image/,
  },
];

describe('doctor', () => {
  let machine: Machine;
  before(async () => {
    machine = await openMachine();
  });
  after(() => machine?.[Symbol.asyncDispose]());

  test('says that a signed image is pulled, by tag and by digest', async () => {
    await machine.heal();
    for (const image of [`${machine.host}/team/app:v1`, `${machine.host}/team/app@${DIGEST}`]) {
      const diagnosis = await machine.diagnose({ image });
      assert.equal(diagnosis.verdict, 'pulled', formatDiagnosis(diagnosis, true));
      assert.equal(formatDiagnosis(diagnosis, false).split('\n').at(-1), 'Nothing has to be changed.');
    }
  });

  for (const { broken, breaks, asked = () => ({}), verdict = 'refused', code, change } of CASES) {
    test(`finds: ${broken}`, async () => {
      await machine.heal();
      await breaks(machine);
      const diagnosis = await machine.diagnose(asked(machine));
      const shown = formatDiagnosis(diagnosis, true);
      assert.equal(diagnosis.complaint?.code, code, shown);
      assert.equal(diagnosis.verdict, verdict, shown);
      const lines = formatDiagnosis(diagnosis, false).split('\n');
      assert.match(lines.at(-1) ?? '', change);
    });
  }

  test('finds a key file that this user may not read', { skip: process.getuid?.() === 0 }, async () => {
    await machine.heal();
    await chmod(path.join(machine.folder, 'alice.gpg'), 0);
    assert.equal((await machine.diagnose()).complaint?.code, 'KEY_FILE_UNREADABLE');
    await chmod(path.join(machine.folder, 'alice.gpg'), 0o644);
  });

  test('reads what the user has ahead of what root has, and podman 6 merges both', async () => {
    await machine.heal();
    await machine.write('home/.config/containers/registries.d/other.yaml', '{}');
    assert.equal((await machine.diagnose({ generation: 'podman-6' })).verdict, 'pulled');
    await machine.write('home/.config/containers/registries.d/lookaside.yaml', '{}'); // masks that of root
    assert.equal((await machine.diagnose({ generation: 'podman-6' })).complaint?.code, 'NOT_CONFIGURED');
    await machine.write(
      'home/.config/containers/policy.json',
      '{"default":[{"type":"insecureAcceptAnything"}]}',
    );
    assert.equal((await machine.diagnose()).verdict, 'pulled');
  });

  test('knows a manifest by its bytes', async () => {
    assert.equal(createHash('sha256').update(MANIFEST).digest('hex'), DIGEST.slice(7));
  });
});
