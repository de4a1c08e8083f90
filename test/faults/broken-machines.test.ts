// Machines on which real podman refuses an image: doctor names each by its own code, and when exactly what its last line says has
// been done, podman pulls. `npm test` does a few; `npm run faults` all.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { chmod, mkdir, readFile, rename, rm } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import path from 'node:path';
import process from 'node:process';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { formatDiagnosis } from '../../src/cli/doctor.ts';
import { needs } from '../clients/available.ts';
import { makeServerCertificate } from '../clients/certificate.ts';
import { podmanStorage } from '../clients/client-home.ts';
import { describeOutcome, type Outcome, run, type Surroundings } from '../clients/command.ts';
import { openTempFolder } from '../clients/temp-folder.ts';
import { bareArmour, certificateOfLength } from '../service/bare-armour.ts';
import {
  DIGEST,
  LIST,
  MANIFEST,
  type Machine,
  openMachine,
  registriesD,
  SIGNATURES,
} from '../service/broken-machine.ts';
import { isFull, longSuite } from './promise.ts';
import { asNobody, needsNobody } from './unprivileged.ts';

const MAIN = fileURLToPath(new URL('../../src/main.js', import.meta.url));

interface Broken {
  readonly name: string;
  /** Also in `npm test`. */
  readonly always?: true;
  readonly breaks: (machine: Machine) => unknown;
  readonly image?: (machine: Machine) => string;
  /** Null: without `--tls-verify=false`, which the client has otherwise. */
  readonly isInsecure?: null;
  readonly code: string;
  /** What podman says, which is no use to anybody. */
  readonly podman: RegExp;
  /** What the last line says, of which `mends` does exactly that. */
  readonly says: RegExp;
  readonly mends: (machine: Machine) => unknown;
  /** Doctor judges as newer clients do, and says so. */
  readonly isCaveat?: true;
}

const CONFIG = 'home/.config/containers';
const UNSIGNED = /A signature was required, but no signature exists/;
const WRONG_KEY = /Invalid GPG signature|signature by key .* is not accepted/i;
const LIST_DIGEST = `sha256=${createHash('sha256').update(LIST).digest('hex')}`;
const base = (m: Machine, section: string, url: string) =>
  m.write(`${CONFIG}/registries.d/lookaside.yaml`, registriesD(section, url));
const right = (m: Machine) => base(m, m.host, `http://${m.host}/sigstore`);
const policy = (m: Machine, docker: object) =>
  m.write(`${CONFIG}/policy.json`, JSON.stringify({ default: [{ type: 'reject' }], transports: { docker } }));
const trusting = (m: Machine) => policy(m, { [m.host]: [m.signedBy()] });
const conf = (m: Machine, text: string) => m.write(`${CONFIG}/registries.conf`, text);
const other = ({ host }: Machine) => host.replace('127.0.0.1', 'localhost');
const serve = (m: Machine, name: string, answer: Buffer | number) =>
  m.answers.set(`${SIGNATURES}/${name}`, answer);
const unserve = (m: Machine, name: string) => m.answers.delete(`${SIGNATURES}/${name}`);
const signedAgain = (m: Machine) => serve(m, 'signature-1', m.sign(m.alice));
const key = (m: Machine) => m.write('alice.gpg', m.alice.certificate);

/** Answers below /v2/copy too: a mirror of the registry. */
function mirror(m: Machine, folder: string): void {
  for (const [at, answer] of [...m.answers])
    if (at.startsWith('/v2/team/')) m.answers.set(at.replace('/v2/', `/v2${folder}/`), answer);
}
const mirrored = (m: Machine, folder: string) =>
  conf(
    m,
    `[[registry]]\nlocation = "${m.host}"\n[[registry.mirror]]\nlocation = "${other(m)}${folder}"\ninsecure = true\n`,
  );

