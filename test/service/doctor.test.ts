// Machines on which a pull fails: each is diagnosed by its own code, and the last line says what to change.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { chmod, rm, symlink } from 'node:fs/promises';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { formatDiagnosis } from '../../src/cli/doctor.ts';
import { LookasideError } from '../../src/domain/errors.ts';
import { readCertificates, strayCertificates } from '../../src/files/client-certificates.ts';
import { clientPlaces } from '../../src/files/client-places.ts';
import { armorPublicKey } from '../../src/openpgp/armor.ts';
import { bareArmour, certificateOfLength } from './bare-armour.ts';
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
const conf = (machine: Machine, content: string) => machine.write('etc/containers/registries.conf', content);
/** A mirror of the registry: the same stub under another name. */
const mirror = (machine: Machine, folder: string, more = '') => {
  const answer = Buffer.from(MANIFEST);
  machine.answers.set(`/v2/${folder === '' ? '' : `${folder}/`}team/app/manifests/v1`, answer);
  const location = mirrorOf(machine, folder);
  return conf(
    machine,
    `[[registry]]\nlocation = "${machine.host}"\n[[registry.mirror]]\nlocation = "${location}"\ninsecure = true\n${more}`,
  );
};
const mirrorOf = ({ host }: Machine, folder: string) =>
  `${host.replace('127.0.0.1', 'localhost')}${folder === '' ? '' : `/${folder}`}`;
const auths = (entry: string, login: string) =>
  JSON.stringify({ auths: { [entry]: { auth: Buffer.from(login).toString('base64') } } });