/** A lookaside of its own, with what the machine's has, at that port; 0: a free one. */
async function listenAgain(
  { answers }: Machine,
  port: number,
): Promise<AsyncDisposable & { readonly port: number }> {
  const server = createServer((request, response) => {
    const answer = answers.get(request.url ?? '') ?? 404;
    if (typeof answer === 'number') response.writeHead(answer).end();
    else response.end(answer);
  });
  await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve));
  return {
    port: (server.address() as AddressInfo).port, // of a TCP listener
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
let lookasidePort = 0;
let started: AsyncDisposable | null = null;

const BROKEN: readonly Broken[] = [
  {
    name: 'wrong port',
    always: true,
    breaks: (m) => base(m, m.host, 'http://127.0.0.1:1/sigstore'),
    code: 'LOOKASIDE_DOWN',
    podman: /connection refused/,
    says: /name its real host and port in registries\.d/,
    mends: right,
  },
  {
    name: 'server down',
    breaks: async (m) => {
      await using closed = await listenAgain(m, 0);
      lookasidePort = closed.port;
      await base(m, m.host, `http://127.0.0.1:${closed.port}/sigstore`);
    },
    code: 'LOOKASIDE_DOWN',
    podman: /connection refused/,
    says: /start the lookaside server at 127\.0\.0\.1:\d+/,
    mends: async (m) => {
      started = await listenAgain(m, lookasidePort);
    },
  },
  {
    name: 'https for http',
    breaks: (m) => base(m, m.host, `https://${m.host}/sigstore`),
    code: 'LOOKASIDE_PLAIN_HTTP',
    podman: /server gave HTTP response to HTTPS client/,
    says: /write http:\/\/ in place of https:\/\//,
    mends: right,
  },
  {
    name: 'a later file with the same section',
    breaks: (m) => m.write(`${CONFIG}/registries.d/z.yaml`, registriesD(m.host, 'http://x.example')),
    code: 'REGISTRIES_D_INVALID',
    podman: /defined both in/,
    says: /mend .*z\.yaml/,
    mends: (m) => rm(path.join(m.folder, CONFIG, 'registries.d/z.yaml')),
  },
  {
    name: 'nothing that names a lookaside',
    breaks: (m) => m.write(`${CONFIG}/registries.d/lookaside.yaml`, '{}'),
    code: 'NOT_CONFIGURED',
    podman: UNSIGNED,
    says: /write into a file of registries\.d: docker: \{127\.0\.0\.1:\d+.*: \{lookaside: URL, sigstore: URL\}\}/,
    mends: right,
  },
  {
    name: 'key file missing',
    always: true,
    breaks: (m) => rm(path.join(m.folder, 'alice.gpg')),
    code: 'KEY_FILE_MISSING',
    podman: /no such file or directory/,
    says: /gpg --export FINGERPRINT > .*alice\.gpg/,
    mends: key,
  },
  {
    name: 'key file empty',
    breaks: (m) => m.write('alice.gpg', ''),
    code: 'KEY_FILE_EMPTY',
    podman: /No public keys imported|No data/,
    says: /gpg --export FINGERPRINT > .*alice\.gpg/,
    mends: key,
  },
  {
    name: 'a key in ASCII armour without a checksum, which newer clients read',
    isCaveat: true,
    breaks: (m) => m.write('alice.gpg', bareArmour(certificateOfLength(m.alice, 0))),
    code: 'KEY_ARMOUR',
    podman: /No public keys imported/,
    says: /without armour: gpg --export FINGERPRINT > .*alice\.gpg/,
    mends: key,
  },
  {
    name: 'key of somebody else',
    breaks: (m) => m.write('alice.gpg', m.mallory.certificate),
    code: 'KEY_UNKNOWN',
    podman: WRONG_KEY,
    says: /add it to the keys in policy\.json/,
    mends: key,
  },
  {
    name: 'key expired',
    breaks: (m) => m.write('alice.gpg', m.alice.certifiedAs({ expiresAt: new Date('2026-01-01') })),
    code: 'KEY_EXPIRED',
    podman: WRONG_KEY,
    says: /lay what they export now into the key file/,
    mends: key,
  },
  {
    name: 'key revoked',
    breaks: (m) =>
      m.write('alice.gpg', m.alice.certifiedAs({ revoked: { at: new Date('2026-01-01'), reason: null } })),
    code: 'KEY_REVOKED',
    podman: WRONG_KEY,
    says: /signed again with another key, and name that key/,
    mends: async (m) => {
      serve(m, 'signature-1', m.sign(m.mallory));
      await m.write('alice.gpg', m.mallory.certificate);
    },
  },
  {
    name: 'signed by a subkey',
    isCaveat: true,
    breaks: async (m) => {
      const { bySubkey } = m.alice;
      serve(
        m,
        'signature-1',
        bySubkey.sign({ registry: m.host, repository: 'team/app', manifest: MANIFEST, tag: 'v1' }),
      );
      await m.write('alice.gpg', bySubkey.certificate);
    },
    code: 'SUBKEY',
    podman: WRONG_KEY,
    says: /sign with the primary key/,
    mends: signedAgain,
  },
  {
    name: 'another tag of the same digest',
    always: true,
    breaks: () => undefined,
    image: (m) => `${m.host}/team/app:v2`,
    code: 'IDENTITY',
    podman: /Signature for identity .* is not accepted/,
    says: /each tag needs a signature of its own/,
    mends: (m) => serve(m, 'signature-2', m.sign(m.alice, 'v2')),
  },
  {
    name: 'a payload that names no tag',
    breaks: (m) => {
      const payload = {
        critical: {
          type: 'atomic container signature',
          image: { 'docker-manifest-digest': DIGEST },
          identity: { 'docker-reference': `${m.host}/team/app` },
        },
        optional: {},
      };
      serve(m, 'signature-1', m.alice.signPayload(Buffer.from(JSON.stringify(payload))));
    },
    code: 'IDENTITY',
    podman: /Signature for identity .* is not accepted/,
    says: /each tag needs a signature of its own/,
    mends: (m) => serve(m, 'signature-2', m.sign(m.alice)),
  },
  {
    name: 'the list is signed, and not its image',
    breaks: (m) => {
      m.answers.set('/v2/team/app/manifests/v1', Buffer.from(LIST));
      unserve(m, 'signature-1');
      m.answers.set(`/sigstore/team/app@${LIST_DIGEST}/signature-1`, m.sign(m.alice, 'v1', LIST));
    },
    code: 'ONLY_LIST_SIGNED',
    podman: UNSIGNED,
    says: /sign each image of the list/,
    mends: signedAgain,
  },
  {
    name: 'a mirror that registries.d does not name',
    always: true,
    breaks: (m) => mirrored(m, ''),
    code: 'MIRROR_UNSIGNED',
    podman: UNSIGNED,
    says: /docker: \{localhost:\d+: \{lookaside: "http:/,
    mends: (m) =>
      m.write(`${CONFIG}/registries.d/mirror.yaml`, registriesD(other(m), `http://${m.host}/sigstore`)),
  },
  {
    name: 'a mirror whose path has no signatures',
    breaks: async (m) => {
      mirror(m, '/copy');
      await mirrored(m, '/copy');
      await m.write(`${CONFIG}/registries.d/mirror.yaml`, registriesD(other(m), `http://${m.host}/sigstore`));
    },
    code: 'MIRROR_UNSIGNED',
    podman: UNSIGNED,
    says: /or copy their folder team\/app@… to copy\/team\/app@…/,
    mends: (m) =>
      m.answers.set(
        `${SIGNATURES.replace('/team/', '/copy/team/')}/signature-1`,
        m.answers.get(`${SIGNATURES}/signature-1`) ?? 404,
      ),
  },
  {
    name: 'the registry announces signatures of its own',
    breaks: (m) => {
      m.announces = true;
    },
    code: 'EXTENSION_SHADOWS',
    podman: /downloading signatures|no signature exists/,
    says: /leave out X-Registry-Supports-Signatures/,
    mends: (m) => {
      m.announces = false;
    },
  },
  {
    name: 'a page with 200 for what is missing',
    breaks: (m) => serve(m, 'signature-2', Buffer.from('<html>')),
    code: 'LOOKASIDE_HTML',
    podman: /unrecognized signature format, starting with binary 0x3c/,
    says: /answer 404 for a signature that is not there/,
    mends: (m) => serve(m, 'signature-2', 404),
  },
  {
    name: '403 for what is missing',
    breaks: (m) => serve(m, 'signature-2', 403),
    code: 'LOOKASIDE_STATUS',
    podman: /403/,
    says: /answer 404 for a signature that is not there/,
    mends: (m) => serve(m, 'signature-2', 404),
  },
  {
    name: 'a proxy that eats 404s',
    breaks: (m) => serve(m, 'signature-2', 502),
    code: 'LOOKASIDE_STATUS',
    podman: /502/,
    says: /the proxy before it, answer 404/,
    mends: (m) => serve(m, 'signature-2', 404),
  },
  {
    name: 'armour in the lookaside',
    breaks: (m) => serve(m, 'signature-1', Buffer.from('-----BEGIN PGP MESSAGE-----')),
    code: 'SIGNATURE_UNREADABLE',
    podman: /unrecognized signature format, starting with binary 0x2d/,
    says: /put the binary signature there/,
    mends: signedAgain,
  },
  {
    name: 'signature-2 without signature-1',
    breaks: (m) => {
      unserve(m, 'signature-1');
      serve(m, 'signature-2', m.sign(m.alice));
    },
    code: 'FIRST_MISSING',
    podman: UNSIGNED,
    says: /put the signature there as signature-1/,
    mends: signedAgain,
  },
  {
    name: 'default: reject',
    breaks: (m) => policy(m, {}),
    code: 'POLICY_REJECT',
    podman: /rejected by policy/,
    says: /a section of its own in policy\.json, with signedBy/,
    mends: trusting,
  },
  {
    name: 'a section with a typo',
    breaks: (m) => policy(m, { [`${m.host}/teem`]: [m.signedBy()] }),
    code: 'SCOPE_NEVER_MATCHES',
    podman: /rejected by policy/,
    says: /write that section as one of .*\/team/,
    mends: (m) => policy(m, { [`${m.host}/team`]: [m.signedBy()] }),
  },
  {
    name: 'a short name that stands for another registry',
    breaks: async (m) => {
      await podman(m, 'rmi', '--all', '--force'); // podman prefers the name of an image that it has
      await conf(m, `[aliases]\n"app" = "${other(m)}/team/app"`);
    },
    image: () => 'app:v1',
    code: 'SHORT_NAME',
    podman: /rejected by policy/,
    says: /or let the alias in .*registries\.conf name the right host/,
    mends: (m) => conf(m, `[aliases]\n"app" = "${m.host}/team/app"`),
  },
  {
    name: 'two signatures, none by the wanted key',
    breaks: (m) => {
      serve(m, 'signature-1', m.sign(m.mallory));
      serve(m, 'signature-2', m.sign(m.mallory, 'v2'));
    },
    code: 'KEY_UNKNOWN',
    podman: /None of the signatures were accepted/,
    says: /have the image signed by a trusted key/,
    mends: (m) => serve(m, 'signature-3', m.sign(m.alice)),
  },
  {
    name: 'a field twice in the policy',
    breaks: (m) => m.write(`${CONFIG}/policy.json`, '{"default":[{"type":"reject"}],"default":[]}'),
    code: 'POLICY_INVALID',
    podman: /invalid policy/i,
    says: /mend .*policy\.json, line 1, column 32/,
    mends: trusting,
  },
  {
    name: 'a plain registry without --tls-verify=false',
    isInsecure: null,
    breaks: () => undefined,
    code: 'REGISTRY_TLS',
    podman: /server gave HTTP response to HTTPS client/,
    says: /insecure = true into its \[\[registry\]\] in registries\.conf/,
    mends: (m) => conf(m, `[[registry]]\nlocation = "${m.host}"\ninsecure = true`),
  },
  {
    name: 'a registry that is blocked',
    breaks: (m) => conf(m, `[[registry]]\nlocation = "${m.host}"\nblocked = true`),
    code: 'REGISTRY_BLOCKED',
    podman: /is blocked in/,
    says: /take blocked = true out of the \[\[registry\]\]/,
    mends: (m) => conf(m, `[[registry]]\nlocation = "${m.host}"`),
  },
  {
    name: 'a registry that wants a login',
    breaks: (m) => {
      m.login = 'bob:secret';
    },
    code: 'REGISTRY_DENIED',
    podman: /401|unauthorized|authentication required/i,
    says: /podman login/,
    mends: async (m) => {
      await mkdir(path.join(m.folder, 'home/tmp'), { recursive: true });
      const login = ['login', '--tls-verify=false', '-u', 'bob', '-p', 'secret', m.host];
      const outcome = await podman(m, ...login);
      assert.equal(outcome.status, 0, describeOutcome(outcome));
    },
  },
];

function podman(m: Machine, ...args: readonly string[]): Promise<Outcome> {
  return run(['podman', ...podmanStorage(path.join(m.folder, 'podman')), ...args], podmanSurroundings(m));
}

function podmanSurroundings(m: Machine): Surroundings {
  const home = path.join(m.folder, 'home');
  const env = {
    PATH: process.env.PATH ?? '',
    LC_ALL: 'C',
    HOME: home,
    TMPDIR: path.join(home, 'tmp'),
    XDG_RUNTIME_DIR: path.join(home, 'tmp'),
    PODMAN_IGNORE_CGROUPSV1_WARNING: '1',
    CONTAINERS_REGISTRIES_CONF: path.join(home, '.config/containers/registries.conf'),
  };
  return { env };
}

describe('a machine on which podman refuses an image', needs('podman', 'gpg'), () => {
  let machine: Machine;
  before(async () => {
    machine = await openMachine();
  });
  after(async () => {
    await started?.[Symbol.asyncDispose]();
    await machine?.[Symbol.asyncDispose]();
  });

  /** Healthy, with all files of the user: podman reads those of no other machine. */
  async function heal(): Promise<void> {
    await machine.heal();
    await mkdir(path.join(machine.folder, 'home/.config'), { recursive: true });
    await mkdir(path.join(machine.folder, 'home/tmp'), { recursive: true });
    await rename(path.join(machine.folder, 'etc/containers'), path.join(machine.folder, CONFIG));
    await conf(machine, '');
  }

  for (const one of BROKEN.filter(({ always }) => isFull || always === true)) {
    test(`${one.name}: is mended by what doctor says`, async () => {
      await heal();
      await one.breaks(machine);
      const image = one.image?.(machine) ?? `${machine.host}/team/app:v1`;
      const isInsecure = one.isInsecure === undefined ? true : null;
      const flags = isInsecure === true ? ['--tls-verify=false'] : [];
      const home = path.join(machine.folder, 'home');
      const environment = {
        XDG_RUNTIME_DIR: path.join(home, 'tmp'),
        CONTAINERS_REGISTRIES_CONF: path.join(home, '.config/containers/registries.conf'),
      };
      const pull = () => podman(machine, 'pull', ...flags, image);
      const refused = await pull();
      assert.equal(refused.status, 125, describeOutcome(refused));
      assert.match(refused.stderr, one.podman);

      const diagnosis = await machine.diagnose({ image, isInsecure, environment });
      const text = formatDiagnosis(diagnosis, false);
      const decisive = one.isCaveat === true ? diagnosis.caveat : diagnosis.complaint;
      assert.equal(decisive?.code, one.code, text);
      assert.match(text.split('\n').at(-1) ?? '', one.says, text);

      await one.mends(machine);
      const after = await machine.diagnose({ image, isInsecure, environment });
      assert.equal(after.verdict, 'pulled', formatDiagnosis(after, false));
      const pulled = await pull();
      assert.equal(pulled.status, 0, describeOutcome(pulled));
    });
  }
});

longSuite('a machine with the authority in the wrong folder', needs('podman', 'gpg', 'openssl'), () => {
  test('is mended by moving it where doctor says', async () => {
    await using temp = await openTempFolder();
    const made = await makeServerCertificate(temp.path, 'authority');
    const [cert, secret] = await Promise.all([readFile(made.certificateFile), readFile(made.keyFile)]);
    await using machine = await openMachine({ cert, key: secret });
    const config = path.join(machine.folder, CONFIG);
    await mkdir(path.join(machine.folder, 'home/tmp'), { recursive: true });
    await mkdir(path.dirname(config), { recursive: true });
    await rename(path.join(machine.folder, 'etc/containers'), config);
    await conf(machine, '');
    await base(machine, machine.host, `https://${machine.host}/sigstore`);
    const stray = await machine.write(
      `${CONFIG}/certs.d/127.0.0.1/ca.crt`,
      await readFile(made.authorityFile),
    );
    const image = `${machine.host}/team/app:v1`;
    const refused = await podman(machine, 'pull', image);
    assert.match(refused.stderr, /certificate signed by unknown authority/, describeOutcome(refused));

    const diagnosis = await machine.diagnose({ image, isInsecure: null });
    const right = path.join(config, 'certs.d', machine.host, 'ca.crt');
    assert.equal(diagnosis.complaint?.code, 'REGISTRY_TLS', formatDiagnosis(diagnosis, false));
    assert.ok(
      diagnosis.complaint?.remedy.startsWith(`move ${stray} to ${right}`),
      diagnosis.complaint?.remedy,
    );

    await mkdir(path.dirname(right));
    await rename(stray, right);
    assert.equal((await machine.diagnose({ image, isInsecure: null })).verdict, 'pulled');
    const pulled = await podman(machine, 'pull', image);
    assert.equal(pulled.status, 0, describeOutcome(pulled));
  });
});

longSuite('a machine whose clock is behind the birth of the key', needs('podman', 'gpg', 'faketime'), () => {
  test('is mended by the right time, as doctor says', async () => {
    await using machine = await openMachine();
    await mkdir(path.join(machine.folder, 'home/.config'), { recursive: true });
    await mkdir(path.join(machine.folder, 'home/tmp'), { recursive: true });
    await rename(path.join(machine.folder, 'etc/containers'), path.join(machine.folder, CONFIG));
    await conf(machine, '');
    const image = `${machine.host}/team/app:v1`;
    const pull = ['pull', '--tls-verify=false', image];
    const behind = '2019-06-01 00:00:00'; // behind the signature alone, gpg goes on
    const refused = await run(
      ['faketime', behind, 'podman', ...podmanStorage(path.join(machine.folder, 'podman')), ...pull],
      podmanSurroundings(machine),
    );
    assert.equal(refused.status, 125, describeOutcome(refused));
    assert.match(refused.stderr, /No public keys imported/);
    const diagnosis = await machine.diagnose({ image, now: new Date(`${behind.replace(' ', 'T')}Z`) });
    const text = formatDiagnosis(diagnosis, false);
    assert.equal(diagnosis.complaint?.code, 'NO_KEYS', text);
    assert.match(text.split('\n').at(-1) ?? '', /set the clock/);
    const pulled = await podman(machine, ...pull);
    assert.equal(pulled.status, 0, describeOutcome(pulled));
  });
});

// podman needs a range of user IDs for such a user; skopeo reads the same files
longSuite('a user who may not read what root has laid', needs('skopeo', 'gpg'), () => {
  for (const [name, code, says] of [
    ['alice.gpg', 'KEY_FILE_UNREADABLE', /chmod a\+r .*alice\.gpg/],
    ['home/.config/containers/policy.json', 'POLICY_UNREADABLE', /chmod a\+r .*policy\.json/],
  ] as const) {
    test(`is told so of ${path.basename(name)}, and pulls once it may be read`, needsNobody(), async () => {
      await using machine = await openMachine();
      const home = path.join(machine.folder, 'home');
      await mkdir(path.join(home, '.config'), { recursive: true });
      await rename(path.join(machine.folder, 'etc/containers'), path.join(machine.folder, CONFIG));
      await mkdir(path.join(home, 'tmp'), { mode: 0o777 });
      await chmod(path.join(home, 'tmp'), 0o777);
      await chmod(machine.folder, 0o755);
      const file = path.join(machine.folder, name);
      await chmod(file, 0o600);
      const image = `${machine.host}/team/app:v1`;
      const surroundings = {
        env: { PATH: process.env.PATH ?? '', HOME: home, TMPDIR: path.join(home, 'tmp') },
      };
      const copy = () =>
        run(
          asNobody([
            ...(['skopeo', 'copy', '--src-tls-verify=false', `docker://${image}`] as const),
            `dir:${path.join(home, 'tmp/copy')}`,
          ]),
          surroundings,
        );
      const refused = await copy();
      assert.equal(refused.status, 1, describeOutcome(refused));
      assert.match(refused.stderr, /permission denied/);
      const doctor = () =>
        run(
          asNobody([process.execPath, MAIN, 'doctor', image, '--tls-verify', 'false', '--json']),
          surroundings,
        );
      const answer = await doctor();
      assert.equal(answer.status, 1, describeOutcome(answer));
      const { complaint } = JSON.parse(answer.stdout);
      assert.equal(complaint.code, code, answer.stdout);
      assert.match(complaint.remedy, says);
      await chmod(file, 0o644);
      const after = await doctor();
      assert.equal(after.status, 0, describeOutcome(after));
      const pulled = await copy();
      assert.equal(pulled.status, 0, describeOutcome(pulled));
    });
  }
});