const payloadNaming = (name: string) => ({
  critical: {
    type: 'atomic container signature',
    image: { 'docker-manifest-digest': DIGEST },
    identity: { 'docker-reference': name },
  },
  optional: {},
});
/** Ten levels, each of ten times the one before. */
const bomb = () =>
  [
    'a: &a [x]',
    ...[...'bcdefghij'].map((name, index) => `${name}: &${name} [${`*${'abcdefghi'[index]},`.repeat(10)}]`),
  ].join('\n');
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
    broken: 'a second requirement that has the key, behind a first that has not',
    breaks: async (m) => {
      await m.write('mallory.gpg', m.mallory.certificate);
      const first = m.signedBy({ keyPath: path.join(m.folder, 'mallory.gpg') });
      await text(m, JSON.stringify({ default: [first, m.signedBy()] }));
    },
    code: 'KEY_UNKNOWN',
    change:
      /The section asks for 2 things, and an image must satisfy all: this is number 1, which takes the keys of \S+mallory\.gpg alone/,
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
    broken: 'another manifest under another tag: clients look at the digest first',
    breaks: (m) => m.answers.set(`${SIGNATURES}/signature-1`, m.sign(m.alice, 'v2', LIST)),
    code: 'DIGEST_MISMATCH',
    change: /sign what is pulled/,
  },
  {
    broken:
      'a policy that rejects what nobody has to sign, beside a lookaside that answers 403: it is not asked before',
    breaks: async (m) => {
      m.answers.set(`${SIGNATURES}/signature-1`, 403);
      await policy(m, { [m.host]: [{ type: 'insecureAcceptAnything' }, { type: 'reject' }] });
    },
    code: 'POLICY_REJECT',
    change: /a section of its own in policy\.json/,
  },
  {
    broken: 'a cosign signature, which clients pass over, before one by another key',
    breaks: (m) => {
      m.answers.set(`${SIGNATURES}/signature-1`, Buffer.from('\0sigstore-json\n{}'));
      m.answers.set(
        `${SIGNATURES}/signature-2`,
        m.alice.signPayload(Buffer.from(JSON.stringify(payloadNaming('No Name')))),
      );
    },
    code: 'REFERENCE_INVALID',
    change: /signed again/,
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
    broken: 'clock behind the birth of the key',
    breaks: () => undefined,
    asked: () => ({ now: new Date('2019-06-01') }),
    code: 'NO_KEYS',
    change: /set the clock of this machine/,
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
    broken: 'a registry whose name nobody knows',
    breaks: () => undefined,
    // longer than names may be: no DNS is asked
    asked: () => ({ image: `${'x'.repeat(64)}.example/team/app:v1` }),
    verdict: 'unknown',
    code: 'REGISTRY_UNREACHABLE',
    change: /correct the name of the registry if it is misspelt; else have the DNS/,
  },
  {
    broken: 'plain registry without --tls-verify=false',
    breaks: () => undefined,
    asked: () => ({ isInsecure: false }),
    code: 'REGISTRY_TLS',
    change: /--tls-verify=false, and ask doctor with it too/,
  },
  {
    broken: 'a mirror under the same path that registries.d does not name',
    breaks: (m) => mirror(m, ''),
    code: 'MIRROR_UNSIGNED',
    change: /docker: \{localhost:\d+: \{lookaside: "http:/,
  },
  {
    broken: 'a mirror under another path, without signatures',
    breaks: async (m) => {
      await mirror(m, 'copy');
      await base(m, mirrorOf(m, ''), `http://${m.host}/sigstore`);
      await m.write('etc/containers/registries.d/own.yaml', registriesD(m.host, `http://${m.host}/sigstore`));
    },
    code: 'MIRROR_UNSIGNED',
    change: /serve the signatures of team\/app under copy\/team\/app too/,
  },
  {
    broken: 'a registry that is blocked',
    breaks: (m) => conf(m, `[[registry]]\nlocation = "${m.host}"\nblocked = true`),
    code: 'REGISTRY_BLOCKED',
    change: /take blocked = true out of the \[\[registry\]\]/,
  },
  {
    broken: 'registries.conf that is no TOML',
    breaks: (m) => conf(m, '[[registry]]\nlocation = \n'),
    code: 'REGISTRIES_CONF_INVALID',
    change: /mend .*registries\.conf/,
  },
  {
    broken: 'a location with a scheme',
    breaks: (m) => conf(m, `[[registry]]\nlocation = "https://${m.host}"`),
    code: 'REGISTRIES_CONF_INVALID',
    change: /mend .*registries\.conf/,
  },
  {
    broken: 'a short name that stands for another registry',
    breaks: (m) => conf(m, `[aliases]\n"app" = "${mirrorOf(m, 'team/app')}"`),
    asked: () => ({ image: 'app:v1' }),
    code: 'SHORT_NAME',
    change:
      /by its whole name, HOST\/REPOSITORY:TAG, or let the alias in .*registries\.conf name the right host/,
  },
  {
    broken: 'a short name that nothing resolves',
    breaks: () => undefined,
    asked: () => ({ image: 'app:v1' }),
    code: 'SHORT_NAME',
    change: /whole name/,
  },
  {
    broken: 'a short name that podman will not choose a registry for',
    breaks: (m) =>
      conf(m, 'short-name-mode="enforcing"\nunqualified-search-registries=["a.invalid","b.invalid"]'),
    asked: () => ({ image: 'app:v1' }),
    code: 'SHORT_NAME',
    change: /whole name/,
  },
  {
    broken: 'a registry that wants a login',
    breaks: (m) => {
      m.login = 'bob:secret';
    },
    verdict: 'unknown',
    code: 'REGISTRY_DENIED',
    change: /podman login/,
  },
  {
    broken: 'another login than the registry wants',
    breaks: (m) => {
      m.login = 'bob:secret';
      return m.write('run/containers/0/auth.json', auths(m.host, 'eve:guess'));
    },
    verdict: 'unknown',
    code: 'REGISTRY_DENIED',
    change: /127\.0\.0\.1:\d+ in .*auth\.json is what is sent now/,
  },
  {
    broken: 'a login that a program keeps which is not there',
    breaks: (m) => m.write('home/.docker/config.json', JSON.stringify({ credHelpers: { [m.host]: 'nope' } })),
    code: 'AUTH_HELPER_MISSING',
    change: /install docker-credential-nope; or take 127\.0\.0\.1:\d+ out of credHelpers in .*config\.json/,
  },
  {
    broken: 'a login that only docker asks a program for',
    breaks: (m) => {
      m.login = 'bob:secret';
      return m.write('home/.docker/config.json', '{"credsStore": "desktop"}');
    },
    verdict: 'unknown',
    code: 'REGISTRY_DENIED',
    change: /podman login .*; that of docker lies with docker-credential-desktop, which they do not ask/,
  },
  {
    broken: 'auth.json that is no JSON',
    breaks: (m) => m.write('run/containers/0/auth.json', '{'),
    code: 'AUTH_FILE_INVALID',
    change: /mend or remove .*auth\.json/,
  },
  {
    broken: 'an authority under the name of a client certificate',
    breaks: (m) => m.write(`etc/containers/certs.d/${m.host}/ca.cert`, 'PEM'),
    code: 'CERTIFICATE_WITHOUT_KEY',
    change: /rename it to .*ca\.crt/,
  },
  {
    broken: 'crio.conf that is no TOML',
    breaks: (m) => m.write('etc/crio/crio.conf', '[crio'),
    asked: () => ({ crioNamespace: 'shop' }),
    code: 'POLICY_UNREADABLE',
    change: /crio\.conf/,
  },
  {
    broken: 'a named pipe in place of the policy',
    breaks: (m) => {
      const file = path.join(m.folder, 'etc/containers/policy.json');
      return rm(file).then(() => execFileSync('mkfifo', [file]));
    },
    code: 'POLICY_UNREADABLE',
    change: /put a policy there/,
  },
  {
    broken: 'a policy that links to itself',
    breaks: async (m) => {
      const file = path.join(m.folder, 'etc/containers/policy.json');
      await rm(file);
      await symlink(file, file);
    },
    code: 'POLICY_UNREADABLE',
    change: /put a policy there/,
  },
  {
    broken: 'a YAML bomb in registries.d',
    breaks: (m) => m.write('etc/containers/registries.d/bomb.yaml', bomb()),
    code: 'REGISTRIES_D_INVALID',
    change: /mend .*bomb\.yaml/,
  },
  {
    broken: 'a policy of more than 16 MiB',
    breaks: (m) => text(m, `{"default":[{"type":"reject"}]}${' '.repeat(16 * 1024 * 1024)}`),
    code: 'POLICY_UNREADABLE',
    change: /put a policy there/,
  },
  {
    broken: 'a policy of brackets',
    breaks: (m) => text(m, '['.repeat(1024 * 1024)),
    code: 'POLICY_INVALID',
    change: /line 1, column/,
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
      const text = formatDiagnosis(diagnosis, true);
      assert.equal(diagnosis.complaint?.code, code, text);
      assert.equal(diagnosis.verdict, verdict, text);
      const lines = formatDiagnosis(diagnosis, false).split('\n');
      assert.match(lines.at(-1) ?? '', change);
    });
  }

  test('asks for signatures under the name of the mirror that answers', async () => {
    await machine.heal();
    await mirror(machine, 'copy', '[[registry.mirror]]\nlocation = "127.0.0.1:1/never"\n');
    await base(machine, mirrorOf(machine, ''), `http://${machine.host}/sigstore`);
    const path = SIGNATURES.replace('/team/', '/copy/team/');
    machine.answers.set(`${path}/signature-1`, machine.sign(machine.alice));
    const diagnosis = await machine.diagnose();
    const text = formatDiagnosis(diagnosis, false);
    assert.equal(diagnosis.verdict, 'pulled', text);
    assert.equal(diagnosis.asked[0]?.url, `http://${machine.host}${path}/signature-1`);
    assert.match(text, /the mirror answers: signatures are asked for under localhost:\d+\/copy\/team\/app/);
  });

  test('asks the registry itself when its mirrors do not have the image, and tells why', async () => {
    await machine.heal();
    await conf(
      machine,
      `[[registry]]\nlocation = "${machine.host}"\n[[registry.mirror]]\nlocation = "127.0.0.1:1/a"\n[[registry.mirror]]\nlocation = "${mirrorOf(machine, 'gone')}"`,
    );
    const diagnosis = await machine.diagnose();
    assert.equal(diagnosis.verdict, 'pulled', formatDiagnosis(diagnosis, false));
    const notes = diagnosis.steps.filter(({ step, outcome }) => step === 'registry' && outcome === 'note');
    assert.match(
      notes.map(({ text }) => text).join('\n'),
      /127\.0\.0\.1:1 does not answer.*\n.*has no v1 of gone\/team\/app/,
    );
  });

  test('says which clients refuse what this one pulls', async () => {
    await machine.heal();
    const { bySubkey } = machine.alice;
    const what = { registry: machine.host, repository: 'team/app', manifest: MANIFEST, tag: 'v1' };
    machine.answers.set(`${SIGNATURES}/signature-1`, bySubkey.sign(what));
    await machine.write('alice.gpg', bySubkey.certificate);
    const diagnosis = await machine.diagnose();
    assert.equal(diagnosis.verdict, 'pulled', formatDiagnosis(diagnosis, false));
    assert.equal(diagnosis.caveat?.code, 'SUBKEY');
    assert.match(
      formatDiagnosis(diagnosis, false),
      /clients before August 2025 refuse it.*\nTo change: sign with the primary key/,
    );
    machine.answers.set(`${SIGNATURES}/signature-2`, machine.sign(machine.alice));
    assert.equal((await machine.diagnose()).caveat, null);
  });

  test('says that a signature is from the future, which GnuPG accepts', async () => {
    await machine.heal();
    const { verdict, caveat } = await machine.diagnose({ now: new Date('2022-01-01') });
    assert.deepEqual([verdict, caveat?.code], ['pulled', 'SIGNED_IN_FUTURE']);
    assert.match(caveat?.message ?? '', /clients with GnuPG accept it.*here it is 2022-01-01/);
    assert.match(caveat?.remedy ?? '', /set the clock/);
  });

  test('takes any bytes for a signature as clients before containers/image 5.22 do, and says what newer ones make of them', async () => {
    const good = machine.sign(machine.alice);
    const page = Buffer.from('<html>');
    const tagged = Buffer.concat([Buffer.from('\0simple-signing\n'), good]);
    for (const [served, verdict, code, caveat] of [
      [[good, page], 'pulled', undefined, 'LOOKASIDE_HTML'],
      [[Buffer.alloc(0), good], 'pulled', undefined, 'SIGNATURE_UNREADABLE'],
      [[good, tagged], 'pulled', undefined, undefined],
      [[page], 'refused', 'LOOKASIDE_HTML', undefined],
      [[tagged], 'refused', 'SIGNATURE_UNREADABLE', undefined],
      [[Buffer.from('-----BEGIN PGP MESSAGE-----')], 'unknown', 'SIGNATURE_UNREADABLE', undefined],
    ] as const) {
      await machine.heal();
      machine.answers.delete(`${SIGNATURES}/signature-1`);
      for (const [at, bytes] of served.entries())
        machine.answers.set(`${SIGNATURES}/signature-${at + 1}`, bytes);
      const diagnosis = await machine.diagnose({ generation: 'old' });
      assert.deepEqual(
        [diagnosis.verdict, diagnosis.complaint?.code, diagnosis.caveat?.code],
        [verdict, code, caveat],
        formatDiagnosis(diagnosis, false),
      );
    }
  });

  test('says that GnuPG 2.2 may take nothing from a key in armour without a checksum', async () => {
    const bare = (remainder: 0 | 1 | 2) => bareArmour(certificateOfLength(machine.alice, remainder));
    for (const [armour, code] of [
      [bare(0), 'KEY_ARMOUR'],
      [bare(1), undefined], // the padding of the last line ends the base64
      [bare(2), undefined],
      [armorPublicKey(certificateOfLength(machine.alice, 0)), undefined],
    ] as const) {
      await machine.heal();
      await machine.write('alice.gpg', armour);
      const { verdict, caveat } = await machine.diagnose();
      assert.deepEqual([verdict, caveat?.code], ['pulled', code], armour);
    }
  });

  test('says that podman push cannot write to a lookaside without staging', async () => {
    await machine.heal();
    machine.answers.delete(`${SIGNATURES}/signature-1`);
    const said = async () => (await machine.diagnose()).complaint?.message ?? '';
    assert.match(await said(), /cannot write to http:.* nothing names a lookaside-staging/);
    assert.match(
      (await machine.diagnose()).complaint?.remedy ?? '',
      /where that section has lookaside-staging: .* and bring FOLDER to http:/,
    );
    const section = {
      lookaside: `http://${machine.host}/sigstore`,
      'lookaside-staging': 'file:///var/staging',
    };
    await machine.write(
      'etc/containers/registries.d/lookaside.yaml',
      JSON.stringify({ docker: { [machine.host]: section } }),
    );
    assert.doesNotMatch(await said(), /lookaside-staging/);
  });

  test('logs in as clients do, and shows no password', async () => {
    await machine.heal();
    machine.login = 'bob:secret';
    await machine.write('home/.docker/config.json', auths(machine.host, 'bob:secret'));
    const diagnosis = await machine.diagnose();
    const json = JSON.stringify(diagnosis);
    assert.equal(diagnosis.verdict, 'pulled', json);
    assert.match(json, /bob of 127\.0\.0\.1:\d+ in .*config\.json/);
    assert.doesNotMatch(json, /secret|Ym9iOnNlY3JldA/);
    // the token of a closed server stands in registries.d
    const base = `http://lookaside:the-token@${machine.host}/sigstore`;
    await machine.write('etc/containers/registries.d/lookaside.yaml', registriesD(machine.host, base));
    assert.doesNotMatch(JSON.stringify(await machine.diagnose()), /the-token/);
    // a narrower entry of an earlier file counts
    await machine.write('run/containers/0/auth.json', auths(`${machine.host}/team`, 'eve:guess'));
    assert.equal((await machine.diagnose()).complaint?.code, 'REGISTRY_DENIED');
    const file = await machine.write('mine.json', auths(machine.host, 'bob:secret'));
    const environment = { REGISTRY_AUTH_FILE: file };
    assert.equal((await machine.diagnose({ environment })).verdict, 'pulled');
  });

  test('names the program from which clients have the login, and does not run it', async () => {
    await machine.heal();
    machine.login = 'bob:secret';
    const ran = path.join(machine.folder, 'ran');
    const program = await machine.write('bin/docker-credential-vault', `#!/bin/sh\ntouch ${ran}\n`);
    await machine.write(
      'run/containers/0/auth.json',
      JSON.stringify({ credHelpers: { [machine.host]: 'vault' } }),
    );
    const environment = { PATH: `relative:/nowhere:${path.dirname(program)}` };
    const asked = () => machine.diagnose({ environment });
    assert.equal((await asked()).complaint?.code, 'AUTH_HELPER_MISSING', 'it may not be run');
    await chmod(program, 0o755);
    const { verdict, steps, complaint } = await asked();
    assert.equal(verdict, 'unknown');
    const said = steps.find((one) => one.step === 'login')?.text ?? '';
    assert.ok(said.startsWith(`clients have the login of ${machine.host} from the program ${program}`), said);
    assert.ok(complaint?.remedy.includes(`echo ${machine.host} | ${program} get`), complaint?.remedy);
    assert.equal(existsSync(ran), false);
  });

  test('goes through the programs and files of credential-helpers in registries.conf, as clients do', async () => {
    await machine.heal();
    machine.login = 'bob:secret';
    await machine.write('home/.docker/config.json', auths(machine.host, 'bob:secret'));
    const ran = path.join(machine.folder, 'ran');
    const program = await machine.write('bin/docker-credential-vault', `#!/bin/sh\ntouch ${ran}\n`);
    await chmod(program, 0o755);
    const asked = async (helpers: readonly string[]) => {
      const conf = `credential-helpers = ${JSON.stringify(helpers)}`;
      await machine.write('etc/containers/registries.conf', conf);
      const diagnosis = await machine.diagnose({ environment: { PATH: path.dirname(program) } });
      const said = diagnosis.steps.flatMap(({ step, text }) => (step === 'login' ? [text] : []));
      return { ...diagnosis, said: said.join('\n') };
    };
    for (const helpers of [[], ['containers-auth.json']]) {
      const { verdict, said } = await asked(helpers);
      assert.equal(verdict, 'pulled');
      assert.match(said, /^bob of 127\.0\.0\.1:\d+ in .*config\.json$/);
    }
    // one that is missing is passed over while another one has a login
    const beside = await asked(['nope', 'vault', 'containers-auth.json']);
    assert.equal(beside.verdict, 'pulled', beside.said);
    assert.match(beside.said, /names the program docker-credential-nope, which is not on the PATH/);
    assert.match(beside.said, /clients ask the program .*docker-credential-vault for a login/);
    const missing = await asked(['nope']);
    assert.equal(missing.complaint?.code, 'AUTH_HELPER_MISSING');
    assert.match(
      missing.complaint?.remedy ?? '',
      /take nope out of credential-helpers in .*registries\.conf/,
    );
    assert.match(missing.said, /auth\.json is not read, nor any other file of logins/);
    const kept = await asked(['vault']);
    assert.deepEqual([kept.verdict, kept.complaint?.code], ['unknown', 'REGISTRY_DENIED']);
    assert.match(
      kept.complaint?.remedy ?? '',
      /echo 127\.0\.0\.1:\d+ \| .*docker-credential-vault get; .*, or add containers-auth\.json to credential-helpers/,
    );
    // a program may have what a broken file lacks, and the file is told all the same
    await machine.write('home/.docker/config.json', '{"auths":');
    const broken = await asked(['vault', 'containers-auth.json']);
    assert.equal(broken.verdict, 'unknown');
    assert.match(broken.said, /config\.json: .*only when a program has a login; mend or remove /);
    assert.equal(existsSync(ran), false);
  });

  test('calls itself by its name, so that no record takes it for a client', async () => {
    await machine.heal();
    await machine.diagnose();
    assert.ok(machine.agents.length >= 4, 'registry and lookaside are asked');
    assert.deepEqual([...new Set(machine.agents)], ['lookaside-doctor']);
  });

  test('tells first whose files it reads', async () => {
    await machine.heal();
    const said = async (options: Parameters<typeof machine.diagnose>[0]) =>
      (await machine.diagnose(options)).steps
        .filter(({ step }) => step === 'user')
        .map(({ text }) => text.replaceAll(machine.folder, ''));
    assert.deepEqual(await said({}), ['as root (uid 0), whose own files lie below /home']);
    assert.deepEqual(await said({ environment: { SUDO_USER: 'carol' } }), [
      'as root (uid 0), whose own files lie below /home',
      'sudo runs this as root, for pulls by sudo; what carol pulls without sudo goes by the files of carol: run it as carol for that',
    ]);
    // sudo -E, or a container: HOME is another than the system says
    assert.deepEqual(await said({ isRoot: false, ownHome: '/home/bob' }), [
      'as bob (uid 1000), whose own files lie below /home',
      'HOME says so, and clients go by it; the home of bob (uid 1000) is /home/bob',
    ]);
  });

  test('reads the policy of the namespace that CRI-O pulls for', async () => {
    await machine.heal();
    const free = '{"default":[{"type":"insecureAcceptAnything"}]}';
    await policy(machine, {});
    assert.equal((await machine.diagnose({ crioNamespace: 'shop' })).verdict, 'refused');
    await machine.write('etc/crio/policies/shop.json', free);
    assert.equal((await machine.diagnose({ crioNamespace: 'shop' })).verdict, 'pulled');
    assert.equal((await machine.diagnose({ crioNamespace: 'other' })).verdict, 'refused');
    const named = path.join(machine.folder, 'elsewhere');
    await machine.write('etc/crio/crio.conf.d/10.conf', `[crio.image]\nsignature_policy_dir = "${named}"`);
    assert.equal((await machine.diagnose({ crioNamespace: 'shop' })).verdict, 'refused');
    await machine.write('elsewhere/shop.json', free);
    assert.equal((await machine.diagnose({ crioNamespace: 'shop' })).verdict, 'pulled');
  });

  test('reads below XDG_CONFIG_HOME as podman 6 does, and says where older clients do not', async () => {
    await machine.heal();
    const environment = { XDG_CONFIG_HOME: path.join(machine.folder, 'home/xdg') };
    await machine.write('home/xdg/containers/policy.json', '{"default":[{"type":"reject"}]}');
    assert.equal(
      (await machine.diagnose({ environment, generation: 'podman-6' })).complaint?.code,
      'POLICY_REJECT',
    );
    const before = await machine.diagnose({ environment });
    assert.equal(before.verdict, 'pulled');
    assert.match(formatDiagnosis(before, false), /note policy: .*xdg\/containers\/policy\.json is not read/);
    // and the folders for who is not root
    await machine.write(
      'usr/share/containers/registries.rootless.d/1000/z.yaml',
      registriesD(machine.host, 'http://x'),
    );
    const asUser = { generation: 'podman-6', isRoot: false } as const;
    assert.equal((await machine.diagnose(asUser)).complaint?.code, 'REGISTRIES_D_INVALID');
    assert.equal((await machine.diagnose({ generation: 'podman-6' })).verdict, 'pulled');
  });

  test('names the certificate that lies beside the folder which clients read', async () => {
    await machine.heal();
    const stray = await machine.write('etc/containers/certs.d/127.0.0.1/ca.crt', 'PEM');
    const places = clientPlaces({
      ...{ home: path.join(machine.folder, 'home'), uid: 0, environment: {}, generation: 'current' },
      root: machine.folder,
    });
    const rightFile = path.join(machine.folder, 'etc/containers/certs.d', machine.host, 'ca.crt');
    assert.deepEqual(await strayCertificates(places, machine.host, []), [{ file: stray, rightFile }]);
    assert.equal((await readCertificates(places, machine.host)).ca, null);
    assert.equal((await readCertificates(places, '127.0.0.1')).ca, 'PEM');
  });

  test('takes TLS from registries.conf where the command says nothing', async () => {
    await machine.heal();
    await conf(machine, `[[registry]]\nlocation = "${machine.host}"\ninsecure = true`);
    assert.equal((await machine.diagnose({ isInsecure: null })).verdict, 'pulled');
    assert.equal((await machine.diagnose({ isInsecure: false })).complaint?.code, 'REGISTRY_TLS');
  });

  test('tries each registry of a short name, and judges the one that is pulled', async () => {
    await machine.heal();
    await conf(machine, `unqualified-search-registries = ["127.0.0.1:1", "${machine.host}"]`);
    const diagnosis = await machine.diagnose({ image: 'team/app:v1' });
    assert.equal(diagnosis.verdict, 'pulled', formatDiagnosis(diagnosis, false));
    assert.equal(diagnosis.image, `${machine.host}/team/app:v1`);
    await machine.write(
      'var/cache/containers/short-name-aliases.conf',
      '[aliases]\n"team/app" = "a.invalid/app"',
    );
    assert.equal((await machine.diagnose({ image: 'team/app:v1' })).image, 'a.invalid/app:v1');
  });

  test('reads registries.conf of the user, and drop-ins in the order of each generation', async () => {
    await machine.heal();
    const blocked = `[[registry]]\nlocation = "${machine.host}"\nblocked = true`;
    const free = `[[registry]]\nlocation = "${machine.host}"\ninsecure = true`;
    await machine.write('etc/containers/registries.conf.d/9.conf', blocked);
    assert.equal((await machine.diagnose()).complaint?.code, 'REGISTRY_BLOCKED');
    // before podman 6 the user's drop-ins come last, whatever their names are
    await machine.write('home/.config/containers/registries.conf.d/1.conf', free);
    assert.equal((await machine.diagnose()).verdict, 'pulled');
    assert.equal((await machine.diagnose({ generation: 'podman-6' })).complaint?.code, 'REGISTRY_BLOCKED');
    // and a registries.conf of the user hides the system's drop-ins
    await machine.write('home/.config/containers/registries.conf', '');
    await rm(path.join(machine.folder, 'home/.config/containers/registries.conf.d'), { recursive: true });
    assert.equal((await machine.diagnose()).verdict, 'pulled');
    assert.equal((await machine.diagnose({ generation: 'podman-6' })).complaint?.code, 'REGISTRY_BLOCKED');
    await machine.write('home/.config/containers/registries.conf.d/9.conf', free); // masks the system's
    assert.equal((await machine.diagnose({ generation: 'podman-6' })).verdict, 'pulled');
    const named = await machine.write('named.conf', blocked);
    const environment = { CONTAINERS_REGISTRIES_CONF: named };
    assert.equal(
      (await machine.diagnose({ generation: 'podman-6', environment })).complaint?.code,
      'REGISTRY_BLOCKED',
    );
  });

  test('lets a server explain why there is no signature, and goes on without it', async () => {
    await machine.heal();
    machine.answers.delete(`${SIGNATURES}/signature-1`);
    const asked: string[] = [];
    const server = async (image: string) => {
      asked.push(image);
      return [
        { code: 'WITHDRAWN', message: 'it was withdrawn: a leaked build', remedy: 'have it signed again' },
      ];
    };
    const diagnosis = await machine.diagnose({ server });
    assert.deepEqual(asked, [`team/app@${DIGEST}`]);
    assert.equal(diagnosis.complaint?.code, 'WITHDRAWN');
    assert.match(formatDiagnosis(diagnosis, false), /To change: have it signed again\.$/);
    const down = async () => {
      throw new LookasideError('SERVER_UNREACHABLE', 'nobody answers');
    };
    const alone = await machine.diagnose({ server: down });
    assert.equal(alone.complaint?.code, 'NO_SIGNATURE');
    assert.match(formatDiagnosis(alone, false), /note server: it was not asked: nobody answers/);
  });

  test('finds a key file that this user may not read, or its folder', {
    skip: process.getuid?.() === 0 && 'root may read every file; CI runs the fast part as nobody too',
  }, async () => {
    await machine.heal();
    const keyPath = await machine.write('closed/keys/alice.gpg', machine.alice.certificate);
    await policy(machine, { [machine.host]: [machine.signedBy({ keyPath })] });
    const folder = path.join(machine.folder, 'closed');
    for (const [place, mode, remedy] of [
      [keyPath, 0o644, `make it readable for every user: chmod a+r ${keyPath}`],
      [folder, 0o755, `or open the folder: chmod a+x ${folder}`],
    ] as const) {
      await chmod(place, 0);
      const { complaint } = await machine.diagnose();
      assert.equal(complaint?.code, 'KEY_FILE_UNREADABLE');
      assert.ok(complaint?.remedy.endsWith(remedy), complaint?.remedy);
      await chmod(place, mode);
    }
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
